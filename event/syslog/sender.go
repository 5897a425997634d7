package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Source is what a Sender needs of an event.Log.
type Source interface {
	Follow(ctx context.Context, after uint64, q event.Query, send func(events []event.Event, seen uint64) error) error
	LastID(ctx context.Context) (uint64, error)
}

// Positions keeps up to which event a receiver was served, over restarts; known is false where that was never said.
type Positions interface {
	Position(ctx context.Context, name string) (event uint64, known bool, err error)
	SetPosition(ctx context.Context, name string, id uint64) error
}

// Deps are what a Sender uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Events  Source
	Keep    Positions
	Name    func(flow.ID) string // of an entity, "" if it is not known; safe for concurrent use
	Now     func() time.Time     // nil: time.Now
}

// Sender sends events to one receiver.
type Sender struct {
	cfg    Config
	deps   Deps
	log    *slog.Logger
	tls    *tls.Config
	header Header

	sent, tooOld prometheus.Counter
	failed       prometheus.Counter

	mu    sync.Mutex
	stats Stats // guarded by mu
}

// Stats is how a Sender does.
type Stats struct {
	Address string `json:"address"` // with the transport in front
	Sent    uint64 `json:"sent"`
	TooOld  uint64 `json:"too_old"` // passed over: happened more than a day before they could be sent
	Problem string `json:"problem,omitempty"`
}

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	retryMin     = time.Second
	retryMax     = 30 * time.Second
	noteEvery    = 2 * time.Second // position of the receiver

	// A receiver has to take 2048 bytes (RFC 5424 §6.1, RFC 5425 §4.3.1); over TCP 8 KiB is what receivers are set to at least.
	limitUDP = 2048
	limitTCP = 8192
)

// New checks the configuration, which has an address, and reads its files. It starts nothing.
func New(cfg Config, d Deps) (*Sender, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure syslog: %w", err)
	}
	if d.Log == nil || d.Events == nil || d.Keep == nil || d.Name == nil || cfg.Address == "" {
		return nil, errors.New("configure syslog: something is missing: want an address, Log, Events, Keep and Name")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	client, err := cfg.clientConfig()
	if err != nil {
		return nil, fmt.Errorf("configure syslog: %w", err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("configure syslog: %w", err)
	}
	s := &Sender{
		cfg: cfg, deps: d, log: d.Log.With("part", "syslog"), tls: client,
		header: Header{Facility: cfg.Facility, Hostname: hostname, PID: os.Getpid()},
		sent:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_event_syslog_sent_total", Help: "Network events that were sent to the syslog receiver."}),
		tooOld: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_event_syslog_too_old_total", Help: "Network events that were not sent to the syslog receiver, since they happened more than a day before."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_event_syslog_failures_total", Help: "Times that the syslog receiver could not be reached, or the connection broke."}),
		stats:  Stats{Address: string(cfg.Transport) + " " + cfg.Address},
	}
	if d.Metrics != nil {
		d.Metrics.MustRegister(s.sent, s.tooOld, s.failed)
	}
	return s, nil
}

// Stats returns what was done so far.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Run sends until ctx is done. It begins after the last event that was sent to this receiver, or, if none ever was, with the next.
func (s *Sender) Run(ctx context.Context) error {
	position, err := s.begin(ctx)
	if err != nil {
		return err
	}
	delay := retryMin
	for ctx.Err() == nil {
		before := position
		if position = s.attempt(ctx, position); position > before {
			delay = retryMin
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, retryMax)
	}
	return nil
}

// attempt is a session whose end is noted, unless it is ours.
func (s *Sender) attempt(ctx context.Context, position uint64) uint64 {
	position, err := s.session(ctx, position)
	if ctx.Err() == nil {
		s.note(err)
	}
	return position
}

// begin returns the id above which events are for the receiver.
func (s *Sender) begin(ctx context.Context) (uint64, error) {
	position, known, err := s.deps.Keep.Position(ctx, s.place())
	if err == nil && !known {
		if position, err = s.deps.Events.LastID(ctx); err == nil {
			s.keep(ctx, position) // what happens from now on is for the receiver, even if this process ends at once
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return 0, fmt.Errorf("run syslog: %w", err)
	}
	return position, nil
}

// place names the receiver in the state.
func (s *Sender) place() string { return "syslog " + string(s.cfg.Transport) + " " + s.cfg.Address }

// note notes why nothing can be sent, nil if it can.
func (s *Sender) note(err error) {
	s.mu.Lock()
	before := s.stats.Problem
	s.stats.Problem = ""
	if err != nil {
		s.stats.Problem = err.Error()
	}
	s.mu.Unlock()
	switch {
	case err != nil && before == "":
		s.log.Warn("syslog receiver not reached, tried again", "addr", s.cfg.Address, "err", err)
	case err == nil && before != "":
		s.log.Info("syslog receiver reached again", "addr", s.cfg.Address)
	}
	if err != nil {
		s.failed.Inc()
	}
}

// session connects and sends the events above position until something fails or ctx is done. It returns how far it came.
func (s *Sender) session(ctx context.Context, position uint64) (uint64, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return position, err
	}
	defer conn.Close()
	ctx, broken := context.WithCancelCause(ctx)
	var watched sync.WaitGroup
	defer watched.Wait()
	defer conn.Close()
	defer broken(nil)
	if s.cfg.Transport != UDP {
		// A receiver says nothing. That it closes is only seen by reading; what is written afterwards would be lost.
		watched.Go(func() {
			_, err := io.Copy(io.Discard, conn)
			if err == nil {
				err = io.EOF
			}
			broken(fmt.Errorf("the receiver closed the connection: %w", err))
		})
	}
	s.note(nil)
	noted, notedAt := position, s.deps.Now()
	defer func() {
		if position != noted {
			s.keep(ctx, position)
		}
	}()
	err = s.deps.Events.Follow(ctx, position, event.Query{}, func(events []event.Event, seen uint64) error {
		for i := range events {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.send(conn, &events[i]); err != nil {
				return err
			}
			position = events[i].ID
		}
		position = seen
		if now := s.deps.Now(); now.Sub(notedAt) > noteEvery && position != noted {
			s.keep(ctx, position)
			noted, notedAt = position, now
		}
		return nil
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return position, err
}

// keep notes in the state how far the receiver was served.
func (s *Sender) keep(ctx context.Context, position uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := s.deps.Keep.SetPosition(ctx, s.place(), position); err != nil {
		s.log.Warn("position of syslog receiver not kept: after a restart some events are sent again", "err", err)
	}
}

func (s *Sender) dial(ctx context.Context) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout}
	switch s.cfg.Transport {
	case UDP:
		return dialer.DialContext(ctx, "udp", s.cfg.Address)
	case TLS:
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return (&tls.Dialer{NetDialer: dialer, Config: s.tls}).DialContext(ctx, "tcp", s.cfg.Address)
	default:
		return dialer.DialContext(ctx, "tcp", s.cfg.Address)
	}
}

// send writes one event.
func (s *Sender) send(conn net.Conn, e *event.Event) error {
	if s.deps.Now().Sub(e.Time) > staleAfter {
		s.tooOld.Inc()
		s.mu.Lock()
		s.stats.TooOld++
		s.mu.Unlock()
		return nil
	}
	limit := limitTCP
	if s.cfg.Transport == UDP {
		limit = limitUDP
	}
	message := Format(s.header, e, s.deps.Name, limit)
	if s.cfg.Transport != UDP {
		message = append(strconv.AppendInt(nil, int64(len(message)), 10), append([]byte(" "), message...)...)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(message); err != nil {
		return err
	}
	s.sent.Inc()
	s.mu.Lock()
	s.stats.Sent++
	s.mu.Unlock()
	return nil
}
