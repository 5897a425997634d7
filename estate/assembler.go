package estate

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// FileSource and HostSource name the sources of an estate.
const (
	FileSource       = "file"
	HostSourcePrefix = "host:" // followed by the host's key in its settings
)

// AssemblerDeps are what an Assembler uses and does not own.
type AssemblerDeps struct {
	Log    *slog.Logger
	Estate *Holder // gets each estate that is assembled
}

// Assembler makes one estate of what several sources say. Its methods may be called from any goroutine; those that change
// something return when the estate is in the holder.
type Assembler struct {
	deps AssemblerDeps

	mu      sync.Mutex
	sources map[string]*source // guarded by mu
	model   *Model             // guarded by mu
}

// source is what one source said last.
type source struct {
	name  string
	model *Model
	told  time.Time
	stale time.Time // since when the source cannot be asked; zero if it can
}

// SourceStatus is how a source of the estate does.
type SourceStatus struct {
	Name  string    `json:"name" doc:"file, or host: and the host's key."`
	Told  time.Time `json:"told" doc:"When it said last what it has."`
	Stale time.Time `json:"stale,omitzero" doc:"Since when it cannot be asked, so that its last word stays in use; absent if it can."`
}

// NewAssembler returns an assembler without sources, of the empty estate.
func NewAssembler(d AssemblerDeps) *Assembler {
	return &Assembler{deps: d, sources: map[string]*source{}, model: &Model{Merged: true}}
}

// Set takes all that a source says at a time, in place of what it said before. The model's references are by name within
// itself, as in an estate file; it is not changed afterwards.
func (a *Assembler) Set(name string, m *Model, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sources[name] = &source{name: name, model: m, told: at}
	a.assemble(at)
}

// Lost says that a source cannot be asked since a time. What it said last stays in use.
func (a *Assembler) Lost(name string, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.sources[name]; ok && s.stale.IsZero() {
		s.stale = since
	}
}

// Remove forgets a source and what it said, at a time.
func (a *Assembler) Remove(name string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.sources[name]; ok {
		delete(a.sources, name)
		a.assemble(at)
	}
}

// Sources returns the sources in the order of their precedence.
func (a *Assembler) Sources() []SourceStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []SourceStatus
	for _, s := range a.ordered() {
		list = append(list, SourceStatus{Name: s.name, Told: s.told, Stale: s.stale})
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
	return slices.SortedFunc(maps.Values(a.sources), func(x, y *source) int { return strings.Compare(x.name, y.name) })
}

// assemble puts the estate of all sources into the holder.
func (a *Assembler) assemble(at time.Time) {
	m := &Model{Merged: true}
	for _, s := range a.ordered() {
		m.Pools = append(m.Pools, s.model.Pools...)
		m.Hosts = append(m.Hosts, s.model.Hosts...)
		m.Networks = append(m.Networks, s.model.Networks...)
		m.VMs = append(m.VMs, s.model.VMs...)
		m.AddressGroups = append(m.AddressGroups, s.model.AddressGroups...)
		m.VMGroups = append(m.VMGroups, s.model.VMGroups...)
	}
	snapshot, err := Compile(m)
	if err != nil {
		panic("BUG: compile a merged estate: " + err.Error())
	}
	a.model = m
	a.deps.Estate.Store(snapshot)
}
