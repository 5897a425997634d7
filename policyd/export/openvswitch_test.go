package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
)

// site is a real host with two bridges, and two VMs at each.
type site struct {
	*testing.T
	ctx    context.Context
	host   *ovsbed.Host
	vms    map[string]ovsbed.VM // a and b at br0, c and d at br1
	target string
	tap    *tap
}

func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for real flows, of a switch that shares no memory")
	}
	t.Parallel() // most of the time flows are waited for
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	s := &site{T: t, ctx: ctx, vms: map[string]ovsbed.VM{}}
	var err error
	s.host, err = ovsbedtest.New(t).Host(ctx, "hv1")
	s.must(err)
	s.target = "unix:" + s.host.DBSocket()
	for i, name := range []string{"a", "b", "c", "d"} {
		bridge := fmt.Sprint("br", i/2)
		if i%2 == 0 {
			s.must(s.host.AddBridge(ctx, bridge))
		}
		s.vms[name], err = s.host.AddVM(ctx, ovsbed.VM{
			Name: name, Bridge: bridge, MAC: fmt.Sprintf("02:00:00:00:00:%02x", i+1),
			Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.1.%d.%d/24", i/2, i+1))},
		})
		s.must(err)
	}
	s.tap = newTap(t, s.host.Root)
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) addr(vm string) netip.Addr { return s.vms[vm].Addrs[0].Addr() }

// talk sends n datagrams from one VM to a port of another, and as many answers.
func (s *site) talk(ctx context.Context, from, to string, port uint16, n int) error {
	return traffic.UDP(ctx, s.vms[from].Namespace, s.vms[to].Namespace, netip.AddrPortFrom(s.addr(to), port), n, 64, 64)
}

// settings make the host export to the tap, and report after a second.
func (s *site) settings(change func(*export.Settings)) export.Settings {
	return settings(func(x *export.Settings) {
		x.Collector, x.ActiveTimeout = s.tap.addr, time.Second
		if change != nil {
			change(x)
		}
	})
}

// tap is what receives flows.
type tap struct {
	addr netip.AddrPort

	mu        sync.Mutex
	templates map[uint32]int    // received, by observation domain; guarded by mu
	sent      map[string]uint64 // packets of UDP, by "VERSION DOMAIN FROM>TO:PORT"; guarded by mu
	virtual   map[uint32]string // virtualObsID by domain; guarded by mu
}

func newTap(t *testing.T, at netip.Addr) *tap {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		t.Fatal(err)
	}
	x := &tap{
		addr: netip.AddrPortFrom(at, uint16(conn.LocalAddr().(*net.UDPAddr).Port)), templates: map[uint32]int{}, sent: map[string]uint64{}, virtual: map[uint32]string{},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d := netflow.NewDescriber()
		for b := make([]byte, 65536); ; {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			x.take(d.Describe(b[:n], from.Addr()))
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return x
}

func (x *tap) take(d netflow.Datagram) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range d.Messages {
		for _, set := range m.Sets {
			x.templates[m.Domain] += len(set.Layouts)
			for _, r := range set.Records {
				v := map[string]any{}
				for _, e := range r.Elements {
					if _, twice := v[e.Name]; !twice {
						v[e.Name] = e.Value
					}
				}
				if id, is := v["virtualObsID"].(string); is {
					x.virtual[m.Domain] = id
				}
				if fmt.Sprint(v["protocolIdentifier"]) == "17" {
					packets, _ := v["packetDeltaCount"].(uint64)
					x.sent[fmt.Sprintf("%d %d %v>%v:%v", m.Version, m.Domain, v["sourceIPv4Address"], v["destinationIPv4Address"], v["destinationTransportPort"])] += packets
				}
			}
		}
	}
}

// count returns what came of a flow.
func (x *tap) count(flow string) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent[flow]
}

// exports awaits flows of a bridge, whose packets are counted once each.
func (s *site) exports(w *weir, number int, from, to string, port uint16) {
	s.Helper()
	b := w.exports.Status()[0].Bridges[number]
	version := map[export.Protocol]int{export.IPFIX: 10, export.NetFlow: 5}[b.Protocol]
	flow := func(port uint16) string {
		return fmt.Sprintf("%d %d %v>%v:%d", version, b.Domain, s.addr(from), s.addr(to), port)
	}
	ovsdbtest.Until(s.T, "flows of "+b.Name+" come: "+flow(port+1), func() bool {
		s.must(s.talk(s.ctx, from, to, port+1, 1))
		return s.tap.count(flow(port+1)) > 0
	})
	const n = 40
	s.must(s.talk(s.ctx, from, to, port, n))
	ovsdbtest.Until(s.T, "they count "+flow(port), func() bool { return s.tap.count(flow(port)) >= n })
	if got := s.tap.count(flow(port)); got != n {
		s.Errorf("%s: flows say %d packets, want %d: each once", flow(port), got, n)
	}
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	if got := s.tap.virtual[uint32(b.Domain)]; version == 10 && got != b.VirtualObsID {
		s.Errorf("%s: virtual_obs_id %q, want %q", b.Name, got, b.VirtualObsID)
	}
}

// Bridges export, whatever happens to the host.
func TestBridgesExport(t *testing.T) {
	s := newSite(t)
	external := newTap(t, s.host.Root)
	w, _ := start(t, s.target, s.settings(func(x *export.Settings) {
		x.Bridges = map[string]export.Protocol{"br1": export.NetFlow}
		x.External = []netip.AddrPort{external.addr}
	}))
	w.await(t, "br0=set br1=set")
	if b := w.exports.Status()[0].Bridges; b[0].Protocol != export.IPFIX || b[1].Protocol != export.NetFlow || b[0].Domain == b[1].Domain {
		t.Errorf("bridges export %+v, want IPFIX and NetFlow of two domains", b)
	}
	s.exports(w, 0, "a", "b", 1000)
	s.exports(w, 1, "c", "d", 1000)
	s.tap.mu.Lock()
	flows := maps.Clone(s.tap.sent)
	s.tap.mu.Unlock()
	for flow, want := range flows {
		if strings.HasSuffix(flow, ":1000") {
			ovsdbtest.Until(t, "the other collector gets as much: "+flow, func() bool { return external.count(flow) == want })
		}
	}

	s.must(s.host.EmerReset(s.ctx))
	ovsdbtest.Until(t, "what emer-reset removed is told", func() bool { return len(w.events.of(event.ExportWiped)) == 2 })
	w.await(t, "br0=set br1=set")
	w.events.atOnce(t)
	s.exports(w, 0, "a", "b", 2000)

	s.must(errors.Join(s.host.RestartSwitch(s.ctx), s.host.RestartDB(s.ctx)))
	s.exports(w, 0, "a", "b", 3000)
	s.exports(w, 1, "c", "d", 3000)
	s.must(s.host.Kill())
	s.must(s.host.Start(s.ctx))
	w.await(t, "br0=set br1=set")

	s.must(s.host.AddBridge(s.ctx, "br2"))
	w.await(t, "br0=set br1=set br2=set")
	w.set(s.settings(func(x *export.Settings) { x.Protocol = export.NetFlow }), false)
	ovsdbtest.Until(t, "all export NetFlow", func() bool {
		return w.bridges() == "br0=set br1=set br2=set" && w.exports.Status()[0].Bridges[0].Protocol == export.NetFlow
	})
	// What passes two bridges is counted by the one where it comes in.
	_, err := s.host.VSCtl(s.ctx, "add-port", "br0", "patch0", "--", "set", "interface", "patch0", "type=patch", "options:peer=patch1",
		"--", "add-port", "br1", "patch1", "--", "set", "interface", "patch1", "type=patch", "options:peer=patch0")
	s.must(err)
	s.vms["e"], err = s.host.AddVM(s.ctx, ovsbed.VM{Name: "e", Bridge: "br1", MAC: "02:00:00:00:00:05", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.5/24")}})
	s.must(err)
	s.exports(w, 0, "a", "e", 5000)
	through := fmt.Sprintf("5 %d %v>%v:5000", w.exports.Status()[0].Bridges[1].Domain, s.addr("a"), s.addr("e"))
	if n := s.tap.count(through); n != 0 {
		t.Errorf("%s: the second bridge counts %d packets, want none", through, n)
	}
}

// Templates are sent again when they are asked for, and not more often than they should.
func TestTemplatesAreSentAgain(t *testing.T) {
	s := newSite(t)
	w, _ := start(t, s.target, s.settings(nil))
	w.await(t, "br0=set br1=set")
	s.exports(w, 0, "a", "b", 1000)
	s.exports(w, 1, "c", "d", 1000)
	domains := []uint32{uint32(w.exports.Status()[0].Bridges[0].Domain), uint32(w.exports.Status()[0].Bridges[1].Domain)}
	templates := func() [2]int {
		s.tap.mu.Lock()
		defer s.tap.mu.Unlock()
		return [2]int{s.tap.templates[domains[0]], s.tap.templates[domains[1]]}
	}
	first := templates()
	if first[0] == 0 || first[0] != first[1] {
		t.Fatalf("%v templates came, want as many of either bridge", first)
	}
	ask := func(d uint32) {
		if err := w.exports.Resend(identity.UUID, d); err != nil {
			t.Fatal(err)
		}
	}
	port := uint16(2000)
	again := func(want [2]int) {
		ovsdbtest.Until(t, fmt.Sprintf("%v templates have come", want), func() bool {
			port++
			s.must(errors.Join(s.talk(s.ctx, "a", "b", port, 1), s.talk(s.ctx, "c", "d", port, 1)))
			return templates() == want
		})
	}
	ask(domains[0])
	again([2]int{2 * first[0], first[1]})
	for range 3 { // too soon
		ask(domains[0])
	}
	ask(0) // nobody's
	ask(domains[1])
	again([2]int{2 * first[0], 2 * first[1]})
	w.await(t, "br0=set br1=set")
	if set, wiped := len(w.events.of(event.ExportSet)), len(w.events.of(event.ExportWiped)); set != 2 || wiped != 0 {
		t.Errorf("%d events that exports were set up, want 2, and %d of wiping, want none", set, wiped)
	}
}

// Whatever Weir does about exports, no packet is lost.
func TestNoPacketIsLost(t *testing.T) {
	s := newSite(t)
	s.must(s.talk(s.ctx, "a", "b", 9, 10))
	w, stop := start(t, s.target, s.settings(func(x *export.Settings) { x.Protocol = export.Off }))
	defer stop()
	w.await(t, "br0=off br1=off")

	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	quit, done := make(chan struct{}), make(chan error, 1)
	var answered atomic.Int64
	go func() {
		for {
			select {
			case <-quit:
				done <- nil
				return
			default:
			}
			if err := s.talk(ctx, "a", "b", 9, 20); err != nil { // each waits for its answer, which a loss would not bring
				done <- err
				return
			}
			answered.Add(20)
		}
	}()
	changes := 0
	changed := func() { // datagrams pass after it
		changes++
		enough := answered.Load() + 40
		ovsdbtest.Until(t, "datagrams are answered", func() bool { return answered.Load() >= enough || len(done) > 0 })
	}
	for range 3 {
		for _, p := range []export.Protocol{export.IPFIX, export.NetFlow, export.Auto, export.Off} {
			w.set(s.settings(func(x *export.Settings) { x.Protocol = p }), false)
			want := "br0=set br1=set"
			if p == export.Off {
				want = "br0=off br1=off"
			}
			ovsdbtest.Until(t, "bridges export "+string(p), func() bool {
				b := w.exports.Status()[0].Bridges
				return w.bridges() == want && (b[0].Protocol == p || p == export.Auto && b[0].Protocol == export.IPFIX)
			})
			changed()
		}
	}
	w.set(s.settings(nil), false)
	w.await(t, "br0=set br1=set")
	changed()
	s.must(w.exports.Resend(identity.UUID, uint32(w.exports.Status()[0].Bridges[0].Domain)))
	changed()
	w.detach(t, s.settings(nil))
	changed()
	close(quit)
	if err := <-done; err != nil {
		t.Errorf("after %d datagrams that were answered: %v", answered.Load(), err)
	}
	t.Logf("%d datagrams were sent and answered during %d changes", answered.Load(), changes)
}

// openFlow returns flows, groups and meters of all bridges as text, without what they count.
func (s *site) openFlow() (all string) {
	s.Helper()
	for _, bridge := range []string{"br0", "br1"} {
		out, err := s.host.OpenFlow(s.ctx, bridge)
		s.must(err)
		all += bridge + "\n" + out + "\n"
	}
	return all
}

// others sets up what other controllers, and people, have at a host.
func (s *site) others() {
	s.Helper()
	service := ovsbed.Controller{Target: "tcp:" + netip.AddrPortFrom(s.host.Root, 9).String(), Service: true}
	s.must(errors.Join(
		s.host.Secure(s.ctx, "br0"), // else the switch forgets its flows while the primary one is not reached
		s.host.SetControllers(s.ctx, "br0", service, ovsbed.Controller{Target: "tcp:" + netip.AddrPortFrom(s.host.Root, 10).String()}),
		s.host.SetControllers(s.ctx, "br1", service),
	))
	for _, bridge := range []string{"br0", "br1"} {
		s.must(s.host.SetForeign(s.ctx, bridge))
	}
	_, err := s.host.VSCtl(s.ctx,
		"--", "--id=@n", "create", "NetFlow", `targets="203.0.113.1:2055"`, "engine_id=7", "engine_type=1", "add_id_to_interface=true", "active_timeout=30", "external_ids:by=them",
		"--", "--id=@i", "create", "IPFIX", `targets="203.0.113.1:4739","203.0.113.2:4739"`, "sampling=50", "cache_max_flows=100", "other_config:enable-tunnel-sampling=false",
		"--", "--id=@s", "create", "sFlow", `targets="203.0.113.3"`, "agent=lo",
		"--", "--id=@m", "create", "Mirror", "name=theirs", "select_all=true", "output_vlan=99",
		"--", "set", "bridge", "br0", "ipfix=@i", "sflow=@s", "mirrors=@m", "--", "set", "bridge", "br1", "netflow=@n", "ipfix=@i",
		"external_ids:xs-network-uuids=1;2", "other_config:theirs=1", "other_config:disable-in-band=false",
		"--", "--id=@b", "get", "bridge", "br0", "--", "create", "Flow_Sample_Collector_Set", "id=1", "bridge=@b", "ipfix=@i", "external_ids:by=them",
		"--", "set", "Open_vSwitch", ".", "external_ids:xs-system-uuid=x", "other_config:flow-limit=9999")
	s.must(err)
}

// keeper runs a Weir of its own process, for as long as given, and kills it then; 0 is until it ends by itself.
func (s *site) keeper(j job, lives time.Duration) {
	s.Helper()
	cmd, out := s.startKeeper(j)
	if lives > 0 {
		timer := time.AfterFunc(lives, func() { _ = cmd.Process.Kill() }) // it may have ended
		defer timer.Stop()
	}
	err := cmd.Wait()
	if killed := cmd.ProcessState.ExitCode() == -1; !killed && (err != nil || lives > 0 && !j.Detach) {
		s.Fatalf("keeper ended: %v: %s", err, out)
	}
}

// pace is how long a Weir of its own process takes here and now from its start until something is so. It is killed then.
func (s *site) pace(j job, so func() bool) time.Duration {
	s.Helper()
	begin := time.Now()
	cmd, out := s.startKeeper(j)
	for ; !so(); time.Sleep(5 * time.Millisecond) { // between polls
		if time.Since(begin) > lifetime {
			_ = cmd.Process.Kill() // it may have ended
			s.Fatalf("a keeper achieved nothing in %s: %v: %s", lifetime, cmd.Wait(), out)
		}
	}
	took := time.Since(begin)
	_ = cmd.Process.Kill() // it may have ended
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != -1 && (err != nil || !j.Detach) {
		s.Fatalf("keeper ended: %v: %s", err, out)
	}
	return took
}

func (s *site) startKeeper(j job) (*exec.Cmd, *bytes.Buffer) {
	s.Helper()
	text, err := json.Marshal(j)
	s.must(err)
	self, err := os.Executable()
	s.must(err)
	var out bytes.Buffer
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "WEIR_TEST_KEEPER="+string(text))
	cmd.Stdout, cmd.Stderr = &out, &out
	s.must(cmd.Start())
	return cmd, &out
}

// A host from which Weir was detached is as before: its database, and what its switch does with packets, however often Weir was killed
// in between, setting up or detaching.
func TestDetachedHostIsAsBefore(t *testing.T) {
	s := newSite(t)
	s.others()
	database, flows := ovsdbtest.Dump(t, s.target, false), s.openFlow()
	seed, kills := chance.Seed(t), 12
	if text := os.Getenv("WEIR_TEST_RUNS"); text != "" { // the long version
		n, err := strconv.Atoi(text)
		s.must(err)
		kills = 10 * n
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	pace := s.pace(job{Target: s.target, Settings: s.settings(func(x *export.Settings) { x.TakeOver = true })}, func() bool {
		return ovsdbtest.Dump(t, s.target, false) != database
	})
	changed, undone := 0, 0
	for n := 0; n < kills || changed == 0 && n < 2*kills; n++ {
		if n >= kills { // all came too early: the machine is slower than it was
			pace *= 2
		}
		j := job{Target: s.target, Detach: n%3 == 2, Settings: s.settings(func(x *export.Settings) {
			x.Protocol = []export.Protocol{export.IPFIX, export.NetFlow, export.Auto}[rng.IntN(3)]
			x.TakeOver = rng.IntN(4) > 0
			x.Sampling = uint32(rng.IntN(3))
		}), Enforced: map[string]export.Enforced{}, Controller: attach.Settings{Reach: netip.AddrPortFrom(s.host.Root, 11)}}
		for _, bridge := range []string{"br0", "br1"}[:rng.IntN(3)] {
			j.Enforced[bridge] = export.Enforced{Sampling: compile.Sampling(rng.IntN(3)), Flows: export.Flows(rng.IntN(3))}
		}
		s.keeper(j, pace/4+time.Duration(rng.Int64N(int64(2*pace))))
		if now := ovsdbtest.Dump(t, s.target, false); now != database {
			changed++
		} else if j.Detach {
			undone++
		}
		if diff := cmp.Diff(flows, s.openFlow()); diff != "" {
			t.Fatalf("kill %d: flows, groups or meters differ (-before +now):\n%s", n, diff)
		}
	}
	t.Logf("%d kills: after %d of them something of Weir's was there, after %d detaching was complete", kills, changed, undone)
	if changed == 0 {
		t.Error("no kill came after something was set up")
	}
	// One that lives, so that the last state is that of a host that is looked after.
	w, stop := startEnforcing(t, s.target, s.settings(func(x *export.Settings) { x.TakeOver = true }), map[string]export.Enforced{
		"br0": {Sampling: compile.SampleFull, Flows: export.FlowsInstalled}, "br1": {Sampling: compile.SampleNew, Flows: export.FlowsInstalled},
	}, attach.Settings{Reach: netip.AddrPortFrom(s.host.Root, 11)})
	w.await(t, "br0=off br1=set")
	ovsdbtest.Until(t, "policy is enforced", func() bool { return w.policy() == "br0:set/set! br1:set/set" })
	stop()
	if diff := cmp.Diff(flows, s.openFlow()); diff != "" {
		t.Errorf("flows, groups or meters differ while policy is enforced (-before +now):\n%s", diff)
	}
	s.keeper(job{Target: s.target, Settings: s.settings(nil), Detach: true}, 0)
	if diff := cmp.Diff(strings.Split(database, "\n"), strings.Split(ovsdbtest.Dump(t, s.target, false), "\n")); diff != "" {
		t.Errorf("the database differs (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(flows, s.openFlow()); diff != "" {
		t.Errorf("flows, groups or meters differ (-before +after):\n%s", diff)
	}
	s.keeper(job{Target: s.target, Settings: s.settings(nil), Detach: true}, 0) // once more: nothing to do
}
