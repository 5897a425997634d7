package collector_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

func TestGrowth(t *testing.T) {
	start := time.UnixMilli(1_800_000_000_000)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	domain := func(id uint32, first, flows, stored, lost uint64, dropped map[string]uint64) collector.Exporter {
		return collector.Exporter{Info: template.Info{
			Exporter: netip.MustParseAddr("192.0.2.1"), Protocol: 9, Domain: id, FirstSeen: at(int(first)).UnixMilli(),
			Counts: template.Counts{Flows: flows, Dropped: dropped}, Rows: flow.Tallied{Stored: stored},
			Loss: loss.State{Counts: loss.Counts{Lost: lost, Missing: 7}},
		}}
	}
	g := collector.NewGrowth(start)
	want := func(second int, list []collector.Exporter, grown ...collector.Exporter) {
		t.Helper()
		got := g.Since(list, at(second))
		if len(got) != len(grown) {
			t.Fatalf("second %d: %d domains grew, want %d: %+v", second, len(got), len(grown), got)
		}
		for i, w := range grown {
			e := got[i]
			if e.Domain != w.Domain || e.Counts.Flows != w.Counts.Flows || e.Rows != w.Rows || e.Loss.Counts != w.Loss.Counts ||
				e.Counts.Dropped["truncated"] != w.Counts.Dropped["truncated"] {
				t.Errorf("second %d: %+v, want %+v", second, e.Info, w.Info)
			}
		}
	}
	want(10, []collector.Exporter{domain(1, 5, 100, 50, 0, nil), domain(2, 5, 0, 0, 0, nil)}, domain(1, 5, 100, 50, 0, nil))
	want(20, []collector.Exporter{domain(1, 5, 100, 100, 0, nil), domain(2, 5, 0, 0, 3, nil)}, domain(1, 5, 0, 50, 0, nil), domain(2, 5, 0, 0, 3, nil))
	want(30, []collector.Exporter{domain(1, 5, 100, 100, 0, nil), domain(2, 5, 0, 0, 3, nil)})
	want(40, []collector.Exporter{domain(1, 5, 100, 100, 0, map[string]uint64{"truncated": 2})}, domain(1, 5, 0, 0, 0, map[string]uint64{"truncated": 2}))
	// Forgotten, and heard of again.
	want(50, []collector.Exporter{domain(1, 45, 7, 0, 0, nil)}, domain(1, 45, 7, 0, 0, nil))

	g = collector.NewGrowth(start)
	if got := g.Since([]collector.Exporter{domain(1, 4, 1, 0, 0, nil)}, at(10)); got[0].Interval != 6*time.Second {
		t.Errorf("interval %v of a domain that is 6 seconds old", got[0].Interval)
	}
	if got := g.Since([]collector.Exporter{domain(1, 4, 2, 0, 0, nil)}, at(30)); got[0].Interval != 20*time.Second {
		t.Errorf("interval %v, want 20s", got[0].Interval)
	}
}
