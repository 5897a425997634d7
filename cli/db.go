package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirhq/weir/query"
)

// DB is where statements are asked.
type DB interface {
	Query(ctx context.Context, s query.Statement) (Rows, error)
}

// Rows are the rows of an answer, to be closed.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// Conn asks a ClickHouse connection. Parameters are escaped and settings are sent beside the statement.
func Conn(c driver.Conn) DB { return conn{c} }

type conn struct{ driver.Conn }

func (c conn) Query(ctx context.Context, s query.Statement) (Rows, error) {
	settings := clickhouse.Settings{}
	for name, value := range s.Settings {
		settings[name] = value
	}
	args := make([]any, 0, len(s.Params))
	for _, p := range s.Params {
		args = append(args, clickhouse.Named(p.Name, p.Value))
	}
	return c.Conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), s.SQL, args...)
}

// record is one row of an answer: a value for each column of a plan, of the types that newCell names.
type record []any

// newCell returns a pointer to a variable for cells of the ClickHouse type.
func newCell(typ string) any {
	base, _, _ := strings.Cut(typ, "(")
	switch typ {
	case "Array(UInt64)":
		return new([]uint64)
	case "Array(String)":
		return new([]string)
	}
	switch base {
	case "UInt8":
		return new(uint8)
	case "UInt16":
		return new(uint16)
	case "UInt32":
		return new(uint32)
	case "UInt64":
		return new(uint64)
	case "Float64":
		return new(float64)
	case "Bool":
		return new(bool)
	case "String", "Enum8":
		return new(string)
	case "IPv6":
		return new(net.IP)
	case "DateTime", "DateTime64":
		return new(time.Time)
	default:
		panic("BUG: no cell for columns of type " + typ)
	}
}

// cell returns what a pointer of newCell points to: any unsigned number as uint64, an address as netip.Addr with IPv4
// in its own form.
func cell(p any) any {
	switch p := p.(type) {
	case *uint8:
		return uint64(*p)
	case *uint16:
		return uint64(*p)
	case *uint32:
		return uint64(*p)
	case *uint64:
		return *p
	case *float64:
		return *p
	case *bool:
		return *p
	case *string:
		return *p
	case *net.IP:
		a, _ := netip.AddrFromSlice(*p)
		return a.Unmap()
	case *time.Time:
		return p.UTC()
	case *[]uint64:
		return *p
	case *[]string:
		return *p
	default:
		panic(fmt.Sprintf("BUG: no cell of type %T", p))
	}
}

// ask returns the answer to a statement whose columns have those ClickHouse types.
func ask(ctx context.Context, db DB, s query.Statement, types ...string) ([]record, error) {
	rows, err := db.Query(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells what went wrong
	var all []record
	for rows.Next() {
		cells := make([]any, len(types))
		for i, t := range types {
			cells[i] = newCell(t)
		}
		if err := rows.Scan(cells...); err != nil {
			return nil, err
		}
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		all = append(all, cells)
	}
	return all, rows.Err()
}
