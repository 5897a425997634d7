package estate

import (
	"math/bits"
	"math/rand/v2"
)

// many is the value of a key that several entities share.
const many = ^uint32(0)

// table maps keys of 64 bits to numbers that are not 0. It is filled once and then only read, mostly with cold caches:
// so a look-up touches one cache line, seldom two, and takes no branch that depends on what it finds there.
type table struct {
	buckets []bucket // twice as many slots as keys, and a bit; nil if there are no keys
	hash    hasher
}

// bucket is a cache line of slots, filled from the first on. A key that has no room in its bucket is in the next.
type bucket struct {
	keys   [slots]uint64
	values [slots]uint32 // 0: the slot is free
	_      uint32
}

const slots = 5

// newTable returns an empty table with room for n keys.
func newTable(n int, hash hasher) table {
	if n == 0 {
		return table{}
	}
	return table{buckets: make([]bucket, 2*n/slots+1), hash: hash}
}

// first returns the bucket where the search for k begins: its hash as a fraction of 2^64, times their number.
func (t *table) first(k uint64) uint32 {
	i, _ := bits.Mul64(t.hash.word(k), uint64(len(t.buckets)))
	return uint32(i)
}

// get returns the value of k; 0 means that there is none.
func (t *table) get(k uint64) uint32 {
	if t.buckets == nil {
		return 0
	}
	i := t.first(k)
	v := t.buckets[i].get(k)
	if v == 0 && t.buckets[i].values[slots-1] != 0 {
		return t.after(i, k)
	}
	return v
}

// get returns the value of k if it is in b, else 0.
func (b *bucket) get(k uint64) (v uint32) {
	// Values first: so the compiler makes moves of the ifs, not branches.
	v0, v1, v2, v3, v4 := b.values[0], b.values[1], b.values[2], b.values[3], b.values[4]
	if b.keys[0] == k {
		v = v0
	}
	if b.keys[1] == k {
		v = v1
	}
	if b.keys[2] == k {
		v = v2
	}
	if b.keys[3] == k {
		v = v3
	}
	if b.keys[4] == k {
		v = v4
	}
	return v
}

// after returns the value of k, for which bucket i had no room.
func (t *table) after(i uint32, k uint64) uint32 {
	for {
		if i++; i == uint32(len(t.buckets)) {
			i = 0
		}
		b := &t.buckets[i]
		if v := b.get(k); v != 0 || b.values[slots-1] == 0 {
			return v
		}
	}
}

// find sets found[i] to the value of keys[i], as get does for one. It waits for the memory of many keys at once.
func (t *table) find(keys []uint64, found []Ref) {
	found = found[:len(keys)]
	if t.buckets == nil {
		clear(found)
		return
	}
	const together = 64 // more than a processor has loads under way
	var full [together]bool
	for len(keys) > 0 {
		n := min(together, len(keys))
		for i, k := range keys[:n] {
			first := t.first(k)
			found[i], full[i] = Ref(first), t.buckets[first].values[slots-1] != 0
		}
		for i, k := range keys[:n] {
			first := uint32(found[i])
			v := t.buckets[first].get(k)
			if v == 0 && full[i] {
				v = t.after(first, k)
			}
			found[i] = Ref(v)
		}
		keys, found = keys[n:], found[n:]
	}
}

// put sets the value of k, which has none yet, to one that is not 0. The caller puts no more keys than newTable made
// room for.
func (t *table) put(k uint64, value uint32) {
	for i := t.first(k); ; i = (i + 1) % uint32(len(t.buckets)) {
		b := &t.buckets[i]
		for j := range b.values {
			if b.values[j] == 0 {
				b.keys[j], b.values[j] = k, value
				return
			}
		}
	}
}

// set changes the value of k, which has one.
func (t *table) set(k uint64, value uint32) {
	for i := t.first(k); ; i = (i + 1) % uint32(len(t.buckets)) {
		b := &t.buckets[i]
		for j := range b.values {
			if b.keys[j] == k && b.values[j] != 0 {
				b.values[j] = value
				return
			}
		}
	}
}

// hasher hashes keys with a seed of its own, so that nobody can choose addresses that meet in one bucket.
type hasher uint64

func newHasher() hasher { return hasher(rand.Uint64()) }

// word hashes 64 bits by two multiplications, each folded to its own width; after one, keys that differ in their high
// bits only are still uneven.
func (h hasher) word(w uint64) uint64 {
	const odd1, odd2 = 0x6a09e667f3bcc909, 0xbb67ae8584caa73b // no pattern: fractions of the square roots of 2 and 3
	hi, lo := bits.Mul64(w^uint64(h), odd1)
	hi, lo = bits.Mul64(hi^lo^uint64(h), odd2)
	return hi ^ lo
}
