package compile

import (
	"net/netip"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
)

// Table 0 finds out whose a packet is, and in which VLAN.
//
// Ports whose kind says that they lead to other switches are trusted to be the network: uplinks, patch ports and tunnels.
// Nothing else is: what comes in by a port that nothing is known of is dropped, for it may be a VIF's.

func fixedClassify(e *emitter) {
	e.add(TableClassify, priorityCatchAll, KindUnknownPort, flow.SystemUnknownPort, "", do(e.dropped(flow.StageSystem, flow.SystemUnknownPort)))
}

// bypass switches policy off for the bridge.
type bypass struct{}

func (bypass) count(*settings) int { return 1 }

func (bypass) flows(e *emitter) {
	e.add(TableClassify, priorityBypass, KindBypass, flow.SystemBypass, "", do(e.system(flow.SystemBypass), openflow.Normal()))
}

// vifPort is a port of a VIF, which sends and gets frames without tags.
type vifPort struct {
	port   openflow.Port
	active openflow.Port // by which the VIF is reached
	zone   uint16
	net    uint32
	meter  uint32 // 0: none
}

func (u vifPort) count(*settings) int { return 3 }

func (u vifPort) flows(e *emitter) {
	in := openflow.InPort(u.port)
	at := []openflow.Action{load(regClass, classVIF), load(regZone, uint32(u.zone)), load(regSource, uint32(u.active)), load(regSourceNet, u.net), next(TableGuard)}
	if u.meter != 0 {
		at = append(at, openflow.Meter{ID: u.meter})
	}
	e.add(TableClassify, prioritySegment, KindClassify, 0, match(in, openflow.NoVLAN()), do(at...))
	e.add(TableClassify, prioritySegment, KindClassify, 0, match(in, openflow.VLAN(0)), do(append([]openflow.Action{openflow.PopVLAN{}}, at...)...))
	e.add(TableClassify, priorityRest, KindClassify, flow.SystemTagged, match(in), do(e.dropped(flow.StageSystem, flow.SystemTagged)))
}

// entrance is where frames of a segment come in by a port of the network or of the host.
type entrance struct {
	port  openflow.Port
	class uint32
	vlan  int // tag; -1: none
	zone  uint16
}

func (u entrance) count(*settings) int { return 1 }

func (u entrance) flows(e *emitter) {
	at := []openflow.Action{load(regClass, u.class), load(regZone, uint32(u.zone)), next(TableNotice)}
	if u.vlan == 0 {
		at = append([]openflow.Action{openflow.PopVLAN{}}, at...)
	}
	e.add(TableClassify, prioritySegment, KindClassify, 0, match(openflow.InPort(u.port), tag(u.vlan)), do(at...))
}

// tag is frames with the tag of a VLAN, or without one if it is -1.
func tag(vlan int) openflow.Term {
	if vlan < 0 {
		return openflow.NoVLAN()
	}
	return openflow.VLAN(uint16(vlan))
}

// hostMAC is traffic of the network for the host: Open vSwitch treats it as if there were no policy, and learns where it came
// from, so that the answers go there only.
type hostMAC struct {
	port openflow.Port
	mac  estate.MAC
}

func (u hostMAC) count(*settings) int { return 1 }

func (u hostMAC) flows(e *emitter) {
	e.add(TableClassify, priorityHostMAC, KindHost, flow.SystemHost, match(openflow.InPort(u.port), openflow.EthDst(uint64(u.mac))), e.host())
}

// host treats a packet of the host, or for it, as if there were no policy.
func (s *settings) host() openflow.Actions { return do(s.system(flow.SystemHost), openflow.Normal()) }

// ownTraffic is what the host sends in VLANs without VIFs.
type ownTraffic struct{ port openflow.Port }

func (u ownTraffic) count(*settings) int { return 1 }

func (u ownTraffic) flows(e *emitter) {
	e.add(TableClassify, priorityForeign, KindHost, flow.SystemHost, match(openflow.InPort(u.port)), e.host())
}

// transit is frames of VLANs without VIFs, from the network: to the network by other ports, and to the host.
type transit struct {
	port openflow.Port
	vlan int // tag; -1: none; anyTag: any that has no flow of its own
	out  openflow.Actions
}

const anyTag = -2

func (u transit) count(*settings) int { return 1 }

func (u transit) flows(e *emitter) {
	in, priority, vlan := openflow.InPort(u.port), uint16(priorityPlain), tag(u.vlan)
	if u.vlan == anyTag {
		priority, vlan = priorityForeign, openflow.AnyVLAN()
	}
	e.add(TableClassify, priority, KindTransit, flow.SystemTransit, match(in, vlan), do(append([]openflow.Action{e.system(flow.SystemTransit)}, u.out.List()...)...))
}

// mirrorPort is a port that gets copies of traffic: nothing comes in by it, and nothing is told of what does.
type mirrorPort struct{ port openflow.Port }

func (u mirrorPort) count(*settings) int { return 1 }

func (u mirrorPort) flows(e *emitter) {
	e.add(TableClassify, priorityMirror, KindCopy, 0, match(openflow.InPort(u.port)), "")
}

// copied is copies of traffic of other hosts in a VLAN for them: they go on to the network, as if there were no policy, and are not counted.
type copied struct {
	port openflow.Port
	vlan uint16
	out  openflow.Actions
}

func (u copied) count(*settings) int { return 1 }

func (u copied) flows(e *emitter) {
	e.add(TableClassify, priorityPlain, KindCopy, 0, match(openflow.InPort(u.port), openflow.VLAN(u.vlan)), u.out)
}

// noVLAN is frames that come in from the network and are in no VLAN of their port.
type noVLAN struct{ port openflow.Port }

func (u noVLAN) count(*settings) int { return 1 }

func (u noVLAN) flows(e *emitter) {
	e.add(TableClassify, priorityRest, KindTransit, flow.SystemNoMatch, match(openflow.InPort(u.port)), do(e.dropped(flow.StageSystem, flow.SystemNoMatch)))
}

// member is an interface of a bond: of multicast, each of a bond's interfaces gets a copy, one of which is to be taken. Which that
// is, Open vSwitch finds out by itself, so that it is right while Weir is away.
type member struct {
	port   openflow.Port
	choice openflow.Actions // sets regActiveMember
}

func (u member) count(*settings) int { return 1 }

func (u member) flows(e *emitter) {
	e.add(TableClassify, priorityMember, KindClassify, 0,
		match(openflow.InPort(u.port), openflow.Multicast(), openflow.Reg(regActiveMember, 0, all)),
		do(append(u.choice.List(), openflow.Resubmit{Table: TableClassify})...))
}

// duplicate is multicast that comes in by an interface of a bond while another is active.
type duplicate struct{ port, active openflow.Port }

func (u duplicate) count(*settings) int { return 1 }

func (u duplicate) flows(e *emitter) {
	e.add(TableClassify, priorityMember, KindDuplicate, 0,
		match(openflow.InPort(u.port), openflow.Multicast(), openflow.Reg(regActiveMember, uint32(u.active), all)), "")
}

// rescue lets the host hear from Weir, and from whom it asks for the way there, by ports that are not known: where the uplink was
// changed while Weir did not see, it could not be told otherwise.
type rescue struct {
	mac  estate.MAC // of the host
	weir netip.Addr
}

func (u rescue) count(*settings) int { return 1 }

func (u rescue) flows(e *emitter) {
	only := netip.PrefixFrom(u.weir, u.weir.BitLen())
	var from []openflow.Term
	if u.weir.Is4() {
		from = append(from, etherType(openflow.EthTypeIPv4), openflow.IPv4Src(only))
	} else {
		from = append(from, etherType(openflow.EthTypeIPv6), openflow.IPv6Src(only))
	}
	e.add(TableClassify, priorityRescue, KindHost, flow.SystemHost, match(append(from, openflow.EthDst(uint64(u.mac)))...), e.host())
}

// rescueWay is what finding the way takes.
type rescueWay struct {
	mac estate.MAC
	six bool // by IPv6
}

func (u rescueWay) count(*settings) int { return 1 }

func (u rescueWay) flows(e *emitter) {
	answer := []openflow.Term{etherType(openflow.EthTypeARP), openflow.ARPOp(2)}
	if u.six {
		answer = []openflow.Term{etherType(openflow.EthTypeIPv6), openflow.IPProto(openflow.ProtoICMPv6), openflow.ICMPv6Type(136)}
	}
	e.add(TableClassify, priorityRescue, KindHost, flow.SystemHost, match(append(answer, openflow.EthDst(uint64(u.mac)))...), e.host())
}

// classify plans table 0.
func (b *bridge) classify(p *plan) {
	for _, port := range b.mirrors {
		p.add(mirrorPort{port})
	}
	for _, v := range b.vifs {
		for _, port := range v.ports {
			p.add(vifPort{port, v.ports[0], v.zone, v.net, v.meter})
		}
	}
	for i := range b.networks {
		n := &b.networks[i]
		for _, m := range n.members {
			b.classifyNetwork(p, n, m)
		}
	}
	for i := range b.hosts {
		h := &b.hosts[i]
		for _, m := range h.members {
			b.enter(p, h, m, classHost)
			p.add(ownTraffic{m})
		}
	}
	for _, mac := range b.hostMACs {
		for _, a := range b.weir {
			p.add(rescue{mac, a})
			p.add(rescueWay{mac, a.Is6()})
		}
	}
}

// classifyNetwork plans what comes in by an interface of a port of the network.
func (b *bridge) classifyNetwork(p *plan, n *port, m openflow.Port) {
	if n.oneWay && len(n.members) > 1 {
		p.add(member{m, openflow.NewActions(n.choose(openflow.BundleActiveBackup, openflow.Whole(openflow.FieldReg(regActiveMember))))})
		for _, other := range n.members {
			if other != m {
				p.add(duplicate{m, other})
			}
		}
	}
	for _, mac := range b.hostMACs {
		p.add(hostMAC{m, mac})
	}
	b.enter(p, n, m, classNetwork)
	for _, vlan := range b.plain {
		if n.vlans.untagged(vlan) {
			p.add(transit{m, -1, b.out(n, vlan, false)})
		}
		if vlan != 0 && n.vlans.takes(vlan) {
			p.add(transit{m, int(vlan), b.out(n, vlan, true)})
		}
	}
	for _, vlan := range b.copies {
		if n.vlans.takes(vlan) {
			p.add(copied{m, vlan, b.outCopy(n, vlan)})
		}
	}
	if n.vlans.trunk && n.vlans.only == nil {
		p.add(transit{m, anyTag, b.out(n, anyVLAN, true)})
	}
	p.add(noVLAN{m})
}

// enter plans the entrances of segments at an interface of a port.
func (b *bridge) enter(p *plan, of *port, m openflow.Port, class uint32) {
	for i := range b.segments {
		s := &b.segments[i]
		if of.vlans.untagged(s.vlan) {
			p.add(entrance{m, class, -1, s.zone})
			p.add(entrance{m, class, 0, s.zone})
		}
		if s.vlan != 0 && of.vlans.takes(s.vlan) {
			p.add(entrance{m, class, int(s.vlan), s.zone})
		}
	}
}
