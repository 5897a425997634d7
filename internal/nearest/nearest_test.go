package nearest_test

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/nearest"
)

func TestWord(t *testing.T) {
	options := []string{"addr", "workers", "recv_buffer", "Prod"}
	f := func(word, want string) {
		t.Helper()
		if got := nearest.Word(word, options); got != want {
			t.Fatalf("Word(%q) = %q, want %q", word, got, want)
		}
	}
	f("adr", "addr")
	f("wrokers", "workers")
	f("recv-buffer", "recv_buffer")
	f("recvbufer", "recv_buffer")
	f("prod", "Prod")
	f("prd", "Prod")
	f("wor", "workers") // its beginning
	f("rec", "recv_buffer")
	f("wo", "")
	f("or", "")
	f("foo", "")
	f("zzzz", "")
	f("", "")
	f(strings.Repeat("a", 1000), "")
	if got, want := nearest.Hint("adr", options, ": want one"), `; did you mean "addr"?`; got != want {
		t.Errorf("hint %q, want %q", got, want)
	}
	if got := nearest.Hint("zzzz", options, ": want one"); got != ": want one" {
		t.Errorf("hint %q", got)
	}
	if got := nearest.Word("x", nil); got != "" {
		t.Fatalf("Word of no options = %q", got)
	}
}
