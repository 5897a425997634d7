package estate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirhq/weir/flow"
)

// RuleInstance is a rule with one action in one version, as the observation points of flows number it.
type RuleInstance struct {
	Instance uint32       // from flow.MaxSystemInstance+1 to flow.MaxInstance; never that of something else
	Rule     flow.ID      // of kind rule; the same for all instances of a rule
	Verdict  flow.Verdict // what it does with the packets that it matches
}

// check says what is wrong with r, or "".
func (r *RuleInstance) check() string {
	switch {
	case r.Instance <= flow.MaxSystemInstance || r.Instance > flow.MaxInstance:
		return fmt.Sprintf("is none of a rule: want %d to %d", flow.MaxSystemInstance+1, flow.MaxInstance)
	case r.Rule == 0:
		return "names no rule"
	case r.Verdict == flow.VerdictUnknown:
		return "has no verdict"
	}
	return ""
}

// rules are the rule instances of a snapshot. They are immutable and shared by the snapshots that have the same.
type rules struct {
	places table // by instance: index in list, from 1 on
	list   []RuleInstance
	odd    []Problem // what was left out
}

// Rule returns the rule that a rule instance is of, and what it does with packets: 0 and the verdict of the built-in rule, if it
// is one; 0 and flow.VerdictUnknown if nothing is known of the instance. It does not allocate.
func (s *Snapshot) Rule(instance uint32) (rule uint64, v flow.Verdict) {
	if instance <= flow.MaxSystemInstance {
		return 0, flow.SystemVerdict(instance)
	}
	if place := s.rules.places.get(uint64(instance)); place != 0 {
		r := &s.rules.list[place-1]
		return uint64(r.Rule), r.Verdict
	}
	return 0, flow.VerdictUnknown
}

// Rules returns the rule instances of the snapshot by their numbers. The list is not to be modified.
func (s *Snapshot) Rules() []RuleInstance { return s.rules.list }

// WithRules returns the same estate with other rule instances; it costs what these do. What makes no sense is left out, with a
// warning. list is not kept.
func (s *Snapshot) WithRules(list []RuleInstance) *Snapshot {
	next := *s
	next.rules = newRules(list)
	return &next
}

func newRules(list []RuleInstance) *rules {
	r := &rules{places: newTable(len(list), newHasher()), list: make([]RuleInstance, 0, len(list))}
	refuse := func(instance uint32, format string, args ...any) {
		if len(r.odd) < maxProblems {
			r.odd = append(r.odd, Problem{"rules", fmt.Sprintf("instance %d %s; it is left out", instance, fmt.Sprintf(format, args...))})
		}
	}
	for i := range list {
		if text := list[i].check(); text != "" {
			refuse(list[i].Instance, "%s", text)
			continue
		}
		r.list = append(r.list, list[i])
	}
	byInstance := func(a, b RuleInstance) int { return cmp.Compare(a.Instance, b.Instance) }
	if !slices.IsSortedFunc(r.list, byInstance) {
		slices.SortStableFunc(r.list, byInstance)
	}
	n := 0
	for _, one := range r.list {
		if n > 0 && r.list[n-1].Instance == one.Instance {
			if last := r.list[n-1]; last != one {
				refuse(one.Instance, "is of rule %d, %s already, and also of rule %d, %s", last.Rule, last.Verdict, one.Rule, one.Verdict)
			}
			continue
		}
		r.list[n] = one
		n++
		r.places.put(uint64(one.Instance), uint32(n))
	}
	r.list = r.list[:n]
	return r
}
