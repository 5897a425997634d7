package traffic_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/traffic"
)

// pair returns two namespaces with a cable between them.
func pair(t *testing.T) (a, b *netns.Namespace) {
	t.Helper()
	bed := netnstest.New(t)
	a, b = netnstest.Namespace(t, bed, "a"), netnstest.Namespace(t, bed, "b")
	netnstest.Link(t, bed,
		netns.End{Namespace: a, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("fd00::1/64")}},
		netns.End{Namespace: b, Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd00::2/64")}},
	)
	return a, b
}

// link takes the cable of n out, or puts it back.
func link(t *testing.T, n *netns.Namespace, up bool) {
	t.Helper()
	if err := n.SetLink("eth0", up); err != nil {
		t.Fatal(err)
	}
}

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct{ source, target string }{
		"IPv4":      {"10.1.0.1", "10.1.0.2:7000"},
		"IPv6":      {"fd00::1", "[fd00::2]:7000"},
		"broadcast": {"10.1.0.1", "10.1.0.255:7000"},
		"multicast": {"10.1.0.1", "239.1.2.3:7000"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			p, err := traffic.NewProbe(ctx, traffic.ProbeConfig{
				From: a, Source: netip.MustParseAddr(c.source), To: []*netns.Namespace{b}, Target: netip.MustParseAddrPort(c.target), Interval: 2 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			first, err := p.Passes(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			link(t, b, false)
			last, err := p.Ends(ctx, 0, 50)
			if err != nil {
				t.Fatal(err)
			}
			sent := p.Sent()
			if got := p.Arrived(0, last, sent); last < first || got != 0 {
				t.Errorf("%d datagrams arrived after the last one, number %d; the first was number %d", got, last, first)
			}
			if got := p.Arrived(0, 0, last); got < 1 || got > int(last) || p.Twice(0) != 0 {
				t.Errorf("%d datagrams arrived up to number %d, %d twice", got, last, p.Twice(0))
			}
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
			if _, err := p.Ends(short, 0, 1<<40); err == nil {
				t.Error("more datagrams than were sent did not arrive")
			}
		})
	}
}

// Replies of a known number, from a port that is said.
func TestProbeOfReplies(t *testing.T) {
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	p, err := traffic.NewProbe(ctx, traffic.ProbeConfig{
		From: a, Source: netip.MustParseAddr("10.1.0.1"), Port: 53, To: []*netns.Namespace{b}, Target: netip.MustParseAddrPort("10.1.0.2:7000"),
		Interval: time.Millisecond, Count: 30, Replies: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Wait(ctx); err != nil || p.Sent() != 30 {
		t.Fatalf("%d datagrams sent, %v", p.Sent(), err)
	}
	if err := p.Arrive(ctx, 0, 30); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := p.Arrive(short, 0, 31); err == nil {
		t.Error("more datagrams arrived than were sent")
	}
}

func TestStream(t *testing.T) {
	for name, down := range map[string]bool{"both": false, "down": true} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			s, err := traffic.NewStream(ctx, traffic.StreamConfig{From: a, To: b, Server: netip.MustParseAddrPort("10.1.0.2:7000"), Down: down})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Goes(ctx); err != nil {
				t.Fatal(err)
			}
			if up, _ := s.Received(); down && up != 0 {
				t.Errorf("%d bytes arrived at the server, which nobody sent", up)
			}
			link(t, b, false)
			if err := s.Stands(ctx, 300*time.Millisecond); err != nil {
				t.Error(err)
			}
			link(t, b, true)
			if err := s.Goes(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
