package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Every command has a manual page, which tells all of its flags; the same program writes the same pages.
func TestMan(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1764201600")
	first, second := t.TempDir(), filepath.Join(t.TempDir(), "man1")
	good(t, "man", "--out", first)
	good(t, "man", "--out", second)
	commands := allCommands(newRoot())
	if files, err := os.ReadDir(first); err != nil || len(files) != len(commands) {
		t.Errorf("%d pages of %d commands: %v", len(files), len(commands), err)
	}
	for _, c := range commands {
		name := manName(c) + ".1"
		page, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if again, err := os.ReadFile(filepath.Join(second, name)); err != nil || string(again) != string(page) {
			t.Errorf("%s is another the second time: %v", name, err)
		}
		if !strings.HasPrefix(string(page), `.TH "`) || !strings.Contains(string(page), `"2025\-11\-27"`) {
			t.Errorf("%s begins with %.80q", name, page)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" && !strings.Contains(string(page), roff("--"+f.Name)) {
				t.Errorf("%s does not tell --%s", name, f.Name)
			}
		})
		for i, line := range strings.Split(string(page), "\n") {
			if macro, _, _ := strings.Cut(line, " "); strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") &&
				!strings.Contains(" .TH .SH .PP .TP .B .I .BR .br .nf .fi ", " "+macro+" ") {
				t.Errorf("%s:%d: %q is no request that was meant", name, i+1, line)
			}
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	fails(t, exitUsage, "SOURCE_DATE_EPOCH", "man", "--out", second)
	t.Setenv("SOURCE_DATE_EPOCH", "")
	good(t, "man", "--out", second)
	if page, err := os.ReadFile(filepath.Join(second, "weir.1")); err != nil || !strings.HasPrefix(string(page), `.TH "WEIR" 1 "" `) {
		t.Errorf("without SOURCE_DATE_EPOCH there is a date: %v %.80q", err, page)
	}
}

// What needs more than a sentence has it, or an example.
func TestEveryCommandIsExplained(t *testing.T) {
	for _, c := range allCommands(newRoot()) {
		flags := 0
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			switch f.Name {
			case "help", "data", "json", "yes":
			default:
				flags++
			}
		})
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q, want a line without a full stop", c.CommandPath(), c.Short)
		}
		if c.Long == "" && c.Example == "" && !c.HasSubCommands() && flags > 1 {
			t.Errorf("%s has %d flags, and neither Long nor Example", c.CommandPath(), flags)
		}
	}
}

// What completions are for is there.
func TestCompletionsAreOfCommands(t *testing.T) {
	paths, flags := map[string]bool{}, map[string]bool{}
	for _, c := range allCommands(newRoot()) {
		paths[c.CommandPath()] = true
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name], flags[c.CommandPath()+" --"+f.Name] = true, true })
	}
	for path := range argumentWords() {
		if !paths[path] {
			t.Errorf("completions of %q: there is no such command", path)
		}
	}
	for flag := range flagWords() {
		if !flags[flag] {
			t.Errorf("completions of flag %q: there is no such flag", flag)
		}
	}
	for _, shell := range shells {
		if out := good(t, "completion", shell); !strings.Contains(out, "__complete") || !strings.Contains(out, "weir") {
			t.Errorf("weir completion %s prints %.200q", shell, out)
		}
	}
	fails(t, exitUsage, `shell "csh"`, "completion", "csh")
}
