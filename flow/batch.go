package flow

import (
	"slices"

	"github.com/ClickHouse/ch-go/proto"
)

// Batch is a table of flow rows, held by columns. See the package comment for its shape and [Fields] for the unit
// and meaning of each column. A batch belongs to one goroutine at a time; handing it over hands over its memory.
type Batch struct {
	rows     int
	capacity int

	TimeReceived Column[int64]  // ms since epoch UTC
	StartAge     Column[int64]  // ms: flow start = TimeReceived - StartAge
	Duration     Column[uint32] // ms: flow end = flow start + Duration

	Exporter          Column[Addr]
	ObservationDomain Column[uint32]
	Version           Column[uint8]
	SamplingRate      Column[uint32]
	SamplingAssumed   Column[bool]

	SrcAddr          Column[Addr]
	DstAddr          Column[Addr]
	SrcPort          Column[uint16]
	DstPort          Column[uint16]
	Protocol         Column[uint8]
	Ethertype        Column[uint16]
	Bytes            Column[uint64]
	Packets          Column[uint64]
	BytesLayer       Column[BytesLayer]
	TCPFlags         Column[uint16]
	TOS              Column[uint8]
	ICMPType         Column[uint8]
	ICMPCode         Column[uint8]
	InIf             Column[uint32]
	OutIf            Column[uint32]
	SrcMAC           Column[uint64]
	DstMAC           Column[uint64]
	VLANIn           Column[uint16]
	VLANOut          Column[uint16]
	VRFIn            Column[uint32]
	VRFOut           Column[uint32]
	Application      Column[uint64]
	Observed         Column[Observed]
	ForwardingStatus Column[uint8]
	EndReason        Column[uint8]
	ObservationPoint Column[uint32]

	Direction Column[Direction]
	Pool      Column[uint64]
	Host      Column[uint64]
	Bridge    Column[uint64]
	Network   Column[uint64]
	SrcVM     Column[uint64]
	DstVM     Column[uint64]
	SrcVIF    Column[uint64]
	DstVIF    Column[uint64]
	SrcGroups Lists
	DstGroups Lists

	RuleID       Column[uint64]
	RuleInstance Column[uint32]
	Stage        Column[Stage]
	Verdict      Column[Verdict]
	Counted      Column[bool]

	ID Column[uint64] // column "batch": the same in all rows

	// VirtualID tells apart the bridges of an exporter that gives them names in its records: [VirtualID] of the name, 0
	// for none. It is for finding Bridge and is not stored.
	VirtualID Column[uint64]

	// Shares say of which sources the rows are. They are for the books, known when the batch is sealed, and not stored.
	Shares []Share
}

// NewBatch returns an empty batch with room for capacity rows (at least 1).
func NewBatch(capacity int) *Batch {
	b := &Batch{}
	b.resize(max(1, capacity))
	return b
}

func (b *Batch) resize(capacity int) {
	for i := range Fields {
		Fields[i].column(b).resize(capacity)
	}
	b.VirtualID.resize(capacity)
	b.capacity = capacity
}

// Len returns the number of rows.
func (b *Batch) Len() int { return b.rows }

// Cap returns the number of rows for which there is room without an allocation.
func (b *Batch) Cap() int { return b.capacity }

// Grow adds n rows of zeros and returns the index of the first. It allocates only when Cap is exceeded.
func (b *Batch) Grow(n int) int {
	first := b.rows
	if first+n > b.capacity {
		b.resize(max(first+n, 2*b.capacity))
	}
	b.rows = first + n
	return first
}

// Truncate removes the rows from n on: the way back after a record that turned out to be wrong.
func (b *Batch) Truncate(n int) {
	if n >= b.rows {
		return
	}
	for i := range Fields {
		Fields[i].column(b).clear(n, b.rows)
	}
	b.VirtualID.clear(n, b.rows)
	b.rows = n
}

// Reset removes all rows and shares and keeps the memory.
func (b *Batch) Reset() {
	b.Truncate(0)
	clear(b.Shares)
	b.Shares = b.Shares[:0]
}

// Value returns the cell of row i in the column named name, or nil if there is no such column. It is for listings
// and tests; hot code indexes the columns.
func (b *Batch) Value(name string, i int) any {
	f, ok := FieldByName(name)
	if !ok {
		return nil
	}
	return f.column(b).at(i)
}

// AppendNative appends the batch to dst as one block of ClickHouse's Native format, revision 0 (what
// "INSERT … FORMAT Native" takes over HTTP), and returns the extended slice.
func (b *Batch) AppendNative(dst []byte) []byte { return b.AppendNativeRows(dst, 0, b.rows) }

// AppendNativeRows is AppendNative for the rows [from, to) alone.
func (b *Batch) AppendNativeRows(dst []byte, from, to int) []byte {
	buf := proto.Buffer{Buf: slices.Grow(dst, b.nativeSize(to-from))}
	putBlockHeader(&buf, len(Fields), to-from)
	for i := range Fields {
		putColumn(&buf, NativeColumn{Fields[i].Name, Fields[i].Type, Fields[i].column(b)}, from, to)
	}
	return buf.Buf
}

// nativeSize bounds the length of an encoded block of rows rows: none is wider than rowSize without its lists.
func (b *Batch) nativeSize(rows int) int {
	const rowSize, columnHeader = 320, 128
	return len(Fields)*columnHeader + rows*rowSize + 8*(len(b.SrcGroups.IDs)+len(b.DstGroups.IDs))
}
