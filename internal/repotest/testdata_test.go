package repotest_test

import (
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// split returns the package directory that a file below a testdata directory belongs to and its path in testdata.
func split(name string) (dir, rest string, ok bool) {
	dir, rest, ok = strings.Cut("/"+name, "/testdata/")
	return strings.TrimPrefix(dir, "/"), rest, ok
}

// testSources returns the test files of each directory and of those below it, joined: of Go, and of the pages of the Grafana plugin.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	sources := map[string]string{}
	for _, name := range files(t) {
		if !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, ".test.ts") {
			continue
		}
		source := string(read(t, name))
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			sources[dir] += source
		}
	}
	return sources
}

// A file below testdata is used when a test of its package, or of one below, names it, its name without extension, its extension, or the
// directory that it is in.
func TestEveryTestdataFileIsUsed(t *testing.T) {
	sources := testSources(t)
	for _, name := range files(t) {
		dir, rest, ok := split(name)
		if !ok || path.Base(rest) == "README.md" || strings.HasPrefix(rest, "fuzz/") {
			continue
		}
		source := sources[dir]
		base := path.Base(rest)
		used := strings.Contains(source, base) || strings.Contains(source, strings.TrimSuffix(base, path.Ext(base))) ||
			path.Ext(base) != "" && strings.Contains(source, path.Ext(base)+`"`)
		for element := range strings.SplitSeq(path.Dir(rest), "/") {
			used = used || element != "." && strings.Contains(source, element)
		}
		if !used {
			t.Errorf("%s: no test of %s uses it", name, dir)
		}
	}
}

func TestFuzzSeedsBelongToATarget(t *testing.T) {
	sources := testSources(t)
	for _, name := range files(t) {
		dir, rest, ok := split(name)
		if !ok || !strings.HasPrefix(rest, "fuzz/") {
			continue
		}
		target := strings.Split(rest, "/")[1]
		if !regexp.MustCompile(`func ` + regexp.QuoteMeta(target) + `\(`).MatchString(sources[dir]) {
			t.Errorf("%s: %s has no fuzz target %s", name, dir, target)
		}
	}
}

// Captures are of no use to those who do not know where they came from and what they show.
func TestEveryCaptureIsExplained(t *testing.T) {
	for _, name := range files(t) {
		dir, rest, ok := split(name)
		if ext := filepath.Ext(name); !ok || ext != ".pcap" && ext != ".dat" {
			continue
		}
		readme := path.Join(dir, "testdata", "README.md")
		if !strings.Contains(readIfThere(readme), path.Base(rest)) {
			t.Errorf("%s: %s has no line on its origin and what it is for", name, readme)
		}
	}
}
