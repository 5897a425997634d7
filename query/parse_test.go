package query_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/query"
)

// A built-in rule is no entity: who asks for it by its name is told its number.
func TestUnknownBuiltInRule(t *testing.T) {
	f := func(n query.Name, similar []string, want string) {
		t.Helper()
		if got := n.Unknown(similar).Error(); got != want {
			t.Errorf("%+v.Unknown(%q) = %s, want %s", n, similar, got, want)
		}
	}
	rule, vm := []flow.Kind{flow.KindRule}, []flow.Kind{flow.KindVM}
	f(query.Name{Field: "rule", Kinds: rule, Text: "quarantine", Pos: 8}, nil,
		`filter: unknown rule "quarantine" at 8: it is a built-in rule, which filters know by its number: rule_instance = 16`)
	f(query.Name{Field: "rule", Kinds: rule, Text: "Spoofed MAC", Pos: 8}, []string{"spoofed"},
		`filter: unknown rule "Spoofed MAC" at 8: it is a built-in rule, which filters know by its number: rule_instance = 1`)
	f(query.Name{Field: "rule", Kinds: rule, Text: "quarantin", Pos: 8}, nil, `filter: unknown rule "quarantin" at 8`)
	f(query.Name{Field: "vm", Kinds: vm, Text: "quarantine", Pos: 6}, nil, `filter: unknown vm "quarantine" at 6`)
}

func TestParse(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		e, err := query.Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
			return
		}
		if got := e.String(); got != want {
			t.Errorf("Parse(%q) = %s, want %s", text, got, want)
		}
	}
	f(`src_vm = "web-01" and dst_port in (80, 443)`, `src_vm = "web-01" and dst_port in (80, 443)`)
	f(`vm = web-01`, `vm = "web-01"`)
	f(`VM=web-01 AND Proto=TCP`, `vm = "web-01" and protocol = tcp`)
	f(`vm = 'it'`, `vm = "it"`)
	f(`vm = 'say "hi" \\ \''`, `vm = "say \"hi\" \\ '"`)
	f(`vm = and_more`, `vm = "and_more"`)
	f(`vm = None`, `vm = none`)
	f(`vm = "none"`, `vm = "none"`)
	f(`vm = any`, `vm = any`)
	f(`vm in (web-01, ANY)`, `vm in ("web-01", any)`)
	f(`vm = "any" and src_vm like any and dst_vm like 'any'`, `vm = "any" and src_vm like any and dst_vm like "any"`)
	f(`port not in (any) and addr in any and verdict = Any and counted = any`, `port not in (any) and addr in (any) and verdict = any and counted = any`)
	f(`vm = #18446744073709551615`, `vm = #18446744073709551615`)
	f(`vm = #0`, `vm = none`)
	f(`vm not in (a, #7)`, `vm not in ("a", #7)`)
	f(`src_vm like web-*`, `src_vm like "web-*"`)
	f(`group = databases`, `group = "databases"`)
	f(`bridge = xen-1/xenbr0`, `bridge = "xen-1/xenbr0"`)
	f(`addr in 10.0.0.0/8`, `addr in (10.0.0.0/8)`)
	f(`addr = 10.1.2.3/8`, `addr = 10.0.0.0/8`)
	f(`ip = ::ffff:192.0.2.1`, `addr = 192.0.2.1`)
	f(`addr = ::ffff:0:0/96`, `addr = 0.0.0.0/0`)
	f(`addr = 192.0.2.0-192.0.2.255`, `addr = 192.0.2.0/24`)
	f(`addr = 192.0.2.1-192.0.2.9`, `addr = 192.0.2.1-192.0.2.9`)
	f(`src_addr = 2001:DB8::1`, `src_addr = 2001:db8::1`)
	f(`exporter = 192.0.2.1`, `exporter = 192.0.2.1`)
	f(`port = https or sport=53`, `port = 443 or src_port = 53`)
	f(`port = 8000-8100`, `port = 8000-8100`)
	f(`dst_port > 1023`, `dst_port > 1023`)
	f(`bytes > 1MiB`, `bytes > 1048576`)
	f(`bytes >= 1.5kB`, `bytes >= 1500`)
	f(`packets < 10k`, `packets < 10000`)
	f(`duration > 1.5s and duration <= 1d`, `duration > 1500ms and duration <= 86400000ms`)
	f(`verdict = Denied`, `verdict = denied`)
	f(`direction != inbound`, `direction != inbound`)
	f(`src_mac = 52-54-00-AB-CD-EF`, `src_mac = 52:54:00:ab:cd:ef`)
	f(`mac = 5254.00ab.cdef`, `mac = 52:54:00:ab:cd:ef`)
	f(`tcp_flags has syn and tcp_flags = SYN+ACK`, `tcp_flags has syn and tcp_flags = syn+ack`)
	f(`tcp_flags not has 0x200`, `tcp_flags not has 512`)
	f(`ethertype = 0x0806`, `ethertype = arp`)
	f(`protocol in (1, udp, 200)`, `protocol in (icmp, udp, 200)`)
	f(`dscp = ef`, `dscp = ef`)
	f(`counted = yes`, `counted = true`)
	f(`not vm = a and port = 1`, `not (vm = "a") and port = 1`)
	f(`not (vm = a && !(port == 1 || port <> 2))`, `not (vm = "a" and not (port = 1 or port != 2))`)
	f(`port=1 or port=2 and port=3`, `port = 1 or port = 2 and port = 3`)
	f(`(port=1 or port=2) and port=3`, `(port = 1 or port = 2) and port = 3`)
	f(`port=1 and (port=2 and (port=3))`, `port = 1 and port = 2 and port = 3`)
}

func TestParseEmpty(t *testing.T) {
	for _, text := range []string{"", "  \n\t"} {
		if e, err := query.Parse(text); e != nil || err != nil {
			t.Errorf("Parse(%q) = %v, %v; want nil, nil", text, e, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		e, err := query.Parse(text)
		if err == nil {
			t.Errorf("Parse(%q) = %s, want the error %s", text, e, want)
			return
		}
		if got := err.Error(); got != want {
			t.Errorf("Parse(%q):\n got %s\nwant %s", text, got, want)
		}
		if _, ok := errors.AsType[*query.Error](err); !ok {
			t.Errorf("Parse(%q): error is a %T, want a *query.Error", text, err)
		}
	}
	f(`srcvm = a`, `filter: unknown field "srcvm" at 1: did you mean src_vm?`)
	f(`port = 1 and dts_port = 2`, `filter: unknown field "dts_port" at 14: did you mean dst_port?`)
	f(`xyzzy = 1`, `filter: unknown field "xyzzy" at 1: the fields are listed in the reference of the filter language`)
	f(`vm`, `filter: found the end at 3: vm takes =, !=, in, not in, like, not like`)
	f(`vm > a`, `filter: found ">" at 4: vm takes =, !=, in, not in, like, not like`)
	f(`vm not = a`, `filter: found "not" at 4: vm takes =, !=, in, not in, like, not like`)
	f(`vm ~ a`, `filter: found "~" at 4: patterns are written like "web-*"`)
	f(`vm = web-*`, `filter: found "web-*" at 6: patterns are written with like; a name with such characters is quoted`)
	f(`vm = `, `filter: found the end at 6: expected a value of vm, as web-01, "a name", a UUID, #id or none`)
	f(`vm = "a`, `filter: found a string that does not end at 6: expected a closing "`)
	f(`vm = ""`, `filter: found "" at 6: expected a name, or the bare word none or any`)
	f(`vm = #x`, `filter: found "#x" at 6: expected # and a decimal id`)
	f("vm = \"a\nb\"", `filter: found a control character in a string at 8`)
	f("vm = \xff", `filter: found a byte that is not UTF-8 at 6`)
	f(`port = 70000`, `filter: found "70000" at 8: port is at most 65535`)
	f(`port = htps`, `filter: found "htps" at 8: expected 443, https or 8000-8100`)
	f(`port = 9-8`, `filter: found "9-8" at 8: expected the lower number first`)
	f(`port > 8-9`, `filter: found "8-9" at 8: expected a single value after >`)
	f(`port = (80, 443)`, `filter: found "(" at 8: a list goes with in, as port in (…)`)
	f(`port in (80 443)`, `filter: found "443" at 13: expected "," or ")" in the list of in at 6`)
	f(`port in ()`, `filter: found ")" at 10: expected a value of port, as 443, https or 8000-8100`)
	f(`verdict = denyed`, `filter: found "denyed" at 11: did you mean denied? verdict is one of unknown, allowed, denied, shadow_denied, spoofed, invalid, unknown_port`)
	f(`addr = 10.0.0.0/33`, `filter: found "10.0.0.0/33" at 8: expected 192.0.2.1, 10.0.0.0/8 or 2001:db8::1`)
	f(`addr = fe80::1%eth0`, `filter: found "fe80::1%eth0" at 8: expected 192.0.2.1, 10.0.0.0/8 or 2001:db8::1`)
	f(`bytes > 1XB`, `filter: found "1XB" at 9: expected 1500, 10kB or 1MiB`)
	f(`bytes > 20000000TiB`, `filter: found "20000000TiB" at 9: expected 1500, 10kB or 1MiB`)
	f(`duration > 10`, `filter: found "10" at 12: expected 500ms, 10s or 1h`)
	f(`duration > 99d`, `filter: found "99d" at 12: expected 500ms, 10s or 1h`)
	f(`port > any`, `filter: found "any" at 8: expected 443, https or 8000-8100`)
	f(`tcp_flags has any`, `filter: found "any" at 15: expected syn or syn+ack`)
	f(`tcp_flags has none`, `filter: found "none" at 15: has takes at least one flag`)
	f(`port = 1 port = 2`, `filter: found "port" at 10: expected and, or, or the end`)
	f(`(port = 1`, `filter: found the end at 10: expected and, or, or ")"`)
	f(`port = 1 and`, `filter: found the end at 13: expected a field, as vm, addr or dst_port, or not, or "("`)
	f(`and`, `filter: found "and" at 1: expected a field, as vm, addr or dst_port, or not, or "("`)
	f(`port = 1; drop table flows`, `filter: found ";" at 9: values with such characters are quoted, as "a name"`)
	f(strings.Repeat("(", 40)+"port = 1", `filter: nested too deeply at 34: at most 32 levels are read`)
	f(strings.Repeat("not ", 40)+"port = 1", `filter: nested too deeply at 133: at most 32 levels are read`)
	f(strings.Repeat(" ", 17000), `filter: it is 17000 bytes long: at most 16384 are read`)
	f("port in ("+strings.Repeat("1,", 1000)+"1)", `filter: more than 1000 values at 2010: use a prefix, a pattern or a group`)
}

// randomExpr builds a random filter as text, with every field, operator and way of writing values.
func randomExpr(r *rand.Rand, depth int) string {
	if depth > 0 {
		switch r.IntN(5) {
		case 0:
			return "not " + randomExpr(r, depth-1)
		case 1:
			return "(" + randomExpr(r, depth-1) + ") and " + randomExpr(r, depth-1)
		case 2:
			return randomExpr(r, depth-1) + " or (" + randomExpr(r, depth-1) + ")"
		}
	}
	field := &query.Fields[r.IntN(len(query.Fields))]
	ops := field.Ops()
	op := ops[r.IntN(len(ops))]
	if op != query.In && op != query.NotIn {
		return field.Name + " " + op.String() + " " + randomValue(r, field, op)
	}
	values := make([]string, 1+r.IntN(3))
	for i := range values {
		values[i] = randomValue(r, field, op)
	}
	return field.Name + " " + op.String() + " (" + strings.Join(values, ", ") + ")"
}

func randomValue(r *rand.Rand, f *query.Field, op query.Op) string {
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	like := op == query.Like || op == query.NotLike
	single := op >= query.Lt && op <= query.Ge
	if !single && op != query.Has && op != query.NotHas && r.IntN(12) == 0 {
		return pick("any", "ANY")
	}
	switch f.Type {
	case query.Entity, query.Group:
		if like {
			return pick(`web-*`, `"50%_*"`, `'?b\\c'`, `*`)
		}
		return pick("web-01", "db", `"a b"`, "none", "#12345", "0F3C7E7E-0000-4000-8000-00000000000a")
	case query.Address:
		return pick("10.0.0.1", "10.0.0.0/9", "::/0", "2001:db8::/33", "10.0.0.3-10.0.1.0", "::1-10.0.0.0", "::ffff:1.2.3.4", "0.0.0.0/0")
	case query.MAC:
		return pick("52:54:00:00:00:01", "525400abcdef", "00:00:00:00:00:00")
	case query.Port:
		if single {
			return pick("22", "0", "65535")
		}
		return pick("443", "dns", "0-1023", "65535")
	case query.Protocol:
		return pick("tcp", "udp", "47", "254")
	case query.EtherType:
		return pick("ipv6", "0x88a8", "77")
	case query.DSCP:
		return pick("ef", "63", "af41")
	case query.Flags:
		if op == query.Has || op == query.NotHas {
			return pick("syn", "syn+ack", "0x200")
		}
		return pick("none", "syn", "rst+psh+ns", "0xffff")
	case query.Enum:
		return pick(f.Words()...)
	case query.Bool:
		return pick("true", "false", "no")
	case query.Number:
		if single {
			return pick("0", "7", "255")
		}
		return pick("0", "7", "0x10", "3-200")
	case query.Count:
		return pick("0", "10k", "5")
	case query.Size:
		return pick("1500", "1.5MiB", "10GB")
	case query.Span:
		return pick("500ms", "10s", "1h", "2d")
	default:
		panic("no values for " + f.Type.String())
	}
}

var withoutPositions = []cmp.Option{
	cmpopts.IgnoreFields(query.Compare{}, "Pos"),
	cmp.Comparer(func(a, b *query.Field) bool { return a == b }),
	cmpopts.EquateComparable(query.Value{}),
}

// The canonical form of a filter parses to the same filter, and is its own canonical form.
func checkRoundTrip(t *testing.T, text string) {
	t.Helper()
	e, err := query.Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	if e == nil {
		return
	}
	again, err := query.Parse(e.String())
	if err != nil {
		if _, ok := errors.AsType[*query.Error](err); ok && len(e.String()) > 16<<10 {
			return // the canonical form may be longer than what was typed
		}
		t.Fatalf("Parse(%q), the canonical form of %q: %v", e.String(), text, err)
	}
	if diff := cmp.Diff(e, again, withoutPositions...); diff != "" {
		t.Errorf("%q and its canonical form %q differ:\n%s", text, e.String(), diff)
	}
	if e.String() != again.String() {
		t.Errorf("canonical form of %q is %q, of that %q", text, e.String(), again.String())
	}
}

func TestRoundTrip(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 5000 {
		checkRoundTrip(t, randomExpr(r, 3))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzParse(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		f.Add(randomExpr(r, 2))
	}
	f.Add(`vm = 'a\'b' && !(src_addr in ::ffff:0:0/95, port<>https)`)
	f.Add(`vm = "` + "\u2028é" + `" or group like **`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := query.Parse(text); err == nil {
			checkRoundTrip(t, text)
		}
	})
}

// Every stored column can be asked about, or there is a reason why not.
func TestFieldsCoverFlowFields(t *testing.T) {
	notAsked := map[string]string{
		"time_received": "from and to of the request bound it",
		"start_age_ms":  "an encoding of flow_start",
	}
	asked := map[string]bool{"duration_ms": true}
	for _, f := range query.Fields {
		for _, c := range f.Columns() {
			asked[c] = true
		}
	}
	for _, f := range flow.Fields {
		if _, ok := notAsked[f.Name]; asked[f.Name] == ok {
			t.Errorf("column %s: asked %v, listed as not asked %v; want one of them", f.Name, asked[f.Name], ok)
		}
		delete(asked, f.Name)
	}
	delete(asked, "service") // computed by every table
	delete(asked, "dscp")
	for c := range asked {
		t.Errorf("a field names the column %s, which flows does not have", c)
	}
	seen := map[string]bool{}
	for _, f := range query.Fields {
		for _, n := range append([]string{f.Name}, f.Aliases...) {
			if seen[n] || n != strings.ToLower(n) {
				t.Errorf("name %q of field %s: want it unique and in lower case", n, f.Name)
			}
			seen[n] = true
		}
		if !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("field %s: Doc %q is not a sentence", f.Name, f.Doc)
		}
	}
}

// The words of enumerations are those that the stored type has.
func TestEnumWordsMatchTypes(t *testing.T) {
	for _, f := range query.Fields {
		if f.Type != query.Enum {
			continue
		}
		stored, _ := flow.FieldByName(f.Columns()[0])
		if got, want := strings.Count(stored.Type, "="), len(f.Words()); got != want {
			t.Errorf("%s: type %s has %d words, the field %d", f.Name, stored.Type, got, want)
		}
		for _, w := range f.Words() {
			if !strings.Contains(stored.Type, "'"+w+"'") {
				t.Errorf("%s: word %q is not in %s", f.Name, w, stored.Type)
			}
		}
	}
}

func TestServicePort(t *testing.T) {
	f := func(a, b, want uint16) {
		t.Helper()
		if got := query.ServicePort(a, b); got != want || query.ServicePort(b, a) != got {
			t.Errorf("ServicePort(%d, %d) = %d, want %d either way round", a, b, got, want)
		}
	}
	f(443, 51000, 443)
	f(1234, 51000, 1234)
	f(51820, 60000, 51820)
	f(40000, 60000, 0)
	f(0, 0, 0)
	f(0, 443, 443)
	f(0, 40000, 0)
}
