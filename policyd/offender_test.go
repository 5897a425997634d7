package policyd

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/reconcile"
)

// However packets are dropped: each offence is told of at once, never twice within ten minutes, and the events say together how many packets it were.
func TestOffenders(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var o offenders
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type offence struct {
		vif   flow.ID
		guard string
	}
	dropped, told, last := map[offence]uint64{}, map[offence]uint64{}, map[offence]time.Time{}
	tell := func(list []event.Event) {
		for _, e := range list {
			x := offence{e.VIF, e.Attributes["guard"]}
			n, err := strconv.ParseUint(e.Attributes["packets"], 10, 64)
			if err != nil || n == 0 || e.Kind != event.VIFSpoofs {
				t.Fatalf("seed %d: event %+v", seed, e)
			}
			if at, ok := last[x]; ok && now.Sub(at) < tellOffenceAgain {
				t.Fatalf("seed %d: %+v is told %v after the last time", seed, x, now.Sub(at))
			}
			told[x], last[x] = told[x]+n, now
		}
	}
	who := func(_ reconcile.Key, p openflow.Port) event.Event {
		return event.Event{VIF: flow.ID(p), Subject: "vm/0"}
	}
	at := reconcile.Key{Host: "h", Bridge: "br0"}
	for range 2000 {
		now = now.Add(time.Duration(r.IntN(120)) * time.Second)
		var hits []reconcile.Hit
		for range r.IntN(4) {
			h := reconcile.Hit{Where: at, Port: openflow.Port(r.IntN(3)), Instance: flow.Guards[r.IntN(2)], Packets: uint64(r.IntN(3))}
			hits = append(hits, h)
			if h.Port != 0 {
				dropped[offence{flow.ID(h.Port), flow.SystemRules[h.Instance-1].Name}] += h.Packets
			}
		}
		tell(o.add(now, hits, who))
		for x, n := range dropped {
			if at, ok := last[x]; n > 0 && !ok {
				t.Fatalf("seed %d: %+v is not told of at once (%v)", seed, x, at)
			}
		}
		tell(o.tell(now))
	}
	now = now.Add(tellOffenceAgain)
	tell(o.tell(now))
	for x, n := range dropped {
		if told[x] != n {
			t.Errorf("seed %d: of %+v %d packets were told, want %d", seed, x, told[x], n)
		}
	}
	now = now.Add(tellOffenceAgain)
	if tell(o.tell(now)); len(o.tallies) != 0 {
		t.Errorf("%d offences that have ended are kept", len(o.tallies))
	}
}
