package embedded_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/storetest"
)

func TestUsers(t *testing.T) {
	dir := t.TempDir()
	made, err := embedded.EnsureUsers(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := embedded.EnsureUsers(dir)
	if err != nil || again != made {
		t.Errorf("second start: %v, users differ", err)
	}
	if read, err := embedded.ReadUsers(dir); err != nil || read != made {
		t.Errorf("ReadUsers: %v, users differ", err)
	}
	info, err := os.Stat(filepath.Join(dir, "users.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("users.json: %v, %v; want mode 0600", info.Mode(), err)
	}
	if made.Writer.Password == made.ReadOnly.Password || len(made.Writer.Password) < 32 {
		t.Error("passwords are equal or short")
	}
	for _, bad := range []string{"", "{}", `{"writer":{"name":"a","password":"short"}}`, "x"} {
		if err := os.WriteFile(filepath.Join(dir, "users.json"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := embedded.EnsureUsers(dir); err == nil {
			t.Errorf("users.json %q is taken", bad)
		}
	}
}

func TestFindLibraryExplicit(t *testing.T) {
	dir := t.TempDir()
	_, err := embedded.FindLibrary(filepath.Join(dir, "libchdb.so"))
	if err == nil || !strings.Contains(err.Error(), "make deps") || strings.Contains(err.Error(), "\n") {
		t.Errorf("missing: %v; want one line that says what to do", err)
	}
	path := filepath.Join(dir, "libchdb.so")
	if err := os.WriteFile(path, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = embedded.FindLibrary(path)
	if err == nil || !strings.Contains(err.Error(), "SHA-256") || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("wrong file: %v; want SHA-256 and what to do", err)
	}
	if _, err := os.Stat(path + ".verified"); err == nil {
		t.Error("a wrong file got a stamp")
	}
}

func TestFindLibraryNowhere(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := os.Stat("/usr/lib/weir/libchdb.so"); err == nil {
		t.Skip("there is one at /usr/lib/weir")
	}
	_, err := embedded.FindLibrary("")
	if err == nil || !strings.Contains(err.Error(), "make deps") || strings.Contains(err.Error(), "\n") {
		t.Errorf("FindLibrary = %v; want one line that says what to do", err)
	}
}

func TestVerifyLibraryStamp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "libchdb.so")
	if err := os.WriteFile(path, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("good"))
	want := hex.EncodeToString(sum[:])
	if err := embedded.VerifyLibrary(path, want, ""); err != nil {
		t.Fatal(err)
	}
	var stamp map[string]any
	b, err := os.ReadFile(path + ".verified")
	if err != nil || json.Unmarshal(b, &stamp) != nil || stamp["sha256"] != want {
		t.Fatalf("stamp %q, %v", b, err)
	}
	// Same length, same mtime, other content, as an attacker or a broken disk would leave it: the change time tells.
	info, _ := os.Stat(path)
	deadline := time.Now().Add(time.Minute)
	for {
		if err := os.WriteFile(path, []byte("evil"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		err := embedded.VerifyLibrary(path, want, "")
		if err != nil {
			break
		}
		if time.Now().After(deadline) { // the clock of the file system ticks every few ms
			t.Fatal("a changed file passes by its stamp")
		}
	}
	// Without a place for it beside the file the stamp is in the cache (root may write anywhere: a directory is in the way).
	if err := os.WriteFile(path, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path + ".verified"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path+".verified", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if err := embedded.VerifyLibrary(path, want, cache); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(cache, "weir", "libchdb", "*.verified")); len(found) != 1 {
		t.Errorf("stamps in the cache: %q, want one", found)
	}
}

// The lock file, the source and the script speak of one version, and the lock file carries no addresses.
func TestLibraryLockFile(t *testing.T) {
	b, err := os.ReadFile("lib/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		t.Fatal(err)
	}
	p := lock.Packages["node_modules/@chdb/lib-linux-x64-gnu"]
	if p.Version != embedded.LibraryVersion || !strings.HasPrefix(p.Integrity, "sha512-") {
		t.Errorf("lock file has version %q, integrity %q; the source has version %q", p.Version, p.Integrity, embedded.LibraryVersion)
	}
	if strings.Contains(string(b), "http") {
		t.Error("the lock file holds an address")
	}
}

func TestConfig(t *testing.T) {
	c := embedded.Default()
	for _, err := range []error{c.Validate(), c.Writer.Validate(), c.ReadOnly.Validate()} {
		if err != nil {
			t.Errorf("default: %v", err)
		}
	}
	var zero embedded.Config
	for _, key := range []string{"listen", "max_connections", "max_header", "max_query", "header_timeout", "body_timeout", "stall_timeout", "idle_timeout", "shutdown_timeout"} {
		if err := zero.Validate(); !strings.Contains(err.Error(), key+":") {
			t.Errorf("Validate of nothing does not speak of %s: %v", key, err)
		}
	}
	for _, key := range []string{"queries", "body", "execution_time", "memory"} {
		if err := zero.Writer.Validate(); !strings.Contains(err.Error(), key+":") {
			t.Errorf("Validate of no limits does not speak of %s: %v", key, err)
		}
	}
}

// What a merge replaces is deleted at once, so what replaces it is synced before. No insert begins on a disk that is nearly full.
func TestSettingsOfTables(t *testing.T) {
	s := storetest.ClickHouse(t)
	got := s.Exec(t, "SELECT name, value FROM system.merge_tree_settings WHERE name IN ('old_parts_lifetime', 'min_rows_to_fsync_after_merge', 'min_free_disk_bytes_to_perform_insert') ORDER BY name FORMAT TSV")
	if want := "min_free_disk_bytes_to_perform_insert\t25165824\nmin_rows_to_fsync_after_merge\t1\nold_parts_lifetime\t0\n"; got != want {
		t.Errorf("settings of tables:\n%swant\n%s", got, want)
	}
}
