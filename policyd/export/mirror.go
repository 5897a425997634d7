package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/policyd/mirror"
)

// copies are those of one bridge to one destination.
type copies struct{ bridge, to string }

// copying is how they stood at the last look.
type copying struct {
	state mirror.State
	since time.Time
	vifs  []string // whose traffic is copied, as was told
	why   string   // why it is not, as was told
	last  mirror.Mirror
}

// mirrored notes how mirrors stand, and tells whose traffic is copied from now on, whose is not any more, and what cannot be. What was so before
// this process looked the first time is not told.
func (k *keeper) mirrored(h *Host, a *answer, now time.Time) {
	k.mu.Lock()
	was := k.copies
	k.copies = map[copies]*copying{}
	for i := range a.bridges {
		b := &a.bridges[i]
		for _, m := range b.Mirrors {
			at := copies{b.Name, m.To}
			c := &copying{state: m.State, since: now, last: m}
			if old := was[at]; old != nil {
				c.vifs, c.why = old.vifs, old.why
				if old.state == m.State {
					c.since = old.since
				}
			}
			k.copies[at] = c
			if m.State == mirror.StateFailed && k.remade[b.Name].IsZero() {
				k.remade[b.Name] = now
			}
		}
	}
	is := maps.Clone(k.copies)
	k.mu.Unlock()
	inOrder := func(a, b copies) int { return cmp.Or(strings.Compare(a.bridge, b.bridge), strings.Compare(a.to, b.to)) }
	for _, at := range slices.SortedFunc(maps.Keys(was), inOrder) {
		if old := was[at]; is[at] == nil {
			k.tellCopies(h, at.bridge, event.MirrorStopped, old.vifs, &old.last)
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(is), inOrder) {
		c := is[at]
		vifs, why := c.last.Copied, ""
		switch c.state {
		case mirror.StateSetting:
			continue // as it was, until it is
		case mirror.StateFailed, mirror.StateLeftOut:
			why = c.last.Why
		case mirror.StateActive, mirror.StateWaiting, mirror.StateYielded:
		}
		before := c.vifs
		if was == nil && c.state == mirror.StateActive {
			before = vifs
		}
		k.tellCopies(h, at.bridge, event.MirrorStarted, without(vifs, before), &c.last)
		k.tellCopies(h, at.bridge, event.MirrorStopped, without(before, vifs), &c.last)
		if why != "" && why != c.why {
			k.emitAttributes(h, at.bridge, event.MirrorFailed, fmt.Sprintf("bridge %q: no copies of traffic to %s (mirror target %s): %s", at.bridge, at.to, c.last.Target, why),
				map[string]string{"to": at.to, "target": c.last.Target, "why": why, "vifs": strings.Join(c.last.VIFs, ", ")})
		}
		c.vifs, c.why = vifs, why // these belong to run
	}
}

// without returns the elements of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { return slices.Contains(b, x) })
}

func (k *keeper) tellCopies(h *Host, bridge string, kind event.Kind, vifs []string, m *mirror.Mirror) {
	if len(vifs) == 0 {
		return
	}
	verb := "copies of the traffic of %s go to %s (mirror target %s)"
	if kind == event.MirrorStopped {
		verb = "no more copies of the traffic of %s go to %s (mirror target %s)"
	}
	text := fmt.Sprintf("bridge %q: "+verb, bridge, strings.Join(vifs, ", "), m.To, m.Target)
	k.emitAttributes(h, bridge, kind, text, map[string]string{"to": m.To, "target": m.Target, "vifs": strings.Join(vifs, ", "), "row": m.Row})
}
