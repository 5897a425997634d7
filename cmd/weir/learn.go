package main

import (
	"context"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/learned"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
)

// How often flows are asked for addresses of VIFs, and for what time: a flow is told after the active timeout at the latest.
const (
	learnEvery = 30 * time.Second
	learnFrom  = 2 * learnEvery
)

// learnFromFlows has the addresses from which VIFs send be learned, whichever collector is told of them.
func (n *node) learnFromFlows(ctx context.Context) error {
	tick := time.NewTicker(learnEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		list, err := n.client.SentBy(ctx, learnFrom)
		if err != nil {
			if ctx.Err() == nil {
				n.log.Warn("addresses are not learned from flows, tried again", "err", err)
			}
			continue
		}
		n.learner.Flows(ownSent(n.estate.Load(), list))
	}
}

// ownSent returns what came in by the VIF's own port: whatever else is known of a flow's source follows from its addresses.
func ownSent(s *estate.Snapshot, list []store.Sent) []learned.Sent {
	sent := make([]learned.Sent, 0, len(list))
	for i := range list {
		x := &list[i]
		at := s.Vantage(flow.Addr(x.Exporter.As16()), 0, x.Domain)
		if ref, match := s.Port(&at, x.Version, x.Port); match == estate.Hit && s.Endpoint(ref).ID == uint64(x.VIF) {
			sent = append(sent, learned.Sent{VIF: x.VIF, Addr: x.Addr.Unmap(), MAC: estate.MAC(x.MAC)})
		}
	}
	return sent
}
