package plugin

import (
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
)

//go:generate go test . -run ^TestReference$ -update

var update = flag.Bool("update", false, "write docs/reference/grafana.md")

const reference = "../../../docs/reference/grafana.md"

// The reference page is text written by hand around tables made of the lists of the program.
func TestReference(t *testing.T) {
	b, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	row := func(keys []clickhouse.Key) string {
		var s strings.Builder
		s.WriteString("\n| key | default | meaning |\n|---|---|---|\n")
		for _, k := range keys {
			if k.Name == "" || !strings.HasSuffix(k.Doc, ".") {
				t.Errorf("key %+v lacks a sentence", k)
			}
			value := ""
			if k.Default != "" {
				value = "`" + k.Default + "`"
			}
			fmt.Fprintf(&s, "| `%s` | %s | %s |\n", k.Name, value, k.Doc)
		}
		return s.String() + "\n"
	}
	want := string(b)
	for name, table := range map[string]string{
		"settings": row(append(clickhouse.Keys(), clickhouse.KeysOf(accessSettings{})...)),
		"secrets":  row(clickhouse.Secrets),
	} {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		before, rest, ok := strings.Cut(want, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no %s… %s", reference, begin, end)
		}
		want = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not current (-want +got; go generate ./pkg/plugin writes it):\n%s", reference, diff)
	}
}

// What answers queries reads no file and no environment, and starts no program.
func TestNothingOfTheMachineIsUsed(t *testing.T) {
	for _, name := range []string{"clickhouse", "frame", "macro", "model", "plugin"} {
		files, err := filepath.Glob("../" + name + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("package %s: %v, %v", name, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range parsed.Imports {
				if path, _ := strconv.Unquote(i.Path.Value); slices.Contains([]string{"os", "os/exec", "syscall", "io/ioutil", "path/filepath", "embed"}, path) && file != "../clickhouse/error.go" {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}
