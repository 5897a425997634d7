package estate

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkTable compares the table with Go's map on the keys of 100 000 addresses, hit and missed in random order.
func BenchmarkTable(b *testing.B) {
	const n = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	t, hash := newTable[uint64](n), newHasher()
	m := make(map[uint64]uint32, n)
	var keys [1 << 17]uint64
	for i := range keys {
		keys[i] = 0x0a000000 | uint64(r.Uint32N(n*10))
		if i < n {
			t.put(keys[i], hash.word(keys[i]), uint32(i+1))
			m[keys[i]] = uint32(i + 1)
		}
	}
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	sum := uint32(0)
	b.Run("table", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			k := keys[i&(len(keys)-1)]
			sum += t.get(k, hash.word(k))
		}
	})
	b.Run("map", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			sum += m[keys[i&(len(keys)-1)]]
		}
	})
}
