package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command line of the documentation is one that weir understands: its commands and flags exist, and, where it stands in a block, it has as
// many arguments as it needs. What the commands print is checked by the tests of each.
func TestDocumentedCommands(t *testing.T) {
	const root = "../.."
	found := 0
	check := func(page, line string, whole bool) {
		for _, args := range commandsIn(line) {
			found++
			if err := understood(args, whole); err != nil {
				t.Errorf("%s: %q: %v", page, line, err)
			}
		}
	}
	pages := []string{filepath.Join(root, "README.md"), filepath.Join(root, "SECURITY.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(name string, e fs.DirEntry, err error) error {
		generated := name == filepath.Join(root, "docs/reference/cli.md") // of the commands themselves
		if err == nil && strings.HasSuffix(name, ".md") && !generated {
			pages = append(pages, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks, spans := codeOf(string(b))
		for _, line := range blocks {
			check(page, line, true)
		}
		for _, span := range spans {
			check(page, span, false)
		}
	}
	if found < 300 {
		t.Errorf("found %d commands, want hundreds: are they found at all?", found)
	}
}

func TestCommandsIn(t *testing.T) {
	f := func(line string, want ...string) {
		t.Helper()
		var got []string
		for _, args := range commandsIn(line) {
			got = append(got, strings.Join(args, "|"))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("commandsIn(%q) = %q, want %q", line, got, want)
		}
	}
	f("weir status", "status")
	f("$ sudo -u weir weir backup /backup  # each night", "backup|/backup")
	f(`weir sql "SELECT 1 | 2" | head -n 1`, "sql|SELECT 1 | 2")
	f("WEIR_LOG_LEVEL=debug bin/weir up --demo > log && weir status; x", "up|--demo", "status")
	f("apt install weir")
	f("systemctl status weir")
	f("weir 1.2 is up")
}

func TestUnderstood(t *testing.T) {
	for _, line := range []string{"weir nothing", "weir flows top --nothing", "weir hosts ad x", "weir backup", "weir status more"} {
		if err := understood(commandsIn(line)[0], true); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}

// codeOf returns the lines of blocks of code, joined where they go on, and the spans of code of a page.
func codeOf(markdown string) (blocks, spans []string) {
	inside, going := false, ""
	for line := range strings.SplitSeq(markdown, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			inside, going = !inside, ""
		case inside:
			rest, goesOn := strings.CutSuffix(going+line, "\\")
			if goesOn || isWeirLine.MatchString(rest) && strings.Count(rest, `"`)%2 == 1 {
				going = rest + " "
				continue
			}
			blocks = append(blocks, rest)
			going = ""
		default:
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				spans = append(spans, m[1])
			}
		}
	}
	return blocks, spans
}

var (
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	word       = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+`)
	isWeirLine = regexp.MustCompile(`^\s*(\$ )?(\S*/)?weir\s`)
	isWeir     = regexp.MustCompile(`^(?:\S*/)?weir$`)
	assigns    = regexp.MustCompile(`^[A-Z_]+=`)
	prose      = regexp.MustCompile(`^(v?[0-9(]|[A-Z][a-z]|is$)`) // what weir prints of itself: "weir 1.2", "weir is up"
)

// commandsIn returns the arguments of each weir that a line of shell runs.
func commandsIn(line string) (list [][]string) {
	var words []string
	flush := func() {
		if args, ok := weirOf(words); ok {
			list = append(list, args)
		}
		words = nil
	}
	for _, w := range word.FindAllString(strings.TrimPrefix(strings.TrimSpace(line), "$ "), -1) {
		switch {
		case strings.HasPrefix(w, "#"):
			flush()
			return list
		case w == "|" || w == "&&" || w == "||" || w == ";" || w == "&" || w == "·":
			flush()
		case strings.HasSuffix(w, ";") && w[0] != '"' && w[0] != '\'':
			words = append(words, strings.TrimSuffix(w, ";"))
			flush()
		default:
			words = append(words, w)
		}
	}
	flush()
	return list
}

// weirOf returns the arguments of weir in one command, up to what the shell takes.
func weirOf(words []string) (args []string, ok bool) {
	i := 0
	for i < len(words) && assigns.MatchString(words[i]) {
		i++
	}
	if i < len(words) && words[i] == "sudo" {
		for i++; i < len(words) && strings.HasPrefix(words[i], "-"); i++ {
			if words[i] == "-u" || words[i] == "-g" {
				i++
			}
		}
	}
	if i+1 >= len(words) || !isWeir.MatchString(words[i]) || prose.MatchString(words[i+1]) {
		return nil, false
	}
	for _, w := range words[i+1:] {
		if strings.HasPrefix(w, ">") || strings.HasPrefix(w, "<") && !strings.HasSuffix(w, ">") || strings.HasPrefix(w, "2>") {
			break
		}
		if w[0] == '"' || w[0] == '\'' {
			w = w[1 : len(w)-1]
		}
		args = append(args, w)
	}
	return args, true
}

// understood says what weir does not understand of arguments; whole tells that they are all that it is to be run with.
func understood(args []string, whole bool) error {
	for i, a := range args { // an ellipsis stands for more
		if a == "…" || a == "..." {
			args, whole = args[:i], false
			break
		}
	}
	root := newRoot()
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	if cmd.DisableFlagParsing {
		return nil
	}
	if !whole {
		for _, a := range rest {
			name, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
			if strings.HasPrefix(a, "--") && name != "" && cmd.Flag(name) == nil {
				return usagef("no flag --%s", name)
			}
		}
		if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return usagef("no command %q of %s", rest[0], cmd.CommandPath())
		}
		return nil
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return nil
	}
	return validArgs(cmd)
}

func validArgs(cmd *cobra.Command) error {
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
