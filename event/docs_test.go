package event_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weirhq/weir/event"
)

//go:generate go test . -run ^TestKindsAreDocumented$ -update

var update = flag.Bool("update", false, "write the list of kinds into the documentation")

// The page about events lists the kinds as the program does.
func TestKindsAreDocumented(t *testing.T) {
	const page = "../docs/howto/watch-events.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "<!-- kinds:")
	mark, after, ok2 := strings.Cut(rest, "-->\n")
	_, after, ok3 := strings.Cut(after, "<!-- /kinds -->")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s has no marks for the list of kinds", page)
	}
	var list strings.Builder
	list.WriteString("| kind | severity | told when |\n|---|---|---|\n")
	for _, k := range event.Kinds {
		fmt.Fprintf(&list, "| `%s` | %s | %s |\n", k.Kind, k.Severity, k.Doc)
	}
	want := before + "<!-- kinds:" + mark + "-->\n" + list.String() + "<!-- /kinds -->" + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not up to date (go generate ./event)", page)
	}
}
