package event_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/policyd/state"
)

const patience = time.Minute

// table is one in memory: it fails as it is told to.
type table struct {
	mu     sync.Mutex
	events []event.Event // guarded by mu
	fails  func() (before, after error)
}

var errAway = errors.New("away")

func (t *table) InsertEvents(_ context.Context, events []event.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, after := error(nil), error(nil)
	if t.fails != nil {
		before, after = t.fails()
	}
	if before == nil {
		t.events = append(t.events, events...)
	}
	return errors.Join(before, after)
}

func (t *table) EventIDs(_ context.Context, first, last uint64) (map[uint64]bool, error) {
	ids := map[uint64]bool{}
	for _, e := range t.all() {
		if e.ID >= first && e.ID <= last {
			ids[e.ID] = true
		}
	}
	return ids, nil
}

func (t *table) LastEventID(context.Context) (last uint64, err error) {
	for _, e := range t.all() {
		last = max(last, e.ID)
	}
	return last, nil
}

func (t *table) Events(_ context.Context, q event.Query) ([]event.Event, error) {
	var list []event.Event
	for _, e := range t.all() {
		if q.Matches(&e) {
			list = append(list, e)
		}
	}
	if q.Limit > 0 && len(list) > q.Limit {
		if q.Oldest {
			return list[:q.Limit], nil
		}
		return list[len(list)-q.Limit:], nil
	}
	return list, nil
}

func (t *table) all() []event.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

// running is a log that runs.
type running struct {
	*event.Log
	stop func() // ends Run and waits for it
}

func openState(t *testing.T, file string) *state.State {
	t.Helper()
	s, err := state.Open(t.Context(), file, state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newState(t *testing.T) *state.State {
	t.Helper()
	return openState(t, filepath.Join(t.TempDir(), "state.db"))
}

func newLog(t *testing.T, d event.Deps) *event.Log {
	t.Helper()
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	l, err := event.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func start(t *testing.T, l *event.Log) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return running{l, stop}
}

// until polls until f returns nil.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func stored(t *testing.T, l *event.Log, n uint64) {
	t.Helper()
	until(t, "events are stored", func() error {
		if s := l.Stats(); s.Stored < n || s.Waiting > 0 {
			return fmt.Errorf("%+v, want %d stored", s, n)
		}
		return nil
	})
}

// balanced wants every event to be accounted for.
func balanced(t *testing.T, l *event.Log) {
	t.Helper()
	s := l.Stats()
	dropped := uint64(0)
	for _, n := range s.Dropped {
		dropped += n
	}
	if s.Emitted+s.Found != s.Stored+s.Waiting+dropped {
		t.Errorf("the books do not balance: %+v", s)
	}
}

// once wants the table to have events of several emitters: each once, by ascending id, and in the order of its emitter.
func once(t *testing.T, events []event.Event, emitters, each int) {
	t.Helper()
	next := map[string]int{}
	last := uint64(0)
	for _, e := range events {
		if e.ID <= last {
			t.Fatalf("id %d after %d", e.ID, last)
		}
		last = e.ID
		if want := fmt.Sprint(next[e.Subject]); e.Text != want {
			t.Fatalf("event %q of %s, want %s", e.Text, e.Subject, want)
		}
		next[e.Subject]++
	}
	if len(next) != emitters {
		t.Errorf("events of %d emitters, want %d", len(next), emitters)
	}
	for subject, n := range next {
		if n != each {
			t.Errorf("%d events of %s, want %d", n, subject, each)
		}
	}
}

func emit(l event.Sink, emitters, from, to int) {
	var all sync.WaitGroup
	for n := range emitters {
		all.Go(func() {
			for i := from; i < to; i++ {
				l.Emit(event.Event{Kind: event.VIFPlugged, Subject: fmt.Sprintf("emitter %d", n), Text: fmt.Sprint(i)})
			}
		})
	}
	all.Wait()
}

// A table that fails before it has done something, or after that, has each event once.
func TestExactlyOnce(t *testing.T) {
	calls := 0
	tab := &table{fails: func() (before, after error) {
		calls++
		switch calls % 3 {
		case 1:
			return errAway, nil
		case 2:
			return nil, errAway
		}
		return nil, nil
	}}
	l := start(t, newLog(t, event.Deps{Keep: newState(t), Table: tab}))
	emit(l, 4, 0, 300)
	stored(t, l.Log, 1200)
	once(t, tab.all(), 4, 300)
	if calls < 3 {
		t.Errorf("the table was asked %d times: it did not fail", calls)
	}
	balanced(t, l.Log)
}

// What the store did not get is on disk for the next run, which goes on with higher ids, and does not repeat what the store got after all.
func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	tab := &table{}
	var mode atomic.Int32
	tab.fails = func() (before, after error) {
		switch mode.Load() {
		case 1:
			return errAway, nil
		case 2:
			return nil, errAway
		}
		return nil, nil
	}
	for run := range 6 {
		mode.Store(int32(run % 3)) // the last one works
		if run == 5 {
			mode.Store(0)
		}
		s := openState(t, file)
		l := start(t, newLog(t, event.Deps{Keep: s, Table: tab}))
		emit(l, 2, 10*run, 10*run+10)
		if run == 5 { // else a disk that takes longer than the last chance leaves something for a seventh
			until(t, "all is stored", func() error {
				if s := l.Stats(); s.Found == 0 || s.Waiting > 0 {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
		}
		l.stop()
		balanced(t, l.Log)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	once(t, tab.all(), 2, 60)
}

// Ids go on above those of a table that outlived the state.
func TestLostState(t *testing.T) {
	tab := &table{events: []event.Event{{ID: 5000}}}
	l := start(t, newLog(t, event.Deps{Keep: newState(t), Table: tab}))
	emit(l, 1, 0, 1)
	stored(t, l.Log, 1)
	if last := tab.all()[1].ID; last <= 5000 {
		t.Errorf("id %d, want more than 5000", last)
	}
}

// While the store is away for long, the oldest are dropped and counted, in memory and on disk, and followers miss nothing.
func TestBoundedWhileAway(t *testing.T) {
	if testing.Short() {
		t.Skip("more than twenty thousand events")
	}
	var away atomic.Bool
	away.Store(true)
	tab := &table{fails: func() (error, error) {
		if away.Load() {
			return errAway, nil
		}
		return nil, nil
	}}
	s := newState(t)
	l := start(t, newLog(t, event.Deps{Keep: s, Table: tab}))
	const most, all = 20_000, 23_000
	for i := 0; i < all; i += 1000 { // as fast as they are taken, so that the queue does not overflow
		emit(l, 1, i, i+1000)
		until(t, "events are taken", func() error {
			events, err := l.Events(t.Context(), event.Query{Limit: 1})
			if err == nil && (len(events) == 0 || events[0].Text != fmt.Sprint(i+999)) {
				err = fmt.Errorf("the last are %v", events)
			}
			return err
		})
	}
	balanced(t, l.Log)
	until(t, "those that left are dropped", func() error { // what is just being tried again still waits
		if st := l.Stats(); st.Waiting != most || st.Dropped[event.ReasonAway] != all-most || st.Away == "" {
			return fmt.Errorf("%+v, want %d waiting", st, most)
		}
		return nil
	})
	away.Store(false)
	stored(t, l.Log, most)
	balanced(t, l.Log)
	events := tab.all()
	if len(events) != most || events[0].Text != fmt.Sprint(all-most) || l.Stats().Away != "" {
		t.Errorf("%d events in the table, the first %v", len(events), events[0])
	}
	until(t, "nothing is left on disk", func() error {
		kept, err := s.KeptEvents(t.Context())
		if len(kept) > 0 {
			err = fmt.Errorf("%d events", len(kept))
		}
		return err
	})
}

// What leaves memory while it is being inserted still waits; then it is stored, or dropped.
func TestLeavesWhileItIsInserted(t *testing.T) {
	if testing.Short() {
		t.Skip("more than twenty thousand events")
	}
	for name, outcome := range map[string]error{"stored": nil, "dropped": errAway} {
		t.Run(name, func(t *testing.T) {
			inserting, end := make(chan struct{}), make(chan struct{})
			var once sync.Once
			tab := &table{fails: func() (before, after error) {
				once.Do(func() {
					close(inserting)
					<-end
					before = outcome
				})
				return before, nil
			}}
			l := start(t, newLog(t, event.Deps{Keep: newState(t), Table: tab}))
			goOn := sync.OnceFunc(func() { close(end) })
			t.Cleanup(goOn)
			emit(l, 1, 0, 1)
			<-inserting
			const most, more = 20_000, 21_000
			for i := 1; i <= more; i += 1000 {
				emit(l, 1, i, i+1000)
				until(t, "events are taken", func() error {
					if id, err := l.LastID(t.Context()); err != nil || id < uint64(i+1000) {
						return fmt.Errorf("the last has id %d, %w", id, err)
					}
					return nil
				})
			}
			balanced(t, l.Log)
			if st := l.Stats(); st.Waiting != most+1 || st.Dropped[event.ReasonAway] != more-most {
				t.Errorf("%+v, want %d waiting, the first of them being inserted", st, most+1)
			}
			goOn()
			stored(t, l.Log, most)
			balanced(t, l.Log)
			want := uint64(more - most)
			if outcome != nil {
				want++
			}
			if st := l.Stats(); st.Dropped[event.ReasonAway] != want {
				t.Errorf("%+v, want %d dropped", st, want)
			}
		})
	}
}

// Emit does not wait, whatever Run does; what is too much is counted.
func TestQueueIsBounded(t *testing.T) {
	l := newLog(t, event.Deps{Keep: newState(t), Table: &table{}})
	emit(l, 1, 0, 10_500) // Run was not called
	if s := l.Stats(); s.Emitted != 10_500 || s.Waiting != 10_000 || s.Dropped[event.ReasonQueue] != 500 {
		t.Errorf("%+v", s)
	}
	r := start(t, l)
	stored(t, r.Log, 10_000)
	balanced(t, l)
}

// failing keeps nothing on disk, after its first ids.
type failing struct {
	event.Keeper
	bad atomic.Bool
}

func (f *failing) KeepEvents(ctx context.Context, events []event.Event) error {
	if f.bad.Load() {
		return errors.New("disk full")
	}
	return f.Keeper.KeepEvents(ctx, events)
}

func (f *failing) ReserveEventIDs(ctx context.Context, n int, floor uint64) (uint64, error) {
	if f.bad.Load() {
		return 0, errors.New("disk full")
	}
	return f.Keeper.ReserveEventIDs(ctx, n, floor)
}

// A disk that fails delays nobody while ids last, is said, and gets later what it did not take.
func TestDiskFails(t *testing.T) {
	s := newState(t)
	disk := &failing{Keeper: s}
	var away atomic.Bool
	away.Store(true)
	tab := &table{fails: func() (error, error) {
		if away.Load() {
			return errAway, nil
		}
		return nil, nil
	}}
	l := start(t, newLog(t, event.Deps{Keep: disk, Table: tab}))
	emit(l, 1, 0, 1)
	until(t, "the first is taken", func() error { return kept(t, s, 1) })
	disk.bad.Store(true)
	emit(l, 1, 1, 1500)
	until(t, "events are told and the problem with them", func() error {
		events, err := l.Events(t.Context(), event.Query{})
		if err == nil && (len(events) != 1000 || l.Stats().Unkept == "") { // a block of ids
			err = fmt.Errorf("%d events, %+v", len(events), l.Stats())
		}
		return err
	})
	disk.bad.Store(false)
	until(t, "all are on disk", func() error { return kept(t, s, 1500) })
	if problem := l.Stats().Unkept; problem != "" {
		t.Errorf("the disk works, and yet: %s", problem)
	}
	away.Store(false)
	stored(t, l.Log, 1500)
	once(t, tab.all(), 1, 1500)
	balanced(t, l.Log)
}

// A disk that is full from the start delays events, and stops nothing.
func TestStartOnFullDisk(t *testing.T) {
	disk, tab := &failing{Keeper: newState(t)}, &table{events: []event.Event{{ID: 70}}}
	disk.bad.Store(true)
	l := start(t, newLog(t, event.Deps{Keep: disk, Table: tab}))
	emit(l, 1, 0, 5)
	until(t, "the problem is told", func() error {
		if s := l.Stats(); s.Unkept == "" || s.Waiting != 5 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if events, err := l.Events(t.Context(), event.Query{}); err != nil || len(events) != 1 {
		t.Errorf("%d events without ids, %v; want the table's", len(events), err)
	}
	disk.bad.Store(false)
	stored(t, l.Log, 5)
	once(t, tab.all()[1:], 1, 5)
	if first := tab.all()[1].ID; first <= 70 {
		t.Errorf("id %d is not above those of the table", first)
	}
	balanced(t, l.Log)
}

func kept(t *testing.T, s *state.State, n int) error {
	events, err := s.KeptEvents(t.Context())
	if err == nil && len(events) != n {
		err = fmt.Errorf("%d events on disk, want %d", len(events), n)
	}
	return err
}

// follow collects what Follow sends until there are n.
func follow(t *testing.T, l *event.Log, after uint64, q event.Query, n int, pause func()) []event.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var list []event.Event
	err := l.Follow(ctx, after, q, func(events []event.Event, seen uint64) error {
		if len(events) > 0 && seen < events[len(events)-1].ID {
			t.Errorf("seen %d, sent %d", seen, events[len(events)-1].ID)
		}
		if list = append(list, events...); len(list) >= n {
			cancel()
		}
		if pause != nil {
			pause()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v after %d events, want %d", err, len(list), n)
	}
	return list
}

// A follower gets all that it asks for from where it was, whether it is in memory or in the table only, and however slow it is.
func TestFollow(t *testing.T) {
	if testing.Short() {
		t.Skip("more than twenty thousand events")
	}
	tab := &table{}
	l := start(t, newLog(t, event.Deps{Keep: newState(t), Table: tab}))
	const all = 25_000 // more than what is in memory
	emitted := make(chan struct{})
	go func() {
		defer close(emitted)
		for i := 0; i < all; i += 500 {
			emit(l, 1, i, i+500)
			for l.Stats().Waiting > 5000 && t.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	first := true
	got := follow(t, l.Log, 0, event.Query{}, all, func() {
		if first {
			<-emitted
			first = false
		}
	})
	once(t, got, 1, all)
	if got[0].ID == 0 {
		t.Error("no ids")
	}
	again := follow(t, l.Log, got[100].ID, event.Query{}, all-101, nil)
	if diff := cmp.Diff(got[101:], again); diff != "" {
		t.Errorf("after %d: %s", got[100].ID, diff[:min(len(diff), 1000)])
	}
	l.Emit(event.Event{Kind: event.HostLost, Host: 7, VM: 9})
	one := follow(t, l.Log, 0, event.Query{Kinds: []event.Kind{event.HostLost}, Host: 7, VM: 9}, 1, nil)
	if len(one) != 1 || one[0].Kind != event.HostLost {
		t.Errorf("%+v", one)
	}
	list, err := l.Events(t.Context(), event.Query{Limit: 22_000})
	if err != nil || len(list) != 22_000 || list[0].ID != got[all-21_999].ID {
		t.Errorf("%d events, %v", len(list), err)
	}
	l.stop()
	balanced(t, l.Log)
}

// Every event is in the program's log, with its severity.
func TestProgramLog(t *testing.T) {
	var out bytes.Buffer
	var mu sync.Mutex
	l := start(t, newLog(t, event.Deps{Keep: newState(t), Table: &table{}, Log: slog.New(slog.NewTextHandler(&locked{&mu, &out}, nil))}))
	l.Emit(event.Event{Kind: event.HostLost, Subject: "xcp1", Text: "no answer for 15s"})
	l.stop()
	want := `level=ERROR msg="network event" part=events kind=host_lost subject=xcp1 text="no answer for 15s" event=1`
	if !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}

type locked struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

// What hosts say is cut to the bounds of an event.
func TestBounds(t *testing.T) {
	tab := &table{}
	l := start(t, newLog(t, event.Deps{Keep: newState(t), Table: tab}))
	attributes := map[string]string{"key\xff": strings.Repeat("ä", 1000)}
	for i := range 100 {
		attributes[fmt.Sprintf("%03d", i)] = "x"
	}
	l.Emit(event.Event{ID: 77, Kind: event.PortError, Subject: strings.Repeat("ä", 1000), Text: "a" + strings.Repeat("ä", 10_000) + "\xff", Attributes: attributes})
	attributes["000"] = "changed by the caller"
	stored(t, l.Log, 1)
	e := tab.all()[0]
	size := len(e.Subject) + len(e.Text)
	for k, v := range e.Attributes {
		size += len(k) + len(v)
		if !utf8.ValidString(k + v) {
			t.Errorf("attribute %q is no text", k)
		}
	}
	if !utf8.ValidString(e.Subject+e.Text) || !strings.HasSuffix(e.Text, "ä…") || size > 256+1000+32*(64+512) || len(e.Attributes) != 32 || e.Attributes["000"] != "x" {
		t.Errorf("%d bytes, %+v", size, e)
	}
	if e.ID == 77 || e.Time.IsZero() {
		t.Errorf("id %d, time %s", e.ID, e.Time)
	}
}

// The list of kinds is whole and says something of each.
func TestKinds(t *testing.T) {
	seen := map[event.Kind]bool{}
	for _, k := range event.Kinds {
		if seen[k.Kind] || k.Doc == "" || !strings.HasSuffix(k.Doc, ".") || !k.Kind.Known() || k.Kind.Severity() != k.Severity || k.Severity.String() == "" {
			t.Errorf("kind %+v", k)
		}
		seen[k.Kind] = true
	}
	if event.Kind("host_eaten").Known() {
		t.Error("a kind that is not listed is known")
	}
}
