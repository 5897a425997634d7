// Package ovsbedtest gives tests Open vSwitch hosts with VMs, and tells what passed at their ports.
package ovsbedtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/traffic"
)

const (
	quiet    = 200 * time.Millisecond // without a packet: nothing passes
	patience = 30 * time.Second       // with which Settle waits for that
)

// New returns a bed without hosts, which ends like one of netnstest. Without Open vSwitch the test is skipped; if
// CI_REQUIRE_SERVICES is 1 it fails.
func New(t testing.TB) *ovsbed.Bed {
	t.Helper()
	if err := ovsbed.Check(); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	bed, err := ovsbed.New(netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	return bed
}

// Pair is two hosts, joined by a trunk. VMs that have not the same VLAN and bridge do not reach each other.
//
//	HV1  br0   web 10.1.0.1    db 10.1.0.2     red 10.1.7.4  (VLAN 7) ┐ trunk
//	HV2  br0   app 10.1.0.3                    blue 10.1.7.5 (VLAN 7) ┘
//	HV1  br1   left 10.1.200.6  right 10.1.200.7
//
// The IPv6 address of 10.1.x.y is 2001:db8:x::y, its MAC address 02:00:00:00:00:0y.
type Pair struct {
	HV1, HV2 *ovsbed.Host
	Trunk    [2]ovsbed.Port // at HV1 and at HV2
	VMs      map[string]ovsbed.VM
}

// NewPair returns a pair.
func NewPair(t testing.TB) *Pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bed := New(t)
	p := &Pair{VMs: map[string]ovsbed.VM{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.HV1, err = bed.Host(ctx, "hv1")
	must(err)
	p.HV2, err = bed.Host(ctx, "hv2")
	must(err)
	must(errors.Join(p.HV1.AddBridge(ctx, "br0"), p.HV1.AddBridge(ctx, "br1"), p.HV2.AddBridge(ctx, "br0")))
	p.Trunk[0], p.Trunk[1], err = p.HV1.Join(ctx, "br0", p.HV2, "br0")
	must(err)
	for _, vm := range []struct {
		host         *ovsbed.Host
		bridge, name string
		vlan         uint16
		net, number  int
	}{
		{p.HV1, "br0", "web", 0, 0, 1},
		{p.HV1, "br0", "db", 0, 0, 2},
		{p.HV2, "br0", "app", 0, 0, 3},
		{p.HV1, "br0", "red", 7, 7, 4},
		{p.HV2, "br0", "blue", 7, 7, 5},
		{p.HV1, "br1", "left", 0, 200, 6},
		{p.HV1, "br1", "right", 0, 200, 7},
	} {
		p.VMs[vm.name], err = vm.host.AddVM(ctx, ovsbed.VM{
			Name: vm.name, Bridge: vm.bridge, VLAN: vm.vlan, MAC: fmt.Sprintf("02:00:00:00:00:%02x", vm.number),
			Addrs: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("10.1.%d.%d/24", vm.net, vm.number)),
				netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::%d/64", vm.net, vm.number)),
			},
		})
		must(err)
	}
	return p
}

// Port is a port of a bridge that is known by an interface of its host.
type Port struct {
	ovsbed.Port
	Host   *ovsbed.Host
	Bridge string
}

// Port returns that of a VM.
func (p *Pair) Port(vm string) Port {
	x := p.VMs[vm]
	return Port{x.Port, x.Host, x.Bridge}
}

// Ports returns those of all VMs and of the trunk.
func (p *Pair) Ports() []Port {
	list := []Port{{p.Trunk[0], p.HV1, "br0"}, {p.Trunk[1], p.HV2, "br0"}}
	for _, name := range []string{"web", "db", "app", "red", "blue", "left", "right"} {
		list = append(list, p.Port(name))
	}
	return list
}

// IPv4 returns the IPv4 address of a VM.
func (p *Pair) IPv4(vm string) netip.Addr { return p.VMs[vm].Addrs[0].Addr() }

// IPv6 returns the IPv6 address of a VM.
func (p *Pair) IPv6(vm string) netip.Addr { return p.VMs[vm].Addrs[1].Addr() }

// Counters reads those of ports. What a VM sends is received by its port.
func Counters(t testing.TB, ports []Port) []netns.Counters {
	t.Helper()
	list := make([]netns.Counters, len(ports))
	for i, p := range ports {
		var err error
		if list[i], err = p.Host.Counters(p.Name); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// Settle waits until nothing passes at ports, and returns their counters.
func Settle(t testing.TB, ports []Port) []netns.Counters {
	t.Helper()
	deadline := time.Now().Add(patience)
	last, since := Counters(t, ports), time.Now()
	for time.Since(since) < quiet {
		if time.Now().After(deadline) {
			t.Fatalf("packets pass for longer than %v", patience)
		}
		time.Sleep(quiet / 10) // between polls
		if now := Counters(t, ports); !slices.Equal(now, last) {
			last, since = now, time.Now()
		}
	}
	return last
}

// Send sends known traffic between two VMs, in both directions: TCP, UDP and echoes, by IPv4 and by IPv6.
func (p *Pair) Send(ctx context.Context, a, b string) error {
	from, to := p.VMs[a].Namespace, p.VMs[b].Namespace
	four, six := p.IPv4(b), p.IPv6(b)
	return errors.Join(
		traffic.TCP(ctx, from, to, netip.AddrPortFrom(four, 8080), 23_457, 300_003),
		traffic.UDP(ctx, from, to, netip.AddrPortFrom(four, 5353), 40, 700, 33),
		traffic.Ping(ctx, from, four, 20, 56),
		traffic.TCP(ctx, from, to, netip.AddrPortFrom(six, 8080), 15_555, 177_777),
		traffic.UDP(ctx, from, to, netip.AddrPortFrom(six, 5353), 20, 1200, 60),
		traffic.Ping(ctx, from, six, 10, 1000),
	)
}

// SendAll sends between VMs of one host and of two, with and without a VLAN, and on either bridge of HV1.
func (p *Pair) SendAll(ctx context.Context) error {
	return errors.Join(p.Send(ctx, "web", "db"), p.Send(ctx, "web", "app"), p.Send(ctx, "red", "blue"), p.Send(ctx, "left", "right"))
}
