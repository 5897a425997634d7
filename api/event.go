package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/state"
)

// EventSource is the log of events, as event.Log has it.
type EventSource interface {
	Events(ctx context.Context, q event.Query) ([]event.Event, error)
	Follow(ctx context.Context, after uint64, q event.Query, send func(events []event.Event, seen uint64) error) error
	LastID(ctx context.Context) (uint64, error)
}

// Event is a network event as the API tells it.
type Event struct {
	ID         uint64            `json:"id" doc:"Ascends in the order in which events were noticed, with gaps, over restarts too."`
	Time       time.Time         `json:"time" doc:"When it was noticed."`
	Kind       event.Kind        `json:"kind" doc:"What happened."`
	Severity   string            `json:"severity" enum:"error,warning,notice,info"`
	Subject    string            `json:"subject" doc:"Name of what it is about."`
	Text       string            `json:"text" doc:"What happened, in a line."`
	Attributes map[string]string `json:"attributes,omitempty" doc:"Facts in the text, for programs."`
	Pool       *Named            `json:"pool,omitempty"`
	Host       *Named            `json:"host,omitempty"`
	Bridge     *Named            `json:"bridge,omitempty"`
	Network    *Named            `json:"network,omitempty"`
	VM         *Named            `json:"vm,omitempty"`
	VIF        *Named            `json:"vif,omitempty"`
}

// Named is something of the estate.
type Named struct {
	ID   string `json:"id" doc:"As in the columns of tables; 64 bits, therefore text."`
	Name string `json:"name,omitempty" doc:"Name that it has now, if it is known."`
}

// NewEvent returns e with the names that s has.
func NewEvent(e *event.Event, s *estate.Snapshot) Event {
	named := func(id flow.ID) *Named {
		if id == 0 {
			return nil
		}
		n := &Named{ID: strconv.FormatUint(uint64(id), 10)}
		if found, ok := s.Entity(id); ok {
			n.Name = found.Name
		}
		return n
	}
	return Event{
		ID: e.ID, Time: e.Time, Kind: e.Kind, Severity: e.Kind.Severity().String(), Subject: e.Subject, Text: e.Text, Attributes: e.Attributes,
		Pool: named(e.Pool), Host: named(e.Host), Bridge: named(e.Bridge), Network: named(e.Network), VM: named(e.VM), VIF: named(e.VIF),
	}
}

// EventFilter are the parameters that say which events.
type EventFilter struct {
	Kind []string `query:"kind" maxItems:"50" doc:"Kinds, comma separated; empty is all." example:"host_lost,vif_moved"`
	Host string   `query:"host" maxLength:"256" doc:"Host that they are about, by name, pool/name, UUID or id."`
	VM   string   `query:"vm" maxLength:"256" doc:"VM that they are about, by name, pool/name, UUID or id."`
}

// query returns the filter in the terms of the log. Its error is the asker's.
func (f *EventFilter) query(s *estate.Snapshot) (q event.Query, err error) {
	for _, k := range f.Kind {
		kind := event.Kind(k)
		if !kind.Known() {
			return q, wrong("kind", fmt.Errorf("found %q, want one of %s", k, kindList()))
		}
		q.Kinds = append(q.Kinds, kind)
	}
	if q.Host, err = find(s, flow.KindHost, f.Host); err != nil {
		return q, unfound("host", err)
	}
	if q.VM, err = find(s, flow.KindVM, f.VM); err != nil {
		return q, unfound("vm", err)
	}
	return q, nil
}

// wrong is the answer to a parameter that is wrong.
func wrong(parameter string, err error) error {
	return huma.Error422UnprocessableEntity(parameter+": "+err.Error(), &huma.ErrorDetail{Location: "query." + parameter, Message: err.Error()})
}

// unfound is the answer to a parameter that names what find did not find.
func unfound(parameter string, err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return huma.Error404NotFound(parameter+": "+err.Error(), &huma.ErrorDetail{Location: "query." + parameter, Message: err.Error()})
	}
	return wrong(parameter, err)
}

func kindList() string {
	names := make([]string, len(event.Kinds))
	for i, k := range event.Kinds {
		names[i] = string(k.Kind)
	}
	return strings.Join(names, ", ")
}

// noEntity says that there is nothing of that name; it is state.ErrNotFound.
type noEntity struct {
	text string
	kind flow.Kind
}

func (e *noEntity) Error() string {
	return fmt.Sprintf("%q is no %s; of one that is no more, give the id", e.text, e.kind)
}

func (e *noEntity) Is(err error) bool { return err == state.ErrNotFound }

// find returns the id of the entity that a user means; 0 if nothing is meant. Its error is state.ErrNotFound where there is none of that name.
func find(s *estate.Snapshot, kind flow.Kind, text string) (flow.ID, error) {
	if text == "" {
		return 0, nil
	}
	if id, err := strconv.ParseUint(text, 10, 64); err == nil && id != 0 {
		return flow.ID(id), nil
	}
	pool, name, inPool := strings.Cut(text, "/")
	var found []flow.ID
	for _, e := range s.Entities() {
		if e.Kind != kind {
			continue
		}
		owner, _ := s.Entity(e.Pool)
		if e.Name == text || strings.EqualFold(e.Key, text) || inPool && e.Name == name && owner.Name == pool {
			found = append(found, e.ID)
		}
	}
	switch len(found) {
	case 0:
		return 0, &noEntity{text, kind}
	case 1:
		return found[0], nil
	default:
		return 0, fmt.Errorf("%q is the name of %d: write pool/name, or its UUID or id", text, len(found))
	}
}

// EventsQuery are the parameters of a list of events.
type EventsQuery struct {
	EventFilter
	From  time.Time `query:"from" doc:"Start, RFC 3339; default the first."`
	To    time.Time `query:"to" doc:"End, RFC 3339; default now."`
	Limit int       `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"At most so many, the newest of them."`

	Cursor string `query:"cursor" maxLength:"64" doc:"Go on with those before the page whose next it was."`
}

type eventsBody struct {
	Events []Event `json:"events" doc:"In the order in which they were noticed."`
	LastID uint64  `json:"last_id" doc:"Of the newest event, asked for or not: a stream after it goes on where this list ends; what is in both has the same id."`
	Note   string  `json:"note,omitempty" doc:"Why older ones are missing, if they are."`
	Page
}

// EventStreamQuery are the parameters of a stream of events.
type EventStreamQuery struct {
	EventFilter
	LastEventID string `header:"Last-Event-ID" doc:"Go on after the event of this id, as browsers ask when they come back."`
	After       string `query:"after" doc:"The same, for the first request."`
}

const (
	maxStreams   = 200
	heartbeat    = 15 * time.Second // tells a client, and what is between, that the stream lives
	streamWrite  = 30 * time.Second // longest that a client may take to accept something
	reconnectMs  = 2000
	eventsNormal = "text/event-stream"
)

func (s *Server) eventRoutes(api huma.API) {
	read(api, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/api/v1/events", Tags: []string{"events"},
		Summary: "What happened in the estate", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, p *EventsQuery) (*body[eventsBody], error) {
		snapshot := s.deps.Estate()
		q, err := p.query(snapshot)
		if err != nil {
			return nil, err
		}
		if q.Before, err = before(p.Cursor); err != nil {
			return nil, err
		}
		q.From, q.To, q.Limit = p.From, p.To, p.Limit+1
		last, err := s.deps.Events.LastID(ctx)
		if err != nil {
			return nil, huma.Error503ServiceUnavailable(err.Error())
		}
		events, err := s.deps.Events.Events(ctx, q)
		answer := eventsBody{LastID: last}
		if len(events) > p.Limit {
			events = events[len(events)-p.Limit:]
			answer.Next = encodeCursor(fmt.Sprint(events[0].ID))
		}
		answer.Events = make([]Event, len(events))
		if err != nil {
			if ctx.Err() != nil { // who asked is gone
				return nil, huma.Error503ServiceUnavailable("cancelled")
			}
			answer.Note = "only what is in memory: " + err.Error()
		}
		for i := range events {
			answer.Events[i] = NewEvent(&events[i], snapshot)
		}
		return &body[eventsBody]{answer}, nil
	})
	read(api, huma.Operation{
		OperationID: "stream-events", Method: http.MethodGet, Path: "/api/v1/events/stream", Tags: []string{"events"},
		Summary: "What happens in the estate, as it happens", Errors: []int{http.StatusNotFound},
		Description: "Server-sent events: id is the event's, event its kind, data the event as JSON. A client that comes back with Last-Event-ID misses none.",
		Responses: map[string]*huma.Response{"200": {
			Description: "Events without end.", Content: map[string]*huma.MediaType{eventsNormal: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, func(ctx context.Context, p *EventStreamQuery) (*huma.StreamResponse, error) {
		q, err := p.query(s.deps.Estate())
		if err != nil {
			return nil, err
		}
		after, err := s.after(ctx, p)
		if err != nil {
			return nil, err
		}
		if n := s.streams.Add(1); n > maxStreams {
			s.streams.Add(-1)
			return nil, huma.Error503ServiceUnavailable(fmt.Sprintf("%d streams are open: close some", maxStreams))
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer s.streams.Add(-1)
			_, w := humago.Unwrap(c)
			s.stream(c.Context(), w, q, after)
		}}, nil
	})
}

// after returns the id above which a stream begins.
func (s *Server) after(ctx context.Context, p *EventStreamQuery) (uint64, error) {
	text, parameter := p.LastEventID, "Last-Event-ID"
	if text == "" {
		text, parameter = p.After, "after"
	}
	if text == "" {
		id, err := s.deps.Events.LastID(ctx)
		if err != nil {
			return 0, huma.Error503ServiceUnavailable(err.Error())
		}
		return id, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, wrong(parameter, fmt.Errorf("found %q, want the id of an event", text))
	}
	return id, nil
}

// stream sends events until the client is gone, the server stops, or the log cannot say more.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, q event.Query, after uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", eventsNormal)
	write := func(text string) error {
		// A stream outlives the server's limit for an answer.
		if err := control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return control.Flush()
	}
	if err := write(fmt.Sprintf("retry: %d\n: events above %d\n\n", reconnectMs, after)); err != nil {
		return
	}
	chunks := make(chan string)
	failed := make(chan error, 1)
	go func() {
		failed <- s.deps.Events.Follow(ctx, after, q, func(events []event.Event, seen uint64) error {
			select {
			case chunks <- s.frames(events, seen):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		var err error
		select {
		case text := <-chunks:
			err = write(text)
		case <-tick.C:
			if !entryOf(ctx).still(ctx, permission("stream-events")) {
				err = errors.New("who asked may not any more")
				break
			}
			err = write(": \n\n")
		case err = <-failed:
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				s.deps.Log.Warn("event stream ended, clients come back", "err", err)
			}
			return
		}
		if err != nil { // the client is gone
			cancel()
			<-failed
			return
		}
	}
}

// frames writes events as the stream has them. Where the last ones were not asked for, their id goes along, so that a client that comes back does
// not look at them again.
func (s *Server) frames(events []event.Event, seen uint64) string {
	var out strings.Builder
	snapshot := s.deps.Estate()
	for i := range events {
		data, err := json.Marshal(NewEvent(&events[i], snapshot))
		if err != nil {
			panic("BUG: event as JSON: " + err.Error())
		}
		fmt.Fprintf(&out, "id: %d\nevent: %s\ndata: %s\n\n", events[i].ID, events[i].Kind, data)
	}
	if len(events) == 0 || events[len(events)-1].ID < seen {
		fmt.Fprintf(&out, "id: %d\n\n", seen)
	}
	return out.String()
}
