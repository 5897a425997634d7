package netflow

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/template"
)

// Datagram is everything that a datagram says, for people, for JSON and for tests.
type Datagram struct {
	Length   int       `json:"length"`
	Messages []Message `json:"messages,omitempty"`
	Problem  string    `json:"problem,omitempty"` // what is wrong outside of the messages
}

// Message is one export packet. Offsets are from the start of the datagram, lengths in octets.
type Message struct {
	Offset           int       `json:"offset"`
	Length           int       `json:"length"`
	Version          uint16    `json:"version"`
	Exported         time.Time `json:"exported"`
	Uptime           uint32    `json:"uptime_ms,omitempty"` // sysUpTime; NetFlow only
	Sequence         uint32    `json:"sequence"`
	Domain           uint32    `json:"observation_domain"` // source id; NetFlow 5: engine type × 256 + engine id
	Count            int       `json:"count,omitempty"`    // records as announced; NetFlow only
	SamplingMode     int       `json:"sampling_mode,omitempty"`
	SamplingInterval int       `json:"sampling_interval,omitempty"` // NetFlow 5 only
	Sets             []Set     `json:"sets,omitempty"`
	Problem          string    `json:"problem,omitempty"`
}

// Kinds of set.
const (
	KindTemplates        = "templates"
	KindOptionsTemplates = "options_templates"
	KindData             = "data"
	KindOptions          = "options"
	KindUnknownTemplate  = "unknown_template" // data whose template was not seen
	KindReserved         = "reserved"
)

// Set is a set, or flow set. All records of NetFlow 5 are one set of id 0.
type Set struct {
	Offset  int      `json:"offset"`
	Length  int      `json:"length"`
	ID      uint16   `json:"id"`
	Kind    string   `json:"kind"`
	Layouts []Layout `json:"templates,omitempty"`
	Records []Record `json:"records,omitempty"`
	Padding int      `json:"padding,omitempty"`
	Problem string   `json:"problem,omitempty"`
}

// Layout is a template record.
type Layout struct {
	Offset     int         `json:"offset"`
	Length     int         `json:"length"`
	ID         uint16      `json:"id"`
	Options    bool        `json:"options,omitempty"`
	Scopes     int         `json:"scopes,omitempty"`
	Withdrawal bool        `json:"withdrawal,omitempty"`
	Fields     []Specifier `json:"fields,omitempty"`
	Problem    string      `json:"problem,omitempty"`
}

// Specifier is a field specifier of a template.
type Specifier struct {
	ID         ie.ID  `json:"-"`
	Enterprise uint32 `json:"enterprise,omitempty"` // as on the wire
	Number     uint16 `json:"id"`                   // as on the wire, without the enterprise bit
	Name       string `json:"name,omitempty"`       // empty if the registry has none
	Length     int    `json:"length"`               // 65535 is variable
}

// Record is a data record.
type Record struct {
	Offset   int       `json:"offset"`
	Length   int       `json:"length"`
	Template uint16    `json:"template,omitempty"`
	Elements []Element `json:"elements"`
}

// Element is one field of a record.
type Element struct {
	ID         ie.ID  `json:"-"`
	Enterprise uint32 `json:"enterprise,omitempty"` // as on the wire
	Number     uint16 `json:"id"`
	Name       string `json:"name,omitempty"` // empty if the registry has none
	Type       string `json:"type,omitempty"`
	Scope      bool   `json:"scope,omitempty"`
	Offset     int    `json:"offset"` // of the value; a length of its own stands before it
	Length     int    `json:"length"`
	// Value is, by Type: uint64, int64, float64, bool, a string (text, addresses, times as RFC 3339), *List, or hex
	// digits for octets, for what has no name and for what does not have the length of its type.
	Value any    `json:"value"`
	Raw   []byte `json:"-"`
}

// List is the value of structured data, RFC 6313.
type List struct {
	Semantic uint8     `json:"semantic"`
	Elements []Element `json:"elements,omitempty"` // basicList
	Records  []Record  `json:"records,omitempty"`  // subTemplateList, subTemplateMultiList
	Problem  string    `json:"problem,omitempty"`
}

// Describer describes datagrams. It remembers the templates that it saw, without bounds: it is for files and tests,
// not for the network. It is for one goroutine.
type Describer struct {
	layouts map[template.Key]map[uint16]Layout
	budget  int // elements that may still be made for the datagram at hand
}

// NewDescriber returns a describer that knows no templates.
func NewDescriber() *Describer {
	return &Describer{layouts: map[template.Key]map[uint16]Layout{}}
}

// Describe names every element of the datagram b that came from exporter. b is not kept.
func (d *Describer) Describe(b []byte, exporter netip.Addr) Datagram {
	// A template of many fields of no length makes records of one octet with many elements: bound them by the input.
	d.budget = 4096 + 16*len(b)
	g := Datagram{Length: len(b)}
	for at := 0; at < len(b); {
		rest := b[at:]
		if at > 0 && allZero(rest) {
			break
		}
		if len(rest) < 2 {
			g.Problem = fmt.Sprintf("%d octets at offset %d: too short for a version", len(rest), at)
			break
		}
		version := binary.BigEndian.Uint16(rest)
		header := map[uint16]int{5: 24, 9: 20, 10: 16}[version]
		if header == 0 || at > 0 && version != VersionIPFIX {
			g.Problem = fmt.Sprintf("version %d at offset %d: want 5, 9 or 10", version, at)
			break
		}
		if len(rest) < header {
			g.Problem = fmt.Sprintf("%d octets at offset %d: want a header of %d", len(rest), at, header)
			break
		}
		m := Message{Offset: at, Length: len(rest), Version: version}
		switch version {
		case Version5:
			d.message5(&m, b)
		case Version9:
			m.Count = int(be16(rest, 2))
			m.Uptime, m.Sequence, m.Domain = be32(rest, 4), be32(rest, 12), be32(rest, 16)
			m.Exported = time.Unix(int64(be32(rest, 8)), 0).UTC()
			d.sets(&m, b, exporter, header)
		default:
			length := int(be16(rest, 2))
			if length < header {
				g.Problem = fmt.Sprintf("message of %d octets at offset %d: want at least %d", length, at, header)
				return g
			}
			if length > len(rest) {
				m.Problem = fmt.Sprintf("truncated: %d octets announced, %d there", length, len(rest))
				length = len(rest)
			}
			m.Length = length
			m.Exported = time.Unix(int64(be32(rest, 4)), 0).UTC()
			m.Sequence, m.Domain = be32(rest, 8), be32(rest, 12)
			d.sets(&m, b[:at+length], exporter, at+header)
		}
		at += m.Length
		g.Messages = append(g.Messages, m)
	}
	if len(b) == 0 {
		g.Problem = "empty"
	}
	return g
}

// fields5 is the layout of a record of NetFlow 5; an element of 0 is padding.
var fields5 = []struct{ number, length int }{
	{8, 4},
	{12, 4},
	{15, 4},
	{10, 2},
	{14, 2},
	{2, 4},
	{1, 4},
	{22, 4},
	{21, 4},
	{7, 2},
	{11, 2},
	{0, 1},
	{6, 1},
	{4, 1},
	{5, 1},
	{16, 2},
	{17, 2},
	{9, 1},
	{13, 1},
	{0, 2},
}

func (d *Describer) message5(m *Message, b []byte) {
	m.Count, m.Uptime = int(be16(b, 2)), be32(b, 4)
	m.Exported = time.Unix(int64(be32(b, 8)), int64(be32(b, 12))).UTC()
	m.Sequence, m.Domain = be32(b, 16), uint32(be16(b, 20))
	m.SamplingMode, m.SamplingInterval = int(b[22]>>6), int(be16(b, 22))&0x3FFF
	if need := 24 + 48*m.Count; need > len(b) {
		m.Problem = fmt.Sprintf("truncated: %d octets announced, %d there", need, len(b))
		return
	}
	s := Set{Offset: 24, Length: 48 * m.Count, Kind: KindData, Padding: len(b) - 24 - 48*m.Count}
	for i := range m.Count {
		r := Record{Offset: 24 + 48*i, Length: 48}
		at := r.Offset
		for _, f := range fields5 {
			if f.number != 0 {
				sp := specifier(ie.Of(uint16(f.number)), uint16(f.number), 0, f.length)
				r.Elements = append(r.Elements, d.element(sp, false, b, at, f.length, nil, 0))
			}
			at += f.length
		}
		s.Records = append(s.Records, r)
	}
	m.Sets = append(m.Sets, s)
}

// sets describes the sets from offset at to the end of b.
func (d *Describer) sets(m *Message, b []byte, exporter netip.Addr, at int) {
	key := template.Key{Exporter: exporter.Unmap().WithZone(""), Protocol: uint8(m.Version), Domain: m.Domain}
	known := d.layouts[key]
	if known == nil {
		known = map[uint16]Layout{}
		d.layouts[key] = known
	}
	problem := func(format string, args ...any) {
		if m.Problem == "" {
			m.Problem = fmt.Sprintf(format, args...)
		}
	}
	for at < len(b) {
		if allZero(b[at:]) && (len(b)-at < 4 || be16(b, at+2) < 4) {
			return // padding
		}
		if len(b)-at < 4 {
			problem("%d octets at offset %d: too short for a set", len(b)-at, at)
			return
		}
		s := Set{Offset: at, ID: be16(b, at), Length: int(be16(b, at+2))}
		if s.Length < 4 {
			problem("set of %d octets at offset %d", s.Length, at)
			return
		}
		if s.Length > len(b)-at {
			problem("truncated: set of %d octets at offset %d, %d there", s.Length, at, len(b)-at)
			return
		}
		end := at + s.Length
		first := uint16(0)
		if m.Version == VersionIPFIX {
			first = 2
		}
		switch {
		case s.ID == first:
			s.Kind = KindTemplates
			d.templates(&s, b[:end], m.Version, known)
		case s.ID == first+1:
			s.Kind = KindOptionsTemplates
			d.templates(&s, b[:end], m.Version, known)
		case s.ID < 256:
			s.Kind = KindReserved
		default:
			l, ok := known[s.ID]
			switch {
			case !ok:
				s.Kind = KindUnknownTemplate
			case l.Options:
				s.Kind = KindOptions
			default:
				s.Kind = KindData
			}
			if ok {
				d.data(&s, l, b[:end], known)
			}
		}
		m.Sets = append(m.Sets, s)
		at = end
	}
}

// templates describes the template records of a set that ends where b ends, and remembers them.
func (d *Describer) templates(s *Set, b []byte, version uint16, known map[uint16]Layout) {
	options := s.Kind == KindOptionsTemplates
	at := s.Offset + 4
	for len(b)-at >= 4 {
		l := Layout{Offset: at, ID: be16(b, at), Options: options}
		count := int(be16(b, at+2))
		if version == VersionIPFIX && count == 0 && l.ID >= 2 {
			l.Withdrawal, l.Length = true, 4
			switch {
			case l.ID == s.ID:
				for id, k := range known {
					if k.Options == options {
						delete(known, id)
					}
				}
			case l.ID >= 256:
				delete(known, l.ID)
			default:
				l.Problem = "withdrawal of a reserved id"
			}
			s.Layouts = append(s.Layouts, l)
			at += 4
			continue
		}
		if allZero(b[at:]) {
			break
		}
		if problem := readLayout(&l, b, version); problem != "" {
			s.Problem = fmt.Sprintf("template record at offset %d: %s", at, problem)
			return
		}
		least := 0
		for _, f := range l.Fields {
			if f.Length == template.Variable {
				least++
			} else {
				least += f.Length
			}
		}
		switch {
		case l.ID < 256:
			l.Problem = "reserved template id"
		case least == 0:
			l.Problem = "records have no length"
			delete(known, l.ID)
		default:
			known[l.ID] = l
		}
		s.Layouts = append(s.Layouts, l)
		at += l.Length
	}
	s.Padding = len(b) - at
}

// readLayout reads the template record at l.Offset of b; it returns what is wrong with it.
func readLayout(l *Layout, b []byte, version uint16) string {
	at := l.Offset + 4
	n := int(be16(b, l.Offset+2))
	if l.Options {
		if len(b)-at < 2 {
			return "truncated"
		}
		second := int(be16(b, at))
		at += 2
		if version == Version9 {
			if n%4 != 0 || second%4 != 0 {
				return "lengths that are no multiples of 4"
			}
			l.Scopes, n = n/4, n/4+second/4
		} else {
			if second > n {
				return fmt.Sprintf("%d scopes of %d fields", second, n)
			}
			l.Scopes = second
		}
	}
	for i := range n {
		if len(b)-at < 4 {
			return "truncated"
		}
		number, length := be16(b, at), int(be16(b, at+2))
		at += 4
		switch {
		case version == Version9 && i < l.Scopes:
			l.Fields = append(l.Fields, specifier(ie.ID{Enterprise: ie.Scope9, Number: number}, number, 0, length))
		case version == Version9:
			l.Fields = append(l.Fields, specifier(ie.FromNetFlow9(number), number, 0, length))
		case number >= 0x8000:
			if len(b)-at < 4 {
				return "truncated"
			}
			id := ie.ID{Enterprise: be32(b, at), Number: number - 0x8000}
			at += 4
			l.Fields = append(l.Fields, specifier(id, id.Number, id.Enterprise, length))
		default:
			l.Fields = append(l.Fields, specifier(ie.Of(number), number, 0, length))
		}
	}
	l.Length = at - l.Offset
	return ""
}

func specifier(id ie.ID, number uint16, enterprise uint32, length int) Specifier {
	e, _ := ie.Lookup(id)
	return Specifier{ID: id, Number: number, Enterprise: enterprise, Name: e.Name, Length: length}
}

// data describes the records of a set that ends where b ends.
func (d *Describer) data(s *Set, l Layout, b []byte, known map[uint16]Layout) {
	at := s.Offset + 4
	s.Records, at, s.Problem = d.records(l, b, at, known, 0)
	if s.Problem == "" && len(s.Records) == 0 && !allZero(b[at:]) {
		s.Problem = fmt.Sprintf("%d octets: too short for a record", len(b)-at)
	}
	s.Padding = len(b) - at
}

const maxDepth = 3 // of structured data in structured data

// records describes records of l from offset at to the end of b. It returns where they end and what is wrong.
func (d *Describer) records(l Layout, b []byte, at int, known map[uint16]Layout, depth int) ([]Record, int, string) {
	least := 0
	for _, f := range l.Fields {
		if f.Length == template.Variable {
			least++
		} else {
			least += f.Length
		}
	}
	var records []Record
	for least > 0 && len(b)-at >= least {
		r, ok := d.record(l, b, at, known, depth)
		if d.budget < 0 {
			return records, at, "too many elements for its length"
		}
		if !ok {
			if allZero(b[at:]) {
				break
			}
			return records, at, fmt.Sprintf("record at offset %d runs over the end", at)
		}
		records = append(records, r)
		at += r.Length
	}
	return records, at, ""
}

// record describes the record of l at offset at; false if it runs over the end of b.
func (d *Describer) record(l Layout, b []byte, start int, known map[uint16]Layout, depth int) (Record, bool) {
	r := Record{Offset: start, Template: l.ID}
	at := start
	for i, f := range l.Fields {
		length := f.Length
		if length == template.Variable {
			if at >= len(b) {
				return r, false
			}
			length = int(b[at])
			at++
			if length == 255 {
				if len(b)-at < 2 {
					return r, false
				}
				length = int(be16(b, at))
				at += 2
			}
		}
		if length > len(b)-at {
			return r, false
		}
		if d.budget--; d.budget < 0 {
			return r, false
		}
		r.Elements = append(r.Elements, d.element(f, i < l.Scopes, b, at, length, known, depth))
		at += length
	}
	r.Length = at - start
	return r, true
}

// element describes the value of length octets at offset at.
func (d *Describer) element(f Specifier, scope bool, b []byte, at, length int, known map[uint16]Layout, depth int) Element {
	e := Element{
		ID: f.ID, Enterprise: f.Enterprise, Number: f.Number, Name: f.Name, Scope: scope, Offset: at, Length: length,
		Raw: append([]byte(nil), b[at:at+length]...),
	}
	info, ok := ie.Lookup(f.ID)
	if !ok {
		e.Value = hex.EncodeToString(e.Raw)
		return e
	}
	e.Type = info.Type.String()
	switch {
	case info.Type >= ie.BasicList && info.Type <= ie.SubTemplateMultiList && depth < maxDepth && known != nil:
		e.Value = d.list(info.Type, b[:at+length], at, known, depth+1)
	default:
		e.Value = describeValue(info.Type, e.Raw)
	}
	return e
}

// describeValue returns the value of the octets v as type t: see [Element].
func describeValue(t ie.Type, v []byte) any {
	switch {
	case len(v) == 0:
	case t.Unsigned() && len(v) <= 8:
		return uintOf(v)
	case t.Signed() && len(v) <= 8:
		shift := 64 - 8*len(v)
		return int64(uintOf(v)<<shift) >> shift
	case t == ie.Float32 && len(v) == 4, t == ie.Float64 && len(v) == 4: // RFC 7011 §6.2
		return finite(float64(math.Float32frombits(uint32(uintOf(v)))), v)
	case t == ie.Float64 && len(v) == 8:
		return finite(math.Float64frombits(uintOf(v)), v)
	case t == ie.Boolean && len(v) == 1 && (v[0] == 1 || v[0] == 2): // RFC 7011 §6.1.5
		return v[0] == 1
	case t == ie.MACAddress && len(v) == 6:
		return net.HardwareAddr(v).String()
	case t == ie.IPv4Address && len(v) == 4, t == ie.IPv6Address && len(v) == 16:
		a, _ := netip.AddrFromSlice(v)
		return a.String()
	case t == ie.String:
		return strings.ToValidUTF8(strings.TrimRight(string(v), "\x00"), "\uFFFD")
	case t == ie.DateTimeSeconds && (len(v) == 4 || len(v) == 8) && uintOf(v) < 1<<40:
		return time.Unix(int64(uintOf(v)), 0).UTC().Format(time.RFC3339)
	case t == ie.DateTimeMilliseconds && len(v) == 8 && uintOf(v) < 1<<50:
		return time.UnixMilli(int64(uintOf(v))).UTC().Format(time.RFC3339Nano)
	case (t == ie.DateTimeMicroseconds || t == ie.DateTimeNanoseconds) && len(v) == 8:
		return ntpTime(uintOf(v)).Format(time.RFC3339Nano)
	}
	return hex.EncodeToString(v)
}

// finite returns x, or the octets as hex digits where JSON has no number for it.
func finite(x float64, v []byte) any {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return hex.EncodeToString(v)
	}
	return x
}

// ntpTime returns the time of an NTP timestamp, in the era from 1970 to 2106.
func ntpTime(v uint64) time.Time {
	seconds := int64(v>>32) - 2_208_988_800
	if seconds < 0 {
		seconds += 1 << 32
	}
	return time.Unix(seconds, int64((v&0xFFFFFFFF)*1_000_000_000>>32)).UTC()
}

// list describes structured data (RFC 6313 §4.5) from offset at to the end of b.
func (d *Describer) list(t ie.Type, b []byte, at int, known map[uint16]Layout, depth int) *List {
	l := &List{}
	if at >= len(b) {
		l.Problem = "empty"
		return l
	}
	l.Semantic = b[at]
	at++
	if t == ie.BasicList {
		d.basicList(l, b, at, known, depth)
		return l
	}
	for len(b)-at >= 2 && l.Problem == "" {
		id, end := be16(b, at), len(b)
		at += 2
		if t == ie.SubTemplateMultiList {
			if len(b)-at < 2 {
				l.Problem = "truncated"
				return l
			}
			length := int(be16(b, at)) // of the four octets before the records, too
			at += 2
			if length < 4 || length-4 > len(b)-at {
				l.Problem = fmt.Sprintf("records of %d octets, %d there", length, len(b)-at)
				return l
			}
			end = at + length - 4
		}
		layout, ok := known[id]
		if !ok {
			l.Problem = fmt.Sprintf("template %d was not seen", id)
			if t == ie.SubTemplateMultiList { // the other lists can be read all the same
				l.Problem = ""
			}
			at = end
			continue
		}
		records, _, problem := d.records(layout, b[:end], at, known, depth)
		l.Records = append(l.Records, records...)
		l.Problem = problem
		at = end
	}
	return l
}

func (d *Describer) basicList(l *List, b []byte, at int, known map[uint16]Layout, depth int) {
	if len(b)-at < 4 {
		l.Problem = "truncated"
		return
	}
	number, length := be16(b, at), int(be16(b, at+2))
	at += 4
	id, enterprise := ie.Of(number), uint32(0)
	if number >= 0x8000 {
		if len(b)-at < 4 {
			l.Problem = "truncated"
			return
		}
		enterprise = be32(b, at)
		id = ie.ID{Enterprise: enterprise, Number: number - 0x8000}
		at += 4
	}
	one := Layout{Fields: []Specifier{specifier(id, id.Number, enterprise, length)}}
	records, _, problem := d.records(one, b, at, known, depth)
	l.Problem = problem
	for _, r := range records {
		l.Elements = append(l.Elements, r.Elements...)
	}
}

func be16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
func be32(b []byte, at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }

// uintOf returns the number that v is, big endian; len(v) is at most 8.
func uintOf(v []byte) uint64 {
	n := uint64(0)
	for _, c := range v {
		n = n*256 + uint64(c)
	}
	return n
}

// allZero reports whether every octet of b is 0.
func allZero(b []byte) bool { return strings.Trim(string(b), "\x00") == "" }
