package export

import "slices"

// Template ids of the layouts for routers and switches.
const (
	idIPv4 = 256 + iota
	idIPv6
	idOther
	idSampling
	idInterfaces
	idVRFs
	idApplications
)

func isIPv4(r *Record) bool  { return r.Src.Is4() }
func isIPv6(r *Record) bool  { return r.Src.Is6() }
func isOther(r *Record) bool { return !r.Src.IsValid() }

// Times are the elements in which a layout sends when a flow began and ended.
type Times []uint16

// Ways in which exporters give times.
var (
	UptimeTimes       = Times{22, 21}   // ms since boot; in IPFIX add 160 for the boot
	SecondTimes       = Times{150, 151} // cut to seconds
	MillisecondTimes  = Times{152, 153}
	MicrosecondTimes  = Times{154, 155} // NTP format
	NanosecondTimes   = Times{156, 157} // NTP format
	DeltaTimes        = Times{158, 159} // µs back from the time of export
	StartDurationTime = Times{152, 161}
)

// Router is the layout of a router's classic export: layer 3, 20 fields of 55 bytes a record for IPv4 (with
// UptimeTimes) and 20 of 91 for IPv6.
func Router(times Times) []Template {
	common := func(rest ...uint16) []Field {
		f := elementFields(append(rest, 7, 11, 4, 5, 6, 10, 14, 61, 1, 2, 16, 17)...)
		f = append(f, elementFields(times...)...)
		for i := range f {
			if f[i].ID == 1 || f[i].ID == 2 {
				f[i].Len = 4
			}
		}
		return f
	}
	return []Template{
		{ID: idIPv4, Match: isIPv4, Fields: common(8, 12, 15, 9, 13, 89)},
		{ID: idIPv6, Match: isIPv6, Fields: common(27, 28, 62, 29, 30, 89)},
	}
}

// Switch is the layout of a virtual or physical switch: both layers, with MAC addresses and VLANs, 64-bit counters,
// and a template for frames that are not IP.
func Switch(times Times) []Template {
	common := func(rest ...uint16) []Field {
		f := elementFields(append(rest, 56, 80, 58, 59, 10, 14, 61, 2, 1)...)
		return append(f, elementFields(append(slices.Clone(times), 136)...)...)
	}
	return []Template{
		{ID: idIPv4, Match: isIPv4, Fields: common(8, 12, 7, 11, 4, 6, 5, 60, 32)},
		{ID: idIPv6, Match: isIPv6, Fields: common(27, 28, 7, 11, 4, 6, 5, 60, 139)},
		{ID: idOther, Match: isOther, Fields: common(256)},
	}
}

// OpenVSwitch is the layout of the IPFIX of Open vSwitch 3.1, as captured from one: template ids in fours (base, egress
// interface known, tunnel, both; tunnels are left out here), names of variable length, some of them twice, times
// back from the export, and exporter-wide totals among the counters of the flow. virtual says that the exporter has a
// virtual observation id, which records then carry in an enterprise element.
func OpenVSwitch(virtual bool) []Template {
	const family = 4 // ids of a combination of layers
	var all []Template
	for l2, tagged := range []bool{false, true} {
		for l3, match := range []func(*Record) bool{isOther, isIPv4, isIPv6} {
			for l4, protocols := range [][]uint8{nil, {6}, {17}, {132}, {1, 58}} {
				if l3 == 0 && l4 != 0 {
					continue
				}
				for egress, known := range []bool{false, true} {
					all = append(all, Template{
						ID:     uint16(256 + ((l2*3+l3)*5+l4)*family + egress),
						Match:  matchOVS(tagged, match, protocols, known),
						Fields: fieldsOVS(tagged, l3, l4, known, virtual),
					})
				}
			}
		}
	}
	// A record of another transport protocol takes the template without transport, which must come last.
	slices.SortStableFunc(all, func(a, b Template) int { return transport(b) - transport(a) })
	return all
}

// transport reports by 1 or 0 whether t belongs to one transport protocol.
func transport(t Template) int { return min((int(t.ID)-256)/4%5, 1) }

func matchOVS(tagged bool, ip func(*Record) bool, protocols []uint8, egress bool) func(*Record) bool {
	return func(r *Record) bool {
		return (r.VLANIn != 0) == tagged && ip(r) && (r.OutIf != 0) == egress &&
			(protocols == nil || slices.Contains(protocols, r.Protocol))
	}
}

func fieldsOVS(tagged bool, l3, l4 int, egress, virtual bool) []Field {
	ids := []uint16{138, 61, 56, 80, 256, 240, 10, 368, 82, 83}
	if egress {
		ids = append(ids, 14, 369, 82, 83)
	}
	if tagged {
		ids = append(ids, 58, 243, 244)
	}
	switch l3 {
	case 1:
		ids = append(ids, 60, 192, 4, 195, 196, 5, 8, 12)
	case 2:
		ids = append(ids, 60, 192, 4, 195, 196, 5, 27, 28, 31)
	}
	switch {
	case l4 == 4 && l3 == 1:
		ids = append(ids, 176, 177)
	case l4 == 4:
		ids = append(ids, 178, 179)
	case l4 > 0:
		ids = append(ids, 7, 11)
	}
	fields := elementFields(ids...)
	if virtual {
		fields = append(fields, Field{PEN: PENVMware, ID: 898, Len: Variable})
	}
	ids = []uint16{158, 159, 133, 135, 2, 86, 354, 355, 356, 357, 358, 19, 174, 352, 353, 136}
	if l3 != 0 {
		ids = append(ids, 132, 134, 1, 85, 198, 199, 25, 26, 20, 175)
	}
	if l4 == 1 {
		ids = append(ids, 222, 219, 221, 220, 218, 223)
	}
	return append(fields, elementFields(ids...)...)
}

// SamplingOption tells the sampling rate of a whole observation domain: one packet in rate.
func SamplingOption(version uint8, domain, rate uint32) Option {
	if version == NetFlow9 { // RFC 3954 §8: interval, and algorithm 2, random
		return Option{
			ID: idSampling, Scope: []Field{{ID: ScopeSystem, Len: 4}},
			Fields: []Field{{ID: 34, Len: 4}, {ID: 35, Len: 1}},
			Rows:   [][]any{{uint64(0), uint64(rate), uint64(2)}},
		}
	}
	return Option{ // RFC 5477 §8.2.1: count-based; every rate-th packet is 1 of interval, rate-1 of space
		ID: idSampling, Scope: []Field{{ID: 149, Len: 4}},
		Fields: []Field{{ID: 304, Len: 2}, {ID: 305, Len: 4}, {ID: 306, Len: 4}},
		Rows:   [][]any{{uint64(domain), uint64(1), uint64(1), uint64(max(rate, 1) - 1)}},
	}
}

// SamplerOption tells the rate of each sampler that records name by samplerId or selectorId.
func SamplerOption(version uint8, rates map[uint32]uint32) Option {
	o := Option{ID: idSampling}
	if version == NetFlow9 { // Cisco: sampler id, mode 2 (random), interval
		o.Scope = []Field{{ID: ScopeSystem, Len: 4}}
		o.Fields = []Field{{ID: 48, Len: 2}, {ID: 49, Len: 1}, {ID: 50, Len: 4}}
	} else {
		o.Scope = []Field{{ID: 302, Len: 4}}
		o.Fields = []Field{{ID: 304, Len: 2}, {ID: 305, Len: 4}, {ID: 306, Len: 4}}
	}
	ids := make([]uint32, 0, len(rates))
	for id := range rates {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		rate := uint64(max(rates[id], 1))
		if version == NetFlow9 {
			o.Rows = append(o.Rows, []any{uint64(0), uint64(id), uint64(2), rate})
		} else {
			o.Rows = append(o.Rows, []any{uint64(id), uint64(1), uint64(1), rate - 1})
		}
	}
	return o
}

// Interface is a row of InterfaceOption.
type Interface struct {
	Index             uint32
	Name, Description string
}

// InterfaceOption tells the names of interfaces.
func InterfaceOption(version uint8, interfaces []Interface) Option {
	o := Option{
		ID: idInterfaces, Scope: []Field{{ID: 10, Len: 4}},
		Fields: []Field{{ID: 82, Len: Variable}, {ID: 83, Len: Variable}},
	}
	if version == NetFlow9 {
		o.Scope = []Field{{ID: ScopeInterface, Len: 4}}
		o.Fields = []Field{{ID: 82, Len: 32}, {ID: 83, Len: 64}}
	}
	for _, i := range interfaces {
		o.Rows = append(o.Rows, []any{uint64(i.Index), i.Name, i.Description})
	}
	return o
}

// VRFOption tells the names of VRFs.
func VRFOption(version uint8, names map[uint32]string) Option {
	return nameOption(version, idVRFs, Field{ID: 234, Len: 4}, 236, names)
}

// ApplicationOption tells the names of applications, which are numbered in 4 bytes here (RFC 6759).
func ApplicationOption(version uint8, names map[uint32]string) Option {
	return nameOption(version, idApplications, Field{ID: 95, Len: 4}, 96, names)
}

// nameOption is a table from a number to a name. NetFlow 9 has no scope for such numbers: there the scope is the
// system and the number the first field.
func nameOption(version uint8, table uint16, number Field, name uint16, names map[uint32]string) Option {
	o := Option{ID: table, Scope: []Field{number}, Fields: []Field{{ID: name, Len: Variable}}}
	if version == NetFlow9 {
		o.Scope = []Field{{ID: ScopeSystem, Len: 4}}
		o.Fields = []Field{number, {ID: name, Len: 32}}
	}
	ids := make([]uint32, 0, len(names))
	for id := range names {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		row := []any{uint64(id), names[id]}
		if version == NetFlow9 {
			row = append([]any{uint64(0)}, row...)
		}
		o.Rows = append(o.Rows, row)
	}
	return o
}
