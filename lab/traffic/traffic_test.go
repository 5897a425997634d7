package traffic_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

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
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
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

// Many conversations with one server go on at once, each with its own volume.
func TestConversations(t *testing.T) {
	bed := netnstest.New(t)
	a, b := netnstest.Namespace(t, bed, "a"), netnstest.Namespace(t, bed, "b")
	netnstest.Link(t, bed,
		netns.End{Namespace: a, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("10.1.0.11/24")}},
		netns.End{Namespace: b, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")}},
	)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	before, err := b.Counters("eth0")
	if err != nil {
		t.Fatal(err)
	}
	var servers traffic.Servers
	g, ctx := errgroup.WithContext(ctx)
	var up, down int64
	for i := range int64(40) {
		c := traffic.Conversation{
			From: a, Client: netip.MustParseAddr([]string{"10.1.0.1", "10.1.0.11"}[i%2]), To: b, Server: netip.MustParseAddrPort("10.1.0.2:443"),
			Request: 100 * i, Response: 1000 * (i % 7),
		}
		up, down = up+2*c.Request, down+2*c.Response
		g.Go(func() error { return servers.TCP(ctx, c) })
		g.Go(func() error { return servers.UDP(ctx, c) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	after, err := traffic.Settle(t.Context(), b, "eth0", 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	const packets = 40 * 30 // some for each conversation, of 54 to 78 bytes without payload
	if d := after.Sub(before); d.RxBytes < uint64(up) || d.RxBytes > uint64(up)+packets*78 || d.TxBytes < uint64(down) || d.TxBytes > uint64(down)+packets*78 {
		t.Errorf("b received %d and sent %d bytes, want some more than %d and %d", d.RxBytes, d.TxBytes, up, down)
	}
	if got := traffic.Knock(t.Context(), a, netip.MustParseAddr("10.1.0.11"), netip.MustParseAddrPort("10.1.0.2:443")); !got {
		t.Error("a closed port does not answer")
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if got := traffic.Knock(short, a, netip.MustParseAddr("10.1.0.11"), netip.MustParseAddrPort("10.1.0.77:443")); got {
		t.Error("nobody was there, and answered")
	}
}
