package main

import (
	"context"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// recall tells the estate under which ids its entities were stored before, and where VIFs were plugged, so that nothing gets another
// id by a restart, and only what changed meanwhile is told.
func (n *node) recall(ctx context.Context) error {
	recorded, err := n.entities.Recorded(ctx)
	if err != nil {
		return err
	}
	keys := make(map[flow.ID]string, len(recorded))
	for i := range recorded {
		keys[recorded[i].ID] = recorded[i].Key
	}
	identities := make([]estate.Identity, len(recorded))
	plugged := map[string][]estate.Entity{} // by the name of the host
	for i := range recorded {
		e := &recorded[i]
		identities[i] = estate.Identity{Kind: e.Kind, Key: e.Key, SameAs: keys[e.SameAs]}
		if e.Kind != flow.KindVIF || e.Removed || e.SameAs != 0 {
			continue
		}
		for port := range strings.SplitSeq(e.Attributes["ports"], ",") {
			if host, _, ok := strings.Cut(port, "/"); ok {
				plugged[host] = append(plugged[host], estate.Entity(e.Entity))
			}
		}
	}
	n.assembler.Recall(identities, time.Now())
	n.policyd.Recall(plugged)
	return nil
}
