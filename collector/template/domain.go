package template

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/flow"
)

// Key names an observation domain of an exporter.
type Key struct {
	Exporter netip.Addr // unmapped, without zone
	Protocol uint8      // 5, 9 or 10 (IPFIX): the numbers of one protocol mean nothing in another
	Domain   uint32     // observation domain id, source id, or engine type × 256 + engine id
}

// Interface is what options data said of an interface.
type Interface struct {
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// Application is what options data said of an application id.
type Application struct {
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// Domain is what is remembered of one observation domain. All methods are safe for concurrent use.
type Domain struct {
	Key   Key
	Count Counters
	Tally flow.Tally   // of its rows, once they are sealed
	Loss  *loss.Domain // of its messages, in Store.Ledger

	store     *Store
	first     int64        // ms; when it was first heard of
	seen      atomic.Int64 // ms; when a datagram last came
	closed    atomic.Bool
	templates atomic.Pointer[[]*Template] // sorted by id; the slice is never changed, only replaced
	sampling  atomic.Pointer[Sampling]    // never nil
	others    atomic.Pointer[Sampling]    // never nil; what all domains of the exporter and protocol agree on
	told      atomic.Bool                 // others may be out of date because of this domain
	version   atomic.Uint64               // see Version
	init      atomic.Int64                // ms; systemInitTimeMilliseconds from options data; 0 = not said
	waiting   atomic.Int32                // len(held)

	mu           sync.Mutex // guards what follows, and serialises writers of templates and sampling
	memory       int64      // charged to the store
	interfaces   map[uint32]Interface
	applications map[uint64]Application
	vrfs         map[uint32]string
	held         []Held
	heldBytes    int64
}

// Heard notes a datagram at now (ms).
func (d *Domain) Heard(now int64) { d.seen.Store(now) }

// Closed reports whether the store has forgotten the domain; ask the store again.
func (d *Domain) Closed() bool { return d.closed.Load() }

// Drop counts one thing dropped.
func (d *Domain) Drop(r Reason) { d.Count.Dropped[r].Add(1) }

// Template returns the template id, or nil. It takes no lock and does not allocate.
func (d *Domain) Template(id uint16) *Template {
	list := *d.templates.Load()
	if i, ok := slices.BinarySearchFunc(list, id, compareTemplate); ok {
		return list[i]
	}
	return nil
}

// Templates returns all templates, sorted by id. The slice must not be changed.
func (d *Domain) Templates() []*Template { return *d.templates.Load() }

func compareTemplate(t *Template, id uint16) int { return cmp.Compare(t.ID, id) }

// Put makes the domain remember ts, each replacing a template of the same id, as of now (ms). It returns why some
// could not be, the first reason.
func (d *Domain) Put(ts []*Template, now int64) Reason {
	if len(ts) == 0 {
		return None
	}
	for _, t := range ts {
		t.seen.Store(now)
	}
	changed, why := d.put(ts)
	d.Count.Changes.Add(uint64(changed))
	return why
}

// put is Put of templates whose time is set. It also returns how many it took.
func (d *Domain) put(ts []*Template) (taken int, why Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := slices.Clone(*d.templates.Load())
	for _, t := range ts {
		i, ok := slices.BinarySearchFunc(next, t.ID, compareTemplate)
		if ok {
			d.release(next[i].size())
		} else if len(next) >= d.store.cfg.MaxTemplates {
			d.Drop(TooManyTemplates)
			why = cmp.Or(why, TooManyTemplates)
			continue
		}
		if !d.charge(t.size()) {
			if ok { // the old layout is no longer what the exporter sends
				next = slices.Delete(next, i, i+1)
			}
			d.Drop(OutOfMemory)
			why = cmp.Or(why, OutOfMemory)
			continue
		}
		if ok {
			next[i] = t
		} else {
			next = slices.Insert(next, i, t)
		}
		taken++
	}
	d.templates.Store(&next)
	d.changed()
	return taken, why
}

// Disown forgets t, which is Restored and is not what the exporter sends by now.
func (d *Domain) Disown(t *Template) {
	if d.remove(func(x *Template) bool { return x == t }) {
		d.Count.Stale.Add(1)
		d.store.stale.Add(1)
	}
}

// Withdraw forgets the template id (RFC 7011 §8.1).
func (d *Domain) Withdraw(id uint16) {
	d.remove(func(t *Template) bool { return t.ID == id })
}

// WithdrawAll forgets all templates, or all options templates.
func (d *Domain) WithdrawAll(options bool) {
	d.remove(func(t *Template) bool { return t.Options == options })
}

// remove forgets templates and reports whether there were any.
func (d *Domain) remove(drop func(*Template) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := *d.templates.Load()
	if !slices.ContainsFunc(list, drop) {
		return false
	}
	next := make([]*Template, 0, len(list))
	for _, t := range list {
		if drop(t) {
			d.release(t.size())
		} else {
			next = append(next, t)
		}
	}
	d.templates.Store(&next)
	d.changed()
	return true
}

// Sampling returns what is known of the domain's sampling. It takes no lock and does not allocate.
func (d *Domain) Sampling() *Sampling { return d.sampling.Load() }

// OtherDomains returns what all domains of the same exporter and protocol that say anything agree on, this one
// included, as of the last [Store.Expire]. It takes no lock and does not allocate.
func (d *Domain) OtherDomains() *Sampling { return d.others.Load() }

// SetRates notes sampling rates, which it does not keep. Those of more than 4096 samplers or interfaces, and those for
// which there is no memory, are dropped and counted as out_of_memory.
func (d *Domain) SetRates(rates []Rate) {
	known := d.sampling.Load()
	if !slices.ContainsFunc(rates, func(r Rate) bool { return !known.Says(r) }) {
		return // the usual case: nothing new
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known = d.sampling.Load()
	next, refused := known.with(rates)
	if !d.charge(next.cost() - known.cost()) {
		d.Count.Dropped[OutOfMemory].Add(uint64(len(rates)))
		return
	}
	d.sampling.Store(next)
	d.told.Store(true)
	d.changed()
	d.Count.Dropped[OutOfMemory].Add(uint64(refused))
}

// InitTime returns when the exporter was initialised (ms since the epoch) as options data said; 0 = not said.
func (d *Domain) InitTime() int64 { return d.init.Load() }

// changed gives the domain a version that no domain had before.
func (d *Domain) changed() { d.version.Store(d.store.versions.Add(1)) }

// SetInitTime notes systemInitTimeMilliseconds.
func (d *Domain) SetInitTime(ms int64) {
	if d.init.Swap(ms) != ms {
		d.changed()
	}
}

const (
	maxName  = 255 // octets kept of a name
	nameCost = 96  // what a name is taken to occupy beside its text
)

// SetInterface notes the name and description of an interface; an empty one leaves what was known.
func (d *Domain) SetInterface(index uint32, name, description []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.interfaces[index]
	next := Interface{Name: text(name, old.Name), Description: text(description, old.Description)}
	if next == old && known || next == (Interface{}) {
		return
	}
	if !d.charge(nameSize(known, next.Name, next.Description, old.Name, old.Description)) {
		d.Drop(OutOfMemory)
		return
	}
	if d.interfaces == nil {
		d.interfaces = map[uint32]Interface{}
	}
	d.interfaces[index] = next
}

// SetApplication notes the name and description of an application; an empty one leaves what was known.
func (d *Domain) SetApplication(id uint64, name, description []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.applications[id]
	next := Application{Name: text(name, old.Name), Description: text(description, old.Description)}
	if next == old && known || next == (Application{}) {
		return
	}
	if !d.charge(nameSize(known, next.Name, next.Description, old.Name, old.Description)) {
		d.Drop(OutOfMemory)
		return
	}
	if d.applications == nil {
		d.applications = map[uint64]Application{}
	}
	d.applications[id] = next
}

// SetVRF notes the name of a VRF.
func (d *Domain) SetVRF(id uint32, name []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.vrfs[id]
	next := text(name, old)
	if next == old {
		return
	}
	if !d.charge(nameSize(known, next, "", old, "")) {
		d.Drop(OutOfMemory)
		return
	}
	if d.vrfs == nil {
		d.vrfs = map[uint32]string{}
	}
	d.vrfs[id] = next
}

// Interface returns what is known of an interface.
func (d *Domain) Interface(index uint32) (Interface, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.interfaces[index]
	return v, ok
}

// Application returns what is known of an application.
func (d *Domain) Application(id uint64) (Application, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.applications[id]
	return v, ok
}

// VRF returns the name of a VRF, or "".
func (d *Domain) VRF(id uint32) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.vrfs[id]
}

// text returns b as a name: cut at the first NUL, bounded, valid UTF-8; old if it is empty or the same. It allocates
// only for a name that is new.
func text(b []byte, old string) string {
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	b = b[:min(len(b), maxName)]
	if len(b) == 0 || string(b) == old {
		return old
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

func nameSize(known bool, next1, next2, old1, old2 string) int64 {
	size := int64(len(next1) + len(next2) - len(old1) - len(old2))
	if !known {
		size += nameCost
	}
	return size
}

// charge books n bytes on the store's budget; false if they are not there. d.mu is held.
func (d *Domain) charge(n int64) bool {
	if d.closed.Load() { // everything was given back already
		return n <= 0
	}
	if used := d.store.used.Add(n); n > 0 && used > int64(d.store.cfg.MaxMemory) {
		d.store.used.Add(-n)
		return false
	}
	d.memory += n
	return true
}

// release gives n bytes back. d.mu is held.
func (d *Domain) release(n int64) { d.charge(-n) }

// expire forgets templates not sent since oldest and held data received before heldBefore (ms).
func (d *Domain) expire(oldest, heldBefore int64) {
	d.remove(func(t *Template) bool { return t.seen.Load() < oldest })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropHeld(heldBefore)
}

// close gives back everything and returns the counters and the number of sets that waited. The store calls it once, when
// it forgets the domain.
func (d *Domain) close() (Counts, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed.Store(true)
	d.store.used.Add(-d.memory)
	d.memory = 0
	return d.Count.Read(), len(d.held)
}
