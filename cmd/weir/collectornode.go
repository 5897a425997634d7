package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/netflow"
	collectorstate "github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/fold"
	"github.com/weirhq/weir/store/wal"
)

// wireCollector makes the way of a flow: socket, decoder, enricher, write-ahead log, store; and what sums and folds.
func (n *node) wireCollector() error {
	cfg := &n.config
	n.enricher = enricher.New(enricher.Deps{Estate: n.estate, Live: n.live, Metrics: n.metrics})
	free := store.NewFreeList(2*len(n.sockets.flows)+cfg.Store.Writer.Queue, cfg.Collector.BatchCap())
	var err error
	n.wal, err = wal.Open(cfg.Store.WAL, wal.Deps{Log: n.log, Metrics: n.metrics})
	if err != nil {
		return err
	}
	sums := rollup.New(rand.Uint64())
	n.writer, err = store.NewWriter(cfg.Store.Writer, store.WriterDeps{
		Log: n.log, Metrics: n.metrics, Client: n.client, WAL: n.wal, Recycle: free.Put,
		Derive: func(r *wal.Record, batches []*flow.Batch) {
			collector, slot := n.fold.Slot()
			sums.Derive(batches, collector, slot, r.Add)
		},
	})
	if err != nil {
		return err
	}
	n.fold, err = fold.New(cfg.Store.Fold, fold.Deps{Log: n.log, Metrics: n.metrics, Client: n.client, Name: hostName(), Settled: n.writer.Settled})
	if err != nil {
		return err
	}
	ids := store.NewBatchIDs(rand.Uint64)
	templates := template.New(cfg.Collector.Templates)
	n.names, n.published = collector.NewNames(templates), store.NewExporterNames(n.client)
	n.stats = newExporterStats(n.client, n.started)
	remembered, err := collectorstate.Open(cfg.Collector.State, collectorstate.Deps{Log: n.log, Store: templates, Parse: netflow.ParseTemplate, Now: time.Now})
	if err != nil {
		return err
	}
	n.collector, err = collector.New(cfg.Collector, collector.Deps{
		Log: n.log, Metrics: n.metrics, Conns: n.sockets.flows, Templates: templates, State: remembered,
		Get: free.Get, Enrich: n.enricher.Enrich, Seal: n.writer.Seal, BatchID: ids.Next,
		Seen: n.live.Seen,
	})
	return err
}

// openFold opens a slot for sums. A collector that works alone and has never met the store waits for it, and for its tables, which
// policyd makes.
func (n *node) openFold(ctx context.Context) error {
	const pause = time.Second
	told := ""
	for {
		err := n.fold.Open(ctx)
		var away *store.Error
		if err == nil || n.role.governs || !errors.As(err, &away) {
			return err
		}
		if text := err.Error(); text != told {
			n.log.Warn("waiting for the store, which gives a new collector its number; policyd makes its tables", "err", err)
			told = text
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
