package fold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/store"
)

// Deps are what a Folder uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Client  *store.Client         // with the schema
	Now     func() time.Time      // nil: time.Now
	Name    string                // of the machine, for people who look at the list of collectors

	// Settled waits until all rows are stored, or lost, for which Slot was called before. Whoever asks for a slot and
	// writes rows of it must be seen by Settled from before it asks.
	Settled func(context.Context) error
}

// Folder decides into which slot rows go, and folds the slots before.
type Folder struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	place atomic.Pointer[place]

	// Used by Open and Run alone.
	key      uint64    // of the collector
	opened   time.Time // when the slot that is open was
	interval int64     // the multiple of Config.Every that was then: seconds since epoch
	clean    bool      // rows of batches below the line were dropped: those that come now are late

	mu    sync.Mutex
	stats Stats // guarded by mu
}

// place is where rows go that are made now.
type place struct {
	collector uint16
	slot      int64 // that is open: seconds since epoch
}

// Stats is how folding does.
type Stats struct {
	Collector uint16 `json:"collector"` // number of this one

	Slot  time.Time `json:"slot,omitzero"`  // that is open
	Until time.Time `json:"until,omitzero"` // of slots before it folded rows count; 1970 if none was folded yet

	Slots      uint64        `json:"slots"` // folded
	RowsBefore uint64        `json:"rows_before"`
	RowsAfter  uint64        `json:"rows_after"` // of flows_1m
	LateRows   uint64        `json:"late_rows"`
	Failures   uint64        `json:"failures"`
	Waiting    int           `json:"waiting"` // slots that are closed and not folded
	Took       time.Duration `json:"took_ns"` // the latest fold, without its pauses
	Problem    string        `json:"problem"` // why the latest round failed; empty if it did not
}

// New checks and wires; it asks nothing.
func New(cfg Config, d Deps) (*Folder, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure folding: %w", err)
	}
	if cfg.File == "" || d.Log == nil || d.Client == nil || d.Settled == nil {
		return nil, errors.New("configure folding: something is missing: want a file, Log, Client and Settled")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	f := &Folder{cfg: cfg, deps: d, log: d.Log.With("part", "fold")}
	if d.Metrics != nil {
		if err := d.Metrics.Register(metrics{f}); err != nil {
			return nil, fmt.Errorf("register metrics of folding: %w", err)
		}
	}
	return f, nil
}

// askAtStart is how long Open waits for the store where it can do without it.
const askAtStart = 5 * time.Second

// Open finds out which collector this is and opens a slot; the first time the store has to answer for that. Only from then on
// Slot may be called, and Run.
func (f *Folder) Open(ctx context.Context) error {
	id, err := readIdentity(f.cfg.File)
	switch {
	case errors.Is(err, errNoIdentity):
		id.key = rand.Uint64() | 1
		err = id.write(f.cfg.File) // before it registers, so that it knows itself after a crash
	case err != nil:
		err = fmt.Errorf("%w; without the file it would be a new collector, which does no harm", err)
	}
	if err != nil {
		return fmt.Errorf("open rollups: %w", err)
	}
	f.key = id.key
	until, err := f.ask(ctx, &id)
	switch {
	case err == nil:
		f.update(func(s *Stats) { s.Until = time.Unix(until, 0).UTC() })
	case id.collector == 0 || ctx.Err() != nil:
		return fmt.Errorf("open rollups: %w", err)
	default: // the slot that was opened last is not below the line: that moves when the next one is open
		f.log.Warn("store does not say up to where rollups are folded; going on from what was so at the last run", "err", err)
	}
	if err := f.open(max(until, id.slot), id.collector); err != nil {
		return fmt.Errorf("open rollups: %w", err)
	}
	return nil
}

// ask fills in the number of the collector, and returns its line.
func (f *Folder) ask(ctx context.Context, id *identity) (until int64, err error) {
	if id.collector != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askAtStart)
		defer cancel()
	}
	number, err := f.register(ctx, id.collector)
	if err != nil {
		return 0, err
	}
	id.collector = number
	return f.until(ctx, number)
}

// register returns the number of the collector, which was held until now.
func (f *Folder) register(ctx context.Context, held uint16) (uint16, error) {
	return store.RegisterCollector(ctx, f.deps.Client, f.key, held, f.deps.Name, f.deps.Now())
}

// Slot returns where rows go that are made now: the collector and the slot. It is safe for concurrent use, and cheap.
func (f *Folder) Slot() (collector uint16, slot time.Time) {
	p := f.place.Load()
	if p == nil {
		panic("BUG: slot of a folder that is not open")
	}
	return p.collector, time.Unix(p.slot, 0).UTC()
}

// Stats returns the counters.
func (f *Folder) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	if p := f.place.Load(); p != nil {
		s.Collector, s.Slot = p.collector, time.Unix(p.slot, 0).UTC()
	}
	return s
}

func (f *Folder) update(change func(*Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.stats)
}

// Run opens slots and folds those before until ctx is done. What fails is tried again. It is called once and returns nil.
func (f *Folder) Run(ctx context.Context) error {
	for {
		err := f.advance()
		if err == nil {
			err = f.round(ctx)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it is time to end: the next run goes on where this one was
		}
		pause := min(f.untilNext(), time.Minute) // a clock may be set
		f.update(func(s *Stats) {
			s.Problem = ""
			if err != nil {
				s.Problem = err.Error()
				s.Failures++
			}
		})
		if err != nil {
			f.log.Warn("rollups not folded, tried again; they are right, and slower to read", "err", err)
			pause = min(f.cfg.Every, 30*time.Second)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// wait pauses, or returns ctx's error if it is done before.
func (f *Folder) wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stride is how far apart the slots of a collector are, at least, in seconds. Its number is what they have left when divided by it: so
// no two collectors have a slot, and a partition, in common.
const stride = store.MaxCollectors + 1

// open opens the slot of the time that it is, or the next one from the given slot on if that is later. It is written down first.
func (f *Folder) open(from int64, collector uint16) error {
	number := int64(collector)
	now := f.deps.Now()
	interval := now.Truncate(f.cfg.Every).Unix()
	slot := max(interval-interval%stride+number, from-from%stride+number)
	if slot < from {
		slot += stride
	}
	if err := (identity{f.key, collector, slot}).write(f.cfg.File); err != nil {
		return err
	}
	f.place.Store(&place{collector, slot})
	f.opened, f.interval = now, interval
	return nil
}

// advance opens the next slot when it is time. A slot is named for the multiple of Config.Every in which it began; while the
// clock is behind the slot that is open, having been set back, slots are one stride apart.
func (f *Folder) advance() error {
	now := f.deps.Now()
	if now.Truncate(f.cfg.Every).Unix() <= f.interval && now.Sub(f.opened) < 2*f.cfg.Every {
		return nil
	}
	p := f.place.Load()
	return f.open(p.slot+1, p.collector)
}

// untilNext is how long the slot that is open stays so.
func (f *Folder) untilNext() time.Duration {
	now := f.deps.Now()
	return now.Truncate(f.cfg.Every).Add(f.cfg.Every).Sub(now)
}

// round folds all slots before the one that is open.
func (f *Folder) round(ctx context.Context) error {
	p := f.place.Load()
	number, err := f.register(ctx, p.collector)
	if err != nil {
		return err
	}
	if number != p.collector { // the database is another one
		f.log.Warn("collector has another number in the store than before", "before", p.collector, "now", number)
		if err := f.open(p.slot+1, number); err != nil {
			return err
		}
		p = f.place.Load()
	}
	if err := f.waitForFormer(ctx); err != nil {
		return err
	}
	line, err := f.until(ctx, number)
	if err != nil {
		return err
	}
	if err := f.drop(ctx, line, nil); err != nil {
		return err
	}
	f.clean = true
	slots, err := f.closed(ctx, line, p.slot)
	if err != nil || len(slots) == 0 {
		return err
	}
	if err := f.deps.Settled(ctx); err != nil {
		return err
	}
	if slots, err = f.closed(ctx, line, p.slot); err != nil { // with what came meanwhile
		return err
	}
	for i, slot := range slots {
		f.update(func(s *Stats) { s.Waiting = len(slots) - i })
		if err := f.fold(ctx, line, slot); err != nil {
			return fmt.Errorf("fold slot %s: %w", time.Unix(slot, 0).UTC().Format(time.RFC3339), err)
		}
		line = slot + 1
	}
	f.update(func(s *Stats) { s.Waiting = 0 })
	return nil
}

// own is the SQL of: the row is of this collector.
func (f *Folder) own() string { return fmt.Sprintf("collector = %d", f.place.Load().collector) }

// until returns the line of a collector: below it folded rows count.
func (f *Folder) until(ctx context.Context, collector uint16) (int64, error) {
	lines, err := f.numbers(ctx, fmt.Sprintf("SELECT toInt64(max(until)) FROM rollup_folds WHERE collector = %d", collector))
	if err != nil {
		return 0, err
	}
	return lines[0], nil
}

// closed returns the slots in [from, to) that have rows of batches, ascending.
func (f *Folder) closed(ctx context.Context, from, to int64) ([]int64, error) {
	var all []int64
	for _, t := range tables {
		if t.source != "" {
			continue
		}
		slots, err := f.numbers(ctx, fmt.Sprintf("SELECT DISTINCT toInt64(slot) FROM %s WHERE NOT folded AND %s AND slot >= %d AND slot < %d", t.name, f.own(), from, to))
		if err != nil {
			return nil, err
		}
		all = append(all, slots...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	f.update(func(s *Stats) { s.Waiting = len(all) })
	return all, nil
}

// table is a table of sums and how it is folded.
type table struct {
	name   string
	source string // table whose folded rows are summed; empty: the rows of batches of the table itself
	bucket string // SQL of the bucket
	keys   string // other columns that rows of a key have alike
}

const vmKeys = "network, src_vm, dst_vm, rule_id, stage, verdict, counted"

// tables are in the order in which they are folded: hours are summed from folded minutes.
var tables = []table{
	{name: "flows_1m_rows", bucket: "bucket", keys: "exporter, host, protocol, service, " + vmKeys},
	{name: "flows_rx_1m_rows", bucket: "bucket", keys: "exporter, " + vmKeys},
	{name: "flows_group_1m_rows", bucket: "bucket", keys: "group, end, protocol, stage, verdict, counted"},
	{name: "flows_1h_rows", source: "flows_1m_rows", bucket: "toStartOfHour(bucket)", keys: "exporter, host, protocol, service, " + vmKeys},
}

// folded is the SQL of: the row sums a slot.
func (t *table) folded() string {
	if t.source != "" {
		return "1" // it has no others
	}
	return "folded"
}

// insert is the statement that writes the folded rows of a slot of a collector.
func (t *table) insert(collector uint16, slot int64) string {
	into, from, where, mark := t.name, t.name, "NOT folded", ", true, 0"
	columns := ", folded, batch"
	// In order of the key of the table: that takes the memory of a group, not of all.
	settings := "optimize_aggregation_in_order = 1"
	if t.source != "" {
		from, where, mark, columns = t.source, "folded", "", ""
		settings = "max_bytes_before_external_group_by = 268435456"
	}
	return fmt.Sprintf(`INSERT INTO %s (bucket, %s, bytes, packets, flows, collector, slot%s)
SELECT %s AS to, %s, sum(bytes), sum(packets), sum(flows), %d, toDateTime(%d, 'UTC')%s
FROM %s
WHERE %s AND collector = %d AND slot = %d
GROUP BY to, %s
SETTINGS max_threads = 1, max_insert_threads = 1, insert_deduplicate = 0, %s`,
		into, t.keys, columns, t.bucket, t.keys, collector, slot, mark, from, where, collector, slot, t.keys, settings)
}

// fold folds one slot, to which nothing is added any more; line is the one that holds.
func (f *Folder) fold(ctx context.Context, line, slot int64) error {
	start := time.Now()
	if err := f.erase(ctx, line); err != nil {
		return err
	}
	for i := range tables {
		if err := f.exec(ctx, tables[i].insert(f.place.Load().collector, slot)); err != nil {
			return err
		}
	}
	took := time.Since(start)
	if err := f.wait(ctx, f.cfg.Settle); err != nil {
		return err
	}
	start = time.Now()
	before, after, err := f.compare(ctx, slot)
	if err != nil {
		return err
	}
	f.clean = false // from here on the rows of the slot may be below the line
	err = f.exec(ctx, fmt.Sprintf("INSERT INTO rollup_folds (collector, until, folded_at, rows_before, rows_after) SELECT %d, toDateTime(%d, 'UTC'), now64(3), %d, %d SETTINGS insert_deduplicate = 0",
		f.place.Load().collector, slot+1, before[0], after))
	if err != nil {
		return err
	}
	took += time.Since(start)
	f.update(func(s *Stats) {
		s.Slots++
		s.RowsBefore += before[0]
		s.RowsAfter += after
		s.Until = time.Unix(slot+1, 0).UTC()
		s.Took = took
	})
	f.log.Info("rollups folded", "slot", time.Unix(slot, 0).UTC(), "rows_before", before[0], "rows_after", after, "duration", took.Round(time.Millisecond))
	if err := f.drop(ctx, slot+1, before); err != nil {
		return err
	}
	f.clean = true
	return nil
}

// erase removes folded rows at and above the line, which nobody sees: of a fold that did not come to its end.
func (f *Folder) erase(ctx context.Context, line int64) error {
	for i := range tables {
		t := &tables[i]
		condition := fmt.Sprintf("%s AND %s AND slot >= %d", t.folded(), f.own(), line)
		parts, err := f.partitions(ctx, t, condition)
		if err != nil {
			return err
		}
		for _, id := range parts {
			f.log.Info("rows of an unfinished fold are removed", "table", t.name, "partition", id)
			if err := f.exec(ctx, fmt.Sprintf("ALTER TABLE %s DELETE IN PARTITION ID '%s' WHERE %s SETTINGS mutations_sync = 2", t.name, id, condition)); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitForFormer waits until no statement of an earlier round runs: one whose answer did not come, or of a process that was
// killed. It would add folded rows after they were erased, or move the line below rows that are about to be. Those of other
// collectors do not matter.
func (f *Folder) waitForFormer(ctx context.Context) error {
	query := fmt.Sprintf(`SELECT toInt64(count()) FROM system.processes WHERE current_database = currentDatabase()
		AND (startsWith(query, '%s') OR startsWith(query, '%s'))`, f.mark("INSERT "), f.mark("ALTER "))
	for {
		n, err := f.numbers(ctx, query)
		if err != nil {
			return err
		}
		if n[0] == 0 {
			return nil
		}
		if err := f.wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// mark writes the collector behind the first word of a statement, so that a later process of it finds those that run.
func (f *Folder) mark(statement string) string {
	verb, rest, _ := strings.Cut(statement, " ")
	return fmt.Sprintf("%s /* fold of collector %d */ %s", verb, f.place.Load().collector, rest)
}

// compare fails unless the folded rows of a slot have the sums of the rows of batches. It returns the number of rows of
// each table before, and of the first one after.
func (f *Folder) compare(ctx context.Context, slot int64) (before []uint64, after uint64, err error) {
	type sums struct{ rows, bytes, packets, flows uint64 }
	read := func(t *table, where string) (s sums, err error) {
		ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
		defer cancel()
		query := fmt.Sprintf("SELECT count(), sum(bytes), sum(packets), sum(flows) FROM %s WHERE %s AND slot = %d AND %s", t.name, f.own(), slot, where)
		if err := f.deps.Client.Conn().QueryRow(ctx, query).Scan(&s.rows, &s.bytes, &s.packets, &s.flows); err != nil {
			return s, fmt.Errorf("sum rows of %q: %w", t.name, store.AsError(ctx, err))
		}
		return s, nil
	}
	var minute sums
	for i := range tables {
		t := &tables[i]
		was := minute
		if t.source == "" {
			if was, err = read(t, "NOT folded"); err != nil {
				return nil, 0, err
			}
			before = append(before, was.rows)
		}
		is, err := read(t, t.folded())
		if err != nil {
			return nil, 0, err
		}
		if i == 0 {
			minute, after = was, is.rows
		}
		is.rows, was.rows = 0, 0
		if is != was {
			return nil, 0, fmt.Errorf("folded rows of %s sum to %+v, those of batches to %+v", t.name, is, was)
		}
	}
	return before, after, nil
}

// drop removes rows of batches below the line, which nobody sees any more. expected are as many as there are of each table
// if all are those that were folded; nil if that is not known.
func (f *Folder) drop(ctx context.Context, line int64, expected []uint64) error {
	waited := false
	for i := range tables {
		t := &tables[i]
		if t.source != "" {
			continue
		}
		condition := fmt.Sprintf("NOT folded AND %s AND slot < %d", f.own(), line)
		parts, err := f.partitions(ctx, t, condition)
		if err != nil || len(parts) == 0 {
			if err != nil {
				return err
			}
			continue
		}
		if !waited {
			waited = true
			if err := f.wait(ctx, f.cfg.Settle); err != nil {
				return err
			}
		}
		if err := f.tellLate(ctx, t, condition, i, expected); err != nil {
			return err
		}
		for _, id := range parts {
			if err := f.dropPartition(ctx, t, id, condition); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropPartition removes the rows of a partition for which condition holds: all of them, but where somebody who wrote before
// collectors had numbers had a slot at the same second.
func (f *Folder) dropPartition(ctx context.Context, t *table, id, condition string) error {
	others, err := f.numbers(ctx, fmt.Sprintf("SELECT toInt64(count()) FROM %s WHERE _partition_id = '%s' AND NOT (%s)", t.name, id, condition))
	if err != nil {
		return err
	}
	if others[0] > 0 {
		return f.exec(ctx, fmt.Sprintf("ALTER TABLE %s DELETE IN PARTITION ID '%s' WHERE %s SETTINGS mutations_sync = 2", t.name, id, condition))
	}
	return f.exec(ctx, fmt.Sprintf("ALTER TABLE %s DROP PARTITION ID '%s'", t.name, id))
}

// tellLate counts rows that are to be dropped and are in no folded row.
func (f *Folder) tellLate(ctx context.Context, t *table, condition string, i int, expected []uint64) error {
	if expected == nil && !f.clean {
		return nil // a fold was not finished
	}
	n, err := f.numbers(ctx, "SELECT toInt64(count()) FROM "+t.name+" WHERE "+condition)
	if err != nil {
		return err
	}
	late := uint64(n[0])
	if expected != nil {
		late -= min(late, expected[i])
	}
	if late > 0 {
		f.update(func(s *Stats) { s.LateRows += late })
		f.log.Warn("rows came into a slot that was folded before and are dropped: after a loss of power they were stored already, else a copy of this collector's data directory is in use", "table", t.name, "rows", late)
	}
	return nil
}

// partitions returns the ids of the partitions of t that have rows for which condition holds.
func (f *Folder) partitions(ctx context.Context, t *table, condition string) ([]string, error) {
	ids, err := f.numbers(ctx, "SELECT DISTINCT toInt64(_partition_id) FROM "+t.name+" WHERE "+condition)
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatInt(id, 10)
	}
	return list, err
}

// numbers runs a query whose answer is one column of Int64.
func (f *Folder) numbers(ctx context.Context, query string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	rows, err := f.deps.Client.Conn().Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("look at rollups: %w", store.AsError(ctx, err))
	}
	defer rows.Close()
	var list []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, fmt.Errorf("look at rollups: %w", err)
		}
		list = append(list, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look at rollups: %w", store.AsError(ctx, err))
	}
	return list, nil
}

func (f *Folder) exec(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	if err := f.deps.Client.Conn().Exec(ctx, f.mark(statement)); err != nil {
		words := strings.Fields(statement)
		return fmt.Errorf("run %q: %w", strings.Join(words[:3], " "), store.AsError(ctx, err))
	}
	return nil
}
