package store_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/store"
)

func TestSplitStatements(t *testing.T) {
	f := func(name, text string, want ...string) {
		t.Helper()
		got, err := store.SplitStatements(text)
		if err != nil {
			t.Errorf("%s: SplitStatements(%q): %v", name, text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: SplitStatements(%q): -want +got\n%s", name, text, diff)
		}
	}
	f("nothing", "")
	f("only space, comments and semicolons", " -- why; what\n;; /* a;b */\n# c;\n;")
	f("no final semicolon", "SELECT 1;\nSELECT 2", "SELECT 1", "SELECT 2")
	f("comment before is left out, inside stays", "-- why\nSELECT 1, -- one; only\n 2;", "SELECT 1, -- one; only\n 2")
	f("comment at the very end", "SELECT 1; -- done", "SELECT 1")
	f("single quotes", `SELECT ';', 'it''s;', '\';', '\\';SELECT 2`, `SELECT ';', 'it''s;', '\';', '\\'`, "SELECT 2")
	f("other quotes", "SELECT \"a;b\", `c;d`, \"--\" ; SELECT 2", "SELECT \"a;b\", `c;d`, \"--\"", "SELECT 2")
	f("comment signs in quotes", "SELECT '/*', '--';SELECT '*/'", "SELECT '/*', '--'", "SELECT '*/'")
	f("quotes in comments", "SELECT 1 /* don't; */;SELECT 2 -- it's\n;", "SELECT 1 /* don't; */", "SELECT 2 -- it's")
	f("heredoc", "SELECT $x$;'--$x$, $$;$$; SELECT 2", "SELECT $x$;'--$x$, $$;$$", "SELECT 2")
	f("a dollar alone", "SELECT a$b ; SELECT '$'", "SELECT a$b", "SELECT '$'")
	f("minus and division are no comments", "SELECT 4-2/1;SELECT - -1", "SELECT 4-2/1", "SELECT - -1")
	f("text beyond ASCII", "SELECT 'Zürich;…' ; SELECT 'ü'", "SELECT 'Zürich;…'", "SELECT 'ü'")
}

func TestSplitStatementsRefusesOpenEnds(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		got, err := store.SplitStatements(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SplitStatements(%q) = %q, %v; want an error with %q", text, got, err, want)
		}
	}
	f("SELECT 1;\nSELECT 'open", "line 2: quote ' without its end")
	f("SELECT `open", "line 1: quote ` without its end")
	f("SELECT 'a\\", "line 1: quote ' without its end")
	f("/* open", "line 1: comment /* without its */")
	f("/*/", "line 1: comment /* without its */")
	f("SELECT $a$ open $b$", "line 1: text $a$ without its end")
}

// Whatever the text, the pieces stand in it in order, and joined by semicolons they split again into themselves.
func FuzzSplitStatements(f *testing.F) {
	f.Add("SELECT 1; -- a\nSELECT ';', \"x\" /* y; */; $t$;$t$")
	f.Fuzz(func(t *testing.T, text string) {
		pieces, err := store.SplitStatements(text)
		if err != nil {
			return
		}
		rest := text
		for _, p := range pieces {
			i := strings.Index(rest, p)
			if p == "" || i < 0 {
				t.Fatalf("SplitStatements(%q): piece %q is empty or not in the rest", text, p)
			}
			rest = rest[i+len(p):]
		}
		again, err := store.SplitStatements(strings.Join(pieces, "\n;"))
		if err != nil {
			t.Fatalf("splitStatements of the pieces %q: %v", pieces, err)
		}
		if diff := cmp.Diff(pieces, again); diff != "" {
			t.Fatalf("splitStatements of its own pieces: -first +again\n%s", diff)
		}
	})
}
