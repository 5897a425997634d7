package store_test

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/store"
)

//go:generate go test . -run ^(TestReference|TestSchema)$ -update

// The reference page is what a database with all migrations says about itself, and leaves no table, and no column of a
// table, without a word.
func TestReference(t *testing.T) {
	page, err := store.Reference(t.Context(), migrated(t))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/reference/schema.md", page)
	for line := range strings.Lines(page) {
		if strings.HasSuffix(strings.TrimSpace(line), "|  |") {
			t.Errorf("no comment: %s", line)
		}
	}
	if strings.Contains(page, "`\n\n\n\n") {
		t.Error("a table has no comment")
	}
}
