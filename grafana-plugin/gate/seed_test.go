package gate_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// What is in the store: two hours of flows of the demo's estate, one row a third of a second, from base on; in them
// events, hits of rules, counters of exporters and how Weir does. Everything is the same in each run but for the day, which is the
// latest that began more than 26 hours ago: so that retention keeps it, and nothing of it is younger than an hour.
var (
	base  = time.Now().UTC().Add(-26 * time.Hour).Truncate(24 * time.Hour)
	until = base.Add(seeded)
)

const (
	seeded   = 2 * time.Hour
	seedRows = 21_600
)

// Rules that decided: of TCP connections that were never answered, of some of DNS, which it would deny, and of all else. A fourth was
// never met.
const (
	ruleAllow  = "allow-inside"
	ruleDeny   = "deny-telnet"
	ruleUnused = "deny-smtp"
	ruleShadow = "shadow-dns"
)

var ruleInstances = map[string]uint32{
	ruleAllow: flow.MaxSystemInstance + 1, ruleDeny: flow.MaxSystemInstance + 2, ruleUnused: flow.MaxSystemInstance + 3, ruleShadow: flow.MaxSystemInstance + 4,
}

// seed is the store that tests share, read-only by agreement: a test that writes takes a database of its own.
type seed struct {
	*storetest.Server
	database string
	estate   *flowgen.Estate
	client   *store.Client // as the writer
	entities []store.Entity
}

var shared struct {
	once sync.Once
	seed *seed
}

// seededStore returns the store with everything in it.
func seededStore(t *testing.T) *seed {
	t.Helper()
	shared.once.Do(func() { shared.seed = newSeed(t) })
	if shared.seed == nil {
		t.Fatal("the seeding of the store failed in an earlier test")
	}
	return shared.seed
}

func newSeed(t *testing.T) *seed {
	t.Helper()
	_, server := storetest.Database(t) // starts the store, which outlives the test
	s := &seed{Server: server, database: "gate", estate: flowgen.Demo()}
	s.Exec(t, "CREATE DATABASE "+s.database)
	s.client = s.open(t, s.database)
	ctx := context.Background()
	s.insertEstate(ctx, t)
	s.insertFlows(ctx, t)
	s.insertEvents(ctx, t)
	s.insertAdminEvents(ctx, t)
	s.insertHits(ctx, t)
	s.insertExporterStats(ctx, t)
	s.insertStatistics(ctx, t)
	return s
}

// open returns a client of a database with the migrated schema. It is closed with the process.
func (s *seed) open(t *testing.T, database string) *store.Client {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Database = s.Addr, database
	cfg.User, cfg.Password = s.Users.Writer.Name, s.Users.Writer.Password
	client, err := store.Open(cfg)
	must(t, err)
	migrations, err := store.LoadMigrations(sql.Migrations())
	must(t, err)
	_, err = store.Apply(context.Background(), client, migrations, slog.New(slog.DiscardHandler))
	must(t, err)
	return client
}

// id returns the first entity of a kind and name.
func (s *seed) id(t *testing.T, kind flow.Kind, name string) flow.ID {
	t.Helper()
	for _, e := range s.entities {
		if e.Kind == kind && e.Name == name {
			return e.ID
		}
	}
	t.Fatalf("no %s is named %q", kind, name)
	return 0
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *seed) insertEstate(ctx context.Context, t *testing.T) {
	t.Helper()
	model := s.estate.Model()
	// Names that fixtures ask for, of which there are no flows.
	model.Networks = append(model.Networks, estate.Network{Name: "db", Pool: s.estate.Pool, Bridge: s.estate.Hosts[0].Bridge, VLAN: 99})
	model.VMs = append(model.VMs, estate.VM{Name: "db", Pool: s.estate.Pool, Host: s.estate.Hosts[0].Name})
	snapshot, err := estate.Compile(&model)
	must(t, err)
	for _, e := range snapshot.Entities() {
		s.entities = append(s.entities, store.Entity(e))
	}
	_, err = store.NewEntities(s.client).Publish(ctx, s.entities, base)
	must(t, err)
	rules := store.NewRuleInstances(store.RuleInstancesDeps{Log: slog.New(slog.DiscardHandler), Client: s.client})
	pool := s.id(t, flow.KindPool, s.estate.Pool)
	rules.Set([]store.RuleInstance{
		{Instance: ruleInstances[ruleAllow], Rule: flow.NewID(flow.KindRule, ruleAllow), Name: ruleAllow, Tier: "global_default", Action: "allow", Verdict: flow.VerdictAllowed, Text: "allow any", From: base.Add(-time.Hour)},
		{Instance: ruleInstances[ruleDeny], Rule: flow.NewID(flow.KindRule, ruleDeny), Name: ruleDeny, Scope: pool, Tier: "pool_mandatory", Action: "deny", Verdict: flow.VerdictDenied, Text: "deny tcp", From: base.Add(-time.Hour)},
		{Instance: ruleInstances[ruleUnused], Rule: flow.NewID(flow.KindRule, ruleUnused), Name: ruleUnused, Scope: pool, Tier: "pool_mandatory", Action: "deny", Verdict: flow.VerdictDenied, Text: "deny tcp port 25", From: base.Add(-time.Hour)},
		{Instance: ruleInstances[ruleShadow], Rule: flow.NewID(flow.KindRule, ruleShadow), Name: ruleShadow, Scope: s.id(t, flow.KindVM, "web-01"), Tier: "vm_default", Action: "shadow", Verdict: flow.VerdictShadowDenied, Text: "shadow udp port 53", From: base.Add(-time.Hour)},
	}, base)
	must(t, rules.Publish(ctx))
}

// insertFlows stores flows and their sums. The traffic is that of a fixed day, moved to base.
func (s *seed) insertFlows(ctx context.Context, t *testing.T) {
	t.Helper()
	day := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	rows, err := flowgen.NewRows(flowgen.RowsConfig{Estate: s.estate, Seed: 1, Start: day, Rate: seedRows / seeded.Seconds(), Enriched: true})
	must(t, err)
	batch := flow.NewBatch(seedRows)
	rows.Fill(batch)
	batch.Truncate(min(seedRows, batch.Len()))
	move := base.Sub(day).Milliseconds()
	const syn, tcp, udp, dns = 2, 6, 17, 53
	for i := range batch.Len() {
		batch.TimeReceived[i] += move
		batch.ID[i] = 1
		rule := ruleAllow
		batch.Verdict[i] = flow.VerdictAllowed
		if batch.Protocol[i] == tcp && batch.TCPFlags[i] == syn {
			rule = ruleDeny
			batch.Verdict[i] = flow.VerdictDenied
		}
		if batch.Protocol[i] == udp && batch.DstPort[i] == dns && i%2 == 0 {
			rule = ruleShadow
			batch.Verdict[i] = flow.VerdictShadowDenied
		}
		batch.RuleID[i] = uint64(flow.NewID(flow.KindRule, rule))
		batch.RuleInstance[i] = ruleInstances[rule]
		if batch.SrcVM[i] != 0 && i%97 == 0 { // not the rule, but a guard before it
			batch.Verdict[i], batch.RuleID[i], batch.RuleInstance[i] = flow.VerdictSpoofed, 0, flow.SystemSpoofedMAC
		}
	}
	_, err = s.client.InsertNative(ctx, "flows", batch.AppendNative(nil), "")
	must(t, err)
	rollup.New(1).Derive([]*flow.Batch{batch}, 1, base, func(table, _ string, _ int, encode func([]byte) []byte) {
		_, err := s.client.InsertNative(ctx, table, encode(nil), "")
		must(t, err)
	})
	// One flow of just now, for what asks for the age of the newest.
	last := flow.NewBatch(1)
	last.Grow(1)
	last.TimeReceived[0], last.Exporter[0], last.SamplingRate[0], last.Counted[0], last.ID[0] = time.Now().UnixMilli(), netip.MustParseAddr("192.0.2.1").As16(), 1, true, 2
	_, err = s.client.InsertNative(ctx, "flows", last.AppendNative(nil), "")
	must(t, err)
}

// insertEvents stores one event of each kind, three minutes apart.
func (s *seed) insertEvents(ctx context.Context, t *testing.T) {
	t.Helper()
	host := s.estate.Hosts[0].Name
	pool, id, vm := s.id(t, flow.KindPool, s.estate.Pool), s.id(t, flow.KindHost, host), s.id(t, flow.KindVM, "web-01")
	var events []event.Event
	for i, about := range event.Kinds {
		e := event.Event{
			ID: uint64(i + 1), Time: base.Add(time.Duration(3*i+1) * time.Minute), Kind: about.Kind,
			Pool: pool, Host: id,
			Subject: host, Text: fmt.Sprintf("host %q: %s", host, about.Kind), Attributes: map[string]string{"host": host},
		}
		if slices.Contains([]event.Kind{event.AddressConflict, event.VIFMoved, event.VIFSpoofs}, about.Kind) {
			e.VM, e.Subject, e.Text = vm, "web-01/0", fmt.Sprintf("VIF %q: %s", "web-01/0", about.Kind)
		}
		events = append(events, e)
	}
	must(t, store.NewEvents(s.client).InsertEvents(ctx, events))
}

// insertAdminEvents stores what people asked for, a quarter of an hour apart: one of each outcome.
func (s *seed) insertAdminEvents(ctx context.Context, t *testing.T) {
	t.Helper()
	list := []store.AdminEvent{
		{Actor: "alice", Role: "operator", Via: "session", Source: "192.0.2.9", Operation: "policy.apply", Object: "2", Reason: "telnet is over", Outcome: "done", After: `{"revision": 2}`},
		{Actor: "vera", Role: "viewer", Via: "token", Token: "t1", Source: "192.0.2.10", Operation: "host.add", Object: "hv9", Outcome: "refused", Text: "a viewer may not"},
		{Actor: "alice", Role: "operator", Via: "session", Source: "192.0.2.9", Operation: "policy.apply", Outcome: "failed", Text: "disk full"},
	}
	for i := range list {
		list[i].ID, list[i].Time = uint64(i+1), base.Add(time.Duration(15*i+2)*time.Minute)
	}
	must(t, store.NewAdminEvents(s.client).Write(ctx, list))
}

// insertHits stores packets that rules met at the first host, every ten minutes.
func (s *seed) insertHits(ctx context.Context, t *testing.T) {
	t.Helper()
	host, bridge := s.id(t, flow.KindHost, s.estate.Hosts[0].Name), s.id(t, flow.KindBridge, s.estate.Hosts[0].Bridge)
	hits := store.NewHits(store.HitsDeps{Log: slog.New(slog.DiscardHandler), Client: s.client})
	for i := range 12 {
		at := base.Add(time.Duration(10*i) * time.Minute)
		for n, rule := range []string{ruleAllow, ruleDeny, ruleShadow} {
			hits.Add([]store.Hit{{
				Time: at, Host: host, Bridge: bridge,
				Rule: flow.NewID(flow.KindRule, rule), Instance: ruleInstances[rule], Stage: flow.StageEgress,
				Packets: uint64(100*(i+1) + n), Bytes: uint64(64 * (100*(i+1) + n)),
			}})
		}
		hits.Add([]store.Hit{{Time: at, Host: host, Bridge: bridge, Instance: flow.SystemSpoofedMAC, Stage: flow.StageSystem, Packets: uint64(i + 1), Bytes: uint64(60 * (i + 1))}})
	}
	must(t, hits.Write(ctx))
}

// insertExporterStats stores what a collector counts of each host every 30 seconds, and once of just now.
func (s *seed) insertExporterStats(ctx context.Context, t *testing.T) {
	t.Helper()
	var rows []store.ExporterStats
	hosts := append(slices.Clone(s.estate.Hosts), flowgen.Host{Exporter: netip.MustParseAddr("192.0.2.1"), Version: 10, Domain: 1}) // and a router
	add := func(at time.Time, i int) {
		for n, h := range hosts {
			flows := uint64(200 + 10*n + i%7)
			rows = append(rows, store.ExporterStats{
				Time: at, IntervalMs: 30_000, Instance: 1, Collector: 1, Exporter: h.Exporter, Version: h.Version, ObservationDomain: h.Domain,
				Datagrams: 10, Bytes: 14_000, Flows: flows, Templates: 1, Sealed: flows, Logged: flows, Stored: flows,
				SequenceUnit: "flows", Received: flows, Lost: uint64(n), Dropped: map[string]uint64{"unknown_template": uint64(i % 2)},
			})
		}
	}
	for i := range int(seeded / (30 * time.Second)) {
		add(base.Add(time.Duration(i)*30*time.Second), i)
	}
	add(time.Now(), 0)
	must(t, store.PublishExporterStats(ctx, s.client, rows))
}

// insertStatistics stores what the processes of two machines tell of themselves, a row of each a minute: one machine has all but the
// collectors, of which one runs beside and another by itself, and which is upgraded after an hour. In the last quarter of an hour its store is away.
func (s *seed) insertStatistics(ctx context.Context, t *testing.T) {
	t.Helper()
	var servers []store.ServerStats
	var networks []store.NetworkStats
	for i := range uint64(seeded / time.Minute) {
		at := base.Add(time.Duration(i) * time.Minute)
		row := func(machine, service string, instance uint64) store.ServerStats {
			return store.ServerStats{
				Time: at, IntervalMs: 60_000, Instance: instance, Service: service, Machine: machine, PID: uint32(100 * instance), Version: "v1.0.0",
				UptimeMs: 3_600_000 + i*60_000, CPUMs: 6000 * instance, MemoryBytes: (100*instance + i) << 20, Threads: 20, OpenFiles: 50, MaxOpenFiles: 1024,
				MachineCPUs: 4, MachineCPUMs: 60_000, MachineLoad: 1.5, MachineMemoryBytes: 8 << 30, MachineMemoryFree: 6 << 30,
				MachineUptimeMs: 86_400_000 + i*60_000, DiskBytes: 100 << 30, DiskFreeBytes: 60<<30 - i<<20,
			}
		}
		policyd, embedded, near, far := row("weir-1", "policyd", 1), row("weir-1", "store", 2), row("weir-1", "collector", 3), row("weir-2", "collector", 4)
		policyd.StoreBytes, policyd.StoreMaxBytes = 20<<30, 50<<30
		embedded.StoreBytes, embedded.StoreMaxBytes = 20<<30, 50<<30
		if i == 30 {
			embedded.StoreRestarts = 1
		}
		for n, c := range []*store.ServerStats{&near, &far} {
			c.Collector = uint16(n + 1)
			c.Datagrams, c.Flows, c.FlowsStored = 600, 12_000, 12_000
			c.SocketQueueBytes, c.SocketQueueMaxBytes, c.WALBytes, c.WALMaxBytes = 1<<20, 64<<20, 10<<20, 1<<30
		}
		if i >= 60 {
			far.Version, far.UptimeMs, far.Instance = "v1.1.0", (i-60)*60_000, 5
		}
		if over := i + 15; over >= uint64(seeded/time.Minute) {
			waits := over - uint64(seeded/time.Minute) + 1
			far.FlowsStored, far.FlowsWaiting = 0, waits*12_000
			far.WALBytes, far.WALAgeMs, far.StoreAwayMs = (10+2*waits)<<20, waits*60_000, waits*60_000
			far.SocketDrops = waits
		}
		servers = append(servers, policyd, embedded, near, far)
		vms := uint64(40)
		if i >= 90 {
			vms++
		}
		networks = append(networks, store.NetworkStats{
			Time: at, Instance: 1, Pools: 2, PoolsActive: 1, Hosts: 4, HostsActive: 3, Networks: 6, NetworksActive: 5, VMs: vms, VMsActive: vms - 8, VIFs: vms + 10, VIFsActive: vms,
		})
	}
	must(t, store.PublishServerStats(ctx, s.client, servers))
	must(t, store.PublishNetworkStats(ctx, s.client, networks))
}
