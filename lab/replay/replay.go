package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Config says what to send where.
type Config struct {
	Files []string
	To    netip.AddrPort
	Rate  float64 // datagrams a second; 0 is as fast as possible

	// Ports are the destination ports of captured datagrams that are sent. None is: whatever looks like NetFlow,
	// IPFIX or sFlow. Raw files are always sent.
	Ports []uint16

	// KeepSources sends what came from different addresses from different addresses, as exporters are told apart
	// by them: each from its own if this machine has it, else, if To is IPv4 loopback, from one of 127.1.0.0/16.
	// Otherwise all is sent from one socket.
	KeepSources bool

	// Progress, if not nil, is called about every second and at the end.
	Progress func(Counts)
}

// Counts are what became of the frames of the files.
type Counts struct {
	Frames    uint64 `json:"frames"` // read, raw files included
	Sent      uint64 `json:"sent"`
	Bytes     uint64 `json:"bytes"`     // of payload sent
	Other     uint64 `json:"other"`     // not UDP, or neither flows nor of the ports asked for
	Fragments uint64 `json:"fragments"` // of UDP datagrams
	Truncated uint64 `json:"truncated"` // cut off by the capture, or malformed
	Foreign   uint64 `json:"foreign"`   // of a link type that is not known here
	Failed    uint64 `json:"failed"`    // datagrams that the kernel did not take
}

// Result is what a run did.
type Result struct {
	Counts
	Took    time.Duration
	Sources map[netip.Addr]netip.Addr // KeepSources: the address in the capture, and the one sent from
}

// Run sends everything once and returns when it is done, or when ctx is, with what was sent until then.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if !cfg.To.IsValid() || cfg.To.Port() == 0 {
		return Result{}, fmt.Errorf("replay: collector %q: want an address with a port, e.g. 127.0.0.1:2055", cfg.To)
	}
	if len(cfg.Files) == 0 {
		return Result{}, errors.New("replay: no files")
	}
	if cfg.Rate < 0 {
		return Result{}, fmt.Errorf("replay: rate %v: want 0 or more datagrams a second", cfg.Rate)
	}
	cfg.To = netip.AddrPortFrom(cfg.To.Addr().Unmap(), cfg.To.Port())
	begun := time.Now()
	r := &run{cfg: cfg, begun: begun, reported: begun, conns: map[netip.Addr]*net.UDPConn{}, result: Result{Sources: map[netip.Addr]netip.Addr{}}}
	defer r.close()
	err := r.files(ctx)
	r.result.Took = time.Since(begun)
	if cfg.Progress != nil {
		cfg.Progress(r.result.Counts)
	}
	return r.result, err
}

// run is a Run under way.
type run struct {
	cfg      Config
	result   Result
	begun    time.Time
	reported time.Time
	conns    map[netip.Addr]*net.UDPConn // by address in the capture; the zero one without KeepSources
	loopback uint16                      // host part of the last address of 127.1.0.0/16 in use
}

func (r *run) close() {
	for _, c := range r.conns {
		_ = c.Close() // nothing is buffered
	}
}

func (r *run) files(ctx context.Context) error {
	for _, name := range r.cfg.Files {
		if err := r.file(ctx, name); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
	return nil
}

func (r *run) file(ctx context.Context, name string) (err error) {
	next, closeFile, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	for {
		d, v, err := next()
		if errors.Is(err, io.EOF) {
			if v == isTruncated {
				r.result.Frames++
				r.result.Truncated++
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.result.Frames++
		if v == isUDP && !r.cfg.wants(&d) {
			v = isOther
		}
		if v != isUDP {
			r.skip(v)
			continue
		}
		if err := r.send(ctx, &d); err != nil {
			return err
		}
	}
}

// wants reports whether d is one to send.
func (c *Config) wants(d *datagram) bool {
	switch {
	case !d.source.IsValid():
		return true
	case len(c.Ports) > 0:
		return slices.Contains(c.Ports, d.port)
	default:
		return isFlowExport(d.payload)
	}
}

func (r *run) skip(v verdict) {
	switch c := &r.result.Counts; v {
	case isFragment:
		c.Fragments++
	case isTruncated:
		c.Truncated++
	case isForeign:
		c.Foreign++
	default:
		c.Other++
	}
}

func (r *run) send(ctx context.Context, d *datagram) error {
	conn, err := r.conn(d.source.Addr())
	if err != nil {
		return err
	}
	if err := r.pace(ctx); err != nil {
		return err
	}
	if _, err := conn.WriteToUDPAddrPort(d.payload, r.cfg.To); err != nil {
		r.result.Failed++
		if r.result.Sent == 0 { // the address is wrong rather than the queue full
			return fmt.Errorf("send to %v: %w", r.cfg.To, err)
		}
		return nil
	}
	r.result.Sent++
	r.result.Bytes += uint64(len(d.payload))
	return nil
}

// conn returns the socket that stands for a source of the capture.
func (r *run) conn(from netip.Addr) (*net.UDPConn, error) {
	if !r.cfg.KeepSources {
		from = netip.Addr{}
	}
	if c := r.conns[from]; c != nil {
		return c, nil
	}
	var (
		c     *net.UDPConn
		err   error
		local = from
	)
	listen := func(a netip.Addr) (*net.UDPConn, error) {
		network := "udp4"
		if r.cfg.To.Addr().Is6() {
			network = "udp6"
		}
		if !a.IsValid() {
			return net.ListenUDP(network, nil)
		}
		return net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	}
	switch to := r.cfg.To.Addr(); {
	case !from.IsValid():
		c, err = listen(netip.Addr{})
	case to.Is4() && to.IsLoopback() && !from.IsLoopback():
		r.loopback++
		if r.loopback == 0 {
			return nil, errors.New("keep sources: more than 65535 of them")
		}
		local = netip.AddrFrom4([4]byte{127, 1, byte(r.loopback >> 8), byte(r.loopback)})
		c, err = listen(local)
	default:
		if c, err = listen(from); err != nil {
			err = fmt.Errorf("keep source %v: this machine has no such address; send to an IPv4 loopback address instead: %w", from, err)
		}
	}
	if err != nil {
		return nil, err
	}
	r.conns[from] = c
	if from.IsValid() {
		r.result.Sources[from] = local
	}
	return c, nil
}

// pace waits until the next datagram is due. Waits shorter than a timer can keep are saved up, so that the rate holds.
func (r *run) pace(ctx context.Context) error {
	due := r.begun
	if r.cfg.Rate > 0 {
		done := float64(r.result.Sent + r.result.Failed)
		due = r.begun.Add(time.Duration(done / r.cfg.Rate * float64(time.Second)))
	}
	for {
		now := time.Now()
		r.report(now)
		wait := due.Sub(now)
		if wait < time.Millisecond {
			return nil
		}
		timer := time.NewTimer(min(wait, time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (r *run) report(now time.Time) {
	if r.cfg.Progress != nil && now.Sub(r.reported) >= time.Second {
		r.reported = now
		r.cfg.Progress(r.result.Counts)
	}
}
