package learned

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/atomicfile"
)

const (
	settleEvery = time.Second      // at most so often, when something was learned
	ageEvery    = 30 * time.Second // when nothing was
	keepEvery   = 10 * time.Second

	exchange = time.Minute // in which a DHCP server answers a client

	// So many events about one VIF are told in a time; more are counted.
	toldMost   = 8
	toldWithin = 10 * time.Minute

	// form is raised when what is kept gets another meaning.
	form = 1
)

// Estate is what a Learner asks and tells; *estate.Assembler.
type Estate interface {
	Model() *estate.Model
	SetLearned(list estate.LearnedAt, at time.Time)
}

// Deps are what a Learner uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Estate  Estate
	Events  event.Sink
	File    string           // in which what was learned is kept for the next run; "": it is not
	Now     func() time.Time // nil: time.Now
}

// Learner learns addresses and brings them into the estate. Its methods may be called from any goroutine.
type Learner struct {
	deps    Deps
	metrics *metrics

	mu    sync.Mutex // guards what follows
	table Table
	world world
	asked map[string][2]ask // by key of the VIF: of IPv4 and IPv6, what a DHCP client asked last
	dirty bool
	aged  time.Time // of the last Settle
	kept  time.Time // when the file was written last
	told  map[string]budget
}

// ask is a client's question.
type ask struct {
	xid uint32
	at  time.Time
}

// budget is how many events about a VIF were told since a time.
type budget struct {
	since time.Time
	n     int
}

// Port is a port of a bridge.
type Port struct {
	Host   string // UUID, or key
	Bridge string
	OFPort uint32
}

// station is a VIF behind ports.
type station struct {
	key string
	mac estate.MAC
}

// world is what of a model is needed to know who sends.
type world struct {
	model  *estate.Model
	hosts  map[string]string // keys, by what hosts go by
	ports  map[Port]station  // by key of the host
	macs   map[macAt]string  // key of the VIF; "": there are several
	places map[string]Place
	names  map[string]named
}

type macAt struct {
	host, bridge string
	mac          estate.MAC
}

// named is how a VIF is told of.
type named struct {
	name          string
	vm, pool, net flow.ID
}

// New returns a Learner that knows what the last one knew when it ended, and has told the estate of it.
func New(d Deps) (*Learner, error) {
	if d.Log == nil || d.Estate == nil || d.Events == nil {
		return nil, errors.New("make learner of addresses: a dependency is missing: want Log, Estate and Events")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	l := &Learner{deps: d, asked: map[string][2]ask{}, told: map[string]budget{}}
	l.deps.Log = d.Log.With("part", "learned")
	l.metrics = newMetrics(d.Metrics)
	if list := l.recall(); len(list) > 0 {
		now := d.Now()
		d.Estate.SetLearned(l.table.Recall(list, now), now)
		l.dirty = true
	}
	return l, nil
}

// Frame takes a frame that came in by a port, of which the end may be missing.
func (l *Learner) Frame(at Port, frame []byte) {
	p := Decode(frame)
	now := l.deps.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look()
	l.metrics.packets[l.packet(at, &p, now)].Inc()
}

// packet takes what a frame says; l.mu is held.
func (l *Learner) packet(at Port, p *Packet, now time.Time) result {
	if p.Kind == Nothing {
		return resultNothing
	}
	at.Host = l.world.hosts[strings.ToLower(at.Host)]
	if p.Kind == Grant {
		return l.grant(at, p, now)
	}
	from, ok := l.world.ports[at]
	switch {
	case !ok:
		return resultUnknown
	case from.mac != 0 && from.mac != p.MAC: // behind the VIF, as a container: the address is not the VIF's
		return resultBehind
	}
	switch p.Kind {
	case Ask:
		both := l.asked[from.key]
		both[p.family()] = ask{p.XID, now}
		l.asked[from.key] = both
	case Claim:
		for _, a := range p.Addrs[:p.Number] {
			l.see(from.key, a.Addr, p.From, 0, now)
		}
	case Release:
		for _, a := range p.Addrs[:p.Number] {
			l.dirty = l.table.Leave(from.key, a.Addr) || l.dirty
		}
	case Nothing, Grant:
	}
	return resultUsed
}

// grant takes a server's answer, if its client asked by a port of the bridge; l.mu is held.
func (l *Learner) grant(at Port, p *Packet, now time.Time) result {
	key := l.world.macs[macAt{at.Host, at.Bridge, p.MAC}]
	q := l.asked[key][p.family()]
	if key == "" || q.at.IsZero() || q.xid != p.XID || now.Sub(q.at) > exchange {
		return resultUnasked
	}
	for _, a := range p.Addrs[:p.Number] {
		l.see(key, a.Addr, DHCP, a.Lease, now)
	}
	return resultUsed
}

// family tells DHCP (0) from DHCPv6 (1).
func (p *Packet) family() int {
	if p.v6 {
		return 1
	}
	return 0
}

// see takes one word of an address; l.mu is held.
func (l *Learner) see(key string, addr netip.Addr, from Source, lease time.Duration, now time.Time) {
	l.dirty = l.table.See(key, addr, from, lease, now) || l.dirty
}

// Sent is an address from which a VIF sent.
type Sent struct {
	VIF  flow.ID
	Addr netip.Addr
	MAC  estate.MAC // with which; 0: not known
}

// Flows takes addresses from which VIFs sent, as their own ports saw.
func (l *Learner) Flows(list []Sent) {
	now := l.deps.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look()
	byID := make(map[flow.ID]station, len(l.world.ports))
	for _, of := range l.world.ports {
		byID[flow.NewID(flow.KindVIF, of.key)] = of
	}
	for _, s := range list {
		if of, ok := byID[s.VIF]; ok && (s.MAC == 0 || of.mac == 0 || s.MAC == of.mac) {
			l.see(of.key, s.Addr.Unmap(), Flow, 0, now)
		}
	}
}

// look reads the estate if it is another one; l.mu is held.
func (l *Learner) look() {
	m := l.deps.Estate.Model()
	if l.world.model != nil && (m == l.world.model || m.SameButRules(l.world.model)) {
		l.world.model = m
		return
	}
	l.world = newWorld(m)
	l.dirty = true
	for key := range l.asked {
		if _, ok := l.world.places[key]; !ok {
			delete(l.asked, key)
		}
	}
}

func newWorld(m *estate.Model) world {
	w := world{model: m, hosts: map[string]string{}, ports: map[Port]station{}, macs: map[macAt]string{}, places: map[string]Place{}, names: map[string]named{}}
	subnets, pools := map[string][]netip.Prefix{}, map[string]flow.ID{}
	for i := range m.Networks {
		subnets[m.Networks[i].Key] = m.Networks[i].Subnets
	}
	for i := range m.Pools {
		pools[m.Pools[i].Key] = flow.NewID(flow.KindPool, m.Pools[i].Key)
	}
	for i := range m.Hosts {
		h := &m.Hosts[i]
		for _, name := range append([]string{h.UUID, h.Key}, h.SameAs...) {
			w.hosts[strings.ToLower(name)] = h.Key
		}
	}
	for i := range m.VMs {
		vm := &m.VMs[i]
		for j := range vm.VIFs {
			v := &vm.VIFs[j]
			place := Place{Network: v.Network, Subnets: subnets[v.Network]}
			for _, a := range v.Told() {
				place.Told = append(place.Told, a.Unmap())
			}
			if v.Network == "" && len(v.Ports) > 0 { // then who is on its bridge, in its VLAN, is where it is
				p := &v.Ports[0]
				place.Network = fmt.Sprintf("%s/%s VLAN %d", p.Host, p.Bridge, p.VLAN)
			}
			w.places[v.Key] = place
			n := named{name: vm.Name + "/" + v.Device, vm: flow.NewID(flow.KindVM, vm.Key), pool: pools[vm.Pool]}
			if v.Network != "" {
				n.net = flow.NewID(flow.KindNetwork, v.Network)
			}
			w.names[v.Key] = n
			for k := range v.Ports {
				p := &v.Ports[k]
				if p.OFPort == 0 {
					continue
				}
				w.ports[Port{p.Host, p.Bridge, p.OFPort}] = station{v.Key, v.MAC}
				at := macAt{p.Host, p.Bridge, v.MAC}
				if other, ok := w.macs[at]; ok && other != v.Key {
					w.macs[at] = ""
				} else if v.MAC != 0 {
					w.macs[at] = v.Key
				}
			}
		}
	}
	return w
}

// Run brings what is learned into the estate until ctx is done, and then keeps it.
func (l *Learner) Run(ctx context.Context) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.Settle()
		case <-ctx.Done():
			l.keep()
			return nil
		}
	}
}

// Settle brings what was learned into the estate, and tells what was found; Run does so.
func (l *Learner) Settle() {
	now := l.deps.Now()
	l.mu.Lock()
	l.look()
	due := l.dirty || now.Sub(l.aged) >= ageEvery
	if !due {
		l.mu.Unlock()
		return
	}
	l.dirty, l.aged = false, now
	list, findings := l.table.Settle(now, l.world.places)
	for key, b := range l.told {
		if now.Sub(b.since) >= toldWithin {
			delete(l.told, key)
		}
	}
	var events []event.Event
	for _, f := range findings {
		if l.tells(f.VIF, now) {
			events = append(events, l.event(f))
		} else {
			l.metrics.untold.Inc()
		}
	}
	keep := now.Sub(l.kept) >= keepEvery
	l.mu.Unlock()

	l.metrics.count(list)
	l.deps.Estate.SetLearned(list, now)
	for _, e := range events {
		l.deps.Events.Emit(e)
	}
	if keep {
		l.keep()
	}
}

// tells says whether one more event about a VIF is told; l.mu is held.
func (l *Learner) tells(key string, now time.Time) bool {
	b := l.told[key]
	if b.n == 0 || now.Sub(b.since) >= toldWithin {
		b = budget{}
		b.since = now
	}
	b.n++
	l.told[key] = b
	return b.n <= toldMost
}

// event tells a finding; l.mu is held.
func (l *Learner) event(f Finding) event.Event {
	n := l.world.names[f.VIF]
	e := event.Event{
		VIF: flow.NewID(flow.KindVIF, f.VIF), VM: n.vm, Pool: n.pool, Network: n.net, Subject: n.name,
		Attributes: map[string]string{"address": f.Addr.String(), "vif": n.name},
	}
	switch f.What {
	case Taken:
		other := l.world.names[f.Other].name
		e.Kind, e.Attributes["other"] = event.AddressConflict, other
		e.Text = fmt.Sprintf("%s says that it has %s, which is an address of %s and stays so", n.name, f.Addr, other)
	case Differs:
		told := joined(l.world.places[f.VIF].Told)
		e.Kind, e.Attributes["told"] = event.AddressDiffers, told
		e.Text = fmt.Sprintf("%s has %s, and is told to have %s", n.name, f.Addr, told)
	case TooMany:
		e.Kind = event.AddressFlood
		e.Text = fmt.Sprintf("%s says that it has more than %d addresses; %s and further ones are not remembered", n.name, maxAddrs, f.Addr)
	}
	return e
}

func joined(list []netip.Addr) string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.String()
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// file is the form of what is kept.
type file struct {
	Form  int    `json:"form"`
	Known []Kept `json:"known"`
}

// recall reads what was kept. What is damaged or missing is as if nothing had been learned.
func (l *Learner) recall() []Kept {
	if l.deps.File == "" {
		return nil
	}
	b, err := os.ReadFile(l.deps.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f file
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err == nil && f.Form != form {
		err = fmt.Errorf("found form %d, want %d", f.Form, form)
	}
	if err != nil {
		l.deps.Log.Warn("addresses that were learned before cannot be used", "file", l.deps.File, "err", err)
		return nil
	}
	return f.Known
}

// keep writes what is learned.
func (l *Learner) keep() {
	if l.deps.File == "" {
		return
	}
	l.mu.Lock()
	l.kept = l.deps.Now()
	f := file{form, l.table.Keep()}
	l.mu.Unlock()
	b, err := json.Marshal(f)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.deps.File), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(l.deps.File, b)
	}
	if err != nil {
		l.deps.Log.Warn("learned addresses are not kept for a restart", "file", l.deps.File, "err", err)
	}
}
