package repotest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryTargetHasHelp(t *testing.T) {
	help := string(run(t, "make", "-s", "help"))
	target := regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	for _, m := range target.FindAllStringSubmatch(string(read(t, "Makefile")), -1) {
		if !regexp.MustCompile(`(?m)^\s+` + m[1] + `\s+\S`).MatchString(help) {
			t.Errorf("Makefile: target %s has no line in make help", m[1])
		}
	}
}

func TestCIRunsMakeTest(t *testing.T) {
	if content := string(read(t, ".ci/run")); !regexp.MustCompile(`(?m)^(exec )?make test$`).MatchString(content) {
		t.Error(".ci/run: does not call make test")
	}
}

func TestScriptsAreSoundShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files(t) {
		if !strings.HasSuffix(name, ".sh") && name != ".ci/run" {
			continue
		}
		full := filepath.Join(root(), name)
		if out, err := exec.Command(bash, "-n", full).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		content := string(read(t, name))
		if !strings.HasPrefix(content, "#!") {
			continue // sourced
		}
		if !strings.Contains(content, "\nset -euo pipefail\n") {
			t.Errorf("%s: goes on after errors; want set -euo pipefail", name)
		}
		if info, err := os.Stat(full); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: is not executable (%v)", name, err)
		}
	}
}

// The shipped module replaces nothing, so that it builds as a dependency of others and by go install.
func TestNoReplacedModules(t *testing.T) {
	if regexp.MustCompile(`(?m)^replace\b`).Match(read(t, "go.mod")) {
		t.Error("go.mod: has a replace")
	}
}
