package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// realBridge is a bridge of a real Open vSwitch whose ports are simulated.
type realBridge struct {
	host *ovsbed.Host
	conn *openflow.Conn
}

func newRealBridge(t testing.TB) *realBridge {
	t.Helper()
	farm, err := ovsbedtest.New(t).Farm(t.Context(), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &realBridge{host: farm.Hosts[0]}
	addr := netip.AddrPortFrom(b.host.Exporter, 6653)
	args := []string{"set-fail-mode", "br0", "secure", "--", "set-controller", "br0", fmt.Sprintf("ptcp:%d", addr.Port())}
	for port := 1; port <= 40; port++ {
		args = append(args, "--", "add-port", "br0", fmt.Sprint("p", port), "--", "set", "interface", fmt.Sprint("p", port), "type=dummy", fmt.Sprint("ofport_request=", port))
	}
	if _, err := b.host.VSCtl(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		nc, err := net.Dial("tcp", addr.String())
		if err == nil {
			b.conn, err = openflow.Accept(t.Context(), nc, openflow.Config{Limits: openflow.DefaultLimits()})
		}
		if err == nil {
			t.Cleanup(b.conn.Close)
			return b
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // until it listens
	}
}

// set makes the bridge hold what is desired and nothing else.
func (b *realBridge) set(t testing.TB, d *compile.Desired) {
	t.Helper()
	groups, err := b.conn.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mods := []openflow.Mod{openflow.DeleteFlows{Table: openflow.AllTables}}
	for _, g := range groups {
		mods = append(mods, openflow.DeleteGroup{ID: g.ID})
	}
	for _, g := range d.Groups {
		mods = append(mods, openflow.AddGroup{Group: g})
	}
	for f := range d.Each() {
		mods = append(mods, openflow.AddFlow{Flow: f})
	}
	meters, err := b.conn.Meters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range meters { // flows that use them go, too
		if err := b.conn.DeleteMeter(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range d.Meters {
		if err := b.conn.AddMeter(t.Context(), m, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.conn.Apply(t.Context(), mods); err != nil {
		t.Fatal(err)
	}
}

// TestOpenVSwitchTakesAllFlows: what is compiled of random bridges is taken by Open vSwitch, and is then there as it was said.
func TestOpenVSwitchTakesAllFlows(t *testing.T) {
	b := newRealBridge(t)
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := compiletest.Random(r, policytest.New(r, policytest.Small))
		d, err := compile.New().Compile(in)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		b.set(t, d)
		want := map[openflow.FlowKey]openflow.Flow{}
		for f := range d.Each() {
			want[f.Key()] = f
		}
		err = b.conn.Flows(t.Context(), openflow.Everything, func(s openflow.FlowStats) {
			if f, ok := want[s.Key()]; !ok || f != s.Flow {
				t.Errorf("seed %d: there is\n%v\nwant\n%v", seed, s.Flow, f)
			}
			delete(want, s.Key())
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range want {
			t.Errorf("seed %d: there is no %v", seed, f)
		}
		groups, err := b.conn.Groups(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if d.Groups[g.ID] != g {
				t.Errorf("seed %d: group %d is not as it was said", seed, g.ID)
			}
		}
		meters, err := b.conn.Meters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range meters {
			if d.Meters[m.ID] != m {
				t.Errorf("seed %d: meter %s is not as it was said", seed, m)
			}
		}
		if most, err := b.conn.MaxMeter(t.Context()); err != nil || len(meters) != len(d.Meters) || most < compile.MeterLast {
			t.Errorf("seed %d: %d meters of up to %d (%v), want %d", seed, len(meters), most, err, len(d.Meters))
		}
		if len(groups) != len(d.Groups) {
			t.Errorf("seed %d: %d groups, want %d", seed, len(groups), len(d.Groups))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// TestLearned sends from more MAC addresses than are learned behind one VIF: what is learned of others is as before.
func TestLearned(t *testing.T) {
	b := newRealBridge(t)
	in := large(0, 0)
	in.Policy.Default.Rule.Action = policy.Allow
	const own1, own2 = 0x020000000001, 0x020000000002
	compiletest.AddVIF(in, 1, own1, 0)
	compiletest.AddVIF(in, 2, own2, 0)
	set := *in.Policy
	set.Settings = map[policy.LevelID]*policy.Said{{}: {Settings: policy.Settings{GuardMAC: policy.Off}}}
	in.Policy = &set
	b.set(t, mustCompile(t, compile.New(), in))
	send := func(port int, sources ...uint64) {
		t.Helper()
		args := []string{"netdev-dummy/receive", fmt.Sprint("p", port)}
		for _, mac := range sources {
			args = append(args, fmt.Sprintf("in_port(%d),eth(src=%v,dst=02:00:00:00:00:99),eth_type(0x88cc)", port, estate.MAC(mac)))
		}
		if _, err := b.host.AppCtl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	flows := func(filter openflow.Filter) (n int, packets uint64) {
		t.Helper()
		if err := b.conn.Flows(t.Context(), filter, func(f openflow.FlowStats) { n, packets = n+1, packets+f.Packets }); err != nil {
			t.Fatal(err)
		}
		return n, packets
	}
	learned := func(port int) int {
		t.Helper()
		n, _ := flows(openflow.Filter{Table: compile.TableLearned, Cookie: compile.Cookie(0, compile.KindLearned, uint32(port)), CookieMask: 1<<64 - 1})
		return n
	}
	// others returns n addresses of which nothing is known.
	next := uint64(0x020100000000)
	others := func(n int) (list []uint64) {
		for range n {
			list = append(list, next)
			next++
		}
		return list
	}
	const most, batch = 1024, 50 // simulated ports hold 100 packets, and lose more
	deadline := time.Now().Add(2 * time.Minute)
	for learned(11) < most {
		send(11, others(batch)...)
		if time.Now().After(deadline) {
			t.Fatalf("%d addresses are learned behind a VIF, want %d", learned(11), most)
		}
	}
	for range 10 {
		send(11, others(batch)...)
	}
	// What a port receives is read in turn: once its own address was seen, all that came before is done with.
	for own := (openflow.Filter{Table: compile.TableLearn, Match: openflow.NewMatch(openflow.EthSrc(own1))}); ; {
		if _, packets := flows(own); packets > 0 {
			break
		}
		send(11, own1)
		if time.Now().After(deadline) {
			t.Fatal("a VIF sends, and nothing comes")
		}
	}
	for learned(12) == 0 {
		send(12, others(1)...)
		if time.Now().After(deadline) {
			t.Fatal("nothing is learned behind another VIF")
		}
	}
	if n := learned(11); n != most {
		t.Errorf("%d addresses are learned behind a VIF that sends from more, want %d", n, most)
	}
}
