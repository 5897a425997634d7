package plugin

import (
	"regexp"
	"strings"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/macro"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/sql"
)

// word is a word that a query may say, with what it means.
type word struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
}

// schema is what editors offer. It is made of the lists that queries are read by, so that it cannot say what they do not take.
type schema struct {
	Version         int                `json:"version"` // of queries
	Fields          []field            `json:"fields"`
	Units           []word             `json:"units"`
	Directions      []word             `json:"directions"`
	Traffic         []word             `json:"traffic"`
	Tables          []word             `json:"tables"`
	Macros          []usage            `json:"macros"`
	EventKinds      []word             `json:"eventKinds"`
	Severities      []word             `json:"severities"`
	ExporterFigures []word             `json:"exporterFigures"`
	ExporterKeys    []word             `json:"exporterKeys"`
	EntityKinds     []word             `json:"entityKinds"`
	ServerFigures   []word             `json:"serverFigures"`
	ServerKeys      []word             `json:"serverKeys"`
	NetworkFigures  []word             `json:"networkFigures"`
	Lookups         []word             `json:"lookups"` // what has values beside fields
	Limits          []clickhouse.Limit `json:"limits"`  // numbers among the settings
}

type field struct {
	Name      string   `json:"name"`
	Aliases   []string `json:"aliases"`
	Type      string   `json:"type"`
	Doc       string   `json:"doc"`
	Operators []string `json:"operators"`
	Words     []string `json:"words,omitempty"`
	Example   string   `json:"example"`
	Groupable bool     `json:"groupable"`
	Rollup    bool     `json:"rollup"` // tables of sums have it
}

type usage struct {
	word
	Usage   string `json:"usage"`
	Example string `json:"example"` // what it becomes
}

// units, directions and traffic are what the words of package query mean; a test holds them against its lists.
var (
	units = map[query.Unit]string{
		query.Bytes:   "Bytes, from the layer that the exporter counts from.",
		query.Bits:    "The same in bits.",
		query.Packets: "Packets.",
		query.Flows:   "Flow records.",
		query.BPS:     "Bits per second.",
		query.PPS:     "Packets per second.",
		query.FPS:     "Flow records per second.",
	}
	directions = []word{
		{string(query.Both), "Either end."},
		{string(query.Inbound), "The destination."},
		{string(query.Outbound), "The source."},
	}
	traffic = []word{
		{string(query.Seen), "What was sent, as far as anybody saw it."},
		{string(query.Delivered), "Of that, what no rule stopped on its way."},
		{string(query.Denied), "What was stopped, wherever that was."},
	}
)

// newSchema makes the schema of the lists.
func newSchema() *schema {
	s := &schema{Version: model.Version, Directions: directions, Traffic: traffic, Tables: tables(), Limits: clickhouse.Limits}
	sums := map[string]bool{}
	for _, t := range query.Tables {
		if t.Resolution == 0 {
			continue
		}
		for column := range t.Columns {
			sums[column] = true
		}
		for name := range t.Folded {
			sums[name] = true
		}
	}
	for i := range query.Fields {
		f := &query.Fields[i]
		item := field{
			Name: f.Name, Aliases: append([]string{}, f.Aliases...), Type: f.Type.String(), Doc: f.Doc, Words: f.Words(), Example: f.Type.Example(),
			Groupable: f.Groupable(), Rollup: sums[f.Name],
		}
		for _, o := range f.Ops() {
			item.Operators = append(item.Operators, o.String())
		}
		all := true
		for _, column := range f.Columns() {
			all = all && sums[column]
		}
		item.Rollup = item.Rollup || all
		s.Fields = append(s.Fields, item)
	}
	for _, u := range query.Units {
		s.Units = append(s.Units, word{string(u), units[u]})
	}
	for _, m := range macro.Macros {
		s.Macros = append(s.Macros, usage{word{m.Name, m.Doc}, m.Name + m.Args, m.Example})
	}
	for _, k := range event.Kinds {
		s.EventKinds = append(s.EventKinds, word{string(k.Kind), k.Doc})
	}
	for _, name := range model.Severities() {
		s.Severities = append(s.Severities, word{name, "Events that are at least as urgent as " + name + "."})
	}
	for _, m := range model.Measures {
		s.ExporterFigures = append(s.ExporterFigures, word{m.Name, m.Doc})
	}
	for _, name := range model.ExporterKeys() {
		s.ExporterKeys = append(s.ExporterKeys, word{name, ""})
	}
	for _, name := range model.InventoryKinds() {
		s.EntityKinds = append(s.EntityKinds, word{name, ""})
	}
	for i := range model.ServerStatistics {
		s.ServerFigures = append(s.ServerFigures, word{model.ServerStatistics[i].Name, model.ServerStatistics[i].Doc})
	}
	for _, name := range model.ServerKeys() {
		s.ServerKeys = append(s.ServerKeys, word{name, ""})
	}
	for i := range model.NetworkStatistics {
		s.NetworkFigures = append(s.NetworkFigures, word{model.NetworkStatistics[i].Name, model.NetworkStatistics[i].Doc})
	}
	s.Lookups = []word{{model.FieldMachine, "Machines that processes of Weir run on."}}
	return s
}

var (
	created   = regexp.MustCompile(`(?m)^CREATE (?:TABLE|VIEW|DICTIONARY) (\w+)$`)
	commented = regexp.MustCompile(`(?m)^COMMENT '((?:[^'\\]|\\.)*)'`)
)

// tables lists what a statement can read, with the comments of the schema; not what only the program reads.
func tables() (list []word) {
	for statement := range strings.SplitSeq(sql.Schema(), ";\n") {
		name := created.FindStringSubmatch(statement)
		if name == nil || strings.HasSuffix(name[1], "_rows") || strings.HasPrefix(name[1], "rollup_") || name[1] == "collectors" {
			continue
		}
		doc := ""
		if m := commented.FindStringSubmatch(statement); m != nil {
			doc = strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(m[1])
		}
		list = append(list, word{name[1], doc})
	}
	return list
}
