package estate

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirhq/weir/internal/chance"
)

// The fewest prefixes of a range, against the way that tries each.
func TestRangePrefixes(t *testing.T) {
	slow := func(from, to netip.Addr) []netip.Prefix {
		var list []netip.Prefix
		for {
			p := netip.PrefixFrom(from, from.BitLen())
			for p.Bits() > 0 {
				wider := netip.PrefixFrom(from, p.Bits()-1)
				if wider.Masked().Addr() != from || to.Less(lastOf(wider)) {
					break
				}
				p = wider
			}
			list = append(list, p)
			last := lastOf(p)
			if last == to {
				return list
			}
			from = last.Next()
		}
	}
	check := func(from, to netip.Addr) {
		t.Helper()
		if got, want := rangePrefixes(from, to), slow(from, to); !slices.Equal(got, want) {
			t.Errorf("rangePrefixes(%s, %s) = %v, want %v", from, to, got, want)
		}
	}
	for _, r := range [][2]string{
		{"0.0.0.0", "255.255.255.255"},
		{"0.0.0.1", "255.255.255.254"},
		{"192.0.2.1", "192.0.2.1"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"},
		{"0:0:0:1::", "0:0:0:1:ffff:ffff:ffff:ffff"},
		{"::ffff:ffff:ffff:ffff", "0:0:0:1::"},
	} {
		check(netip.MustParseAddr(r[0]), netip.MustParseAddr(r[1]))
	}
	r := rand.New(rand.NewPCG(chance.Seed(t), 0))
	for range 300 {
		a, b := netip.MustParseAddr("2001:db8::").As16(), netip.MustParseAddr("2001:db8::").As16()
		for i := 16 - r.IntN(12); i < 16; i++ {
			a[i], b[i] = byte(r.Uint32()), byte(r.Uint32())
		}
		from, to := netip.AddrFrom16(a), netip.AddrFrom16(b)
		if r.IntN(2) == 0 {
			from, to = netip.AddrFrom4([4]byte(a[12:])), netip.AddrFrom4([4]byte(b[12:]))
		}
		if to.Less(from) {
			from, to = to, from
		}
		check(from, to)
	}
}

// lastOf returns the highest address in p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
