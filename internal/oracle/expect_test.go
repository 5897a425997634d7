package oracle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/policy"
)

// frame is a packet that comes in by a port, with what connection tracking knows of it.
type frame struct {
	port   of.Port
	tagged bool
	vlan   uint16 // of the tag; 0: a priority only
	packet policy.Packet
	arpOp  uint16
	claims policy.Claims // of ARP and neighbour discovery

	state           policy.State // of its connection: New, Established, Reply, Related or Invalid
	egress, ingress uint32       // instances that let the connection in, also the system's; not of a new one
	blocked         bool
}

// outcome is what becomes of a frame.
type outcome struct {
	decided []string // "stage instance": each decision and each shadow rule met, in order; what the flows count as hits
	samples []string // those that are sampled
	outputs []exit
	normal  bool // left to Open vSwitch's own switching
	commits []memory
	learned []address
	tracked bool
	vlan    uint16 // where it was tracked
	twin    bool   // another copy of the frame is told of in its place
	flooded bool   // it is for nobody who is known
	refused uint32 // the guard that drops it, or SystemQuarantine

	allows, denies, shadowed int // what rules said
}

// exit is a copy of the frame that leaves by one of some ports.
type exit struct {
	by     []of.Port
	tagged bool
	vlan   uint16
}

// memory is what a connection is remembered by. Halves of the label and the mark are -1 if they stay as they are.
type memory struct{ egress, ingress, mark int64 }

// address is a MAC address that is not a VIF's own and was seen behind it, or behind the host.
type address struct {
	vlan uint16
	mac  estate.MAC
	vif  int // in the inventory; -1: the host
}

// bridge is a bridge as it is meant to be: what compile.Input says, read packet by packet.
type bridge struct {
	*compile.Input
	rules   []*policy.Interface // of each VIF of the inventory; nil: it is not plugged in here
	learned []address
	live    func(of.Port) bool
}

func newBridge(in *compile.Input, live func(of.Port) bool) *bridge {
	return &bridge{Input: in, rules: in.Interfaces(), live: live}
}

// number returns the OpenFlow port of a port.
func number(p *hosts.Port) of.Port {
	if p.OFPort == 0xfffe {
		return of.PortLocal
	}
	return of.Port(p.OFPort)
}

// ports returns those of the bridge that have a number.
func (b *bridge) ports() (list []*hosts.Port) {
	for i := range b.Inventory.Ports {
		if p := &b.Inventory.Ports[i]; p.Bridge == b.Bridge && p.OFPort != 0 {
			list = append(list, p)
		}
	}
	return list
}

func (b *bridge) port(n of.Port) *hosts.Port {
	for _, p := range b.ports() {
		if number(p) == n {
			return p
		}
	}
	return nil
}

func isNetwork(p *hosts.Port) bool {
	return p.Kind == hosts.KindUplink || p.Kind == hosts.KindPatch || p.Kind == hosts.KindTunnel
}

func isHost(p *hosts.Port) bool { return p.Kind == hosts.KindLocal || p.Kind == hosts.KindInternal }

// mode returns the VLAN mode of a port (ovs-vswitchd.conf.db(5)).
func mode(p *hosts.Port) string {
	switch {
	case p.VLANMode == "dot1q-tunnel":
		return "access"
	case p.VLANMode != "":
		return p.VLANMode
	case p.VLAN != 0:
		return "access"
	}
	return "trunk"
}

// native returns the VLAN of frames without a tag at a port; -1: there is none.
func native(p *hosts.Port) int {
	if mode(p) == "trunk" {
		if !trunks(p, 0) {
			return -1
		}
		return 0
	}
	return int(p.VLAN)
}

func trunks(p *hosts.Port, vlan uint16) bool {
	return len(p.Trunks) == 0 || slices.Contains(p.Trunks, vlan)
}

// enters returns the VLAN in which a frame is that comes in by a port; false: it is in none.
func enters(p *hosts.Port, tagged bool, vlan uint16) (uint16, bool) {
	switch n := native(p); {
	case !tagged || vlan == 0:
		return uint16(n), n >= 0
	case mode(p) == "access":
		return 0, false
	case int(vlan) == n:
		return vlan, true
	default:
		return vlan, trunks(p, vlan)
	}
}

// leaves returns whether frames of a VLAN leave by a port, and with a tag.
func leaves(p *hosts.Port, vlan uint16) (tagged, ok bool) {
	switch {
	case int(vlan) == native(p):
		return mode(p) == "native-tagged" && vlan != 0, true
	case mode(p) == "access" || vlan == 0:
		return false, false
	}
	return true, trunks(p, vlan)
}

// members returns the interfaces of a port by which one frame leaves: several of a bond, the active one first.
func (b *bridge) members(p *hosts.Port) (list []*hosts.Port) {
	if p.Bond == "" {
		return []*hosts.Port{p}
	}
	for _, other := range b.ports() {
		if other.Bond == p.Bond {
			if other.Active {
				list = append([]*hosts.Port{other}, list...)
			} else {
				list = append(list, other)
			}
		}
	}
	return list
}

// access returns the VLAN of a plugged VIF.
func (b *bridge) access(vif int) uint16 {
	return uint16(max(0, native(b.plugs(vif)[0])))
}

// plugs returns the ports of a VIF, by the first of which it is reached.
func (b *bridge) plugs(vif int) (list []*hosts.Port) {
	for _, i := range b.Inventory.VIFs[vif].Ports {
		if p := &b.Inventory.Ports[i]; p.Bridge == b.Bridge && p.OFPort != 0 {
			list = append(list, p)
		}
	}
	return list
}

// mac returns the MAC address of a VIF; 0: not known, or not its own: of several, the host's, or that of another VIF of its VLAN, which
// then has it.
func (b *bridge) mac(vif int) estate.MAC {
	m := b.claimed(vif)
	if m&multicast != 0 || b.isHostMAC(m) {
		return 0
	}
	for _, other := range b.inVLAN(b.access(vif)) {
		if other == vif {
			break
		}
		if b.claimed(other) == m {
			return 0
		}
	}
	return m
}

// claimed returns the MAC address that a VIF is said to have.
func (b *bridge) claimed(vif int) estate.MAC {
	if m := b.Inventory.VIFs[vif].MAC; m != 0 {
		return m
	}
	return b.rules[vif].MAC
}

// inVLAN returns the VIFs of a VLAN, by port.
func (b *bridge) inVLAN(vlan uint16) (list []int) {
	for i, r := range b.rules {
		if r != nil && b.access(i) == vlan {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(x, y int) int { return int(number(b.plugs(x)[0])) - int(number(b.plugs(y)[0])) })
	return list
}

func (b *bridge) isHostMAC(m estate.MAC) bool {
	return slices.ContainsFunc(b.Inventory.Ports, func(p hosts.Port) bool { return p.Bridge == b.Bridge && isHost(&p) && p.MAC == m })
}

// isBypassed reports whether rules of a VIF are not asked.
func (b *bridge) isBypassed(vif int) bool {
	r := b.rules[vif]
	if r.ID != 0 && b.BypassVIFs[r.ID] {
		return true
	}
	if m := b.claimed(vif); m != 0 {
		return slices.Contains(b.Weir.MACs, m)
	}
	for _, a := range r.Told {
		if slices.Contains(b.Weir.Addrs, a) {
			return true
		}
	}
	return false
}

// isIsolated reports whether a VIF is quarantined: Weir's own never is, nor is one of which policy is off.
func (b *bridge) isIsolated(vif int) bool {
	return vif >= 0 && b.rules[vif].ID != 0 && b.Quarantined[b.rules[vif].ID] && !b.isBypassed(vif)
}

// vif returns the VIF of a MAC address in a VLAN; -1: none.
func (b *bridge) vif(vlan uint16, m estate.MAC) int {
	for _, i := range b.inVLAN(vlan) {
		if m != 0 && b.mac(i) == m {
			return i
		}
	}
	return -1
}

const multicast = 1 << 40

// way is a frame on its way.
type way struct {
	*bridge
	frame
	outcome
	vlan   uint16 // of the bridge, in which the frame is
	in     *hosts.Port
	conn   policy.Conn
	egress uint32 // instance that allowed it so far
	stray  bool   // of no connection, and goes on because policy is off for one of its ends
}

// expect returns what becomes of a frame, and remembers what the bridge learns of it.
func (b *bridge) expect(f frame) outcome {
	w := &way{bridge: b, frame: f, in: b.port(f.port)}
	w.classify()
	for _, l := range w.learned() {
		b.learned = slices.DeleteFunc(b.learned, func(o address) bool { return o.vlan == l.vlan && o.mac == l.mac })
		b.learned = append(b.learned, l)
	}
	return w.outcome
}

func (w *way) learned() []address { return w.outcome.learned }

func (w *way) sampling() compile.Sampling {
	if !w.Capabilities.Sample {
		return compile.SampleOff
	}
	return w.Sampling
}

func (w *way) stateful() bool { return w.Capabilities.ConnTrack }

// tell samples the frame: what is dropped or would be, unless sampling is off; what passes with full sampling only, or if it is news
// and new packets are sampled.
func (w *way) tell(stage flow.Stage, instance uint32, drop, news bool) {
	w.decided = append(w.decided, fmt.Sprint(stage, " ", instance))
	s := w.sampling()
	if s == compile.SampleFull || s == compile.SampleNew && (drop || news) {
		w.samples = append(w.samples, fmt.Sprint(stage, " ", instance))
	}
}

func (w *way) drop(instance uint32) { w.tell(flow.StageSystem, instance, true, false) }

// refuse drops the frame since a VIF may not send it, or no VIF may get it.
func (w *way) refuse(instance uint32) {
	w.refused = instance
	w.drop(instance)
}

// replies passes a reply of a connection that something built in let in.
func (w *way) replies(instance uint32) {
	if instance == flow.SystemHost {
		w.pass(instance)
		return
	}
	w.tell(flow.StageReply, instance, false, false)
}

func (w *way) pass(instance uint32) { w.tell(flow.StageSystem, instance, false, false) }

// switched leaves the frame to Open vSwitch: it is the host's.
func (w *way) switched() {
	w.pass(flow.SystemHost)
	w.normal = true
}

func (w *way) classify() {
	dst, src := w.packet.DstMAC, w.packet.SrcMAC
	if w.Bypass {
		w.pass(flow.SystemBypass)
		w.normal = true
		return
	}
	switch {
	case w.in == nil || w.in.Kind == hosts.KindUnknown:
		if w.isHostMAC(dst) && w.isRescue() {
			w.switched()
			return
		}
		w.drop(flow.SystemUnknownPort)
		return
	case isNetwork(w.in):
		if w.isCopy() {
			w.twin = true
			return
		}
		if w.isHostMAC(dst) {
			w.switched()
			return
		}
	}
	vlan, ok := enters(w.in, w.tagged, w.frame.vlan)
	if w.in.Kind == hosts.KindVIF {
		vlan, ok = w.access(w.in.VIF), !w.tagged || w.frame.vlan == 0
		if !ok {
			w.drop(flow.SystemTagged)
			return
		}
	}
	w.vlan = vlan
	segment := ok && len(w.inVLAN(vlan)) > 0
	if !segment {
		switch {
		case isHost(w.in):
			w.switched()
		case !ok:
			w.drop(flow.SystemNoMatch)
		default:
			w.pass(flow.SystemTransit)
			w.leave(true, true)
		}
		return
	}
	switch {
	case isHost(w.in):
		w.fromHost()
	case isNetwork(w.in):
		if w.reflects() && dst&multicast != 0 && w.vif(vlan, src) >= 0 {
			w.twin = true // of what the VIF sent
			return
		}
		w.fromNetwork()
	default:
		w.fromVIF()
	}
}

// isRescue reports whether the frame may be Weir's to the host, or the answer to the question where Weir is.
func (w *way) isRescue() bool {
	p := &w.packet
	for _, a := range w.Weir.Addrs {
		switch {
		case (p.EtherType == policy.EtherIPv4 || p.EtherType == policy.EtherIPv6) && p.Src == a,
			a.Is4() && p.EtherType == policy.EtherARP && w.arpOp == 2,
			a.Is6() && p.EtherType == policy.EtherIPv6 && p.IP == policy.IPICMPv6 && p.Type == 136:
			return true
		}
	}
	return false
}

// isCopy reports whether the frame is multicast that comes in by an interface of a bond that is not to be heard.
func (w *way) isCopy() bool {
	if w.in.Bond == "" || w.in.LACP || w.packet.DstMAC&multicast == 0 {
		return false
	}
	for _, m := range w.members(w.in) {
		if w.live(number(m)) {
			return m != w.in
		}
	}
	return false
}

// reflects reports whether what VIFs send may come back.
func (w *way) reflects() bool {
	return slices.ContainsFunc(w.ports(), func(p *hosts.Port) bool {
		return isNetwork(p) && p.Bond != "" && p.BondMode == "balance-slb" && !p.LACP && len(w.members(p)) > 1
	})
}

// leave sends the frame to the network, and to the host, by the ports that are in the VLAN; not by the one by which it came.
func (w *way) leave(network, host bool) {
	done := map[string]bool{}
	for _, p := range w.ports() {
		members := w.members(p)
		switch {
		case !isNetwork(p) && !isHost(p), isNetwork(p) && !network, isHost(p) && !host, slices.Contains(members, w.in), p.Bond != "" && done[p.Bond]:
			continue
		}
		done[p.Bond] = true
		tagged, ok := leaves(p, w.vlan)
		if !ok {
			continue
		}
		e := exit{tagged: tagged}
		if tagged {
			e.vlan = w.vlan
		}
		for _, m := range members {
			if len(members) == 1 || w.live(number(m)) {
				e.by = append(e.by, number(m))
			}
		}
		if b := p.BondMode; len(e.by) > 1 && (b == "" || b == "active-backup") {
			e.by = e.by[:1]
		}
		if len(e.by) > 0 {
			w.outputs = append(w.outputs, e)
		}
	}
}

// remembered returns the VIF that was learned to be behind a MAC address; -1: none. host: the host is.
func (w *way) remembered(m estate.MAC) (vif int, host bool) {
	for _, l := range w.bridge.learned {
		if l.vlan == w.vlan && l.mac == m {
			return l.vif, l.vif < 0
		}
	}
	return -1, false
}

// hidden returns the VIFs of the VLAN whose MAC address is not known.
func (w *way) hidden() []int {
	return slices.DeleteFunc(w.inVLAN(w.vlan), func(i int) bool { return w.mac(i) != 0 })
}

// hostHere reports whether the host is in the VLAN.
func (w *way) hostHere() bool {
	return slices.ContainsFunc(w.ports(), func(p *hosts.Port) bool {
		_, ok := leaves(p, w.vlan)
		return isHost(p) && ok
	})
}

func (w *way) fromHost() {
	dst, src := w.packet.DstMAC, w.packet.SrcMAC
	if dst&multicast != 0 {
		w.switched()
		return
	}
	vif := w.vif(w.vlan, dst)
	if vif < 0 {
		vif, _ = w.remembered(dst)
	}
	if vif < 0 {
		if !w.isHostMAC(src) {
			w.learn(-1)
		}
		w.switched()
		return
	}
	if w.isIsolated(vif) {
		w.refuse(flow.SystemQuarantine)
		return
	}
	w.track()
	w.pass(flow.SystemHost)
	w.egress = flow.SystemHost
	w.remember(0)
	w.hand(vif)
}

func (w *way) fromNetwork() {
	dst := w.packet.DstMAC
	if dst&multicast != 0 {
		w.untracked()
		w.leave(true, true)
		w.toSeveral(w.inVLAN(w.vlan))
		return
	}
	vif, host := w.vif(w.vlan, dst), false
	if vif < 0 {
		vif, host = w.remembered(dst)
	}
	hidden := w.hidden()
	switch {
	case host:
		w.switched()
	case w.isIsolated(vif):
		w.refuse(flow.SystemQuarantine)
	case vif >= 0:
		if w.arrives(vif) {
			w.toVIF(vif)
		}
	case len(hidden) > 0:
		w.flooded = true
		if w.arrives(-1) {
			w.remember(0)
			w.leave(true, true)
			w.toSeveral(hidden)
		}
	default:
		w.pass(flow.SystemTransit)
		w.leave(true, true)
	}
}

func (w *way) fromVIF() {
	dst, src := w.packet.DstMAC, w.packet.SrcMAC
	if w.isIsolated(w.in.VIF) {
		w.refuse(flow.SystemQuarantine)
		return
	}
	guard := w.guard(w.in.VIF)
	if instance := guard.Refuses(&w.packet, w.claims); instance != 0 {
		w.refuse(instance)
		return
	}
	if dst&multicast != 0 {
		w.untracked()
		if w.asks(w.in.VIF, flow.StageEgress) {
			w.learnSource(src)
			w.leave(true, true)
			w.toSeveral(w.inVLAN(w.vlan))
		}
		return
	}
	vif, host := w.vif(w.vlan, dst), w.isHostMAC(dst) && w.hostHere()
	if vif < 0 && !host {
		vif, host = w.remembered(dst)
	}
	if w.isIsolated(vif) {
		w.refuse(flow.SystemQuarantine)
		return
	}
	hidden := w.hidden()
	if w.flooded = vif < 0 && !host; !w.arrives(vif) {
		return
	}
	if !w.answers() {
		if !w.asks(w.in.VIF, flow.StageEgress) {
			return
		}
		w.learnSource(src)
	}
	switch {
	case vif >= 0:
		w.toVIF(vif)
	case host:
		w.remember(0)
		w.leave(false, true)
	default:
		w.remember(0)
		w.leave(true, false)
		w.toSeveral(hidden)
	}
}

// guard returns what a VIF is believed.
func (b *bridge) guard(vif int) policy.Guard {
	if b.isBypassed(vif) {
		return policy.Guard{}
	}
	s := b.Policy.SettingsOf(b.rules[vif])
	return policy.GuardOf(&s, b.claimed(vif), b.rules[vif].Told)
}

// learnSource remembers a MAC address that a VIF uses and that is not its own.
func (w *way) learnSource(m estate.MAC) {
	if m&multicast == 0 && m != w.mac(w.in.VIF) {
		w.learn(w.in.VIF)
	}
}

func (w *way) learn(vif int) {
	if w.Inventory.OVSVersion == "2.5.3" { // the only old one of compiletest: it cannot be told how much it may learn
		return
	}
	w.outcome.learned = append(w.outcome.learned, address{w.vlan, w.packet.SrcMAC, vif})
}

// isUntracked reports whether a packet is of no connection.
func (w *way) isUntracked() bool {
	p := &w.packet
	switch p.EtherType {
	case policy.EtherIPv4:
		return p.IP == policy.IPICMP && p.Type == 3 && p.Code == 4
	case policy.EtherIPv6:
		return p.IP == policy.IPICMPv6 && (p.Type == 2 || p.Type >= 133 && p.Type <= 136)
	}
	return true
}

// untracked says that connection tracking is not asked of the frame.
func (w *way) untracked() {
	if w.conn.State = policy.New; !w.stateful() {
		w.conn.State = policy.Stateless
	}
}

// track finds out what connection tracking knows of the frame.
func (w *way) track() {
	if w.untracked(); !w.stateful() || w.isUntracked() {
		return
	}
	w.tracked, w.outcome.vlan = true, w.vlan
	w.conn = policy.Conn{State: w.state}
	if w.state == policy.New || w.state == policy.Invalid {
		return
	}
	w.conn.Blocked = w.blocked
	w.conn.Retired = slices.Contains(w.Retired, w.frame.egress) || slices.Contains(w.Retired, w.ingress)
	if w.frame.egress > flow.MaxSystemInstance { // else no rule was asked
		w.conn.Egress = w.frame.egress
	}
	if w.ingress > flow.MaxSystemInstance {
		w.conn.Ingress = w.ingress
	}
}

// answers reports whether the frame is a reply, of which rules are not asked.
func (w *way) answers() bool { return w.conn.State == policy.Reply || w.conn.State == policy.Related }

// arrives tracks the frame and decides what can be decided of its connection alone. It reports whether the frame goes on. to is the VIF
// to which it goes; -1: none that is known.
func (w *way) arrives(to int) bool {
	if w.track(); w.conn.State != policy.Invalid && !w.answers() {
		return true
	}
	if w.conn.State == policy.Invalid && (w.in.Kind == hosts.KindVIF && w.isBypassed(w.in.VIF) || to >= 0 && w.isBypassed(to)) {
		w.conn.State, w.stray = policy.New, true
		return true
	}
	d := policy.Evaluate(w.Policy, w.Estate, &policy.Interface{}, flow.StageIngress, &w.packet, w.conn)
	if d.Verdict != flow.VerdictAllowed {
		w.tell(d.Stage, d.Instance, true, false)
		return false
	}
	switch {
	case d.Instance != 0:
		w.tell(d.Stage, d.Instance, false, false)
	case w.frame.egress != 0:
		w.replies(w.frame.egress)
	case w.ingress != 0:
		w.replies(w.ingress)
	}
	return true
}

// asks asks the rules of a VIF, and reports whether they allow the frame.
func (w *way) asks(vif int, stage flow.Stage) bool {
	if w.isBypassed(vif) {
		w.tell(stage, flow.SystemBypass, false, w.isNews())
		w.allowed(stage, flow.SystemBypass)
		return true
	}
	d := policy.Evaluate(w.Policy, w.Estate, w.rules[vif], stage, &w.packet, w.conn)
	if d.Shadow != nil && (w.sampling() != compile.SampleNew || w.conn.State != policy.Established) {
		w.tell(stage, d.Shadow.Instance, true, false)
		w.shadowed++
	}
	if d.Verdict != flow.VerdictAllowed {
		w.denies++
		w.tell(d.Stage, d.Instance, true, false)
		if d.Blocks && !w.blocked && (stage == flow.StageEgress || !w.flooded) {
			w.commits = append(w.commits, memory{-1, -1, 1})
		}
		return false
	}
	w.allows++
	w.tell(d.Stage, d.Instance, false, w.isNews() && d.Entry != nil && d.Stage == stage)
	if d.Stage == flow.StageReply { // without connection tracking: nobody asks who let it in
		return true
	}
	w.allowed(stage, d.Instance)
	return true
}

// isNews reports whether a packet that passes is told of where new ones are.
func (w *way) isNews() bool { return w.stateful() && w.conn.State != policy.Established && !w.stray }

// allowed keeps in mind which instance allowed the frame.
func (w *way) allowed(stage flow.Stage, instance uint32) {
	if stage == flow.StageEgress {
		w.egress = instance
		return
	}
	w.remember(instance)
}

// remember writes into connection tracking which instances let the frame in, if that is new.
func (w *way) remember(ingress uint32) {
	if !w.tracked || w.stray {
		return
	}
	m := memory{int64(w.egress), int64(ingress), -1}
	switch {
	case w.conn.State == policy.New:
	case w.conn.State != policy.Established:
		return
	case w.blocked:
		m.mark = 0
	case w.conn.Retired:
	default:
		return
	}
	w.commits = append(w.commits, m)
}

// toVIF hands the frame to a VIF if its rules allow it.
func (w *way) toVIF(vif int) {
	if w.in.Kind == hosts.KindVIF && w.in.VIF == vif {
		return
	}
	if w.answers() || w.asks(vif, flow.StageIngress) {
		w.hand(vif)
	}
}

func (w *way) toSeveral(vifs []int) {
	for _, i := range vifs {
		if w.isIsolated(i) {
			w.tell(flow.StageIngress, flow.SystemQuarantine, true, false)
			continue
		}
		w.toVIF(i)
	}
}

// hand gives the frame to a VIF. Frames of VIFs have no tags.
func (w *way) hand(vif int) {
	if to := number(w.plugs(vif)[0]); to != w.frame.port {
		w.outputs = append(w.outputs, exit{by: []of.Port{to}})
	}
}

// check says what must not be of any outcome with samples of every packet: one that is not told of, or that is told of twice as the
// same, which totals would count twice. Copies for several are told of one by one.
func (o *outcome) check(unicast bool) error {
	switch n := len(o.samples); {
	case n == 0 && !o.twin:
		return errors.New("it is not told of")
	case unicast && n != len(slices.Compact(slices.Sorted(slices.Values(o.samples)))):
		return errors.New("it is told of twice as the same")
	}
	return nil
}

func (o *outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "decided by %q, sampled %q, outputs %v", o.decided, o.samples, o.outputs)
	if o.normal {
		b.WriteString(", NORMAL")
	}
	fmt.Fprintf(&b, ", tracked %v, commits %v, learned %v", o.tracked, o.commits, o.learned)
	return b.String()
}
