package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// RetentionConfig says how long rows are kept, and how much of the disk they may take.
type RetentionConfig struct {
	Age      Ages          `yaml:"age" doc:"How long rows are kept, by table; 0 is for ever. What has expired goes by whole partitions."`
	MaxSize  bytesize.Size `yaml:"max_size" doc:"Most that all tables together take on disk: above it the oldest partitions are dropped, flows first, the newest of a table never. 0 is no limit."`
	WarnFree bytesize.Size `yaml:"warn_free" doc:"Free space on the store's disk below which there is alarm: in the log, in status, doctor and metrics."`
	MinFree  bytesize.Size `yaml:"min_free" doc:"Free space on the store's disk below which the oldest days of flows are dropped, today's never. 0 drops none."`
	Interval time.Duration `yaml:"interval" doc:"Time between two looks at sizes and free space."`
}

// Ages is how long rows are kept, by table.
type Ages struct {
	Flows    time.Duration `yaml:"flows" doc:"Flows, each by itself."`
	Minutes  time.Duration `yaml:"flows_1m" doc:"Sums by minute."`
	Received time.Duration `yaml:"flows_rx_1m" doc:"Sums by the minute of receipt."`
	Groups   time.Duration `yaml:"flows_group_1m" doc:"Sums by minute and group."`
	Hours    time.Duration `yaml:"flows_1h" doc:"Sums by hour."`
	Stats    time.Duration `yaml:"exporter_stats" doc:"What each exporter sent and lost."`
	Events   time.Duration `yaml:"network_events" doc:"What happened in the estate."`
	Changes  time.Duration `yaml:"admin_events" doc:"What people asked to be changed."`
	Hits     time.Duration `yaml:"rule_hits_1m" doc:"How often rules were met, by minute."`
	Servers  time.Duration `yaml:"server_stats" doc:"How the processes of Weir and their machines did."`
	Networks time.Duration `yaml:"network_stats" doc:"How much there was in the estate, and how much of it was active."`
}

// ByTable returns the ages by the names of the tables.
func (a *Ages) ByTable() map[string]time.Duration {
	m := make(map[string]time.Duration, len(keptTables))
	for _, t := range keptTables {
		m[t.name] = t.age(a)
	}
	return m
}

// keptTable is a table whose rows are not kept for ever.
type keptTable struct {
	name string // as people know it
	rows string // the table that holds its rows
	time string // expression of a row's time, which its age is counted from
	age  func(*Ages) time.Duration
}

// ClonePrefix begins the names of tables that have the very parts of others for a while, as a backup makes them: they take no space of
// their own.
const ClonePrefix = "weir_backup_"

// AgeOf returns the SQL of the time of a row of a table that holds rows, from which on its age counts; false if they are kept for ever.
func AgeOf(rows string) (sql string, ok bool) {
	for _, t := range keptTables {
		if t.rows == rows {
			return t.time, true
		}
	}
	return "", false
}

// keptTables is in the order in which they give way where space is short.
var keptTables = []keptTable{
	{flowsTable, flowsTable, "toDateTime(time_received)", func(a *Ages) time.Duration { return a.Flows }},
	{"exporter_stats", "exporter_stats", "toDateTime(time)", func(a *Ages) time.Duration { return a.Stats }},
	{"rule_hits_1m", "rule_hits_1m", "minute", func(a *Ages) time.Duration { return a.Hits }},
	{"server_stats", "server_stats", "toDateTime(time)", func(a *Ages) time.Duration { return a.Servers }},
	{"network_stats", "network_stats", "toDateTime(time)", func(a *Ages) time.Duration { return a.Networks }},
	{"flows_group_1m", "flows_group_1m_rows", "slot", func(a *Ages) time.Duration { return a.Groups }},
	{"flows_1m", "flows_1m_rows", "slot", func(a *Ages) time.Duration { return a.Minutes }},
	{"flows_rx_1m", "flows_rx_1m_rows", "slot", func(a *Ages) time.Duration { return a.Received }},
	{"flows_1h", "flows_1h_rows", "slot", func(a *Ages) time.Duration { return a.Hours }},
	{"network_events", "network_events", "toDateTime(time)", func(a *Ages) time.Duration { return a.Events }},
	{"admin_events", "admin_events", "toDateTime(time)", func(a *Ages) time.Duration { return a.Changes }},
}

// DefaultRetention is that of the migrations, with room left for the write-ahead log and merges.
func DefaultRetention() RetentionConfig {
	const day = 24 * time.Hour
	return RetentionConfig{
		Age:      Ages{Flows: 30 * day, Minutes: 90 * day, Received: 90 * day, Groups: 90 * day, Hours: 3 * 365 * day, Stats: 90 * day, Events: 365 * day, Changes: 3 * 365 * day, Hits: 90 * day, Servers: 90 * day, Networks: 90 * day},
		WarnFree: 5 * bytesize.GiB, // about a day of 3000 flows a second
		MinFree:  2 * bytesize.GiB,
		Interval: 10 * time.Second,
	}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *RetentionConfig) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.MaxSize < 0 {
		refuse("max_size", "found %s, want 0 (no limit) or more", c.MaxSize)
	}
	if c.MinFree < 0 {
		refuse("min_free", "found %s, want 0 (drop nothing) or more", c.MinFree)
	}
	if c.WarnFree < c.MinFree {
		refuse("warn_free", "found %s, want at least min_free (%s)", c.WarnFree, c.MinFree)
	}
	if c.Interval < 100*time.Millisecond || c.Interval > time.Hour {
		refuse("interval", "found %s, want 100ms to 1h", c.Interval)
	}
	return errors.Join(errs...)
}

// Validate reports everything that is wrong with a, each with its key.
func (a *Ages) Validate() error {
	var errs []error
	for _, t := range keptTables {
		if age := t.age(a); age != 0 && (age < time.Hour || age%time.Second != 0) {
			errs = append(errs, strictyaml.At(t.name, fmt.Errorf("found %s, want 0 (for ever) or at least 1h, in whole seconds", strictyaml.FormatDuration(age))))
		}
	}
	return errors.Join(errs...)
}

// RetentionDeps are what a Retention uses and does not own.
type RetentionDeps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Client  *Client               // as a user that may alter the tables

	// Dir is a directory on the store's disk, so that its free space is known even while the store does not answer. A file there
	// keeps some of it: the store needs space to drop a partition. Empty: the store is asked, and nothing is kept.
	Dir string
}

// Reasons for which partitions are dropped. What is too old the store drops by itself.
const (
	DropMaxSize = "max_size"
	DropMinFree = "min_free"
)

var retentionReasons = []string{DropMaxSize, DropMinFree}

// Retention keeps the store within its bounds: it gives the tables the ages of its configuration, watches the disk, and
// drops the oldest partitions where there is too much of them.
//
// The newest partition of a table is never dropped, so a disk can stay too full. Then batches wait in the write-ahead log,
// which itself leaves some space free, and in the end are dropped and counted; the store remains sound.
type Retention struct {
	cfg  RetentionConfig
	deps RetentionDeps
	log  *slog.Logger

	mu    sync.Mutex
	stats RetentionStats // guarded by mu; what it refers to is replaced, never changed
}

// RetentionStats is what a Retention has seen and done.
type RetentionStats struct {
	Checked   time.Time `json:"checked,omitzero"` // when the store was looked at last; zero if it never was
	Problem   string    `json:"problem"`          // why that did not work since; empty if it did
	DiskFree  uint64    `json:"disk_free_bytes"`
	DiskTotal uint64    `json:"disk_total_bytes"` // 0 if not known
	WarnFree  uint64    `json:"warn_free_bytes"`
	MinFree   uint64    `json:"min_free_bytes"`
	DiskAt    time.Time `json:"disk_at,omitzero"` // when what is said of the disk was measured; zero if it never was
	Bytes     uint64    `json:"bytes"`            // of all tables
	MaxBytes  uint64    `json:"max_bytes"`        // 0: no limit
	Low       bool      `json:"low"`              // less than WarnFree is free
	Full      bool      `json:"full"`             // less than MinFree is free, or Bytes are above MaxBytes, and there is nothing to drop

	TablesAt time.Time `json:"tables_at,omitzero"` // when Bytes and what is said of tables was measured; zero if it never was

	Tables  []TableSize              `json:"tables"`
	Dropped map[string]DroppedAmount `json:"dropped"` // by reason, since the start; every reason is there
	Last    *DroppedPartition        `json:"last_dropped,omitempty"`
}

// TableSize is a table that does not keep its rows for ever.
type TableSize struct {
	Table      string        `json:"table"`
	Age        time.Duration `json:"age_ns"` // 0: for ever
	Rows       uint64        `json:"rows"`
	Bytes      uint64        `json:"bytes"`
	Partitions int           `json:"partitions"`
	Oldest     time.Time     `json:"oldest,omitzero"` // time of the oldest row; zero if there is none
}

// DroppedAmount is what was dropped.
type DroppedAmount struct {
	Partitions uint64 `json:"partitions"`
	Rows       uint64 `json:"rows"`
	Bytes      uint64 `json:"bytes"`
}

// DroppedPartition is one partition that was dropped.
type DroppedPartition struct {
	At        time.Time `json:"at"`
	Table     string    `json:"table"`
	Partition string    `json:"partition"`
	Reason    string    `json:"reason"`
	Rows      uint64    `json:"rows"`
	Bytes     uint64    `json:"bytes"`
}

// NewRetention checks and wires; it starts nothing.
func NewRetention(cfg RetentionConfig, d RetentionDeps) (*Retention, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure retention: %w", err)
	}
	if d.Log == nil || d.Client == nil {
		return nil, errors.New("configure retention: a dependency is missing: want Log and Client")
	}
	r := &Retention{cfg: cfg, deps: d, log: d.Log.With("part", "retention")}
	r.stats = RetentionStats{
		WarnFree: uint64(cfg.WarnFree), MinFree: uint64(cfg.MinFree), MaxBytes: uint64(cfg.MaxSize), Dropped: map[string]DroppedAmount{},
	}
	for _, reason := range retentionReasons {
		r.stats.Dropped[reason] = DroppedAmount{}
	}
	if d.Metrics != nil {
		if err := d.Metrics.Register(retentionMetrics{r}); err != nil {
			return nil, fmt.Errorf("register metrics of retention: %w", err)
		}
	}
	return r, nil
}

// Stats returns what was seen last.
func (r *Retention) Stats() RetentionStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Run looks at once and then every Config.Interval, until ctx is done. What fails is tried again with the next look. It is
// called once and returns nil.
func (r *Retention) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	aged := false
	for {
		err := r.look(ctx)
		if err == nil && !aged {
			err = r.applyAges(ctx)
			aged = err == nil
		}
		if ctx.Err() != nil {
			return nil
		}
		r.note(err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// note remembers whether a look succeeded.
func (r *Retention) note(err error) {
	r.mu.Lock()
	before := r.stats.Problem
	if err == nil {
		r.stats.Problem = ""
		r.stats.Checked = time.Now()
	} else {
		r.stats.Problem = err.Error()
	}
	r.mu.Unlock()
	switch {
	case err != nil && before == "":
		r.log.Warn("retention not applied; tried again", "err", err)
	case err == nil && before != "":
		r.log.Info("retention is applied again")
	}
}

// partition is one of a table's, with its active parts.
type partition struct {
	table, id   string
	rows, bytes uint64
	from, to    time.Time
}

// look measures, gives alarm, and drops what is too much.
func (r *Retention) look(ctx context.Context) error {
	free, total, err := r.disk(ctx)
	if err != nil {
		return err
	}
	r.measured(free, total)
	r.keepBallast(free)
	partitions, size, leaving, err := r.partitions(ctx)
	if err != nil {
		return err
	}
	over, lack := int64(0), int64(r.cfg.MinFree)-int64(free+leaving) // bytes that are too much, and that are to be freed
	if r.cfg.MaxSize > 0 {
		over = int64(size) - int64(r.cfg.MaxSize)
	}
	for _, p := range victims(partitions) {
		reason := DropMaxSize
		if over <= 0 {
			// Summaries are small, and worth more the older they are: they do not give way to whatever fills the disk.
			if lack <= 0 || p.table != flowsTable {
				continue
			}
			reason = DropMinFree
		}
		err = r.drop(ctx, p, reason)
		if isFull(err) && r.releaseBallast() {
			err = r.drop(ctx, p, reason)
		}
		if err != nil {
			break
		}
		over, lack = over-int64(p.bytes), lack-int64(p.bytes)
		size -= p.bytes
		partitions = slices.DeleteFunc(partitions, func(q partition) bool { return q == p })
	}
	r.looked(partitions, size, err == nil && (over > 0 || lack > 0))
	return err
}

// disk tells the free space, as far as it is the store's to use, and the size of its disk.
func (r *Retention) disk(ctx context.Context) (free, total uint64, err error) {
	if r.deps.Dir != "" {
		var st unix.Statfs_t
		if err := unix.Statfs(r.deps.Dir, &st); err != nil {
			return 0, 0, fmt.Errorf("ask for free space of %q: %w", r.deps.Dir, err)
		}
		return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.deps.Client.cfg.Timeout)
	defer cancel()
	// Of all disks that table flows may be on. A server without them, as one with remote storage only, has no end of space.
	const query = `SELECT sum(unreserved_space), sum(total_space) FROM system.disks WHERE name IN (
		SELECT arrayJoin(disks) FROM system.storage_policies WHERE policy_name IN (
			SELECT storage_policy FROM system.tables WHERE database = currentDatabase() AND name = 'flows'))`
	if err := r.deps.Client.conn.QueryRow(ctx, query).Scan(&free, &total); err != nil {
		return 0, 0, fmt.Errorf("ask for free space of the store: %w", classify(ctx, err))
	}
	return free, total, nil
}

// measured notes the free space and tells when it crosses WarnFree.
func (r *Retention) measured(free, total uint64) {
	r.mu.Lock()
	before := r.stats.Low
	r.stats.DiskFree, r.stats.DiskTotal, r.stats.DiskAt = free, total, time.Now()
	enough := uint64(r.cfg.WarnFree)
	if before {
		enough += enough / 20 // so that the alarm does not come and go
	}
	r.stats.Low = total > 0 && free < enough
	low := r.stats.Low
	r.mu.Unlock()
	switch {
	case low && !before:
		r.log.Warn("the store's disk is nearly full", "free", bytesize.Size(free).Short(), "warn_free", r.cfg.WarnFree, "min_free", r.cfg.MinFree)
	case !low && before:
		r.log.Info("the store's disk has room again", "free", bytesize.Size(free).Short())
	}
}

// The ballast is a file that is cut when a partition cannot be dropped because the disk is full to the last byte.
// ClickHouse reserves 1 MiB for each part that takes the place of a dropped one. It is cut piece by piece, since what fills
// the disk, and inserts, take what is freed: the drop is tried again with each look.
const (
	ballastSize  = 16 << 20
	ballastPiece = 2 << 20
)

func (r *Retention) ballast() string { return filepath.Join(r.deps.Dir, "ballast") }

// keepBallast makes the ballast where it is missing and there is room for it.
func (r *Retention) keepBallast(free uint64) {
	if r.deps.Dir == "" || r.cfg.MinFree == 0 || free < 2*ballastSize {
		return
	}
	if info, err := os.Stat(r.ballast()); err == nil && info.Size() == ballastSize {
		return
	}
	f, err := os.OpenFile(r.ballast(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, ballastSize), f.Close())
	}
	if err != nil { // it is for the worst case only: its lack is no problem now
		r.log.Warn("space not set aside for a full disk", "file", r.ballast(), "err", err)
	}
}

// releaseBallast gives a piece of the ballast's space to the store, and reports whether there was one.
func (r *Retention) releaseBallast() bool {
	if r.deps.Dir == "" {
		return false
	}
	info, err := os.Stat(r.ballast())
	if err != nil || info.Size() == 0 {
		return false
	}
	return os.Truncate(r.ballast(), max(0, info.Size()-ballastPiece)) == nil
}

// isFull tells whether the store failed for want of space.
func isFull(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code == 243 || strings.Contains(e.Error(), "No space left on device")) // 243 is NOT_ENOUGH_SPACE
}

// looked notes sizes, and tells when there is too much that cannot be dropped.
func (r *Retention) looked(partitions []partition, size uint64, full bool) {
	tables := make([]TableSize, 0, len(keptTables))
	for _, t := range keptTables {
		s := TableSize{Table: t.name, Age: t.age(&r.cfg.Age)}
		for _, p := range partitions {
			if p.table != t.rows {
				continue
			}
			s.Rows += p.rows
			s.Bytes += p.bytes
			s.Partitions++
			if s.Oldest.IsZero() || p.from.Before(s.Oldest) {
				s.Oldest = p.from
			}
		}
		tables = append(tables, s)
	}
	r.mu.Lock()
	before := r.stats.Full
	r.stats.Full = full
	r.stats.Bytes, r.stats.Tables, r.stats.TablesAt = size, tables, time.Now()
	free := r.stats.DiskFree
	r.mu.Unlock()
	switch {
	case full && !before:
		r.log.Error("the store takes too much of its disk, and only the newest partitions are left",
			"size", bytesize.Size(size).Short(), "max_size", r.cfg.MaxSize, "free", bytesize.Size(free).Short(), "min_free", r.cfg.MinFree)
	case !full && before:
		r.log.Info("the store is within its bounds again", "size", bytesize.Size(size).Short(), "free", bytesize.Size(free).Short())
	}
}

// partitions lists what the database has. size is that of all its tables; leaving are the bytes of parts that were replaced or
// dropped and will be deleted.
func (r *Retention) partitions(ctx context.Context) (list []partition, size, leaving uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.deps.Client.cfg.Timeout)
	defer cancel()
	rows, err := r.deps.Client.conn.Query(ctx, `SELECT table, partition_id, active, sum(rows), sum(bytes_on_disk), min(min_time), max(max_time)
		FROM system.parts WHERE database = currentDatabase() AND NOT startsWith(table, '`+ClonePrefix+`') GROUP BY table, partition_id, active`)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("ask for partitions: %w", classify(ctx, err))
	}
	defer rows.Close()
	for rows.Next() {
		var p partition
		var active uint8
		if err := rows.Scan(&p.table, &p.id, &active, &p.rows, &p.bytes, &p.from, &p.to); err != nil {
			return nil, 0, 0, fmt.Errorf("ask for partitions: %w", err)
		}
		if active == 0 {
			leaving += p.bytes
			continue
		}
		size += p.bytes
		if p.rows > 0 { // an empty part is what is left of one whose rows have expired
			list = append(list, p)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, 0, 0, fmt.Errorf("ask for partitions: %w", classify(ctx, err))
	}
	return list, size, leaving, nil
}

// victims are the partitions that may be dropped, in that order: table by table, the oldest first, without the newest.
func victims(partitions []partition) []partition {
	var list []partition
	for _, t := range keptTables {
		var of []partition
		for _, p := range partitions {
			if p.table == t.rows {
				of = append(of, p)
			}
		}
		slices.SortFunc(of, func(a, b partition) int { return cmp.Or(a.to.Compare(b.to), strings.Compare(a.id, b.id)) })
		list = append(list, of[:max(0, len(of)-1)]...)
	}
	return list
}

// drop drops one partition.
func (r *Retention) drop(ctx context.Context, p partition, reason string) error {
	if strings.ContainsAny(p.id, `'\`) {
		return fmt.Errorf("drop partition %q of table %q: not an id", p.id, p.table)
	}
	if err := r.deps.Client.Exec(ctx, "ALTER TABLE "+p.table+" DROP PARTITION ID '"+p.id+"'"); err != nil {
		return fmt.Errorf("drop partition %q of table %q: %w", p.id, p.table, err)
	}
	r.mu.Lock()
	dropped := maps.Clone(r.stats.Dropped)
	d := dropped[reason]
	d.Partitions++
	d.Rows += p.rows
	d.Bytes += p.bytes
	dropped[reason] = d
	r.stats.Dropped = dropped
	r.stats.Last = &DroppedPartition{time.Now(), p.table, p.id, reason, p.rows, p.bytes}
	r.mu.Unlock()
	r.log.Warn("oldest partition dropped for want of space", "table", p.table, "partition", p.id, "reason", reason,
		"rows", p.rows, "size", bytesize.Size(p.bytes).Short(), "from", p.from, "to", p.to)
	return nil
}

// applyAges gives every table the age that is configured, where it has another one.
func (r *Retention) applyAges(ctx context.Context) error {
	var errs []error
	for _, t := range keptTables {
		if err := r.applyAge(ctx, t, t.age(&r.cfg.Age)); err != nil {
			errs = append(errs, fmt.Errorf("set age of table %q: %w", t.name, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Retention) applyAge(ctx context.Context, t keptTable, age time.Duration) error {
	engine, err := r.engine(ctx, t.rows)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // a database whose migrations stopped before it
	}
	if err != nil {
		return err
	}
	now, ok := ttl(engine)
	if ok && now == age {
		return nil
	}
	statements := []string{"ALTER TABLE " + t.rows + " REMOVE TTL"}
	if age > 0 {
		statements = []string{
			// The times at which parts expire are computed again; their rows are not written again.
			"ALTER TABLE " + t.rows + " MODIFY SETTING materialize_ttl_recalculate_only = 1",
			"ALTER TABLE " + t.rows + " MODIFY TTL " + t.time + " + " + interval(age),
		}
	}
	for _, s := range statements {
		if err := r.deps.Client.Exec(ctx, s); err != nil {
			return err
		}
	}
	r.log.Info("age of a table changed", "table", t.name, "from", strictyaml.FormatDuration(now), "to", strictyaml.FormatDuration(age))
	return nil
}

// engine returns a table's engine with all its clauses.
func (r *Retention) engine(ctx context.Context, table string) (engine string, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.deps.Client.cfg.Timeout)
	defer cancel()
	const query = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?"
	if err := r.deps.Client.conn.QueryRow(ctx, query, table).Scan(&engine); err != nil {
		return "", classify(ctx, err)
	}
	return engine, nil
}

var ttlClause = regexp.MustCompile(` TTL .+? \+ toInterval(Second|Minute|Hour|Day|Week|Year)\((\d+)\)`)

// ttl reads the age out of a table's engine_full: 0 if there is none, false if it is not of a kind that Weir writes.
func ttl(engine string) (time.Duration, bool) {
	if !strings.Contains(engine, " TTL ") {
		return 0, true
	}
	m := ttlClause.FindStringSubmatch(engine)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(m[2], 10, 31)
	const day = 24 * time.Hour
	unit := map[string]time.Duration{"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour, "Day": day, "Week": 7 * day, "Year": 365 * day}[m[1]]
	return time.Duration(n) * unit, err == nil
}

// interval writes a duration as SQL: in days where it is whole ones.
func interval(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return fmt.Sprintf("toIntervalDay(%d)", d/day)
	}
	return fmt.Sprintf("toIntervalSecond(%d)", d/time.Second)
}

// Alarms says what is wrong with the store's disk, in sentences; empty if nothing is.
func (s *RetentionStats) Alarms() []string {
	var list []string
	free := fmt.Sprintf("%s of %s are free on the store's disk", bytesize.Size(s.DiskFree).Short(), bytesize.Size(s.DiskTotal).Short())
	switch {
	case s.Full && s.DiskTotal > 0 && s.DiskFree < s.MinFree:
		list = append(list, free+": less than min_free, and only the newest partitions are left to drop")
	case s.Full:
		list = append(list, fmt.Sprintf("the tables take %s, max_size is %s, and only the newest partitions are left to drop", bytesize.Size(s.Bytes).Short(), bytesize.Size(s.MaxBytes).Short()))
	case s.DiskTotal > 0 && s.DiskFree < s.MinFree:
		list = append(list, free+": less than min_free, the oldest partitions are dropped")
	case s.Low:
		list = append(list, free+": less than warn_free")
	}
	if s.Problem != "" {
		list = append(list, "retention is not applied: "+s.Problem)
	}
	return list
}
