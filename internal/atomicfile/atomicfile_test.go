package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weirhq/weir/internal/atomicfile"
)

func TestWriteReplacesAsAWhole(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	for _, want := range []string{"a longer text", "short", ""} {
		if err := atomicfile.Write(name, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("file holds %q, %v; want %q", got, err, want)
		}
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("directory holds %v, %v; want the file alone", left, err)
	}
}

func TestWriteThatFailsLeavesTheFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	if err := os.MkdirAll(filepath.Join(name, "in the way"), 0o700); err != nil { // a directory cannot be replaced
		t.Fatal(err)
	}
	if err := atomicfile.Write(name, []byte("b")); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("directory holds %v, %v; want no temporary file", left, err)
	}
}
