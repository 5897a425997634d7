package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/instance"
)

func newStatus() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a running instance does, from socket to store",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := instance.Find(data)
			if err != nil {
				return err
			}
			var s api.Status
			if err := getJSON(cmd.Context(), in, "/api/v1/status", &s); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, s)
			}
			return statusTable(&s, time.Now()).Write(out)
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func statusTable(s *api.Status, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
	add := func(what string, style cli.Style, format string, args ...any) {
		t.Add(cli.Cell{Text: what}, cli.Cell{Text: fmt.Sprintf(format, args...), Style: style})
	}
	badIf := func(bad bool) cli.Style {
		if bad {
			return cli.Bad
		}
		return cli.Plain
	}
	add("version", cli.Plain, "%s, up %s", s.Version, cli.Span(now.Sub(s.Started)))
	add("listening", cli.Plain, "%s", strings.Join(s.Listen, ", "))
	if s.Store.Problem != "" {
		add("store", cli.Bad, "%s at %s: %s", s.Store.Mode, s.Store.Addr, s.Store.Problem)
	} else {
		add("store", cli.Plain, "%s at %s answers", s.Store.Mode, s.Store.Addr)
	}
	if s.Store.Restarts > 0 {
		add("store restarts", cli.Bad, "%d", s.Store.Restarts)
	}
	e := &s.Estate
	add("estate", cli.Plain, "%s", strings.Join(e.Counts(), ", "))
	if e.Problem != "" {
		add("estate file", cli.Bad, "%s", e.Problem)
	}
	c := &s.Collector
	add("datagrams", cli.Plain, "%d read, %d decoded", c.Datagrams, c.Decoded)
	add("dropped by kernel", badIf(c.KernelDrops > 0), "%d", c.KernelDrops)
	if len(c.Dropped) > 0 {
		add("faulty datagrams", cli.Bad, "%s", reasons(c.Dropped))
	}
	add("flows", cli.Plain, "%d decoded, %d stored, %d on the way", c.Flows, s.Writer.Stored.Rows, s.OnTheWay())
	if lost := s.Lost(); len(lost) > 0 {
		add("flows not stored", cli.Bad, "%s", reasons(lost))
	}
	w := &s.Writer.WAL
	logLine := fmt.Sprintf("%d batches wait, %s of %s", w.Waiting, bytesize.Size(w.Bytes), bytesize.Size(w.MaxBytes))
	if !w.Oldest.IsZero() {
		logLine += fmt.Sprintf(", the oldest %s old", cli.Span(now.Sub(w.Oldest)))
	}
	add("write-ahead log", badIf(!w.FullSince.IsZero()), "%s", logLine)
	if !w.FullSince.IsZero() {
		add("log full", cli.Bad, "for %s: flows wait in memory and are dropped when that is full too", cli.Span(now.Sub(w.FullSince)))
	}
	if w.Problem != "" {
		add("log disk", cli.Bad, "%d batches in memory only: %s", w.Volatile, w.Problem)
	}
	if w.Torn+w.Corrupt > 0 {
		add("log damage", cli.Warn, "%d torn, %d corrupt", w.Torn, w.Corrupt)
	}
	if s.Writer.LastError != "" {
		add("last store error", cli.Warn, "%s ago: %s", cli.Span(now.Sub(s.Writer.LastErrorAt)), s.Writer.LastError)
	}
	return t
}
