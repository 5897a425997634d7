package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/weirhq/weir/collector/template"
)

const (
	magic       = "weirstat"
	version     = 1
	headerSize  = 16
	frameSize   = 12      // octets of a frame beside its contents
	maxContents = 1 << 26 // octets; bounds what a length may say
)

const (
	kindDomain    = 1
	kindForgotten = 2
	// FirstPart is the lowest Kind of a Part.
	FirstPart = 16
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func appendHeader(b []byte) []byte {
	at := len(b)
	b = append(b, magic...)
	b = le.AppendUint32(b, version)
	return le.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// beginFrame appends the beginning of a frame, whose contents are to follow.
func beginFrame(b []byte, kind uint8) []byte {
	return append(b, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// endFrame completes the frame that begins at b[at:].
func endFrame(b []byte, at int) {
	le.PutUint32(b[at+4:], uint32(len(b)-at-frameSize))
	le.PutUint32(b[at+8:], sum(b[at:]))
}

// sum is the CRC of a frame.
func sum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:8], castagnoli), castagnoli, frame[frameSize:])
}

// slot is what a frame is about: a later frame of the same slot replaces it.
type slot struct {
	kind uint8
	key  template.Key
}

// Reasons why a file is set aside.
var (
	errForeign = errors.New("not a state file of Weir")
	errDamaged = errors.New("damaged")
)

// errVersion is a file that another Weir wrote.
type errVersion uint32

func (e errVersion) Error() string {
	return fmt.Sprintf("its format is version %d, this weir knows version %d", uint32(e), version)
}

// contents are the frames of a file that count.
type contents struct {
	frames map[slot][]byte // contents, which are part of the file
	order  []slot          // of frames, as first met; some may not be in frames any more
	good   int             // octets of the file up to which it is whole
}

// scan reads a file. Of a file that is damaged, contents are what came before; an error says that the file is to be set
// aside. A file that ends within a frame is no error.
func scan(b []byte) (contents, error) {
	c := contents{frames: map[slot][]byte{}}
	if len(b) < headerSize {
		if len(b) > 0 {
			return c, errForeign
		}
		return c, nil
	}
	v := le.Uint32(b[8:])
	switch {
	case string(b[:8]) != magic:
		return c, errForeign
	case v != version:
		return c, errVersion(v)
	case le.Uint32(b[12:]) != crc32.Checksum(b[:12], castagnoli):
		return c, errDamaged
	}
	c.good = headerSize
	for len(b)-c.good >= frameSize {
		frame := b[c.good:]
		length := int64(le.Uint32(frame[4:]))
		if length > maxContents {
			return c, errDamaged
		}
		if length > int64(len(frame)-frameSize) {
			break
		}
		frame = frame[:frameSize+length]
		if le.Uint32(frame[8:]) != sum(frame) || !c.take(frame[0], frame[frameSize:]) {
			return c, errDamaged
		}
		c.good += len(frame)
	}
	return c, nil
}

// take notes a frame; false if it makes no sense.
func (c *contents) take(kind uint8, b []byte) bool {
	forgotten := kind == kindForgotten
	rest := b
	if forgotten {
		if len(b) == 0 {
			return false
		}
		kind, rest = b[0], b[1:]
	}
	key, rest, err := template.ReadKey(rest)
	if err != nil {
		return false
	}
	s := slot{kind, key}
	switch {
	case forgotten:
		delete(c.frames, s)
		return len(rest) == 0
	case kind == kindDomain:
		rest = b // its contents begin with the key
	}
	if _, known := c.frames[s]; !known {
		c.order = append(c.order, s)
	}
	c.frames[s] = rest
	return true
}
