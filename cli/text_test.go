package cli_test

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/cli"
)

func TestFormat(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(cli.Bytes(0), "0 B")
	f(cli.Bytes(1023), "1023 B")
	f(cli.Bytes(1024), "1.00 KiB")
	f(cli.Bytes(1024*1024-1), "1.00 MiB")
	f(cli.Bytes(12.34*1024*1024), "12.3 MiB")
	f(cli.Bytes(123.4*1024*1024), "123 MiB")
	f(cli.Bytes(math.MaxUint64), "16.0 EiB")
	f(cli.Bits(9_999), "10.0 kbit")
	f(cli.BitRate(1.5e9), "1.50 Gbit/s")
	f(cli.BitRate(0.5), "0.50 bit/s")
	f(cli.Count(999), "999")
	f(cli.Count(999_999), "1.00M")
	f(cli.Count(12_345), "12.3k")
	f(cli.Percent(0.1234), "12.3 %")
	f(cli.Span(0), "0ms")
	f(cli.Span(350*time.Millisecond), "350ms")
	f(cli.Span(4250*time.Millisecond), "4.2s")
	f(cli.Span(15*time.Minute), "15m")
	f(cli.Span(192*time.Second), "3m12s")
	f(cli.Span(125*time.Minute), "2h5m")
	f(cli.Span(76*time.Hour), "3d4h")
	f(cli.Span(-time.Minute), "-1m")
}

func TestClean(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := cli.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	f("web-01 ü 漢", "web-01 ü 漢")
	f("a\x1b[31mb", "a\ufffd[31mb")
	f("a\nb\tc\x00", "a\ufffdb\ufffdc\ufffd")
	f("evil\u202egnp.exe", "evil\ufffdgnp.exe")
	f("\xff", "\ufffd")
	f("\u009b31m", "\ufffd31m")
}

func draw(t *testing.T, o cli.Output) string {
	t.Helper()
	table := &cli.Table{Columns: []cli.Column{{Name: "vm"}, {Name: "network"}, {Name: "bytes", Right: true}}}
	table.Add(cli.Cell{Text: "web-01"}, cli.Cell{Text: "prod"}, cli.Cell{Text: "1.21 GiB"})
	table.Add(cli.Cell{Text: "漢字 machine with a long name"}, cli.Cell{Text: "a\x1b[2J"}, cli.Cell{Text: "9 B", Style: cli.Bad})
	var b bytes.Buffer
	o.W = &b
	if err := table.Write(&o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	f := func(o cli.Output, want string) {
		t.Helper()
		if got := draw(t, o); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("with %+v:\n%s\nwant:%s", o, got, want)
		}
	}
	f(cli.Output{}, `
vm                             network     bytes
web-01                         prod     1.21 GiB
漢字 machine with a long name  a`+"\ufffd"+`[2J         9 B
`)
	f(cli.Output{Width: 36}, `
vm                 network     bytes
web-01             prod     1.21 GiB
漢字 machine wit…  a`+"\ufffd"+`[2J         9 B
`)
	// Numbers stay whole where there is no room at all.
	f(cli.Output{Width: 10}, `
vm      netwo…     bytes
web-01  prod    1.21 GiB
漢字 …  a`+"\ufffd"+`[2J        9 B
`)
	if got := draw(t, cli.Output{Color: true}); !strings.Contains(got, "\x1b[1mvm\x1b[0m") || !strings.Contains(got, "\x1b[31m9 B\x1b[0m") {
		t.Errorf("colours are missing in %q", got)
	}
}

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 24, 10, 30, 15, 0, zone)
	f := func(in, want string) {
		t.Helper()
		got, err := cli.ParseTime(in, now)
		if err != nil || got.In(zone).Format(time.DateTime) != want {
			t.Errorf("ParseTime(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
	f("now", "2026-11-24 10:30:15")
	f("now-1h", "2026-11-24 09:30:15")
	f("now - 15m", "2026-11-24 10:15:15")
	f("15m", "2026-11-24 10:15:15")
	f("-15m", "2026-11-24 10:15:15")
	f("1d12h", "2026-11-22 22:30:15")
	f("2w", "2026-11-10 10:30:15")
	f("08:05", "2026-11-24 08:05:00")
	f("2026-11-23", "2026-11-23 00:00:00")
	f("2026-11-23 10:00", "2026-11-23 10:00:00")
	f("2026-11-23T10:00:05", "2026-11-23 10:00:05")
	f("2026-11-23T10:00:05Z", "2026-11-23 11:00:05")
	f("1795510800", "2026-11-24 10:00:00")
	for _, in := range []string{"", "soon", "now+1h", "1h-2m", "h", "0s", "99999999999w", "2026-13-01", "12", "-"} {
		if got, err := cli.ParseTime(in, now); err == nil || !strings.Contains(err.Error(), "expected now, 15m") {
			t.Errorf("ParseTime(%q) = %v, %v; want an error that says what is expected", in, got, err)
		}
	}
}

func TestParseRange(t *testing.T) {
	now := time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)
	f := func(last, from, to, want string) {
		t.Helper()
		got := ""
		r, err := cli.ParseRange(last, from, to, now)
		if err != nil {
			got = err.Error()
		} else if a, b, err := r.At(now.Add(time.Minute)); err != nil {
			got = err.Error()
		} else {
			got = a.Format("15:04") + " " + b.Format("15:04")
		}
		if got != want {
			t.Errorf("ParseRange(%q, %q, %q) a minute later = %s, want %s", last, from, to, got, want)
		}
	}
	f("", "", "", "10:16 10:31")
	f("2h", "", "", "08:31 10:31")
	f("", "09:00", "10:00", "09:00 10:00")
	f("", "1h", "", "09:31 10:31")
	f("1h", "09:00", "", "range: --last 1h does not go with --from or --to")
	f("", "", "10:00", "range: --to 10:00 needs --from")
	f("x", "", "", `duration "x": expected a number with a unit, as 30s, 15m, 2h, 1d12h`)
	f("", "x", "", `from: time "x": expected now, 15m, now-1h, 10:00, "2026-11-24 10:00" or RFC 3339`)
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"now-1h", "1d12h", "2026-11-24 10:00", "10:00", "1795510800", "1w2d3h4m5s6ms"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 24, 10, 30, 15, 0, time.UTC)
	f.Fuzz(func(_ *testing.T, s string) {
		_, _ = cli.ParseTime(s, now)
		_, _ = cli.ParseSpan(s)
	})
}

func TestWrap(t *testing.T) {
	f := func(s string, columns int, want ...string) {
		t.Helper()
		if got := cli.Wrap(s, columns); !slices.Equal(got, want) {
			t.Errorf("Wrap(%q, %d) = %q, want %q", s, columns, got, want)
		}
	}
	f("one two three", 0, "one two three")
	f("one two three", -1, "one two three")
	f("one two three", 13, "one two three")
	f("one two three", 12, "one two", "three")
	f("one two three", 3, "one", "two", "three")
	f("日本 日本", 6, "日本", "日本")
	f("日本 日本", 9, "日本 日本")
	f("", 5, "")
}
