package hosts

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
)

// WitnessDeps are what a Witness uses and does not own.
type WitnessDeps struct {
	Assembler *estate.Assembler
	Estate    *estate.Holder // of the assembler
	Events    event.Sink
	Memory    *Memory // of what was seen at hosts; nil: none
}

// Witness brings what is seen at hosts into the estate, and tells what happened there. Its methods may be called from any
// goroutine; hosts are named by Settings.Key.
type Witness struct {
	deps WitnessDeps

	mu    sync.Mutex
	track *Tracker // guarded by mu
}

// NewWitness returns a witness that has seen nothing yet.
func NewWitness(d WitnessDeps) (*Witness, error) {
	if d.Assembler == nil || d.Estate == nil || d.Events == nil {
		return nil, errors.New("make witness of hosts: a dependency is missing: want Assembler, Estate and Events")
	}
	return &Witness{deps: d, track: NewTracker()}, nil
}

// Recall tells which VIFs were plugged when that was recorded last, by the names of hosts; see Tracker.Recall. It is called
// before the first Observe.
func (w *Witness) Recall(vifs map[string][]estate.Entity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.track.Recall(vifs)
}

// Observe takes in what is at hosts now. The estate is put together once, however many they are.
func (w *Witness) Observe(now time.Time, inventories ...*Inventory) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := make([]estate.Change, len(inventories))
	for i, inv := range inventories {
		host := inv.Settings.Key
		w.track.See(inv, now)
		changes[i] = estate.Change{Source: estate.HostSourcePrefix + host, Model: inv.Model(w.track.Since(host))}
		if w.deps.Memory != nil {
			w.deps.Memory.Keep(host, changes[i].Model, now)
		}
	}
	w.deps.Assembler.Apply(now, changes...)
	s := w.deps.Estate.Load()
	for _, inv := range inventories {
		w.emit(w.track.Observe(s, inv, now))
	}
}

// Remember brings what a run before saw last at hosts into the estate, as of hosts that cannot be asked. It is called before they are
// observed.
func (w *Witness) Remember(hosts ...string) {
	if w.deps.Memory == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var told, lost []estate.Change
	var last time.Time
	for _, host := range hosts {
		if model, seen := w.deps.Memory.Recall(host); model != nil {
			source := estate.HostSourcePrefix + host
			told, lost = append(told, estate.Change{Source: source, Model: model}), append(lost, estate.Change{Source: source, Lost: true})
			if seen.After(last) {
				last = seen
			}
		}
	}
	w.deps.Assembler.Apply(last, told...)
	w.deps.Assembler.Apply(last, lost...)
}

// Lost says that a host cannot be asked since a time. What was seen there stays in the estate, and counts less than what is
// seen elsewhere.
func (w *Witness) Lost(host string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.track.Lost(host)
	w.deps.Assembler.Lost(estate.HostSourcePrefix+host, since)
}

// Forget removes a host from the estate: it is looked after no more.
func (w *Witness) Forget(host string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.track.Forget(host)
	if w.deps.Memory != nil {
		w.deps.Memory.Forget(host)
	}
	w.deps.Assembler.Remove(estate.HostSourcePrefix+host, now)
}

// Run tells what shows by time alone, until ctx is done.
func (w *Witness) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			w.Tick(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// Tick tells what shows by its being a time; Run calls it.
func (w *Witness) Tick(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.emit(w.track.Tick(w.deps.Estate.Load(), now))
}

func (w *Witness) emit(events []event.Event) {
	for _, e := range events {
		w.deps.Events.Emit(e)
	}
}
