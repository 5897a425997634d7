package netflow

import (
	"encoding/binary"

	"github.com/weirhq/weir/collector/template"
)

// layout says where the fields of a record are: stretches of fixed length, each but the last followed by a field of
// variable length. A record of fixed length is one stretch.
//
// Walking a record costs a step for each field of variable length, which has at least its length octet, whatever else
// the template has: fields of no length cost nothing.
type layout struct {
	stretches []int // octets
}

// place is where a field is in a layout.
type place struct {
	stretch  int  // index of the stretch that it is in, or that it follows
	offset   int  // from the start of the stretch
	width    int  // octets; unless variable
	variable bool // it is the field after the stretch
}

// layOut returns the layout of fields and the place of each.
func layOut(fields []template.Field) (layout, []place) {
	l := layout{stretches: make([]int, 1)}
	places := make([]place, len(fields))
	for i, f := range fields {
		last := len(l.stretches) - 1
		places[i] = place{stretch: last, offset: l.stretches[last], width: int(f.Length), variable: f.Length == template.Variable}
		if places[i].variable {
			l.stretches = append(l.stretches, 0)
		} else {
			l.stretches[last] += int(f.Length)
		}
	}
	return l, places
}

// extent is a part of a set.
type extent struct{ at, length int }

// walk finds the record at offset at of body. stretches and variables, if not nil, become where its parts are: they
// have room for one more than there are fields of variable length. It returns the offset after the record; false if
// the record runs over the end.
func (l *layout) walk(body []byte, at int, stretches []int, variables []extent) (int, bool) {
	for i, octets := range l.stretches {
		if octets > len(body)-at {
			return at, false
		}
		if stretches != nil {
			stretches[i] = at
		}
		at += octets
		if i == len(l.stretches)-1 {
			break
		}
		length, next, ok := variableLength(body, at)
		if !ok || length > len(body)-next {
			return at, false
		}
		if variables != nil {
			variables[i] = extent{next, length}
		}
		at = next + length
	}
	return at, true
}

// count returns the number of records in body, none of which is shorter than shortest; false if the last one runs
// over its end. Zeros that are too short for a record, or would be one that runs over, are padding.
func (l *layout) count(body []byte, shortest int) (int, bool) {
	n, at := 0, 0
	for len(body)-at >= shortest {
		next, ok := l.walk(body, at, nil, nil)
		if !ok {
			return n, zero(body[at:])
		}
		at = next
		n++
	}
	return n, true
}

// variableLength reads the length before a field of variable length (RFC 7011 §7) and returns it with the offset of
// the field; false if it is not there.
func variableLength(body []byte, at int) (length, next int, ok bool) {
	if at >= len(body) {
		return 0, at, false
	}
	if body[at] < 255 {
		return int(body[at]), at + 1, true
	}
	if len(body)-at < 3 {
		return 0, at, false
	}
	return int(binary.BigEndian.Uint16(body[at+1:])), at + 3, true
}

// parts is where the parts of one record are.
type parts struct {
	stretches []int
	variables []extent
}

// fit makes room for the parts of a record of l.
func (p *parts) fit(l *layout) {
	if n := len(l.stretches); cap(p.stretches) < n {
		p.stretches, p.variables = make([]int, n), make([]extent, n)
	} else {
		p.stretches, p.variables = p.stretches[:n], p.variables[:n]
	}
}

// find returns where a field of the record is.
func (p *parts) find(f place) extent {
	if f.variable {
		return p.variables[f.stretch]
	}
	return extent{p.stretches[f.stretch] + f.offset, f.width}
}
