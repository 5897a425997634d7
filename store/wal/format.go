package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	headerSize   = 64 // of a segment and of a record; records begin at multiples of it, so that no header crosses a sector
	version      = 1
	recordMagic  = 0x52494557 // "WEIR"
	segmentMagic = "weir-wal"

	// Limits of what a header may say, checked before anything is allocated.
	maxTable  = 1 << 16 // bytes of the table of pieces
	maxBlocks = 1 << 30 // bytes of the blocks
	maxPieces = 1 << 10
)

// Marks over a record's state. Anything else, damage too, is a record that waits: the store is asked about it.
const (
	stateHanded  = 0x444E4148 // "HAND"
	stateRetired = 0x45524954 // "TIRE"
)

// The marks as they are written.
var (
	handed  = binary.LittleEndian.AppendUint32(nil, stateHanded)
	retired = binary.LittleEndian.AppendUint32(nil, stateRetired)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func align(n int64) int64 { return (n + headerSize - 1) &^ (headerSize - 1) }

// segmentHeader is the beginning of a segment.
type segmentHeader struct {
	salt uint64
	boot [16]byte
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint64(b[16:], h.salt)
	copy(b[24:40], h.boot[:])
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

var errNoSegment = errors.New("not the header of a segment")

// errVersion is a segment that a later Weir wrote.
type errVersion uint32

func (e errVersion) Error() string {
	return fmt.Sprintf("its format is version %d, this weir knows version %d: run the version that wrote it until the log is empty", uint32(e), version)
}

func parseSegmentHeader(b []byte) (segmentHeader, error) {
	if len(b) < headerSize || string(b[:8]) != segmentMagic || binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return segmentHeader{}, errNoSegment
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return segmentHeader{}, errVersion(v)
	}
	h := segmentHeader{salt: binary.LittleEndian.Uint64(b[16:])}
	copy(h.boot[:], b[24:40])
	return h, nil
}

// header is the header of a record.
type header struct {
	state         uint32
	batch         uint64
	first, last   int64
	rows          uint32
	pieces        uint32
	table, blocks uint32 // lengths in bytes
	bodyCRC       uint32
}

// size is what the record takes in its segment, padding included.
func (h *header) size() int64 { return align(headerSize + int64(h.table) + int64(h.blocks)) }

func (h *header) encode(b []byte, salt uint64, offset int64) {
	clear(b[:headerSize])
	le := binary.LittleEndian
	le.PutUint32(b[0:], recordMagic)
	le.PutUint32(b[4:], h.state)
	le.PutUint64(b[8:], h.batch)
	le.PutUint64(b[16:], uint64(h.first))
	le.PutUint64(b[24:], uint64(h.last))
	le.PutUint32(b[32:], h.rows)
	le.PutUint32(b[36:], h.pieces)
	le.PutUint32(b[40:], h.table)
	le.PutUint32(b[44:], h.blocks)
	le.PutUint32(b[48:], h.bodyCRC)
	le.PutUint64(b[52:], place(salt, offset))
	le.PutUint32(b[60:], headerCRC(b))
}

// place is what makes a header good at one offset of one segment only.
func place(salt uint64, offset int64) uint64 { return salt ^ uint64(offset) }

// headerCRC covers all of a header but its state.
func headerCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[8:60])
}

// parseHeader reads the header of a record at offset of its segment, which ends at end. It reports false where there is none.
func parseHeader(b []byte, salt uint64, offset, end int64) (header, bool) {
	le := binary.LittleEndian
	if len(b) < headerSize || le.Uint32(b) != recordMagic || le.Uint64(b[52:]) != place(salt, offset) || le.Uint32(b[60:]) != headerCRC(b) {
		return header{}, false
	}
	h := header{
		state: le.Uint32(b[4:]), batch: le.Uint64(b[8:]), first: int64(le.Uint64(b[16:])), last: int64(le.Uint64(b[24:])),
		rows: le.Uint32(b[32:]), pieces: le.Uint32(b[36:]), table: le.Uint32(b[40:]), blocks: le.Uint32(b[44:]), bodyCRC: le.Uint32(b[48:]),
	}
	whole := offset+headerSize+int64(h.table)+int64(h.blocks) <= end
	return h, whole && h.table <= maxTable && h.blocks <= maxBlocks && h.pieces <= maxPieces
}

// appendTable appends the table of pieces to b.
func appendTable(b []byte, pieces []Piece) []byte {
	for i := range pieces {
		p := &pieces[i]
		b = binary.LittleEndian.AppendUint32(b, uint32(p.Rows))
		b = binary.LittleEndian.AppendUint32(b, uint32(p.end-p.start))
		b = append(append(b, byte(len(p.Table))), p.Table...)
		b = append(append(b, byte(len(p.Partition))), p.Partition...)
	}
	return b
}

var errTable = errors.New("table of pieces does not fit its blocks")

// parseTable appends to pieces those that b lists: exactly n, with blocks bytes of blocks together, the first at start.
// intern makes strings.
func parseTable(pieces []Piece, b []byte, n, start, blocks int, intern func([]byte) string) ([]Piece, error) {
	word := func() ([]byte, bool) {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, false
		}
		s := b[1 : 1+int(b[0])]
		b = b[1+len(s):]
		return s, true
	}
	end := start + blocks
	for range n {
		if len(b) < 8 {
			return pieces, errTable
		}
		rows, size := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		b = b[8:]
		table, ok1 := word()
		partition, ok2 := word()
		if !ok1 || !ok2 || int64(size) > int64(end-start) {
			return pieces, errTable
		}
		pieces = append(pieces, Piece{
			Table: intern(table), Partition: intern(partition), Rows: int(rows), start: start, end: start + int(size),
		})
		start += int(size)
	}
	if len(b) != 0 || start != end {
		return pieces, errTable
	}
	return pieces, nil
}

// scanned is what scan found.
type scanned struct {
	end  int64 // where the last whole record ends, aligned; headerSize if there is none
	gaps int   // damaged places with whole records after them
	torn bool  // bytes that are no whole record are after end
}

// scan calls visit for each whole record of a segment of size bytes, in order. It reads headers only: whether the body is
// whole too is seen when it is read. Where no header holds it looks for the next one that does.
func scan(r io.ReaderAt, size int64, salt uint64, visit func(offset int64, h header)) (scanned, error) {
	s := scanned{end: headerSize}
	for s.end < size {
		offset, h, err := find(r, s.end, size, salt)
		if err != nil {
			return s, err
		}
		if offset < 0 {
			s.torn = true
			break
		}
		if offset != s.end {
			s.gaps++
		}
		visit(offset, h)
		s.end = offset + h.size()
	}
	return s, nil
}

// find returns the first whole record at or after offset from, a multiple of headerSize; offset -1 means that there is none
// before end.
func find(r io.ReaderAt, from, end int64, salt uint64) (int64, header, error) {
	var one [headerSize]byte
	if n, err := r.ReadAt(one[:], from); n == headerSize {
		if h, ok := parseHeader(one[:], salt, from, end); ok {
			return from, h, nil
		}
	} else if err != nil && !errors.Is(err, io.EOF) {
		return -1, header{}, err
	}
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], recordMagic)
	buf := make([]byte, 64<<10)
	for from += headerSize; from+headerSize <= end; from += int64(len(buf)) {
		n, err := r.ReadAt(buf, from)
		if err != nil && !errors.Is(err, io.EOF) {
			return -1, header{}, err
		}
		for i := 0; i+headerSize <= n; i += headerSize {
			if !bytes.Equal(buf[i:i+4], magic[:]) {
				continue
			}
			if h, ok := parseHeader(buf[i:], salt, from+int64(i), end); ok {
				return from + int64(i), h, nil
			}
		}
	}
	return -1, header{}, nil
}
