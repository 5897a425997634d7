package openflow_test

import (
	"math/rand/v2"

	of "github.com/weirhq/weir/ovs/openflow"
)

// source makes flows that Open vSwitch accepts, of all fields and actions that there are.
type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 1))} }

func (r source) maybe() bool { return r.IntN(2) == 0 }

// often is one time of n.
func (r source) rarely(n int) bool { return r.IntN(n) == 0 }

func pick[T any](r source, of ...T) T { return of[r.IntN(len(of))] }

// mask is mostly all ones, sometimes others, never zero.
func (r source) mask(f of.Field) of.Bits {
	all := of.Ones(f.Width())
	switch r.IntN(4) {
	case 0:
		// ovs-ofctl reads the mask of an IPv6 address as the length of a prefix if it begins with a digit.
		if m := (of.Bits{Hi: r.Uint64() | 0xf<<60, Lo: r.Uint64()}).And(all); !m.IsZero() {
			return m
		}
	case 1:
		n := 1 + r.IntN(f.Width())
		return of.Ones(n).Shl(f.Width() - n)
	}
	return all
}

func (r source) bits() of.Bits { return of.Bits{Hi: r.Uint64(), Lo: r.Uint64()} }

// term is a field with any value, and a mask.
func (r source) term(f of.Field) of.Term { return of.Masked(f, r.bits(), r.mask(f)) }

// small is a field with a value from 0 to n-1.
func (r source) small(f of.Field, n uint64) of.Term { return of.Exact(f, of.U64(r.Uint64N(n))) }

// packet is what kind of packets a match is of: it decides what else may be there.
type packet struct {
	terms       []of.Term
	ip, v4, tcp bool
	vlan        bool
}

// packet makes a match.
func (r source) packet() (p packet) {
	add := func(t ...of.Term) { p.terms = append(p.terms, t...) }
	if r.rarely(3) {
		add(of.InPort(pick(r, of.Port(1), 7, 20, of.PortLocal)))
	}
	for _, f := range []of.Field{of.FieldEthSrc, of.FieldEthDst} {
		if r.rarely(4) {
			add(r.term(f))
		}
	}
	switch r.IntN(8) {
	case 0:
		add(of.NoVLAN())
	case 1:
		add(of.AnyVLAN())
		p.vlan = true
	case 2:
		add(of.VLAN(uint16(r.IntN(4096))))
		p.vlan = true
	case 3:
		add(of.VLAN(uint16(r.IntN(4096))), r.small(of.FieldVLANPCP, 8))
		p.vlan = true
	case 4:
		add(of.Masked(of.FieldVLANVID, of.U64(0x1000|r.Uint64N(4096)), of.U64(0x1000|r.Uint64N(4096))))
		p.vlan = true
	}
	for _, f := range []of.Field{of.FieldReg(0), of.FieldReg(5), of.FieldReg(15), of.FieldTunID, of.FieldPktMark, of.FieldCTMark, of.FieldCTLabel, of.FieldMetadata} {
		if r.rarely(6) {
			add(r.term(f))
		}
	}
	if r.rarely(6) {
		add(of.CTState(r.Uint32()&^of.CTInvalid, 1+r.Uint32N(255))) // ct(commit) of what is invalid is refused
	}
	if r.rarely(6) {
		add(of.CTZone(uint16(1 + r.IntN(65535))))
	}
	if r.rarely(9) {
		add(of.ConjID(r.Uint32()))
	}
	switch r.IntN(6) {
	case 0:
	case 1:
		add(of.EthType(uint16(0x9000 + r.IntN(16))))
	case 2:
		add(of.EthType(of.EthTypeARP))
		if r.maybe() {
			add(of.ARPOp(uint16(1 + r.IntN(2))))
		}
		for _, f := range []of.Field{of.FieldARPSPA, of.FieldARPTPA, of.FieldARPSHA, of.FieldARPTHA} {
			if r.rarely(3) {
				add(r.term(f))
			}
		}
	case 3, 4:
		p.ip, p.v4 = true, true
		add(of.EthType(of.EthTypeIPv4))
		for _, f := range []of.Field{of.FieldIPv4Src, of.FieldIPv4Dst} {
			if r.maybe() {
				add(r.term(f))
			}
		}
		r.transport(&p, of.ProtoICMP, of.FieldICMPType, of.FieldICMPCode)
	case 5:
		p.ip = true
		add(of.EthType(of.EthTypeIPv6))
		for _, f := range []of.Field{of.FieldIPv6Src, of.FieldIPv6Dst, of.FieldIPv6Label} {
			if r.rarely(3) {
				add(r.term(f))
			}
		}
		if r.rarely(3) {
			kind := uint8(135 + r.IntN(2))
			add(of.IPProto(of.ProtoICMPv6), of.ICMPv6Type(kind), of.ICMPv6Code(0))
			if r.maybe() {
				add(r.term(of.FieldNDTarget))
			}
			if r.maybe() {
				add(r.term([]of.Field{of.FieldNDSLL, of.FieldNDTLL}[kind-135]))
			}
			break
		}
		r.transport(&p, of.ProtoICMPv6, of.FieldICMPv6Type, of.FieldICMPv6Code)
	}
	return p
}

// transport adds what is above IP, and fields of IP itself.
func (r source) transport(p *packet, icmp uint8, kind, code of.Field) {
	add := func(t ...of.Term) { p.terms = append(p.terms, t...) }
	later := r.rarely(9) // has no ports: Open vSwitch refuses a match that says otherwise
	switch {
	case later:
		add(of.LaterFragment())
	case r.rarely(4):
		add(pick(r, of.NotFragment(), of.Fragment(), of.FirstFragment(), of.NotLaterFragment()))
	}
	if r.rarely(6) {
		add(of.IPDSCP(uint8(r.IntN(64))))
	}
	if r.rarely(6) {
		add(r.small(of.FieldIPECN, 4))
	}
	if r.rarely(6) {
		add(of.IPTTL(uint8(r.IntN(256))))
	}
	ports := func(fields ...of.Field) {
		for _, f := range fields {
			if r.maybe() && !later {
				add(r.term(f))
			}
		}
	}
	switch r.IntN(6) {
	case 0:
	case 1:
		add(of.IPProto(uint8(140 + r.IntN(9))))
	case 2:
		p.tcp = !later
		add(of.IPProto(of.ProtoTCP))
		ports(of.FieldTCPSrc, of.FieldTCPDst)
	case 3:
		add(of.IPProto(of.ProtoUDP))
		ports(of.FieldUDPSrc, of.FieldUDPDst)
	case 4:
		add(of.IPProto(of.ProtoSCTP))
		ports(of.FieldSCTPSrc, of.FieldSCTPDst)
	case 5:
		add(of.IPProto(icmp))
		if r.maybe() && !later {
			add(r.small(kind, 128))
		}
		if r.maybe() && !later {
			add(r.small(code, 16))
		}
	}
}

// part is some bits of one of the registers.
func (r source) part(bits int) of.Part {
	from := r.IntN(33 - bits)
	return of.PartOf(of.FieldReg(r.IntN(of.Registers)), from, from+bits-1)
}

// action makes one that packets may have done.
func (r source) action(p packet) of.Action {
	width := 1 + r.IntN(32)
	switch r.IntN(16) {
	case 0:
		return of.Output{Port: pick(r, of.Port(1), 9, of.PortLocal, of.PortNormal, of.PortFlood, of.PortAll, of.PortIn)}
	case 1:
		return of.Output{Port: of.PortController, MaxLen: uint16(1 + r.IntN(65535))}
	case 2:
		return of.OutputPart{Src: of.Whole(of.FieldReg(r.IntN(of.Registers)))}
	case 3:
		return of.ToGroup{ID: 1 + r.Uint32N(3)}
	case 4:
		return of.Load{Dst: r.part(width), Value: r.Uint64() & (1<<width - 1)}
	case 5:
		return of.Move{Src: r.part(width), Dst: r.part(width)}
	case 6:
		return of.Resubmit{Port: pick(r, of.Port(0), 0, 5, of.PortLocal), Table: uint8(r.IntN(255))}
	case 7:
		return of.Sample{
			Probability: uint16(1 + r.IntN(65535)), CollectorSet: r.Uint32(), Domain: r.Uint32(), Point: r.Uint32(),
			Port: pick(r, uint16(0), 0, 7, 0xfffe), Direction: pick(r, of.SampleDefault, of.SampleDefault, of.SampleIngress, of.SampleEgress),
		}
	case 8:
		return of.SetField{Field: of.FieldReg(r.IntN(of.Registers)), Value: of.U64(r.Uint64() & 0xffffffff)}
	case 9:
		return of.SetField{Field: pick(r, of.FieldEthSrc, of.FieldEthDst, of.FieldTunID, of.FieldMetadata), Value: of.U64(r.Uint64N(1 << 48))}
	case 10:
		return r.learn()
	case 11:
		b := of.MultipathBundle{
			Fields: pick(r, of.HashEthSrc, of.HashL4), Basis: uint16(r.IntN(65536)), Algorithm: pick(r, of.BundleActiveBackup, of.BundleHRW),
		}
		if r.maybe() {
			b.Dst = r.part(16)
		}
		for range 1 + r.IntN(7) {
			b.Ports = append(b.Ports, uint16(1+r.IntN(20)))
		}
		return b
	case 12:
		switch {
		case p.v4:
			return of.SetField{Field: of.FieldIPv4Dst, Value: of.U64(r.Uint64() & 0xffffffff)}
		case p.ip:
			return of.SetField{Field: of.FieldIPv6Src, Value: r.bits()}
		}
	case 13:
		if p.tcp {
			return of.SetField{Field: of.FieldTCPDst, Value: of.U64(r.Uint64N(65536))}
		}
	case 14:
		if p.ip {
			return r.ct(p)
		}
	}
	return of.LoadReg(r.IntN(of.Registers), r.Uint32())
}

func (r source) ct(p packet) of.CT {
	a := of.CT{Commit: r.maybe()}
	switch r.IntN(3) {
	case 0:
		a.Zone = uint16(r.IntN(65536))
	case 1:
		a.ZoneFrom = of.PartOf(of.FieldReg(r.IntN(of.Registers)), 16, 31)
	}
	if a.Resume = r.maybe(); a.Resume {
		a.Table = uint8(r.IntN(255))
	}
	if !a.Commit {
		return a
	}
	if p.tcp && r.maybe() {
		a.Alg = 21
	}
	a.Force = r.rarely(3)
	from := r.IntN(97)
	for _, x := range []of.Action{
		of.Move{Src: of.Whole(of.FieldReg(2)), Dst: of.PartOf(of.FieldCTLabel, from, from+31)},
		of.SetField{Field: of.FieldCTMark, Value: of.U64(r.Uint64() & 0xffffffff)},
		of.SetField{Field: of.FieldCTLabel, Value: r.bits()},
		of.Load{Dst: of.PartOf(of.FieldCTMark, 3, 3), Value: r.Uint64N(2)},
	} {
		if r.rarely(3) {
			a.Exec = append(a.Exec, x)
		}
	}
	return a
}

func (r source) learn() of.Learn {
	a := of.Learn{
		Table: uint8(r.IntN(254)), Priority: uint16(r.IntN(65536)), Cookie: of.Cookie(r.Uint64N(1 << 63)),
		SendRemoved: r.rarely(3), DeleteLearned: r.rarely(3),
		Specs: []of.LearnSpec{{Kind: of.LearnMatch, From: of.Whole(of.FieldEthSrc), To: of.Whole(of.FieldEthDst)}},
	}
	for _, p := range []*uint16{&a.Idle, &a.Hard, &a.FinIdle, &a.FinHard} {
		if r.maybe() {
			*p = uint16(r.IntN(65536))
		}
	}
	if r.rarely(3) {
		a.Limit = r.Uint32()
	}
	width := 1 + r.IntN(32)
	for _, s := range []of.LearnSpec{
		{Kind: of.LearnMatch, From: of.PartOf(of.FieldVLANTCI, 0, 11), To: of.PartOf(of.FieldVLANTCI, 0, 11)},
		{Kind: of.LearnMatch, From: r.part(width), To: r.part(width)},
		{Kind: of.LearnMatch, Value: of.U64(r.Uint64() & 0xffffffff), To: of.Whole(of.FieldReg(r.IntN(of.Registers)))},
		{Kind: of.LearnLoad, From: r.part(width), To: r.part(width)},
		{Kind: of.LearnLoad, Value: of.U64(r.Uint64() & (1<<width - 1)), To: r.part(width)},
		{Kind: of.LearnLoad, From: of.Whole(of.FieldInPort16), To: r.part(16)},
		{Kind: of.LearnOutput, From: of.Whole(of.FieldInPort16)},
		{Kind: of.LearnOutput, From: of.Whole(of.FieldReg(r.IntN(of.Registers)))},
	} {
		if r.rarely(3) {
			a.Specs = append(a.Specs, s)
		}
	}
	return a
}

// flow makes a flow of a table below 250.
func (r source) flow() of.Flow {
	p := r.packet()
	f := of.Flow{
		Table: uint8(r.IntN(250)), Priority: uint16(r.IntN(65536)), Cookie: of.Cookie(r.Uint64N(1<<64 - 1)), Match: of.NewMatch(p.terms...),
	}
	if r.rarely(5) {
		f.Flags = of.SendRemoved
	}
	if r.rarely(5) {
		f.Idle, f.Hard = uint16(1000+r.IntN(60000)), uint16(1000+r.IntN(60000))
	}
	var list []of.Action
	switch r.IntN(8) {
	case 0: // drop
	case 1:
		if f.Match.Term(of.FieldConjID).Mask.IsZero() {
			for range 1 + r.IntN(3) {
				n := uint8(2 + r.IntN(6))
				list = append(list, of.Conjunction{ID: r.Uint32(), Clause: uint8(1 + r.IntN(int(n))), Of: n})
			}
		}
	default:
		if r.rarely(6) {
			list = append(list, of.Meter{ID: 1 + r.Uint32N(2)})
		}
		if p.vlan {
			list = append(list, pick[of.Action](r, of.PopVLAN{}, of.SetVLAN(uint16(r.IntN(4096)))))
		} else if r.rarely(3) {
			list = append(list, of.PushVLAN{EthType: of.EthTypeVLAN}, of.SetVLAN(uint16(r.IntN(4096))))
		}
		for range r.IntN(6) {
			list = append(list, r.action(p))
		}
		if r.rarely(3) {
			list = append(list, of.Goto{Table: f.Table + 1 + uint8(r.IntN(253-int(f.Table)))})
		}
	}
	f.Actions = of.NewActions(list...)
	return f
}

// group makes a group.
func (r source) group(id uint32) of.Group {
	g := of.Group{ID: id, Type: pick(r, of.GroupAll, of.GroupAll, of.GroupSelect, of.GroupIndirect, of.GroupFailover)}
	n := r.IntN(5)
	if g.Type == of.GroupIndirect {
		n = 1
	}
	list := make([]of.Bucket, n)
	for i := range list {
		k := of.Bucket{Port: of.PortAny}
		for range 1 + r.IntN(3) {
			if a := r.action(packet{}); !isToGroup(a) {
				k.Actions = append(k.Actions, a)
			}
		}
		switch g.Type {
		case of.GroupSelect:
			k.Weight = uint16(1 + r.IntN(100))
		case of.GroupFailover:
			k.Port = of.Port(1 + r.IntN(20))
		case of.GroupAll, of.GroupIndirect:
		}
		list[i] = k
	}
	g.Buckets = of.NewBuckets(list...)
	return g
}

func isToGroup(a of.Action) bool {
	_, ok := a.(of.ToGroup)
	return ok
}
