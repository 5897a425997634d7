package netflow_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// Shapes of datagrams that have stopped, starved or misled decoders.

// reason decodes a datagram and returns why it was wrong, or none.
func (c *collector) reason(b []byte) template.Reason {
	c.Helper()
	err := c.decoder.Decode(b, exporter, received, c.out)
	var e *netflow.Error
	if err != nil && !errors.As(err, &e) {
		c.Fatalf("Decode = %v (%T), want an *Error", err, err)
	}
	if e == nil {
		return template.None
	}
	return e.Reason
}

// bounded checks that decoding b takes no more than a moment and allocates no more than some kilobytes.
func (c *collector) bounded(b []byte) template.Reason {
	c.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var why template.Reason
	took := cpuTime(c, func() { why = c.reason(b) })
	runtime.ReadMemStats(&after)
	if limit := uint64(64<<10 + 100*len(b)); after.TotalAlloc-before.TotalAlloc > limit {
		c.Errorf("a datagram of %d octets allocated %d, want at most %d", len(b), after.TotalAlloc-before.TotalAlloc, limit)
	}
	if took > time.Second {
		c.Errorf("a datagram of %d octets took %s", len(b), took)
	}
	return why
}

func (c *collector) wantReason(b []byte, want template.Reason) {
	c.Helper()
	if got := c.bounded(b); got != want {
		c.Errorf("Decode: %s, want %s", got, want)
	}
}

func (c *collector) wantRows(n int) {
	c.Helper()
	if c.out.Len() != n {
		c.Errorf("%d rows, want %d", c.out.Len(), n)
	}
}

func TestRecordsOfNoLength(t *testing.T) {
	c := newCollector(t)
	c.wantReason(v9(1, set(0, templateOf(256, f{id: 8})), set(256, packet{}.u32(1, 2, 3))), template.BadTemplate)
	c.wantReason(v9(1, set(256, packet{}.u32(1, 2, 3))), template.None) // held
	c.wantReason(v9(2, set(1, optionsOf9(257, 0)), set(257, packet{}.u32(1, 2, 3))), template.BadTemplate)
	c.wantReason(v9(2, set(1, optionsOf9(258, 1, f{id: 1}, f{id: 34})), set(258, packet{}.u32(1))), template.BadTemplate)
	c.wantReason(ipfix(3, set(3, optionsOf(259, 1, f{id: 130}, f{id: 34})), set(259, packet{}.u32(1))), template.BadTemplate)
	c.wantRows(0)
}

// cpuTime returns what f takes of a processor, whatever else the machine does. Limits on it are many times what is
// needed, and far below what work in the wrong proportion would take.
func cpuTime(t testing.TB, f func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	start := now()
	f()
	return now() - start
}

func TestManyFieldsOfNoLengthCostNothing(t *testing.T) {
	fields := make([]f, 500)
	for i := range fields {
		fields[i] = f{id: 8}
	}
	for _, kind := range []struct {
		name    string
		options bool
		last    []f
		record  byte
	}{
		{"fixed", false, []f{{id: 4, length: 1}}, 6},
		{"variable", false, []f{{id: 82, length: variable}}, 0},
		{"options", true, []f{{id: 82, length: variable}}, 0},
	} {
		t.Run(kind.name, func(t *testing.T) {
			c := newCollector(t)
			tmpl := set(2, templateOf(256, append(fields[:500:500], kind.last...)...))
			if kind.options {
				tmpl = set(3, optionsOf(256, 1, append(fields[:500:500], kind.last...)...))
			}
			c.decode(ipfix(1, tmpl))
			body := make(packet, 60_000)
			for i := range body {
				body[i] = kind.record
			}
			body = body.u8(0)
			took := cpuTime(t, func() { c.decode(ipfix(1, set(256, body))) })
			if took > time.Second {
				t.Errorf("60000 records of one octet took %s", took)
			}
			c.wantRows(0)
		})
	}
}

func TestEnterpriseElementsAreSkipped(t *testing.T) {
	c := newCollector(t)
	fields := append([]f{{id: 8, length: 8, enterprise: 12345}, {id: 1, length: variable, enterprise: 5951}}, basic...)
	fields = append(fields, f{id: 898, length: variable, enterprise: 6876}, f{id: 1, length: 8, enterprise: 29305})
	r := packet{}.u64(1).text("xyz").bytes(record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3)).text("br0").u64(77)
	c.decode(ipfix(1, set(2, templateOf(256, fields...)), set(256, r, r)))
	c.wantRows(2)
	expect(t, c.out, 1, "src_addr", "10.0.0.1", "dst_addr", "10.0.0.2", "bytes", uint64(100), "packets", uint64(3))
	if got := c.domain().Counts.Reverse; got != 2 {
		t.Errorf("reverse_not_stored = %d, want 2", got)
	}
}

func TestPadding(t *testing.T) {
	good := record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3)
	c := newCollector(t)
	c.decode(v9(1, set(0, templateOf(256, basic...), packet{}.u32(0)), set(256, good, packet{}.u8(0, 0, 0))))
	c.decode(v9(1, set(256, good), make(packet, 900))) // a datagram that is filled up with zeros
	c.decode(v9(1, set(256, good), packet{}.u8(0, 0)))
	c.decode(ipfix(1, set(2, templateOf(256, basic...), packet{}.u8(0, 0, 0)), set(256, good, packet{}.u8(0))))
	c.wantRows(4)
	for i := range 4 {
		expect(t, c.out, i, "bytes", uint64(100))
	}
}

func TestWithdrawal(t *testing.T) {
	good := set(256, record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3))
	c := newCollector(t)
	c.decode(ipfix(1, set(2, templateOf(256, basic...), templateOf(257, basic...)), set(3, optionsOf(300, 1, f{id: 149, length: 4}, f{id: 34, length: 4}))))
	c.decode(ipfix(1, set(2, packet{}.u16(256, 0)), good)) // held: its template is gone
	c.wantRows(0)
	c.decode(ipfix(1, set(2, packet{}.u16(2, 0)))) // all templates
	if got := c.domain().Templates; len(got) != 1 || got[0].ID != 300 {
		t.Errorf("templates after the withdrawal of all: %+v, want the options template 300", got)
	}
	c.decode(ipfix(1, set(3, packet{}.u16(3, 0)))) // all options templates
	if d := c.domain(); len(d.Templates) != 0 || d.Counts.Withdrawals != 3 {
		t.Errorf("%d templates, %d withdrawals; want 0, 3", len(d.Templates), d.Counts.Withdrawals)
	}
	c.decode(ipfix(1, set(2, templateOf(256, basic...))))
	c.wantRows(1)
}

func TestUnknownTemplateDoesNotDropTheRest(t *testing.T) {
	c := newCollector(t, func(cfg *template.Config) { cfg.MaxHeld = 0 })
	good := set(256, record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3))
	c.wantReason(v9(1, set(0, templateOf(256, basic...)), set(999, packet{}.u64(1)), good, set(17, packet{}.u32(1)), good), template.UnknownTemplate)
	c.wantRows(2)
	if got := c.domain().Counts.Dropped; got["unknown_template"] != 1 || got["unknown_set"] != 1 {
		t.Errorf("dropped %v, want one unknown_template, one unknown_set", got)
	}
}

func TestCountsAreNotTrusted(t *testing.T) {
	c := newCollector(t)
	lie := packet{}.u16(256, 65535, 8, 4, 12, 4)
	c.wantReason(v9(1, set(0, lie)), template.Truncated)
	c.wantReason(ipfix(1, set(2, lie)), template.Truncated)
	c.wantReason(v9(1, set(1, packet{}.u16(256, 65532, 65532, 1, 4))), template.Truncated)
	c.wantReason(v9(1, set(1, packet{}.u16(256, 65535, 65535, 1, 4))), template.BadTemplate)
	c.wantReason(ipfix(1, set(3, packet{}.u16(256, 65535, 65535, 1, 4))), template.Truncated)
	c.wantReason(ipfix(1, set(3, packet{}.u16(256, 1, 2, 1, 4))), template.BadTemplate)
	c.wantReason(packet{}.u16(5, 65535).u64(0, 0).u32(0), template.Truncated)
	header := v9(1)
	c.wantReason(append(header, packet{}.u16(256, 65535)...), template.Truncated)
	c.wantReason(append(header, packet{}.u16(256, 3)...), template.BadLength)
	long := ipfix(1)
	binary.BigEndian.PutUint16(long[2:], 65535)
	c.wantReason(long, template.Truncated)
	binary.BigEndian.PutUint16(long[2:], 15)
	c.wantReason(long, template.BadLength)
	c.wantReason([]byte{0}, template.Truncated)
	c.wantReason([]byte{0, 10, 0}, template.Truncated)
	c.wantReason([]byte{0, 8, 0, 0}, template.UnknownVersion)
	c.wantReason(nil, template.Truncated)
	c.wantRows(0)
	for _, d := range c.store.Domains() {
		if len(d.Templates) != 0 {
			t.Errorf("templates of nothing were kept: %+v", d.Templates)
		}
	}
}

func TestTooManyFields(t *testing.T) {
	c := newCollector(t, func(cfg *template.Config) { cfg.MaxFields = 7 })
	c.decode(v9(1, set(0, templateOf(256, basic...))))
	c.wantReason(v9(1, set(0, templateOf(256, append(basic, f{id: 5, length: 1})...), templateOf(257, basic...))), template.TooManyFields)
	if got := c.domain().Templates; len(got) != 1 || got[0].ID != 257 {
		t.Errorf("templates %+v, want 257: that of 256 is no longer what the exporter sends", got)
	}
}

func TestRowsAreBoundedByOctets(t *testing.T) {
	c := newCollector(t)
	c.decode(ipfix(1, set(2, templateOf(256, f{id: 1, length: 1})), set(256, make(packet, 60_000).u8(1))))
	c.wantRows(0)
	if got := c.domain().Counts.NoFlow; got != 60_001 {
		t.Errorf("no_flow = %d, want 60001", got)
	}
}

func TestSeveralMessagesInOneDatagram(t *testing.T) {
	good := record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3)
	c := newCollector(t)
	c.decode(append(append(append(ipfix(1, set(2, templateOf(256, basic...))), ipfix(1, set(256, good))...),
		ipfix(2, set(2, templateOf(256, basic...)), set(256, good, good))...), 0, 0, 0, 0))
	c.wantRows(3)
	expect(t, c.out, 2, "observation_domain", uint32(2))
}

func TestTemplateChange(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(1, set(0, templateOf(256, basic...)), set(256, record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3))))
	c.decode(v9(1, set(0, templateOf(256, f{id: 12, length: 4}, f{id: 8, length: 4})), set(256, packet{}.addr("10.0.0.1", "10.0.0.2"))))
	expect(t, c.out, 1, "src_addr", "10.0.0.2", "dst_addr", "10.0.0.1")
	c.decode(v9(1, set(0, templateOf(256, f{id: 12, length: 4}, f{id: 8, length: 4}))))
	if got := c.domain().Counts; got.Templates != 3 || got.Changes != 2 {
		t.Errorf("%d templates, %d changes; want 3, 2", got.Templates, got.Changes)
	}
}

func TestSamplingOptions(t *testing.T) {
	data := func(sampler ...uint8) packet {
		p := packet{}
		for _, s := range sampler {
			p = p.addr("10.0.0.1").u32(7).u8(s)
		}
		return set(256, p)
	}
	flows := set(0, templateOf(256, f{id: 8, length: 4}, f{id: 10, length: 4}, f{id: 48, length: 1}))
	rates := func(t *testing.T, c *collector, want ...uint32) {
		t.Helper()
		c.wantRows(len(want))
		for i, w := range want {
			expect(t, c.out, i, "sampling_rate", w, "sampling_assumed", w == 1)
		}
	}
	t.Run("reduced size", func(t *testing.T) {
		c := newCollector(t)
		c.decode(v9(1, set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 34, length: 2})), set(300, packet{}.u32(9).u16(1000), packet{}.u8(0, 0)), flows, data(0)))
		rates(t, c, 1000)
	})
	t.Run("two samplers", func(t *testing.T) {
		c := newCollector(t)
		c.decode(v9(1, flows, data(1), // before its sampler is known
			set(1, optionsOf9(300, 1, f{id: 1, length: 4}, f{id: 48, length: 1}, f{id: 49, length: 1}, f{id: 50, length: 4})),
			set(300, packet{}.u32(9).u8(1, 2).u32(100), packet{}.u32(9).u8(2, 2).u32(1000)), data(1, 2, 3)))
		rates(t, c, 1, 100, 1000, 1)
	})
	t.Run("interval and space", func(t *testing.T) {
		c := newCollector(t)
		c.decode(ipfix(1, set(3, optionsOf(300, 1, f{id: 302, length: 1}, f{id: 304, length: 2}, f{id: 305, length: 4}, f{id: 306, length: 4})),
			set(300, packet{}.u8(1).u16(1).u32(1, 99), packet{}.u8(2).u16(1).u32(10, 490)),
			set(2, templateOf(256, f{id: 8, length: 4}, f{id: 10, length: 4}, f{id: 302, length: 1})), data(1, 2)))
		rates(t, c, 100, 50)
	})
	t.Run("size and population", func(t *testing.T) {
		c := newCollector(t)
		c.decode(ipfix(1, set(3, optionsOf(300, 1, f{id: 149, length: 4}, f{id: 309, length: 4}, f{id: 310, length: 4})),
			set(300, packet{}.u32(1, 1, 512)), set(2, templateOf(256, f{id: 8, length: 4}, f{id: 10, length: 4}, f{id: 6, length: 1})), data(0)))
		rates(t, c, 512)
	})
	t.Run("interface", func(t *testing.T) {
		c := newCollector(t)
		c.decode(v9(1, set(1, optionsOf9(300, 1, f{id: 2, length: 4}, f{id: 34, length: 4}, f{id: 82, length: 6}, f{id: 83, length: 4})),
			set(300, packet{}.u32(7, 64).bytes([]byte("xe-0/7up\x00\x00")), packet{}.u32(8, 32).bytes([]byte("xe-0/8\x00\x00\x00\x00"))), flows, data(0)))
		rates(t, c, 64)
		if got := c.domain().Interfaces[7]; got != (template.Interface{Name: "xe-0/7", Description: "up"}) {
			t.Errorf("interface 7 = %+v", got)
		}
	})
	t.Run("in the record", func(t *testing.T) {
		c := newCollector(t)
		c.decode(v9(1, set(0, templateOf(256, f{id: 8, length: 4}, f{id: 34, length: 4}, f{id: 35, length: 1})),
			set(256, packet{}.addr("10.0.0.1").u32(2000).u8(1), packet{}.addr("10.0.0.1").u32(0).u8(0))))
		rates(t, c, 2000, 1)
	})
	t.Run("probability", func(t *testing.T) {
		c := newCollector(t)
		c.decode(ipfix(1, set(3, optionsOf(300, 1, f{id: 149, length: 4}, f{id: 311, length: 8})),
			set(300, packet{}.u32(1).u64(0x3f50624dd2f1a9fc)), // 0.001
			set(2, templateOf(256, f{id: 8, length: 4}, f{id: 10, length: 4}, f{id: 6, length: 1})), data(0)))
		rates(t, c, 1000)
	})
}

func TestNamesFromOptions(t *testing.T) {
	c := newCollector(t)
	c.decode(ipfix(1,
		set(3, optionsOf(300, 1, f{id: 95, length: 4}, f{id: 96, length: variable}, f{id: 94, length: variable}),
			optionsOf(301, 1, f{id: 234, length: 4}, f{id: 236, length: variable}),
			optionsOf(302, 1, f{id: 10, length: 4}, f{id: 82, length: variable})),
		set(300, packet{}.u32(0x03000050).text("http").longText("World Wide Web")),
		set(301, packet{}.u32(5).text("red")),
		set(302, packet{}.u32(9).text("Gi0/9"), packet{}.u32(9).text("Gi0/9"))))
	d := c.domain()
	if got := d.Applications[0x03000050]; got != (template.Application{Name: "http", Description: "World Wide Web"}) {
		t.Errorf("application = %+v", got)
	}
	if d.VRFs[5] != "red" || d.Interfaces[9].Name != "Gi0/9" || d.Counts.OptionRecords != 4 {
		t.Errorf("VRFs %v, interfaces %v, %d option records", d.VRFs, d.Interfaces, d.Counts.OptionRecords)
	}
}

func TestTimes(t *testing.T) {
	ntp := func(ms int64) uint64 { return uint64(ms/1000+2_208_988_800)<<32 | uint64(ms%1000)<<32/1000 + 1 }
	start, end := exported-8000, exported-3000
	for _, x := range []struct {
		name     string
		version  int
		fields   []f
		values   packet
		age      int64 // before export
		duration uint32
	}{
		{"uptime", 9, []f{{id: 22, length: 4}, {id: 21, length: 4}}, packet{}.u32(uptime-8000, uptime-3000), 8000, 5000},
		{"after uptime", 9, []f{{id: 22, length: 4}, {id: 21, length: 4}}, packet{}.u32(uptime+300, uptime+900), -300, 600},
		{"wrapped", 9, []f{{id: 22, length: 4}, {id: 21, length: 4}}, packet{}.u32(0xFFFFFFFF, uptime), int64(uptime) + 1, uptime + 1},
		{"end before start", 9, []f{{id: 22, length: 4}, {id: 21, length: 4}}, packet{}.u32(uptime-3000, uptime-8000), 3000, 0},
		{"seconds", 10, []f{{id: 150, length: 4}, {id: 151, length: 4}}, packet{}.u32(uint32(start/1000), uint32(end/1000)), 8000, 5000},
		{"milliseconds", 10, []f{{id: 152, length: 8}, {id: 153, length: 8}}, packet{}.u64(uint64(start), uint64(end)), 8000, 5000},
		{"microseconds", 10, []f{{id: 154, length: 8}, {id: 155, length: 8}}, packet{}.u64(ntp(start), ntp(end)), 8000, 5000},
		{"nanoseconds", 10, []f{{id: 156, length: 8}, {id: 157, length: 8}}, packet{}.u64(ntp(start), ntp(end)), 8000, 5000},
		{"deltas", 10, []f{{id: 158, length: 4}, {id: 159, length: 4}}, packet{}.u32(8_000_000, 3_000_000), 8000, 5000},
		{"since init", 10, []f{{id: 22, length: 4}, {id: 21, length: 4}, {id: 160, length: 8}}, packet{}.u32(2000, 7000).u64(uint64(exported - 10_000)), 8000, 5000},
		{"since an init that is not said", 10, []f{{id: 22, length: 4}, {id: 21, length: 4}}, packet{}.u32(2000, 7000), 5000, 5000},
		{"start and duration", 10, []f{{id: 152, length: 8}, {id: 161, length: 4}}, packet{}.u64(uint64(start)).u32(5000), 8000, 5000},
		{"end and duration", 10, []f{{id: 153, length: 8}, {id: 162, length: 4}}, packet{}.u64(uint64(end)).u32(5_000_000), 8000, 5000},
		{"duration", 10, []f{{id: 161, length: 4}}, packet{}.u32(5000), 5000 - (received - exported), 5000},
		{"end", 10, []f{{id: 153, length: 8}}, packet{}.u64(uint64(end)), 3000, 0},
		{"event", 10, []f{{id: 323, length: 8}}, packet{}.u64(uint64(end)), 3000, 0},
		{"absurd", 10, []f{{id: 152, length: 8}, {id: 153, length: 8}}, packet{}.u64(1<<63, 1<<63), -(received - exported), 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newCollector(t)
			fields := append([]f{{id: 8, length: 4}}, x.fields...)
			r := packet{}.addr("10.0.0.1").bytes(x.values)
			if x.version == 9 {
				c.decode(v9(1, set(0, templateOf(256, fields...)), set(256, r)))
			} else {
				c.decode(ipfix(1, set(2, templateOf(256, fields...)), set(256, r)))
			}
			expect(t, c.out, 0, "start_age_ms", x.age+received-exported, "duration_ms", x.duration)
		})
	}
}

func TestInitTimeFromOptions(t *testing.T) {
	c := newCollector(t)
	c.decode(ipfix(1, set(3, optionsOf(300, 1, f{id: 149, length: 4}, f{id: 160, length: 8})), set(300, packet{}.u32(1).u64(uint64(exported-10_000))),
		set(2, templateOf(256, f{id: 8, length: 4}, f{id: 22, length: 4}, f{id: 21, length: 4})), set(256, packet{}.addr("10.0.0.1").u32(2000, 7000))))
	expect(t, c.out, 0, "start_age_ms", 8000+received-exported, "duration_ms", uint32(5000))
}

// one decodes one IPFIX record of fields.
func one(t *testing.T, r packet, fields ...f) *flow.Batch {
	t.Helper()
	c := newCollector(t)
	return c.decode(ipfix(1, set(2, templateOf(256, fields...)), set(256, r)))
}

func TestWhichElementGivesBytes(t *testing.T) {
	expect(t, one(t, packet{}.u32(100, 0), f{id: 1, length: 4}, f{id: 23, length: 4}), 0, "bytes", uint64(100))
	expect(t, one(t, packet{}.u32(0, 100), f{id: 23, length: 4}, f{id: 1, length: 4}), 0, "bytes", uint64(100), "bytes_layer", flow.BytesLayer3)
	expect(t, one(t, packet{}.u32(114, 100), f{id: 352, length: 4}, f{id: 1, length: 4}), 0, "bytes", uint64(100), "bytes_layer", flow.BytesLayer3)
	expect(t, one(t, packet{}.u32(114), f{id: 352, length: 4}), 0, "bytes", uint64(114), "bytes_layer", flow.BytesLayer2)
	// Open vSwitch: totals are of the whole exporter
	expect(t, one(t, packet{}.u32(9999, 100, 88, 3), f{id: 85, length: 4}, f{id: 1, length: 4}, f{id: 86, length: 4}, f{id: 2, length: 4}), 0,
		"bytes", uint64(100), "packets", uint64(3))
	// others send nothing else
	expect(t, one(t, packet{}.u32(9999, 88), f{id: 85, length: 4}, f{id: 86, length: 4}), 0, "bytes", uint64(9999), "packets", uint64(88))
	// firewalls
	expect(t, one(t, packet{}.u64(10, 20, 1, 2), f{id: 231, length: 8}, f{id: 232, length: 8}, f{id: 298, length: 8}, f{id: 299, length: 8}), 0,
		"bytes", uint64(10), "packets", uint64(1), "bytes_layer", flow.BytesUnknown)
	// reduced sizes
	expect(t, one(t, packet{}.u8(1, 2, 3).u8(0, 0, 0, 1, 0), f{id: 1, length: 3}, f{id: 2, length: 5}), 0, "bytes", uint64(0x010203), "packets", uint64(256))
}

func TestICMP(t *testing.T) {
	for name, b := range map[string]*flow.Batch{
		"type and code":   one(t, packet{}.u8(1, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 176, length: 1}, f{id: 177, length: 1}, f{id: 1, length: 3}),
		"one number":      one(t, packet{}.u8(1, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 32, length: 2}, f{id: 1, length: 3}),
		"one number, v6":  one(t, packet{}.u8(58, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 139, length: 2}, f{id: 1, length: 3}),
		"type, code, v6":  one(t, packet{}.u8(58, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 178, length: 1}, f{id: 179, length: 1}, f{id: 1, length: 3}),
		"port":            one(t, packet{}.u8(1, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 11, length: 2}, f{id: 1, length: 3}),
		"number and port": one(t, packet{}.u8(1, 3, 1, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 11, length: 2}, f{id: 32, length: 2}, f{id: 1, length: 3}),
	} {
		t.Run(name, func(t *testing.T) { expect(t, b, 0, "icmp_type", uint8(3), "icmp_code", uint8(1)) })
	}
	expect(t, one(t, packet{}.u8(6, 3, 1, 0, 0, 0), f{id: 4, length: 1}, f{id: 11, length: 2}, f{id: 1, length: 3}), 0,
		"icmp_type", uint8(0), "dst_port", uint16(0x0301))
}

func TestLayer2AndTheRest(t *testing.T) {
	b := one(t, packet{}.u8(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2).u16(100, 200, 0x86dd).u8(1, 0x2e).u32(7, 8).u8(3, 2, 0x42).u32(0xC0000007).u8(13, 0, 1, 0xdf),
		f{id: 56, length: 6}, f{id: 80, length: 6}, f{id: 243, length: 2}, f{id: 254, length: 2}, f{id: 256, length: 2}, f{id: 61, length: 1}, f{id: 195, length: 1},
		f{id: 234, length: 4}, f{id: 235, length: 4}, f{id: 6, length: 1}, f{id: 136, length: 1}, f{id: 89, length: 1}, f{id: 138, length: 4}, f{id: 95, length: 4})
	expect(t, b, 0, "src_mac", uint64(0x020000000001), "dst_mac", uint64(0x020000000002), "vlan_in", uint16(100), "vlan_out", uint16(200),
		"ethertype", uint16(0x86dd), "observed", flow.ObservedEgress, "tos", uint8(0xb8), "vrf_in", uint32(7), "vrf_out", uint32(8),
		"tcp_flags", uint16(3), "end_reason", uint8(2), "forwarding_status", uint8(0x42), "observation_point", uint32(0xC0000007),
		"application", uint64(0x0d0001df), "bytes_layer", flow.BytesUnknown)
}

func TestTranslatedAddressesDoNotReplaceTheFlows(t *testing.T) {
	expect(t, one(t, packet{}.addr("10.0.0.1", "10.0.0.2", "192.0.2.1", "192.0.2.2").u16(1, 2, 3, 4),
		f{id: 8, length: 4}, f{id: 12, length: 4}, f{id: 225, length: 4}, f{id: 226, length: 4}, f{id: 7, length: 2}, f{id: 11, length: 2}, f{id: 227, length: 2}, f{id: 228, length: 2}), 0,
		"src_addr", "10.0.0.1", "dst_addr", "10.0.0.2", "src_port", uint16(1), "dst_port", uint16(2))
}

func TestWirelessStation(t *testing.T) {
	fields := []f{{id: 365, length: 6}, {id: 366, length: 4}, {id: 61, length: 1}, {id: 367, length: 6}}
	r := func(direction uint8) packet {
		return packet{}.u8(2, 0, 0, 0, 0, 1).addr("10.0.0.1").u8(direction).u8(2, 0, 0, 0, 0, 9)
	}
	expect(t, one(t, r(0), fields...), 0, "src_addr", "10.0.0.1", "dst_addr", "::", "src_mac", uint64(0x020000000001), "dst_mac", uint64(0x020000000009))
	expect(t, one(t, r(1), fields...), 0, "src_addr", "::", "dst_addr", "10.0.0.1", "src_mac", uint64(0x020000000009), "dst_mac", uint64(0x020000000001))
}

func TestInterfaceNameTwice(t *testing.T) { // Open vSwitch, egress templates
	b := one(t, packet{}.u32(3).text("vif1.0").text("one").u32(4).text("vif2.0").text("two").addr("10.0.0.1"),
		f{id: 10, length: 4}, f{id: 82, length: variable}, f{id: 83, length: variable}, f{id: 14, length: 4}, f{id: 82, length: variable}, f{id: 83, length: variable}, f{id: 8, length: 4})
	expect(t, b, 0, "in_if", uint32(3), "out_if", uint32(4), "src_addr", "10.0.0.1")
}

func TestRecordsThatAreNoFlows(t *testing.T) {
	c := newCollector(t)
	c.decode(ipfix(1, set(2, templateOf(256, f{id: 160, length: 8}, f{id: 4, length: 1})), set(256, packet{}.u64(1).u8(2))))
	c.wantRows(0)
	if got := c.domain().Counts; got.NoFlow != 1 || got.Flows != 0 {
		t.Errorf("no_flow %d, flows %d; want 1, 0", got.NoFlow, got.Flows)
	}
}

func TestAFloodOfTemplates(t *testing.T) {
	c := newCollector(t)
	var records packet
	for i := range 8000 {
		records = records.bytes(templateOf(uint16(256+i), f{id: 8, length: 4}))
	}
	var got template.Reason
	took := cpuTime(t, func() { got = c.reason(v9(1, set(0, records[:60_000]))) })
	if got != template.TooManyTemplates {
		t.Errorf("Decode: %s, want too_many_templates", got)
	}
	if took > time.Second {
		t.Errorf("7500 templates took %s", took)
	}
	if got := c.domain(); len(got.Templates) != 1024 || got.Counts.Dropped["too_many_templates"] != 7500-1024 {
		t.Errorf("%d templates, dropped %v; want 1024 and the rest", len(got.Templates), got.Counts.Dropped)
	}
}

// Decoders on several goroutines share a store: what the race detector is asked.
func TestDecodersShareAStore(t *testing.T) {
	store := template.New(template.DefaultConfig())
	sequences := seeds()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			d, out := netflow.New(netflow.Config{}, store), flow.NewBatch(64)
			for range 20 {
				for _, s := range sequences {
					for _, b := range split(s) {
						_ = d.Decode(b, exporter, received, out) // a withdrawal by one is held data of another
					}
				}
				out.Reset()
				store.Domains()
			}
		})
	}
	wg.Wait()
}

func TestTooManyDomains(t *testing.T) {
	c := newCollector(t, func(cfg *template.Config) { cfg.MaxDomains = 1 })
	c.decode(v9(1))
	c.wantReason(v9(2), template.TooManyDomains)
	if got := c.store.Dropped()["too_many_domains"]; got != 1 {
		t.Errorf("dropped too_many_domains = %d, want 1", got)
	}
}
