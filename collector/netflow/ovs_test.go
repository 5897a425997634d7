package netflow_test

import (
	"net/netip"
	"testing"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// ovs are the elements of a template of Open vSwitch in its order; those that matter here.
func ovs(after138 ...uint16) []f {
	fields := []f{{id: 138, length: 4}}
	for _, id := range after138 {
		fields = append(fields, f{id: id, length: 1})
	}
	return append(
		fields, f{id: 56, length: 6}, f{id: 80, length: 6}, f{id: 256, length: 2}, f{id: 240, length: 1}, f{id: 10, length: 4},
		f{id: 82, length: variable}, f{id: 14, length: 4}, f{id: 82, length: variable}, f{id: 898, length: variable, enterprise: 6876},
		f{id: 158, length: 4}, f{id: 159, length: 4}, f{id: 2, length: 8}, f{id: 86, length: 8}, f{id: 352, length: 8}, f{id: 353, length: 8},
	)
}

func ovsRecord(direction bool, virtual packet) packet {
	r := packet{}.u32(1<<30 | 77)
	if direction {
		r = r.u8(1)
	}
	r = r.u8(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2).u16(0x0806).u8(14).u32(5).text("vif1.0").u32(6).text("vif2.0").bytes(virtual)
	return r.u32(2_500_000, 1_000_000).u64(20, 999_999, 840, 999_999)
}

// What Open vSwitch counts is multiplied by its sampling rate already, whatever is assumed of exporters that do not tell
// one. Each record says by which bridge it is.
func TestOpenVSwitch(t *testing.T) {
	for name, fields := range map[string][]f{"3.1": ovs(61), "2.5": ovs()} {
		t.Run(name, func(t *testing.T) {
			d := netflow.New(netflow.Config{ExporterSampling: func(netip.Addr) uint32 { return 1000 }}, template.New(template.DefaultConfig()))
			out := flow.NewBatch(8)
			direction := name == "3.1"
			tooLong := packet{}.u8(255).u16(256).bytes(make(packet, 256))
			b := ipfix(1, set(2, templateOf(256, fields...), templateOf(257, basic...)),
				set(256, ovsRecord(direction, packet{}.text("hv1/br0")), ovsRecord(direction, packet{}.text("")), ovsRecord(direction, tooLong)),
				set(257, record("10.0.0.1", "10.0.0.2", 1, 2, 6, 100, 3)))
			if err := d.Decode(b, exporter, received, out); err != nil {
				t.Fatal(err)
			}
			for i, id := range []uint64{flow.VirtualID("hv1/br0"), 0, 0} {
				expect(
					t, out, i, "sampling_rate", uint32(1), "sampling_assumed", false, "packets", uint64(20), "bytes", uint64(840),
					"bytes_layer", flow.BytesLayer2, "observation_point", uint32(1<<30|77), "in_if", uint32(5), "out_if", uint32(6),
					"duration_ms", uint32(1500), "stage", flow.StageNone, "rule_instance", uint32(0),
				)
				if out.VirtualID[i] != id {
					t.Errorf("row %d: VirtualID %#x, want %#x", i, out.VirtualID[i], id)
				}
			}
			expect(t, out, 3, "sampling_rate", uint32(1000), "sampling_assumed", true)
		})
	}
}
