package netflow_test

import (
	"testing"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/collector/template"
)

// Once templates are known and the batch has room, decoding allocates nothing.
func TestNothingIsAllocatedOnceWarm(t *testing.T) {
	for _, c := range corpus.Random(64) {
		t.Run(c.Name, func(t *testing.T) {
			warm := newCollector(t)
			warm.decode(c.Templates...)
			warm.decode(c.Data...)
			allocs := testing.AllocsPerRun(20, func() {
				warm.out.Reset()
				warm.decode(c.Templates...) // refreshes
				warm.decode(c.Data...)
			})
			if allocs != 0 {
				t.Errorf("%v allocations for %d datagrams, want 0", allocs, len(c.Data))
			}
			if want := len(c.Data) * c.Records; warm.out.Len() != want {
				t.Errorf("%d rows, want %d", warm.out.Len(), want)
			}
		})
	}
}

// Nor does finding the sampling rate, whichever way, or a template that is on probation after a restart.
func TestNoRateIsAllocatedOnceWarm(t *testing.T) {
	inRecord := append(named(48, 1), f{id: 34, length: 4}, f{id: 10, length: 4})
	templates := v9(1, set(0, templateOf(256, inRecord...)),
		set(1, optionsOf9(300, 1, f{id: 2, length: 4}, f{id: 34, length: 4}), optionsOf9(301, 1, f{id: 1, length: 4}, f{id: 48, length: 1}, f{id: 50, length: 4})))
	options := v9(1, set(300, packet{}.u32(7, 64)), set(301, packet{}.u32(9).u8(1).u32(100)))
	data := v9(1, set(256,
		namedFlow(1, 1).u32(0, 0), namedFlow(1, 1).u32(2000, 0), namedFlow(1, 3).u32(0, 7), // sampler, record, interface
		namedFlow(1, 3).u32(0, 8), namedFlow(1, 3).u32(template.MaxRate+1, 9))) // the samplers of the domain agree; absurd
	other := v9(2, set(0, templateOf(256, basic...)), set(256, plainFlow)) // assumed
	c := newCollector(t)
	c.decode(templates, options, data, other)
	c.restart()
	c.store.Expire(received) // the other domains' rates are known then
	allocs := testing.AllocsPerRun(20, func() {
		c.out.Reset()
		c.decode(options, data, other)
	})
	for i, want := range []uint32{100, 2000, 64, 100, 100, 100} {
		expect(t, c.out, i, "sampling_rate", want, "sampling_assumed", i == 5)
	}
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}
