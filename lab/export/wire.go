package export

import (
	"encoding/binary"
	"net/netip"
)

// appendNumber appends the low length bytes of v, big endian.
func appendNumber(b []byte, v uint64, length int) []byte {
	switch length {
	case 1:
		return append(b, byte(v))
	case 2:
		return binary.BigEndian.AppendUint16(b, uint16(v))
	case 4:
		return binary.BigEndian.AppendUint32(b, uint32(v))
	case 8:
		return binary.BigEndian.AppendUint64(b, v)
	}
	for shift := 8 * (length - 1); shift >= 0; shift -= 8 {
		b = append(b, byte(v>>shift))
	}
	return b
}

// appendAddress appends a in length bytes; an address of the other family is sent as zeros.
func appendAddress(b []byte, a netip.Addr, length int) []byte {
	switch {
	case length == 4 && a.Is4():
		v := a.As4()
		return append(b, v[:]...)
	case length == 16 && a.Is6():
		v := a.As16()
		return append(b, v[:]...)
	default:
		return append(b, make([]byte, length)...)
	}
}

// appendText appends s cut off or padded to length bytes, or, if that is Variable, behind its length (RFC 7011 §7).
func appendText(b []byte, s string, length uint16) []byte {
	if length != Variable {
		n := min(len(s), int(length))
		b = append(b, s[:n]...)
		return append(b, make([]byte, int(length)-n)...)
	}
	if len(s) < 255 {
		b = append(b, byte(len(s)))
	} else {
		s = s[:min(len(s), Variable)]
		b = append(b, 255)
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	}
	return append(b, s...)
}

// variableSize returns the bytes that a variable field with n bytes of content takes.
func variableSize(n int) int {
	if n < 255 {
		return n + 1
	}
	return n + 3
}
