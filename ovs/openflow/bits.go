package openflow

import (
	"encoding/binary"
	"math/bits"
)

// Bits is a value of a field, or a mask of it: a number of up to 128 bits, most significant octet first on the wire.
type Bits struct{ Hi, Lo uint64 }

// U64 returns a number as Bits.
func U64(v uint64) Bits { return Bits{Lo: v} }

// Ones returns a mask of the n low bits, 0 ≤ n ≤ 128.
func Ones(n int) Bits {
	switch {
	case n >= 128:
		return Bits{^uint64(0), ^uint64(0)}
	case n >= 64:
		return Bits{1<<(n-64) - 1, ^uint64(0)}
	default:
		return Bits{0, 1<<n - 1}
	}
}

// And returns the bits that are in both.
func (b Bits) And(o Bits) Bits { return Bits{b.Hi & o.Hi, b.Lo & o.Lo} }

// AndNot returns the bits of b that are not in o.
func (b Bits) AndNot(o Bits) Bits { return Bits{b.Hi &^ o.Hi, b.Lo &^ o.Lo} }

// Or returns the bits that are in either.
func (b Bits) Or(o Bits) Bits { return Bits{b.Hi | o.Hi, b.Lo | o.Lo} }

// Shl returns b shifted left by n bits.
func (b Bits) Shl(n int) Bits {
	if n >= 64 {
		return Bits{Hi: b.Lo << (n - 64)}
	}
	return Bits{b.Hi<<n | b.Lo>>(64-n), b.Lo << n}
}

// Shr returns b shifted right by n bits.
func (b Bits) Shr(n int) Bits {
	if n >= 64 {
		return Bits{Lo: b.Hi >> (n - 64)}
	}
	return Bits{b.Hi >> n, b.Lo>>n | b.Hi<<(64-n)}
}

// IsZero says whether no bit is set.
func (b Bits) IsZero() bool { return b == Bits{} }

// prefix returns how many of the width high bits are set, if those are all that are set; else -1.
func (b Bits) prefix(width int) int {
	up := b.Shl(128 - width)
	n := bits.LeadingZeros64(^up.Hi)
	if n == 64 {
		n += bits.LeadingZeros64(^up.Lo)
	}
	if up != Ones(n).Shl(128-n) {
		return -1
	}
	return n
}

// bitsFrom reads a number of up to 16 octets.
func bitsFrom(b []byte) (v Bits) {
	switch len(b) { // the common sizes
	case 1:
		return Bits{Lo: uint64(b[0])}
	case 2:
		return Bits{Lo: uint64(binary.BigEndian.Uint16(b))}
	case 4:
		return Bits{Lo: uint64(binary.BigEndian.Uint32(b))}
	case 8:
		return Bits{Lo: binary.BigEndian.Uint64(b)}
	case 16:
		return Bits{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
	}
	for _, c := range b {
		v = v.Shl(8).Or(Bits{Lo: uint64(c)})
	}
	return v
}

// appendBits appends the n low octets of v.
func appendBits(b []byte, v Bits, n int) []byte {
	var all [16]byte
	binary.BigEndian.PutUint64(all[:], v.Hi)
	binary.BigEndian.PutUint64(all[8:], v.Lo)
	return append(b, all[16-n:]...)
}
