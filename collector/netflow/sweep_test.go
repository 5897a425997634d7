package netflow_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/template"
)

// mutations calls visit with every mutation of a datagram: cut at each octet, each 16-bit word (and so each length,
// count and id) made 0, 1 and 65535, and the datagram twice over. The slice is valid during the call only.
func mutations(b []byte, visit func(m []byte)) {
	for n := range b {
		visit(b[:n:n])
	}
	m := slices.Clone(b)
	for at := 0; at+2 <= len(m); at += 2 {
		was := binary.BigEndian.Uint16(m[at:])
		for _, v := range []uint16{0, 1, 65535} {
			binary.BigEndian.PutUint16(m[at:], v)
			visit(m)
		}
		binary.BigEndian.PutUint16(m[at:], was)
	}
	visit(append(m, b...))
}

// Whatever becomes of the packets of real exporters on the way, decoding them ends soon, in bounded memory, and
// without harm to the batch. Every eighth mutation is decoded by the twin, too.
func TestMutationSweep(t *testing.T) {
	for _, g := range corpora(t) {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			small := func(cfg *template.Config) { cfg.MaxHeld = 1024 }
			c := newCollector(t, small)
			pair, slow := newCollector(t, func(cfg *template.Config) { cfg.MaxHeld, cfg.MaxFields = 0, 1<<20 }), newTwin()
			for _, p := range g.payloads { // templates are known, so that mutated data meets them
				_ = c.decoder.Decode(p.data, exporter, received, c.out)
				_ = pair.decoder.Decode(p.data, exporter, received, pair.out)
				slow.rows(p.data, exporter, received)
			}
			payloads := slices.Clone(g.payloads)
			slices.Reverse(payloads) // templates after data
			n, longest := 0, time.Duration(0)
			for _, p := range payloads {
				mutations(p.data, func(m []byte) {
					n++
					c.out.Reset()
					longest = max(longest, cpuTime(t, func() { _ = c.decoder.Decode(m, exporter, received, c.out) }))
					if c.out.Len() > len(m)/4+1024/4 {
						t.Errorf("%s: %d rows of %d octets", p.name, c.out.Len(), len(m))
					}
				})
				// What was learned from nonsense is unlearned.
				_ = c.decoder.Decode(p.data, exporter, received, c.out)
			}
			if longest > time.Second {
				t.Errorf("a mutation took %s", longest)
			}
			if got := c.store.Memory(); got > int64(c.store.Config().MaxMemory) {
				t.Errorf("the store has %d bytes", got)
			}
			for _, p := range payloads {
				i := 0
				mutations(p.data, func(m []byte) {
					if i++; i%8 != 0 || t.Failed() {
						return
					}
					pair.out.Reset()
					_ = pair.decoder.Decode(m, exporter, received, pair.out)
					if err := sameRows(pair.out, 0, slow.rows(m, exporter, received)); err != nil {
						t.Errorf("%s, mutation %d: %v\n%x", p.name, i, err, m)
					}
				})
			}
			if err := spareRowsAreZero(c.out); err != nil {
				t.Error(err)
			}
			t.Logf("%d mutations, the longest took %s", n, longest)
		})
	}
}

// The same, some of it, in one goroutine, for what a datagram makes the decoder allocate.
func TestMutationsAllocateLittle(t *testing.T) {
	for _, g := range corpora(t) {
		c := newCollector(t)
		for _, p := range g.payloads {
			_ = c.decoder.Decode(p.data, exporter, received, c.out)
		}
		worst, what := uint64(0), ""
		var before, after runtime.MemStats
		for _, p := range g.payloads {
			i := 0
			mutations(p.data, func(m []byte) {
				if i++; i%64 != 0 {
					return
				}
				c.out.Reset()
				runtime.ReadMemStats(&before)
				_ = c.decoder.Decode(m, exporter, received, c.out)
				runtime.ReadMemStats(&after)
				if got := after.TotalAlloc - before.TotalAlloc; got > worst {
					worst, what = got, fmt.Sprintf("%s, mutation %d of %d octets", p.name, i, len(m))
				}
			})
		}
		if limit := uint64(128 << 10); worst > limit {
			t.Errorf("%s allocated %d bytes, want at most %d", what, worst, limit)
		}
	}
}
