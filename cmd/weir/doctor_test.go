package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/export"
)

// A bridge that exports in the other of its domains since policy is in force is not silent; one that is to export in both is, and so is one
// that nothing is heard of.
func TestDoctorMovedExport(t *testing.T) {
	now := time.Now()
	of := func(exporter string, domain uint32, live bool) collector.Exporter {
		return collector.Exporter{Live: live, Info: template.Info{
			Exporter: netip.MustParseAddr(exporter), Domain: domain, LastSeen: now.Add(-time.Hour).UnixMilli(), Counts: template.Counts{Flows: 5},
		}}
	}
	hosts := func(own, rules export.State) []policyd.HostStatus {
		return []policyd.HostStatus{{Exports: []export.Bridge{{State: own, Domain: 7, Rules: &export.Rules{State: rules, Domain: 65543}}}}}
	}
	for _, c := range []struct {
		what   string
		list   []collector.Exporter
		hosts  []policyd.HostStatus
		silent string // the one domain that is said to be; empty: none
	}{
		{"to rules", []collector.Exporter{of("192.0.2.1", 7, false), of("192.0.2.1", 65543, true)}, hosts(export.StateOff, export.StateSet), ""},
		{"back", []collector.Exporter{of("192.0.2.1", 7, true), of("192.0.2.1", 65543, false)}, hosts(export.StateSet, export.StateOff), ""},
		{"host not known here", []collector.Exporter{of("192.0.2.1", 7, false), of("192.0.2.1", 65543, true)}, nil, ""},
		{"both wanted", []collector.Exporter{of("192.0.2.1", 7, false), of("192.0.2.1", 65543, true)}, hosts(export.StateSet, export.StateSet), "192.0.2.1 domain 7"},
		{"rules wanted", []collector.Exporter{of("192.0.2.1", 7, true), of("192.0.2.1", 65543, false)}, hosts(export.StateSet, export.StateSet), "192.0.2.1 domain 65543"},
		{"neither heard", []collector.Exporter{of("192.0.2.1", 7, true), of("192.0.2.1", 65544, false)}, nil, "192.0.2.1 domain 65544"},
		{"another exporter's", []collector.Exporter{of("192.0.2.1", 7, false), of("192.0.2.2", 65543, true)}, nil, "192.0.2.1 domain 7"},
		{"others' domain 0", []collector.Exporter{of("192.0.2.1", 0, false), of("192.0.2.1", 65536, true)}, nil, "192.0.2.1 domain 0"},
		{"others' domain", []collector.Exporter{of("192.0.2.1", 131079, false), of("192.0.2.1", 65543, true)}, nil, "192.0.2.1 domain 131079"},
	} {
		f := checkExporters(c.list, domainsOf(c.hosts), nil, now)
		if got := strings.Count(f.Do, "is silent for"); c.silent == "" && f.State != "ok" || c.silent != "" && (got != 1 || !strings.Contains(f.Do, c.silent+" is silent for 1h")) {
			t.Errorf("%s: %+v, want silent: %q", c.what, f, c.silent)
		}
	}
}
