package enricher_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
)

// row is what the enricher says about a row, by name.
type row struct {
	Pool, Host, Bridge, Network  string
	SrcVIF, SrcVM, DstVIF, DstVM string
	SrcGroups, DstGroups         []string
	Direction                    flow.Direction
	Counted                      bool
	Stage                        flow.Stage
	RuleInstance                 uint32
	RuleID                       flow.ID
	Verdict                      flow.Verdict
	BytesLayer                   flow.BytesLayer
	SamplingRate                 uint32
	SamplingAssumed              bool
}

// twin enriches one row plainly, by a walk through the model: the package comment as code. names are the
// virtual_obs_ids by what a batch has of them.
func twin(t estatetest.Twin, names map[uint64]string, live map[netip.Addr]bool, b *flow.Batch, i int) row {
	unmap := func(a flow.Addr) netip.Addr { return netip.AddrFrom16(a).Unmap() }
	exporter := unmap(b.Exporter[i])
	at := t.Place(exporter, names[b.VirtualID[i]], b.ObservationDomain[i])
	r := row{
		Pool: at.Pool, Host: at.Host, Bridge: at.Bridge,
		Stage: b.Stage[i], RuleInstance: b.RuleInstance[i], RuleID: flow.ID(b.RuleID[i]), Verdict: b.Verdict[i], BytesLayer: b.BytesLayer[i],
		SamplingRate: b.SamplingRate[i], SamplingAssumed: b.SamplingAssumed[i],
	}
	if instance := b.ObservationPoint[i] % (1 << 30); at.RuleSampling && instance != 0 {
		r.Stage = []flow.Stage{flow.StageEgress, flow.StageIngress, flow.StageReply, flow.StageSystem}[b.ObservationPoint[i]>>30]
		r.RuleInstance = instance
		r.RuleID, r.Verdict = t.Rule(instance)
	}
	if at.OpenVSwitch && b.Version[i] == 5 {
		if r.BytesLayer == flow.BytesLayer3 {
			r.BytesLayer = flow.BytesLayer2
		}
		if r.SamplingAssumed {
			r.SamplingRate, r.SamplingAssumed = 1, false
		}
	}
	networkOf := func(vif string) string {
		if vif == "" {
			return ""
		}
		v, _ := t.VIF(vif)
		return v.Network
	}
	vmOf := func(vif string) string {
		if vif == "" {
			return ""
		}
		_, vm := t.VIF(vif)
		return vm.Name
	}
	// Who and where.
	r.SrcVIF, _ = t.Port(at, b.Version[i], b.InIf[i])
	r.DstVIF, _ = t.Port(at, b.Version[i], b.OutIf[i])
	srcPort, dstPort := r.SrcVIF, r.DstVIF
	r.Network = cmp.Or(networkOf(r.SrcVIF), networkOf(r.DstVIF), t.VLAN(at, cmp.Or(b.VLANIn[i], b.VLANOut[i])))
	end := func(vif *string, find func() (string, estate.Match)) {
		if *vif == "" {
			*vif, _ = find()
			r.Network = cmp.Or(r.Network, networkOf(*vif))
		}
	}
	end(&r.SrcVIF, func() (string, estate.Match) { return t.MAC(estate.MAC(b.SrcMAC[i]), r.Network) })
	end(&r.DstVIF, func() (string, estate.Match) { return t.MAC(estate.MAC(b.DstMAC[i]), r.Network) })
	end(&r.SrcVIF, func() (string, estate.Match) { return t.Addr(unmap(b.SrcAddr[i]), r.Network) })
	end(&r.DstVIF, func() (string, estate.Match) { return t.Addr(unmap(b.DstAddr[i]), r.Network) })
	r.Network = cmp.Or(r.Network, t.Subnet(at, unmap(b.SrcAddr[i])), t.Subnet(at, unmap(b.DstAddr[i])))
	r.SrcVM, r.DstVM = vmOf(r.SrcVIF), vmOf(r.DstVIF)
	for _, vif := range []string{srcPort, dstPort} {
		if vif != "" && r.Bridge == "" && t.HostOf(vmOf(vif)) == at.Host {
			r.Bridge = t.BridgeOf(vif)
		}
	}
	groups := func(a flow.Addr, vm string) (list []string) {
		if a != (flow.Addr{}) {
			list = t.AddressGroups(unmap(a))
		}
		if vm != "" {
			list = append(list, t.VMGroups(vm)...)
		}
		slices.Sort(list)
		return list
	}
	r.SrcGroups, r.DstGroups = groups(b.SrcAddr[i], r.SrcVM), groups(b.DstAddr[i], r.DstVM)
	switch {
	case r.SrcVM != "" && r.DstVM != "":
		r.Direction = flow.DirectionInternal
	case r.SrcVM != "":
		r.Direction = flow.DirectionOutbound
	case r.DstVM != "":
		r.Direction = flow.DirectionInbound
	}
	// Of all observers, the first in this list that exports is counted: source, destination, anybody.
	host := func(vm, port string) string {
		if port != "" {
			return at.Host
		}
		if vm == "" {
			return ""
		}
		return t.HostOf(vm)
	}
	exports := func(host string) bool {
		return host != "" && (host == at.Host || slices.ContainsFunc(t.Model.Hosts, func(h estate.Host) bool {
			return h.Name == host && slices.ContainsFunc(h.Exporters, func(a netip.Addr) bool { return live[a] })
		}))
	}
	src, dst := host(r.SrcVM, srcPort), host(r.DstVM, dstPort)
	byHosts := true
	if exports(src) {
		byHosts = src == at.Host
	} else if exports(dst) {
		byHosts = dst == at.Host
	}
	door := slices.Contains([]uint32{flow.SystemSpoofedMAC, flow.SystemSpoofedIP, flow.SystemSpoofedARP, flow.SystemSpoofedND, flow.SystemDHCP, flow.SystemRA, flow.SystemTagged, flow.SystemUnknownPort}, r.RuleInstance)
	hasStage := r.Stage != flow.StageNone
	switch {
	case !at.RuleSampling:
		r.Counted = byHosts
	case at.TotalsElsewhere:
		r.Counted = !hasStage && byHosts
	case !hasStage || r.Verdict == flow.VerdictShadowDenied:
		r.Counted = false
	case r.Stage == flow.StageEgress:
		r.Counted = true
	case door:
		r.Counted = true
	case r.Stage == flow.StageIngress:
		r.Counted = !exports(src)
	default: // a reply, or built in
		r.Counted = byHosts
		if srcPort == "" && src != "" && src == at.Host {
			if bridge := t.BridgeOf(r.SrcVIF); bridge != "" && bridge != at.Bridge {
				r.Counted = false
			}
		}
	}
	return r
}

// said returns what b says about row i.
func said(t testing.TB, s *estate.Snapshot, b *flow.Batch, i int) row {
	t.Helper()
	name := func(kind flow.Kind, id uint64) string {
		if id == 0 {
			return ""
		}
		e, ok := s.Entity(flow.ID(id))
		if !ok || e.Kind != kind {
			t.Fatalf("row %d: id %d is no %s but %+v", i, id, kind, e)
		}
		return e.Name
	}
	groups := func(ids []uint64) (names []string) {
		if !slices.IsSorted(ids) {
			t.Fatalf("row %d: groups %v do not ascend", i, ids)
		}
		for _, id := range ids {
			e, ok := s.Entity(flow.ID(id))
			if !ok || e.Kind != flow.KindAddressGroup && e.Kind != flow.KindVMGroup {
				t.Fatalf("row %d: id %d is no group but %+v", i, id, e)
			}
			names = append(names, e.Name)
		}
		slices.Sort(names)
		return names
	}
	return row{
		Pool: name(flow.KindPool, b.Pool[i]), Host: name(flow.KindHost, b.Host[i]),
		Bridge: name(flow.KindBridge, b.Bridge[i]), Network: name(flow.KindNetwork, b.Network[i]),
		SrcVIF: name(flow.KindVIF, b.SrcVIF[i]), SrcVM: name(flow.KindVM, b.SrcVM[i]),
		DstVIF: name(flow.KindVIF, b.DstVIF[i]), DstVM: name(flow.KindVM, b.DstVM[i]),
		SrcGroups: groups(b.SrcGroups.Row(i)), DstGroups: groups(b.DstGroups.Row(i)),
		Direction: b.Direction[i], Counted: b.Counted[i],
		Stage: b.Stage[i], RuleInstance: b.RuleInstance[i], RuleID: flow.ID(b.RuleID[i]), Verdict: b.Verdict[i], BytesLayer: b.BytesLayer[i],
		SamplingRate: b.SamplingRate[i], SamplingAssumed: b.SamplingAssumed[i],
	}
}

// randomRow fills row i with keys of which many are in dense random estates, and notes a virtual_obs_id in names.
func randomRow(r *rand.Rand, m *estate.Model, names map[uint64]string, b *flow.Batch, i int) {
	h := m.Hosts[r.IntN(len(m.Hosts))]
	b.Exporter[i] = h.Exporters[r.IntN(len(h.Exporters))].As16()
	if r.IntN(8) == 0 {
		b.Exporter[i] = netip.MustParseAddr("192.0.2.1").As16()
	}
	if i > 0 && r.IntN(2) == 0 {
		b.Exporter[i] = b.Exporter[i-1]
	}
	addr := func() flow.Addr {
		switch r.IntN(8) {
		case 0:
			return flow.Addr{}
		case 1, 2:
			a := netip.MustParseAddr("2001:db8::").As16()
			a[7], a[15] = byte(r.IntN(5)), byte(r.IntN(22))
			return a
		}
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(2)), byte(r.IntN(22))}).As16()
	}
	mac := func() uint64 {
		switch r.IntN(4) {
		case 0:
			return 0
		case 1:
			return 0xffffffffffff
		}
		return 0x020000000000 + r.Uint64N(40)
	}
	index := func() uint32 {
		switch r.IntN(3) {
		case 0:
			return 0
		case 1:
			return uint32(r.IntN(10))
		}
		return 100_000 + uint32(r.IntN(8))
	}
	b.ObservationDomain[i] = uint32(r.IntN(4))
	if bridge := fmt.Sprintf("xenbr%d", r.IntN(4)); r.IntN(3) == 0 {
		if r.IntN(2) == 0 {
			bridge = m.Hosts[r.IntN(len(m.Hosts))].Name + "/" + bridge
		}
		b.VirtualID[i] = flow.VirtualID(bridge)
		names[b.VirtualID[i]] = bridge
	}
	b.ObservationPoint[i] = r.Uint32N(4)<<30 | []uint32{0, r.Uint32N(16), flow.MaxSystemInstance + r.Uint32N(80)}[r.IntN(3)]
	b.BytesLayer[i] = []flow.BytesLayer{flow.BytesUnknown, flow.BytesLayer2, flow.BytesLayer3}[r.IntN(3)]
	b.RuleInstance[i], b.RuleID[i] = r.Uint32N(3), r.Uint64N(3)
	b.SamplingRate[i], b.SamplingAssumed[i] = 1+r.Uint32N(5), r.IntN(2) == 0
	b.Version[i] = []uint8{5, 9, 10}[r.IntN(3)]
	b.SrcAddr[i], b.DstAddr[i] = addr(), addr()
	b.SrcMAC[i], b.DstMAC[i] = mac(), mac()
	b.InIf[i], b.OutIf[i] = index(), index()
	b.VLANIn[i], b.VLANOut[i] = uint16(r.IntN(6)), uint16(r.IntN(6))
	if b.ObservationPoint[i]%(1<<30) != 0 {
		b.Stage[i] = flow.Stage(r.IntN(5))
	}
	b.Verdict[i] = flow.Verdict(r.IntN(7))
	b.TimeReceived[i] = 1_000_000
}

// On random estates and rows the enricher says what the twin says, and touches nothing else.
func TestEnrichAgreesWithTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 0))
	size := estatetest.Size{
		Pools: 3, Hosts: 6, Networks: 8, VMs: 25, VIFs: 3, AddressGroups: 6, Prefixes: 60, VMGroups: 8, Rules: 40, Dense: true,
	}
	b := flow.NewBatch(16)
	var counts struct{ srcVM, dstVM, network, bridge, groups, notCounted, rules, unknown, shadow, elsewhere int }
	for round := range 30 {
		m := estatetest.Random(r, size)
		s, err := estate.Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		h, live := estate.NewHolder(), estate.NewLiveness(time.Minute)
		h.Store(s)
		alive := map[netip.Addr]bool{}
		for _, host := range m.Hosts {
			for _, a := range host.Exporters {
				if r.IntN(2) == 0 {
					live.Seen(a, 1_000_000-int64(r.IntN(60_000)))
					alive[a] = true
				} else {
					live.Seen(a, 1_000_000-60_001)
				}
			}
		}
		b.Reset()
		b.Grow(1 + r.IntN(700)) // more than a chunk, too
		before := flow.NewBatch(b.Len())
		before.Grow(b.Len())
		names := map[uint64]string{}
		for i := range b.Len() {
			randomRow(r, m, names, b, i)
		}
		copyInput(before, b)
		e := enricher.New(enricher.Deps{Estate: h, Live: live})
		e.Enrich(b)
		for i := range b.Len() {
			got, want := said(t, s, b, i), twin(estatetest.Twin{Model: m}, names, alive, before, i)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("round %d, row %d (-want +got):\n%s", round, i, diff)
			}
			for _, f := range inputs {
				if b.Value(f, i) != before.Value(f, i) {
					t.Fatalf("round %d, row %d: column %s was changed", round, i, f)
				}
			}
			count(&counts.srcVM, got.SrcVM != "")
			count(&counts.dstVM, got.DstVM != "")
			count(&counts.network, got.Network != "")
			count(&counts.bridge, got.Bridge != "")
			count(&counts.groups, len(got.SrcGroups) > 1 && len(got.DstGroups) > 1)
			count(&counts.notCounted, !got.Counted)
			at := estatetest.Twin{Model: m}.Place(netip.AddrFrom16(b.Exporter[i]).Unmap(), names[b.VirtualID[i]], b.ObservationDomain[i])
			byRule := at.RuleSampling && b.ObservationPoint[i]%(1<<30) > flow.MaxSystemInstance
			count(&counts.rules, byRule && got.RuleID != 0)
			count(&counts.unknown, byRule && got.RuleID == 0)
			count(&counts.shadow, byRule && got.Verdict == flow.VerdictShadowDenied)
			count(&counts.elsewhere, at.TotalsElsewhere)
		}
		// Once more over its own output: the same.
		snapshot := flow.NewBatch(b.Len()).AppendNative(nil)
		snapshot = b.AppendNative(snapshot[:0])
		e.Enrich(b)
		if again := b.AppendNative(nil); !slices.Equal(snapshot, again) {
			t.Fatalf("round %d: enriching twice differs from once", round)
		}
		if st := e.Stats(); st.Rows != 2*uint64(b.Len()) {
			t.Fatalf("Stats().Rows = %d after %d rows", st.Rows, 2*b.Len())
		}
	}
	t.Logf("%+v", counts)
	if min(counts.srcVM, counts.dstVM, counts.network, counts.bridge, counts.groups, counts.notCounted) < 100 || min(counts.rules, counts.unknown, counts.shadow, counts.elsewhere) < 10 {
		t.Errorf("too little was found to show anything: %+v", counts)
	}
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}

// inputs are columns that the enricher reads or must leave alone.
var inputs = []string{
	"exporter", "observation_domain", "version", "src_addr", "dst_addr", "src_mac", "dst_mac", "in_if", "out_if", "vlan_in",
	"vlan_out", "observation_point", "time_received",
}

func copyInput(dst, src *flow.Batch) {
	copy(dst.Exporter, src.Exporter)
	copy(dst.ObservationDomain, src.ObservationDomain)
	copy(dst.Version, src.Version)
	copy(dst.SrcAddr, src.SrcAddr)
	copy(dst.DstAddr, src.DstAddr)
	copy(dst.SrcMAC, src.SrcMAC)
	copy(dst.DstMAC, src.DstMAC)
	copy(dst.InIf, src.InIf)
	copy(dst.OutIf, src.OutIf)
	copy(dst.VLANIn, src.VLANIn)
	copy(dst.VLANOut, src.VLANOut)
	copy(dst.Stage, src.Stage)
	copy(dst.Verdict, src.Verdict)
	copy(dst.VirtualID, src.VirtualID)
	copy(dst.ObservationPoint, src.ObservationPoint)
	copy(dst.RuleInstance, src.RuleInstance)
	copy(dst.RuleID, src.RuleID)
	copy(dst.BytesLayer, src.BytesLayer)
	copy(dst.SamplingRate, src.SamplingRate)
	copy(dst.SamplingAssumed, src.SamplingAssumed)
	copy(dst.TimeReceived, src.TimeReceived)
}
