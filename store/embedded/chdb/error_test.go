package chdb_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/store/embedded/chdb"
)

func TestParseError(t *testing.T) {
	f := func(text string, want chdb.Error) {
		t.Helper()
		got, ok := chdb.ParseError(text).(*chdb.Error) //nolint:errorlint // the very value
		if !ok || !cmp.Equal(*got, want) {
			t.Errorf("parseError(%q) = %#v, want %#v", text, got, want)
		}
	}
	f("Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)", chdb.Error{60, "UNKNOWN_TABLE", "Unknown table."})
	f("Code: 241. DB::Exception: Code: 241. DB::Exception: Too much. (MEMORY_LIMIT_EXCEEDED) (MEMORY_LIMIT_EXCEEDED)", chdb.Error{241, "MEMORY_LIMIT_EXCEEDED", "Too much."})
	f("Code: 164. DB::Exception: Cannot modify 'x'. (READONLY) (version 26.7.2.1). (READONLY)", chdb.Error{164, "READONLY", "Cannot modify 'x'."})
	f("Code: 62. DB::Exception: Syntax error (a) (SYNTAX_ERROR) (version 26.7.2.1 (official build))", chdb.Error{62, "SYNTAX_ERROR", "Syntax error (a)"})
	f("Cannot run a query (NOW)", chdb.Error{0, "", "Cannot run a query (NOW)"})
	if chdb.ParseError(" \n") != nil {
		t.Error("an empty text is an error")
	}
}
