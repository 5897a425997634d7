package netflow_test

import "testing"

// Once templates are known and the batch has room, decoding allocates nothing.
func TestNothingIsAllocatedOnceWarm(t *testing.T) {
	for _, c := range benchCorpora(64) {
		t.Run(c.name, func(t *testing.T) {
			warm := newCollector(t)
			warm.decode(c.templates...)
			warm.decode(c.data...)
			allocs := testing.AllocsPerRun(20, func() {
				warm.out.Reset()
				warm.decode(c.templates...) // refreshes
				warm.decode(c.data...)
			})
			if allocs != 0 {
				t.Errorf("%v allocations for %d datagrams, want 0", allocs, len(c.data))
			}
			if want := len(c.data) * c.records; warm.out.Len() != want {
				t.Errorf("%d rows, want %d", warm.out.Len(), want)
			}
		})
	}
}
