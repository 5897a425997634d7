package compile

import (
	"fmt"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
)

// settings are what the flows of all units depend on.
type settings struct {
	sampling   Sampling // SampleOff if the bridge cannot sample
	set        uint32
	domain     uint32
	generation uint8
	stateful   bool
	learns     bool // learn can be told how much
}

func settingsOf(in *Input) settings {
	s := settings{in.Sampling, in.CollectorSet, in.Domain, in.Generation, in.Capabilities.ConnTrack, !olderThan(in.Inventory.OVSVersion, 2, 8)}
	if !in.Capabilities.Sample {
		s.sampling = SampleOff
	}
	return s
}

// olderThan reports whether a version of Open vSwitch, as "2.5.3", is before another; one that is not known is not.
func olderThan(version string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}

// maker is a unit that makes its flows. Makers are comparable, and say all that their flows depend on besides settings, unless
// what they point to is immutable.
type maker interface {
	// flows adds the unit's flows, of which count is how many there are.
	flows(e *emitter)
	count(s *settings) int
}

// emitter gathers the flows of a unit.
type emitter struct {
	*settings
	list []openflow.Flow
}

// add adds a flow. instance is that of a rule or of the system, or 0.
func (e *emitter) add(table uint8, priority uint16, kind Kind, instance uint32, match openflow.Match, actions openflow.Actions) {
	e.list = append(e.list, openflow.Flow{
		Table: table, Priority: priority, Cookie: Cookie(e.generation, kind, instance), Match: match, Actions: actions,
	})
}

// do returns actions; those that are nil are left out.
func do(list ...openflow.Action) openflow.Actions {
	room := make([]openflow.Action, 0, 8)
	for _, a := range list {
		if a != nil {
			room = append(room, a)
		}
	}
	return openflow.NewActions(room...)
}

func match(terms ...openflow.Term) openflow.Match { return openflow.NewMatch(terms...) }

// next goes on in a table.
func next(table uint8) openflow.Action { return openflow.Goto{Table: table} }

func load(register int, v uint32) openflow.Action { return openflow.LoadReg(register, v) }

const all = 0xffffffff // mask of a register

func class(v uint32) openflow.Term { return openflow.Reg(regClass, v, all) }

func zone(v uint16) openflow.Term { return openflow.Reg(regZone, uint32(v), all) }

func to(v uint32) openflow.Term { return openflow.Reg(regTo, v, all) }

func source(p openflow.Port) openflow.Term { return openflow.Reg(regSource, uint32(p), all) }

func destination(p openflow.Port) openflow.Term { return openflow.Reg(regDestination, uint32(p), all) }

func etherType(t uint16) openflow.Term { return openflow.EthType(t) }

// ip are the types of frames that connection tracking takes.
var ip = [2]uint16{openflow.EthTypeIPv4, openflow.EthTypeIPv6}

// sampled returns a sample of a decision, of which an instance decided at a stage.
func (s *settings) sampled(stage flow.Stage, instance uint32) openflow.Action {
	return openflow.Sample{Probability: 65535, CollectorSet: s.set, Domain: s.domain, Point: flow.Point(stage, instance)}
}

// dropped returns the sample of packets that are dropped; nil if there is none.
func (s *settings) dropped(stage flow.Stage, instance uint32) openflow.Action {
	if s.sampling == SampleOff {
		return nil
	}
	return s.sampled(stage, instance)
}

// passed returns the sample of packets that pass, new or not; nil if there is none.
func (s *settings) passed(stage flow.Stage, instance uint32) openflow.Action {
	if s.sampling != SampleFull {
		return nil
	}
	return s.sampled(stage, instance)
}

// system is passed of a system instance.
func (s *settings) system(instance uint32) openflow.Action {
	return s.passed(flow.StageSystem, instance)
}
