package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/store"
)

// What is written is read as it was, once, and by every part of a query.
func TestAdminEvents(t *testing.T) {
	table := store.NewAdminEvents(migrated(t))
	start := time.UnixMilli(time.Now().UnixMilli()).UTC()
	all := []store.AdminEvent{
		{
			ID: 1, Time: start, Actor: "sue", Role: "superuser", Via: "token", Token: "ab", Source: "192.0.2.7", Request: "0011", Operation: "host.add", Object: "xcp'1", Reason: "it's \"new\"\n",
			Outcome: "done", After: `{"name":"xcp\\1","ü":"🙂"}`,
		},
		{ID: 2, Time: start, Actor: "vera", Operation: "host.add", Object: "xcp2", Outcome: "refused", Text: "found role viewer"},
		{ID: 3, Time: start.Add(time.Second), Actor: "weir", Source: "deadline", Operation: "policy.rollback", Outcome: "done", Before: "{}", After: "{}"},
		{ID: 7, Time: start.Add(2 * time.Second), Actor: "sue", Operation: "policy.apply", Outcome: "failed"},
	}
	if err := table.Write(t.Context(), all[:2]); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as after a failure
		if err := table.Write(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	pick := func(ids ...int) (list []store.AdminEvent) {
		for _, i := range ids {
			list = append(list, all[i])
		}
		return list
	}
	for name, c := range map[string]struct {
		q    store.AdminQuery
		want []store.AdminEvent
	}{
		"all":       {store.AdminQuery{}, pick(3, 2, 1, 0)},
		"newest":    {store.AdminQuery{Limit: 2}, pick(3, 2)},
		"before":    {store.AdminQuery{Before: 3}, pick(1, 0)},
		"range":     {store.AdminQuery{From: start.Add(time.Millisecond), To: start.Add(2 * time.Second)}, pick(2)},
		"actor":     {store.AdminQuery{Actor: "sue"}, pick(3, 0)},
		"operation": {store.AdminQuery{Operation: "host.add"}, pick(1, 0)},
		"object":    {store.AdminQuery{Object: "xcp'1"}, pick(0)},
		"outcome":   {store.AdminQuery{Outcome: "refused"}, pick(1)},
		"nothing":   {store.AdminQuery{Actor: "' OR 1 --"}, nil},
	} {
		got, err := table.Events(t.Context(), c.q)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		for i := range all {
			if c.q.Limit == 0 && c.q.Matches(&all[i]) != containsID(got, all[i].ID) {
				t.Errorf("%s: Matches and the table differ about %d", name, all[i].ID)
			}
		}
	}
}

func containsID(list []store.AdminEvent, id uint64) bool {
	for i := range list {
		if list[i].ID == id {
			return true
		}
	}
	return false
}
