package export_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/export"
)

const (
	instance = "weir-of-test"
	patience = 30 * time.Second
	lifetime = 3 * time.Minute // of a Weir in a process of its own, which nobody is to wait for in vain
)

var identity = export.Identity{UUID: "8d7b4c06-0000-4000-8000-000000000001", Name: "hv1", Pool: flow.NewID(flow.KindPool, "pool1")}

// TestMain is this test, or, when it started itself with that variable, a Weir that looks after one host.
func TestMain(m *testing.M) {
	if text := os.Getenv("WEIR_TEST_KEEPER"); text != "" {
		if err := keep(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// job is what such a Weir is told.
type job struct {
	Target     string
	Settings   export.Settings
	Enforced   map[string]export.Enforced
	Controller attach.Settings
	Exporter   netip.Addr // of the host: there is a policy, too; invalid: only rows are set up
	Detach     bool       // end when it is done
}

// keep looks after a host until it is killed, or detached.
func keep(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lifetime)
	defer cancel()
	w, err := newWeir(j.Target)
	if err != nil {
		return err
	}
	if j.Detach {
		w.detached = cancel
	}
	if j.Exporter.IsValid() {
		err = enforce(ctx, w, j)
	} else {
		w.enforced, w.controller = j.Enforced, j.Controller
		w.set(j.Settings, j.Detach)
		err = w.run(ctx)
	}
	if err != nil {
		return err
	}
	if j.Detach && ctx.Err() != context.Canceled {
		return fmt.Errorf("not detached within %s: %+v", lifetime, w.exports.Status())
	}
	return nil
}

// weir is what looks after one host, as it is wired.
type weir struct {
	session  *ovsdb.Session
	exports  *export.Exports
	events   events
	detached func() // called when that is so; nil: nobody

	enforced   map[string]export.Enforced // for set
	controller attach.Settings            // for set
}

// events keeps what is emitted.
type events struct {
	mu   sync.Mutex
	list []event.Event // guarded by mu
}

// Emit keeps e.
func (s *events) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Time = time.Now()
	s.list = append(s.list, e)
}

// of returns those of a kind.
func (s *events) of(kind event.Kind) (list []event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.list {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// atOnce checks that what others removed was set up again without a wait. A Weir that had not noticed would look again after a minute, which
// is longer than a test's patience.
func (s *events) atOnce(t *testing.T) {
	t.Helper()
	for _, e := range append(s.of(event.ExportWiped), s.of(event.ControllerWiped)...) {
		if !strings.HasSuffix(e.Text, "; it is set up again") {
			t.Errorf("event says %q, want that it is set up again at once", e.Text)
		}
	}
}

func newWeir(target string) (*weir, error) {
	w := &weir{}
	t, err := ovsdb.ParseTarget(target)
	if err != nil {
		return nil, err
	}
	limits := ovsdb.DefaultLimits()
	limits.BackoffMin, limits.BackoffMax = 10*time.Millisecond, 200*time.Millisecond
	if w.session, err = ovsdb.New(ovsdb.Config{Target: t, Limits: limits}, ovsdb.Deps{}); err != nil {
		return nil, err
	}
	w.exports, err = export.New(export.Config{Instance: instance, CollectorPort: 4739}, export.Deps{
		Log: slog.New(slog.DiscardHandler), Events: &w.events,
		Detached: func(string) {
			if w.detached != nil {
				w.detached()
			}
		},
	})
	return w, err
}

// run looks after the host until ctx is done.
func (w *weir) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { _ = w.session.Run(ctx) }) // it returns nil
	return w.exports.Run(ctx)
}

func (w *weir) set(s export.Settings, detach bool) {
	w.exports.Set([]export.Host{{Identity: identity, Session: w.session, Settings: s, Detach: detach, Enforced: w.enforced, Controller: w.controller}})
}

// start runs a Weir until the test ends, or stop is called, which is as sudden as a kill.
func start(t *testing.T, target string, s export.Settings) (w *weir, stop func()) {
	t.Helper()
	return startEnforcing(t, target, s, nil, attach.Settings{})
}

// startEnforcing is start with bridges that enforce policy.
func startEnforcing(t *testing.T, target string, s export.Settings, enforced map[string]export.Enforced, c attach.Settings) (w *weir, stop func()) {
	t.Helper()
	w, err := newWeir(target)
	if err != nil {
		t.Fatal(err)
	}
	w.enforced, w.controller = enforced, c
	w.set(s, false)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return w, stop
}

// status returns how bridges stand.
func (w *weir) status() []export.Bridge {
	if list := w.exports.Status(); len(list) > 0 {
		return list[0].Bridges
	}
	return nil
}

// bridges returns how exports stand, as NAME=STATE, in one line.
func (w *weir) bridges() string {
	var list []string
	for _, b := range w.status() {
		list = append(list, b.Name+"="+string(b.State))
	}
	return strings.Join(list, " ")
}

// policy returns how what enforces policy stands, as NAME:CONTROLLER/RULES, with ! where those are the totals.
func (w *weir) policy() string {
	var list []string
	for _, b := range w.status() {
		c, r := "", ""
		if b.Controller != nil {
			c = string(b.Controller.State)
		}
		if b.Rules != nil {
			r = string(b.Rules.State)
			if b.Rules.Totals {
				r += "!"
			}
		}
		list = append(list, b.Name+":"+c+"/"+r)
	}
	return strings.Join(list, " ")
}

// enforce has bridges enforce policy, and waits until exports stand so.
func (w *weir) enforce(t *testing.T, s export.Settings, enforced map[string]export.Enforced, bridges, policy string) {
	t.Helper()
	w.enforced = enforced
	w.set(s, false)
	for deadline := time.Now().Add(patience); w.bridges() != bridges || w.policy() != policy; time.Sleep(5 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			t.Fatalf("exports stand as %q, %q after %s, want %q, %q: %+v", w.bridges(), w.policy(), patience, bridges, policy, w.exports.Status())
		}
	}
}

// await waits until exports stand so.
func (w *weir) await(t *testing.T, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) { // between polls
		if got = w.bridges(); got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("exports stand as %q after %s, want %q: %+v", got, patience, want, w.exports.Status())
		}
	}
}

// detach detaches the host and waits until it is.
func (w *weir) detach(t *testing.T, s export.Settings) {
	t.Helper()
	w.set(s, true)
	ovsdbtest.Until(t, "the host is detached", func() bool { return w.exports.Status()[0].Detached })
}

// settings are those of a test.
func settings(change func(*export.Settings)) export.Settings {
	s := export.Default()
	s.Collector = netip.MustParseAddrPort("192.0.2.5:4739")
	if change != nil {
		change(&s)
	}
	return s
}
