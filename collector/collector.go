package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Deps are what a Collector uses and does not own, except Conns.
type Deps struct {
	Log       *slog.Logger
	Metrics   prometheus.Registerer // nil: none
	Conns     []*udp.Conn           // from Listen, udp.FromFiles or a test; Run closes them
	Templates *template.Store       // Run expires what is old in it
	State     *state.File           // keeps Templates, and is closed by Run; nil: they do not outlive a restart

	// The following are called by the workers' goroutines, several at a time.

	// Get returns an empty batch, usually one that Seal's receiver is done with. Config.BatchCap is a good capacity.
	Get func() *flow.Batch
	// BatchID returns the id of the next batch: never 0, never one that it returned before, also in former runs.
	BatchID func() uint64
	// Enrich fills the columns that are not decoded, in place. It must not block.
	Enrich func(*flow.Batch)
	// Seal takes over an enriched batch of at least one row, whose column ID is filled. It may block, not for long:
	// see the package comment.
	Seal func(*flow.Batch)
	// Seen says that an exporter sent something good until a time in ms since epoch: at the latest Config.FlushInterval
	// after it did and before the batch is enriched, not for each datagram. May be nil.
	Seen func(exporter netip.Addr, ms int64)
}

// Collector receives, decodes and seals. See the package comment.
type Collector struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	allow    *bart.Lite          // nil: all
	sampling *bart.Table[uint32] // assumed rates
	workers  []*worker
}

// New checks and wires; it starts nothing.
func New(cfg Config, d Deps) (*Collector, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure collector: %w", err)
	}
	if d.Log == nil || d.Templates == nil || d.Get == nil || d.BatchID == nil || d.Enrich == nil || d.Seal == nil {
		return nil, errors.New("configure collector: a dependency is missing: want Log, Templates, Get, BatchID, Enrich and Seal")
	}
	if len(d.Conns) == 0 {
		return nil, errors.New("configure collector: no socket to receive from")
	}
	c := &Collector{cfg: cfg, deps: d, log: d.Log.With("part", "collector"), sampling: &bart.Table[uint32]{}}
	if len(cfg.Allow) > 0 {
		c.allow = &bart.Lite{}
		for _, p := range cfg.Allow {
			c.allow.Insert(p)
		}
	}
	for _, s := range cfg.Sampling {
		c.sampling.Insert(s.Exporters, s.Rate)
	}
	for _, conn := range d.Conns {
		c.workers = append(c.workers, newWorker(c, conn))
	}
	if d.Metrics != nil {
		if err := d.Metrics.Register(metrics{c}); err != nil {
			return nil, fmt.Errorf("register metrics of the collector: %w", err)
		}
	}
	return c, nil
}

func (c *Collector) newDecoder() *netflow.Decoder {
	return netflow.New(netflow.Config{
		ExporterSampling: c.assumedRate, DefaultSampling: c.cfg.DefaultSampling,
		MaxAge: c.cfg.Times.MaxAge, MaxAhead: c.cfg.Times.MaxAhead,
	}, c.deps.Templates)
}

// assumedRate is the configured sampling rate of an exporter that does not tell; 0 is none.
func (c *Collector) assumedRate(exporter netip.Addr) uint32 {
	rate, _ := c.sampling.Lookup(exporter)
	return rate
}

// expireInterval is how often the template store is asked to forget what is old, and clocks are looked at.
const expireInterval = 5 * time.Second

// Run receives until ctx is done or a socket fails, then reads what the kernel took in up to that moment, seals what
// is open, closes the sockets and returns. It is called once.
func (c *Collector) Run(ctx context.Context) error {
	c.logStart()
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range c.workers {
		g.Go(func() error { return w.run(ctx) })
	}
	g.Go(func() error {
		tick := time.NewTicker(expireInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				for _, w := range c.workers {
					w.interrupt()
				}
				return nil
			case now := <-tick.C:
				c.tend(now)
			}
		}
	})
	if c.deps.State != nil {
		g.Go(func() error { return c.saveState(ctx) })
	}
	err := g.Wait()
	if c.deps.State != nil {
		c.deps.State.Close() // with what the last datagrams brought
	}
	c.deps.Templates.Ledger().Close()
	s := c.Stats()
	c.log.Info("collector stopped", "datagrams", s.Datagrams, "flows", s.Flows, "batches", s.Batches,
		"kernel_drops", s.KernelDrops)
	return err
}

// saveState saves what was learnt from exporters now and then.
func (c *Collector) saveState(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.State.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.deps.State.Save()
		}
	}
}

// tend does what is due every few seconds.
func (c *Collector) tend(now time.Time) {
	c.deps.Templates.Expire(now.UnixMilli())
	ledger := c.deps.Templates.Ledger()
	ledger.Settle(now.UnixMilli())
	ledger.Judge(c.cfg.Times.MaxSkew, func(exporter netip.Addr, protocol uint8, domain uint32, skew time.Duration, off bool) {
		log := c.log.With("exporter", exporter, "protocol", protocol, "domain", domain, "ahead", skew.Round(time.Millisecond))
		if off {
			log.Warn("clock of an exporter is off: times of its flows are wrong by as much", "allowed", c.cfg.Times.MaxSkew)
		} else {
			log.Info("clock of an exporter is right again")
		}
	})
}

func (c *Collector) logStart() {
	sockets := map[netip.AddrPort]int{}
	var order []netip.AddrPort
	for _, conn := range c.deps.Conns {
		addr := conn.LocalAddr()
		if sockets[addr]++; sockets[addr] > 1 {
			continue
		}
		order = append(order, addr)
		if b := conn.Buffer(); b.Advice() != "" {
			c.log.Warn("receive buffer is smaller than asked", "addr", addr, "asked", bytesize.Size(b.Asked),
				"granted", bytesize.Size(b.Granted), "advice", b.Advice())
		}
	}
	for _, addr := range order {
		c.log.Info("receiving", "addr", addr, "sockets", sockets[addr])
	}
}
