package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/weirhq/weir/query"
)

// Answer is what an API answers to a question about flows.
type Answer struct {
	Columns []query.Column  `json:"columns"`
	Rows    json.RawMessage `json:"rows"`
	Notes   []string        `json:"notes"`
}

// Answered shows an answer as [Flows] does, which asks the store. What there is to say about it, also if it is empty, is among its notes.
func Answered(r query.Request, a *Answer, tables []query.Table, o *Output, now time.Time) error {
	p, err := query.Build(r, tables, now)
	if err != nil {
		return err
	}
	if !slices.Equal(a.Columns, p.Columns) {
		return errors.New("read answer: found other columns than this question has: the server is of another version")
	}
	records, err := readRows(a.Columns, a.Rows)
	if err != nil {
		return err
	}
	if o.JSON {
		err = writeJSON(o.W, p.Columns, records)
	} else if !isEmpty(r, p, records) {
		err = (&view{r, p, now.Location()}).table(records).Write(o)
	}
	for _, n := range a.Notes {
		if err == nil {
			_, err = fmt.Fprintln(o.beside(), o.Paint(Clean(n), Dim))
		}
	}
	return err
}

// readRows is the inverse of writeJSON.
func readRows(columns []query.Column, rows json.RawMessage) ([]record, error) {
	var objects []map[string]json.RawMessage
	if err := json.Unmarshal(rows, &objects); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	records := make([]record, len(objects))
	for n, object := range objects {
		rec := make(record, len(columns))
		for i, c := range columns {
			v, err := readValue(c, object[c.Name])
			if err != nil {
				return nil, fmt.Errorf("read answer: row %d: column %q: %w", n+1, c.Name, err)
			}
			rec[i] = v
			if names, ok := v.([]string); ok && i > 0 { // of the ids before
				if ids, ok := rec[i-1].([]uint64); ok && len(ids) != len(names) {
					return nil, fmt.Errorf("read answer: row %d: column %q: found %d names of %d ids", n+1, c.Name, len(names), len(ids))
				}
			}
		}
		records[n] = rec
	}
	return records, nil
}

// readValue is the inverse of plainValue: a cell of the type that newCell has for the column's.
func readValue(c query.Column, text json.RawMessage) (any, error) {
	p := newCell(c.Type)
	var err error
	switch p := p.(type) {
	case *[]uint64:
		var ids []string
		if err = json.Unmarshal(text, &ids); err != nil {
			return nil, err
		}
		list := make([]uint64, len(ids))
		for i, id := range ids {
			if list[i], err = strconv.ParseUint(id, 10, 64); err != nil {
				return nil, err
			}
		}
		return list, nil
	case *float64:
		if string(text) == "null" { // not a number
			return number(nil), nil
		}
		err = json.Unmarshal(text, p)
	case *net.IP:
		var a netip.Addr
		err = json.Unmarshal(text, &a)
		return a, err
	case *uint8, *uint16, *uint32, *uint64:
		return readNumber(c, text)
	default:
		err = json.Unmarshal(text, p)
	}
	return cell(p), err
}

// readNumber reads a number, or an id or MAC address, which are text.
func readNumber(c query.Column, text json.RawMessage) (any, error) {
	f, _ := query.FieldByName(c.Field)
	if c.Role != query.RoleKey || !isID(f) && f.Type != query.MAC {
		var n uint64
		err := json.Unmarshal(text, &n)
		return n, err
	}
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	if f.Type != query.MAC {
		n, err := strconv.ParseUint(s, 10, 64)
		return n, err
	}
	mac, err := net.ParseMAC(s)
	if err != nil {
		return nil, err
	}
	var n uint64
	for _, b := range mac {
		n = n<<8 | uint64(b)
	}
	return n, nil
}
