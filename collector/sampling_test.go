package collector_test

import (
	"testing"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/template"
)

func TestSamplingSummary(t *testing.T) {
	f := func(want string, info template.Info) {
		t.Helper()
		if got := (&collector.Exporter{Info: info}).SamplingSummary(); got != want {
			t.Errorf("SamplingSummary of %+v = %q, want %q", info, got, want)
		}
	}
	two := map[uint64]uint32{1: 100, 2: 1000}
	f("", template.Info{Protocol: 10})
	f("in records", template.Info{Protocol: 10, Counts: template.Counts{Flows: 5}})
	f("in headers", template.Info{Protocol: 5, Counts: template.Counts{Flows: 5}})
	f("not said, assumed for 5", template.Info{Protocol: 5, Counts: template.Counts{Flows: 5, Assumed: 5}})
	f("1:100", template.Info{Protocol: 9, SamplingRate: 100})
	f("1:100, assumed for 2", template.Info{Protocol: 9, SamplingRate: 100, Counts: template.Counts{Flows: 5, Assumed: 2}})
	f("3 samplers", template.Info{Protocol: 9, Samplers: two, PerInterface: map[uint64]uint32{7: 10}})
	f("multiplied by exporter", template.Info{Protocol: 10, Counts: template.Counts{Flows: 5, Scaled: 5}})
	f("in records, 3 absurd", template.Info{Protocol: 10, Counts: template.Counts{Flows: 5, AbsurdRates: 3}})
}
