package oracle_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/openflow/softswitch"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

func likely(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// strangers are MAC addresses of virtual routers and nested VMs: they are behind VIFs, and nobody's.
var strangers = []estate.MAC{0x00005e000101, 0x02dd00000001, 0x02dd00000002}

// groups are MAC addresses of several.
var groups = []estate.MAC{0xffffffffffff, 0x01005e000001, 0x333300000001}

// frame returns a random frame that comes in at a bridge of a world: traffic of the world, mostly, where it may come in.
func (b *bridge) frame(r *rand.Rand, w *policytest.World) frame {
	t := w.Traffic(r)
	f := frame{packet: t.Packet, arpOp: uint16(1 + r.IntN(2)), state: pick(r,
		policy.New, policy.New, policy.New, policy.New, policy.New, policy.Established, policy.Established, policy.Established,
		policy.Reply, policy.Reply, policy.Reply, policy.Related, policy.Invalid)}
	vlan := compiletest.VLANOf(w, t.Network)
	all := b.ports()
	var from *hosts.Port
	if i := slices.IndexFunc(b.rules, func(i *policy.Interface) bool { return i != nil && t.Src != nil && i.ID == t.Src.ID }); i >= 0 {
		from = pick(r, b.plugs(i)...)
	} else {
		var networks, fit []*hosts.Port
		for _, p := range all {
			if isNetwork(p) {
				networks = append(networks, p)
				if _, ok := leaves(p, vlan); ok {
					fit = append(fit, p)
				}
			}
		}
		if len(fit) > 0 {
			networks = fit
		}
		from = pick(r, networks...)
	}
	switch n := r.IntN(100); {
	case n < 8: // the host
		for _, p := range all {
			if isHost(p) && (!isHost(from) || likely(r, 50)) {
				from = p
			}
		}
		if v := native(from); v >= 0 {
			vlan = uint16(v)
		}
		f.packet.SrcMAC = pick(r, compiletest.HostMAC, compiletest.HostMAC, strangers[0])
	case n < 12: // any port
		from = pick(r, all...)
		vlan = pick[uint16](r, 0, 10, 20, 30, 40, 77)
	case n < 14: // one that is not known
		f.port = pick[of.Port](r, 7, 9, 29)
	}
	if f.port == 0 {
		f.port = number(from)
	}
	if tagged, ok := leaves(from, vlan); ok && from.Kind != hosts.KindVIF {
		f.tagged = tagged
	} else if from.Kind != hosts.KindVIF {
		f.tagged = vlan != 0
	}
	if f.tagged {
		f.vlan = vlan
	}
	if likely(r, 3) {
		f.tagged, f.vlan = true, pick[uint16](r, 10, 20, 77)
	}
	if n := native(from); !f.tagged && likely(r, 4) && (from.Kind == hosts.KindVIF || n >= 0 && len(b.inVLAN(uint16(n))) > 0) {
		f.tagged = true // with a priority
	}
	switch n := r.IntN(100); {
	case n < 5:
		f.packet.DstMAC = compiletest.HostMAC
	case n < 12:
		f.packet.DstMAC = pick(r, strangers...)
	case n < 17 && from.Kind == hosts.KindVIF:
		f.packet.SrcMAC = pick(r, strangers...)
	case n < 30:
		f.packet.DstMAC = pick(r, groups...)
	case n < 34 && isNetwork(from): // what a VIF sent comes back
		if list := b.inVLAN(vlan); len(list) > 0 {
			f.packet.SrcMAC, f.packet.DstMAC = b.mac(pick(r, list...)), pick(r, groups...)
		}
	case n < 42:
		if i := r.IntN(len(b.rules) + 1); i < len(b.rules) && b.rules[i] != nil && b.mac(i) != 0 {
			f.packet.DstMAC = b.mac(i)
		}
	}
	if p := &f.packet; from.Kind == hosts.KindVIF && likely(r, 3) { // as servers send
		if p.EtherType == policy.EtherIPv4 || p.EtherType == policy.EtherIPv6 {
			p.IP, p.SrcPort, p.DstPort, p.Type, p.Code = policy.IPUDP, 67, 68, 0, 0
		}
		if p.EtherType == policy.EtherIPv6 {
			if p.SrcPort, p.DstPort = 547, 546; likely(r, 50) {
				p.IP, p.SrcPort, p.DstPort, p.Type = policy.IPICMPv6, 0, 0, 134
			}
		}
	}
	b.claim(r, &f, from)
	b.remembered(r, &f)
	return f
}

// claim has a frame say what it says of its sender: the truth, mostly. One of a VIF whose addresses are looked at has one of them, mostly.
func (b *bridge) claim(r *rand.Rand, f *frame, from *hosts.Port) {
	p := &f.packet
	f.claims = policy.Claims{MAC: p.SrcMAC, Target: netip.IPv6Unspecified()}
	if likely(r, 30) {
		f.claims.MAC = pick(r, 0, strangers[0], strangers[1], p.DstMAC)
	}
	var may []netip.Prefix
	if from.Kind == hosts.KindVIF {
		g := b.guard(from.VIF)
		if may = g.Four; p.EtherType == policy.EtherIPv6 {
			may = g.Six
		}
		if p.EtherType == policy.EtherIPv6 && g.Six != nil && likely(r, 40) {
			p.IP, p.Type, p.Code, p.SrcPort, p.DstPort = policy.IPICMPv6, pick[uint8](r, 135, 136), 0, 0, 0
		}
		if len(g.MACs) > 1 && likely(r, 30) {
			p.SrcMAC = pick(r, g.MACs...)
			f.claims.MAC = pick(r, g.MACs...)
		}
	}
	if len(may) > 0 && p.Src.IsValid() && likely(r, 75) {
		p.Src = pick(r, may...).Addr()
	}
	if p.EtherType == policy.EtherIPv6 && p.IP == policy.IPICMPv6 && (p.Type == 135 || p.Type == 136) {
		f.claims.Target = pick(r, p.Src, p.Dst)
		if len(may) > 0 && likely(r, 50) {
			f.claims.Target = pick(r, may...).Addr()
		}
	}
	if likely(r, 3) && p.Src.IsValid() {
		p.Src = map[bool]netip.Addr{true: netip.IPv4Unspecified(), false: netip.IPv6Unspecified()}[p.Src.Is4()]
	}
}

// remembered gives the connection of a frame what it may be remembered by: rules that apply somewhere on the bridge, some that allow
// no more, and what is built in.
func (b *bridge) remembered(r *rand.Rand, f *frame) {
	if f.state == policy.New || f.state == policy.Invalid {
		return
	}
	half := func(not policy.Direction, system ...uint32) uint32 {
		if likely(r, 10) && len(b.Retired) > 0 {
			return pick(r, b.Retired...)
		}
		var allowed []uint32
		for _, i := range b.rules {
			if i == nil {
				continue
			}
			for tier := policy.GlobalMandatory; tier <= policy.GlobalDefault; tier++ {
				for _, e := range b.Policy.Lists[policy.Scope{Tier: tier, Of: scopeOf(tier, i)}] {
					if e.Rule.Action == policy.Allow && e.Rule.Direction != not {
						allowed = append(allowed, e.Instance)
					}
				}
			}
		}
		if len(allowed) > 0 && likely(r, 70) {
			return pick(r, allowed...)
		}
		return pick(r, system...)
	}
	for f.egress == 0 && f.ingress == 0 {
		f.egress = half(policy.From, 0, 0, flow.SystemHost, flow.SystemKept, flow.SystemBypass)
		if f.egress != flow.SystemHost {
			f.ingress = half(policy.To, 0, 0, flow.SystemKept, flow.SystemBypass)
		}
	}
	f.blocked = likely(r, 20)
}

func scopeOf(tier policy.Tier, i *policy.Interface) flow.ID {
	return map[policy.Tier]flow.ID{
		policy.PoolMandatory: i.Pool, policy.PoolDefault: i.Pool, policy.NetworkMandatory: i.Network, policy.NetworkDefault: i.Network,
		policy.VMMandatory: i.VM, policy.VMDefault: i.VM, policy.VIFRules: i.ID,
	}[tier]
}

// send returns the frame as the model and ofproto/trace take it.
func (f *frame) send() *softswitch.Packet {
	p := &f.packet
	s := &softswitch.Packet{
		InPort: f.port, EthSrc: uint64(p.SrcMAC), EthDst: uint64(p.DstMAC), EthType: p.EtherType, Tagged: f.tagged, VLAN: f.vlan,
		Src: p.Src, Dst: p.Dst, Proto: p.IP, SrcPort: p.SrcPort, DstPort: p.DstPort, ICMPType: p.Type, ICMPCode: p.Code,
		NDTarget: netip.IPv6Unspecified(), ARPOp: f.arpOp, ARPSHA: uint64(f.claims.MAC),
	}
	if f.claims.Target.IsValid() {
		s.NDTarget, s.NDLinkLayer = f.claims.Target, uint64(f.claims.MAC)
	}
	if !s.Src.IsValid() { // RARP
		s.Src, s.Dst = netip.IPv4Unspecified(), netip.IPv4Unspecified()
	}
	if p.EtherType != policy.EtherIPv4 && p.EtherType != policy.EtherIPv6 {
		s.Proto = 0
	}
	c := softswitch.Connection{Label: of.U64(uint64(f.ingress)<<32 | uint64(f.egress))}
	if f.blocked {
		c.Mark = 1
	}
	c.State = softswitch.CTState(map[policy.State]uint32{
		policy.New: of.CTNew, policy.Established: of.CTEstablished, policy.Reply: of.CTEstablished | of.CTReply, policy.Related: of.CTRelated,
		policy.Invalid: of.CTInvalid,
	}[f.state])
	s.Conntrack = func(uint16) softswitch.Connection { return c }
	return s
}

func (f *frame) String() string {
	states := map[policy.State]string{
		policy.New: "new", policy.Established: "established", policy.Reply: "reply", policy.Related: "related", policy.Invalid: "invalid",
	}
	s := fmt.Sprintf("%v at port %v", f.packet, f.port)
	if f.tagged {
		s += fmt.Sprintf(", tag %d", f.vlan)
	}
	if f.packet.EtherType == policy.EtherARP {
		s += fmt.Sprintf(", ARP operation %d, sender %v", f.arpOp, f.claims.MAC)
	}
	if f.claims.Target.IsValid() && !f.claims.Target.IsUnspecified() {
		s += fmt.Sprintf(", about %v at %v", f.claims.Target, f.claims.MAC)
	}
	return s + fmt.Sprintf("; %s connection, let in by %d and %d, blocked: %v", states[f.state], f.egress, f.ingress, f.blocked)
}
