package openflow_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weirhq/weir/ovs/openflow"
)

// ruleFlows are n flows as rules make them.
func ruleFlows(n int) []openflow.Flow {
	list := make([]openflow.Flow, n)
	for i := range list {
		list[i] = openflow.Flow{
			Table: 30, Priority: uint16(1000 + i%60000), Cookie: openflow.Cookie(0x5e1f<<48 | i),
			Match: openflow.NewMatch(
				openflow.InPort(openflow.Port(1+i%200)), openflow.EthType(openflow.EthTypeIPv4), openflow.IPProto(openflow.ProtoTCP),
				openflow.IPv4Dst(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)),
				openflow.TCPDst(uint16(i), 0xffff), openflow.Reg(0, 1, 0xffffffff),
			),
			Actions: openflow.NewActions(
				openflow.Sample{Probability: 65535, CollectorSet: 1, Domain: 7, Point: uint32(i)},
				openflow.LoadReg(2, uint32(i)), openflow.Goto{Table: 40},
			),
		}
	}
	return list
}

// 100 000 flows are installed by us, read, and installed by ovs-ofctl.
func BenchmarkSwitch(b *testing.B) {
	const n = 100_000
	x := newBridge(b)
	flows := ruleFlows(n)
	perFlow := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "flows/s")
	}
	b.Run("apply", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			x.clear()
			mods := make([]openflow.Mod, n)
			for i, f := range flows {
				mods[i] = openflow.AddFlow{Flow: f}
			}
			b.StartTimer()
			x.apply(mods...)
		}
		perFlow(b)
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			found := 0
			if err := x.conn.Flows(b.Context(), openflow.Everything, func(openflow.FlowStats) { found++ }); err != nil || found != n {
				b.Fatalf("found %d flows, want %d: %v", found, n, err)
			}
		}
		perFlow(b)
	})
	b.Run("read-and-compare", func(b *testing.B) {
		want := make(map[openflow.FlowKey]openflow.Flow, n)
		for _, f := range flows {
			want[f.Key()] = f
		}
		for b.Loop() {
			equal := 0
			if err := x.conn.Flows(b.Context(), openflow.Everything, func(s openflow.FlowStats) {
				if want[s.Key()] == s.Flow {
					equal++
				}
			}); err != nil || equal != n {
				b.Fatalf("found %d flows, want %d: %v", equal, n, err)
			}
		}
		perFlow(b)
	})
	lines := make([]string, n)
	for i, f := range flows {
		lines[i] = f.String()
	}
	file := x.file(lines)
	b.Run("ovs-ofctl-bundle", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			x.clear()
			b.StartTimer()
			x.ofctl("--bundle", "add-flows", "br0", file)
		}
		perFlow(b)
	})
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ruleFlows(n)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	var all []byte
	for _, f := range ruleFlows(200) {
		all = append(all, openflow.EncodeFlowStats(f)...)
	}
	b.SetBytes(int64(len(all)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := openflow.DecodeFlowStats(all); err != nil {
			b.Fatal(err)
		}
	}
}
