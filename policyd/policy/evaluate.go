package policy

import (
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Conn is what connection tracking knows of a packet.
type Conn struct {
	State State

	// Of established connections and replies: which instances let the first packet pass, as the source's rules and as the
	// destination's; 0 if its rules were not asked.
	Egress, Ingress uint32
	Blocked         bool // a rule denied a later packet of the original direction
	Retired         bool // the rule of one of the instances allows no more
}

// State is the state of a connection.
type State uint8

// The values of State.
const (
	Stateless   State = iota // the bridge tracks no connections: allow rules let replies pass
	New                      // first packet of a connection, or one that is not tracked: not IP, kept ICMP
	Established              // further one in the original direction
	Reply                    // of the other direction
	Related                  // belongs to another connection, as ICMP errors do
	Invalid
)

// Decision is what becomes of a packet at a stage.
type Decision struct {
	Verdict  flow.Verdict
	Stage    flow.Stage // what decided: rules (egress, ingress), a reply's connection, or the system
	Instance uint32     // of the rule, or of the system; 0 for the reply of a connection that no rule let in
	Entry    *Entry     // the rule; nil if the instance is not one of the set
	Shadow   *Entry     // the first shadow rule that would have denied the packet, had it decided; nil: none
	Blocks   bool       // the connection ends: its replies are dropped from now on, too
}

// Evaluate says what becomes of a packet at a stage: StageEgress where vif is the source, StageIngress where it is the
// destination. vif need not be in the estate. It is the reference: docs/explanation/policy.md says the same in words, and
// policyd/compile makes flows that do the same.
func Evaluate(set *Set, e *Estate, vif *Interface, stage flow.Stage, p *Packet, conn Conn) Decision {
	system := func(stage flow.Stage, instance uint32) Decision {
		return Decision{Verdict: flow.SystemVerdict(instance), Stage: stage, Instance: instance}
	}
	kept := isKept(p, stage)
	switch conn.State {
	case Invalid:
		return system(flow.StageSystem, flow.SystemInvalid)
	case Reply, Related:
		if conn.Blocked || conn.Retired {
			return system(flow.StageReply, flow.SystemBlocked)
		}
		instance := conn.Egress
		if instance == 0 {
			instance = conn.Ingress
		}
		return Decision{Verdict: flow.VerdictAllowed, Stage: flow.StageReply, Instance: instance}
	case Stateless, New, Established:
	}

	var shadow *Entry
	for _, scope := range scopesOf(vif) {
		for _, entry := range set.Lists[scope] {
			if kept && !names(&entry.Rule, p) {
				continue
			}
			direct := matches(entry, e, stage, p)
			mirrored := conn.State == Stateless && entry.Rule.Action == Allow && matchesReply(entry, e, stage, p)
			if !direct && !mirrored {
				continue
			}
			if entry.Rule.Action == Shadow {
				if shadow == nil {
					shadow = entry
				}
				continue
			}
			d := decision(entry, stage, shadow, conn)
			if !direct {
				d.Stage = flow.StageReply
			}
			return d
		}
	}
	if kept {
		d := system(stage, flow.SystemKept)
		d.Shadow = shadow
		return d
	}
	return decision(set.Default, stage, shadow, conn)
}

func decision(entry *Entry, stage flow.Stage, shadow *Entry, conn Conn) Decision {
	d := Decision{Verdict: flow.VerdictAllowed, Stage: stage, Instance: entry.Instance, Entry: entry, Shadow: shadow}
	if entry.Rule.Action == Deny {
		d.Verdict, d.Blocks = flow.VerdictDenied, conn.State == Established
	}
	return d
}

// scopesOf returns the lists that vif has, in the order of evaluation.
func scopesOf(vif *Interface) []Scope {
	return []Scope{
		{GlobalMandatory, 0},
		{PoolMandatory, vif.Pool},
		{NetworkMandatory, vif.Network},
		{VMMandatory, vif.VM},
		{VIFRules, vif.ID},
		{VMDefault, vif.VM},
		{NetworkDefault, vif.Network},
		{PoolDefault, vif.Pool},
		{GlobalDefault, 0},
	}
}

// isKept reports whether p is one of the packets without which a VM is not on the network: they pass unless a rule names them.
func isKept(p *Packet, stage flow.Stage) bool {
	out := stage == flow.StageEgress
	udp := func(client, server uint16) bool {
		return p.IP == IPUDP && (out && p.SrcPort == client && p.DstPort == server || !out && p.SrcPort == server && p.DstPort == client)
	}
	switch p.EtherType {
	case EtherARP, EtherRARP: // hypervisors announce by RARP where a VM has moved to
		return true
	case EtherIPv4:
		return udp(68, 67) || p.IP == IPICMP && p.Type == 3 && p.Code == 4 // DHCP client, fragmentation needed
	case EtherIPv6:
		if p.IP != IPICMPv6 {
			return udp(546, 547) // DHCPv6 client
		}
		switch p.Type {
		case 2, 135, 136: // packet too big, neighbour solicitation and advertisement
			return true
		case 133: // router solicitation
			return out
		case 134: // router advertisement
			return !out
		}
	}
	return false
}

// names reports whether r is about kept packets such as p, if it matches it: others do not apply to it.
func names(r *Rule, p *Packet) bool {
	switch {
	case p.EtherType == EtherARP, p.EtherType == EtherRARP:
		return r.Protocol.EtherType == p.EtherType
	case p.IP == IPUDP:
		return r.Protocol.IP == IPUDP && len(r.RemotePorts)+len(r.LocalPorts) > 0
	}
	return r.Protocol.IP == p.IP // ICMP
}

// matches reports whether a rule matches p at a stage.
func matches(entry *Entry, e *Estate, stage flow.Stage, p *Packet) bool {
	return matchesAs(entry, e, stage, p, int(p.Type))
}

// matchesReply reports whether p is the mirror image of packets that a rule matches at the other stage: what a reply looks like
// where connections are not tracked. That of an echo request is an echo reply; a rule of another ICMP type has no replies.
func matchesReply(entry *Entry, e *Estate, stage flow.Stage, p *Packet) bool {
	mirror := *p
	mirror.SrcMAC, mirror.DstMAC, mirror.Src, mirror.Dst, mirror.SrcPort, mirror.DstPort = p.DstMAC, p.SrcMAC, p.Dst, p.Src, p.DstPort, p.SrcPort
	request := -1
	switch {
	case p.IP == IPICMP && p.Type == 0:
		request = 8
	case p.IP == IPICMPv6 && p.Type == 129:
		request = 128
	}
	if stage == flow.StageEgress {
		return matchesAs(entry, e, flow.StageIngress, &mirror, request)
	}
	return matchesAs(entry, e, flow.StageEgress, &mirror, request)
}

// matchesAs is matches for a packet of the given ICMP type; -1 is none that a rule has.
func matchesAs(entry *Entry, e *Estate, stage flow.Stage, p *Packet, icmpType int) bool {
	r := &entry.Rule
	if !matchesProtocol(r.Protocol, p, icmpType) {
		return false
	}
	if stage == flow.StageEgress {
		return r.Direction != From && matchesRemote(entry, e, p.DstMAC, p.Dst) && matchesPorts(r, p.SrcPort, p.DstPort)
	}
	return r.Direction != To && matchesRemote(entry, e, p.SrcMAC, p.Src) && matchesPorts(r, p.DstPort, p.SrcPort)
}

func matchesProtocol(r Protocol, p *Packet, icmpType int) bool {
	isIP := p.EtherType == EtherIPv4 || p.EtherType == EtherIPv6
	switch {
	case r.EtherType != 0 && r.EtherType != p.EtherType:
		return false
	case r.IP != 0 && (!isIP || r.IP != p.IP):
		return false
	case r.HasType && int(r.Type) != icmpType:
		return false
	case r.HasCode && r.Code != p.Code:
		return false
	}
	return true
}

// matchesRemote reports whether a rule's remote is the other end, of which mac and addr are the addresses. Addresses of ARP
// are matched by rules that say ARP only: kept packets are not seen by others.
func matchesRemote(entry *Entry, e *Estate, mac estate.MAC, addr netip.Addr) bool {
	r := &entry.Rule.Remote
	switch {
	case r.MAC != 0:
		return r.MAC == mac
	case r.Prefix.IsValid():
		return r.Prefix.Contains(addr)
	case r.AddressGroup != "":
		return slices.ContainsFunc(e.AddressGroups[entry.Group], func(p netip.Prefix) bool { return p.Contains(addr) })
	case r.VMGroup != "":
		return slices.Contains(e.VMGroups[entry.Group], addr)
	}
	return true
}

func matchesPorts(r *Rule, local, remote uint16) bool {
	return r.LocalPorts.Has(local) && r.RemotePorts.Has(remote)
}
