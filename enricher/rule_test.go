package enricher_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Instances of the rules of ruled.
const (
	allows = 1000 + iota
	denies
	shadows
	stranger // is no rule's
)

var ruleA, ruleB = flow.NewID(flow.KindRule, "a"), flow.NewID(flow.KindRule, "b")

// ruled is model with bridges that Weir samples: of rule samples alone, or with totals elsewhere.
func ruled(elsewhere bool) *estate.Model {
	m := model()
	for i := range m.Hosts {
		for j := range m.Hosts[i].Bridges {
			b := &m.Hosts[i].Bridges[j]
			b.ObservationDomains, b.RuleSampling, b.TotalsElsewhere = []uint32{uint32(j + 1)}, true, elsewhere
		}
	}
	m.VMs = append(m.VMs, estate.VM{Name: "other", Host: "h2", VIFs: []estate.VIF{{
		Device: "0", Network: "back", MAC: 0x020000000005, IPs: addrs("10.2.0.8"), Ports: []estate.Port{{IfIndex: 5, Bridge: "xenbr1"}},
	}}})
	m.Rules = []estate.RuleInstance{
		{Instance: allows, Rule: ruleA, Verdict: flow.VerdictAllowed},
		{Instance: denies, Rule: ruleA, Verdict: flow.VerdictDenied},
		{Instance: shadows, Rule: ruleB, Verdict: flow.VerdictShadowDenied},
	}
	return m
}

// Of the rows that one packet makes on its way, totals count the one that they should, and each has its rule and verdict.
func TestRowsOfAPacket(t *testing.T) {
	const (
		out = flow.StageEgress
		in  = flow.StageIngress
		re  = flow.StageReply
		sys = flow.StageSystem
	)
	type observation struct {
		exporter string
		bridge   int
		from     uint32 // interface by which it came in
		stage    flow.Stage
		instance uint32
		counted  bool
	}
	type ends struct {
		src, dst       string
		srcMAC, dstMAC uint64
	}
	webDB := ends{"10.1.0.5", "10.2.0.7", macWeb, macDB} // h1 to h2, as if in one network
	fwDB := ends{"10.2.0.1", "10.2.0.7", macFw1, macDB}  // both on xenbr0 of h2
	otherDB := ends{"10.2.0.8", "10.2.0.7", 0x020000000005, macDB}
	fromOutside := ends{"203.0.113.9", "10.2.0.7", macRouter, macDB}
	toOutside := ends{"10.2.0.7", "203.0.113.9", macDB, macRouter}
	multicast := ends{"10.2.0.7", "224.0.0.251", macDB, 0x01005e0000fb}
	onlyH2 := []string{h2}
	verdicts := map[uint32]flow.Verdict{allows: flow.VerdictAllowed, denies: flow.VerdictDenied, shadows: flow.VerdictShadowDenied}
	rules := map[uint32]flow.ID{allows: ruleA, denies: ruleA, shadows: ruleB}

	f := func(what string, live []string, e ends, rows ...observation) {
		t.Helper()
		for i, o := range rows {
			got := enrichIn(t, ruled(false), live, seen{
				exporter: o.exporter, src: e.src, dst: e.dst, srcMAC: e.srcMAC, dstMAC: e.dstMAC, in: o.from,
				domain: uint32(o.bridge + 1), point: flow.Point(o.stage, o.instance),
			})
			verdict := verdicts[o.instance]
			if o.instance <= flow.MaxSystemInstance {
				verdict = flow.SystemVerdict(o.instance)
			}
			if got.Counted != o.counted || got.Stage != o.stage || got.RuleInstance != o.instance || got.Verdict != verdict || got.RuleID != rules[o.instance] {
				t.Errorf("%s, row %d (%v %d at %s): counted %v, stage %v, instance %d, rule %d, verdict %v; want counted %v, rule %d, verdict %v",
					what, i+1, o.stage, o.instance, o.exporter, got.Counted, got.Stage, got.RuleInstance, got.RuleID, got.Verdict, o.counted, rules[o.instance], verdict)
			}
		}
	}
	f("two VMs of a host", both, fwDB, observation{h2, 0, 3, out, allows, true}, observation{h2, 0, 3, in, allows, false})
	f("denied at the destination", both, fwDB, observation{h2, 0, 3, out, allows, true}, observation{h2, 0, 3, in, denies, false})
	f("denied at the source", both, fwDB, observation{h2, 0, 3, out, denies, true})
	f("two shadow rules", both, fwDB, observation{h2, 0, 3, out, shadows, false}, observation{h2, 0, 3, out, allows, true},
		observation{h2, 0, 3, in, shadows, false}, observation{h2, 0, 3, in, allows, false})
	f("the reply between two VMs of a host", both, fwDB, observation{h2, 0, 3, re, allows, true})
	f("two hosts", both, webDB, observation{h1, 0, 1, out, allows, true}, observation{h2, 0, uplink, in, denies, false})
	f("two hosts, the source's being silent", onlyH2, webDB, observation{h2, 0, uplink, in, denies, true})
	f("the reply between two hosts", both, webDB, observation{h1, 0, 1, re, allows, true}, observation{h2, 0, uplink, re, allows, false})
	f("the reply, the source's host being silent", onlyH2, webDB, observation{h2, 0, uplink, re, allows, true})
	f("two bridges of a host", both, otherDB, observation{h2, 1, 5, out, allows, true}, observation{h2, 0, uplink, in, allows, false})
	f("the reply between two bridges of a host", both, otherDB, observation{h2, 1, 5, re, allows, true}, observation{h2, 0, uplink, re, allows, false})
	f("through a bridge of the host where nobody is", both, toOutside, observation{h2, 0, 4, out, allows, true}, observation{h2, 1, uplink, sys, flow.SystemTransit, false})
	f("from outside", both, fromOutside, observation{h2, 0, uplink, in, allows, true})
	f("from outside, denied", both, fromOutside, observation{h2, 0, uplink, in, denies, true})
	f("to outside", both, toOutside, observation{h2, 0, 4, out, allows, true})
	f("the answer from outside", both, fromOutside, observation{h2, 0, uplink, re, allows, true})
	f("flooded to a host where nobody is meant", both, webDB, observation{h1, 0, 1, out, allows, true}, observation{h2, 1, uplink, sys, flow.SystemTransit, false})
	f("multicast to two VIFs and out", both, multicast, observation{h2, 0, 4, out, allows, true}, observation{h2, 0, 4, in, allows, false}, observation{h2, 0, 4, in, denies, false})
	f("kept at both ends", both, fwDB, observation{h2, 0, 3, out, flow.SystemKept, true}, observation{h2, 0, 3, in, flow.SystemKept, false})
	f("kept, from outside", both, fromOutside, observation{h2, 0, uplink, in, flow.SystemKept, true})
	f("bypass at the destination only", both, fwDB, observation{h2, 0, 3, out, allows, true}, observation{h2, 0, 3, in, flow.SystemBypass, false})
	f("the host's own, to a VM of it", both, ends{"192.0.2.12", "10.2.0.7", 0, macDB}, observation{h2, 0, 0, sys, flow.SystemHost, true})
	f("the host's own, to a VM of another", both, ends{"192.0.2.11", "10.2.0.7", 0, macDB}, observation{h1, 0, 0, sys, flow.SystemHost, false}, observation{h2, 0, uplink, in, allows, true})
	f("spoofed with the address of a VM elsewhere", both, ends{"10.1.0.5", "203.0.113.9", macWeb, macRouter}, observation{h2, 0, 0, sys, flow.SystemSpoofedMAC, true})
	f("by a port that no policy knows, to a VM elsewhere", both, ends{"10.9.9.9", "10.1.0.5", 0, macWeb}, observation{h2, 0, 0, sys, flow.SystemUnknownPort, true})
	f("invalid at the source", both, webDB, observation{h1, 0, 1, sys, flow.SystemInvalid, true})
	f("invalid at the destination", both, webDB, observation{h1, 0, 1, out, allows, true}, observation{h2, 0, uplink, sys, flow.SystemInvalid, false})
	f("a blocked reply at its source", both, fwDB, observation{h2, 0, 3, re, flow.SystemBlocked, true})
	f("an instance that nobody knows", both, fwDB, observation{h2, 0, 3, out, stranger, true}, observation{h2, 0, 3, in, stranger, false})
}

// A bridge has one source of totals.
func TestOneSourceOfTotals(t *testing.T) {
	atSource := seen{exporter: h2, src: "10.2.0.1", dst: "10.2.0.7", in: 3, domain: 1}
	for _, elsewhere := range []bool{false, true} {
		if got := enrichIn(t, ruled(elsewhere), both, atSource).Counted; got != elsewhere {
			t.Errorf("a row without a stage, totals elsewhere %v: counted %v", elsewhere, got)
		}
		for _, stage := range []flow.Stage{flow.StageEgress, flow.StageReply, flow.StageSystem} {
			for _, instance := range []uint32{allows, denies, flow.SystemUnknownPort} {
				in := atSource
				in.point = flow.Point(stage, instance)
				got := enrichIn(t, ruled(elsewhere), both, in)
				if got.Counted == elsewhere || got.Stage != stage || got.RuleInstance != instance {
					t.Errorf("a row of %v %d, totals elsewhere %v: %+v", stage, instance, elsewhere, got)
				}
			}
		}
	}
}

func TestUnknownInstancesAreCounted(t *testing.T) {
	s, err := estate.Compile(ruled(false))
	if err != nil {
		t.Fatal(err)
	}
	h := estate.NewHolder()
	h.Store(s)
	e := enricher.New(enricher.Deps{Estate: h, Live: estate.NewLiveness(time.Minute)})
	b := flow.NewBatch(6)
	b.Grow(6)
	for i, point := range []uint32{
		0, flow.Point(flow.StageEgress, stranger), flow.Point(flow.StageEgress, allows), flow.Point(flow.StageSystem, flow.SystemTransit),
		flow.Point(flow.StageSystem, flow.SystemQuarantine+1), flow.Point(flow.StageIngress, shadows),
	} {
		b.Exporter[i], b.ObservationDomain[i], b.ObservationPoint[i] = netip.MustParseAddr(h2).As16(), 1, point
	}
	e.Enrich(b)
	if got := e.Stats().UnknownRule; got != 2 {
		t.Errorf("Stats().UnknownRule = %d, want 2", got)
	}
}
