package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
)

// What is inserted is read as it was, and by every part of a query.
func TestEvents(t *testing.T) {
	c := migrated(t)
	table := store.NewEvents(c)
	if last, err := table.LastEventID(t.Context()); err != nil || last != 0 {
		t.Fatalf("last id of an empty table: %d, %v", last, err)
	}
	start := time.UnixMilli(time.Now().UnixMilli()).UTC()
	const most = flow.ID(1<<64 - 1)
	all := []event.Event{
		{
			ID: 3, Time: start, Kind: event.VIFMoved, Pool: 1, Host: most, Bridge: 2, Network: 3, VM: 4, VIF: 5, Subject: "web-01/0",
			Text: "it's \"moved\"\nfrom \\ xcp1", Attributes: map[string]string{"from": "xcp'1", "to": "🙂"},
		},
		{ID: 4, Time: start.Add(time.Millisecond), Kind: event.HostLost, Host: 7, Attributes: map[string]string{}},
		{ID: 9, Time: start.Add(2 * time.Millisecond), Kind: event.HostConnected, Host: 7, Attributes: map[string]string{}},
		{ID: 10, Time: start.Add(time.Second), Kind: event.HostLost, Host: 8, VM: 4, Attributes: map[string]string{}},
	}
	for range 2 { // the second time as after a failure
		if err := table.InsertEvents(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	pick := func(ids ...uint64) (list []event.Event) {
		for _, e := range all {
			for _, id := range ids {
				if e.ID == id {
					list = append(list, e)
				}
			}
		}
		return list
	}
	for name, c := range map[string]struct {
		q    event.Query
		want []event.Event
	}{
		"all":    {event.Query{}, all},
		"range":  {event.Query{From: start.Add(time.Millisecond), To: start.Add(time.Second)}, pick(4, 9)},
		"within": {event.Query{From: start.Add(time.Millisecond - 1), To: start.Add(2*time.Millisecond + 1)}, pick(4, 9)},
		"ids":    {event.Query{After: 3, Before: 10}, pick(4, 9)},
		"kinds":  {event.Query{Kinds: []event.Kind{event.VIFMoved, event.HostConnected}}, pick(3, 9)},
		"host":   {event.Query{Host: 7}, pick(4, 9)},
		"high":   {event.Query{Host: most}, pick(3)},
		"vm":     {event.Query{VM: 4}, pick(3, 10)},
		"newest": {event.Query{Limit: 2}, pick(9, 10)},
		"oldest": {event.Query{Limit: 2, Oldest: true}, pick(3, 4)},
		"none":   {event.Query{Host: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := table.Events(t.Context(), c.q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			var matched []event.Event // by the other way to select
			for _, e := range all {
				if c.q.Matches(&e) && c.q.Limit == 0 {
					matched = append(matched, e)
				}
			}
			if diff := cmp.Diff(matched, got); c.q.Limit == 0 && diff != "" {
				t.Errorf("Matches: %s", diff)
			}
		})
	}
	ids, err := table.EventIDs(t.Context(), 4, 10)
	if diff := cmp.Diff(map[uint64]bool{4: true, 9: true, 10: true}, ids); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if last, err := table.LastEventID(t.Context()); err != nil || last != 10 {
		t.Errorf("last id %d, %v, want 10", last, err)
	}
	if got := column(t, c, "SELECT severity || ' ' || host_name FROM network_events FINAL ORDER BY id"); !cmp.Equal(got, []string{"info ", "error ", "info ", "error "}) {
		t.Errorf("severities and names: %q", got)
	}
}

// Every severity and kind is one that the table takes.
func TestEventKinds(t *testing.T) {
	table := store.NewEvents(migrated(t))
	for i, k := range event.Kinds {
		if err := table.InsertEvents(t.Context(), []event.Event{{ID: uint64(i + 1), Time: time.Now(), Kind: k.Kind}}); err != nil {
			t.Errorf("kind %s: %v", k.Kind, err)
		}
	}
}
