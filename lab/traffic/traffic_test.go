package traffic_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/traffic"
)

func TestTraffic(t *testing.T) {
	bed := netnstest.New(t)
	a, b := netnstest.Namespace(t, bed, "a"), netnstest.Namespace(t, bed, "b")
	netnstest.Link(t, bed,
		netns.End{Namespace: a, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("fd00::1/64")}},
		netns.End{Namespace: b, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")}},
	)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, address := range []string{"10.1.0.2", "fd00::2"} {
		to := netip.MustParseAddr(address)
		before, err := a.Counters("eth0")
		if err != nil {
			t.Fatal(err)
		}
		for _, volume := range [][2]int64{{0, 0}, {1, 0}, {0, 1}, {100_000, 50}} {
			if err := traffic.TCP(ctx, a, b, netip.AddrPortFrom(to, 0), volume[0], volume[1]); err != nil {
				t.Error(err)
			}
		}
		if err := traffic.UDP(ctx, a, b, netip.AddrPortFrom(to, 0), 10, 900, 100); err != nil {
			t.Error(err)
		}
		if err := traffic.Ping(ctx, a, to, 3, 500); err != nil {
			t.Error(err)
		}
		after, err := traffic.Settle(ctx, a, "eth0", 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if sent := after.Sub(before).TxBytes; sent < 100_000+10*900+3*500 || sent > 150_000 {
			t.Errorf("%d bytes left a, want some more than 110500", sent)
		}
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := traffic.Ping(short, a, netip.MustParseAddr("10.1.0.77"), 1, 8); err == nil {
		t.Error("nobody was there, and answered")
	}
}

// An address that is in use for a moment is waited for.
func TestAddressInUse(t *testing.T) {
	bed := netnstest.New(t)
	a := netnstest.Namespace(t, bed, "a")
	server := netip.MustParseAddrPort("127.0.0.1:7000")
	var before *net.UDPConn
	if err := a.Do(func() (err error) {
		before, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(server))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- traffic.UDP(t.Context(), a, a, server, 1, 100, 100) }()
	select {
	case err := <-done:
		t.Errorf("sent while the address was in use: %v", err)
	case <-time.After(50 * time.Millisecond):
		before.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	before.Close()
}
