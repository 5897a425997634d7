package enricher_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// model is two hosts, two networks and three VMs, of which fw routes between the networks.
func model() *estate.Model {
	return &estate.Model{
		Pools: []estate.Pool{{Name: "lab"}},
		Hosts: []estate.Host{
			{Name: "h1", Pool: "lab", Exporters: addrs("192.0.2.11"), Bridges: []estate.Bridge{{Name: "xenbr0"}}},
			{Name: "h2", Pool: "lab", Exporters: addrs("192.0.2.12"), Bridges: []estate.Bridge{{Name: "xenbr0"}, {Name: "xenbr1"}}},
		},
		Networks: []estate.Network{
			{Name: "front", Pool: "lab", Bridge: "xenbr0", VLAN: 10, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}},
			{Name: "back", Pool: "lab", Bridge: "xenbr0", VLAN: 20, Subnets: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24")}},
		},
		VMs: []estate.VM{
			{Name: "web", Host: "h1", VIFs: []estate.VIF{{
				Device: "0", Network: "front", MAC: 0x020000000001, IPs: addrs("10.1.0.5"), Ports: []estate.Port{{IfIndex: 1}},
			}}},
			{Name: "fw", Host: "h2", VIFs: []estate.VIF{
				{Device: "0", Network: "front", MAC: 0x020000000002, IPs: addrs("10.1.0.1"), Ports: []estate.Port{{IfIndex: 2, Bridge: "xenbr0"}}},
				{Device: "1", Network: "back", MAC: 0x020000000003, IPs: addrs("10.2.0.1"), Ports: []estate.Port{{IfIndex: 3, Bridge: "xenbr0"}}},
			}},
			{Name: "db", Host: "h2", VIFs: []estate.VIF{{
				Device: "0", Network: "back", MAC: 0x020000000004, IPs: addrs("10.2.0.7", "2001:db8::7"), Ports: []estate.Port{{IfIndex: 4, Bridge: "xenbr0"}},
			}}},
		},
		AddressGroups: []estate.AddressGroup{
			{Name: "inside", Members: []string{"10.0.0.0/8"}},
			{Name: "servers", Members: []string{"10.2.0.0/24"}},
			{Name: "all", Members: []string{"0.0.0.0/0", "::/0"}},
		},
		VMGroups: []estate.VMGroup{{Name: "front vms", Select: []estate.Selector{{Network: "front"}}}},
	}
}

const (
	macWeb, macFw0, macFw1, macDB = 0x020000000001, 0x020000000002, 0x020000000003, 0x020000000004
	macRouter                     = 0x02ffffffffff
	uplink                        = 99
)

// seen is a row as an exporter reports it.
type seen struct {
	exporter, src, dst string
	srcMAC, dstMAC     uint64
	in, out            uint32
	vlan               uint16
	domain, point      uint32
}

// enrich returns what is said about one row while exporters are live.
func enrich(t *testing.T, live []string, in seen) row {
	t.Helper()
	return enrichIn(t, model(), live, in)
}

func enrichIn(t *testing.T, m *estate.Model, live []string, in seen) row {
	t.Helper()
	s, err := estate.Compile(m)
	if err != nil {
		t.Fatal(err)
	}
	h, l := estate.NewHolder(), estate.NewLiveness(3*time.Minute)
	h.Store(s)
	for _, a := range live {
		l.Seen(netip.MustParseAddr(a), 1000)
	}
	b := flow.NewBatch(1)
	b.Grow(1)
	addr := func(a string) flow.Addr {
		if a == "" {
			return flow.Addr{}
		}
		return netip.MustParseAddr(a).As16()
	}
	b.TimeReceived[0], b.Version[0] = 1000, 10
	b.Exporter[0], b.SrcAddr[0], b.DstAddr[0] = addr(in.exporter), addr(in.src), addr(in.dst)
	b.SrcMAC[0], b.DstMAC[0], b.InIf[0], b.OutIf[0] = in.srcMAC, in.dstMAC, in.in, in.out
	b.VLANIn[0], b.ObservationDomain[0], b.ObservationPoint[0] = in.vlan, in.domain, in.point
	enricher.New(enricher.Deps{Estate: h, Live: l}).Enrich(b)
	return said(t, s, b, 0)
}

const (
	h1     = "192.0.2.11"
	h2     = "192.0.2.12"
	router = "192.0.2.99" // no host of the estate
)

var both = []string{h1, h2}

// Who the ends are, and where the row was seen.
func TestEnds(t *testing.T) {
	f := func(what string, in seen, want row) {
		t.Helper()
		got := enrich(t, both, in)
		ignore := cmpopts.IgnoreFields(row{}, "Pool", "SrcGroups", "DstGroups", "Counted", "Direction", "SrcVM", "DstVM")
		if diff := gocmp.Diff(want, got, ignore); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		for vif, vm := range map[string]string{got.SrcVIF: got.SrcVM, got.DstVIF: got.DstVM} {
			if name, _, _ := strings.Cut(vif, "/"); name != vm {
				t.Errorf("%s: VM %q of VIF %q", what, vm, vif)
			}
		}
	}
	f("a VM that routes is the destination at the first hop …",
		seen{exporter: h1, src: "10.1.0.5", dst: "10.2.0.7", srcMAC: macWeb, dstMAC: macFw0, in: 1, out: uplink},
		row{Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0", DstVIF: "fw/0"})
	f("… and the source at the second",
		seen{exporter: h2, src: "10.1.0.5", dst: "10.2.0.7", srcMAC: macFw1, dstMAC: macDB, in: 3, out: 4},
		row{Host: "h2", Bridge: "xenbr0", Network: "back", SrcVIF: "fw/1", DstVIF: "db/0"})
	f("packets from outside that a VM forwards are its own at its port",
		seen{exporter: h2, src: "203.0.113.9", dst: "10.2.0.7", in: 3, out: 4},
		row{Host: "h2", Bridge: "xenbr0", Network: "back", SrcVIF: "fw/1", DstVIF: "db/0"})
	f("behind a router outside of the estate the far end is found by address, in another network",
		seen{exporter: h1, src: "10.1.0.5", dst: "10.2.0.7", srcMAC: macWeb, dstMAC: macRouter, in: 1, out: uplink},
		row{Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0", DstVIF: "db/0"})
	f("no interfaces: by MAC, and the network is the VIF's",
		seen{exporter: h2, src: "10.9.9.9", dst: "10.9.9.8", srcMAC: macDB, dstMAC: macFw1},
		row{Host: "h2", Network: "back", SrcVIF: "db/0", DstVIF: "fw/1"})
	f("no interfaces and no MACs: by IP",
		seen{exporter: h1, src: "10.1.0.5", dst: "2001:db8::7"},
		row{Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0", DstVIF: "db/0"})
	f("broadcast is nobody's",
		seen{exporter: h1, src: "10.1.0.5", dst: "255.255.255.255", srcMAC: macWeb, dstMAC: 0xffffffffffff, in: 1},
		row{Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0"})
	f("multicast is nobody's",
		seen{exporter: h1, src: "10.1.0.5", dst: "224.0.0.251", srcMAC: macWeb, dstMAC: 0x01005e0000fb, in: 1},
		row{Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0"})
	f("a frame that is not IP has its ends by MAC",
		seen{exporter: h1, srcMAC: macWeb, dstMAC: macFw0},
		row{Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0", DstVIF: "fw/0"})
	f("nobody's packets have the network of their tag",
		seen{exporter: h1, src: "10.1.0.77", dst: "203.0.113.9", in: uplink, vlan: 20},
		row{Host: "h1", Bridge: "xenbr0", Network: "back"})
	f("nor a tag: the network in whose subnet one is",
		seen{exporter: h1, src: "203.0.113.9", dst: "10.1.0.77"},
		row{Host: "h1", Bridge: "xenbr0", Network: "front"})
	f("a host with two bridges, and the port says which",
		seen{exporter: h2, src: "10.2.0.7", dst: "203.0.113.9", in: 4},
		row{Host: "h2", Bridge: "xenbr0", Network: "back", SrcVIF: "db/0"})
	f("an exporter that is no host has no interfaces of ours",
		seen{exporter: router, src: "10.1.0.5", dst: "10.2.0.7", in: 4, out: 1},
		row{Network: "front", SrcVIF: "web/0", DstVIF: "db/0"})
	f("nothing known at all", seen{exporter: router, src: "203.0.113.1", dst: "203.0.113.2"}, row{})
}

func TestDirectionPoolAndGroups(t *testing.T) {
	got := enrich(t, both, seen{exporter: h1, src: "10.1.0.5", dst: "10.2.0.7", in: 1})
	want := row{
		Pool: "lab", Host: "h1", Bridge: "xenbr0", Network: "front", SrcVIF: "web/0", SrcVM: "web", DstVIF: "db/0", DstVM: "db",
		SrcGroups: []string{"all", "front vms", "inside"}, DstGroups: []string{"all", "inside", "servers"},
		Direction: flow.DirectionInternal, Counted: true,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("two VMs (-want +got):\n%s", diff)
	}
	f := func(src, dst string, want flow.Direction, srcGroups, dstGroups []string) {
		t.Helper()
		got := enrich(t, both, seen{exporter: h1, src: src, dst: dst})
		if got.Direction != want || !slices.Equal(got.SrcGroups, srcGroups) || !slices.Equal(got.DstGroups, dstGroups) {
			t.Errorf("%s to %s: %v, %v, %v; want %v, %v, %v", src, dst, got.Direction, got.SrcGroups, got.DstGroups, want, srcGroups, dstGroups)
		}
	}
	f("10.1.0.5", "203.0.113.9", flow.DirectionOutbound, []string{"all", "front vms", "inside"}, []string{"all"})
	f("2001:db8::1", "10.2.0.7", flow.DirectionInbound, []string{"all"}, []string{"all", "inside", "servers"})
	f("2001:db8::1", "2001:db8::2", flow.DirectionUnknown, []string{"all"}, []string{"all"})
	f("", "", flow.DirectionUnknown, nil, nil)
}

// Of all that see the same packets one is counted.
func TestCounted(t *testing.T) {
	f := func(what string, live []string, in seen, want bool) {
		t.Helper()
		if got := enrich(t, live, in).Counted; got != want {
			t.Errorf("%s: counted %v, want %v", what, got, want)
		}
	}
	webToDB := func(exporter string) seen {
		in := seen{exporter: exporter, src: "10.1.0.5", dst: "10.2.0.7", srcMAC: macWeb, dstMAC: macDB}
		switch exporter {
		case h1:
			in.in, in.out = 1, uplink
		case h2:
			in.in, in.out = uplink, 4
		}
		return in
	}
	f("at the source's host", both, webToDB(h1), true)
	f("at the destination's host", both, webToDB(h2), false)
	f("at a router between", both, webToDB(router), false)
	f("at the destination's host, the source's being silent", []string{h2}, webToDB(h2), true)
	f("at a router, only the destination's host being live", []string{h2}, webToDB(router), false)
	f("at a router, no host being live", nil, webToDB(router), true)
	f("at the source's host, of which this is the first datagram", []string{h2}, webToDB(h1), true)

	fromOutside := seen{src: "203.0.113.9", dst: "10.2.0.7"}
	for exporter, want := range map[string]bool{h1: false, h2: true, router: false} {
		fromOutside.exporter = exporter
		f("from outside, at "+exporter, both, fromOutside, want)
	}
	f("nobody's packets", both, seen{exporter: router, src: "203.0.113.9", dst: "203.0.113.8"}, true)

	f("two VMs of one host", both, seen{exporter: h2, src: "10.2.0.1", dst: "10.2.0.7", in: 3, out: 4}, true)

	moved := webToDB(h2) // web just came to h2: the estate still says h1
	moved.in, moved.srcMAC = 2, macFw0
	f("at the interface where the source is, whatever the estate says", both, moved, true)
}

func TestStatsAndMetrics(t *testing.T) {
	s, err := estate.Compile(model())
	if err != nil {
		t.Fatal(err)
	}
	h := estate.NewHolder()
	h.Store(s)
	reg, live := prometheus.NewPedanticRegistry(), estate.NewLiveness(time.Minute)
	e := enricher.New(enricher.Deps{Estate: h, Live: live, Metrics: reg})
	e.Enrich(flow.NewBatch(1))
	b := flow.NewBatch(4)
	b.Grow(4)
	b.Exporter[3], b.SrcMAC[3] = netip.MustParseAddr(h2).As16(), macWeb // which is at h1
	first := netip.MustParseAddr(h1).As16()
	b.Exporter[0], b.InIf[0], b.OutIf[0], b.SrcMAC[0], b.DstMAC[0] = first, 1, uplink, macWeb, macFw0
	b.Exporter[1], b.SrcMAC[1], b.SrcAddr[1] = first, macRouter, netip.MustParseAddr("10.1.0.5").As16()
	b.Exporter[2], b.SrcAddr[2] = netip.MustParseAddr(router).As16(), netip.MustParseAddr("203.0.113.1").As16()
	e.Enrich(b)
	want := enricher.Stats{
		Rows: 4, UnknownExporter: 1, NoEnd: 1, NoNetwork: 1, StandIn: 1,
		Port: enricher.Lookups{Hits: 1, Misses: 1},
		MAC:  enricher.Lookups{Hits: 2, Misses: 1},
		Addr: enricher.Lookups{Hits: 1, Misses: 1},
	}
	if got := e.Stats(); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
	for _, exporter := range []string{h1, h2, router} { // the router is no host
		live.Seen(netip.MustParseAddr(exporter), time.Now().UnixMilli())
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	wantSums := map[string]float64{"weir_enricher_rows_total": 4, "weir_enricher_odd_rows_total": 4, "weir_enricher_lookups_total": 7, "weir_enricher_live_hosts": 2}
	if diff := gocmp.Diff(wantSums, sums); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestEnrichDoesNotAllocate(t *testing.T) {
	s, err := estate.Compile(ruled(false))
	if err != nil {
		t.Fatal(err)
	}
	h := estate.NewHolder()
	h.Store(s)
	e := enricher.New(enricher.Deps{Estate: h, Live: estate.NewLiveness(time.Minute)})
	b := flow.NewBatch(1000)
	b.Grow(1000)
	for i := range b.Len() {
		b.TimeReceived[i] = 1000
		b.Exporter[i] = netip.MustParseAddr([]string{h1, h2, router}[i/24%3]).As16()
		b.InIf[i], b.SrcMAC[i], b.DstMAC[i] = uint32(i%5), macWeb+uint64(i%5), macWeb+uint64(i%4)
		b.ObservationDomain[i], b.ObservationPoint[i] = uint32(i/24%2), flow.Point(flow.StageEgress+flow.Stage(i%4), uint32(allows-10+i%20))
		b.SrcAddr[i] = netip.AddrFrom4([4]byte{10, byte(i % 3), 0, byte(i % 9)}).As16()
		b.DstAddr[i] = netip.AddrFrom4([4]byte{10, byte(i % 3), 0, byte(i % 11)}).As16()
	}
	if got := testing.AllocsPerRun(100, func() { e.Enrich(b) }); got != 0 {
		t.Errorf("Enrich of a warm batch allocates %v times, want 0", got)
	}
}
