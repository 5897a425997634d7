package openflow

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The text forms below are those of ovs-ofctl, which takes them: for people, golden files and the comparison with it in tests.

// String is the flow as `ovs-ofctl add-flow` takes it.
func (f Flow) String() string {
	b := fmt.Appendf(nil, "table=%d,priority=%d", f.Table, f.Priority)
	if f.Cookie != 0 {
		b = fmt.Appendf(b, ",cookie=%#x", uint64(f.Cookie))
	}
	if f.Idle != 0 {
		b = fmt.Appendf(b, ",idle_timeout=%d", f.Idle)
	}
	if f.Hard != 0 {
		b = fmt.Appendf(b, ",hard_timeout=%d", f.Hard)
	}
	if f.Flags&SendRemoved != 0 {
		b = append(b, ",send_flow_rem"...)
	}
	if f.Match != "" {
		b = f.Match.text(append(b, ','))
	}
	b = append(b, " actions="...)
	return string(f.Actions.text(b))
}

// String is the key in the form of a flow of ovs-ofctl.
func (k FlowKey) String() string {
	b := fmt.Appendf(nil, "table=%d,priority=%d", k.Table, k.Priority)
	if k.Match != "" {
		b = k.Match.text(append(b, ','))
	}
	return string(b)
}

// String is the match in the form of ovs-ofctl.
func (m Match) String() string { return string(m.text(nil)) }

func (m Match) text(b []byte) []byte {
	start := len(b)
	for rest := []byte(m); len(rest) > 0; {
		if len(b) > start {
			b = append(b, ',')
		}
		t, n := cutTerm(rest)
		switch {
		case n == 0:
			return fmt.Appendf(b, "unknown(%x)", rest)
		case t.Field == 0:
			b = fmt.Appendf(b, "unknown(%x)", rest[:n])
		default:
			b = t.text(b)
		}
		rest = rest[n:]
	}
	return b
}

// String is the term in the form of ovs-ofctl.
func (t Term) String() string { return string(t.text(nil)) }

func (t Term) text(b []byte) []byte {
	t = t.normal()
	if t.Field == FieldVLANVID {
		switch {
		case t == VLAN(uint16(t.Value.Lo)):
			return fmt.Appendf(b, "dl_vlan=%d", t.Value.Lo&0xfff)
		case t == NoVLAN():
			return append(b, "vlan_tci=0x0000/0x1fff"...)
		}
	}
	b = append(append(b, t.Field.String()...), '=')
	whole := t.Mask == Ones(t.Field.Width())
	info := &fields[t.Field]
	switch info.style {
	case styleState:
		return stateText(b, uint32(t.Value.Lo), uint32(t.Mask.Lo))
	case styleFrag:
		for _, k := range fragNames {
			if k.term == t {
				return append(b, k.name...)
			}
		}
		return fmt.Appendf(b, "unknown(%d/%d)", t.Value.Lo, t.Mask.Lo)
	case styleIPv4, styleIPv6:
		b = valueText(b, info.style, t.Value)
		if whole {
			return b
		}
		if n := t.Mask.prefix(t.Field.Width()); n >= 0 {
			return strconv.AppendInt(append(b, '/'), int64(n), 10)
		}
		return valueText(append(b, '/'), info.style, t.Mask)
	default:
		if !whole && info.style == styleDecimal {
			return valueText(append(valueText(b, styleHex, t.Value), '/'), styleHex, t.Mask)
		}
		b = valueText(b, info.style, t.Value)
		if whole {
			return b
		}
		return valueText(append(b, '/'), info.style, t.Mask)
	}
}

// fragNames are the ways to match fragments that have a name.
var fragNames = [...]struct {
	term Term
	name string
}{{NotFragment(), "no"}, {Fragment(), "yes"}, {FirstFragment(), "first"}, {LaterFragment(), "later"}, {NotLaterFragment(), "not_later"}}

// valueText appends a value in its style.
func valueText(b []byte, s style, v Bits) []byte {
	switch s {
	case styleDecimal:
		return strconv.AppendUint(b, v.Lo, 10)
	case styleMAC:
		m := v.Lo
		return fmt.Appendf(b, "%02x:%02x:%02x:%02x:%02x:%02x", byte(m>>40), byte(m>>32), byte(m>>24), byte(m>>16), byte(m>>8), byte(m))
	case styleIPv4:
		return netip.AddrFrom4([4]byte(appendBits(nil, v, 4))).AppendTo(b)
	case styleIPv6:
		return netip.AddrFrom16([16]byte(appendBits(nil, v, 16))).AppendTo(b)
	case stylePort:
		return append(b, Port(v.Lo).String()...)
	default:
		if v.Hi != 0 {
			return fmt.Appendf(b, "%#x%016x", v.Hi, v.Lo)
		}
		return fmt.Appendf(b, "%#x", v.Lo)
	}
}

// ctStates are the names of bits of FieldCTState, from bit 0.
var ctStates = [...]string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}

func stateText(b []byte, v, mask uint32) []byte {
	if mask>>len(ctStates) != 0 {
		return fmt.Appendf(b, "%#x/%#x", v, mask)
	}
	for i, name := range ctStates {
		if mask>>i&1 != 0 {
			b = append(append(b, "-+"[v>>i&1]), name...)
		}
	}
	return b
}

// portNames are the reserved ports that have a name.
var portNames = map[Port]string{
	PortIn: "IN_PORT", PortNormal: "NORMAL", PortFlood: "FLOOD", PortAll: "ALL", PortController: "CONTROLLER", PortLocal: "LOCAL", PortAny: "ANY",
}

// String is the port's number, or the name of one that is none.
func (p Port) String() string {
	if name, ok := portNames[p]; ok {
		return name
	}
	return strconv.FormatUint(uint64(p), 10)
}

// String is the actions in the form of ovs-ofctl.
func (a Actions) String() string { return string(a.text(nil)) }

func (a Actions) text(b []byte) []byte {
	list := a.List()
	if len(list) == 0 {
		return append(b, "drop"...)
	}
	return actionsText(b, list)
}

func actionsText(b []byte, list []Action) []byte {
	for i, a := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.text(b)
	}
	return b
}

func (a Goto) text(b []byte) []byte               { return fmt.Appendf(b, "goto_table:%d", a.Table) }
func (a Meter) text(b []byte) []byte              { return fmt.Appendf(b, "meter:%d", a.ID) }
func (a ForeignInstruction) text(b []byte) []byte { return fmt.Appendf(b, "unknown(%x)", a.Raw) }
func (a Foreign) text(b []byte) []byte            { return fmt.Appendf(b, "unknown(%x)", a.Raw) }

func (a Output) text(b []byte) []byte {
	switch name, reserved := portNames[a.Port]; {
	case a.Port == PortController:
		return fmt.Appendf(b, "CONTROLLER:%d", a.MaxLen)
	case reserved:
		return append(b, name...)
	}
	return fmt.Appendf(b, "output:%d", a.Port)
}

func (a OutputPart) text(b []byte) []byte {
	return fmt.Appendf(b, "output:%s", a.Src)
}

func (a ToGroup) text(b []byte) []byte { return fmt.Appendf(b, "group:%d", a.ID) }
func (PopVLAN) text(b []byte) []byte   { return append(b, "pop_vlan"...) }
func (a PushVLAN) text(b []byte) []byte {
	return fmt.Appendf(b, "push_vlan:0x%04x", a.EthType)
}

func (a SetField) text(b []byte) []byte {
	s := fields[a.Field].style
	if s == styleVLAN {
		s = styleDecimal
	}
	return fmt.Appendf(valueText(append(b, "set_field:"...), s, a.Value), "->%s", a.Field)
}

func (a Load) text(b []byte) []byte { return fmt.Appendf(b, "load:%#x->%s", a.Value, a.Dst) }
func (a Move) text(b []byte) []byte { return fmt.Appendf(b, "move:%s->%s", a.Src, a.Dst) }

func (a Resubmit) text(b []byte) []byte {
	b = append(b, "resubmit("...)
	if a.Port != 0 {
		b = append(b, a.Port.String()...)
	}
	b = append(b, ',')
	if a.Table != CurrentTable {
		b = strconv.AppendUint(b, uint64(a.Table), 10)
	}
	return append(b, ')')
}

func (a Conjunction) text(b []byte) []byte {
	return fmt.Appendf(b, "conjunction(%d,%d/%d)", a.ID, a.Clause, a.Of)
}

// algNames are the protocols of CT.Alg.
var algNames = map[uint16]string{21: "ftp", 69: "tftp"}

func (a CT) text(b []byte) []byte {
	var parts []string
	if a.Commit {
		parts = append(parts, "commit")
	}
	if a.Force {
		parts = append(parts, "force")
	}
	if a.Resume {
		parts = append(parts, fmt.Sprintf("table=%d", a.Table))
	}
	if a.ZoneFrom.Field != 0 {
		parts = append(parts, "zone="+a.ZoneFrom.String())
	} else if a.Zone != 0 {
		parts = append(parts, fmt.Sprintf("zone=%d", a.Zone))
	}
	if len(a.Exec) > 0 {
		parts = append(parts, string(actionsText([]byte("exec("), a.Exec))+")")
	}
	if a.Alg != 0 {
		name, ok := algNames[a.Alg]
		if !ok {
			name = strconv.Itoa(int(a.Alg))
		}
		parts = append(parts, "alg="+name)
	}
	return fmt.Appendf(b, "ct(%s)", strings.Join(parts, ","))
}

func (a Learn) text(b []byte) []byte {
	b = fmt.Appendf(b, "learn(table=%d", a.Table)
	for _, n := range []struct {
		name  string
		value uint16
	}{{"idle_timeout", a.Idle}, {"hard_timeout", a.Hard}, {"fin_idle_timeout", a.FinIdle}, {"fin_hard_timeout", a.FinHard}} {
		if n.value != 0 {
			b = fmt.Appendf(b, ",%s=%d", n.name, n.value)
		}
	}
	b = fmt.Appendf(b, ",priority=%d", a.Priority)
	if a.SendRemoved {
		b = append(b, ",send_flow_rem"...)
	}
	if a.DeleteLearned {
		b = append(b, ",delete_learned"...)
	}
	if a.Cookie != 0 {
		b = fmt.Appendf(b, ",cookie=%#x", uint64(a.Cookie))
	}
	if a.Limit != 0 {
		b = fmt.Appendf(b, ",limit=%d", a.Limit)
	}
	for _, s := range a.Specs {
		b = s.text(append(b, ','))
	}
	return append(b, ')')
}

func (s LearnSpec) text(b []byte) []byte {
	from := s.From.String
	if s.From.Field == 0 {
		from = func() string { return string(valueText(nil, styleHex, s.Value)) }
	}
	switch s.Kind {
	case LearnLoad:
		return fmt.Appendf(b, "load:%s->%s", from(), s.To)
	case LearnOutput:
		return fmt.Appendf(b, "output:%s", from())
	default:
		return fmt.Appendf(b, "%s=%s", s.To, from())
	}
}

func (a MultipathBundle) text(b []byte) []byte {
	name, hash, algorithm := "bundle", strconv.Itoa(int(a.Fields)), strconv.Itoa(int(a.Algorithm))
	if a.Dst.Field != 0 {
		name = "bundle_load"
	}
	switch a.Fields {
	case HashEthSrc:
		hash = "eth_src"
	case HashL4:
		hash = "symmetric_l4"
	}
	switch a.Algorithm {
	case BundleActiveBackup:
		algorithm = "active_backup"
	case BundleHRW:
		algorithm = "hrw"
	}
	b = fmt.Appendf(b, "%s(%s,%d,%s,ofport,", name, hash, a.Basis, algorithm)
	if a.Dst.Field != 0 {
		b = fmt.Appendf(b, "%s,", a.Dst)
	}
	b = append(b, "members:"...)
	for i, p := range a.Ports {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, from16(p).String()...)
	}
	return append(b, ')')
}

func (a Sample) text(b []byte) []byte {
	b = fmt.Appendf(b, "sample(probability=%d,collector_set_id=%d,obs_domain_id=%d,obs_point_id=%d", a.Probability, a.CollectorSet, a.Domain, a.Point)
	if a.Port != 0 {
		b = fmt.Appendf(b, ",sampling_port=%s", from16(a.Port))
	}
	switch a.Direction {
	case SampleDefault:
	case SampleIngress:
		b = append(b, ",ingress"...)
	case SampleEgress:
		b = append(b, ",egress"...)
	}
	return append(b, ')')
}

// typeNames are the types of groups, by number.
var typeNames = [...]string{"all", "select", "indirect", "ff"}

// String is the type in the form of ovs-ofctl.
func (t GroupType) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return strconv.Itoa(int(t))
}

// String is the group as `ovs-ofctl add-group` takes it.
func (g Group) String() string {
	b := fmt.Appendf(nil, "group_id=%d,type=%s", g.ID, g.Type)
	for _, k := range g.Buckets.List() {
		b = append(b, ",bucket="...)
		if g.Type == GroupSelect {
			b = fmt.Appendf(b, "weight:%d,", k.Weight)
		}
		if k.Port != PortAny {
			b = fmt.Appendf(b, "watch_port:%s,", k.Port)
		}
		b = append(b, "actions="...)
		if len(k.Actions) == 0 {
			b = append(b, "drop"...)
		}
		b = actionsText(b, k.Actions)
	}
	return string(b)
}

// String is the cookie as ovs-ofctl writes it.
func (c Cookie) String() string { return "0x" + strconv.FormatUint(uint64(c), 16) }

// String is the modification in words.
func (m AddFlow) String() string { return "add-flow " + m.Flow.String() }

// String is the modification in words.
func (m DeleteFlow) String() string {
	return "del-flows --strict " + cookieText(m.Cookie, m.CookieMask) + m.Key.String()
}

// String is the modification in words.
func (m DeleteFlows) String() string {
	s := "del-flows " + cookieText(m.Cookie, m.CookieMask)
	if m.Table != AllTables {
		s += fmt.Sprintf("table=%d,", m.Table)
	}
	return strings.TrimRight(s+m.Match.String(), ", ")
}

func cookieText(c, mask Cookie) string {
	if mask == 0 {
		return ""
	}
	return fmt.Sprintf("cookie=%s/%s,", c, mask)
}

// String is the modification in words.
func (m AddGroup) String() string { return "add-group " + m.Group.String() }

// String is the modification in words.
func (m ModifyGroup) String() string { return "mod-group " + m.Group.String() }

// String is the modification in words.
func (m DeleteGroup) String() string { return fmt.Sprintf("del-groups group_id=%d", m.ID) }

// hexText is octets for an error, cut short.
func hexText(b []byte) string {
	const enough = 64
	if len(b) > enough {
		return hex.EncodeToString(b[:enough]) + "…"
	}
	return hex.EncodeToString(b)
}
