package reconcile

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

// What a bridge with so many flows, each of which was hit, costs in memory for good, and while all flows are read.
func BenchmarkMemory(b *testing.B) {
	const flows = 10_000
	list := make([]openflow.Flow, flows)
	for i := range list {
		list[i] = openflow.Flow{
			Table: compile.TableEgress, Priority: uint16(i), Cookie: compile.Cookie(0, compile.KindRule, uint32(1000+i)),
			Match:   openflow.NewMatch(openflow.EthType(0x800), openflow.IPProto(6), openflow.IPv4Dst(netip.MustParsePrefix(fmt.Sprintf("10.0.%d.%d/32", i>>8, i&0xff))), openflow.TCPDst(443, 0xffff)),
			Actions: openflow.NewActions(openflow.LoadReg(2, uint32(i)), openflow.Goto{Table: 32}),
		}
	}
	want := compile.Of(list)
	use := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / 1e6
	}
	var kept, during float64
	for b.Loop() {
		before := use()
		o := observe(want)
		during = use() - before
		m := newTally()
		for i, f := range list { // a switch's answer is memory of its own
			s := openflow.FlowStats{Flow: f, Packets: uint64(i + 1), Bytes: 60}
			s.Match = openflow.Match(append([]byte(nil), s.Match...))
			s.Actions = openflow.Actions(append([]byte(nil), s.Actions...))
			o.see(s.Flow)
			m.read(&s, true)
		}
		if o.plan.size() != 0 {
			b.Fatalf("the plan has %d changes, want none", o.plan.size())
		}
		o = nil
		kept = use() - before
		runtime.KeepAlive(m)
	}
	b.ReportMetric(kept, "MB/kept")
	b.ReportMetric(during, "MB/while-read")
}
