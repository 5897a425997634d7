package compile

import (
	"slices"

	"github.com/weirhq/weir/ovs/openflow"
)

// Table 70 sends packets out, to ports that are named: never as a learning switch would, which would not ask the rules of VIFs. Tags
// are put on and taken off here.

const (
	priorityTagged   = 100
	priorityUntagged = 90
	priorityOut      = 50
	priorityOutRest  = 40
)

func fixedOutput(e *emitter) {
	e.add(TableOutput, 0, KindOutput, 0, "", "") // there is nobody else
}

// delivery is a VIF's port.
type delivery struct{ port openflow.Port }

func (u delivery) count(*settings) int { return 2 }

func (u delivery) flows(e *emitter) {
	out := openflow.Output{Port: u.port}
	e.add(TableOutput, priorityTagged, KindOutput, 0, match(destination(u.port), openflow.AnyVLAN()), do(openflow.PopVLAN{}, out))
	e.add(TableOutput, priorityUntagged, KindOutput, 0, match(destination(u.port)), do(out))
}

// fromVIF is what VIFs of a segment send to the network and the host.
type fromVIF struct {
	zone uint16
	to   uint32 // 0: whatever is none of the others
	out  openflow.Actions
}

func (u fromVIF) count(*settings) int { return 1 }

func (u fromVIF) flows(e *emitter) {
	terms, priority := []openflow.Term{class(classVIF), zone(u.zone)}, uint16(priorityOutRest)
	if u.to != 0 {
		terms, priority = append(terms, to(u.to)), priorityOut
	}
	e.add(TableOutput, priority, KindOutput, 0, match(terms...), u.out)
}

// fromNetwork is what the network sends to the network, by other ports, and to the host.
type fromNetwork struct {
	zone uint16
	port openflow.Port
	vlan int // tag; -1: none
	out  openflow.Actions
}

func (u fromNetwork) count(*settings) int { return 1 }

func (u fromNetwork) flows(e *emitter) {
	e.add(TableOutput, priorityOut, KindOutput, 0, match(openflow.InPort(u.port), tag(u.vlan), class(classNetwork), zone(u.zone)), u.out)
}

// outputs plans table 70.
func (b *bridge) outputs(p *plan) {
	for _, v := range b.vifs {
		p.add(delivery{v.ports[0]})
	}
	for i := range b.segments {
		s := &b.segments[i]
		add := func(to uint32, out openflow.Actions) {
			if out != "" {
				p.add(fromVIF{s.zone, to, out})
			}
		}
		add(0, actionsTo(s.vlan, false, b.networks, nil))
		add(toMulticast, actionsTo(s.vlan, false, b.networks, b.hosts))
		add(toHost, actionsTo(s.vlan, false, nil, b.hosts))
		for k := range b.networks {
			n := &b.networks[k]
			plain, tagged := b.out(n, s.vlan, false), b.out(n, s.vlan, true)
			for _, m := range n.members {
				if plain != "" && n.vlans.untagged(s.vlan) {
					p.add(fromNetwork{s.zone, m, -1, plain})
				}
				if tagged != "" && s.vlan != 0 && n.vlans.takes(s.vlan) {
					p.add(fromNetwork{s.zone, m, int(s.vlan), tagged})
				}
			}
		}
	}
}

// anyVLAN in out and actionsTo is VLANs that are not named anywhere: frames stay as they are.
const anyVLAN = 0xffff

// out returns the actions that send what came in by a port of the network out by the others, and to the host. tagged says whether it
// has the tag of the VLAN.
func (b *bridge) out(from *port, vlan uint16, tagged bool) openflow.Actions {
	others := make([]port, 0, len(b.networks))
	for i := range b.networks {
		if b.networks[i].name != from.name {
			others = append(others, b.networks[i])
		}
	}
	return actionsTo(vlan, tagged, others, b.hosts)
}

// outCopy returns the actions that send a copy of traffic on, which came in by a port of the network with the tag of a VLAN for copies: by the
// others, and to the host where a port of it is in that VLAN only.
func (b *bridge) outCopy(from *port, vlan uint16) openflow.Actions {
	others := slices.DeleteFunc(slices.Clone(b.networks), func(p port) bool { return p.name == from.name })
	here := slices.DeleteFunc(slices.Clone(b.hosts), func(p port) bool { return p.vlans.native != int(vlan) })
	return actionsTo(vlan, true, others, here)
}

// actionsTo returns the actions that send a frame of a VLAN out by those of the ports that are in it; none if none is.
func actionsTo(vlan uint16, tagged bool, networks, hosts []port) openflow.Actions {
	var with, without []openflow.Action
	for _, ports := range [][]port{networks, hosts} {
		for i := range ports {
			p := &ports[i]
			if vlan == anyVLAN {
				if p.vlans.trunk && p.vlans.only == nil {
					with = append(with, p.send())
				}
				continue
			}
			switch tag, ok := p.vlans.carries(vlan); {
			case !ok:
			case tag:
				with = append(with, p.send())
			default:
				without = append(without, p.send())
			}
		}
	}
	var list []openflow.Action
	if tagged {
		list = with
		if len(without) > 0 {
			list = append(append(list, openflow.PopVLAN{}), without...)
		}
	} else {
		list = without
		if len(with) > 0 {
			list = append(append(list, openflow.PushVLAN{EthType: openflow.EthTypeVLAN}, openflow.SetVLAN(vlan)), with...)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return openflow.NewActions(list...)
}

// send returns the action that sends a frame out by a port: of a bond, by one of its interfaces that works.
func (p *port) send() openflow.Action {
	if len(p.members) == 1 {
		return openflow.Output{Port: p.members[0]}
	}
	return p.choose(p.bonded, openflow.Part{})
}

// choose returns the action that chooses one of a bond's interfaces, and sends by it or sets a register to its number.
func (p *port) choose(how openflow.BundleAlgorithm, register openflow.Part) openflow.Action {
	a := openflow.MultipathBundle{Fields: openflow.HashEthSrc, Algorithm: how, Dst: register}
	for _, m := range p.members {
		a.Ports = append(a.Ports, uint16(m))
	}
	return a
}
