package event

import (
	"slices"
	"time"

	"github.com/weirhq/weir/flow"
)

// Query asks for events. Its zero value asks for all.
type Query struct {
	From, To time.Time // in [From, To); zero is no bound
	After    uint64    // with ids above
	Before   uint64    // with ids below; 0 is no bound
	Kinds    []Kind    // of one of these; empty is all
	Host     flow.ID   // about this host; 0 is all
	VM       flow.ID   // about this VM; 0 is all
	Limit    int       // at most so many; 0 is no limit
	Oldest   bool      // where there are more than Limit: the oldest of them instead of the newest
}

// Matches tells whether q asks for e, Limit aside.
func (q *Query) Matches(e *Event) bool {
	return (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To)) &&
		e.ID > q.After && (q.Before == 0 || e.ID < q.Before) &&
		(len(q.Kinds) == 0 || slices.Contains(q.Kinds, e.Kind)) &&
		(q.Host == 0 || e.Host == q.Host) && (q.VM == 0 || e.VM == q.VM)
}

// limit returns what Limit leaves of list, which is in the order of ids.
func (q *Query) limit(list []Event) []Event {
	switch {
	case q.Limit == 0 || len(list) <= q.Limit:
		return list
	case q.Oldest:
		return list[:q.Limit]
	default:
		return list[len(list)-q.Limit:]
	}
}
