package query

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
)

// Table describes a table of flows to the planner: what can be asked of it, and in which SQL. Tables of sums of one basis
// have the same SQL for what several of them have: a range may be read from more than one.
type Table struct {
	Name       string
	Time       string        // column of time that ranges and steps are applied to
	Basis      Basis         // Received or Lived: what that time is
	Resolution time.Duration // length of its buckets; 0 if its rows are single records. Time is a DateTime then, else a DateTime64(3)
	History    time.Duration // for how long rows are kept; 0 is for ever

	Columns               map[string]string // SQL of each logical column that it has
	Bytes, Packets, Flows string            // SQL of the figures of a row, sampling applied
	Counted               string            // SQL of whether totals count the row; empty if they count all rows

	// Folded describes the fields that mean either end of which the table has one row per value, instead of columns
	// for both ends. Its rows hold a flow as often as it has values, so a request that is answered from it groups by that
	// field without a total, or asks for one value of it.
	Folded map[string]Folded
}

// Folded is how a table holds a field that means either end: one value a row.
type Folded struct {
	Value   string // SQL of the id
	In, Out string // SQL of: the row is of what the value received, sent
	Both    string // SQL that holds for each flow of the value once
}

// Tables lists the tables that exist, finest first. Of equally coarse tables the first is taken. What they hold and for
// how long is what sql/migrations says; a test compares.
var Tables = []Table{
	RawTable("flows", 30*day),
	rollup(Table{Name: "flows_1m", Basis: Lived, Resolution: time.Minute, History: 90 * day},
		"exporter", "host", "network", "src_vm", "dst_vm", "protocol", "service", "rule_id", "stage", "verdict", "counted", "pool"),
	rollup(Table{Name: "flows_rx_1m", Basis: Received, Resolution: time.Minute, History: 90 * day},
		"exporter", "network", "src_vm", "dst_vm", "rule_id", "stage", "verdict", "counted"),
	rollup(Table{Name: "flows_1h", Basis: Lived, Resolution: time.Hour, History: 3 * 365 * day},
		"exporter", "host", "network", "src_vm", "dst_vm", "protocol", "service", "rule_id", "stage", "verdict", "counted", "pool"),
	rollup(Table{
		Name: "flows_group_1m", Basis: Lived, Resolution: time.Minute, History: 90 * day,
		Folded: map[string]Folded{"group": {Value: "group", In: "end IN ('in', 'both')", Out: "end IN ('out', 'both')", Both: "(group != 0 OR end = 'both')"}},
	}, "protocol", "stage", "verdict", "counted"),
}

// Keeping returns tables with the histories of history, by name of the table; tables that it does not name keep theirs.
func Keeping(tables []Table, history map[string]time.Duration) []Table {
	tables = slices.Clone(tables)
	for i := range tables {
		if h, ok := history[tables[i].Name]; ok {
			tables[i].History = h
		}
	}
	return tables
}

// Single returns the tables that hold a flow once: those without folded fields. See [Several].
func Single(tables []Table) []Table {
	return slices.DeleteFunc(slices.Clone(tables), func(t Table) bool { return len(t.Folded) > 0 })
}

const day = 24 * time.Hour

// rollup completes the description of a table of sums with the given columns.
func rollup(t Table, columns ...string) Table {
	t.Time, t.Bytes, t.Packets, t.Flows, t.Counted = "bucket", "bytes", "packets", "flows", "counted"
	t.Columns = map[string]string{}
	for _, c := range columns {
		t.Columns[c] = c
	}
	return t
}

// RawTable describes a table with the columns of [flow.Fields].
func RawTable(name string, history time.Duration) Table {
	t := Table{
		Name:    name,
		Time:    "time_received",
		Basis:   Received,
		History: history,
		Columns: map[string]string{
			"service": serviceSQL(),
			"dscp":    "bitShiftRight(tos, 2)",

			"flow_start": "flow_start", // computed by the table
		},
		Bytes:   "bytes * sampling_rate",
		Packets: "packets * sampling_rate",
		Flows:   "1",
		Counted: "counted",
	}
	for _, f := range flow.Fields {
		t.Columns[f.Name] = f.Name
	}
	return t
}

// choice is the table for a question, with the range and step in which it can answer.
type choice struct {
	table    *Table
	finer    []*Table // of the same basis, which can answer too, coarsest first: for what is left of the range at its edges
	folded   string   // name of the field that is asked by folding; empty if none
	from, to time.Time
	pieces   []piece // of the range, in order of time
	step     time.Duration
	notes    []string
}

// piece is the part of a range that is read from one table.
type piece struct {
	table    *Table
	from, to time.Time
}

// choose picks the coarsest table that has the columns, the resolution and the history that the question asks.
func choose(q *question, tables []Table, now time.Time) (*choice, error) {
	var able []*choice
	missing := ""
	for i := range tables {
		c := &choice{table: &tables[i]}
		if what := c.lacks(q); what != "" {
			missing = what
			continue
		}
		able = append(able, c)
	}
	if len(able) == 0 {
		if missing == "" {
			missing = "a table"
		}
		return nil, reject("query", "", "no table can answer: %s is missing", missing)
	}
	for _, c := range able {
		c.addFiner(able)
	}
	best := pick(q, able, now)
	best.fit(q, now)
	return best, nil
}

// addFiner sets finer to those of able.
func (c *choice) addFiner(able []*choice) {
	for _, o := range able {
		if o.table.Basis == c.table.Basis && o.folded == c.folded && o.table.Resolution > 0 && o.table.Resolution < c.table.Resolution &&
			c.table.Resolution%o.table.Resolution == 0 {
			c.finer = append(c.finer, o.table)
		}
	}
	slices.SortFunc(c.finer, func(a, b *Table) int { return cmp.Compare(b.Resolution, a.Resolution) })
}

// pick prefers a table with enough resolution and history, the coarsest; then one with the history, the finest;
// then the one with the longest history.
func pick(q *question, able []*choice, now time.Time) *choice {
	var fitting, covering *choice
	longest := able[0]
	for _, c := range able {
		if longest.table.History != 0 && (c.table.History == 0 || c.table.History > longest.table.History) {
			longest = c
		}
		if !c.table.covers(q.From, now) {
			continue
		}
		if covering == nil || c.table.Resolution < covering.table.Resolution {
			covering = c
		}
		if c.resolves(q, now) && (fitting == nil || c.table.Resolution > fitting.table.Resolution) {
			fitting = c
		}
	}
	switch {
	case fitting != nil:
		return fitting
	case covering != nil:
		return covering
	default:
		return longest
	}
}

// covers reports whether the table still has rows of that time.
func (t *Table) covers(from, now time.Time) bool {
	return t.History == 0 || !from.Before(now.Add(-t.History))
}

// resolves reports whether the buckets of the table are small enough: they divide the steps of a series, and enough of
// them fit into the range of a top.
func (c *choice) resolves(q *question, now time.Time) bool {
	// A range is widened to whole buckets, which is to change little of it, unless finer tables have what is at its edges.
	fewest := time.Duration(10)
	if len(c.finer) > 0 && c.finer[0].covers(q.From, now) {
		fewest = 4
	}
	switch resolution := c.table.Resolution; {
	case resolution == 0:
		return true
	case q.Kind == Series:
		return time.Duration(q.Step)%resolution == 0
	default:
		return q.To.Sub(q.From) >= fewest*resolution
	}
}

// lacks returns the name of something that the question needs and the table does not have, or "". It sets folded.
func (c *choice) lacks(q *question) string {
	t := c.table
	switch {
	case q.Kind == List && t.Resolution != 0:
		return "single records"
	case q.Basis != AnyBasis && q.Basis != t.Basis:
		return "a basis of " + string(q.Basis)
	case q.Observations && t.Counted == "":
		return "observations that are not counted"
	case q.Traffic == Denied && t.Columns["verdict"] == "":
		return "verdict"
	}
	if q.Traffic == Delivered {
		if t.Counted == "" {
			return "observations that are not counted"
		}
		for _, column := range []string{"verdict", "stage", "dst_vm"} {
			if t.Columns[column] == "" {
				return column
			}
		}
	}
	if c.folded = foldedBy(q, t); len(t.Folded) > 0 && c.folded == "" {
		return "the total of rows that hold a flow several times"
	}
	need := func(f *Field) string {
		if f.Name == c.folded {
			return ""
		}
		for _, column := range f.columnsFor(q.Direction) {
			if t.Columns[column] == "" {
				return column
			}
		}
		return ""
	}
	lacking := ""
	for _, f := range q.by {
		if what := need(f); what != "" {
			lacking = what
		}
	}
	compares(q.filter, func(x *Compare) {
		if what := need(x.Field); what != "" {
			lacking = what
		}
	})
	return lacking
}

// foldedBy returns the name of the field by which the question can be answered from a table with folded fields: the
// field of By, if the filter does not speak of it and no total is asked; or the field of which the filter asks one value.
func foldedBy(q *question, t *Table) string {
	for name := range t.Folded {
		inBy := 0
		for _, f := range q.by {
			if f.Name == name {
				inBy++
			}
		}
		inFilter := 0
		compares(q.filter, func(c *Compare) {
			if c.Field.Name == name {
				inFilter++
			}
		})
		switch {
		case inBy == 1 && inFilter == 0 && !q.Total:
			return name
		case inBy == 0 && inFilter == 1 && demands(q.filter, name):
			return name
		}
	}
	return ""
}

// demands reports whether e holds only where the field has one value that e names.
func demands(e Expr, name string) bool {
	switch e := e.(type) {
	case *And:
		for _, t := range e.Terms {
			if demands(t, name) {
				return true
			}
		}
	case *Compare:
		return e.Field.Name == name && e.Op == Eq && (e.Values[0].Kind == ByName || e.Values[0].Kind == ByID)
	}
	return false
}

// fit sets the range, its pieces and the step, all of whole buckets, and says what that means.
func (c *choice) fit(q *question, now time.Time) {
	t := c.table
	c.from, c.to, c.step = q.From, q.To, time.Duration(q.Step)
	if t.Resolution != 0 && q.Kind == Series && c.step%t.Resolution != 0 {
		c.step = (c.step/t.Resolution + 1) * t.Resolution
		c.notes = append(c.notes, "steps are "+plain(c.step)+", because older rows of that detail are gone")
	}
	if c.step != 0 {
		c.from = floor(c.from, c.step)
	}
	c.pieces = cover(t, c.finer, c.from, c.to, now)
	first, last := c.pieces[0], c.pieces[len(c.pieces)-1]
	c.from, c.to = first.from, last.to
	if q.Kind != Series && (!c.from.Equal(q.From) || !c.to.Equal(q.To)) {
		c.notes = append(c.notes, "the range is widened to whole buckets of "+plain(max(first.table.Resolution, last.table.Resolution)))
	}
	if !t.covers(q.From, now) {
		c.notes = append(c.notes, "table "+t.Name+" keeps "+plain(t.History)+"; older rows are gone")
	}
	if t.Basis == Lived && now.Sub(c.to) < settle {
		c.notes = append(c.notes, "the newest minutes read low until the flows that lived in them have expired")
	}
}

// cover divides a range among t, which takes the whole buckets in it, and the next finer table, which takes what is left at
// the edges, and so on. What lies beyond the history of the finer table, or if there is none, is widened to whole
// buckets of t.
func cover(t *Table, finer []*Table, from, to, now time.Time) []piece {
	if t.Resolution == 0 {
		return []piece{{t, from, to}}
	}
	low, high := floor(from, t.Resolution), ceil(to, t.Resolution)
	if len(finer) > 0 && finer[0].covers(from, now) {
		low = ceil(from, t.Resolution)
	}
	if len(finer) > 0 && finer[0].covers(floor(to, t.Resolution), now) {
		high = floor(to, t.Resolution)
	}
	if !low.Before(high) { // no whole bucket
		if finer[0].covers(from, now) {
			return cover(finer[0], finer[1:], from, to, now)
		}
		return []piece{{t, low, ceil(to, t.Resolution)}}
	}
	var pieces []piece
	if from.Before(low) {
		pieces = cover(finer[0], finer[1:], from, low, now)
	}
	pieces = append(pieces, piece{t, low, high})
	if high.Before(to) {
		pieces = append(pieces, cover(finer[0], finer[1:], high, to, now)...)
	}
	return pieces
}

// settle is how long after its time a bucket of flows that lived may still grow: the longest active timeout in wide use.
const settle = 30 * time.Minute

// floor returns t rounded down to a multiple of unit since 1970.
func floor(t time.Time, unit time.Duration) time.Time {
	ms, u := t.UnixMilli(), unit.Milliseconds()
	return time.UnixMilli(ms - ms%u).UTC()
}

// ceil returns t rounded up to a multiple of unit since 1970.
func ceil(t time.Time, unit time.Duration) time.Time {
	down := floor(t, unit)
	if down.Before(t) {
		return down.Add(unit)
	}
	return down
}

// plain returns a round length of time as people write it: "30d", "1h", "1m30s".
func plain(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
