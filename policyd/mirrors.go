package policyd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/policy"
)

// mirrorsOf returns what copies the policy asks of a bridge.
func mirrorsOf(in *compile.Input) (o mirror.Order) {
	var marked []uint16
	if p := in.Policy.Pools[in.Pool]; p != nil {
		marked = p.MirrorVLANs
	}
	for i, vif := range in.Interfaces() {
		if vif == nil {
			continue
		}
		said := in.Policy.SettingsOf(vif)
		to, known := in.Policy.MirrorTargets[said.Mirror.Target]
		if said.Mirror.Off || !known {
			continue
		}
		c := mirror.Copy{
			VIF: cmp.Or(vif.Name, in.Inventory.VIFs[i].VM.Name), To: to, In: said.Mirror.Direction != policy.MirrorOut, Out: said.Mirror.Direction != policy.MirrorIn,
		}
		a := cmp.Or(to.GRE, to.ERSPAN)
		c.Sink = a.IsValid() && slices.Contains(vif.Addrs, a.Unmap()) || to.VLAN != 0 && in.Inventory.VIFs[i].VLAN == to.VLAN
		if to.VLAN != 0 && !slices.Contains(marked, to.VLAN) {
			c.Why = fmt.Sprintf("VLAN %d is not among the mirror_vlans of the pool", to.VLAN)
		}
		for _, n := range in.Inventory.VIFs[i].Ports {
			if p := &in.Inventory.Ports[n]; p.Bridge == in.Bridge {
				c.Ports = append(c.Ports, p.UUID)
			}
		}
		o.Copies = append(o.Copies, c)
	}
	if len(o.Copies) == 0 {
		return mirror.Order{}
	}
	slices.SortStableFunc(o.Copies, func(a, b mirror.Copy) int { return strings.Compare(a.VIF, b.VIF) })
	for i := range in.Inventory.Ports {
		p := &in.Inventory.Ports[i]
		if p.Bridge != in.Bridge {
			continue
		}
		list := (*[]ovsdb.UUID)(nil)
		switch p.Kind {
		case hosts.KindUplink, hosts.KindPatch, hosts.KindTunnel:
			list = &o.Network
		case hosts.KindVIF, hosts.KindUnknown:
			list = &o.Guests
		case hosts.KindLocal, hosts.KindInternal, hosts.KindMirror:
			continue
		}
		if !slices.Contains(*list, p.UUID) { // of a bond it is the same
			*list = append(*list, p.UUID)
		}
	}
	return o
}

// copyChanges returns what is copied after a change of orders that is not before, and the other way round, in words.
func copyChanges(before, after mirror.Order) (start, stop []string) {
	words := func(o mirror.Order) (list []string) {
		for i := range o.Copies {
			c := &o.Copies[i]
			what := c.VIF
			switch {
			case c.Sink:
				continue
			case !c.In:
				what += " out"
			case !c.Out:
				what += " in"
			}
			if what += " to " + c.To.String(); c.Why != "" {
				what += ", which cannot be: " + c.Why
			}
			list = append(list, what)
		}
		return list
	}
	old, now := words(before), words(after)
	missing := func(from, in []string) []string {
		return slices.DeleteFunc(slices.Clone(from), func(x string) bool { return slices.Contains(in, x) })
	}
	return missing(now, old), missing(old, now)
}
