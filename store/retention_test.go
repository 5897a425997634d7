package store_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/store"
)

const day = 24 * time.Hour

// retain runs a Retention over c until it has looked at least once, and returns what it saw.
func retain(t *testing.T, c *store.Client, change func(*store.RetentionConfig, *store.RetentionDeps)) store.RetentionStats {
	t.Helper()
	cfg, deps := store.DefaultRetention(), store.RetentionDeps{Log: discard, Client: c}
	cfg.MinFree, cfg.Interval = 0, 100*time.Millisecond
	if change != nil {
		change(&cfg, &deps)
	}
	r, err := store.NewRetention(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	eventually(t, "retention is applied", func() bool { return !r.Stats().Checked.IsZero() || r.Stats().Problem != "" })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	return r.Stats()
}

// noonToday is that of the day on which a test begins, whether or not it ends on the next.
func noonToday() time.Time { return time.Now().UTC().Truncate(day).Add(12 * time.Hour) }

// insertDays stores rows flows for each of the days before noon's that are listed.
func insertDays(t *testing.T, c *store.Client, noon time.Time, rows int, ago ...int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, uint64(rows)))
	for _, n := range ago {
		b := flow.NewBatch(rows)
		fill(b, rows, rng)
		for i := range rows {
			b.TimeReceived[i] = noon.AddDate(0, 0, -n).UnixMilli() + int64(i)
		}
		if _, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
			t.Fatal(err)
		}
	}
}

// days lists how many days before noon's there are flows of.
func days(t *testing.T, c *store.Client, noon time.Time) []string {
	t.Helper()
	return column(t, c, "SELECT DISTINCT toString(dateDiff('day', toDate(time_received), toDate('"+noon.Format(time.DateOnly)+"'))) AS ago FROM flows ORDER BY toInt32(ago)")
}

func engineOf(t *testing.T, c *store.Client, table string) string {
	t.Helper()
	return column(t, c, "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '"+table+"'")[0]
}

// The ages by default are those of the migrations: applying them changes nothing. Every table that lets rows expire has one.
func TestDefaultAgesAreThoseOfTheSchema(t *testing.T) {
	c := migrated(t)
	engines := func() []string {
		return column(t, c, "SELECT name || ': ' || engine_full FROM system.tables WHERE database = currentDatabase() AND engine_full LIKE '% TTL %' ORDER BY name")
	}
	before := engines()
	s := retain(t, c, nil)
	if after := engines(); !slices.Equal(before, after) {
		t.Errorf("tables changed from\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if s.Problem != "" {
		t.Error(s.Problem)
	}
	for _, engine := range before {
		name, _, _ := strings.Cut(engine, ":")
		if !slices.ContainsFunc(s.Tables, func(size store.TableSize) bool { return size.Table == strings.TrimSuffix(name, "_rows") }) {
			t.Errorf("rows of table %q expire, and retention does not know it: add it to keptTables and Ages", name)
		}
	}
}

func TestAgesAreApplied(t *testing.T) {
	c := migrated(t)
	noon := noonToday()
	insertDays(t, c, noon, 10, 0, 3, 6, 20)
	age := func(d time.Duration) func(*store.RetentionConfig, *store.RetentionDeps) {
		return func(cfg *store.RetentionConfig, _ *store.RetentionDeps) { cfg.Age.Flows = d }
	}
	f := func(d time.Duration, clause string, want ...string) {
		t.Helper()
		if s := retain(t, c, age(d)); s.Problem != "" {
			t.Fatal(s.Problem)
		}
		if engine := engineOf(t, c, "flows"); !strings.Contains(engine, clause) {
			t.Errorf("age %s: engine %q, want %q in it", d, engine, clause)
		}
		eventually(t, "what is too old is gone", func() bool { return slices.Equal(days(t, c, noon), want) })
	}
	f(10*day, "TTL toDateTime(time_received) + toIntervalDay(10) ", "0", "3", "6")
	f(100*time.Hour, "TTL toDateTime(time_received) + toIntervalSecond(360000) ", "0", "3")
	mutations := column(t, c, "SELECT mutation_id FROM system.mutations WHERE database = currentDatabase()")
	f(100*time.Hour, "toIntervalSecond(360000)", "0", "3")
	if again := column(t, c, "SELECT mutation_id FROM system.mutations WHERE database = currentDatabase()"); !slices.Equal(mutations, again) {
		t.Errorf("the same age again made mutations %v of %v", again, mutations)
	}
	f(0, "", "0", "3")
	if engine := engineOf(t, c, "flows"); strings.Contains(engine, " TTL ") {
		t.Errorf("age 0: engine %q, want no TTL", engine)
	}
	insertDays(t, c, noon, 10, 400)
	f(30*day, "TTL toDateTime(time_received) + toIntervalDay(30) ", "0", "3")
}

// Above max_size the oldest days go, no more than needed.
func TestRetentionDropsAboveMaxSize(t *testing.T) {
	c := migrated(t)
	noon := noonToday()
	insertDays(t, c, noon, 2000, 0, 1, 2, 3, 4)
	begin := time.Now()
	all := retain(t, c, nil)
	if all.DiskAt.Before(begin) || all.TablesAt.Before(all.DiskAt) || all.Checked.Before(all.TablesAt) {
		t.Errorf("looked at from %v on: disk measured at %v, tables at %v, done at %v", begin, all.DiskAt, all.TablesAt, all.Checked)
	}
	if all.Full || all.Low && all.DiskFree > all.WarnFree || all.Tables[0].Partitions != 5 || all.Tables[0].Rows != 10_000 {
		t.Fatalf("before: %+v", all)
	}
	// Room for three days and a half: two have to go.
	limit := all.Bytes - all.Tables[0].Bytes*3/10
	s := retain(t, c, func(cfg *store.RetentionConfig, _ *store.RetentionDeps) { cfg.MaxSize = bytesize.Size(limit) })
	if got, want := days(t, c, noon), []string{"0", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("flows of %v days ago are left, want %v", got, want)
	}
	d := s.Dropped[store.DropMaxSize]
	if d.Partitions != 2 || d.Rows != 4000 || d.Bytes+s.Bytes != all.Bytes || s.Bytes > limit || s.Full || s.Last == nil || s.Tables[0].Rows != 6000 {
		t.Errorf("of %d bytes with room for %d: %+v, last %+v", all.Bytes, limit, s, s.Last)
	}
	// Nothing makes room for less than the newest day.
	s = retain(t, c, func(cfg *store.RetentionConfig, _ *store.RetentionDeps) { cfg.MaxSize = 1 })
	if got, want := days(t, c, noon), []string{"0"}; !slices.Equal(got, want) || !s.Full || s.Dropped[store.DropMaxSize].Partitions != 2 {
		t.Errorf("room for 1 byte: flows of %v days ago are left, want %v: %+v", got, want, s)
	}
	if alarms := s.Alarms(); !slices.ContainsFunc(alarms, func(a string) bool { return strings.Contains(a, "max_size is 1B") }) {
		t.Errorf("alarms: %q", alarms)
	}
}

// With too little free space the oldest days go, and there is alarm; where that is asked of, by a directory or of the store.
func TestRetentionDropsWhenTheDiskIsFull(t *testing.T) {
	for name, dir := range map[string]string{"of a directory": t.TempDir(), "of the store": ""} {
		t.Run(name, func(t *testing.T) {
			c := migrated(t)
			noon := noonToday()
			insertDays(t, c, noon, 100, 0, 1, 2)
			s := retain(t, c, func(cfg *store.RetentionConfig, d *store.RetentionDeps) {
				cfg.MinFree, cfg.WarnFree, d.Dir = math.MaxInt64, math.MaxInt64, dir
			})
			if got, want := days(t, c, noon), []string{"0"}; !slices.Equal(got, want) {
				t.Errorf("flows of %v days ago are left, want %v", got, want)
			}
			if s.DiskFree == 0 || s.DiskTotal <= s.DiskFree || !s.Low || !s.Full || s.Dropped[store.DropMinFree].Rows != 200 {
				t.Errorf("%+v", s)
			}
			if alarms := s.Alarms(); len(alarms) != 1 || !strings.Contains(alarms[0], "min_free") {
				t.Errorf("alarms: %q", alarms)
			}
		})
	}
}

// A store that is away is a problem, not an end; the disk is watched all the same.
func TestRetentionWithoutStore(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.Addr = nobody(t)
	dir := t.TempDir()
	s := retain(t, openConfig(t, cfg), func(_ *store.RetentionConfig, d *store.RetentionDeps) { d.Dir = dir })
	if s.Problem == "" || s.DiskFree == 0 || !s.Checked.IsZero() || len(s.Alarms()) == 0 {
		t.Errorf("%+v", s)
	}
}

func TestRetentionMetrics(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.Addr = nobody(t)
	reg := prometheus.NewPedanticRegistry()
	if _, err := store.NewRetention(store.DefaultRetention(), store.RetentionDeps{Log: discard, Client: openConfig(t, cfg), Metrics: reg}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

func TestRetentionConfigRefuses(t *testing.T) {
	f := func(change func(*store.RetentionConfig), want string) {
		t.Helper()
		cfg := store.DefaultRetention()
		change(&cfg)
		if err := strictyaml.Validate(&cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(func(c *store.RetentionConfig) { c.Age.Flows = time.Minute }, "age.flows: found 1m")
	f(func(c *store.RetentionConfig) { c.MaxSize = -1 }, "max_size: found")
	f(func(c *store.RetentionConfig) { c.MinFree = -1 }, "min_free: found")
	f(func(c *store.RetentionConfig) { c.MinFree = c.WarnFree + 1 }, "warn_free: found 5GiB, want at least min_free")
	f(func(c *store.RetentionConfig) { c.Interval = 0 }, "interval: found")
	if err := strictyaml.Validate(&store.RetentionConfig{Interval: time.Second}); err != nil {
		t.Errorf("no limits at all: %v", fmt.Errorf("refused: %w", err))
	}
}
