package policyd

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
)

// However packets are dropped: each offence is told of soon, never twice within ten minutes, and the events say together how many packets it were.
func TestOffenders(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	var o offenders
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type offence struct {
		vif   flow.ID
		guard string
	}
	dropped, told, last, first := map[offence]uint64{}, map[offence]uint64{}, map[offence]time.Time{}, map[offence]time.Time{}
	tell := func() {
		list, next := o.tell(now)
		if !next.IsZero() && !now.Before(next) {
			t.Fatalf("seed %d: the next is due at %v, now it is %v", seed, next, now)
		}
		if again, _ := o.tell(next.Add(-1)); len(again) > 0 {
			t.Fatalf("seed %d: before %v something is told", seed, next)
		}
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
	who := func(_ reconcile.Key, p openflow.Port) suspect {
		return suspect{Event: event.Event{VIF: flow.ID(p), Subject: "vm/0"}}
	}
	at := reconcile.Key{Host: "h", Bridge: "br0"}
	for range 2000 {
		now = now.Add(time.Duration(r.IntN(120)) * time.Second)
		var hits []reconcile.Hit
		for range r.IntN(4) {
			h := reconcile.Hit{Where: at, Port: openflow.Port(r.IntN(3)), Instance: flow.Guards[r.IntN(2)], Packets: uint64(r.IntN(3))}
			hits = append(hits, h)
			if x := (offence{flow.ID(h.Port), flow.SystemRules[h.Instance-1].Name}); h.Port != 0 && h.Packets != 0 {
				if dropped[x] += h.Packets; first[x].IsZero() {
					first[x] = now
				}
			}
		}
		if caught := o.add(now, hits, who); len(caught) > 0 {
			t.Fatalf("seed %d: %v is to be quarantined, which nobody wants", seed, caught)
		}
		tell()
		for x, at := range first {
			if _, ok := last[x]; !ok && now.Sub(at) >= tellOffenceAfter {
				t.Fatalf("seed %d: %+v is not told of after %v", seed, x, now.Sub(at))
			}
		}
	}
	now = now.Add(tellOffenceAgain)
	tell()
	for x, n := range dropped {
		if told[x] != n {
			t.Errorf("seed %d: of %+v %d packets were told, want %d", seed, x, told[x], n)
		}
	}
	now = now.Add(tellOffenceAgain)
	if tell(); len(o.tallies) != 0 {
		t.Errorf("%d offences that have ended are kept", len(o.tallies))
	}
}

// A VIF is quarantined for the guards that its setting names, once they have dropped more than stray frames; not before.
func TestCulprits(t *testing.T) {
	at := reconcile.Key{Host: "h", Bridge: "br0"}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const minute = time.Minute
	type drop struct {
		after    time.Duration // since the one before
		instance uint32
		packets  uint64
	}
	f := func(what string, q policy.Quarantine, want int, drops ...drop) {
		t.Helper()
		var o offenders
		now, caught := start, 0
		for i, d := range drops {
			now = now.Add(d.after)
			list := o.add(now, []reconcile.Hit{{Where: at, Port: 1, Instance: d.instance, Packets: d.packets}}, func(reconcile.Key, openflow.Port) suspect {
				return suspect{event.Event{VIF: 7, Subject: "vm/0"}, q}
			})
			if len(list) > 0 && caught == 0 && i != len(drops)-1 {
				t.Errorf("%s: caught by %+v already", what, d)
			}
			for _, c := range list {
				if caught++; c.vif != 7 || c.name != "vm/0" || c.reason == "" {
					t.Errorf("%s: %+v", what, c)
				}
			}
		}
		if caught != want {
			t.Errorf("%s: caught %d times, want %d", what, caught, want)
		}
		if o.tell(now.Add(24 * time.Hour)); len(o.strays) != 0 {
			t.Errorf("%s: what is long past is kept", what)
		}
	}
	mac := func(after time.Duration, packets uint64) drop { return drop{after, flow.SystemSpoofedMAC, packets} }
	var stray []drop
	for range 1000 {
		stray = append(stray, mac(minute, 1))
	}
	f("one frame", policy.QuarantineAny, 0, mac(0, 1))
	f("as many as may stray", policy.QuarantineAny, 0, mac(0, strayPackets))
	f("one more", policy.QuarantineAny, 1, mac(0, strayPackets+1))
	f("one more, later", policy.QuarantineMAC, 1, mac(0, strayPackets), mac(minute/2, 1))
	f("one a minute", policy.QuarantineAny, 0, stray...)
	f("two a minute", policy.QuarantineAny, 1, slices.Repeat([]drop{mac(minute, 2)}, strayPackets)...)
	f("others than MAC addresses", policy.QuarantineMAC, 0, drop{0, flow.SystemSpoofedIP, 1000}, drop{0, flow.SystemDHCP, 1000})
	f("whatever", policy.QuarantineAny, 1, drop{0, flow.SystemSpoofedIP, 6}, drop{0, flow.SystemDHCP, 6})
	f("if nobody wants it", policy.QuarantineOff, 0, mac(0, 1_000_000))
}
