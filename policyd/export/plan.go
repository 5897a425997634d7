package export

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/own"
)

// State is how the export of a bridge stands.
type State string

// The values of State.
const (
	StateOff     State = "off"     // nothing is wanted, nothing is there
	StateSet     State = "set"     // as it is to be
	StateSetting State = "setting" // being changed
	StateForeign State = "foreign" // others export; it is left alone
	StateYielded State = "yielded" // somebody undoes it again and again: Weir waits before it tries again
	StateFailed  State = "failed"  // what was there before cannot be read any more: it is left as it is until somebody says so
)

// Bridge is the export of one bridge.
type Bridge struct {
	Name         string    `json:"name"`
	State        State     `json:"state"`
	Protocol     Protocol  `json:"protocol"`                 // ipfix, netflow or off: what is set, or would be
	Why          string    `json:"why"`                      // why this protocol, or why nothing is set
	Domain       uint16    `json:"domain,omitempty"`         // observation domain; of NetFlow 5 engine type × 256 + engine id
	VirtualObsID string    `json:"virtual_obs_id,omitempty"` // of IPFIX
	Sampling     uint32    `json:"sampling,omitempty"`       // of IPFIX: one packet in so many
	Targets      []string  `json:"targets,omitempty"`
	Since        time.Time `json:"since,omitzero"` // of State
	Wiped        uint64    `json:"wiped,omitempty"`

	Rules      *Rules         `json:"rules,omitempty"`      // of what its flows sample; nil: it does not enforce policy, nor did it
	Controller *attach.Bridge `json:"controller,omitempty"` // how it is attached; nil: it is not to be, nor was it
	Limits     *Limits        `json:"limits,omitempty"`     // rates of its VIFs; nil: none are asked, nor were they
	Away       attach.Away    `json:"away"`                 // what it does while Weir is away

	Mirrors []mirror.Mirror `json:"mirrors,omitempty"` // copies of traffic, by target
}

// Ours says whether something of Weir's is, or may be, at the bridge in the host's database.
func (b *Bridge) Ours() bool {
	copies := func(m mirror.Mirror) bool { return m.State != mirror.StateWaiting && m.State != mirror.StateLeftOut }
	there := func(s State) bool { return s != StateOff && s != StateForeign }
	return there(b.State) || b.Rules != nil && there(b.Rules.State) || b.Controller != nil && b.Controller.State != attach.StateOff && b.Controller.State != attach.StateUnconfirmed ||
		b.Limits != nil && there(b.Limits.State) || slices.ContainsFunc(b.Mirrors, copies)
}

// Rules is the export of what the flows of a bridge sample.
type Rules struct {
	State        State     `json:"state"`
	Why          string    `json:"why,omitempty"` // why nothing is set, or why it is not the totals
	Totals       bool      `json:"totals"`        // it is the source of totals: the bridge exports nothing by itself
	Domain       uint32    `json:"domain"`        // observation domain
	VirtualObsID string    `json:"virtual_obs_id"`
	Targets      []string  `json:"targets,omitempty"`
	Since        time.Time `json:"since,omitzero"` // of State
	Wiped        uint64    `json:"wiped,omitempty"`
}

// Plan is what Weir would change at a host, for people.
type Plan struct {
	Bridges []Bridge     `json:"bridges"`
	Changes []own.Change `json:"changes"`
	Wipes   []Wipe       `json:"wipes,omitempty"`
}

// Wipe is what is lost at a bridge by a plan.
type Wipe struct {
	Bridge string `json:"bridge"`
	What   string `json:"what"`
}

// most bridges of a host; numbers are given to each.
const maxBridges = 4096

// question is all that decide looks at.
type question struct {
	instance string
	host     *Identity
	settings *Settings
	rows     *ovsdb.Rows
	has      func(table, column string) bool // whether the host's schema does

	enforced   map[string]Enforced // by bridge
	controller attach.Settings

	read    map[ovsdb.UUID]*own.Saved // rows of others that were read whole
	found   map[what]string           // what was there when it last was as wanted
	yielded func(place) bool          // it is left as it is for now
	renew   func(domain uint32) bool  // its templates are wanted
	again   func(bridge string) bool  // tunnels that could not be made are made anew
}

// part is one of the things that Weir sets up at a bridge.
type part uint8

const (
	ownExport part = iota // by which the bridge itself exports
	rulesExport
	controller
	limits
	mirrors
	parts
)

// what is a part of a bridge, and place the same by the bridge's name.
type (
	what struct {
		bridge ovsdb.UUID
		part   part
	}
	place struct {
		bridge string
		part   part
	}
)

// answer is what decide says.
type answer struct {
	bridges []Bridge // by name
	looks   []look
	tx      *own.Transaction
	read    []reference // rows of others that have to be read first; then ask again
	undone  []undone
	queued  map[ovsdb.UUID]bool // rows of table QoS of Weir's that stay
	limited map[ovsdb.UUID]bool // ports and interfaces that were looked at for that
	renewed []place             // those whose IPFIX is made anew for its templates
	forgets []string            // bridges whose flows the switch forgets, once tx was carried out
	again   []string            // bridges at which tunnels that could not be made are made anew
}

// look is how one thing stands.
type look struct {
	id what
	place
	state State
	want  string // what is to be there, comparable; "" nothing

	forget bool // what was found before goes for something else
}

type reference struct {
	table string
	id    ovsdb.UUID
}

// undone is what others did to something that Weir had set up.
type undone struct {
	id what
	place
	how string
}

// decide compares a host with what it is to be. It is pure.
func decide(q *question) (*answer, error) {
	tx, err := own.Begin(q.rows, q.instance)
	if err != nil {
		return nil, err
	}
	bridges := own.Bridges(q.rows)
	if len(bridges) > maxBridges {
		return nil, fmt.Errorf("found %d bridges, want at most %d", len(bridges), maxBridges)
	}
	a := &answer{tx: tx, queued: map[ovsdb.UUID]bool{}, limited: map[ovsdb.UUID]bool{}}
	numbers := domains(q.host, q.rows)
	uses := map[ovsdb.UUID]int{}
	for _, b := range bridges {
		for _, c := range own.Columns {
			uses[c.Ref(b)]++
		}
	}
	shaped := map[ovsdb.UUID]int{} // ports that refer to a row of table QoS
	for _, p := range q.rows.Ports {
		shaped[p.QoS]++
	}
	keep := false // something of Weir's is at the host afterwards
	for _, b := range bridges {
		d := &deciding{question: q, answer: a, b: b, out: Bridge{Name: b.Name}, number: numbers[b.UUID], uses: uses, shaped: shaped}
		held, err := d.decide()
		if err != nil {
			return nil, err
		}
		keep = keep || held
	}
	a.orphans(q.rows, bridges)
	a.unqueue(q.rows)
	if keep {
		tx.Claim()
	} else {
		tx.Disclaim()
	}
	return a, nil
}

// deciding is one bridge.
type deciding struct {
	*question
	*answer
	b      *ovsdb.Bridge
	out    Bridge
	number uint16
	uses   map[ovsdb.UUID]int         // columns that refer to a row
	shaped map[ovsdb.UUID]int         // ports that refer to a row of table QoS
	was    map[*own.Column]*own.Saved // what columns held before Weir, if Weir has them
}

// goal is what is to become of a column.
type goal struct {
	free bool         // it is not for Weir: what Weir set is given back
	row  ovsdb.Values // nil: it is to be empty
	was  *own.Saved   // what it held before Weir, if Weir has it
}

// decide appends the bridge to the answer and says whether something of Weir's is there afterwards.
func (d *deciding) decide() (keep bool, err error) {
	defer func() { d.bridges = append(d.bridges, d.out) }()
	attached, err := d.attach()
	if err != nil {
		return false, err
	}
	limited, err := d.limit()
	if err != nil {
		return false, err
	}
	attached = attached || limited
	copies, err := d.mirror()
	if err != nil {
		return false, err
	}
	attached = attached || copies
	d.was = map[*own.Column]*own.Saved{}
	for _, col := range own.Columns {
		var unreadable error
		if d.was[col], unreadable = col.Was(d.b); unreadable != nil {
			d.out.State, d.out.Why = StateFailed, unreadable.Error()
			d.note(ownExport, StateFailed, "")
			return true, nil
		}
	}
	ruled := d.rules()
	exported, err := d.export()
	return attached || ruled || exported, err
}

// note says how a part stands, and what is to be there.
func (d *deciding) note(p part, s State, want string) {
	d.looks = append(d.looks, look{id: what{d.b.UUID, p}, place: place{d.b.Name, p}, state: s, want: want})
}

// undo says that others undid a part.
func (d *deciding) undo(p part, how string) {
	d.undone = append(d.undone, undone{what{d.b.UUID, p}, place{d.b.Name, p}, how})
}

// attach has the bridge dial Weir, or no more.
func (d *deciding) attach() (keep bool, err error) {
	e, wanted := d.enforced[d.b.Name]
	e.FailMode.Leaving = e.Flows == FlowsLeaving
	at := what{d.b.UUID, controller}
	a, err := attach.Decide(d.tx, attach.Question{
		Settings: d.controller, Rows: d.rows, Has: d.has, Bridge: d.b, Wanted: wanted,
		Yielded: d.yielded(place{d.b.Name, controller}), Found: d.found[at], FailMode: e.FailMode,
	})
	d.out.Away = a.Away
	if err != nil || !wanted && !a.Held && d.found[at] == "" {
		return a.Held, err
	}
	d.out.Controller = &a.Bridge
	if a.Undone != "" {
		d.undo(controller, a.Undone)
	}
	d.note(controller, State(a.State), a.Want)
	d.looks[len(d.looks)-1].forget = a.Forget
	if a.Wiped {
		d.forgets = append(d.forgets, d.b.Name)
	}
	return a.Held, nil
}

// mirror has the bridge send copies of traffic, or no more.
func (d *deciding) mirror() (keep bool, err error) {
	at, here := what{d.b.UUID, mirrors}, place{d.b.Name, mirrors}
	a, err := mirror.Decide(d.tx, mirror.Question{
		Order: d.enforced[d.b.Name].Mirrors, Rows: d.rows, Bridge: d.b, Yielded: d.yielded(here), Again: d.question.again(d.b.Name), Found: d.found[at],
	})
	if err != nil || len(a.Mirrors) == 0 && !a.Changes && d.found[at] == "" {
		return a.Held, err
	}
	d.out.Mirrors = a.Mirrors
	if a.Undone != "" {
		d.undo(mirrors, a.Undone)
	}
	if a.Again {
		d.answer.again = append(d.answer.again, d.b.Name)
	}
	state := StateSet
	switch {
	case a.Failed:
		state = StateFailed
	case a.Changes:
		state = StateSetting
	case d.yielded(here):
		state = StateYielded
	case a.Want == "":
		state = StateOff
	}
	d.note(mirrors, state, a.Want)
	return a.Held, nil
}

// export has the bridge itself export, unless what its flows sample is the totals.
func (d *deciding) export() (keep bool, err error) {
	want, values := "", ovsdb.Values(nil)
	c := choose(d.settings, d.b, d.has)
	if d.out.Rules != nil && d.out.Rules.Totals {
		c = choice{Off, 0, "its flows tell of every packet"}
	}
	d.out.Protocol, d.out.Sampling, d.out.Why = c.protocol, c.sampling, c.why
	main, other := own.IPFIX, own.NetFlow
	switch c.protocol {
	case IPFIX:
		d.out.Domain, d.out.VirtualObsID = d.number, d.host.virtualObsID(d.b.Name)
		values = ipfix(d.settings, c, d.out.VirtualObsID, d.number, d.has)
	case NetFlow:
		main, other = own.NetFlow, own.IPFIX
		d.out.Domain = d.number
		values = netFlow(d.settings, d.number)
	default:
	}
	if values != nil {
		d.out.Targets = d.settings.targets()
		want = own.Describe(values)
	}
	defer func() { d.note(ownExport, d.out.State, want) }()

	if values != nil && d.yielded(place{d.b.Name, ownExport}) {
		d.out.State = StateYielded
		return d.holds(), nil
	}
	d.out.State = StateOff
	goals := map[*own.Column]goal{main: {free: true}, other: {free: true}}
	switch {
	case values != nil:
		d.out.State = StateSet
		goals[main] = goal{row: values}
		if d.doubles(other) {
			goals[other] = goal{}
		}
		foreign := d.foreign(goals)
		if d.settings.TakeOver {
			foreign = ""
		}
		if d.samples() {
			foreign = "flows of the bridge's OpenFlow table are sampled for Weir already, by a row of table Flow_Sample_Collector_Set that is not Weir's: it is left alone"
		}
		if foreign != "" {
			d.out.State, d.out.Why = StateForeign, foreign
			want = ""
			goals[main], goals[other] = goal{free: true}, goal{free: true}
		}
	case d.out.Rules != nil && d.out.Rules.Totals: // what others have sent to Weir, and was taken over, does not come back
		for _, col := range own.Columns {
			if d.doubles(col) {
				goals[col] = goal{}
			}
		}
	}
	for _, col := range own.Columns {
		g := goals[col]
		g.was = d.was[col]
		if err := d.column(col, g, want); err != nil {
			return false, err
		}
		keep = keep || !g.free
	}
	return keep, nil
}

// holds says whether something of Weir's is at the bridge.
func (d *deciding) holds() bool {
	return slices.ContainsFunc(own.Columns, func(c *own.Column) bool { return c.Held(d.b) || c.State(d.rows, d.b) == own.Ours })
}

// doubles says whether c, by which Weir does not export, and which was so before, sends or sent flows to Weir for others: each packet
// would be counted twice.
func (d *deciding) doubles(c *own.Column) bool {
	var targets []string
	switch c.State(d.rows, d.b) {
	case own.Empty:
	case own.Foreign:
		targets = targetsOf(d.rows, c, d.b)
	case own.Ours, own.Emptied:
		if was := d.was[c]; was != nil {
			targets = was.Strings("targets")
		}
	}
	return slices.Contains(targets, target(d.settings.Collector))
}

func targetsOf(r *ovsdb.Rows, c *own.Column, b *ovsdb.Bridge) []string {
	if c == own.IPFIX {
		if row := r.IPFIXs[b.IPFIX]; row != nil {
			return row.Targets
		}
	} else if row := r.NetFlows[b.NetFlow]; row != nil {
		return row.Targets
	}
	return nil
}

// foreign says what of others is where Weir wants something, "" if nothing is.
func (d *deciding) foreign(goals map[*own.Column]goal) string {
	for _, c := range own.Columns {
		if goals[c].free || c.State(d.rows, d.b) != own.Foreign {
			continue
		}
		to := targetsOf(d.rows, c, d.b)
		if slices.Contains(to, target(d.settings.Collector)) {
			return fmt.Sprintf("a row of table %s that is not Weir's sends to Weir already: it is left alone, unless it is to be taken over (weir hosts export --take-over)", c.Table)
		}
		return fmt.Sprintf("a row of table %s that is not Weir's exports to %q: it is left alone, unless it is to be taken over (weir hosts export --take-over)", c.Table, to)
	}
	return ""
}

// samples says whether others have packets sampled by OpenFlow flows and sent to Weir.
func (d *deciding) samples() bool {
	for _, s := range d.rows.SampleSets {
		row := d.rows.IPFIXs[s.IPFIX]
		if s.Bridge == d.b.UUID && row != nil && !own.Made(s.ExternalIDs, d.instance) && slices.Contains(row.Targets, target(d.settings.Collector)) {
			return true
		}
	}
	return false
}

// column brings one column to its goal.
func (d *deciding) column(c *own.Column, g goal, want string) error {
	state := c.State(d.rows, d.b)
	held := c.Held(d.b)
	if g.free {
		switch state {
		case own.Ours, own.Emptied:
			return d.tx.Restore(c, d.b)
		case own.Empty, own.Foreign:
			if held {
				d.tx.Forget(c, d.b)
			}
		}
		return nil
	}
	if g.row == nil {
		switch state {
		case own.Empty, own.Emptied:
			if state == own.Empty && held {
				d.tx.Forget(c, d.b)
			}
			return nil
		case own.Ours:
			d.out.State = StateSetting
			return d.tx.Empty(c, d.b, g.was)
		case own.Foreign:
			if held {
				d.undo(ownExport, "others export to Weir by the other protocol again")
			}
			return d.take(c, func(was *own.Saved) error { return d.tx.Empty(c, d.b, was) })
		}
	}
	switch state {
	case own.Empty:
		if held || d.found[what{d.b.UUID, ownExport}] == want {
			d.undo(ownExport, "others removed it")
		}
		d.out.State = StateSetting
		return d.tx.Put(c, d.b, g.row, nil) // what others want there is nothing
	case own.Emptied:
		d.out.State = StateSetting
		return d.tx.Put(c, d.b, g.row, g.was)
	case own.Foreign:
		if held || d.found[what{d.b.UUID, ownExport}] == want {
			d.undo(ownExport, "others put a row of theirs in its place")
		}
		return d.take(c, func(was *own.Saved) error { return d.tx.Put(c, d.b, g.row, was) })
	case own.Ours:
	}
	if d.uses[c.Ref(d.b)] > 1 { // others have another bridge refer to it
		d.out.State = StateSetting
		return d.tx.Put(c, d.b, g.row, g.was)
	}
	awaited, seen := c.Awaited(d.rows, d.b)
	switch {
	case awaited && !seen:
		d.out.State = StateSetting
		d.out.Why += "; waiting for ovs-vswitchd"
		return nil
	case awaited:
		d.out.State = StateSetting
		d.tx.Write(c, d.b, g.row, false)
		return nil
	case !d.is(c, g.row):
		if d.found[what{d.b.UUID, ownExport}] == want {
			d.undo(ownExport, "others changed it")
		}
	case c == own.IPFIX && d.renew(uint32(d.number)):
		d.renewed = append(d.renewed, place{d.b.Name, ownExport})
	default:
		return nil
	}
	d.out.State = StateSetting
	if c == own.IPFIX {
		// Open vSwitch sends templates to an export only that it did not have, and to further targets not at all: so it has none for
		// a moment. The rest of the row stays meanwhile, and says whose flows those are that the bridge still had.
		d.tx.Write(c, d.b, ovsdb.Values{"targets": []string{}}, true)
		return nil
	}
	d.tx.Write(c, d.b, g.row, false)
	return nil
}

// is says whether a row of Weir's is as it is to be.
func (d *deciding) is(c *own.Column, want ovsdb.Values) bool {
	if c == own.IPFIX {
		return isIPFIX(d.rows.IPFIXs[d.b.IPFIX], want, d.instance)
	}
	return isNetFlow(d.rows.NetFlows[d.b.NetFlow], want, d.instance)
}

// take replaces a row of others, once it has been read whole.
func (d *deciding) take(c *own.Column, f func(was *own.Saved) error) error {
	d.out.State = StateSetting
	was := d.question.read[c.Ref(d.b)]
	if was == nil {
		if row := (reference{c.Table, c.Ref(d.b)}); !slices.Contains(d.answer.read, row) {
			d.answer.read = append(d.answer.read, row)
		}
		return nil
	}
	return f(was)
}

// release undoes everything of Weir's at a host. It is pure.
func release(instance string, r *ovsdb.Rows) (*own.Transaction, error) {
	tx, err := own.Begin(r, instance)
	if err != nil {
		return nil, err
	}
	return tx, tx.Release()
}
