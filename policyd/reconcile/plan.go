package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

// plan is what makes a bridge hold what is wanted. Flows and groups are changed all at once or not at all. Switches take no meters along with them:
// those that are added are there before, and those that are changed or removed follow.
type plan struct {
	groups  []openflow.Mod // added and changed: before flows that use them
	add     []openflow.Flow
	replace []replacement
	remove  []openflow.Flow
	stale   []openflow.Flow // learned ones whose VIF is gone
	unused  []openflow.Mod  // groups that are removed: after flows that used them, since flows go with their groups

	metersAdded   []openflow.MeterSpec
	metersChanged []openflow.MeterSpec
	metersUnused  []uint32 // no flow uses them any more
}

// replacement is a flow that takes the place of one with the same key.
type replacement struct{ was, is openflow.Flow }

// size is how many changes there are.
func (p *plan) size() int {
	return len(p.groups) + len(p.add) + len(p.replace) + len(p.remove) + len(p.stale) + len(p.unused) + p.meters()
}

// meters is how many of them are changes of meters.
func (p *plan) meters() int { return len(p.metersAdded) + len(p.metersChanged) + len(p.metersUnused) }

// mods returns the changes in the order in which they are made. Flows are removed by their key, and only if they are ours at that
// moment. Counters of a flow that gets another cookie begin anew, since they are another rule's from then on.
func (p *plan) mods() []openflow.Mod {
	list := make([]openflow.Mod, 0, p.size())
	list = append(list, p.groups...)
	for _, f := range p.add {
		list = append(list, openflow.AddFlow{Flow: f})
	}
	for _, r := range p.replace {
		list = append(list, openflow.AddFlow{Flow: r.is, Reset: r.was.Cookie != r.is.Cookie})
	}
	for _, f := range slices.Concat(p.remove, p.stale) {
		list = append(list, openflow.DeleteFlow{Key: f.Key(), Cookie: compile.Owner, CookieMask: compile.OwnerMask})
	}
	return append(list, p.unused...)
}

// stepwise puts the plan in an order in which its changes can be made one by one, for switches that cannot make them at once: what packets
// meet last is there first, and table 0 leads there in the end, its most special flows before the others. Removed is the other way round.
func (p *plan) stepwise() {
	order := func(a, b openflow.Flow) int {
		return cmp.Or(cmp.Compare(b.Table, a.Table), cmp.Compare(b.Priority, a.Priority))
	}
	slices.SortFunc(p.add, order)
	slices.SortFunc(p.replace, func(a, b replacement) int { return order(a.is, b.is) })
	slices.SortFunc(p.remove, func(a, b openflow.Flow) int { return order(b, a) })
}

// ended returns the flows of ours whose counters end with the plan, or are another rule's from then on.
func (p *plan) ended() []openflow.Flow {
	list := slices.Clone(p.remove)
	for _, r := range p.replace {
		if r.was.Cookie != r.is.Cookie && owned(r.was.Cookie) {
			list = append(list, r.was)
		}
	}
	return list
}

// setGroups plans groups: what is wanted, given those that are there. A group that is there with another content is replaced if
// it is ours; else it is left alone, and its id is returned. Groups of ours that are not wanted are removed.
func (p *plan) setGroups(there, wanted map[uint32]openflow.Group, ours func(id uint32) bool) (foreign []uint32) {
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		is, exists := there[id]
		switch {
		case !exists:
			p.groups = append(p.groups, openflow.AddGroup{Group: wanted[id]})
		case is == wanted[id]:
		case ours(id):
			p.groups = append(p.groups, openflow.ModifyGroup{Group: wanted[id]})
		default:
			foreign = append(foreign, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if _, is := wanted[id]; !is && ours(id) {
			p.unused = append(p.unused, openflow.DeleteGroup{ID: id})
		}
	}
	return foreign
}

// setMeters is setGroups for meters.
func (p *plan) setMeters(there, wanted map[uint32]openflow.MeterSpec, ours func(id uint32) bool) (foreign []uint32) {
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		is, exists := there[id]
		switch {
		case !exists:
			p.metersAdded = append(p.metersAdded, wanted[id])
		case is == wanted[id]:
		case ours(id):
			p.metersChanged = append(p.metersChanged, wanted[id])
		default:
			foreign = append(foreign, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if _, is := wanted[id]; !is && ours(id) {
			p.metersUnused = append(p.metersUnused, id)
		}
	}
	return foreign
}

// difference is the plan that leads a bridge from what it is known to hold to something else.
func difference(from, to *compile.Desired) *plan {
	p := &plan{}
	before := map[openflow.FlowKey]openflow.Flow{} // flows of from that to has not, or has otherwise
	for _, f := range compile.Diff(to, from).Add {
		before[f.Key()] = f
	}
	for _, f := range compile.Diff(from, to).Add {
		if was, is := before[f.Key()]; is {
			p.replace = append(p.replace, replacement{was, f})
			delete(before, f.Key())
		} else {
			p.add = append(p.add, f)
		}
	}
	p.remove = slices.AppendSeq(p.remove, maps.Values(before))
	p.setGroups(from.Groups, to.Groups, func(uint32) bool { return true })
	p.setMeters(from.Meters, to.Meters, func(uint32) bool { return true })
	return p
}

// unplugs says whether the plan takes a port away.
func (p *plan) unplugs() bool {
	return slices.ContainsFunc(p.remove, func(f openflow.Flow) bool {
		_, is := classified(f)
		return is
	})
}

// classified returns the port whose packets a flow says whose they are.
func classified(f openflow.Flow) (port openflow.Port, is bool) {
	if f.Table != compile.TableClassify {
		return 0, false
	}
	t := f.Match.Term(openflow.FieldInPort)
	return openflow.Port(t.Value.Lo), t.Field == openflow.FieldInPort
}

// missed says what of the plan is not there, given the flows with the cookies of those that it changed; "": nothing.
func (p *plan) missed(seen map[openflow.FlowKey]openflow.Flow) string {
	for _, f := range p.add {
		if seen[f.Key()] != f {
			return "flow " + f.String()
		}
	}
	for _, r := range p.replace {
		if seen[r.is.Key()] != r.is {
			return "flow " + r.is.String()
		}
	}
	for _, f := range p.remove {
		if now, is := seen[f.Key()]; is && now == f {
			return "removal of flow " + f.String()
		}
	}
	return ""
}

// missedGroup says what of the plan's groups is not so; "": nothing.
func (p *plan) missedGroup(list []openflow.Group) string {
	there := map[uint32]openflow.Group{}
	for _, g := range list {
		there[g.ID] = g
	}
	for _, m := range slices.Concat(p.groups, p.unused) {
		right := false
		switch m := m.(type) {
		case openflow.AddGroup:
			right = there[m.Group.ID] == m.Group
		case openflow.ModifyGroup:
			right = there[m.Group.ID] == m.Group
		case openflow.DeleteGroup:
			_, is := there[m.ID]
			right = !is
		}
		if !right {
			return m.String()
		}
	}
	return ""
}

// missedMeter says what of the plan's meters is not so; "": nothing.
func (p *plan) missedMeter(list []openflow.MeterSpec) string {
	there := map[uint32]openflow.MeterSpec{}
	for _, m := range list {
		there[m.ID] = m
	}
	for _, m := range slices.Concat(p.metersAdded, p.metersChanged) {
		if there[m.ID] != m {
			return m.String()
		}
	}
	for _, id := range p.metersUnused {
		if m, is := there[id]; is {
			return "removal of " + m.String()
		}
	}
	return ""
}

// cookies are those of flows that the plan makes and removes.
func (p *plan) cookies() map[openflow.Cookie]bool {
	m := map[openflow.Cookie]bool{}
	for _, f := range p.add {
		m[f.Cookie] = true
	}
	for _, r := range p.replace {
		m[r.is.Cookie] = true
	}
	for _, f := range p.remove {
		m[f.Cookie] = true
	}
	return m
}

// driftNamed is how many flows of a kind of change are named.
const driftNamed = 3

// drift says in words what others did, given that the plan undoes it.
func (p *plan) drift(name func(openflow.Flow) string) string {
	var parts []string
	say := func(n int, one, many string, name func(i int) string) {
		if n == 0 {
			return
		}
		what := fmt.Sprintf("%d %s", n, many)
		if n == 1 {
			what = "1 " + one
		}
		var names []string
		for i := range min(n, driftNamed) {
			names = append(names, name(i))
		}
		if n > driftNamed {
			names = append(names, "…")
		}
		parts = append(parts, what+" ("+strings.Join(names, "; ")+")")
	}
	say(len(p.add), "flow was missing", "flows were missing", func(i int) string { return name(p.add[i]) })
	say(len(p.replace), "flow was changed", "flows were changed", func(i int) string { return name(p.replace[i].is) })
	say(len(p.remove), "flow had been added", "flows had been added", func(i int) string { return name(p.remove[i]) })
	say(len(p.groups), "group was missing or changed", "groups were missing or changed", func(i int) string { return short(p.groups[i].String()) })
	say(len(p.unused), "group had been added", "groups had been added", func(i int) string { return short(p.unused[i].String()) })
	say(len(p.metersAdded)+len(p.metersChanged), "meter was missing or changed", "meters were missing or changed", func(i int) string {
		return slices.Concat(p.metersAdded, p.metersChanged)[i].String()
	})
	say(len(p.metersUnused), "meter had been added", "meters had been added", func(i int) string { return fmt.Sprintf("meter=%d", p.metersUnused[i]) })
	return strings.Join(parts, ", ")
}
