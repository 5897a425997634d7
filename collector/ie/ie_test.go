package ie_test

import (
	"testing"

	"github.com/weirhq/weir/collector/ie"
)

func TestLookup(t *testing.T) {
	f := func(id ie.ID, name string, typ ie.Type, semantics ie.Semantics) {
		t.Helper()
		e, ok := ie.Lookup(id)
		if !ok || e.Name != name || e.Type != typ || e.Semantics() != semantics || e.ID != id {
			t.Errorf("Lookup(%+v) = %+v, %v; want %s %s", id, e, ok, name, typ)
		}
	}
	f(ie.Of(1), "octetDeltaCount", ie.Unsigned64, ie.DeltaCounter)
	f(ie.Of(8), "sourceIPv4Address", ie.IPv4Address, ie.Default)
	f(ie.Of(85), "octetTotalCount", ie.Unsigned64, ie.TotalCounter)
	f(ie.Of(154), "flowStartMicroseconds", ie.DateTimeMicroseconds, ie.Default)
	f(ie.Of(293), "subTemplateMultiList", ie.SubTemplateMultiList, ie.Default)
	f(ie.ID{Enterprise: ie.Reverse, Number: 2}, "reversePacketDeltaCount", ie.Unsigned64, ie.DeltaCounter)
	f(ie.ID{Enterprise: ie.VMware, Number: 898}, "virtualObsID", ie.String, ie.Default)
	f(ie.ID{Enterprise: ie.Scope9, Number: 2}, "scopeInterface", ie.Unsigned32, ie.Default)
	f(ie.FromNetFlow9(10), "ingressInterface", ie.Unsigned32, ie.Default)
	f(ie.FromNetFlow9(40005), "firewallEvent", ie.Unsigned8, ie.Default)
	f(ie.FromNetFlow9(57591), "l7ProtoName", ie.String, ie.Default)
	for _, id := range []ie.ID{ie.Of(0), ie.Of(105), ie.Of(60000), {Enterprise: 1, Number: 1}, {Enterprise: ie.Reverse, Number: 105}} {
		if e, ok := ie.Lookup(id); ok {
			t.Errorf("Lookup(%+v) = %+v, want none", id, e)
		}
	}
}

// Every field type of NetFlow 9 has one id, and two types never share one.
func TestFromNetFlow9IsInjective(t *testing.T) {
	seen := map[ie.ID]uint16{}
	for n := range uint32(65536) {
		id := ie.FromNetFlow9(uint16(n))
		if first, ok := seen[id]; ok {
			t.Fatalf("field types %d and %d are both %+v", first, n, id)
		}
		seen[id] = uint16(n)
	}
}
