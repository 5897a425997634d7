package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/learned"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/store"
)

// The addresses of VMs of which nobody tells are learned at their bridge, are members of VM groups, and outlive a restart.
func TestLearnedAddresses(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	r.must(r.db.SetID(r.ctx, "xs-network-uuid", r.web.Identity.Network))
	r.must(os.WriteFile(filepath.Join(r.data, "estate.yaml"), []byte(`
pools: [{name: lab}]
hosts: [{name: hv1, pool: lab}]
vms:
  - {name: web, pool: lab, host: hv1, vifs: [{device: "0", mac: "02:00:00:00:00:01"}]}
  - {name: db, pool: lab, host: hv1, vifs: [{device: "0", mac: "02:00:00:00:00:02", ips: [10.1.0.2]}]}
`), 0o600))
	apptest.Eventually(t, soon, "nobody tells an address of web", func() error {
		if a := weir(t, "estate", "explain", "web/0", "--data", r.data); !strings.Contains(a.stdout, "host:hv1") || strings.Contains(a.stdout, "10.1.0.1") {
			return fmt.Errorf("%s%s", a.stdout, a.err)
		}
		return nil
	})
	r.weir("policy", "apply", r.file(`default: allow
vm_groups: [{name: clients, vms: [web]}]
vms:
  - name: db
    mandatory:
      - {id: clients, action: allow, direction: from, protocol: tcp, remote: vm-group:clients, local_ports: "5432"}
      - {id: nothing-else, action: deny, direction: from}
`))
	r.says("is in force and verified at 1 bridge", "hosts", "mode", "hv1", "enforce", "--yes")
	explained := func(addr string, want ...string) {
		t.Helper()
		apptest.Eventually(t, soon, addr+" is explained", func() error {
			a := weir(t, "estate", "explain", addr, "--data", r.data)
			for _, w := range want {
				if !strings.Contains(a.stdout, w) {
					return fmt.Errorf("want %q in:\n%s%s", w, a.stdout, a.err)
				}
			}
			return nil
		})
	}

	// Its own address, which the kernel asks with.
	r.passes("by a member of the group whose address nobody told", 5432, true)
	explained("10.1.0.1", "learned:arp *", "medium", "a flow with it, by IP address: hit, VIF web/0, VM web")

	// Another one by IPv6: an advertisement that nobody asked for (RFC 4861 §7.2.6).
	ip6 := netip.MustParseAddr("2001:db8::7")
	r.must(r.web.Namespace.Inject(r.web.Device, advertisement(ip6), 1))
	explained(ip6.String(), "learned:nd *", "medium", "VIF web/0")

	// And by DHCP, of which db is the server; then it gives the address back.
	given := netip.MustParseAddr("10.1.0.77")
	r.must(r.web.Namespace.Inject(r.web.Device, dhcpFrame(1, 3, given), 1))
	apptest.Eventually(t, soon, "the answer is taken for one", func() error { // the question may come to Weir after it
		r.must(r.db.Namespace.Inject(r.db.Device, dhcpFrame(2, 5, given), 1))
		if a := weir(t, "estate", "explain", given.String(), "--data", r.data); !strings.Contains(a.stdout, "learned:dhcp *") || !strings.Contains(a.stdout, "high") {
			return fmt.Errorf("%s%s", a.stdout, a.err)
		}
		return nil
	})

	// What another one claims is told, and changes nothing.
	r.must(r.web.Namespace.Inject(r.web.Device, gratuitous(netip.MustParseAddr("10.1.0.2")), 1))
	apptest.Eventually(t, soon, "the claim is told", func() error {
		if a := weir(t, "events", "--kind", "address_conflict", "--last", "1h", "--data", r.data); !strings.Contains(a.stdout, "web/0 says that it has 10.1.0.2, which is an address of db/0") {
			return fmt.Errorf("%s%s", a.stdout, a.err)
		}
		return nil
	})
	explained("10.1.0.2", "not used: it is told of another VIF", "hit, VIF db/0")

	r.app.Stop()
	r.app = apptest.Start(t, r.data, "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	explained(given.String(), "learned:dhcp *")

	apptest.Eventually(t, soon, "what is given back is forgotten", func() error { // the bridge may dial a moment later
		r.must(r.web.Namespace.Inject(r.web.Device, dhcpFrame(1, 7, given), 1))
		if a := weir(t, "estate", "explain", given.String(), "--data", r.data); a.code == 0 {
			return fmt.Errorf("%s", a.stdout)
		}
		return nil
	})
}

// From flows only that counts which a VIF sent by its own port.
func TestOwnSent(t *testing.T) {
	s, err := estate.Compile(&estate.Model{
		Hosts: []estate.Host{{Name: "hv1", Exporters: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Bridges: []estate.Bridge{{Name: "br0"}}}},
		VMs: []estate.VM{{Name: "web", Host: "hv1", VIFs: []estate.VIF{{
			Device: "0", MAC: 1, IPs: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Ports: []estate.Port{{Host: "hv1", Bridge: "br0", IfIndex: 5, OFPort: 1}},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	web := flow.NewID(flow.KindVIF, "web/0")
	exporter, addr := netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("::ffff:10.1.0.9")
	got := ownSent(s, []store.Sent{
		{Exporter: exporter, Version: 10, Port: 5, VIF: web, Addr: addr, MAC: 1},
		{Exporter: exporter, Version: 10, Port: 9, VIF: web, Addr: addr},                                // by the uplink
		{Exporter: exporter, Version: 10, Port: 5, VIF: web + 1, Addr: addr},                            // since then another VIF's port
		{Exporter: netip.MustParseAddr("::ffff:192.0.2.9"), Version: 10, Port: 5, VIF: web, Addr: addr}, // a router on the way
	})
	if want := []learned.Sent{{VIF: web, Addr: netip.MustParseAddr("10.1.0.9"), MAC: 1}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

var webMAC, dbMAC = []byte{2, 0, 0, 0, 0, 1}, []byte{2, 0, 0, 0, 0, 2}

// gratuitous is the ARP announcement of an address of web.
func gratuitous(addr netip.Addr) []byte {
	b := append([]byte{255, 255, 255, 255, 255, 255}, webMAC...)
	b = append(append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1), webMAC...)
	b = append(append(b, addr.AsSlice()...), make([]byte, 6)...)
	return append(append(b, addr.AsSlice()...), make([]byte, 18)...)
}

// advertisement is the neighbour advertisement of an address of web, to all.
func advertisement(addr netip.Addr) []byte {
	all := netip.MustParseAddr("ff02::1").AsSlice()
	message := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, addr.AsSlice()...)
	message = append(append(message, 2, 1), webMAC...)
	pseudo := append(append(append(addr.AsSlice(), all...), 0, 0, 0, byte(len(message)), 0, 0, 0, 58), message...)
	binary.BigEndian.PutUint16(message[2:], checksum(pseudo))
	b := append(append([]byte{0x33, 0x33, 0, 0, 0, 1}, webMAC...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(message)), 58, 255)
	return append(append(append(b, addr.AsSlice()...), all...), message...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// dhcpFrame is a message of DHCP of web (op 1), or for it of db (op 2).
func dhcpFrame(op, kind byte, addr netip.Addr) []byte {
	from, sport, dport := webMAC, byte(68), byte(67)
	if op == 2 {
		from, sport, dport = dbMAC, 67, 68
	}
	m := make([]byte, 300)
	copy(m, []byte{op, 1, 6, 0, 1, 2, 3, 4})
	if op == 2 {
		copy(m[16:], addr.AsSlice())
	} else if kind == 7 {
		copy(m[12:], addr.AsSlice())
	}
	copy(m[28:], webMAC)
	copy(m[236:], []byte{0x63, 0x82, 0x53, 0x63, 53, 1, kind, 51, 4, 0, 0, 14, 16, 255})
	udp := append([]byte{0, sport, 0, dport, 0, 0, 0, 0}, m...) // without a checksum
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	ip := append([]byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 9, 255, 255, 255, 255}, udp...)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	return append(append(append([]byte{255, 255, 255, 255, 255, 255}, from...), 8, 0), ip...)
}
