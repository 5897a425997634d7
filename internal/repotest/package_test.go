package repotest_test

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "" // a command's comment describes the command
		}
		if p.Doc == "" || !strings.HasPrefix(p.Doc, want) {
			t.Errorf("package %s: comment is %q, want one that starts with %q", p.ImportPath, p.Doc, want)
		}
	}
}

func TestPackagesAreNamedForWhatTheyHold(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "types", "misc", "base", "shared"}
	for _, p := range packages(t) {
		for element := range strings.SplitSeq(p.path(), "/") {
			if slices.Contains(vague, element) || slices.Contains(vague, p.Name) {
				t.Errorf("package %s: %q says nothing about what it holds", p.ImportPath, p.Name)
			}
		}
	}
}

// arrows says what the packages below a directory may import of this module besides each other, tests left out:
//
//	cmd → api → service → its parts → estate, store, query → ovs, flow, internal
//
// Services (collector, enricher, policyd) never import each other. A package belongs to the longest key that its path
// starts with.
var arrows = map[string][]string{
	"flow":      {},
	"event":     {"flow", "internal"},
	"sql":       {},
	"internal":  {"flow", "internal"},
	"ovs":       {"event", "internal"},
	"pki":       {"internal"},
	"query":     {"flow", "internal"},
	"estate":    {"flow", "event", "internal", "ovs"},
	"store":     {"flow", "event", "internal", "sql"},
	"backup":    {"internal", "store"},
	"collector": {"flow", "event", "internal", "estate", "store", "query", "ovs"},
	"enricher":  {"flow", "internal", "estate", "store", "query", "ovs"},
	"policyd":   {"flow", "event", "internal", "estate", "store", "query", "ovs"},
	"lab":       {"flow", "event", "internal", "estate", "ovs", "collector"},
	"bench":     {"flow", "internal", "lab"},
	"api":       {"flow", "event", "internal", "estate", "store", "query", "ovs", "collector", "enricher", "policyd"},
	"client":    {"internal", "ovs"},
	"cli":       {"flow", "event", "internal", "estate", "query"},
	"cmd":       {"*"},
	"deploy":    {},

	// A module of its own: what its dependencies are is nobody else's business, so nobody imports it.
	"grafana-plugin": {"flow", "event", "internal", "query", "sql"},

	// The engine is a server of its own that knows nothing of flows; its tests have helpers for the packages above it.
	"store/embedded":  {"internal"},
	"store/storetest": {"flow", "event", "internal", "sql", "store", "store/embedded"},
}

func TestArrows(t *testing.T) {
	areaOf := func(path string) string {
		area := ""
		for key := range arrows {
			if (path == key || strings.HasPrefix(path, key+"/")) && len(key) > len(area) {
				area = key
			}
		}
		return area
	}
	for _, p := range packages(t) {
		from := areaOf(p.path())
		if from == "" {
			t.Errorf("package %s: its directory is not in arrows; say there what it may import", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			rest, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			to := areaOf(rest)
			if to == from && from != "cmd" || slices.Contains(arrows[from], to) {
				continue
			}
			if slices.Contains(arrows[from], "*") && to != "cmd" && to != "grafana-plugin" {
				continue
			}
			t.Errorf("package %s imports %s: %s may import only %v", p.ImportPath, imported, from, arrows[from])
		}
	}
}

func TestCommandsAreOnlyWiring(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.path(), "cmd/") && p.Name != "main" {
			t.Errorf("package %s: below cmd are commands only; what another could use belongs in a package of its own", p.ImportPath)
		}
		below := strings.HasPrefix(p.path(), "cmd/") || strings.HasPrefix(p.path(), "grafana-plugin/cmd/") ||
			strings.HasPrefix(p.path(), "internal/") || strings.Contains(p.path(), "test/") || p.path() == "grafana-plugin/pkg/main"
		if p.Name == "main" && !below {
			t.Errorf("package %s: commands are below cmd (the Grafana plugin's program in its pkg/main, where Grafana's tools look for it), generators below internal, servers for tests below a package …test", p.ImportPath)
		}
	}
}
