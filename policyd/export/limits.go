package export

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/shape"
)

// Limits are the rates of a bridge's VIFs.
type Limits struct {
	State State        `json:"state" enum:"off,set,setting,foreign,yielded,failed" doc:"Of all of them: the worst of those of ports."`
	Ports []shape.Port `json:"ports" doc:"By interface; those of which a rate is asked."`
	Since time.Time    `json:"since,omitzero" doc:"Of state."`
	Wiped uint64       `json:"wiped,omitempty" doc:"Times that others removed or changed something."`
}

// limit has the rates of VIFs set up in the host's database, or no more, and says whether something of Weir's is there afterwards.
func (d *deciding) limit() (keep bool, err error) {
	wanted := d.enforced[d.b.Name].Limits
	out := &Limits{State: StateOff, Ports: []shape.Port{}}
	var wants []string
	setting, undone := false, ""
	for _, port := range portsOf(d.rows, d.b) {
		i := d.rows.Interfaces[port.Interfaces[0]]
		if d.limited[port.UUID] || d.limited[i.UUID] { // a host that says that it is of two has mistaken itself
			continue
		}
		d.limited[port.UUID], d.limited[i.UUID] = true, true
		q := shape.Question{
			Rows: d.rows, Port: port, Interface: i, Limits: wanted[i.Name],
			Yielded: d.yielded(place{d.b.Name, limits}), Shared: d.shaped[port.QoS] > 1,
		}
		a, err := shape.Decide(d.tx, q)
		if err != nil {
			return false, err
		}
		if a.Out != nil || a.In != nil {
			out.Ports = append(out.Ports, a.Port)
		}
		if a.Keeps {
			d.queued[port.QoS] = true
		}
		if a.Want != "" {
			wants = append(wants, i.Name+" "+a.Want)
		}
		if undone == "" {
			undone = a.Undone
		}
		keep, setting = keep || a.Held, setting || a.Setting
	}
	if len(out.Ports) == 0 && !keep && !setting && d.found[what{d.b.UUID, limits}] == "" {
		return false, nil
	}
	slices.SortFunc(out.Ports, func(a, b shape.Port) int { return strings.Compare(a.Name, b.Name) })
	d.out.Limits = out
	if undone != "" {
		d.undo(limits, undone)
	}
	out.State = worst(out.Ports, setting)
	d.note(limits, out.State, strings.Join(wants, "\n"))
	return keep, nil
}

// unqueue removes rows of tables QoS and Queue of Weir's that no port of a VIF has any more, also from ports to which others gave them.
func (a *answer) unqueue(r *ovsdb.Rows) {
	for _, id := range slices.Sorted(maps.Keys(r.Ports)) {
		if p := r.Ports[id]; !a.limited[id] && own.QoSOf(r, p) == own.Ours {
			a.tx.Unshape(p)
		}
	}
	a.tx.RemoveQoS(a.queued)
}

// worst is the state of all.
func worst(ports []shape.Port, setting bool) State {
	has := map[shape.State]bool{}
	for _, p := range ports {
		for _, x := range []*shape.Direction{p.Out, p.In} {
			if x != nil {
				has[x.State] = true
			}
		}
	}
	switch {
	case has[shape.StateYielded]:
		return StateYielded
	case setting:
		return StateSetting
	case has[shape.StateFailed]:
		return StateFailed
	case has[shape.StateForeign]:
		return StateForeign
	case len(has) > 0:
		return StateSet
	}
	return StateOff
}

// portsOf returns the ports of a bridge that have one interface, by name of the interface: those of VIFs have.
func portsOf(r *ovsdb.Rows, b *ovsdb.Bridge) []*ovsdb.Port {
	var list []*ovsdb.Port
	for _, id := range b.Ports {
		if p := r.Ports[id]; p != nil && len(p.Interfaces) == 1 && r.Interfaces[p.Interfaces[0]] != nil {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *ovsdb.Port) int {
		return strings.Compare(r.Interfaces[a.Interfaces[0]].Name, r.Interfaces[b.Interfaces[0]].Name)
	})
	return list
}

const namedPorts = 5 // are named in an event

// summary says the rates in words.
func (l *Limits) summary() string {
	var list []string
	for i := range l.Ports {
		if i == namedPorts {
			list = append(list, fmt.Sprintf("and %d more", len(l.Ports)-i))
			break
		}
		list = append(list, l.Ports[i].String())
	}
	return "rates are limited: " + strings.Join(list, "; ")
}

// foreign says which limits of others are in the way of which ports; "": of none.
func (l *Limits) foreign() string {
	var list []string
	for i := range l.Ports {
		p := &l.Ports[i]
		for _, x := range []*shape.Direction{p.Out, p.In} {
			if x != nil && x.State == shape.StateForeign {
				list = append(list, p.Name+": "+x.Why)
			}
		}
	}
	if n := len(list); n > namedPorts {
		list = append(list[:namedPorts], fmt.Sprintf("and %d more", n-namedPorts))
	}
	return strings.Join(list, "; ")
}
