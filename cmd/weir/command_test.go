package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/query"
)

// result is what a command line did.
type result struct {
	code        int
	stdout, err string // err is standard error
}

// weir runs a command line in this process.
func weir(t testing.TB, args ...string) result {
	t.Helper()
	return weirIn(t, "", args...)
}

func weirIn(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, append([]string{}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// good wants a command line to succeed without complaints, and returns what it printed.
func good(t testing.TB, args ...string) string {
	t.Helper()
	r := weir(t, args...)
	if r.code != exitOK || r.err != "" {
		t.Fatalf("weir %s: exit code %d, standard error %q\n%s", strings.Join(args, " "), r.code, r.err, r.stdout)
	}
	return r.stdout
}

// fails wants a command line to end with a code and a text on standard error.
func fails(t testing.TB, code int, want string, args ...string) {
	t.Helper()
	r := weir(t, args...)
	if r.code != code || !strings.Contains(r.err, want) || !strings.HasPrefix(r.err, "weir: ") {
		t.Errorf("weir %s: exit code %d, %q, want %d and %q", strings.Join(args, " "), r.code, r.err, code, want)
	}
	if code == exitUsage && !strings.Contains(r.err, "\nsee: weir ") {
		t.Errorf("weir %s does not say where to look: %q", strings.Join(args, " "), r.err)
	}
	if r.stdout != "" {
		t.Errorf("weir %s prints on standard output: %q", strings.Join(args, " "), r.stdout)
	}
}

// parse reads JSON that a command printed.
func parse[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

func write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every command explains itself, and its examples are command lines that it takes.
func TestHelp(t *testing.T) {
	t.Chdir(t.TempDir())
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		args := strings.Fields(cmd.CommandPath())[1:]
		out := good(t, append(args, "--help")...)
		if cmd.Short == "" || !strings.Contains(out, "Usage:") || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short %q", cmd.CommandPath(), cmd.Short)
		}
		for line := range strings.Lines(out) {
			if len([]rune(line)) > 160 {
				t.Errorf("%s: a line of %d characters: %s", cmd.CommandPath(), len([]rune(line)), line)
			}
		}
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " < ")
			words := shellWords(line)
			found, rest, err := newRoot().Find(words[1:])
			if err != nil || words[0] != "weir" || found.CommandPath() != cmd.CommandPath() {
				t.Errorf("example %q: command %q, %v", line, found.CommandPath(), err)
				continue
			}
			if err := errors.Join(found.ParseFlags(rest), found.ValidateArgs(found.Flags().Args())); err != nil {
				t.Errorf("example %q: %v", line, err)
			}
			if found.Flags().Lookup("explain") != nil {
				good(t, append(words[1:], "--explain")...)
			}
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				visit(sub)
			}
		}
	}
	visit(newRoot())
	for _, cmd := range []string{"up", "sql", "decode", "replay", "check-config"} {
		if out := good(t, cmd, "--help"); !strings.Contains(out, "Examples:") {
			t.Errorf("weir %s --help has no example", cmd)
		}
	}
	if a, b := good(t), good(t, "--help"); a != b || !strings.Contains(a, "weir up --demo") {
		t.Errorf("weir alone prints\n%s", a)
	}
	if out := good(t, "flows"); !strings.Contains(out, "top") {
		t.Errorf("weir flows prints\n%s", out)
	}
}

// shellWords splits a command line as a shell does, as far as the examples need.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	quote := rune(0)
	for _, r := range strings.TrimSpace(line) {
		switch {
		case r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case quote == 0 && r == ' ':
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteRune(r)
		}
	}
	return append(words, word.String())
}

// Mistakes in the command line end with code 2 and say what was expected.
func TestUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	f := func(want string, args ...string) {
		t.Helper()
		fails(t, exitUsage, want, args...)
	}
	f(`unknown command "flow": did you mean flows?`, "flow", "top")
	f(`unknown command "x": expected one of audit, backup, bypass, ca, `, "x")
	f(`unknown command "tpo": did you mean top?`, "flows", "tpo")
	f(`unknown command "migrat": did you mean migrate?`, "store", "migrat")
	f(`unknown command "appyl": did you mean apply?`, "policy", "appyl", "p.yaml", "--confirm-within", "10m")
	f(`found argument "now": expected flags only`, "up", "now")
	f(`found argument "x": expected flags only`, "version", "x")
	f("unknown flag: --nothing", "--nothing")
	f("unknown flag: --nothing", "flows", "top", "--nothing")
	f("flag needs an argument: --data", "status", "--data")
	f(`found 2 arguments: expected weir sql [QUERY]`, "sql", "SELECT", "1")
	f("no query: give one as argument or on standard input", "sql")
	f("no query", "sql", " \n")
	f("found 0 arguments: expected weir decode FILE…", "decode")
	f("expected ports of 1 to 65535", "decode", "--port", "70000", "x")
	f("expected ports of 1 to 65535", "decode", "--port", "2055,0", "x")
	f("expected ports of 1 to 65535", "replay", "--port", "-1", "x")
	f("no collector: name it with --to", "replay", "x")
	f(`--to "y": expected host:port`, "replay", "x", "--to", "y")
	f(`--to "127.0.0.1:0": expected host:port`, "replay", "x", "--to", "127.0.0.1:0")
	f("--rate -1: expected 0", "replay", "x", "--to", "127.0.0.1:9", "--rate", "-1")
	f(`--demo-rate "x": expected a number`, "up", "--demo-rate", "x")
	f("--demo-rate 5: expected --demo with it", "up", "--data", "new", "--demo-rate", "5")
	f(`--revision "x": expected a whole number, 0 or more`, "policy", "export", "--revision", "x")
	f(`--limit "x": expected a whole number`, "flows", "top", "--limit", "x")
	f("limit: found 0: expected 1 to 10000", "flows", "top", "--limit", "0")
	f("limit: found 0: expected 1 to 10000", "policy", "hits", "--limit", "0")
	f("--limit 0: expected 1 to 10000", "events", "--limit", "0")
	f("--limit 10001: expected 1 to 10000", "events", "--limit", "10001")
	f("--edits 0: expected 1 or more", "policy", "draft", "undo", "--edits", "0")
	f(`--wait "5": expected a time with its unit, as 30s or 5m, 0s or more`, "hosts", "mode", "hv1", "enforce", "--wait", "5")
	f(`--wait "-5s": expected a time with its unit`, "bypass", "on", "estate", "--wait", "-5s")
	f(`--wait "-5s": expected a time with its unit`, "policy", "apply", "p.yaml", "--wait", "-5s")
	f("found --after and --before: expected one of them", "policy", "rule", "move", "a", "--before", "b", "--after", "c")
	f("found --format and --json: expected one of them", "sql", "SELECT 1", "--json", "--format", "CSV")
	f("unknown flag: --jsn: did you mean --json?", "status", "--jsn")
	f("--sampling 0 with ipfix: expected 1 or more", "hosts", "export", "hv1", "ipfix", "--sampling", "0")
	f("--sampling 5 with netflow: expected 1 or more, with ipfix or auto", "hosts", "export", "hv1", "netflow", "--sampling", "5")
	f("found an empty argument: expected weir hosts show NAME", "hosts", "show", "")
	f("found an empty argument: expected weir pool mode POOL MODE", "pool", "mode", "", "enforce", "--yes")
	f("found an empty argument: expected weir policy effective", "policy", "effective", "")
	f("found 1 argument: expected weir pool mode POOL MODE", "pool", "mode", "lab")
	f(`unknown command "vers": did you mean version?`, "vers")
	f("--demo-rate 0: expected more than 0", "up", "--data", "new", "--demo", "--demo-rate", "0")
	f(`api.listen: found "0.0.0.0", want host:port`, "up", "--data", "new", "--api-listen", "0.0.0.0")
	f(`collector.listen[0]: found "1": want host:port`, "up", "--data", "new", "--listen", "1")
	f(`store.embedded.listen: found "x", want host:port`, "up", "--data", "new", "--store-listen", "x")
	if _, err := os.Stat("new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a mistyped command line made the data directory: %v", err)
	}
	for _, kind := range []string{"top", "list"} {
		f := func(want string, args ...string) {
			t.Helper()
			f(want, append([]string{"flows", kind, "--explain"}, args...)...)
		}
		f(`duration "15": expected a number with a unit`, "--last", "15")
		f("--last 15m does not go with --from or --to", "--last", "15m", "--from", "now-1h")
		f("expected", "--from", "yesterday or so")
		f("is not before", "--from", "now-1h", "--to", "now-2h")
		f(`filter: found the end at 8: expected a value of port`, "--filter", "port = ")
		f(`filter: unknown field "vn" at 1: did you mean vm?`, "--filter", "vn = web-01")
		f(`direction: found "up": expected in, out or both`, "--direction", "up")
		f("limit: found -1: expected 1 to", "--limit", "-1")
	}
	f(`by: unknown field "src_vn": did you mean src_vm?`, "flows", "top", "--explain", "--by", "src_vn")
	f(`unknown field "src_vn": did you mean src_vm?`, "flows", "list", "--explain", "--columns", "src_vn")
	f(`units: found "furlongs": expected one of bytes`, "flows", "top", "--explain", "--unit", "furlongs")
}

// Commands that need an instance say in one line that there is none, where they looked, and what to do.
func TestNoInstance(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"status"}, {"exporters"}, {"flows", "top"}, {"flows", "list"}, {"flows", "top", "--watch"}, {"sql", "SELECT 1"},
	} {
		args = append(args, "--data", "nothing")
		fails(t, exitFailed, "no running weir found: looked in nothing (no run/instance.json); start one with `weir up`", args...)
		if r := weir(t, args...); strings.Count(r.err, "\n") != 1 {
			t.Errorf("weir %s prints more than a line: %q", strings.Join(args, " "), r.err)
		}
	}

	// An instance that is gone without a goodbye is not found either.
	stale := filepath.Join("stale", "run")
	if err := os.MkdirAll(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, stale, "instance.json", []byte(`{"pid": 4194305, "api": "127.0.0.1:1", "store": "127.0.0.1:1"}`))
	fails(t, exitFailed, "stale (pid 4194305 has ended)", "status", "--data", "stale")
	write(t, stale, "instance.json", []byte("{"))
	fails(t, exitFailed, "instance.json", "status", "--data", "stale")
}

func TestVersion(t *testing.T) {
	if out := good(t, "version"); !strings.HasPrefix(out, "weir ") || !strings.Contains(out, "linux/") || strings.Count(out, "\n") != 1 {
		t.Errorf("%q", out)
	}
	v := parse[map[string]string](t, good(t, "version", "--json"))
	for _, key := range []string{"version", "go", "platform"} {
		if v[key] == "" {
			t.Errorf("no %s in %v", key, v)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	out := good(t, "check-config", "--data", dir)
	if want := "config: no file: the defaults are used\nestate: no file: flows are stored without names\n"; out != want {
		t.Errorf("without a file: %q, want %q", out, want)
	}

	// Everything that is wrong, with its line and what is near to it.
	file := write(t, dir, "weir.yaml", []byte(`collector:
  listen: [":2055", "4739"]
  recv_bufer: 16MiB
store:
  mode: embed
api:
  listen: "8080"
log:
  level: loud
shutdown_timeout: 5
`))
	r := weir(t, "check-config", "--data", dir)
	if r.code != exitFailed || r.stdout != "" || !strings.HasPrefix(r.err, "weir: load config: "+file+": 6 problems:\n") {
		t.Errorf("exit code %d, %s", r.code, r.err)
	}
	for _, want := range []string{
		`weir.yaml:2: collector.listen[1]: `, `weir.yaml:3: collector.recv_bufer: unknown key; did you mean "recv_buffer"?`,
		`weir.yaml:5: store.mode: `, "want embedded or server", `weir.yaml:7: api.listen: `, "want host:port", `weir.yaml:9: log.level: `, `weir.yaml:10: shutdown_timeout: `,
	} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in\n%s", want, r.err)
		}
	}
	fails(t, exitFailed, "nothing.yaml: no such file or directory", "check-config", "--config", "nothing.yaml")

	write(t, dir, "weir.yaml", []byte("collector:\n  active_timeout: 10s\nhosts:\n  export:\n    active_timeout: 11s\n"))
	fails(t, exitFailed, "hosts.export.active_timeout: found 11s, longer than collector.active_timeout 10s", "check-config", "--data", dir)

	write(t, dir, "weir.yaml", []byte("estate:\n  file: estate.yaml\n"))
	fails(t, exitFailed, filepath.Join(dir, "estate.yaml")+": no such file or directory", "check-config", "--data", dir)
	write(t, dir, "estate.yaml", []byte("pools:\n  - nme: berlin\n"))
	fails(t, exitFailed, `unknown key; did you mean "name"?`, "check-config", "--data", dir)
	if err := writeDemoEstate(filepath.Join(dir, "demo.yaml")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "weir.yaml", []byte("estate:\n  file: demo.yaml\n"))
	out = good(t, "check-config", "--data", dir)
	want := "config: " + file + ": ok\nestate: " + filepath.Join(dir, "demo.yaml") + ": ok: 1 pool, 3 hosts, 2 networks, 24 VMs, 33 VIFs, 15 groups\n"
	if out != want {
		t.Errorf("%q, want %q", out, want)
	}
	v := parse[struct {
		Config string
		Estate struct {
			File string
			VMs  int
		}
	}](t, good(t, "check-config", "--data", dir, "--json"))
	if v.Config != file || v.Estate.File != filepath.Join(dir, "demo.yaml") || v.Estate.VMs != 24 {
		t.Errorf("%+v", v)
	}

	// What --print shows is a file that says the same.
	printed := good(t, "check-config", "--data", dir, "--print")
	again := write(t, dir, "printed.yaml", []byte(printed))
	if second := good(t, "check-config", "--config", again, "--print"); second != printed {
		t.Errorf("printed again it differs:\n%s\n%s", printed, second)
	}
	if !strings.Contains(printed, "recv_buffer: 16MiB") {
		t.Errorf("the defaults are not in\n%s", printed)
	}
}

// template9 and data9 are a NetFlow 9 template of three fields, one of which nobody knows, and a record of it.
func template9() []byte {
	b := header9(1)
	b = binary.BigEndian.AppendUint16(b, 0)               // templates
	b = binary.BigEndian.AppendUint16(b, 4+4+3*4)         // bytes of the set
	b = binary.BigEndian.AppendUint16(b, 300)             // template
	for _, v := range []uint16{3, 8, 4, 1, 4, 45000, 4} { // fields; source address, bytes, unknown
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func data9() []byte {
	b := header9(1)
	b = binary.BigEndian.AppendUint16(b, 300)
	b = binary.BigEndian.AppendUint16(b, 4+12)
	return append(b, 192, 0, 2, 1, 0, 0, 5, 220, 0xde, 0xad, 0xbe, 0xef)
}

func header9(count uint16) []byte { // RFC 3954 §5.1
	b := binary.BigEndian.AppendUint16(nil, 9)
	b = binary.BigEndian.AppendUint16(b, count)
	for _, v := range []uint32{1000, 1795509202, 7, 42} { // uptime, time, sequence, source
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// pcap is a capture of UDP datagrams over IPv4 from 192.0.2.9:5000 to port 9995, on raw IP.
func pcap(payloads ...[]byte) []byte {
	var b []byte
	u32 := func(v ...uint32) {
		for _, v := range v {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	u32(0xa1b2c3d4, 4<<16|2, 0, 0, 262144, 101)
	for i, p := range payloads {
		size := uint32(28 + len(p))
		u32(uint32(i), 0, size, size)
		b = append(b, 0x45, 0, byte(size>>8), byte(size), 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 9, 198, 51, 100, 1)
		b = append(b, 0x13, 0x88, 0x27, 0x0b, byte((size-20)>>8), byte(size-20), 0, 0)
		b = append(b, p...)
	}
	return b
}

func TestDecode(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, dir, "template.dat", template9())
	write(t, dir, "data.dat", data9())
	write(t, dir, "v5.dat", netFlow5(time.Unix(1795509202, 0)))
	write(t, dir, "both.pcap", pcap(template9(), []byte("no flow"), data9()))

	want := `template.dat frame 1: 40 bytes
  NetFlow 9: domain 42, sequence 7, exported 2026-11-24 08:33:22 UTC, uptime 1000 ms
    set 0: templates, 20 bytes
      template 300
        sourceIPv4Address                        4 bytes
        octetDeltaCount                          4 bytes
        element 45000                            4 bytes

data.dat frame 1: 36 bytes
  NetFlow 9: domain 42, sequence 7, exported 2026-11-24 08:33:22 UTC, uptime 1000 ms
    set 300: data, 16 bytes
      record 1
        sourceIPv4Address                        192.0.2.1
        octetDeltaCount                          1500
        element 45000                            deadbeef

`
	if got := good(t, "decode", "template.dat", "data.dat"); got != want {
		t.Errorf("templates of one file are not known in the next, or it is shown differently:\n%s\nwant\n%s", got, want)
	}
	if got := good(t, "decode", "data.dat"); !strings.Contains(got, "set 300: data of a template that was not seen before, 16 bytes") {
		t.Errorf("data alone:\n%s", got)
	}
	if got := good(t, "decode", "both.pcap"); !strings.Contains(got, "both.pcap frame 1: 40 bytes from 192.0.2.9:5000") ||
		!strings.Contains(got, "both.pcap frame 3: 36 bytes") || strings.Contains(got, "frame 2") || !strings.Contains(got, "deadbeef") {
		t.Errorf("capture:\n%s", got)
	}
	if got := good(t, "decode", "--port", "9995", "both.pcap"); !strings.Contains(got, "frame 2") || !strings.Contains(got, "problem: ") {
		t.Errorf("with --port all that goes there is shown:\n%s", got)
	}
	if got := good(t, "decode", "v5.dat"); !strings.Contains(got, "uptime 3600000 ms, sampling 1:100 (mode 1)\n") || !strings.Contains(got, "sourceTransportPort                      40000") {
		t.Errorf("NetFlow 5:\n%s", got)
	}

	type datagram struct {
		File     string
		Frame    int
		Source   string
		Messages []struct {
			Version int
			Domain  int `json:"observation_domain"`
			Sets    []struct {
				ID      int
				Kind    string
				Records []struct {
					Elements []struct {
						ID    int
						Name  string
						Value any
					}
				}
			}
		}
	}
	lines := strings.Split(strings.TrimSuffix(good(t, "decode", "--json", "both.pcap"), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines of JSON, want one a datagram", len(lines))
	}
	d := parse[datagram](t, lines[1])
	if d.Source != "192.0.2.9:5000" || d.Frame != 3 || d.Messages[0].Version != 9 || d.Messages[0].Domain != 42 || d.Messages[0].Sets[0].Kind != "data" {
		t.Errorf("%+v", d)
	}
	if e := d.Messages[0].Sets[0].Records[0].Elements; len(e) != 3 || e[0].Name != "sourceIPv4Address" || e[0].Value != "192.0.2.1" || e[2].ID != 45000 || e[2].Name != "" || e[2].Value != "deadbeef" {
		t.Errorf("elements %+v", e)
	}

	// What is cut off or garbage is a problem in the listing, or of the file.
	write(t, dir, "cut.dat", data9()[:30])
	if got := good(t, "decode", "template.dat", "cut.dat"); !strings.Contains(got, "problem: ") {
		t.Errorf("a datagram that is cut off:\n%s", got)
	}
	write(t, dir, "header.dat", []byte{0, 5, 0, 1, 0})
	if got := good(t, "decode", "header.dat"); !strings.Contains(got, "problem: ") {
		t.Errorf("half a header:\n%s", got)
	}
	write(t, dir, "text", []byte("hello world"))
	fails(t, exitFailed, `decode: read "text": neither pcap nor pcapng, nor one datagram of flows: it begins with 68 65 6c 6c`, "decode", "text")
	write(t, dir, "empty", nil)
	fails(t, exitFailed, `decode: read "empty": the file is empty`, "decode", "empty")
	fails(t, exitFailed, "decode: open nothing: no such file or directory", "decode", "nothing")
	write(t, dir, "other.pcap", pcap([]byte("no flow")))
	fails(t, exitFailed, "decode: no datagram of flows found in other.pcap", "decode", "other.pcap")
	whole := pcap(template9(), data9())
	write(t, dir, "cut.pcap", whole[:len(whole)-10]) // as of a capture that was killed
	if got := good(t, "decode", "cut.pcap"); !strings.Contains(got, "template 300") {
		t.Errorf("a capture that is cut off:\n%s", got)
	}
	// What was read before an error is shown.
	if r := weir(t, "decode", "template.dat", "nothing"); r.code != exitFailed || !strings.Contains(r.stdout, "template 300") {
		t.Errorf("template.dat nothing: exit code %d\n%s", r.code, r.stdout)
	}
	// A reader that has seen enough is no error.
	if code := run(t.Context(), []string{"decode", "template.dat"}, nil, brokenPipe{}, io.Discard); code != exitOK {
		t.Errorf("closed pipe: exit code %d", code)
	}
}

// brokenPipe is a pipe whose reader is gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: unix.EPIPE}
}

// Every real datagram is listed, as text and as JSON, and no listing has control characters of the network in it.
func TestDecodeCorpora(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "corpora", "netflow")
	files, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil || len(files) == 0 {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatalf("no captures in %s", dir)
		}
		t.Skipf("no captures in %s", dir)
	}
	// Templates first: the names of some data files come before those of their templates.
	slices.SortStableFunc(files, func(a, b string) int {
		isTemplate := func(s string) int {
			if strings.Contains(s, "tpl") {
				return 0
			}
			return 1
		}
		return isTemplate(a) - isTemplate(b)
	})
	text := good(t, append([]string{"decode"}, files...)...)
	for i, r := range text {
		if r != '\n' && (r < ' ' || r == 0x7f) {
			t.Fatalf("control character %q in the listing: %q", r, text[max(0, i-100):i+20])
		}
	}
	lines := strings.Split(strings.TrimSuffix(good(t, append([]string{"decode", "--json"}, files...)...), "\n"), "\n")
	if len(lines) < len(files) {
		t.Errorf("%d lines of JSON for %d files", len(lines), len(files))
	}
	seen := map[string]bool{}
	for _, line := range lines {
		seen[parse[struct{ File string }](t, line).File] = true
	}
	for _, file := range files {
		if !seen[file] || !strings.Contains(text, file+" frame 1") {
			t.Errorf("%s is not listed", file)
		}
	}
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := conn.LocalAddr().String()
	receive := func(want ...[]byte) {
		t.Helper()
		b := make([]byte, 65536)
		for _, want := range want {
			if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, _, err := conn.ReadFrom(b)
			if err != nil || !bytes.Equal(b[:n], want) {
				t.Fatalf("received %x, %v, want %x", b[:n], err, want)
			}
		}
	}
	write(t, dir, "template.dat", template9())
	write(t, dir, "both.pcap", pcap(template9(), []byte("no flow"), data9()))

	got := good(t, "replay", "template.dat", "both.pcap", "--to", to)
	if !strings.HasPrefix(got, "3 of 4 frames sent in ") || !strings.Contains(got, "not sent: 1 other traffic") {
		t.Errorf("%q", got)
	}
	receive(template9(), template9(), data9())
	counts := parse[map[string]int](t, good(t, "replay", "both.pcap", "--to", to, "--json", "--port", "9995"))
	if counts["sent"] != 3 || counts["frames"] != 3 || counts["other"] != 0 || counts["bytes"] != len(template9())+len("no flow")+len(data9()) {
		t.Errorf("%v", counts)
	}
	receive(template9(), []byte("no flow"), data9())

	// A rate is kept, and what takes longer says how far it is.
	write(t, dir, "many.pcap", pcap(slices.Repeat([][]byte{template9()}, 51)...))
	begun := time.Now()
	r := weir(t, "replay", "many.pcap", "--to", to, "--rate", "20")
	if took := time.Since(begun); r.code != exitOK || took < 2400*time.Millisecond || took > 20*time.Second {
		t.Errorf("51 datagrams at 20 a second took %s, exit code %d", took, r.code)
	}
	if !strings.Contains(r.err, " datagrams sent\n") || !strings.HasPrefix(r.stdout, "51 of 51 frames sent in ") {
		t.Errorf("standard error %q, output %q", r.err, r.stdout)
	}

	fails(t, exitFailed, "replay: open nothing: no such file or directory", "replay", "nothing", "--to", to)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"replay", "many.pcap", "--to", to, "--rate", "1"}, nil, &out, &errs); code != exitFailed {
		t.Errorf("an interrupted replay: exit code %d, %s", code, errs.String())
	}
}

// A question is explained without an instance; every field that help names can be asked for.
func TestExplain(t *testing.T) {
	t.Chdir(t.TempDir())
	out := good(t, "flows", "top", "--explain", "--by", "src_vm", "--filter", "src_vm = web-01 and port = 443", "--from", "2026-11-24 10:00", "--to", "2026-11-24 11:00")
	for _, want := range []string{"SELECT\n", "{p1:String}", `-- p1 String = "web-01"`, "-- reads flows"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(strings.SplitN(out, "\n-- ", 2)[0], "web-01") {
		t.Errorf("the name is in the statement:\n%s", out)
	}
	for _, field := range groupable() {
		good(t, "flows", "top", "--explain", "--by", field)
	}
	for i := range query.Fields {
		good(t, "flows", "list", "--explain", "--columns", query.Fields[i].Name)
	}
}

// findings runs weir doctor, which is to find a problem or not, and returns its findings by check.
func findings(t *testing.T, code int, args ...string) map[string]finding {
	t.Helper()
	r := weir(t, append([]string{"doctor", "--json"}, args...)...)
	if r.code != code {
		t.Errorf("weir doctor %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.err)
	}
	byCheck := map[string]finding{}
	for _, f := range parse[[]finding](t, r.stdout) {
		if !slices.Contains([]string{"ok", "warning", "problem", "skipped"}, f.State) || f.Found == "" ||
			(f.Do == "") == (f.State == "warning" || f.State == "problem") {
			t.Errorf("%+v: want what was found, and what to do if something is wrong", f)
		}
		byCheck[f.Check] = f
	}
	text := weir(t, append([]string{"doctor"}, args...)...)
	if strings.Contains(text.stdout, "\ufffd") || text.code != code {
		t.Errorf("exit code %d, as text:\n%s", text.code, text.stdout)
	}
	for check, f := range byCheck {
		if !strings.Contains(text.stdout, check+" ") || (f.Do != "" && !strings.Contains(text.stdout, "\n"+check+": ")) {
			t.Errorf("check %s is not in the text:\n%s", check, text.stdout)
		}
	}
	return byCheck
}

// What is wrong before anything runs is found, with what to do.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	busyUDP, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busyUDP.Close()
	config := func(format string, args ...any) {
		t.Helper()
		write(t, dir, "weir.yaml", fmt.Appendf(nil, format, args...))
	}
	const freePorts = "api: {listen: '127.0.0.1:0'}\nstore: {embedded: {listen: '127.0.0.1:0', library: %q}}\ncollector: {listen: ['127.0.0.1:0'], recv_buffer: %s}\n"

	config(freePorts, "", "64KiB")
	want := map[string]string{
		"configuration": "ok", "data directory": "ok", "estate": "warning", "ports": "ok", "receive buffer": "ok", "instance": "skipped",
	}
	code := exitOK
	found := weir(t, "doctor", "--json", "--data", dir)
	if found.code != exitOK { // a machine without the library, which the next check is about
		code = exitFailed
	}
	got := findings(t, code, "--data", dir)
	for check, state := range want {
		if got[check].State != state {
			t.Errorf("%s: %+v, want %s", check, got[check], state)
		}
	}
	if f := got["estate"]; f.Found != "no file is configured" {
		t.Errorf("%+v", f)
	}
	if f := got["instance"]; !strings.Contains(f.Found, "no running weir found") {
		t.Errorf("%+v", f)
	}

	config(freePorts, "/nothing/libchdb.so", "1GiB")
	got = findings(t, exitFailed, "--data", dir)
	if f := got["engine library"]; f.State != "problem" || !strings.Contains(f.Found, "/nothing/libchdb.so") || !strings.Contains(f.Do, "make deps") {
		t.Errorf("%+v", f)
	}

	config("api: {listen: %q}\nstore: {embedded: {listen: %[1]q}}\ncollector: {listen: [%[2]q, '127.0.0.1:0']}\n", busy.Addr(), busyUDP.LocalAddr())
	f := findings(t, exitFailed, "--data", dir)["ports"]
	if f.State != "problem" || strings.Count(f.Found, "address already in use") != 3 || !strings.Contains(f.Found, busy.Addr().String()) ||
		!strings.Contains(f.Found, busyUDP.LocalAddr().String()) || !strings.Contains(f.Do, "collector.listen") {
		t.Errorf("ports in use: %+v", f)
	}

	config("collectr: 1\napi: {listen: 'x'}\n")
	f = findings(t, exitFailed, "--data", dir)["configuration"]
	if f.State != "problem" || !strings.Contains(f.Found, "2 problems") || !strings.Contains(f.Do, `did you mean "collector"?`) || !strings.Contains(f.Do, "weir check-config") {
		t.Errorf("%+v", f)
	}

	config("estate: {file: estate.yaml}\n")
	write(t, dir, "estate.yaml", []byte("pools:\n  - nme: berlin\n"))
	if f := findings(t, exitFailed, "--data", dir)["estate"]; f.State != "problem" || !strings.Contains(f.Found+f.Do, `did you mean "name"?`) {
		t.Errorf("%+v", f)
	}

	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if f := findings(t, exitFailed, "--data", dir)["data directory"]; f.State != "warning" || !strings.Contains(f.Do, "chmod 700 "+dir) {
		t.Errorf("%+v", f)
	}
	if f := weir(t, "doctor", "--data", filepath.Join(dir, "nothing")); !strings.Contains(f.stdout, "is not there yet") {
		t.Errorf("%s", f.stdout)
	}
}

// An instance whose processes are wrong about each other is told as it is.
func TestDoctorSilentAPI(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "run"), "instance.json", fmt.Appendf(nil, `{"pid": %d, "api": "127.0.0.1:1", "store": "127.0.0.1:1"}`, os.Getpid()))
	if f := findings(t, exitFailed, "--data", dir)["api"]; f.State != "problem" || !strings.Contains(f.Found, "connection refused") {
		t.Errorf("%+v", f)
	}
	fails(t, exitFailed, "connection refused", "status", "--data", dir)
	fails(t, exitFailed, "connection refused", "exporters", "--data", dir)
}

// Retention knows the tables of the planner, by default with the same ages; what is configured reaches the planner.
func TestPlannerKnowsRetention(t *testing.T) {
	cfg := defaultConfig()
	ages := cfg.Store.Retention.Age.ByTable()
	for _, table := range query.Tables {
		if age, ok := ages[table.Name]; !ok || age != table.History {
			t.Errorf("table %q is kept for %s, %t; the planner thinks for %s", table.Name, age, ok, table.History)
		}
	}
	now := time.Now()
	ask := query.Request{Kind: query.Top, By: []string{"src_addr"}, From: now.Add(-20 * 24 * time.Hour), To: now}
	notes := func() string {
		plan, err := query.Build(ask, tablesOf(&cfg), now)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(plan.Notes, "; ")
	}
	if got := notes(); strings.Contains(got, "older rows are gone") {
		t.Errorf("flows of 20 days: %s", got)
	}
	cfg.Store.Retention.Age.Flows = 14 * 24 * time.Hour
	if got := notes(); !strings.Contains(got, "table flows keeps 14d; older rows are gone") {
		t.Errorf("flows of 20 days where 14 are kept: %q", got)
	}
}
