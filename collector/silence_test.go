package collector_test

import (
	"net/netip"
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
