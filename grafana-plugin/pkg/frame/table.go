package frame

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// length returns how many rows are shown.
func (b *builder) length() int {
	n := b.rows.Len
	if most := b.limits.Rows; n > most {
		b.notes = append(b.notes, fmt.Sprintf("only the first %d rows of %d are shown", most, n))
		n = most
	}
	return n
}

// table makes the frame of a table.
func (b *builder) table() data.Frames {
	n := b.length()
	whole := make([]string, n) // label of rows that are no group
	if kinds := b.of(model.RoleRow); len(kinds) > 0 {
		for row := range n {
			switch b.columns[kinds[0]].cell(row) {
			case query.RowOther:
				whole[row] = otherLabel
			case query.RowTotal:
				whole[row] = totalLabel
			}
		}
	}
	f := newFrame("", data.FrameTypeTable)
	first := true
	for i := range b.columns {
		c := &b.columns[i]
		switch c.Role {
		case model.RoleRow, model.RoleName:
			continue
		case model.RoleKey:
			if b.plan.Shape.Columns == nil {
				break // of a statement that somebody wrote columns are as they are
			}
			if c.kindOf() == numbers && !(first && slices.ContainsFunc(whole, func(label string) bool { return label != "" })) {
				f.Fields = append(f.Fields, b.figures(c, whole))
				first = false
				continue
			}
			list := make([]string, n)
			for row := range list {
				switch {
				case whole[row] == "":
					list[row] = b.key(row, i)
				case first:
					list[row] = whole[row]
				}
			}
			f.Fields = append(f.Fields, data.NewField(c.Name, nil, list).SetConfig(b.config(c)))
			first = false
			continue
		default:
		}
		f.Fields = append(f.Fields, b.field(c, n))
	}
	return data.Frames{f}
}

// figures makes a field of a key that is a number, where the row is a group.
func (b *builder) figures(c *column, whole []string) *data.Field {
	list := make([]*float64, len(whole))
	for row := range list {
		if v, ok := c.number(row); ok && whole[row] == "" {
			list[row] = &v
		}
	}
	return data.NewField(c.Name, nil, list).SetConfig(b.config(c))
}

// field makes a field of a column as it is.
func (b *builder) field(c *column, n int) *data.Field {
	var values any
	switch c.kindOf() {
	case times:
		list := make([]*time.Time, n)
		for row := range list {
			if t, ok := c.time(row); ok && (c.Role != model.RoleTime || t.Unix() != 0) { // which means never in tables of Weir
				list[row] = &t
			}
		}
		values = list
	case numbers:
		list := make([]*float64, n)
		for row := range list {
			if v, ok := c.number(row); ok {
				list[row] = &v
			}
		}
		values = list
	case flags:
		list := make([]*bool, n)
		for row := range list {
			if v, ok := c.cell(row).(bool); ok {
				list[row] = &v
			}
		}
		values = list
	case texts:
		list := make([]string, n)
		for row := range list {
			list[row] = c.text(row)
		}
		values = list
	}
	return data.NewField(c.Name, nil, values).SetConfig(b.config(c))
}

// timesOf returns the times of all rows; the zero time of Unix where there is none.
func (b *builder) timesOf(at, n int) []time.Time {
	list := make([]time.Time, n)
	for row := range list {
		if list[row] = time.Unix(0, 0).UTC(); at >= 0 {
			if t, ok := b.columns[at].time(row); ok {
				list[row] = t
			}
		}
	}
	return list
}

// textsOf returns the texts of all rows in a column; nothing if there is no column.
func (b *builder) textsOf(at, n int) []string {
	list := make([]string, n)
	for row := range list {
		if at >= 0 {
			list[row] = b.columns[at].text(row)
		}
	}
	return list
}

// one returns the column of a role; -1: there is none.
func (b *builder) one(r model.Role) int {
	if at := b.of(r); len(at) > 0 {
		return at[0]
	}
	return -1
}

// logs makes the frame of lines of a log.
func (b *builder) logs() (data.Frames, error) {
	n := b.length()
	at, body, level, id, labels := b.one(model.RoleTime), b.one(model.RoleBody), b.one(model.RoleLevel), b.one(model.RoleID), b.one(model.RoleLabels)
	if b.plan.Shape.Columns == nil {
		body, level, id = named(b.columns, bodyNames), named(b.columns, levelNames), named(b.columns, []string{"id"})
		if labels = named(b.columns, []string{"labels"}); labels >= 0 && b.columns[labels].values.Type().Elem() != reflect.TypeFor[map[string]string]() {
			labels = -1
		}
		if at < 0 && !b.nothing() {
			return nil, mistake("select one, as time_received", "the answer has no column of type DateTime")
		}
	}
	times := b.timesOf(at, n)
	lines, severities, ids := make([]string, n), b.textsOf(level, n), b.textsOf(id, n)
	all := make([]json.RawMessage, n)
	for row := range n {
		m, words := b.labels(row, at, body, level, id, labels)
		raw, err := json.Marshal(m) // in the order of keys
		if err != nil {
			panic("BUG: labels are no JSON: " + err.Error())
		}
		all[row] = raw
		switch {
		case body >= 0:
			lines[row] = b.columns[body].text(row)
		case b.plan.Shape.Columns != nil:
			lines[row], severities[row] = recordLine(m), recordSeverity(m["verdict"])
		default:
			lines[row] = strings.Join(words, " ")
		}
	}
	if id < 0 {
		number(ids, times, lines)
	}
	f := newFrame("", data.FrameTypeLogLines,
		data.NewField("timestamp", nil, times), data.NewField("body", nil, lines), data.NewField("severity", nil, severities),
		data.NewField("id", nil, ids), data.NewField("labels", nil, all))
	f.Meta.PreferredVisualization = data.VisTypeLogs
	return data.Frames{f}, nil
}

// number gives lines without an id one that is the same whenever the line is asked for: of its time, its text, and of how many are equal.
func number(ids []string, times []time.Time, lines []string) {
	seen := map[string]int{}
	for row := range ids {
		h := fnv.New64a()
		_, _ = h.Write([]byte(lines[row]))
		id := strconv.FormatInt(times[row].UnixMilli(), 10) + "-" + strconv.FormatUint(h.Sum64(), 16)
		if seen[id]++; seen[id] > 1 {
			id += "-" + strconv.Itoa(seen[id])
		}
		ids[row] = id
	}
}

// labels returns what a line says beside what has a field of its own, and the same as words.
func (b *builder) labels(row int, but ...int) (map[string]string, []string) {
	m := map[string]string{}
	var words []string
	for i := range b.columns {
		c := &b.columns[i]
		if c.Role == model.RoleName || c.Role == model.RoleRow || slices.Contains(but[:len(but)-1], i) {
			continue
		}
		if i == but[len(but)-1] { // a map
			maps.Copy(m, asMap(c.cell(row)))
			continue
		}
		v := b.key(row, i)
		if v == "" {
			continue
		}
		m[c.Name] = v
		if strings.ContainsAny(v, " \"=") {
			v = fmt.Sprintf("%q", v)
		}
		words = append(words, c.Name+"="+v)
	}
	return m, words
}

func asMap(v any) map[string]string {
	m := map[string]string{}
	switch v := v.(type) {
	case map[string]string:
		for k, s := range v {
			m[cut(k)] = cut(s)
		}
	case nil:
	default:
		m["labels"] = text(v)
	}
	return m
}

// annotations makes the frame of annotations.
func (b *builder) annotations() data.Frames {
	n := b.length()
	tags := make([]string, n)
	if at := b.one(model.RoleTags); at >= 0 {
		for row := range tags {
			if list, ok := b.columns[at].cell(row).([]string); ok {
				tags[row] = strings.Join(list, ",")
			} else {
				tags[row] = b.columns[at].text(row)
			}
		}
	}
	return data.Frames{newFrame("", data.FrameTypeTable,
		data.NewField("time", nil, b.timesOf(b.one(model.RoleTime), n)), data.NewField("title", nil, b.textsOf(b.one(model.RoleTitle), n)),
		data.NewField("text", nil, b.textsOf(b.one(model.RoleBody), n)), data.NewField("tags", nil, tags), data.NewField("id", nil, b.textsOf(b.one(model.RoleID), n)))}
}
