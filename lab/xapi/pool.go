package xapi

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Record is a record of a class, with values as JSON has them; integers are ints.
type Record map[string]any

// Null is a reference to nothing.
const Null = "OpaqueRef:NULL"

// Config says how a pool behaves.
type Config struct {
	User, Password string
	Numbers        bool          // integers are numbers, not strings
	ReadOnly       bool          // the role of User is read-only
	Batch          time.Duration // event.from waits so long for more; 50 ms in the real one
}

// object is a record and when it changed, as counted by Pool.generation.
type object struct {
	record            Record
	created, modified uint64
}

type grave struct {
	class, ref       string
	created, deleted uint64
}

// Pool is the database that all hosts of a pool share. Its methods may be called from any goroutine.
type Pool struct {
	cfg Config

	mu         sync.Mutex // guards what follows
	generation uint64
	objects    map[string]map[string]*object // by class in lower case, and reference
	graves     []grave
	sessions   map[string]bool
	master     string // address of the coordinator
	changed    chan struct{}
	calls      map[string]int
	faults     []fault
	lies       map[string]int // added to the count of a class
	hooks      map[string]func()
	changes    int
}

// fault is what the next call of a method meets.
type fault struct {
	method string // empty: any
	code   string // failure; empty: the connection is cut
	delay  time.Duration
}

// NewPool returns a pool without records.
func NewPool(cfg Config) *Pool {
	if cfg.Batch == 0 {
		cfg.Batch = 50 * time.Millisecond
	}
	return &Pool{
		cfg: cfg, objects: map[string]map[string]*object{}, sessions: map[string]bool{}, changed: make(chan struct{}), calls: map[string]int{}, lies: map[string]int{}, hooks: map[string]func(){},
	}
}

// random returns the reference or session that nobody else has.
func random() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	x := hex.EncodeToString(b)
	return fmt.Sprintf("OpaqueRef:%s-%s-%s-%s-%s", x[:8], x[8:12], x[12:16], x[16:20], x[20:])
}

// Create adds a record and returns its reference.
func (p *Pool) Create(class string, r Record) string {
	ref := random()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation++
	class = strings.ToLower(class)
	if p.objects[class] == nil {
		p.objects[class] = map[string]*object{}
	}
	p.objects[class][ref] = &object{maps.Clone(r), p.generation, p.generation}
	p.tell()
	return ref
}

// Set changes fields of a record.
func (p *Pool) Set(class, ref string, fields Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.objects[strings.ToLower(class)][ref]
	if o == nil {
		panic(fmt.Sprintf("BUG: no %s %s", class, ref))
	}
	p.change(o, fields)
}

// change changes fields of a record; p.mu is held.
func (p *Pool) change(o *object, fields Record) {
	p.generation++
	o.record = maps.Clone(o.record) // an answer may be on its way
	maps.Copy(o.record, fields)
	o.modified = p.generation
	p.tell()
}

// Destroy removes a record.
func (p *Pool) Destroy(class, ref string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	class = strings.ToLower(class)
	o := p.objects[class][ref]
	if o == nil {
		panic(fmt.Sprintf("BUG: no %s %s", class, ref))
	}
	p.generation++
	p.graves = append(p.graves, grave{class, ref, o.created, p.generation})
	delete(p.objects[class], ref)
	p.tell()
}

// Record returns a record; nil if there is none.
func (p *Pool) Record(class, ref string) Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.objects[strings.ToLower(class)][ref]; o != nil {
		return maps.Clone(o.record)
	}
	return nil
}

// Refs returns the references of a class, in order.
func (p *Pool) Refs(class string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.objects[strings.ToLower(class)]))
}

// tell wakes who waits; p.mu is held.
func (p *Pool) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// EndSessions makes every session invalid, as when they expire.
func (p *Pool) EndSessions() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.sessions)
	p.tell()
}

// Restart is what a restart of the service does: sessions end, what was deleted is forgotten, and generations are counted from another number.
func (p *Pool) Restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.sessions)
	p.graves = nil
	p.generation = 0
	for _, class := range p.objects {
		for _, o := range class {
			p.generation++
			o.created, o.modified = p.generation, p.generation
		}
	}
	p.tell()
}

// Fail has the next call of a method, or of any if that is empty, answered by a failure; with an empty code the connection is cut.
func (p *Pool) Fail(method, code string) { p.fault(fault{method: method, code: code}) }

// Slow has the next call of a method answered late.
func (p *Pool) Slow(method string, by time.Duration) { p.fault(fault{method: method, delay: by}) }

func (p *Pool) fault(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, f)
}

// Lie has valid_ref_counts be wrong by n for a class, as if an event had been lost.
func (p *Pool) Lie(class string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lies[strings.ToLower(class)] = n
	p.tell()
}

// Calls returns how often a method was called.
func (p *Pool) Calls(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[method]
}

// Changes returns how many calls wanted to change something, allowed or not.
func (p *Pool) Changes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// Then has do called after the next call of a method that changes or finds a record and succeeds, before its answer is sent.
func (p *Pool) Then(method string, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks[method] = do
}

// Master returns the address of the coordinator.
func (p *Pool) Master() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.master
}

// SetMaster makes the host with an address the coordinator. Sessions are of one coordinator.
func (p *Pool) SetMaster(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.master != address {
		p.master = address
		clear(p.sessions)
	}
	p.tell()
}
