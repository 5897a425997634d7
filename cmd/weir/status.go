package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/wal"
)

func newStatus() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a running instance does, from socket to store",
		Long: `Shows what is wrong now (alarm), how much of the estate is active, how each process of this instance does (CPU, memory, disk and
what waits, of the latest minute that is over; how long ago that was), what came in, the ledger of the flows on their way to the store,
the write-ahead log, and the store with its disk, the sizes of its tables and what was dropped for want of space. Disk and tables are as they
were when the store was looked at last (store.retention.interval); how long ago that was is said. Counters are since the start.

--json prints all of it, as GET /api/v1/status of the API answers it; the list "alarms" is empty if nothing is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var s api.Status
			if err := c.Get(cmd.Context(), "/api/v1/status", &s); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, s)
			}
			return statusTable(&s, time.Now()).Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func statusTable(s *api.Status, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
	add := func(what string, style cli.Style, format string, args ...any) {
		t.Add(cli.Cell{Text: what}, cli.Cell{Text: fmt.Sprintf(format, args...), Style: style})
	}
	for _, alarm := range s.Alarms {
		add("alarm", cli.Bad, "%s", alarm)
	}
	add("version", cli.Plain, "%s, up %s", s.Version, cli.Span(now.Sub(s.Started)))
	add("listening", cli.Plain, "%s", strings.Join(s.Listen, ", "))
	e := &s.Estate
	add("estate", cli.Plain, "%s", strings.Join(e.Counts(), ", "))
	if e.Problem != "" {
		add("estate file", cli.Bad, "%s", e.Problem)
	}
	for i := range e.Sources {
		style, text := sourceLine(&e.Sources[i], now)
		add("source "+e.Sources[i].Title, style, "%s", text)
	}
	if s.Network != nil {
		add("active", cli.Plain, "%s", networkLine(s.Network))
	}
	addPeers(add, s)
	addHosts(add, s)
	for i := range s.Servers {
		style, text := processLine(&s.Servers[i])
		add("process "+s.Servers[i].Service, style, "%s", text)
	}
	addCollector(add, s)
	addLog(add, &s.Writer.WAL, now)
	addStore(add, s, now)
	addRetention(add, &s.Retention, now)
	return t
}

type addRow func(what string, style cli.Style, format string, args ...any)

// networkLine says how much of the estate is active, and how many hosts are managed unless all are.
func networkLine(n *store.NetworkStats) string {
	var parts []string
	for _, x := range []struct {
		active, all uint64
		of          string
	}{
		{n.PoolsActive, n.Pools, "pools"},
		{n.HostsActive, n.Hosts, "hosts"},
		{n.NetworksActive, n.Networks, "networks"},
		{n.VMsActive, n.VMs, "VMs"},
		{n.VIFsActive, n.VIFs, "VIFs"},
	} {
		part := fmt.Sprintf("%d of %d %s", x.active, x.all, x.of)
		switch {
		case x.of != "hosts" || n.HostsManaged >= n.Hosts:
		case n.HostsManaged == 0:
			part += " (none managed)"
		default:
			part += fmt.Sprintf(" (%d managed)", n.HostsManaged)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// processLine says how a process and its machine did in the latest minute that is known of, and when that was.
func processLine(p *api.Process) (cli.Style, string) {
	size := func(n uint64) string { return cli.Bytes(float64(n)) }
	used := func(ms uint64) float64 { return float64(ms) / float64(max(p.IntervalMs, 1)) }
	style, line := cli.Plain, fmt.Sprintf("at %s, up %s; as of %s ago: ", p.Machine, cli.Span(p.Uptime()), cli.Span(p.Age()))
	if p.Silent {
		style, line = cli.Warn, fmt.Sprintf("at %s, silent for %s, was up %s; then: ", p.Machine, cli.Span(p.Age()), cli.Span(p.Uptime()))
	}
	line += fmt.Sprintf("%.2f CPUs, %s; machine ", used(p.CPUMs), size(p.MemoryBytes))
	if p.MachineCPUMs > 0 { // not known in the first row of a run
		line += fmt.Sprintf("%.2f of ", used(p.MachineCPUMs))
	}
	line += fmt.Sprintf("%d CPUs, %s of %s memory free, up %s; disk %s of %s free", p.MachineCPUs, size(p.MachineMemoryFree), size(p.MachineMemoryBytes),
		cli.Span(time.Duration(p.MachineUptimeMs)*time.Millisecond), size(p.DiskFreeBytes), size(p.DiskBytes))
	if p.Service == "store" {
		return style, line // nothing waits there
	}
	line += fmt.Sprintf("; %d flows, %d events, %d hits wait", p.FlowsWaiting, p.EventsWaiting, p.HitsWaiting)
	if p.SocketQueueMaxBytes > 0 {
		line += fmt.Sprintf(", %s of %s in sockets", size(p.SocketQueueBytes), size(p.SocketQueueMaxBytes))
	}
	return style, line
}

// addPeers shows the other processes of this Weir: collectors that follow this one, the policyd that it follows.
func addPeers(add addRow, s *api.Status) {
	if f := s.Feed; f != nil {
		following := 0
		for _, c := range f.Collectors {
			following += min(1, c.Following)
		}
		style := cli.Plain
		if following < len(f.Collectors) {
			style = cli.Warn
		}
		add("collectors", style, "%d of %d known follow, %d exporters live", following, len(f.Collectors), f.Live)
	}
	if f := s.Follow; f != nil && f.Following {
		add("policyd", cli.Plain, "%s followed since %s", f.URL, f.Since.UTC().Format(time.DateTime))
	} else if f != nil {
		add("policyd", cli.Bad, "%s not followed: %s", f.URL, f.Problem)
	}
}

// addHosts shows the hosts that Weir knows, the policy at them and what happened there.
func addHosts(add addRow, s *api.Status) {
	hosts := cli.Plain
	if s.Hosts.Connected < s.Hosts.Hosts || s.Hosts.Waiting > 0 {
		hosts = cli.Warn
	}
	add("hosts", hosts, "%s", s.HostLine())
	policy := cli.Plain
	switch {
	case s.Policy.Bypasses > 0:
		policy = cli.Bad
	case len(s.Policy.Problems) > 0 || s.Policy.Behind > 0:
		policy = cli.Warn
	}
	add("policy", policy, "%s", s.PolicyLine())
	events := cli.Plain
	if s.Events.Dropped[event.ReasonQueue]+s.Events.Dropped[event.ReasonAway] > 0 || s.Events.Unkept != "" {
		events = cli.Bad
	}
	add("events", events, "%s", s.EventLine())
}

// addCollector shows what came and what became of it.
func addCollector(add addRow, s *api.Status) {
	c := &s.Collector
	lines, received := s.Ledger.Lines(), cli.Plain
	if c.KernelDrops > 0 {
		received = cli.Bad
	}
	add(lines[0][0], received, "%s", lines[0][1])
	if len(c.Dropped) > 0 {
		add("faulty datagrams", cli.Bad, "%s", reasons(c.Dropped))
	}
	if c.State != nil {
		addTemplates(add, c)
	}
	for _, protocol := range slices.Sorted(maps.Keys(c.Sequence)) {
		if n := c.Sequence[protocol]; n.Lost > 0 {
			add("lost before here", cli.Bad, "%d %s", n.Lost, collector.SequenceUnit(protocol))
		}
	}
	if n := c.Records.Waiting; n > 0 {
		add("waiting for template", cli.Warn, "%d data sets", n)
	}
	add(lines[1][0], cli.Plain, "%s", lines[1][1])
	if lost := s.Lost(); len(lost) > 0 {
		add("flows not stored", cli.Bad, "%s", reasons(lost))
	}
}

// addTemplates shows the templates that outlive a restart.
func addTemplates(add addRow, c *collector.Stats) {
	k := c.State
	r := &k.Restored
	restored := []string{fmt.Sprintf("%d restored at the start", r.Templates)}
	for _, x := range []struct {
		n    uint64
		what string
	}{{uint64(r.Expired), "too old"}, {uint64(r.Refused), "refused"}, {c.StaleTemplates, "did not fit the data"}} {
		if x.n > 0 {
			restored = append(restored, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	add("templates", cli.Plain, "%s", strings.Join(restored, ", "))
	if k.Problem != "" {
		add("templates not saved", cli.Bad, "%s", k.Problem)
	}
	if k.Unsaved > 0 {
		add("templates not saved", cli.Warn, "of %d observation domains, for want of room in %s", k.Unsaved, k.File)
	}
	if k.SetAside != "" {
		add("state set aside", cli.Warn, "it could not be read as a whole: %s", k.SetAside)
	}
}

// addStore shows the database.
func addStore(add addRow, s *api.Status, now time.Time) {
	if s.Store.Problem == "" {
		add("store", cli.Plain, "%s at %s answers", s.Store.Mode, s.Store.Addr)
	} else {
		add("store", cli.Bad, "%s at %s does not answer", s.Store.Mode, s.Store.Addr)
	}
	if s.Store.Restarts > 0 {
		add("store restarts", cli.Bad, "%d", s.Store.Restarts)
	}
	if f := &s.Fold; f.Problem != "" {
		add("rollups", cli.Warn, "%d slots wait to be folded: %s", f.Waiting, f.Problem)
	} else if f.Slots > 0 {
		add("rollups", cli.Plain, "folded until %s, %d rows into %d", f.Until.Format(time.RFC3339), f.RowsBefore, f.RowsAfter)
	}
	if s.Writer.LastError != "" {
		add("last store error", cli.Warn, "%s ago: %s", cli.Span(now.Sub(s.Writer.LastErrorAt)), s.Writer.LastError)
	}
}

// addLog shows the write-ahead log.
func addLog(add addRow, w *wal.Stats, now time.Time) {
	line := fmt.Sprintf("%d batches with %d flows wait, %s of %s", w.Waiting, w.Rows, cli.Bytes(float64(w.Bytes)), cli.Bytes(float64(w.MaxBytes)))
	if !w.Oldest.IsZero() {
		line += fmt.Sprintf(", the oldest %s old", cli.Span(now.Sub(w.Oldest)))
	}
	style := cli.Plain
	switch {
	case !w.FullSince.IsZero():
		style = cli.Bad
		line += fmt.Sprintf(", full for %s", cli.Span(now.Sub(w.FullSince)))
	case w.Volatile > 0:
		style = cli.Bad
		line += fmt.Sprintf(", %d of them in memory only", w.Volatile)
	}
	add("write-ahead log", style, "%s", line)
	if w.Recovered > 0 {
		add("found in the log", cli.Plain, "%d batches with %d flows, at the start", w.Recovered, w.RecoveredRows)
	}
	if w.Torn > 0 {
		add("torn ends", cli.Plain, "%d: cut off at the start, of batches that were being written", w.Torn)
	}
	if w.Corrupt > 0 {
		add("log damage", cli.Bad, "%d places, skipped: the disk or another program changed the log", w.Corrupt)
	}
}

// asOf begins a line with how old it is; a server that does not say when it measured leaves it out.
func asOf(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return fmt.Sprintf("as of %s ago: ", cli.Span(now.Sub(at)))
}

// addRetention shows the store's disk and tables, as they were when retention looked last, which is a while ago.
func addRetention(add addRow, r *store.RetentionStats, now time.Time) {
	size := func(n uint64) string { return cli.Bytes(float64(n)) }
	if r.DiskTotal > 0 {
		style := cli.Plain
		if r.Low {
			style = cli.Bad
		}
		add("disk of the store", style, "%s%s of %s free, alarm below %s, oldest flows dropped below %s", asOf(r.DiskAt, now), size(r.DiskFree), size(r.DiskTotal), size(r.WarnFree), size(r.MinFree))
	}
	measured := asOf(r.TablesAt, now)
	for i := range r.Tables {
		table := &r.Tables[i]
		kept := "for ever"
		if table.Age > 0 {
			kept = strictyaml.FormatDuration(table.Age)
		}
		since := ""
		if !table.Oldest.IsZero() {
			since = ", since " + table.Oldest.UTC().Format("2006-01-02 15:04")
		}
		add("table "+table.Table, cli.Plain, "%s%d rows, %s in %s%s, kept %s", measured, table.Rows, size(table.Bytes), cli.Counted(table.Partitions, "partition"), since, kept)
	}
	if r.MaxBytes > 0 {
		add("all tables", cli.Plain, "%s%s of %s", measured, size(r.Bytes), size(r.MaxBytes))
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Dropped)) {
		if d := r.Dropped[reason]; d.Partitions > 0 {
			add("dropped for "+reason, cli.Warn, "%d partitions with %d rows, %s", d.Partitions, d.Rows, size(d.Bytes))
		}
	}
	if d := r.Last; d != nil {
		add("last dropped", cli.Warn, "%s %s with %d rows, %s, %s ago", d.Table, d.Partition, d.Rows, size(d.Bytes), cli.Span(now.Sub(d.At)))
	}
}
