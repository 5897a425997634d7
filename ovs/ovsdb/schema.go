package ovsdb

import (
	"context"
	"fmt"
	"slices"
)

// database is the name of the one database that Weir reads.
const database = "Open_vSwitch"

// maxColumns is how many columns a schema may have in all; that of Open vSwitch 3.1 has 240.
const maxColumns = 4096

// Schema is which tables and columns a host's database has. It is immutable; all methods may be called on a nil *Schema, which
// has none.
type Schema struct {
	version string
	tables  map[string]map[string]columnType
}

// columnType is the type of a column (RFC 7047 §3.2), as far as it matters here.
type columnType struct {
	key, value string   // atomic types; value is that of maps, else empty
	enum       []string // if the key is one of some strings: which
}

// Version returns the schema's own, as "8.3.1".
func (s *Schema) Version() string {
	if s == nil {
		return ""
	}
	return s.version
}

// Has says whether there is such a column; with column empty, whether there is such a table.
func (s *Schema) Has(table, column string) bool {
	if s == nil {
		return false
	}
	columns, found := s.tables[table]
	if column != "" {
		_, found = columns[column]
	}
	return found
}

// Allows says whether a column may have that value, as far as the schema lists values: Allows("Bridge", "protocols",
// "OpenFlow15").
func (s *Schema) Allows(table, column, value string) bool {
	if !s.Has(table, column) {
		return false
	}
	enum := s.tables[table][column].enum
	return enum == nil || slices.Contains(enum, value)
}

// fetchSchema asks for the schema.
func fetchSchema(ctx context.Context, c *conn) (*Schema, error) {
	var s *Schema
	err := c.ask(ctx, func(in *cursor) (err error) {
		s, err = readSchema(in)
		return err
	}, "get_schema", database)
	return s, err
}

// readSchema reads a <database-schema> (RFC 7047 §3.2).
func readSchema(in *cursor) (*Schema, error) {
	s := &Schema{tables: map[string]map[string]columnType{}}
	columns := 0
	err := in.object(func(key []byte) (err error) {
		switch string(key) {
		case "version":
			s.version, err = in.text()
			return err
		case "tables":
			return in.object(func(table []byte) error {
				list := map[string]columnType{}
				s.tables[string(table)] = list
				if columns++; columns > maxColumns {
					return in.errorf("more than %d tables and columns", maxColumns)
				}
				return in.object(func(key []byte) error {
					if string(key) != "columns" {
						return in.skip()
					}
					return in.object(func(name []byte) (err error) {
						if columns++; columns > maxColumns {
							return in.errorf("more than %d tables and columns", maxColumns)
						}
						column := string(name)
						list[column], err = readColumn(in)
						return err
					})
				})
			})
		default:
			return in.skip()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	return s, nil
}

func readColumn(in *cursor) (t columnType, err error) {
	err = in.object(func(key []byte) (err error) {
		if string(key) != "type" {
			return in.skip()
		}
		if in.peek() == '"' {
			t.key, err = in.text()
			return err
		}
		return in.object(func(key []byte) (err error) {
			switch string(key) {
			case "key":
				t.key, t.enum, err = readBase(in)
			case "value":
				t.value, _, err = readBase(in)
			default:
				err = in.skip()
			}
			return err
		})
	})
	return t, err
}

// readBase reads a <base-type>: its atomic type and, if it is one of some strings, which.
func readBase(in *cursor) (atomic string, enum []string, err error) {
	if in.peek() == '"' {
		atomic, err = in.text()
		return atomic, nil, err
	}
	err = in.object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			atomic, err = in.text()
			return err
		case "enum":
			return in.elements(func() error {
				if in.peek() != '"' {
					return in.skip()
				}
				text, err := in.text()
				if len(enum) < maxColumns {
					enum = append(enum, text)
				}
				return err
			})
		default:
			return in.skip()
		}
	})
	return atomic, enum, err
}
