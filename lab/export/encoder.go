package export

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Versions of the protocol, as in the first field of a datagram.
const (
	NetFlow5 = 5
	NetFlow9 = 9
	IPFIX    = 10
)

// Config says how an exporter encodes.
type Config struct {
	Version uint8  // NetFlow5, NetFlow9 or IPFIX
	Domain  uint32 // source id or observation domain; of NetFlow 5, engine type << 8 | engine id

	// Boot is when the exporter booted, ms since epoch UTC: what times of NetFlow are relative to.
	Boot int64

	// MaxPayload bounds a datagram, bytes. 0 is 1400, which fits any tunnel on Ethernet.
	MaxPayload int

	// Templates of NetFlow 9 and IPFIX. A record takes the first that matches it.
	Templates []Template

	// Options are sent after the templates.
	Options []Option

	// Refresh is the time after which templates and options are sent again. 0 is never.
	Refresh time.Duration

	// Sampling is the sampling field of NetFlow 5 as it goes out: mode in the two high bits, interval below.
	Sampling uint16
}

// Encoder makes the datagrams of one exporter and observation domain. It belongs to one goroutine.
type Encoder struct {
	cfg      Config
	plans    []plan
	next     uint32 // sequence number of the next datagram
	last     int64  // when templates were sent, ms; meaningful if sent
	sent     bool
	instant  instant
	buf      []byte
	setStart int // offset of the open set in buf, 0 if none
	setID    uint16
	records  int // records in buf, by the count of the header of NetFlow
	data     int // data records in buf, options included: by which IPFIX counts
}

// Limits of the protocols.
const (
	minPayload      = 256
	defaultPayload  = 1400
	maxPayload      = 65507 // UDP over IPv4
	maxRecords5     = 30    // NetFlow 5: what every exporter keeps to
	headerLen5      = 24
	recordLen5      = 48
	headerLen9      = 20
	headerLenIPFIX  = 16
	setHeader       = 4
	setTemplate9    = 0
	setOptions9     = 1
	setTemplateIPFX = 2
	setOptionsIPFX  = 3
)

// New returns an encoder that has sent nothing yet.
func New(cfg Config) (*Encoder, error) {
	cfg.Templates = slices.Clone(cfg.Templates)
	if cfg.MaxPayload == 0 {
		cfg.MaxPayload = defaultPayload
	}
	if cfg.MaxPayload < minPayload || cfg.MaxPayload > maxPayload {
		return nil, fmt.Errorf("make encoder: largest payload %d: want %d to %d", cfg.MaxPayload, minPayload, maxPayload)
	}
	e := &Encoder{cfg: cfg, instant: instant{boot: cfg.Boot}, buf: make([]byte, 0, cfg.MaxPayload)}
	switch cfg.Version {
	case NetFlow5:
		if len(cfg.Templates)+len(cfg.Options) != 0 {
			return nil, fmt.Errorf("make encoder: NetFlow 5 has no templates or options")
		}
		return e, nil
	case NetFlow9, IPFIX:
	default:
		return nil, fmt.Errorf("make encoder: version %d: want 5, 9 or 10", cfg.Version)
	}
	for i := range cfg.Templates {
		p, err := cfg.Templates[i].compile(cfg.Version)
		if err != nil {
			return nil, fmt.Errorf("make encoder: %w", err)
		}
		e.plans = append(e.plans, p)
	}
	for i := range cfg.Options {
		if err := cfg.Options[i].check(cfg.Version); err != nil {
			return nil, fmt.Errorf("make encoder: %w", err)
		}
	}
	return e, nil
}

// Sequence returns the sequence number that the next datagram will carry.
func (e *Encoder) Sequence() uint32 { return e.next }

// Encode hands to emit the datagrams that hold records, and before them templates and options if it is time for
// them, in any case at the first call; records may be empty. now is the time of export, ms since epoch UTC.
//
// A datagram is valid until emit returns. Encode stops at the first error of emit and returns it; the sequence number
// of that datagram counts as used, as one lost on the way. skipped counts the records that the protocol or the
// templates have no place for.
func (e *Encoder) Encode(now int64, records []Record, emit func(datagram []byte) error) (skipped int, err error) {
	e.instant.now = now
	if e.cfg.Version == NetFlow5 {
		return e.encode5(records, emit)
	}
	refresh := e.cfg.Refresh.Milliseconds()
	if !e.sent || refresh > 0 && now-e.last >= refresh {
		e.sent, e.last = true, now
		if err := e.encodeTemplates(emit); err != nil {
			return 0, err
		}
	}
	for i := range records {
		r := &records[i]
		p := e.plan(r)
		if p == nil {
			skipped++
			continue
		}
		size := p.size(r)
		if !e.fits(p.id, size) {
			if err := e.flush(emit); err != nil {
				return skipped, err
			}
			if !e.fits(p.id, size) { // one record, larger than a datagram
				skipped++
				continue
			}
		}
		e.instant.totals.bytes += r.Bytes
		e.instant.totals.packets += r.Packets
		e.openSet(p.id)
		e.buf = p.append(e.buf, &e.instant, r)
		e.records++
		e.data++
	}
	return skipped, e.flush(emit)
}

func (e *Encoder) plan(r *Record) *plan {
	for i := range e.plans {
		if e.plans[i].match(r) {
			return &e.plans[i]
		}
	}
	return nil
}

// encodeTemplates sends all templates and options in datagrams of their own.
func (e *Encoder) encodeTemplates(emit func([]byte) error) error {
	templateSet, optionSet := uint16(setTemplate9), uint16(setOptions9)
	if e.cfg.Version == IPFIX {
		templateSet, optionSet = setTemplateIPFX, setOptionsIPFX
	}
	var record []byte
	add := func(set uint16, data int) error {
		if !e.fits(set, len(record)) {
			if err := e.flush(emit); err != nil {
				return err
			}
			if !e.fits(set, len(record)) {
				return fmt.Errorf("encode set %d: a record of %d bytes does not fit in a datagram of %d",
					set, len(record), e.cfg.MaxPayload)
			}
		}
		e.openSet(set)
		e.buf = append(e.buf, record...)
		e.records++
		e.data += data
		return nil
	}
	for i := range e.cfg.Templates {
		record = e.cfg.Templates[i].append(record[:0])
		if err := add(templateSet, 0); err != nil {
			return err
		}
	}
	for i := range e.cfg.Options {
		record = e.cfg.Options[i].append(record[:0], e.cfg.Version)
		if err := add(optionSet, 0); err != nil {
			return err
		}
	}
	for i := range e.cfg.Options {
		o := &e.cfg.Options[i]
		for _, row := range o.Rows {
			record = o.appendRow(record[:0], row)
			if err := add(o.ID, 1); err != nil {
				return err
			}
		}
	}
	return e.flush(emit)
}

// fits reports whether size bytes more in set id leave the datagram within bounds, padding included.
func (e *Encoder) fits(id uint16, size int) bool {
	n := len(e.buf)
	if n == 0 {
		n = e.headerLen()
	}
	if e.setStart == 0 || e.setID != id {
		n += padding(n-e.setStart) + setHeader
	}
	return n+size+3 <= e.cfg.MaxPayload
}

func padding(n int) int { return -n & 3 }

func (e *Encoder) headerLen() int {
	if e.cfg.Version == NetFlow9 {
		return headerLen9
	}
	return headerLenIPFIX
}

// openSet makes id the set to which records are added.
func (e *Encoder) openSet(id uint16) {
	if len(e.buf) == 0 {
		e.buf = append(e.buf, make([]byte, e.headerLen())...)
	}
	if e.setStart != 0 && e.setID == id {
		return
	}
	e.closeSet()
	e.setStart, e.setID = len(e.buf), id
	e.buf = binary.BigEndian.AppendUint16(e.buf, id)
	e.buf = append(e.buf, 0, 0)
}

// closeSet writes the length of the open set. NetFlow 9 pads sets to 32 bits (RFC 3954 §5.3); for IPFIX that is free,
// and left out.
func (e *Encoder) closeSet() {
	if e.setStart == 0 {
		return
	}
	if e.cfg.Version == NetFlow9 {
		e.buf = append(e.buf, make([]byte, padding(len(e.buf)-e.setStart))...)
	}
	binary.BigEndian.PutUint16(e.buf[e.setStart+2:], uint16(len(e.buf)-e.setStart))
	e.setStart = 0
}

// flush completes the datagram, if one is begun, and hands it over.
func (e *Encoder) flush(emit func([]byte) error) error {
	if len(e.buf) == 0 {
		return nil
	}
	e.closeSet()
	b, seconds := e.buf, uint32(e.instant.now/1000)
	binary.BigEndian.PutUint16(b, uint16(e.cfg.Version))
	if e.cfg.Version == NetFlow9 { // RFC 3954 §5.1
		binary.BigEndian.PutUint16(b[2:], uint16(e.records))
		binary.BigEndian.PutUint32(b[4:], uint32(e.instant.now-e.cfg.Boot))
		binary.BigEndian.PutUint32(b[8:], seconds)
		binary.BigEndian.PutUint32(b[12:], e.next)
		binary.BigEndian.PutUint32(b[16:], e.cfg.Domain)
		e.next++ // counts datagrams
	} else { // RFC 7011 §3.1
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint32(b[4:], seconds)
		binary.BigEndian.PutUint32(b[8:], e.next)
		binary.BigEndian.PutUint32(b[12:], e.cfg.Domain)
		e.next += uint32(e.data) // counts data records before this message
	}
	e.buf, e.records, e.data = e.buf[:0], 0, 0
	return emit(b)
}

// encode5 sends NetFlow 5, which has IPv4 only, 32-bit counters and 16-bit interfaces.
func (e *Encoder) encode5(records []Record, emit func([]byte) error) (skipped int, err error) {
	most := min(maxRecords5, (e.cfg.MaxPayload-headerLen5)/recordLen5)
	for i := range records {
		r := &records[i]
		if !r.Src.Is4() || !r.Dst.Is4() {
			skipped++
			continue
		}
		if len(e.buf) == 0 {
			e.buf = append(e.buf, make([]byte, headerLen5)...)
		}
		e.buf = e.append5(e.buf, r)
		if e.records++; e.records == most {
			if err := e.flush5(emit); err != nil {
				return skipped, err
			}
		}
	}
	return skipped, e.flush5(emit)
}

func (e *Encoder) append5(b []byte, r *Record) []byte {
	be := binary.BigEndian
	b = appendAddress(b, r.Src, 4)
	b = appendAddress(b, r.Dst, 4)
	b = appendAddress(b, r.NextHop, 4)
	b = be.AppendUint16(b, uint16(r.InIf))
	b = be.AppendUint16(b, uint16(r.OutIf))
	b = be.AppendUint32(b, uint32(min(r.Packets, 1<<32-1)))
	b = be.AppendUint32(b, uint32(min(r.Bytes, 1<<32-1)))
	b = be.AppendUint32(b, uint32(r.Start-e.cfg.Boot))
	b = be.AppendUint32(b, uint32(r.End-e.cfg.Boot))
	b = be.AppendUint16(b, r.SrcPort)
	dst := r.DstPort
	if r.Protocol == 1 { // ICMP: type and code stand in the destination port
		dst = uint16(icmpTypeCode(r))
	}
	b = be.AppendUint16(b, dst)
	b = append(b, 0, byte(r.TCPFlags), r.Protocol, r.TOS)
	b = be.AppendUint16(b, uint16(r.SrcAS))
	b = be.AppendUint16(b, uint16(r.DstAS))
	return append(b, r.SrcMask, r.DstMask, 0, 0)
}

func (e *Encoder) flush5(emit func([]byte) error) error {
	if e.records == 0 {
		return nil
	}
	b, be := e.buf, binary.BigEndian
	be.PutUint16(b, NetFlow5)
	be.PutUint16(b[2:], uint16(e.records))
	be.PutUint32(b[4:], uint32(e.instant.now-e.cfg.Boot))
	be.PutUint32(b[8:], uint32(e.instant.now/1000))
	be.PutUint32(b[12:], uint32(e.instant.now%1000*1e6))
	be.PutUint32(b[16:], e.next)
	b[20], b[21] = byte(e.cfg.Domain>>8), byte(e.cfg.Domain)
	be.PutUint16(b[22:], e.cfg.Sampling)
	e.next += uint32(e.records) // counts flows before this datagram
	e.buf, e.records = e.buf[:0], 0
	return emit(b)
}
