package policyd

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
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
	if vif := g.itself(bridge, &c.input); vif != "" && f.Wanted != policy.FailOpen {
		f.Unready = cmp.Or(f.Unready, fmt.Sprintf("Weir itself is VIF %s of this bridge: if its VM were started again, or moved, a secure bridge would not know its new port, and Weir could not tell it", vif))
	}
	return f
}

// itself returns the VIF of a bridge that is this machine's; "": there is none. g.mu is held.
func (g *governor) itself(bridge string, in *compile.Input) string {
	if in.Inventory == nil || in.Estate == nil {
		return ""
	}
	for i := range in.Inventory.VIFs {
		v := &in.Inventory.VIFs[i]
		if v.Bridge != bridge {
			continue
		}
		mac, told := v.MAC, []netip.Addr(nil)
		if known := in.Estate.VIFs[in.VIFs[i]]; known != nil {
			mac, told = cmp.Or(mac, known.MAC), known.Told
		}
		if g.own.Is(mac, told) {
			return cmp.Or(v.Key, v.MAC.String())
		}
	}
	return ""
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

// AtStart returns what policy asks of bridges of a pool from the start of a host until Weir is there: secure or standalone; "" if it asks for
// nothing, or nobody knows yet. not says why that is better not so, "" if it may be. A pool is known by its UUID.
func (s *Service) AtStart(poolUUID string) (mode, not string) {
	g := s.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policies == nil || g.world.model == nil || poolUUID == "" {
		return "", ""
	}
	r := g.resolved[g.policies.Revision]
	if r == nil || r.set == nil {
		return "", ""
	}
	m := g.world.model
	i := slices.IndexFunc(m.Pools, func(p estate.Pool) bool {
		return strings.EqualFold(p.UUID, poolUUID) || strings.EqualFold(p.Key, poolUUID) || slices.Contains(p.SameAs, strings.ToLower(poolUUID))
	})
	if i < 0 {
		return "", ""
	}
	switch r.set.FailModeOf(g.world.pools[m.Pools[i].Name]) {
	case policy.FailOpen:
		return "standalone", ""
	case policy.FailSafe, policy.FailStatic:
		return "secure", g.lostAtStart(&m.Pools[i])
	}
	return "", ""
}

// lostAtStart says why hosts of a pool whose bridges are secure when they start might not come back; "": they would. g.mu is held.
func (g *governor) lostAtStart(p *estate.Pool) string {
	m := g.world.model
	hostPool := map[string]string{}
	for i := range m.Hosts {
		hostPool[m.Hosts[i].Key] = m.Hosts[i].Pool
	}
	for i := range m.VMs {
		vm := &m.VMs[i]
		if vm.Pool != p.Key && hostPool[vm.Host] != p.Key {
			continue
		}
		for j := range vm.VIFs {
			if v := &vm.VIFs[j]; g.own.Is(v.MAC, v.Told()) {
				return fmt.Sprintf("Weir itself is VM %s of the pool, and would have no network after a start of its host", vm.Name)
			}
		}
	}
	var dialled []string
	g.s.mu.Lock()
	for _, h := range g.s.hosts {
		if h.Pool == p.Name && !h.Target.IsZero() {
			dialled = append(dialled, h.Name)
		}
	}
	g.s.mu.Unlock()
	if len(dialled) == 0 {
		return ""
	}
	slices.Sort(dialled)
	return fmt.Sprintf("Weir dials the database of %s, which it could not reach through a bridge that is secure and has no flows: have hosts dial in, or set write.fail_mode to secure if another bridge carries the host's own traffic",
		strings.Join(dialled, ", "))
}

// failModeBecomes says what a candidate changes of what a bridge does while Weir is away; "": nothing.
func (s *Service) failModeBecomes(t *trial, c *candidate) string {
	wanted := c.resolved.set.FailModeOf(t.host.poolID)
	if wanted == "" {
		return ""
	}
	for _, h := range s.exports.Status() {
		for i := range h.Bridges {
			if b := &h.Bridges[i]; h.UUID == t.host.UUID && b.Name == t.bridge {
				return b.Away.Becomes(wanted)
			}
		}
	}
	return (&attach.Away{}).Becomes(wanted)
}

// absence is a bridge that is without Weir.
type absence struct {
	since time.Time
	told  bool
}

// absent notes which bridges are without Weir, by how all stand, and returns those that have been so for as long as they wait, and those that have Weir
// again, which were not told of yet; and when the next one is due. g.mu is held.
func (g *governor) absent(subjects []*subject, all []reconcile.BridgeStatus, now time.Time) (entered, left []reconcile.Bridge, next time.Time) {
	statuses := map[reconcile.Key]reconcile.BridgeStatus{}
	for _, st := range all {
		statuses[reconcile.Key{Host: st.HostUUID, Bridge: st.Bridge}] = st
	}
	there := map[reconcile.Key]*absence{}
	for _, s := range subjects {
		for i := range s.seen.Bridges {
			b := reconcile.Bridge{Host: reconcile.Host{UUID: s.UUID, Name: s.Name, Pool: s.identity.Pool}, Name: s.seen.Bridges[i].Name}
			c, st, a := g.bridges[b.Key()], statuses[b.Key()], g.absences[b.Key()]
			switch {
			case c == nil || !attached(&s.seen.Bridges[i]):
				continue
			case st.Connected.IsZero():
				if a == nil {
					a = &absence{since: now}
				}
				switch due := a.since.Add(3 * g.cfg.Probe); {
				case a.told:
				case now.Before(due):
					next = earlier(next, due)
				default:
					a.told = true
					entered = append(entered, b)
				}
			case a == nil || !a.told:
				continue
			case st.Has(c.number):
				left = append(left, b)
				continue
			}
			there[b.Key()] = a
		}
	}
	g.absences = there
	return entered, left, next
}

// tellAbsent tells of bridges that are without Weir, and of those that have it again.
func (s *Service) tellAbsent(entered, left []reconcile.Bridge) {
	if len(entered)+len(left) == 0 {
		return
	}
	away := map[reconcile.Key]attach.Away{}
	for _, h := range s.exports.Status() {
		for i := range h.Bridges {
			away[reconcile.Key{Host: h.UUID, Bridge: h.Bridges[i].Name}] = h.Bridges[i].Away
		}
	}
	tell := func(kind event.Kind, b reconcile.Bridge, text string) {
		h := b.Host
		s.emit(event.Event{
			Time: time.Now(), Kind: kind, Pool: h.Pool, Host: flow.NewID(flow.KindHost, h.UUID), Bridge: flow.NewID(flow.KindBridge, h.UUID+"/"+b.Name), Subject: h.Name + "/" + b.Name,
			Text: text, Attributes: map[string]string{"bridge": b.Name, "fail_mode": string(away[b.Key()].Is)},
		})
	}
	for _, b := range entered {
		w := away[b.Key()]
		tell(event.FailModeEntered, b, fmt.Sprintf("bridge %q of host %s has been without Weir for %s: %s", b.Name, b.Host.Name, 3*s.deps.Policy.Probe, w.Without()))
	}
	for _, b := range left {
		tell(event.FailModeLeft, b, fmt.Sprintf("bridge %q of host %s has Weir again, and holds the policy", b.Name, b.Host.Name))
	}
}
