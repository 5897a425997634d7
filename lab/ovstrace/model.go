package ovstrace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/openflow/softswitch"
)

// Send asks what the switch does with a packet of the model, if connection tracking knows of it what tracked says, in order: that is
// what the model said of it. Marks and labels have to be the same each time: ofproto/trace is told one of each.
func (s *Switch) Send(p *softswitch.Packet, tracked []softswitch.Tracked) (*Trace, error) {
	text := p.String()
	var states []string
	for i, t := range tracked {
		if t.Mark != tracked[0].Mark || t.Label != tracked[0].Label {
			return nil, fmt.Errorf("trace %q: two marks or labels", text)
		}
		if i == 0 && t.Mark != 0 {
			text += fmt.Sprintf(",ct_mark=%#x", t.Mark)
		}
		if i == 0 && !t.Label.IsZero() {
			text += fmt.Sprintf(",ct_label=%#x%016x", t.Label.Hi, t.Label.Lo)
		}
		states = append(states, t.State.String())
	}
	return s.Trace(text, p.Tags(), states...)
}

// Differ says how the switch and the model differ; empty: they do not. What NORMAL does is not compared.
func Differ(said *softswitch.Result, is *Trace) string {
	if is.Failed != "" {
		return "the switch drops it: " + is.Failed
	}
	var flows, matched, samples, sampled, commits, committed []string
	for _, f := range said.Flows {
		flows = append(flows, fmt.Sprintf("table %d priority %d cookie %#x", f.Table, f.Priority, uint64(f.Cookie)))
	}
	for _, f := range is.Flows {
		matched = append(matched, fmt.Sprintf("table %d priority %d cookie %#x", f.Table, f.Priority, f.Cookie))
	}
	for _, s := range said.Samples {
		samples = append(samples, fmt.Sprintf("set %d domain %d point %d", s.CollectorSet, s.Domain, s.Point))
	}
	for _, s := range is.Samples {
		sampled = append(sampled, fmt.Sprintf("set %d domain %d point %d", s.Set, s.Domain, s.Point))
	}
	for _, c := range said.Commits {
		commits = append(commits, fmt.Sprintf("zone %d mark %#x/%#x label %#x/%#x", c.Zone, c.Mark, c.MarkMask, c.Label, c.LabelMask))
	}
	for _, c := range is.Commits {
		committed = append(committed, fmt.Sprintf("zone %d mark %#x/%#x label %#x/%#x", c.Zone, c.Mark, c.MarkMask, c.Label, c.LabelMask))
	}
	for _, x := range []struct {
		what     string
		said, is []string
	}{{"flows", flows, matched}, {"samples", samples, sampled}, {"commits", commits, committed}} {
		if !slices.Equal(x.said, x.is) {
			return fmt.Sprintf("%s differ: the model says\n  %s\nthe switch\n  %s", x.what, strings.Join(x.said, "\n  "), strings.Join(x.is, "\n  "))
		}
	}
	switch {
	case len(said.Tracked) != is.Resumed:
		return fmt.Sprintf("the model says that it is tracked %d times, the switch %d times", len(said.Tracked), is.Resumed)
	case said.Asked != is.Asked:
		return fmt.Sprintf("the model says that the controller gets it %d times, the switch %d times", said.Asked, is.Asked)
	case is.Normal != (len(said.Normal) > 0):
		return fmt.Sprintf("the model says that NORMAL is %v, the switch %v", len(said.Normal) > 0, is.Normal)
	case is.Normal:
		return ""
	}
	if !slices.EqualFunc(said.Outputs, is.Outputs, func(o softswitch.Output, p Output) bool {
		return (o.Port == openflow.Port(p.Port) || slices.Contains(o.Or, openflow.Port(p.Port))) && o.Tagged == p.Tagged && o.VLAN == p.VLAN
	}) {
		return fmt.Sprintf("outputs differ: the model says %v, the switch %v", said.Outputs, is.Outputs)
	}
	return ""
}
