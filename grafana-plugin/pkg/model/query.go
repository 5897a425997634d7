package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/query"
)

// Version is that of the form that this package reads and the editor writes.
const Version = 1

// Type is what a query asks about.
type Type string

// The types of queries.
const (
	TypeFlows      Type = "flows"
	TypeRecords    Type = "records"
	TypeEvents     Type = "events"
	TypeExporters  Type = "exporters"
	TypeHits       Type = "hits"
	TypeInventory  Type = "inventory"
	TypeStatistics Type = "statistics"
	TypeSQL        Type = "sql"
)

// Types lists all types.
var Types = []Type{TypeFlows, TypeRecords, TypeEvents, TypeExporters, TypeHits, TypeInventory, TypeStatistics, TypeSQL}

// Format is what frames an answer becomes.
type Format string

// The formats.
const (
	Timeseries  Format = "timeseries"
	Table       Format = "table"
	Number      Format = "number"
	Logs        Format = "logs"
	Annotations Format = "annotations"
)

// Formats lists the formats that answers of each type can have, the default first.
var Formats = map[Type][]Format{
	TypeFlows:      {Timeseries, Table, Number},
	TypeRecords:    {Table, Logs},
	TypeEvents:     {Logs, Table, Annotations, Timeseries, Number},
	TypeExporters:  {Timeseries, Table, Number},
	TypeHits:       {Table, Timeseries, Number},
	TypeInventory:  {Number, Table},
	TypeStatistics: {Timeseries, Table, Number},
	TypeSQL:        {Table, Timeseries, Number, Logs},
}

// Query is a target that was read. Of the pointers the one of Type is set.
type Query struct {
	RefID string
	Hide  bool // not to be answered
	Type  Type

	Flows      *Flows
	Records    *Records
	Events     *Events
	Exporters  *Exporters
	Hits       *Hits
	Inventory  *Inventory
	Statistics *Statistics
	SQL        *SQL
}

// Flows asks for sums of flows: see [query.Request], whose properties these are.
type Flows struct {
	Format       Format          `json:"format,omitempty"`
	By           []string        `json:"by,omitempty"`
	Filter       string          `json:"filter,omitempty"`
	Units        []query.Unit    `json:"units,omitempty"`
	Direction    query.Direction `json:"direction,omitempty"`
	Split        bool            `json:"split,omitempty"`
	Limit        int             `json:"limit,omitempty"`
	Bottom       bool            `json:"bottom,omitempty"`
	Other        bool            `json:"other,omitempty"`
	Total        bool            `json:"total,omitempty"`
	Step         string          `json:"step,omitempty"`
	Traffic      query.Traffic   `json:"traffic,omitempty"`
	Seen         bool            `json:"seen,omitempty"`
	Observations bool            `json:"observations,omitempty"`
	Basis        query.Basis     `json:"basis,omitempty"`
}

// Records asks for single flow records.
type Records struct {
	Format  Format   `json:"format,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Filter  string   `json:"filter,omitempty"`
	Limit   int      `json:"limit,omitempty"`
}

// Events asks for what happened.
type Events struct {
	Format   Format   `json:"format,omitempty"`
	Source   Source   `json:"source,omitempty"`
	Kinds    []string `json:"kinds,omitempty"`
	Severity string   `json:"severity,omitempty"`
	Text     string   `json:"text,omitempty"`
	Filter   string   `json:"filter,omitempty"`
	Limit    int      `json:"limit,omitempty"`
}

// Source is whose events are asked for.
type Source string

// The sources.
const (
	Network Source = "network"
	Admin   Source = "admin"
	All     Source = "all"
)

// Exporters asks for the ledger.
type Exporters struct {
	Format Format    `json:"format,omitempty"`
	What   []string  `json:"what,omitempty"`
	By     *[]string `json:"by,omitempty"` // nil is [exporter]
	Filter string    `json:"filter,omitempty"`
	Rate   bool      `json:"rate,omitempty"`
	Limit  int       `json:"limit,omitempty"`
	Step   string    `json:"step,omitempty"`
}

// Hits asks how often rules were met.
type Hits struct {
	Format  Format     `json:"format,omitempty"`
	By      string     `json:"by,omitempty"`
	Rule    string     `json:"rule,omitempty"`
	Verdict string     `json:"verdict,omitempty"`
	Unit    query.Unit `json:"unit,omitempty"`
	Unused  bool       `json:"unused,omitempty"`
	System  bool       `json:"system,omitempty"`
	Limit   int        `json:"limit,omitempty"`
	Step    string     `json:"step,omitempty"`
}

// Inventory asks what exists.
type Inventory struct {
	Format Format `json:"format,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Match  string `json:"match,omitempty"`
	Limit  int    `json:"limit,omitempty"`
}

// Statistics asks how processes of Weir do, and how much of the estate is active.
type Statistics struct {
	Format  Format    `json:"format,omitempty"`
	Of      Subject   `json:"of,omitempty"`
	What    []string  `json:"what,omitempty"`
	By      *[]string `json:"by,omitempty"` // nil is [machine, service]
	Machine string    `json:"machine,omitempty"`
	Service string    `json:"service,omitempty"`
	Rate    bool      `json:"rate,omitempty"`
	Limit   int       `json:"limit,omitempty"`
	Step    string    `json:"step,omitempty"`
}

// SQL asks with a statement.
type SQL struct {
	Format Format `json:"format,omitempty"`
	Text   string `json:"text,omitempty"`
}

// Bounds of a target, in bytes.
const (
	maxTarget = 512 << 10
	maxSQL    = 64 << 10
)

// Parse reads a target. The error is a [*query.Error].
func Parse(target []byte) (*Query, error) {
	if len(target) > maxTarget {
		return nil, reject("query", fmt.Sprintf("at most %d are read", maxTarget), "it is %d bytes long", len(target))
	}
	var head struct {
		RefID      string          `json:"refId"`
		Hide       bool            `json:"hide"`
		Version    *int            `json:"version"`
		QueryType  string          `json:"queryType"`
		Flows      json.RawMessage `json:"flows"`
		Records    json.RawMessage `json:"records"`
		Events     json.RawMessage `json:"events"`
		Exporters  json.RawMessage `json:"exporters"`
		Hits       json.RawMessage `json:"hits"`
		Inventory  json.RawMessage `json:"inventory"`
		Statistics json.RawMessage `json:"statistics"`
		SQL        json.RawMessage `json:"sql"`
	}
	if err := json.Unmarshal(target, &head); err != nil {
		return nil, misread("query", err)
	}
	if head.Version != nil && *head.Version != Version {
		hint := "edit and save it anew"
		if *head.Version > Version {
			hint = "a newer version of the plugin wrote it: install that"
		}
		return nil, reject("version", hint, "found %d, want %d", *head.Version, Version)
	}
	q := &Query{RefID: head.RefID, Hide: head.Hide, Type: Type(head.QueryType)}
	var part json.RawMessage
	var into any
	var format *Format
	switch q.Type {
	case "", TypeFlows:
		q.Type, q.Flows = TypeFlows, &Flows{}
		part, into, format = head.Flows, q.Flows, &q.Flows.Format
	case TypeRecords:
		q.Records = &Records{}
		part, into, format = head.Records, q.Records, &q.Records.Format
	case TypeEvents:
		q.Events = &Events{}
		part, into, format = head.Events, q.Events, &q.Events.Format
	case TypeExporters:
		q.Exporters = &Exporters{}
		part, into, format = head.Exporters, q.Exporters, &q.Exporters.Format
	case TypeHits:
		q.Hits = &Hits{}
		part, into, format = head.Hits, q.Hits, &q.Hits.Format
	case TypeInventory:
		q.Inventory = &Inventory{}
		part, into, format = head.Inventory, q.Inventory, &q.Inventory.Format
	case TypeStatistics:
		q.Statistics = &Statistics{}
		part, into, format = head.Statistics, q.Statistics, &q.Statistics.Format
	case TypeSQL:
		q.SQL = &SQL{}
		part, into, format = head.SQL, q.SQL, &q.SQL.Format
	default:
		return nil, reject("queryType", oneOf(string(q.Type), Types), "found %q", q.Type)
	}
	if err := strictly(part, into, string(q.Type)); err != nil {
		return nil, err
	}
	formats := Formats[q.Type]
	if *format == "" {
		*format = formats[0]
	}
	if !slices.Contains(formats, *format) {
		return nil, reject("format", oneOf(string(*format), formats), "found %q", *format)
	}
	return q, nil
}

// Format returns what frames the answer becomes.
func (q *Query) Format() Format {
	switch q.Type {
	case TypeRecords:
		return q.Records.Format
	case TypeEvents:
		return q.Events.Format
	case TypeExporters:
		return q.Exporters.Format
	case TypeHits:
		return q.Hits.Format
	case TypeInventory:
		return q.Inventory.Format
	case TypeStatistics:
		return q.Statistics.Format
	case TypeSQL:
		return q.SQL.Format
	default:
		return q.Flows.Format
	}
}

// strictly reads the object of a type; an absent one leaves the defaults.
func strictly(part json.RawMessage, into any, name string) error {
	if len(part) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(part))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if property, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			property = strings.Trim(property, `"`)
			return reject(name, oneOf(property, properties(into)), "unknown property %q", property)
		}
		return misread(name, err)
	}
	return nil
}

// properties lists what an object of the form may have.
func properties(of any) (names []string) {
	for f := range reflect.TypeOf(of).Elem().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// misread is the error for JSON that is not of the form.
func misread(part string, err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if t.Field != "" {
			part = t.Field
		}
		return reject(part, "expected "+kindName(t.Type), "found a JSON %s", t.Value)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return reject(part, "", "the JSON ends too early")
	}
	return reject(part, "", "%s", strings.TrimPrefix(err.Error(), "json: "))
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Pointer:
		return "a list of texts"
	default:
		return "an object"
	}
}

// oneOf is the hint for a word that is none of the options.
func oneOf[T ~string](word string, options []T) string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = string(o)
	}
	hint := "expected one of " + strings.Join(names, ", ")
	if n := nearest.Word(word, names); n != "" {
		hint = "did you mean " + n + "? " + hint
	}
	return hint
}

// reject is a mistake of the user in a part of the target.
func reject(part, hint, format string, args ...any) error {
	return &query.Error{Part: part, Msg: fmt.Sprintf(format, args...), Hint: hint}
}
