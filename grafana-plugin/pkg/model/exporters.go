package model

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/query"
)

// Measure is a figure of the ledger of exporters.
type Measure struct {
	Name string
	Doc  string // a sentence
	Unit string // Grafana's

	counter string // SQL of what a row counted; it can be summed, and be by second
	gauge   string // SQL over the rows of a group, of what cannot
	now     bool   // it is of now, so no series has it
}

// Counter reports whether the measure is a count, which can be by second.
func (m *Measure) Counter() bool { return m.counter != "" }

// Measures lists what can be asked of exporters. Names are those of exporter_stats, where they are of it.
var Measures = []Measure{
	{Name: "datagrams", Doc: "Datagrams, or messages where a datagram has several.", Unit: "short", counter: "datagrams"},
	{Name: "bytes", Doc: "Size of those, UDP payload.", Unit: "decbytes", counter: "bytes"},
	{Name: "flows", Doc: "Flows decoded.", Unit: "short", counter: "flows"},
	{Name: "no_flow", Doc: "Data records that are no flow.", Unit: "short", counter: "no_flow"},
	{Name: "option_records", Doc: "Records of option data.", Unit: "short", counter: "option_records"},
	{Name: "templates", Doc: "Template records, repeated ones too.", Unit: "short", counter: "templates"},
	{Name: "sealed", Doc: "Flows in batches that were closed.", Unit: "short", counter: "sealed"},
	{Name: "logged", Doc: "Flows that the write-ahead log took.", Unit: "short", counter: "logged"},
	{Name: "stored", Doc: "Flows that the store took.", Unit: "short", counter: "stored"},
	{Name: "not_stored", Doc: "Flows lost between decoder and store.", Unit: "short", counter: "not_stored"},
	{Name: "unclear", Doc: "Flows of batches of which a part was lost: it is not known whose.", Unit: "short", counter: "unclear"},
	{Name: "received", Doc: "What came of what sequence numbers count: flows, messages or records.", Unit: "short", counter: "received"},
	{Name: "lost", Doc: "What did not come of that.", Unit: "short", counter: "lost"},
	{Name: "loss", Doc: "Part that did not come, 0 to 1.", Unit: "percentunit", gauge: "if(sum(lost) + sum(received) = 0, 0, sum(lost) / (sum(lost) + sum(received)))"},
	{Name: "out_of_order", Doc: "Messages that came after a later one.", Unit: "short", counter: "out_of_order"},
	{Name: "duplicates", Doc: "Messages that came again, or too late to count.", Unit: "short", counter: "duplicates"},
	{Name: "restarts", Doc: "Times that the exporter, or a process of it, began to number anew.", Unit: "short", counter: "restarts"},
	{Name: "jumps", Doc: "Times that the number jumped further than loss can explain.", Unit: "short", counter: "jumps"},
	{Name: "unchecked", Doc: "Messages whose number could not be checked, for want of a template.", Unit: "short", counter: "unchecked"},
	{Name: "held_sets", Doc: "Data sets that came before their template.", Unit: "short", counter: "held_sets"},
	{Name: "expired_sets", Doc: "Of those, the ones whose template did not come in time.", Unit: "short", counter: "expired_sets"},
	{Name: "sampling_assumed", Doc: "Flows whose sampling rate the exporter did not say.", Unit: "short", counter: "sampling_assumed"},
	{Name: "times_clamped", Doc: "Flows whose times could not be true and were changed.", Unit: "short", counter: "times_clamped"},
	{Name: "dropped", Doc: "What could not be decoded: sets, template records, messages; by reason if grouped so.", Unit: "short", counter: "arraySum(mapValues(dropped))"},
	{Name: "clock_skew", Doc: "How far the clock was ahead; of several domains that of the one that is furthest off.", Unit: "ms", gauge: "argMax(clock_skew_ms, abs(clock_skew_ms))"},
	{Name: "silence", Doc: "Time since something was last heard, or the length of the range if nothing was heard in it; not over time.", Unit: "s", now: true},
}

// ledger is what a table shows unless it is asked for something else.
var ledger = []string{
	"datagrams", "flows", "stored", "not_stored", "received", "lost", "loss", "dropped", "expired_sets", "restarts", "sampling_assumed",
	"clock_skew", "silence",
}

// exporterKeys are what the ledger can be grouped by.
var exporterKeys = []string{"exporter", "observation_domain", "version", "reason"}

// ExporterKeys lists what the ledger can be grouped by.
func ExporterKeys() []string { return slices.Clone(exporterKeys) }

const maxMeasures = 16

// plan plans the ledger.
func (x *Exporters) plan(env *Env) (*Plan, error) {
	measures, err := x.measures()
	if err != nil {
		return nil, err
	}
	by, err := x.keys(measures)
	if err != nil {
		return nil, err
	}
	normal, most := 1000, env.Limits.Rows
	if x.Format != Table {
		normal, most = 10, env.Limits.Series
	}
	rows, notes, err := limited(x.Limit, normal, most)
	if err != nil {
		return nil, err
	}
	w, err := query.Condition(x.Filter, map[string]string{"exporter": "exporter", "observation_domain": "observation_domain", "version": "version"}, "exporters")
	if err != nil {
		return nil, err
	}
	p := &Plan{Names: w.Names, Notes: notes, MaxRows: rows, Shape: Shape{Format: x.Format, Whole: len(by) == 0}}
	units := slices.ContainsFunc(measures, func(m *Measure) bool { return m.Name == "lost" || m.Name == "received" })
	if units && len(by) == 0 {
		p.Notes = append(p.Notes, "sequence numbers count flows, messages or records, whichever the exporter numbers: received and lost add these up")
	}
	q := &ledgerQuery{Exporters: x, plan: p, measures: measures, by: by, rows: rows, filter: w.SQL, params: slices.Clone(w.Params)}
	if x.Format == Timeseries {
		delay := exportersDelay
		if x.Rate {
			delay = rateDelay
		}
		s, err := env.steps(x.Step, time.Minute, delay)
		if err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, s.notes...)
		p.Shape.From, p.Shape.To, p.Shape.Step = s.from, s.to, s.step
		p.MaxRows = rows * (int(s.to.Sub(s.from)/s.step) + 1)
		p.Statement = q.series(s)
		return p, nil
	}
	from, to := env.From, env.To
	if x.Rate {
		from, to = env.complete(exportersDelay)
	}
	p.Statement = q.sums(from, to, env.Now)
	if x.Format == Table && len(by) > 0 {
		p.Limit = rows
	}
	return p, nil
}

// measures returns the measures that are asked for.
func (x *Exporters) measures() (list []*Measure, err error) {
	what := x.What
	if len(what) == 0 {
		what = map[Format][]string{Timeseries: {"flows"}, Number: {"lost"}, Table: ledger}[x.Format]
	}
	if len(what) > maxMeasures {
		return nil, reject("what", "at most 16 are given", "found %d", len(what))
	}
	for _, name := range what {
		i := slices.IndexFunc(Measures, func(m Measure) bool { return m.Name == name })
		switch {
		case i < 0:
			var names []string
			for _, m := range Measures {
				names = append(names, m.Name)
			}
			return nil, reject("what", oneOf(name, names), "unknown measure %q", name)
		case slices.Contains(list, &Measures[i]):
			return nil, reject("what", "", "found %q twice", name)
		case Measures[i].now && x.Format == Timeseries:
			return nil, reject("what", "use format number or table", "%s is of now, not of each step", name)
		}
		list = append(list, &Measures[i])
	}
	return list, nil
}

// keys returns what is grouped by.
func (x *Exporters) keys(measures []*Measure) (by []string, err error) {
	by = []string{"exporter"}
	if x.By != nil {
		by = *x.By
	}
	for i, k := range by {
		switch {
		case !slices.Contains(exporterKeys, k):
			return nil, reject("by", oneOf(k, exporterKeys), "found %q", k)
		case slices.Contains(by[:i], k):
			return nil, reject("by", "", "found %q twice", k)
		case k == "reason" && (len(measures) != 1 || measures[0].Name != "dropped"):
			return nil, reject("by", "ask what is dropped, and nothing else", "only what is dropped has a reason")
		}
	}
	return by, nil
}

// ledgerQuery writes the SQL of one question.
type ledgerQuery struct {
	*Exporters
	plan     *Plan
	measures []*Measure
	by       []string
	rows     int
	filter   string
	params   params
}

// read writes the rows in a range: those whose interval ends in it, its end included.
func (q *ledgerQuery) read(from, to time.Time) string {
	reasons := ""
	columns := []string{"*"}
	if slices.Contains(q.by, "reason") {
		reasons = "ARRAY JOIN mapKeys(dropped) AS reason, mapValues(dropped) AS dropped_so"
	}
	sql := selectFrom(columns, "exporter_stats FINAL", where("time > "+q.params.milli("from", from), "time <= "+q.params.milli("to", to), q.filter))
	if reasons != "" {
		sql = selectFrom([]string{"*", "reason", "dropped_so"}, sub(sql), reasons)
	}
	return sql
}

// column adds a measure to the answer and returns its SQL over the rows of a group. each is the SQL of what a row's counter counts for.
func (q *ledgerQuery) column(m *Measure, each func(counter string) string) string {
	c := Column{Name: m.Name, Role: RoleValue, Unit: m.Unit, Zero: m.counter != "", Doc: m.Doc}
	if q.Rate && m.counter != "" {
		c.Unit = map[string]string{"decbytes": "Bps"}[m.Unit]
		if c.Unit == "" {
			c.Unit = "short"
		}
	}
	q.plan.Shape.Columns = append(q.plan.Shape.Columns, c)
	counter := m.counter
	if m.Name == "dropped" && slices.Contains(q.by, "reason") {
		counter = "dropped_so"
	}
	switch {
	case m.now:
		return "dateDiff('millisecond', greatest(max(time), fromUnixTimestamp64Milli({from:Int64})), fromUnixTimestamp64Milli({now:Int64})) / 1000"
	case counter == "":
		return "toFloat64(" + m.gauge + ")"
	default:
		return each(counter)
	}
}

// keyColumns adds the keys to the answer.
func (q *ledgerQuery) keyColumns() {
	for _, k := range q.by {
		f, _ := query.FieldByName(k)
		q.plan.Shape.Columns = append(q.plan.Shape.Columns, Column{Name: k, Role: RoleKey, Field: f})
	}
}

// sums writes the query for sums over a range, the largest first.
func (q *ledgerQuery) sums(from, to, now time.Time) query.Statement {
	q.keyColumns()
	seconds := strconv.FormatFloat(to.Sub(from).Seconds(), 'f', -1, 64)
	each := func(counter string) string {
		if q.Rate {
			return "sum(" + counter + ") / " + seconds
		}
		return "sum(" + counter + ")"
	}
	columns := slices.Clone(q.by)
	for i, m := range q.measures {
		if m.now {
			q.params.bind("now", "Int64", strconv.FormatInt(now.UnixMilli(), 10))
		}
		columns = append(columns, q.column(m, each)+" AS v"+strconv.Itoa(i+1))
	}
	var clauses []string
	if len(q.by) > 0 {
		clauses = append(clauses, "GROUP BY "+strings.Join(q.by, ", "), "ORDER BY v1 DESC, "+strings.Join(q.by, ", "))
	}
	inner := selectFrom(columns, sub(q.read(from, to)), append(clauses, limit(max(q.rows, 1)))...)
	out := slices.Clone(q.by)
	for i, c := range q.plan.Shape.Columns[len(q.by):] {
		out = append(out, "v"+strconv.Itoa(i+1)+" AS `"+c.Name+"`")
	}
	var order []string
	if len(q.by) > 0 {
		order = []string{"ORDER BY v1 DESC, " + strings.Join(q.by, ", ")}
	}
	return q.params.statement(selectFrom(out, sub(inner), order...))
}

// series writes the query for the largest groups over time. A row is in the step in which its interval ends, so that counts stay whole
// numbers. By second each step has its share of it: rows come every 30 s, and one that falls just behind the end of a step would make the
// rate of that step half and of the next one and a half.
func (q *ledgerQuery) series(s *steps) query.Statement {
	q.plan.Shape.Columns = append(q.plan.Shape.Columns, Column{Name: "time", Role: RoleTime})
	q.keyColumns()
	ms := strconv.FormatInt(s.step.Milliseconds(), 10)
	seconds := strconv.FormatInt(int64(s.step/time.Second), 10)
	until := s.to
	t := bucket("toUnixTimestamp64Milli(time) - 1", s.step) + " AS t"
	columns := []string{"*", t}
	each := func(counter string) string { return "sum(" + counter + ")" }
	if q.Rate {
		const longest = 10 * time.Minute // of an interval; rows are written each 30 s
		until = s.to.Add(longest)
		end, length := "toUnixTimestamp64Milli(time)", "toInt64(least(greatest(interval_ms, 1), "+strconv.FormatInt(longest.Milliseconds(), 10)+"))"
		columns = []string{
			"*",
			end + " AS ends", "ends - " + length + " AS starts",
			"arrayJoin(range(toUInt64(intDiv(starts, " + ms + ")), toUInt64(intDiv(ends - 1, " + ms + ") + 1))) AS n",
			"toDateTime(n * " + seconds + ", 'UTC') AS t",
			"(least(ends, toInt64(n + 1) * " + ms + ") - greatest(starts, toInt64(n) * " + ms + ")) / (ends - starts) AS share",
		}
		each = func(counter string) string { return "sum(" + counter + " * share) / " + seconds }
	}
	rows := selectFrom(columns, sub(q.read(s.from, until)))
	keys := append([]string{"t"}, q.by...)
	sums := []string{"t"}
	sums = append(sums, q.by...)
	for i, m := range q.measures {
		sums = append(sums, q.column(m, each)+" AS v"+strconv.Itoa(i+1))
	}
	conditions := []string{"t >= toDateTime(" + q.params.second("first", s.from) + ", 'UTC')", "t < toDateTime(" + q.params.second("end", s.to) + ", 'UTC')"}
	inner := selectFrom(sums, sub(rows), where(conditions...), "GROUP BY "+strings.Join(keys, ", "))
	out := append([]string{"t AS time"}, q.by...)
	for i := range q.measures {
		out = append(out, "v"+strconv.Itoa(i+1)+" AS `"+q.plan.Shape.Columns[1+len(q.by)+i].Name+"`")
	}
	if len(q.by) == 0 {
		return q.params.statement(selectFrom(out, sub(inner), "ORDER BY t", limit(q.plan.MaxRows)))
	}
	list := strings.Join(q.by, ", ")
	best := selectFrom(q.by, "sums", "GROUP BY "+list, "ORDER BY sum(v1) DESC, "+list, limit(q.rows))
	return q.params.statement("WITH sums AS " + sub(inner) + "\n" +
		selectFrom(out, "sums", "WHERE ("+list+") IN "+sub(best), "ORDER BY t, "+list, limit(q.plan.MaxRows)))
}
