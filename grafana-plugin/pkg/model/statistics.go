package model

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/query"
)

// Subject is what statistics are of.
type Subject string

// The subjects.
const (
	OfServers Subject = "servers" // processes of Weir and their machines: table server_stats
	OfNetwork Subject = "network" // what there is in the estate: table network_stats
)

// Statistic is a figure of statistics. Its name is that of the column, without the unit.
type Statistic struct {
	Name string
	Doc  string // a sentence
	Unit string // Grafana's

	// One of these is the SQL of it.
	counter string // over a row: what it counted in its minute; counts of processes add up, and can be by second
	mean    string // over the rows of a process: a mean of them all
	level   string // over a row: what it was then; over time the worst of each step, else the latest
	now     bool   // it is of now, so no series has it: the time since the latest row

	across string // what makes one of those of several processes: sum, max or min
}

// Counter reports whether the figure is a count, which can be by second.
func (s *Statistic) Counter() bool { return s.counter != "" }

func counted(name, doc string) Statistic {
	return Statistic{Name: name, Doc: doc, Unit: "short", counter: name, across: "sum"}
}

// part is the part of a level that is used, where there is a limit; of several processes that of the one with the largest.
func part(name, doc, used, limit string) Statistic {
	return Statistic{Name: name, Doc: doc, Unit: "percentunit", level: "if(" + limit + " = 0, 0, " + used + " / " + limit + ")", across: "max"}
}

// ServerStatistics lists what can be asked of processes of Weir and of their machines. What is said of a machine, or as a part, is that of the
// one that is worst off where several are together.
var ServerStatistics = []Statistic{
	{Name: "uptime", Doc: "Time since the process started.", Unit: "ms", level: "uptime_ms", across: "min"},
	{Name: "cpu", Doc: "CPUs that the process used, the mean: 1 is one CPU all the time.", Unit: "short", mean: "sum(cpu_ms) / greatest(sum(interval_ms), 1)", across: "sum"},
	{Name: "memory", Doc: "Memory that the process has, resident.", Unit: "bytes", level: "memory_bytes", across: "sum"},
	{Name: "threads", Doc: "Threads of the process.", Unit: "short", level: "threads", across: "sum"},
	{Name: "open_files", Doc: "Files and sockets that the process has open.", Unit: "short", level: "open_files", across: "sum"},
	part("open_files_used", "Part of the files that the process may have open, 0 to 1.", "open_files", "max_open_files"),
	{Name: "machine_cpus", Doc: "CPUs of the machine.", Unit: "short", level: "machine_cpus", across: "max"},
	{Name: "machine_cpu", Doc: "Part of the CPUs of the machine that anything used, the mean, 0 to 1.", Unit: "percentunit", mean: "if(max(machine_cpu_ms) = 0, 0, sum(machine_cpu_ms) / greatest(sumIf(interval_ms * machine_cpus, machine_cpu_ms > 0), 1))", across: "max"},
	{Name: "machine_load", Doc: "Load of the machine, the mean of a minute.", Unit: "short", level: "machine_load", across: "max"},
	{Name: "machine_memory", Doc: "Memory of the machine.", Unit: "bytes", level: "machine_memory_bytes", across: "max"},
	{Name: "machine_memory_free", Doc: "Of the memory of the machine, what programs could still get.", Unit: "bytes", level: "machine_memory_free_bytes", across: "min"},
	part("machine_memory_used", "Part of the memory of the machine that is used, 0 to 1.", "(machine_memory_bytes - machine_memory_free_bytes)", "machine_memory_bytes"),
	{Name: "machine_uptime", Doc: "Time since the machine started.", Unit: "ms", level: "machine_uptime_ms", across: "min"},
	{Name: "disk", Doc: "Size of the file system that the data of the process is on.", Unit: "bytes", level: "disk_bytes", across: "max"},
	{Name: "disk_free", Doc: "Of that, what the process can still use.", Unit: "bytes", level: "disk_free_bytes", across: "min"},
	part("disk_used", "Part of that file system that the process cannot use any more, 0 to 1.", "(disk_bytes - disk_free_bytes)", "disk_bytes"),
	counted("datagrams", "Datagrams received."),
	counted("socket_drops", "Datagrams that the kernel discarded for want of buffer."),
	{Name: "socket_queue", Doc: "Memory of datagrams that wait in the kernel.", Unit: "bytes", level: "socket_queue_bytes", across: "sum"},
	part("socket_queue_used", "Part of the memory that may wait in the kernel, 0 to 1.", "socket_queue_bytes", "socket_queue_max_bytes"),
	counted("flows", "Flows decoded."),
	counted("flows_stored", "Flows that the store took."),
	counted("flows_dropped", "Flows lost between decoder and store."),
	{Name: "flows_waiting", Doc: "Flows that wait for the store.", Unit: "short", level: "flows_waiting", across: "sum"},
	{Name: "wal", Doc: "Size of the write-ahead log.", Unit: "bytes", level: "wal_bytes", across: "sum"},
	part("wal_used", "Part of the size that the write-ahead log may have, 0 to 1.", "wal_bytes", "wal_max_bytes"),
	{Name: "wal_age", Doc: "Age of the oldest flow that waits there.", Unit: "ms", level: "wal_age_ms", across: "max"},
	{Name: "store_away", Doc: "Time since the store takes no flows, 0 if it does.", Unit: "ms", level: "store_away_ms", across: "max"},
	{Name: "events_waiting", Doc: "Network events that wait for the store.", Unit: "short", level: "events_waiting", across: "sum"},
	counted("events_dropped", "Network events lost."),
	{Name: "hits_waiting", Doc: "Packets that met rules, in rows that wait for the store.", Unit: "short", level: "hits_waiting", across: "sum"},
	counted("hits_dropped", "Packets that met rules, of which it will not be stored."),
	{Name: "store", Doc: "Size of all tables on disk.", Unit: "bytes", level: "store_bytes", across: "max"},
	part("store_used", "Part of the size that all tables may have, 0 to 1; 0 without a limit.", "store_bytes", "store_max_bytes"),
	counted("store_restarts", "Times that the embedded store ended by itself and was started again."),
	{Name: "silence", Doc: "Time since the process told how it does; not over time.", Unit: "s", now: true, across: "max"},
}

// NetworkStatistics lists what can be asked of how much there is in the estate. Active is what is said of table network_stats.
var NetworkStatistics = []Statistic{
	existing("pools", "Pools that there are."),
	existing("pools_active", "Pools with an active host."),
	existing("hosts", "Hosts that there are."),
	existing("hosts_active", "Hosts that are connected; of those without a session, the ones that send flows."),
	existing("hosts_managed", "Hosts that were added to Weir, connected or not: policy can be in force there."),
	existing("networks", "Networks that there are."),
	existing("networks_active", "Networks with an active VIF."),
	existing("vms", "VMs that there are."),
	existing("vms_active", "VMs that run."),
	existing("vifs", "VIFs that there are."),
	existing("vifs_active", "VIFs of VMs that run."),
}

func existing(name, doc string) Statistic {
	return Statistic{Name: name, Doc: doc, Unit: "short", level: name}
}

// serverKeys are what statistics of servers can be grouped by.
var serverKeys = []string{FieldMachine, "service", "version"}

// FieldMachine is what machines are looked up by, as fields of flows are by their names.
const FieldMachine = "machine"

// ServerKeys lists what statistics of servers can be grouped by.
func ServerKeys() []string { return slices.Clone(serverKeys) }

// health is what a table shows of servers unless it is asked for something else.
var health = []string{
	"uptime", "cpu", "memory", "machine_cpu", "machine_memory_used", "disk_used", "socket_queue_used", "flows_waiting", "wal_used", "wal_age",
	"store_away", "events_waiting", "hits_waiting", "store", "silence",
}

// plan plans statistics.
func (s *Statistics) plan(env *Env) (*Plan, error) {
	of := s.Of
	if of == "" {
		of = OfServers
	}
	if of != OfServers && of != OfNetwork {
		return nil, reject("of", oneOf(string(of), []Subject{OfServers, OfNetwork}), "found %q", of)
	}
	figures, err := s.figures(of)
	if err != nil {
		return nil, err
	}
	by, err := s.keys(of)
	if err != nil {
		return nil, err
	}
	normal, most := 1000, env.Limits.Rows
	if s.Format != Table {
		normal, most = 10, env.Limits.Series
	}
	rows, notes, err := limited(s.Limit, normal, most)
	if err != nil {
		return nil, err
	}
	p := &Plan{Notes: notes, MaxRows: rows, Shape: Shape{Format: s.Format}}
	q := &statisticsQuery{Statistics: s, of: of, plan: p, figures: figures, by: by, rows: rows, now: env.Now}
	if s.Format == Timeseries {
		at, err := env.steps(s.Step, time.Minute, statisticsDelay)
		if err != nil {
			return nil, err
		}
		p.Notes = append(p.Notes, at.notes...)
		p.Shape.From, p.Shape.To, p.Shape.Step = at.from, at.to, at.step
		p.MaxRows = rows * (int(at.to.Sub(at.from)/at.step) + 1)
		p.Statement = q.series(at)
		return p, nil
	}
	p.Statement = q.latest(env.From, env.To)
	if s.Format == Table && len(by) > 0 {
		p.Limit = rows
	}
	return p, nil
}

// figures returns those that are asked for.
func (s *Statistics) figures(of Subject) (list []*Statistic, err error) {
	all := ServerStatistics
	what := s.What
	switch {
	case of == OfNetwork:
		all = NetworkStatistics
		if len(what) == 0 {
			for i := range all {
				what = append(what, all[i].Name)
			}
		}
	case len(what) == 0:
		what = map[Format][]string{Timeseries: {"cpu"}, Number: {"memory"}, Table: health}[s.Format]
	}
	if len(what) > maxMeasures {
		return nil, reject("what", "at most 16 are given", "found %d", len(what))
	}
	for _, name := range what {
		i := slices.IndexFunc(all, func(x Statistic) bool { return x.Name == name })
		switch {
		case i < 0:
			var names []string
			for i := range all {
				names = append(names, all[i].Name)
			}
			return nil, reject("what", oneOf(name, names), "unknown figure %q of the %s", name, of)
		case slices.Contains(list, &all[i]):
			return nil, reject("what", "", "found %q twice", name)
		case all[i].now && s.Format == Timeseries:
			return nil, reject("what", "use format number or table", "%s is of now, not of each step", name)
		}
		list = append(list, &all[i])
	}
	return list, nil
}

// keys returns what is grouped by.
func (s *Statistics) keys(of Subject) (by []string, err error) {
	if of == OfNetwork {
		for _, p := range []struct {
			property string
			given    bool
		}{{"by", s.By != nil}, {"machine", s.Machine != ""}, {"service", s.Service != ""}, {"rate", s.Rate}} {
			if p.given {
				return nil, reject(p.property, "leave it out", "the network is one, and counts nothing")
			}
		}
		return nil, nil
	}
	by = []string{"machine", "service"}
	if s.By != nil {
		by = *s.By
	}
	for i, k := range by {
		switch {
		case !slices.Contains(serverKeys, k):
			return nil, reject("by", oneOf(k, serverKeys), "found %q", k)
		case slices.Contains(by[:i], k):
			return nil, reject("by", "", "found %q twice", k)
		}
	}
	return by, nil
}

// statisticsQuery writes the SQL of one question.
type statisticsQuery struct {
	*Statistics
	of      Subject
	plan    *Plan
	figures []*Statistic
	by      []string
	rows    int
	now     time.Time
	params  params
}

// read writes the rows of (from, to].
func (q *statisticsQuery) read(from, to time.Time, columns ...string) string {
	conditions := []string{"time > " + q.params.milli("from", from), "time <= " + q.params.milli("to", to)}
	for _, only := range []struct{ column, value string }{{"machine", q.Machine}, {"service", q.Service}} {
		if only.value != "" && only.value != "any" { // All of a variable
			conditions = append(conditions, only.column+" = "+q.params.bind(only.column, "String", only.value))
		}
	}
	table := map[Subject]string{OfServers: "server_stats FINAL", OfNetwork: "network_stats FINAL"}[q.of]
	return selectFrom(append([]string{"*"}, columns...), table, where(conditions...))
}

// ofProcess returns the SQL of a figure over the rows of one process; over time says that it is of a step.
func (q *statisticsQuery) ofProcess(s *Statistic, overTime bool) string {
	switch {
	case s.now:
		return "dateDiff('millisecond', max(time), fromUnixTimestamp64Milli(" + q.params.bind("now", "Int64", strconv.FormatInt(q.now.UnixMilli(), 10)) + ")) / 1000"
	case s.counter != "" && q.Rate:
		return "sum(" + s.counter + ") * 1000 / greatest(sum(interval_ms), 1)"
	case s.counter != "":
		return "sum(" + s.counter + ")"
	case s.mean != "":
		return s.mean
	case overTime && s.across == "min":
		return "min(" + s.level + ")"
	case overTime && q.of == OfServers:
		return "max(" + s.level + ")"
	default:
		return "argMax(" + s.level + ", time)"
	}
}

// grouped writes the query for the figures v1, v2, … of each group of processes, or of the network; of each step, if the rows have its start
// as t. Of nothing nothing is known: without rows there are none.
func (q *statisticsQuery) grouped(rows string, overTime bool) string {
	var step []string
	if overTime {
		step = []string{"t"}
		q.plan.Shape.Columns = append(q.plan.Shape.Columns, Column{Name: "time", Role: RoleTime})
	}
	for _, k := range q.by {
		q.plan.Shape.Columns = append(q.plan.Shape.Columns, Column{Name: k, Role: RoleKey})
	}
	process, keys := slices.Clone(step), append(slices.Clone(step), q.by...)
	if q.of == OfServers {
		process = append(process, "machine", "service")
	}
	each, all := slices.Clone(process), slices.Clone(keys)
	if i := slices.Index(all, "version"); i >= 0 {
		each = append(each, "argMax(version, time) AS runs")
		all[i] = "runs AS version"
	}
	for i, s := range q.figures {
		v := strconv.Itoa(i + 1)
		each = append(each, "toFloat64("+q.ofProcess(s, overTime)+") AS v"+v)
		all = append(all, s.across+"(v"+v+") AS v"+v)
		q.plan.Shape.Columns = append(q.plan.Shape.Columns, Column{Name: s.Name, Role: RoleValue, Unit: s.Unit, Zero: s.counter != "" && !q.Rate, Doc: s.Doc})
	}
	sums := func(columns []string, from string, by []string) string {
		if len(by) == 0 {
			return selectFrom(columns, from, "HAVING count() > 0")
		}
		return selectFrom(columns, from, "GROUP BY "+strings.Join(by, ", "))
	}
	figures := sums(each, sub(rows), process)
	if q.of == OfNetwork || slices.Equal(process, keys) {
		return figures
	}
	return sums(all, sub(figures), keys)
}

// out returns the columns of the answer, of what grouped gives.
func (q *statisticsQuery) out(first ...string) []string {
	columns := append(first, q.by...)
	for i, s := range q.figures {
		columns = append(columns, "v"+strconv.Itoa(i+1)+" AS `"+s.Name+"`")
	}
	return columns
}

// latest writes the query for what it was last in the range, and what was counted in it: the groups with most first, where there are more
// than are asked for, and then by name.
func (q *statisticsQuery) latest(from, to time.Time) query.Statement {
	figures := q.grouped(q.read(from, to), false)
	if len(q.by) == 0 {
		return q.params.statement(selectFrom(q.out(), sub(figures)))
	}
	keys := strings.Join(q.by, ", ")
	return q.params.statement(selectFrom(q.out(), sub(figures+"\nORDER BY v1 DESC, "+keys+"\n"+limit(max(q.rows, 1))), "ORDER BY "+keys))
}

// series writes the query for the groups with most over time.
func (q *statisticsQuery) series(s *steps) query.Statement {
	figures := q.grouped(q.read(s.from, s.to, bucket("toUnixTimestamp64Milli(time) - 1", s.step)+" AS t"), true)
	if len(q.by) == 0 {
		return q.params.statement(selectFrom(q.out("t AS time"), sub(figures), "ORDER BY t", limit(q.plan.MaxRows)))
	}
	keys := strings.Join(q.by, ", ")
	best := selectFrom(q.by, "figures", "GROUP BY "+keys, "ORDER BY max(v1) DESC, "+keys, limit(q.rows))
	return q.params.statement("WITH figures AS " + sub(figures) + "\n" +
		selectFrom(q.out("t AS time"), "figures", "WHERE ("+keys+") IN "+sub(best), "ORDER BY t, "+keys, limit(q.plan.MaxRows)))
}
