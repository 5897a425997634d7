package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd/audit"
)

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who changed what, from where and why",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditList())
	return cmd
}

// auditOptions are the flags of weir audit list.
type auditOptions struct {
	data, last, from, to              string
	actor, operation, object, outcome string
	limit                             int
	changes, asJSON                   bool
}

func newAuditList() *cobra.Command {
	var o auditOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List changes that people made, or were refused, the newest first",
		Long: `Lists every change that somebody asked for, with what became of it, and every failed login: of the last day unless told. --changes shows below each what was
there before and after. With --json all of it is printed. Looking at something is not told.`,
		Example: `  weir audit list --last 7d --actor vera
  weir audit list --operation policy.apply --changes
  weir audit list --outcome refused --last 30d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	apiFlags(cmd, &o.data)
	f := cmd.Flags()
	f.StringVar(&o.last, "last", "", "the last span of time, as 15m, 2h or 7d (default 1d)")
	f.StringVar(&o.from, "from", "", "start, as 2026-11-24 10:00 or now-2h")
	f.StringVar(&o.to, "to", "", "end, in the same forms (default now)")
	f.StringVar(&o.actor, "actor", "", "only what this user asked for")
	f.StringVar(&o.operation, "operation", "", "only this, as policy.apply; weir role list tells all")
	f.StringVar(&o.object, "object", "", "only what was asked of this, by its name")
	f.StringVar(&o.outcome, "outcome", "", "only what became of it so: "+strings.Join(outcomes(), ", "))
	f.IntVar(&o.limit, "limit", 200, "at most so many, up to 100000")
	f.BoolVar(&o.changes, "changes", false, "show what was there before and after")
	jsonFlag(cmd, &o.asJSON)
	return cmd
}

func outcomes() []string {
	return []string{string(audit.Done), string(audit.Refused), string(audit.Failed)}
}

// changeNames are what changes are told as.
func changeNames() []string {
	var list []string
	for _, p := range api.Permissions() {
		if p.Change != "" {
			list = append(list, string(p.Change))
		}
	}
	return list
}

func (o *auditOptions) run(cmd *cobra.Command) error {
	now := time.Now()
	if o.last == "" && o.from == "" {
		o.last = "1d"
	}
	span, err := cli.ParseRange(o.last, o.from, o.to, now)
	if err != nil {
		return usageError{err}
	}
	from, to, err := span.At(now)
	if err != nil {
		return usageError{err}
	}
	if o.limit < 1 || o.limit > 100_000 {
		return usagef("--limit %d: expected 1 to 100000", o.limit)
	}
	if o.outcome != "" && !slices.Contains(outcomes(), o.outcome) {
		return usagef("--outcome %q: expected one of %s", o.outcome, strings.Join(outcomes(), ", "))
	}
	c, err := connect(cmd, o.data)
	if err != nil {
		return err
	}
	v := url.Values{"from": {from.UTC().Format(time.RFC3339Nano)}}
	if o.to != "" {
		v.Set("to", to.UTC().Format(time.RFC3339Nano))
	}
	for name, value := range map[string]string{"actor": o.actor, "operation": o.operation, "object": o.object, "outcome": o.outcome} {
		if value != "" {
			v.Set(name, value)
		}
	}
	list, note, err := askAudit(cmd.Context(), c, v, o.limit)
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", note)
	}
	out := outputOf(cmd, o.asJSON)
	switch {
	case o.asJSON:
		return cli.WriteJSON(out, list)
	case len(list) == 0:
		_, err := fmt.Fprintln(out.W, "nothing was changed, or refused")
		return err
	case o.changes:
		return writeAudit(out, list)
	default:
		return auditTable(list).Write(out)
	}
}

// askAudit asks for the newest events, at most limit of them.
func askAudit(ctx context.Context, c *client.API, v url.Values, limit int) (list []api.AdminEvent, note string, err error) {
	list = []api.AdminEvent{}
	for len(list) < limit {
		v.Set("limit", strconv.Itoa(min(1000, limit-len(list))))
		var page struct {
			Events []api.AdminEvent `json:"events"`
			Note   string           `json:"note"`
			Next   string           `json:"next"`
		}
		if err := c.Get(ctx, "/api/v1/admin-events?"+v.Encode(), &page); err != nil {
			return nil, "", err
		}
		list, note = append(list, page.Events...), cmp.Or(page.Note, note)
		if page.Next == "" {
			break
		}
		v.Set("cursor", page.Next)
	}
	return list, note, nil
}

// outcomeStyles are how outcomes stand out.
var outcomeStyles = map[audit.Outcome]cli.Style{audit.Refused: cli.Warn, audit.Failed: cli.Bad}

func auditTable(list []api.AdminEvent) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "TIME"}, {Name: "WHO"}, {Name: "FROM"}, {Name: "WHAT"}, {Name: "OF"}, {Name: "OUTCOME"}, {Name: "WHY"}}}
	for i := range list {
		e := &list[i]
		t.Add(cell(e.Time.Local().Format(time.DateTime)), cell(firstOf(e.Actor, "(not known)")), cell(auditSource(e)), cell(e.Operation), cell(e.Object),
			cli.Cell{Text: string(e.Outcome), Style: outcomeStyles[e.Outcome]}, cell(firstOf(e.Text, e.Reason)))
	}
	return t
}

// auditSource says from where, and by what, something was asked.
func auditSource(e *api.AdminEvent) string {
	if e.Via == "" || e.Via == e.Source {
		return e.Source
	}
	return e.Source + ", " + e.Via
}

// writeAudit shows events with what they changed.
func writeAudit(out *cli.Output, list []api.AdminEvent) error {
	for i := range list {
		e := &list[i]
		fmt.Fprintf(out.W, "%s  %s  %s %s  %s\n", e.Time.Local().Format(time.DateTime), cli.Clean(firstOf(e.Actor, "(not known)")), cli.Clean(e.Operation), cli.Clean(e.Object),
			out.Paint(string(e.Outcome), outcomeStyles[e.Outcome]))
		if why := firstOf(e.Text, e.Reason); why != "" {
			fmt.Fprintf(out.W, "  %s\n", cli.Clean(why))
		}
		for _, line := range changedFields(e.Before, e.After) {
			if _, err := fmt.Fprintf(out.W, "  %s\n", cli.Clean(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// changedFields says of which fields the values differ, in their order: "role: viewer → operator".
func changedFields(before, after json.RawMessage) []string {
	b, a := fieldsOf(before), fieldsOf(after)
	names := map[string]bool{}
	for name := range b {
		names[name] = true
	}
	for name := range a {
		names[name] = true
	}
	var list []string
	for name := range names {
		was, is := b[name], a[name]
		switch {
		case was == is:
		case was == "":
			list = append(list, name+": "+is)
		case is == "":
			list = append(list, name+": "+was+" → (gone)")
		default:
			list = append(list, name+": "+was+" → "+is)
		}
	}
	slices.Sort(list)
	return list
}

// fieldsOf are the properties of an object, as text. What is no object has one, called "it".
func fieldsOf(text json.RawMessage) map[string]string {
	if len(text) == 0 {
		return nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil {
		return map[string]string{"it": short(text)}
	}
	fields := map[string]string{}
	for name, value := range object {
		fields[name] = short(value)
	}
	return fields
}

// short is a JSON value on a line, cut where it is long; of a string, without quotes.
func short(value json.RawMessage) string {
	const longest = 200
	var text string
	if json.Unmarshal(value, &text) != nil {
		var b bytes.Buffer
		if json.Compact(&b, value) != nil {
			return ""
		}
		text = b.String()
	}
	if r := []rune(text); len(r) > longest {
		text = string(r[:longest]) + "…"
	}
	return text
}
