package collector

import (
	"fmt"

	"github.com/weirhq/weir/collector/netflow"
)

// SamplingSummary tells, in a few words, what sampling rate the domain's flows have, and of how many it is assumed.
func (e *Exporter) SamplingSummary() string {
	told := "in records"
	if e.Protocol == netflow.Version5 {
		told = "in headers"
	}
	switch samplers := len(e.Samplers) + len(e.PerInterface); {
	case e.SamplingRate > 0:
		told = fmt.Sprintf("1:%d", e.SamplingRate)
	case samplers > 0:
		told = fmt.Sprintf("%d samplers", samplers)
	case e.Counts.Assumed > 0:
		told = "not said"
	case e.Counts.Scaled > 0:
		told = "multiplied by exporter"
	case e.Counts.Flows == 0:
		told = ""
	}
	if e.Counts.Assumed > 0 {
		told += fmt.Sprintf(", assumed for %d", e.Counts.Assumed)
	}
	if e.Counts.AbsurdRates > 0 {
		told += fmt.Sprintf(", %d absurd", e.Counts.AbsurdRates)
	}
	return told
}
