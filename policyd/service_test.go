package policyd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/pki"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
)

// People of the tests.
var (
	alice = audit.Actor{User: "alice", Source: "test"}
	bob   = audit.Actor{User: "bob", Source: "test"}
	carol = audit.Actor{User: "carol", Source: "test"}
)

const patience = time.Minute

// told keeps events.
type told struct {
	mu   sync.Mutex
	list []event.Event     // guarded by mu
	hear func(event.Event) // nil: nobody does; guarded by mu
}

func (s *told) Emit(e event.Event) {
	s.mu.Lock()
	s.list = append(s.list, e)
	hear := s.hear
	s.mu.Unlock()
	if hear != nil {
		hear(e)
	}
}

// rig is a running policyd.
type rig struct {
	*policyd.Service
	t         *testing.T
	state     *state.State
	estate    *estate.Holder
	assembler *estate.Assembler
	events    *told
	addr      string // at which hosts dial in by TLS
	stop      func()
}

// start runs a policyd on the state in dir, as often as it is called.
func start(t *testing.T, dir string) *rig { return startWith(t, dir, nil) }

// startWith is start with other dependencies.
func startWith(t *testing.T, dir string, change func(*policyd.Deps)) *rig {
	t.Helper()
	own, err := pki.Ensure(filepath.Join(dir, "ca"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	st, err := state.Open(t.Context(), filepath.Join(dir, "state.db"), state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := policyd.Default()
	cfg.Grace = 300 * time.Millisecond
	cfg.Session.BackoffMin, cfg.Session.BackoffMax = 10*time.Millisecond, 50*time.Millisecond
	cfg.Export.Protocol = export.Off
	listeners, err := hosts.Listen(t.Context(), []hosts.ListenerConfig{{Addr: "127.0.0.1:0", TLS: true}})
	if err != nil {
		t.Fatal(err)
	}
	holder := estate.NewHolder()
	r := &rig{t: t, state: st, estate: holder, assembler: estate.NewAssembler(estate.AssemblerDeps{Estate: holder}), events: &told{}, addr: listeners[0].Addr().String()}
	deps := policyd.Deps{
		Log: slog.New(slog.DiscardHandler), State: st, Assembler: r.assembler, Estate: r.estate,
		Events: r.events, Listeners: listeners, Authority: own.Pool,
		Identity: func() ([]tls.Certificate, error) { return own.Identities(time.Now()) }, Policy: policyd.DefaultPolicy(),
	}
	if change != nil {
		change(&deps)
	}
	r.Service, err = policyd.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := errors.Join(<-done, st.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// until waits for a condition, and says how the hosts are if it does not come.
func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			list, waiting := r.Hosts()
			r.t.Fatalf("waited for: %s\nhosts %+v\nwaiting %+v", what, list, waiting)
		}
	}
}

func (r *rig) await(name string, want ovsdb.State) policyd.HostStatus {
	r.t.Helper()
	var h policyd.HostStatus
	r.until(fmt.Sprintf("host %s is %s", name, want), func() bool {
		var err error
		h, err = r.Host(name)
		return err == nil && h.State == want
	})
	return h
}

func (r *rig) add(a policyd.AddRequest) {
	r.t.Helper()
	if _, err := r.Add(r.t.Context(), alice, a); err != nil {
		r.t.Fatal(err)
	}
}

func target(t *testing.T, text string) ovsdb.Target {
	t.Helper()
	to, err := ovsdb.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// secure gives a server a certificate of an authority of its own, and says what its fingerprint is.
func secure(t *testing.T, server *ovsdbtest.Server, trusts string) ovsdb.Fingerprint {
	t.Helper()
	a, err := pki.Init(filepath.Join(t.TempDir(), "theirs"), pki.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Issue(pki.Request{Name: "hv1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "hv1")
	if err := a.WriteHost(dir, pair); err != nil {
		t.Fatal(err)
	}
	server.VSCtl("--no-wait", "set-ssl", filepath.Join(dir, "hv1-privkey.pem"), filepath.Join(dir, "hv1-cert.pem"), trusts)
	return ovsdb.FingerprintOf(pair.Certificate)
}

// isMistake wants the asker to be told what is wrong.
func isMistake(t *testing.T, err error, want string) {
	t.Helper()
	var m *policyd.MistakeError
	if !errors.As(err, &m) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want a mistake with %q", err, want)
	}
}

// What exists at a host is in the estate from when it is added until it is removed.
func TestEstateFollowsHosts(t *testing.T) {
	r := start(t, t.TempDir())
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0", "--", "add-port", "br0", "vif1.0", "--", "set", "interface", "vif1.0", `external_ids:attached-mac="02:00:00:00:00:01"`,
		"external_ids:xs-vif-uuid=11111111-0000-4000-8000-000000000001", "external_ids:xs-vm-uuid=22222222-0000-4000-8000-000000000001")
	r.add(policyd.AddRequest{Name: "hv1", Pool: "lab", Target: target(t, server.Socket())})
	h := r.await("hv1", ovsdb.StateConnected)
	r.until("the VIF is in the estate", func() bool { return r.estate.Load().Count(flow.KindVIF) == 1 })
	e, ok := r.estate.Load().Entity(flow.NewID(flow.KindHost, h.UUID))
	if !ok || e.Name != "hv1" || e.Pool == 0 {
		t.Errorf("host %+v %v", e, ok)
	}
	if h, err := r.Host(strings.ToUpper(h.UUID)); err != nil || h.VIFs != 1 || h.Bridges != 1 || h.Pool != "lab" || h.Mode != state.ModeObserve {
		t.Errorf("%+v %v", h, err)
	}
	r.until("its export was looked at, and nothing is wrong", func() bool {
		list, waiting := r.Hosts()
		s := policyd.Summarize(list, waiting, time.Now())
		return s.Hosts == 1 && s.Connected == 1 && len(s.Problems) == 0
	})

	// A change at the host follows.
	server.VSCtl("--no-wait", "del-port", "vif1.0")
	r.until("the VIF is gone", func() bool { return r.estate.Load().Count(flow.KindVIF) == 0 })
	if err := r.Remove(t.Context(), alice, "hv1", false); err != nil {
		t.Fatal(err)
	}
	if list, _ := r.Hosts(); len(list) != 0 {
		t.Errorf("removed, and there: %+v", list)
	}
	r.until("the host is gone", func() bool { return r.estate.Load().Count(flow.KindHost) == 0 })
	if err := r.Remove(t.Context(), alice, "hv1", false); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

// A certificate that is seen first is believed when somebody has compared it, from then on and after restarts, and no other one is.
func TestPinOfDialledHost(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	server := ovsdbtest.Start(t, nil)
	pin := secure(t, server, filepath.Join(dir, "ca", "ca.pem"))
	to := target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.1"))
	r.add(policyd.AddRequest{Name: "hv1", Target: to, TLS: policyd.TLSRequest{PinFirst: true}})
	h := r.await("hv1", ovsdb.StateConfirm)
	if h.Certificate == nil || h.Certificate.Fingerprint != pin || h.Trust.Pin != "" {
		t.Fatalf("%+v", h)
	}
	list, waiting := r.Hosts()
	if s := policyd.Summarize(list, waiting, time.Now()); s.Waiting != 1 || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "weir hosts confirm hv1") {
		t.Errorf("%+v", s)
	}
	other := strings.Repeat("AB:", 31) + "AB"
	_, _, err := r.Confirm(t.Context(), bob, "hv1", other)
	isMistake(t, err, "presents another certificate")
	if _, _, err := r.Confirm(t.Context(), bob, other, ""); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("an unknown fingerprint: %v", err)
	}
	name, seen, err := r.Confirm(t.Context(), bob, "hv1", "")
	if err != nil || name != "hv1" || seen != pin {
		t.Fatalf("%s %s %v", name, seen, err)
	}
	h = r.await("hv1", ovsdb.StateConnected)
	if h.Trust.Pin != pin || h.Trust.ConfirmedBy != "bob" || time.Since(h.Trust.ConfirmedAt) > time.Minute {
		t.Errorf("%+v", h.Trust)
	}
	_, _, err = r.Confirm(t.Context(), bob, "hv1", "")
	isMistake(t, err, "no certificate of host \"hv1\" waits")

	r.stop()
	r = start(t, dir)
	r.await("hv1", ovsdb.StateConnected)
	next := secure(t, server, filepath.Join(dir, "ca", "ca.pem")) // for connections to come
	r.stop()
	r = start(t, dir)
	h = r.await("hv1", ovsdb.StateRefused)
	if h.Certificate == nil || h.Certificate.Fingerprint != next {
		t.Errorf("%+v", h)
	}
	if _, _, err := r.Confirm(t.Context(), carol, string(next), ""); err != nil {
		t.Fatal(err)
	}
	r.await("hv1", ovsdb.StateConnected)
}

// A host that dials in waits until its certificate is confirmed, also one that nobody added.
func TestPinOfHostThatDialsIn(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	server := ovsdbtest.Start(t, nil)
	pin := secure(t, server, filepath.Join(dir, "ca", "ca.pem"))
	server.VSCtl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:hostname=hv1.example")
	server.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr)
	r.until("it waits", func() bool { _, waiting := r.Hosts(); return len(waiting) == 1 })
	_, waiting := r.Hosts()
	if w := waiting[0]; w.Certificate == nil || w.Certificate.Fingerprint != pin || w.Host != "" || w.Hostname != "hv1.example" || w.Reason == "" {
		t.Errorf("%+v", w)
	}
	_, _, err := r.Confirm(t.Context(), bob, string(pin), "")
	isMistake(t, err, "is none that was added: add it with weir hosts add NAME --dials-in --pin "+string(pin))
	r.add(policyd.AddRequest{Name: "hv1", TLS: policyd.TLSRequest{Pin: strings.ReplaceAll(strings.ToLower(string(pin)), ":", "")}})
	h := r.await("hv1", ovsdb.StateConnected)
	if !h.DialsIn || h.Target != "" || h.Trust.ConfirmedBy != "alice" || !strings.HasPrefix(h.TLS, "TLS 1.3") {
		t.Errorf("%+v", h)
	}
	if _, waiting := r.Hosts(); len(waiting) != 0 {
		t.Errorf("still waits: %+v", waiting)
	}
}

func TestAddMistakes(t *testing.T) {
	r := start(t, t.TempDir())
	to := target(t, "ssl:192.0.2.1")
	for want, a := range map[string]policyd.AddRequest{
		`name of host ""`:      {Target: to},
		`name of host "a/b"`:   {Name: "a/b", Target: to},
		`name of host " a"`:    {Name: " a", Target: to},
		`name of host "a\n"`:   {Name: "a\n", Target: to},
		`name of pool "p/q"`:   {Name: "a", Pool: "p/q", Target: to},
		"more than one way":    {Name: "a", Target: to, TLS: policyd.TLSRequest{Pin: strings.Repeat("ab", 32), PinFirst: true}},
		"hexadecimal digits":   {Name: "a", Target: to, TLS: policyd.TLSRequest{Pin: "abc"}},
		"no certificate":       {Name: "a", Target: to, TLS: policyd.TLSRequest{CA: "hello"}},
		"given by its target":  {Name: "a", Target: to, TLS: policyd.TLSRequest{Insecure: true}},
		`export: `:             {Name: "a", Target: to, Export: export.Override{External: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")}}},
		"UUID \"x\": want one": {Name: "a", Target: to, UUID: "x"},
	} {
		_, err := r.Add(t.Context(), alice, a)
		isMistake(t, err, want)
	}
	r.add(policyd.AddRequest{Name: "a", Target: to})
	if _, err := r.Add(t.Context(), alice, policyd.AddRequest{Name: "a", Target: to}); !errors.Is(err, state.ErrExists) {
		t.Errorf("a name that is used: %v", err)
	}
	if list, _ := r.Hosts(); len(list) != 1 {
		t.Errorf("%+v", list)
	}
}

// What is said of an export is in force for a host over its pool.
func TestExportSettings(t *testing.T) {
	r := start(t, t.TempDir())
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	r.add(policyd.AddRequest{Name: "hv1", Pool: "lab", Target: target(t, server.Socket())})
	awaitExport := func(want export.Protocol, state export.State) {
		t.Helper()
		r.until(fmt.Sprintf("export is %s %s", want, state), func() bool {
			h, err := r.Host("hv1")
			return err == nil && len(h.Exports) == 1 && h.Exports[0].Protocol == want && h.Exports[0].State == state
		})
	}
	awaitExport(export.Off, export.StateOff)
	collector := netip.MustParseAddrPort("192.0.2.5:4739")
	if err := r.SetPoolExport(t.Context(), alice, "lab", export.Override{Protocol: export.NetFlow, Collector: collector}); err != nil {
		t.Fatal(err)
	}
	awaitExport(export.NetFlow, export.StateSet)
	if err := r.SetExport(t.Context(), alice, "hv1", export.Override{Protocol: export.Off}); err != nil {
		t.Fatal(err)
	}
	awaitExport(export.Off, export.StateOff)
	if err := r.SetExport(t.Context(), alice, "nobody", export.Override{}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("export of nobody: %v", err)
	}
	isMistake(t, r.SetPoolExport(t.Context(), alice, "", export.Override{}), "name of pool")
	pools, err := r.Pools(t.Context())
	if err != nil || !slices.ContainsFunc(pools, func(p state.Pool) bool { return p.Name == "lab" && p.Export.Protocol == export.NetFlow }) {
		t.Errorf("%+v %v", pools, err)
	}
}

// Detaching a host that is away goes on when it is back, also in another run.
func TestDetachGoesOn(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	before := server.VSCtl("--no-wait", "list", "bridge")
	r.add(policyd.AddRequest{Name: "hv1", Target: target(t, server.Socket()), Export: export.Override{Protocol: export.NetFlow, Collector: netip.MustParseAddrPort("192.0.2.5:2055")}})
	r.until("the export is set up", func() bool {
		h, err := r.Host("hv1")
		return err == nil && len(h.Exports) == 1 && h.Exports[0].State == export.StateSet
	})
	isMistake(t, r.Remove(t.Context(), alice, "hv1", false), "weir hosts detach hv1")
	server.Stop()
	r.until("it is away", func() bool { h, _ := r.Host("hv1"); return h.State != ovsdb.StateConnected })
	impatient, cancel := context.WithCancel(t.Context())
	defer cancel()
	detached := make(chan error, 1)
	go func() { detached <- r.Detach(impatient, alice, "hv1") }()
	r.until("it is to be detached", func() bool { h, err := r.Host("hv1"); return err == nil && h.Mode == state.ModeDetach })
	cancel()
	if err := <-detached; err == nil || !strings.Contains(err.Error(), "it goes on") {
		t.Errorf("detached while it is away: %v", err)
	}
	r.stop()
	r = start(t, dir)
	ctx, cancel2 := context.WithTimeout(t.Context(), patience)
	defer cancel2()
	go func() { detached <- r.Detach(ctx, alice, "hv1") }() // at once: no host is configured yet
	server.Run()
	if err := <-detached; err != nil {
		t.Fatal(err)
	}
	if after := server.VSCtl("--no-wait", "list", "bridge"); after != before {
		t.Errorf("after detaching:\n%s\nbefore:\n%s", after, before)
	}
	if h, err := r.Host("hv1"); err != nil || !h.Detached || h.Mode != state.ModeDetach {
		t.Errorf("%+v %v", h, err)
	}
	if err := r.Remove(t.Context(), alice, "hv1", false); err != nil {
		t.Error(err)
	}
}

// A host is detached, too, when that is asked for before a policyd that was just started has configured it.
func TestDetachAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	server := ovsdbtest.Start(t, nil)
	r.add(policyd.AddRequest{Name: "hv1", Target: target(t, server.Socket())})
	for range 3 {
		r.stop()
		r = start(t, dir)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := r.Detach(ctx, alice, "hv1"); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestTest(t *testing.T) {
	r := start(t, t.TempDir())
	server := ovsdbtest.Start(t, nil)
	outcome := func(req policyd.TestRequest, step string) ovsdb.Outcome {
		t.Helper()
		steps, err := r.Test(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Name == step {
				return s.Outcome
			}
		}
		t.Fatalf("no step %q in %+v", step, steps)
		return ""
	}
	to := target(t, server.Socket())
	if got := outcome(policyd.TestRequest{Target: to}, "schema"); got != ovsdb.OK {
		t.Errorf("schema: %s", got)
	}
	if got := outcome(policyd.TestRequest{Target: target(t, "unix:/nowhere")}, "connect"); got != ovsdb.Failed {
		t.Errorf("connect to nowhere: %s", got)
	}
	r.add(policyd.AddRequest{Name: "hv1", Target: to})
	r.add(policyd.AddRequest{Name: "hv2"})
	if got := outcome(policyd.TestRequest{Host: "hv1"}, "database"); got != ovsdb.OK {
		t.Errorf("database: %s", got)
	}
	for want, req := range map[string]policyd.TestRequest{
		"dials in": {Host: "hv2"}, "neither": {}, "want one of them": {Host: "hv1", Target: to}, "hexadecimal": {Target: to, TLS: policyd.TLSRequest{Pin: "x"}},
	} {
		_, err := r.Test(t.Context(), req)
		isMistake(t, err, want)
	}
	if _, err := r.Test(t.Context(), policyd.TestRequest{Host: "nobody"}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("test of nobody: %v", err)
	}
}

// A host that is added has the UUID that others tell of it, by its address before its name, unless it is another's or told by several.
func TestAddTakesTheUUIDThatIsKnown(t *testing.T) {
	r := start(t, t.TempDir())
	uuid := func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
	host := func(n int, name, addr string) estate.Host {
		return estate.Host{Name: name, UUID: uuid(n), Pool: "lab", Exporters: []netip.Addr{netip.MustParseAddr(addr)}}
	}
	r.assembler.Set("xapi:lab", &estate.Model{Pools: []estate.Pool{{Name: "lab"}}, Hosts: []estate.Host{
		host(1, "one", "192.0.2.1"), host(2, "two", "192.0.2.2"), host(3, "three", "192.0.2.3"), host(4, "four", "192.0.2.9"), host(5, "five", "192.0.2.9"),
	}}, time.Now())
	for _, c := range []struct{ name, target, pool, want string }{
		{"one", "tcp:192.0.2.77", "lab", uuid(1)},
		{"three", "tcp:192.0.2.2", "lab", uuid(2)}, // the address tells
		{"one-more", "tcp:192.0.2.2", "lab", ""},   // it is added
		{"three-more", "tcp:192.0.2.77", "lab", ""},
		{"two", "tcp:192.0.2.77", "other", ""},
		{"four", "tcp:192.0.2.9", "lab", ""}, // of two
	} {
		target, err := ovsdb.ParseTarget(c.target)
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.Add(t.Context(), audit.Actor{}, policyd.AddRequest{Name: c.name, Target: target, Pool: c.pool})
		if err != nil {
			t.Fatal(err)
		}
		if known := strings.HasPrefix(h.UUID, "00000000-"); known != (c.want != "") || known && h.UUID != c.want {
			t.Errorf("host %s at %s has UUID %s, want %q", c.name, c.target, h.UUID, c.want)
		}
	}
}
