package store_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// Hits add up to the packet whatever fails: the store away, answers lost, the writer restarted, clocks that go back.
func TestHitsAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(chance.Seed(t), 0))
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	direct := openConfig(t, cfg)
	migrate(t, direct)
	gate := newGate(t, srv.Addr)
	cfg.Addr = gate.addr
	c := openConfig(t, cfg)

	start := time.Now().UTC().Truncate(time.Hour).Add(30 * time.Second)
	var clock atomic.Int64
	clock.Store(start.UnixMilli())
	now := func() time.Time { return time.UnixMilli(clock.Load()).UTC() }
	reg := prometheus.NewPedanticRegistry()
	deps := store.HitsDeps{Log: discard, Client: c, Now: now, Metrics: reg}
	h := store.NewHits(deps)
	deps.Metrics = nil
	var packets, bytes uint64
	failures := 0
	for round := range 60 {
		var hits []store.Hit
		for range 1 + random.IntN(20) {
			x := store.Hit{
				Time: now().Add(-time.Duration(random.IntN(240)-10) * time.Second), Host: flow.ID(1 + random.IntN(2)), Bridge: 7,
				Rule: flow.ID(random.IntN(2)), Instance: 1000 + random.Uint32N(3), Stage: flow.StageEgress + flow.Stage(random.IntN(4)),
				Packets: 1 + random.Uint64N(100), Bytes: 60 + random.Uint64N(1000),
			}
			packets, bytes = packets+x.Packets, bytes+x.Bytes
			hits = append(hits, x)
		}
		h.Add(hits)
		clock.Add(int64(random.IntN(40_000)) - 5000)
		switch random.IntN(4) {
		case 0:
			gate.close()
		case 1:
			gate.watch(func([]byte) bool { return false }) // the insert is done, and nobody says so
		}
		if err := h.Write(t.Context()); err != nil {
			failures++
		}
		gate.open()
		gate.watch(nil)
		if round%20 == 19 { // a restart, with what waits written
			if err := h.Write(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s := h.Stats(); s.Added != s.Stored || s.Waiting != 0 || s.Dropped != 0 {
				t.Errorf("Stats() = %+v when all is written", s)
			}
			h = store.NewHits(deps)
		}
	}
	var gotPackets, gotBytes, rows, future uint64
	scan(t, direct, "SELECT sum(packets), sum(bytes), count(), countIf(minute > now() + INTERVAL 1 DAY) FROM rule_hits_1m FINAL", &gotPackets, &gotBytes, &rows, &future)
	if gotPackets != packets || gotBytes != bytes || future != 0 {
		t.Errorf("%d packets and %d bytes in %d rows, want %d and %d", gotPackets, gotBytes, rows, packets, bytes)
	}
	if failures == 0 {
		t.Error("nothing failed; the test shows little")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// A row says of which minute, rule and stage it is, and Run writes it by itself, and a last time at the end.
func TestHitRows(t *testing.T) {
	c := migrated(t)
	r := newRules(c)
	r.Set([]store.RuleInstance{instance(1000, "web", "deny")}, time.Now())
	if err := r.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := store.NewHits(store.HitsDeps{Log: discard, Client: c, Every: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	minute := time.Now().UTC().Truncate(time.Minute)
	hit := store.Hit{Time: minute, Host: 5, Bridge: 6, Rule: flow.NewID(flow.KindRule, "web"), Instance: 1000, Stage: flow.StageIngress, Packets: 2, Bytes: 120}
	rows := func() []string {
		return column(t, c, `SELECT concat(toString(toUnixTimestamp(minute)), ' ', toString(host), ' ', toString(bridge), ' ', rule_name, ' ', toString(stage), ' ', toString(packets), ' ', toString(bytes))
			FROM rule_hits_1m FINAL WHERE rule_id = `+idText(hit.Rule)+` ORDER BY stage`)
	}
	at := idText(flow.ID(minute.Unix()))
	h.Add([]store.Hit{hit})
	eventually(t, "the hit is stored", func() bool { return cmp.Equal([]string{at + " 5 6 web ingress 2 120"}, rows()) })
	h.Add([]store.Hit{hit})
	eventually(t, "the sum is stored", func() bool { return cmp.Equal([]string{at + " 5 6 web ingress 4 240"}, rows()) })
	hit.Stage = flow.StageReply
	h.Add([]store.Hit{hit})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{at + " 5 6 web ingress 4 240", at + " 5 6 web reply 2 120"}, rows()); diff != "" {
		t.Errorf("rows when Run has ended: -want +got\n%s", diff)
	}
}

// What there is no room for is counted.
func TestHitsAreBounded(t *testing.T) {
	h := store.NewHits(store.HitsDeps{Log: discard})
	const most = 500_000
	hits := make([]store.Hit, 1000)
	for i := range most/len(hits) + 1 {
		for j := range hits {
			hits[j] = store.Hit{Time: time.Now(), Instance: uint32(i*len(hits) + j), Stage: flow.StageEgress, Packets: 1, Bytes: 60}
		}
		h.Add(hits)
	}
	if s := h.Stats(); s.Added != most+1000 || s.Dropped < 1000 || s.Dropped > 2000 || s.Waiting+s.Dropped != s.Added {
		t.Errorf("Stats() = %+v", s)
	}
}
