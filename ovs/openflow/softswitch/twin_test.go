package softswitch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/ovstrace"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/openflow/softswitch"
)

const (
	ports      = 8
	lastTable  = 6
	pipelines  = 60
	packets    = 60
	collectors = 1 // set of action sample
)

// A real switch does what the model says, with flows and packets at random.
func TestModelIsOpenVSwitch(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, and seconds")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	farm, err := ovsbedtest.New(t).Farm(ctx, 1, ports)
	must(err)
	host := farm.Hosts[0]
	must(host.Secure(ctx, "br0"))
	must(host.SetFlowSampling(ctx, "br0", collectors, ovsbed.IPFIX{Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4739")}}))
	control, err := ovstrace.Dial(host.SwitchSocket())
	must(err)
	defer control.Close()
	bridge, err := ovstrace.NewSwitch(control, "br0")
	must(err)

	g := &generator{Rand: rand.New(rand.NewPCG(chance.Seed(t), 0))}
	var traced, undefined, loops, conjunctions int
	for range pipelines {
		flows, groups := g.pipeline()
		must(install(ctx, host, flows, groups))
		model, err := softswitch.New(softswitch.Config{}, slices.Values(flows), groups)
		must(err)
		for range packets {
			p := g.packet()
			said, err := model.Send(p)
			if errors.Is(err, softswitch.ErrUndefined) {
				undefined++
				continue
			}
			if err != nil && strings.Contains(err.Error(), "not modelled") { // copies of copies
				continue
			}
			if err != nil && !errors.Is(err, softswitch.ErrLoop) {
				t.Fatal(err)
			}
			var tracked []softswitch.Tracked
			if said != nil {
				tracked = said.Tracked
			}
			is, traceErr := bridge.Send(p, tracked)
			must(traceErr)
			traced++
			if err != nil {
				loops++
				if is.Failed == "" {
					t.Fatalf("packet %v: the model says %v, the switch\n%s", p, err, is.Text)
				}
				continue
			}
			if slices.ContainsFunc(said.Flows, func(f *of.Flow) bool { return f.Match.Term(of.FieldConjID).Mask != of.Bits{} }) {
				conjunctions++
			}
			if differs := ovstrace.Differ(said, is); differs != "" {
				t.Fatalf("packet %v: %s\nmodel: %+v\nswitch:\n%s\nflows:\n%s", p, differs, *said, is.Text, text(flows, groups))
			}
		}
	}
	t.Logf("%d packets, %d of them in loops, %d met conjunctions; of %d more it is not defined", traced, loops, conjunctions, undefined)
	if conjunctions < traced/50 || traced < pipelines*packets*3/4 {
		t.Error("too few of them")
	}
}

// install gives a bridge flows and groups in place of those that it has.
func install(ctx context.Context, h *ovsbed.Host, flows []of.Flow, groups []of.Group) error {
	lines := []string{"flow delete", "group delete"}
	for _, g := range groups {
		lines = append(lines, "group add "+g.String())
	}
	for _, f := range flows {
		lines = append(lines, "flow add "+f.String())
	}
	file := filepath.Join(filepath.Dir(h.SwitchSocket()), "bundle.txt")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	if _, err := h.OFCtl(ctx, "bundle", "br0", file); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(lines, "\n"))
	}
	return nil
}

func text(flows []of.Flow, groups []of.Group) string {
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintln(&b, g)
	}
	for _, f := range flows {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// generator makes flows and packets of few values, so that they meet.
type generator struct {
	*rand.Rand

	// Packets are tracked in table 0 only, once, and their connections carry marks and labels. ofproto/trace tells those of a connection
	// to the first ct() only.
	labels bool

	// Flows may lead back to where they are. Then nothing is tracked: copies of copies of what loops would take for ever.
	loops bool
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

func (g *generator) addr(six bool) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(g.IntN(4))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(g.IntN(4))})
}

func (g *generator) prefix(six bool) netip.Prefix {
	a := g.addr(six)
	return netip.PrefixFrom(a, a.BitLen()-g.IntN(3)).Masked()
}

func (g *generator) mac() uint64 {
	return pick(g, 0x020000000001, 0x020000000002, 0x010000000001, uint64(0xffffffffffff))
}

// protocols of packets, with fields that matches may have.
var protocols = []struct {
	ether  uint16
	proto  uint8
	fields func(g *generator) []of.Term
}{
	{of.EthTypeIPv4, of.ProtoTCP, func(g *generator) []of.Term {
		return []of.Term{of.TCPSrc(uint16(g.IntN(4)), pick(g, uint16(0xffff), 0xfffe, 0)), of.TCPDst(uint16(g.IntN(4)), pick(g, uint16(0xffff), 0xfffe))}
	}},
	{of.EthTypeIPv4, of.ProtoUDP, func(g *generator) []of.Term { return []of.Term{of.UDPDst(uint16(g.IntN(4)), 0xffff)} }},
	{of.EthTypeIPv4, of.ProtoICMP, func(g *generator) []of.Term { return []of.Term{of.ICMPType(uint8(g.IntN(3)))} }},
	{of.EthTypeIPv6, of.ProtoTCP, func(g *generator) []of.Term { return []of.Term{of.TCPSrc(uint16(g.IntN(4)), 0xffff)} }},
	{of.EthTypeIPv6, of.ProtoSCTP, func(g *generator) []of.Term { return []of.Term{of.SCTPDst(uint16(g.IntN(4)), 0xfffe)} }},
	{of.EthTypeIPv6, of.ProtoICMPv6, func(g *generator) []of.Term {
		return []of.Term{of.ICMPv6Type(uint8(133 + g.IntN(4))), of.ICMPv6Code(0)}
	}},
	{of.EthTypeIPv4, 47, func(*generator) []of.Term { return nil }},
	{of.EthTypeARP, 0, func(g *generator) []of.Term {
		return []of.Term{of.ARPOp(uint16(1 + g.IntN(2))), of.ARPTPA(g.prefix(false))}
	}},
	{0x88cc, 0, func(*generator) []of.Term { return nil }},
}

// match returns terms of a match: any of what a packet in the table may have.
func (g *generator) match(table uint8) []of.Term {
	var terms []of.Term
	maybe := func(one int, t of.Term) {
		if g.IntN(one) == 0 {
			terms = append(terms, t)
		}
	}
	maybe(4, of.InPort(of.Port(1+g.IntN(3))))
	maybe(6, of.EthDst(g.mac()))
	maybe(8, of.Multicast())
	maybe(8, pick(g, of.NoVLAN(), of.AnyVLAN(), of.VLAN(100)))
	if table > 0 {
		maybe(3, of.Reg(g.IntN(3), uint32(g.IntN(3)), pick(g, uint32(3), 1, 0xffffffff)))
		tracked := of.CTState(pick(g, of.CTNew, of.CTEstablished, of.CTEstablished|of.CTReply, 0)|of.CTTracked, pick(g, of.CTTracked, of.CTTracked|of.CTNew, of.CTTracked|of.CTReply|of.CTEstablished))
		if g.IntN(4) == 0 {
			terms = append(terms, tracked) // what ofproto/trace is told of a connection is there from the beginning, but for the state
			maybe(4, of.CTMark(uint32(g.IntN(2)), 1))
			maybe(4, of.CTLabel(of.Bits{Hi: uint64(g.IntN(2)) << 1}, of.Bits{Hi: 2}))
		}
	}
	if g.IntN(2) == 0 {
		proto := pick(g, protocols...)
		terms = append(terms, of.EthType(proto.ether))
		six := proto.ether == of.EthTypeIPv6
		if six {
			maybe(3, of.IPv6Src(g.prefix(true)))
		} else if proto.ether == of.EthTypeIPv4 {
			maybe(3, of.IPv4Dst(g.prefix(false)))
			maybe(9, pick(g, of.NotFragment(), of.NotLaterFragment(), of.Fragment()))
		}
		if proto.proto != 0 && g.IntN(2) == 0 {
			terms = append(terms, of.IPProto(proto.proto))
			if g.IntN(2) == 0 {
				terms = append(terms, proto.fields(g)...)
			}
		} else if proto.ether == of.EthTypeARP {
			terms = append(terms, proto.fields(g)...)
		}
	}
	unique := terms[:0]
	for _, t := range terms {
		if !slices.ContainsFunc(unique, func(u of.Term) bool { return u.Field == t.Field }) {
			unique = append(unique, t)
		}
	}
	return unique
}

// actions returns what a flow of a table does.
func (g *generator) actions(table uint8, terms []of.Term, groups []of.Group) []of.Action {
	var list []of.Action
	later := func() uint8 { return table + 1 + uint8(g.IntN(int(lastTable-table))) }
	tag := of.NewMatch(terms...).Term(of.FieldVLANVID)
	ether := of.NewMatch(terms...).Term(of.FieldEthType).Value.Lo
	ip := ether == of.EthTypeIPv4 || ether == of.EthTypeIPv6
	tagged, untagged := tag.Value != of.Bits{}, tag == of.NoVLAN() // for certain
	track := ip && !g.labels && !g.loops
	if g.labels && !g.loops && table == 0 && ip && g.IntN(2) == 0 {
		list = append(list, of.CT{Resume: true, Table: later(), Zone: uint16(g.IntN(3))})
	}
	for range 1 + g.IntN(4) {
		var a of.Action
		switch n := g.IntN(16); {
		case n < 2:
			a = of.LoadReg(g.IntN(3), uint32(g.IntN(3)))
		case n == 2:
			a = of.Move{Src: of.PartOf(of.FieldReg(g.IntN(3)), 0, 7), Dst: of.PartOf(of.FieldReg(g.IntN(3)), 1, 8)}
		case n < 5:
			a = of.Output{Port: of.Port(1 + g.IntN(ports))}
		case n == 5:
			a = pick(g, of.Output{Port: of.PortIn}, of.Output{Port: of.PortLocal})
		case n == 6:
			a = of.Sample{Probability: 65535, CollectorSet: collectors, Domain: 7, Point: g.Uint32()}
		case n < 9 && table < lastTable:
			a = of.Resubmit{Table: later()}
		case n == 9 && g.loops && g.IntN(4) == 0 && table > 0:
			a = of.Resubmit{Table: pick(g, table, 1+uint8(g.IntN(lastTable)))}
		case n == 10 && table < lastTable && track:
			a = of.CT{Resume: true, Table: later(), Zone: uint16(g.IntN(3))}
		case n == 11 && (track || ip && table > 0):
			a = of.CT{Commit: true, ZoneFrom: of.PartOf(of.FieldReg(1), 0, 15), Exec: []of.Action{
				of.Move{Src: of.Whole(of.FieldReg(2)), Dst: of.PartOf(of.FieldCTLabel, 0, 31)},
				of.Load{Dst: of.PartOf(of.FieldCTMark, 0, 0), Value: 1},
			}[:g.IntN(3)]}
		case n == 12 && (g.loops || table < lastTable-1):
			a = of.ToGroup{ID: pick(g, groups...).ID}
		case n == 13:
			a = of.MultipathBundle{Algorithm: pick(g, of.BundleActiveBackup, of.BundleHRW), Ports: []uint16{uint16(1 + g.IntN(ports)), uint16(1 + g.IntN(ports))}}
		case n == 14 && g.IntN(3) == 0:
			a = of.MultipathBundle{Dst: of.Whole(of.FieldReg(g.IntN(3))), Ports: []uint16{uint16(1 + g.IntN(3)), uint16(1 + g.IntN(ports))}}
		case n > 13 && tagged:
			a, tagged, untagged = of.PopVLAN{}, false, true
		case n > 13 && untagged:
			list = append(list, of.PushVLAN{EthType: of.EthTypeVLAN})
			a, tagged, untagged = of.SetVLAN(uint16(g.IntN(300))), true, false
		}
		if a != nil {
			list = append(list, a)
		}
	}
	if table < lastTable && g.IntN(3) == 0 {
		list = append(list, of.Goto{Table: later()})
	}
	return list
}

// pipeline returns flows, whose cookies are all different, and groups.
func (g *generator) pipeline() ([]of.Flow, []of.Group) {
	g.labels, g.loops = g.IntN(2) == 0, g.IntN(6) == 0
	var groups []of.Group
	for id := range uint32(2) {
		var buckets [][]of.Action
		for range 1 + g.IntN(3) {
			buckets = append(buckets, []of.Action{
				of.LoadReg(g.IntN(3), uint32(g.IntN(3))),
				pick[of.Action](g, of.Output{Port: of.Port(1 + g.IntN(ports))}, of.Resubmit{Table: lastTable}, of.Resubmit{Table: lastTable - 1}),
			})
		}
		groups = append(groups, of.NewGroup(id+1, buckets...))
	}
	var flows []of.Flow
	keys := map[of.FlowKey]bool{}
	add := func(table uint8, priority uint16, terms []of.Term, actions []of.Action) {
		f := of.Flow{Table: table, Priority: priority, Cookie: of.Cookie(len(flows) + 1), Match: of.NewMatch(terms...), Actions: of.NewActions(actions...)}
		if !keys[f.Key()] {
			keys[f.Key()] = true
			flows = append(flows, f)
		}
	}
	for table := range uint8(lastTable + 1) {
		priority := uint16(0)
		for range 4 + g.IntN(8) {
			priority += 1 + uint16(g.IntN(2))
			if g.IntN(4) > 0 {
				terms := g.match(table)
				add(table, priority, terms, g.actions(table, terms, groups))
				continue
			}
			id, n := uint32(1+g.IntN(40)), uint8(2+g.IntN(2))
			for clause := range n {
				for range 1 + g.IntN(3) {
					conjunctions := []of.Action{of.Conjunction{ID: id, Clause: clause + 1, Of: n}}
					if g.IntN(4) == 0 { // a part of another one, too
						conjunctions = append(conjunctions, of.Conjunction{ID: id + 100, Clause: 1 + uint8(g.IntN(int(n))), Of: n})
					}
					add(table, priority, g.match(table), conjunctions)
				}
			}
			terms := []of.Term{of.ConjID(id)}
			if g.IntN(5) == 0 {
				terms = append(terms, g.match(table)...)
			}
			add(table, pick(g, priority, priority, priority, priority+1), terms, g.actions(table, terms, groups))
			add(table, priority, []of.Term{of.ConjID(id + 100)}, g.actions(table, nil, groups))
		}
	}
	return flows, groups
}

func (g *generator) packet() *softswitch.Packet {
	proto := pick(g, protocols...)
	p := &softswitch.Packet{
		InPort: of.Port(1 + g.IntN(ports)), EthSrc: 0x020000000009, EthDst: g.mac(), EthType: proto.ether, Proto: proto.proto,
		SrcPort: uint16(g.IntN(4)), DstPort: uint16(g.IntN(4)), ICMPType: uint8(g.IntN(3)), ARPOp: uint16(1 + g.IntN(2)),
	}
	switch g.IntN(4) {
	case 0:
		p.Tagged, p.VLAN = true, pick(g, uint16(100), 0, 7)
	}
	six := proto.ether == of.EthTypeIPv6
	p.Src, p.Dst, p.NDTarget = g.addr(six), g.addr(six), g.addr(true)
	if six && proto.proto == of.ProtoICMPv6 {
		p.ICMPType = uint8(133 + g.IntN(4))
	}
	if six && proto.proto != of.ProtoICMPv6 || proto.ether == of.EthTypeIPv4 {
		p.Fragment = pick(g, softswitch.Whole, softswitch.Whole, softswitch.Whole, softswitch.First, softswitch.Later)
	}
	c := softswitch.Connection{
		State: softswitch.CTState(pick(g, of.CTNew, of.CTNew, of.CTEstablished, of.CTEstablished|of.CTReply, of.CTRelated|of.CTReply, of.CTInvalid)),
	}
	if g.labels {
		c.Mark, c.Label = uint32(g.IntN(4)), of.Bits{Hi: uint64(g.IntN(4)), Lo: g.Uint64()}
	}
	p.Conntrack = func(uint16) softswitch.Connection { return c }
	return p
}
