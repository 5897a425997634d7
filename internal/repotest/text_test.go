package repotest_test

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// unfinished matches the words by which code promises work instead of doing it. They are put together here so that
// this file does not hold them.
var unfinished = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"}, "|") + `)\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	forEachLine(t, func(name string, number int, line string) {
		if word := unfinished.FindString(line); word != "" {
			t.Errorf("%s:%d: %s: do it, or open an issue: %q", name, number, word, strings.TrimSpace(line))
		}
	})
}

func TestNoConflictMarkers(t *testing.T) {
	forEachLine(t, func(name string, number int, line string) {
		if strings.HasPrefix(line, "<<<"+"<<<< ") || strings.HasPrefix(line, ">>>"+">>>> ") {
			t.Errorf("%s:%d: merge conflict marker", name, number)
		}
	})
}

// Paths of one machine mean nothing on another.
func TestNoPathsOfOneMachine(t *testing.T) {
	homes := regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(home|Users|work|workspace|builds)/[A-Za-z]`)
	forEachLine(t, func(name string, number int, line string) {
		if homes.MatchString(line) || strings.Contains(line, root()+"/") {
			t.Errorf("%s:%d: path of one machine: %q", name, number, strings.TrimSpace(line))
		}
	})
}

// A checkout must build behind any mirror or proxy, so no file names the one that this machine uses.
func TestNoPackageRegistries(t *testing.T) {
	hosts := []string{"registry." + "npmjs.org", "registry." + "yarnpkg.com", "proxy." + "golang.org"}
	urls := strings.FieldsFunc(string(run(t, "go", "env", "GOPROXY")), func(r rune) bool { return r == ',' || r == '|' || r == '\n' })
	if out, err := exec.Command("npm", "config", "get", "registry").Output(); err == nil {
		urls = append(urls, strings.TrimSpace(string(out)))
	}
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	forEachLine(t, func(name string, number int, line string) {
		for _, host := range hosts {
			if strings.Contains(line, host) {
				t.Errorf("%s:%d: package registry %s named", name, number, host)
			}
		}
	})
}

func forEachLine(t *testing.T, f func(name string, number int, line string)) {
	t.Helper()
	for _, name := range files(t) {
		content, ok := text(t, name)
		if !ok {
			continue
		}
		number := 0
		for line := range strings.SplitSeq(content, "\n") {
			number++
			f(name, number, line)
		}
	}
}

func TestFilesEndWithANewline(t *testing.T) {
	for _, name := range files(t) {
		if content, ok := text(t, name); ok && content != "" && !strings.HasSuffix(content, "\n") {
			t.Errorf("%s: does not end with a newline", name)
		}
	}
}

// npm packages are pinned by exact version and by hash, from no registry in particular (npm's
// omit-lockfile-registry-resolved).
func TestNpmPackagesArePinned(t *testing.T) {
	exact := regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	for _, name := range files(t) {
		switch path.Base(name) {
		case "package.json":
			var manifest struct {
				Dependencies, DevDependencies, OptionalDependencies map[string]string
			}
			unmarshal(t, name, &manifest)
			for _, group := range []map[string]string{manifest.Dependencies, manifest.DevDependencies, manifest.OptionalDependencies} {
				for dependency, version := range group {
					if !exact.MatchString(version) && !strings.HasPrefix(version, "file:") {
						t.Errorf("%s: %s: version %q, want an exact one", name, dependency, version)
					}
				}
			}
		case "package-lock.json":
			var lock struct {
				Packages map[string]struct {
					Resolved, Integrity string
					Link                bool
				}
			}
			unmarshal(t, name, &lock)
			for at, p := range lock.Packages {
				if !strings.Contains(at, "node_modules/") || p.Link {
					continue // the package itself, or one of this repository
				}
				if p.Resolved != "" {
					t.Errorf("%s: %s: names the registry it came from (%q)", name, at, p.Resolved)
				}
				if !strings.HasPrefix(p.Integrity, "sha512-") {
					t.Errorf("%s: %s: integrity %q, want a SHA-512 hash", name, at, p.Integrity)
				}
			}
		}
	}
}

func unmarshal(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(read(t, name), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// ownSeed matches a test that seeds its random input by itself.
var ownSeed = regexp.MustCompile(`(?i)seed\b.*=.*(UnixNano\(\)|rand(v2)?\.(Uint|Int))|NewPCG\((rand|uint64\(time)`)

// Tests have the same input each time they run, unless new input is asked for.
func TestSeedsAreOfChance(t *testing.T) {
	forEachLine(t, func(name string, number int, line string) {
		if strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "internal/repotest/") && ownSeed.MatchString(line) {
			t.Errorf("%s:%d: take the seed from internal/chance, so that what fails can be had again: %q", name, number, strings.TrimSpace(line))
		}
	})
}
