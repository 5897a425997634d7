package frame

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// column is a column of the answer, and how its cells are read.
type column struct {
	model.Column
	values reflect.Value // a slice
}

func newColumn(c model.Column, of *clickhouse.Column) column {
	return column{Column: c, values: reflect.ValueOf(of.Values)}
}

// maxCell bounds the text of one cell, in bytes: what is longer is cut.
const maxCell = 32 << 10

// cell returns the value in a row; nil if there is none there.
func (c *column) cell(row int) any {
	v := c.values.Index(row)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if _, ok := reflect.TypeAssert[fmt.Stringer](v); ok && v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
			break // *big.Int
		}
		v = v.Elem()
	}
	return v.Interface()
}

// time returns a cell that is a time.
func (c *column) time(row int) (time.Time, bool) {
	t, ok := c.cell(row).(time.Time)
	return t.UTC(), ok
}

// number returns a cell that is a number; ok is false if it is none, or has none.
func (c *column) number(row int) (float64, bool) {
	switch v := reflect.ValueOf(c.cell(row)); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(v.Int()), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return float64(v.Uint()), true
	case reflect.Float32, reflect.Float64:
		f := v.Float()
		return f, !math.IsNaN(f) && !math.IsInf(f, 0)
	case reflect.Bool:
		if v.Bool() {
			return 1, true
		}
		return 0, true
	case reflect.Invalid:
		return 0, false
	default:
		if s, ok := reflect.TypeAssert[fmt.Stringer](v); ok { // decimals and large integers
			f, err := strconv.ParseFloat(s.String(), 64)
			return f, err == nil
		}
		return 0, false
	}
}

// text returns a cell as people read it, without what the next column may say of it.
func (c *column) text(row int) string {
	v := c.cell(row)
	if c.Field != nil {
		if n := reflect.ValueOf(v); n.CanUint() {
			return c.word(n.Uint())
		}
	}
	return text(v)
}

// word returns a number as its field writes it.
func (c *column) word(n uint64) string {
	switch c.Field.Type {
	case query.Entity, query.Group:
		if n == 0 {
			return ""
		}
		return "#" + strconv.FormatUint(n, 10)
	case query.MAC:
		if n == 0 {
			return ""
		}
	case query.Port:
		if name := query.ServiceName(uint16(n)); name != "" && c.Field.Name == "service" {
			return name
		}
	default:
	}
	return c.Field.Format(n)
}

// text returns any value as text.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return cut(v)
	case []byte:
		return cut(string(v))
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04:05.999999999")
	case netip.Addr:
		return address(v)
	case net.IP:
		if a, ok := netip.AddrFromSlice(v); ok {
			return address(a)
		}
		return v.String()
	case []string:
		return cut(strings.Join(v, ", "))
	case float32, float64, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v)
	case fmt.Stringer:
		return cut(v.String())
	}
	if b, err := json.Marshal(plain(reflect.ValueOf(v))); err == nil {
		return cut(string(b))
	}
	return cut(fmt.Sprint(v))
}

// plain returns a value of arrays, maps and tuples in a form that JSON has.
func plain(v reflect.Value) any {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		switch v.Interface().(type) {
		case net.IP, []byte:
			return text(v.Interface())
		}
		if _, ok := reflect.TypeAssert[fmt.Stringer](v); ok {
			return text(v.Interface())
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	case reflect.Map:
		m := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			m[text(it.Key().Interface())] = plain(it.Value())
		}
		return m
	case reflect.Struct:
		return text(v.Interface())
	case reflect.Invalid:
		return nil
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Sprint(f)
		}
	default:
	}
	return v.Interface()
}

// address returns an address as people write it; nothing for the unspecified one, which tables have where there is none.
func address(a netip.Addr) string {
	if a = a.Unmap(); a.IsUnspecified() || !a.IsValid() {
		return ""
	}
	return a.String()
}

func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxCell {
		s = strings.ToValidUTF8(s[:maxCell], "") + "…"
	}
	return s
}

// maxExact is above which integers are not exact in a browser.
const maxExact = 1 << 53

// kind is what the cells of a column are.
type kind uint8

const (
	texts kind = iota
	numbers
	times
	flags
)

// kindOf tells what the cells of a column are, by their type and, of integers, whether a browser can show them.
func (c *column) kindOf() kind {
	t := c.values.Type().Elem()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return times
	case c.Role == model.RoleID, c.Field != nil && !c.figure():
		return texts
	}
	switch t.Kind() {
	case reflect.Bool:
		return flags
	case reflect.Int64, reflect.Uint64, reflect.Int, reflect.Uint:
		for row := range c.values.Len() {
			if n, ok := c.number(row); ok && math.Abs(n) > maxExact {
				return texts
			}
		}
		return numbers
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Float32, reflect.Float64:
		return numbers
	default:
		if strings.HasSuffix(t.String(), "decimal.Decimal") || strings.HasSuffix(t.String(), "big.Int") {
			return numbers
		}
		return texts
	}
}

// figure reports whether the numbers of a field are shown as such: they are sorted, and have units.
func (c *column) figure() bool {
	switch c.Field.Type {
	case query.Number, query.Count, query.Size, query.Span:
		return true
	case query.Port:
		return c.Field.Name != "service"
	default:
		return false
	}
}

// words that columns of logs are found by, of statements that somebody wrote.
var (
	bodyNames  = []string{"body", "message", "text", "line"}
	levelNames = []string{"severity", "level"}
)

// inferred tells what the columns of an answer are that was not planned: the first time is the time, numbers are values, and all else are labels.
func inferred(rows *clickhouse.Rows) []column {
	list := make([]column, len(rows.Columns))
	timed := false
	for i := range rows.Columns {
		c := newColumn(model.Column{Name: rows.Columns[i].Name}, &rows.Columns[i])
		switch c.kindOf() {
		case times:
			if c.Role = model.RoleText; !timed {
				c.Role, timed = model.RoleTime, true
			}
		case numbers:
			c.Role = model.RoleValue
		default:
			c.Role = model.RoleKey
		}
		list[i] = c
	}
	return list
}

// named returns the first column with one of the names; -1: there is none.
func named(columns []column, names []string) int {
	for _, name := range names {
		if i := slices.IndexFunc(columns, func(c column) bool { return strings.EqualFold(c.Name, name) }); i >= 0 {
			return i
		}
	}
	return -1
}
