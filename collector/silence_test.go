package collector_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/event"
)

func TestSilence(t *testing.T) {
	start := time.UnixMilli(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC).UnixMilli())
	at := func(after time.Duration, domain uint32, addr string, live bool) collector.Exporter {
		e := collector.Exporter{Live: live}
		e.Exporter, e.Domain, e.LastSeen = netip.MustParseAddr(addr), domain, start.Add(after).UnixMilli()
		return e
	}
	s := collector.NewSilence()
	look := func(after time.Duration, list ...collector.Exporter) (told []string) {
		t.Helper()
		for _, e := range s.Look(list, start.Add(after)) {
			told = append(told, string(e.Kind)+" "+e.Subject+" "+e.Text+" "+e.Attributes["silent_since"])
			if e.Attributes["exporter"] != e.Subject || !e.Time.Equal(start.Add(after)) {
				t.Errorf("%+v", e)
			}
		}
		return told
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	const minute = time.Minute
	// What a start finds is no news, also not of those that were silent before it.
	want(look(0, at(0, 1, "192.0.2.1", true), at(-9*minute, 2, "192.0.2.1", false), at(-9*minute, 0, "192.0.2.2", false)))
	want(look(minute, at(minute, 1, "192.0.2.1", true), at(-9*minute, 0, "192.0.2.2", false), at(minute, 0, "2001:db8::1", true)))
	// An exporter is silent when all its domains are.
	want(look(5*minute, at(minute, 1, "192.0.2.1", false), at(4*minute, 2, "192.0.2.1", true), at(minute, 0, "2001:db8::1", false)),
		string(event.ExporterSilent)+" 2001:db8::1 has sent nothing for 4m0s 2026-11-26T12:01:00Z")
	want(look(9*minute, at(minute, 1, "192.0.2.1", false), at(4*minute, 2, "192.0.2.1", false), at(8*minute, 0, "2001:db8::1", true)),
		string(event.ExporterSilent)+" 192.0.2.1 has sent nothing for 5m0s 2026-11-26T12:04:00Z",
		string(event.ExporterHeard)+" 2001:db8::1 sends again, after 7m0s 2026-11-26T12:01:00Z")
	// One that is forgotten is new when it comes back.
	want(look(10 * minute))
	want(look(11*minute, at(11*minute, 1, "192.0.2.1", true)))
}

func TestRestarts(t *testing.T) {
	at := func(addr string, domain uint32, restarts uint64) collector.Exporter {
		e := collector.Exporter{}
		e.Exporter, e.Domain, e.Loss.Restarts = netip.MustParseAddr(addr), domain, restarts
		return e
	}
	r := collector.NewRestarts()
	for i, c := range []struct {
		list []collector.Exporter
		want []netip.Addr
	}{
		{[]collector.Exporter{at("192.0.2.1", 1, 5), at("192.0.2.2", 1, 0)}, nil},
		{[]collector.Exporter{at("192.0.2.1", 1, 5), at("192.0.2.2", 1, 0), at("192.0.2.3", 1, 9)}, nil},
		{[]collector.Exporter{at("192.0.2.1", 1, 6), at("192.0.2.1", 2, 1), at("192.0.2.2", 1, 0)}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		{[]collector.Exporter{at("192.0.2.1", 1, 7), at("192.0.2.1", 2, 2), at("192.0.2.2", 1, 1)}, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}},
		{nil, nil},
		{[]collector.Exporter{at("192.0.2.1", 1, 9)}, nil},
	} {
		if got := r.Look(c.list); !slices.Equal(got, c.want) {
			t.Errorf("look %d: %v, want %v", i, got, c.want)
		}
	}
}
