package attach

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

const (
	primary = "primary"
	service = "service"

	inBand    = "in-band"
	outOfBand = "out-of-band"

	// maxBackoff is how long a bridge waits at most before it dials again, in ms: the least that Open vSwitch takes.
	maxBackoff = 1000

	// rateLimit is how many packets a second a bridge sends to Weir at most, of those that tell addresses; beyond burstLimit in a moment it
	// takes turns among its ports, so that none of them leaves nothing for others. 100 is the least that Open vSwitch takes.
	rateLimit, burstLimit = 100, 100
)

// Question is all that Decide looks at.
type Question struct {
	Settings Settings // Reach is complete, or invalid: it is not known
	Rows     *ovsdb.Rows
	Has      func(table, column string) bool // whether the host's schema does
	Bridge   *ovsdb.Bridge
	Wanted   bool   // the bridge is to dial Weir
	Yielded  bool   // it is left as it is for now
	Found    string // Want of the answer when it last was as wanted
	FailMode FailMode
}

// FailMode is what of a Question is about what the bridge does while Weir is away.
type FailMode struct {
	Wanted  policy.FailMode `json:",omitempty"` // "": what it does now
	Leaving bool            // flows are about to be taken off: what was before Weir comes back first
	Unready string          // why it is not known that all of Weir's flows are there, and let the host reach Weir; "": they were found there, and do
	Others  int             // flows of others at the bridge, which are lost when it forgets all
}

// Answer is what Decide says.
type Answer struct {
	Bridge
	Away   Away
	Want   string // what is to be there, comparable; empty: nothing
	Undone string // what others did to what Weir had set up; empty: nothing
	Held   bool   // something of Weir's is at the bridge afterwards

	Forget bool // Found is to be empty from now on: what was found before goes for something else
	Wiped  bool // what tx does makes the switch forget the bridge's flows, once it has done it
}

// Decide compares a bridge with what it is to be, and has tx change what is not so.
func Decide(tx *own.Transaction, q Question) (Answer, error) {
	a, err := decide(tx, &q)
	a.Away.tell(&q, a.Foreign)
	return a, err
}

func decide(tx *own.Transaction, q *Question) (Answer, error) {
	ours, others := own.Controllers(q.Rows, q.Bridge)
	held, _, err := own.DisableInBand.Held(q.Bridge)
	modeHeld, modeKept, err2 := own.FailMode.Held(q.Bridge)
	a := Answer{Bridge: Bridge{State: StateOff, Foreign: foreign(others)}, Held: len(ours) > 0 || held || modeHeld}
	if q.Wanted && !q.FailMode.Leaving {
		a.Away.Wanted = q.FailMode.Wanted
	}
	switch err = cmp.Or(err, err2); {
	case err != nil:
		return failed(a, err), nil
	case !q.Wanted:
		for _, c := range ours {
			tx.RemoveController(q.Bridge, c)
		}
		a.Held = false
		return a, errors.Join(tx.Unset(own.DisableInBand, q.Bridge), tx.Unset(own.FailMode, q.Bridge))
	case !q.Settings.Reach.IsValid():
		a.State, a.Why = StateFailed, "at what address this host reaches Weir by OpenFlow is not known: set policy.listeners[].reach"
		return a, nil
	}
	s := newSwitchover(q, ours, a.Foreign, modeHeld, modeKept)
	row := a.row(q, s, ours)
	if q.Yielded {
		a.State = StateYielded
		return a, nil
	}
	if a.Wipes != "" && !q.Settings.Wipe && len(ours) == 0 {
		a.State, a.Want = StateUnconfirmed, ""
		return a, nil
	}
	a.State, a.Held = StateSet, true
	undone := func(how string) {
		a.State = StateSetting
		if q.Found == a.Want && a.Undone == "" {
			a.Undone = how
		}
	}
	if step, err := s.step(tx, &a); step || err != nil {
		return a, err
	}
	var kept *ovsdb.Controller
	for _, c := range ours {
		if kept == nil && c.Target == a.Target && kind(c) == a.Type {
			kept = c
			continue
		}
		// Where the bridge dialled before. Of a row whose type is changed in place Open vSwitch does not notice that.
		a.State = StateSetting
		tx.RemoveController(q.Bridge, c)
	}
	switch {
	case kept == nil:
		const how = "others removed Weir from its controllers"
		undone(how)
		if q.Found != "" && len(ours) == 0 { // also where they changed with it what in-band control depends on, as emer-reset does
			a.Undone = how
		}
		tx.AddController(q.Bridge, row)
	case !is(kept, row):
		undone("others changed the row of table Controller that is Weir's")
		tx.WriteController(q.Bridge, kept, row)
	default:
		a.Connected = kept.IsConnected
	}
	switch value, _ := own.DisableInBand.Value(q.Bridge); {
	case a.InBand && held:
		a.State = StateSetting
		err = tx.Unset(own.DisableInBand, q.Bridge)
	case !a.InBand && value != "true":
		undone("others allowed in-band control again")
		err = tx.Set(own.DisableInBand, q.Bridge, "true")
	}
	return a, err
}

// failed is the answer for a bridge that is left as it is until somebody has put it right.
func failed(a Answer, why error) Answer {
	a.State, a.Why, a.Held = StateFailed, why.Error(), true
	return a
}

// row fills in what is wanted and returns the columns of the row, in place of those that there are.
func (a *Answer) row(q *Question, s *switchover, ours []*ovsdb.Controller) ovsdb.Values {
	scheme := "tcp:"
	if q.Settings.TLS {
		scheme = "ssl:"
	}
	a.Target = scheme + netip.AddrPortFrom(q.Settings.Reach.Addr().Unmap(), q.Settings.Reach.Port()).String()
	a.Type = s.kind
	others := slices.ContainsFunc(a.Foreign, Controller.decides)
	if !s.knowsService && !others {
		a.Wipes = "all flows, groups and meters of the bridge, those of others too: this Open vSwitch knows primary controllers only, and forgets them when the first one comes and when the last one goes"
	}
	// Without flows, as after a restart, a bridge that is secure or has primary controllers passes nothing. In-band control is then the only
	// way by which a host whose own addresses are at the bridge reaches Weir. Everywhere else it is a way past policy.
	secure := s.secure || s.goal == secureMode
	up, known := hostIsUp(q.Rows, q.Bridge)
	if !known { // as long as nobody knows whether it is, it is as it was
		up = slices.ContainsFunc(ours, func(c *ovsdb.Controller) bool { return c.ConnectionMode == inBand })
	}
	mode, silence := outOfBand, cmp.Or(q.Settings.Probe, DefaultProbe)
	if a.InBand = up && (secure || others || a.Type == primary); a.InBand {
		mode = inBand
		a.Exposed = exposed(q, a.Target)
		a.Why = "the host itself may reach Weir through this bridge, which passes nothing by itself after a restart: in-band control stays"
	}
	row := ovsdb.Values{
		"target": a.Target, "connection_mode": mode, "max_backoff": int64(maxBackoff), "inactivity_probe": silence.Milliseconds(),
		"controller_rate_limit": int64(rateLimit), "controller_burst_limit": int64(burstLimit),
	}
	if a.Type == service {
		row["type"] = service
	}
	a.Want = own.Describe(row)
	return row
}

// foreign describes controllers of others.
func foreign(rows []*ovsdb.Controller) []Controller {
	var list []Controller
	for _, c := range rows {
		list = append(list, Controller{c.Target, kind(c), c.IsConnected})
	}
	slices.SortFunc(list, func(a, b Controller) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), strings.Compare(a.Type, b.Type))
	})
	return list
}

func kind(c *ovsdb.Controller) string {
	if c.Type == service {
		return service
	}
	return primary
}

// decides says whether a bridge with c leaves its flows to controllers: one that the switch dials, and that is primary.
func (c Controller) decides() bool { return c.Type == primary && dialled(c.Target) }

// dialled says whether a switch dials a target, and does not listen there.
func dialled(target string) bool { return !strings.HasPrefix(target, "p") }

// is says whether a row of Weir's is as row says.
func is(c *ovsdb.Controller, row ovsdb.Values) bool {
	number := func(n *int64, want any) bool { return n != nil && any(*n) == want }
	return c.ConnectionMode == row["connection_mode"] && number(c.MaxBackoff, row["max_backoff"]) && number(c.InactivityProbe, row["inactivity_probe"]) &&
		number(c.RateLimit, row["controller_rate_limit"]) && number(c.BurstLimit, row["controller_burst_limit"]) && len(c.ExternalIDs) == 1 && len(c.OtherConfig) == 0
}

// hostIsUp says whether the host itself uses a port of the bridge: its own, that of a fake bridge, or another internal one. For a moment
// after a restart of its database server, a host does not say of any port whether it is up: known is false.
func hostIsUp(r *ovsdb.Rows, b *ovsdb.Bridge) (up, known bool) {
	known = true
	for _, id := range b.Ports {
		if p := r.Ports[id]; p != nil {
			for _, id := range p.Interfaces {
				if i := r.Interfaces[id]; i != nil && (i.Type == "internal" || i.Name == b.Name) {
					up = up || i.LinkState == "up"
					known = known && i.LinkState != ""
				}
			}
		}
	}
	return up, up || known
}

// exposed lists to whom in-band control lets packets pass.
func exposed(q *Question, own string) []string {
	var list []string
	add := func(target, mode string) {
		scheme, address, _ := strings.Cut(target, ":")
		if mode != outOfBand && (scheme == "tcp" || scheme == "ssl") && !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	add(own, "")
	for _, id := range q.Rows.Root.Managers {
		if m := q.Rows.Managers[id]; m != nil {
			add(m.Target, m.ConnectionMode)
		}
	}
	for _, id := range q.Bridge.Controllers {
		if c := q.Rows.Controllers[id]; c != nil {
			add(c.Target, c.ConnectionMode)
		}
	}
	slices.Sort(list)
	return list
}

// Detaching returns what is lost at a bridge when Weir's controllers are removed from it; empty: nothing.
func Detaching(r *ovsdb.Rows, b *ovsdb.Bridge) string {
	ours, others := own.Controllers(r, b)
	if slices.ContainsFunc(foreign(others), Controller.decides) {
		return ""
	}
	if back, changes := own.FailMode.GoesBack(b); changes && (back == secureMode) != (b.FailMode == secureMode) {
		return "all flows, groups and meters of the bridge, those of others too: Open vSwitch forgets them when the fail mode goes back to what it was before Weir"
	}
	if slices.ContainsFunc(ours, func(c *ovsdb.Controller) bool { return kind(c) == primary }) {
		return "all flows, groups and meters of the bridge, those of others too: Open vSwitch forgets them when the last primary controller goes"
	}
	return ""
}
