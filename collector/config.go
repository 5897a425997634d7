package collector

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is the section collector of the configuration file.
type Config struct {
	Listen          []string        `yaml:"listen" doc:"Addresses (host:port) on which datagrams are received; NetFlow 5, NetFlow 9 and IPFIX are told apart by their contents. An empty host is every IPv4 and IPv6 address; port 0 is any free one."`
	Workers         int             `yaml:"workers" doc:"Sockets for each address, each with a thread of work of its own; 0 is one per processor core, at most 4."`
	RecvBuffer      bytesize.Size   `yaml:"recv_buffer" doc:"Receive buffer asked of the kernel for each socket; 0 leaves the kernel's default."`
	Allow           []netip.Prefix  `yaml:"allow" doc:"Networks from which datagrams are taken; empty is any. Others are counted and dropped."`
	BatchRows       int             `yaml:"batch_rows" doc:"Flows after which a batch is handed to the store."`
	FlushInterval   time.Duration   `yaml:"flush_interval" doc:"Age at which a batch is handed to the store however small it is."`
	Sampling        []Sampling      `yaml:"sampling" doc:"Sampling rates of exporters that do not tell theirs; the longest network that holds the exporter counts."`
	DefaultSampling uint32          `yaml:"default_sampling" doc:"Sampling rate of exporters that do not tell theirs and are in no network of sampling."`
	Times           Times           `yaml:"times" doc:"What is done about exporters whose clock is wrong."`
	Templates       template.Config `yaml:"templates" doc:"Bounds on what exporters may make the collector remember."`
	State           state.Config    `yaml:"state" doc:"What is remembered of exporters over a restart."`
	ActiveTimeout   time.Duration   `yaml:"active_timeout" doc:"Longest active timeout of the exporters; one that is silent for three times as long is no longer live."`
}

// Sampling is the sampling rate to assume for some exporters.
type Sampling struct {
	Exporters netip.Prefix `yaml:"exporters" doc:"Network of the exporters' addresses."`
	Rate      uint32       `yaml:"rate" doc:"One packet in this many is looked at."`
}

// Times says which times of exporters are believed.
type Times struct {
	MaxAge   time.Duration `yaml:"max_age" doc:"Age, when it is received, up to which a flow is believed. One that ended earlier keeps its duration and is taken to have ended when it was received; one that only began earlier is taken to have begun then. Such flows are counted as times_clamped."`
	MaxAhead time.Duration `yaml:"max_ahead" doc:"How long after it was received a flow may claim to have ended; beyond that it keeps its duration and is taken to have ended when it was received."`
	MaxSkew  time.Duration `yaml:"max_skew" doc:"Difference between the clocks of an exporter and of this machine above which the exporter is reported; 0 is any."`
}

// Default receives on the ports of NetFlow and IPFIX, from anyone.
func Default() Config {
	return Config{
		Listen:          []string{":2055", ":4739"},
		RecvBuffer:      16 * bytesize.MiB,
		BatchRows:       50_000,
		FlushInterval:   time.Second,
		DefaultSampling: 1,
		Times:           Times{MaxAge: 24 * time.Hour, MaxAhead: time.Minute, MaxSkew: 10 * time.Second},
		Templates:       template.DefaultConfig(),
		State:           state.Default(),
		ActiveTimeout:   time.Minute,
	}
}

// Limits of the configuration.
const (
	maxWorkers   = 64
	maxBatchRows = 1_000_000 // some 350 MB a batch
)

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if len(c.Listen) == 0 {
		refuse("listen", `is empty, want at least one address, e.g. ":2055"`)
	}
	seen := map[string]bool{}
	for i, addr := range c.Listen {
		key := fmt.Sprintf("listen[%d]", i)
		if err := udp.CheckAddr(addr); err != nil {
			refuse(key, "found %q: %w", addr, err)
			continue
		}
		if seen[addr] && !strings.HasSuffix(addr, ":0") {
			refuse(key, "%q is there twice", addr)
		}
		seen[addr] = true
	}
	if c.Workers < 0 || c.Workers > maxWorkers {
		refuse("workers", "found %d, want 0 (one per core, at most 4) to %d", c.Workers, maxWorkers)
	}
	if c.RecvBuffer < 0 || c.RecvBuffer > udp.MaxRecvBuffer {
		refuse("recv_buffer", "found %s, want less than 1GiB", c.RecvBuffer)
	}
	for i, p := range c.Allow {
		if err := checkPrefix(p); err != nil {
			refuse(fmt.Sprintf("allow[%d]", i), "%w", err)
		}
	}
	if c.BatchRows < 1 || c.BatchRows > maxBatchRows {
		refuse("batch_rows", "found %d, want 1 to %d", c.BatchRows, maxBatchRows)
	}
	if c.FlushInterval < 10*time.Millisecond || c.FlushInterval > time.Minute {
		refuse("flush_interval", "found %s, want 10ms to 1m", c.FlushInterval)
	}
	if c.ActiveTimeout < time.Second || c.ActiveTimeout > time.Hour {
		refuse("active_timeout", "found %s, want 1s to 1h", c.ActiveTimeout)
	}
	if c.Times.MaxAge < time.Minute || c.Times.MaxAge > 30*24*time.Hour {
		refuse("times.max_age", "found %s, want 1m to 720h", c.Times.MaxAge)
	}
	if c.Times.MaxAhead < 0 || c.Times.MaxAhead > 24*time.Hour {
		refuse("times.max_ahead", "found %s, want 0s to 24h", c.Times.MaxAhead)
	}
	if c.Times.MaxSkew < 0 || c.Times.MaxSkew > 24*time.Hour {
		refuse("times.max_skew", "found %s, want 0s (any) to 24h", c.Times.MaxSkew)
	}
	first := map[netip.Prefix]int{}
	for i, s := range c.Sampling {
		key := fmt.Sprintf("sampling[%d]", i)
		before, twice := first[s.Exporters]
		switch err := checkPrefix(s.Exporters); {
		case err != nil:
			refuse(key+".exporters", "%w", err)
		case twice:
			refuse(key+".exporters", "%s is in sampling[%d] already", s.Exporters, before)
		default:
			first[s.Exporters] = i
		}
		if s.Rate < 1 || s.Rate > template.MaxRate {
			refuse(key+".rate", "found %d, want 1 (every packet) to %d", s.Rate, template.MaxRate)
		}
	}
	if c.DefaultSampling < 1 || c.DefaultSampling > template.MaxRate {
		refuse("default_sampling", "found %d, want 1 (every packet) to %d", c.DefaultSampling, template.MaxRate)
	}
	return errors.Join(errs...)
}

func checkPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New(`missing network, e.g. "192.0.2.0/24"`)
	case p.Addr().Is4In6():
		return fmt.Errorf("%s is an IPv4 network in IPv6 form, want its IPv4 form", p)
	case p != p.Masked():
		return fmt.Errorf("%s has bits behind its length, want %s", p, p.Masked())
	}
	return nil
}

// workers returns the number of sockets for each address.
//
// One core takes several million flows a second from a socket, so more than 4 shards seldom help, and each that is in
// use makes batches of its own.
func (c *Config) workers() int {
	if c.Workers > 0 {
		return c.Workers
	}
	return min(runtime.GOMAXPROCS(0), 4)
}

// BatchCap is the capacity of the batches that Deps.Get should make: a full batch and the flows of the datagram that
// fills it, however many an ordinary one has. A batch that needs more grows.
func (c *Config) BatchCap() int { return c.BatchRows + 1024 }

// Listen binds the sockets of c: those of Listen[0] first. They are for Deps.Conns.
func Listen(c Config) ([]*udp.Conn, error) {
	var conns []*udp.Conn
	for _, addr := range c.Listen {
		more, err := udp.Listen(udp.Config{Addr: addr, Workers: c.workers(), RecvBuffer: int(c.RecvBuffer)})
		if err != nil {
			for _, conn := range conns {
				_ = conn.Close() // nothing was read from it
			}
			return nil, err
		}
		conns = append(conns, more...)
	}
	return conns, nil
}
