package site

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/traffic"
)

const (
	// largest is how many bytes a conversation has each way, at most: a switch in software shares two cores with all else.
	largest = 256 << 10
	// atOnce is how many conversations go on at the same time; what is due beyond that is left out.
	atOnce = 64
	// patience is how long a conversation may take, a knock on a door less.
	patience = 5 * time.Second
	knock    = 300 * time.Millisecond
)

// Stats are what Play did so far.
type Stats struct {
	Conversations uint64
	Failed        uint64 // those that a VM that was unplugged or a host that was down broke, mostly
	LeftOut       uint64 // because too many went on
}

type stats struct{ conversations, failed, leftOut atomic.Uint64 }

// Stats may be called at any time.
func (s *Site) Stats() Stats {
	return Stats{s.stats.conversations.Load(), s.stats.failed.Load(), s.stats.leftOut.Load()}
}

// outside are the prefixes beyond the router, all of which the router's namespace answers for.
func outside(e *flowgen.Estate) []netip.Prefix {
	var list []netip.Prefix
	for _, g := range e.AddressGroups {
		if g.Name == "inside" {
			continue
		}
		list = append(list, g.Prefixes...)
	}
	return list
}

// startRouter plugs the router into the physical switch: an interface in each network, and everything outside behind it.
func (s *Site) startRouter(ctx context.Context, lan *ovsbed.Host) error {
	for i, n := range s.estate.Networks {
		first, first6 := n.IPv4.Masked().Addr().Next(), n.IPv6.Masked().Addr().Next()
		x, err := lan.AddVM(ctx, ovsbed.VM{
			Name: "router", Bridge: uplink, Device: fmt.Sprint("eth", i), MAC: estate.MAC(n.RouterMAC).String(), VLAN: n.VLAN, Namespace: s.router,
			Addrs: []netip.Prefix{netip.PrefixFrom(first, n.IPv4.Bits()), netip.PrefixFrom(first6, n.IPv6.Bits())}, Identity: ovsbed.Identity{Device: i},
		})
		if err != nil {
			return err
		}
		s.router = x.Namespace
	}
	for _, p := range outside(s.estate) {
		if _, err := s.router.Run(ctx, "ip", "route", "add", "local", p.String(), "dev", "lo"); err != nil {
			return fmt.Errorf("start router: %w", err)
		}
	}
	// Its sockets may have any of these addresses.
	for _, family := range []string{"ipv4", "ipv6"} {
		if err := s.router.Do(func() error { return os.WriteFile("/proc/sys/net/"+family+"/ip_nonlocal_bind", []byte("1"), 0) }); err != nil {
			return fmt.Errorf("start router: %w", err)
		}
	}
	return nil
}

// route makes VM number i send what is for outside to the router of its first network.
func (s *Site) route(ctx context.Context, i int) error {
	n := &s.estate.Networks[s.estate.VMs[i].VIFs[0].Network]
	for _, p := range []netip.Prefix{n.IPv4, n.IPv6} {
		family := map[bool]string{true: "-4", false: "-6"}[p.Addr().Is4()]
		if _, err := s.spaces[i].Run(ctx, "ip", family, "route", "replace", "default", "via", p.Masked().Addr().Next().String(), "dev", "eth0"); err != nil {
			return err
		}
	}
	// Multicast is on the network behind, which is the last one of a VM.
	_, err := s.spaces[i].Run(ctx, "ip", "route", "replace", "224.0.0.0/4", "dev", fmt.Sprint("eth", len(s.estate.VMs[i].VIFs)-1))
	return err
}

// Play makes VMs, and those outside, have conversations until ctx is done: rate a second in the mean over a day, those of
// lab/flowgen, none larger than 256 KiB each way. It returns nil once all have ended. Conversations that fail are counted.
func (s *Site) Play(ctx context.Context, rate float64, seed uint64) error {
	t, err := flowgen.NewTraffic(s.estate, flowgen.Profiles(), seed, time.Now().UnixMilli(), rate)
	if err != nil {
		return err
	}
	p := player{site: s, slots: make(chan struct{}, atOnce)}
	defer p.running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c := t.Next()
		timer.Reset(time.Until(time.UnixMilli(c.Start)))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			p.begin(ctx, &c)
		}
	}
}

type player struct {
	site    *Site
	servers traffic.Servers
	slots   chan struct{}
	running sync.WaitGroup
}

// begin has a conversation in the background, if there is room for one more.
func (p *player) begin(ctx context.Context, c *flowgen.Conversation) {
	select {
	case p.slots <- struct{}{}:
	default:
		p.site.stats.leftOut.Add(1)
		return
	}
	p.running.Go(func() {
		defer func() { <-p.slots }()
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := p.converse(ctx, c)
		switch {
		case err == nil:
			p.site.stats.conversations.Add(1)
		case !errors.Is(context.Cause(ctx), context.Canceled): // the end of all
			p.site.stats.failed.Add(1)
		}
	})
}

// converse has one conversation.
func (p *player) converse(ctx context.Context, c *flowgen.Conversation) error {
	from, to := p.namespace(&c.Client), p.namespace(&c.Server)
	server := netip.AddrPortFrom(c.Server.Addr, c.Server.Port)
	x := traffic.Conversation{
		From: from, Client: c.Client.Addr, To: to, Server: server,
		Request: payload(c.Request, c.Client.Addr), Response: payload(c.Respond, c.Client.Addr),
	}
	switch c.Profile.Form {
	case flowgen.Stream:
		return p.servers.TCP(ctx, x)
	case flowgen.Datagram:
		return p.servers.UDP(ctx, x)
	case flowgen.Echo:
		return traffic.Ping(ctx, from, c.Server.Addr, int(c.Request.Packets), 56)
	case flowgen.Probe:
		ctx, cancel := context.WithTimeout(ctx, knock)
		defer cancel()
		traffic.Knock(ctx, from, c.Client.Addr, server)
	case flowgen.Announce:
		if c.Server.Addr.Is6() {
			server = netip.AddrPortFrom(c.Server.Addr.WithZone(fmt.Sprint("eth", c.Client.VIF)), c.Server.Port)
		}
		return traffic.Announce(ctx, from, netip.AddrPortFrom(c.Client.Addr, c.Client.Port), server, x.Request)
	case flowgen.Resolve: // kernels do that by themselves
	}
	return nil
}

// namespace returns where an end is.
func (p *player) namespace(e *flowgen.End) *netns.Namespace {
	if e.VM < 0 {
		return p.site.router
	}
	return p.site.spaces[e.VM]
}

// payload returns the bytes of a volume without IP headers, as far as they are sent.
func payload(v flowgen.Volume, a netip.Addr) int64 {
	headers := v.Packets * 20
	if a.Is6() {
		headers = v.Packets * 40
	}
	if v.Bytes < headers {
		return 0
	}
	return int64(min(v.Bytes-headers, largest))
}
