package policyd

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/reconcile"
)

// tellOffenceAgain is how long after an event of a VIF and a guard there is the next one, of all that was dropped meanwhile.
const tellOffenceAgain = 10 * time.Minute

// offenders tell of VIFs of which guards drop packets: at once when it begins, and then now and then, so that the events of an offence say
// together how many packets it were.
type offenders struct {
	mu      sync.Mutex
	tallies map[offence]*tally // guarded by mu
}

// offence is a VIF of which a guard drops packets.
type offence struct {
	at       reconcile.Key
	port     openflow.Port
	vif      flow.ID
	instance uint32 // of the guard
}

// tally is what is known of an offence.
type tally struct {
	untold, total uint64 // packets
	told          time.Time
	about         event.Event // whom it is of
}

// add takes what guards dropped, and returns what is to be told. who says whose a port is.
func (o *offenders) add(now time.Time, hits []reconcile.Hit, who func(reconcile.Key, openflow.Port) event.Event) []event.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range hits {
		if h.Port == 0 || h.Packets == 0 {
			continue
		}
		about := who(h.Where, h.Port)
		about.Host, about.Bridge = h.Host, h.Bridge
		x := offence{h.Where, h.Port, about.VIF, h.Instance}
		t := o.tallies[x]
		if t == nil {
			t = &tally{}
			if o.tallies == nil {
				o.tallies = map[offence]*tally{}
			}
			o.tallies[x] = t
		}
		t.about = about
		t.untold, t.total = t.untold+h.Packets, t.total+h.Packets
	}
	return o.due(now)
}

// tell returns what is to be told by now.
func (o *offenders) tell(now time.Time) []event.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.due(now)
}

// due returns what is to be told, and forgets what has ended; o.mu is held.
func (o *offenders) due(now time.Time) (list []event.Event) {
	for x, t := range o.tallies {
		switch {
		case now.Sub(t.told) < tellOffenceAgain:
		case t.untold == 0:
			delete(o.tallies, x)
		default:
			list = append(list, t.event(now, x))
			t.untold, t.told = 0, now
		}
	}
	return list
}

func (t *tally) event(now time.Time, x offence) event.Event {
	rule := flow.SystemRules[x.instance-1]
	e := t.about
	e.Time, e.Kind = now, event.VIFSpoofs
	e.Text = fmt.Sprintf("%d packets of %s were dropped: %s", t.untold, e.Subject, rule.Text)
	if t.total > t.untold {
		e.Text += fmt.Sprintf("; %d since it began", t.total)
	}
	e.Attributes = map[string]string{
		"guard": rule.Name, "packets": strconv.FormatUint(t.untold, 10), "total": strconv.FormatUint(t.total, 10), "bridge": x.at.Bridge,
		"port": strconv.FormatUint(uint64(x.port), 10),
	}
	return e
}

// hits takes what flows of rules counted: of guards offenders are told of, the rest of the world gets sums by rule.
func (s *Service) hits(list []reconcile.Hit) {
	for _, e := range s.offenders.add(time.Now(), list, s.governor.whose) {
		s.deps.Events.Emit(e)
	}
	if s.deps.Hits == nil {
		return
	}
	type rule struct {
		bridge   flow.ID
		instance uint32
		stage    flow.Stage
	}
	at := map[rule]int{}
	var sums []reconcile.Hit
	for _, h := range list {
		h.Port = 0
		r := rule{h.Bridge, h.Instance, h.Stage}
		i, ok := at[r]
		if !ok {
			at[r], sums = len(sums), append(sums, h)
			continue
		}
		sums[i].Packets, sums[i].Bytes = sums[i].Packets+h.Packets, sums[i].Bytes+h.Bytes
	}
	s.deps.Hits(sums)
}

// whose returns an event about the VIF at a port of a bridge, as far as is known.
func (g *governor) whose(at reconcile.Key, port openflow.Port) event.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := event.Event{Subject: fmt.Sprintf("port %d of bridge %s", port, at.Bridge)}
	c := g.bridges[at]
	if c == nil || c.input.Inventory == nil {
		return e
	}
	i := c.input.VIFAt(port)
	if i < 0 {
		return e
	}
	e.Pool, e.Subject = c.input.Pool, c.input.Inventory.Ports[c.input.Inventory.VIFs[i].Ports[0]].Name
	if v := c.input.Estate.VIFs[c.input.VIFs[i]]; v != nil {
		e.Subject, e.VIF, e.VM, e.Network = v.Name, v.ID, v.VM, v.Network
	}
	return e
}
