package explain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/explain"
)

// BenchmarkExplain is of ten thousand rules of which one is new, and of ten thousand that are all new.
func BenchmarkExplain(b *testing.B) {
	many := func() *policy.Policy {
		p := &policy.Policy{}
		for i := range 10_000 {
			if i%100 == 0 {
				p.VMs = append(p.VMs, policy.Named{Name: fmt.Sprintf("vm%d", i)})
			}
			l := &p.VMs[len(p.VMs)-1].Mandatory
			*l = append(*l, policy.Rule{
				ID: fmt.Sprintf("rule-%d", i), Action: policy.Allow, Direction: policy.From, Protocol: policy.Protocol{IP: policy.IPTCP},
				LocalPorts: policy.Ports{{First: uint16(1 + i), Last: uint16(1 + i)}},
			})
		}
		return p
	}
	one := many()
	one.Global.Mandatory = []policy.Rule{{ID: "new", Action: policy.Deny}}
	for _, test := range []struct {
		name          string
		before, after *policy.Policy
	}{{"one", many(), one}, {"all", &policy.Policy{}, many()}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				explain.Of(test.before, test.after, time.Now())
			}
		})
	}
}
