package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AdminEvent is a row of table admin_events: something that somebody asked to be changed.
type AdminEvent struct {
	ID        uint64
	Time      time.Time
	Actor     string // user
	Role      string
	Via       string
	Token     string // id
	Source    string
	Request   string // id
	Operation string
	Object    string
	Reason    string
	Outcome   string // done, refused, failed
	Text      string
	Before    string // JSON, or ""
	After     string // JSON, or ""
}

// AdminQuery asks for administrative events. Its zero value asks for all.
type AdminQuery struct {
	From, To                          time.Time // in [From, To); zero is no bound
	Before                            uint64    // with ids below; 0 is no bound
	Actor, Operation, Object, Outcome string    // "" is all
	Limit                             int       // at most so many, the newest of them; 0 is no limit
}

// Matches tells whether q asks for e, Limit aside.
func (q *AdminQuery) Matches(e *AdminEvent) bool {
	return (q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To)) && (q.Before == 0 || e.ID < q.Before) &&
		(q.Actor == "" || e.Actor == q.Actor) && (q.Operation == "" || e.Operation == q.Operation) &&
		(q.Object == "" || e.Object == q.Object) && (q.Outcome == "" || e.Outcome == q.Outcome)
}

// AdminEvents is table admin_events. Its methods are safe for concurrent use.
type AdminEvents struct{ client *Client }

// NewAdminEvents returns the table of administrative events of c.
func NewAdminEvents(c *Client) *AdminEvents { return &AdminEvents{c} }

const adminColumns = "id, time, actor, role, via, token, source, request, operation, object, reason, outcome, text, before, after"

// Write writes events, which are in the order of their ids, those left out that the table has already: so each is there once, whatever was
// interrupted before.
func (t *AdminEvents) Write(ctx context.Context, list []AdminEvent) error {
	if len(list) == 0 {
		return nil
	}
	have, err := t.client.ids(ctx, "SELECT id FROM admin_events WHERE id BETWEEN ? AND ?", list[0].ID, list[len(list)-1].ID)
	if err == nil {
		err = t.insert(ctx, slices.DeleteFunc(slices.Clone(list), func(e AdminEvent) bool { return have[e.ID] }))
	}
	if err != nil {
		return fmt.Errorf("write administrative events: %w", err)
	}
	return nil
}

func (t *AdminEvents) insert(ctx context.Context, list []AdminEvent) error {
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.client.cfg.Timeout)
	defer cancel()
	batch, err := t.client.conn.PrepareBatch(ctx, "INSERT INTO admin_events ("+adminColumns+")")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	for i := range list {
		e := &list[i]
		err := batch.Append(e.ID, e.Time, e.Actor, e.Role, e.Via, e.Token, e.Source, e.Request, e.Operation, e.Object, e.Reason, e.Outcome, e.Text, e.Before, e.After)
		if err != nil {
			return fmt.Errorf("administrative event %d: %w", e.ID, err)
		}
	}
	return classify(ctx, batch.Send())
}

// Events returns the events that q asks for, the newest first.
func (t *AdminEvents) Events(ctx context.Context, q AdminQuery) ([]AdminEvent, error) {
	list, err := t.events(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read administrative events: %w", err)
	}
	return list, nil
}

func (t *AdminEvents) events(ctx context.Context, q AdminQuery) ([]AdminEvent, error) {
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
	if q.Before > 0 {
		and("id < ?", q.Before)
	}
	for column, value := range map[string]string{"actor": q.Actor, "operation": q.Operation, "object": q.Object, "outcome": q.Outcome} {
		if value != "" {
			and(column+" = ?", value)
		}
	}
	limit := ""
	if q.Limit > 0 {
		limit = fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	rows, err := t.client.conn.Query(ctx, "SELECT "+adminColumns+" FROM admin_events FINAL WHERE "+strings.Join(where, " AND ")+" ORDER BY id DESC"+limit, args...)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	var list []AdminEvent
	for rows.Next() {
		var e AdminEvent
		err := rows.Scan(&e.ID, &e.Time, &e.Actor, &e.Role, &e.Via, &e.Token, &e.Source, &e.Request, &e.Operation, &e.Object, &e.Reason,
			&e.Outcome, &e.Text, &e.Before, &e.After)
		if err != nil {
			return nil, err
		}
		e.Time = e.Time.UTC()
		list = append(list, e)
	}
	return list, classify(ctx, rows.Err())
}
