package estate

import (
	"fmt"
	"net"
)

// MAC is a MAC address in its low 48 bits, first octet highest, as in the columns src_mac and dst_mac; 0 is none.
type MAC uint64

// multicastBit is the group bit of the first octet (IEEE 802 §8.2): set for broadcast and multicast.
const multicastBit MAC = 1 << 40

// ParseMAC reads "02:00:00:00:00:01", "02-00-00-00-00-01" or "0200.0000.0001".
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return 0, fmt.Errorf(`found %q, want MAC address, e.g. "02:00:00:00:00:01"`, s)
	}
	var m MAC
	for _, b := range hw {
		m = m<<8 | MAC(b)
	}
	return m, nil
}

// String returns the address as "02:00:00:00:00:01", or "" if there is none.
func (m MAC) String() string {
	if m == 0 {
		return ""
	}
	return net.HardwareAddr{byte(m >> 40), byte(m >> 32), byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}.String()
}

// MarshalText implements encoding.TextMarshaler with [MAC.String].
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with [ParseMAC]; an empty text is none.
func (m *MAC) UnmarshalText(text []byte) (err error) {
	*m = 0
	if len(text) > 0 {
		*m, err = ParseMAC(string(text))
	}
	return err
}
