package collector

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weirhq/weir/event"
)

// Silence tells which exporters fall silent, and which are heard again, by comparing. It is pure and for one goroutine.
type Silence struct {
	known map[netip.Addr]heard
}

// heard is what was seen of an exporter last: of all its observation domains together.
type heard struct {
	live bool
	last int64 // ms of its last datagram
}

// NewSilence returns a Silence that has seen nothing. Exporters that it sees for the first time are no news, so that a start tells nothing.
func NewSilence() *Silence { return &Silence{known: map[netip.Addr]heard{}} }

// Look compares list, which Exporters returned for now, with the one before. Events are by exporter; they do not say yet to which host it belongs.
func (s *Silence) Look(list []Exporter, now time.Time) []event.Event {
	next := make(map[netip.Addr]heard, len(list))
	for i := range list {
		e := &list[i]
		h := next[e.Exporter]
		next[e.Exporter] = heard{h.live || e.Live, max(h.last, e.LastSeen)}
	}
	var events []event.Event
	for exporter, h := range next {
		before, known := s.known[exporter]
		if !known || before.live == h.live {
			continue
		}
		e := event.Event{Time: now, Kind: event.ExporterHeard, Subject: exporter.String(), Attributes: map[string]string{"exporter": exporter.String()}}
		last := h.last
		if !h.live {
			e.Kind = event.ExporterSilent
			e.Text = fmt.Sprintf("has sent nothing for %s", now.Sub(time.UnixMilli(last)).Round(time.Second))
		} else {
			last = before.last
			e.Text = fmt.Sprintf("sends again, after %s", time.UnixMilli(h.last).Sub(time.UnixMilli(last)).Round(time.Second))
		}
		e.Attributes["silent_since"] = time.UnixMilli(last).UTC().Format(time.RFC3339)
		events = append(events, e)
	}
	s.known = next
	slices.SortFunc(events, func(a, b event.Event) int {
		return netip.MustParseAddr(a.Subject).Compare(netip.MustParseAddr(b.Subject))
	})
	return events
}
