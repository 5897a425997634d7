package policyd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/policyd/policy"
)

// Problem is one thing that is wrong with the text of a policy.
type Problem struct {
	Line   int    `json:"line,omitempty" doc:"From 1; absent: it has none."`
	Column int    `json:"column,omitempty" doc:"From 1, in bytes."`
	Path   string `json:"path,omitempty" doc:"As vms[0].name; absent: it is about the whole."`
	Text   string `json:"text" doc:"What was found, and what is expected."`
}

// String returns the problem as it is said of a file.
func (p Problem) String() string {
	text := p.Text
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	switch {
	case p.Line == 0:
		return text
	case p.Column == 0:
		return fmt.Sprintf("%d: %s", p.Line, text)
	}
	return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, text)
}

// mistakes is what is wrong with the text of a policy, by the errors of policy.Parse and policy.Resolve: all of it, with where it stands.
func mistakes(text string, err error) error {
	var list []Problem
	more := 0
	if parsed, ok := errors.AsType[*strictyaml.Error](err); ok {
		more = parsed.More
		for _, p := range parsed.Problems {
			list = append(list, Problem{Line: p.Line, Path: p.Path, Text: p.Text})
		}
	} else if resolved, ok := errors.AsType[*estate.Problems](err); ok {
		more = resolved.More
		for _, p := range resolved.List {
			list = append(list, Problem{Path: p.Path, Text: p.Text})
		}
	}
	if len(list) == 0 {
		return mistake("%v", err)
	}
	places := strictyaml.PlacesOf(strictyaml.Document{Data: []byte(text), MaxSize: policy.MaxSize})
	var lines [][]byte
	if len(text) <= int(policy.MaxSize) {
		lines = bytes.Split([]byte(text), []byte("\n"))
	}
	for i := range list {
		p := &list[i]
		if line, column := places.At(p.Path); p.Line == 0 || p.Line == line {
			p.Line, p.Column = line, column
		}
		if p.Column == 0 && 0 < p.Line && p.Line <= len(lines) {
			l := lines[p.Line-1]
			p.Column = 1 + len(l) - len(bytes.TrimLeft(l, " "))
		}
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return &MistakeError{problemsText("policy", list, more), list}
}

// problemsText says all that is wrong with a file.
func problemsText(file string, list []Problem, more int) string {
	line := func(p Problem) string {
		if p.Line == 0 {
			return file + ": " + p.String()
		}
		return file + ":" + p.String()
	}
	if len(list) == 1 && more == 0 {
		return line(list[0])
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d problems:", file, len(list)+more)
	for _, p := range list {
		s.WriteString("\n  " + line(p))
	}
	if more > 0 {
		fmt.Fprintf(&s, "\n  … and %d more", more)
	}
	return s.String()
}
