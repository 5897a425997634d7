package estate

import (
	"cmp"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/flow"
)

// Names of the sources of an estate, or what they begin with.
const (
	FileSource          = "file"
	PolicySource        = "policy"   // groups that the policy in force has
	HostSourcePrefix    = "host:"    // followed by the host's key in its settings
	XAPISourcePrefix    = "xapi:"    // followed by the pool's name in the configuration
	LibvirtSourcePrefix = "libvirt:" // followed by the host's name in the configuration
)

// AssemblerDeps are what an Assembler uses and does not own.
type AssemblerDeps struct {
	Log    *slog.Logger // nil: none
	Estate *Holder      // gets each estate that is assembled
}

// Assembler makes one estate of what several sources say. Its methods may be called from any goroutine; those that change
// something return when the estate is in the holder.
//
// Nothing that a source says stops the others: what makes no sense is left out, with a warning in the snapshot.
type Assembler struct {
	deps AssemblerDeps

	mu      sync.Mutex // guards all below
	ids     *identities
	sources map[string]*source
	frame   *frame
	merger  *merger
	model   *Model
	past    []Past // the earliest first
	learned LearnedAt
	memo    memo
}

// How much is known of how VMs were, for flows that come in late.
const (
	pastWindow = 15 * time.Minute
	maxPast    = 4096 // VMs; beyond it the earliest are forgotten
)

// Change is a new word of a source.
type Change struct {
	Source string
	Model  *Model // all that it says now; its references are by name within itself, as in an estate file; or, Merged and of groups only, by key
	Lost   bool   // it cannot be asked any more: what it said last stays in use, and Model does not count
	Remove bool   // it is no source any more
}

// SourceStatus is how a source of the estate does.
type SourceStatus struct {
	Name  string       `json:"name" doc:"file; host: and the host's key; xapi: or libvirt: and the name in the configuration."`
	Title string       `json:"title" doc:"For people: host: and the host's name, else as name."`
	Told  time.Time    `json:"told,omitzero" doc:"When it said last what it has; absent if it never did."`
	Stale time.Time    `json:"stale,omitzero" doc:"Since when it cannot be asked, so that its last word stays in use; absent if it can."`
	VMs   int          `json:"vms" doc:"VMs that it tells of."`
	Hosts []SourceHost `json:"hosts,omitempty" doc:"Of xapi and libvirt: the hosts that it tells of, and those that others say are in a pool of it."`
}

// SourceHost is a host that a source tells of, or does not although it is in a pool of it.
type SourceHost struct {
	Name     string `json:"name"`
	UUID     string `json:"uuid,omitempty"`
	Pool     string `json:"pool,omitempty" doc:"Name of its pool."`
	Told     bool   `json:"told" doc:"The source tells of it."`
	Database string `json:"database,omitempty" doc:"The source that is its Open vSwitch database, as host:xcp-01; absent if the host was not added to Weir."`
}

// NewAssembler returns an assembler without sources, of the empty estate.
func NewAssembler(d AssemblerDeps) *Assembler {
	a := &Assembler{deps: d, ids: newIdentities(), sources: map[string]*source{}, model: &Model{Merged: true}}
	a.frame = mergeFrame(nil, a.ids)
	a.merger = newMerger(a.ids, a.frame)
	return a
}

// Recall takes the keys under which flows were stored before, the oldest first, so that entities keep them, and gives all
// that the sources said so far its keys anew. It is called before anything is stored.
func (a *Assembler) Recall(list []Identity, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = newIdentities()
	for _, i := range list {
		a.ids.recall(i)
	}
	learned := a.merger.learned
	a.merger = newMerger(a.ids, a.frame)
	a.merger.learned = learned
	old := map[string]*source{}
	for name, s := range a.sources {
		fresh := newSource(name, s.model, s.told)
		fresh.stale = s.stale
		a.sources[name], old[name] = fresh, nil
	}
	a.assemble(old, at)
}

// Identities returns the keys of all entities that there were since the start, or that were recalled, the oldest first.
func (a *Assembler) Identities() []Identity {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids.list()
}

// Set takes all that a source says at a time, in place of what it said before. The model is not changed afterwards.
func (a *Assembler) Set(source string, m *Model, at time.Time) {
	a.Apply(at, Change{Source: source, Model: m})
}

// Lost says that a source cannot be asked since a time.
func (a *Assembler) Lost(source string, since time.Time) {
	a.Apply(since, Change{Source: source, Lost: true})
}

// Remove forgets a source and what it said.
func (a *Assembler) Remove(source string, at time.Time) {
	a.Apply(at, Change{Source: source, Remove: true})
}

// Apply makes several changes at a time in one step.
func (a *Assembler) Apply(at time.Time, changes ...Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := map[string]*source{} // before the changes; nil: there was none
	touched := false
	for _, c := range changes {
		before, ok := a.sources[c.Source]
		switch {
		case c.Remove && !ok, c.Lost && (!ok || !before.stale.IsZero()):
			continue
		case c.Remove:
			delete(a.sources, c.Source)
		case c.Lost:
			before.stale = at
			a.merger.recheck(before)
			touched = true
			continue
		default:
			a.sources[c.Source] = newSource(c.Source, c.Model, at)
		}
		if _, ok := old[c.Source]; !ok {
			old[c.Source] = before
		}
		touched = true
	}
	if touched {
		a.assemble(old, at)
	}
}

// SetRules makes these the rule instances of the estate, in place of those that it had, and returns when the holder has them. What
// makes no sense is left out, with a warning in the snapshot. It costs what the instances do, whatever the estate's size, and
// nothing where they are the same as before. The list is not changed afterwards.
func (a *Assembler) SetRules(list []RuleInstance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(list, a.model.Rules) {
		return
	}
	m := *a.model
	m.Rules = list
	a.model = &m
	a.deps.Estate.Store(a.deps.Estate.Load().WithRules(list))
}

// Sources returns the sources, the most believed first.
func (a *Assembler) Sources() []SourceStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []SourceStatus
	for _, s := range a.ordered() {
		st := SourceStatus{Name: s.name, Title: s.title(), Told: s.told, Stale: s.stale, VMs: len(s.nodes)}
		if kind := kindOf(s.name) + ":"; kind == XAPISourcePrefix || kind == LibvirtSourcePrefix {
			st.Hosts = a.frame.hostsOf(s)
		}
		list = append(list, st)
	}
	return list
}

// Model returns the estate that is in the holder as one model, with the key of every entity: Compile makes the same
// look-ups of it anywhere. It is not to be modified.
func (a *Assembler) Model() *Model {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.model
}

func (a *Assembler) ordered() []*source {
	return slices.SortedFunc(maps.Values(a.sources), func(x, y *source) int {
		return cmp.Or(cmp.Compare(x.rank, y.rank), strings.Compare(x.name, y.name))
	})
}

// assemble puts the estate of all sources into the holder. old has those that changed as they were before.
func (a *Assembler) assemble(old map[string]*source, at time.Time) {
	sources := a.ordered()
	for _, s := range sources {
		if _, ok := old[s.name]; !ok {
			before := *s
			old[s.name] = &before // its places may change
		}
	}
	previous := a.frame
	a.frame = mergeFrame(sources, a.ids)
	a.merger.frame = a.frame
	for name, before := range old {
		a.merger.replace(before, a.sources[name])
	}
	for _, s := range sources {
		if s.seesHosts && !maps.Equal(previous.byVLAN, a.frame.byVLAN) || !s.seesHosts && !maps.Equal(previous.seen, a.frame.seen) {
			a.merger.recheck(s)
		}
	}
	a.remember(a.merger.settle(), at)

	before := a.model
	a.model = a.assembled(sources)
	// What is not used any more stays in the lists of groups: now and then they are made anew.
	const waste = 1 << 20
	a.memo.valid = len(a.memo.lists) < waste && sameAround(before, a.model)
	a.memo.parts = make([]*part, len(a.merger.order))
	for i, c := range a.merger.order {
		a.memo.parts[i] = c.part
	}
	snapshot, err := compile(a.model, flow.NewID, &a.memo)
	if err != nil {
		panic("BUG: compile a merged estate: " + err.Error())
	}
	for i, c := range a.merger.order {
		c.part = a.memo.parts[i]
	}
	snapshot.warnings = append(slices.Clone(a.frame.problems), snapshot.warnings...)
	snapshot.since = at
	a.deps.Estate.Store(snapshot)
}

// remember keeps how VMs were that are different from now on.
func (a *Assembler) remember(changed []Past, at time.Time) {
	for _, p := range changed {
		p.Until = at
		a.past = append(a.past, p)
	}
	drop := max(0, len(a.past)-maxPast)
	for drop < len(a.past) && at.Sub(a.past[drop].Until) > pastWindow {
		drop++
	}
	a.past = slices.Delete(a.past, 0, drop)
}

// sameAround reports whether all that VMs refer to is the same.
func sameAround(a, b *Model) bool {
	return reflect.DeepEqual(a.Pools, b.Pools) && reflect.DeepEqual(a.Hosts, b.Hosts) && reflect.DeepEqual(a.Networks, b.Networks) &&
		reflect.DeepEqual(a.AddressGroups, b.AddressGroups) && reflect.DeepEqual(a.VMGroups, b.VMGroups)
}

// replace puts the nodes of a source in place of those that it had before; either may be nil. What says the same stays.
func (m *merger) replace(before, after *source) {
	var had map[string]*node
	if before != nil {
		if after != nil && before.model == after.model && before.samePlaces(after) {
			return
		}
		if after != nil && len(after.nodes) > 0 && len(before.nodes) > 0 && after.nodes[0] == before.nodes[0] { // the places changed
			after.nodes = slices.Clone(after.nodes)
			copies := make([]node, len(after.nodes))
			for i, n := range after.nodes {
				copies[i] = *n
				copies[i].cluster = nil
				after.nodes[i] = &copies[i]
				n.src = before
			}
		}
		had = make(map[string]*node, len(before.nodes))
		for _, n := range before.nodes {
			had[n.id] = n
		}
	}
	var added []int
	if after != nil {
		for i, n := range after.nodes {
			if o := had[n.id]; o != nil && o.same(n) {
				delete(had, n.id)
				n.cluster = o.cluster
				*o = *n
				after.nodes[i] = o
				continue
			}
			added = append(added, i)
		}
	}
	if before != nil {
		for _, n := range before.nodes {
			if had[n.id] == n {
				m.remove(n)
			}
		}
	}
	for _, i := range added {
		m.add(after.nodes[i])
	}
}

// samePlaces reports whether the pools, hosts and networks of a source are the same in the merged estate.
func (s *source) samePlaces(o *source) bool {
	return slices.Equal(s.pools, o.pools) && slices.Equal(s.hosts, o.hosts) && slices.Equal(s.networks, o.networks)
}

// same reports whether two nodes say the same of one VM.
func (n *node) same(o *node) bool {
	if n.poolKey() != o.poolKey() || keyAt(n.src.hosts, n.host) != keyAt(o.src.hosts, o.host) || n.key != o.key || !sameVM(n.vm, o.vm) {
		return false
	}
	for i := range n.vifs {
		v, w := &n.vifs[i], &o.vifs[i]
		if v.key != w.key || keyAt(n.src.networks, v.network) != keyAt(o.src.networks, w.network) {
			return false
		}
		for k := range v.ports {
			if keyAt(n.src.hosts, v.ports[k]) != keyAt(o.src.hosts, w.ports[k]) {
				return false
			}
		}
	}
	return n.src.stale.Equal(o.src.stale)
}

// recheck merges the VMs of a source anew, whose surroundings changed.
func (m *merger) recheck(s *source) {
	for _, n := range s.nodes {
		m.changed[n] = struct{}{}
	}
}

// assembled returns the merged model.
func (a *Assembler) assembled(sources []*source) *Model {
	m := &Model{Merged: true, Pools: a.frame.pools, Hosts: a.frame.hosts, Networks: a.frame.networks, Past: slices.Clone(a.past), Rules: a.model.Rules}
	n := 0
	for _, s := range sources {
		n += len(s.nodes)
	}
	m.VMs, a.merger.order = make([]VM, 0, n), make([]*cluster, 0, n)
	for _, s := range sources {
		for _, n := range s.nodes {
			if n.cluster.members[0] == n {
				m.VMs = append(m.VMs, n.cluster.vm)
				a.merger.order = append(a.merger.order, n.cluster)
			}
		}
	}
	for _, s := range sources {
		for _, g := range s.model.AddressGroups {
			if !slices.ContainsFunc(m.AddressGroups, func(o AddressGroup) bool { return o.Name == g.Name }) {
				m.AddressGroups = append(m.AddressGroups, g)
			}
		}
		for i, g := range s.model.VMGroups {
			if !slices.ContainsFunc(m.VMGroups, func(o VMGroup) bool { return o.Name == g.Name }) {
				if !s.model.Merged { // else they name keys of the merged estate already
					g = a.merger.group(s, i, g)
				}
				m.VMGroups = append(m.VMGroups, g)
			}
		}
	}
	return m
}

// group returns VM group i of s with references to merged entities.
func (m *merger) group(s *source, i int, g VMGroup) VMGroup {
	refs := &s.groups[i]
	g.VMs, g.Select = nil, slices.Clone(g.Select)
	for _, ref := range refs.members {
		if ref.vm >= 0 {
			g.VMs = append(g.VMs, s.nodes[ref.vm].cluster.vm.Key)
		} else if found := m.holders[token{kind: tokenVM, text: ref.uuid}]; len(found) > 0 {
			g.VMs = append(g.VMs, found[0].cluster.vm.Key)
		}
	}
	for j, sel := range refs.selectors {
		g.Select[j].Pool, g.Select[j].Network = keyAt(s.pools, sel.pool), keyAt(s.networks, sel.network)
	}
	return g
}
