package export_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/lab/export"
)

// choice is one way to send a part of a record: fields, and what a row must then hold.
type choice struct {
	fields []export.Field
	want   func(r *export.Record, row *flow.Batch)
}

func f(id, length uint16) export.Field { return export.Field{ID: id, Len: length} }

func one(id, length uint16, want func(*export.Record, *flow.Batch)) choice {
	return choice{[]export.Field{f(id, length)}, want}
}

// cut returns the low n bytes of v.
func cut(v uint64, n uint16) uint64 {
	if n >= 8 {
		return v
	}
	return v & (1<<(8*n) - 1)
}

// lengths returns a choice for each length in bytes of element id.
func lengths(id uint16, from, to uint16, want func(r *export.Record, row *flow.Batch, length uint16)) []choice {
	var all []choice
	for l := from; l <= to; l++ {
		all = append(all, one(id, l, func(r *export.Record, row *flow.Batch) { want(r, row, l) }))
	}
	return all
}

func none(*export.Record, *flow.Batch) {}

func mapped(a netip.Addr) flow.Addr {
	if !a.IsValid() {
		return flow.Addr{}
	}
	return a.As16()
}

const received = 7 // ms after export

func setTimes(row *flow.Batch, start, end int64) {
	row.StartAge[0] = now + received - start
	row.Duration[0] = uint32(max(end-start, 0))
}

// parts is what a template may be made of: for each part one of its choices.
var parts = [][]choice{
	append(lengths(1, 1, 8, func(r *export.Record, row *flow.Batch, l uint16) {
		row.Bytes[0], row.BytesLayer[0] = cut(r.Bytes, l), flow.BytesLayer3
	}), one(352, 8, func(r *export.Record, row *flow.Batch) {
		header := uint64(14)
		if r.VLANIn != 0 {
			header = 18
		}
		row.Bytes[0], row.BytesLayer[0] = r.Bytes+r.Packets*header, flow.BytesLayer2
	})),
	lengths(2, 1, 8, func(r *export.Record, row *flow.Batch, l uint16) { row.Packets[0] = cut(r.Packets, l) }),
	lengths(4, 1, 1, func(r *export.Record, row *flow.Batch, _ uint16) { row.Protocol[0] = r.Protocol }),
	{
		one(5, 1, func(r *export.Record, row *flow.Batch) { row.TOS[0] = r.TOS }),
		one(195, 1, func(r *export.Record, row *flow.Batch) { row.TOS[0] = r.TOS &^ 3 }),
	},
	lengths(6, 1, 2, func(r *export.Record, row *flow.Batch, l uint16) {
		row.TCPFlags[0] = uint16(cut(uint64(r.TCPFlags), l))
	}),
	{{[]export.Field{f(7, 2), f(11, 2)}, func(r *export.Record, row *flow.Batch) {
		row.SrcPort[0], row.DstPort[0] = r.SrcPort, r.DstPort
	}}},
	{
		{[]export.Field{f(8, 4), f(12, 4)}, func(r *export.Record, row *flow.Batch) {
			row.SrcAddr[0], row.DstAddr[0] = mapped(netip.IPv4Unspecified()), mapped(netip.IPv4Unspecified())
			if r.Src.Is4() {
				row.SrcAddr[0], row.DstAddr[0] = mapped(r.Src), mapped(r.Dst)
			}
		}},
		{[]export.Field{f(27, 16), f(28, 16)}, func(r *export.Record, row *flow.Batch) {
			if r.Src.Is6() {
				row.SrcAddr[0], row.DstAddr[0] = mapped(r.Src), mapped(r.Dst)
			}
		}},
	},
	lengths(10, 1, 4, func(r *export.Record, row *flow.Batch, l uint16) { row.InIf[0] = uint32(cut(uint64(r.InIf), l)) }),
	lengths(14, 2, 4, func(r *export.Record, row *flow.Batch, l uint16) { row.OutIf[0] = uint32(cut(uint64(r.OutIf), l)) }),
	{
		{[]export.Field{f(176, 1), f(177, 1)}, func(r *export.Record, row *flow.Batch) {
			row.ICMPType[0], row.ICMPCode[0] = r.ICMPType, r.ICMPCode
		}},
		one(32, 2, func(r *export.Record, row *flow.Batch) { row.ICMPType[0], row.ICMPCode[0] = r.ICMPType, r.ICMPCode }),
		one(139, 2, func(r *export.Record, row *flow.Batch) { row.ICMPType[0], row.ICMPCode[0] = r.ICMPType, r.ICMPCode }),
	},
	{{[]export.Field{f(56, 6), f(80, 6)}, func(r *export.Record, row *flow.Batch) {
		row.SrcMAC[0], row.DstMAC[0] = r.SrcMAC, r.DstMAC
	}}},
	{
		{[]export.Field{f(58, 2), f(59, 2)}, func(r *export.Record, row *flow.Batch) {
			row.VLANIn[0], row.VLANOut[0] = r.VLANIn, r.VLANOut
		}},
		one(243, 2, func(r *export.Record, row *flow.Batch) { row.VLANIn[0] = r.VLANIn }),
	},
	lengths(61, 1, 1, func(r *export.Record, row *flow.Batch, _ uint16) { row.Observed[0] = r.Observed }),
	lengths(89, 1, 1, func(r *export.Record, row *flow.Batch, _ uint16) { row.ForwardingStatus[0] = r.ForwardingStatus }),
	lengths(95, 4, 8, func(r *export.Record, row *flow.Batch, _ uint16) { row.Application[0] = r.Application }),
	lengths(136, 1, 1, func(r *export.Record, row *flow.Batch, _ uint16) { row.EndReason[0] = r.EndReason }),
	lengths(138, 4, 8, func(r *export.Record, row *flow.Batch, _ uint16) { row.ObservationPoint[0] = r.ObservationPoint }),
	{{[]export.Field{f(234, 4), f(235, 4)}, func(r *export.Record, row *flow.Batch) {
		row.VRFIn[0], row.VRFOut[0] = r.VRFIn, r.VRFOut
	}}},
	lengths(256, 2, 2, func(r *export.Record, row *flow.Batch, _ uint16) { row.Ethertype[0] = r.Ethertype }),
	{
		one(34, 4, func(r *export.Record, row *flow.Batch) {
			row.SamplingRate[0], row.SamplingAssumed[0] = r.Sampling, false
		}),
		{[]export.Field{f(305, 4), f(306, 4)}, func(r *export.Record, row *flow.Batch) {
			row.SamplingRate[0], row.SamplingAssumed[0] = r.Sampling, false
		}},
	},
	{ // times
		{[]export.Field{f(152, 8), f(153, 8)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start, r.End) }},
		{[]export.Field{f(154, 8), f(155, 8)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start, r.End) }},
		{[]export.Field{f(156, 8), f(157, 8)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start, r.End) }},
		{[]export.Field{f(158, 4), f(159, 4)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start, r.End) }},
		{[]export.Field{f(152, 8), f(161, 4)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start, r.End) }},
		{[]export.Field{f(150, 4), f(151, 4)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start/1000*1000, r.End/1000*1000) }},
		{[]export.Field{f(22, 4), f(21, 4), f(160, 8)}, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start, r.End) }},
		one(153, 8, func(r *export.Record, row *flow.Batch) { setTimes(row, r.End, r.End) }),
		one(150, 4, func(r *export.Record, row *flow.Batch) { setTimes(row, r.Start/1000*1000, r.Start/1000*1000) }),
	},
	// What no row has a place for.
	{one(192, 1, none)},
	{one(198, 8, none)},
	{one(82, export.Variable, none), one(82, 16, none)},
	{{[]export.Field{f(82, export.Variable), f(83, export.Variable)}, none}},
	{{[]export.Field{{PEN: export.PENVMware, ID: 898, Len: export.Variable}}, none}},
	{one(222, 8, none)},
	{one(31, 4, none), one(31, 3, none)},
	{one(16, 4, none), one(17, 2, none)},
	{one(9, 1, none), one(30, 1, none)},
}

// randomTemplate returns a template and what its rows hold.
func randomTemplate(r *rand.Rand, id uint16, version uint8) (export.Template, []choice) {
	t := export.Template{ID: id}
	var chosen []choice
	for _, i := range r.Perm(len(parts)) {
		if i > 1 && r.IntN(3) == 0 { // bytes and packets are in every one
			continue
		}
		c := parts[i][r.IntN(len(parts[i]))]
		possible := true
		for _, field := range c.fields {
			possible = possible && (version == export.IPFIX || field.PEN == 0 && field.Len != export.Variable && field.ID != 160)
		}
		if !possible {
			continue
		}
		fields := append([]export.Field(nil), c.fields...)
		r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		at := 0
		if len(t.Fields) > 0 {
			at = r.IntN(len(t.Fields))
		}
		t.Fields = append(t.Fields[:at:at], append(fields, t.Fields[at:]...)...)
		chosen = append(chosen, c)
	}
	return t, chosen
}

var exporter = netip.MustParseAddr("192.0.2.7")

// compare fails the test unless row i of got is the first of want, in all columns.
func compare(t *testing.T, what string, got *flow.Batch, i int, want *flow.Batch) {
	t.Helper()
	for _, field := range flow.Fields {
		if g, w := fmt.Sprint(got.Value(field.Name, i)), fmt.Sprint(want.Value(field.Name, 0)); g != w {
			t.Fatalf("%s: record %d: %s is %s, want %s", what, i, field.Name, g, w)
		}
	}
}

func newRow(version uint8, domain uint32) *flow.Batch {
	row := flow.NewBatch(1)
	row.Grow(1)
	row.TimeReceived[0] = now + received
	row.Exporter[0] = exporter.As16()
	row.Version[0], row.ObservationDomain[0] = version, domain
	row.SamplingRate[0], row.SamplingAssumed[0] = 1, true
	return row
}

func TestDecoderReturnsWhatWasEncoded(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	rounds := 500
	if testing.Short() {
		rounds = 100
	}
	out := flow.NewBatch(1024)
	for round := range rounds {
		version := []uint8{export.NetFlow9, export.IPFIX}[r.IntN(2)]
		tmpl, chosen := randomTemplate(r, uint16(256+r.IntN(1000)), version)
		records := randomRecords(r, 1+r.IntN(60))
		e := newEncoder(t, export.Config{
			Version: version, Domain: uint32(round), Boot: now - 3*86_400_000,
			MaxPayload: 1500 + r.IntN(8000), Templates: []export.Template{tmpl},
		})
		what := fmt.Sprintf("seed %d, round %d, version %d, template %+v", seed, round, version, tmpl.Fields)
		store := template.New(template.DefaultConfig())
		decoder := netflow.New(netflow.Config{}, store)
		out.Reset()
		datagrams, skipped := encode(t, e, now, records)
		for _, b := range datagrams {
			if err := decoder.Decode(b, exporter, now+received, out); err != nil {
				t.Fatalf("%s: decode: %v", what, err)
			}
		}
		if skipped != 0 || out.Len() != len(records) {
			t.Fatalf("%s: %d rows and %d skipped of %d records", what, out.Len(), skipped, len(records))
		}
		if got := e.Sequence(); version == export.IPFIX && got != uint32(len(records)) {
			t.Fatalf("%s: next sequence number %d, want %d", what, got, len(records))
		}
		for i := range records {
			want := newRow(version, uint32(round))
			for _, c := range chosen {
				c.want(&records[i], want)
			}
			compare(t, what, out, i, want)
		}
	}
}

func TestDecoderReadsNetFlow5(t *testing.T) {
	seed := chance.Seed(t)
	records := randomRecords(rand.New(rand.NewPCG(seed, 1)), 500)
	e := newEncoder(t, export.Config{Version: export.NetFlow5, Domain: 3<<8 | 4, Boot: now - 86_400_000, Sampling: 1<<14 | 100})
	decoder := netflow.New(netflow.Config{}, template.New(template.DefaultConfig()))
	out := flow.NewBatch(512)
	datagrams, skipped := encode(t, e, now, records)
	for _, b := range datagrams {
		if err := decoder.Decode(b, exporter, now+received, out); err != nil {
			t.Fatal(err)
		}
	}
	row := 0
	for i := range records {
		r := &records[i]
		if !r.Src.Is4() {
			skipped--
			continue
		}
		want := newRow(export.NetFlow5, 3<<8|4)
		want.SamplingRate[0], want.SamplingAssumed[0] = 100, false
		want.SrcAddr[0], want.DstAddr[0] = mapped(r.Src), mapped(r.Dst)
		want.SrcPort[0], want.DstPort[0], want.Protocol[0] = r.SrcPort, r.DstPort, r.Protocol
		want.Bytes[0], want.BytesLayer[0] = min(r.Bytes, 1<<32-1), flow.BytesLayer3
		want.Packets[0] = min(r.Packets, 1<<32-1)
		want.InIf[0], want.OutIf[0] = uint32(uint16(r.InIf)), uint32(uint16(r.OutIf))
		want.TCPFlags[0], want.TOS[0] = r.TCPFlags&0xff, r.TOS
		want.Ethertype[0] = out.Ethertype[row] // NetFlow 5 does not say; the decoder knows
		if r.Protocol == 1 {
			want.DstPort[0] = out.DstPort[row] // holds type and code on the wire
			want.ICMPType[0], want.ICMPCode[0] = r.ICMPType, r.ICMPCode
		}
		setTimes(want, r.Start, r.End)
		compare(t, fmt.Sprintf("seed %d", seed), out, row, want)
		row++
	}
	if skipped != 0 || row != out.Len() {
		t.Errorf("%d rows of %d, %d skipped that could be sent", row, out.Len(), skipped)
	}
}

// The layouts of real exporters: everything that Open vSwitch says is read from among its totals and doubled names.
func TestDecoderReadsLayouts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	records := randomRecords(r, 2000)
	for i := range records {
		records[i].VRFIn, records[i].VRFOut, records[i].Application = 0, 0, 0
	}
	type layout struct {
		name      string
		version   uint8
		templates []export.Template
	}
	for _, l := range []layout{
		{"router", export.NetFlow9, export.Router(export.UptimeTimes)},
		{"router", export.IPFIX, export.Router(export.MillisecondTimes)},
		{"switch", export.NetFlow9, export.Switch(export.UptimeTimes)},
		{"switch", export.IPFIX, export.Switch(export.DeltaTimes)},
		{"open vswitch", export.IPFIX, export.OpenVSwitch(false)},
		{"open vswitch, virtual id", export.IPFIX, export.OpenVSwitch(true)},
	} {
		e := newEncoder(t, export.Config{Version: l.version, Domain: 9, Boot: now - 86_400_000, MaxPayload: 4000, Templates: l.templates})
		decoder := netflow.New(netflow.Config{}, template.New(template.DefaultConfig()))
		out := flow.NewBatch(2048)
		datagrams, skipped := encode(t, e, now, records)
		for _, b := range datagrams {
			if err := decoder.Decode(b, exporter, now+received, out); err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
		}
		row := 0
		for i := range records {
			rec := &records[i]
			if l.name == "router" && !rec.Src.IsValid() {
				skipped--
				continue
			}
			if got, want := out.SrcAddr[row], mapped(rec.Src); got != want {
				t.Fatalf("%s: row %d: source %v, want %v", l.name, row, got, want)
			}
			wantBytes, wantPackets := rec.Bytes, rec.Packets
			if l.name == "router" {
				wantBytes, wantPackets = cut(wantBytes, 4), cut(wantPackets, 4)
			} else if !rec.Src.IsValid() && l.name != "switch" {
				wantBytes += rec.Packets * map[bool]uint64{false: 14, true: 18}[rec.VLANIn != 0]
			}
			if out.Bytes[row] != wantBytes || out.Packets[row] != wantPackets {
				t.Fatalf("%s: row %d: %d bytes, %d packets, want %d, %d", l.name, row, out.Bytes[row], out.Packets[row], wantBytes, wantPackets)
			}
			start := now + received - out.StartAge[row]
			if start != rec.Start || int64(out.Duration[row]) != rec.End-rec.Start {
				t.Fatalf("%s: row %d: start %d for %d ms, want %d for %d", l.name, row, start, out.Duration[row], rec.Start, rec.End-rec.Start)
			}
			if out.InIf[row] != rec.InIf || out.OutIf[row] != rec.OutIf || l.name != "router" && out.SrcMAC[row] != rec.SrcMAC {
				t.Fatalf("%s: row %d: interfaces %d, %d, want %d, %d", l.name, row, out.InIf[row], out.OutIf[row], rec.InIf, rec.OutIf)
			}
			row++
		}
		if skipped != 0 || row != out.Len() {
			t.Errorf("%s: %d rows of %d, %d skipped that could be sent", l.name, row, out.Len(), skipped)
		}
	}
}

func TestDecoderReadsOptions(t *testing.T) {
	for _, version := range []uint8{export.NetFlow9, export.IPFIX} {
		e := newEncoder(t, export.Config{
			Version: version, Domain: 5, Boot: now - 86_400_000,
			Templates: []export.Template{
				{ID: 300, Match: func(r *export.Record) bool { return r.Sampler != 0 }, Fields: []export.Field{f(1, 8), f(2, 8), f(48, 2)}},
				{ID: 301, Fields: []export.Field{f(1, 8), f(2, 8)}},
			},
			Options: []export.Option{
				export.SamplingOption(version, 5, 512),
				export.InterfaceOption(version, []export.Interface{{3, "vif1.0", "web-01"}, {4, "vif2.0", ""}}),
				export.VRFOption(version, map[uint32]string{9: "blue"}),
				export.ApplicationOption(version, map[uint32]string{13<<24 | 80: "http"}),
			},
		})
		samplers := newEncoder(t, export.Config{
			Version: version, Domain: 5, Boot: now - 86_400_000,
			Options: []export.Option{export.SamplerOption(version, map[uint32]uint32{1: 100, 2: 1000})},
		})
		store := template.New(template.DefaultConfig())
		decoder := netflow.New(netflow.Config{}, store)
		out := flow.NewBatch(16)
		records := []export.Record{{Bytes: 1, Packets: 1}, {Bytes: 1, Packets: 1, Sampler: 1}, {Bytes: 1, Packets: 1, Sampler: 2}}
		all, _ := encode(t, samplers, now, nil)
		more, _ := encode(t, e, now, records)
		for _, b := range append(all, more...) {
			if err := decoder.Decode(b, exporter, now+received, out); err != nil {
				t.Fatal(err)
			}
		}
		domains := store.Domains()
		if len(domains) != 1 {
			t.Fatalf("version %d: %d domains", version, len(domains))
		}
		d := domains[0]
		if d.SamplingRate != 512 || d.Samplers[1] != 100 || d.Samplers[2] != 1000 || d.Interfaces[3].Name != "vif1.0" ||
			d.Interfaces[4].Name != "vif2.0" || d.VRFs[9] != "blue" || d.Applications[13<<24|80].Name != "http" {
			t.Errorf("version %d: options read: %+v", version, d)
		}
	}
}
