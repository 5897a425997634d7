package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
)

// guardPolicy has web, which is a member of a cluster, watched in every way.
const guardPolicy = `vms:
  - name: web
    settings: {guard_ip: on, guard_dhcp: on, guard_ra: on, allowed_addresses: "00:00:5e:00:01:0a 10.1.0.50"}
`

var (
	macOfWeb     = mac("02:00:00:00:00:01")
	macOfDB      = mac("02:00:00:00:00:02")
	macOfCluster = mac("00:00:5e:00:01:0a")
	macOfOthers  = mac("02:00:00:00:00:77")
)

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return m
}

// frame is an Ethernet frame to db.
func frame(from net.HardwareAddr, etherType uint16, payload []byte) []byte {
	return slices.Concat(macOfDB, from, binary.BigEndian.AppendUint16(nil, etherType), payload)
}

func arp(sender net.HardwareAddr, address string) []byte {
	a, to := netip.MustParseAddr(address).As4(), netip.MustParseAddr("10.1.0.2").As4()
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, sender, a[:], macOfDB, to[:])
}

// ip4 is a packet to db with a right checksum.
func ip4(from string, protocol byte, payload []byte) []byte {
	a, to := netip.MustParseAddr(from).As4(), netip.MustParseAddr("10.1.0.2").As4()
	h := slices.Concat([]byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, 0, 0, 64, protocol, 0, 0}, a[:], to[:])
	sum := uint32(0)
	for i := 0; i < len(h); i += 2 {
		sum += uint32(h[i])<<8 | uint32(h[i+1])
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	return append(h, payload...)
}

// datagram is one of UDP without a checksum.
func datagram(src, dst uint16) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(src)<<16|uint32(dst)), 8<<16)
}

func ip6(from string, protocol byte, payload []byte) []byte {
	a, to := netip.MustParseAddr(from).As16(), netip.MustParseAddr("2001:db8::2").As16()
	return slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), protocol, 255}, a[:], to[:], payload)
}

// claimed is an advertisement that says that a neighbour has a MAC address.
func claimed(target string, at net.HardwareAddr) []byte {
	a := netip.MustParseAddr(target).As16()
	return slices.Concat([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, a[:], []byte{2, 1}, at)
}

// tap keeps the frames that come in by an interface.
type tap struct {
	fd     int
	frames [][]byte
}

func newTap(t *testing.T, n *netns.Namespace) *tap {
	t.Helper()
	x := &tap{}
	err := n.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // network byte order
		if x.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return unix.Bind(x.fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: i.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(x.fd) })
	return x
}

// count returns how often a frame came.
func (x *tap) count(f []byte) (n int, err error) {
	for b := make([]byte, 2048); ; {
		n, _, err := unix.Recvfrom(x.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		x.frames = append(x.frames, bytes.Clone(b[:n]))
	}
	for _, y := range x.frames {
		if bytes.HasPrefix(y, f) { // a device pads what is short
			n++
		}
	}
	return n, nil
}

// What a VM sends with addresses that it may not use, or as servers do, comes nowhere, is in flows as spoofed under the guard that dropped it, and is told in an event of the
// VM with how many packets it was; what it and the cluster that it is in may send passes.
func TestGuards(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up and Open vSwitch")
	}
	r := startPolicyRun(t, false)
	r.weir("policy", "apply", r.file(guardPolicy))
	r.weir("hosts", "mode", "hv1", "enforce", "--yes")
	if a := weir(t, "policy", "effective", "web/0", "--data", r.data); !regexp.MustCompile(`guard_ip +on +VM web`).MatchString(a.stdout) {
		t.Errorf("weir policy effective: %+v", a)
	}
	// The switch has the rules then, and packets are treated by them once what it knows of flows is forgotten.
	settled := func() {
		t.Helper()
		r.must(r.host.Forget(r.ctx))
	}
	settled()
	tap := newTap(t, r.db.Namespace)
	const times = 5
	send := func(f []byte) {
		t.Helper()
		r.must(r.web.Namespace.Inject("eth0", f, times))
	}
	const other, lldp = 0x88b5, 0x88cc // EtherTypes of experiments (IEEE 802), which no VM sends by itself, and of LLDP
	passes := map[string][]byte{
		"its own":                      frame(macOfWeb, other, []byte("own")),
		"its own IPv4":                 frame(macOfWeb, 0x0800, ip4("10.1.0.1", 253, []byte("own"))),
		"its own ARP":                  frame(macOfWeb, 0x0806, arp(macOfWeb, "10.1.0.1")),
		"its own advertisement":        frame(macOfWeb, 0x86dd, ip6("2001:db8::1", 58, claimed("2001:db8::1", macOfWeb))),
		"the cluster's announcement":   frame(macOfCluster, 0x0800, ip4("10.1.0.1", 112, []byte("carp"))),
		"the cluster's ARP":            frame(macOfCluster, 0x0806, arp(macOfCluster, "10.1.0.50")),
		"the cluster's IPv4":           frame(macOfCluster, 0x0800, ip4("10.1.0.50", 253, []byte("cluster"))),
		"the cluster's ARP by its own": frame(macOfWeb, 0x0806, arp(macOfCluster, "10.1.0.50")),
	}
	refused := map[uint32][]byte{
		flow.SystemSpoofedMAC: frame(macOfOthers, lldp, []byte("spoofed")),
		flow.SystemSpoofedIP:  frame(macOfWeb, 0x0800, ip4("10.1.0.9", 253, []byte("spoofed"))),
		flow.SystemSpoofedARP: frame(macOfWeb, 0x0806, arp(macOfWeb, "10.1.0.9")),
		flow.SystemSpoofedND:  frame(macOfWeb, 0x86dd, ip6("2001:db8::1", 58, claimed("2001:db8::9", macOfWeb))),
		flow.SystemDHCP:       frame(macOfWeb, 0x0800, ip4("10.1.0.1", 17, datagram(67, 68))),
		flow.SystemRA:         frame(macOfWeb, 0x86dd, ip6("fe80::ff:fe00:1", 58, []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})),
	}
	for _, f := range refused {
		send(f)
	}
	for _, f := range passes {
		send(f)
	}
	for what, f := range passes { // then all before has arrived, too
		apptest.Eventually(t, soon, what+" arrives", func() error {
			n, err := tap.count(f)
			if err == nil && n < times { // its ARP may be as what it answers by itself
				err = fmt.Errorf("%d arrived, want %d", n, times)
			}
			return err
		})
	}
	for instance, f := range refused {
		if n, err := tap.count(f); n != 0 || err != nil {
			t.Errorf("%s: %d frames arrived (%v)", flow.SystemRules[instance-1].Name, n, err)
		}
	}
	apptest.Eventually(t, soon, "flows say what was spoofed", func() error {
		out, err := r.app.SQL("SELECT rule_instance, sum(packets), any(src_vm_name) FROM flows WHERE verdict = 'spoofed' AND rule_instance != 7 GROUP BY ALL ORDER BY ALL")
		var want []string
		for _, instance := range slices.Sorted(slices.Values(flow.Guards)) {
			want = append(want, fmt.Sprintf("%d\t%d\tweb", instance, times))
		}
		if err == nil && out != strings.Join(want, "\n") {
			err = fmt.Errorf("%q, want %q", out, want)
		}
		return err
	})
	apptest.Eventually(t, 2*time.Minute, "each guard is told of", func() error {
		out := r.weir("events", "--kind", "vif_spoofs")
		for _, instance := range flow.Guards {
			if want := fmt.Sprintf("%d packets of web/0 were dropped: %s", times, flow.SystemRules[instance-1].Text); !strings.Contains(out, want) {
				return fmt.Errorf("%q is not in\n%s", want, out)
			}
		}
		return nil
	})

	// What a VIF sends and what is for it is dropped while it is quarantined, and in flows under a rule of its own.
	mine, theirs := frame(macOfWeb, other, []byte("quarantined")), slices.Concat(macOfWeb, macOfDB, frame(nil, other, []byte("for the quarantined"))[len(macOfDB):])
	back := newTap(t, r.web.Namespace)
	reach := func() {
		send(mine)
		r.must(r.db.Namespace.Inject("eth0", theirs, times))
	}
	r.weir("policy", "quarantine", "web/0", "--reason", "tried")
	settled()
	reach()
	apptest.Eventually(t, soon, "flows say what was dropped", func() error {
		out, err := r.app.SQL("SELECT sumIf(packets, src_vm_name = 'web') >= 5, sumIf(packets, dst_vm_name = 'web') >= 5 FROM flows WHERE rule_instance = 16 AND verdict = 'denied' AND stage = 'system'")
		if err == nil && out != "1\t1" { // what both send by themselves is among them, too
			err = fmt.Errorf("%q, want 5 packets of each at least", out)
		}
		return err
	})
	n, err1 := tap.count(mine)
	m, err2 := back.count(theirs)
	if n+m != 0 || err1 != nil || err2 != nil {
		t.Errorf("%d frames of it and %d for it arrived (%v, %v)", n, m, err1, err2)
	}
	if out := r.weir("policy", "quarantined"); !strings.Contains(out, "web/0") || !strings.Contains(out, "hv1") {
		t.Errorf("weir policy quarantined: %s", out)
	}
	r.weir("policy", "release", "web/0")
	settled()
	reach()
	apptest.Eventually(t, soon, "frames arrive again", func() error {
		n, err1 := tap.count(mine)
		m, err2 := back.count(theirs)
		if n < times || m < times {
			err1 = errors.Join(err1, fmt.Errorf("%d and %d arrived, want %d", n, m, times))
		}
		return errors.Join(err1, err2)
	})

	// Where a level asks for it, Weir does it by itself.
	r.weir("policy", "set", "vm:web", "quarantine=mac", "--yes")
	for range 4 {
		send(refused[flow.SystemSpoofedMAC])
	}
	caught := regexp.MustCompile(`web/0 .* weir .* (1[1-9]|20) packets were dropped: ` + regexp.QuoteMeta(flow.SystemRules[0].Text)) // as many as were counted by then
	apptest.Eventually(t, 2*time.Minute, "the VIF that spoofs is quarantined", func() error {
		if out := r.weir("policy", "quarantined"); !caught.MatchString(out) {
			return errors.New(out)
		}
		return nil
	})
	r.weir("policy", "release", "web/0")
	for kind, n := range map[string]int{"vif_quarantined": 2, "vif_released": 2} {
		apptest.Eventually(t, soon, "it is told", func() error {
			if out := r.weir("events", "--kind", kind); strings.Count(out, kind) != n {
				return fmt.Errorf("want %d of %s: %s", n, kind, out)
			}
			return nil
		})
	}
}
