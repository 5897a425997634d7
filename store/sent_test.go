package store_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
)

// Of each VIF come the addresses with most packets of late, with the port where they came in.
func TestSentBy(t *testing.T) {
	c := migrated(t)
	addr := func(last byte) flow.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, last}).As16() }
	insert := func(at time.Time, vif uint64, port uint32, from flow.Addr, packets uint64) {
		insertFlow(t, c, at, func(b *flow.Batch) {
			b.Exporter[0], b.ObservationDomain[0], b.Version[0], b.InIf[0] = addr(250), 3, 10, port
			b.SrcVIF[0], b.SrcMAC[0], b.SrcAddr[0], b.Packets[0] = vif, 0x020000000001, from, packets
		})
	}
	now := time.Now()
	for i := range byte(20) { // more than are looked at
		insert(now, 7, 5, addr(i+1), uint64(i+1))
	}
	insert(now, 8, 6, addr(99), 1)
	insert(now, 0, 6, addr(98), 1)
	insert(now, 9, 0, addr(97), 1)
	insert(now, 9, 7, flow.Addr{}, 1)
	insert(now.Add(-2*time.Hour), 9, 7, addr(96), 1)
	got, err := c.SentBy(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Sent{}
	say := func(vif flow.ID, port uint32, last byte) {
		want = append(want, store.Sent{
			Exporter: netip.AddrFrom16(addr(250)), Domain: 3, Version: 10, Port: port, VIF: vif, MAC: 0x020000000001, Addr: netip.AddrFrom16(addr(last)),
		})
	}
	for i := byte(20); i > 4; i-- {
		say(7, 5, i)
	}
	say(8, 6, 99)
	byVIF := cmpopts.SortSlices(func(a, b store.Sent) bool { return a.VIF < b.VIF || a.VIF == b.VIF && a.Addr.Less(b.Addr) })
	if d := cmp.Diff(want, got, byVIF, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
