package frame

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// Labels of rows that are no group.
const (
	otherLabel = "other"
	totalLabel = "total"
)

// key returns what a row says in the key column at i: the names of things, else their numbers as filters take them.
func (b *builder) key(row, i int) string {
	c := &b.columns[i]
	if i+1 == len(b.columns) || b.columns[i+1].Role != model.RoleName {
		return c.text(row)
	}
	switch names := b.columns[i+1].cell(row).(type) {
	case string:
		if names != "" {
			return cut(names)
		}
	case []string:
		ids, ok := c.cell(row).([]uint64)
		if !ok || len(ids) != len(names) {
			break
		}
		list := make([]string, len(ids))
		for j, id := range ids {
			if list[j] = names[j]; list[j] == "" && c.Field != nil {
				list[j] = c.word(id)
			}
		}
		return cut(strings.Join(list, ", "))
	}
	return c.text(row)
}

// group is what a series or a figure is of.
type group struct {
	labels data.Labels
	name   string // for people; empty: of everything
	rows   []int
}

// groups returns those of the answer, in the order in which they come.
func (b *builder) groups() []*group {
	keys, kinds := b.of(model.RoleKey), b.of(model.RoleRow)
	byKey := map[string]*group{}
	var list []*group
	for row := range b.rows.Len {
		labels := data.Labels{}
		var words []string
		id := ""
		whole := ""
		if len(kinds) > 0 {
			switch b.columns[kinds[0]].cell(row) {
			case query.RowOther:
				whole = otherLabel
			case query.RowTotal:
				whole = totalLabel
			}
		}
		for _, i := range keys {
			text := whole
			if whole == "" {
				text = b.key(row, i)
				id += b.columns[i].text(row) + "\x00"
			}
			labels[b.columns[i].Name] = text
			if text == "" {
				text = "-"
			}
			words = append(words, text)
		}
		id = whole + "\x00" + id
		g := byKey[id]
		if g == nil {
			g = &group{labels: labels, name: strings.Join(words, " → ")}
			if whole != "" {
				g.name = whole
			}
			if len(keys) == 0 {
				g.name = ""
			}
			byKey[id] = g
			list = append(list, g)
		}
		g.rows = append(g.rows, row)
	}
	b.tellApart(list, keys)
	return list
}

// tellApart gives groups that have the same labels, as VMs of the same name, their ids as further labels: an alert rule refuses series
// that it cannot tell apart. The others keep theirs, so that a label has a filter's value.
func (b *builder) tellApart(list []*group, keys []int) {
	same := map[data.Fingerprint][]*group{}
	for _, g := range list {
		print := g.labels.Fingerprint()
		same[print] = append(same[print], g)
	}
	for _, groups := range same {
		if len(groups) == 1 {
			continue
		}
		for _, g := range groups {
			var ids []string
			for _, i := range keys {
				if id := b.columns[i].text(g.rows[0]); id != g.labels[b.columns[i].Name] {
					g.labels[b.columns[i].Name+"_id"] = id
					ids = append(ids, id)
				}
			}
			g.name += " " + strings.Join(ids, " ")
		}
	}
}

// bounded cuts groups to the series that there may be.
func (b *builder) bounded(list []*group, values int) []*group {
	most := max(b.limits.Series/max(values, 1), 1)
	if len(list) > most {
		b.notes = append(b.notes, fmt.Sprintf("only %d of %d series are shown: ask for fewer, or group by less", most, len(list)))
		list = list[:most]
	}
	return list
}

// display returns what a value of a group is called: the group, and the value if there are several.
func (b *builder) display(g *group, value *column, values int) string {
	switch {
	case g.name == "":
		return value.Name
	case values == 1:
		return g.name
	default:
		return g.name + " " + value.Name
	}
}

func (b *builder) config(c *column) *data.FieldConfig {
	config := &data.FieldConfig{Unit: c.Unit, Description: c.Doc}
	if config.Unit == "" && c.Role == model.RoleValue {
		config.Unit = b.plan.Shape.Unit
	}
	return config
}

// series makes a frame of each series.
func (b *builder) series() (data.Frames, error) {
	at, values := b.of(model.RoleTime), b.of(model.RoleValue)
	switch {
	case b.nothing():
		return data.Frames{newFrame("", data.FrameTypeTimeSeriesMulti)}, nil
	case len(at) == 0:
		return nil, mistake("select one, as $__timeInterval(time_received) AS time", "the answer has no column of type DateTime")
	case len(values) == 0:
		return nil, mistake("select one, as sum($__bytes)", "the answer has no column of numbers")
	}
	groups := b.groups()
	s := &b.plan.Shape
	if len(groups) == 0 && s.Whole && s.Step > 0 {
		groups = []*group{{labels: data.Labels{}}}
	}
	var frames data.Frames
	for _, g := range b.bounded(groups, len(values)) {
		for _, v := range values {
			times, figures := b.points(g, at[0], v)
			value := data.NewField(b.columns[v].Name, g.labels.Copy(), figures)
			config := b.config(&b.columns[v])
			config.DisplayNameFromDS = b.display(g, &b.columns[v], len(values))
			value.Config = config
			frames = append(frames, newFrame(config.DisplayNameFromDS, data.FrameTypeTimeSeriesMulti, data.NewField("time", nil, times), value))
		}
	}
	if len(frames) == 0 {
		frames = data.Frames{newFrame("", data.FrameTypeTimeSeriesMulti)}
	}
	return frames, nil
}

// points returns those of a series, in the order of time.
func (b *builder) points(g *group, at, value int) ([]time.Time, []*float64) {
	s := &b.plan.Shape
	if s.Step > 0 && b.columns[value].Zero {
		n := min(int((s.To.Sub(s.From)+s.Step-1)/s.Step), b.limits.Points)
		times, figures, zeros := make([]time.Time, n), make([]*float64, n), make([]float64, n)
		for i := range times {
			times[i], figures[i] = s.From.Add(time.Duration(i)*s.Step).UTC(), &zeros[i]
		}
		for _, row := range g.rows {
			t, ok := b.columns[at].time(row)
			i := int(t.Sub(s.From) / s.Step)
			if !ok || t.Before(s.From) || i >= n {
				continue
			}
			if f, ok := b.columns[value].number(row); ok {
				zeros[i] += f
			}
		}
		return times, figures
	}
	type point struct {
		at    time.Time
		value *float64
	}
	var list []point
	for _, row := range g.rows {
		t, ok := b.columns[at].time(row)
		if !ok {
			continue
		}
		p := point{at: t}
		if f, ok := b.columns[value].number(row); ok {
			p.value = &f
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(x, y point) int { return x.at.Compare(y.at) })
	if len(list) > b.limits.Points {
		b.notes = append(b.notes, fmt.Sprintf("only the last %d points of %d are shown: take a longer step", b.limits.Points, len(list)))
		list = list[len(list)-b.limits.Points:]
	}
	times, figures := make([]time.Time, len(list)), make([]*float64, len(list))
	for i, p := range list {
		times[i], figures[i] = p.at, p.value
	}
	return times, figures
}

// numbers makes a frame of each figure.
func (b *builder) numbers() (data.Frames, error) {
	values := b.of(model.RoleValue)
	switch {
	case b.nothing():
		return data.Frames{newFrame("", data.FrameTypeNumericMulti)}, nil
	case len(values) == 0:
		return nil, mistake("select one, as sum($__bytes)", "the answer has no column of numbers")
	}
	var frames data.Frames
	for _, g := range b.bounded(b.groups(), len(values)) {
		if len(g.rows) > 1 {
			b.notes = append(b.notes, fmt.Sprintf("there are %d rows of %s: the first is shown", len(g.rows), cmp.Or(g.name, "the figure")))
		}
		for _, v := range values {
			var figure *float64
			if f, ok := b.columns[v].number(g.rows[0]); ok {
				figure = &f
			}
			value := data.NewField(b.columns[v].Name, g.labels.Copy(), []*float64{figure})
			config := b.config(&b.columns[v])
			config.DisplayNameFromDS = b.display(g, &b.columns[v], len(values))
			value.Config = config
			frames = append(frames, newFrame(config.DisplayNameFromDS, data.FrameTypeNumericMulti, value))
		}
	}
	if len(frames) == 0 {
		frames = data.Frames{newFrame("", data.FrameTypeNumericMulti)}
	}
	return frames, nil
}
