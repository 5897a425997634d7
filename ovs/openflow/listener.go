package openflow

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// acceptPause is how long nothing is accepted after an error of accept, e.g. no file descriptors.
const acceptPause = 50 * time.Millisecond

// Deps are what a Listener uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: not registered

	// Handle is given each connection whose switch introduced itself, and has it until it returns. It decides who that is: nothing
	// but what Conn.Chain proves is to be believed.
	Handle func(ctx context.Context, c *Conn)
}

// Listener takes connections of switches. What is no OpenFlow is closed and counted by its Reason.
type Listener struct {
	cfg   Config
	d     Deps
	count *metrics

	mu   sync.Mutex // guards what follows
	busy int        // handshakes
	of   map[netip.Addr]int
}

// NewListener returns a Listener. It starts nothing.
func NewListener(cfg Config, d Deps) (*Listener, error) {
	if err := cfg.Limits.Validate(); err != nil {
		return nil, err
	}
	return &Listener{cfg: cfg, d: d, count: newMetrics(d.Metrics), of: map[netip.Addr]int{}}, nil
}

// Serve takes connections until ctx is done, and returns when all that was made of them has ended. With conf switches must speak TLS;
// ovsdb.ServerTLS returns one. It closes l. Several listeners may be served at once.
func (l *Listener) Serve(ctx context.Context, from net.Listener, conf *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { from.Close() })()
	for {
		nc, err := from.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		if err != nil {
			l.d.Log.Warn("switch is not accepted", "addr", from.Addr().String(), "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(acceptPause):
			}
			continue
		}
		addr := remote(nc)
		if !l.enter(addr) {
			l.count.end(ReasonBusy)
			nc.Close()
			continue
		}
		running.Go(func() { l.serve(ctx, nc, addr, conf) })
	}
}

// remote returns the address of a connection's other end; zero of a unix socket.
func remote(nc net.Conn) netip.AddrPort {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// enter says whether there is room for one more handshake; leave follows it.
func (l *Listener) enter(from netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy >= handshakesAtOnce || from.IsValid() && l.of[from.Addr()] >= handshakesOfOne {
		return false
	}
	l.busy++
	l.of[from.Addr()]++
	return true
}

func (l *Listener) leave(from netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	if l.of[from.Addr()]--; l.of[from.Addr()] == 0 {
		delete(l.of, from.Addr())
	}
}

// serve introduces us to a switch and hands the connection over.
func (l *Listener) serve(ctx context.Context, nc net.Conn, from netip.AddrPort, conf *tls.Config) {
	if conf != nil {
		nc = tls.Server(nc, conf)
	}
	c, err := accept(ctx, nc, l.cfg, l.count)
	l.leave(from)
	if err != nil {
		l.d.Log.Debug("switch that dials in is refused", "peer", from.String(), "err", err)
		return
	}
	l.count.accepted.Inc()
	defer c.Close()
	l.d.Handle(ctx, c)
}

// DatapathID is how Open vSwitch writes the number of a bridge: sixteen digits, as in Bridge.datapath_id.
func DatapathID(id uint64) string { return fmt.Sprintf("%016x", id) }
