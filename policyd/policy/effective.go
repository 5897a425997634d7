package policy

import (
	"net/netip"
	"slices"
)

// Line is a rule as it applies to a VIF.
type Line struct {
	Entry *Entry
	Of    string // name, as the policy has it, of the pool, network, VM or VIF that it is a rule of; "" of global rules

	// Covered is an earlier rule that decides, or as a shadow rule tells, all that the line's rule matches, so that it has no
	// effect; nil: none is known.
	Covered *Entry
}

// Effective returns the rules of vif in the order of evaluation, the final default last. stateless says that its bridge tracks no
// connections, so that allow rules apply to replies, too. Whether a rule is covered is said of single rules that match the same or
// more, not of several that do so together; a VM group is compared with itself only.
func Effective(set *Set, e *Estate, vif *Interface, stateless bool) []Line {
	names := map[Scope]string{}
	for _, b := range set.Bound {
		for tier := GlobalMandatory; tier <= GlobalDefault; tier++ {
			if kindOf(tier) == b.Kind {
				names[Scope{tier, b.ID}] = b.Name
			}
		}
	}
	var lines []Line
	add := func(entry *Entry) {
		line := Line{Entry: entry, Of: names[entry.Scope]}
		for i := range lines {
			if a := lines[i].Entry; a.covers(entry, e, stateless) {
				line.Covered = a
				break
			}
		}
		lines = append(lines, line)
	}
	for _, scope := range scopesOf(vif) {
		for _, entry := range set.Lists[scope] {
			add(entry)
		}
	}
	add(set.Default)
	return lines
}

// covers reports whether o, which comes after e, certainly has no effect because of it.
func (e *Entry) covers(o *Entry, in *Estate, stateless bool) bool {
	r, s := &e.Rule, &o.Rule
	if r.Action == Shadow && s.Action != Shadow {
		return false
	}
	if r.Direction != Either && r.Direction != s.Direction {
		return false
	}
	return coversProtocol(r.Protocol, protocolWith(s)) && seesKept(r, s) && e.coversRemote(o, in) &&
		r.RemotePorts.covers(s.RemotePorts) && r.LocalPorts.covers(s.LocalPorts) && (!stateless || coversReplies(r, s))
}

// protocolWith returns what a rule matches by protocol, with what follows from its remote.
func protocolWith(r *Rule) Protocol {
	p := r.Protocol
	if p.EtherType == 0 && r.Remote.Prefix.IsValid() {
		p.EtherType = EtherIPv6
		if r.Remote.Prefix.Addr().Is4() {
			p.EtherType = EtherIPv4
		}
	}
	return p
}

func coversProtocol(p, q Protocol) bool {
	return (p.EtherType == 0 || p.EtherType == q.EtherType) && (p.IP == 0 || p.IP == q.IP) &&
		(!p.HasType || q.HasType && p.Type == q.Type) && (!p.HasCode || q.HasCode && p.Code == q.Code)
}

// seesKept reports whether r applies to those kept packets that s names.
func seesKept(r, s *Rule) bool {
	switch {
	case s.Protocol.EtherType == EtherARP, s.Protocol.EtherType == EtherRARP:
		return r.Protocol.EtherType == s.Protocol.EtherType
	case s.Protocol.IP == IPICMP, s.Protocol.IP == IPICMPv6:
		return r.Protocol.IP == s.Protocol.IP
	case s.Protocol.IP == IPUDP && len(s.RemotePorts)+len(s.LocalPorts) > 0:
		dhcp := s.RemotePorts.Has(67) && s.LocalPorts.Has(68) || s.RemotePorts.Has(547) && s.LocalPorts.Has(546)
		return !dhcp || r.Protocol.IP == IPUDP && len(r.RemotePorts)+len(r.LocalPorts) > 0
	}
	return true
}

// coversRemote reports whether e's remote is everything that o's is.
func (e *Entry) coversRemote(o *Entry, in *Estate) bool {
	r, s := &e.Rule.Remote, &o.Rule.Remote
	switch {
	case *r == Remote{}:
		return true
	case e.Group != 0 && e.Group == o.Group:
		return true
	case r.MAC != 0:
		return r.MAC == s.MAC
	case !s.Prefix.IsValid():
		return false
	case r.AddressGroup != "":
		return slices.ContainsFunc(in.AddressGroups[e.Group], func(p netip.Prefix) bool { return contains(p, s.Prefix) })
	}
	return contains(r.Prefix, s.Prefix)
}

func contains(p, q netip.Prefix) bool {
	return p.IsValid() && q.IsValid() && p.Bits() <= q.Bits() && p.Contains(q.Addr())
}

// coversReplies reports whether r decides the replies, too, that s lets pass where connections are not tracked.
func coversReplies(r, s *Rule) bool {
	return s.Action != Allow || s.Direction == Either && !s.Protocol.HasType || r.Action == Allow || r.Direction == Either && !r.Protocol.HasType
}

// AllowsAll reports whether e certainly allows all that before allowed: that rule as it was. What is not certainly more is less.
func (e *Entry) AllowsAll(before *Entry) bool {
	r, o := &e.Rule, &before.Rule
	remote := r.Remote == Remote{} || e.Group == before.Group && r.Remote == o.Remote || contains(r.Remote.Prefix, o.Remote.Prefix)
	return r.Action == Allow && e.Scope == before.Scope && (r.Direction == Either || r.Direction == o.Direction) &&
		(r.Protocol == Protocol{} || r.Protocol == o.Protocol) && remote && r.RemotePorts.covers(o.RemotePorts) && r.LocalPorts.covers(o.LocalPorts)
}
