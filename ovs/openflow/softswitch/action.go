package softswitch

import (
	"errors"
	"fmt"

	"github.com/weirhq/weir/ovs/openflow"
)

// checkAction refuses an action that is not modelled, and returns it with fields of the model.
func checkAction(a openflow.Action) (openflow.Action, error) {
	switch a := a.(type) {
	case openflow.Output:
		if a.Port >= openflow.PortMax && a.Port != openflow.PortIn && a.Port != openflow.PortNormal && a.Port != openflow.PortLocal && a.Port != openflow.PortController {
			return nil, fmt.Errorf("output to %s is not modelled", a.Port)
		}
		return a, nil
	case openflow.PushVLAN:
		if a.EthType != openflow.EthTypeVLAN {
			return nil, errors.New("tags other than of 802.1Q are not modelled")
		}
		return a, nil
	case openflow.SetField:
		_, err := writable(openflow.Whole(a.Field))
		return a, err
	case openflow.Load:
		var err error
		a.Dst, err = writable(a.Dst)
		return a, err
	case openflow.Move:
		var err error
		if a.Src, err = part(a.Src); err == nil {
			a.Dst, err = writable(a.Dst)
		}
		return a, err
	case openflow.Resubmit:
		if a.Port != 0 {
			return nil, errors.New("resubmit with another in_port is not modelled")
		}
		return a, nil
	case openflow.MultipathBundle:
		var err error
		switch {
		case a.Dst.Field != 0 && a.Algorithm == openflow.BundleActiveBackup:
			a.Dst, err = writable(a.Dst)
		case a.Dst.Field != 0 || a.Algorithm > openflow.BundleHRW:
			err = errors.New("bundle by other than active_backup, or hrw to a port, is not modelled")
		}
		return a, err
	case openflow.CT:
		return checkCT(a)
	case openflow.Learn:
		return checkLearn(a)
	case openflow.Sample, openflow.PopVLAN, openflow.ToGroup, openflow.Goto, openflow.Conjunction, openflow.Meter:
		return a, nil
	}
	return nil, fmt.Errorf("%T is not modelled", a)
}

func checkCT(a openflow.CT) (openflow.Action, error) {
	if a.Force || a.Alg != 0 || !a.Commit && len(a.Exec) > 0 {
		return nil, errors.New("ct with force, alg, or exec without commit is not modelled")
	}
	if a.ZoneFrom.Field != 0 {
		var err error
		if a.ZoneFrom, err = part(a.ZoneFrom); err != nil {
			return nil, err
		}
	}
	for _, e := range a.Exec {
		to, ok := written(e)
		if m, move := e.(openflow.Move); move {
			if _, err := part(m.Src); err != nil {
				return nil, err
			}
		}
		if !ok || to.Field != openflow.FieldCTMark && to.Field != openflow.FieldCTLabel {
			return nil, fmt.Errorf("%T in ct is not modelled", e)
		}
	}
	return a, nil
}

// written returns the bits that an action writes, if it is one that does.
func written(a openflow.Action) (openflow.Part, bool) {
	switch a := a.(type) {
	case openflow.SetField:
		return openflow.Whole(a.Field), true
	case openflow.Load:
		return a.Dst, true
	case openflow.Move:
		return a.Dst, true
	}
	return openflow.Part{}, false
}

// do does one action.
func (r *run) do(a openflow.Action, s *state) error {
	switch a := a.(type) {
	case openflow.Output:
		r.output(Output{Port: a.Port}, s)
	case openflow.PushVLAN:
		if _, tagged := s.tag(); tagged {
			return errors.New("a second tag is not modelled")
		}
		s.fields[openflow.FieldVLANVID] = openflow.U64(vlanPresent)
	case openflow.PopVLAN:
		s.fields[openflow.FieldVLANVID] = openflow.Bits{}
	case openflow.SetField:
		s.fields[a.Field] = a.Value
	case openflow.Load:
		s.set(a.Dst, openflow.U64(a.Value))
	case openflow.Move:
		s.set(a.Dst, s.get(a.Src))
	case openflow.Sample:
		r.result.Samples = append(r.result.Samples, a)
	case openflow.MultipathBundle:
		r.bundle(a, s)
	case openflow.ToGroup:
		return r.group(a.ID, s)
	case openflow.CT:
		r.track(a, s)
	case openflow.Learn:
		r.result.Learned = append(r.result.Learned, learned(a, s))
	case openflow.Resubmit: // the packet comes back as the other table left it
		table := a.Table
		if table == openflow.CurrentTable {
			table = r.table
		}
		return r.lookUp(table, s)
	case openflow.Goto:
		return r.lookUp(a.Table, s)
	case openflow.Meter: // nothing exceeds it
	default:
		panic(fmt.Sprintf("BUG: %T was let in", a))
	}
	return nil
}

// group runs each bucket on a packet of its own.
func (r *run) group(id uint32, s *state) error {
	buckets, ok := r.groups[id]
	if !ok {
		return fmt.Errorf("group %d is not there", id)
	}
	for _, actions := range buckets {
		if err := r.all(actions, s.clone()); err != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
	}
	return nil
}

func (r *run) all(actions []openflow.Action, s *state) error {
	for _, a := range actions {
		if err := r.do(a, s); err != nil {
			return err
		}
	}
	return nil
}

// output sends a packet, unless it would go back where it came from.
func (r *run) output(o Output, s *state) {
	o.VLAN, o.Tagged = s.tag()
	in := s.inPort()
	if o.Port == openflow.PortNormal {
		r.result.Normal = append(r.result.Normal, o)
		return
	}
	if o.Port == openflow.PortController {
		r.result.Asked++
		return
	}
	if o.Port == in {
		return
	}
	if o.Port == openflow.PortIn {
		o.Port = in
	}
	r.result.Outputs = append(r.result.Outputs, o)
}

// noPort is OFPP_NONE as bundle_load writes it.
const noPort = 0xffff

func (r *run) bundle(a openflow.MultipathBundle, s *state) {
	var live []openflow.Port
	for _, number := range a.Ports {
		if port := openflow.Port(number); r.live(port) {
			live = append(live, port)
		}
	}
	switch {
	case a.Dst.Field != 0:
		s.set(a.Dst, openflow.U64(uint64(append(live, noPort)[0])))
	case len(live) == 0:
	case a.Algorithm == openflow.BundleActiveBackup:
		r.output(Output{Port: live[0]}, s)
	default:
		r.output(Output{Port: live[0], Or: live[1:]}, s)
	}
}

// track sends a copy of the packet through connection tracking, if that is to go on in a table. The packet itself goes on and knows
// nothing of a connection any more.
func (r *run) track(a openflow.CT, s *state) {
	zone := a.Zone
	if a.ZoneFrom.Field != 0 {
		zone = uint16(s.get(a.ZoneFrom).Lo)
	}
	if a.Commit {
		r.result.Commits = append(r.result.Commits, committed(a.Exec, s, zone))
	}
	if a.Resume {
		c := Connection{State: CTState(openflow.CTNew)}
		if s.conntrack != nil {
			c = s.conntrack(zone)
		}
		c.State |= CTState(openflow.CTTracked)
		r.result.Tracked = append(r.result.Tracked, Tracked{zone, c})
		back := s.clone()
		back.setConnection(zone, c)
		r.waiting = append(r.waiting, resumption{back, a.Table})
	}
	s.setConnection(0, Connection{})
}

// committed returns what a commit writes to a connection.
func committed(exec []openflow.Action, s *state, zone uint16) Commit {
	after, masks := s.clone(), &state{}
	for _, e := range exec {
		to, _ := written(e)
		masks.set(to, openflow.Ones(int(to.Bits)))
		switch e := e.(type) {
		case openflow.SetField:
			after.set(to, e.Value)
		case openflow.Load:
			after.set(to, openflow.U64(e.Value))
		case openflow.Move:
			after.set(to, after.get(e.Src))
		}
	}
	mark, label := masks.fields[openflow.FieldCTMark], masks.fields[openflow.FieldCTLabel]
	return Commit{
		Zone: zone, Mark: uint32(after.fields[openflow.FieldCTMark].And(mark).Lo), MarkMask: uint32(mark.Lo),
		Label: after.fields[openflow.FieldCTLabel].And(label), LabelMask: label,
	}
}

func checkLearn(a openflow.Learn) (openflow.Action, error) {
	if a.DeleteLearned || a.FinIdle != 0 || a.FinHard != 0 {
		return nil, errors.New("learn with delete_learned or fin timeouts is not modelled")
	}
	specs := make([]openflow.LearnSpec, len(a.Specs))
	for i, spec := range a.Specs {
		var err error
		if spec.From.Field != 0 {
			if spec.From, err = part(spec.From); err != nil {
				return nil, err
			}
		}
		switch spec.Kind {
		case openflow.LearnMatch:
			if spec.To, err = part(spec.To); spec.To.Bits != uint8(spec.To.Field.Width()) && spec.To.Field != openflow.FieldVLANVID {
				err = fmt.Errorf("learn matches %s: a part of a field is not modelled", spec.To)
			}
		case openflow.LearnLoad:
			spec.To, err = writable(spec.To)
		case openflow.LearnOutput:
		}
		if err != nil {
			return nil, err
		}
		specs[i] = spec
	}
	a.Specs = specs
	return a, nil
}

// learned returns the flow that a packet makes the switch learn.
func learned(a openflow.Learn, s *state) openflow.Flow {
	var terms []openflow.Term
	var actions []openflow.Action
	for _, spec := range a.Specs {
		v := spec.Value
		if spec.From.Field != 0 {
			v = s.get(spec.From)
		}
		switch spec.Kind {
		case openflow.LearnMatch:
			terms = append(terms, openflow.Masked(spec.To.Field, v.Shl(int(spec.To.Offset)), mask(spec.To)))
		case openflow.LearnLoad:
			actions = append(actions, openflow.Load{Dst: spec.To, Value: v.Lo})
		case openflow.LearnOutput:
			actions = append(actions, openflow.Output{Port: openflow.Port(v.Lo)})
		}
	}
	f := openflow.Flow{
		Table: a.Table, Priority: a.Priority, Idle: a.Idle, Hard: a.Hard, Cookie: a.Cookie,
		Match: openflow.NewMatch(terms...), Actions: openflow.NewActions(actions...),
	}
	if a.SendRemoved {
		f.Flags = openflow.SendRemoved
	}
	return f
}
