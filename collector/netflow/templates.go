package netflow

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/template"
)

// templates decodes a set of template records, or of options template records: RFC 3954 §5.2, §6.1 and RFC 7011
// §3.4.1, §3.4.2.
func (d *Decoder) templates(m *message, set uint16, offset int, body []byte, options bool) {
	d.fresh = d.fresh[:0]
	m.header.Templates = true
	for at := 0; len(body)-at >= 4; {
		r := templateRecord{version: m.version, options: options, id: binary.BigEndian.Uint16(body[at:])}
		count := int(binary.BigEndian.Uint16(body[at+2:]))
		where := offset + headerSet + at
		if m.version == VersionIPFIX && count == 0 && r.id >= 2 { // RFC 7011 §8.1
			d.keep(m, where)
			d.withdraw(m, set, r.id, where)
			at += 4
			continue
		}
		if zero(body[at:]) {
			break // padding
		}
		if why := r.measure(body[at:]); why != template.None {
			d.fail(m, why, set, where, count, len(body)-at)
			break // the next record cannot be found
		}
		d.template(m, set, where, &r)
		at += len(r.wire)
	}
	d.keep(m, offset)
}

// withdraw forgets one template, or all of the kind of the set if id is that of the set.
func (d *Decoder) withdraw(m *message, set, id uint16, offset int) {
	switch {
	case id >= firstData:
		m.domain.Withdraw(id)
	case id == set:
		m.domain.WithdrawAll(set == 3)
	default:
		d.fail(m, template.BadTemplate, set, offset, int(id), 0)
		return
	}
	m.domain.Count.Withdrawals.Add(1)
}

// template adds the template of r to those of the set, or renews it if it is the one that is known.
func (d *Decoder) template(m *message, set uint16, offset int, r *templateRecord) {
	m.domain.Count.Templates.Add(1)
	if slices.ContainsFunc(d.fresh, func(t *template.Template) bool { return t.ID == r.id }) {
		d.keep(m, offset) // the set has the id twice: one after the other
	}
	known := m.domain.Template(r.id)
	if known != nil && known.Options == r.options && bytes.Equal(known.Wire, r.wire) {
		known.Renew(m.received)
		return
	}
	if most := d.store.Config().MaxTemplates; known == nil && len(m.domain.Templates())+len(d.fresh) >= most {
		d.keep(m, offset) // some may replace others
		if n := len(m.domain.Templates()); n >= most {
			d.fail(m, template.TooManyTemplates, set, offset, n, most)
			return
		}
	}
	if r.fields > d.store.Config().MaxFields {
		m.domain.Withdraw(r.id) // the layout that is known is no longer the exporter's
		d.fail(m, template.TooManyFields, set, offset, r.fields, d.store.Config().MaxFields)
		return
	}
	t, why := r.template()
	if why != template.None {
		m.domain.Withdraw(r.id)
		d.fail(m, why, set, offset, int(r.id), 0)
		return
	}
	t.Plan = compile(t, m.version)
	if d.fresh = append(d.fresh, t); len(d.fresh) == maxFresh {
		d.keep(m, offset)
	}
}

// ParseTemplate reads a template record as a decoder reads it off a message of a protocol: it is a [template.Parse].
func ParseTemplate(protocol uint8, options bool, wire []byte) (*template.Template, template.Reason) {
	if protocol != Version9 && protocol != VersionIPFIX {
		return nil, template.UnknownVersion
	}
	if len(wire) < 4 {
		return nil, template.Truncated
	}
	r := templateRecord{version: uint16(protocol), options: options, id: binary.BigEndian.Uint16(wire)}
	if why := r.measure(wire); why != template.None {
		return nil, why
	}
	if len(r.wire) != len(wire) {
		return nil, template.BadTemplate
	}
	t, why := r.template()
	if why != template.None {
		return nil, why
	}
	t.Plan = compile(t, r.version)
	return t, template.None
}

// maxFresh bounds the new templates that are looked through for each further one of the set.
const maxFresh = 64

// keep gives the new templates of the set to the domain and decodes what waited for them.
func (d *Decoder) keep(m *message, offset int) {
	if len(d.fresh) == 0 {
		return
	}
	if why := m.domain.Put(d.fresh, m.received); why != template.None {
		d.note(m, why, 0, offset, len(d.fresh), 0)
	}
	for _, t := range d.fresh {
		if m.domain.Template(t.ID) == t {
			d.replay(m, t, offset)
		}
	}
	clear(d.fresh)
	d.fresh = d.fresh[:0]
}

// templateRecord is a template record on the wire.
type templateRecord struct {
	version uint16
	options bool
	id      uint16
	wire    []byte // the whole record
	header  int    // octets before the first field specifier
	fields  int
	scopes  int
}

// measure finds the extent of the record at the start of b, which has at least four octets, without trusting its
// counts.
func (r *templateRecord) measure(b []byte) template.Reason {
	count := int(binary.BigEndian.Uint16(b[2:]))
	r.header, r.fields, r.scopes = 4, count, 0
	if r.options {
		r.header = 6
		if len(b) < r.header {
			return template.Truncated
		}
		second := int(binary.BigEndian.Uint16(b[4:]))
		if r.version == Version9 { // RFC 3954 §6.1: lengths in octets
			if count%4 != 0 || second%4 != 0 {
				return template.BadTemplate
			}
			r.scopes, r.fields = count/4, (count+second)/4
		} else { // RFC 7011 §3.4.2.2: counts, the scopes being among the fields
			if second > count {
				return template.BadTemplate
			}
			r.scopes = second
		}
	}
	at := r.header
	for range r.fields {
		if len(b)-at < 4 {
			return template.Truncated
		}
		if r.version == VersionIPFIX && b[at]&0x80 != 0 { // an enterprise number follows
			at += 4
		}
		at += 4
	}
	if at > len(b) {
		return template.Truncated
	}
	r.wire = b[:at]
	return template.None
}

// template reads the record, which was measured. It copies what it needs.
func (r *templateRecord) template() (*template.Template, template.Reason) {
	t := &template.Template{
		ID: r.id, Options: r.options, Scopes: r.scopes, Wire: bytes.Clone(r.wire),
		Fields: make([]template.Field, r.fields),
	}
	at := r.header
	for i := range t.Fields {
		number := binary.BigEndian.Uint16(r.wire[at:])
		f := template.Field{ID: ie.Of(number), Length: binary.BigEndian.Uint16(r.wire[at+2:])}
		at += 4
		switch {
		case r.version == Version9 && i < r.scopes:
			f.ID.Enterprise = ie.Scope9
		case r.version == Version9:
			f.ID = ie.FromNetFlow9(number)
		case number&0x8000 != 0: // RFC 7011 §3.2
			f.ID = ie.ID{Enterprise: binary.BigEndian.Uint32(r.wire[at:]), Number: number &^ 0x8000}
			at += 4
		}
		t.Fields[i] = f
		if f.Length == template.Variable {
			t.VariableLength = true
			t.MinLength++ // its length octet
		} else {
			t.MinLength += int(f.Length)
		}
	}
	if r.id < firstData || t.MinLength == 0 { // empty records would be without number
		return nil, template.BadTemplate
	}
	return t, template.None
}
