package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// LibraryVersion names the npm release whose library this program was built for; it is also the directory in the cache.
const LibraryVersion = "26.7.3-stable.1"

// librarySHA256 is the hash of libchdb.so in @chdb/lib-linux-<arch>-gnu of LibraryVersion, by GOARCH.
func librarySHA256(arch string) (string, bool) {
	switch arch {
	case "amd64":
		return "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5", true
	}
	return "", false
}

// FindLibrary returns the libchdb.so to load: explicit if that is not "", else the first that is there of
// $XDG_CACHE_HOME/weir/libchdb/<version>/libchdb.so (~/.cache without XDG_CACHE_HOME) and /usr/lib/weir/libchdb.so. The file's SHA-256
// must be the one this program knows. Hashing takes 2 s or so, hence the verdict is remembered in libchdb.so.verified beside the
// file (or, where that cannot be written, in the cache) together with size, time and inode. Errors are one line and say what to do.
func FindLibrary(explicit string) (string, error) {
	want, ok := librarySHA256(runtime.GOARCH)
	if !ok || runtime.GOOS != "linux" {
		return "", fmt.Errorf("find libchdb: no engine is known for %s/%s (linux/amd64 is); use a ClickHouse server instead", runtime.GOOS, runtime.GOARCH)
	}
	cache, _ := os.UserCacheDir() // "" without a home: then only the system's place is left
	candidates := []string{explicit}
	if explicit == "" {
		candidates = candidates[:0]
		if cache != "" {
			candidates = append(candidates, filepath.Join(cache, "weir", "libchdb", LibraryVersion, "libchdb.so"))
		}
		candidates = append(candidates, "/usr/lib/weir/libchdb.so")
	}
	for _, path := range candidates {
		err := verifyLibrary(path, want, cache)
		if err == nil {
			return path, nil
		}
		if explicit != "" || !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("find libchdb %s: not in %q: run \"make deps\" (scripts/install-libchdb.sh), or put libchdb.so there", LibraryVersion, candidates)
}

// stamp is the content of libchdb.so.verified: the file that was hashed, and its hash.
type stamp struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	MtimeNs int64  `json:"mtime_ns"`
	CtimeNs int64  `json:"ctime_ns"`
	Inode   uint64 `json:"inode"`
	SHA256  string `json:"sha256"`
}

// verifyLibrary checks that path has the hash want, by its stamp or by reading it.
func verifyLibrary(path, want, cache string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("find libchdb: %w: run \"make deps\" or correct the path", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("find libchdb: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return fmt.Errorf("find libchdb %q: not a regular file", path)
	}
	now := stamp{Path: path, Size: info.Size(), MtimeNs: info.ModTime().UnixNano(), CtimeNs: st.Ctim.Nano(), Inode: st.Ino, SHA256: want}
	stamps := []string{path + ".verified"}
	if cache != "" {
		sum := sha256.Sum256([]byte(path))
		stamps = append(stamps, filepath.Join(cache, "weir", "libchdb", hex.EncodeToString(sum[:8])+".verified"))
	}
	for _, s := range stamps {
		b, err := os.ReadFile(s)
		var seen stamp
		if err == nil && json.Unmarshal(b, &seen) == nil && seen == now {
			return nil
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("find libchdb: read %q: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("find libchdb %q: SHA-256 is %s, expected %s (libchdb %s): remove the file and run \"make deps\"", path, got, want, LibraryVersion)
	}
	b, _ := json.Marshal(now)
	for _, s := range stamps {
		if os.MkdirAll(filepath.Dir(s), 0o700) == nil && writeFileAtomic(s, b, 0o600) == nil {
			break
		}
	}
	return nil // a verdict that could not be remembered costs 2 s at the next start, no more
}

// writeFileAtomic writes data to path so that readers see the old content or the new, also after a crash.
func writeFileAtomic(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	err = f.Chmod(mode)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
