package oracle_test

import (
	"math/rand/v2"
	"testing"

	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// BenchmarkFrame is what one frame costs each of those that are asked.
func BenchmarkFrame(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	w := policytest.New(r, policytest.Small)
	in := compiletest.Plain(w)
	d, err := compile.New().Compile(in)
	if err != nil {
		b.Fatal(err)
	}
	c, err := load(in, d, func(of.Port) bool { return true })
	if err != nil {
		b.Fatal(err)
	}
	bridge := newBridge(in, func(of.Port) bool { return true })
	var frames []frame
	for range 1000 {
		frames = append(frames, bridge.frame(r, w))
	}
	next := func(i *int) *frame {
		*i++
		return &frames[*i%len(frames)]
	}
	b.Run("expectation", func(b *testing.B) {
		i := 0
		for b.Loop() {
			bridge.expect(*next(&i))
		}
	})
	b.Run("model", func(b *testing.B) {
		i := 0
		for b.Loop() {
			if _, err := c.model.Send(next(&i).send()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(d.Len()), "flows")
	})
	b.Run("trace", func(b *testing.B) {
		farm, err := ovsbedtest.New(b).Farm(b.Context(), 1, 0)
		if err != nil {
			b.Fatal(err)
		}
		real, err := newRealSwitch(b.Context(), farm.Hosts[0])
		if err != nil {
			b.Fatal(err)
		}
		defer real.close()
		if err := real.set(b.Context(), d); err != nil {
			b.Fatal(err)
		}
		i := 0
		for b.Loop() {
			f := next(&i)
			r, err := c.model.Send(f.send())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := real.trace.Send(f.send(), r.Tracked); err != nil {
				b.Fatal(err)
			}
		}
	})
}
