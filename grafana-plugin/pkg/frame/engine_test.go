package frame_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	weirhouse "github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/frame"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

var update = flag.Bool("update", false, "write the golden files")

// engine is a migrated store, with the writer's way in and the reader's.
type engine struct {
	writer *store.Client
	reader driver.Conn
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	database, srv := storetest.Database(t)
	open := func(user, password string) *store.Client {
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.Database, cfg.User, cfg.Password = "http://"+srv.Addr, database, user, password
		c, err := store.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	e := &engine{writer: open(srv.Users.Writer.Name, srv.Users.Writer.Password)}
	e.reader = open(srv.Users.ReadOnly.Name, srv.Users.ReadOnly.Password).Conn()
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), e.writer, migrations, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := e.writer.Exec(t.Context(), s); err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
	}
}

// ask runs a statement as the reader and returns its rows by columns.
func (e *engine) ask(t *testing.T, s query.Statement) *weirhouse.Rows {
	t.Helper()
	settings := clickhouse.Settings{}
	for k, v := range s.Settings {
		settings[k] = v
	}
	var args []any
	for _, p := range s.Params {
		args = append(args, clickhouse.Named(p.Name, p.Value))
	}
	r, err := e.reader.Query(clickhouse.Context(context.Background(), clickhouse.WithSettings(settings)), s.SQL, args...)
	if err != nil {
		t.Fatalf("%v\n%s\n%v", err, s.SQL, s.Params)
	}
	defer r.Close()
	out := &weirhouse.Rows{}
	types := r.ColumnTypes()
	lists, cells := make([]reflect.Value, len(types)), make([]any, len(types))
	for i, c := range types {
		out.Columns = append(out.Columns, weirhouse.Column{Name: c.Name(), Type: c.DatabaseTypeName()})
		lists[i] = reflect.MakeSlice(reflect.SliceOf(c.ScanType()), 0, 0)
	}
	for r.Next() {
		for i, c := range types {
			cells[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := r.Scan(cells...); err != nil {
			t.Fatalf("%v\n%s", err, s.SQL)
		}
		for i := range cells {
			lists[i] = reflect.Append(lists[i], reflect.ValueOf(cells[i]).Elem())
		}
		out.Len++
	}
	if err := r.Err(); err != nil {
		t.Fatalf("%v\n%s\n%v", err, s.SQL, s.Params)
	}
	for i := range lists {
		out.Columns[i].Values = lists[i].Interface()
	}
	return out
}

// frames answers a target.
func (e *engine) frames(t *testing.T, target string, env model.Env) (data.Frames, *model.Plan) {
	t.Helper()
	q, err := model.Parse([]byte(target))
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Plan(env)
	if err != nil {
		t.Fatal(err)
	}
	rows := e.ask(t, p.Statement)
	if rows.Len > p.MaxRows {
		t.Errorf("%d rows of at most %d\n%s", rows.Len, p.MaxRows, p.SQL)
	}
	for i, c := range p.Shape.Columns {
		if rows.Len > 0 && (i >= len(rows.Columns) || rows.Columns[i].Name != c.Name) {
			t.Fatalf("column %d is not %q: %v\n%s", i, c.Name, rows.Columns, p.SQL)
		}
	}
	frames, err := frame.Build(q.RefID, p, rows, env.Limits)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		conforms(t, f, p.Shape.Format)
	}
	return frames, p
}

// conforms checks a frame against Grafana's data plane contract, as far as alert rules and panels rely on it.
func conforms(t *testing.T, f *data.Frame, format model.Format) {
	t.Helper()
	if f.Meta == nil {
		t.Fatal("a frame has no meta")
	}
	want := map[model.Format]data.FrameType{
		model.Timeseries: data.FrameTypeTimeSeriesMulti, model.Number: data.FrameTypeNumericMulti, model.Table: data.FrameTypeTable,
		model.Logs: data.FrameTypeLogLines, model.Annotations: data.FrameTypeTable,
	}[format]
	if f.Meta.Type != want {
		t.Errorf("frame of format %s is of type %q, want %q", format, f.Meta.Type, want)
	}
	if n, err := f.RowLen(); err != nil {
		t.Errorf("fields differ in length (%d): %v", n, err)
	}
	if len(f.Fields) == 0 {
		return
	}
	switch format {
	case model.Timeseries:
		if len(f.Fields) != 2 || f.Fields[0].Type() != data.FieldTypeTime || !f.Fields[1].Type().Numeric() {
			t.Fatalf("a series has fields %v", f.Fields)
		}
		for i := 1; i < f.Fields[0].Len(); i++ {
			if !f.Fields[0].At(i - 1).(time.Time).Before(f.Fields[0].At(i).(time.Time)) {
				t.Fatalf("times do not ascend: %v, %v", f.Fields[0].At(i-1), f.Fields[0].At(i))
			}
		}
	case model.Number:
		if len(f.Fields) != 1 || !f.Fields[0].Type().Numeric() || f.Fields[0].Len() != 1 {
			t.Fatalf("a number has fields %v", f.Fields)
		}
	case model.Logs:
		var names []string
		for _, x := range f.Fields {
			names = append(names, x.Name)
		}
		if diff := cmp.Diff([]string{"timestamp", "body", "severity", "id", "labels"}, names); diff != "" {
			t.Errorf("fields of logs: %s", diff)
		}
	default:
	}
}

// Entities of the seeded store.
const (
	pool flow.ID = iota + 1
	host1
	host2
	bridge
	network
	web
	db
	old
	vif
	servers
	ruleDeny
	ruleWeb
)

// seed fills the store with what happened from base on, for two hours: each minute web asks db, which answers, and outside is denied.
func (e *engine) seed(t *testing.T, base time.Time) {
	t.Helper()
	entities := []store.Entity{
		{Kind: flow.KindPool, ID: pool, Key: "p", Name: "pool one", Source: "file"},
		{Kind: flow.KindHost, ID: host1, Key: "h1", Name: "xen-1", Parent: pool, Pool: pool, Source: "file"},
		{Kind: flow.KindHost, ID: host2, Key: "h2", Name: "xen-2", Parent: pool, Pool: pool, Source: "file"},
		{Kind: flow.KindBridge, ID: bridge, Key: "h1/xenbr0", Name: "xenbr0", Parent: host1, Pool: pool, Source: "host"},
		{Kind: flow.KindNetwork, ID: network, Key: "n", Name: "lan", Parent: pool, Pool: pool, Source: "file"},
		{Kind: flow.KindVM, ID: web, Key: "v1", Name: "web-01", Pool: pool, Source: "file", Attributes: map[string]string{"os": "debian"}},
		{Kind: flow.KindVM, ID: db, Key: "v2", Name: "db", Pool: pool, Source: "file"},
		{Kind: flow.KindVM, ID: old, Key: "v3", Name: "web-02", Pool: pool, Source: "file"},
		{Kind: flow.KindVIF, ID: vif, Key: "v1/0", Name: "web-01/0", Parent: web, Pool: pool, Source: "file"},
		{Kind: flow.KindVMGroup, ID: servers, Key: "g", Name: "servers", Source: "file"},
	}
	if _, err := store.NewEntities(e.writer).Publish(t.Context(), entities, base.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	rules := store.NewRuleInstances(store.RuleInstancesDeps{Log: slog.New(slog.DiscardHandler), Client: e.writer})
	rules.Set([]store.RuleInstance{
		{Instance: 300, Rule: ruleDeny, Name: "deny-telnet", Tier: "global", Action: "deny", Verdict: flow.VerdictDenied, Text: "deny tcp port 23"},
		{Instance: 301, Rule: ruleWeb, Name: "allow-web", Scope: network, Tier: "network", Action: "allow", Verdict: flow.VerdictAllowed, Text: "allow tcp port 443"},
	}, base.Add(-time.Hour))
	if err := rules.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}

	address := func(text string) flow.Addr { return flow.Addr(netip.MustParseAddr(text).As16()) }
	b := flow.NewBatch(1024)
	add := func(at time.Time, src, dst flow.ID, from, to string, sport, dport uint16, bytes uint64, verdict flow.Verdict, host flow.ID) {
		i := b.Grow(1)
		b.TimeReceived[i] = at.UnixMilli()
		b.Exporter[i], b.Version[i], b.SamplingRate[i] = address("192.0.2.1"), 10, 1
		if host == host2 {
			b.Exporter[i] = address("2001:db8::2")
		}
		b.SrcAddr[i], b.DstAddr[i], b.SrcPort[i], b.DstPort[i], b.Protocol[i] = address(from), address(to), sport, dport, 6
		b.Bytes[i], b.Packets[i], b.Ethertype[i], b.TCPFlags[i] = bytes, bytes/100, 0x0800, 0x12
		b.Pool[i], b.Host[i], b.Bridge[i], b.Network[i] = uint64(pool), uint64(host), uint64(bridge), uint64(network)
		b.SrcVM[i], b.DstVM[i], b.SrcMAC[i] = uint64(src), uint64(dst), 0x525400000001
		groups := func(vm flow.ID) []uint64 {
			if vm == web || vm == db {
				return []uint64{uint64(servers)}
			}
			return nil
		}
		b.SrcGroups.Set(i, groups(src))
		b.DstGroups.Set(i, groups(dst))
		b.Verdict[i], b.Counted[i], b.ID[i] = verdict, true, 7
		if verdict == flow.VerdictDenied {
			b.RuleID[i], b.RuleInstance[i], b.Stage[i] = uint64(ruleDeny), 300, flow.StageEgress
		}
	}
	for minute := range 120 {
		at := base.Add(time.Duration(minute)*time.Minute + 10*time.Second)
		if minute >= 60 && minute < 70 {
			continue // silence
		}
		add(at, web, db, "10.0.0.1", "10.0.0.2", 40000, 443, 60_000, flow.VerdictAllowed, host1)
		add(at.Add(time.Second), db, web, "10.0.0.2", "10.0.0.1", 443, 40000, 600_000, flow.VerdictAllowed, host1)
		if minute%2 == 0 {
			add(at.Add(2*time.Second), 0, web, "2001:db8::99", "2001:db8::1", 50000, 23, 1000, flow.VerdictDenied, host2)
		}
	}
	e.insertFlows(t, b, base)

	var stats []store.ExporterStats
	for tick := 1; tick <= 240; tick++ {
		x := store.ExporterStats{
			Time: base.Add(time.Duration(tick)*30*time.Second + 10*time.Millisecond), IntervalMs: 30_000, Instance: 1, Collector: 1,
			Exporter: netip.MustParseAddr("::ffff:192.0.2.1"), Version: 10, Datagrams: 10, Bytes: 9000, Flows: 60, Sealed: 60, Logged: 60,
			Stored: 60, SequenceUnit: "records", Received: 60, Lost: uint64(tick % 3), Templates: 1, ClockSkewMs: -250,
		}
		if tick%10 == 0 {
			x.Dropped = map[string]uint64{"unknown_template": 2, "truncated": 1}
		}
		stats = append(stats, x)
		if tick%2 == 0 && tick < 100 {
			x.Exporter, x.Version, x.Dropped, x.ClockSkewMs, x.Lost = netip.MustParseAddr("2001:db8::2"), 9, nil, 0, 0
			x.SequenceUnit, x.Flows, x.Stored, x.SamplingAssumed = "messages", 30, 29, 30
			x.NotStored = 1
			stats = append(stats, x)
		}
	}
	if err := store.PublishExporterStats(t.Context(), e.writer, stats); err != nil {
		t.Fatal(err)
	}

	e.insertStatistics(t, base)

	events := []event.Event{
		{ID: 1, Time: base.Add(5 * time.Minute), Kind: event.HostConnected, Pool: pool, Host: host1, Subject: "xen-1", Text: "connected to 192.0.2.1"},
		{ID: 2, Time: base.Add(6 * time.Minute), Kind: event.VIFPlugged, Pool: pool, Host: host1, Bridge: bridge, Network: network, VM: web, VIF: vif, Subject: "web-01/0", Text: "plugged into xenbr0", Attributes: map[string]string{"mac": "52:54:00:00:00:01"}},
		{ID: 3, Time: base.Add(30 * time.Minute), Kind: event.HostLost, Pool: pool, Host: host2, Subject: "xen-2", Text: "the session ended: \"EOF\""},
		{ID: 4, Time: base.Add(50 * time.Minute), Kind: event.ExporterSilent, Subject: "2001:db8::2", Text: "has sent nothing for 3m"},
		{ID: 5, Time: base.Add(51 * time.Minute), Kind: event.PolicyApplied, Subject: "policy", Text: "revision 7 by admin: web rules"},
		{ID: 6, Time: base.Add(90 * time.Minute), Kind: event.HostLost, Pool: pool, Host: host2, Subject: "xen-2", Text: "the session ended"},
	}
	if err := store.NewEvents(e.writer).InsertEvents(t.Context(), events); err != nil {
		t.Fatal(err)
	}

	e.exec(t, fmt.Sprintf(`INSERT INTO rule_hits_1m (minute, host, bridge, rule_id, rule_instance, stage, run, packets, bytes)
		SELECT toDateTime(%d + number * 60), 2, 4, rule.1, rule.2, rule.3, 1, rule.4, rule.5 FROM numbers(120)
		ARRAY JOIN [(11, 300, 'egress', 6, 600), (12, 301, 'ingress', 60, 60000), (0, 5, 'system', 3, 300)] AS rule`, base.Unix()))

	// The table of a later migration, as far as it is asked for.
	e.exec(t, `CREATE TABLE IF NOT EXISTS admin_events (
		id UInt64, time DateTime64(3, 'UTC'), actor LowCardinality(String), role LowCardinality(String), via LowCardinality(String), token String,
		source String, request String, operation LowCardinality(String), object String, reason String,
		outcome Enum8('done' = 1, 'refused' = 2, 'failed' = 3), text String, before String, after String
	) ENGINE = ReplacingMergeTree ORDER BY (time, id)`,
		fmt.Sprintf(`INSERT INTO admin_events (id, time, actor, role, via, source, operation, object, reason, outcome, text) VALUES
		(1, fromUnixTimestamp64Milli(%d), 'ann', 'operator', 'session', '198.51.100.7', 'policy.apply', 'policy', 'web rules', 'done', ''),
		(2, fromUnixTimestamp64Milli(%d), 'bob', 'viewer', 'token', '198.51.100.8', 'host.add', 'xen-3', '', 'refused', 'a viewer may not')`,
			base.Add(50*time.Minute).UnixMilli(), base.Add(95*time.Minute).UnixMilli()))
}

// insertStatistics stores what processes tell of themselves, each minute: of weir-1, which is restarted after an hour and is silent for ten minutes
// before that, and of a collector at weir-2.
func (e *engine) insertStatistics(t *testing.T, base time.Time) {
	t.Helper()
	var servers []store.ServerStats
	var networks []store.NetworkStats
	for minute := uint64(1); minute <= 120; minute++ {
		at := base.Add(time.Duration(minute)*time.Minute - time.Second)
		up := store.ServerStats{
			Time: at, IntervalMs: 60_000, Instance: 1, Service: "up", Machine: "weir-1", Version: "v1", UptimeMs: minute * 60_000, CPUMs: 30_000, MemoryBytes: 1000 + minute,
			MachineCPUs: 2, MachineCPUMs: 60_000, MachineMemoryBytes: 4000, MachineMemoryFree: 1000, DiskBytes: 10_000, DiskFreeBytes: 9000 - 10*minute,
			Flows: 600, SocketDrops: minute / 110, WALBytes: minute % 10, WALMaxBytes: 100, FlowsDropped: minute / 70,
		}
		switch {
		case minute == 61: // the first row of a run does not say what others used
			up.Instance, up.Version, up.UptimeMs, up.MachineCPUMs, up.StoreRestarts = 2, "v2", 5000, 0, 1
		case minute > 61:
			up.Instance, up.Version, up.UptimeMs = 2, "v2", (minute-61)*60_000+5000
		}
		if minute <= 50 || minute > 60 {
			servers = append(servers, up)
		}
		servers = append(servers, store.ServerStats{
			Time: at, IntervalMs: 60_000, Instance: 3, Service: "collector", Machine: "weir-2", Version: "v1", UptimeMs: minute * 60_000, CPUMs: 6000, MemoryBytes: 500,
			MachineCPUs: 4, MachineCPUMs: 24_000, DiskBytes: 10_000, DiskFreeBytes: 5000,
		})
		networks = append(networks, store.NetworkStats{Time: at, Instance: 1, Pools: 1, PoolsActive: 1, Hosts: 2, HostsActive: 2 - minute/100, VMs: 3, VMsActive: 2})
	}
	if err := store.PublishServerStats(t.Context(), e.writer, servers); err != nil {
		t.Fatal(err)
	}
	if err := store.PublishNetworkStats(t.Context(), e.writer, networks); err != nil {
		t.Fatal(err)
	}
}

func (e *engine) insertFlows(t *testing.T, b *flow.Batch, slot time.Time) {
	t.Helper()
	if _, err := e.writer.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
		t.Fatal(err)
	}
	rollup.New(1).Derive([]*flow.Batch{b}, 1, slot, func(table, _ string, _ int, encode func([]byte) []byte) {
		if _, err := e.writer.InsertNative(t.Context(), table, encode(nil), ""); err != nil {
			t.Fatal(err)
		}
	})
}

// render writes frames as text, times as what has passed since base.
func render(frames data.Frames, p *model.Plan, base time.Time) string {
	var s strings.Builder
	since := func(at time.Time) string { return at.Sub(base).Round(time.Millisecond).String() }
	for _, f := range frames {
		fmt.Fprintf(&s, "frame %q %s %d.%d, %d fields\n", f.Name, f.Meta.Type, f.Meta.TypeVersion[0], f.Meta.TypeVersion[1], len(f.Fields))
		for _, n := range f.Meta.Notices {
			fmt.Fprintf(&s, "  notice: %s\n", n.Text)
		}
		for _, x := range f.Fields {
			line := fmt.Sprintf("  %s %s %s", x.Name, x.Type(), x.Labels)
			if x.Config != nil {
				line += fmt.Sprintf(" unit %q display %q", x.Config.Unit, x.Config.DisplayNameFromDS)
			}
			s.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
			var cells []string
			for i := range x.Len() {
				v, ok := x.ConcreteAt(i)
				text := fmt.Sprint(v)
				switch v := v.(type) {
				case time.Time:
					text = since(v)
				case json.RawMessage:
					text = string(v)
				case float64:
					text = strconv.FormatFloat(v, 'g', 7, 64)
				}
				if !ok && x.Nullable() {
					text = "null"
				}
				cells = append(cells, text)
			}
			for i := 0; i < len(cells); {
				j := i
				for j < len(cells) && cells[j] == cells[i] {
					j++
				}
				if j-i > 1 {
					fmt.Fprintf(&s, "    %s × %d\n", cells[i], j-i)
				} else {
					fmt.Fprintf(&s, "    %s\n", cells[i])
				}
				i = j
			}
		}
	}
	return relative.ReplaceAllStringFunc(s.String(), func(at string) string {
		if ms, err := strconv.ParseInt(at, 10, 64); err == nil {
			return since(time.UnixMilli(ms))
		}
		day, err := time.Parse(time.DateTime, at)
		if err != nil {
			return at
		}
		return since(day)
	})
}

// relative are times in texts, as ids of events and labels of flows have them.
var relative = regexp.MustCompile(`\b1[789]\d{11}\b|\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\b`)

// Every fixture is answered by the store, and its frames are what they were.
func TestGoldenFrames(t *testing.T) {
	e := newEngine(t)
	base := time.Now().UTC().Add(-4 * time.Hour).Truncate(2 * time.Hour)
	e.seed(t, base)
	now := base.Add(2*time.Hour + 7*time.Second)
	env := model.Env{From: base, To: now, Now: now, Interval: 10 * time.Minute, MaxPoints: 12, AdminEvents: true}
	files, err := filepath.Glob("../../testdata/queries/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no targets: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			target, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			frames, p := e.frames(t, string(target), env)
			got := render(frames, p, base)
			golden := filepath.Join("testdata", "frames", name+".golden.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (write it with -update)", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("frames of %s differ (-want +got):\n%s", name, diff)
			}
		})
	}
}
