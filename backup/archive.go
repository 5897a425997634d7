package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Form is the number of the form of files that this version writes and reads.
const Form = 1

// Names of members.
const (
	formMember     = "weir-backup"
	stateMember    = "state.db"
	filesPrefix    = "files/"
	tablesPrefix   = "tables/"
	manifestMember = "manifest.json"
	hashMember     = "manifest.sha256"
)

// Bounds of what is read: a file is from elsewhere.
const (
	maxManifest = 256 << 20
	maxMembers  = 1 << 20
	maxFile     = 64 << 20  // of a file of the data directory
	maxRows     = 512 << 20 // of the rows of a member, before compression
)

// Manifest says what is in a file.
type Manifest struct {
	Form         int       `json:"form"`
	Version      string    `json:"version"` // of the Weir that wrote it
	Machine      string    `json:"machine"` // name of the one that it ran on
	Moment       time.Time `json:"moment"`  // of which the flows are
	Migration    int       `json:"migration"`
	WithoutFlows bool      `json:"without_flows,omitempty"`
	Since        time.Time `json:"since,omitzero"` // older flows, sums, events and statistics were left out; zero: none were

	Tables  []Table  `json:"tables"`
	Members []Member `json:"members"` // but for the manifest and its hash
}

// Table is a table of the store.
type Table struct {
	Name string `json:"name"`
	Rows uint64 `json:"rows"`       // as a question with FINAL finds them
	Sum  uint64 `json:"sum,string"` // of the hashes of those, whatever their order
	Raw  uint64 `json:"raw_bytes"`  // of its members, before compression
}

// Member is a member of the archive.
type Member struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all members.
func (m *Manifest) Bytes() (sum int64) {
	for i := range m.Members {
		sum += m.Members[i].Size
	}
	return sum
}

// writer writes an archive.
type writer struct {
	tar      *tar.Writer
	zstd     *zstd.Encoder
	manifest Manifest
	at       time.Time
}

func newWriter(w io.Writer, m Manifest) (*writer, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	m.Form = Form
	a := &writer{tar: tar.NewWriter(w), zstd: encoder, manifest: m, at: m.Moment}
	return a, a.add(formMember, []byte(fmt.Sprintf("%d\n", Form)))
}

// add adds a member.
func (a *writer) add(name string, b []byte) error {
	return a.addFrom(name, int64(len(b)), bytes.NewReader(b))
}

// addFrom adds a member of so many bytes.
func (a *writer) addFrom(name string, size int64, r io.Reader) error {
	sum := sha256.New()
	if err := a.put(name, size, io.TeeReader(r, sum)); err != nil {
		return err
	}
	a.manifest.Members = append(a.manifest.Members, Member{name, size, hex.EncodeToString(sum.Sum(nil))})
	return nil
}

func (a *writer) put(name string, size int64, r io.Reader) error {
	h := &tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: a.at, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write member %q: %w", name, err)
	}
	n, err := io.Copy(a.tar, r)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("write member %q: %d of %d bytes: %w", name, n, size, err)
	}
	return nil
}

// addRows adds some rows of a table, the n-th.
func (a *writer) addRows(table string, n int, native []byte) error {
	return a.add(fmt.Sprintf("%s%s/%06d.native.zst", tablesPrefix, table, n), a.zstd.EncodeAll(native, nil))
}

// close writes the manifest and the end.
func (a *writer) close() error {
	b, err := json.MarshalIndent(&a.manifest, "", " ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	sum := sha256.Sum256(b)
	hashed := []byte(hex.EncodeToString(sum[:]) + "\n")
	return errors.Join(a.put(manifestMember, int64(len(b)), bytes.NewReader(b)), a.put(hashMember, int64(len(hashed)), bytes.NewReader(hashed)), a.tar.Close())
}

// Check reads all of the file and returns its manifest. It is an error if anything in the file is not as the manifest says, or is not as
// this package writes it. watch, if it is not nil, is told how many bytes were read.
func Check(r io.Reader, watch func(read int64)) (*Manifest, error) {
	m, err := check(&watched{r: r, watch: watch})
	if err != nil {
		return nil, fmt.Errorf("check backup: %w", err)
	}
	return m, nil
}

func check(r io.Reader) (*Manifest, error) {
	var found []Member
	var manifest []byte
	hashed := false
	err := eachMember(r, func(name string, size int64, r io.Reader) error {
		sum := sha256.New()
		switch {
		case manifest != nil && name != hashMember:
			return fmt.Errorf("member %q after the manifest", name)
		case name == manifestMember:
			if size > maxManifest {
				return fmt.Errorf("a manifest of %d bytes, want at most %d", size, maxManifest)
			}
			var err error
			manifest, err = io.ReadAll(r)
			return err
		case name == hashMember:
			hashed = true
			return checkHash(manifest, size, r)
		case len(found) >= maxMembers:
			return fmt.Errorf("more than %d members", maxMembers)
		}
		if _, err := io.Copy(sum, r); err != nil {
			return err
		}
		found = append(found, Member{name, size, hex.EncodeToString(sum.Sum(nil))})
		return nil
	})
	if err == nil && !hashed {
		err = errors.New("it has no end: it was cut, or was not written to its end")
	}
	if err != nil {
		return nil, err
	}
	return match(manifest, found)
}

// checkHash compares the hash of the manifest with what it is to be.
func checkHash(manifest []byte, size int64, want io.Reader) error {
	sum := sha256.Sum256(manifest)
	text, err := io.ReadAll(io.LimitReader(want, 2*sha256.Size+2))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum[:]); manifest == nil || size != int64(len(text)) || strings.TrimSuffix(string(text), "\n") != got {
		return fmt.Errorf("the manifest is damaged: its hash is %s, want %q", got, text)
	}
	return nil
}

// match compares what was found with the manifest.
func match(text []byte, found []Member) (*Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if m.Form != Form {
		return nil, fmt.Errorf("manifest of form %d, want %d", m.Form, Form)
	}
	if len(m.Members) != len(found) {
		return nil, fmt.Errorf("found %d members, want %d", len(found), len(m.Members))
	}
	tables, names := map[string]bool{}, map[string]bool{}
	for _, t := range m.Tables {
		if !tableName.MatchString(t.Name) || tables[t.Name] {
			return nil, fmt.Errorf("table %q in the manifest: want lower-case letters, digits and _, and each once", t.Name)
		}
		tables[t.Name] = true
	}
	for i, want := range m.Members {
		if found[i] != want {
			return nil, fmt.Errorf("member %q is damaged: found %+v, want %+v", want.Name, found[i], want)
		}
		if names[want.Name] {
			return nil, fmt.Errorf("member %q is there twice", want.Name)
		}
		names[want.Name] = true
		if table, _, ok := splitRows(want.Name); ok && !tables[table] {
			return nil, fmt.Errorf("member %q is of a table that the manifest does not have", want.Name)
		}
	}
	return &m, nil
}

var tableName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,60}$`)

// eachMember calls f for each member, in order, once its name is known to be one that this package writes.
func eachMember(r io.Reader, f func(name string, size int64, r io.Reader) error) error {
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no backup, or damaged: %w", err)
		}
		if err := checkName(n, h); err != nil {
			return err
		}
		if n == 0 {
			text, err := io.ReadAll(io.LimitReader(t, 32))
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("%d\n", Form); string(text) != want {
				return fmt.Errorf("it is of form %q, this weir reads form %d: it was written by another version, use that", strings.TrimSpace(string(text)), Form)
			}
			if err := f(h.Name, h.Size, bytes.NewReader(text)); err != nil {
				return err
			}
			continue
		}
		if err := f(h.Name, h.Size, t); err != nil {
			return fmt.Errorf("member %q: %w", h.Name, err)
		}
	}
}

// checkName refuses members that this package does not write.
func checkName(n int, h *tar.Header) error {
	_, _, rows := splitRows(h.Name)
	_, file := splitFile(h.Name)
	switch {
	case (n == 0) != (h.Name == formMember):
		return fmt.Errorf("it is no backup of Weir's: member %d is %q", n, h.Name)
	case h.Typeflag != tar.TypeReg || isSparse(h):
		return fmt.Errorf("member %q is no plain file", h.Name)
	case file && h.Size > maxFile || rows && h.Size > maxRows:
		return fmt.Errorf("member %q has %d bytes, more than one of a backup", h.Name, h.Size)
	case n == 0 || h.Name == stateMember || h.Name == manifestMember || h.Name == hashMember || rows || file:
		return nil
	}
	return fmt.Errorf("member %q is none of a backup", h.Name)
}

// isSparse tells whether a member has holes, which are not in the archive: it could have any size.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

var rowsName = regexp.MustCompile(`^tables/([a-z][a-z0-9_]{0,60})/([0-9]{6,9})\.native\.zst$`)

// splitRows tells of which table a member has rows, and which ones.
func splitRows(name string) (table, number string, ok bool) {
	m := rowsName.FindStringSubmatch(name)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// splitFile tells which file of the data directory a member is: a path that stays there, and is not where state, locks and restores are.
func splitFile(name string) (file string, ok bool) {
	file, ok = strings.CutPrefix(name, filesPrefix)
	top, _, _ := strings.Cut(file, "/")
	own := top == "run" || strings.HasPrefix(top, stateMember) || top == copiedState || top == unfinished || top == finished
	return file, ok && file != "." && fs.ValidPath(file) && filepath.IsLocal(file) && !own
}

// inflate returns the rows of a member, which are at most so many bytes.
func inflate(r io.Reader, limit int64) ([]byte, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRows))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	b, err := io.ReadAll(io.LimitReader(d, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes of rows", limit)
	}
	return b, err
}

// extract writes a file that is not there yet, which only its owner can read.
func extract(name string, r io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// verifying reads a member a second time: at its end it fails unless the member is still what was checked.
type verifying struct {
	r    io.Reader
	sum  hash.Hash
	want string
}

func (v *verifying) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(v.sum.Sum(nil)) != v.want {
		err = errors.New("it has changed since it was checked")
	}
	return n, err
}

// watched tells how much was read.
type watched struct {
	r     io.Reader
	watch func(int64)
	n     int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += int64(n)
	if w.watch != nil {
		w.watch(w.n)
	}
	return n, err
}
