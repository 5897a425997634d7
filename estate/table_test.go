package estate

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkTable compares the table with Go's map on the keys of 100 000 addresses, hit and missed in random order.
func BenchmarkTable(b *testing.B) {
	const n = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	t := newTable(n, newHasher())
	m := make(map[uint64]uint32, n)
	var keys [1 << 17]uint64
	for i := range keys {
		keys[i] = 0x0a000000 | uint64(r.Uint32N(n*10))
		if i < n {
			if m[keys[i]] == 0 {
				t.put(keys[i], uint32(i+1))
			}
			m[keys[i]] = uint32(i + 1)
		}
	}
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	sum := uint32(0)
	b.Run("table", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			sum += t.get(keys[i&(len(keys)-1)])
		}
	})
	b.Run("table64", func(b *testing.B) {
		var found [64]Ref
		for i := 0; b.Loop(); i += len(found) {
			t.find(keys[i&(len(keys)-1):][:len(found)], found[:])
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(found)), "ns/key")
	})
	b.Run("map", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			sum += m[keys[i&(len(keys)-1)]]
		}
	})
}

// A table finds what was put into it, however few or regular the keys are, and nothing else.
func TestTable(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 6, 7, 100, 10_000} {
		for name, key := range map[string]func(i int) uint64{
			"sequence": func(i int) uint64 { return uint64(i + 1) },
			"high":     func(i int) uint64 { return uint64(i+1) << 48 },
			"scoped":   func(i int) uint64 { return uint64(i%7+1)<<32 | uint64(i+1) },
		} {
			tab := newTable(n, newHasher())
			keys := make([]uint64, 0, 2*n+1)
			for i := range n {
				tab.put(key(i), uint32(i+1))
			}
			for i := range 2*n + 1 {
				keys = append(keys, key(i))
			}
			found := make([]Ref, len(keys))
			tab.find(keys, found)
			for i, k := range keys {
				want := uint32(0)
				if i < n {
					want = uint32(i + 1)
				}
				if got := tab.get(k); got != want || uint32(found[i]) != want {
					t.Fatalf("%d keys, %s: get(%x) = %d, find %d; want %d", n, name, k, got, found[i], want)
				}
			}
			if got := tab.get(0); got != 0 {
				t.Fatalf("%d keys, %s: get(0) = %d", n, name, got)
			}
			full := 0
			for i := range tab.buckets {
				if tab.buckets[i].values[slots-1] != 0 {
					full++
				}
			}
			if n == 10_000 && full > len(tab.buckets)/6 { // about one in eight if keys are spread by chance
				t.Errorf("%s: %d of %d buckets are full", name, full, len(tab.buckets))
			}
		}
	}
}
