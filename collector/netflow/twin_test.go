package netflow_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// twin is the slow twin of the decoder: it makes rows from what the Describer says, record by record and element by
// element, and keeps what options data said in plain maps. It shares no code with the decoder. It holds no data for
// templates that come later.
type twin struct {
	describer *netflow.Describer
	options   map[template.Key]*twinOptions
	layouts   map[template.Key]map[uint16]netflow.Layout
	records   int // data records of all kinds, seen so far
}

type twinOptions struct {
	rate       uint64
	samplers   map[uint64]uint64
	interfaces map[uint64]uint64
	init       int64
}

// row is the columns of a flow that are not zero, by name.
type row map[string]any

func newTwin() *twin {
	return &twin{netflow.NewDescriber(), map[template.Key]*twinOptions{}, map[template.Key]map[uint16]netflow.Layout{}, 0}
}

// rows returns the flows of a datagram.
func (t *twin) rows(b []byte, from netip.Addr, receivedAt int64) []row {
	var rows []row
	for _, m := range t.describer.Describe(b, from).Messages {
		key := template.Key{Exporter: from, Protocol: uint8(m.Version), Domain: m.Domain}
		if t.options[key] == nil {
			t.options[key] = &twinOptions{samplers: map[uint64]uint64{}, interfaces: map[uint64]uint64{}}
			t.layouts[key] = map[uint16]netflow.Layout{}
		}
		for _, s := range m.Sets {
			for _, l := range s.Layouts {
				t.layouts[key][l.ID] = l
			}
			if s.Problem != "" { // its rows are rolled back
				continue
			}
			switch s.Kind {
			case netflow.KindOptions:
				for _, r := range s.Records {
					t.options[key].learn(r)
				}
				t.records += len(s.Records)
			case netflow.KindData:
				t.records += len(s.Records)
				for _, r := range s.Records {
					x := twinRecord{r, t.layouts[key][r.Template], m, t.options[key], receivedAt}
					if m.Version == 5 {
						x.layout = layout5(r)
					}
					if out, ok := x.row(from); ok {
						rows = append(rows, out)
					}
				}
			}
		}
	}
	return rows
}

func layout5(r netflow.Record) netflow.Layout {
	var l netflow.Layout
	for _, e := range r.Elements {
		l.Fields = append(l.Fields, netflow.Specifier{ID: e.ID, Length: e.Length})
	}
	return l
}

func (o *twinOptions) learn(r netflow.Record) {
	var fields twinSampling
	var sampler, iface *uint64
	for _, e := range r.Elements {
		fits := e.Length >= 1 && e.Length <= 8
		v := uint64(0)
		if fits {
			v = bigEndian(e.Raw)
		}
		switch {
		case e.ID == ie.ID{Enterprise: ie.Scope9, Number: 2}, e.ID == ie.Of(10), e.ID == ie.Of(14), e.ID == ie.Of(252):
			if fits {
				iface = &v
			}
		case (e.ID == ie.Of(48) || e.ID == ie.Of(302)) && fits:
			sampler = &v
		case e.ID == ie.Of(160) && e.Length == 8:
			if v <= 253_402_300_799_999 && v != 0 {
				o.init = int64(v)
			}
		default:
			fields.take(e)
		}
	}
	switch rate := fields.rate(); {
	case rate == 0:
	case sampler != nil:
		o.samplers[*sampler] = rate
	case iface != nil:
		o.interfaces[*iface&math.MaxUint32] = rate
	default:
		o.rate = rate
	}
}

// ofDomain is the rate of records that name no sampler.
func (o *twinOptions) ofDomain() uint64 {
	if o.rate != 0 {
		return o.rate
	}
	all := uint64(0)
	for _, r := range o.samplers {
		if all != 0 && r != all {
			return 0
		}
		all = r
	}
	return all
}

type twinSampling struct {
	interval, packets, space, size, population uint64
	spaced                                     bool
	probability                                float64
}

// float is the value of a float64, which may have been sent as a float32.
func float(b []byte) float64 {
	switch len(b) {
	case 4:
		return float64(math.Float32frombits(uint32(bigEndian(b))))
	case 8:
		return math.Float64frombits(bigEndian(b))
	}
	return 0
}

func (s *twinSampling) take(e netflow.Element) {
	if e.ID.Enterprise != ie.IANA || e.Length < 1 || e.Length > 8 {
		return
	}
	v := bigEndian(e.Raw)
	switch e.ID.Number {
	case 34, 50:
		s.interval = v
	case 305:
		s.packets = v
	case 306:
		s.space, s.spaced = v, true
	case 309:
		s.size = v
	case 310:
		s.population = v
	case 311:
		s.probability = float(e.Raw)
	}
}

// rate is 0 where nothing is said, or nothing that is believed.
func (s *twinSampling) rate() uint64 {
	if r := s.told(); r <= template.MaxRate {
		return r
	}
	return 0
}

func (s *twinSampling) told() uint64 {
	bound := func(v uint64) uint64 { return min(v, math.MaxUint32) }
	switch {
	case s.interval != 0:
		return s.interval
	case s.spaced && s.packets+s.space != 0:
		n := max(1, bound(s.packets))
		return (n + bound(s.space) + n/2) / n
	case s.packets != 0:
		return s.packets
	case s.population != 0:
		n := max(1, bound(s.size))
		return max(1, (bound(s.population)+n/2)/n)
	case s.probability > 0 && s.probability <= 1:
		return uint64(math.Round(min(1/s.probability, math.MaxUint32)))
	}
	return 0
}

// twinRecord is one data record with all that its meaning depends on.
type twinRecord struct {
	netflow.Record
	layout   netflow.Layout
	message  netflow.Message
	options  *twinOptions
	received int64
}

// fields returns the values of those fields of an element that have from lo to hi octets, or that by the template
// may have: a field of variable length that does not fit is nil.
func (r *twinRecord) fields(number uint16, lo, hi int) [][]byte {
	var list [][]byte
	for i, s := range r.layout.Fields {
		if s.ID != ie.Of(number) {
			continue
		}
		e := r.Elements[i]
		switch {
		case e.Length >= lo && e.Length <= hi:
			list = append(list, e.Raw)
		case s.Length == variable:
			list = append(list, nil)
		}
	}
	return list
}

// has reports whether the template gives any of the elements.
func (r *twinRecord) has(lo, hi int, numbers ...uint16) bool {
	return slices.ContainsFunc(numbers, func(n uint16) bool { return len(r.fields(n, lo, hi)) > 0 })
}

// only returns the first field of the first of the elements that the template has.
func (r *twinRecord) only(lo, hi int, numbers ...uint16) []byte {
	for _, n := range numbers {
		if list := r.fields(n, lo, hi); len(list) > 0 {
			return list[0]
		}
	}
	return nil
}

// merged returns the first number that is not 0 in so many bits, of all fields of the elements in their order.
func (r *twinRecord) merged(bits int, numbers ...uint16) uint64 {
	for _, n := range numbers {
		for _, v := range r.fields(n, 1, 8) {
			if x := bigEndian(v) & (math.MaxUint64 >> (64 - bits)); x != 0 {
				return x
			}
		}
	}
	return 0
}

func (r *twinRecord) address(v6, v4, station uint16) flow.Addr {
	for _, v := range append(r.fields(v6, 16, 16), r.fields(v4, 4, 4)...) {
		var a flow.Addr
		switch len(v) {
		case 16:
			a = flow.Addr(v)
		case 4:
			a = netip.AddrFrom4([4]byte(v)).As16()
		}
		if a != (flow.Addr{}) {
			return a
		}
	}
	if !r.has(16, 16, v6) && !r.has(4, 4, v4) && station != 0 {
		if v := r.only(4, 4, station); v != nil {
			return netip.AddrFrom4([4]byte(v)).As16()
		}
	}
	return flow.Addr{}
}

// row returns the flow of the record; false if it is none.
func (r *twinRecord) row(from netip.Addr) (row, bool) {
	least := 0
	for _, f := range r.layout.Fields {
		if f.Length == variable {
			least++
		} else {
			least += f.Length
		}
	}
	address := r.has(4, 4, 8, 12, 366) || r.has(16, 16, 27, 28)
	macs := r.has(6, 6, 56, 81, 80, 57, 365, 367)
	bytesFrom := []uint16{1, 352, 231, 23, 85, 353, 171}
	packetsFrom := []uint16{2, 298, 24, 86, 172}
	if least < 4 || !address && !macs && !r.has(1, 8, bytesFrom...) && !r.has(1, 8, packetsFrom...) {
		return nil, false
	}
	out := row{
		"time_received": r.received, "exporter": flow.Addr(from.As16()), "observation_domain": r.message.Domain,
		"version":  uint8(r.message.Version),
		"src_addr": r.address(27, 8, 366), "dst_addr": r.address(28, 12, 0),
		"src_port": uint16(r.merged(16, 7, 182, 180)), "dst_port": uint16(r.merged(16, 11, 183, 181)),
		"protocol": uint8(r.merged(8, 4)), "ethertype": uint16(r.merged(16, 256)),
		"bytes": bigEndian(r.only(1, 8, bytesFrom...)), "packets": bigEndian(r.only(1, 8, packetsFrom...)),
		"tcp_flags": uint16(r.merged(16, 6)),
		"vlan_in":   uint16(r.merged(16, 58, 243)), "vlan_out": uint16(r.merged(16, 59, 254)),
		"vrf_in": uint32(r.merged(32, 234)), "vrf_out": uint32(r.merged(32, 235)),
		"forwarding_status": uint8(r.merged(8, 89)), "end_reason": uint8(r.merged(8, 136)),
		"observation_point": uint32(r.merged(32, 138)),
		"src_mac":           bigEndian(r.only(6, 6, 56, 81, 365)), "dst_mac": bigEndian(r.only(6, 6, 80, 57, 367)),
		"in_if":  uint32(r.merged(32, 10)),
		"out_if": uint32(r.merged(32, 14)),
		"tos":    uint8(r.merged(8, 5)),
	}
	if !r.has(1, 8, 10) {
		out["in_if"] = uint32(bigEndian(r.only(1, 8, 252)))
	}
	if !r.has(1, 8, 14) {
		out["out_if"] = uint32(bigEndian(r.only(1, 8, 253)))
	}
	if !r.has(1, 8, 5) {
		out["tos"] = uint8(bigEndian(r.only(1, 8, 195)) << 2)
	}
	out["bytes_layer"] = map[bool]flow.BytesLayer{}[false]
	for _, n := range bytesFrom {
		if r.has(1, 8, n) {
			out["bytes_layer"] = map[uint16]flow.BytesLayer{1: 3, 352: 2, 23: 3, 85: 3, 353: 2, 171: 3}[n]
			break
		}
	}
	out["application"] = twinApplication(r.only(1, 64, 95))
	out["observed"] = flow.ObservedUnknown
	if v := r.only(1, 8, 61); v != nil {
		out["observed"] = map[uint64]flow.Observed{0: flow.ObservedIngress, 1: flow.ObservedEgress}[bigEndian(v)]
	}
	r.icmp(out)
	r.times(out)
	r.sampling(out)
	if out["observed"] == flow.ObservedEgress {
		if !r.has(16, 16, 27) && !r.has(4, 4, 8) && r.has(4, 4, 366) {
			out["src_addr"], out["dst_addr"] = out["dst_addr"], out["src_addr"]
		}
		if !r.has(6, 6, 56, 81) && r.has(6, 6, 365) {
			out["src_mac"], out["dst_mac"] = out["dst_mac"], out["src_mac"]
		}
	}
	return out, true
}

func twinApplication(b []byte) uint64 {
	if len(b) > 8 {
		return bigEndian(b[:1])<<56 | bigEndian(b[len(b)-7:])
	}
	return bigEndian(b)
}

func (r *twinRecord) icmp(out row) {
	types, codes := uint8(r.merged(8, 176, 178)), uint8(r.merged(8, 177, 179))
	for _, v := range append(r.fields(32, 1, 2), r.fields(139, 1, 2)...) {
		if types == 0 && codes == 0 {
			types, codes = uint8(bigEndian(v)>>8), uint8(bigEndian(v))
		}
	}
	port := out["dst_port"].(uint16)
	if p := out["protocol"]; (p == uint8(1) || p == uint8(58)) && types == 0 && codes == 0 {
		types, codes = uint8(port>>8), uint8(port)
	}
	out["icmp_type"], out["icmp_code"] = types, codes
}

func ntpToMs(v []byte) int64 {
	if bigEndian(v) == 0 {
		return 0
	}
	seconds := int64(bigEndian(v)>>32) - 2_208_988_800
	if seconds < 0 {
		seconds += 1 << 32
	}
	return seconds*1000 + int64((bigEndian(v)&math.MaxUint32)*1000>>32)
}

const none = 65535 // no element of IANA

// moment returns the time in ms that the best of the elements gives, or 0; relative is one since the initialisation
// of the exporter, which is not known.
func (r *twinRecord) moment(milli, nano, micro, second, sysUp, delta uint16, more ...uint16) (ms int64, relative bool) {
	believed := func(v uint64) int64 {
		if v > 253_402_300_799_999 {
			return 0
		}
		return int64(v)
	}
	exportedAt := r.message.Exported.UnixMilli()
	switch {
	case r.has(8, 8, milli):
		return believed(bigEndian(r.only(8, 8, milli))), false
	case r.has(8, 8, nano):
		return ntpToMs(r.only(8, 8, nano)), false
	case r.has(8, 8, micro):
		return ntpToMs(r.only(8, 8, micro)), false
	case r.has(4, 8, second):
		return believed(min(bigEndian(r.only(4, 8, second)), 253_402_300_799_999) * 1000), false
	case r.has(1, 4, sysUp):
		v := r.only(1, 4, sysUp)
		if v == nil {
			return 0, false
		}
		if r.message.Version != 10 {
			d := int64(bigEndian(v)) - int64(r.message.Uptime)
			if d > math.MaxInt32 {
				d -= 1 << 32
			}
			if r.message.Version == 5 {
				return exportedAt + d, false
			}
			return max(0, exportedAt+d), false
		}
		init := r.options.init
		if own := r.only(8, 8, 160); own != nil && believed(bigEndian(own)) != 0 {
			init = believed(bigEndian(own))
		}
		if init == 0 {
			return int64(bigEndian(v)), true
		}
		return init + int64(bigEndian(v)), false
	case r.has(1, 8, delta):
		if v := r.only(1, 8, delta); v != nil {
			return max(0, exportedAt-int64(bigEndian(v)/1000)), false
		}
		return 0, false
	}
	if len(more) == 4 {
		return r.moment(more[0], more[1], more[2], more[3], none, none)
	}
	return 0, false
}

func (r *twinRecord) times(out row) {
	start, startRelative := r.moment(152, 156, 154, 150, 22, 158)
	end, endRelative := r.moment(153, 157, 155, 151, 21, 159, 323, 325, 324, 322)
	switch {
	case startRelative && endRelative:
		d := int64(uint32(end - start))
		if d > math.MaxInt32 {
			d = 0
		}
		end = r.message.Exported.UnixMilli()
		start = end - min(d, end)
	case startRelative:
		start = 0
	case endRelative:
		end = 0
	}
	if r.has(1, 8, 161, 162) {
		d := bigEndian(r.only(1, 8, 161))
		if !r.has(1, 8, 161) {
			d = bigEndian(r.only(1, 8, 162)) / 1000
		}
		switch {
		case start != 0 && end != 0:
		case start != 0:
			end = start + int64(min(d, 253_402_300_799_999))
		default:
			if end == 0 {
				end = r.received
			}
			start = end - int64(min(d, uint64(end)))
		}
	}
	if r.message.Version != 5 {
		if start == 0 {
			start = end
		}
		if start == 0 {
			start = r.received
		}
		if end == 0 {
			end = start
		}
	}
	out["start_age_ms"] = r.received - start
	out["duration_ms"] = uint32(min(max(end-start, 0), math.MaxUint32))
}

func (r *twinRecord) sampling(out row) {
	rate := uint64(0)
	if r.message.Version == 5 {
		rate = uint64(r.message.SamplingInterval)
	} else {
		s := twinSampling{
			interval: bigEndian(r.only(1, 8, 34, 50)), packets: bigEndian(r.only(1, 8, 305)), space: bigEndian(r.only(1, 8, 306)), spaced: r.has(1, 8, 306),
			size: bigEndian(r.only(1, 8, 309)), population: bigEndian(r.only(1, 8, 310)),
			probability: float(r.only(4, 8, 311)),
		}
		rate = s.rate()
		if rate == 0 && r.has(1, 8, 302, 48) {
			rate = r.options.samplers[bigEndian(r.only(1, 8, 302, 48))]
		}
		if rate == 0 && out["observed"] == flow.ObservedEgress {
			rate = r.options.interfaces[uint64(out["out_if"].(uint32))]
		}
		if rate == 0 {
			rate = r.options.interfaces[uint64(out["in_if"].(uint32))]
		}
		if rate == 0 {
			rate = r.options.ofDomain()
		}
	}
	out["sampling_rate"], out["sampling_assumed"] = uint32(rate), rate == 0
	if rate == 0 {
		out["sampling_rate"] = uint32(1)
	}
}

func bigEndian(b []byte) uint64 {
	n := uint64(0)
	for _, c := range b {
		n = n<<8 + uint64(c)
	}
	return n
}

// decoded are the columns that the decoder fills; the others it must leave alone.
var decoded = []string{
	"time_received", "start_age_ms", "duration_ms", "exporter", "observation_domain", "version", "sampling_rate",
	"sampling_assumed", "src_addr", "dst_addr", "src_port", "dst_port", "protocol", "ethertype", "bytes", "packets",
	"bytes_layer", "tcp_flags", "tos", "icmp_type", "icmp_code", "in_if", "out_if", "src_mac", "dst_mac", "vlan_in",
	"vlan_out", "vrf_in", "vrf_out", "application", "observed", "forwarding_status", "end_reason", "observation_point",
}

// sameRows compares the rows of b from first on with those of the twin, and returns the first difference.
func sameRows(b *flow.Batch, first int, want []row) error {
	if got := b.Len() - first; got != len(want) {
		return fmt.Errorf("%d rows, the twin has %d", got, len(want))
	}
	for i, w := range want {
		for _, name := range decoded {
			if got := b.Value(name, first+i); got != w[name] {
				return fmt.Errorf("row %d: %s = %v, the twin has %v", i, name, got, w[name])
			}
		}
	}
	return nil
}

// spareRowsAreZero checks what every writer of a batch owes it.
func spareRowsAreZero(b *flow.Batch) error {
	for _, f := range flow.Fields {
		if f.Type == "Array(UInt64)" {
			continue
		}
		zero := flow.NewBatch(1).Value(f.Name, 0)
		for i := b.Len(); i < b.Cap(); i++ {
			if got := b.Value(f.Name, i); got != zero {
				return fmt.Errorf("spare row %d: %s = %v, want %v", i, f.Name, got, zero)
			}
		}
		if slices.Contains(decoded, f.Name) {
			continue
		}
		for i := range b.Len() {
			if got := b.Value(f.Name, i); got != zero {
				return fmt.Errorf("row %d: %s = %v, want it untouched", i, f.Name, got)
			}
		}
	}
	return nil
}

func TestDecodedColumnsExist(t *testing.T) {
	for _, name := range decoded {
		if _, ok := flow.FieldByName(name); !ok {
			t.Errorf("no column %q", name)
		}
	}
}
