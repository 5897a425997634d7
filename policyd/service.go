package policyd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/estate/learned"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/state"
)

// Deps are what a Service uses and does not own, except Listeners.
type Deps struct {
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	State     *state.State
	Assembler *estate.Assembler
	Estate    *estate.Holder // of the assembler
	Events    event.Sink
	Audit     audit.Sink                                                           // is told of changes; nil: they are logged
	Listeners []hosts.Listener                                                     // for hosts that dial in; Run closes them
	Identity  func() ([]tls.Certificate, error)                                    // what Weir presents to hosts; nil: nothing
	Memory    *hosts.Memory                                                        // of what was seen at hosts, for the next run; nil: none. Run runs it
	Authority func() *x509.CertPool                                                // Weir's own; nil: none
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer

	Policy      PolicyConfig
	Snapshots   SnapshotConfig
	SnapshotDir string // where snapshots of the state are; "": there are none

	Bridges  []BridgeSocket                                                                 // where bridges dial in; Run closes them
	Hits     func([]reconcile.Hit)                                                          // what rules matched; not to block; nil: nobody
	Learned  *learned.Learner                                                               // gets what tells addresses, as bridges that enforce policy pass it on. Run runs it; nil: none
	Announce func(ctx context.Context, live []state.Instance) (without []string, err error) // makes numbers of rules known to store and collectors; nil: nobody

	ActiveTimeout time.Duration // of the collector: with which hosts export, unless it is configured
	CollectorPort uint16        // at which hosts reach the collector, unless another is configured; 0: hosts export nothing then
}

// Service looks after hosts. Its methods may be called from any goroutine.
type Service struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	fleet   *hosts.Fleet
	witness *hosts.Witness
	exports *export.Exports

	reconciler *reconcile.Reconciler
	openflow   *openflow.Listener
	governor   *governor
	offenders  offenders
	caught     chan culprit // who are to be quarantined

	look chan struct{} // has an element: look again, though no host has changed

	configuring sync.Mutex // held by one configure at a time
	snapping    sync.Mutex // held by who makes or removes snapshots

	mu         sync.Mutex
	hosts      map[string]*host      // by UUID; guarded by mu: those of the last look
	configured bool                  // hosts are those of the state
	pools      map[string]state.Pool // by name; guarded by mu
	unsnapped  error                 // why the last snapshot that was due was not made; guarded by mu

	// These belong to follow.
	wanted []export.Host
}

// host is what was seen of a host.
type host struct {
	state.Host
	mode      state.Mode // its own, or that of its pool
	export    export.Settings
	rows      *ovsdb.Rows
	peer      netip.Addr
	inventory *hosts.Inventory // nil while it was never seen

	seen     *hosts.Inventory // the last that is in the estate, too
	seenRows *ovsdb.Rows      // of seen
}

// New checks the configuration and wires. It starts nothing.
func New(cfg Config, d Deps) (*Service, error) {
	if d.Log == nil || d.State == nil {
		return nil, errors.New("make policyd: a dependency is missing: want Log and State")
	}
	s := &Service{cfg: cfg, deps: d, log: d.Log.With("part", "policyd"), hosts: map[string]*host{}, look: make(chan struct{}, 1), caught: make(chan culprit, maxCaught)}
	var err error
	s.fleet, err = hosts.NewFleet(cfg.Config, hosts.Deps{
		Log: d.Log, Metrics: d.Metrics, Events: d.Events, Listeners: d.Listeners, Identity: d.Identity, Authority: d.Authority, Dial: d.Dial,
	})
	if err != nil {
		return nil, err
	}
	s.witness, err = hosts.NewWitness(hosts.WitnessDeps{Assembler: d.Assembler, Estate: d.Estate, Events: d.Events, Memory: d.Memory})
	if err != nil {
		return nil, err
	}
	s.exports, err = export.New(export.Config{Instance: d.State.Instance(), CollectorPort: d.CollectorPort, ActiveTimeout: d.ActiveTimeout}, export.Deps{
		Log: d.Log, Events: d.Events, Metrics: d.Metrics, Detached: func(string) { s.again() },
		Forgot: func(uuid, bridge string) { s.reconciler.Forgot(reconcile.Key{Host: uuid, Bridge: bridge}) },
	})
	if err != nil {
		return nil, err
	}
	s.reconciler = reconcile.New(reconcile.Config{}, reconcile.Deps{Log: d.Log, Events: d.Events, Metrics: d.Metrics, Hits: s.hits, Packets: s.packet})
	s.openflow, err = openflow.NewListener(openflow.Config{Limits: openflow.DefaultLimits(), Want: openflow.Want{Packets: true}}, openflow.Deps{
		Log: d.Log, Metrics: d.Metrics, Handle: s.reconciler.Handle,
	})
	s.governor = newGovernor(s, &s.deps.Policy)
	return s, err
}

// Recall tells which VIFs were plugged when that was recorded last, by the names of hosts; see hosts.Tracker. It is called before Run.
func (s *Service) Recall(vifs map[string][]estate.Entity) { s.witness.Recall(vifs) }

// again has follow look again.
func (s *Service) again() {
	select {
	case s.look <- struct{}{}:
	default: // it will
	}
}

// Run looks after the hosts until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.fleet.Run(ctx) })
	g.Go(func() error { return s.witness.Run(ctx) })
	if s.deps.Memory != nil {
		g.Go(func() error { return s.deps.Memory.Run(ctx) })
	}
	if s.deps.Learned != nil {
		g.Go(func() error { return s.deps.Learned.Run(ctx) })
	}
	g.Go(func() error { return s.exports.Run(ctx) })
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error { return s.reconciler.Run(ctx) })
	g.Go(func() error { return s.governor.run(ctx) })
	g.Go(func() error { return s.catchAll(ctx) })
	g.Go(func() error { return s.rollBackLate(ctx) })
	g.Go(func() error { return s.tellAudit(ctx) })
	g.Go(func() error { return s.takeSnapshots(ctx) })
	for i := range s.deps.Bridges {
		g.Go(func() error { return s.serveBridges(ctx, &s.deps.Bridges[i]) })
	}
	return g.Wait()
}

// packet hands a packet to who learns from it.
func (s *Service) packet(p reconcile.Packet) {
	if s.deps.Learned != nil {
		s.deps.Learned.Frame(learned.Port{Host: p.Bridge.Host, Bridge: p.Bridge.Bridge, OFPort: uint32(p.Port)}, p.Data)
	}
}

// serveBridges takes connections of bridges at a socket until ctx is done.
func (s *Service) serveBridges(ctx context.Context, b *BridgeSocket) error {
	var conf *tls.Config
	if b.TLS {
		if s.deps.Identity == nil {
			return fmt.Errorf("listen for bridges at %s: no certificate", b.Addr())
		}
		conf = ovsdb.ServerTLS(s.deps.Identity, s.oldTLS)
	}
	return s.openflow.Serve(ctx, b.Listener, conf)
}

// oldTLS says whether some host needs cipher suites of old hosts.
func (s *Service) oldTLS() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		if h.TLS.Legacy {
			return true
		}
	}
	return false
}

// retryState is when the state is read again after that did not work.
const retryState = 5 * time.Second

// follow has fleet, estate and exports follow the state and the hosts.
func (s *Service) follow(ctx context.Context) error {
	configured, stop := s.deps.State.Subscribe()
	defer stop()
	seen, stop2 := s.fleet.Subscribe()
	defer stop2()
	var retry <-chan time.Time
	for changed := true; ; {
		if changed {
			retry = nil
			if err := s.Configure(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("hosts are not as configured, tried again", "err", err)
				retry = time.After(retryState)
			}
		}
		s.observe(time.Now())
		changed = false
		select {
		case <-configured:
			changed = true
		case <-retry:
			changed = true
		case <-seen:
		case <-s.look:
		case <-ctx.Done():
			return nil
		}
	}
}

// Configure makes the fleet that of the state. Who changes the state calls it, so that the change is in force at once; Run does so, too.
// Before Run it has hosts be listed from the start.
func (s *Service) Configure(ctx context.Context) error {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	list, err := s.deps.State.Hosts(ctx)
	if err != nil {
		return err
	}
	pools, err := s.deps.State.Pools(ctx)
	if err != nil {
		return err
	}
	byName := map[string]state.Pool{}
	for _, p := range pools {
		byName[p.Name] = p
	}
	fleet := make([]hosts.Host, len(list))
	next := make(map[string]*host, len(list))
	s.mu.Lock()
	for i, h := range list {
		fleet[i] = hosts.Host{ID: h.UUID, Name: h.Name, Pool: h.Pool, Target: h.Target, TLS: h.TLS}
		pool := byName[h.Pool]
		x := &host{Host: h, mode: h.Mode.In(pool.Mode), export: s.cfg.Export.With(pool.Export).With(h.Export)}
		if old := s.hosts[h.UUID]; old != nil && old.Name == h.Name && old.Pool == h.Pool {
			x.rows, x.peer, x.inventory = old.rows, old.peer, old.inventory
			x.seen, x.seenRows = old.seen, old.seenRows
		}
		next[h.UUID] = x
	}
	gone, first := s.hosts, !s.configured
	s.hosts, s.pools, s.configured = next, byName, true
	s.mu.Unlock()
	if first {
		s.witness.Remember(slices.Collect(maps.Keys(next))...)
	}
	now := time.Now()
	for uuid := range gone {
		if next[uuid] == nil {
			s.witness.Forget(uuid, now)
		}
	}
	return s.fleet.Set(fleet)
}

// observe brings what has changed at hosts into the estate, and says to the exports what is wanted of them.
func (s *Service) observe(now time.Time) {
	wanted := []export.Host{}
	var changed []*hosts.Inventory
	for _, st := range s.fleet.Hosts() {
		s.mu.Lock()
		h := s.hosts[st.Host.ID]
		s.mu.Unlock()
		session := s.fleet.Session(st.Host.ID)
		if h == nil || session == nil {
			continue
		}
		if inventory := s.inventoryOf(h, session, st.Session); inventory != nil {
			changed = append(changed, inventory)
		}
		want := export.Host{Identity: export.Identity{UUID: h.UUID, Name: h.Name}, Session: session, Settings: h.export}
		var known bool
		want.Enforced, want.Controller, known = s.governor.ofHost(h, st.Session)
		want.Hold = !known                                                  // else what enforces policy there would be taken away, and set up again
		want.Detach = h.mode == state.ModeDetach && len(want.Enforced) == 0 // first its flows go
		if h.Pool != "" {
			want.Pool = flow.NewID(flow.KindPool, h.Pool)
		}
		wanted = append(wanted, want)
	}
	if len(changed) > 0 {
		s.witness.Observe(now, changed...)
		s.mu.Lock()
		for _, inventory := range changed {
			// Who configured hosts meanwhile has put others in the place of those above.
			if h := s.hosts[inventory.Settings.Key]; h != nil && h.inventory == inventory {
				h.seen, h.seenRows = inventory, h.rows
			}
		}
		s.mu.Unlock()
		s.governor.poke()
	}
	if !slices.EqualFunc(wanted, s.wanted, same) {
		s.exports.Set(wanted)
		s.wanted = wanted
	}
}

func same(a, b export.Host) bool {
	return a.Identity == b.Identity && a.Session == b.Session && a.Hold == b.Hold && a.Detach == b.Detach && a.Controller == b.Controller &&
		reflect.DeepEqual(a.Enforced, b.Enforced) && reflect.DeepEqual(a.Settings, b.Settings)
}

// inventoryOf returns what is at a host if that is something else than before, or nil.
func (s *Service) inventoryOf(h *host, session *ovsdb.Session, st ovsdb.Status) *hosts.Inventory {
	if st.State != ovsdb.StateConnected {
		s.witness.Lost(h.UUID, st.Since)
		return nil
	}
	rows, peer := session.Rows(), st.Peer.Addr().Unmap()
	if rows == nil || rows == h.rows && peer == h.peer {
		return nil
	}
	inventory := hosts.Map(hosts.Settings{Key: h.UUID, Name: h.Name, UUID: h.UUID, Pool: h.Pool, Peer: peer}, rows, s.ours)
	s.mu.Lock()
	h.rows, h.peer, h.inventory = rows, peer, inventory
	s.mu.Unlock()
	return inventory
}

// ours tells whether a row with these external ids is this Weir's.
func (s *Service) ours(externalIDs map[string]string) bool {
	return own.Made(externalIDs, s.deps.State.Instance())
}

// Resend has the templates of an observation domain of a host sent again; see export.Exports. 0 is a host that is not known, as one that
// is reached by a unix socket and has an address that nobody has said: then whoever exports in that domain.
func (s *Service) Resend(host flow.ID, domain uint32) {
	for _, st := range s.fleet.Hosts() {
		if host == 0 || st.Host.FlowID() == host {
			// A host that is not looked after yet has nothing set up, and sends no templates.
			_ = s.exports.Resend(st.Host.ID, domain)
		}
	}
}

// ExporterRestarted says that an exporter of flows at a host began to number anew.
func (s *Service) ExporterRestarted(host flow.ID) {
	for _, st := range s.fleet.Hosts() {
		if st.Host.FlowID() == host {
			s.fleet.ExporterRestarted(st.Host.ID)
		}
	}
}
