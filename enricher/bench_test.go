package enricher_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
	"github.com/weirhq/weir/flow"
)

// traffic fills batches with the flows that the hosts of m would report: 24 rows of one host together, from or to a
// VIF there, the other end another VIF (half of them) or outside.
type traffic struct {
	r       *rand.Rand
	m       *estate.Model
	byHost  map[string][]int // VMs
	hosts   []string
	address map[string]flow.Addr
	skewed  bool // few VMs have most of the flows, as in life; else all are alike
	ports   bool // exporters tell interfaces; else ends are found by address
	rules   bool // each row is one of a rule
}

func newTraffic(m *estate.Model) *traffic {
	t := &traffic{r: rand.New(rand.NewPCG(5, 6)), m: m, byHost: map[string][]int{}, address: map[string]flow.Addr{}}
	for i := range m.VMs {
		if m.VMs[i].Host != "" && len(m.VMs[i].VIFs[0].Ports) > 0 {
			t.byHost[m.VMs[i].Host] = append(t.byHost[m.VMs[i].Host], i)
		}
	}
	for _, h := range m.Hosts {
		if len(t.byHost[h.Name]) > 0 {
			t.hosts = append(t.hosts, h.Name)
			t.address[h.Name] = h.Exporters[0].As16()
		}
	}
	return t
}

func (t *traffic) pick(n int) int {
	if !t.skewed {
		return t.r.IntN(n)
	}
	u := t.r.Float64()
	return int(float64(n) * u * u * u * u)
}

func (t *traffic) fill(b *flow.Batch, rows int) {
	b.Reset()
	b.Grow(rows)
	host := ""
	for i := range rows {
		if i%24 == 0 {
			host = t.hosts[t.pick(len(t.hosts))]
		}
		local := &t.m.VMs[t.byHost[host][t.pick(len(t.byHost[host]))]].VIFs[0]
		remote := &t.m.VMs[t.pick(len(t.m.VMs))].VIFs[0]
		addr, mac := remote.IPs[0].As16(), uint64(remote.MAC)
		if t.r.IntN(2) == 0 {
			addr, mac = netip.AddrFrom4([4]byte{203, 0, byte(t.r.IntN(256)), byte(t.r.IntN(256))}).As16(), 0x02ffffff0001
		}
		b.TimeReceived[i], b.Version[i], b.Exporter[i] = 1, 10, t.address[host]
		if t.r.IntN(2) == 0 {
			b.SrcAddr[i], b.DstAddr[i] = local.IPs[0].As16(), addr
			b.SrcMAC[i], b.DstMAC[i] = uint64(local.MAC), mac
			if t.ports {
				b.InIf[i], b.OutIf[i] = local.Ports[0].IfIndex, 7_000_001
			}
		} else {
			b.SrcAddr[i], b.DstAddr[i] = addr, local.IPs[0].As16()
			b.SrcMAC[i], b.DstMAC[i] = mac, uint64(local.MAC)
			if t.ports {
				b.InIf[i], b.OutIf[i] = 7_000_001, local.Ports[0].IfIndex
			}
		}
		if t.rules {
			instance := t.m.Rules[t.pick(len(t.m.Rules))].Instance
			b.ObservationDomain[i], b.ObservationPoint[i] = 1, flow.Point(flow.StageEgress+flow.Stage(t.r.IntN(3)), instance)
		}
		if !t.ports {
			b.SrcMAC[i], b.DstMAC[i] = 0, 0
		}
	}
}

// cpuTime returns the CPU time of the process so far in ns: on a busy machine it says more than the clock.
func cpuTime(tb testing.TB) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkEnrich(b *testing.B) {
	small := estatetest.Large
	small.Hosts, small.Networks, small.VMs = 10, 20, 1000
	for _, size := range []struct {
		name string
		estatetest.Size
	}{{"1k_vifs", small}, {"100k_vifs", estatetest.Large}} {
		m := estatetest.Random(rand.New(rand.NewPCG(1, 2)), size.Size)
		s, err := estate.Compile(m)
		if err != nil {
			b.Fatal(err)
		}
		h := estate.NewHolder()
		h.Store(s)
		e := enricher.New(enricher.Deps{Estate: h, Live: estate.NewLiveness(time.Minute)})
		late, rules := afterChanges(m), byRules(b, m)
		for _, c := range []struct {
			name                 string
			skewed, ports, rules bool
			e                    *enricher.Enricher
		}{
			{"ports_skewed", true, true, false, e},
			{"ports_uniform", false, true, false, e},
			{"addresses_skewed", true, false, false, e},
			{"addresses_uniform", false, false, false, e},
			{"ports_late", false, true, false, late},
			{"addresses_late", false, false, false, late},
			{"rules_skewed", true, true, true, rules},
			{"rules_uniform", false, true, true, rules},
		} {
			b.Run(size.name+"/"+c.name, func(b *testing.B) {
				t := newTraffic(m)
				t.skewed, t.ports, t.rules = c.skewed, c.ports, c.rules
				benchmarkEnrich(b, c.e, t)
			})
		}
	}
}

// afterChanges returns an enricher by an estate in which 100 VMs have changed since all flows ended.
func afterChanges(m *estate.Model) *enricher.Enricher {
	h := estate.NewHolder()
	a := estate.NewAssembler(estate.AssemblerDeps{Estate: h})
	a.Set(estate.FileSource, m, time.Now())
	changed := *m
	changed.VMs = slices.Clone(m.VMs)
	for i := range 100 {
		vm := &changed.VMs[i*len(m.VMs)/100]
		vm.VIFs = slices.Clone(vm.VIFs)
		vm.VIFs[0].MAC, vm.VIFs[0].IPs, vm.VIFs[0].Ports = 0, nil, nil
		vm.VIFs[0].Device = "0"
	}
	a.Set(estate.FileSource, &changed, time.Now().Add(time.Hour))
	return enricher.New(enricher.Deps{Estate: h, Live: estate.NewLiveness(time.Minute)})
}

// byRules gives m 50 000 rule instances and returns an enricher by an estate whose bridges all sample by them.
func byRules(b *testing.B, m *estate.Model) *enricher.Enricher {
	size := estatetest.Size{Rules: 50_000}
	m.Rules = estatetest.Random(rand.New(rand.NewPCG(3, 4)), size).Rules
	sampled := *m
	sampled.Hosts = slices.Clone(m.Hosts)
	for i := range sampled.Hosts {
		bridges := slices.Clone(sampled.Hosts[i].Bridges)
		for j := range bridges {
			bridges[j].RuleSampling, bridges[j].TotalsElsewhere = true, false
		}
		sampled.Hosts[i].Bridges = bridges
	}
	s, err := estate.Compile(&sampled)
	if err != nil {
		b.Fatal(err)
	}
	h := estate.NewHolder()
	h.Store(s)
	return enricher.New(enricher.Deps{Estate: h, Live: estate.NewLiveness(time.Minute)})
}

func benchmarkEnrich(b *testing.B, e *enricher.Enricher, t *traffic) {
	const rows, batches = 1024, 1
	var list [batches]*flow.Batch
	groups := 0
	for i := range list {
		list[i] = flow.NewBatch(rows)
		t.fill(list[i], rows)
		e.Enrich(list[i])
		groups += len(list[i].SrcGroups.IDs) + len(list[i].DstGroups.IDs)
	}
	before, cpu := e.Stats(), cpuTime(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.Enrich(list[i%batches])
	}
	st := e.Stats()
	flows := float64(st.Rows - before.Rows)
	b.ReportMetric(float64(cpuTime(b)-cpu)/flows, "cpu-ns/flow")
	b.ReportMetric(float64(groups)/rows/batches, "groups/flow")
	b.ReportMetric(float64(st.Port.Hits+st.MAC.Hits+st.Addr.Hits-before.Port.Hits-before.MAC.Hits-before.Addr.Hits)/flows, "ends/flow")
}
