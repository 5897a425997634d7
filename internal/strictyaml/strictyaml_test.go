package strictyaml_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

type level string

func (l level) Allowed() []string { return []string{"debug", "info", "warn"} }

func (l *level) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "debug", "info", "warn":
		*l = level(s)
		return nil
	}
	return errors.New("unknown level")
}

func (l level) MarshalText() ([]byte, error) { return []byte(l), nil }

type base struct {
	Name string `yaml:"name" doc:"Name."`
}

type listener struct {
	Addr    string        `yaml:"addr" doc:"host:port to bind."`
	Workers int           `yaml:"workers" doc:"Sockets."`
	Buffer  bytesize.Size `yaml:"recv_buffer" doc:"SO_RCVBUF."`
}

func (l *listener) SetDefaults() { l.Workers = 1 }

func (l *listener) Validate() error {
	var errs []error
	if !strings.Contains(l.Addr, ":") {
		errs = append(errs, strictyaml.At("addr", fmt.Errorf(`%q: missing host:port, e.g. ":2055"`, l.Addr)))
	}
	if l.Workers < 1 {
		errs = append(errs, strictyaml.At("workers", fmt.Errorf("%d: want at least 1", l.Workers)))
	}
	return errors.Join(errs...)
}

type limits struct {
	Idle   time.Duration `yaml:"idle" doc:"Idle timeout."`
	Active time.Duration `yaml:"active" doc:"Active timeout."`
}

func (l limits) Validate() error {
	if l.Idle > l.Active {
		return fmt.Errorf("idle %s is longer than active %s", l.Idle, l.Active)
	}
	return nil
}

type config struct {
	base      `yaml:",inline"`
	Listeners []listener               `yaml:"listeners" doc:"Sockets to read."`
	Limits    limits                   `yaml:"limits" doc:"Timeouts."`
	TLS       *limits                  `yaml:"tls,omitempty" doc:"Only if given."`
	Level     level                    `yaml:"level" doc:"Log level."`
	Allow     []netip.Prefix           `yaml:"allow" doc:"Who may send."`
	Peer      netip.AddrPort           `yaml:"peer" doc:"Peer."`
	Self      netip.Addr               `yaml:"self" doc:"Own address."`
	Rates     map[netip.Prefix]uint32  `yaml:"rates" doc:"Sampling rates."`
	Sinks     map[string]listener      `yaml:"sinks" doc:"Named listeners."`
	Ratio     float64                  `yaml:"ratio" doc:"Ratio."`
	VLAN      uint16                   `yaml:"vlan" doc:"VLAN."`
	On        bool                     `yaml:"on" doc:"Switch."`
	Names     []string                 `yaml:"names" doc:"Names."`
	Skipped   chan int                 `yaml:"-"`
	Ages      map[string]time.Duration `yaml:"ages,omitempty" doc:"Ages."`
	hidden    int
}

func defaults() *config {
	return &config{
		Listeners: []listener{{Addr: ":2055", Workers: 2, Buffer: 8 * bytesize.MiB}},
		Limits:    limits{Idle: 15 * time.Second, Active: time.Minute},
		Level:     "info",
		Allow:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		Ratio:     0.5,
		hidden:    1,
	}
}

func decode(text string) (*config, error) {
	c := defaults()
	err := strictyaml.Decode(strictyaml.Document{File: "c.yaml", Data: []byte(text)}, c)
	return c, err
}

var equal = cmp.Options{
	cmp.AllowUnexported(config{}, base{}), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}),
	cmpopts.EquateEmpty(), cmpopts.IgnoreFields(config{}, "hidden"),
}

func TestDecode(t *testing.T) {
	got, err := decode(`
name: 0012
listeners:
  - addr: 127.0.0.1:0
    recv_buffer: 64MiB
  - {addr: "[::]:4739", workers: 4}
limits:
  idle: 10s
level: warn
allow: [10.0.0.0/8, "2001:db8::/32"]
peer: "[2001:db8::1]:80"
self: 192.0.2.1
rates: {10.0.0.0/8: 100, "::/0": 0x10}
sinks:
  a: &a {addr: a:1}
  b: *a
ratio: 2
vlan: 4095
on: true
names: [true, 1e3, 02:00:00:00:00:01, "x: y"]
tls: {idle: 1d, active: 2w1d12h}
ages:
`)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Name = "0012"
	want.Listeners = []listener{{"127.0.0.1:0", 1, 64 * bytesize.MiB}, {"[::]:4739", 4, 0}}
	want.Limits.Idle = 10 * time.Second
	want.Level = "warn"
	want.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	want.Peer = netip.MustParseAddrPort("[2001:db8::1]:80")
	want.Self = netip.MustParseAddr("192.0.2.1")
	want.Rates = map[netip.Prefix]uint32{netip.MustParsePrefix("10.0.0.0/8"): 100, netip.MustParsePrefix("::/0"): 16}
	want.Sinks = map[string]listener{"a": {"a:1", 1, 0}, "b": {"a:1", 1, 0}}
	want.Ratio, want.VLAN, want.On = 2, 4095, true
	want.Names = []string{"true", "1e3", "02:00:00:00:00:01", "x: y"}
	want.TLS = &limits{24 * time.Hour, (15*24 + 12) * time.Hour}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Fatalf("Decode (-want +got):\n%s", diff)
	}
}

func TestDecodeEmptyKeepsDefaults(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "limits:\nlisteners:\n"} {
		got, err := decode(text)
		if err != nil {
			t.Fatalf("Decode(%q): %v", text, err)
		}
		if diff := cmp.Diff(defaults(), got, equal); diff != "" {
			t.Fatalf("Decode(%q) (-want +got):\n%s", text, diff)
		}
	}
}

// All problems of a file come at once, in the order of its lines.
func TestDecodeReportsEverything(t *testing.T) {
	_, err := decode(`
listeners:
  - addr: "2055"
    wrokers: 2
  - addr: :1
    workers: two
    recv-buffer: 1MiB
limits: {idle: 5, active: 1s}
level: wran
allow: [10.0.0.0/33, 10.0.0.1]
rates: {nowhere: 1, "::/0": -1}
ratio: "2"
vlan: 65536
on: yes
on: false
sinks: {x: {addr: x}, "a b": 3}
names: {a: b}
zzz: 1
tls: {idle: 2s, active: 1s}
`)
	want := `c.yaml: 20 problems:
  c.yaml:3: listeners[0].addr: "2055": missing host:port, e.g. ":2055"
  c.yaml:4: listeners[0].wrokers: unknown key; did you mean "workers"?
  c.yaml:6: listeners[1].workers: found "two", want integer
  c.yaml:7: listeners[1].recv-buffer: unknown key; did you mean "recv_buffer"?
  c.yaml:8: limits.idle: found "5" without a unit, want duration with unit, e.g. "5s", "1h30m", "30d"
  c.yaml:8: limits: idle 15s is longer than active 1s
  c.yaml:9: level: found "wran", want debug or info or warn; did you mean "warn"?
  c.yaml:10: allow[0]: found "10.0.0.0/33", want prefix, e.g. "192.0.2.0/24" or "2001:db8::/32"
  c.yaml:10: allow[1]: found "10.0.0.1", want prefix, e.g. "192.0.2.0/24" or "2001:db8::/32"
  c.yaml:11: rates.nowhere: key: found "nowhere", want prefix, e.g. "192.0.2.0/24" or "2001:db8::/32"
  c.yaml:11: rates["::/0"]: found number -1, want integer from 0 to 4294967295
  c.yaml:12: ratio: found "2", want number
  c.yaml:13: vlan: found number 65536, want integer from 0 to 65535
  c.yaml:14: on: found "yes", want true or false
  c.yaml:15: on: duplicate key, first on line 14
  c.yaml:16: sinks.x.addr: "x": missing host:port, e.g. ":2055"
  c.yaml:16: sinks["a b"]: found number 3, want a section with addr, workers, recv_buffer
  c.yaml:17: names: found a section, want a list, each text
  c.yaml:18: zzz: unknown key; known here: name, listeners, limits, tls, level, allow, peer, self, rates, sinks, ratio, vlan, on, names, ages
  c.yaml:19: tls: idle 2s is longer than active 1s`
	if err == nil || err.Error() != want {
		t.Fatalf("Decode: %v\n%s", err, cmp.Diff(want, fmt.Sprint(err)))
	}
}

func TestDecodeRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := decode(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("Decode(%q): %v, want an error with %q", text, err, want)
		}
	}
	f("a: [", "c.yaml:1: not YAML: did not find expected node content")
	f("name: a\n b: c", "not YAML: mapping values are not allowed")
	f("name: a\n---\nname: b\n", "a second document")
	f("[]", "c.yaml:1: found a list, want a section with name, listeners")
	f("name:", "name: no value; want text")
	f("name: !!str x", "tag !!str: tags have no meaning here")
	f("vlan: 0644", "found number 0644, want integer")
	f("vlan: 1.5", "found number 1.5, want integer from 0 to 65535")
	f("listeners: [~]", "listeners[0]: no value; want a section with addr")
	f("? [a]\n: b", "found a list as a key")
	f("<<: {name: x}", `["<<"]: unknown key`)
	f("limits: {idle: 2m}", "c.yaml:1: limits: idle 2m0s is longer than active 1m0s")
	f("sinks: {a: {}}", "sinks.a.addr: \"\": missing host:port")
	f("name: \xff", "not YAML")
	f("name: "+strings.Repeat("x", int(strictyaml.DefaultMaxSize)), "longer than 4MiB")
	f("listeners: &a [*a]", "listeners[0]: found a list")
}

// A default that is wrong is reported too, at the section that does not mention it.
func TestDecodeValidatesDefaults(t *testing.T) {
	c := &config{TLS: &limits{Idle: 2, Active: 1}, Sinks: map[string]listener{"z": {Addr: "z"}}}
	err := strictyaml.Decode(strictyaml.Document{File: "c.yaml", Data: []byte("name: x")}, c)
	for _, want := range []string{"tls: idle 2ns", "sinks.z.addr: \"z\": missing", "sinks.z.workers: 0: want"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode: %v, want %q", err, want)
		}
	}
	if err := strictyaml.Validate(c); err == nil || !strings.Contains(err.Error(), "sinks.z.workers: 0: want at least 1") {
		t.Errorf("Validate: %v", err)
	}
	if err := strictyaml.Validate(defaults()); err != nil {
		t.Errorf("Validate(defaults()): %v", err)
	}
}

// Documents made to cost much more than they are long stay cheap.
func TestDecodeIsBounded(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		start := time.Now()
		_, err := decode(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("Decode(%.60q…): %.300v, want %q", text, err, want)
		}
		if took := time.Since(start); took > 2*time.Minute {
			t.Fatalf("Decode(%.60q…) took %s", text, took)
		}
		if len(err.Error()) > 100_000 {
			t.Fatalf("Decode(%.60q…): error of %d bytes", text, len(err.Error()))
		}
	}
	var many strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&many, "k%d: 1, ", i)
	}
	f("sinks: {a: &a {"+many.String()+"}"+strings.Repeat(", b: *a", 10)+"}", "duplicate key")
	var list strings.Builder
	list.WriteString("listeners:\n- &a {" + many.String() + "}\n")
	list.WriteString(strings.Repeat("- *a\n", 5000))
	f(list.String(), "aliases repeat too much")
	f(strings.Repeat("[", 5000)+strings.Repeat("]", 5000), "found a list")
	f(strings.Repeat("[", 20_000), "not YAML")
	f("{"+strings.Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaa: 1, ", 20_000)+"}", "more")
}

func TestEncodeRoundTrip(t *testing.T) {
	c := defaults()
	c.Name = "a\nb\t\"c\" ü # : "
	c.Names = []string{"", "5", "true", "null", "~", "- a", "2001-01-01", "<<", " x ", "a: b", "#c", "\x00\u2028"}
	c.Self = netip.MustParseAddr("2001:db8::1")
	c.Rates = map[netip.Prefix]uint32{netip.MustParsePrefix("10.0.0.0/8"): 1, netip.MustParsePrefix("::/0"): 2}
	c.Ages = map[string]time.Duration{"a": 90 * time.Minute, "b": 30 * 24 * time.Hour, "c": -5 * time.Millisecond}
	c.TLS = &limits{1, 2}
	text, err := strictyaml.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"recv_buffer: 8MiB", "idle: 15s", "active: 1m", "a: 1h30m", "b: 30d", "level: info", "allow: [0.0.0.0/0]"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("Encode has no %q:\n%s", want, text)
		}
	}
	got, err := decode(string(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if diff := cmp.Diff(c, got, equal); diff != "" {
		t.Fatalf("Decode(Encode(c)) (-want +got):\n%s\n%s", diff, text)
	}
}

func TestDescribe(t *testing.T) {
	var got []string
	for _, k := range strictyaml.Describe(defaults()) {
		if k.Doc == "" {
			t.Errorf("key %s has no doc", k.Path)
		}
		got = append(got, k.Path+" | "+k.Type+" | "+k.Default)
	}
	want := []string{
		`name | text | ""`,
		`listeners | list of sections | `,
		`listeners[].addr | text | ""`,
		`listeners[].workers | integer | 1`,
		`listeners[].recv_buffer | size with unit, e.g. "64MiB" | "0"`,
		`limits | section | `,
		`limits.idle | duration with unit, e.g. "5s", "1h30m", "30d" | 15s`,
		`limits.active | duration with unit, e.g. "5s", "1h30m", "30d" | 1m`,
		`tls | section | `,
		`tls.idle | duration with unit, e.g. "5s", "1h30m", "30d" | 0s`,
		`tls.active | duration with unit, e.g. "5s", "1h30m", "30d" | 0s`,
		`level | debug or info or warn | info`,
		`allow | list of prefix, e.g. "192.0.2.0/24" or "2001:db8::/32" | [0.0.0.0/0]`,
		`peer | address and port, e.g. "192.0.2.1:2055" or "[2001:db8::1]:2055" | ""`,
		`self | IP address, e.g. "192.0.2.1" or "2001:db8::1" | ""`,
		`rates | map of integer from 0 to 4294967295 | `,
		`sinks | map of sections | `,
		`sinks.<name>.addr | text | ""`,
		`sinks.<name>.workers | integer | 1`,
		`sinks.<name>.recv_buffer | size with unit, e.g. "64MiB" | "0"`,
		`ratio | number | 0.5`,
		`vlan | integer from 0 to 65535 | 0`,
		`on | true or false | false`,
		`names | list of text | `,
		`ages | map of duration with unit, e.g. "5s", "1h30m", "30d" | `,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("Describe (-want +got):\n%s", diff)
	}
}

func TestDurations(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		got, err := strictyaml.ParseDuration(text)
		if err != nil || got != want {
			t.Fatalf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
		if back, err := strictyaml.ParseDuration(strictyaml.FormatDuration(got)); err != nil || back != got {
			t.Fatalf("ParseDuration(FormatDuration(%v)) = %v, %v", got, back, err)
		}
	}
	f("0", 0)
	f("0d", 0)
	f("5s", 5*time.Second)
	f("-1d1h", -25*time.Hour)
	f("1h30m", 90*time.Minute)
	f("1.5h", 90*time.Minute)
	f("30d", 720*time.Hour)
	f("1w1d1ns", 8*24*time.Hour+1)
	for _, text := range []string{"", "-", "5", "1.5d", "d", "1d-1h", "1d1w", "106752d", "15250w9d", "1d+1h", "99999999999d", "s"} {
		if d, err := strictyaml.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, d)
		}
	}
}

func TestLoad(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(name, []byte("vlan: x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := defaults()
	err := strictyaml.Load(name, c)
	var problems *strictyaml.Error
	if !errors.As(err, &problems) || len(problems.Problems) != 1 || problems.Problems[0].Path != "vlan" {
		t.Fatalf("Load: %v, want one problem at vlan", err)
	}
	if err := strictyaml.Load(name+"x", c); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("Load of no file: %v", err)
	}
}

func TestMisuse(t *testing.T) {
	f := func(into any) {
		t.Helper()
		defer func() {
			if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "BUG: ") {
				t.Fatalf("Decode into %T: %v, want a panic", into, r)
			}
		}()
		_ = strictyaml.Decode(strictyaml.Document{Data: []byte("a: 1")}, into)
	}
	f(config{})
	f((*config)(nil))
	f(&struct{ A int }{})
	f(&struct {
		A any `yaml:"a"`
	}{})
}

func FuzzDecode(f *testing.F) {
	f.Add("name: x\nlisteners: [{addr: ':1'}]\nlimits: {idle: 1s}")
	f.Add("sinks: {a: &a {addr: a:1}, b: *a}\nrates: {10.0.0.0/8: 5}\nratio: .inf")
	f.Add("? [a]\n: b\n<<: {}\nvlan: 0x1f\nself: fe80::1%eth0\nages: {a: 1d}")
	f.Add("listeners: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decode(text)
		if err != nil {
			return
		}
		out, err := strictyaml.Encode(c)
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		got, err := decode(string(out))
		if err != nil {
			t.Fatalf("Decode(Encode(c)): %v in\n%s", err, out)
		}
		if diff := cmp.Diff(c, got, equal, cmpopts.EquateNaNs()); diff != "" {
			t.Fatalf("Decode(Encode(c)) (-want +got):\n%s\n%s", diff, out)
		}
	})
}
