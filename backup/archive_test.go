package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/weirhq/weir/store"
)

// archive writes a small backup.
func archive(t testing.TB) ([]byte, Manifest) {
	t.Helper()
	var out bytes.Buffer
	a, err := newWriter(&out, Manifest{Version: "v1", Machine: "mon1", Moment: time.Unix(1_700_000_000, 0).UTC(), Migration: 8})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{filesPrefix + "ca/ca.pem": "PEM", filesPrefix + "fold.json": "{}"} {
		if err := a.add(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	rows := make([]byte, 500)
	for i := range rows {
		rows[i] = byte(rand.Uint32())
	}
	if err := a.addRows("flows", 1, rows); err != nil {
		t.Fatal(err)
	}
	a.manifest.Tables = []Table{{Name: "flows", Rows: 10, Sum: 1 << 63, Raw: 500}}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), a.manifest
}

func TestCheck(t *testing.T) {
	b, want := archive(t)
	last := int64(0)
	got, err := Check(bytes.NewReader(b), func(n int64) { last = n })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("manifest: -written +read\n%s", diff)
	}
	if last < int64(len(b))-1024 {
		t.Errorf("progress ends at %d of %d bytes", last, len(b))
	}
}

// A file with a byte changed, or cut anywhere, is refused, unless what changed is in nothing but the filling between members.
func TestCheckDamaged(t *testing.T) {
	b, want := archive(t)
	refused := 0
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1 << (i % 8)
		got, err := Check(bytes.NewReader(damaged), nil)
		if err != nil {
			refused++
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("byte %d changed: read as another: -written +read\n%s", i, diff)
		}
	}
	if refused < len(b)/2 {
		t.Errorf("%d of %d changes were noticed, want more than half: members are most of it", refused, len(b))
	}
	end := bytes.Index(b, []byte(hashMember+"\x00")) + 512 + 64
	for n := 0; n < end; n += 3 {
		if _, err := Check(bytes.NewReader(b[:n]), nil); err == nil {
			t.Errorf("cut after %d of %d bytes: no error", n, len(b))
		}
	}
}

// forged is an archive with these members, and a manifest that has them.
func forged(t *testing.T, headers []tar.Header, adjust func(*Manifest)) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	m := Manifest{Form: Form, Tables: []Table{{Name: "flows"}}}
	put := func(h tar.Header, b []byte) {
		h.Mode, h.Size = 0o600, int64(len(b))
		if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink || strings.HasSuffix(h.Name, "/") {
			h.Size, b = 0, nil
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range headers {
		b := []byte("x")
		if i == 0 && h.Name == formMember {
			b = []byte("1\n")
		}
		put(h, b)
		sum := sha256.Sum256(b)
		m.Members = append(m.Members, Member{h.Name, int64(len(b)), hex.EncodeToString(sum[:])})
	}
	if adjust != nil {
		adjust(&m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	put(tar.Header{Name: manifestMember}, text)
	sum := sha256.Sum256(text)
	put(tar.Header{Name: hashMember}, []byte(hex.EncodeToString(sum[:])+"\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What this package would not write is refused, whatever the manifest says, and nothing is written by it.
func TestCheckHostile(t *testing.T) {
	first := tar.Header{Name: formMember}
	f := func(want string, adjust func(*Manifest), headers ...tar.Header) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, forged(t, headers, adjust), 0o600); err != nil {
			t.Fatal(err)
		}
		data := t.TempDir()
		_, err := Restore(context.Background(), file, Target{
			Data: data, Migrations: 8,
			Store: func(context.Context, string) (*store.Client, func() error, error) {
				t.Error("the store was started")
				return nil, nil, io.EOF
			},
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", headers[len(headers)-1].Name, err, want)
		}
		if entries, err := os.ReadDir(data); err != nil || len(entries) > 0 {
			t.Errorf("%q: the data directory has %v, %v; want nothing", headers[len(headers)-1].Name, entries, err)
		}
	}
	for _, name := range []string{
		"files/../state.db", "files/ca/../../x", "files//x", "files/", "files/./x", "/etc/passwd", "../x", "x", "tables/flows/1.native.zst",
		"tables/../flows/000001.native.zst", "tables/FLOWS/000001.native.zst", "files/a/..", "state.db/x", formMember,
		"files/run/lock", "files/run", "files/state.db", "files/state.db-wal", "files/.restoring/x", "files/.restored/x", "files/copy-of-state.db",
	} {
		f("member", nil, first, tar.Header{Name: name})
	}
	f("no plain file", nil, first, tar.Header{Name: "files/x", Typeflag: tar.TypeSymlink, Linkname: "/etc"})
	f("no plain file", nil, first, tar.Header{Name: "files/x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"})
	f("is there twice", nil, first, tar.Header{Name: "files/x"}, tar.Header{Name: "files/x"})
	f("no backup of Weir's", nil, tar.Header{Name: "files/x"})
	f("form 2, want 1", func(m *Manifest) { m.Form = 2 }, first)
	f("after 9 migrations, this weir knows 8", func(m *Manifest) { m.Migration = 9 }, first)
	f("found 1 members, want 0", func(m *Manifest) { m.Members = nil }, first)
	f("each once", func(m *Manifest) { m.Tables = append(m.Tables, m.Tables[0]) }, first)
	f("lower-case letters", func(m *Manifest) { m.Tables[0].Name = "x; DROP TABLE flows" }, first)
	f("is of a table that the manifest does not have", func(m *Manifest) { m.Tables = nil }, first, tar.Header{Name: "tables/flows/000001.native.zst"})
}

// A member may say that it has holes, or any size; neither is believed, nor is it read.
func TestCheckBombs(t *testing.T) {
	f := func(want string, blocks ...[]byte) {
		t.Helper()
		first := forged(t, []tar.Header{{Name: formMember}}, nil)[:1024]
		b := bytes.Join(append([][]byte{first}, blocks...), nil)
		if _, err := Check(bytes.NewReader(append(b, make([]byte, 1024)...)), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	header := func(h tar.Header) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	f("more than one of a backup", header(tar.Header{Name: "files/x", Size: maxFile + 1}))
	f("more than one of a backup", header(tar.Header{Name: "tables/flows/000001.native.zst", Size: maxRows + 1}))
	f("a manifest of", header(tar.Header{Name: manifestMember, Size: maxManifest + 1}))

	// A terabyte that is one hole, in the form of GNU tar 1.0: its map is the beginning of the member.
	var records string
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=state.db", "GNU.sparse.realsize=1099511627776"} {
		n := len(kv) + 2
		for n != len(fmt.Sprintf("%d %s\n", n, kv)) {
			n++
		}
		records += fmt.Sprintf("%d %s\n", n, kv)
	}
	extended := header(tar.Header{Name: "x", Size: int64(len(records)), Format: tar.FormatUSTAR})
	extended[156] = tar.TypeXHeader
	checksum(extended)
	sparse := append([]byte("1\n1099511627776\n0\n"), make([]byte, 512)...)[:512]
	padded := append([]byte(records), make([]byte, 512)...)[:512]
	f("no plain file", extended, padded, header(tar.Header{Name: "state.db", Size: 512, Format: tar.FormatUSTAR}), sparse)
}

// checksum sets that of a header.
func checksum(header []byte) {
	copy(header[148:], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

func TestCheckOtherForm(t *testing.T) {
	b, _ := archive(t)
	at := bytes.Index(b, []byte("1\n"))
	b[at] = '2'
	if _, err := Check(bytes.NewReader(b), nil); err == nil || !strings.Contains(err.Error(), `it is of form "2", this weir reads form 1`) {
		t.Errorf("a file of another form: %v", err)
	}
	if _, err := Check(strings.NewReader("SQLite format 3"), nil); err == nil || !strings.Contains(err.Error(), "it is no backup, or damaged") {
		t.Errorf("a file that is no backup: %v", err)
	}
}

// Rows that would grow without bound are refused.
func TestInflateBounds(t *testing.T) {
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := encoder.EncodeAll(make([]byte, 1<<20), nil)
	if b, err := inflate(bytes.NewReader(packed), 1<<20); err != nil || len(b) != 1<<20 {
		t.Errorf("%d bytes, %v; want all of what is allowed", len(b), err)
	}
	if b, err := inflate(bytes.NewReader(packed), 1<<20-1); err == nil {
		t.Errorf("%d bytes of rows, want an error", len(b))
	}
}

// A member that changes between the check and its use is noticed.
func TestVerifying(t *testing.T) {
	sum := sha256.Sum256([]byte("rows"))
	want := hex.EncodeToString(sum[:])
	if _, err := io.ReadAll(&verifying{r: strings.NewReader("rows"), sum: sha256.New(), want: want}); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(&verifying{r: strings.NewReader("rowz"), sum: sha256.New(), want: want}); err == nil {
		t.Error("a member that has changed: no error")
	}
}

// What a restore left is finished once all is there, and else goes.
func TestSettle(t *testing.T) {
	data := t.TempDir()
	put := func(name string) {
		t.Helper()
		if err := extract(filepath.Join(data, name), strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
	}
	list := func() (names []string) {
		t.Helper()
		err := filepath.WalkDir(data, func(name string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				names = append(names, strings.TrimPrefix(name, data+"/"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	put(unfinished + "/state.db")
	if !Unsettled(data) {
		t.Error("an interrupted restore: not Unsettled")
	}
	if err := Settle(data); err != nil || len(list()) > 0 || Unsettled(data) {
		t.Errorf("Settle of an interrupted restore: %v, leaves %q", err, list())
	}
	put(finished + "/store/x/y")
	put(finished + "/state.db")
	put("ca/ca.pem") // was moved before the interruption
	for range 2 {
		if err := Settle(data); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := list(), []string{"ca/ca.pem", "state.db", "store/x/y"}; !cmp.Equal(got, want) || Unsettled(data) {
		t.Errorf("Settle of a finished restore leaves %q, want %q", got, want)
	}
	if err := Empty(data); err == nil || !strings.Contains(err.Error(), `is not empty, "ca" is there`) {
		t.Errorf("Empty of an instance: %v", err)
	}
}

// What commands leave in a home, and a configuration that waits, is nothing.
func TestEmpty(t *testing.T) {
	data := t.TempDir()
	for _, name := range []string{"run/lock", ".cache/weir/x", configFile} {
		if err := extract(filepath.Join(data, name), strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
	}
	if err := Empty(data); err != nil {
		t.Error(err)
	}
	if err := Empty(filepath.Join(data, "nothing")); err != nil {
		t.Error(err)
	}
}

// What a backup that was killed left goes with the next one; one that is being written stays, and a file that is there is not replaced.
func TestBegin(t *testing.T) {
	dir := t.TempDir()
	f, err := begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Name()); err != nil {
		t.Errorf("a file that is written was swept: %v", err)
	}
	to := filepath.Join(dir, "x")
	if err := os.WriteFile(to, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rename(f.Name(), to); !errors.Is(err, os.ErrExist) {
		t.Errorf("rename to a name that is taken: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v are left, want what is not of a backup", entries, err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v: the file that was there has changed", b, err)
	}
}

// Files are in the archive once, and what could not be restored is told of, and not left out.
func TestAddFiles(t *testing.T) {
	data := t.TempDir()
	for _, name := range []string{"ca/ca.pem", "elsewhere", "run/key"} {
		if err := extract(filepath.Join(data, name), strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"linked": "elsewhere", "hosts": "ca"} {
		if err := os.Symlink(to, filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(want, fault string, files ...string) {
		t.Helper()
		a, err := newWriter(io.Discard, Manifest{})
		if err != nil {
			t.Fatal(err)
		}
		err = addFiles(a, "", Deps{Data: data, Files: files})
		var got []string
		for _, m := range a.manifest.Members[1:] {
			got = append(got, m.Name)
		}
		if strings.Join(got, " ") != want || (fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: %q, %v; want %q, and an error with %q", files, got, err, want, fault)
		}
	}
	f("files/ca/ca.pem files/linked", "", "ca", "ca/ca.pem", "linked", "nothing")
	f("", "move it", "run/key")
	f("", "neither a file nor a directory", "hosts")
}

// FuzzCheck reads anything without a panic, and believes nothing that is not a backup.
func FuzzCheck(f *testing.F) {
	b, _ := archive(f)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Check(bytes.NewReader(b), nil)
		if err == nil && (m.Form != Form || len(m.Members) == 0) {
			t.Errorf("believed: %+v", m)
		}
	})
}
