package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/mirror"
	"github.com/weirhq/weir/policyd/shape"
)

// ErrNotSeen says that nothing is known yet of what is at a host.
var ErrNotSeen = errors.New("it was not seen yet: see weir hosts test")

// Session is what is used of the session with a host (*ovsdb.Session).
type Session interface {
	Rows() *ovsdb.Rows // nil while its content was never known
	Schema() *ovsdb.Schema
	Status() ovsdb.Status
	Subscribe() (changes <-chan struct{}, cancel func())
	Transact(ctx context.Context, ops ...ovsdb.Operation) ([]ovsdb.Result, error)
}

// Host is a host whose export is looked after.
type Host struct {
	Identity
	Session  Session // nil (not a nil *ovsdb.Session): there is none at present
	Settings Settings
	Hold     bool // nothing is changed for now: it is not known yet what is wanted of its bridges, as for a moment after a start
	Detach   bool // everything of Weir's is removed, and what was before put back: flows of OpenFlow were removed before

	Enforced   map[string]Enforced // bridges that enforce policy, by name; VLANs that have a name (fake bridges) are none
	Controller attach.Settings     // how they dial Weir
}

// Enforced is a bridge that enforces policy: it dials Weir.
type Enforced struct {
	Sampling compile.Sampling // of packets by its flows
	Flows    Flows
	Limits   map[string]shape.Limits // of its ports, by interface: those of which rates are asked
	FailMode attach.FailMode         // what it is to do while Weir is away; Leaving is said by Flows
	Mirrors  mirror.Order            // copies of traffic
}

// Flows is what is known of the flows of a bridge that enforces policy.
type Flows uint8

// The values of Flows. Enforcing begins and ends with FlowsLeaving, so that there is one source of totals at any moment: the export of the
// bridge itself, or what its flows sample.
const (
	FlowsUnknown   Flows = iota // as after a start of Weir: what exports their samples stays, or is not set up yet
	FlowsInstalled              // they are there: what they sample is exported
	FlowsLeaving                // they are removed, or are not there: the bridge itself exports
)

// CollectorSet is the id of the rows of table Flow_Sample_Collector_Set that Weir makes: what flows name in the action sample. It is
// "weir" in ASCII.
const CollectorSet uint32 = 0x77656972

// RuleDomains returns the observation domains in which the flows of the bridges of a host are to sample, by the bridge's name. They are others
// than those in which bridges export by themselves, since each exporter numbers its messages; and above 65535, where no NetFlow 5 is.
// They stay the same as long as something of Weir's is exported there, and after that as long as nothing else has the number.
func RuleDomains(h *Identity, r *ovsdb.Rows) map[string]uint32 {
	list := map[string]uint32{}
	for id, n := range domains(h, r) {
		list[r.Bridges[id].Name] = ruleDomain(n)
	}
	return list
}

func ruleDomain(number uint16) uint32 { return 1<<16 | uint32(number) }

// TwinDomain returns the other of the two observation domains that a bridge has: in which it exports by itself, and in which its flows sample.
// 0: it is none of Weir's making.
func TwinDomain(domain uint32) uint32 {
	if number := uint16(domain); number != 0 && domain>>16 <= 1 {
		return domain ^ 1<<16
	}
	return 0
}

// HostStatus is how the export of a host stands.
type HostStatus struct {
	UUID     string    `json:"uuid"`
	Name     string    `json:"name"`
	Bridges  []Bridge  `json:"bridges"` // by name; empty while the host was not seen, and when it is detached
	Detached bool      `json:"detached,omitempty"`
	Error    string    `json:"error,omitempty"` // why it is not as it is to be
	Checked  time.Time `json:"checked,omitzero"`
}

// Config is for all hosts.
type Config struct {
	Instance string // of Weir: what its rows at hosts are marked with

	// CollectorPort is at which hosts reach Weir whose settings have no Collector; the address is the one from which Weir reaches the
	// host. 0: such hosts export nothing.
	CollectorPort uint16

	// ActiveTimeout is that of settings that have none, at least a second; 0: a minute.
	ActiveTimeout time.Duration
}

// Deps are what Exports use and do not own.
type Deps struct {
	Log      *slog.Logger
	Events   event.Sink
	Metrics  prometheus.Registerer // nil: none
	Now      func() time.Time      // nil: time.Now
	Detached func(uuid string)     // called once it was verified that nothing of Weir's is at a host with Detach; nil: nobody

	// Forgot is called when the switch of a host is about to forget the flows of a bridge, since its fail mode is changed, and again when it has
	// done it; nil: nobody.
	Forgot func(uuid, bridge string)
}

// Exports look after the export of flows of all hosts. Methods may be called from any goroutine.
type Exports struct {
	cfg     Config
	deps    Deps
	metrics *metrics

	mu      sync.Mutex
	hosts   map[string]*keeper // by UUID; guarded by mu
	running context.Context    // of Run; nil before and after; guarded by mu
	all     sync.WaitGroup     // of the keepers
}

// New returns Exports of no host.
func New(cfg Config, d Deps) (*Exports, error) {
	if cfg.Instance == "" || strings.ContainsFunc(cfg.Instance, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("make exports: instance: found %q, want printable characters without spaces", cfg.Instance)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if cfg.ActiveTimeout == 0 {
		cfg.ActiveTimeout = time.Minute
	}
	e := &Exports{cfg: cfg, deps: d, hosts: map[string]*keeper{}}
	e.deps.Log = d.Log.With("part", "export")
	e.metrics = newMetrics(d.Metrics, e)
	return e, nil
}

// Set says which hosts there are, and what is wanted of each. A host that is missing is no longer looked after: what
// Weir set up at it stays, unless it was detached before. Idempotent.
func (e *Exports) Set(hosts []Host) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gone := maps.Clone(e.hosts)
	for _, h := range hosts {
		if k := e.hosts[h.UUID]; k != nil {
			delete(gone, h.UUID)
			k.want(h)
			continue
		}
		k := newKeeper(e, h)
		e.hosts[h.UUID] = k
		if e.running != nil {
			e.start(e.running, k)
		}
	}
	for uuid, k := range gone {
		delete(e.hosts, uuid)
		k.end()
	}
}

// start runs k until ctx is done. e.mu is held.
func (e *Exports) start(ctx context.Context, k *keeper) {
	e.all.Go(func() { k.run(ctx) })
}

// Run looks after the hosts until ctx is done. What is set up at them stays.
func (e *Exports) Run(ctx context.Context) error {
	e.mu.Lock()
	e.running = ctx
	for _, k := range e.hosts {
		e.start(ctx, k)
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.running = nil
	e.mu.Unlock()
	e.all.Wait()
	return nil
}

func (e *Exports) keeper(uuid string) (*keeper, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := e.hosts[uuid]
	if k == nil {
		return nil, fmt.Errorf("find host %q: no export of it is looked after", uuid)
	}
	return k, nil
}

// Status returns how the export of each host stands, by name.
func (e *Exports) Status() []HostStatus {
	e.mu.Lock()
	keepers := slices.Collect(maps.Values(e.hosts))
	e.mu.Unlock()
	list := make([]HostStatus, len(keepers))
	for i, k := range keepers {
		list[i] = k.status()
	}
	slices.SortFunc(list, func(a, b HostStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Plan returns what would be changed at a host now if it had those settings, or, with settings nil, if it were detached. It changes
// nothing.
func (e *Exports) Plan(ctx context.Context, uuid string, settings *Settings) (Plan, error) {
	if settings == nil {
		return e.plan(ctx, uuid, nil)
	}
	return e.plan(ctx, uuid, func(h *Host) { h.Settings = *settings })
}

// PlanEnforced is Plan for other bridges that enforce policy, and dial Weir so. With Wipe it says what is changed and wiped once that is
// confirmed.
func (e *Exports) PlanEnforced(ctx context.Context, uuid string, enforced map[string]Enforced, c attach.Settings) (Plan, error) {
	return e.plan(ctx, uuid, func(h *Host) { h.Enforced, h.Controller, h.Detach = enforced, c, false })
}

func (e *Exports) plan(ctx context.Context, uuid string, change func(*Host)) (Plan, error) {
	k, err := e.keeper(uuid)
	if err != nil {
		return Plan{}, err
	}
	p, err := k.plan(ctx, change)
	if err != nil {
		return Plan{}, fmt.Errorf("plan what is set up at host %q: %w", k.status().Name, err)
	}
	return p, nil
}

// Resend has the templates of IPFIX sent again by the bridges of a host that export in one of the observation domains. Domain 0 is of
// Open vSwitch's own statistics, whose templates come with those of any bridge: it is passed over. It is for a collector to which data came before its template: Open vSwitch sends templates once,
// and then every ten minutes. What a bridge passes for up to half a second meanwhile is not exported, so it is done once
// in some minutes only, however often it is asked for.
func (e *Exports) Resend(uuid string, domains ...uint32) error {
	k, err := e.keeper(uuid)
	if err != nil {
		return err
	}
	k.resend(domains)
	return nil
}

// reach returns the address by which a host that has the given one most likely reaches this machine: the one from which
// datagrams to it would be sent. Nothing is sent. The zero Addr as peer is this machine itself.
func reach(peer netip.Addr) (netip.Addr, error) {
	if !peer.IsValid() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer.Unmap(), 9))) // any port
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the address by which %s reaches Weir: %w", peer, err)
	}
	defer conn.Close()
	local, is := conn.LocalAddr().(*net.UDPAddr)
	if !is {
		panic("BUG: UDP without UDP address")
	}
	return local.AddrPort().Addr().Unmap().WithZone(""), nil
}
