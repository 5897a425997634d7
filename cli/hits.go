package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/weirhq/weir/query"
)

// RuleHits is how often a version of a rule was met.
type RuleHits = query.RuleHits

// Hits asks how often rules are met. A rule that nobody knows is an error that says which names are near. Errors of type [*query.Error]
// are mistakes of the user.
func Hits(ctx context.Context, db DB, r query.HitsRequest, now time.Time) ([]RuleHits, error) {
	p, err := query.Hits(r, now)
	if err != nil {
		return nil, err
	}
	if _, err := checkNames(ctx, db, p.Names); err != nil {
		return nil, err
	}
	types := make([]string, len(query.HitsColumns))
	for i, c := range query.HitsColumns {
		types[i] = c.Type
	}
	records, err := ask(ctx, db, p.Statement, types...)
	if err != nil {
		return nil, fmt.Errorf("ask for hits of rules: %w", err)
	}
	seconds := p.To.Sub(p.From).Seconds()
	if until := now.Sub(p.From).Seconds(); until < seconds && until > 0 {
		seconds = until // the last minute is not over
	}
	list := []RuleHits{}
	for _, rec := range records {
		h := RuleHits{
			Instance: uint32(rec[0].(uint64)), RuleID: strconv.FormatUint(rec[1].(uint64), 10), Rule: rec[2].(string), Scope: rec[3].(string),
			Tier: rec[4].(string), Action: rec[5].(string), Text: rec[6].(string), InForce: rec[7].(bool),
			Egress: rec[8].(uint64), Ingress: rec[9].(uint64), Reply: rec[10].(uint64), System: rec[11].(uint64),
			Packets: rec[12].(uint64), Bytes: rec[13].(uint64), Rate: float64(rec[12].(uint64)) / seconds,
		}
		if last := rec[14].(time.Time); last.Unix() > 0 {
			h.LastHit = last
		}
		list = append(list, h)
	}
	return list, nil
}

// LastHit says how long ago a rule was met last, in minutes: it is known no better.
func LastHit(h *RuleHits, now time.Time) string {
	switch d := now.Sub(h.LastHit).Truncate(time.Minute); {
	case h.LastHit.IsZero():
		return "never"
	case d <= 0:
		return "just now"
	default:
		return Span(d) + " ago"
	}
}

// HitsTable shows hits. now is in the zone of the reader.
func HitsTable(list []RuleHits, now time.Time) *Table {
	t := &Table{Columns: []Column{
		{Name: "RULE"},
		{Name: "TIER"},
		{Name: "SCOPE"},
		{Name: "ACTION"},
		{Name: "EGRESS", Right: true},
		{Name: "INGRESS", Right: true},
		{Name: "REPLY", Right: true},
		{Name: "SYSTEM", Right: true},
		{Name: "BYTES", Right: true},
		{Name: "PACKETS/S", Right: true},
		{Name: "LAST HIT", Right: true},
		{Name: "TEXT"},
	}}
	for _, h := range list {
		name, style := h.Rule, Plain
		switch {
		case name == "":
			name = "#" + h.RuleID
		case !h.InForce && h.Tier != "system":
			name += " (former)"
		}
		if h.Packets == 0 {
			style = Dim
		}
		count := func(n uint64) Cell { return Cell{Count(float64(n)), style} }
		t.Add(Cell{name, style}, Cell{h.Tier, style}, Cell{h.Scope, style}, Cell{h.Action, style}, count(h.Egress), count(h.Ingress), count(h.Reply), count(h.System),
			Cell{Bytes(float64(h.Bytes)), style}, Cell{Count(h.Rate), style}, Cell{LastHit(&h, now), style}, Cell{h.Text, style})
	}
	return t
}
