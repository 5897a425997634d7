package fold_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/fold"
	"github.com/weirhq/weir/store/storetest"
	"github.com/weirhq/weir/store/wal"
)

var discard = slog.New(slog.DiscardHandler)

func config(srv *storetest.Server, database string) store.Config {
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Database = srv.Addr, database
	cfg.User, cfg.Password = srv.Users.Writer.Name, srv.Users.Writer.Password
	return cfg
}

func open(t testing.TB, cfg store.Config) *store.Client {
	t.Helper()
	c, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func migrate(t testing.TB, c *store.Client) {
	t.Helper()
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), c, migrations, discard); err != nil {
		t.Fatal(err)
	}
}

// migrated is a client of a new database, and how to open further ones.
func migrated(t testing.TB) (*store.Client, store.Config) {
	t.Helper()
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	c := open(t, cfg)
	migrate(t, c)
	return c, cfg
}

// collector is what of weir up is between a sealed batch and the store: a writer over a log, an aggregator, a folder.
type collector struct {
	*store.Writer
	*fold.Folder

	ids  *store.BatchIDs
	stop func() // ends the writer as weir up does
}

// clock is set by tests.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start starts a collector over the log in dir; folder is the folder's way to the store. now is nil for the real time.
func start(t testing.TB, writer, folder *store.Client, dir, boot string, cfg fold.Config, now func() time.Time) *collector {
	t.Helper()
	c := &collector{ids: store.NewBatchIDs(rand.Uint64)}
	w := wal.Default()
	w.Dir, w.MaxSize, w.KeepFree = dir, 256*bytesize.MiB, 0
	log, err := wal.Open(w, wal.Deps{Log: discard, Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	sums := rollup.New(rand.Uint64())
	wcfg := store.DefaultWriterConfig()
	wcfg.Queue, wcfg.RetryFirst, wcfg.RetryMax = 1000, 5*time.Millisecond, 100*time.Millisecond
	c.Writer, err = store.NewWriter(wcfg, store.WriterDeps{
		Log: discard, Client: writer, WAL: log, Recycle: func(*flow.Batch) {},
		Derive: func(r *wal.Record, batches []*flow.Batch) {
			collector, slot := c.Slot()
			sums.Derive(batches, collector, slot, r.Add)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.File = filepath.Join(dir, "fold.json")
	c.Folder, err = fold.New(cfg, fold.Deps{Log: discard, Client: folder, Settled: c.Settled, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the folder is open", func() error { return c.Open(t.Context()) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Writer.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, log.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// startOver starts a collector that folds without pauses, on the same start of the machine as others.
func startOver(t testing.TB, writer, folder *store.Client, dir string, now *clock) *collector {
	t.Helper()
	return start(t, writer, folder, dir, "this", quick(), now.Now)
}

// copyDir copies a directory of files.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// seal hands over a batch of n random flows.
func (c *collector) seal(r *rand.Rand, n int, received time.Time) {
	b := flow.NewBatch(n)
	traffic(r, b, n, received)
	id := c.ids.Next()
	for i := range n {
		b.ID[i] = id
	}
	c.Seal(b)
}

// stored waits until all batches are.
func (c *collector) stored(t testing.TB) {
	t.Helper()
	eventually(t, "all batches are stored", func() error {
		if s := c.Writer.Stats(); s.Waiting.Batches > 0 {
			return fmt.Errorf("%d wait, last error %q", s.Waiting.Batches, s.LastError)
		}
		return nil
	})
	for reason, d := range c.Writer.Stats().Dropped {
		if d.Rows > 0 {
			t.Errorf("%d flows were dropped: %s", d.Rows, reason)
		}
	}
}

// traffic fills b with flows as hostile as they come: long, of 1970, of the future, sampled, in groups, of several
// exporters, with overflowing counters.
func traffic(r *rand.Rand, b *flow.Batch, n int, received time.Time) {
	b.Grow(n)
	groups := func() []uint64 { return []uint64{1, 2, 3, 1 << 60}[:r.IntN(5)] }
	for i := range n {
		b.TimeReceived[i] = received.UnixMilli() + int64(i)
		switch r.IntN(12) {
		case 0: // of 1970
			b.StartAge[i], b.Duration[i] = b.TimeReceived[i]-r.Int64N(1000), r.Uint32N(10)
		case 1: // of the future
			b.StartAge[i], b.Duration[i] = -r.Int64N(1e9), r.Uint32N(1e6)
		case 2: // a little ahead
			b.StartAge[i], b.Duration[i] = -r.Int64N(50_000), r.Uint32N(5000)
		case 3: // before 1970
			b.StartAge[i] = b.TimeReceived[i] + 1 + r.Int64N(1e6)
		case 4: // longer than is believed
			if i%4 == 0 { // it takes 120 rows
				b.StartAge[i], b.Duration[i] = 40*3600e3, 40*3600e3-r.Uint32N(3600e3)
			}
		case 5: // long ago
			b.StartAge[i] = 23*3600e3 + r.Int64N(2*3600e3)
		case 6: // on the minute
			b.StartAge[i] = b.TimeReceived[i] % 60_000
			b.Duration[i] = uint32(b.StartAge[i])
		case 7, 8: // some minutes
			b.StartAge[i] = r.Int64N(1800e3)
			b.Duration[i] = r.Uint32N(uint32(b.StartAge[i]) + 1)
		}
		b.SamplingRate[i] = []uint32{1, 1, 10, 1000, 1<<32 - 1}[r.IntN(5)]
		b.Bytes[i], b.Packets[i] = r.Uint64()>>r.IntN(60), r.Uint64()>>(20+r.IntN(44))
		b.Exporter[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(3))}).As16()
		b.SrcPort[i], b.DstPort[i] = uint16(r.IntN(1<<16)), []uint16{0, 22, 80, 443, 8080, 51820, 60000}[r.IntN(7)]
		b.Protocol[i] = []uint8{1, 6, 17}[r.IntN(3)]
		b.Host[i], b.Network[i], b.RuleID[i] = r.Uint64N(3), r.Uint64N(2), r.Uint64N(2)
		b.SrcVM[i], b.DstVM[i] = r.Uint64N(4), r.Uint64N(4)
		b.Verdict[i], b.Counted[i] = flow.Verdict(r.IntN(7)), r.IntN(3) > 0
		b.SrcGroups.Set(i, groups())
	}
	for i := range n {
		b.DstGroups.Set(i, groups())
	}
}

// eventually waits until check returns nil.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited two minutes in vain until %s: %v", what, err)
		case <-tick.C:
		}
	}
}

// The slow twin: the rollups, worked out anew in SQL from single flows as the documents say. ms are since 1970.
const (
	twinFlows = `
	SELECT *, bytes * sampling_rate AS all_bytes, packets * sampling_rate AS all_packets,
		toUnixTimestamp64Milli(time_received) AS received, received - start_age_ms AS began, began + duration_ms AS ended,
		began < 0 OR received - ended > 86400000 OR ended - received > 60000 AS absurd,
		if(absurd, received, ended) AS t1,
		if(absurd, received, if(intDiv(began, 60000) < intDiv(ended, 60000) - 119, (intDiv(ended, 60000) - 119) * 60000, began)) AS t0
	FROM flows`
	twinMinutes = `
	SELECT *, toInt64(minute) * 60000 AS m0, m0 + 60000 AS m1, greatest(t1 - t0, 1) AS life,
		greatest(m0, t0) - t0 AS e0, least(m1, t1) - t0 AS e1,
		toUInt64(if(m1 >= t1, all_bytes, toUInt64(intDiv(toUInt256(all_bytes) * e1, life))) - if(m0 <= t0, 0, toUInt64(intDiv(toUInt256(all_bytes) * e0, life)))) AS part_bytes,
		toUInt64(if(m1 >= t1, all_packets, toUInt64(intDiv(toUInt256(all_packets) * e1, life))) - if(m0 <= t0, 0, toUInt64(intDiv(toUInt256(all_packets) * e0, life)))) AS part_packets,
		toUInt64(m0 <= t0) AS part_flows,
		toDateTime(minute * 60, 'UTC') AS bucket
	FROM (
		SELECT *, arrayJoin(range(toUInt64(intDiv(t0, 60000)), toUInt64(intDiv(greatest(t0, t1 - 1), 60000)) + 1)) AS minute
		FROM (` + twinFlows + `)
	)
	WHERE part_bytes != 0 OR part_packets != 0 OR part_flows != 0`
	sumParts = "sum(part_bytes), sum(part_packets), sum(part_flows)"
	sumRows  = "sum(bytes), sum(packets), sum(flows)"
	vmKeys   = "network, src_vm, dst_vm, rule_id, stage, verdict, counted"
)

// twins are pairs of what a rollup says and what it should say.
func twins() map[string][2]string {
	service := "(" + query.RawTable("flows", 0).Columns["service"] + ")"
	minuteKeys := "exporter, host, protocol, SERVICE, " + vmKeys
	rollup := func(table, keys string) string {
		keys = strings.ReplaceAll(keys, "SERVICE", "service")
		return "SELECT bucket, " + keys + ", " + sumRows + " FROM " + table + " GROUP BY bucket, " + keys
	}
	twin := func(bucket, keys string) string {
		keys = strings.ReplaceAll(keys, "SERVICE", service)
		return "SELECT " + bucket + " AS b, " + keys + ", " + sumParts + " FROM (" + twinMinutes + ") GROUP BY b, " + keys
	}
	ends := []string{
		"SELECT *, arrayJoin(arrayDistinct(arrayConcat(if(empty(src_groups), [0], src_groups), if(empty(dst_groups), [0], dst_groups)))) AS g,",
		"has(if(empty(src_groups), [0], src_groups), g) AS at_src, has(if(empty(dst_groups), [0], dst_groups), g) AS at_dst,",
		"multiIf(at_src AND at_dst, 'both', at_src, 'out', 'in') AS at FROM (" + twinMinutes + ")",
	}
	groupKeys := "protocol, stage, verdict, counted"
	return map[string][2]string{
		"flows_1m": {rollup("flows_1m", minuteKeys), twin("bucket", minuteKeys)},
		"flows_1h": {rollup("flows_1h", minuteKeys), twin("toStartOfHour(bucket)", minuteKeys)},
		"flows_rx_1m": {
			rollup("flows_rx_1m", "exporter, "+vmKeys),
			"SELECT toStartOfMinute(toDateTime(time_received, 'UTC')) AS b, exporter, " + vmKeys + ", sum(bytes * sampling_rate), sum(packets * sampling_rate), count() FROM flows GROUP BY b, exporter, " + vmKeys,
		},
		"flows_group_1m": {
			rollup("flows_group_1m", "group, toString(end), "+groupKeys),
			"SELECT bucket, g, at, " + groupKeys + ", " + sumParts + " FROM (" + strings.Join(ends, " ") + ") GROUP BY bucket, g, at, " + groupKeys,
		},
	}
}

// equal compares every rollup, key by key, with what the single flows say.
func equal(t testing.TB, c *store.Client, when string) {
	t.Helper()
	all := twins()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		text := func(query string) string { return "SELECT toString(tuple(*)) AS row FROM (" + query + ")" }
		query := "SELECT countIf(times = 2), countIf(times != 2), anyIf(row, times != 2) FROM (SELECT row, count() AS times FROM (" +
			text(all[name][0]) + " UNION ALL " + text(all[name][1]) + ") GROUP BY row)"
		var same, differ uint64
		var one string
		if err := c.Conn().QueryRow(t.Context(), query).Scan(&same, &differ, &one); err != nil {
			t.Fatalf("%s: %s: %v\n%s", when, name, err, query)
		}
		if differ > 0 || same == 0 {
			t.Errorf("%s: %s is not what the flows say: %d keys are equal, %d rows are on one side only, such as %s", when, name, same, differ, one)
		}
	}
}

// number asks for one number.
func number(t testing.TB, c *store.Client, query string) uint64 {
	t.Helper()
	var n uint64
	if err := c.Conn().QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// hidden is the number of rows that no reader sees.
func hidden(t testing.TB, c *store.Client) uint64 {
	t.Helper()
	n := uint64(0)
	const line = "arrayMax(arrayMap(l -> if(l.1 = collector, l.2, toDateTime(0, 'UTC')), lines))"
	const lines = "WITH (SELECT groupArray((collector, until)) FROM rollup_folds) AS lines SELECT count() FROM "
	for _, table := range []string{"flows_1m_rows", "flows_rx_1m_rows", "flows_group_1m_rows"} {
		n += number(t, c, lines+table+" WHERE folded != (slot < "+line+")")
	}
	return n + number(t, c, lines+"flows_1h_rows WHERE slot >= "+line)
}
