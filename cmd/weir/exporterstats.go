package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/store"
)

// statsInterval is how often the counters of exporters are written to the store.
const statsInterval = 30 * time.Second

// exporterStats brings the counters of exporters into table exporter_stats. While the store is away one round of rows
// waits; what is counted meanwhile is in the next.
type exporterStats struct {
	client   *store.Client
	growth   *collector.Growth
	instance uint64
	waiting  []store.ExporterStats
}

func newExporterStats(client *store.Client, started time.Time) *exporterStats {
	return &exporterStats{client: client, growth: collector.NewGrowth(started), instance: rand.Uint64()}
}

// publish writes what waits, and then by how much the counters of list, as of now, grew. self is the number of this collector.
func (s *exporterStats) publish(ctx context.Context, self uint16, list func() []collector.Exporter, now time.Time) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	for _, e := range s.growth.Since(list(), now) {
		c, r, l := &e.Counts, &e.Rows, &e.Loss
		s.waiting = append(s.waiting, store.ExporterStats{
			Time: now, IntervalMs: uint64(e.Interval.Milliseconds()), Instance: s.instance, Collector: self,
			Exporter: e.Exporter.Exporter, Version: e.Protocol, ObservationDomain: e.Domain,
			Datagrams: c.Datagrams, Bytes: c.Bytes, Flows: c.Flows, NoFlow: c.NoFlow, OptionRecords: c.OptionRecords, Templates: c.Templates,
			Sealed: r.Sealed, Logged: r.Logged, Stored: r.Stored, NotStored: r.Lost, Unclear: r.Unclear,
			SequenceUnit: l.Unit, Received: l.Received, Lost: l.Lost, OutOfOrder: l.OutOfOrder,
			Duplicates: l.Duplicates, Restarts: l.Restarts, Jumps: l.Jumps, Unchecked: l.Unchecked,
			HeldSets: c.Held, ExpiredSets: c.Expired, SamplingAssumed: c.Assumed, TimesClamped: c.Clamped, Dropped: c.Dropped,
			ClockSkewMs: l.Skew.Milliseconds(),
		})
	}
	return s.flush(ctx)
}

func (s *exporterStats) flush(ctx context.Context) error {
	if err := store.PublishExporterStats(ctx, s.client, s.waiting); err != nil {
		return err
	}
	s.waiting = nil
	return nil
}

// publishStats publishes now and then until ctx is done.
func (n *node) publishStats(ctx context.Context) error {
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			if err := n.publishStatsAt(ctx, now); err != nil {
				n.complain(ctx, "counters of exporters", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *node) publishStatsAt(ctx context.Context, now time.Time) error {
	self, _ := n.fold.Slot()
	return n.stats.publish(ctx, self, func() []collector.Exporter { return n.collector.Exporters(now) }, now)
}

// publishLastStats writes what was counted at the end. The store is still there.
func (n *node) publishLastStats(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if n.role.collects {
		if err := n.publishStatsAt(ctx, time.Now()); err != nil {
			n.log.Warn("the last counters of exporters are not stored", "err", err)
		}
	}
	// Without the estate: the sessions with hosts have ended.
	if err := n.publishStatisticsAt(ctx, time.Now(), nil); err != nil {
		n.log.Warn("the last statistics are not stored", "err", err)
	}
}
