package flowgen_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weirhq/weir/lab/flowgen"
)

func TestReferencePageListsTheProfiles(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/generator.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Count(string(page), " | steady |") + strings.Count(string(page), " | diurnal |") + strings.Count(string(page), " | hourly |")
	if want := len(flowgen.Profiles()); rows != want {
		t.Errorf("generator.md lists %d profiles, want %d", rows, want)
	}
	for _, p := range flowgen.Profiles() {
		if want := fmt.Sprintf("| %s | %v | ", p.Name, p.Share); !strings.Contains(string(page), want) {
			t.Errorf("generator.md: no row %q…", want)
		}
	}
}
