package learned

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
)

// result is what came of a packet.
type result string

const (
	resultUsed    result = "used"
	resultNothing result = "nothing" // it says nothing about addresses
	resultUnknown result = "unknown" // of no VIF that is known
	resultBehind  result = "behind"  // of a MAC address that is not the VIF's
	resultUnasked result = "unasked" // a DHCP server's, for nobody who asked
)

var results = []result{resultUsed, resultNothing, resultUnknown, resultBehind, resultUnasked}

type metrics struct {
	packets map[result]prometheus.Counter
	addrs   *prometheus.GaugeVec
	untold  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{packets: map[result]prometheus.Counter{}}
	packets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_estate_learned_packets_total",
		Help: "Packets of ARP, neighbour discovery and DHCP that bridges passed on, by what came of them: used, nothing (they say nothing about addresses), unknown (of no VIF that is known), behind (of a MAC address that is not the VIF's), unasked (a DHCP server's, for nobody who asked).",
	}, []string{"result"})
	for _, r := range results {
		m.packets[r] = packets.WithLabelValues(string(r))
	}
	m.addrs = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "weir_estate_learned_addresses",
		Help: "Addresses that VIFs were seen to have, by whether they are used: yes, no.",
	}, []string{"used"})
	m.untold = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "weir_estate_learned_untold_total", Help: "Findings about addresses that were not told as events, because there were many about one VIF.",
	})
	m.count(nil)
	if reg != nil {
		reg.MustRegister(packets, m.addrs, m.untold)
	}
	return m
}

// count says how many addresses are remembered.
func (m *metrics) count(list estate.LearnedAt) {
	used, unused := 0, 0
	for _, addrs := range list {
		for i := range addrs {
			if addrs[i].Used {
				used++
			} else {
				unused++
			}
		}
	}
	m.addrs.WithLabelValues("yes").Set(float64(used))
	m.addrs.WithLabelValues("no").Set(float64(unused))
}
