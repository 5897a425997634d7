package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/state"
)

// What events cost on their way: one by one, and a thousand at once.
func BenchmarkKeepEvents(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "1000": 1000} {
		b.Run(name, func(b *testing.B) {
			s := open(b, file(b))
			id := uint64(0)
			for b.Loop() {
				events := make([]event.Event, n)
				for i := range events {
					id++
					events[i] = event.Event{ID: id, Time: then, Kind: event.VIFPlugged, Subject: "web-01/0", Text: "plugged into bridge xenbr0 of xcp1", Attributes: map[string]string{"mac": "02:00:00:00:00:01"}}
				}
				if err := s.KeepEvents(b.Context(), events); err != nil {
					b.Fatal(err)
				}
				if err := s.DropEvents(b.Context(), id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// many is a state with revisions of a policy of many rules, of which each changed one.
type many struct {
	*state.State
	file   string
	lines  []string
	placed []state.Placed
	next   uint32
}

func newMany(b *testing.B, rules, revisions int) *many {
	b.Helper()
	m := &many{file: filepath.Join(b.TempDir(), "state.db"), next: 256}
	m.State = open(b, m.file)
	for i := range rules {
		m.lines = append(m.lines, "")
		m.placed = append(m.placed, state.Placed{Tier: 5, Scope: flow.ID(i / 10), Rule: fmt.Sprintf("r%08x", i*7919), Rank: uint16(i%10*64 + 64)})
		m.change(i, 0)
	}
	for n := range revisions - 1 { // where rules stand is kept of those in force only
		m.change(n*7%rules, n+1)
		if _, err := m.Apply(b.Context(), act, state.Application{Policy: state.Policy{Text: strings.Join(m.lines, "")}}); err != nil {
			b.Fatal(err)
		}
	}
	m.apply(b, revisions, time.Time{})
	return m
}

// change makes rule i another one.
func (m *many) change(i, n int) {
	m.lines[i] = fmt.Sprintf("    - id: %s\n      action: allow\n      direction: to\n      protocol: tcp\n      remote: 10.%d.%d.%d/32\n      remote_ports: \"%d\"\n      comment: ticket %d\n",
		m.placed[i].Rule, i%251, n%251, i%241, 1024+i%50_000, i*31+n)
	m.placed[i].Instance = 0
}

// apply makes a revision of which one rule is new.
func (m *many) apply(b *testing.B, n int, deadline time.Time) state.Policy {
	b.Helper()
	i := n * 7 % len(m.lines)
	m.change(i, n+1)
	a := state.Application{Policy: state.Policy{Text: strings.Join(m.lines, ""), Deadline: deadline}}
	for k := range m.placed {
		p := &m.placed[k]
		if p.Instance == 0 {
			p.Instance = m.next
			m.next++
			a.Instances = append(a.Instances, state.Instance{Instance: p.Instance, Rule: p.Rule, Action: "allow", Digest: fmt.Sprint(p.Instance), Text: "allow to 10.0.0.1 tcp remote ports 443"})
		}
	}
	a.Placed, a.Next = m.placed, m.next
	p, err := m.Apply(b.Context(), act, a)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// What 10 000 rules in 1 000 revisions cost.
func BenchmarkManyRevisions(b *testing.B) {
	const rules, revisions = 10_000, 1000
	m := newMany(b, rules, revisions)
	report := func(b *testing.B) {
		if info, err := os.Stat(m.file); err == nil {
			b.ReportMetric(float64(info.Size())/1e6, "file-MB")
		}
	}
	n := revisions
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			m.apply(b, n, time.Time{})
			n++
		}
		report(b)
	})
	b.Run("rollback", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			before := append([]state.Placed{}, m.placed...)
			p := m.apply(b, n, then.Add(time.Hour))
			n++
			b.StartTimer()
			if _, err := m.RollBack(b.Context(), act, p.Revision); err != nil {
				b.Fatal(err)
			}
			m.placed = before
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.Intent(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			if list, err := m.Revisions(b.Context(), 0, revisions); err != nil || len(list) != revisions {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("old", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := m.Revision(b.Context(), 2); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("edit", func(b *testing.B) {
		d, err := m.AddDraft(b.Context(), act, state.Draft{Owner: "alice", Name: "x", Text: strings.Join(m.lines, "")})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			m.change(n%rules, n)
			n++
			if _, err := m.EditDraft(b.Context(), act, state.DraftChange{Owner: d.Owner, Name: d.Name, Text: strings.Join(m.lines, "")}); err != nil {
				b.Fatal(err)
			}
		}
		if err := m.DropDraft(b.Context(), act, d.Owner, d.Name); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			copied := filepath.Join(b.TempDir(), fmt.Sprint(n))
			n++
			if err := m.Backup(b.Context(), alice, copied); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("prune", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			m.apply(b, n, time.Time{})
			n++
			b.StartTimer()
			if _, err := m.Prune(b.Context(), act, revisions); err != nil {
				b.Fatal(err)
			}
		}
		report(b)
	})
}
