package openflow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/ovs/openflow"
)

// bridge is a real one with 20 simulated ports, without flows, and its OpenFlow side.
type bridge struct {
	t    testing.TB
	host *ovsbed.Host
	addr netip.AddrPort
	conn *openflow.Conn
}

// config is that of connections here.
var config = openflow.Config{Limits: openflow.DefaultLimits(), Want: openflow.Want{Ports: true, Removed: true}}

func newBridge(t testing.TB) *bridge {
	t.Helper()
	farm, err := ovsbedtest.New(t).Farm(t.Context(), 1, 20)
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{t: t, host: farm.Hosts[0]}
	b.addr = netip.AddrPortFrom(b.host.Exporter, 6653)
	b.vsctl("set-fail-mode", "br0", "secure", "--", "set-controller", "br0", fmt.Sprintf("ptcp:%d", b.addr.Port()))
	b.conn = b.connect(config)
	return b
}

// connect returns one more connection.
func (b *bridge) connect(config openflow.Config) *openflow.Conn {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		nc, err := net.Dial("tcp", b.addr.String())
		var c *openflow.Conn
		if err == nil {
			c, err = openflow.Accept(b.t.Context(), nc, config)
		}
		if err == nil {
			b.t.Cleanup(c.Close)
			return c
		}
		if time.Now().After(deadline) {
			b.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // until it listens
	}
}

func (b *bridge) vsctl(args ...string) string {
	b.t.Helper()
	out, err := b.host.VSCtl(b.t.Context(), args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// ofctl runs ovs-ofctl with the version that we speak.
func (b *bridge) ofctl(args ...string) string {
	b.t.Helper()
	out, err := b.host.OFCtl(b.t.Context(), append([]string{"-OOpenFlow13"}, args...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// file writes lines for ovs-ofctl.
func (b *bridge) file(lines []string) string {
	b.t.Helper()
	name := filepath.Join(b.t.TempDir(), "lines")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// flows returns what is there, by key.
func (b *bridge) flows() map[openflow.FlowKey]openflow.Flow {
	b.t.Helper()
	found := map[openflow.FlowKey]openflow.Flow{}
	if err := b.conn.Flows(b.t.Context(), openflow.Everything, func(s openflow.FlowStats) { found[s.Key()] = s.Flow }); err != nil {
		b.t.Fatal(err)
	}
	return found
}

func (b *bridge) apply(mods ...openflow.Mod) {
	b.t.Helper()
	if err := b.conn.Apply(b.t.Context(), mods); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bridge) clear() { b.apply(openflow.DeleteFlows{Table: openflow.AllTables}) }

func TestApplyIsAllOrNothing(t *testing.T) {
	b := newBridge(t)
	good := openflow.Flow{Priority: 1, Cookie: 1, Actions: openflow.NewActions(openflow.Normal())}
	b.apply(openflow.AddFlow{Flow: good})
	bad := openflow.Flow{Priority: 2, Match: openflow.NewMatch(openflow.TCPDst(80, 0xffff))}
	mods := []openflow.Mod{
		openflow.DeleteFlow{Key: good.Key()},
		openflow.AddGroup{Group: openflow.NewGroup(7, []openflow.Action{openflow.Output{Port: 1}})},
		openflow.AddFlow{Flow: bad},
		openflow.AddFlow{Flow: openflow.Flow{Priority: 3}},
	}
	err := b.conn.Apply(t.Context(), mods)
	refused, ok := errors.AsType[*openflow.ModError](err)
	if !ok || refused.Index != 2 {
		t.Fatalf("Apply of a flow that lacks eth_type: %v, want a ModError of the third", err)
	}
	if want := "add-flow table=0,priority=2,tcp_dst=80 actions=drop: bad match: a field lacks what it needs beside it (OpenFlow error type 4 code 9)"; err.Error() != want {
		t.Errorf("Apply says\n%s\nwant\n%s", err, want)
	}
	if found := b.flows(); len(found) != 1 || found[good.Key()] != good {
		t.Errorf("after a refused Apply there is %v, want only %v", found, good)
	}
	if groups, err := b.conn.Groups(t.Context()); err != nil || len(groups) != 0 {
		t.Errorf("after a refused Apply there are groups %v, %v", groups, err)
	}
	// What only the commit finds out.
	err = b.conn.Apply(t.Context(), []openflow.Mod{openflow.AddFlow{Flow: openflow.Flow{Priority: 9}}, openflow.ModifyGroup{Group: openflow.NewGroup(9)}})
	if refused, ok = errors.AsType[*openflow.ModError](err); !ok || refused.Index != 1 {
		t.Errorf("Apply that modifies an unknown group: %v, want a ModError of the second", err)
	}
	if found := b.flows(); len(found) != 1 {
		t.Errorf("after a refused commit there is %v", found)
	}
	b.apply(openflow.DeleteFlows{Table: openflow.AllTables, Cookie: 1, CookieMask: 1})
	if found := b.flows(); len(found) != 0 {
		t.Errorf("after deletion by cookie there is %v", found)
	}
}

func TestPorts(t *testing.T) {
	b := newBridge(t)
	ports, err := b.conn.Ports(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(ports) != 21 {
		t.Errorf("found %d ports, want 20 and the bridge's own: %v", len(ports), ports)
	}
	b.vsctl("add-port", "br0", "extra", "--", "set", "interface", "extra", "type=dummy", "ofport_request=99")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			t.Fatal("no event of the new port")
		case e := <-b.conn.Events():
			if s, ok := e.(openflow.PortStatus); ok && s.Reason == openflow.PortAdded && s.Port.Name == "extra" && s.Port.Number == 99 {
				return
			}
		}
	}
}

// What is installed is what is read, and what ovs-ofctl installs of our text: for random flows of all fields and actions.
func TestRandomFlows(t *testing.T) {
	r := newSource(chance.Seed(t))
	b := newBridge(t)
	for id := range uint32(2) {
		if err := b.conn.AddMeter(t.Context(), openflow.MeterSpec{ID: id + 1, Rate: 100, Burst: 50 * id, Packets: id == 1}, false); err != nil {
			t.Fatal(err)
		}
	}
	groups := map[uint32]openflow.Group{}
	var mods []openflow.Mod
	for id := uint32(1); id <= 3; id++ {
		groups[id] = openflow.NewGroup(id, []openflow.Action{openflow.Output{Port: openflow.Port(id)}})
	}
	for id := uint32(10); id < 200; id++ {
		groups[id] = r.group(id)
	}
	for id := uint32(1); id < 200; id++ {
		if g, ok := groups[id]; ok {
			mods = append(mods, openflow.AddGroup{Group: g})
		}
	}
	flows := map[openflow.FlowKey]openflow.Flow{}
	for range 3000 {
		f := r.flow()
		flows[f.Key()] = f
		mods = append(mods, openflow.AddFlow{Flow: f})
	}
	b.apply(mods...)
	compare := func(how string) {
		t.Helper()
		wrong := 0
		found := b.flows()
		for k, want := range flows {
			if got := found[k]; got != want && wrong < 10 {
				wrong++
				t.Errorf("%s\n%s\nthere is\n%s\nwant %x %x\n got %x %x", how, want, got, want.Match, want.Actions, got.Match, got.Actions)
			}
			delete(found, k)
		}
		for _, f := range found {
			if wrong < 20 {
				wrong++
				t.Errorf("%s: there is also %s %x", how, f, f.Match)
			}
		}
		list, err := b.conn.Groups(t.Context())
		if err != nil || len(list) != len(groups) {
			t.Errorf("%s: found %d groups, want %d: %v", how, len(list), len(groups), err)
		}
		for _, g := range list {
			if g != groups[g.ID] {
				t.Errorf("%s %s\nthere is %s\n want %x\n got %x", how, groups[g.ID], g, groups[g.ID].Buckets, g.Buckets)
			}
		}
	}
	compare("after Apply")

	b.clear()
	b.ofctl("del-groups", "br0")
	var lines []string
	for id := uint32(1); id < 200; id++ {
		if g, ok := groups[id]; ok {
			lines = append(lines, g.String())
		}
	}
	b.ofctl("add-groups", "br0", b.file(lines))
	lines = nil
	for _, f := range flows {
		lines = append(lines, f.String())
	}
	b.ofctl("--bundle", "add-flows", "br0", b.file(lines))
	compare("after ovs-ofctl of")
}

func TestNoFlood(t *testing.T) {
	b := newBridge(t)
	ports, err := b.conn.Ports(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set := func(ports []openflow.PortDesc, on bool) error {
		nc, err := net.Dial("tcp", b.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		return openflow.SetNoFlood(t.Context(), nc, config.Limits, ports, on)
	}
	count := func() int {
		return strings.Count(b.ofctl("-OOpenFlow10", "show", "br0"), "NO_FLOOD")
	}
	if err := set(ports, true); err != nil || count() != len(ports) {
		t.Errorf("%d ports are not flooded to, want %d: %v", count(), len(ports), err)
	}
	if err := set(ports[:5], false); err != nil || count() != len(ports)-5 {
		t.Errorf("%d ports are not flooded to, want %d: %v", count(), len(ports)-5, err)
	}
	if err := set([]openflow.PortDesc{{Number: 999}}, true); err == nil {
		t.Error("a port that is not there is set")
	}
	b.vsctl("set", "bridge", "br0", "protocols=OpenFlow13")
	if err := set(ports, true); err == nil || !strings.Contains(err.Error(), "OpenFlow10") {
		t.Errorf("without OpenFlow 1.0: %v", err)
	}
}

// A packet that is sent to us comes with where it came from, as much of it as the flow says.
func TestPacketIn(t *testing.T) {
	b := newBridge(t)
	asking := config
	asking.Want.Packets = true
	c := b.connect(asking)
	flow := openflow.Flow{Priority: 3, Cookie: 77, Actions: openflow.NewActions(openflow.Output{Port: openflow.PortController, MaxLen: 40})}
	b.apply(openflow.AddFlow{Flow: flow})
	packet := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x90, 1}, make([]byte, 86)...)
	const table = 0xfffffff9 // OFPP_TABLE: as if it had come in
	if err := b.conn.PacketOut(t.Context(), 5, packet, openflow.Output{Port: table}); err != nil {
		t.Fatal(err)
	}
	e := event(t, c)
	in, ok := e.(openflow.PacketIn)
	if !ok || in.Cookie != 77 || in.Match.Term(openflow.FieldInPort) != openflow.InPort(5) || !bytes.HasPrefix(packet, in.Data) || len(in.Data) < 40 {
		t.Errorf("event %+v, want the packet that came in by port 5", e)
	}
	if err := b.conn.PacketOut(t.Context(), 5, packet, openflow.ToGroup{ID: 1}); err == nil {
		t.Error("a packet goes to a group that is not there")
	}
}
