package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/event"
)

// eventsOptions are the flags of weir events.
type eventsOptions struct {
	data, last, from, to string
	kinds                []string
	host, vm             string
	limit                int
	follow, asJSON       bool
}

func newEvents() *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened in the estate: hosts and VIFs that come and go, exports, conflicts",
		Long: `Lists network events in the order in which they were noticed, of the last hour unless told. --follow goes on with those to
come, one a line, until it is interrupted; over a restart of Weir it misses none. With --json and --follow, each line is an event.

` + wordList("Kinds:", eventKinds()) + `.
docs/howto/watch-events.md says what each means and who else can be told.`,
		Example: `  weir events --last 1d
  weir events -f --kind host_lost,vif_moved
  weir events --host xcp1 --from 2026-11-24 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	apiFlags(cmd, &o.data)
	f.StringVar(&o.last, "last", "", "the last span of time, as 15m, 2h or 7d (default 1h)")
	f.StringVar(&o.from, "from", "", "start, as 2026-11-24 10:00 or now-2h")
	f.StringVar(&o.to, "to", "", "end, in the same forms (default now)")
	f.StringSliceVar(&o.kinds, "kind", nil, "only events of these kinds")
	f.StringVar(&o.host, "host", "", "only events about this host: its name, pool/name, UUID or id")
	f.StringVar(&o.vm, "vm", "", "only events about this VM: its name, pool/name, UUID or id")
	f.IntVar(&o.limit, "limit", 1000, "at most so many, the newest of them, up to 10000")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with those to come")
	jsonFlag(cmd, &o.asJSON)
	return cmd
}

func eventKinds() []string {
	names := make([]string, len(event.Kinds))
	for i, k := range event.Kinds {
		names[i] = string(k.Kind)
	}
	return names
}

// filter returns the parameters that say which events.
func (o *eventsOptions) filter() url.Values {
	v := url.Values{}
	if len(o.kinds) > 0 {
		v.Set("kind", strings.Join(o.kinds, ","))
	}
	if o.host != "" {
		v.Set("host", o.host)
	}
	if o.vm != "" {
		v.Set("vm", o.vm)
	}
	return v
}

func (o *eventsOptions) run(cmd *cobra.Command) error {
	now := time.Now()
	if o.last == "" && o.from == "" {
		o.last = "1h"
	}
	r, err := cli.ParseRange(o.last, o.from, o.to, now)
	if err != nil {
		return usageError{err}
	}
	if o.follow && o.to != "" {
		return usagef("--follow does not go with --to")
	}
	for _, k := range o.kinds {
		if !event.Kind(k).Known() {
			return usagef("kind %q: expected one of %s", k, strings.Join(eventKinds(), ", "))
		}
	}
	from, to, err := r.At(now)
	if err != nil {
		return usageError{err}
	}
	if o.limit < 1 || o.limit > 10_000 {
		return usagef("--limit %d: expected 1 to 10000", o.limit)
	}
	c, err := connect(cmd, o.data)
	if err != nil {
		return err
	}
	v := o.filter()
	v.Set("from", from.UTC().Format(time.RFC3339Nano))
	if o.to != "" {
		v.Set("to", to.UTC().Format(time.RFC3339Nano))
	}
	v.Set("limit", strconv.Itoa(o.limit))
	var answer struct {
		Events []api.Event `json:"events"`
		LastID uint64      `json:"last_id"`
		Note   string      `json:"note"`
	}
	if err := c.Get(cmd.Context(), "/api/v1/events?"+v.Encode(), &answer); err != nil {
		return err
	}
	out := outputOf(cmd, o.asJSON)
	if answer.Note != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", answer.Note)
	}
	if !o.follow {
		if o.asJSON {
			return cli.WriteJSON(out, answer.Events)
		}
		if len(answer.Events) == 0 {
			_, err := fmt.Fprintln(out.W, "no events")
			return err
		}
		return eventTable(answer.Events).Write(out)
	}
	shown := uint64(0)
	show := func(e *api.Event) error {
		if e.ID <= shown {
			return nil
		}
		shown = e.ID
		return writeEvent(out, e)
	}
	for i := range answer.Events {
		if err := show(&answer.Events[i]); err != nil {
			return err
		}
	}
	return o.stream(cmd, answer.LastID, show, func(err error) {
		fmt.Fprintf(cmd.ErrOrStderr(), "weir: %v; asking again\n", err)
	})
}

// eventStyles are how severities stand out.
var eventStyles = map[string]cli.Style{"error": cli.Bad, "warning": cli.Warn}

func eventTable(events []api.Event) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "TIME"}, {Name: "KIND"}, {Name: "SUBJECT"}, {Name: "WHAT"}}}
	for i := range events {
		e := &events[i]
		t.Add(cell(e.Time.Local().Format(time.DateTime)), cli.Cell{Text: string(e.Kind), Style: eventStyles[e.Severity]}, cell(e.Subject), cell(e.Text))
	}
	return t
}

// writeEvent writes one event as a line.
func writeEvent(out *cli.Output, e *api.Event) error {
	if out.JSON {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write event: %w", err)
		}
		_, err = out.W.Write(append(line, '\n'))
		return err
	}
	_, err := fmt.Fprintf(out.W, "%s  %s  %-20s  %s\n", e.Time.Local().Format(time.DateTime),
		out.Paint(fmt.Sprintf("%-18s", cli.Clean(string(e.Kind))), eventStyles[e.Severity]), cli.Clean(e.Subject), cli.Clean(e.Text))
	return err
}

const (
	streamRetry  = 2 * time.Second
	streamSilent = time.Minute // the server says something every 15 seconds
	maxEventLine = 1 << 20
)

// stream shows the events after an id until ctx is done. Where the instance is away for a moment, it is asked again, and complain is told once.
func (o *eventsOptions) stream(cmd *cobra.Command, after uint64, show func(*api.Event) error, complain func(error)) error {
	ctx := cmd.Context()
	away := false
	for ctx.Err() == nil {
		err := o.streamOnce(cmd, &after, show, func() { away = false })
		if final, ok := errors.AsType[*finalError](err); ok {
			return final.error
		}
		if !away && ctx.Err() == nil {
			complain(err)
			away = true
		}
		select {
		case <-time.After(streamRetry):
		case <-ctx.Done():
		}
	}
	return nil
}

// finalError is one after which asking again makes no sense.
type finalError struct{ error }

// streamOnce follows one stream; after is always the id of the last event that was seen.
func (o *eventsOptions) streamOnce(cmd *cobra.Command, after *uint64, show func(*api.Event) error, connected func()) error {
	c, err := connect(cmd, o.data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	silent := time.AfterFunc(streamSilent, cancel)
	defer silent.Stop()
	resp, err := c.Stream(ctx, client.Request{Path: "/api/v1/events/stream?" + o.filter().Encode(), EventID: strconv.FormatUint(*after, 10)})
	if err != nil {
		if p, ok := errors.AsType[*client.Problem](err); ok && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden) { // asking again does not help
			return &finalError{err}
		}
		return fmt.Errorf("ask weir for events: %w", err)
	}
	defer resp.Body.Close()
	connected()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventLine)
	id := *after
	var data []byte
	for lines.Scan() {
		silent.Reset(streamSilent)
		line := lines.Text()
		switch name, value, _ := strings.Cut(line, ": "); {
		case name == "id":
			if id, err = strconv.ParseUint(value, 10, 64); err != nil {
				return fmt.Errorf("read event: id: %w", err)
			}
		case name == "data":
			data = []byte(value)
		case line == "":
			if data != nil {
				var e api.Event
				if err := json.Unmarshal(data, &e); err != nil {
					return fmt.Errorf("read event: %w", err)
				}
				if err := show(&e); err != nil {
					return &finalError{err}
				}
				data = nil
			}
			*after = id
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return errors.New("read events: weir has closed the stream")
}
