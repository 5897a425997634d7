package flow

import (
	"fmt"

	"github.com/ClickHouse/ch-go/proto"
)

// Addr is an IP address in network byte order; IPv4 is IPv4-mapped (::ffff:a.b.c.d). The zero Addr (::) means none.
type Addr = proto.IPv6

// value is what one cell of a column can be.
type value interface {
	~int8 | ~uint8 | ~uint16 | ~uint32 | ~int64 | ~uint64 | ~bool | Addr
}

// Column is one column of a batch. Its length is the capacity of the batch; the rows in use are [0, Batch.Len()),
// and those beyond are zero.
type Column[T value] []T

// Lists is a column of lists of ids: the list of row i is IDs[Offsets[i-1]:Offsets[i]], from 0 for row 0.
// It is filled for all rows of a batch at once and in order, after the last record was decoded.
type Lists struct {
	Offsets []uint64
	IDs     []uint64
}

// AnyColumn is a column of any type: *Column[T] or *Lists.
type AnyColumn interface {
	resize(capacity int)
	clear(from, to int)
	encode(buf *proto.Buffer, from, to int) // rows [from, to)
	at(i int) any
}

func (c *Column[T]) resize(capacity int) {
	next := make([]T, capacity)
	copy(next, *c)
	*c = next
}

func (c *Column[T]) clear(from, to int) { clear((*c)[from:to]) }

func (c *Column[T]) at(i int) any { return (*c)[i] }

func (c *Column[T]) encode(buf *proto.Buffer, from, to int) {
	switch s := any([]T((*c)[from:to])).(type) {
	case []uint8:
		proto.ColUInt8(s).EncodeColumn(buf)
	case []uint16:
		proto.ColUInt16(s).EncodeColumn(buf)
	case []uint32:
		proto.ColUInt32(s).EncodeColumn(buf)
	case []int64:
		proto.ColInt64(s).EncodeColumn(buf)
	case []uint64:
		proto.ColUInt64(s).EncodeColumn(buf)
	case []bool:
		proto.ColBool(s).EncodeColumn(buf)
	case []Addr:
		proto.ColIPv6(s).EncodeColumn(buf)
	default:
		encodeNamed(buf, s)
	}
}

// encodeNamed writes the columns whose cells are one-byte enumerations.
func encodeNamed(buf *proto.Buffer, column any) {
	switch s := column.(type) {
	case []Verdict:
		appendEnum(buf, s)
	case []Stage:
		appendEnum(buf, s)
	case []Direction:
		appendEnum(buf, s)
	case []Observed:
		appendEnum(buf, s)
	case []BytesLayer:
		appendEnum(buf, s)
	default:
		panic(fmt.Sprintf("BUG: flow column of type %T has no encoding", s))
	}
}

func appendEnum[T ~int8](buf *proto.Buffer, s []T) {
	for _, v := range s {
		buf.Buf = append(buf.Buf, byte(v))
	}
}

func (l *Lists) resize(capacity int) {
	next := make([]uint64, capacity)
	copy(next, l.Offsets)
	l.Offsets = next
}

func (l *Lists) clear(from, to int) {
	clear(l.Offsets[from:to])
	if from == 0 {
		l.IDs = l.IDs[:0]
	} else {
		l.IDs = l.IDs[:l.Offsets[from-1]]
	}
}

func (l *Lists) encode(buf *proto.Buffer, from, to int) {
	first, last := l.end(from), l.end(to)
	if first == 0 {
		proto.ColUInt64(l.Offsets[from:to]).EncodeColumn(buf)
	} else {
		for _, end := range l.Offsets[from:to] { // a block's offsets count from its own first list
			buf.PutUInt64(end - first)
		}
	}
	proto.ColUInt64(l.IDs[first:last]).EncodeColumn(buf)
}

// end is where the lists of the first rows rows end in IDs.
func (l *Lists) end(rows int) uint64 {
	if rows == 0 {
		return 0
	}
	return l.Offsets[rows-1]
}

func (l *Lists) at(i int) any { return l.Row(i) }

// Row returns the list of row i. It is valid until the batch changes.
func (l *Lists) Row(i int) []uint64 {
	return l.IDs[l.end(i):l.end(i+1)]
}

// Set makes ids the list of row i. Rows are set in order: i is 0, or the row after the one set last.
func (l *Lists) Set(i int, ids []uint64) {
	l.IDs = append(l.IDs, ids...)
	l.Offsets[i] = uint64(len(l.IDs))
}

// NativeColumn is a column of a block: its name, its ClickHouse type and its cells.
type NativeColumn struct {
	Name, Type string
	Cells      AnyColumn
}

// AppendNative appends the first rows cells of columns to dst as one block of ClickHouse's Native format, revision 0,
// and returns the extended slice.
func AppendNative(dst []byte, rows int, columns []NativeColumn) []byte {
	buf := proto.Buffer{Buf: dst}
	putBlockHeader(&buf, len(columns), rows)
	for _, c := range columns {
		putColumn(&buf, c, 0, rows)
	}
	return buf.Buf
}

func putBlockHeader(buf *proto.Buffer, columns, rows int) {
	buf.PutUVarInt(uint64(columns))
	buf.PutUVarInt(uint64(rows))
}

func putColumn(buf *proto.Buffer, c NativeColumn, from, to int) {
	buf.PutString(c.Name)
	buf.PutString(c.Type)
	c.Cells.encode(buf, from, to)
}
