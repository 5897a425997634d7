package netflow_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// basic is a template of IPv4 flows and record a flow of it.
var basic = []f{{id: 8, length: 4}, {id: 12, length: 4}, {id: 7, length: 2}, {id: 11, length: 2}, {id: 4, length: 1}, {id: 1, length: 4}, {id: 2, length: 4}}

func record(src, dst string, sport, dport uint16, protocol uint8, octets, packets uint32) packet {
	return packet{}.addr(src, dst).u16(sport, dport).u8(protocol).u32(octets, packets)
}

func TestNetFlow5(t *testing.T) {
	r := packet{}.addr("10.0.0.1", "10.0.0.2", "10.0.0.3").u16(7, 9).u32(3, 180, uptime-5000, uptime-1000).
		u16(1234, 443).u8(0, 0x1b, 6, 0x20).u16(65001, 65002).u8(24, 16).u16(0)
	c := newCollector(t)
	b := c.decode(v5(0x4000|100, 0x0203, r, r))
	if b.Len() != 2 {
		t.Fatalf("%d rows, want 2", b.Len())
	}
	expect(t, b, 1, "time_received", received, "start_age_ms", int64(5250), "duration_ms", uint32(4000),
		"exporter", "192.0.2.1", "observation_domain", uint32(0x0203), "version", uint8(5),
		"sampling_rate", uint32(100), "sampling_assumed", false, "src_addr", "10.0.0.1", "dst_addr", "10.0.0.2",
		"src_port", uint16(1234), "dst_port", uint16(443), "protocol", uint8(6), "bytes", uint64(180),
		"packets", uint64(3), "bytes_layer", flow.BytesLayer3, "tcp_flags", uint16(0x1b), "tos", uint8(0x20),
		"in_if", uint32(7), "out_if", uint32(9))
}

func TestNetFlow5ICMPInDestinationPort(t *testing.T) {
	r := packet{}.addr("10.0.0.1", "10.0.0.2", "0.0.0.0").u16(1, 2).u32(1, 84, uptime, uptime).
		u16(0, 3<<8|1).u8(0, 0, 1, 0).u16(0, 0).u8(0, 0).u16(0)
	expect(t, newCollector(t).decode(v5(0, 0, r)), 0, "icmp_type", uint8(3), "icmp_code", uint8(1),
		"dst_port", uint16(0x0301), "sampling_rate", uint32(1), "sampling_assumed", true)
}

func TestNetFlow9AndIPFIX(t *testing.T) {
	for name, make := range map[string]func(uint32, ...packet) []byte{"v9": v9, "ipfix": ipfix} {
		t.Run(name, func(t *testing.T) {
			templates := uint16(0)
			if name == "ipfix" {
				templates = 2
			}
			c := newCollector(t)
			b := c.decode(make(77, set(templates, templateOf(256, basic...)),
				set(256, record("10.0.0.1", "10.0.0.2", 1000, 53, 17, 500, 4), record("10.0.0.3", "10.0.0.4", 1001, 80, 6, 9, 8))))
			if b.Len() != 2 {
				t.Fatalf("%d rows, want 2", b.Len())
			}
			expect(t, b, 0, "src_addr", "10.0.0.1", "dst_addr", "10.0.0.2", "src_port", uint16(1000), "dst_port", uint16(53),
				"protocol", uint8(17), "bytes", uint64(500), "packets", uint64(4), "observation_domain", uint32(77))
			expect(t, b, 1, "src_addr", "10.0.0.3", "bytes", uint64(9), "bytes_layer", flow.BytesLayer3,
				"start_age_ms", int64(0), "duration_ms", uint32(0))
		})
	}
}

func TestIPv6AndBothFamiliesInOneTemplate(t *testing.T) {
	c := newCollector(t)
	b := c.decode(v9(1, set(0, templateOf(256, f{id: 8, length: 4}, f{id: 27, length: 16}, f{id: 12, length: 4}, f{id: 28, length: 16})),
		set(256,
			packet{}.addr("0.0.0.0", "2001:db8::1", "0.0.0.0", "2001:db8::2"),
			packet{}.addr("10.0.0.1", "::", "10.0.0.2", "::"))))
	expect(t, b, 0, "src_addr", "2001:db8::1", "dst_addr", "2001:db8::2")
	expect(t, b, 1, "src_addr", "10.0.0.1", "dst_addr", "10.0.0.2")
}

func TestVariableLength(t *testing.T) {
	c := newCollector(t)
	fields := []f{{id: 82, length: variable}, {id: 8, length: 4}, {id: 83, length: variable}, {id: 1, length: 8}, {id: 82, length: variable}}
	b := c.decode(ipfix(1, set(2, templateOf(300, fields...)),
		set(300,
			packet{}.text("eth0").addr("10.0.0.1").longText("first").u64(1).text(""),
			packet{}.text("").addr("10.0.0.2").longText("").u64(2).text("eth1"),
			packet{}.u8(0, 0, 0)))) // padding
	if b.Len() != 2 {
		t.Fatalf("%d rows, want 2", b.Len())
	}
	expect(t, b, 0, "src_addr", "10.0.0.1", "bytes", uint64(1))
	expect(t, b, 1, "src_addr", "10.0.0.2", "bytes", uint64(2))
}

func TestOneBadSetCostsNoOther(t *testing.T) {
	c := newCollector(t)
	good := record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 1)
	datagram := ipfix(1, set(2, templateOf(256, basic...), templateOf(257, f{id: 8, length: 4}, f{id: 82, length: variable})),
		set(256, good),
		set(257, packet{}.addr("10.0.0.9").u8(200).u8(1, 2, 3)), // its text runs over the end
		set(256, good))
	err := c.decoder.Decode(datagram, exporter, received, c.out)
	var e *netflow.Error
	if !errors.As(err, &e) || e.Reason != template.BadRecord || e.Set != 257 {
		t.Errorf("Decode = %v, want bad_record of set 257", err)
	}
	if c.out.Len() != 2 {
		t.Errorf("%d rows, want the 2 of the good sets", c.out.Len())
	}
	if got := c.domain().Counts.Dropped["bad_record"]; got != 1 {
		t.Errorf("dropped bad_record = %d, want 1", got)
	}
}

func TestDataBeforeItsTemplateIsHeld(t *testing.T) {
	c := newCollector(t)
	c.decode(v9(1, set(256, record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 1))))
	if c.out.Len() != 0 || c.domain().HeldNow != 1 {
		t.Fatalf("%d rows, %d held; want 0, 1", c.out.Len(), c.domain().HeldNow)
	}
	if err := c.decoder.Decode(v9(1, set(0, templateOf(256, basic...))), exporter, received+5000, c.out); err != nil {
		t.Fatal(err)
	}
	expect(t, c.out, 0, "src_addr", "10.0.0.1", "time_received", received)
	if d := c.domain(); d.HeldNow != 0 || d.Counts.Held != 1 || d.Counts.Replayed != 1 {
		t.Errorf("held %d, now %d, replayed %d; want 1, 0, 1", d.Counts.Held, d.HeldNow, d.Counts.Replayed)
	}
}

func TestDefaultSampling(t *testing.T) {
	store := template.New(template.DefaultConfig())
	d := netflow.New(netflow.Config{ExporterSampling: func(a netip.Addr) uint32 {
		if a == exporter {
			return 512
		}
		return 0
	}}, store)
	out := flow.NewBatch(1)
	datagram := v9(1, set(0, templateOf(256, basic...)), set(256, record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 1)))
	for _, from := range []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("192.0.2.2")} {
		if err := d.Decode(datagram, from, received, out); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, out, 0, "sampling_rate", uint32(512), "sampling_assumed", true)
	expect(t, out, 1, "sampling_rate", uint32(1), "sampling_assumed", true)
}
