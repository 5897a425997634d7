package repotest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/weirhq/weir"

// root is the repository's directory, found from the working directory of the test.
var root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			panic("BUG: no go.mod above the test's directory")
		}
		dir = parent
	}
})

// run returns what a command prints, run in the repository's directory.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = root()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return out
}

// files lists the files that git tracks or would track, relative to the root, with slashes. Those deleted but not yet
// committed are left out.
func files(t testing.TB) []string {
	t.Helper()
	var list []string
	for name := range strings.SplitSeq(string(run(t, "git", "ls-files", "-coz", "--exclude-standard")), "\x00") {
		if name == "" {
			continue
		}
		if info, err := os.Lstat(filepath.Join(root(), name)); err == nil && info.Mode().IsRegular() {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		t.Fatal("git lists no files")
	}
	return list
}

// text returns a file's content, or false if it is binary or a sample of outside data (testdata).
func text(t testing.TB, name string) (string, bool) {
	t.Helper()
	if strings.Contains("/"+name, "/testdata/") {
		return "", false
	}
	b := read(t, name)
	if bytes.IndexByte(b, 0) >= 0 {
		return "", false
	}
	return string(b), true
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pkg is what go list says of a package of this module.
type pkg struct {
	ImportPath string
	Name       string
	Doc        string   // first sentence of the package comment
	Imports    []string // direct ones, tests left out
	GoFiles    []string
}

// path is the package's directory relative to the module, "." for its root.
func (p pkg) path() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// packages lists this module's and the Grafana plugin's, whose module's path is below this one's as its directory is. One that does
// not compile is the compiler's business and is listed all the same.
func packages(t testing.TB) []pkg {
	t.Helper()
	var out []byte
	for _, dir := range []string{".", "grafana-plugin"} {
		out = append(out, run(t, "go", "-C", dir, "list", "-e", "-json=ImportPath,Name,Doc,Imports,GoFiles", "./...")...)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	var list []pkg
	for {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		list = append(list, p)
	}
}

// readIfThere returns a file's content, "" if there is no such file.
func readIfThere(name string) string {
	b, err := os.ReadFile(filepath.Join(root(), name))
	if err != nil {
		return ""
	}
	return string(b)
}
