package cli

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/query"
)

// view lays an answer out for people: ids give way to names, figures get units, times are local.
type view struct {
	request query.Request
	plan    *query.Plan
	zone    *time.Location
}

func (w *view) table(records []record) *Table {
	if w.request.Kind == query.List && len(w.request.By) == 0 {
		return w.endsTable(records)
	}
	t := &Table{}
	for i, c := range w.plan.Columns {
		if w.hidden(i) {
			continue
		}
		f, _ := query.FieldByName(c.Field)
		right := c.Role == query.RoleValue || c.Role == query.RoleShare
		if c.Role == query.RoleKey {
			right = slices.Contains([]query.Type{query.Number, query.Count, query.Size, query.Span}, f.Type)
		}
		t.Columns = append(t.Columns, Column{c.Name, right})
	}
	for _, rec := range records {
		label, style := w.rowLabel(rec)
		var cells []Cell
		for i, c := range w.plan.Columns {
			if w.hidden(i) {
				continue
			}
			text, cellStyle := w.cell(rec, i)
			if c.Role == query.RoleKey && label != "" {
				text, cellStyle = label, Plain
				label = " "
			}
			if style != Plain {
				cellStyle = style
			}
			cells = append(cells, Cell{strings.TrimSpace(text), cellStyle})
		}
		t.Add(cells...)
	}
	return t
}

// hidden reports whether people do not see the column: the kind of row, which its style tells; a name, which stands in
// its key's place; of a list the time at which it started, which the duration tells.
func (w *view) hidden(i int) bool {
	c := w.plan.Columns[i]
	return c.Role == query.RoleName || c.Name == "flow_start" || c.Role == query.RoleRow
}

// rowLabel returns what stands in the first key of rows that are no group.
func (w *view) rowLabel(rec record) (string, Style) {
	i := slices.IndexFunc(w.plan.Columns, func(c query.Column) bool { return c.Role == query.RoleRow })
	if i < 0 {
		return "", Plain
	}
	switch rec[i] {
	case query.RowOther:
		return "(other)", Dim
	case query.RowTotal:
		return "(total)", Bold
	default:
		return "", Plain
	}
}

// cell returns a cell as people read it.
func (w *view) cell(rec record, i int) (string, Style) {
	c, v := w.plan.Columns[i], rec[i]
	switch c.Role {
	case query.RoleValue:
		return figure(c.Unit, number(v)), Plain
	case query.RoleShare:
		return Percent(number(v)), Plain
	case query.RoleTime:
		return w.timeText(v.(time.Time)), Plain
	case query.RoleKey:
		name := any("")
		if i+1 < len(rec) && w.plan.Columns[i+1].Role == query.RoleName {
			name = rec[i+1]
		}
		f, _ := query.FieldByName(c.Field)
		return keyText(f, v, name)
	default:
		return fmt.Sprint(v), Plain
	}
}

// timeText leaves out what all rows have: the date of a short range, and the milliseconds of steps.
func (w *view) timeText(t time.Time) string {
	layout := "15:04:05"
	if w.plan.Step == 0 {
		layout = "15:04:05.000"
	}
	if w.plan.To.Sub(w.plan.From) > 24*time.Hour {
		layout = "2006-01-02 " + layout
	}
	return t.In(w.zone).Format(layout)
}

// keyText returns a value of a field; name is that of an id, or those of a list of ids.
func keyText(f *query.Field, v, name any) (string, Style) {
	switch v := v.(type) {
	case []uint64:
		names := make([]string, len(v))
		for i, id := range v {
			names[i], _ = entityText(id, name.([]string)[i])
		}
		return strings.Join(names, ","), Plain
	case netip.Addr:
		if v.IsUnspecified() {
			return "-", Dim
		}
		return v.String(), Plain
	case uint64:
		return numberText(f, v, name)
	case string:
		return v, wordStyle(v)
	default:
		return fmt.Sprint(v), Plain
	}
}

func numberText(f *query.Field, n uint64, name any) (string, Style) {
	switch f.Type {
	case query.Entity, query.Group:
		return entityText(n, name.(string))
	case query.Port:
		if s := query.ServiceName(uint16(n)); s != "" {
			return strconv.FormatUint(n, 10) + " " + s, Plain
		}
		if n == 0 {
			return "-", Dim
		}
	case query.MAC:
		if n == 0 {
			return "-", Dim
		}
	case query.Size:
		return Bytes(float64(n)), Plain
	case query.Count:
		return Count(float64(n)), Plain
	case query.Span:
		return Span(time.Duration(n) * time.Millisecond), Plain
	default:
	}
	return f.Format(n), Plain
}

// entityText returns the name of an entity, else its id as a filter takes it.
func entityText(id uint64, name string) (string, Style) {
	switch {
	case name != "":
		return name, Plain
	case id == 0:
		return "-", Dim
	default:
		return "#" + strconv.FormatUint(id, 10), Plain
	}
}

// wordStyle marks the words that people look for.
func wordStyle(word string) Style {
	switch word {
	case "denied", "spoofed", "invalid", "unknown_port":
		return Bad
	case "shadow_denied":
		return Warn
	case "unknown", "none":
		return Dim
	default:
		return Plain
	}
}

func figure(u query.Unit, n float64) string {
	switch u {
	case query.Bytes:
		return Bytes(n)
	case query.Bits:
		return Bits(n)
	case query.BPS:
		return BitRate(n)
	case query.PPS, query.FPS:
		return Count(n) + "/s"
	default:
		return Count(n)
	}
}

// number returns a figure; of a cell that is none NaN.
func number(v any) float64 {
	switch v := v.(type) {
	case uint64:
		return float64(v)
	case float64:
		return v
	default:
		return math.NaN()
	}
}

// endsTable lays out the usual list: each end in one column, by name and address.
func (w *view) endsTable(records []record) *Table {
	t := &Table{Columns: []Column{
		{"time_received", false},
		{"network", false},
		{"source", false},
		{"destination", false},
		{"protocol", false},
		{"bytes", true},
		{"packets", true},
		{"duration", true},
		{"verdict", false},
		{"exporter", false},
	}}
	index := map[string]int{}
	for i, c := range w.plan.Columns {
		index[c.Name] = i
	}
	for _, rec := range records {
		text := func(column string) Cell {
			s, style := w.cell(rec, index[column])
			return Cell{s, style}
		}
		scale := func(column string, show func(float64) string) Cell {
			rate := number(rec[index["sampling_rate"]])
			if rate > 1 { // as reported, of one packet in so many
				return Cell{show(number(rec[index[column]])) + " ×" + strconv.FormatFloat(rate, 'f', -1, 64), Plain}
			}
			return Cell{show(number(rec[index[column]])), Plain}
		}
		cells := []Cell{
			text("time_received"), text("network"), end(rec, index, "src"), end(rec, index, "dst"), text("protocol"),
			scale("bytes", Bytes), scale("packets", Count), text("duration_ms"), text("verdict"), text("exporter"),
		}
		if counted, ok := rec[index["counted"]].(bool); ok && !counted {
			for i := range cells {
				if cells[i].Style == Plain {
					cells[i].Style = Dim // another observation of packets that are counted elsewhere
				}
			}
		}
		t.Add(cells...)
	}
	return t
}

// end returns one end of a flow: "web-01 10.0.0.1:443".
func end(rec record, index map[string]int, side string) Cell {
	text := ""
	if id := rec[index[side+"_vm"]].(uint64); id != 0 {
		name, _ := entityText(id, rec[index[side+"_vm_name"]].(string))
		text = name + " "
	}
	addr, port := rec[index[side+"_addr"]].(netip.Addr), rec[index[side+"_port"]].(uint64)
	if port == 0 {
		return Cell{text + addr.String(), Plain}
	}
	return Cell{text + netip.AddrPortFrom(addr, uint16(port)).String(), Plain}
}
