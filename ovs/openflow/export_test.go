package openflow

import "slices"

// DecodeFlowStats reads flows as a switch sends them.
func DecodeFlowStats(b []byte) (list []FlowStats, err error) {
	var d decoder
	for len(b) > 0 {
		s, n, err := d.flowStats(b)
		if err != nil {
			return list, err
		}
		list = append(list, s)
		b = b[n:]
	}
	return list, nil
}

// EncodeFlowStats is what a switch sends of a flow.
func EncodeFlowStats(f Flow) []byte {
	b := append16(append([]byte{0, 0}, f.Table, 0), 0, 1, 0, 2)
	b = append16(b, f.Priority, f.Idle, f.Hard, uint16(f.Flags), 0, 0)
	b = append64(append64(append64(b, uint64(f.Cookie)), 3), 4)
	b = append(appendMatch(b, f.Match), f.Actions...)
	put16(b, len(b))
	return b
}

// CanonicalMatch reads the fields of a match.
func CanonicalMatch(b []byte) (Match, error) {
	var d decoder
	err := d.canonicalMatch(b)
	return Match(d.match), err
}

// CanonicalActions reads instructions.
func CanonicalActions(b []byte) Actions {
	var d decoder
	d.readActions(b)
	return Actions(d.actions)
}

// DecodeGroup reads a group as a switch describes it.
func DecodeGroup(b []byte) (Group, error) {
	g, _, err := groupDesc(b)
	return g, err
}

// DecodeAny reads a message of any type as a connection does that has nothing to ask.
func DecodeAny(kind uint8, body []byte) (Event, error) {
	var d decoder
	switch kind {
	case typeHello:
		_, err := helloVersions(Version, body)
		return nil, err
	case typeError:
		_, err := decodeError(body)
		return nil, err
	case typeFeaturesReply:
		_, err := decodeFeatures(body)
		return nil, err
	}
	return d.decodeEvent(kind, body)
}

// AppendMod encodes a modification.
func AppendMod(m Mod) []byte { return m.append(nil) }

// Reasons are all reasons.
func Reasons() []Reason { return slices.Clone(reasons) }

// DecodeMeters reads meters as a switch sends them.
func DecodeMeters(b []byte) (list []MeterSpec, err error) {
	for len(b) > 0 {
		m, n, err := meterConfig(b)
		if err != nil {
			return list, err
		}
		list = append(list, m)
		b = b[n:]
	}
	return list, nil
}

// EncodeMeter is what a switch sends of a meter.
func EncodeMeter(m MeterSpec) []byte {
	b := appendMeterMod(nil, 0, meterAdd, m)[headerLen:] // command, flags, id, band
	put16(b, len(b))
	return b
}

// MeterFeatures reads the highest id of a meter.
var MeterFeatures = meterFeatures
