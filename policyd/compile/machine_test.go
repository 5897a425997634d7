package compile_test

import (
	"net/netip"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/policyd/compile"
)

// A VM is not filtered because its platform says that it is the machine of Weir, and never because of an address that it may have chosen itself.
func TestMachineIs(t *testing.T) {
	m := compile.Machine{
		Addrs: []netip.Addr{netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("fe80::5")}, MACs: []estate.MAC{0x02aa00000001, 0x02aa00000002},
	}
	addrs := func(list ...string) (a []netip.Addr) {
		for _, x := range list {
			a = append(a, netip.MustParseAddr(x))
		}
		return a
	}
	for name, c := range map[string]struct {
		mac  estate.MAC
		told []netip.Addr
		want bool
	}{
		"its MAC address":                           {0x02aa00000002, nil, true},
		"its address, with another MAC address":     {0x02bb00000001, addrs("192.0.2.9", "172.17.0.1"), false},
		"another":                                   {0x02bb00000001, addrs("192.0.2.9"), false},
		"nothing is known":                          {0, nil, false},
		"an address only":                           {0, addrs("192.0.2.9", "172.17.0.1"), true},
		"an address only, written otherwise":        {0, addrs("::ffff:172.17.0.1"), true},
		"an address only, with the zone of a guest": {0, addrs("fe80::5%eth0"), true},
		"another address only":                      {0, addrs("192.0.2.9"), false},
	} {
		if got := m.Is(c.mac, c.told); got != c.want {
			t.Errorf("%s: Is(%v, %v) = %v, want %v", name, c.mac, c.told, got, c.want)
		}
	}
}
