package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/notify"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/compile"
)

// Host is a host as events and ids have it.
type Host struct {
	UUID string // in lower case: its key
	Name string
	Pool flow.ID // 0: none
}

func (h *Host) id() flow.ID { return flow.NewID(flow.KindHost, h.UUID) }

// Key is what a bridge is known by.
type Key struct{ Host, Bridge string } // UUID of the host, name

// Bridge is what is wanted of a bridge, and how its connection is told from others.
type Bridge struct {
	Host Host
	Name string

	// A connection is the bridge's if it has the datapath id, and comes from one of the addresses or with the certificate. Two
	// bridges for which the same connection would do get none.
	DatapathID  uint64
	Addrs       []netip.Addr      // of the host: its session's
	Certificate ovsdb.Fingerprint // of the switch; empty: addresses decide

	Revision uint64                       // of Desired; ascends
	Desired  *compile.Desired             // nil: nothing is known yet, and nothing is touched
	Detach   bool                         // everything of ours is to be removed
	Rule     func(instance uint32) string // what people call a rule instance, for errors and events; nil, or "": its number
}

// Key returns that of b.
func (b *Bridge) Key() Key { return Key{b.Host.UUID, b.Name} }

func (b *Bridge) id() flow.ID { return flow.NewID(flow.KindBridge, b.Host.UUID+"/"+b.Name) }

// State is how a bridge stands.
type State string

// The values of State.
const (
	StateOffline   State = "offline"   // there is no connection; what was installed last is still in force if the switch keeps it
	StateWaiting   State = "waiting"   // nothing is wanted yet
	StatePending   State = "pending"   // what is wanted is on its way
	StateInstalled State = "installed" // what is wanted was found there
	StateYielding  State = "yielding"  // somebody undoes it again and again; it is repaired after a pause
	StateFailed    State = "failed"    // the switch did not take it, see Error; what was there before is still in force
	StateDetached  State = "detached"  // nothing of ours is there
)

// States are all of them.
var States = []State{StateOffline, StateWaiting, StatePending, StateInstalled, StateYielding, StateFailed, StateDetached}

// BridgeStatus is how a bridge stands.
type BridgeStatus struct {
	HostUUID  string    `json:"host_uuid"`
	Host      string    `json:"host"`
	Bridge    string    `json:"bridge"`
	State     State     `json:"state"`
	Error     string    `json:"error,omitempty"` // why it is not as it is to be
	Connected time.Time `json:"connected,omitzero"`
	Peer      string    `json:"peer,omitempty"` // address of the connection

	Revision   uint64    `json:"revision"`             // that is wanted
	Verified   uint64    `json:"verified"`             // that was found installed last; 0: none
	VerifiedAt time.Time `json:"verified_at,omitzero"` // when all flows were last read and found right, or what had changed was

	Desired   int `json:"desired"`   // flows that are wanted
	Installed int `json:"installed"` // flows of ours that are there, as far as is known, without learned ones
	Learned   int `json:"learned"`   // flows that the switch made itself by ours, when all were last read
	Groups    int `json:"groups"`    // groups of ours that are there
	Meters    int `json:"meters"`    // meters of ours that are there
	Pending   int `json:"pending"`   // changes that are to be made

	Drift    uint64   `json:"drift"`               // flows and groups of ours that others had changed, removed or added
	Repaired uint64   `json:"repaired"`            // of them, those that were set right
	MaxMeter *uint32  `json:"max_meter,omitempty"` // highest id of a meter that its switch has; 0: it has none; nil: it was never connected
	Stepwise bool     `json:"stepwise,omitempty"`  // this Open vSwitch (before 2.6) makes changes one by one: packets may meet a part of them
	Foreign  []string `json:"foreign,omitempty"`   // flows and groups of others that bypass policy or stand in its way, the first few
	Bypasses int      `json:"bypasses"`            // how many there are
	Others   int      `json:"others"`              // flows of others, whatever they do, when all were last read
}

// Has says whether the bridge was found to hold that revision, or a later one, and still has its connection.
func (s *BridgeStatus) Has(revision uint64) bool {
	return s.State == StateInstalled && s.Verified >= revision
}

// Hit is by how much the counters of one rule at one stage grew on a bridge; those of a guard, of each VIF.
type Hit struct {
	At             time.Time // of the reading
	Where          Key
	Host, Bridge   flow.ID
	Port           openflow.Port // by which the VIF is reached that a guard dropped packets of; 0: it is no guard
	Instance       uint32
	Stage          flow.Stage
	Packets, Bytes uint64
}

// Packet is a frame that came in by a port of a bridge, of those that tell addresses.
type Packet struct {
	Bridge Key
	Port   openflow.Port
	Data   []byte // its end may be missing
}

// Config is for all bridges. Zero fields have the defaults that are named.
type Config struct {
	Audit time.Duration // all flows of a bridge are read at least so often, and hits are handed over, those of guards with each reading; a minute
}

// Deps are what a Reconciler uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Events  event.Sink
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
	Hits    func([]Hit)           // called from the loops of bridges with what it may keep; not to block. nil: nobody
	Packets func(Packet)          // called from the connections of bridges with what it may keep; not to block for long. nil: nobody
}

// Reconciler keeps the flows of all bridges. Methods may be called from any goroutine.
type Reconciler struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	changed notify.Changes // some status
	turns   chan struct{}  // one for each who reads all flows of a bridge

	mu        sync.Mutex
	keepers   map[Key]*keeper // guarded by mu
	strangers []stranger      // guarded by mu
	running   context.Context // of Run; nil before and after; guarded by mu
	ended     bool            // Run has; guarded by mu
	all       sync.WaitGroup  // of what runs
}

// New returns a Reconciler of no bridge.
func New(cfg Config, d Deps) *Reconciler {
	if d.Now == nil {
		d.Now = time.Now
	}
	if cfg.Audit == 0 {
		cfg.Audit = time.Minute
	}
	r := &Reconciler{cfg: cfg, deps: d, keepers: map[Key]*keeper{}, turns: make(chan struct{}, turnsMost)}
	r.deps.Log = d.Log.With("part", "reconcile")
	r.metrics = newMetrics(d.Metrics, r)
	return r
}

// Set says which bridges there are, and what is wanted of each. A bridge that is missing is no longer looked after, and its connection is
// closed: what was installed on it stays, unless it was detached before. Idempotent; costs nothing where nothing changed.
func (r *Reconciler) Set(bridges []Bridge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := maps.Clone(r.keepers)
	for _, b := range bridges {
		key := b.Key()
		if k := r.keepers[key]; k != nil {
			delete(gone, key)
			k.set(b)
			continue
		}
		k := newKeeper(r, b)
		r.keepers[key] = k
		if r.running != nil {
			r.start(k)
		}
	}
	for key, k := range gone {
		delete(r.keepers, key)
		k.end()
	}
	if r.running != nil {
		r.introduce()
	}
	r.changed.Tell()
}

// start runs k. r.mu is held.
func (r *Reconciler) start(k *keeper) {
	ctx := r.running
	r.all.Go(func() { k.run(ctx) })
}

// Run looks after the bridges until ctx is done. What is installed on them stays.
func (r *Reconciler) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = ctx
	for _, k := range r.keepers {
		r.start(k)
	}
	r.introduce()
	r.mu.Unlock()
	tick := time.NewTicker(strangersWait / 5)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			r.mu.Lock()
			r.introduce()
			r.mu.Unlock()
		}
	}
	r.mu.Lock()
	r.running, r.ended = nil, true
	for _, s := range r.strangers {
		go s.Close()
	}
	r.strangers = nil
	r.mu.Unlock()
	r.all.Wait()
	return nil
}

func (r *Reconciler) list() []*keeper {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.keepers))
}

// count returns how many bridges there are.
func (r *Reconciler) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keepers)
}

// turn waits until few others read all flows of a bridge, which takes memory, or for a moment: they may wait for switches that do not
// answer. The function that it returns ends the turn.
func (r *Reconciler) turn(ctx context.Context) (over func()) {
	timer := time.NewTimer(turnWait)
	defer timer.Stop()
	select {
	case r.turns <- struct{}{}:
		return func() { <-r.turns }
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() {}
}

const (
	turnsMost = 16
	turnWait  = 2 * time.Second
)

// Status returns how each bridge stands, by host and name.
func (r *Reconciler) Status() []BridgeStatus {
	keepers := r.list()
	list := make([]BridgeStatus, len(keepers))
	for i, k := range keepers {
		list[i] = k.state()
	}
	slices.SortFunc(list, func(a, b BridgeStatus) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.HostUUID, b.HostUUID), strings.Compare(a.Bridge, b.Bridge))
	})
	return list
}

// Subscribe returns a channel that gets an element after each change of how some bridge stands; several may be merged into one. The
// subscriber calls cancel when it is done; the channel is never closed.
func (r *Reconciler) Subscribe() (changes <-chan struct{}, cancel func()) {
	return r.changed.Subscribe()
}

// Wait waits until of no bridge that is to have that revision, or a later one, it is still on its way, and returns how those bridges stand
// then: each has it (BridgeStatus.Has), or is offline, or failed, or others undo it. If ctx is done before, it returns how they stand
// by then.
func (r *Reconciler) Wait(ctx context.Context, revision uint64) []BridgeStatus {
	changes, cancel := r.changed.Subscribe()
	defer cancel()
	for {
		list := slices.DeleteFunc(r.Status(), func(s BridgeStatus) bool { return s.Revision < revision })
		if !slices.ContainsFunc(list, func(s BridgeStatus) bool {
			return s.State == StatePending || s.State == StateInstalled && s.Verified < revision
		}) {
			return list
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return list
		}
	}
}

// Forgot has all flows of a bridge be read again, at once: Weir changed something by which the switch forgets them. What is missing then is
// nobody else's doing.
func (r *Reconciler) Forgot(key Key) {
	if k, err := r.find(key); err == nil {
		k.mu.Lock()
		k.forgot = true
		k.mu.Unlock()
		k.wake()
	}
}

// Audit reads all flows of a bridge now, sets right what is not as it is to be, and hands over hits, as is done by itself now and then. It
// returns when that is done, or could not be.
func (r *Reconciler) Audit(ctx context.Context, key Key) error {
	k, err := r.find(key)
	if err != nil {
		return err
	}
	select {
	case err := <-k.ask():
		if err != nil {
			return fmt.Errorf("audit bridge %q: %w", key.Bridge, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("audit bridge %q: %w", key.Bridge, context.Cause(ctx))
	}
}

func (r *Reconciler) find(key Key) (*keeper, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.keepers[key]
	if k == nil {
		return nil, fmt.Errorf("find bridge %q of host %q: it is not looked after", key.Bridge, key.Host)
	}
	return k, nil
}

// Remove removes everything of ours from a bridge, as Set does with Detach, and returns when it was verified that nothing is left. It is for
// who is about to take the connection away. A Set without Detach installs again.
func (r *Reconciler) Remove(ctx context.Context, key Key) error {
	k, err := r.find(key)
	if err != nil {
		return err
	}
	changes, cancel := r.changed.Subscribe()
	defer cancel()
	k.mu.Lock()
	b := k.want
	k.mu.Unlock()
	b.Detach = true
	k.set(b)
	for {
		s := k.state()
		if s.State == StateDetached {
			return nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			why := cmp.Or(s.Error, "it is "+string(s.State))
			return fmt.Errorf("remove flows of bridge %q: %s: %w", key.Bridge, why, context.Cause(ctx))
		}
	}
}
