package explain_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/explain"
)

var update = flag.Bool("update", false, "write what is explained as what is wanted")

// What people do to policies is explained to them as testdata says.
func TestExplain(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) != 3 || a.Files[2].Name != "want" {
				t.Fatalf("want before.yaml, after.yaml and want: %v", a.Files)
			}
			var p [2]*policy.Policy
			for i := range p {
				if p[i], err = policy.Parse(a.Files[i].Name, a.Files[i].Data); err != nil {
					t.Fatal(err)
				}
			}
			got := shown(explain.Of(p[0], p[1], time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)))
			if *update {
				a.Files[2].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[2].Data), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
