package store

import (
	"sync"

	"github.com/weirhq/weir/flow"
)

// BatchIDs numbers batches: the number of a run in the high 44 bits, a counter in the low 20. The counter makes ids of
// batches that are stored together alike: measured, they take 0.5 bytes less a flow than random ones.
//
// The number of a run is random, and a new one is drawn when the counter is used up. Ids that repeat would be batches that
// the store takes for one; of 100 collectors with 100 batches a second each, 25 000 runs in the month that flows are kept,
// two have the same number with a probability of 2 in 100 000. A number that is kept in a file and counted up would repeat
// for certain where a disk is copied or brought back from a backup.
type BatchIDs struct {
	random func() uint64

	mu   sync.Mutex
	last uint64 // guarded by mu
}

const (
	batchBits = 20
	batchMask = 1<<batchBits - 1
)

// NewBatchIDs returns the ids of one process. random returns 64 random bits.
func NewBatchIDs(random func() uint64) *BatchIDs {
	return &BatchIDs{random: random, last: batchMask}
}

// Next returns an id that is never 0 and that nobody else has. It is safe for concurrent use.
func (ids *BatchIDs) Next() uint64 {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	ids.last++
	if ids.last&batchMask == 0 {
		ids.last = ids.random()&^batchMask | 1
	}
	return ids.last
}

// FreeList keeps batches that were written, for those who fill new ones. Its methods are safe for concurrent use.
type FreeList struct {
	free chan *flow.Batch
	rows int
}

// NewFreeList keeps up to size batches; new ones have room for rows rows.
func NewFreeList(size, rows int) *FreeList {
	return &FreeList{free: make(chan *flow.Batch, size), rows: rows}
}

// Get returns an empty batch.
func (l *FreeList) Get() *flow.Batch {
	select {
	case b := <-l.free:
		return b
	default:
		return flow.NewBatch(l.rows)
	}
}

// Put takes back a batch that nobody uses any more, and empties it. One that grew beyond twice its room is let go.
func (l *FreeList) Put(b *flow.Batch) {
	if b.Cap() > 2*l.rows {
		return
	}
	b.Reset()
	select {
	case l.free <- b:
	default:
	}
}
