package store

import (
	"maps"
	"slices"
	"sync"

	"github.com/weirhq/weir/flow"
)

// maxShares bounds what a tally remembers of the batches in the log: some 20 MB.
const maxShares = 1 << 20

// tally follows whose rows are in the batches on their way through the log, and books for each source what became of
// them. The log does not keep it, so batches of former runs are in no tally.
type tally struct {
	mu      sync.Mutex
	batches map[uint64]*shares // guarded by mu: by id
	size    int                // guarded by mu: shares in all of them
}

type shares struct {
	list   []flow.Share
	logged bool
}

// begin begins to follow a batch. Where too many are followed already, its rows are booked as unclear at once.
func (t *tally) begin(batch uint64, list []flow.Share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(list) == 0 {
		return
	}
	if t.size+len(list) > maxShares {
		for _, s := range list {
			s.Of.Unclear.Add(uint64(s.Rows))
		}
		return
	}
	if t.batches == nil {
		t.batches = map[uint64]*shares{}
	}
	t.batches[batch] = &shares{list: slices.Clone(list)}
	t.size += len(list)
}

// logged notes that the log has a batch.
func (t *tally) logged(batch uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.batches[batch]; s != nil {
		s.log()
	}
}

// log books s as logged, once.
func (s *shares) log() {
	if s.logged {
		return
	}
	s.logged = true
	for _, v := range s.list {
		v.Of.Logged.Add(uint64(v.Rows))
	}
}

// end books what became of a batch: of its rows, so many were lost.
func (t *tally) end(batch uint64, rows, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.batches[batch]
	if s == nil {
		return
	}
	t.remove(batch)
	switch lost {
	case 0:
		s.log() // the inserter can be faster than the one that appended it
		for _, v := range s.list {
			v.Of.Stored.Add(uint64(v.Rows))
		}
	case rows:
		lose(s.list)
	default:
		for _, v := range s.list {
			v.Of.Unclear.Add(uint64(v.Rows))
		}
	}
}

// open returns the batches that are followed.
func (t *tally) open() []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.batches))
}

// lose books batches as lost.
func (t *tally) lose(batches []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, batch := range batches {
		if s := t.batches[batch]; s != nil {
			t.remove(batch)
			lose(s.list)
		}
	}
}

// remove ends following a batch. t.mu is held.
func (t *tally) remove(batch uint64) {
	t.size -= len(t.batches[batch].list)
	delete(t.batches, batch)
}

func lose(list []flow.Share) {
	for _, s := range list {
		s.Of.Lost.Add(uint64(s.Rows))
	}
}
