package bytesize_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/bytesize"
)

func TestParse(t *testing.T) {
	f := func(in string, want bytesize.Size, printed string) {
		t.Helper()
		got, err := bytesize.Parse(in)
		if err != nil || got != want {
			t.Fatalf("Parse(%q) = %d, %v; want %d", in, got, err, want)
		}
		if got.String() != printed {
			t.Fatalf("Parse(%q).String() = %q, want %q", in, got.String(), printed)
		}
		var back bytesize.Size
		if err := back.UnmarshalText([]byte(printed)); err != nil || back != want {
			t.Fatalf("UnmarshalText(%q) = %d, %v; want %d", printed, back, err, want)
		}
	}
	f("0", 0, "0")
	f("0B", 0, "0")
	f("1B", 1, "1B")
	f("64MiB", 64*bytesize.MiB, "64MiB")
	f("64 MiB", 64*bytesize.MiB, "64MiB")
	f("1.5GiB", 1536*bytesize.MiB, "1536MiB")
	f("10MB", 10_000_000, "10000000B")
	f("1024kB", 1_024_000, "1000KiB")
	f("9223372036854775807B", 1<<63-1, "9223372036854775807B")
}

func TestParseRefuses(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		_, err := bytesize.Parse(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("Parse(%q): %v, want an error with %q", in, err, want)
		}
	}
	f("", "want a number and a unit")
	f("MiB", "want a number and a unit")
	f("-1MiB", "want a number and a unit")
	f("1e9GiB", "want a number and a unit")
	f("1..2MiB", "want a number and a unit")
	f("64 mb", "want a number and a unit")
	f("1  MiB", "want a number and a unit")
	f("0.3KiB", "not a whole number")
	f("8388608TiB", "more than 9223372036854775807 bytes")
	f(strings.Repeat("9", 1000)+"B", "want a number and a unit")
	if _, err := bytesize.Parse("4096"); !errors.Is(err, bytesize.ErrMissingUnit) {
		t.Fatalf("Parse(%q): %v, want ErrMissingUnit", "4096", err)
	}
}

func TestShort(t *testing.T) {
	f := func(s bytesize.Size, want string) {
		t.Helper()
		if got := s.Short(); got != want {
			t.Errorf("Size(%d).Short() = %q, want %q", int64(s), got, want)
		}
	}
	f(0, "0")
	f(999, "999B")
	f(1023, "1023B")
	f(64*bytesize.MiB, "64MiB")
	f(1300*bytesize.MiB, "1.27GiB")
	f(79_921_606_656, "74.4GiB")
	f(123*bytesize.GiB+bytesize.GiB/2, "124GiB")
	f(5*bytesize.TiB, "5TiB")
}
