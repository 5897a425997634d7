package export

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/shape"
)

const instance = "weir-of-test"

var collector = netip.MustParseAddrPort("192.0.2.5:4739")

func identity() *Identity {
	return &Identity{UUID: "8d7b4c06-0000-4000-8000-000000000001", Name: "hv1"}
}

// all is the schema of a current Open vSwitch.
func all(string, string) bool { return true }

// upTo31 is that of Open vSwitch 2.5 to 3.1.
func upTo31(_, column string) bool { return column != "template_interval" }

// host is rows of a host with those bridges, all with the userspace datapath.
func host(names ...string) *ovsdb.Rows {
	r := &ovsdb.Rows{
		Root:    ovsdb.Root{UUID: "root", NextCfg: 7, CurCfg: 7},
		Bridges: map[ovsdb.UUID]*ovsdb.Bridge{}, Controllers: map[ovsdb.UUID]*ovsdb.Controller{}, SampleSets: map[ovsdb.UUID]*ovsdb.SampleSet{}, NetFlows: map[ovsdb.UUID]*ovsdb.NetFlow{}, IPFIXs: map[ovsdb.UUID]*ovsdb.IPFIX{},
	}
	for _, name := range names {
		id := ovsdb.UUID("bridge " + name)
		r.Bridges[id] = &ovsdb.Bridge{UUID: id, Name: name, DatapathType: "netdev", ExternalIDs: map[string]string{}}
		r.Root.Bridges = append(r.Root.Bridges, id)
	}
	return r
}

func bridge(r *ovsdb.Rows, name string) *ovsdb.Bridge { return r.Bridges[ovsdb.UUID("bridge "+name)] }

func ask(r *ovsdb.Rows, change func(*question)) *question {
	s := Default()
	s.Collector, s.ActiveTimeout = collector, time.Minute
	q := &question{
		instance: instance, host: identity(), settings: &s, rows: r, has: upTo31,
		yielded: func(place) bool { return false }, renew: func(uint32) bool { return false }, again: func(string) bool { return false },
	}
	if change != nil {
		change(q)
	}
	return q
}

func mustDecide(t *testing.T, q *question) *answer {
	t.Helper()
	a, err := decide(q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestChoice(t *testing.T) {
	for name, c := range map[string]struct {
		datapath string
		change   func(*Settings)
		has      func(string, string) bool
		want     Protocol
		sampling uint32
		why      string
	}{
		"userspace":             {"netdev", nil, all, IPFIX, 1, "userspace datapath"},
		"simulated":             {"dummy", nil, all, IPFIX, 1, "userspace datapath"},
		"kernel":                {"system", nil, all, NetFlow, 0, "kernel datapath"},
		"kernel, unsaid":        {"", nil, all, NetFlow, 0, "kernel datapath"},
		"unknown datapath":      {"hyperspace", nil, all, NetFlow, 0, "kernel datapath"},
		"kernel, IPFIX":         {"", func(s *Settings) { s.Protocol = IPFIX }, all, IPFIX, 400, "asked for"},
		"kernel, IPFIX 1:50":    {"", func(s *Settings) { s.Protocol, s.Sampling = IPFIX, 50 }, all, IPFIX, 50, "asked for"},
		"userspace, IPFIX 1:50": {"netdev", func(s *Settings) { s.Sampling = 50 }, all, IPFIX, 50, "userspace"},
		"userspace, NetFlow":    {"netdev", func(s *Settings) { s.Protocol = NetFlow }, all, NetFlow, 0, "asked for"},
		"off":                   {"netdev", func(s *Settings) { s.Protocol = Off }, all, Off, 0, "switched off"},
		"nothing said":          {"netdev", func(s *Settings) { s.Protocol = "" }, all, Off, 0, "switched off"},
		"this bridge off":       {"netdev", func(s *Settings) { s.Bridges = map[string]Protocol{"br0": Off} }, all, Off, 0, "switched off"},
		"this bridge alone":     {"netdev", func(s *Settings) { s.Protocol, s.Bridges = Off, map[string]Protocol{"br0": NetFlow} }, all, NetFlow, 0, "asked for"},
		"no collector":          {"netdev", func(s *Settings) { s.Collector = netip.AddrPort{} }, all, Off, 0, "hosts.export.collector"},
		"no IPFIX": {
			"netdev", nil, func(table, column string) bool { return column != "ipfix" }, Off, 0, "too old for IPFIX",
		},
		"IPFIX without options": {
			"netdev", nil, func(table, column string) bool { return table != "IPFIX" || column != "other_config" }, Off, 0, "too old for IPFIX",
		},
	} {
		s := Default()
		s.Collector = collector
		if c.change != nil {
			c.change(&s)
		}
		got := choose(&s, &ovsdb.Bridge{Name: "br0", DatapathType: c.datapath}, c.has)
		if got.protocol != c.want || got.sampling != c.sampling || !strings.Contains(got.why, c.why) {
			t.Errorf("%s: choose = %+v, want %s, sampling %d, because of %q", name, got, c.want, c.sampling, c.why)
		}
	}
}

// In no version of Open vSwitch may a packet be sampled at the input and at the output: what the keys mean differs from the manual
// in all that are known.
func TestPacketsAreSampledOnce(t *testing.T) {
	s := Default()
	s.Collector = collector
	config := ipfix(&s, choice{IPFIX, 1, ""}, "x", 1, all)["other_config"].(map[string]string)
	asImplemented := func(key string) bool { return config[key] != "true" }
	asDocumented := func(key string) bool { return config[key] != "false" }
	for what, on := range map[string]func(string) bool{"as implemented": asImplemented, "as documented": asDocumented} {
		if on("enable-input-sampling") == on("enable-output-sampling") {
			t.Errorf("%s: %v samples at both sides or at none", what, config)
		}
	}
	if !asImplemented("enable-input-sampling") {
		t.Errorf("%v: want the input, where what is dropped is seen and what is flooded is counted once", config)
	}
}

func TestTargets(t *testing.T) {
	addr := netip.MustParseAddrPort
	s := Settings{Collector: addr("[::ffff:192.0.2.5]:4739"), External: []netip.AddrPort{addr("[2001:db8::7]:2055"), addr("192.0.2.5:4739"), addr("192.0.2.6:9995")}}
	want := []string{"192.0.2.5:4739", "[2001:db8::7]:2055", "192.0.2.6:9995"}
	if diff := cmp.Diff(want, s.targets()); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

func TestDomainsAreUniqueAndStable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var names []string
	for i := range maxBridges {
		names = append(names, fmt.Sprint("br", i))
	}
	r := host(names...)
	first := domains(identity(), r)
	seen := map[uint16]bool{}
	for _, n := range first {
		if n == 0 || seen[n] {
			t.Fatalf("number %d is of two bridges, or 0", n)
		}
		seen[n] = true
	}
	if diff := cmp.Diff(first, domains(identity(), r)); diff != "" {
		t.Fatalf("asked again (-first +again):\n%s", diff)
	}
	// They export, and bridges come and go: nobody's number changes.
	for id, n := range first {
		b := r.Bridges[id]
		row := ovsdb.UUID("export of " + b.Name)
		ours := map[string]string{"weir-owner": instance}
		if rng.IntN(2) == 0 {
			domain := int64(n)
			b.IPFIX, r.IPFIXs[row] = row, &ovsdb.IPFIX{UUID: row, ObsDomainID: &domain, ExternalIDs: ours}
		} else {
			kind, engine := int64(n>>8), int64(n&0xff)
			b.NetFlow, r.NetFlows[row] = row, &ovsdb.NetFlow{UUID: row, EngineType: &kind, EngineID: &engine, ExternalIDs: ours}
		}
	}
	for _, name := range names[:1000] {
		delete(r.Bridges, ovsdb.UUID("bridge "+name))
	}
	for i := range 500 {
		name := fmt.Sprint("a new", i)
		id := ovsdb.UUID("bridge " + name)
		r.Bridges[id] = &ovsdb.Bridge{UUID: id, Name: name}
	}
	second := domains(identity(), r)
	seen = map[uint16]bool{}
	for id, n := range second {
		if was, known := first[id]; known && was != n {
			t.Errorf("bridge %q had number %d, has %d", r.Bridges[id].Name, was, n)
		}
		if n == 0 || seen[n] {
			t.Errorf("number %d is of two bridges, or 0", n)
		}
		seen[n] = true
	}
}

// Numbers that others gave are spared, and of two bridges that were given the same one by Weir, the first keeps it.
func TestDomainsInUse(t *testing.T) {
	r := host("a", "b", "c", "d")
	free := domains(identity(), r)
	taken := int64(free["bridge a"])
	bridge(r, "b").IPFIX, r.IPFIXs["of others"] = "of others", &ovsdb.IPFIX{UUID: "of others", ObsDomainID: &taken}
	same := int64(4711)
	for _, name := range []string{"c", "d"} {
		row := ovsdb.UUID("of " + name)
		bridge(r, name).IPFIX, r.IPFIXs[row] = row, &ovsdb.IPFIX{UUID: row, ObsDomainID: &same, ExternalIDs: map[string]string{"weir-owner": instance}}
	}
	got := domains(identity(), r)
	if got["bridge a"] == uint16(taken) || got["bridge b"] != free["bridge b"] || got["bridge c"] != 4711 || got["bridge d"] == 4711 {
		t.Errorf("domains = %v; want a's not %d, which others use; b's %d; c's 4711 and d's another", got, taken, free["bridge b"])
	}
	if n := len(slices.Compact(slices.Sorted(maps.Values(got)))); n != 4 {
		t.Errorf("domains = %v: want four", got)
	}
}

func TestHostOfAnotherWeirIsRefused(t *testing.T) {
	r := host("br0")
	r.Root.ExternalIDs = map[string]string{"weir-owner": "another"}
	if _, err := decide(ask(r, nil)); err == nil || !strings.Contains(err.Error(), `"another"`) || !strings.Contains(err.Error(), "ovs-vsctl remove Open_vSwitch . external_ids weir-owner") {
		t.Errorf("decide = %v, want an error that names the other and says what to do", err)
	}
	if _, err := release(instance, r); err == nil {
		t.Error("release of a host of another Weir: want an error")
	}
}

func TestTooManyBridges(t *testing.T) {
	var names []string
	for i := range maxBridges + 1 {
		names = append(names, fmt.Sprint(i))
	}
	if _, err := decide(ask(host(names...), nil)); err == nil {
		t.Error("decide: want an error")
	}
}

// What a host has, and what is made of it: states, and changes as people see them.
func TestDecide(t *testing.T) {
	const mark = `external_ids:weir-former-`
	theirNetFlow := func(r *ovsdb.Rows, name string, targets ...string) {
		bridge(r, name).NetFlow, r.NetFlows["theirs"] = "theirs", &ovsdb.NetFlow{UUID: "theirs", Targets: targets}
	}
	theirIPFIX := func(r *ovsdb.Rows, name string, targets ...string) {
		bridge(r, name).IPFIX, r.IPFIXs["theirs"] = "theirs", &ovsdb.IPFIX{UUID: "theirs", Targets: targets}
	}
	takeOver := func(q *question) {
		q.settings.TakeOver = true
		q.read = map[ovsdb.UUID]*own.Saved{"theirs": {UUID: "theirs", Row: ovsdb.Values{"targets": "203.0.113.1:2055"}}}
	}
	saved := `{"was":{"uuid":"theirs","row":{"targets":"203.0.113.1:2055"}}`
	number := domains(identity(), host("br0"))["bridge br0"]
	// ours makes br0 export as it is to.
	ours := func(r *ovsdb.Rows) {
		s := Default()
		s.Collector = collector
		sampling, domain, timeout, most := int64(1), int64(number), int64(60), int64(10_000)
		bridge(r, "br0").IPFIX = "ours"
		r.IPFIXs["ours"] = &ovsdb.IPFIX{
			UUID: "ours", Targets: s.targets(), Sampling: &sampling, ObsDomainID: &domain, CacheActiveTimeout: &timeout, CacheMaxFlows: &most,
			OtherConfig: map[string]string{"virtual_obs_id": identity().virtualObsID("br0"), "enable-input-sampling": "false", "enable-output-sampling": "true"},
			ExternalIDs: map[string]string{"weir-owner": instance},
		}
		bridge(r, "br0").ExternalIDs["weir-former-ipfix"] = "{}"
		r.Root.ExternalIDs = map[string]string{"weir-owner": instance}
	}
	found := func(q *question) {
		q.found = map[what]string{}
		for _, l := range mustDecide(t, q).looks {
			q.found[l.id] = l.want
		}
	}
	for name, c := range map[string]struct {
		rows   func(*ovsdb.Rows)
		change func(*question)
		state  State
		want   []string // changes: COLUMN: BEFORE → AFTER, beginnings of the latter
		undone string
		read   bool
	}{
		"nothing there": {
			state: StateSetting,
			want:  []string{"ipfix:  → cache_active_timeout=60 ", mark + "ipfix:  → {}", "external_ids:weir-owner:  → " + instance},
		},
		"as it is to be":     {rows: ours, state: StateSet},
		"off, nothing there": {change: func(q *question) { q.settings.Protocol = Off }, state: StateOff},
		"switched off": {
			rows: ours, change: func(q *question) { q.settings.Protocol = Off }, state: StateOff,
			want: []string{"ipfix: row ours, made by Weir → ", mark + "ipfix: {} → ", "external_ids:weir-owner: " + instance + " → "},
		},
		"removed by others": {
			rows:  func(r *ovsdb.Rows) { ours(r); bridge(r, "br0").IPFIX = "" },
			state: StateSetting, want: []string{"ipfix:  → cache_active"}, undone: "others removed it",
		},
		"removed by others, with every trace": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				bridge(r, "br0").IPFIX, bridge(r, "br0").ExternalIDs, r.Root.ExternalIDs = "", nil, nil
			},
			change: found,
			state:  StateSetting, want: []string{"ipfix:  → cache_active", mark + "ipfix:  → {}", "external_ids:weir-owner:  → " + instance}, undone: "others removed it",
		},
		"changed by others": {
			rows:   ours,
			change: func(q *question) { found(q); q.rows.IPFIXs["ours"].Targets = []string{"203.0.113.1:1"} },
			state:  StateSetting, want: []string{"*:  → targets="}, undone: "others changed it",
		},
		"other settings": {
			rows:   ours,
			change: func(q *question) { found(q); q.settings.Sampling = 5 },
			state:  StateSetting, want: []string{"*:  → targets="},
		},
		"without targets for a moment, not seen": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				r.IPFIXs["ours"].Targets, r.IPFIXs["ours"].ExternalIDs["weir-next-cfg"] = nil, "8"
				r.Root.NextCfg = 8
			},
			change: found, state: StateSetting,
		},
		"without targets for a moment, seen": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				r.IPFIXs["ours"].Targets, r.IPFIXs["ours"].ExternalIDs["weir-next-cfg"] = nil, "8"
				r.Root.NextCfg, r.Root.CurCfg = 8, 8
			},
			change: found, state: StateSetting, want: []string{"*:  → cache_active"},
		},
		"templates wanted": {
			rows: ours, change: func(q *question) { q.renew = func(domain uint32) bool { return domain == uint32(number) } },
			state: StateSetting, want: []string{"*:  → targets="},
		},
		"templates of others wanted": {
			rows: ours, change: func(q *question) { q.renew = func(domain uint32) bool { return domain != uint32(number) } }, state: StateSet,
		},
		"row shared with another bridge": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				r.Root.Bridges = append(r.Root.Bridges, "bridge x")
				r.Bridges["bridge x"] = &ovsdb.Bridge{UUID: "bridge x", Name: "x", IPFIX: "ours"}
			},
			change: func(q *question) { q.settings.Bridges = map[string]Protocol{"x": Off} },
			state:  StateSetting,
			want:   []string{"ipfix: row ours, made by Weir → cache_active", "ipfix: row ours, made by Weir → "},
		},
		"left by another Weir": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				r.IPFIXs["ours"].ExternalIDs["weir-owner"] = "older"
				r.Root.ExternalIDs = nil
			},
			state: StateSetting,
			want:  []string{"*:  → targets=", "external_ids:weir-owner:  → " + instance},
		},
		"others export": {rows: func(r *ovsdb.Rows) { theirIPFIX(r, "br0", "203.0.113.1:4739") }, state: StateForeign},
		"others export in its place": {
			rows:  func(r *ovsdb.Rows) { ours(r); theirIPFIX(r, "br0", "203.0.113.1:4739") },
			state: StateForeign, want: []string{mark + "ipfix: {} → ", "external_ids:weir-owner: " + instance + " → "},
		},
		"others export by the other protocol": {
			rows:  func(r *ovsdb.Rows) { theirNetFlow(r, "br0", "203.0.113.1:2055") },
			state: StateSetting, want: []string{"ipfix:  → cache_active", mark + "ipfix:  → {}", "external_ids:weir-owner:  → " + instance},
		},
		"others export by the other protocol to Weir": {
			rows: func(r *ovsdb.Rows) { theirNetFlow(r, "br0", "203.0.113.1:2055", "192.0.2.5:4739") }, state: StateForeign,
		},
		"others sample for Weir": {
			rows: func(r *ovsdb.Rows) {
				r.IPFIXs["theirs"] = &ovsdb.IPFIX{UUID: "theirs", Targets: []string{"192.0.2.5:4739"}}
				r.SampleSets = map[ovsdb.UUID]*ovsdb.SampleSet{"set": {UUID: "set", Bridge: "bridge br0", IPFIX: "theirs"}}
			},
			change: takeOver, state: StateForeign,
		},
		"others sample for others": {
			rows: func(r *ovsdb.Rows) {
				r.IPFIXs["theirs"] = &ovsdb.IPFIX{UUID: "theirs", Targets: []string{"203.0.113.1:4739"}}
				r.SampleSets = map[ovsdb.UUID]*ovsdb.SampleSet{"set": {UUID: "set", Bridge: "bridge br0", IPFIX: "theirs"}}
			},
			state: StateSetting, want: []string{"ipfix:  → cache_active", mark + "ipfix:  → {}", "external_ids:weir-owner:  → " + instance},
		},
		"taken over, not read": {
			rows: func(r *ovsdb.Rows) { theirIPFIX(r, "br0", "203.0.113.1:4739") }, change: func(q *question) { q.settings.TakeOver = true },
			state: StateSetting, read: true, want: []string{"external_ids:weir-owner:  → " + instance},
		},
		"taken over": {
			rows: func(r *ovsdb.Rows) { theirIPFIX(r, "br0", "203.0.113.1:4739") }, change: takeOver, state: StateSetting,
			want: []string{"ipfix: row theirs, not Weir's → cache_active", mark + "ipfix:  → " + saved + "}", "external_ids:weir-owner:  → " + instance},
		},
		"taken over, both protocols": {
			rows: func(r *ovsdb.Rows) { theirNetFlow(r, "br0", "192.0.2.5:4739") }, change: takeOver, state: StateSetting,
			want: []string{
				"netflow: row theirs, not Weir's → ", mark + "netflow:  → " + saved + `,"empty":true}`,
				"ipfix:  → cache_active", mark + "ipfix:  → {}", "external_ids:weir-owner:  → " + instance,
			},
		},
		"taken over, both protocols, again": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				theirNetFlow(r, "br0", "192.0.2.5:4739")
				bridge(r, "br0").ExternalIDs["weir-former-netflow"] = `{"empty":true}`
			},
			change: takeOver, state: StateSetting, undone: "others export to Weir by the other protocol again",
			want: []string{"netflow: row theirs, not Weir's → ", mark + `netflow: {"empty":true} → ` + saved + `,"empty":true}`},
		},
		"switched off after taking over": {
			rows:   func(r *ovsdb.Rows) { ours(r); bridge(r, "br0").ExternalIDs["weir-former-ipfix"] = saved + "}" },
			change: func(q *question) { q.settings.Protocol = Off }, state: StateOff,
			want: []string{"ipfix: row ours, made by Weir → targets=203.0.113.1:2055", mark + "ipfix: " + saved + "} → ", "external_ids:weir-owner: "},
		},
		"removed by others after taking over": {
			rows: func(r *ovsdb.Rows) {
				ours(r)
				bridge(r, "br0").IPFIX, bridge(r, "br0").ExternalIDs["weir-former-ipfix"] = "", saved+"}"
			},
			state: StateSetting, want: []string{"ipfix:  → cache_active", mark + "ipfix: " + saved + "} → {}"}, undone: "others removed it",
		},
		"a mark that cannot be read": {
			rows: func(r *ovsdb.Rows) { ours(r); bridge(r, "br0").ExternalIDs["weir-former-netflow"] = "nothing" }, state: StateFailed,
		},
		"yielded": {
			rows:   func(r *ovsdb.Rows) { ours(r); bridge(r, "br0").IPFIX = "" },
			change: func(q *question) { q.yielded = func(place) bool { return true } }, state: StateYielded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := host("br0")
			if c.rows != nil {
				c.rows(r)
			}
			q := ask(r, c.change)
			a := mustDecide(t, q)
			if a.bridges[0].State != c.state {
				t.Errorf("state %s (%s), want %s", a.bridges[0].State, a.bridges[0].Why, c.state)
			}
			var got []string
			for _, x := range a.tx.Changes() {
				got = append(got, fmt.Sprintf("%s: %s → %s", x.Column, x.Before, x.After))
			}
			if !slices.EqualFunc(got, c.want, func(got, want string) bool {
				return got == want || !strings.HasSuffix(want, "→ ") && strings.HasPrefix(got, want)
			}) {
				t.Errorf("changes\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
			if (len(a.read) > 0) != c.read {
				t.Errorf("wants to read %v", a.read)
			}
			how := ""
			if len(a.undone) > 0 {
				how = a.undone[0].how
			}
			if how != c.undone || len(a.undone) > 1 {
				t.Errorf("undone %v, want %q", a.undone, c.undone)
			}
			if (a.tx.Operations() == nil) != (len(c.want) == 0) {
				t.Errorf("operations %v of changes %v", a.tx.Operations(), got)
			}
		})
	}
}

// A port that is said to be in two bridges is decided on once, where it is first: one bridge mirrors into a VLAN, which keeps that away from VMs, the other does not.
func TestPortInTwoBridges(t *testing.T) {
	const key = "weir-former-trunks"
	for _, name := range []string{"br0", "br1"} {
		r := host("br0", "br1")
		r.Interfaces = map[ovsdb.UUID]*ovsdb.Interface{"v1": {UUID: "v1", Name: "vif1.0"}}
		r.Ports = map[ovsdb.UUID]*ovsdb.Port{"p1": {UUID: "p1", Name: "vif1.0", Interfaces: []ovsdb.UUID{"v1"}, ExternalIDs: map[string]string{key: "{}"}}}
		for _, b := range r.Bridges {
			b.Ports = []ovsdb.UUID{"p1"}
		}
		copies := mirror.Order{
			Copies: []mirror.Copy{{VIF: "a", Ports: []ovsdb.UUID{"p1"}, In: true, To: policy.MirrorTarget{Name: "t", VLAN: 900}}}, Guests: []ovsdb.UUID{"p1"},
		}
		a := mustDecide(t, ask(r, func(q *question) { q.enforced = map[string]Enforced{name: {Mirrors: copies}} }))
		want := map[string]string{"br0": `{"added":[0]}`, "br1": ""}[name]
		var got []string
		for _, c := range a.tx.Changes() {
			if c.Table == "Port" && c.Column == "external_ids:"+key {
				got = append(got, c.After)
			}
		}
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%s mirrors: what was added to the trunks is said to be %q, want %q once", name, got, want)
		}
	}
}

// Whatever a host says, it is decided or refused, and what is decided is about columns and keys that are Weir's to change.
func TestHostsThatSayAnything(t *testing.T) {
	seed := chance.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	refused := 0
	const tries = 20_000
	for n := range tries {
		r := host()
		r.Root.NextCfg, r.Root.CurCfg = rng.Int64()>>rng.IntN(64), rng.Int64()>>rng.IntN(64)
		ids := func() map[string]string {
			m := map[string]string{}
			for range rng.IntN(4) {
				m[pick("weir-owner", "weir-owner", "weir-former-ipfix", "weir-former-netflow", "weir-former-other-config-disable-in-band", "weir-next-cfg", "weir-totals", "weir-former-qos", "weir-former-ingress-policing", "weir-former-trunks", "weir-former-flood_vlans", "weir-", "theirs")] = pick(
					"", instance, "{}", `{"empty":true}`, `{"was":{"uuid":"i1","row":{"targets":"192.0.2.5:4739"}}}`, `{"was":{}}`, `{"was":null,"empty":true}`, `{"set":"true"}`, `{"set":"true","was":"false"}`, `{"set":{"rate":1},"was":{"rate":2}}`, "true", "8", "-1", "[", "1e99",
					`{"added":[0]}`, `{"added":[0,0,-1,1e30]}`, `{"added":null}`,
				)
			}
			return m
		}
		if rng.IntN(2) == 0 {
			r.Root.ExternalIDs = ids()
		}
		for range rng.IntN(3) {
			id := ovsdb.UUID(pick("i1", "i2", ""))
			r.IPFIXs[id] = &ovsdb.IPFIX{UUID: id, Targets: []string{pick("", "x", "192.0.2.5:4739")}, ExternalIDs: ids()}
			if rng.IntN(2) == 0 {
				domain := rng.Int64() >> rng.IntN(64)
				r.IPFIXs[id].ObsDomainID = &domain
			}
			id = ovsdb.UUID(pick("n1", "n2", "i1"))
			engine := rng.Int64() >> rng.IntN(64)
			r.NetFlows[id] = &ovsdb.NetFlow{UUID: id, Targets: []string{pick("", "x", "192.0.2.5:4739")}, EngineType: &engine, EngineID: &engine, ExternalIDs: ids()}
		}
		for range rng.IntN(4) {
			id := ovsdb.UUID(pick("b1", "b2", "b3", ""))
			r.Bridges[id] = &ovsdb.Bridge{
				UUID: id, Name: pick("br0", "br1", ""), DatapathType: pick("", "netdev"), ExternalIDs: ids(),
				IPFIX: ovsdb.UUID(pick("", "i1", "i2", "nowhere")), NetFlow: ovsdb.UUID(pick("", "n1", "n2", "nowhere")),
				Controllers: []ovsdb.UUID{ovsdb.UUID(pick("c1", "c2", "nowhere", "")), ovsdb.UUID(pick("c1", "c2"))}[:rng.IntN(3)],
				OtherConfig: map[string]string{pick("disable-in-band", "theirs"): pick("true", "false", "")}, FailMode: pick("", "secure", "standalone"),
			}
			if rng.IntN(4) > 0 {
				r.Root.Bridges = append(r.Root.Bridges, id)
			}
		}
		for _, id := range []ovsdb.UUID{"c1", "c2"} {
			r.Controllers[id] = &ovsdb.Controller{UUID: id, Target: pick("", ":", "tcp:192.0.2.5:6653", "ptcp:6653", "ssl:"), Type: pick("", "primary", "service", "x"), ExternalIDs: ids()}
		}
		for _, id := range []ovsdb.UUID{"s1", "s2"} {
			r.SampleSets[id] = &ovsdb.SampleSet{
				UUID: id, ID: []int64{int64(CollectorSet), 0, -1}[rng.IntN(3)], Bridge: ovsdb.UUID(pick("b1", "b2", "", "nowhere")),
				IPFIX: ovsdb.UUID(pick("i1", "i2", "", "nowhere")), ExternalIDs: ids(),
			}
		}
		limits := func() (l shape.Limits) {
			l.Meter = rng.IntN(3) == 0
			l.In.Rate, l.Out.Rate = rng.Uint64N(3)<<rng.IntN(40), rng.Uint64N(3)<<rng.IntN(40)
			return l
		}
		r.QoSs, r.Queues = map[ovsdb.UUID]*ovsdb.QoS{}, map[ovsdb.UUID]*ovsdb.Queue{}
		for range rng.IntN(3) {
			id := ovsdb.UUID(pick("q1", "q2", ""))
			r.QoSs[id] = &ovsdb.QoS{
				UUID: id, Type: pick("linux-htb", ""), Queues: map[int64]ovsdb.UUID{rng.Int64N(2): ovsdb.UUID(pick("u1", "u2", ""))}, OtherConfig: map[string]string{"max-rate": pick("", "-1", "1000")}, ExternalIDs: ids(),
			}
			id = ovsdb.UUID(pick("u1", "u2"))
			r.Queues[id] = &ovsdb.Queue{UUID: id, ExternalIDs: ids()}
		}
		r.Ports, r.Interfaces = map[ovsdb.UUID]*ovsdb.Port{}, map[ovsdb.UUID]*ovsdb.Interface{}
		for range rng.IntN(4) {
			id := ovsdb.UUID(pick("p1", "p2", ""))
			r.Ports[id] = &ovsdb.Port{UUID: id, Interfaces: []ovsdb.UUID{ovsdb.UUID(pick("v1", "v2")), "v2"}[:rng.IntN(3)], QoS: ovsdb.UUID(pick("", "q1", "q2", "nowhere")), ExternalIDs: ids(), Name: pick("v1", ""), Trunks: []int64{0, 5}[:rng.IntN(3)]}
			id = ovsdb.UUID(pick("v1", "v2"))
			r.Interfaces[id] = &ovsdb.Interface{
				UUID: id, Name: pick("v1", "v2"), IngressPolicingRate: rng.Int64()>>rng.IntN(64) - 1, IngressPolicingBurst: rng.Int64N(3), MTU: rng.Int64() >> rng.IntN(64), ExternalIDs: ids(),
			}
		}
		for _, b := range r.Bridges {
			b.Ports = []ovsdb.UUID{ovsdb.UUID(pick("p1", "p2")), "p2"}[:rng.IntN(3)]
			b.Mirrors, b.FloodVLANs = []ovsdb.UUID{ovsdb.UUID(pick("m1", "m2", "nowhere")), "m2"}[:rng.IntN(3)], []int64{900, 0}[:rng.IntN(3)]
		}
		r.Mirrors = map[ovsdb.UUID]*ovsdb.Mirror{}
		for _, id := range []ovsdb.UUID{"m1", "m2"} {
			r.Mirrors[id] = &ovsdb.Mirror{UUID: id, Name: pick("weir-t", "m", ""), OutputPort: ovsdb.UUID(pick("p1", "nowhere", "")), SelectSrcPorts: []ovsdb.UUID{"p1"}, ExternalIDs: ids()}
		}
		copies := func() (o mirror.Order) {
			for range rng.IntN(3) {
				o.Copies = append(o.Copies, mirror.Copy{VIF: pick("a", "b"), Ports: []ovsdb.UUID{"p1", "p2", "nowhere"}[:rng.IntN(4)], In: rng.IntN(2) == 0, Out: rng.IntN(2) == 0, To: []policy.MirrorTarget{
					{Name: "t", VLAN: 900}, {Name: "u", Port: "v1"}, {Name: "v", GRE: netip.MustParseAddr("192.0.2.9")},
				}[rng.IntN(3)]})
			}
			o.Guests = []ovsdb.UUID{"p1", "p2"}[:rng.IntN(3)]
			return o
		}
		q := ask(r, func(q *question) {
			q.settings.Protocol = Protocol(pick(Auto.Allowed()...))
			q.settings.TakeOver = rng.IntN(2) == 0
			q.enforced = map[string]Enforced{}
			for range rng.IntN(3) {
				q.enforced[pick("br0", "br1", "", "br2")] = Enforced{
					Sampling: compile.Sampling(rng.IntN(3)), Flows: Flows(rng.IntN(3)), Limits: map[string]shape.Limits{pick("v1", "v2", ""): limits()},
					FailMode: attach.FailMode{Wanted: policy.FailMode(pick("", "open", "safe", "static")), Unready: pick("", "not yet"), Others: rng.IntN(2)},
					Mirrors:  copies(),
				}
			}
			if rng.IntN(3) > 0 {
				q.controller = attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653"), TLS: rng.IntN(2) == 0, Wipe: rng.IntN(2) == 0}
			}
			q.read = map[ovsdb.UUID]*own.Saved{"i1": {UUID: "i1"}, "n1": {UUID: "n1"}}
			q.renew = func(uint32) bool { return rng.IntN(2) == 0 }
			q.again = func(string) bool { return rng.IntN(2) == 0 }
		})
		transactions := []*own.Transaction{}
		if a, err := decide(q); err == nil {
			transactions = append(transactions, a.tx)
		} else if !strings.Contains(err.Error(), "another Weir") {
			t.Fatalf("seed %d, try %d: decide = %v", seed, n, err)
		} else {
			refused++
		}
		if tx, err := release(instance, r); err == nil {
			transactions = append(transactions, tx)
		}
		for _, tx := range transactions {
			for _, c := range tx.Changes() {
				key, ofKey := strings.CutPrefix(c.Column, "external_ids:")
				if ofKey && !strings.HasPrefix(key, "weir-") || !ofKey && !slices.Contains([]string{"*", "ipfix", "netflow", "controller", "fail_mode", "other_config:disable-in-band", "qos", "ingress_policing", "mirrors", "ports", "flood_vlans", "trunks"}, c.Column) {
					t.Fatalf("seed %d, try %d: %+v", seed, n, c)
				}
			}
		}
	}
	if refused == 0 || refused > tries*9/10 {
		t.Errorf("seed %d: %d of %d refused: the generator says little", seed, refused, tries)
	}
}
