package event

import (
	"slices"
	"sort"
)

// ring is the last events, by ascending id.
type ring struct {
	events []Event // from start on, around
	start  int
	before uint64 // highest id that was pushed and has left, or that was given before the first
	last   uint64 // highest id that was pushed, or given before the first
}

// push adds an event, whose id is higher than all before. It returns the id of the one that had to leave for it, 0 if there was room.
func (r *ring) push(e Event, size int) (gone uint64) {
	r.last = e.ID
	if len(r.events) < size {
		r.events = append(r.events, e)
		return 0
	}
	gone = r.events[r.start].ID
	r.before = gone
	r.events[r.start] = e
	r.start = (r.start + 1) % len(r.events)
	return gone
}

// at returns the event number i, the oldest is 0.
func (r *ring) at(i int) *Event { return &r.events[(r.start+i)%len(r.events)] }

// above returns the number of the first event whose id is above id, or how many there are.
func (r *ring) above(id uint64) int {
	return sort.Search(len(r.events), func(i int) bool { return r.at(i).ID > id })
}

// find returns copies of the events that q asks for.
func (r *ring) find(q Query) []Event {
	var list []Event
	for n := range r.events {
		i := n
		if !q.Oldest {
			i = len(r.events) - 1 - n
		}
		if e := r.at(i); q.Matches(e) {
			list = append(list, *e)
		}
		if q.Limit > 0 && len(list) == q.Limit {
			break
		}
	}
	if !q.Oldest {
		slices.Reverse(list)
	}
	return list
}
