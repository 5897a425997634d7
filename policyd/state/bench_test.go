package state_test

import (
	"testing"

	"github.com/weirhq/weir/event"
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
