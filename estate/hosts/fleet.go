package hosts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/notify"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Host is a host that Weir was told of.
type Host struct {
	ID     string       // UUID, in lower case; a host that dials in may be recognised by it: external_ids:system-id or xs-system-uuid
	Name   string       // unique; with Weir's own authority, the name in the host's certificate
	Pool   string       // empty: none
	Target ovsdb.Target // zero: the host dials in
	TLS    ovsdb.TLS
}

// DialsIn says that the host dials Weir.
func (h Host) DialsIn() bool { return h.Target.IsZero() }

// FlowID is the host's id in flows and events.
func (h Host) FlowID() flow.ID { return flow.NewID(flow.KindHost, h.ID) }

// session returns how the host is reached.
func (h Host) session(limits ovsdb.Limits) ovsdb.Config {
	c := ovsdb.Config{Target: h.Target, TLS: h.TLS, Limits: limits}
	switch {
	case !h.DialsIn() && !h.Target.TLS:
		c.TLS = ovsdb.TLS{}
	case believesOwn(h.TLS) && c.TLS.Name == "":
		c.TLS.Name = h.Name // one host must not pass for another
	}
	return c
}

// believesOwn says whether what Weir's own authority signed is believed.
func believesOwn(t ovsdb.TLS) bool {
	return (t.Trust == "" || t.Trust == ovsdb.TrustAuthority) && t.Authority == ""
}

// HostStatus is a host and how the session with it is.
type HostStatus struct {
	Host    Host
	Session ovsdb.Status
}

// Deps are what a Fleet uses and does not own, except Listeners.
type Deps struct {
	Log       *slog.Logger
	Metrics   prometheus.Registerer // nil: none
	Events    event.Sink
	Listeners []Listener                                                           // from Listen; Run closes them
	Identity  func() ([]tls.Certificate, error)                                    // what Weir presents; nil: nothing, and no host can dial in by TLS
	Authority func() *x509.CertPool                                                // Weir's own; nil: none
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
}

// Fleet is the configured hosts and the session with each. One that hangs delays no other. All methods may be called from any
// goroutine.
type Fleet struct {
	cfg     Config
	d       Deps
	metrics *metrics

	mu        sync.Mutex         // guards what follows
	run       context.Context    // of Run; nil before it is called and after ctx was done
	members   map[string]*member // by Host.ID
	strangers strangers

	changes notify.Changes

	running sync.WaitGroup // goroutines that Run waits for
}

// member is a host of the fleet.
type member struct {
	session *ovsdb.Session
	stop    context.CancelFunc // nil while it does not run

	mu   sync.Mutex // guards what follows
	host Host
	rest *restarts
}

// Host returns how the host was last described.
func (m *member) Host() Host {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host
}

// NewFleet returns a fleet without hosts.
func NewFleet(cfg Config, d Deps) (*Fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("make fleet: %w", err)
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{cfg: cfg, d: d, members: map[string]*member{}}
	f.strangers = strangers{limit: cfg.MaxWaiting, told: map[string]time.Time{}}
	f.metrics = newMetrics(d.Metrics, f)
	return f, nil
}

// Set makes list the hosts of the fleet. The session of a host whose Target and TLS stay as they were goes on; other sessions are ended or
// made anew, and Session returns another then. An error, of a host that no session can be made with, changes nothing.
func (f *Fleet) Set(list []Host) error {
	wanted := map[string]Host{}
	names := map[string]bool{}
	fresh := map[string]*ovsdb.Session{}
	for _, h := range list {
		h.ID = strings.ToLower(h.ID)
		if _, twice := wanted[h.ID]; twice || h.ID == "" || names[h.Name] {
			return fmt.Errorf("set hosts: %q (%q): its id and name must be there once", h.Name, h.ID)
		}
		wanted[h.ID], names[h.Name] = h, true
		s, err := ovsdb.New(h.session(f.cfg.Session), ovsdb.Deps{
			Log: f.d.Log.With("host", h.Name), Identity: f.d.Identity, Authority: f.d.Authority, Dial: f.d.Dial,
		})
		if err != nil {
			return fmt.Errorf("set hosts: %q: %w", h.Name, err)
		}
		fresh[h.ID] = s
	}
	f.mu.Lock()
	for id, m := range f.members {
		before := m.Host()
		after, stays := wanted[id]
		if stays && before.session(f.cfg.Session) == after.session(f.cfg.Session) {
			m.mu.Lock()
			m.host = after
			m.mu.Unlock()
			continue
		}
		if m.stop != nil {
			m.stop()
		}
		delete(f.members, id)
	}
	for id, h := range wanted {
		if f.members[id] == nil {
			m := &member{session: fresh[id], host: h, rest: &restarts{}}
			f.members[id] = m
			f.start(m)
		}
	}
	if ctx := f.run; ctx != nil {
		for _, s := range f.strangers.list { // one may be known now
			f.running.Go(func() { f.admit(ctx, s) })
		}
	}
	f.changes.Tell()
	f.mu.Unlock()
	return nil
}

// start runs a member if the fleet runs. f.mu is held.
func (f *Fleet) start(m *member) {
	if f.run == nil {
		return
	}
	ctx, stop := context.WithCancel(f.run)
	m.stop = stop
	f.running.Go(func() {
		if err := m.session.Run(ctx); err != nil {
			f.d.Log.Error("session with host ended", "host", m.Host().Name, "err", err)
		}
	})
	f.running.Go(func() { f.watch(ctx, m) })
}

// Run keeps the sessions until ctx is done.
func (f *Fleet) Run(ctx context.Context) error {
	f.mu.Lock()
	f.run = ctx
	for _, m := range f.members {
		f.start(m)
	}
	f.mu.Unlock()
	for _, l := range f.d.Listeners {
		f.running.Go(func() { f.accept(ctx, l) })
	}
	<-ctx.Done()
	f.mu.Lock()
	f.run = nil
	waiting := slices.Clone(f.strangers.list)
	f.mu.Unlock()
	for _, s := range waiting {
		s.peer.Close()
	}
	for _, l := range f.d.Listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			f.d.Log.Warn("listener is not closed", "addr", l.Addr().String(), "err", err)
		}
	}
	f.running.Wait()
	return nil
}

// Hosts returns all hosts, by name.
func (f *Fleet) Hosts() []HostStatus {
	f.mu.Lock()
	members := make([]*member, 0, len(f.members))
	for _, m := range f.members {
		members = append(members, m)
	}
	f.mu.Unlock()
	list := make([]HostStatus, 0, len(members))
	for _, m := range members {
		list = append(list, HostStatus{m.Host(), m.session.Status()})
	}
	slices.SortFunc(list, func(a, b HostStatus) int { return strings.Compare(a.Host.Name, b.Host.Name) })
	return list
}

// Session returns the session with the host of that id, nil if there is none. It is another one after Set has changed how the host is
// reached: the old one's state is StateStopped then.
func (f *Fleet) Session(id string) *ovsdb.Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[strings.ToLower(id)]
	if m == nil {
		return nil
	}
	return m.session
}

// Subscribe returns a channel that gets an element after each change of the set of hosts, of the state or content of one, and of the
// hosts that wait to be confirmed; several may be merged into one. The subscriber calls cancel when it is done; the channel is never
// closed.
func (f *Fleet) Subscribe() (changes <-chan struct{}, cancel func()) {
	return f.changes.Subscribe()
}

// changed tells the subscribers.
func (f *Fleet) changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes.Tell()
}

// watch tells what happens to the session of a member.
func (f *Fleet) watch(ctx context.Context, m *member) {
	changes, cancel := m.session.Subscribe()
	defer cancel()
	grace := time.NewTimer(f.cfg.Grace) // from the start: a host that is not reached is lost, too
	defer grace.Stop()
	var w watcher
	for {
		expired := false
		select {
		case <-ctx.Done():
			return
		case <-changes:
			f.changed()
		case <-grace.C:
			expired = true
		}
		host, status := m.Host(), m.session.Status()
		events, lost := w.look(host, status, expired)
		if rows := m.session.Rows(); rows != nil && status.State == ovsdb.StateConnected {
			if reason := m.restarted(rows); reason != "" {
				events = append(events, restartEvent(host, reason))
			}
		}
		for _, e := range events {
			f.emit(e)
		}
		if lost {
			grace.Reset(f.cfg.Grace)
		}
	}
}

func (f *Fleet) emit(e event.Event) {
	if f.d.Events != nil {
		f.d.Events.Emit(e)
	}
}

// watcher knows what was told of a host. It is pure.
type watcher struct {
	connected bool   // by state, when it looked last
	told      bool   // that it is connected
	lost      bool   // told that it is lost
	refused   string // told that it was refused, why
}

// look compares the status with what was told. It returns what is to be told, and whether to look again when the grace is over, with
// expired.
func (w *watcher) look(h Host, st ovsdb.Status, expired bool) (events []event.Event, waits bool) {
	connected := st.State == ovsdb.StateConnected
	tell := func(kind event.Kind, format string, args ...any) {
		e := hostEvent(h, kind, fmt.Sprintf(format, args...))
		if st.Peer.IsValid() {
			e.Attributes["peer"] = st.Peer.String()
		}
		if !st.Cert.IsZero() {
			e.Attributes["fingerprint"] = string(st.Cert.Fingerprint)
		}
		events = append(events, e)
	}
	switch {
	case connected && !w.told:
		tell(event.HostConnected, "host %s is connected", h.Name)
		w.told, w.lost, w.refused = true, false, ""
	case connected: // it was away for less than the grace
		w.refused = ""
	case w.connected:
		waits = true
	}
	if refused := st.State == ovsdb.StateRefused || st.State == ovsdb.StateConfirm; refused && w.refused != st.Error {
		w.refused, w.told = st.Error, false
		tell(event.HostRefused, "host %s is refused: %s", h.Name, st.Error)
	}
	if expired && !connected && !w.lost && w.refused == "" {
		w.lost = true
		if why := cause(st); w.told {
			tell(event.HostLost, "host %s is lost: %s", h.Name, why)
		} else {
			tell(event.HostLost, "host %s is not reached: %s", h.Name, why)
		}
		w.told = false
	}
	w.connected = connected
	return events, waits
}

// cause says why there is no session.
func cause(st ovsdb.Status) string {
	switch {
	case st.Error != "":
		return st.Error
	case st.State == ovsdb.StateWaiting:
		return "it has not dialled in"
	default:
		return string(st.State)
	}
}

func hostEvent(h Host, kind event.Kind, text string) event.Event {
	e := event.Event{Time: time.Now(), Kind: kind, Host: h.FlowID(), Subject: h.Name, Text: text, Attributes: map[string]string{"host": h.ID}}
	if h.Pool != "" {
		e.Pool = flow.NewID(flow.KindPool, h.Pool)
	}
	return e
}
