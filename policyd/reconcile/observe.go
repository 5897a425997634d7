package reconcile

import (
	"fmt"
	"strings"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

const (
	foreignNamed = 8   // flows and groups of others are named
	textMost     = 300 // octets that are said of one flow or group

	// A switch may say that it holds whatever it likes: what is to be removed is done in portions.
	removeMost = 100_000
)

// short cuts text that comes from a switch.
func short(text string) string {
	if len(text) > textMost {
		return strings.ToValidUTF8(text[:textMost], "") + "…"
	}
	return text
}

// owned says whether a flow with that cookie is ours.
func owned(c openflow.Cookie) bool { return c&compile.OwnerMask == compile.Owner }

// passing says whether a flow of ours is one that the switch made itself by others of ours, which comes and goes, and of which port it
// is; 0: of none that can go.
func passing(c openflow.Cookie) (port openflow.Port, is bool) {
	_, kind, instance, ours := compile.SplitCookie(c)
	return openflow.Port(instance), ours && kind.Transient()
}

// observation is what a bridge was found to hold, compared flow by flow with what it is to hold: flows are given to see, in any order,
// then groups to finish.
type observation struct {
	plan plan // what makes the bridge hold what is wanted

	want   *compile.Desired
	absent map[openflow.FlowKey]openflow.Flow // wanted, and not seen
	floors [1 << 8]floor                      // by table
	ports  map[openflow.Port]bool             // whose packets are classified
	used   map[uint32]bool                    // groups that flows of ours use
	lent   map[uint32]bool                    // meters that flows of others use

	ours      int // flows of ours that were seen, without learned ones
	learned   int
	groups    int      // of ours that were seen
	meters    int      // of ours that were seen
	foreign   []string // flows and groups of others that bypass policy or stand in its way, the first few
	bypasses  int      // all of them
	others    int      // flows of others, without what Open vSwitch has where there is no controller
	inPlace   []string // flows of others that have the place of one of ours, the first few
	displaced int      // all of them
}

// floor is from which priority on a flow of others could win against ours in a table.
type floor struct {
	ours     bool   // we have flows there
	priority uint16 // of the one of ours that matches everything; 0 if none does
}

// observe begins an observation of a bridge that is to hold want.
func observe(want *compile.Desired) *observation {
	o := &observation{
		want: want, absent: make(map[openflow.FlowKey]openflow.Flow, want.Len()), ports: map[openflow.Port]bool{}, used: map[uint32]bool{}, lent: map[uint32]bool{},
	}
	for f := range want.Each() {
		o.absent[f.Key()] = f
		at := &o.floors[f.Table]
		at.ours = true
		if f.Match == "" {
			at.priority = max(at.priority, f.Priority)
		}
		if port, is := classified(f); is {
			o.ports[port] = true
		}
	}
	return o
}

// see takes a flow that is there.
func (o *observation) see(f openflow.Flow) {
	want, wanted := o.absent[f.Key()]
	if wanted {
		delete(o.absent, f.Key())
	}
	port, passes := passing(f.Cookie)
	switch {
	case !owned(f.Cookie):
		if f != normal {
			o.others++
		}
		if id, is := meterIn(f.Actions); is {
			o.lent[id] = true
		}
		if wanted { // it has the place of ours
			if o.displaced++; len(o.inPlace) < foreignNamed {
				o.inPlace = append(o.inPlace, short(f.String()))
			}
			o.plan.replace = append(o.plan.replace, replacement{f, want})
		} else if at := o.floors[f.Table]; at.ours && f.Priority >= at.priority {
			o.stranger("flow " + f.String())
		}
		return
	case passes && !wanted:
		o.learned++
		if port != 0 && !o.ports[port] && len(o.plan.stale) < removeMost {
			o.plan.stale = append(o.plan.stale, f)
		}
		return
	}
	o.ours++
	for id := range groupsIn(f.Actions) {
		o.used[id] = true
	}
	switch {
	case !wanted && len(o.plan.remove) < removeMost:
		o.plan.remove = append(o.plan.remove, f)
	case !wanted:
	case want != f:
		o.plan.replace = append(o.plan.replace, replacement{f, want})
	}
}

func (o *observation) stranger(what string) {
	if o.bypasses++; len(o.foreign) < foreignNamed {
		o.foreign = append(o.foreign, short(what))
	}
}

// finish takes the groups and meters that are there, after the flows; before are the groups that were ours when the bridge was last known. A group
// is ours if its id is one of ours and a flow of ours uses it, or it was ours before; a meter if its id is one of ours and no flow of others uses it. An error says that the plan cannot be carried
// out, since somebody else's group or meter has the id of one that is wanted.
func (o *observation) finish(there []openflow.Group, meters []openflow.MeterSpec, before map[uint32]openflow.Group) error {
	for _, f := range o.absent {
		o.plan.add = append(o.plan.add, f)
	}
	byID := make(map[uint32]openflow.Group, len(there))
	for _, g := range there {
		byID[g.ID] = g
	}
	ours := func(id uint32) bool {
		if id < compile.GroupFirst || id > compile.GroupLast {
			return false
		}
		_, was := before[id]
		return was || o.used[id]
	}
	foreign := o.plan.setGroups(byID, o.want.Groups, ours)
	for id, g := range byID {
		if ours(id) || g == o.want.Groups[id] {
			o.groups++
		}
	}
	if err := o.metered(meters); err != nil {
		return err
	}
	if len(foreign) == 0 {
		return nil
	}
	for _, id := range foreign {
		o.stranger("group " + byID[id].String())
	}
	return &refusedError{fmt.Errorf("install groups: found group %d, which is wanted otherwise and is not Weir's: remove it (ovs-ofctl -OOpenFlow13 del-groups BRIDGE group_id=%d)", foreign[0], foreign[0])}
}

// normal is what a bridge holds that has no controller, and nothing else.
var normal = openflow.Flow{Actions: openflow.NewActions(openflow.Normal())}

// metered takes the meters that are there.
func (o *observation) metered(there []openflow.MeterSpec) error {
	byID := make(map[uint32]openflow.MeterSpec, len(there))
	for _, m := range there {
		byID[m.ID] = m
		if ourMeter(m.ID, o.lent) {
			o.meters++
		}
	}
	foreign := o.plan.setMeters(byID, o.want.Meters, func(id uint32) bool { return ourMeter(id, o.lent) })
	for _, id := range foreign {
		o.stranger(byID[id].String())
	}
	if len(foreign) == 0 {
		return nil
	}
	return &refusedError{fmt.Errorf("install meters: found meter %d, which is wanted otherwise and flows of others use: remove them and it (ovs-ofctl -OOpenFlow13 del-meter BRIDGE meter=%d)", foreign[0], foreign[0])}
}

// ourMeter says whether a meter is ours, given those that flows of others use. That ours use it is not asked: they come after it and go before it.
func ourMeter(id uint32, lent map[uint32]bool) bool {
	return id >= compile.MeterFirst && id <= compile.MeterLast && !lent[id]
}

// meterIn returns the meter that packets of a flow go through.
func meterIn(a openflow.Actions) (id uint32, is bool) {
	const meter = "\x00\x06\x00\x08" // OFPIT_METER, and its length
	if !strings.Contains(string(a), meter) {
		return 0, false
	}
	for _, action := range a.List() {
		if m, is := action.(openflow.Meter); is {
			return m.ID, true
		}
	}
	return 0, false
}

// groupsIn yields the groups that actions use.
func groupsIn(a openflow.Actions) func(yield func(uint32) bool) {
	const group = "\x00\x16\x00\x08" // OFPAT_GROUP, and its length
	return func(yield func(uint32) bool) {
		if !strings.Contains(string(a), group) {
			return
		}
		for _, action := range a.List() {
			if g, is := action.(openflow.ToGroup); is && !yield(g.ID) {
				return
			}
		}
	}
}
