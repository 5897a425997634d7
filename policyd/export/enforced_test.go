package export_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
)

// listen accepts bridges that dial, says hello in OpenFlow 1.3, answers their echoes and keeps them until the test ends.
func listen(t *testing.T, at netip.Addr) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				header := []byte{4, 0, 0, 8, 0, 0, 0, 1} // version 1.3, hello, 8 bytes
				for {
					if _, err := conn.Write(header); err != nil {
						return
					}
					for header[1] = 0; header[1] != 2; { // until it asks for an echo
						if _, err := io.ReadFull(conn, header); err != nil {
							return
						}
						if _, err := io.CopyN(io.Discard, conn, int64(header[2])<<8|int64(header[3])-8); err != nil {
							return
						}
					}
					header[1], header[2], header[3] = 3, 0, 8
				}
			}()
		}
	}()
	return netip.AddrPortFrom(at, uint16(l.Addr().(*net.TCPAddr).Port))
}

// sampling makes the flows of a bridge sample every packet, as rule 300 at egress.
func (s *site) sampling(bridge string, domain uint32) {
	s.Helper()
	s.must(s.host.SetFlows(s.ctx, bridge, fmt.Sprintf(
		"priority=61000,actions=sample(probability=65535,collector_set_id=%d,obs_domain_id=%d,obs_point_id=300),NORMAL", export.CollectorSet, domain)))
}

// A bridge that enforces policy dials Weir, and what its flows sample is the one source of totals, or not, from the moment that they are there
// until they go. Nothing is lost of what others have.
func TestBridgesThatEnforcePolicy(t *testing.T) {
	s := newSite(t)
	_, err := s.host.VSCtl(s.ctx, "set", "bridge", "br0", "other_config:disable-in-band=false", "other_config:theirs=1")
	s.must(err)
	// A manager that the host dials is reached by in-band control, if nobody says otherwise: past any policy, on all bridges.
	s.must(s.host.SetManagers(s.ctx, "tcp:"+netip.AddrPortFrom(s.host.Root, 9).String()))
	inBand := func(bridge string) bool {
		out, err := s.host.AppCtl(s.ctx, "bridge/dump-flows", bridge)
		s.must(err)
		return strings.Contains(out, "priority=180007,tcp,nw_dst="+s.host.Root.String())
	}
	ovsdbtest.Until(t, "the switch adds flows for in-band control", func() bool { return inBand("br1") })
	set := s.settings(func(x *export.Settings) { x.Bridges = map[string]export.Protocol{"br1": export.NetFlow} })
	w, stop := start(t, s.target, set)
	w.controller = attach.Settings{Reach: listen(t, s.host.Root)}
	w.await(t, "br0=set br1=set")
	s.exports(w, 0, "a", "b", 1000)

	// Nothing of what passes changes when Weir is dialled.
	flows := s.openFlow()
	both := func(f export.Flows) map[string]export.Enforced {
		return map[string]export.Enforced{"br0": {Sampling: compile.SampleFull, Flows: f}, "br1": {Sampling: compile.SampleNew, Flows: f}}
	}
	w.enforce(t, set, both(export.FlowsUnknown), "br0=set br1=set", "br0:set/off br1:set/off")
	ovsdbtest.Until(t, "both bridges have dialled", func() bool {
		b := w.exports.Status()[0].Bridges
		return b[0].Controller.Connected && b[1].Controller.Connected
	})
	if diff := cmp.Diff(flows, s.openFlow()); diff != "" {
		t.Errorf("flows differ since bridges dial (-before +now):\n%s", diff)
	}
	if c := w.exports.Status()[0].Bridges[0].Controller; c.Type != "service" || c.InBand || len(c.Exposed) > 0 || c.Wipes != "" {
		t.Errorf("controller %+v, want a service that is not in-band and wipes nothing", c)
	}
	if inBand("br0") || inBand("br1") {
		t.Error("flows of in-band control stand above policy")
	}

	rules := w.exports.Status()[0].Bridges[0].Rules
	s.sampling("br0", rules.Domain)
	s.sampling("br1", w.exports.Status()[0].Bridges[1].Rules.Domain)
	w.enforce(t, set, both(export.FlowsInstalled), "br0=off br1=set", "br0:set/set! br1:set/set")
	s.counted(rules.Domain, "a", "b", 2000)
	if own := uint32(w.exports.Status()[0].Bridges[1].Domain); s.tap.count(fmt.Sprintf("10 %d %v>%v:2000", own, s.addr("a"), s.addr("b"))) != 0 {
		t.Error("the bridge itself exports, too")
	}
	s.counted(w.exports.Status()[0].Bridges[1].Rules.Domain, "c", "d", 2000)
	s.exports(w, 1, "c", "d", 3000)

	// What others remove is back.
	s.must(s.host.EmerReset(s.ctx))
	ovsdbtest.Until(t, "what emer-reset removed is told", func() bool {
		return len(w.events.of(event.ControllerWiped)) == 2 && len(w.events.of(event.ExportWiped)) == 1
	})
	w.enforce(t, set, both(export.FlowsInstalled), "br0=off br1=set", "br0:set/set! br1:set/set")
	w.events.atOnce(t)
	_, err = s.host.VSCtl(s.ctx, "--all", "destroy", "Flow_Sample_Collector_Set")
	s.must(err)
	ovsdbtest.Until(t, "that others destroyed collector sets is told", func() bool { return len(w.events.of(event.ExportWiped)) == 3 })
	w.enforce(t, set, both(export.FlowsInstalled), "br0=off br1=set", "br0:set/set! br1:set/set")
	s.counted(rules.Domain, "a", "b", 4000)

	// Templates come again when they are wanted.
	templates := func() int {
		s.tap.mu.Lock()
		defer s.tap.mu.Unlock()
		return s.tap.templates[rules.Domain]
	}
	first := templates()
	s.must(w.exports.Resend(identity.UUID, rules.Domain))
	port := uint16(5000)
	ovsdbtest.Until(t, "templates come again", func() bool {
		port++
		s.must(s.talk(s.ctx, "a", "b", port, 1))
		return templates() > first
	})

	// A restart of Weir changes nothing.
	stop()
	before := ovsdbtest.Dump(t, s.target, false)
	w, stop = startEnforcing(t, s.target, set, both(export.FlowsUnknown), w.controller)
	defer stop()
	w.enforce(t, set, both(export.FlowsUnknown), "br0=off br1=set", "br0:set/set! br1:set/set")
	if diff := cmp.Diff(before, ovsdbtest.Dump(t, s.target, false)); diff != "" {
		t.Errorf("a restart changes (-before +after):\n%s", diff)
	}

	// A bridge that others remove is gone, although a row of Weir's refers to it, and may come again.
	_, err = s.host.VSCtl(s.ctx, "remove", "Open_vSwitch", ".", "bridges", bridgeUUID(t, s, "br1"))
	s.must(err)
	ovsdbtest.Until(t, "the bridge can be made again", func() bool { return s.host.AddBridge(s.ctx, "br1") == nil })
	w.enforce(t, set, both(export.FlowsInstalled), "br0=off br1=set", "br0:set/set! br1:set/set")

	// The end, in its order.
	w.enforce(t, set, both(export.FlowsLeaving), "br0=set br1=set", "br0:set/off br1:set/off")
	s.exports(w, 0, "a", "b", 6000)
	w.enforce(t, set, nil, "br0=set br1=set", "br0:/ br1:/")
	_, err = s.host.VSCtl(s.ctx, "del-br", "br1")
	s.must(err)
	w.detach(t, set)
	ovsdbtest.Until(t, "in-band control is back", func() bool { return inBand("br0") })
	for line := range strings.Lines(ovsdbtest.Dump(t, s.target, false)) {
		if strings.Contains(line, "weir") || strings.Contains(line, "disable-in-band") { // others' value went with emer-reset
			t.Errorf("left at the host: %s", line)
		}
	}
}

// When what flows sample becomes the source of totals, and when it ceases to be, hardly a packet is missed, and hardly one told twice.
func TestChangeOfTotals(t *testing.T) {
	s := newSite(t)
	set := s.settings(nil)
	w, _ := start(t, s.target, set)
	w.controller = attach.Settings{Reach: listen(t, s.host.Root)}
	full := func(f export.Flows) map[string]export.Enforced {
		return map[string]export.Enforced{"br0": {Sampling: compile.SampleFull, Flows: f}}
	}
	w.enforce(t, set, full(export.FlowsLeaving), "br0=set br1=set", "br0:set/off br1:/")
	bridge := w.exports.Status()[0].Bridges[0]
	s.sampling("br0", bridge.Rules.Domain)
	s.exports(w, 0, "a", "b", 1000)

	const port = 9
	told := func() uint64 {
		return s.tap.count(fmt.Sprintf("10 %d %v>%v:%d", bridge.Domain, s.addr("a"), s.addr("b"), port)) +
			s.tap.count(fmt.Sprintf("10 %d %v>%v:%d", bridge.Rules.Domain, s.addr("a"), s.addr("b"), port))
	}
	quit, done := make(chan struct{}), make(chan error, 1)
	var sent atomic.Uint64
	began := time.Now()
	go func() {
		for {
			select {
			case <-quit:
				done <- nil
				return
			default:
			}
			if err := s.talk(s.ctx, "a", "b", port, 20); err != nil {
				done <- err
				return
			}
			sent.Add(20)
		}
	}()
	more := func(n uint64) { // so many pass, and are told of
		enough := told() + n
		ovsdbtest.Until(t, "packets are told of", func() bool { return told() >= enough || len(done) > 0 })
	}
	more(60)
	const changes = 6
	for range changes / 2 {
		w.enforce(t, set, full(export.FlowsInstalled), "br0=off br1=set", "br0:set/set! br1:/")
		more(60)
		w.enforce(t, set, full(export.FlowsLeaving), "br0=set br1=set", "br0:set/off br1:/")
		more(60)
	}
	close(quit)
	s.must(<-done)
	took := time.Since(began)
	rate := float64(sent.Load()) / took.Seconds()
	var last uint64
	ovsdbtest.Until(t, "the last are told of", func() bool { // nothing new for two timeouts
		now := told()
		still := now == last
		last = now
		quiet, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		defer cancel()
		<-quiet.Done()
		return still
	})
	off := (float64(told()) - float64(sent.Load())) / rate / changes
	t.Logf("%d packets sent within %s, %d told of: %+.3f s of traffic a change", sent.Load(), took, told(), off)
	if off < -1 || off > 1 {
		t.Errorf("%d packets sent, %d told of: %+.3f s of traffic a change, want less than one active timeout, 1 s", sent.Load(), told(), off)
	}
}

// counted sends datagrams and awaits that flows of rules tell of each once.
func (s *site) counted(domain uint32, from, to string, port uint16) {
	s.Helper()
	flow := func(port uint16) string {
		return fmt.Sprintf("10 %d %v>%v:%d", domain, s.addr(from), s.addr(to), port)
	}
	ovsdbtest.Until(s.T, "flows of rules come: "+flow(port+1), func() bool {
		s.must(s.talk(s.ctx, from, to, port+1, 1))
		return s.tap.count(flow(port+1)) > 0
	})
	const n = 40
	s.must(s.talk(s.ctx, from, to, port, n))
	ovsdbtest.Until(s.T, "they count "+flow(port), func() bool { return s.tap.count(flow(port)) >= n })
	if got := s.tap.count(flow(port)); got != n {
		s.Errorf("%s: flows of rules say %d packets, want %d", flow(port), got, n)
	}
}

func bridgeUUID(t *testing.T, s *site, name string) string {
	t.Helper()
	out, err := s.host.VSCtl(s.ctx, "get", "bridge", name, "_uuid")
	s.must(err)
	return out
}
