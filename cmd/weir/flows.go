package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store"
)

func newFlows() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "Ask about flows",
		Long: `Asks the store of the instance on this machine, or, with --server, the API of one elsewhere: the answers are the same. weir sql, which asks the store
itself, works on the machine only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newFlowsTop(), newFlowsList())
	return cmd
}

// flowsOptions are the flags that all questions about flows share.
type flowsOptions struct {
	data, last, from, to, filter, direction string
	by, units, verdicts                     []string
	limit                                   int
	watch, explain, asJSON                  bool
}

// flags adds the flags to cmd, which shows that many rows unless told.
func (o *flowsOptions) flags(cmd *cobra.Command, rows int) {
	f := cmd.Flags()
	apiFlags(cmd, &o.data)
	f.StringVar(&o.last, "last", "", "the last span of time, as 15m, 2h or 7d (default 15m)")
	f.StringVar(&o.from, "from", "", "start, as 2026-11-24 10:00 or now-2h")
	f.StringVar(&o.to, "to", "", "end, in the same forms (default now)")
	f.StringVar(&o.filter, "filter", "", `filter, as: src_vm = web-01 and port = 443`)
	f.StringSliceVar(&o.verdicts, "verdict", nil, "only what policy did this with: "+strings.Join(verdictField.Words(), ", "))
	f.StringVar(&o.direction, "direction", "both", "narrows fields that mean either end: in, out or both")
	f.IntVar(&o.limit, "limit", 0, fmt.Sprintf("rows (default %d)", rows))
	f.BoolVar(&o.watch, "watch", false, "ask again every 2 seconds until interrupted")
	f.BoolVar(&o.explain, "explain", false, "print the SQL instead of asking it")
	jsonFlag(cmd, &o.asJSON)
}

var verdictField, _ = query.FieldByName("verdict")

// verdictColumns are those that a list shows of what policy did something with.
var verdictColumns = []string{
	"network", "src_vm", "src_addr", "src_port", "dst_vm", "dst_addr", "dst_port", "protocol", "bytes", "packets", "rule", "stage", "verdict", "host",
}

// onlyVerdicts adds those that were asked for to the filter.
func (o *flowsOptions) onlyVerdicts() error {
	if len(o.verdicts) == 0 {
		return nil
	}
	for _, v := range o.verdicts {
		if !slices.Contains(verdictField.Words(), v) {
			return usageError{fmt.Errorf("verdict %q: want one of %s", v, strings.Join(verdictField.Words(), ", "))}
		}
	}
	if _, err := query.Parse(o.filter); err != nil { // by its own places
		return usageError{err}
	}
	only := "verdict in (" + strings.Join(o.verdicts, ", ") + ")"
	if strings.TrimSpace(o.filter) != "" {
		only = "(" + o.filter + ") and " + only
	}
	o.filter = only
	return nil
}

func newFlowsTop() *cobra.Command {
	var o flowsOptions
	var bottom, split, noOther bool
	var traffic string
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the largest talkers, by any field",
		Long: `Shows the largest groups of flows by one or more fields, what is left as "other", and the total. Figures count each packet
once, however many exporters saw it, and are multiplied by the sampling rate. They are of what was sent; --traffic asks for what was
delivered, or what policy denied.

` + wordList("Fields:", groupable()) + `.
The filter language is described in docs/reference/filter.md.`,
		Example: `  weir flows top --by src_vm --last 15m --watch
  weir flows top --by network,service --unit bps --filter 'direction = inbound'
  weir flows top --by dst_addr --filter 'src_vm = web-01 and not addr in 10.0.0.0/8'
  weir flows top --by rule --traffic denied`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, query.Request{Kind: query.Top, Bottom: bottom, Split: split, Other: !noOther, Total: true, Traffic: query.Traffic(traffic)})
		},
	}
	o.flags(cmd, 10)
	f := cmd.Flags()
	f.StringSliceVar(&o.by, "by", []string{"src_vm"}, "fields to group by")
	f.StringSliceVar(&o.units, "unit", []string{"bytes", "packets", "flows"}, "figures: bytes, bits, packets, flows, bps, pps, fps; the first one ranks")
	f.StringVar(&traffic, "traffic", string(query.Seen), "which packets: seen, delivered or denied")
	f.BoolVar(&bottom, "bottom", false, "show the smallest groups")
	f.BoolVar(&split, "split", false, "also show what is in and what is out")
	f.BoolVar(&noOther, "no-other", false, "leave out the row for all other groups")
	return cmd
}

func newFlowsList() *cobra.Command {
	var o flowsOptions
	var observations bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List single flow records, newest first",
		Long: `Lists flow records as they are stored, each with the time at which it was received. Figures are as reported: "×100" stands
beside those of a sampled flow.

` + wordList("Columns:", fieldNames()) + `.
The filter language is described in docs/reference/filter.md.`,
		Example: `  weir flows list --last 5m --filter 'addr = 192.0.2.10'
  weir flows list --verdict denied --filter 'dst_vm = db-01'
  weir flows list --columns src_addr,dst_addr,dst_port,bytes --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.verdicts) > 0 && len(o.by) == 0 {
				o.by = verdictColumns
			}
			return o.run(cmd, query.Request{Kind: query.List, Observations: observations})
		},
	}
	o.flags(cmd, 100)
	cmd.Flags().StringSliceVar(&o.by, "columns", nil, "fields to show (default: the usual ones)")
	cmd.Flags().BoolVar(&observations, "observations", false, "also list records of packets that another exporter's record counts")
	return cmd
}

// wordList is a paragraph of help that lists words.
func wordList(label string, words []string) string {
	var b strings.Builder
	line, _ := b.WriteString(label)
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		if line+1+len(w) > 118 {
			b.WriteString("\n" + w)
			line = len(w)
			continue
		}
		b.WriteString(" " + w)
		line += 1 + len(w)
	}
	return b.String()
}

func fieldNames() []string {
	names := make([]string, len(query.Fields))
	for i := range query.Fields {
		names[i] = query.Fields[i].Name
	}
	return names
}

func groupable() []string {
	var names []string
	for i := range query.Fields {
		if f := &query.Fields[i]; f.Groupable() {
			names = append(names, f.Name)
		}
	}
	return names
}

func (o *flowsOptions) run(cmd *cobra.Command, r query.Request) error {
	span, err := cli.ParseRange(o.last, o.from, o.to, time.Now())
	if err != nil {
		return usageError{err}
	}
	if cmd.Flags().Changed("limit") && o.limit == 0 { // in a request it is the usual number
		return usagef("limit: found 0: expected 1 to 10000")
	}
	if err := o.onlyVerdicts(); err != nil {
		return err
	}
	r.By, r.Filter, r.Direction, r.Limit = o.by, o.filter, query.Direction(o.direction), o.limit
	for _, u := range o.units {
		r.Units = append(r.Units, query.Unit(u))
	}
	out := outputOf(cmd, o.asJSON)
	if o.explain {
		if r.From, r.To, err = span.At(time.Now()); err != nil {
			return usageError{err}
		}
		return mistake(cli.Explain(r, query.Tables, out, time.Now()))
	}
	ask, done, err := o.asking(cmd)
	if err != nil {
		return err
	}
	defer done()
	show := func(ctx context.Context, out *cli.Output, now time.Time) error {
		if r.From, r.To, err = span.At(now); err != nil {
			return usageError{err}
		}
		return mistake(ask(ctx, r, out, now))
	}
	if o.watch {
		return cli.Watch(cmd.Context(), out, 2*time.Second, time.Now, show)
	}
	return show(cmd.Context(), out, time.Now())
}

// asking returns what asks about flows and shows them: the store of the instance on this machine, or the API of one elsewhere; done is called afterwards.
func (o *flowsOptions) asking(cmd *cobra.Command) (ask func(context.Context, query.Request, *cli.Output, time.Time) error, done func(), err error) {
	a, err := connect(cmd, o.data)
	if err != nil {
		return nil, nil, err
	}
	in, here := a.Instance()
	if !here {
		return func(ctx context.Context, r query.Request, out *cli.Output, now time.Time) error {
			var answer cli.Answer
			_, err := a.Send(ctx, client.Request{Method: http.MethodPost, Path: "/api/v1/flows", Body: api.AskFlows(r), Into: &answer, Timeout: questionTimeout})
			if err != nil {
				return err
			}
			return cli.Answered(r, &answer, query.Tables, out, now)
		}, func() {}, nil
	}
	cfg, _, err := loadConfig(in.Config, in.Data)
	if err != nil {
		return nil, nil, err
	}
	reader, err := readerOf(in)
	if err != nil {
		return nil, nil, err
	}
	c, err := store.Open(reader)
	if err != nil {
		return nil, nil, err
	}
	tables := tablesOf(&cfg)
	return func(ctx context.Context, r query.Request, out *cli.Output, now time.Time) error {
		return cli.Flows(ctx, cli.Conn(c.Conn()), r, tables, out, now)
	}, func() { _ = c.Close() }, nil
}

// questionTimeout is how long a question about flows or rules may take.
const questionTimeout = 5 * time.Minute

// mistake makes what the user asked wrongly a usage error.
func mistake(err error) error {
	if _, ok := errors.AsType[*query.Error](err); ok {
		return usageError{err}
	}
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusUnprocessableEntity {
		return usageError{err}
	}
	return err
}

// tablesOf are the tables, with what they keep as it is configured.
func tablesOf(cfg *config) []query.Table {
	return query.Keeping(query.Tables, cfg.Store.Retention.Age.ByTable())
}

// flows answers the API's questions.
func (n *node) flows(ctx context.Context, r query.Request) (api.FlowsAnswer, error) {
	now, tables := time.Now(), tablesOf(&n.config)
	plan, err := query.Build(r, tables, now)
	if err != nil {
		return api.FlowsAnswer{}, err
	}
	var rows, notes bytes.Buffer
	if err := cli.Flows(ctx, cli.Conn(n.reader.Conn()), r, tables, &cli.Output{W: &rows, Err: &notes, JSON: true}, now); err != nil {
		return api.FlowsAnswer{}, fmt.Errorf("ask about flows: %w", err)
	}
	return api.FlowsAnswer{Columns: plan.Columns, Rows: json.RawMessage(rows.Bytes()), Table: plan.Table, Notes: lines(notes.String())}, nil
}

func lines(s string) []string {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
