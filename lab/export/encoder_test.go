package export_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/export"
)

// now is a whole second: headers of NetFlow 9 and IPFIX hold no less.
var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).UnixMilli()

// randomRecords are records of any values that a protocol can carry, and some extreme ones.
func randomRecords(r *rand.Rand, n int) []export.Record {
	number := func(width int) uint64 {
		v := r.Uint64() >> (64 - width)
		switch r.IntN(8) {
		case 0:
			v = 0
		case 1:
			v = 1<<width - 1
		case 2:
			v >>= r.IntN(width)
		}
		return v
	}
	address := func(v6 bool) netip.Addr {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if v6 {
			b[0] = 0x20
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	name := func() string { return strings.Repeat("vif-", 100)[:[]int{0, 5, 15, 254, 255, 300}[r.IntN(6)]] }
	records := make([]export.Record, n)
	for i := range records {
		v6 := r.IntN(3) == 0
		end := now - r.Int64N(30*60_000)
		records[i] = export.Record{
			Start: end - r.Int64N(30*60_000), End: end,
			Bytes: number(50), Packets: number(40),
			Src: address(v6), Dst: address(v6), NextHop: address(v6),
			SrcMAC: number(48), DstMAC: number(48),
			InName: name(), OutName: name(), VirtualID: name(),
			Application: number(32),
			InIf:        uint32(number(32)), OutIf: uint32(number(32)),
			VRFIn: uint32(number(32)), VRFOut: uint32(number(32)),
			SrcAS: uint32(number(32)), DstAS: uint32(number(32)),
			ObservationPoint: uint32(number(32)),
			Sampler:          uint32(1 + r.IntN(3)), Sampling: uint32(1 + r.IntN(5000)),
			SrcPort: uint16(number(16)), DstPort: uint16(number(16)),
			Ethertype: uint16(number(16)),
			VLANIn:    uint16(number(12)), VLANOut: uint16(number(12)),
			TCPFlags: uint16(number(9)),
			Protocol: []uint8{6, 17, 132, 1, 58, 47}[r.IntN(6)],
			TOS:      uint8(number(8)), TTL: uint8(number(8)),
			ICMPType: uint8(number(8)), ICMPCode: uint8(number(8)),
			SrcMask: uint8(number(5)), DstMask: uint8(number(5)),
			ForwardingStatus: uint8(number(8)), EndReason: uint8(1 + r.IntN(5)),
			Observed: flow.Observed(1 + r.IntN(2)),
		}
		if p := records[i].Protocol; p == 1 || p == 58 { // decoders take type and code from the port
			records[i].SrcPort, records[i].DstPort = 0, 0
		}
		if r.IntN(20) == 0 { // not IP
			records[i].Src, records[i].Dst, records[i].NextHop, records[i].Protocol = netip.Addr{}, netip.Addr{}, netip.Addr{}, 0
		}
	}
	return records
}

func newEncoder(t testing.TB, cfg export.Config) *export.Encoder {
	t.Helper()
	e, err := export.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// encode returns copies of the datagrams of records.
func encode(t testing.TB, e *export.Encoder, at int64, records []export.Record) (datagrams [][]byte, skipped int) {
	t.Helper()
	skipped, err := e.Encode(at, records, func(b []byte) error {
		datagrams = append(datagrams, slices.Clone(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return datagrams, skipped
}

func TestDatagramsAreBoundedAndWellFormed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	records := randomRecords(r, 3000)
	for _, payload := range []int{512, 1400, 8900, 65507} {
		for version, templates := range map[uint8][]export.Template{
			export.NetFlow5: nil,
			export.NetFlow9: export.Switch(export.UptimeTimes),
			export.IPFIX:    export.OpenVSwitch(false),
		} {
			if version == export.IPFIX && payload < 1400 {
				continue // its templates do not fit
			}
			e := newEncoder(t, export.Config{Version: version, Domain: 4, MaxPayload: payload, Templates: templates, Boot: now - 86_400_000})
			datagrams, skipped := encode(t, e, now, records)
			sequence, flows := uint32(0), 0
			for i, b := range datagrams {
				if len(b) > payload {
					t.Fatalf("version %d: datagram %d of %d bytes, want at most %d", version, i, len(b), payload)
				}
				at := map[uint8]int{export.NetFlow5: 16, export.NetFlow9: 12, export.IPFIX: 8}[version]
				if got := binary.BigEndian.Uint32(b[at:]); got != sequence {
					t.Fatalf("version %d: datagram %d has sequence number %d, want %d", version, i, got, sequence)
				}
				switch version {
				case export.NetFlow5:
					n := int(binary.BigEndian.Uint16(b[2:]))
					if len(b) != 24+48*n {
						t.Fatalf("datagram %d: %d records in %d bytes", i, n, len(b))
					}
					flows += n
					sequence += uint32(n)
				case export.NetFlow9:
					checkSets(t, b[20:], 4)
					sequence++
				case export.IPFIX:
					if int(binary.BigEndian.Uint16(b[2:])) != len(b) {
						t.Fatalf("datagram %d of %d bytes says %d", i, len(b), binary.BigEndian.Uint16(b[2:]))
					}
					checkSets(t, b[16:], 1)
					sequence = nextSequence(e, datagrams, i)
				}
			}
			if version == export.NetFlow5 && flows+skipped != len(records) {
				t.Errorf("%d flows and %d skipped of %d", flows, skipped, len(records))
			}
			if sequence != e.Sequence() {
				t.Errorf("version %d: next sequence number %d, want %d", version, e.Sequence(), sequence)
			}
		}
	}
}

// nextSequence returns the sequence number after datagram i: records of variable length cannot be counted without a
// decoder, which TestDecoderReturnsWhatWasEncoded has.
func nextSequence(e *export.Encoder, datagrams [][]byte, i int) uint32 {
	if i+1 < len(datagrams) {
		return binary.BigEndian.Uint32(datagrams[i+1][8:])
	}
	return e.Sequence()
}

// checkSets walks sets that must fill b and be of lengths divisible by align.
func checkSets(t *testing.T, b []byte, align int) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 4 {
			t.Fatalf("%d bytes after the last set", len(b))
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 5 || n > len(b) || n%align != 0 {
			t.Fatalf("set %d of %d bytes with %d left", binary.BigEndian.Uint16(b), n, len(b))
		}
		b = b[n:]
	}
}

func TestTemplatesAreRefreshed(t *testing.T) {
	e := newEncoder(t, export.Config{Version: export.NetFlow9, Templates: export.Router(export.UptimeTimes), Refresh: time.Minute})
	for _, c := range []struct {
		at   int64
		want int
	}{{0, 1}, {59_999, 0}, {60_000, 1}, {60_001, 0}, {500_000, 1}} {
		if datagrams, _ := encode(t, e, now+c.at, nil); len(datagrams) != c.want {
			t.Errorf("%d datagrams after %d ms, want %d", len(datagrams), c.at, c.want)
		}
	}
	once := newEncoder(t, export.Config{Version: export.IPFIX, Templates: export.OpenVSwitch(true)})
	if datagrams, _ := encode(t, once, now, nil); len(datagrams) < 5 {
		t.Errorf("the templates of Open vSwitch are in %d datagrams, want 5 at least", len(datagrams))
	}
	if datagrams, _ := encode(t, once, now+1e9, nil); len(datagrams) != 0 {
		t.Errorf("templates sent again without a refresh time")
	}
}

func TestElementsAreSorted(t *testing.T) {
	all := export.Elements()
	if !slices.IsSortedFunc(all, func(a, b export.Element) int {
		if a.PEN != b.PEN {
			return int(a.PEN) - int(b.PEN)
		}
		return int(a.ID) - int(b.ID)
	}) {
		t.Error("elements are not sorted: some cannot be found")
	}
}

func TestNewRefusesWhatCannotBeEncoded(t *testing.T) {
	one := func(f export.Field) []export.Template { return []export.Template{{ID: 256, Fields: []export.Field{f}}} }
	for want, cfg := range map[string]export.Config{
		"version 8":       {Version: 8},
		"no templates":    {Version: export.NetFlow5, Templates: export.Router(export.UptimeTimes)},
		"largest payload": {Version: export.IPFIX, MaxPayload: 100},
		"id below 256":    {Version: export.IPFIX, Templates: []export.Template{{ID: 255, Fields: []export.Field{{ID: 1, Len: 8}}}}},
		"no fields":       {Version: export.IPFIX, Templates: []export.Template{{ID: 256}}},
		"element 999":     {Version: export.IPFIX, Templates: one(export.Field{ID: 999, Len: 4})},
		"length 9":        {Version: export.IPFIX, Templates: one(export.Field{ID: 1, Len: 9})},
		"length 5":        {Version: export.IPFIX, Templates: one(export.Field{ID: 8, Len: 5})},
		"variable-length": {Version: export.NetFlow9, Templates: one(export.Field{ID: 82, Len: export.Variable})},
		"1 values":        {Version: export.IPFIX, Options: []export.Option{{ID: 300, Scope: []export.Field{{ID: 149, Len: 4}}, Fields: []export.Field{{ID: 305, Len: 4}}, Rows: [][]any{{uint64(1)}}}}},
		"int, want":       {Version: export.IPFIX, Options: []export.Option{{ID: 300, Scope: []export.Field{{ID: 149, Len: 4}}, Fields: []export.Field{{ID: 305, Len: 4}}, Rows: [][]any{{1, uint64(2)}}}}},
	} {
		if _, err := export.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	records := slices.DeleteFunc(randomRecords(r, 4000), func(r export.Record) bool { return !r.Src.Is4() })
	for name, cfg := range map[string]export.Config{
		"netflow5":       {Version: export.NetFlow5},
		"netflow9router": {Version: export.NetFlow9, Templates: export.Router(export.UptimeTimes)},
		"ipfixovs":       {Version: export.IPFIX, Templates: export.OpenVSwitch(false)},
	} {
		b.Run(name, func(b *testing.B) {
			e := newEncoder(b, cfg)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Encode(now, records, func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/flow")
		})
	}
}
