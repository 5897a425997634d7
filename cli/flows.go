package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/query"
)

// Flows asks for flows and shows them: tops and series as tables with units, lists with one line a record, and in JSON
// every column of the plan. A name in the filter that nothing goes by is an error that says which names are near. An
// empty answer says where to look. now is the time of the question, in the zone in which times are shown; tables are
// [query.Tables].
//
// Errors of type [*query.Error] are mistakes of the user.
func Flows(ctx context.Context, db DB, r query.Request, tables []query.Table, o *Output, now time.Time) error {
	p, err := query.Build(r, tables, now)
	if err != nil {
		return err
	}
	known, err := checkNames(ctx, db, p.Names)
	if err != nil {
		return err
	}
	if query.Several(p.Names, known) {
		if p, err = query.Build(r, query.Single(tables), now); err != nil {
			return err
		}
	}
	types := make([]string, len(p.Columns))
	for i, c := range p.Columns {
		types[i] = c.Type
	}
	records, err := ask(ctx, db, p.Statement, types...)
	if err != nil {
		return fmt.Errorf("ask table %q: %w", p.Table, err)
	}
	empty := isEmpty(r, p, records)
	if empty && len(r.By) > 0 {
		records = nil // there may be a total of nothing
	}
	if o.JSON {
		err = writeJSON(o.W, p.Columns, records)
	} else if !empty {
		err = (&view{r, p, now.Location()}).table(records).Write(o)
	}
	if err == nil && empty {
		err = explainEmpty(ctx, db, r, p, tables, o, now)
	}
	if err != nil {
		return err
	}
	return writeNotes(o, p.Notes)
}

// Explain shows how a request would be answered, and asks nothing.
func Explain(r query.Request, tables []query.Table, o *Output, now time.Time) error {
	p, err := query.Build(r, tables, now)
	if err != nil {
		return err
	}
	var s strings.Builder
	s.WriteString(p.SQL + "\n\n")
	for _, x := range p.Params {
		fmt.Fprintf(&s, "-- %s %s = %s\n", x.Name, x.Type, strconv.Quote(x.Value))
	}
	for _, x := range p.Parts {
		fmt.Fprintf(&s, "-- reads %s from %s to %s\n", x.Table, x.From.Format(time.RFC3339), x.To.Format(time.RFC3339))
	}
	if _, err := io.WriteString(o.W, s.String()); err != nil {
		return err
	}
	return writeNotes(o, p.Notes)
}

// checkNames returns what goes by the names, and refuses those that nothing goes by.
func checkNames(ctx context.Context, db DB, names []query.Name) ([]query.KnownEntity, error) {
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := ask(ctx, db, query.KnownNames(names), "String", "String", "String")
	if err != nil {
		return nil, fmt.Errorf("look up names: %w", err)
	}
	known := make([]query.KnownEntity, 0, len(rows))
	for _, r := range rows {
		known = append(known, query.KnownEntity{Kind: r[0].(string), Name: r[1].(string), Key: r[2].(string)})
	}
	missing := query.Missing(names, known)
	if len(missing) == 0 {
		return known, nil
	}
	rows, err = ask(ctx, db, query.SimilarNames(missing[0]), "String")
	if err != nil {
		return nil, fmt.Errorf("look up names: %w", err)
	}
	var similar []string
	for _, r := range rows {
		similar = append(similar, Clean(r[0].(string)))
	}
	return nil, missing[0].Unknown(similar)
}

// isEmpty reports whether an answer has nothing to show: no group and no record, or a total of nothing.
func isEmpty(r query.Request, p *query.Plan, records []record) bool {
	switch {
	case len(records) == 0:
		return true
	case r.Kind != query.Top:
		return false
	case len(r.By) > 0:
		return records[0][0] != query.RowTop
	}
	for _, rec := range records {
		for i, c := range p.Columns {
			if c.Role == query.RoleValue && number(rec[i]) != 0 {
				return false
			}
		}
	}
	return true
}

// explainEmpty says why there may be nothing to show.
func explainEmpty(ctx context.Context, db DB, r query.Request, p *query.Plan, tables []query.Table, o *Output, now time.Time) error {
	rows, err := ask(ctx, db, query.Newest(tables), "UInt64", "DateTime64")
	if err != nil {
		return fmt.Errorf("look for flows: %w", err)
	}
	records, newest := rows[0][0].(uint64), rows[0][1].(time.Time)
	span := "from " + p.From.In(now.Location()).Format(time.DateTime) + " to " + p.To.In(now.Location()).Format(time.DateTime)
	if age := now.Sub(r.To); age >= 0 && age < time.Second {
		span = "in the last " + Span(r.To.Sub(r.From).Round(time.Second))
	}
	var text string
	switch {
	case records == 0:
		text = "no flows yet: nothing has been stored; see weir exporters and weir doctor"
	case newest.Before(p.From):
		text = "no flows " + span + "; the newest is " + Span(now.Sub(newest)) + " old; see weir exporters"
	default:
		rows, err := ask(ctx, db, query.Records(p.From, p.To, tables), "UInt64")
		if err != nil {
			return fmt.Errorf("look for flows: %w", err)
		}
		if n := rows[0][0].(uint64); n == 0 {
			text = "no flows " + span + "; there are others before or after it"
		} else {
			text = "nothing matches " + span + ", in " + Count(float64(n)) + " records"
		}
	}
	_, err = fmt.Fprintln(o.beside(), o.Paint(text, Dim))
	return err
}

func writeNotes(o *Output, notes []string) error {
	for _, n := range notes {
		if _, err := fmt.Fprintln(o.beside(), o.Paint("note: "+n, Dim)); err != nil {
			return err
		}
	}
	return nil
}
