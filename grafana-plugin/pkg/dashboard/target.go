package dashboard

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/grafana/grafana-plugin-sdk-go/data"
)

// Kind is what asks.
type Kind string

// The kinds.
const (
	OfPanel      Kind = "panel"
	OfAnnotation Kind = "annotation"
	OfVariable   Kind = "variable"
)

// Target is a query of a dashboard, as the frontend sends it: with its variables put in.
type Target struct {
	Dashboard string // uid
	Kind      Kind
	Of        string // title of the panel; name of the annotation or the variable
	RefID     string
	Type      string // queryType
	Query     json.RawMessage
	Frames    []data.FrameType // one of which every frame of the answer has to have

	// Of a variable that is what exists: the field whose values the resource values of the data source is asked for. There is no
	// query then, and no frame.
	Field string
}

// String names the target for people.
func (t Target) String() string {
	return fmt.Sprintf("%s: %s %q, query %s", t.Dashboard, t.Kind, t.Of, t.RefID)
}

// target is what a query of any type has.
type target struct {
	RefID      string     `json:"refId"`
	Version    int        `json:"version"`
	QueryType  string     `json:"queryType"`
	Datasource *Reference `json:"datasource"`

	format string // of its part
	field  string // of a look-up
}

// lookup is the queryType of variables that look up what exists; the backend knows it as a resource and not as a query.
const lookup = "values"

func readTarget(raw json.RawMessage) (target, error) {
	var t target
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("read query: %w", err)
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return t, fmt.Errorf("read query: %w", err)
	}
	part, ok := parts[t.QueryType]
	if t.Version != 1 || !ok {
		return t, fmt.Errorf("query %q: version %d of type %q, want version 1 and a part of that name", t.RefID, t.Version, t.QueryType)
	}
	var p struct {
		Format string `json:"format"`
		Field  string `json:"field"`
	}
	if err := json.Unmarshal(part, &p); err != nil {
		return t, fmt.Errorf("query %q: %w", t.RefID, err)
	}
	if (t.QueryType == lookup) != (p.Field != "") {
		return t, fmt.Errorf("query %q: type %q with field %q, want a field in look-ups, and only there", t.RefID, t.QueryType, p.Field)
	}
	t.format, t.field = p.Format, p.Field
	return t, nil
}

// frameTypes are what an answer in a format is made of.
var frameTypes = map[string][]data.FrameType{
	"timeseries":  {data.FrameTypeTimeSeriesMulti, data.FrameTypeTimeSeriesWide},
	"number":      {data.FrameTypeNumericMulti, data.FrameTypeNumericWide},
	"table":       {data.FrameTypeTable},
	"logs":        {data.FrameTypeLogLines},
	"annotations": {data.FrameTypeTable},
}

// Targets lists what a dashboard asks: its panels, its annotations, its variables. values are those of variables by name; others have
// what the dashboard begins with, and one that begins with nothing has any value.
func (d *Dashboard) Targets(values map[string]string) ([]Target, error) {
	now := maps.Clone(values)
	if now == nil {
		now = map[string]string{}
	}
	for _, v := range d.Templating.List {
		if _, given := values[v.Name]; !given {
			now[v.Name] = v.initial()
		}
	}
	var all []Target
	add := func(kind Kind, of string, raw json.RawMessage) error {
		text, err := d.interpolate(raw, now)
		if err != nil {
			return fmt.Errorf("%s: %s %q: %w", d.file, kind, of, err)
		}
		t, err := readTarget(text)
		if err != nil {
			return fmt.Errorf("%s: %s %q: %w", d.file, kind, of, err)
		}
		if t.QueryType == lookup {
			all = append(all, Target{Dashboard: d.UID, Kind: kind, Of: of, RefID: t.RefID, Type: lookup, Field: t.field})
			return nil
		}
		frames, known := frameTypes[t.format]
		if !known {
			return fmt.Errorf("%s: %s %q: query %s has format %q, want one of %s", d.file, kind, of, t.RefID, t.format,
				strings.Join(slices.Sorted(maps.Keys(frameTypes)), ", "))
		}
		all = append(all, Target{Dashboard: d.UID, Kind: kind, Of: of, RefID: t.RefID, Type: t.QueryType, Query: text, Frames: frames})
		return nil
	}
	var err error
	d.each(func(p *Panel) {
		for _, raw := range p.Targets {
			if err == nil {
				err = add(OfPanel, p.Title, raw)
			}
		}
	})
	for _, a := range d.Annotations.List {
		if err == nil && a.BuiltIn == 0 {
			err = add(OfAnnotation, a.Name, a.Target)
		}
	}
	for _, v := range d.Templating.List {
		if err == nil && v.Type == "query" {
			err = add(OfVariable, v.Name, v.Query)
		}
	}
	return all, err
}

// initial returns what a variable has when a dashboard is opened.
func (v *Variable) initial() string {
	if s, ok := v.Current.Value.(string); ok && s != "$__all" {
		return s
	}
	return v.AllValue
}

// interpolate puts variables into the texts of a query, as the frontend of the data source does: one with a format of its own as it is,
// another in a filter as a value of the filter language, and a text that is nothing but a variable as a number, or true or false, where
// the model has such a thing.
func (d *Dashboard) interpolate(raw json.RawMessage, values map[string]string) (json.RawMessage, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("read query: %w", err)
	}
	return json.Marshal(replaced(v, "", values))
}

func replaced(v any, property string, values map[string]string) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = replaced(v[i], property, values)
		}
	case map[string]any:
		for name := range v {
			v[name] = replaced(v[name], name, values)
		}
	case string:
		return replacedText(v, property, values)
	}
	return v
}

func replacedText(s, property string, values map[string]string) any {
	text := reference.ReplaceAllStringFunc(s, func(r string) string {
		m := reference.FindStringSubmatch(r)
		value, known := values[m[1]+m[3]+m[4]]
		switch {
		case !known:
			return r
		case property == "filter" && m[2]+m[5] == "":
			return quoted(value)
		default:
			return value
		}
	})
	if text == s {
		return s
	}
	switch property {
	case "limit":
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	case "bottom", "other", "total", "split", "seen", "observations":
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	}
	return text
}

// quoted returns a value as the filter language writes it; nothing is any.
func quoted(s string) string {
	if s == "" || s == "any" {
		return "any"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
