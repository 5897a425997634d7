package export

import (
	"encoding/binary"
	"fmt"
)

// Field is one field of a template.
type Field struct {
	PEN uint32 // enterprise number; NetFlow 9 has none
	ID  uint16 // element
	Len uint16 // bytes in a record, or Variable (IPFIX only)
}

// Template is how records that it matches are laid out. The second interfaceName or interfaceDescription of a
// template is that of the egress interface, as Open vSwitch has it.
type Template struct {
	ID     uint16 // from 256
	Match  func(*Record) bool
	Fields []Field
}

// Option is a table of option data: an options template and all its rows, sent after every refresh of templates.
type Option struct {
	ID     uint16
	Scope  []Field // of NetFlow 9: Field.ID is a scope type (RFC 3954 §6.1)
	Fields []Field
	Rows   [][]any // one value, uint64 or string, for each field of Scope and then of Fields
}

// Scope types of NetFlow 9, RFC 3954 §6.1.
const (
	ScopeSystem    = 1
	ScopeInterface = 2
)

// elementFields returns a field of usual length for each element of IANA's in ids; names are variable.
func elementFields(ids ...uint16) []Field {
	fields := make([]Field, len(ids))
	for i, id := range ids {
		e, ok := lookUp(0, id)
		if !ok {
			panic(fmt.Sprintf("BUG: no element %d", id))
		}
		fields[i] = Field{ID: id, Len: e.Len}
		if e.Kind == Text {
			fields[i].Len = Variable
		}
	}
	return fields
}

// column is a compiled field.
type column struct {
	element
	length uint16
}

// plan is a compiled template.
type plan struct {
	id      uint16
	match   func(*Record) bool
	columns []column
	fixed   int // bytes of a record without what variable fields hold beyond their first length byte
}

func (t *Template) compile(version uint8) (plan, error) {
	p := plan{id: t.ID, match: t.Match}
	if t.ID < 256 {
		return p, fmt.Errorf("compile template %d: id below 256", t.ID)
	}
	if len(t.Fields) == 0 {
		return p, fmt.Errorf("compile template %d: no fields", t.ID)
	}
	if t.Match == nil {
		p.match = func(*Record) bool { return true }
	}
	names := map[uint16]bool{}
	for _, f := range t.Fields {
		c, err := f.compile(version)
		if err != nil {
			return p, fmt.Errorf("compile template %d: %w", t.ID, err)
		}
		if f.PEN == 0 && (f.ID == 82 || f.ID == 83) {
			if names[f.ID] {
				c.text = func(r *Record) string { return r.OutName }
			}
			names[f.ID] = true
		}
		p.columns = append(p.columns, c)
		if f.Len == Variable {
			p.fixed++
		} else {
			p.fixed += int(f.Len)
		}
	}
	return p, nil
}

func (f Field) compile(version uint8) (column, error) {
	e, ok := lookUp(f.PEN, f.ID)
	if !ok {
		return column{}, fmt.Errorf("element %d of enterprise %d: not one of Elements", f.ID, f.PEN)
	}
	c := column{element: *e, length: f.Len}
	switch {
	case version == NetFlow9 && (f.PEN != 0 || f.Len == Variable):
		return c, fmt.Errorf("element %q: NetFlow 9 has neither enterprise nor variable-length fields", e.Name)
	case e.Kind == Number && (f.Len == 0 || f.Len > 8):
		return c, fmt.Errorf("element %q: length %d, want 1 to 8", e.Name, f.Len)
	case e.Kind == Address && f.Len != e.Len:
		return c, fmt.Errorf("element %q: length %d, want %d", e.Name, f.Len, e.Len)
	case e.Kind == Text && f.Len == 0:
		return c, fmt.Errorf("element %q: length 0", e.Name)
	}
	return c, nil
}

// size returns the length of r in a data set.
func (p *plan) size(r *Record) int {
	n := p.fixed
	for i := range p.columns {
		if c := &p.columns[i]; c.length == Variable {
			n += variableSize(len(c.text(r))) - 1
		}
	}
	return n
}

func (p *plan) append(b []byte, t *instant, r *Record) []byte {
	for i := range p.columns {
		c := &p.columns[i]
		switch {
		case c.number != nil:
			b = appendNumber(b, c.number(t, r), int(c.length))
		case c.address != nil:
			b = appendAddress(b, c.address(r), int(c.length))
		default:
			b = appendText(b, c.text(r), c.length)
		}
	}
	return b
}

// appendTemplate appends a template record (RFC 3954 §5.2, RFC 7011 §3.4.1).
func (t *Template) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, t.ID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.Fields)))
	return appendFields(b, t.Fields)
}

// append appends an options template record (RFC 3954 §6.1, RFC 7011 §3.4.2.2).
func (o *Option) append(b []byte, version uint8) []byte {
	b = binary.BigEndian.AppendUint16(b, o.ID)
	if version == NetFlow9 {
		b = binary.BigEndian.AppendUint16(b, uint16(4*len(o.Scope)))
		b = binary.BigEndian.AppendUint16(b, uint16(4*len(o.Fields)))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.Scope)+len(o.Fields)))
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.Scope)))
	}
	return appendFields(appendFields(b, o.Scope), o.Fields)
}

func appendFields(b []byte, fields []Field) []byte {
	for _, f := range fields {
		id := f.ID
		if f.PEN != 0 {
			id |= 1 << 15
		}
		b = binary.BigEndian.AppendUint16(b, id)
		b = binary.BigEndian.AppendUint16(b, f.Len)
		if f.PEN != 0 {
			b = binary.BigEndian.AppendUint32(b, f.PEN)
		}
	}
	return b
}

// check says what is wrong with o, so that appendRow needs no error.
func (o *Option) check(version uint8) error {
	fields := len(o.Scope) + len(o.Fields)
	if o.ID < 256 {
		return fmt.Errorf("check option table %d: id below 256", o.ID)
	}
	if len(o.Scope) == 0 || len(o.Fields) == 0 {
		return fmt.Errorf("check option table %d: %d scope fields and %d fields, want at least one of each", o.ID, len(o.Scope), len(o.Fields))
	}
	for i := range fields {
		f := o.field(i)
		if f.Len == 0 || version == NetFlow9 && (f.PEN != 0 || f.Len == Variable) {
			return fmt.Errorf("check option table %d: field %d: not possible in version %d: %+v", o.ID, i, version, f)
		}
	}
	for i, row := range o.Rows {
		if len(row) != fields {
			return fmt.Errorf("check option table %d: row %d: %d values, want %d", o.ID, i, len(row), fields)
		}
		for j, v := range row {
			switch v.(type) {
			case string:
			case uint64:
				if l := o.field(j).Len; l > 8 {
					return fmt.Errorf("check option table %d: row %d, value %d: number in %d bytes", o.ID, i, j, l)
				}
			default:
				return fmt.Errorf("check option table %d: row %d, value %d: %T, want uint64 or string", o.ID, i, j, v)
			}
		}
	}
	return nil
}

func (o *Option) field(i int) Field {
	if i < len(o.Scope) {
		return o.Scope[i]
	}
	return o.Fields[i-len(o.Scope)]
}

func (o *Option) appendRow(b []byte, row []any) []byte {
	for i, v := range row {
		f := o.field(i)
		switch v := v.(type) {
		case uint64:
			b = appendNumber(b, v, int(f.Len))
		case string:
			b = appendText(b, v, f.Len)
		}
	}
	return b
}
