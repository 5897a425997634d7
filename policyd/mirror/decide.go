package mirror

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
)

// prefix is that of the names of rows of table Mirror, portPrefix that of tunnels, which have 15 characters at most.
const (
	prefix     = "weir-"
	portPrefix = "weirm"
)

// noVLAN is a VLAN in which no frame is (IEEE 802.1Q): what is in it alone is in none. untagged is that of frames without a tag.
const (
	noVLAN   = 4095
	untagged = 0
)

// Question is all that Decide looks at.
type Question struct {
	Order   Order
	Rows    *ovsdb.Rows
	Bridge  *ovsdb.Bridge
	Yielded bool   // the bridge is left as it is for now
	Again   bool   // tunnels that Open vSwitch could not make are made anew
	Found   string // Want of the answer when it last was as wanted
}

// Answer is what Decide says.
type Answer struct {
	Mirrors []Mirror // by target
	Want    string   // what is to be there, comparable; empty: nothing
	Changes bool     // something is changed, or waited for
	Undone  string   // what others did to what Weir had set up; empty: nothing
	Failed  bool     // what Weir had added cannot be read any more: nothing is changed until somebody has put it right
	Again   bool     // a tunnel is made anew
	Held    bool     // something of Weir's is at the bridge afterwards
}

// Decide compares the mirrors of a bridge with what they are to be, and has tx change what is not so.
func Decide(tx *own.Transaction, q Question) (Answer, error) {
	d := &deciding{Question: q, tx: tx, ports: map[string]*ovsdb.Port{}, inBridge: map[ovsdb.UUID]*ovsdb.Port{}}
	d.ours, d.others = own.Mirrors(q.Rows, q.Bridge)
	var foreign []*ovsdb.Port
	d.tunnels, foreign = own.Ports(q.Rows, q.Bridge)
	for _, p := range slices.Concat(d.tunnels, foreign) {
		d.inBridge[p.UUID], d.ports[p.Name] = p, p
	}
	d.group()
	if d.unreadable() {
		return d.Answer, nil
	}
	d.choose()
	return d.Answer, d.change()
}

type deciding struct {
	Question
	Answer
	tx           *own.Transaction
	ours, others []*ovsdb.Mirror
	tunnels      []*ovsdb.Port
	ports        map[string]*ovsdb.Port // of the bridge, by name
	inBridge     map[ovsdb.UUID]*ovsdb.Port
	groups       []*group
}

// group is the copies to one destination.
type group struct {
	to       policy.MirrorTarget
	names    []string // of targets
	vifs     []string
	sinks    []string
	src, dst []ovsdb.UUID // present ports
	copies   []*Copy      // but those of sinks
	why      string
	Mirror

	output ovsdb.UUID // SPAN: the port
}

// tunnelled says whether copies leave by a port of Weir's.
func (g *group) tunnelled() bool { return g.to.GRE.IsValid() || g.to.ERSPAN.IsValid() }

// group gathers copies by destination.
func (d *deciding) group() {
	byTo := map[string]*group{}
	for i := range d.Order.Copies {
		c := &d.Order.Copies[i]
		to := c.To.String()
		g := byTo[to]
		if g == nil {
			g = &group{to: c.To, vifs: []string{}}
			byTo[to] = g
			d.groups = append(d.groups, g)
		}
		if !slices.Contains(g.names, c.To.Name) {
			g.names = append(g.names, c.To.Name)
		}
		if c.Sink {
			g.sinks = append(g.sinks, c.VIF)
			continue
		}
		g.copies = append(g.copies, c)
		g.vifs = append(g.vifs, c.words(c.In, c.Out))
		if g.why == "" {
			g.why = c.Why
		}
		for _, id := range c.Ports {
			p := d.inBridge[id]
			if p == nil || c.To.Port == p.Name { // it is gone, or gets the copies
				continue
			}
			if c.Out {
				g.src = append(g.src, id)
			}
			if c.In {
				g.dst = append(g.dst, id)
			}
		}
	}
	for _, g := range d.groups {
		slices.Sort(g.names)
		slices.Sort(g.vifs)
		slices.Sort(g.sinks)
		g.src, g.dst = set(g.src), set(g.dst)
		g.Mirror = Mirror{Target: strings.Join(g.names, ", "), To: g.to.String(), VIFs: slices.Compact(g.vifs), Sinks: slices.Compact(g.sinks), Row: prefix + g.names[0]}
		if g.tunnelled() {
			g.Port = portPrefix + strconv.FormatUint(uint64(d.number(g)), 16)
		} else {
			g.Port = g.to.Port
		}
	}
	slices.SortFunc(d.groups, func(a, b *group) int { return strings.Compare(a.names[0], b.names[0]) })
}

// words says of which directions of a VIF copies are made.
func (c *Copy) words(in, out bool) string {
	switch {
	case !in:
		return c.VIF + " out"
	case !out:
		return c.VIF + " in"
	}
	return c.VIF
}

func set(list []ovsdb.UUID) []ovsdb.UUID { return slices.Compact(slices.Sorted(slices.Values(list))) }

// number is of one destination of one bridge: no other tunnel of the host has it.
func (d *deciding) number(g *group) uint32 {
	sum := sha256.Sum256([]byte("mirror\x00" + string(d.Bridge.UUID) + "\x00" + g.to.String()))
	return binary.BigEndian.Uint32(sum[:])
}

// unreadable says whether what Weir added somewhere cannot be read.
func (d *deciding) unreadable() bool {
	var why string
	for _, n := range d.numbers() {
		if _, err := n.Added(); err != nil && why == "" {
			why = err.Error()
		}
	}
	if why == "" {
		return false
	}
	d.Failed, d.Held = true, true
	for _, g := range d.groups {
		g.State, g.Why = StateFailed, why
		d.Mirrors = append(d.Mirrors, g.Mirror)
	}
	return true
}

// numbers are all columns of the bridge to which something may have been added.
func (d *deciding) numbers() []own.Numbers {
	list := []own.Numbers{own.FloodVLANs(d.Bridge)}
	for _, name := range slices.Sorted(maps.Keys(d.ports)) {
		list = append(list, own.Trunks(d.ports[name]))
	}
	return list
}

// choose gives each group its state: active where it is to be set up.
func (d *deciding) choose() {
	room := max(Most-len(d.others), 0)
	taken := map[string]bool{}
	for _, m := range d.others {
		taken[m.Name] = true
	}
	for _, g := range d.groups {
		if g.to.Port != "" && g.why == "" {
			g.output, g.why = d.span(g.to.Port)
		}
		for base, n := g.Row, 2; taken[g.Row]; n++ {
			g.Row = fmt.Sprint(base, "-", n)
		}
		taken[g.Row] = true
		switch {
		case g.why != "":
			g.State, g.Why = StateFailed, g.why
		case len(g.src)+len(g.dst) == 0:
			g.State, g.Why = StateWaiting, "none of its VIFs is plugged in"
			if len(g.vifs) == 0 {
				g.Why = "its VIFs are those that get the copies"
			}
		case room == 0:
			g.State = StateLeftOut
			g.Why = fmt.Sprintf("a bridge has at most %d mirrors: %d of others, and those of mirror targets whose names come first", Most, len(d.others))
		default:
			g.State = StateActive
			room--
		}
	}
}

// span returns the port to which copies go, or why they cannot.
func (d *deciding) span(name string) (id ovsdb.UUID, why string) {
	p := d.ports[name]
	switch {
	case p == nil:
		return "", fmt.Sprintf("the bridge has no port %q", name)
	case len(p.Interfaces) != 1:
		return "", fmt.Sprintf("port %q is a bond: want a port that carries nothing but copies", name)
	case p.Name == d.Bridge.Name || p.FakeBridge:
		return "", fmt.Sprintf("port %q is the host's own: want a port that carries nothing but copies", name)
	case slices.Contains(d.tunnels, p):
		return "", fmt.Sprintf("port %q is one of Weir's own: want a port that carries nothing but copies", name)
	case slices.Contains(d.Order.Network, p.UUID) && len(d.Order.Network) == 1:
		return "", fmt.Sprintf("port %q is the bridge's only way to the network, which copies would take away: want a port that carries nothing but copies", name)
	}
	for _, m := range d.others {
		if m.OutputPort == p.UUID {
			return "", fmt.Sprintf("port %q is that of mirror %q, which is not Weir's: it is left alone", name, m.Name)
		}
	}
	return p.UUID, ""
}

// change brings the bridge to what was chosen.
func (d *deciding) change() error {
	var wanted []string
	for _, g := range d.groups {
		if g.State == StateActive && !d.broken(g) { // else it is made anew now and then, which is nobody's doing
			wanted = append(wanted, fmt.Sprintf("%s %v %v", g.To, g.src, g.dst))
		}
	}
	d.Want = strings.Join(wanted, "\n")
	if d.Yielded && d.yield() {
		d.finish()
		return nil
	}
	d.tunnel()
	d.mirror()
	err := d.vlans()
	d.finish()
	return err
}

// yield leaves what is wanted as it is, but for what is copied in addition, or to elsewhere: nobody wants that any more, and it ends at once. It says
// whether something is wanted.
func (d *deciding) yield() bool {
	rows, ports := map[string]*group{}, map[string]bool{} // which stay
	for _, g := range d.groups {
		if g.State == StateActive {
			g.State, g.Why = StateYielded, "somebody else removes it again and again"
			rows[g.Row] = g
			ports[g.Port] = g.tunnelled()
		}
	}
	if len(rows) == 0 {
		return false
	}
	d.Held = true // VLANs at least
	for _, m := range d.ours {
		g := rows[m.Name]
		if g == nil || !d.narrow(g, m) {
			d.Changes = true
			d.tx.RemoveMirror(d.Bridge, m)
			continue
		}
		if len(g.Copied) == 0 { // else another row of that name makes copies
			g.Copied = d.copied(g, m)
		}
		if slices.Equal(g.Copied, g.VIFs) {
			g.Why = "somebody else undoes something of the mirrors of this bridge again and again; these copies are made"
		}
	}
	for _, p := range d.tunnels {
		if !ports[p.Name] {
			d.Changes = true
			d.tx.RemovePort(d.Bridge, p)
		}
	}
	return true
}

// narrow takes ports out of a row of Weir's that are not wanted in it, and says whether it may stay: not if it copies something of others, or leads elsewhere.
func (d *deciding) narrow(g *group, m *ovsdb.Mirror) bool {
	output := d.output(g)
	if m.SelectAll || m.OutputPort != "" && m.OutputPort != output || m.OutputVLAN != nil && *m.OutputVLAN != int64(g.to.VLAN) {
		return false
	}
	wanted := func(list, of []ovsdb.UUID) []ovsdb.UUID {
		return slices.DeleteFunc(set(list), func(id ovsdb.UUID) bool { return !slices.Contains(of, id) })
	}
	src, dst := wanted(m.SelectSrcPorts, g.src), wanted(m.SelectDstPorts, g.dst)
	if len(src) == len(set(m.SelectSrcPorts)) && len(dst) == len(set(m.SelectDstPorts)) {
		return true
	}
	if len(src)+len(dst) == 0 {
		return false
	}
	d.Changes = true
	d.tx.WriteMirror(d.Bridge, m, ovsdb.Values{"select_src_port": src, "select_dst_port": dst})
	return true
}

// output returns the port by which copies leave, "" if there is none.
func (d *deciding) output(g *group) ovsdb.UUID {
	if p := d.ports[g.Port]; g.tunnelled() && p != nil && slices.Contains(d.tunnels, p) {
		return p.UUID
	}
	return g.output
}

// copied returns of which VIFs of a group a row makes copies that get there, in the directions in which it does. A row for some VLANs makes those of
// ports that are in one of these.
func (d *deciding) copied(g *group, m *ovsdb.Mirror) (vifs []string) {
	if g.to.VLAN != 0 && (m.OutputVLAN == nil || *m.OutputVLAN != int64(g.to.VLAN)) || g.to.VLAN == 0 && (m.OutputPort == "" || m.OutputPort != d.output(g)) {
		return nil
	}
	if i := d.of(d.ports[g.Port]); g.tunnelled() && (i == nil || d.broken(g) || i.OFPort == 0 || !leads(i, d.options(g))) {
		return nil
	}
	all := func(c *Copy, selected []ovsdb.UUID) bool {
		some := false
		for _, id := range c.Ports {
			p := d.inBridge[id]
			if p == nil || g.to.Port == p.Name {
				continue
			}
			vlan := int64(untagged)
			if p.Tag != nil {
				vlan = *p.Tag
			}
			if !slices.Contains(selected, id) || len(m.SelectVLANs) > 0 && !slices.Contains(m.SelectVLANs, vlan) {
				return false
			}
			some = true
		}
		return some
	}
	for _, c := range g.copies {
		in, out := c.In && all(c, m.SelectDstPorts), c.Out && all(c, m.SelectSrcPorts)
		if in || out {
			vifs = append(vifs, c.words(in, out))
		}
	}
	slices.Sort(vifs)
	return slices.Compact(vifs)
}

func (d *deciding) finish() {
	for _, g := range d.groups {
		if g.State == StateActive {
			g.Copied = g.VIFs
		}
		d.Mirrors = append(d.Mirrors, g.Mirror)
		d.Changes = d.Changes || g.State == StateSetting
		d.Held = d.Held || g.State == StateActive || g.State == StateSetting || d.broken(g)
	}
}

// of returns the interface of a port that has one.
func (d *deciding) of(p *ovsdb.Port) *ovsdb.Interface {
	if p == nil || len(p.Interfaces) != 1 {
		return nil
	}
	return d.Rows.Interfaces[p.Interfaces[0]]
}

// broken says whether a tunnel is there that Open vSwitch could not make.
func (d *deciding) broken(g *group) bool {
	p := d.ports[g.Port]
	i := d.of(p)
	return g.tunnelled() && i != nil && slices.Contains(d.tunnels, p) && (i.Error != "" || i.OFPort < 0)
}

// undo says that what Weir had set up is otherwise.
func (d *deciding) undo(how string) {
	d.Changes = true
	if d.Want != "" && d.Found == d.Want && d.Undone == "" {
		d.Undone = how
	}
}

// tunnel makes the ports by which copies leave in tunnels, and removes those that are not wanted. Groups whose port is not there yet are not
// active afterwards.
func (d *deciding) tunnel() {
	wanted := map[string]bool{}
	for _, g := range d.groups {
		if g.State != StateActive || !g.tunnelled() {
			continue
		}
		wanted[g.Port] = true
		p := d.ports[g.Port]
		want := d.options(g)
		if p == nil {
			d.undo("others removed a port by which copies leave")
			d.tx.AddPort(d.Bridge, g.Port, ovsdb.Values{"trunks": []int64{noVLAN}}, want)
			g.State = StateSetting
			continue
		}
		if !slices.Contains(d.tunnels, p) {
			g.State, g.Why = StateFailed, fmt.Sprintf("port %q has the name of one by which copies are to leave, and is not Weir's: it is left alone", p.Name)
			continue
		}
		g.output = p.UUID
		d.check(g, p, want)
	}
	for _, p := range d.tunnels {
		if !wanted[p.Name] {
			d.Changes = true
			d.tx.RemovePort(d.Bridge, p)
		}
	}
}

// check looks at a tunnel that is there.
func (d *deciding) check(g *group, p *ovsdb.Port, want ovsdb.Values) {
	i := d.of(p)
	switch {
	case i == nil:
		d.undo("others changed a port by which copies leave")
		d.tx.RemovePort(d.Bridge, p)
		g.State = StateSetting
	case !leads(i, want) || !slices.Equal(p.Trunks, []int64{noVLAN}) || p.Tag != nil || p.VLANMode != "":
		d.undo("others changed a port by which copies leave")
		d.tx.WritePort(p, ovsdb.Values{"trunks": []int64{noVLAN}, "tag": nil, "vlan_mode": nil}, want)
		g.State = StateSetting
	case d.broken(g):
		if d.Question.Again {
			d.Answer.Again = true
			d.Changes = true
			d.tx.RemovePort(d.Bridge, p)
			g.State = StateSetting
			return
		}
		g.State, g.Why = StateFailed, "Open vSwitch could not make the tunnel"
		if i.Error != "" {
			g.Why += ": " + i.Error
		}
	case i.OFPort == 0:
		g.State, g.Why = StateSetting, "waiting for ovs-vswitchd"
	}
}

// leads says whether an interface has the type and options of a tunnel.
func leads(i *ovsdb.Interface, options ovsdb.Values) bool {
	return i.Type == options["type"] && maps.Equal(i.Options, options["options"].(map[string]string))
}

// options returns type and options of the interface of a tunnel.
func (d *deciding) options(g *group) ovsdb.Values {
	// What comes in has to have the key of this one destination of this one bridge, which nobody sends: two bridges may have tunnels to
	// one address, and nothing gets in.
	o := map[string]string{"in_key": strconv.FormatUint(uint64(d.number(g))|1<<31, 10)}
	kind, remote := "gre", g.to.GRE
	if g.to.ERSPAN.IsValid() {
		kind, remote = "erspan", g.to.ERSPAN
		o["erspan_ver"], o["erspan_idx"] = "1", "0"
	}
	o["remote_ip"] = remote.String()
	if g.to.Key != 0 {
		o["out_key"] = strconv.FormatUint(uint64(g.to.Key), 10)
	}
	return ovsdb.Values{"type": kind, "options": o}
}

// mirror makes the rows of active groups, and removes those that are not wanted.
func (d *deciding) mirror() {
	byName := map[string]*ovsdb.Mirror{}
	for _, m := range d.ours {
		if byName[m.Name] == nil {
			byName[m.Name] = m
			continue
		}
		d.Changes = true
		d.tx.RemoveMirror(d.Bridge, m)
	}
	for _, g := range d.groups {
		if g.State != StateActive {
			continue
		}
		m := byName[g.Row]
		delete(byName, g.Row)
		row := g.row()
		switch {
		case m == nil:
			d.undo("others removed a mirror")
			d.tx.AddMirror(d.Bridge, row)
			g.State = StateSetting
		case !g.is(m):
			d.undo("others changed a mirror")
			d.tx.WriteMirror(d.Bridge, m, row)
			g.State = StateSetting
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		d.Changes = true
		d.tx.RemoveMirror(d.Bridge, byName[name])
	}
}

func (g *group) row() ovsdb.Values {
	row := ovsdb.Values{
		"name": g.Row, "select_all": false, "select_src_port": g.src, "select_dst_port": g.dst, "select_vlan": []int64{}, "output_port": nil, "output_vlan": nil,
	}
	if g.to.VLAN != 0 {
		row["output_vlan"] = int64(g.to.VLAN)
	} else {
		row["output_port"] = g.output
	}
	return row
}

func (g *group) is(m *ovsdb.Mirror) bool {
	vlan := int64(0)
	if m.OutputVLAN != nil {
		vlan = *m.OutputVLAN
	}
	return m.Name == g.Row && !m.SelectAll && slices.Equal(set(m.SelectSrcPorts), g.src) && slices.Equal(set(m.SelectDstPorts), g.dst) && len(m.SelectVLANs) == 0 &&
		m.OutputPort == g.output && vlan == int64(g.to.VLAN)
}

// vlans keeps copies in VLANs away from what is not to have them.
func (d *deciding) vlans() error {
	var flood []int64
	for _, g := range d.groups {
		if g.to.VLAN != 0 && (g.State == StateActive || g.State == StateSetting) {
			flood = append(flood, int64(g.to.VLAN))
		}
	}
	if err := d.add(own.FloodVLANs(d.Bridge), "others have the bridge learn addresses in a VLAN for copies", flood); err != nil {
		return err
	}
	before := d.before()
	for _, name := range slices.Sorted(maps.Keys(d.ports)) {
		p := d.ports[name]
		if slices.Contains(d.tunnels, p) || before[p.UUID] {
			continue
		}
		var only []int64
		n := own.Trunks(p)
		had, err := n.Added()
		if err != nil {
			return err
		}
		if len(flood) > 0 && d.guest(p) && (len(p.Trunks) == 0 || len(had) > 0) {
			only = []int64{untagged}
		}
		if err := d.add(n, "others have a port of a VM be in all VLANs, those for copies too", only); err != nil {
			return err
		}
	}
	return nil
}

// before returns the ports of the bridges that come before this one. A host that says that a port is of two has mistaken itself: the switch has
// it at one of them only, and one transaction does one thing with it, as the first bridge wants it.
func (d *deciding) before() map[ovsdb.UUID]bool {
	ports := map[ovsdb.UUID]bool{}
	for _, b := range own.Bridges(d.Rows) {
		if b.UUID == d.Bridge.UUID {
			break
		}
		for _, p := range b.Ports {
			ports[p] = true
		}
	}
	return ports
}

func (d *deciding) add(n own.Numbers, undone string, want []int64) error {
	before := len(d.tx.Changes())
	if err := d.tx.Add(n, want...); err != nil {
		return err
	}
	if len(d.tx.Changes()) == before {
		return nil
	}
	d.Changes = true
	if len(want) > 0 && n.Held() {
		d.undo(undone)
	}
	return nil
}

// guest says whether a port is in all VLANs, if no trunks are said, and may be a VM's.
func (d *deciding) guest(p *ovsdb.Port) bool {
	if !slices.Contains(d.Order.Guests, p.UUID) {
		return false
	}
	switch p.VLANMode {
	case "access", "dot1q-tunnel":
		return false
	case "":
		return p.Tag == nil
	}
	return true
}
