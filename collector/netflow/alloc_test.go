package netflow_test

import (
	"testing"

	"github.com/weirhq/weir/bench/corpus"
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
