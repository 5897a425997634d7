package flow

import "sync/atomic"

// Tally counts what becomes of the rows of one source, from the sealing of their batch on. It is safe for concurrent use.
//
//	Sealed = Stored + Lost + Unclear + what is on the way
//
// A row is in Logged too once the write-ahead log has it. Rows that a process before this one sealed are in no tally.
type Tally struct {
	Sealed  atomic.Uint64
	Logged  atomic.Uint64
	Stored  atomic.Uint64
	Lost    atomic.Uint64
	Unclear atomic.Uint64 // of batches that were lost in part: it is not known whose rows those were
}

// Share says how many rows of a batch are of one source.
type Share struct {
	Of   *Tally
	Rows int
}

// Tallied are the counters of a Tally at one moment.
type Tallied struct {
	Sealed  uint64 `json:"sealed_flows"`
	Logged  uint64 `json:"logged_flows"`
	Stored  uint64 `json:"stored_flows"`
	Lost    uint64 `json:"lost_flows"`
	Unclear uint64 `json:"unclear_flows"`
}

// Read returns the counters. What is on the way is never negative: rows are read where they end before where they begin.
func (t *Tally) Read() Tallied {
	var r Tallied
	r.Unclear, r.Lost, r.Stored = t.Unclear.Load(), t.Lost.Load(), t.Stored.Load()
	r.Logged = t.Logged.Load()
	r.Sealed = t.Sealed.Load()
	return r
}

// Sub takes away what b, which was counted before, has, and reports whether anything is left.
func (t *Tallied) Sub(b *Tallied) bool {
	t.Sealed -= b.Sealed
	t.Logged -= b.Logged
	t.Stored -= b.Stored
	t.Lost -= b.Lost
	t.Unclear -= b.Unclear
	return *t != Tallied{}
}

// Waiting returns the rows that were sealed and are neither stored nor lost.
func (t *Tallied) Waiting() uint64 { return t.Sealed - t.Stored - t.Lost - t.Unclear }
