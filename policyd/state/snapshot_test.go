package state_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// applied applies a policy of one rule that is new.
func applied(t *testing.T, s *state.State) (instance uint32, revision uint64) {
	t.Helper()
	n := max(intent(t, s).Next, 256)
	p := apply(t, s, alice, state.Application{
		Policy: state.Policy{Text: "x"}, Placed: rules(n), Next: n + 1, Instances: []state.Instance{{Instance: n, Rule: "r", Action: "allow"}},
	})
	return n, p.Revision
}

// A snapshot that takes the place of the database gives no number that was given since it was made: of rules, revisions, events and changes; neither does one
// that is restored elsewhere, by hand, or a second time.
func TestRestoredGivesNothingAgain(t *testing.T) {
	dir := t.TempDir()
	original := filepath.Join(dir, "state.db")
	s := open(t, original)
	applied(t, s)
	snap, err := s.TakeSnapshot(t.Context(), alice, filepath.Join(dir, "snapshots"), false)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "snapshots", snap.Name)
	instances, revisions, events, changes := map[uint32]bool{}, map[uint64]bool{}, map[uint64]bool{}, map[uint64]bool{}
	use := func(s *state.State) {
		t.Helper()
		for range 5 {
			n, r := applied(t, s)
			id, err := s.ReserveEventIDs(t.Context(), 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if instances[n] || revisions[r] || events[id] {
				t.Fatalf("given again: number %d %v, revision %d %v, event %d %v", n, instances[n], r, revisions[r], id, events[id])
			}
			instances[n], revisions[r], events[id] = true, true, true
		}
		list, err := s.AuditEntries(t.Context(), 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if changes[e.ID] {
				t.Fatalf("change %d is told of twice", e.ID)
			}
			changes[e.ID] = true
		}
		if err := s.DropAudit(t.Context(), list[len(list)-1].ID); err != nil {
			t.Fatal(err)
		}
	}
	use(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now := then
	restore := func(to string) *state.State {
		t.Helper()
		now = now.Add(time.Second)
		if _, err := state.Restore(t.Context(), copied, to, now); err != nil {
			t.Fatal(err)
		}
		return open(t, to)
	}
	for range 2 {
		s := restore(original)
		use(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// As is, by somebody who knows nothing of restoring; what the original gave is less than what a copy skips.
	byHand := filepath.Join(dir, "by-hand.db")
	text, err := os.ReadFile(copied)
	if err == nil {
		err = os.WriteFile(byHand, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, byHand)
	if n, _ := applied(t, s); n < 257+1<<20 {
		t.Errorf("a copy gave number %d, which may have been given by the original since", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, byHand)
	if n, _ := applied(t, s); n > 300+1<<20 {
		t.Errorf("numbers are skipped at each start: %d", n)
	}
}

// What is restored is what was copied, but for what was on its way to others; what was there is kept.
func TestRestoreKeepsWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state.db")
	s := open(t, name)
	if _, err := s.AddHost(t.Context(), alice.Does("test"), whole); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepEvents(t.Context(), []event.Event{{ID: 1}}); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy.db")
	if err := s.Backup(t.Context(), bob, copied); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), bob, copied); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a copy over another: %v", err)
	}
	if err := s.RemoveHost(t.Context(), bob.Does("test"), "xcp1"); err != nil {
		t.Fatal(err)
	}
	instance := s.Instance()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := state.Restore(t.Context(), copied, name, then)
	if err != nil || !done.TakenAt.Equal(then) || done.Unread != nil {
		t.Fatalf("%+v %v", done, err)
	}
	s = open(t, name)
	if _, err := s.Host(t.Context(), "xcp1"); err != nil || s.Instance() != instance {
		t.Errorf("%v; it is %s, was %s", err, s.Instance(), instance)
	}
	if list, err := s.KeptEvents(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("events that the original sends: %v %v", list, err)
	}
	list, err := s.AuditEntries(t.Context(), 10)
	if err != nil || len(list) != 1 || list[0].Operation != audit.SnapshotRestore || list[0].User != audit.Weir {
		t.Errorf("told of the restoration: %+v %v", list, err)
	}
	before := open(t, done.Before)
	if _, err := before.Host(t.Context(), "xcp1"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("what was there is not as it was: %v", err)
	}
}

// What is no copy is refused, and what is there stays as it is.
func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state.db")
	s := open(t, name)
	applied(t, s)
	good := filepath.Join(dir, "good.db")
	if err := s.Backup(t.Context(), alice, good); err != nil {
		t.Fatal(err)
	}
	want, err := dump(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte{}, text...)
	for i := 4096; i < 3*4096; i++ {
		damaged[i] = 0x5a
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty": {"", "no state"}, "other file": {strings.Repeat("text ", 1000), "no database"}, "damaged": {string(damaged), ""}, "cut": {string(text[:len(text)/2]), ""},
	} {
		bad := filepath.Join(dir, "bad.db")
		if err := os.WriteFile(bad, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := state.Restore(t.Context(), bad, filepath.Join(dir, "state.db"), then); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := state.Restore(t.Context(), filepath.Join(dir, "none"), name, then); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if got, err := dump(t.Context(), open(t, name)); err != nil || got != want {
		t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".weir-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// A database that cannot be read is replaced all the same: that is what copies are for.
func TestRestoreOverDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "x.db"))
	n, _ := applied(t, s)
	copied, name := filepath.Join(dir, "copy.db"), filepath.Join(dir, "state.db")
	if err := s.Backup(t.Context(), alice, copied); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{name, name + "-wal"} {
		if err := os.WriteFile(file, []byte(strings.Repeat("garbage ", 2000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done, err := state.Restore(t.Context(), copied, name, then)
	if err != nil || done.Unread == nil {
		t.Fatalf("%+v %v", done, err)
	}
	if next, _ := applied(t, open(t, name)); next <= n {
		t.Errorf("number %d after %d", next, n)
	}
}

// Nobody waits for a copy: changes go on while it is made, and it is whole.
func TestBackupWhileInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "state.db"))
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			applied(t, s)
		}
	})
	for i := range 5 {
		copied := filepath.Join(dir, string(rune('a'+i)))
		if err := s.Backup(t.Context(), alice, copied); err != nil {
			t.Fatal(err)
		}
		i := intent(t, open(t, copied))
		if i.Revision != i.Head || i.Revision != 0 && len(i.Rules[i.Revision]) != 1 {
			t.Errorf("%+v", i)
		}
	}
	stop()
	writing.Wait()
}

// Automatic snapshots are thinned, those that people made are not; names lead nowhere else.
func TestSnapshots(t *testing.T) {
	now := then
	dir := filepath.Join(t.TempDir(), "snapshots")
	s := clocked(t, file(t), &now)
	if list, err := state.Snapshots(t.Context(), dir); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	manual, err := s.TakeSnapshot(t.Context(), alice, dir, false)
	if err != nil || manual.TakenBy != "alice" || manual.Reason != "because" || !manual.TakenAt.Equal(then) || manual.Size == 0 {
		t.Fatalf("%+v %v", manual, err)
	}
	for range 4 {
		now = now.Add(time.Minute)
		if _, err := s.TakeSnapshot(t.Context(), bob, dir, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".weir-state-123"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.ThinSnapshots(t.Context(), bob, dir, 2); err != nil {
		t.Fatal(err)
	}
	list, err := state.Snapshots(t.Context(), dir)
	if err != nil || len(list) != 3 || !list[0].TakenAt.Equal(now) || !list[0].Automatic || list[2].Name != manual.Name {
		t.Errorf("%+v %v", list, err)
	}
	f, snap, err := state.OpenSnapshot(t.Context(), dir, manual.Name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	f.Close()
	if err != nil || int64(len(text)) != snap.Size || !strings.HasPrefix(string(text), "SQLite format 3") {
		t.Errorf("%d bytes, %v, want %d", len(text), err, snap.Size)
	}
	for _, name := range []string{"", "../state.db", "state.db", manual.Name + "/..", "state-20260101T000000.000Z-auto.db"} {
		if _, _, err := state.OpenSnapshot(t.Context(), dir, name); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("open %q: %v", name, err)
		}
		if err := s.RemoveSnapshot(t.Context(), alice, dir, name); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if err := s.RemoveSnapshot(t.Context(), alice, dir, manual.Name); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v %v", entries, err)
	}
	told, err := s.AuditEntries(t.Context(), 100)
	if err != nil || len(told) != 8 {
		t.Errorf("%d changes are told of, want 8: %v", len(told), err)
	}
}

// removeAll removes files of a directory by a pattern.
func removeAll(t *testing.T, dir, pattern string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	for _, name := range list {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		t.Error(err)
	}
}
