package rollup

// sums are the values of a rollup row. They wrap like UInt64 in ClickHouse, so that rollups equal raw rows even where
// an exporter claims nonsense.
type sums struct{ bytes, packets, flows uint64 }

// table is a set of rows with distinct keys, in order of first appearance, and the hash table that finds them.
type table[K comparable] struct {
	slots  []uint32 // index of a row plus 1, 0 is free; a power of two of them, at least twice the rows
	hashes []uint64
	keys   []K
	sums   []sums
}

func (t *table[K]) reset() {
	clear(t.slots)
	t.hashes, t.keys, t.sums = t.hashes[:0], t.keys[:0], t.sums[:0]
}

// row returns the sums of the row of key, whose hash is h. They are valid until the next call.
func (t *table[K]) row(h uint64, key *K) *sums { return &t.sums[t.index(h, key)] }

// index returns the place of the row of key, whose hash is h. It is made if it is not there.
func (t *table[K]) index(h uint64, key *K) uint32 {
	if 2*len(t.keys) >= len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for ; t.slots[i] != 0; i = (i + 1) & mask {
		if at := t.slots[i] - 1; t.hashes[at] == h && t.keys[at] == *key {
			return at
		}
	}
	t.hashes = append(t.hashes, h)
	t.keys = append(t.keys, *key)
	t.sums = append(t.sums, sums{})
	t.slots[i] = uint32(len(t.keys))
	return t.slots[i] - 1
}

func (t *table[K]) grow() {
	t.slots = make([]uint32, max(1024, 2*len(t.slots)))
	mask := uint64(len(t.slots) - 1)
	for at, h := range t.hashes {
		i := h & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = uint32(at + 1)
	}
}
