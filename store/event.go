package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

// Events is table network_events. Its methods are safe for concurrent use.
type Events struct{ client *Client }

// NewEvents returns the table of events of c.
func NewEvents(c *Client) *Events { return &Events{c} }

// InsertEvents writes events. Where it failed, they may be there.
func (t *Events) InsertEvents(ctx context.Context, events []event.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := t.insert(ctx, events); err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	return nil
}

func (t *Events) insert(ctx context.Context, events []event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, t.client.cfg.Timeout)
	defer cancel()
	batch, err := t.client.conn.PrepareBatch(ctx, "INSERT INTO network_events (id, time, kind, severity, pool, host, bridge, network, vm, vif, subject, text, attributes)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	for i := range events {
		e := &events[i]
		attributes := e.Attributes
		if attributes == nil {
			attributes = map[string]string{}
		}
		err := batch.Append(e.ID, e.Time, string(e.Kind), e.Kind.Severity().String(), uint64(e.Pool), uint64(e.Host), uint64(e.Bridge),
			uint64(e.Network), uint64(e.VM), uint64(e.VIF), e.Subject, e.Text, attributes)
		if err != nil {
			return fmt.Errorf("event %d: %w", e.ID, err)
		}
	}
	return classify(ctx, batch.Send())
}

// EventIDs returns which ids from first to last the table has.
func (t *Events) EventIDs(ctx context.Context, first, last uint64) (map[uint64]bool, error) {
	ids, err := t.client.ids(ctx, "SELECT id FROM network_events WHERE id BETWEEN ? AND ?", first, last)
	if err != nil {
		return nil, fmt.Errorf("ask for events: %w", err)
	}
	return ids, nil
}

// ids returns the ids that a query selects.
func (c *Client) ids(ctx context.Context, query string, args ...any) (map[uint64]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	rows, err := c.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	ids := map[uint64]bool{}
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids[id] = true
	}
	return ids, classify(ctx, rows.Err())
}

// LastEventID returns the highest id of the table, 0 if it is empty.
func (t *Events) LastEventID(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, t.client.cfg.Timeout)
	defer cancel()
	var id uint64
	if err := t.client.conn.QueryRow(ctx, "SELECT max(id) FROM network_events").Scan(&id); err != nil {
		return 0, fmt.Errorf("ask for the last event: %w", classify(ctx, err))
	}
	return id, nil
}

// Events returns the events that q asks for, by id.
func (t *Events) Events(ctx context.Context, q event.Query) ([]event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, t.client.cfg.Timeout)
	defer cancel()
	where, args := []string{"1"}, []any(nil)
	and := func(condition string, value any) {
		where, args = append(where, condition), append(args, value)
	}
	if !q.From.IsZero() {
		and("time >= fromUnixTimestamp64Milli(?)", ceilMilli(q.From))
	}
	if !q.To.IsZero() {
		and("time < fromUnixTimestamp64Milli(?)", ceilMilli(q.To))
	}
	if q.After > 0 {
		and("id > ?", q.After)
	}
	if q.Before > 0 {
		and("id < ?", q.Before)
	}
	if len(q.Kinds) > 0 {
		kinds := make([]string, len(q.Kinds))
		for i, k := range q.Kinds {
			kinds[i] = string(k)
		}
		and("has(?, kind)", kinds)
	}
	if q.Host != 0 {
		and("host = ?", uint64(q.Host))
	}
	if q.VM != 0 {
		and("vm = ?", uint64(q.VM))
	}
	order, limit := "DESC", ""
	if q.Oldest {
		order = "ASC"
	}
	if q.Limit > 0 {
		limit = fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	query := `SELECT id, time, kind, pool, host, bridge, network, vm, vif, subject, text, attributes FROM (
		SELECT * FROM network_events FINAL WHERE ` + strings.Join(where, " AND ") + " ORDER BY id " + order + limit + ") ORDER BY id"
	rows, err := t.client.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", classify(ctx, err))
	}
	defer rows.Close()
	var list []event.Event
	for rows.Next() {
		var e event.Event
		var kind string
		var pool, host, bridge, network, vm, vif uint64
		if err := rows.Scan(&e.ID, &e.Time, &kind, &pool, &host, &bridge, &network, &vm, &vif, &e.Subject, &e.Text, &e.Attributes); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		e.Kind, e.Time = event.Kind(kind), e.Time.UTC()
		e.Pool, e.Host, e.Bridge, e.Network, e.VM, e.VIF = flow.ID(pool), flow.ID(host), flow.ID(bridge), flow.ID(network), flow.ID(vm), flow.ID(vif)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", classify(ctx, err))
	}
	return list, nil
}

// ceilMilli is the first whole millisecond that is not before t.
func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }
