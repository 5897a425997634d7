package repotest_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// page is what a Markdown file links to and what can be linked to in it.
type page struct {
	links   []string // targets as written: relative path, #anchor, or both; not those with a scheme
	anchors []string // of headings, as GitHub makes them, and of <a id="…">
}

var (
	headingLine = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	inlineLink  = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	refLink     = regexp.MustCompile(`^\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)`)
	codeSpan    = regexp.MustCompile("`[^`]*`")
	linkText    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	htmlAnchor  = regexp.MustCompile(`<a\s+(?:id|name)="([^"]+)"`)
	hasScheme   = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// readPage parses as much of Markdown as links need: fenced code and code spans hold none.
func readPage(content string) page {
	var p page
	seen := map[string]int{}
	fence := ""
	for line := range strings.SplitSeq(content, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		if fence != "" {
			if strings.HasPrefix(trimmed, fence) {
				fence = ""
			}
			continue
		}
		if strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~") {
			fence = trimmed[:3]
			continue
		}
		if m := headingLine.FindStringSubmatch(line); m != nil {
			anchor := slug(m[1])
			if n := seen[anchor]; n > 0 {
				p.anchors = append(p.anchors, fmt.Sprintf("%s-%d", anchor, n))
			} else {
				p.anchors = append(p.anchors, anchor)
			}
			seen[anchor]++
		}
		for _, m := range htmlAnchor.FindAllStringSubmatch(line, -1) {
			p.anchors = append(p.anchors, m[1])
		}
		line = codeSpan.ReplaceAllString(line, "``")
		for _, m := range slices.Concat(inlineLink.FindAllStringSubmatch(line, -1), refLink.FindAllStringSubmatch(line, -1)) {
			if !hasScheme.MatchString(m[1]) {
				p.links = append(p.links, m[1])
			}
		}
	}
	return p
}

// slug is GitHub's anchor of a heading: lower case, letters, digits, hyphens and underscores kept, spaces to hyphens.
func slug(heading string) string {
	heading = linkText.ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, heading)
}

func pages(t *testing.T) map[string]page {
	t.Helper()
	all := map[string]page{}
	for _, name := range files(t) {
		if content, ok := text(t, name); ok && strings.HasSuffix(name, ".md") {
			all[name] = readPage(content)
		}
	}
	return all
}

// target resolves a link of page from to a file and an anchor ("" for none).
func target(from, link string) (file, anchor string) {
	file, anchor, _ = strings.Cut(link, "#")
	switch {
	case file == "":
		file = from
	case strings.HasPrefix(file, "/"):
		file = strings.TrimPrefix(file, "/")
	default:
		file = path.Join(path.Dir(from), file)
	}
	return file, anchor
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	exists := map[string]bool{}
	for _, name := range files(t) {
		exists[name] = true
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			exists[dir] = true
		}
	}
	for name, p := range all {
		for _, link := range p.links {
			file, anchor := target(name, link)
			if !exists[file] {
				t.Errorf("%s: link %q: no file %s", name, link, file)
				continue
			}
			if linked, isPage := all[file]; isPage && anchor != "" && !slices.Contains(linked.anchors, anchor) {
				t.Errorf("%s: link %q: %s has no such heading; it has %q", name, link, file, linked.anchors)
			}
		}
	}
}

func TestEveryDocIsLinkedFromTheStart(t *testing.T) {
	all := pages(t)
	reached := map[string]bool{"README.md": true, "docs/README.md": true}
	queue := []string{"README.md", "docs/README.md"}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		for _, link := range all[name].links {
			file, _ := target(name, link)
			for _, candidate := range []string{file, path.Join(file, "README.md")} {
				if _, isPage := all[candidate]; isPage && !reached[candidate] {
					reached[candidate] = true
					queue = append(queue, candidate)
				}
			}
		}
	}
	for name := range all {
		if strings.HasPrefix(name, "docs/") && !reached[name] {
			t.Errorf("%s: no chain of links from README.md or docs/README.md leads to it", name)
		}
	}
}

func TestDecisionRecords(t *testing.T) {
	const dir = "docs/adr/"
	form := regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9]+(-[a-z0-9]+)*\.md$`)
	index := string(read(t, dir+"README.md"))
	taken := map[string]string{}
	for _, name := range files(t) {
		if !strings.HasPrefix(name, dir) || name == dir+"README.md" || name == dir+"template.md" {
			continue
		}
		m := form.FindStringSubmatch(name)
		if m == nil {
			t.Errorf("%s: decision records are named NNNN-some-words.md", name)
			continue
		}
		if other, twice := taken[m[1]]; twice {
			t.Errorf("%s: %s has the same number", name, other)
		}
		taken[m[1]] = name
		content := string(read(t, name))
		if want := "# " + strings.TrimLeft(m[1], "0") + ". "; !strings.HasPrefix(content, want) {
			first, _, _ := strings.Cut(content, "\n")
			t.Errorf("%s: begins with %q, want %q and the decision in a few words", name, first, want)
		}
		for _, section := range []string{"\n## Context\n", "\n## Decision\n", "\n## Consequences\n", "\n## Rejected\n"} {
			if !strings.Contains(content, section) {
				t.Errorf("%s: has no section %q", name, strings.TrimSpace(section))
			}
		}
		if !strings.Contains(index, "("+path.Base(name)+")") {
			t.Errorf("%s: is not listed in %sREADME.md", name, dir)
		}
	}
}

func TestSlugIsGitHubs(t *testing.T) {
	f := func(heading, want string) {
		t.Helper()
		if got := slug(heading); got != want {
			t.Errorf("slug(%q) = %q, want %q", heading, got, want)
		}
	}
	f("The way of a flow", "the-way-of-a-flow")
	f("1. One goroutine, from socket to batch", "1-one-goroutine-from-socket-to-batch")
	f("`weir up` and `rule_id`", "weir-up-and-rule_id")
	f("See [the glossary](glossary.md)", "see-the-glossary")
}

func TestPageParsing(t *testing.T) {
	got := readPage("# Twice\n[a](b.md#c) `[no](code.md)` [web](https://x.invalid/)\n```\n[no](fenced.md)\n# no heading\n```\n# Twice\n[ref]: ../d.md\n")
	if want := []string{"b.md#c", "../d.md"}; !slices.Equal(got.links, want) {
		t.Errorf("links = %q, want %q", got.links, want)
	}
	if want := []string{"twice", "twice-1"}; !slices.Equal(got.anchors, want) {
		t.Errorf("anchors = %q, want %q", got.anchors, want)
	}
}
