package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/netflow"
)

func newExporters() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "exporters [ADDRESS]",
		Short: "List who sends flows, how many, and what is wrong with them",
		Long: `Lists every observation domain of every exporter that a running instance remembers, and below them the way of all flows
from socket to store, which must add up. With an address, tells everything that is counted of that exporter. The JSON
form also holds templates, sampling rates and names. docs/explanation/ledger.md says what the figures mean.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var only netip.Addr
			if len(args) > 0 {
				var err error
				if only, err = netip.ParseAddr(args[0]); err != nil {
					return usageError{fmt.Errorf("exporter %q: want an IP address, as `weir exporters` lists them", args[0])}
				}
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var answer struct {
				Ledger    api.Ledger           `json:"ledger"`
				Exporters []collector.Exporter `json:"exporters"`
			}
			if err := c.Get(cmd.Context(), "/api/v1/exporters", &answer); err != nil {
				return err
			}
			if only.IsValid() {
				answer.Exporters = slices.DeleteFunc(answer.Exporters, func(e collector.Exporter) bool { return e.Exporter != only.Unmap() })
				if len(answer.Exporters) == 0 {
					return notFoundf("exporter %q: has sent nothing that is remembered", only)
				}
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, answer.Exporters)
			}
			if only.IsValid() {
				return exporterDetails(answer.Exporters, time.Now()).Write(out)
			}
			if len(answer.Exporters) == 0 {
				to := "one of its collector.listen"
				if in, ok := c.Instance(); ok {
					to = strings.Join(in.Listen, " or ")
				}
				_, err := fmt.Fprintf(out.W, "no exporter has sent anything yet; send NetFlow 5, NetFlow 9 or IPFIX to %s\n", to)
				return err
			}
			if err := exporterTable(answer.Exporters, time.Now()).Write(out); err != nil {
				return err
			}
			for _, line := range answer.Ledger.Lines() {
				if _, err := fmt.Fprintf(out.W, "\n%s: %s", line[0], line[1]); err != nil {
					return err
				}
			}
			if p := answer.Ledger.Problem; p != "" {
				fmt.Fprintf(out.W, "\nBUG: the books do not balance: %s", p)
			}
			_, err = fmt.Fprintln(out.W)
			return err
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func exporterTable(exporters []collector.Exporter, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{
		{Name: "EXPORTER"},
		{Name: "PROTOCOL"},
		{Name: "DOMAIN", Right: true},
		{Name: "LAST", Right: true},
		{Name: "DATAGRAMS", Right: true},
		{Name: "FLOWS", Right: true},
		{Name: "STORED", Right: true},
		{Name: "LOST BEFORE", Right: true},
		{Name: "CLOCK", Right: true},
		{Name: "TEMPLATES", Right: true},
		{Name: "SAMPLING"},
		{Name: "WAITING", Right: true},
		{Name: "DROPPED"},
	}}
	for i := range exporters {
		e := &exporters[i]
		last, dropped := cli.Plain, cli.Plain
		if !e.Live {
			last = cli.Warn
		}
		if len(e.Counts.Dropped) > 0 {
			dropped = cli.Bad
		}
		lost, clock := cli.Plain, cli.Plain
		if e.Loss.Lost > 0 {
			lost = cli.Bad
		}
		if e.Loss.ClockOff {
			clock = cli.Bad
		}
		t.Add(cli.Cell{Text: e.Exporter.String()}, cli.Cell{Text: protocolName(e.Protocol)}, cell(e.Domain),
			cli.Cell{Text: cli.Span(now.Sub(time.UnixMilli(e.LastSeen))), Style: last},
			cell(e.Counts.Datagrams), cell(e.Counts.Flows), cell(e.Rows.Stored),
			cli.Cell{Text: e.LossSummary(), Style: lost}, cli.Cell{Text: e.ClockSummary(), Style: clock}, cli.Cell{Text: templates(e)},
			cli.Cell{Text: e.SamplingSummary()}, cell(e.HeldNow), cli.Cell{Text: reasons(e.Counts.Dropped), Style: dropped})
	}
	return t
}

// exporterDetails writes everything that is counted of observation domains, one after the other.
func exporterDetails(exporters []collector.Exporter, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "DOMAIN", Right: true}, {Name: "WHAT"}, {Name: "FOUND"}}}
	for i := range exporters {
		e := &exporters[i]
		add := func(what string, bad bool, format string, args ...any) {
			style := cli.Plain
			if bad {
				style = cli.Bad
			}
			t.Add(cell(e.Domain), cell(what), cli.Cell{Text: fmt.Sprintf(format, args...), Style: style})
		}
		c, s, r := &e.Counts, &e.Loss, &e.Rows
		since := func(ms int64) string { return cli.Span(now.Sub(time.UnixMilli(ms))) }
		add("protocol", false, "%s", protocolName(e.Protocol))
		add("heard of", !e.Live, "first %s ago, last %s ago", since(e.FirstSeen), since(e.LastSeen))
		add("datagrams", false, "%d, %s", c.Datagrams, cli.Bytes(float64(c.Bytes)))
		add("records", false, "%d flows, %d no flow, %d option data", c.Flows, c.NoFlow, c.OptionRecords)
		add("flows", r.Lost+r.Unclear > 0, "%d = %d stored + %d on the way + %d lost + %d unclear; %d were logged",
			c.Flows, r.Stored, c.Flows-r.Stored-r.Lost-r.Unclear, r.Lost, r.Unclear, r.Logged)
		add("lost before here", s.Lost > 0, "%d of %d %s; %d may still come", s.Lost, s.Lost+s.Received, s.Unit, s.Missing)
		add("out of sequence", false, "%d late, %d twice or too late, %d restarts, %d jumps, %d unchecked", s.OutOfOrder, s.Duplicates, s.Restarts, s.Jumps, s.Unchecked)
		if s.Together {
			add("numbering", false, "of all domains together: what is lost may be another one's")
		}
		add("clock", s.ClockOff, "%s of ours; times of %d flows were changed", e.ClockSummary(), c.Clamped)
		add("templates", false, "%d known; %d sent, %d changes, %d withdrawals", len(e.Templates), c.Templates, c.Changes, c.Withdrawals)
		add("before its template", c.Expired > 0, "%d data sets = %d decoded later + %d wait + %d expired", c.Held, c.Replayed, e.HeldNow, c.Expired)
		add("sampling", false, "%s", e.SamplingSummary())
		if len(c.Dropped) > 0 {
			add("dropped", true, "%s", reasons(c.Dropped))
		}
	}
	return t
}

func cell(v any) cli.Cell { return cli.Cell{Text: fmt.Sprint(v)} }

func protocolName(version uint8) string {
	if version == netflow.VersionIPFIX {
		return "IPFIX"
	}
	return fmt.Sprintf("NetFlow %d", version)
}

// templates counts those of a domain, and those that it has not sent since Weir was started.
func templates(e *collector.Exporter) string {
	restored := 0
	for i := range e.Templates {
		if e.Templates[i].Restored {
			restored++
		}
	}
	if restored == 0 {
		return fmt.Sprint(len(e.Templates))
	}
	return fmt.Sprintf("%d, %d restored", len(e.Templates), restored)
}

// reasons writes counts by reason, as "truncated 3, unknown_version 1".
func reasons(n map[string]uint64) string {
	var list []string
	for reason, count := range n {
		list = append(list, fmt.Sprintf("%s %d", reason, count))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
