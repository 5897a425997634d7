package netflow

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// Versions of the protocols, as in the first two octets of a message and in the column version.
const (
	Version5     = 5
	Version9     = 9
	VersionIPFIX = 10
)

const (
	header5     = 24 // octets of the header of a NetFlow 5 datagram
	record5     = 48 // octets of its records
	header9     = 20 // RFC 3954 §5.1
	headerIPFIX = 16 // RFC 7011 §3.1
	headerSet   = 4  // RFC 7011 §3.3.2, RFC 3954 §5.2
	firstData   = 256
)

// Config of a [Decoder].
type Config struct {
	// ExporterSampling returns the rate to assume for an exporter that does not say its sampling rate; 0 is none. It is
	// called for sets, and for samplers that are not known. nil means none for every exporter.
	ExporterSampling func(exporter netip.Addr) uint32
	// DefaultSampling is the rate to assume where nothing else is known; 0 is taken as 1.
	DefaultSampling uint32

	// Flows that claim to have ended more than MaxAhead after they were received, or lasted longer than MaxAge before,
	// get other times: see run.clamp. MaxAge 0 leaves all times as they are.
	MaxAge, MaxAhead time.Duration
}

// Decoder decodes datagrams into batches. It is for one goroutine; several decoders share a [template.Store].
type Decoder struct {
	cfg     Config
	store   *template.Store
	domains map[template.Key]*template.Domain // those of the store that this decoder met
	last    *template.Domain                  // the one of the previous message

	message message // the one at hand
	entries []Entry // of the datagram at hand
	run     run
	fresh   []*template.Template // new templates of the set at hand
	rates   []template.Rate      // new rates of the set at hand
	option  option               // the options record at hand
	first   *Error               // of the datagram at hand
}

// Entry is what the books need to know of a message of a datagram.
type Entry struct {
	loss.Message // without Port, which a decoder does not know
	Domain       *template.Domain
	Rows         int // that it added to the batch
}

// New returns a decoder that keeps templates and options in store.
func New(cfg Config, store *template.Store) *Decoder {
	return &Decoder{cfg: cfg, store: store, domains: map[template.Key]*template.Domain{}}
}

// message is what a message says to all its records.
type message struct {
	data     []byte // the datagram
	out      *flow.Batch
	domain   *template.Domain
	header   loss.Message
	rows     int // in out, before the message
	exporter flow.Addr
	version  uint16
	received int64  // ms
	exported int64  // ms; export time
	uptime   uint32 // ms; sysUpTime at export, NetFlow 5 and 9 only

	announced int // records by the header of NetFlow 9; not to be trusted
}

// Decode appends the flows of the datagram b to out. b came from exporter (unmapped) at received, in ms since the
// epoch; it is not kept. The protocol is told by its version field.
//
// What cannot be decoded is counted in the exporter's domain (or the store, if there is none) by its Reason; the
// first such is returned as an [*Error]. The rows of everything else in the datagram are in out: an error is no
// reason to drop them. Data that came before its template is held and is no error; its rows are appended to the
// batch of the datagram that brings the template, with the time when they were received.
//
// Decode does not allocate for known templates, as long as out has room.
func (d *Decoder) Decode(b []byte, exporter netip.Addr, received int64, out *flow.Batch) error {
	d.first = nil
	d.entries = d.entries[:0]
	exporter = exporter.Unmap().WithZone("")
	m := &d.message
	*m = message{data: b, out: out, exporter: exporter.As16(), received: received}
	defer func() { m.data, m.out = nil, nil }() // they are the caller's
	if len(b) < 2 {
		d.fail(m, template.Truncated, 0, 0, 2, len(b))
		return d.err()
	}
	switch m.version = binary.BigEndian.Uint16(b); m.version {
	case Version5:
		d.netflow5(m, exporter)
	case Version9:
		d.netflow9(m, exporter)
	case VersionIPFIX:
		d.ipfix(m, exporter)
	default:
		version := m.version
		m.version = 0
		d.fail(m, template.UnknownVersion, 0, 0, int(version), 0)
	}
	return d.err()
}

// Entries returns the messages of the last datagram whose domains are known, valid until the next Decode.
func (d *Decoder) Entries() []Entry { return d.entries }

func (d *Decoder) err() error {
	if d.first == nil {
		return nil
	}
	return d.first
}

// fail counts a drop and keeps the first of the datagram.
func (d *Decoder) fail(m *message, why template.Reason, set uint16, offset, got, expected int) {
	if m.domain != nil {
		m.domain.Drop(why)
		m.header.Unsure = m.header.Unsure || why.HidesData()
	} else {
		d.store.Drop(why)
	}
	d.note(m, why, set, offset, got, expected)
}

// note keeps the first drop of the datagram, which was counted already.
func (d *Decoder) note(m *message, why template.Reason, set uint16, offset, got, expected int) {
	if d.first != nil {
		return
	}
	e := &Error{Reason: why, Version: m.version, Set: set, Offset: offset, Got: got, Expected: expected}
	if m.domain != nil {
		e.Domain = m.domain.Key.Domain
	}
	d.first = e
}

// enter finds the domain of a message of length octets at offset and counts the message. It is false if the store
// refuses the domain.
func (d *Decoder) enter(m *message, exporter netip.Addr, number uint32, offset, length int) bool {
	key := template.Key{Exporter: exporter, Protocol: uint8(m.version), Domain: number}
	m.domain = d.last
	if m.domain == nil || m.domain.Key != key || m.domain.Closed() {
		m.domain = d.domains[key]
		if m.domain == nil || m.domain.Closed() {
			domain, why := d.store.Domain(key, m.received)
			if why != template.None {
				m.domain = nil
				d.note(m, why, 0, offset, int(number), 0)
				return false
			}
			d.remember(key, domain)
			m.domain = domain
		}
		d.last = m.domain
	}
	m.rows = m.out.Len()
	m.header.Of, m.header.Exported, m.header.Received = m.domain.Loss, m.exported, m.received
	m.domain.Heard(m.received)
	m.domain.Count.Datagrams.Add(1)
	m.domain.Count.Bytes.Add(uint64(length))
	return true
}

// leave is the end of a message that was entered.
func (d *Decoder) leave(m *message) {
	rows := m.out.Len() - m.rows
	if rows > 0 {
		m.domain.Count.Flows.Add(uint64(rows))
	}
	d.entries = append(d.entries, Entry{m.header, m.domain, rows})
}

// remember keeps a domain of the store, so that the store is not asked for each message. Those that the store forgot
// are let go of whenever the map has doubled.
func (d *Decoder) remember(key template.Key, domain *template.Domain) {
	if n := len(d.domains); n >= 1024 && n&(n-1) == 0 {
		for k, v := range d.domains {
			if v.Closed() {
				delete(d.domains, k)
			}
		}
	}
	d.domains[key] = domain
}

// netflow9 decodes a NetFlow 9 datagram: RFC 3954 §5.1. Its count of records is not trusted.
func (d *Decoder) netflow9(m *message, exporter netip.Addr) {
	b := m.data
	if len(b) < header9 {
		d.fail(m, template.Truncated, 0, 0, header9, len(b))
		return
	}
	m.announced = int(binary.BigEndian.Uint16(b[2:]))
	m.uptime = binary.BigEndian.Uint32(b[4:])
	m.exported = int64(binary.BigEndian.Uint32(b[8:])) * 1000
	m.header = loss.Message{Sequence: binary.BigEndian.Uint32(b[12:]), HasUptime: true, Uptime: m.uptime, Coarse: true}
	if d.enter(m, exporter, binary.BigEndian.Uint32(b[16:]), 0, len(b)) {
		d.sets(m, header9, len(b))
		d.leave(m)
	}
}

// ipfix decodes the messages of a datagram (RFC 7011 §3.1); some exporters put several into one.
func (d *Decoder) ipfix(m *message, exporter netip.Addr) {
	b := m.data
	for at := 0; at < len(b); {
		m.domain = nil
		rest := len(b) - at
		if rest < headerIPFIX {
			if at == 0 || !zero(b[at:]) {
				d.fail(m, template.Truncated, 0, at, headerIPFIX, rest)
			}
			return
		}
		if v := binary.BigEndian.Uint16(b[at:]); v != VersionIPFIX {
			if !zero(b[at:]) {
				d.fail(m, template.UnknownVersion, 0, at, int(v), 0)
			}
			return
		}
		length := int(binary.BigEndian.Uint16(b[at+2:]))
		if length < headerIPFIX {
			d.fail(m, template.BadLength, 0, at, length, rest)
			return
		}
		end := at + min(length, rest)
		m.exported = int64(binary.BigEndian.Uint32(b[at+4:])) * 1000
		m.header = loss.Message{Sequence: binary.BigEndian.Uint32(b[at+8:]), Coarse: true}
		if !d.enter(m, exporter, binary.BigEndian.Uint32(b[at+12:]), at, end-at) {
			at = end
			continue
		}
		if length > rest { // its whole sets are as good as ever
			d.fail(m, template.Truncated, 0, at, length, rest)
		}
		d.sets(m, at+headerIPFIX, end)
		d.leave(m)
		at = end
	}
}

// sets decodes the sets in m.data[at:end].
func (d *Decoder) sets(m *message, at, end int) {
	templates, options := uint16(0), uint16(1) // RFC 3954 §5.2, §6.1
	if m.version == VersionIPFIX {
		templates, options = 2, 3 // RFC 7011 §3.3.2
	}
	for end-at >= headerSet {
		id, length := binary.BigEndian.Uint16(m.data[at:]), int(binary.BigEndian.Uint16(m.data[at+2:]))
		if length < headerSet {
			if !zero(m.data[at:end]) { // some exporters fill up the datagram with zeros
				d.fail(m, template.BadLength, id, at, length, headerSet)
			}
			return
		}
		if length > end-at {
			d.fail(m, template.Truncated, id, at, length, end-at)
			return
		}
		body := m.data[at+headerSet : at+length]
		switch {
		case id >= firstData:
			d.data(m, id, at, body)
		case id == templates:
			d.templates(m, id, at, body, false)
		case id == options:
			d.templates(m, id, at, body, true)
		default: // reserved; RFC 7011 §3.3.2
			d.fail(m, template.UnknownSet, id, at, int(id), 0)
		}
		at += length
	}
	if end > at && !zero(m.data[at:end]) {
		d.fail(m, template.Truncated, 0, at, headerSet, end-at)
	}
}

// data decodes a data set at offset, or holds it until its template comes.
func (d *Decoder) data(m *message, id uint16, offset int, body []byte) {
	m.header.Data = true
	t := m.domain.Template(id)
	if t != nil && t.Restored() && !m.fits(t, body) {
		m.domain.Disown(t)
		t = nil
	}
	if t == nil {
		m.header.Unsure = true
		held := template.Held{
			Template: id, Received: m.received, Exported: m.exported, Uptime: m.uptime, Body: body,
		}
		if !m.domain.Hold(held) {
			d.fail(m, template.UnknownTemplate, id, offset, int(id), 0)
		}
		return
	}
	d.records(m, t, offset, body)
}

// fits reports whether body may be records of t, which was restored: whether they fill it but for padding, and are as
// many as a NetFlow 9 datagram that has only them announces. The exporter may have given the id to another layout.
func (m *message) fits(t *template.Template, body []byte) bool {
	n, padding := len(body)/t.MinLength, len(body)%t.MinLength
	if t.VariableLength {
		var ok bool
		n, ok = t.Plan.(*plan).layout.count(body, t.MinLength)
		padding = 0
		if !ok {
			return false
		}
	}
	if n == 0 || padding > maxPadding || !zero(body[len(body)-padding:]) {
		return false
	}
	alone := header9+headerSet+len(body) == len(m.data)
	return m.version != Version9 || !alone || m.announced <= 1 || m.announced == n // some announce sets, not records
}

// maxPadding is up to the next multiple of 8 octets, which is more than RFC 3954 §5.3 and RFC 7011 §3.3.1 advise.
const maxPadding = 7

// records decodes a data set whose template is known.
func (d *Decoder) records(m *message, t *template.Template, offset int, body []byte) {
	p, n := t.Plan.(*plan), 0
	if t.VariableLength {
		var ok bool
		if n, ok = p.layout.count(body, t.MinLength); !ok {
			d.fail(m, template.BadRecord, t.ID, offset, len(body), 0)
			return
		}
	} else {
		n = len(body) / t.MinLength // what is left is padding
	}
	if n == 0 {
		if !zero(body) { // a set without a whole record has nothing but padding
			d.fail(m, template.BadRecord, t.ID, offset, len(body), t.MinLength)
		}
		return
	}
	m.header.Records += uint32(n)
	switch {
	case t.Options:
		d.options(m, p, body, n)
		m.domain.Count.OptionRecords.Add(uint64(n))
	case !p.flow:
		m.domain.Count.NoFlow.Add(uint64(n))
	default:
		d.flows(m, p, body, n)
	}
}

// replay decodes the data that was held until t came.
func (d *Decoder) replay(m *message, t *template.Template, offset int) {
	for _, h := range m.domain.TakeHeld(t.ID) {
		then := *m
		then.received, then.exported, then.uptime = h.Received, h.Exported, h.Uptime
		d.records(&then, t, offset, h.Body)
	}
}

// zero reports whether b is all zeros.
func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
