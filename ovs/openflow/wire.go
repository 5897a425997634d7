package openflow

import "encoding/binary"

// append16 appends numbers of 16 bits.
func append16(b []byte, vs ...uint16) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

// append32 appends numbers of 32 bits.
func append32(b []byte, vs ...uint32) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func append64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// appendZero appends n zero octets.
func appendZero(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// pad appends zero octets until what begins at b[from] is a multiple of eight long.
func pad(b []byte, from int) []byte { return appendZero(b, -(len(b)-from)&7) }

// put16 writes a length. One that is too large makes a message that is too large, which is not sent.
func put16(b []byte, n int) { binary.BigEndian.PutUint16(b, uint16(n)) }

func get16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func get32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
func get64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func put32(b []byte, v uint32) { binary.BigEndian.PutUint32(b, v) }
