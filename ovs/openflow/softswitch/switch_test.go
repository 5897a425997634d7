package softswitch_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/openflow/softswitch"
)

func Example() {
	to := func(addr string) of.Match {
		return of.NewMatch(of.EthType(of.EthTypeIPv4), of.IPv4Dst(netip.MustParsePrefix(addr)))
	}
	flows := []of.Flow{
		{Table: 0, Priority: 20, Match: to("192.0.2.1/32"), Actions: of.NewActions(of.LoadReg(1, 7), of.Goto{Table: 5})},
		{Table: 0, Priority: 10, Match: to("192.0.2.0/24"), Actions: of.NewActions(of.Sample{Probability: 65535, CollectorSet: 1, Point: 3})},
		{Table: 5, Match: of.NewMatch(of.Reg(1, 7, 0xff)), Actions: of.NewActions(of.Output{Port: 2})},
	}
	s, err := softswitch.New(softswitch.Config{}, slices.Values(flows), nil)
	if err != nil {
		panic(err)
	}
	for _, addr := range []string{"192.0.2.1", "192.0.2.9"} {
		r, err := s.Send(&softswitch.Packet{
			InPort: 1, EthType: of.EthTypeIPv4, Src: netip.MustParseAddr("198.51.100.1"), Dst: netip.MustParseAddr(addr), Proto: of.ProtoTCP,
		})
		if err != nil {
			panic(err)
		}
		fmt.Println(addr, len(r.Flows), r.Outputs, len(r.Samples))
	}
	// Output:
	// 192.0.2.1 2 [{2 [] false 0}] 0
	// 192.0.2.9 1 [] 1
}

var arp = softswitch.Packet{InPort: 1, EthSrc: 0x020000000001, EthDst: 0x020000000002, EthType: of.EthTypeARP, Src: netip.AddrFrom4([4]byte{10, 0, 0, 1}), Dst: netip.AddrFrom4([4]byte{10, 0, 0, 2})}

func send(t *testing.T, p softswitch.Packet, flows ...of.Flow) (*softswitch.Result, error) {
	t.Helper()
	s, err := softswitch.New(softswitch.Config{}, slices.Values(flows), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(&p)
}

// What a switch may do either way is an error.
func TestUndefined(t *testing.T) {
	out := func(port of.Port) of.Actions { return of.NewActions(of.Output{Port: port}) }
	clause := func(id uint32, k uint8) of.Actions {
		return of.NewActions(of.Conjunction{ID: id, Clause: k, Of: 2})
	}
	both := of.NewActions(of.Conjunction{ID: 5, Clause: 2, Of: 2}, of.Conjunction{ID: 6, Clause: 2, Of: 2})
	in, ether, from := of.NewMatch(of.InPort(1)), of.NewMatch(of.EthType(of.EthTypeARP)), of.NewMatch(of.EthSrc(arp.EthSrc))
	f := func(name string, flows ...of.Flow) {
		t.Helper()
		if r, err := send(t, arp, flows...); !errors.Is(err, softswitch.ErrUndefined) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	f("two flows of one priority", of.Flow{Priority: 5, Match: in, Actions: out(2)}, of.Flow{Priority: 5, Match: ether, Actions: out(3)})
	f("a flow and a conjunction",
		of.Flow{Priority: 5, Match: in, Actions: clause(5, 1)}, of.Flow{Priority: 5, Match: ether, Actions: clause(5, 2)},
		of.Flow{Priority: 5, Match: of.NewMatch(of.ConjID(5)), Actions: out(2)}, of.Flow{Priority: 5, Match: from, Actions: out(3)})
	f("two conjunctions",
		of.Flow{Priority: 5, Match: in, Actions: clause(5, 1)}, of.Flow{Priority: 5, Match: from, Actions: clause(6, 1)}, of.Flow{Priority: 5, Match: ether, Actions: both},
		of.Flow{Priority: 5, Match: of.NewMatch(of.ConjID(5)), Actions: out(2)}, of.Flow{Priority: 5, Match: of.NewMatch(of.ConjID(6)), Actions: out(3)})
	f("a conjunction without its flow",
		of.Flow{Priority: 5, Match: in, Actions: clause(5, 1)}, of.Flow{Priority: 5, Match: ether, Actions: clause(5, 2)}, of.Flow{Priority: 1, Match: from, Actions: out(3)})

	if _, err := send(t, arp, of.Flow{Priority: 5, Match: in, Actions: out(2)}, of.Flow{Priority: 5, Match: ether, Actions: out(2)}); err != nil {
		t.Errorf("two flows that do the same: %v", err)
	}
}

// What is not modelled, and what switches refuse, is refused.
func TestRefusal(t *testing.T) {
	tcp := []of.Term{of.EthType(of.EthTypeIPv4), of.IPProto(of.ProtoTCP)}
	f := func(want string, match of.Match, actions ...of.Action) {
		t.Helper()
		_, err := softswitch.New(softswitch.Config{}, slices.Values([]of.Flow{{Match: match, Actions: of.NewActions(actions...)}}), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s actions=%s: %v, want %q", match, of.NewActions(actions...), err, want)
		}
	}
	f("without the protocol", of.NewMatch(of.TCPDst(80, 0xffff)))
	f("without the protocol", of.NewMatch(of.EthType(of.EthTypeIPv4), of.TCPDst(80, 0xffff)))
	f("without the protocol", of.NewMatch(append(tcp, of.UDPDst(80, 0xffff))...))
	f("without the protocol", of.NewMatch(append(tcp, of.TCPDst(80, 0xffff), of.LaterFragment())...))
	f("not modelled", of.NewMatch(of.EthType(of.EthTypeIPv4), of.IPTTL(1)))
	f("not modelled", "", of.Output{Port: of.PortFlood})
	f("not modelled", "", of.Load{Dst: of.Whole(of.FieldEthDst), Value: 1})
	f("without a tag", "", of.PopVLAN{})
	f("without a tag", of.NewMatch(of.NoVLAN()), of.PopVLAN{})
	f("other than IP", "", of.CT{Resume: true, Table: 1})
	f("beside other actions", "", of.Conjunction{ID: 1, Clause: 1, Of: 2}, of.Output{Port: 1})
	f("goto_table:0", "", of.Goto{Table: 0})
}

// A switch that learns where a MAC address is sends there, and to nobody else.
func TestLearn(t *testing.T) {
	s, err := softswitch.New(softswitch.Config{}, slices.Values([]of.Flow{
		{Table: 0, Actions: of.NewActions(
			of.Learn{Table: 1, Priority: 7, Cookie: 9, Hard: 10, Specs: []of.LearnSpec{
				{Kind: of.LearnMatch, From: of.Whole(of.FieldEthSrc), To: of.Whole(of.FieldEthDst)},
				{Kind: of.LearnLoad, From: of.Whole(of.FieldInPort16), To: of.PartOf(of.FieldReg(6), 0, 15)},
			}},
			of.Resubmit{Table: 1}, of.Resubmit{Table: 2},
		)},
		{Table: 2, Match: of.NewMatch(of.Reg(6, 1, 0xffff)), Actions: of.NewActions(of.Output{Port: 1})},
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Send(&arp)
	if err != nil || len(first.Outputs) != 0 || len(first.Learned) != 1 {
		t.Fatalf("first packet: %+v, %v", first, err)
	}
	want := of.Flow{
		Table: 1, Priority: 7, Cookie: 9, Hard: 10, Match: of.NewMatch(of.EthDst(arp.EthSrc)),
		Actions: of.NewActions(of.Load{Dst: of.PartOf(of.FieldReg(6), 0, 15), Value: 1}),
	}
	if first.Learned[0] != want {
		t.Errorf("learned %s, want %s", first.Learned[0], want)
	}
	for range 2 { // twice the same flow is one
		if err := s.Add(first.Learned[0]); err != nil {
			t.Fatal(err)
		}
	}
	answer := arp
	answer.InPort, answer.EthSrc, answer.EthDst = 5, arp.EthDst, arp.EthSrc
	back, err := s.Send(&answer)
	if err != nil || !slices.EqualFunc(back.Outputs, []of.Port{1}, func(o softswitch.Output, p of.Port) bool { return o.Port == p }) {
		t.Errorf("answer: %+v, %v", back, err)
	}
}

// A packet knows of its connection only where it comes back from connection tracking.
func TestConnTrackEnds(t *testing.T) {
	ip := of.EthType(of.EthTypeIPv4)
	p := softswitch.Packet{InPort: 1, EthType: of.EthTypeIPv4, Src: arp.Src, Dst: arp.Dst, Proto: 47, Conntrack: func(zone uint16) softswitch.Connection {
		return softswitch.Connection{State: softswitch.CTState(of.CTEstablished), Mark: uint32(zone), Label: of.Bits{Hi: 1}}
	}}
	r, err := send(t, p,
		of.Flow{Table: 0, Match: of.NewMatch(ip), Actions: of.NewActions(of.CT{Resume: true, Table: 1, Zone: 3}, of.Resubmit{Table: 2})},
		of.Flow{Table: 1, Match: of.NewMatch(ip, of.CTMark(3, 0xff), of.CTLabel(of.Bits{Hi: 1}, of.Bits{Hi: 1})), Actions: of.NewActions(
			of.CT{Commit: true, Zone: 3, Exec: []of.Action{of.Load{Dst: of.PartOf(of.FieldCTMark, 0, 0)}}}, of.Resubmit{Table: 2})},
		of.Flow{Table: 2, Match: of.NewMatch(of.CTState(0, of.CTTracked)), Actions: of.NewActions(of.Output{Port: 9})},
	)
	want := softswitch.Commit{Zone: 3, Mark: 0, MarkMask: 1}
	if err != nil || len(r.Outputs) != 2 || len(r.Tracked) != 1 || len(r.Commits) != 1 || r.Commits[0] != want {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLoop(t *testing.T) {
	if _, err := send(t, arp, of.Flow{Actions: of.NewActions(of.Resubmit{Table: 0})}); !errors.Is(err, softswitch.ErrLoop) {
		t.Errorf("a flow that resubmits to its table: %v", err)
	}
	var flows []of.Flow // 2^13 look-ups, none within 64 others
	for table := range uint8(13) {
		flows = append(flows, of.Flow{Table: table, Actions: of.NewActions(of.Resubmit{Table: table + 1}, of.Resubmit{Table: table + 1})})
	}
	if _, err := send(t, arp, flows...); !errors.Is(err, softswitch.ErrLoop) {
		t.Errorf("a tree of resubmits: %v", err)
	}
}
