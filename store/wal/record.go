package wal

import (
	"fmt"
	"math"
	"slices"
)

// Record is a batch on its way to the store. It belongs to one goroutine at a time: to the one that got it from New until
// Append, to the log while it waits, to the one that got it from Next until Retire.
type Record struct {
	Batch       uint64 // id of the batch
	First, Last int64  // smallest and largest time_received of its flows, ms since epoch UTC
	Rows        int    // flows; rows of further tables are not in it
	Pieces      []Piece

	// Doubt is set by Next: the record was handed out before, by a process that did not come to retire it, so the store
	// may have any of its pieces.
	Doubt bool

	buf     []byte // blocks; of a record that was read, its table of pieces before them
	segment *segment
	offset  int64 // in segment
	size    int64 // in segment; 0 if the record is in memory only
	place   position
	kept    int64 // bytes that count as the log's memory
}

// Piece is what of a batch goes to the store in one insert: one block for one partition of one table.
type Piece struct {
	Table, Partition string // of up to 255 bytes; Partition is the id as in column _partition_id
	Rows             int

	start, end int // of the block in Record.buf
}

// Block returns the block of piece i. It is valid until the record is given away.
func (r *Record) Block(i int) []byte {
	p := &r.Pieces[i]
	return r.buf[p.start:p.end:p.end]
}

// Size returns the bytes of all blocks.
func (r *Record) Size() int {
	n := 0
	for i := range r.Pieces {
		n += r.Pieces[i].end - r.Pieces[i].start
	}
	return n
}

// Add adds a piece of rows rows; encode appends its block to dst and returns the extended slice. There is one piece for
// each table and partition, since by both and the batch the store is asked whether it has the piece: a further block for
// the same ones is put behind the first, to be inserted together with it.
func (r *Record) Add(table, partition string, rows int, encode func(dst []byte) []byte) {
	i := slices.IndexFunc(r.Pieces, func(p Piece) bool { return p.Table == table && p.Partition == partition })
	switch {
	case i >= 0:
		r.moveLast(i)
	case len(table) > math.MaxUint8 || len(partition) > math.MaxUint8 || len(r.Pieces) == maxPieces:
		panic(fmt.Sprintf("BUG: piece %d for table %q, partition %q: a name too long or a piece too many", len(r.Pieces), table, partition))
	default:
		r.Pieces = append(r.Pieces, Piece{Table: table, Partition: partition, start: len(r.buf)})
	}
	r.buf = encode(r.buf)
	last := &r.Pieces[len(r.Pieces)-1]
	last.Rows += rows
	last.end = len(r.buf)
}

// moveLast moves piece i and its block behind the others.
func (r *Record) moveLast(i int) {
	p := r.Pieces[i]
	block := slices.Clone(r.buf[p.start:p.end])
	r.buf = append(slices.Delete(r.buf, p.start, p.end), block...)
	r.Pieces = slices.Delete(r.Pieces, i, i+1)
	for n := range r.Pieces[i:] {
		r.Pieces[i+n].start -= len(block)
		r.Pieces[i+n].end -= len(block)
	}
	p.start, p.end = len(r.buf)-len(block), len(r.buf)
	r.Pieces = append(r.Pieces, p)
}

// Durable tells whether r, which Next returned, is in a file, and so survives the process.
func (r *Record) Durable() bool { return r.segment != nil }

// reset makes r empty and keeps its memory.
func (r *Record) reset() {
	*r = Record{Pieces: r.Pieces[:0], buf: r.buf[:0]}
}
