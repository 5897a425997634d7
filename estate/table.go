package estate

import (
	"math/bits"
	"math/rand/v2"
)

// many is the value of a key that several entities share.
const many = ^uint32(0)

// table maps keys to numbers that are not 0 by open addressing with linear probing. It is filled once and then only
// read, mostly with cold caches: what counts is that a look-up touches one cache line, seldom two.
type table[K comparable] struct {
	slots []slot[K] // a power of two, at most two thirds of them in use; nil if the table is empty
}

// slot is 16 bytes with a key of 64 bits.
type slot[K comparable] struct {
	key   K
	value uint32 // 0: the slot is free
}

// newTable returns an empty table with room for n keys.
func newTable[K comparable](n int) table[K] {
	if n == 0 {
		return table[K]{}
	}
	return table[K]{slots: make([]slot[K], 1<<bits.Len(uint(n+n/2)))}
}

// at returns the slot of k, whose hash is given, or the free one where it belongs. The table is not empty.
func (t *table[K]) at(k K, hash uint64) *slot[K] {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.value == 0 || s.key == k {
			return s
		}
	}
}

// get returns the value of k; 0 means that there is none.
func (t *table[K]) get(k K, hash uint64) uint32 {
	if t.slots == nil {
		return 0
	}
	return t.at(k, hash).value
}

// touch reads the slot where the search for a key with this hash begins.
func (t *table[K]) touch(hash uint64) uint32 {
	if t.slots == nil {
		return 0
	}
	return t.slots[hash&uint64(len(t.slots)-1)].value
}

// put sets the value of k, which is not 0. The caller puts no more keys than newTable made room for.
func (t *table[K]) put(k K, hash uint64, value uint32) {
	s := t.at(k, hash)
	s.key, s.value = k, value
}

// hasher hashes keys with a seed of its own, so that nobody can choose addresses that meet in one slot.
type hasher uint64

func newHasher() hasher { return hasher(rand.Uint64()) }

// Odd constants without a pattern (the fractional parts of the square roots of 2 and 3).
const (
	mix1 = 0x6a09e667f3bcc909
	mix2 = 0xbb67ae8584caa73b
)

// word hashes 64 bits: two rounds of a multiplication folded to its own width.
func (h hasher) word(w uint64) uint64 {
	hi, lo := bits.Mul64(w^uint64(h), mix1)
	hi, lo = bits.Mul64(hi^lo^uint64(h), mix2)
	return hi ^ lo
}

// long hashes the three words of a key.
func (h hasher) long(k longKey) uint64 {
	hi, lo := bits.Mul64(k.high^uint64(h), k.low^mix1)
	return h.word(hi ^ lo ^ k.low ^ uint64(k.scope)<<32)
}

// longKey is an IPv6 address within a scope.
type longKey struct {
	high, low uint64
	scope     uint32
}
