package state_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
)

var then = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// People of the tests.
var (
	alice = audit.Actor{User: "alice", Source: "test", Reason: "because"}
	bob   = audit.Actor{User: "bob"}
)

func open(t testing.TB, file string) *state.State {
	t.Helper()
	s, err := state.Open(t.Context(), file, state.Deps{Now: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var addrs = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "state ?#%.db") }

var whole = state.Host{
	UUID: "6d4f8c11-8d7b-4c06-9a53-0e2b3f1c5a9e", Name: "xcp1", Pool: "berlin", Target: ovsdb.Target{TLS: true, Host: "2001:db8::1", Port: 6640},
	TLS:  ovsdb.TLS{Trust: ovsdb.TrustPin, Authority: "-----BEGIN CERTIFICATE-----\n", Name: "xcp1.example", Pin: "AB:CD", Legacy: true},
	Mode: state.ModeObserve, ConfirmedAt: then.Add(time.Hour), ConfirmedBy: "root", Added: then,
	Export: export.Override{Protocol: export.IPFIX, External: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:4739")}},
}

// What is written is there after the database was closed and opened again.
func TestHostsLast(t *testing.T) {
	name := file(t)
	s := open(t, name)
	changes, cancel := s.Subscribe()
	defer cancel()
	added, err := s.AddHost(t.Context(), alice.Does("test"), whole)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-changes:
	default:
		t.Error("no news of a host that was added")
	}
	bare, err := s.AddHost(t.Context(), alice.Does("test"), state.Host{Name: "kvm1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(bare.UUID) != 36 || bare.Mode != state.ModeInherit {
		t.Errorf("added %+v", bare)
	}
	berlin := state.Pool{Name: "berlin", Export: export.Override{Protocol: export.Off, Bridges: map[string]export.Protocol{"br0": export.Auto}}, Mode: state.ModeEnforce, Sampling: "new"}
	for _, name := range []string{"berlin", "rome"} {
		if _, err := s.UpdatePool(t.Context(), alice.Does("test"), name, func(p *state.Pool) error { *p = berlin; p.Name = name; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	refused := errors.New("refused")
	if _, err := s.UpdatePool(t.Context(), alice.Does("test"), "rome", func(p *state.Pool) error { p.Mode = state.ModeObserve; return refused }); !errors.Is(err, refused) {
		t.Errorf("a refused change: %v", err)
	}
	rome := berlin
	rome.Name = "rome"
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	instance := s.Instance()
	s = open(t, name)
	if s.Instance() != instance || len(instance) != 36 {
		t.Errorf("instance %q, was %q", s.Instance(), instance)
	}
	got, err := s.Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]state.Host{bare, whole}, got, addrs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(whole, added, addrs); diff != "" {
		t.Error(diff)
	}
	pools, err := s.Pools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]state.Pool{berlin, rome}, pools, addrs); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file is %o, want 600", info.Mode().Perm())
	}
}

func TestHostErrors(t *testing.T) {
	s := open(t, file(t))
	if _, err := s.AddHost(t.Context(), alice.Does("test"), whole); err != nil {
		t.Fatal(err)
	}
	other, err := s.AddHost(t.Context(), alice.Does("test"), state.Host{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		do   func() error
		want error
	}{
		"same name": {func() error {
			_, err := s.AddHost(t.Context(), alice.Does("test"), state.Host{Name: "xcp1"})
			return err
		}, state.ErrExists},
		"same UUID": {func() error {
			_, err := s.AddHost(t.Context(), alice.Does("test"), state.Host{Name: "x", UUID: whole.UUID})
			return err
		}, state.ErrExists},
		"find none":      {func() error { _, err := s.Host(t.Context(), "nobody"); return err }, state.ErrNotFound},
		"remove none":    {func() error { return s.RemoveHost(t.Context(), alice.Does("test"), "nobody") }, state.ErrNotFound},
		"change none":    {func() error { _, err := s.UpdateHost(t.Context(), alice.Does("test"), "nobody", nil); return err }, state.ErrNotFound},
		"rename to used": {func() error { return rename(t, s, "other", "xcp1") }, state.ErrExists},
		"refused change": {func() error {
			_, err := s.UpdateHost(t.Context(), alice.Does("test"), "xcp1", func(h *state.Host) error { h.Name = "gone"; return refused })
			return err
		}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.do(); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	got, err := s.Hosts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]state.Host{other, whole}, got, addrs); diff != "" {
		t.Error(diff)
	}
	if err := rename(t, s, whole.UUID, "xcp-renamed"); err != nil {
		t.Error(err)
	}
	if err := s.RemoveHost(t.Context(), alice.Does("test"), "xcp-renamed"); err != nil {
		t.Error(err)
	}
}

func rename(t *testing.T, s *state.State, from, to string) error {
	_, err := s.UpdateHost(t.Context(), alice.Does("test"), from, func(h *state.Host) error { h.Name = to; return nil })
	return err
}

// Ids ascend, over runs too, and above a floor.
func TestEventIDs(t *testing.T) {
	name := file(t)
	s := open(t, name)
	var last uint64
	for i, c := range []struct{ n, floor, want uint64 }{{10, 0, 1}, {1, 0, 11}, {5, 100, 101}, {5, 0, 106}} {
		first, err := s.ReserveEventIDs(t.Context(), int(c.n), c.floor)
		if err != nil {
			t.Fatal(err)
		}
		if first != c.want {
			t.Errorf("call %d: first id %d, want %d", i, first, c.want)
		}
		last = first + c.n - 1
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first, err := open(t, name).ReserveEventIDs(t.Context(), 1, 0)
	if err != nil || first != last+1 {
		t.Errorf("after a restart: first id %d, %v, want %d", first, err, last+1)
	}
}

func TestKeptEvents(t *testing.T) {
	name := file(t)
	s := open(t, name)
	want := []event.Event{
		{ID: 1, Time: then, Kind: event.HostLost, Host: flow.ID(1<<64 - 1), Subject: "xcp1", Text: "gone", Attributes: map[string]string{"a": "b"}},
		{ID: 2, Time: then, Kind: event.HostConnected},
		{ID: 7, Time: then, Kind: event.HostConnected, VIF: 5},
	}
	if err := s.KeepEvents(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepEvents(t.Context(), want[1:]); err != nil { // again, as after an error
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, name)
	if err := s.DropEvents(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	got, err := s.KeptEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[1:], got); diff != "" {
		t.Error(diff)
	}
}

// A copy that is made while the database is in use is whole.
func TestBackup(t *testing.T) {
	s := open(t, file(t))
	if _, err := s.AddHost(t.Context(), alice.Does("test"), whole); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Mkdir("copies", 0o700); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join("copies", "state copy?.db") // where people are, and no URI
	if err := s.Backup(t.Context(), alice, copied); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveHost(t.Context(), alice.Does("test"), "xcp1"); err != nil {
		t.Fatal(err)
	}
	h, err := open(t, copied).Host(t.Context(), "xcp1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole, h, addrs); diff != "" {
		t.Error(diff)
	}
}
