package plugin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

type value struct {
	Value string `json:"value"`
}

// values gives values that a field has, those that begin with a prefix in upper or lower case. What exists is looked up in memory of
// ClickHouse; what only flows tell, in those of the last hour, up to a bound; the rest is words.
func (d *Datasource) values(r *http.Request) (any, error) {
	name, prefix := r.URL.Query().Get("field"), r.URL.Query().Get("prefix")
	limit, err := number(r, "limit", defaultValues, maxValues)
	if err != nil {
		return nil, err
	}
	if len(prefix) > maxPrefix {
		return nil, &query.Error{Part: "prefix", Msg: "it is " + strconv.Itoa(len(prefix)) + " bytes long", Hint: "at most " + strconv.Itoa(maxPrefix) + " are read"}
	}
	var all []string
	if name == model.FieldMachine {
		all, err = d.machines(r.Context())
	} else if f, ok := query.FieldByName(name); ok {
		all, err = d.valuesOf(r.Context(), f, prefix, limit)
	} else {
		err = &query.Error{Part: "field", Msg: "unknown field " + quote(name), Hint: "see the list of fields"}
	}
	if err != nil {
		return nil, err
	}
	list := []value{}
	for _, v := range all {
		if len(list) < limit && v != "" && hasPrefix(v, prefix) {
			list = append(list, value{v})
		}
	}
	return map[string]any{"values": list}, nil
}

func hasPrefix(s, prefix string) bool {
	return strings.HasPrefix(strings.ToLower(s), strings.ToLower(prefix))
}

// valuesOf returns candidates, best first; they need not begin with the prefix.
func (d *Datasource) valuesOf(ctx context.Context, f *query.Field, prefix string, limit int) ([]string, error) {
	if words := wordsOf(f); words != nil {
		return words, nil
	}
	switch {
	case !f.Groupable():
		return nil, nil // a figure
	case d.broken != nil:
		return nil, d.broken
	case f.Type == query.Entity || f.Type == query.Group:
		return d.entities(ctx, f, prefix, limit)
	case f.Name == "exporter":
		q := &model.Query{Type: model.TypeInventory, Inventory: &model.Inventory{Format: model.Table, Kind: "exporter", Limit: maxValues}}
		frames, err := d.ask(ctx, "", q, lastHour(d.now()))
		return texts(frames), err
	}
	return d.inFlows(ctx, f)
}

// machines returns the machines of which processes of Weir told something within a week.
func (d *Datasource) machines(ctx context.Context) ([]string, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	env := lastHour(d.now())
	env.From = env.To.Add(-7 * 24 * time.Hour)
	q := &model.Query{Type: model.TypeStatistics, Statistics: &model.Statistics{Format: model.Table, What: []string{"uptime"}, By: &[]string{"machine"}, Limit: maxValues}}
	frames, err := d.ask(ctx, "", q, env)
	return texts(frames), err
}

// entities looks names up, those of what still exists first.
func (d *Datasource) entities(ctx context.Context, f *query.Field, prefix string, limit int) ([]string, error) {
	params := []query.Param{{Name: "prefix", Type: "String", Value: prefix}}
	var kinds []string
	for i, k := range f.Kinds {
		name := "kind" + strconv.Itoa(i+1)
		params = append(params, query.Param{Name: name, Type: "String", Value: string(k)})
		kinds = append(kinds, "{"+name+":String}")
	}
	rows, err := d.client.Query(ctx, clickhouse.Ask{Statement: query.Statement{
		SQL: "SELECT name\nFROM entity_now\nWHERE kind IN (" + strings.Join(kinds, ", ") + ") AND name != ''" +
			" AND startsWith(lowerUTF8(name), lowerUTF8({prefix:String}))\nGROUP BY name\nORDER BY min(removed), lowerUTF8(name), name\nLIMIT " + strconv.Itoa(limit),
		Params: params,
	}})
	if err != nil {
		return nil, err
	}
	names, _ := columnOf[string](rows, 0)
	return names, nil
}

// inFlows returns the values with most bytes in the last hour, or in as much of it as may be read for that.
func (d *Datasource) inFlows(ctx context.Context, f *query.Field) ([]string, error) {
	env := lastHour(d.now())
	p, err := (&model.Query{Type: model.TypeFlows, Flows: &model.Flows{
		Format: model.Table, By: []string{f.Name}, Units: []query.Unit{query.Bytes}, Limit: maxValues,
	}}).Plan(env)
	if err != nil {
		return nil, err
	}
	p.Settings = map[string]string{
		"max_rows_to_read": "10000000", "read_overflow_mode": "break",
		"max_execution_time": "3", "timeout_overflow_mode": "break",
	}
	frames, err := d.run(ctx, "", p, env)
	return texts(frames), err
}

// texts returns the first column of a table, which is a text or a number.
func texts(frames data.Frames) (list []string) {
	for _, frame := range frames {
		if len(frame.Fields) == 0 {
			continue
		}
		field := frame.Fields[0]
		for row := range field.Len() {
			switch v, ok := field.ConcreteAt(row); v := v.(type) {
			case string:
				list = append(list, v)
			case float64:
				if ok {
					list = append(list, strconv.FormatFloat(v, 'f', -1, 64))
				}
			}
		}
		return list
	}
	return list
}

// wordsOf returns the words by which a field's values go, nil if it has none.
func wordsOf(f *query.Field) []string {
	switch f.Type {
	case query.Enum:
		return f.Words()
	case query.Bool:
		return []string{"true", "false"}
	default:
		return named()[f.Type]
	}
}

// named are the values that have names, of types whose values are numbers.
var named = sync.OnceValue(func() map[query.Type][]string {
	of := func(n int, name func(int) string) (list []string) {
		for i := range n {
			if s := name(i); s != "" && s != strconv.Itoa(i) && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
		return list
	}
	flags := []string{query.FlagNames(0)}
	for bit := range 9 {
		flags = append(flags, query.FlagNames(1<<bit))
	}
	return map[query.Type][]string{
		query.Port:      of(1<<16, func(i int) string { return query.ServiceName(uint16(i)) }),
		query.Protocol:  of(1<<8, func(i int) string { return query.ProtocolName(uint8(i)) }),
		query.EtherType: of(1<<16, func(i int) string { return query.EtherTypeName(uint16(i)) }),
		query.DSCP:      of(1<<6, func(i int) string { return query.DSCPName(uint8(i)) }),
		query.Flags:     flags,
	}
})
