package ovsdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/notify"
)

// Config is how one host is reached.
type Config struct {
	Target Target // zero: the host dials in, and its connections are given to Offer
	TLS    TLS
	Limits Limits
}

// Deps are what a Session uses and does not own.
type Deps struct {
	Log       *slog.Logger                      // nil: nothing is logged
	Identity  func() ([]tls.Certificate, error) // what Weir presents, best first, asked for each connection; nil: nothing is presented
	Authority func() *x509.CertPool             // Weir's own, for TLS.Authority empty; nil, or a nil pool: there is none
	Rand      func() float64                    // [0, 1), for the wait between attempts; nil: at random
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)
}

// Session is the one session with a host, whoever uses it: it keeps connected, holds a current copy of what Weir reads of the
// database, and carries transactions. All methods may be called from any goroutine.
type Session struct {
	cfg Config
	d   Deps

	rows atomic.Pointer[Rows]
	live atomic.Pointer[conn] // while the content is known and current

	mu     sync.Mutex // guards what follows
	status Status
	schema *Schema
	lacks  []string // by schema

	changes notify.Changes

	offering sync.Mutex // held by one Offer at a time
	offers   chan *Peer // holds the newest one that Run has not taken
}

// New returns a session. Run makes it live.
func New(cfg Config, d Deps) (*Session, error) {
	if err := errors.Join(cfg.TLS.Validate(), cfg.Limits.Validate()); err != nil {
		return nil, fmt.Errorf("make session with %q: %w", cfg.Target, err)
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Rand == nil {
		d.Rand = rand.Float64
	}
	if d.Dial == nil {
		d.Dial = (&net.Dialer{}).DialContext
	}
	return &Session{
		cfg: cfg, d: d, status: Status{State: StateNew, Since: time.Now()},
		offers: make(chan *Peer, 1),
	}, nil
}

// Rows returns what the database holds, nil while that was never known. While the session is not connected it is what it held
// last.
func (s *Session) Rows() *Rows { return s.rows.Load() }

// Schema returns that of the database, nil while it was never known.
func (s *Session) Schema() *Schema {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.schema
}

// Status returns how the session is.
func (s *Session) Status() Status {
	s.mu.Lock()
	st := s.status
	st.SchemaVersion, st.Missing = s.schema.Version(), s.lacks
	s.mu.Unlock()
	if c := s.live.Load(); c != nil {
		st.Heard = time.Unix(0, c.heard.Load())
	}
	if rows := s.Rows(); rows != nil {
		st.OVSVersion, st.SystemID = rows.Root.OVSVersion, rows.Root.ExternalIDs["system-id"]
	}
	return st
}

// Subscribe returns a channel that gets an element after each change of Rows or of Status.State; several may be merged into one.
// The subscriber calls cancel when it is done; the channel is never closed.
func (s *Session) Subscribe() (changes <-chan struct{}, cancel func()) {
	return s.changes.Subscribe()
}

// change changes the status.
func (s *Session) change(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.status.State
	f(&s.status)
	if s.status.State != before {
		s.status.Since = time.Now()
		s.changes.Tell()
	}
}

// Run keeps the session connected until ctx is done, and then returns nil. It may be called once.
func (s *Session) Run(ctx context.Context) error {
	defer func() {
		s.change(func(st *Status) { st.State, st.Next = StateStopped, time.Time{} })
		s.offering.Lock()
		defer s.offering.Unlock()
		s.dropOffer()
	}()
	failures := 0
	for ctx.Err() == nil {
		peer, err := s.connect(ctx)
		if err == nil {
			before := s.Status().Starts
			err = s.use(ctx, peer)
			if s.Status().Starts > before {
				failures = 0
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := s.failed(err, failures)
		failures++
		if s.cfg.Target.IsZero() {
			continue // the host waits, as it likes
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// failed notes why there is no connection, and returns how long to wait before the next attempt.
func (s *Session) failed(err error, failures int) time.Duration {
	l := s.cfg.Limits
	wait := l.BackoffMax
	if failures < 32 {
		wait = min(l.BackoffMin<<failures, l.BackoffMax)
	}
	if wait <= 0 { // it went round
		wait = l.BackoffMax
	}
	state := StateBackoff
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		state, wait = StateRefused, l.BackoffMax // until a person does something
		if refused.Confirm {
			state = StateConfirm
		}
	}
	wait = wait/2 + time.Duration(s.d.Rand()*float64(wait/2))
	s.change(func(st *Status) {
		st.State, st.Error, st.Next = state, err.Error(), time.Now().Add(wait)
		if s.cfg.Target.IsZero() {
			st.State, st.Next = StateWaiting, time.Time{}
		}
	})
	s.d.Log.Debug("no session with host", "target", s.cfg.Target.String(), "state", state, "wait", wait, "err", err)
	return wait
}

// connect dials, or waits for an offer.
func (s *Session) connect(ctx context.Context) (*Peer, error) {
	if s.cfg.Target.IsZero() {
		s.change(func(st *Status) { st.State, st.Next = StateWaiting, time.Time{} })
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case p := <-s.offers:
			s.change(func(st *Status) { st.State = StateConnecting })
			return p, nil
		}
	}
	s.change(func(st *Status) { st.State, st.Next = StateConnecting, time.Time{} })
	return s.dial(ctx)
}

// dial connects, and makes the TLS handshake. Nothing else is sent.
func (s *Session) dial(ctx context.Context) (*Peer, error) {
	limits := s.cfg.Limits
	target := s.cfg.Target
	dialing, cancel := context.WithTimeout(ctx, limits.DialTimeout)
	defer cancel()
	nc, err := s.d.Dial(dialing, target.network(), target.address())
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	if !target.TLS {
		return newPeer(nc, nil, limits), nil
	}
	identity, own, err := s.d.secrets()
	if err != nil {
		nc.Close()
		return nil, err
	}
	tc := tls.Client(nc, s.cfg.TLS.client(target, identity, own, s.saw))
	shaking, cancel := context.WithTimeout(ctx, limits.DialTimeout)
	defer cancel()
	if err := tc.HandshakeContext(shaking); err != nil {
		nc.Close()
		return nil, fmt.Errorf("dial %s: %w", target, explain(err))
	}
	cs := tc.ConnectionState()
	return newPeer(tc, &cs, limits), nil
}

// saw notes the certificate that the host presents, believed or not.
func (s *Session) saw(chain []*x509.Certificate) {
	if len(chain) == 0 {
		return
	}
	s.change(func(st *Status) { st.Cert = certificateOf(chain[0]) })
}

// secrets returns what Weir presents and believes; nil what there is none of.
func (d *Deps) secrets() (identity []tls.Certificate, own *x509.CertPool, err error) {
	if d.Authority != nil {
		own = d.Authority()
	}
	if d.Identity != nil {
		if identity, err = d.Identity(); err != nil {
			return nil, nil, fmt.Errorf("read Weir's certificate: %w", err)
		}
	}
	return identity, own, nil
}

// explain adds what to do to errors of TLS.
func explain(err error) error {
	if a := advice(err); a != "" {
		return fmt.Errorf("%w: %s", err, a)
	}
	return err
}

// advice says what an error of TLS means and what to do; empty of other errors.
func advice(err error) string {
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" { // an alert; crypto/tls does not export its number
		switch strings.TrimPrefix(remote.Err.Error(), "tls: ") {
		case "handshake failure", "protocol version not supported", "insufficient security level":
			return "the host shares no version or cipher suite with Weir: an old host needs legacy TLS"
		case "bad certificate", "unsupported certificate", "unknown certificate", "unknown certificate authority", "certificate required":
			return "the host does not believe Weir's certificate: give it the authority that signed it (see weir ca)"
		}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the host does not speak TLS at this port: is it tcp:?"
	}
	return ""
}

// Offer gives the session a connection of a host that dialled in, which becomes the session's. A *RefusedError: its certificate is
// not believed. ErrConnected: there is a connection that lives. In either case the peer stays the caller's.
func (s *Session) Offer(ctx context.Context, p *Peer) error {
	if err := s.believes(p); err != nil {
		return err
	}
	s.offering.Lock()
	defer s.offering.Unlock()
	if s.Status().State == StateStopped {
		return ErrNotConnected
	}
	if old := s.live.Load(); old != nil {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Probe)
		defer cancel()
		if echo(ctx, old) == nil {
			return ErrConnected
		}
		old.close(errors.New("the host dialled in anew"))
	}
	s.dropOffer()
	s.offers <- p
	return nil
}

// ErrConnected is that of Offer if the host is connected already and answers.
var ErrConnected = errors.New("the host is connected already")

// believes returns nil if the certificate of a host that dialled in is believed.
func (s *Session) believes(p *Peer) error {
	t := s.cfg.TLS
	var own *x509.CertPool
	if s.d.Authority != nil {
		own = s.d.Authority()
	}
	if err := t.verify(p.chain, own, time.Now()); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.status.State == StateNew || s.status.State == StateWaiting { // the status is that of the connection, if there is one
			s.status.Error, s.status.Peer, s.status.Cert = err.Error(), p.Addr, p.Cert
		}
		return err
	}
	if p.Legacy() && !t.Legacy {
		return &RefusedError{Certificate: p.Cert, Reason: fmt.Sprintf("the host speaks %s only, which is allowed to hosts with legacy TLS", p.TLS)}
	}
	return nil
}

// dropOffer closes an offer that nobody took. s.offering is held.
func (s *Session) dropOffer() {
	select {
	case p := <-s.offers:
		p.Close()
	default:
	}
}

// use works with a connection until it ends, and returns why it did.
func (s *Session) use(ctx context.Context, p *Peer) error {
	c, limits := p.conn, s.cfg.Limits
	defer func() {
		s.live.CompareAndSwap(c, nil)
		c.close(errClosed)
		<-c.served
	}()
	s.change(func(st *Status) { st.Peer, st.TLS, st.Cert = p.Addr, p.TLS, p.Cert })
	c.limit.Store(int64(limits.MaxMessage))

	began := time.Now()
	answering, cancel := context.WithTimeout(ctx, limits.AnswerTimeout)
	defer cancel()
	schema, err := fetchSchema(answering, c)
	if err == nil {
		err = schema.check()
	}
	if err != nil {
		return explain(err)
	}
	m := newMonitor(schema, int(limits.MaxMemory))
	publish := func() {
		if rows := m.snapshot(); rows != nil {
			s.rows.Store(rows)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changes.Tell()
		}
	}
	c.mu.Lock()
	c.update, c.settled = m.update, publish
	c.mu.Unlock()
	err = m.start(answering, c, func() {
		s.mu.Lock()
		s.schema, s.lacks = schema, schema.missing()
		s.mu.Unlock()
		m.dirty = true // an empty database is known, too
		publish()
	})
	if err != nil {
		return explain(err)
	}
	s.live.Store(c)
	s.change(func(st *Status) {
		st.State, st.Error, st.Next, st.Trip = StateConnected, "", time.Time{}, 0
		st.Starts++
	})
	s.d.Log.Debug("session with host", "target", s.cfg.Target.String(), "peer", p.Addr, "schema", schema.Version(), "took", time.Since(began))
	return s.watch(ctx, c)
}

// watch probes a connection until it ends, and returns why.
func (s *Session) watch(ctx context.Context, c *conn) error {
	limits := s.cfg.Limits
	tick := time.NewTicker(limits.Probe)
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return c.reason()
		case <-tick.C:
		}
		asked := time.Now()
		probing, cancel := context.WithTimeout(ctx, limits.Probe)
		err := echo(probing, c)
		cancel()
		switch {
		case err == nil:
			answered = time.Now()
			trip := answered.Sub(asked)
			s.change(func(st *Status) { st.Trip = trip })
		case ctx.Err() != nil || c.reason() != nil: // told above
		case time.Unix(0, c.heard.Load()).Before(asked), time.Since(answered) > limits.MessageTimeout:
			return fmt.Errorf("the host answered no echo for %s: is it frozen, or the way to it cut?", time.Since(answered).Round(100*time.Millisecond))
		}
	}
}

// echo asks for nothing.
func echo(ctx context.Context, c *conn) error {
	return c.ask(ctx, (*cursor).skip, "echo")
}

// Transact carries out operations in one transaction: all of them happen, or none. What it changed is in Rows when it returns. An error is
// an *OperationError if the host refused, ErrNotConnected if nothing was sent, and ErrUnknown if it was sent and no answer came: then
// observe again. It waits for AnswerTimeout at most.
func (s *Session) Transact(ctx context.Context, operations ...Operation) ([]Result, error) {
	c := s.live.Load()
	if c == nil {
		if e := s.Status().Error; e != "" {
			return nil, fmt.Errorf("transact: %w: %s", ErrNotConnected, e)
		}
		return nil, fmt.Errorf("transact: %w", ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.AnswerTimeout)
	defer cancel()
	results, err := transact(ctx, c, operations...)
	if err != nil {
		return nil, fmt.Errorf("transact: %w", err)
	}
	return results, nil
}

// Try tells what Transact would answer, and changes nothing: the host carries the operations out and then gives them up. It finds
// out what the schema does not tell. What is only checked when a transaction ends (references, indexes) it does not find.
func (s *Session) Try(ctx context.Context, operations ...Operation) error {
	_, err := s.Transact(ctx, append(slices.Clip(operations), Operation{op: "abort"})...)
	var refused *OperationError
	if errors.As(err, &refused) && refused.Index == len(operations) {
		return nil // that of abort
	}
	return err
}
