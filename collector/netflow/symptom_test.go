package netflow_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// What people who run collectors complain of, each as its exporter would send it.

// uint is an integer in so many octets.
func (p packet) uint(width uint16, v uint64) packet {
	for i := int(width) - 1; i >= 0; i-- {
		p = append(p, byte(v>>(8*i)))
	}
	return p
}

// named is a template of flows that name their sampler by element id in so many octets; namedFlow a record of it.
func named(id, width uint16) []f { return append(slices.Clip(basic), f{id: id, length: width}) }

func namedFlow(width uint16, sampler uint64) packet {
	return record("10.0.0.1", "10.0.0.2", 1000, 443, 6, 600, 4).uint(width, sampler)
}

var plainFlow = slices.Clip(record("10.0.0.1", "10.0.0.2", 1000, 443, 6, 600, 4))

// wantRates compares the rates of all rows, and which of them are assumed: those that are negative.
func (c *collector) wantRates(want ...int) {
	c.Helper()
	c.wantRows(len(want))
	assumed := uint64(0)
	for i, w := range want {
		if w < 0 {
			assumed++
		}
		expect(c, c.out, i, "sampling_rate", uint32(max(w, -w)), "sampling_assumed", w < 0, "bytes", uint64(600), "packets", uint64(4))
	}
	counted := uint64(0)
	for _, d := range c.store.Domains() {
		counted += d.Counts.Assumed
	}
	if counted != assumed {
		c.Errorf("sampling_assumed counts %d, want %d", counted, assumed)
	}
}

// "The rate is in the flow records, and you look for it in the options": NetStream.
func TestRateInEachFlowRecord(t *testing.T) {
	fields := append(slices.Clip(basic), f{id: 34, length: 4}, f{id: 35, length: 1})
	c := newCollector(t)
	c.decode(v9(0,
		set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 34, length: 4})), set(300, packet{}.u32(9, 64)),
		set(0, templateOf(256, fields...)),
		set(256, plainFlow.bytes(packet{}.u32(1000).u8(2)), plainFlow.bytes(packet{}.u32(2000).u8(2)),
			plainFlow.bytes(packet{}.u32(0).u8(0))))) // does not say: as the domain
	c.wantRates(1000, 2000, 64)
}

// The same with the elements of IPFIX, whichever an exporter takes.
func TestRateInEachFlowRecordByAnyElement(t *testing.T) {
	for _, x := range []struct {
		name   string
		fields []f
		values packet
		want   int
	}{
		{"samplerRandomInterval", []f{{id: 50, length: 4}}, packet{}.u32(4096), 4096},
		{"interval and space", []f{{id: 305, length: 4}, {id: 306, length: 4}}, packet{}.u32(1, 999), 1000},
		{"interval of several and space", []f{{id: 305, length: 4}, {id: 306, length: 4}}, packet{}.u32(10, 990), 100},
		{"space of nothing", []f{{id: 305, length: 4}, {id: 306, length: 4}}, packet{}.u32(10, 0), 1},
		{"interval alone", []f{{id: 305, length: 4}}, packet{}.u32(500), 500},
		{"size and population", []f{{id: 309, length: 4}, {id: 310, length: 4}}, packet{}.u32(2, 1024), 512},
		{"probability", []f{{id: 311, length: 8}}, packet{}.u64(math.Float64bits(0.01)), 100},
		{"probability of reduced size", []f{{id: 311, length: 4}}, packet{}.u32(math.Float32bits(0.01)), 100},
		{"probability of everything", []f{{id: 311, length: 8}}, packet{}.u64(math.Float64bits(1)), 1},
		{"probability of nothing", []f{{id: 311, length: 8}}, packet{}.u64(0), -1},
		{"probability that is none", []f{{id: 311, length: 8}}, packet{}.u64(math.Float64bits(math.NaN())), -1},
		{"probability above one", []f{{id: 311, length: 8}}, packet{}.u64(math.Float64bits(100)), -1},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCollector(t)
			c.decode(ipfix(1, set(2, templateOf(256, append(slices.Clip(basic), x.fields...)...)),
				set(256, plainFlow.bytes(x.values))))
			c.wantRates(x.want)
			c = newCollector(t) // and in options, for flows that do not say
			c.decode(ipfix(1, set(3, optionsOf(300, 1, append([]f{{id: 149, length: 4}}, x.fields...)...)), set(300, packet{}.u32(1).bytes(x.values)),
				set(2, templateOf(256, basic...)), set(256, plainFlow)))
			c.wantRates(x.want)
		})
	}
}

// "I have a sampler of 1:100 and one of 1:1000, and all my flows get the rate of one of them."
func TestEachSamplerHasItsOwnRate(t *testing.T) {
	for _, width := range []uint16{1, 2, 4, 8} {
		t.Run(fmt.Sprintf("NetFlow 9, %d octets", width), func(t *testing.T) {
			c := newCollector(t)
			c.decode(v9(0,
				set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 48, length: width}, f{id: 84, length: 8}, f{id: 49, length: 1}, f{id: 50, length: 4})),
				set(300,
					packet{}.u32(9).uint(width, 1).bytes([]byte("ONE_100\x00")).u8(2).u32(100),
					packet{}.u32(9).uint(width, 2).bytes([]byte("ONE_1000")).u8(2).u32(1000)),
				set(0, templateOf(256, named(48, width)...)),
				set(256, namedFlow(width, 1), namedFlow(width, 2), namedFlow(width, 1))))
			c.wantRates(100, 1000, 100)
		})
		t.Run(fmt.Sprintf("IPFIX, %d octets", width), func(t *testing.T) {
			c := newCollector(t)
			c.decode(ipfix(0,
				set(3, optionsOf(300, 1, f{id: 302, length: width}, f{id: 304, length: 2}, f{id: 305, length: 4}, f{id: 306, length: 4})),
				set(300, packet{}.uint(width, 1).u16(1).u32(1, 99), packet{}.uint(width, 2).u16(1).u32(1, 999)),
				set(2, templateOf(256, named(302, 8)...)), // another width than in the options
				set(256, namedFlow(8, 1), namedFlow(8, 2), namedFlow(8, 1))))
			c.wantRates(100, 1000, 100)
		})
	}
}

// "The device names no sampler in its flows": one rate, or one on which its samplers agree, is the rate.
func TestFlowsThatNameNoSampler(t *testing.T) {
	for name, x := range map[string]struct {
		rates []uint32
		want  int
	}{
		"one sampler":                {[]uint32{2000}, 2000},
		"samplers that agree":        {[]uint32{2000, 2000, 2000}, 2000},
		"samplers that do not agree": {[]uint32{2000, 4000}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			var options []packet
			for i, r := range x.rates {
				options = append(options, packet{}.u8(uint8(i+1)).u32(r))
			}
			c.decode(ipfix(0, set(3, optionsOf(300, 1, f{id: 302, length: 1}, f{id: 50, length: 4})), set(300, options...),
				set(2, templateOf(256, basic...)), set(256, plainFlow)))
			c.wantRates(x.want)
		})
	}
}

// "My exporter names a sampler and never says its rate": assumed, and visibly so.
func TestSamplerWhoseRateIsNeverSaid(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(0, set(0, templateOf(256, named(48, 2)...)), set(256, namedFlow(2, 7), namedFlow(2, 7))))
	c.wantRates(-1, -1)
}

// "Sampled 1:1000 in an option of two octets, and the collector says 0."
func TestRateInFewerOctets(t *testing.T) {
	for _, width := range []uint16{1, 2, 3, 4, 8} {
		rate := uint64(200)
		if width > 1 {
			rate = 1000
		}
		c := newCollector(t)
		c.decode(v9(0, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 34, length: width})),
			set(300, packet{}.u32(9).uint(width, rate)), set(0, templateOf(256, basic...)), set(256, plainFlow)))
		c.wantRates(int(rate))
	}
}

// "Exporters that do not sample lose all their flows, since they say no rate."
func TestExporterThatSaysNoRate(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(0, set(0, templateOf(256, basic...)), set(256, plainFlow, plainFlow)), ipfix(0, set(2, templateOf(256, basic...)), set(256, plainFlow)))
	c.wantRates(-1, -1, -1)
	if n := c.store.Domains()[0].Counts; n.Flows != 2 || len(n.Dropped) != 0 {
		t.Errorf("%d flows, dropped %v; want 2, none", n.Flows, n.Dropped)
	}
}

// What is configured counts where the exporter says nothing, before what is guessed, and nowhere else.
func TestConfiguredRates(t *testing.T) {
	c := newCollector(t)
	other := netip.MustParseAddr("192.0.2.2")
	c.decoder = netflow.New(netflow.Config{DefaultSampling: 10, ExporterSampling: func(a netip.Addr) uint32 {
		if a == exporter {
			return 512
		}
		return 0
	}}, c.store)
	plain := v9(0, set(0, templateOf(256, basic...)), set(256, plainFlow))
	said := v9(1, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 34, length: 4})), set(300, packet{}.u32(9, 64)),
		set(0, templateOf(256, basic...)), set(256, plainFlow))
	for _, from := range []netip.Addr{exporter, other} {
		for _, b := range [][]byte{plain, said, plain} {
			if err := c.decoder.Decode(b, from, received, c.out); err != nil {
				t.Fatal(err)
			}
			c.store.Expire(received)
		}
	}
	c.wantRates(-512, 64, -512, -10, 64, -64)
}

// "The sampling mode in the header of NetFlow 5 turns 1:100 into 1:16484."
func TestModeBitsOfNetFlow5(t *testing.T) {
	r := packet{}.addr("10.0.0.1", "10.0.0.2", "0.0.0.0").u16(1, 2).u32(4, 600, uptime, uptime).u16(1, 2).u8(0, 0, 6, 0).u16(0, 0).u8(0, 0).u16(0)
	c := newCollector(t)
	for _, sampling := range []uint16{100, 0x4000 | 100, 0x8000 | 100, 0xC000 | 100, 0x3FFF, 0, 0x4000, 1, 0x4001} {
		c.decode(v5(sampling, 0, r))
	}
	// 0 says nothing, in any mode; 1 says that nothing is left out.
	c.wantRates(100, 100, 100, 100, 0x3FFF, -1, -1, 1, 1)
}

// "I changed the rate on the router and my totals are off since."
func TestRateThatChanges(t *testing.T) {
	sampler := func(rate uint32) packet { return set(300, packet{}.u32(9).u8(1).u32(rate)) }
	data := set(256, namedFlow(1, 1))
	c := newCollector(t)
	c.decode(
		v9(0, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 48, length: 1}, f{id: 50, length: 4})), set(0, templateOf(256, named(48, 1)...))),
		v9(0, sampler(100), data, data, sampler(1000), data),
		v9(0, data), v9(0, sampler(1), data), v9(0, sampler(0), data), // 0 is no rate
	)
	c.wantRates(100, 100, 1000, 1000, 1, 1)
}

// "After a start the first minutes are much too low": they are marked, and what is told later applies from then on.
func TestRateThatIsToldLate(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(0, set(0, templateOf(256, basic...)), set(256, plainFlow, plainFlow)))
	c.wantRates(-1, -1)
	c.decode(v9(0, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 34, length: 4})), set(300, packet{}.u32(9, 1000)), set(256, plainFlow)))
	c.wantRates(-1, -1, 1000)
}

// "Options come from source id 6 and flows from others": what the domains of an exporter agree on is assumed of those
// that say nothing. It stays marked: no one said it of them.
func TestRateThatIsToldInAnotherDomain(t *testing.T) {
	tell := func(domain uint32, rates ...uint32) []byte {
		var records []packet
		for i, r := range rates {
			records = append(records, packet{}.u32(9).u8(uint8(i+1)).u32(r))
		}
		return v9(domain, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 48, length: 1}, f{id: 50, length: 4})), set(300, records...))
	}
	flows := v9(1, set(0, templateOf(256, basic...), templateOf(257, named(48, 1)...)), set(256, plainFlow), set(257, namedFlow(1, 1), namedFlow(1, 2)))
	c := newCollector(t)
	c.decode(flows, tell(6, 100))
	c.store.Expire(received)
	c.decode(flows)
	c.wantRates(-1, -1, -1, -100, -100, -100)

	c = newCollector(t)
	c.decode(tell(6, 100, 1000))
	c.store.Expire(received)
	c.decode(v9(1)) // a domain that is heard of after the rates
	c.store.Expire(received)
	c.decode(flows)
	c.wantRates(-1, -100, -1000) // by sampler; what names none cannot be known

	c = newCollector(t)
	c.decode(tell(6, 100), tell(7, 1000), tell(8, 100))
	c.store.Expire(received)
	c.decode(flows)
	c.store.Expire(received)
	c.decode(flows)
	c.wantRates(-1, -1, -1, -1, -1, -1) // they do not agree

	c = newCollector(t)
	c.decode(tell(6, 100))
	other := netip.MustParseAddr("192.0.2.2")
	for range 2 {
		c.store.Expire(received)
		if err := c.decoder.Decode(flows, other, received, c.out); err != nil {
			t.Fatal(err)
		}
	}
	c.wantRates(-1, -1, -1, -1, -1, -1) // another exporter
}

// "One broken exporter says a rate of four thousand million, and the graph shows petabytes."
func TestAbsurdRates(t *testing.T) {
	in := func(rate uint64) packet { return packet{}.u64(rate) }
	fields := append(slices.Clip(basic), f{id: 34, length: 8})
	c := newCollector(t)
	c.decode(v9(0,
		set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 34, length: 8})), set(300, packet{}.u32(9).u64(64), packet{}.u32(9).u64(math.MaxUint64)),
		set(0, templateOf(256, fields...)),
		set(256, plainFlow.bytes(in(template.MaxRate)), plainFlow.bytes(in(template.MaxRate+1)), plainFlow.bytes(in(math.MaxUint64)))))
	c.wantRates(template.MaxRate, 64, 64)
	if got := c.domain().Counts.AbsurdRates; got != 3 {
		t.Errorf("absurd_sampling_rates = %d, want 3", got)
	}
}

// "A thousand exporters with made-up samplers ate the memory": rates are charged like everything else.
func TestRatesAreChargedForMemory(t *testing.T) {
	c := newCollector(t, func(cfg *template.Config) { cfg.MaxMemory = 20_000 })
	c.decode(v9(0, set(1, optionsOf9(300, 1, f{id: 1, length: 2}, f{id: 48, length: 2}, f{id: 50, length: 2}))))
	for i := range uint16(40) {
		p := packet{}
		for j := range uint16(100) {
			p = p.u16(9, i*100+j, 100)
		}
		c.decode(v9(0, set(300, p)))
	}
	d := c.domain()
	if len(d.Samplers) < 500 || len(d.Samplers) > 1250 || d.Counts.Dropped["out_of_memory"] == 0 || c.store.Memory() > 20_000 {
		t.Errorf("%d samplers, %d bytes, dropped %v; want about 1000 in 20000 bytes, and the rest dropped", len(d.Samplers), c.store.Memory(), d.Counts.Dropped)
	}
	c.store.Expire(received + 48*3600*1000)
	if got := c.store.Memory(); got != 0 {
		t.Errorf("%d bytes are charged after everything was forgotten, want 0", got)
	}
}

// "Template 256 of one line card is used for the data of another."
func TestTemplatesOfDomainsAreApart(t *testing.T) {
	swapped := []f{basic[1], basic[0], basic[2], basic[3], basic[4], basic[5], basic[6]}
	c := newCollector(t)
	c.decode(v9(1, set(0, templateOf(256, basic...))), v9(2, set(0, templateOf(256, swapped...))),
		ipfix(1, set(2, templateOf(256, swapped...)))) // nor are those of the protocols
	c.decode(v9(1, set(256, plainFlow)), v9(2, set(256, plainFlow)), ipfix(1, set(256, plainFlow)), v9(3, set(256, plainFlow)))
	c.wantRows(3)
	for i, src := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.2"} {
		expect(t, c.out, i, "src_addr", src)
	}
	for _, d := range c.store.Domains() {
		if waits := d.Domain == 3; waits != (d.HeldNow == 1) {
			t.Errorf("domain %d: %d sets wait for their template", d.Domain, d.HeldNow)
		}
	}
}

// "Templates get lost when the exporter sends them rarely", or is quiet for a night.
func TestTemplatesOutliveAQuietNight(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(0, set(0, templateOf(256, basic...))))
	const hours = 12
	for i := range int64(hours * 60) {
		c.store.Expire(received + i*60_000)
	}
	if err := c.decoder.Decode(v9(0, set(256, plainFlow)), exporter, received+hours*3600_000, c.out); err != nil {
		t.Fatal(err)
	}
	c.wantRates(-1)
}

// "Flows are missing and nothing says why": data that waits for its template is counted, before and after.
func TestDataThatWaitsIsCounted(t *testing.T) {
	c := newCollector(t)
	data := v9(0, set(256, plainFlow, plainFlow))
	c.decode(data, data, v9(0, set(257, plainFlow)))
	if d := c.domain(); d.HeldNow != 3 || d.Counts.Held != 3 || d.Counts.Flows != 0 {
		t.Errorf("%d wait, %d did, %d flows; want 3, 3, 0", d.HeldNow, d.Counts.Held, d.Counts.Flows)
	}
	c.decode(v9(0, set(0, templateOf(256, basic...))))
	c.store.Expire(received + 10*60_000)
	d := c.domain()
	if d.HeldNow != 0 || d.Counts.Replayed != 2 || d.Counts.Flows != 4 || d.Counts.Dropped["unknown_template"] != 1 {
		t.Errorf("%d wait, %d came through with %d flows, dropped %v; want 0, 2, 4, one unknown_template", d.HeldNow, d.Counts.Replayed, d.Counts.Flows, d.Counts.Dropped)
	}
	c.wantRows(4)
}

// "Interface lookup failed, flow dropped": an interface that nobody described, or none, is no reason to drop a flow.
func TestInterfacesThatNobodyDescribed(t *testing.T) {
	const local = 0x3FFFFFFF // the device itself, for some
	fields := append(slices.Clip(basic), f{id: 10, length: 4}, f{id: 14, length: 4})
	c := newCollector(t)
	c.decode(ipfix(0,
		set(3, optionsOf(300, 1, f{id: 10, length: 4}, f{id: 82, length: variable})), set(300, packet{}.u32(7).text("eth7")),
		set(2, templateOf(256, fields...), templateOf(257, basic...)),
		set(256, plainFlow.bytes(packet{}.u32(7, 8)), plainFlow.bytes(packet{}.u32(0, 0)), plainFlow.bytes(packet{}.u32(local, math.MaxUint32))),
		set(257, plainFlow)))
	c.wantRates(-1, -1, -1, -1)
	for i, in := range []uint32{7, 0, local, 0} {
		expect(t, c.out, i, "in_if", in)
	}
	if n := c.domain().Counts; n.Flows != 4 || len(n.Dropped) != 0 {
		t.Errorf("%d flows, dropped %v; want 4, none", n.Flows, n.Dropped)
	}
}

// "Every flow is there twice": a flow that is seen on its way in and on its way out keeps which, so that one of them can
// be counted.
func TestFlowSeenOnItsWayInAndOut(t *testing.T) {
	fields := append(slices.Clip(basic), f{id: 61, length: 1})
	c := newCollector(t)
	c.decode(v9(0, set(0, templateOf(256, fields...)), set(256, plainFlow.bytes(packet{}.u8(0)), plainFlow.bytes(packet{}.u8(1)))))
	expect(t, c.out, 0, "observed", flow.ObservedIngress)
	expect(t, c.out, 1, "observed", flow.ObservedEgress)
}

// restart makes a new decoder and store, which know what the old ones would have left in the state file.
func (c *collector) restart() {
	c.Helper()
	next := template.New(c.store.Config())
	c.store.Each(func(d *template.Domain) {
		if b, ok := d.AppendMemory(nil); ok {
			if _, err := next.Recall(b, received, netflow.ParseTemplate); err != nil {
				c.Fatal(err)
			}
		}
	})
	c.store, c.decoder, c.out = next, netflow.New(netflow.Config{}, next), flow.NewBatch(4)
}

// "Every restart of the collector costs ten minutes of data": of exporters that send templates that rarely.
func TestDataRightAfterARestart(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(4, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 48, length: 1}, f{id: 50, length: 4})),
		set(300, packet{}.u32(9).u8(1).u32(100), packet{}.u32(9).u8(2).u32(1000)), set(0, templateOf(256, named(48, 1)...))))
	c.restart()
	c.decode(v9(4, set(256, namedFlow(1, 1), namedFlow(1, 2)), set(300, packet{}.u32(9).u8(1).u32(200)), set(256, namedFlow(1, 1))))
	c.wantRates(100, 1000, 200)

	c = newCollector(t) // Open vSwitch: variable length, every 600 s
	c.decode(ipfix(1, set(2, templateOf(256, ovs(61)...))))
	c.restart()
	c.decode(ipfix(1, set(256, ovsRecord(true, packet{}.text("hv1/br0")))))
	expect(t, c.out, 0, "sampling_rate", uint32(1), "sampling_assumed", false, "packets", uint64(20), "bytes", uint64(840), "in_if", uint32(5))
	c.decode(ipfix(1, set(2, templateOf(256, ovs(61)...))))
	if d := c.domain(); d.Templates[0].Restored || d.Counts.Changes != 0 || d.Counts.Stale != 0 {
		t.Errorf("%+v, %+v; want a template that is known as before, and no longer from before the restart", d.Templates[0], d.Counts)
	}
}

// "After I changed the flow record, the collector showed nonsense": a template from before a restart is given up when data
// does not fit it, and the data waits for the one that does.
func TestTemplateThatChangedDuringARestart(t *testing.T) {
	longer := append(slices.Clip(basic), f{id: 5, length: 1}, f{id: 6, length: 1})
	longFlow := slices.Clip(plainFlow.bytes(packet{}.u8(0, 0x12)))
	withText := append([]f{{id: 82, length: variable}}, basic...)
	for _, x := range []struct {
		name     string
		version  int
		old, now []f
		flow     packet
		records  int
	}{
		{"longer records", 9, basic, longer, longFlow, 2},
		{"longer records, IPFIX", 10, basic, longer, longFlow, 2},
		{"one longer record", 10, basic, longer, longFlow, 1},
		{"shorter records", 10, longer, basic, plainFlow, 1},
		{"many shorter records", 10, longer, basic, plainFlow, 20},
		{"records that are a multiple", 9, []f{{id: 8, length: 4}, {id: 1, length: 3}}, basic, plainFlow, 3}, // 7 and 21 octets
		{"fixed instead of variable", 10, withText, basic, plainFlow, 3},
		{"variable instead of fixed", 10, basic, withText, packet{}.text("eth0").bytes(plainFlow), 3},
	} {
		t.Run(x.name, func(t *testing.T) {
			message, templates := ipfix, uint16(2)
			if x.version == 9 {
				message, templates = v9, 0
			}
			var records []packet
			for range x.records {
				records = append(records, x.flow)
			}
			data := message(1, set(256, records...))
			if x.version == 9 {
				data[3] = byte(x.records) // as most count
			}
			c := newCollector(t)
			c.decode(message(1, set(templates, templateOf(256, x.old...))))
			c.restart()
			c.decode(data)
			c.wantRows(0)
			if d := c.domain(); len(d.Templates) != 0 || d.Counts.Stale != 1 || d.HeldNow != 1 || c.store.Stale() != 1 {
				t.Fatalf("templates %+v, %d stale, %d sets wait; want none, 1, 1", d.Templates, d.Counts.Stale, d.HeldNow)
			}
			c.decode(message(1, set(templates, templateOf(256, x.now...))), data)
			c.wantRows(2 * x.records)
			for i := range 2 * x.records {
				expect(t, c.out, i, "src_addr", "10.0.0.1", "dst_addr", "10.0.0.2", "bytes", uint64(600), "packets", uint64(4))
			}
		})
	}
}

// What fits is not given up, padded as exporters pad.
func TestTemplateThatIsTheSameAfterARestart(t *testing.T) {
	for _, x := range []struct {
		name string
		data []byte
		rows int
	}{
		{"one record", v9(1, set(256, plainFlow)), 1},
		{"padded", v9(1, set(256, plainFlow, packet{}.u8(0, 0, 0))), 1},
		{"padded to eight", ipfix(1, set(256, plainFlow, plainFlow, packet{}.u8(0, 0, 0, 0, 0, 0))), 2},
		{"counted by sets", v9(1, set(256, plainFlow, plainFlow)), 2},
		{"with others", v9(1, set(256, plainFlow), set(256, plainFlow)), 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCollector(t)
			message, templates := v9, uint16(0)
			if x.data[1] == 10 {
				message, templates = ipfix, 2
			}
			c.decode(message(1, set(templates, templateOf(256, basic...))))
			c.restart()
			c.decode(x.data)
			c.wantRows(x.rows)
			if d := c.domain(); d.Counts.Stale != 0 || !d.Templates[0].Restored {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	good := templateOf(256, basic...)
	for name, x := range map[string]struct {
		protocol uint8
		wire     []byte
		want     template.Reason
	}{
		"NetFlow 5":        {5, good, template.UnknownVersion},
		"nothing":          {9, nil, template.Truncated},
		"part of one":      {9, good[:len(good)-1], template.Truncated},
		"more than one":    {9, good.u8(0), template.BadTemplate},
		"an id of no data": {10, templateOf(255, basic...), template.BadTemplate},
		"empty records":    {10, templateOf(256, f{id: 8}), template.BadTemplate},
	} {
		if _, why := netflow.ParseTemplate(x.protocol, false, x.wire); why != x.want {
			t.Errorf("%s: %s, want %s", name, why, x.want)
		}
	}
}
