package query_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/query"
)

const reference = "../docs/reference/filter.md"

// typesTable lists how values of each type are written.
func typesTable() string {
	var s strings.Builder
	s.WriteString("\n| type | operators | values |\n|---|---|---|\n")
	seen := map[query.Type]bool{}
	for _, f := range query.Fields {
		if seen[f.Type] {
			continue
		}
		seen[f.Type] = true
		var ops []string
		for _, o := range f.Ops() {
			ops = append(ops, "`"+o.String()+"`")
		}
		fmt.Fprintf(&s, "| %s | %s | %s |\n", f.Type, strings.Join(ops, " "), f.Type.Example())
	}
	return s.String() + "\n"
}

// fieldsTable lists the fields.
func fieldsTable() string {
	inRollups := map[string]bool{}
	for _, table := range query.Tables {
		if table.Resolution == 0 {
			continue
		}
		for column := range table.Columns {
			inRollups[column] = true
		}
		for name := range table.Folded {
			inRollups[name] = true
		}
	}
	var s strings.Builder
	s.WriteString("\n| field | type | meaning | in rollups |\n|---|---|---|---|\n")
	for _, f := range query.Fields {
		names := "`" + f.Name + "`"
		for _, a := range f.Aliases {
			names += " `" + a + "`"
		}
		doc := f.Doc
		if words := f.Words(); words != nil {
			doc += " `" + strings.Join(words, "` `") + "`"
		}
		if !f.Groupable() {
			doc += " Cannot group."
		}
		yes := "yes"
		for _, c := range f.Columns() {
			if !inRollups[c] && !inRollups[f.Name] {
				yes = ""
			}
		}
		fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", names, f.Type, doc, yes)
	}
	return s.String() + "\n"
}

// The reference has the tables of this package, and every filter in it parses.
func TestReference(t *testing.T) {
	b, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for part, want := range map[string]string{"types": typesTable(), "fields": fieldsTable()} {
		re := regexp.MustCompile(`(?s)(<!-- ` + part + `: [^>]*-->\n).*?(<!-- /` + part + ` -->)`)
		if !re.MatchString(page) {
			t.Fatalf("%s has no part %q", reference, part)
		}
		page = re.ReplaceAllStringFunc(page, func(s string) string {
			m := re.FindStringSubmatch(s)
			return m[1] + want + m[2]
		})
	}
	if *update {
		if err := os.WriteFile(reference, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(b), page); diff != "" {
		t.Errorf("%s is not up to date (go generate ./query):\n%s", reference, diff)
	}
	filters := 0
	for _, block := range regexp.MustCompile("(?s)```filter\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[1]) {
			filters++
			if _, err := query.Parse(line); err != nil {
				t.Errorf("%s: %s: %v", reference, line, err)
			}
		}
	}
	if filters == 0 {
		t.Errorf("%s has no filters", reference)
	}
}
