package mirror_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

const instance = "weir-of-test"

// host is a real database without a switch: the test says what ovs-vswitchd would.
type host struct {
	*testing.T
	server *ovsdbtest.Server
	s      *ovsdb.Session
	found  string
}

func newHost(t *testing.T, settings ...string) *host {
	t.Helper()
	h := &host{T: t, server: ovsdbtest.Start(t, nil)}
	h.server.VSCtl(append([]string{"--no-wait", "add-br", "br0"}, settings...)...)
	target, err := ovsdb.ParseTarget(h.server.Socket())
	h.must(err)
	h.s, err = ovsdb.New(ovsdb.Config{Target: target, Limits: ovsdb.DefaultLimits()}, ovsdb.Deps{})
	h.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ovsdbtest.Until(t, "the host is known", func() bool { return h.s.Status().State == ovsdb.StateConnected })
	return h
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) bridge() *ovsdb.Bridge { return own.Bridges(h.s.Rows())[0] }

// port returns the row of a port.
func (h *host) port(name string) ovsdb.UUID {
	for id, p := range h.s.Rows().Ports {
		if p.Name == name {
			return id
		}
	}
	h.Fatalf("no port %q", name)
	return ""
}

// guests returns the ports of VIFs, and some others.
func (h *host) guests(others ...string) (list []ovsdb.UUID) {
	for id, p := range h.s.Rows().Ports {
		if strings.HasPrefix(p.Name, "vif") || slices.Contains(others, p.Name) {
			list = append(list, id)
		}
	}
	return list
}

// decide returns what is to be done now.
func (h *host) decide(o mirror.Order, change func(*mirror.Question)) (mirror.Answer, *own.Transaction) {
	h.Helper()
	tx, err := own.Begin(h.s.Rows(), instance)
	h.must(err)
	q := mirror.Question{Order: o, Rows: h.s.Rows(), Bridge: h.bridge(), Found: h.found}
	if change != nil {
		change(&q)
	}
	a, err := mirror.Decide(tx, q)
	h.must(err)
	if a.Held {
		tx.Claim()
	} else {
		tx.Disclaim()
	}
	return a, tx
}

func (h *host) transact(tx *own.Transaction) {
	h.Helper()
	_, err := h.s.Transact(h.Context(), tx.Operations()...)
	h.must(err)
}

// settle brings the bridge to an order. made says what the switch makes of a tunnel.
func (h *host) settle(o mirror.Order, made func(*ovsdb.Interface) ovsdb.Values) mirror.Answer {
	h.Helper()
	for range 8 {
		var ops []ovsdb.Operation
		for _, i := range h.s.Rows().Interfaces {
			if strings.HasPrefix(i.Name, "weirm") && i.OFPort == 0 && i.Error == "" {
				ops = append(ops, ovsdb.Update("Interface", ovsdb.Is(i.UUID), made(i)))
			}
		}
		if ops != nil {
			_, err := h.s.Transact(h.Context(), ops...)
			h.must(err)
		}
		a, tx := h.decide(o, nil)
		if a.Undone != "" {
			h.Fatalf("%q was undone, want that nobody did anything", a.Undone)
		}
		if tx.Operations() == nil {
			if a.Changes {
				h.Fatalf("something is to be changed by nothing: %+v", a)
			}
			h.found = a.Want
			return a
		}
		h.transact(tx)
	}
	h.Fatal("the bridge is not as it is to be after 8 transactions")
	return mirror.Answer{}
}

func works(*ovsdb.Interface) ovsdb.Values { return ovsdb.Values{"ofport": int64(9)} }

// release takes off all of Weir's.
func (h *host) release() {
	h.Helper()
	tx, err := own.Begin(h.s.Rows(), instance)
	h.must(err)
	h.must(tx.Release())
	if tx.Operations() != nil {
		h.transact(tx)
	}
	h.found = ""
}

// state is the database as text.
func (h *host) state() string { return ovsdbtest.Dump(h.T, h.server.Socket(), false) }

func (h *host) same(before, what string) {
	h.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(h.state(), "\n")); diff != "" {
		h.Errorf("%s (-before +after):\n%s", what, diff)
	}
}

func ports(n int) []string {
	var args []string
	for i := range n {
		args = append(args, "--", "add-port", "br0", fmt.Sprint("vif1.", i))
	}
	return args
}

var (
	gre   = policy.MirrorTarget{Name: "ids", GRE: netip.MustParseAddr("192.0.2.7"), Key: 5}
	rspan = policy.MirrorTarget{Name: "wire", VLAN: 900}
)

// Whatever is asked, one after the other and from whatever is there: the bridge is brought there in few transactions, then nothing is left to do;
// what others have stays; and when all is released, the database is as before.
func TestRandomOrders(t *testing.T) {
	seed := chance.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := newHost(t, append(ports(6), "--", "add-port", "br0", "eth0", "--", "add-port", "br0", "eth1", "--", "add-port", "br0", "tagged", "tag=7", "--", "add-port", "br0", "some", "trunks=1,2",
		"--", "add-port", "br0", "theirs", "--", "set", "bridge", "br0", "flood_vlans=800", "--", "--id=@p", "get", "port", "theirs", "--", "--id=@m", "create", "mirror", "name=weir-theirs", "select_all=true", "output_port=@p",
		"--", "set", "bridge", "br0", "mirrors=@m", "external_ids:a=b")...)
	ovsdbtest.Until(t, "all is known", func() bool { return len(h.s.Rows().Mirrors) == 1 })
	before := h.state()
	targets := []policy.MirrorTarget{
		gre,
		rspan,
		{Name: "wire2", VLAN: 800},
		{Name: "tap", Port: "eth1"},
		{Name: "taken", Port: "theirs"},
		{Name: "none", Port: "nothing"},
		{Name: "bridge", Port: "br0"},
		{Name: "far", ERSPAN: netip.MustParseAddr("192.0.2.8"), Key: 7},
		{Name: "ids-again", GRE: gre.GRE, Key: gre.Key},
		{Name: "ids6", GRE: netip.MustParseAddr("2001:db8::7")},
	}
	for range 60 {
		var o mirror.Order
		o.Network, o.Guests = []ovsdb.UUID{h.port("eth0"), h.port("eth1")}, h.guests()
		active := map[string]bool{}
		for n := range rng.IntN(8) {
			c := mirror.Copy{VIF: fmt.Sprint("vm", n), To: targets[rng.IntN(len(targets))], In: true, Out: rng.IntN(2) == 0}
			if rng.IntN(4) == 0 {
				c.In, c.Out = false, true
			}
			c.Sink = rng.IntN(6) == 0
			c.Ports = []ovsdb.UUID{h.port(fmt.Sprint("vif1.", rng.IntN(6))), "ffffffff-0000-4000-8000-000000000000"}[:1+rng.IntN(2)]
			o.Copies = append(o.Copies, c)
			if p := c.To.Port; (p == "" || p == "eth1") && !c.Sink {
				active[c.To.String()] = true
			}
		}
		a := h.settle(o, works)
		for _, m := range a.Mirrors {
			want := mirror.StateFailed
			switch {
			case active[m.To]:
				want = mirror.StateActive
			case len(m.VIFs) == 0 && m.To != "port theirs" && m.To != "port nothing" && m.To != "port br0":
				want = mirror.StateWaiting
			}
			if m.State != want {
				t.Fatalf("seed %d: %+v, want state %s", seed, m, want)
			}
		}
		ours, others := own.Mirrors(h.s.Rows(), h.bridge())
		if len(ours) != len(active) || len(others) != 1 {
			t.Fatalf("seed %d: %d mirrors for %v and %d of others", seed, len(ours), active, len(others))
		}
		for _, m := range ours {
			if m.Name == "weir-theirs" || m.SelectAll || len(m.SelectSrcPorts)+len(m.SelectDstPorts) == 0 {
				t.Fatalf("seed %d: mirror %+v", seed, m)
			}
		}
		if rng.IntN(5) == 0 {
			h.release()
			h.same(before, fmt.Sprintf("seed %d: after release", seed))
		}
	}
	h.settle(mirror.Order{}, works)
	h.same(before, fmt.Sprintf("seed %d: nothing is wanted", seed))
}

// Of a VIF that gets the copies none are made, of which there would be copies in turn, also where another one is copied there.
func TestSinks(t *testing.T) {
	h := newHost(t, ports(2)...)
	sink := mirror.Copy{VIF: "ids/0", Ports: []ovsdb.UUID{h.port("vif1.0")}, To: gre, In: true, Out: true, Sink: true}
	a := h.settle(mirror.Order{Copies: []mirror.Copy{sink}}, works)
	if len(a.Mirrors) != 1 || a.Mirrors[0].State != mirror.StateWaiting || a.Mirrors[0].Why != "its VIFs are those that get the copies" || len(h.s.Rows().Mirrors) != 0 {
		t.Errorf("alone: %+v, %d rows", a.Mirrors, len(h.s.Rows().Mirrors))
	}
	a = h.settle(mirror.Order{Copies: []mirror.Copy{sink, {VIF: "web/0", Ports: []ovsdb.UUID{h.port("vif1.1")}, To: gre, In: true, Out: true}}}, works)
	if len(a.Mirrors) != 1 || a.Mirrors[0].State != mirror.StateActive || !slices.Equal(a.Mirrors[0].VIFs, []string{"web/0"}) || !slices.Equal(a.Mirrors[0].Sinks, []string{"ids/0"}) {
		t.Errorf("with another: %+v", a.Mirrors)
	}
	for _, m := range h.s.Rows().Mirrors {
		if want := []ovsdb.UUID{h.port("vif1.1")}; !slices.Equal(m.SelectSrcPorts, want) || !slices.Equal(m.SelectDstPorts, want) {
			t.Errorf("row %+v, want port %v only", m, want)
		}
	}
}

// All copies to one destination are one row; in is what the VM gets, which leaves by its port.
func TestOneRowForADestination(t *testing.T) {
	h := newHost(t, ports(3)...)
	p := []ovsdb.UUID{h.port("vif1.0"), h.port("vif1.1"), h.port("vif1.2")}
	other := gre
	other.Name = "also"
	o := mirror.Order{Copies: []mirror.Copy{
		{VIF: "a", Ports: p[:1], To: gre, In: true}, {VIF: "b", Ports: p[1:2], To: gre, Out: true}, {VIF: "c", Ports: p[2:], To: other, In: true, Out: true},
	}}
	_, tx := h.decide(o, nil)
	h.transact(tx)
	if made, _ := own.Ports(h.s.Rows(), h.bridge()); len(made) != 1 || !slices.Equal(made[0].Trunks, []int64{4095}) {
		t.Errorf("ports %+v, want a tunnel that is in no VLAN from the first moment", made)
	}
	a := h.settle(o, works)
	ours, _ := own.Mirrors(h.s.Rows(), h.bridge())
	vifs := []string{"a in", "b out", "c"}
	want := []mirror.Mirror{{Target: "also, ids", To: "gre 192.0.2.7 key 5", State: mirror.StateActive, VIFs: vifs, Row: "weir-also", Port: a.Mirrors[0].Port, Copied: vifs}}
	if diff := cmp.Diff(want, a.Mirrors); diff != "" {
		t.Errorf("mirrors (-want +got):\n%s", diff)
	}
	sorted := func(list ...ovsdb.UUID) []ovsdb.UUID { return slices.Sorted(slices.Values(list)) }
	if len(ours) != 1 || !slices.Equal(sorted(ours[0].SelectDstPorts...), sorted(p[0], p[2])) || !slices.Equal(sorted(ours[0].SelectSrcPorts...), sorted(p[1], p[2])) {
		t.Errorf("rows %+v", ours)
	}
	tunnels, _ := own.Ports(h.s.Rows(), h.bridge())
	i := h.s.Rows().Interfaces[tunnels[0].Interfaces[0]]
	if len(i.Name) > 15 || i.Type != "gre" || i.Options["remote_ip"] != "192.0.2.7" || i.Options["out_key"] != "5" || i.Options["in_key"] == "" || i.Options["in_key"] == "5" || !slices.Equal(tunnels[0].Trunks, []int64{4095}) {
		t.Errorf("tunnel %+v of port %+v", i, tunnels[0])
	}
}

// A bridge has 32 mirrors, those of others too; the rest is told, and always the same is left out.
func TestLimit(t *testing.T) {
	args := ports(1)
	list := []string{}
	for i := range 3 {
		args = append(args, "--", fmt.Sprintf("--id=@m%d", i), "create", "mirror", fmt.Sprint("name=theirs", i), "output_vlan=9")
		list = append(list, fmt.Sprint("@m", i))
	}
	h := newHost(t, append(args, "--", "set", "bridge", "br0", "mirrors="+strings.Join(list, ","))...)
	var o mirror.Order
	for i := range 40 {
		o.Copies = append(o.Copies, mirror.Copy{
			VIF: "a", Ports: []ovsdb.UUID{h.port("vif1.0")}, In: true, To: policy.MirrorTarget{Name: fmt.Sprintf("t%02d", i), GRE: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})},
		})
	}
	rng := rand.New(rand.NewPCG(chance.Seed(t), 0))
	for range 3 {
		rng.Shuffle(len(o.Copies), func(i, j int) { o.Copies[i], o.Copies[j] = o.Copies[j], o.Copies[i] })
		a := h.settle(o, works)
		for i, m := range a.Mirrors {
			want := mirror.StateActive
			if i >= mirror.Most-3 {
				want = mirror.StateLeftOut
			}
			if m.Target != fmt.Sprintf("t%02d", i) || m.State != want || (m.Why != "") != (want == mirror.StateLeftOut) {
				t.Errorf("mirror %d: %+v, want %s", i, m, want)
			}
		}
	}
	if n := len(h.bridge().Mirrors); n != 32 { // MAX_MIRRORS of Open vSwitch
		t.Errorf("%d mirrors, want 32", n)
	}
}

// What cannot be is said, and nothing is changed for it.
func TestWhatCannotBe(t *testing.T) {
	span := func(port string) policy.MirrorTarget { return policy.MirrorTarget{Name: "tap", Port: port} }
	for name, c := range map[string]struct {
		to    policy.MirrorTarget
		why   string
		state mirror.State
		want  string
		gone  bool
	}{
		"no port":      {to: span("eth9"), want: `the bridge has no port "eth9"`, state: mirror.StateFailed},
		"only uplink":  {to: span("eth0"), want: `port "eth0" is the bridge's only way to the network`, state: mirror.StateFailed},
		"bond":         {to: span("bond0"), want: `port "bond0" is a bond`, state: mirror.StateFailed},
		"host":         {to: span("br0"), want: `port "br0" is the host's own`, state: mirror.StateFailed},
		"VLAN network": {to: span("fake7"), want: `port "fake7" is the host's own`, state: mirror.StateFailed},
		"theirs":       {to: span("theirs"), want: `port "theirs" is that of mirror "m", which is not Weir's`, state: mirror.StateFailed},
		"not marked":   {to: rspan, why: "VLAN 900 is not marked", want: "VLAN 900 is not marked", state: mirror.StateFailed},
		"unplugged":    {to: gre, gone: true, want: "none of its VIFs is plugged in", state: mirror.StateWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, append(ports(1), "--", "add-port", "br0", "eth0", "--", "add-bond", "br0", "bond0", "eth1", "eth2", "--", "add-br", "fake7", "br0", "7", "--", "add-port", "br0", "theirs",
				"--", "--id=@p", "get", "port", "theirs", "--", "--id=@m", "create", "mirror", "name=m", "select_all=true", "output_port=@p", "--", "set", "bridge", "br0", "mirrors=@m")...)
			ovsdbtest.Until(t, "all is known", func() bool { return len(h.s.Rows().Mirrors) == 1 })
			before := h.state()
			at := h.port("vif1.0")
			if c.gone {
				at = "ffffffff-0000-4000-8000-000000000000"
			}
			a := h.settle(mirror.Order{Copies: []mirror.Copy{{VIF: "a", Ports: []ovsdb.UUID{at}, To: c.to, In: true, Why: c.why}}, Network: []ovsdb.UUID{h.port("eth0")}}, works)
			if m := a.Mirrors[0]; m.State != c.state || !strings.HasPrefix(m.Why, c.want) || a.Held {
				t.Errorf("%+v, held %v; want %s, %q", m, a.Held, c.state, c.want)
			}
			h.same(before, "after nothing could be done")
		})
	}
}

// A tunnel that the switch cannot make is told, made anew when that is due, and its removal is nobody's doing.
func TestTunnelFails(t *testing.T) {
	h := newHost(t, ports(1)...)
	o := mirror.Order{Copies: []mirror.Copy{{VIF: "a", Ports: []ovsdb.UUID{h.port("vif1.0")}, To: gre, In: true}}}
	fails := func(*ovsdb.Interface) ovsdb.Values {
		return ovsdb.Values{"ofport": int64(-1), "error": "could not add network device weirm to ofproto (File exists)"}
	}
	a := h.settle(o, fails)
	if m := a.Mirrors[0]; m.State != mirror.StateFailed || !strings.Contains(m.Why, "File exists") || !a.Held || len(h.bridge().Mirrors) != 0 {
		t.Errorf("%+v, want it failed", a)
	}
	again := func(q *mirror.Question) { q.Again = true }
	a, tx := h.decide(o, again)
	if !a.Again || !a.Changes {
		t.Errorf("%+v, want that the port is made anew", a)
	}
	h.transact(tx)
	if ours, _ := own.Ports(h.s.Rows(), h.bridge()); len(ours) != 0 {
		t.Errorf("ports %v, want that it is removed before it is made", ours)
	}
	if a := h.settle(o, works); a.Mirrors[0].State != mirror.StateActive {
		t.Errorf("%+v, want it active", a)
	}
	h.release()
}

// What others do to Weir's is told, and set right.
func TestWhatOthersUndo(t *testing.T) {
	for name, do := range map[string][]string{
		"mirrors":  {"clear", "bridge", "br0", "mirrors"},
		"select":   {"set", "mirror", "weir-ids", "select_all=true"},
		"target":   {"clear", "mirror", "weir-ids", "output_port"},
		"vlan":     {"set", "mirror", "weir-ids", "select_vlan=7"},
		"flood":    {"clear", "bridge", "br0", "flood_vlans"},
		"trunks":   {"clear", "port", "vif1.0", "trunks"},
		"tunnel":   {"del-port", "br0", "TUNNEL"},
		"options":  {"set", "interface", "TUNNEL", "options:remote_ip=203.0.113.1"},
		"flooding": {"clear", "port", "TUNNEL", "trunks"},
		"key":      {"remove", "bridge", "br0", "external_ids", "weir-former-flood_vlans"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, ports(1)...)
			before := h.state()
			at := []ovsdb.UUID{h.port("vif1.0")}
			o := mirror.Order{Copies: []mirror.Copy{{VIF: "a", Ports: at, To: gre, In: true}, {VIF: "a", Ports: at, To: rspan, In: true}}, Guests: at}
			a := h.settle(o, works)
			settled := h.state()
			for i := range do {
				do[i] = strings.ReplaceAll(do[i], "TUNNEL", a.Mirrors[0].Port)
			}
			rows := h.s.Rows()
			h.server.VSCtl(append([]string{"--no-wait"}, do...)...)
			ovsdbtest.Until(t, "it is known", func() bool { return h.s.Rows() != rows })
			a, tx := h.decide(o, nil)
			if name == "key" { // the VLAN is others' from now on
				if a.Undone != "" || tx.Operations() != nil {
					t.Errorf("%+v, want nothing done", a)
				}
				return
			}
			if a.Undone == "" || !a.Changes {
				t.Errorf("%+v, want that it is told", a)
			}
			h.transact(tx)
			h.found = ""
			h.settle(o, works)
			if got, want := strings.Count(h.state(), "trunks=0 "), strings.Count(settled, "trunks=0 "); got != want || want != 1 {
				t.Errorf("%d ports are kept out of VLANs for copies, want %d: that of the VM", got, want)
			}
			h.settle(mirror.Order{}, works)
			h.same(before, "after all is off")
		})
	}
}

// Ports that may be a VM's are kept out of VLANs for copies, in which those would be that say no VLANs; what others chose stays.
func TestCopiesInVLANsReachNoVM(t *testing.T) {
	h := newHost(t, append(ports(2), "--", "add-port", "br0", "eth0", "--", "add-port", "br0", "tagged", "tag=7", "--", "add-port", "br0", "native", "tag=7", "vlan_mode=native-untagged",
		"--", "add-port", "br0", "sensor", "tag=900", "--", "add-port", "br0", "some", "trunks=900", "--", "add-port", "br0", "unknown")...)
	before := h.state()
	o := mirror.Order{Copies: []mirror.Copy{{VIF: "a", Ports: []ovsdb.UUID{h.port("vif1.0")}, To: rspan, In: true}}, Network: []ovsdb.UUID{h.port("eth0")}, Guests: h.guests("tagged", "native", "sensor", "some", "unknown")}
	h.settle(o, works)
	for port, want := range map[string]string{
		"vif1.0": "[0]", "vif1.1": "[0]", "unknown": "[0]", "native": "[0]", "eth0": "[]", "br0": "[]", "tagged": "[]", "sensor": "[]", "some": "[900]",
	} {
		if got := strings.TrimSpace(h.server.VSCtl("--no-wait", "get", "port", port, "trunks")); got != want {
			t.Errorf("trunks of %s: %s, want %s", port, got, want)
		}
	}
	if got := strings.TrimSpace(h.server.VSCtl("--no-wait", "get", "bridge", "br0", "flood_vlans")); got != "[900]" {
		t.Errorf("flood_vlans %s, want [900]", got)
	}
	h.server.VSCtl("--no-wait", "set", "port", "vif1.1", "trunks=0,5") // others choose
	ovsdbtest.Until(t, "it is known", func() bool { return len(h.s.Rows().Ports[h.port("vif1.1")].Trunks) == 2 })
	h.settle(o, works)
	h.release()
	if got := strings.TrimSpace(h.server.VSCtl("--no-wait", "get", "port", "vif1.1", "trunks")); got != "[0, 5]" {
		t.Errorf("trunks %s, want what others chose", got)
	}
	h.server.VSCtl("--no-wait", "clear", "port", "vif1.1", "trunks")
	h.same(before, "after release")
}

// While Weir yields to others, what is wanted stays as it is there, and copies of which nobody wants any more end.
func TestYielded(t *testing.T) {
	h := newHost(t, ports(2)...)
	before := h.state()
	copyOf := func(vif string, to policy.MirrorTarget) mirror.Copy {
		return mirror.Copy{VIF: vif, Ports: []ovsdb.UUID{h.port(vif)}, To: to, In: true}
	}
	a, b := copyOf("vif1.0", gre), copyOf("vif1.1", policy.MirrorTarget{Name: "far", GRE: netip.MustParseAddr("192.0.2.9")})
	wire := copyOf("vif1.0", rspan)
	guests := h.guests()
	h.settle(mirror.Order{Copies: []mirror.Copy{a, b, wire}, Guests: guests}, works)
	yields := func(q *mirror.Question) { q.Yielded = true }
	rows := func() (names []string) {
		ours, _ := own.Mirrors(h.s.Rows(), h.bridge())
		tunnels, _ := own.Ports(h.s.Rows(), h.bridge())
		for _, m := range ours {
			names = append(names, m.Name)
		}
		return append(names, fmt.Sprint(len(tunnels), " tunnels"))
	}
	left := func(what string, o mirror.Order, want ...string) {
		t.Helper()
		answer, tx := h.decide(o, yields)
		if tx.Operations() != nil {
			h.transact(tx)
			answer, tx = h.decide(o, yields)
		}
		if tx.Operations() != nil || answer.Changes || answer.Undone != "" {
			t.Errorf("%s: %+v, want nothing left to be done", what, answer)
		}
		for _, m := range answer.Mirrors {
			if m.State != mirror.StateYielded {
				t.Errorf("%s: %+v", what, m)
			}
		}
		if got := rows(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	left("all is wanted", mirror.Order{Copies: []mirror.Copy{a, b, wire}, Guests: guests}, "weir-far", "weir-ids", "weir-wire", "2 tunnels")
	left("one is not", mirror.Order{Copies: []mirror.Copy{a, wire}, Guests: guests}, "weir-ids", "weir-wire", "1 tunnels")
	h.server.VSCtl("--no-wait", "clear", "bridge", "br0", "mirrors")
	ovsdbtest.Until(t, "it is known", func() bool { return len(h.bridge().Mirrors) == 0 })
	left("others removed them", mirror.Order{Copies: []mirror.Copy{a, wire}, Guests: guests}, "1 tunnels")
	left("nothing is", mirror.Order{}, "0 tunnels")
	h.same(before, "nothing is wanted")
}

// What is copied too much, or to elsewhere, ends at once, also while Weir yields; what is wanted in addition waits.
func TestYieldedGetsNarrower(t *testing.T) {
	wire := func(vlan uint16) policy.MirrorTarget { return policy.MirrorTarget{Name: "ids", VLAN: vlan} }
	type copies struct {
		vif, way string
		to       policy.MirrorTarget
	}
	span := policy.MirrorTarget{Name: "ids", Port: "eth1"}
	other := policy.MirrorTarget{Name: "ids", GRE: netip.MustParseAddr("192.0.2.9")}
	const untouched = "as it was"
	for name, c := range map[string]struct {
		was, is []copies
		others  []string // what they do meanwhile
		want    string   // the row; "": it is gone
		copied  string   // of what copies are made then
	}{
		"one direction less": {was: []copies{{"vif1.0", "both", gre}}, is: []copies{{"vif1.0", "in", gre}}, want: "src [] dst [vif1.0]", copied: "vif1.0 in"},
		"one VIF less":       {was: []copies{{"vif1.0", "both", gre}, {"vif1.1", "out", gre}}, is: []copies{{"vif1.0", "both", gre}}, want: "src [vif1.0] dst [vif1.0]", copied: "vif1.0"},
		"one less, one more": {was: []copies{{"vif1.0", "both", gre}, {"vif1.1", "out", gre}}, is: []copies{{"vif1.0", "out", gre}, {"vif1.2", "both", gre}}, want: "src [vif1.0] dst []", copied: "vif1.0 out"},
		"others instead":     {was: []copies{{"vif1.0", "both", gre}}, is: []copies{{"vif1.1", "both", gre}}},
		"one more":           {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "both", gre}, {"vif1.1", "in", gre}}, want: untouched, copied: "vif1.0 in"},
		"the same":           {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, want: untouched, copied: "vif1.0 in"},
		"another address":    {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", other}}},
		"another VLAN":       {was: []copies{{"vif1.0", "in", wire(900)}}, is: []copies{{"vif1.0", "in", wire(901)}}},
		"a port":             {was: []copies{{"vif1.0", "in", wire(900)}}, is: []copies{{"vif1.0", "in", span}}},
		"a tunnel":           {was: []copies{{"vif1.0", "in", span}}, is: []copies{{"vif1.0", "in", gre}}},
		"the same port":      {was: []copies{{"vif1.0", "both", span}}, is: []copies{{"vif1.0", "out", span}}, want: "src [vif1.0] dst []", copied: "vif1.0 out"},
		"others copy all":    {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, others: []string{"set", "mirror", "weir-ids", "select_all=true"}},
		"others lead it elsewhere": {
			was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, others: []string{"--id=@p", "get", "port", "eth1", "--", "set", "mirror", "weir-ids", "output_port=@p"},
		},
		"others lead the tunnel elsewhere": {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, others: []string{"set", "interface", "TUNNEL", "options:remote_ip=192.0.2.77"}, want: untouched},
		"others copy another VLAN only":    {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, others: []string{"set", "mirror", "weir-ids", "select_vlan=7"}, want: untouched},
		"others copy its VLAN only": {
			was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, others: []string{"set", "mirror", "weir-ids", "select_vlan=0,7"}, want: untouched, copied: "vif1.0 in",
		},
		"others copy less": {
			was: []copies{{"vif1.0", "both", gre}, {"vif1.1", "both", gre}}, is: []copies{{"vif1.0", "both", gre}, {"vif1.1", "both", gre}},
			others: []string{"--id=@p", "get", "port", "vif1.1", "--", "remove", "mirror", "weir-ids", "select_src_port", "@p"}, want: untouched, copied: "vif1.0, vif1.1 in",
		},
		"others have addresses be learned": {
			was: []copies{{"vif1.0", "in", wire(900)}}, is: []copies{{"vif1.0", "in", wire(900)}}, others: []string{"clear", "bridge", "br0", "flood_vlans"}, want: untouched, copied: "vif1.0 in",
		},
		"others lead it nowhere": {was: []copies{{"vif1.0", "in", gre}}, is: []copies{{"vif1.0", "in", gre}}, others: []string{"clear", "mirror", "weir-ids", "output_port"}, want: untouched},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, append(ports(3), "--", "add-port", "br0", "eth0", "--", "add-port", "br0", "eth1")...)
			before := h.state()
			order := func(list []copies) (o mirror.Order) {
				for _, c := range list {
					o.Copies = append(o.Copies, mirror.Copy{VIF: c.vif, Ports: []ovsdb.UUID{h.port(c.vif)}, To: c.to, In: c.way != "out", Out: c.way != "in"})
				}
				o.Network = []ovsdb.UUID{h.port("eth0"), h.port("eth1")}
				return o
			}
			h.settle(order(c.was), works)
			rows := h.s.Rows()
			if c.others != nil {
				args := []string{"--no-wait"}
				for _, arg := range c.others {
					if tunnels, _ := own.Ports(h.s.Rows(), h.bridge()); arg == "TUNNEL" {
						arg = tunnels[0].Name
					}
					args = append(args, arg)
				}
				h.server.VSCtl(args...)
				ovsdbtest.Until(t, "it is known", func() bool { return h.s.Rows() != rows })
			}
			settled := h.state()
			yields := func(q *mirror.Question) { q.Yielded = true }
			answer, tx := h.decide(order(c.is), yields)
			if want := c.want != untouched; answer.Changes != want || answer.Undone != "" || (tx.Operations() != nil) != want {
				t.Errorf("%+v, want changes: %t", answer, want)
			}
			if tx.Operations() != nil {
				h.transact(tx)
			}
			again, tx := h.decide(order(c.is), yields)
			if tx.Operations() != nil || again.Changes {
				t.Errorf("%+v, want nothing left to be done", again)
			}
			for what, a := range map[string]mirror.Answer{"when it is decided": answer, "afterwards": again} {
				if got := strings.Join(a.Mirrors[0].Copied, ", "); got != c.copied {
					t.Errorf("%s copies are made of %q, want %q", what, got, c.copied)
				}
			}
			if c.want == untouched {
				h.same(settled, "while Weir yields")
			} else {
				got := ""
				ours, _ := own.Mirrors(h.s.Rows(), h.bridge())
				for _, m := range ours {
					names := func(ids []ovsdb.UUID) (list []string) {
						for _, id := range ids {
							list = append(list, h.s.Rows().Ports[id].Name)
						}
						slices.Sort(list)
						return list
					}
					got += fmt.Sprintf("src %v dst %v", names(m.SelectSrcPorts), names(m.SelectDstPorts))
				}
				if got != c.want {
					t.Errorf("row %q, want %q", got, c.want)
				}
			}
			h.found = ""
			if a := h.settle(order(c.is), works); a.Mirrors[0].State != mirror.StateActive { // when it does not any more
				t.Errorf("afterwards: %+v", a)
			}
			h.settle(mirror.Order{}, works)
			h.same(before, "nothing is wanted")
		})
	}
}
