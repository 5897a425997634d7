package enricher_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// history is an estate that changes as time goes on, and rows that come in at the end.
type history struct {
	t      *testing.T
	holder *estate.Holder
	a      *estate.Assembler
	e      *enricher.Enricher
}

func newHistory(t *testing.T) *history {
	h := &history{t: t, holder: estate.NewHolder()}
	h.a = estate.NewAssembler(estate.AssemblerDeps{Estate: h.holder})
	h.e = enricher.New(enricher.Deps{Estate: h.holder, Live: estate.NewLiveness(time.Minute)})
	return h
}

var hour = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// at has the estate become one of VMs, each with a VIF that has a MAC and an IP address and a port of a host, at a minute.
func (h *history) at(minute int, vms ...estate.VM) {
	m := &estate.Model{
		Hosts: []estate.Host{
			{Name: "h1", Exporters: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Bridges: []estate.Bridge{{Name: "br0"}}},
			{Name: "h2", Exporters: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, Bridges: []estate.Bridge{{Name: "br0"}}},
		},
		VMs:      vms,
		VMGroups: []estate.VMGroup{{Name: "prod", Select: []estate.Selector{{Tags: []string{"prod"}}}}},
	}
	h.a.Set(estate.FileSource, m, hour.Add(time.Duration(minute)*time.Minute))
}

func vmAt(name, host string, port uint32, mac estate.MAC, ip string, tags ...string) estate.VM {
	return estate.VM{Name: name, Host: host, Tags: tags, VIFs: []estate.VIF{{
		Device: "0", MAC: mac, IPs: []netip.Addr{netip.MustParseAddr(ip)}, Ports: []estate.Port{{Bridge: "br0", OFPort: port}},
	}}}
}

// source returns the name of the source VM of a flow that ended at a minute and came in half an hour after the hour.
func (h *history) source(minute int, change func(b *flow.Batch)) string {
	h.t.Helper()
	b := flow.NewBatch(1)
	b.Grow(1)
	b.TimeReceived[0] = hour.Add(30 * time.Minute).UnixMilli()
	b.Duration[0] = 5000
	b.StartAge[0] = b.TimeReceived[0] - hour.Add(time.Duration(minute)*time.Minute).UnixMilli() + 5000
	b.SrcGroups.Set(0, nil)
	b.DstGroups.Set(0, nil)
	b.Version[0] = 5
	change(b)
	h.e.Enrich(b)
	s := h.holder.Load()
	if b.SrcVM[0] == 0 {
		return ""
	}
	name := "gone"
	for _, known := range []string{"web", "db"} {
		if flow.NewID(flow.KindVM, known) == flow.ID(b.SrcVM[0]) {
			name = known
		}
	}
	for _, id := range b.SrcGroups.IDs[:b.SrcGroups.Offsets[0]] {
		if g, ok := s.Entity(flow.ID(id)); ok {
			name += " " + g.Name
		}
	}
	return name
}

// A flow that comes in late is of whom its numbers and addresses were when it ended.
func TestLateFlows(t *testing.T) {
	h := newHistory(t)
	check := func(what string, change func(b *flow.Batch), want map[int]string) {
		t.Helper()
		for minute, want := range want {
			if got := h.source(minute, change); got != want {
				t.Errorf("%s, ended at minute %d: %q, want %q", what, minute, got, want)
			}
		}
	}
	port := func(host byte, n uint32) func(b *flow.Batch) {
		return func(b *flow.Batch) {
			b.Exporter[0] = netip.AddrFrom4([4]byte{192, 0, 2, host}).As16()
			b.InIf[0] = n
		}
	}
	mac := func(n uint64) func(b *flow.Batch) { return func(b *flow.Batch) { b.SrcMAC[0] = n } }
	ip := func(s string) func(b *flow.Batch) {
		return func(b *flow.Batch) { b.SrcAddr[0] = netip.MustParseAddr(s).As16() }
	}

	h.at(0, vmAt("web", "h1", 3, 0x020000000001, "10.0.0.1", "prod"))
	h.at(10, vmAt("web", "h2", 5, 0x020000000001, "10.0.0.9"))                                                     // moved, another address, out of its group
	h.at(15)                                                                                                       // gone
	h.at(20, vmAt("db", "h1", 3, 0x020000000002, "10.0.0.1"), vmAt("web", "h2", 6, 0x020000000001, "2001:db8::1")) // another at its place
	check("port 3 of h1", port(1, 3), map[int]string{5: "web prod", 9: "web prod", 12: "db", 25: "db"})
	check("port 5 of h2", port(2, 5), map[int]string{5: "web", 12: "web", 17: "", 25: ""})
	check("MAC address of web", mac(0x020000000001), map[int]string{5: "web prod", 12: "web", 25: "web"})
	check("10.0.0.1", ip("10.0.0.1"), map[int]string{5: "web prod", 12: "db", 25: "db"})
	check("10.0.0.9", ip("10.0.0.9"), map[int]string{12: "web", 17: "", 25: ""})
	check("2001:db8::1", ip("2001:db8::1"), map[int]string{5: "web", 25: "web"})
	check("an address of nobody", ip("10.0.0.77"), map[int]string{5: ""})

	// A clock that is ahead ends flows in the future.
	check("port 3 of h1", port(1, 3), map[int]string{45: "db"})

	// What is long ago is not known any more.
	h.at(26, vmAt("db", "h1", 3, 0x020000000002, "10.0.0.1"))
	check("port 3 of h1", port(1, 3), map[int]string{5: "db", 25: "db"})
	check("10.0.0.9", ip("10.0.0.9"), map[int]string{12: "web"})
}

// Late flows take no allocation either.
func TestLateFlowsDoNotAllocate(t *testing.T) {
	h := newHistory(t)
	for minute := range 10 {
		h.at(minute, vmAt("web", "h1", uint32(3+minute), 0x020000000001, fmt.Sprint("10.0.0.", 1+minute)))
	}
	b := flow.NewBatch(512)
	b.Grow(512)
	for i := range b.Len() {
		b.TimeReceived[i] = hour.Add(30 * time.Minute).UnixMilli()
		b.StartAge[i] = int64(i) * 4000
		b.Exporter[i] = netip.MustParseAddr("192.0.2.1").As16()
		b.InIf[i], b.Version[i] = uint32(3+i%10), 5
		b.SrcMAC[i], b.DstAddr[i] = 0x020000000001, netip.MustParseAddr(fmt.Sprint("10.0.0.", 1+i%10)).As16()
		b.SrcGroups.Set(i, nil)
		b.DstGroups.Set(i, nil)
	}
	h.e.Enrich(b)
	if n := testing.AllocsPerRun(100, func() { h.e.Enrich(b) }); n != 0 {
		t.Errorf("enriching late rows allocates %v times, want 0", n)
	}
}
