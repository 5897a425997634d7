package policyd

import (
	"fmt"
	"slices"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
)

// failMode says what a bridge that enforces policy is to do while Weir is away, and why not yet; g.mu is held.
func (g *governor) failMode(s *subject, bridge string, c *compiled, st *reconcile.BridgeStatus) attach.FailMode {
	r := g.resolved[c.revision]
	if r == nil || r.set == nil {
		return attach.FailMode{}
	}
	f := attach.FailMode{Wanted: r.set.FailModeOf(s.poolID)}
	if f.Wanted != "" {
		f.Unready, f.Others = unready(s.seen, bridge, c, st), st.Others
	}
	return f
}

// unready says why a bridge may not be made to pass only what Weir's flows say; "": they were all found there, and with them the host
// reaches Weir, and is reached.
func unready(inv *hosts.Inventory, bridge string, c *compiled, st *reconcile.BridgeStatus) string {
	switch {
	case st.Connected.IsZero():
		return "the bridge does not dial Weir at present"
	case st.State != reconcile.StateInstalled || !st.Has(c.number):
		return "not all of Weir's flows were found at the bridge yet"
	case st.Stepwise:
		return "this Open vSwitch (before 2.6) writes flows one by one: it would be without some of them for too long"
	}
	for i := range inv.Ports {
		p := &inv.Ports[i]
		if own := p.Kind == hosts.KindLocal || p.Kind == hosts.KindInternal; !own || p.Bridge != bridge || !p.LinkUp {
			continue
		}
		switch {
		case p.OFPort == 0:
			return fmt.Sprintf("the host's own port %q has no OpenFlow number, so that there is no flow for it", p.Name)
		case p.MAC == 0:
			return fmt.Sprintf("the MAC address of the host's own port %q is not known, so that there is no flow for what is sent to it", p.Name)
		}
	}
	return ""
}

// leavesFirst says whether a bridge that is left is still to get back what it did before Weir when Weir is away. That comes first: without flows,
// a bridge that is secure passes nothing, not even what the host sends.
func (s *subject) leavesFirst(bridge string) bool {
	for _, b := range own.Bridges(s.seenRows) {
		if b.Name != bridge {
			continue
		}
		held, _, err := own.FailMode.Held(b)
		return held && err == nil
	}
	return false
}

// FailModeOf returns what policy says of the bridges of a pool: what they are to do while Weir is away; "" if it says nothing. A pool is known by
// its key, or what else it is the same as. known is false while nothing is known of what policy says.
func (s *Service) FailModeOf(pool string) (mode policy.FailMode, known bool) {
	g := s.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policies == nil || g.world.model == nil {
		return "", false
	}
	r := g.resolved[g.policies.Revision]
	if r == nil || r.set == nil {
		return "", g.policies.Revision == 0
	}
	for i := range g.world.model.Pools {
		p := &g.world.model.Pools[i]
		if p.Key == pool || p.UUID == pool || slices.Contains(p.SameAs, pool) {
			return r.set.FailModeOf(g.world.pools[p.Name]), true
		}
	}
	return "", false
}
