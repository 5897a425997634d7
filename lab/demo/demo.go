package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/lab/export"
	"github.com/weirhq/weir/lab/flowgen"
)

// Config says what to send where.
type Config struct {
	NetFlow netip.AddrPort // collector of the hosts that export NetFlow 9: an IPv4 loopback address
	IPFIX   netip.AddrPort // collector of those that export IPFIX
	Rate    float64        // flow records a second of all hosts, in the mean over a day; 0 is 300
	Seed    uint64
	Estate  *flowgen.Estate // nil is flowgen.Demo()
}

// Deps are what a Demo uses.
type Deps struct {
	Log *slog.Logger // nil is none
}

// Demo is the simulated hosts.
type Demo struct {
	cfg   Config
	log   *slog.Logger
	stats stats
}

type stats struct{ records, skipped, datagrams, failed atomic.Uint64 }

// Stats are what was sent so far.
type Stats struct {
	Records   uint64 // flow records encoded
	Skipped   uint64 // flow records for which the host's protocol has no place (ARP in NetFlow), or too late
	Datagrams uint64
	Failed    uint64 // datagrams that the kernel did not take
}

const (
	defaultRate = 300
	tick        = 100 * time.Millisecond
	longest     = 20 * time.Minute // that a conversation lasts
	warmup      = 400_000          // records made up before the first is sent, at most: a second of work or less
	refresh     = 15 * time.Second // of templates: a collector that starts later waits no longer
	late        = 5000             // ms after which a record is not sent any more
)

// New checks cfg. It opens nothing.
func New(cfg Config, d Deps) (*Demo, error) {
	if cfg.Rate == 0 {
		cfg.Rate = defaultRate
	}
	if cfg.Rate < 0 {
		return nil, fmt.Errorf("make demo: rate %v: want more than 0 records a second", cfg.Rate)
	}
	if cfg.Estate == nil {
		cfg.Estate = flowgen.Demo()
	}
	for _, to := range []netip.AddrPort{cfg.NetFlow, cfg.IPFIX} {
		if a := to.Addr().Unmap(); !a.Is4() || !a.IsLoopback() || to.Port() == 0 {
			return nil, fmt.Errorf("make demo: collector %q: want an IPv4 loopback address with a port, since the hosts send from such", to)
		}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &Demo{cfg: cfg, log: d.Log}, nil
}

// Stats may be called at any time.
func (d *Demo) Stats() Stats {
	s := &d.stats
	return Stats{s.records.Load(), s.skipped.Load(), s.datagrams.Load(), s.failed.Load()}
}

// host is an exporter under way.
type host struct {
	conn    *net.UDPConn
	to      netip.AddrPort
	encoder *export.Encoder
	due     []export.Record
}

// Run sends until ctx is done, templates and flows that were under way at once. It returns nil then, and an error if
// a host's address cannot be bound. Run is called once.
func (d *Demo) Run(ctx context.Context) error {
	now := time.Now()
	hosts, err := d.open(now)
	defer func() {
		for i := range hosts {
			_ = hosts[i].conn.Close() // nothing is buffered
		}
	}()
	if err != nil {
		return err
	}
	generator, err := flowgen.New(flowgen.Config{
		Estate: d.cfg.Estate, Seed: d.cfg.Seed, Start: now, Rate: d.cfg.Rate,
		Warmup: min(longest, time.Duration(warmup/d.cfg.Rate*float64(time.Second))),
	})
	if err != nil {
		return fmt.Errorf("start demo: %w", err)
	}
	d.log.Info("demo started", "hosts", len(hosts), "flows_per_second", d.cfg.Rate, "netflow", d.cfg.NetFlow, "ipfix", d.cfg.IPFIX)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		d.sendDue(generator, hosts, time.Now().UnixMilli())
		select {
		case <-ctx.Done():
			s := d.Stats()
			d.log.Info("demo stopped", "records", s.Records, "datagrams", s.Datagrams, "failed", s.Failed)
			return nil
		case <-ticker.C:
		}
	}
}

// open binds the address of every host. On error it returns those that it bound.
func (d *Demo) open(now time.Time) ([]host, error) {
	var hosts []host
	for i := range d.cfg.Estate.Hosts {
		h := &d.cfg.Estate.Hosts[i]
		encoder, err := export.New(encoding(d.cfg.Estate, i, now))
		if err != nil {
			return hosts, fmt.Errorf("start host %q: %w", h.Name, err)
		}
		to := d.cfg.NetFlow
		if h.Version == export.IPFIX {
			to = d.cfg.IPFIX
		}
		// Not connected: a collector that is not there yet must not cost the next datagram (ICMP port unreachable).
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Exporter, 0)))
		if err != nil {
			return hosts, fmt.Errorf("start host %q: %w", h.Name, err)
		}
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		hosts = append(hosts, host{conn: conn, to: to, encoder: encoder})
	}
	return hosts, nil
}

// encoding returns how host i exports: the hosts with NetFlow 9 like a switch, in turn with times since boot and in
// milliseconds; those with IPFIX like Open vSwitch.
func encoding(estate *flowgen.Estate, i int, now time.Time) export.Config {
	h := &estate.Hosts[i]
	cfg := export.Config{
		Version: h.Version, Domain: h.Domain, Refresh: refresh,
		Boot: now.Add(-time.Duration(i+3) * 26 * time.Hour).UnixMilli(),
	}
	if h.Version == export.IPFIX {
		cfg.Templates = export.OpenVSwitch(false)
		return cfg
	}
	times := export.UptimeTimes
	if i%3 == 1 {
		times = export.MillisecondTimes
	}
	cfg.Templates = export.Switch(times)[:2] // NetFlow knows IP only
	interfaces := []export.Interface{{Index: h.Uplink, Name: h.UplinkName, Description: "uplink"}}
	for j := range estate.VMs {
		if vm := &estate.VMs[j]; vm.Host == i {
			for _, v := range vm.VIFs {
				interfaces = append(interfaces, export.Interface{Index: v.Interface, Name: v.Name, Description: vm.Name})
			}
		}
	}
	cfg.Options = []export.Option{
		export.SamplingOption(h.Version, h.Domain, 1),
		export.InterfaceOption(h.Version, interfaces),
	}
	return cfg
}

// sendDue sends what the hosts' caches gave up until now.
func (d *Demo) sendDue(generator *flowgen.Generator, hosts []host, now int64) {
	var o flowgen.Observation
	for generator.At() <= now {
		generator.Next(&o)
		if now-o.At > late { // the machine slept
			d.stats.skipped.Add(1)
			continue
		}
		hosts[o.Host].due = append(hosts[o.Host].due, o.Record)
	}
	for i := range hosts {
		h := &hosts[i]
		skipped, err := h.encoder.Encode(now, h.due, func(datagram []byte) error {
			if _, err := h.conn.WriteToUDPAddrPort(datagram, h.to); err != nil {
				d.stats.failed.Add(1)
				if errors.Is(err, net.ErrClosed) {
					return err
				}
				d.log.Debug("datagram not sent", "host", d.cfg.Estate.Hosts[i].Name, "err", err)
				return nil
			}
			d.stats.datagrams.Add(1)
			return nil
		})
		if err != nil {
			d.log.Warn("host not encoded", "host", d.cfg.Estate.Hosts[i].Name, "err", err)
		}
		d.stats.skipped.Add(uint64(skipped))
		d.stats.records.Add(uint64(len(h.due) - skipped))
		h.due = h.due[:0]
	}
}
