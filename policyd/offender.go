package policyd

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
)

// An offence of a VIF and a guard is told of when there was time for what came together to be counted together, and then now and then.
const (
	tellOffenceAfter = 10 * time.Second // of the first packets
	tellOffenceAgain = 10 * time.Minute // after an event there is the next one, of all that was dropped meanwhile
)

// What a VIF may do before it is quarantined, if it is to be: a stray frame now and then is none of its faults.
const (
	strayPackets = 10          // that guards may drop of it at once
	strayEvery   = time.Minute // and one more
)

// offenders tell of VIFs of which guards drop packets: when it begins, and then now and then, so that the events of an offence say together how many
// packets it were. They know which are to be quarantined.
type offenders struct {
	mu      sync.Mutex
	tallies map[offence]*tally      // guarded by mu
	strays  map[flow.ID]*strayTally // of VIFs that may have to be quarantined; guarded by mu
}

// strayTally is what a VIF did lately.
type strayTally struct {
	packets float64 // less one for each strayEvery, but not less than none
	at      time.Time
}

// forget takes off what has passed by now.
func (t *strayTally) forget(now time.Time) {
	t.packets = max(0, t.packets-float64(now.Sub(t.at))/float64(strayEvery))
	t.at = now
}

// suspect is a VIF behind a port, and for what it is quarantined.
type suspect struct {
	event.Event // about it
	quarantine  policy.Quarantine
}

// culprit is a VIF that is to be quarantined.
type culprit struct {
	vif    flow.ID
	name   string
	reason string
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
	untold, total uint64      // packets
	due           time.Time   // to be told, or forgotten
	about         event.Event // whom it is of
}

// add takes what guards dropped, and returns who is to be quarantined. who says whose a port is.
func (o *offenders) add(now time.Time, hits []reconcile.Hit, who func(reconcile.Key, openflow.Port) suspect) (caught []culprit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range hits {
		if h.Port == 0 || h.Packets == 0 {
			continue
		}
		who := who(h.Where, h.Port)
		if c := o.stray(now, &who, h); c != nil {
			caught = append(caught, *c)
		}
		about := who.Event
		about.Host, about.Bridge = h.Host, h.Bridge
		x := offence{h.Where, h.Port, about.VIF, h.Instance}
		t := o.tallies[x]
		if t == nil {
			t = &tally{due: now.Add(tellOffenceAfter)}
			if o.tallies == nil {
				o.tallies = map[offence]*tally{}
			}
			o.tallies[x] = t
		}
		t.about = about
		t.untold, t.total = t.untold+h.Packets, t.total+h.Packets
	}
	return caught
}

// stray counts what was dropped of a VIF that may have to be quarantined, and returns it if it has to; o.mu is held.
func (o *offenders) stray(now time.Time, who *suspect, h reconcile.Hit) *culprit {
	if who.VIF == 0 || !who.quarantine.For(h.Instance) {
		return nil
	}
	t := o.strays[who.VIF]
	if t == nil {
		if o.strays == nil {
			o.strays = map[flow.ID]*strayTally{}
		}
		t = &strayTally{at: now}
		o.strays[who.VIF] = t
	}
	t.forget(now)
	if t.packets += float64(h.Packets); t.packets <= strayPackets {
		return nil
	}
	delete(o.strays, who.VIF)
	return &culprit{who.VIF, who.Subject, fmt.Sprintf("%d packets were dropped: %s", uint64(t.packets), flow.SystemRules[h.Instance-1].Text)}
}

// tell returns what is to be told by now, forgets what has ended, and says when there may be more; zero: not before something is added.
func (o *offenders) tell(now time.Time) (list []event.Event, next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for vif, t := range o.strays {
		if t.forget(now); t.packets == 0 {
			delete(o.strays, vif)
		}
	}
	for x, t := range o.tallies {
		if !now.Before(t.due) {
			if t.untold == 0 {
				delete(o.tallies, x)
				continue
			}
			list = append(list, t.event(now, x))
			t.untold, t.due = 0, now.Add(tellOffenceAgain)
		}
		next = earlier(next, t.due)
	}
	return list, next
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
	guarded := slices.ContainsFunc(list, func(h reconcile.Hit) bool { return h.Port != 0 })
	for _, c := range s.offenders.add(time.Now(), list, s.governor.whose) {
		select {
		case s.caught <- c:
		default: // it is caught again if it goes on
		}
	}
	if guarded {
		s.governor.poke() // to be told of
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

// whose returns an event about the VIF at a port of a bridge, as far as is known, and for what it is to be quarantined.
func (g *governor) whose(at reconcile.Key, port openflow.Port) suspect {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := suspect{Event: event.Event{Subject: fmt.Sprintf("port %d of bridge %s", port, at.Bridge)}}
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
	if rules := c.input.Interfaces()[i]; rules != nil {
		s := c.input.Policy.SettingsOf(rules)
		e.quarantine = s.Quarantine
	}
	return e
}
