package learned_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/learned"
)

// frame returns the bytes of hex digits, in which blanks and what follows # do not count.
func frame(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	mac      = estate.MAC(0x020000000001)
	arpHead  = "ffffffffffff 020000000001 0806 0001 0800 06 04 "
	arpTail  = " 020000000001 c6336407 000000000000 c6336407"
	ndHead   = "333300000001 020000000001 86dd 6000000000203aff fe800000000000000000000000000001 ff020000000000000000000000000001 "
	dhcpHead = "ffffffffffff 020000000001 0800 45000148 00004000 4011 0000 00000000 ffffffff "
)

// bootp returns a message of DHCP from the operation on.
func bootp(op, ciaddr, yiaddr, options string) string {
	return op + "010600 3903f326 0000 0000 " + ciaddr + yiaddr + "00000000 00000000 020000000001" + strings.Repeat("00", 10+64+128) + "63825363 " + options
}

// Each packet says what its RFC makes it say.
func TestDecode(t *testing.T) {
	v4, v6 := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")
	claim := func(from learned.Source, addr netip.Addr) learned.Packet {
		p := learned.Packet{Kind: learned.Claim, From: from, MAC: mac, Number: 1}
		p.Addrs[0].Addr = addr
		return p
	}
	dhcp := func(kind learned.Kind, xid uint32, addr netip.Addr, lease time.Duration) learned.Packet {
		p := learned.Packet{Kind: kind, From: learned.DHCP, MAC: mac, XID: xid}
		if addr.IsValid() {
			p.Addrs[0], p.Number = learned.Granted{Addr: addr, Lease: lease}, 1
		}
		return p
	}
	const six = "20010db8000000000000000000000007"
	ia := "0003 0028 00000001 00000000 00000000 0005 0018" + six + "00000e10 00001c20"
	for name, c := range map[string]struct {
		hex  string
		want learned.Packet
	}{
		"ARP announcement (RFC 5227 §2.3)":            {arpHead + "0001" + arpTail, claim(learned.ARP, v4)},
		"ARP answer":                                  {arpHead + "0002" + arpTail, claim(learned.ARP, v4)},
		"ARP in a VLAN":                               {"ffffffffffff 020000000001 8100 0064 0806 0001 0800 06 04 0001" + arpTail, claim(learned.ARP, v4)},
		"ARP probe (RFC 5227 §2.1)":                   {arpHead + "0001 020000000001 00000000 000000000000 c6336407", learned.Packet{}},
		"ARP for another":                             {arpHead + "0001 020000000002 c6336407 000000000000 c6336407", learned.Packet{}},
		"RARP":                                        {arpHead + "0003" + arpTail, learned.Packet{}},
		"neighbour advertisement":                     {ndHead + "8800 0000 20000000" + six + "0201 020000000001", claim(learned.ND, v6)},
		"neighbour advertisement from afar":           {strings.Replace(ndHead, "3aff", "3afe", 1) + "8800 0000 20000000" + six + "0201 020000000001", learned.Packet{}},
		"neighbour solicitation":                      {ndHead + "8700 0000 00000000" + six + "0101 020000000001", claim(learned.ND, netip.MustParseAddr("fe80::1"))},
		"duplicate address detection (RFC 4862 §5.4)": {strings.Replace(ndHead, "fe800000000000000000000000000001", strings.Repeat("0", 32), 1) + "8700 0000 00000000" + six + "0101 020000000001", learned.Packet{}},
		"DHCPREQUEST":                                 {dhcpHead + "0044 0043 0134 0000" + bootp("01", "00000000", "00000000", "350103 3204c6336407 ff"), dhcp(learned.Ask, 0x3903f326, netip.Addr{}, 0)},
		"DHCPACK":                                     {dhcpHead + "0043 0044 0134 0000" + bootp("02", "00000000", "c6336407", "350105 330400000e10 ff"), dhcp(learned.Grant, 0x3903f326, v4, time.Hour)},
		"DHCPACK of DHCPINFORM, without a lease":      {dhcpHead + "0043 0044 0134 0000" + bootp("02", "c6336407", "00000000", "350105 ff"), learned.Packet{}},
		"DHCPOFFER":                                   {dhcpHead + "0043 0044 0134 0000" + bootp("02", "00000000", "c6336407", "350102 330400000e10 ff"), learned.Packet{}},
		"DHCPRELEASE":                                 {dhcpHead + "0044 0043 0134 0000" + bootp("01", "c6336407", "00000000", "350107 ff"), dhcp(learned.Release, 0x3903f326, v4, 0)},
		"DHCPDECLINE":                                 {dhcpHead + "0044 0043 0134 0000" + bootp("01", "00000000", "00000000", "350104 3204c6336407 ff"), dhcp(learned.Release, 0x3903f326, v4, 0)},
		"a fragment":                                  {strings.Replace(dhcpHead, "00004000", "00002000", 1) + "0043 0044 0134 0000" + bootp("02", "00000000", "c6336407", "350105 330400000e10 ff"), learned.Packet{}},
		"DHCPv6 request":                              {"333300010002 020000000001 86dd 600000000040 11 01 fe800000000000000000000000000001 ff020000000000000000000000010002 0222 0223 0040 0000 03 123456", six6(learned.Ask, netip.Addr{}, 0)},
		"DHCPv6 reply":                                {"020000000001 020000000009 86dd 600000000040 11 01 fe800000000000000000000000000009 fe800000000000000000000000000001 0223 0222 0040 0000 07 123456 0001 0002 abcd" + ia, six6(learned.Grant, v6, 2*time.Hour)},
		"DHCPv6 release":                              {"333300010002 020000000001 86dd 600000000040 11 01 fe800000000000000000000000000001 ff020000000000000000000000010002 0222 0223 0040 0000 08 123456" + ia, six6(learned.Release, v6, 0)},
		"TCP":                                         {dhcpHead[:len(dhcpHead)-len("4011 0000 00000000 ffffffff ")] + "4006 0000 c6336407 c6336408" + strings.Repeat("00", 40), learned.Packet{}},
		"nothing":                                     {"", learned.Packet{}},
	} {
		got := learned.Decode(frame(t, c.hex))
		c.want = c.want.OfDHCPv6(strings.HasPrefix(name, "DHCPv6"))
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func six6(kind learned.Kind, addr netip.Addr, lease time.Duration) learned.Packet {
	p := learned.Packet{Kind: kind, From: learned.DHCP, MAC: mac, XID: 0x123456}
	if addr.IsValid() {
		p.Addrs[0], p.Number = learned.Granted{Addr: addr, Lease: lease}, 1
	}
	return p
}

// Whatever is read holds what an address can be, and a frame that ends too early says no more than all of it.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		arpHead + "0001" + arpTail, ndHead + "8800 0000 20000000 20010db8000000000000000000000007 0201 020000000001",
		dhcpHead + "0043 0044 0134 0000" + bootp("02", "00000000", "c6336407", "350105 330400000e10 ff"),
		"020000000001 020000000009 86dd 600000000040 11 01 fe800000000000000000000000000009 fe800000000000000000000000000001 0223 0222 0040 0000 07 123456 0003 0028 00000001 00000000 00000000 0005 0018 20010db8000000000000000000000007 00000e10 00001c20",
	} {
		f.Add(frame(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := learned.Decode(b)
		if p.Number > len(p.Addrs) || (p.Kind == learned.Nothing) != (p == learned.Packet{}) || (p.Kind == learned.Claim || p.Kind == learned.Grant || p.Kind == learned.Release) != (p.Number > 0) {
			t.Fatalf("got %+v", p)
		}
		for _, a := range p.Addrs[:p.Number] {
			if !learned.Possible(a.Addr) || (p.Kind == learned.Grant) != (a.Lease > 0) {
				t.Fatalf("got address %+v of %+v", a, p)
			}
		}
		if n := len(b) / 2; learned.Decode(b[:n]).Number > p.Number {
			t.Fatalf("half of the frame says more: %+v, all of it %+v", learned.Decode(b[:n]), p)
		}
	})
}

func TestDecodeAllocatesNothing(t *testing.T) {
	b := frame(t, arpHead+"0001"+arpTail)
	if n := testing.AllocsPerRun(100, func() { learned.Decode(b) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
