package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/flow"
)

// Hit is by how much the counters of one rule at one stage of a bridge grew.
type Hit struct {
	Time         time.Time // when the switch was asked
	Host, Bridge flow.ID
	Rule         flow.ID // of Instance; 0 of a built-in rule
	Instance     uint32
	Stage        flow.Stage
	Packets      uint64
	Bytes        uint64
}

// Bounds of what waits to be written.
const (
	maxHitRows    = 500_000 // sums, some 100 bytes each
	hitsPerInsert = 50_000
	hitsInterval  = 10 * time.Second
)

// HitsDeps are what Hits use and do not own.
type HitsDeps struct {
	Log     *slog.Logger
	Client  *Client
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
	Every   time.Duration         // between two writes; 0: 10 s
}

// Hits sums hits by minute and writes the sums to table rule_hits_1m. Add and Stats may be called from any goroutine.
//
// A row is the sum of a minute so far: as it grows it is written again, and replaces the one before. So a write of which it is not
// known whether it was done is done again, and nothing is counted twice.
type Hits struct {
	deps HitsDeps
	run  uint64 // random: rows of another run are others

	mu     sync.Mutex
	sums   map[hitKey]*hitSum // guarded by mu
	closed time.Time          // guarded by mu: minutes up to it are written for good
	stats  HitsStats          // guarded by mu, but for Waiting
}

type hitKey struct {
	minute       int64 // in s since epoch
	host, bridge flow.ID
	rule         flow.ID
	instance     uint32
	stage        flow.Stage
}

// hitSum is a row: what was counted, and what of that is stored.
type hitSum struct{ packets, bytes, stored uint64 }

// HitsStats are counts of packets since the start: Added is Stored, Waiting and Dropped together.
type HitsStats struct {
	Added    uint64 // packets of hits that came in
	Stored   uint64 // of those that the store has
	Waiting  uint64 // of those that it is to have
	Dropped  uint64 // of those for which there was no room
	Failures uint64 // writes that failed, and were repeated
}

// NewHits returns a writer that writes nothing until Run runs.
func NewHits(d HitsDeps) *Hits {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Every == 0 {
		d.Every = hitsInterval
	}
	h := &Hits{deps: d, run: rand.Uint64(), sums: map[hitKey]*hitSum{}}
	if d.Metrics != nil {
		d.Metrics.MustRegister(hitsMetrics{h})
	}
	return h
}

// Add takes hits. It does not wait for the store. A hit of a minute that is written for good, or of the future, goes into the next
// one that is open.
func (h *Hits) Add(hits []Hit) {
	now := h.deps.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range hits {
		x := &hits[i]
		at := x.Time
		if at.After(now) {
			at = now
		}
		minute := at.Truncate(time.Minute)
		if !minute.After(h.closed) {
			minute = h.closed.Add(time.Minute)
		}
		h.stats.Added += x.Packets
		key := hitKey{minute.Unix(), x.Host, x.Bridge, x.Rule, x.Instance, x.Stage}
		sum := h.sums[key]
		if sum == nil {
			if len(h.sums) >= maxHitRows {
				h.stats.Dropped += x.Packets
				continue
			}
			sum = &hitSum{}
			h.sums[key] = sum
		}
		sum.packets += x.Packets
		sum.bytes += x.Bytes
	}
}

// Stats returns what was counted so far.
func (h *Hits) Stats() HitsStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Waiting = s.Added - s.Stored - s.Dropped
	return s
}

// Run writes sums that grew, again and again, until ctx is done, and then a last time. It returns nil. What fails is tried again.
func (h *Hits) Run(ctx context.Context) error {
	due := make(chan struct{}, 1)
	tick := time.NewTicker(h.deps.Every)
	defer tick.Stop()
	ticking, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				select {
				case due <- struct{}{}:
				default:
				}
			case <-ticking.Done():
				return
			}
		}
	}()
	err := keepWriting(ctx, h.deps.Log, "hits of rules", due, h.Write)
	stop()
	<-done
	return err
}

// hitRow is a sum that is to be written.
type hitRow struct {
	hitKey
	hitSum
}

// Write writes the sums that grew since they were written; Run calls it. It is not for concurrent use.
func (h *Hits) Write(ctx context.Context) error {
	now := h.deps.Now()
	var rows []hitRow
	h.mu.Lock()
	for key, sum := range h.sums {
		if sum.packets > sum.stored {
			rows = append(rows, hitRow{key, *sum})
		}
	}
	h.mu.Unlock()
	slices.SortFunc(rows, func(a, b hitRow) int { return cmp.Compare(a.minute, b.minute) })
	var failed error
	for chunk := range slices.Chunk(rows, hitsPerInsert) {
		if err := h.insert(ctx, chunk); err != nil {
			failed = errors.Join(failed, err)
			break
		}
		h.mu.Lock()
		for _, row := range chunk {
			sum := h.sums[row.hitKey]
			h.stats.Stored += row.packets - sum.stored
			sum.stored = row.packets
		}
		h.mu.Unlock()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if failed != nil {
		h.stats.Failures++
		return fmt.Errorf("write hits: %w", failed)
	}
	// A minute is kept for one more: bridges are asked at their own times.
	h.closed = latest(h.closed, now.Truncate(time.Minute).Add(-2*time.Minute))
	maps.DeleteFunc(h.sums, func(key hitKey, sum *hitSum) bool { return key.minute <= h.closed.Unix() && sum.packets == sum.stored })
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (h *Hits) insert(ctx context.Context, rows []hitRow) error {
	c := h.deps.Client
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	batch, err := c.conn.PrepareBatch(ctx, "INSERT INTO rule_hits_1m (minute, host, bridge, rule_id, rule_instance, stage, run, packets, bytes)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	for i := range rows {
		r := &rows[i]
		err := batch.Append(time.Unix(r.minute, 0).UTC(), uint64(r.host), uint64(r.bridge), uint64(r.rule), r.instance, r.stage.String(), h.run, r.packets, r.bytes)
		if err != nil {
			return fmt.Errorf("rule instance %d: %w", r.instance, err)
		}
	}
	return classify(ctx, batch.Send())
}

var (
	hitsIn       = prometheus.NewDesc("weir_store_hits_in_packets_total", "Packets that met rules, as the switches counted them. They are the stored, the dropped and the waiting ones.", nil, nil)
	hitsStored   = prometheus.NewDesc("weir_store_hits_stored_packets_total", "Packets that met rules, in rows that the store has.", nil, nil)
	hitsDropped  = prometheus.NewDesc("weir_store_hits_dropped_packets_total", "Packets that met rules, of which it is not stored since too many rows waited.", nil, nil)
	hitsWaiting  = prometheus.NewDesc("weir_store_hits_waiting_packets", "Packets that met rules, in rows that wait to be stored.", nil, nil)
	hitsFailures = prometheus.NewDesc("weir_store_hits_failures_total", "Writes of hits that failed and were repeated.", nil, nil)
)

// hitsMetrics shows Hits to Prometheus.
type hitsMetrics struct{ h *Hits }

// Describe implements prometheus.Collector.
func (m hitsMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m hitsMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.h.Stats()
	put := func(d *prometheus.Desc, t prometheus.ValueType, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(v))
	}
	put(hitsIn, prometheus.CounterValue, s.Added)
	put(hitsStored, prometheus.CounterValue, s.Stored)
	put(hitsDropped, prometheus.CounterValue, s.Dropped)
	put(hitsWaiting, prometheus.GaugeValue, s.Waiting)
	put(hitsFailures, prometheus.CounterValue, s.Failures)
}
