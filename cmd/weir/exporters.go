package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/internal/instance"
)

func newExporters() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "exporters",
		Short: "List who sends flows, how many, and what is wrong with them",
		Long: `Lists every observation domain of every exporter that a running instance remembers. The JSON form also holds its
templates, sampling rates and names.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := instance.Find(data)
			if err != nil {
				return err
			}
			var answer struct {
				Exporters []collector.Exporter `json:"exporters"`
			}
			if err := getJSON(cmd.Context(), in, "/api/v1/exporters", &answer); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, answer.Exporters)
			}
			if len(answer.Exporters) == 0 {
				_, err := fmt.Fprintf(out.W, "no exporter has sent anything yet; send NetFlow 5, NetFlow 9 or IPFIX to %s\n", strings.Join(in.Listen, " or "))
				return err
			}
			return exporterTable(answer.Exporters, time.Now()).Write(out)
		},
	}
	dataFlag(cmd, &data)
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
		t.Add(cli.Cell{Text: e.Exporter.String()}, cli.Cell{Text: protocolName(e.Protocol)}, cell(e.Domain),
			cli.Cell{Text: cli.Span(now.Sub(time.UnixMilli(e.LastSeen))), Style: last},
			cell(e.Counts.Datagrams), cell(e.Counts.Flows), cli.Cell{Text: templates(e)},
			cli.Cell{Text: e.SamplingSummary()}, cell(e.HeldNow), cli.Cell{Text: reasons(e.Counts.Dropped), Style: dropped})
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
