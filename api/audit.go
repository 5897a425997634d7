package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/store"
)

// AdminEvents are the administrative events: those of the store, and those on their way there.
type AdminEvents struct {
	Stored  func(ctx context.Context, q store.AdminQuery) ([]store.AdminEvent, error) // the newest first
	Waiting func(ctx context.Context, limit int) ([]audit.Entry, error)               // the oldest limit, by id
}

// AdminEvent is something that somebody asked to be changed.
type AdminEvent struct {
	ID        uint64          `json:"id" doc:"Ascends in the order in which things were changed, or refused."`
	Time      time.Time       `json:"time"`
	Actor     string          `json:"actor" doc:"User who asked; weir: by itself; empty: not known."`
	Role      string          `json:"role,omitempty"`
	Via       string          `json:"via,omitempty" doc:"How he is known: socket, session, token or nobody."`
	Token     string          `json:"token,omitempty" doc:"Id of the token that was presented."`
	Source    string          `json:"source,omitempty" doc:"Address that asked, socket, or what made Weir do it."`
	Request   string          `json:"request,omitempty" doc:"Id of the request: X-Request-Id of its answer."`
	Operation string          `json:"operation" doc:"What was asked, as host.add."`
	Object    string          `json:"object,omitempty" doc:"Name of what is changed, of the kind that the operation begins with."`
	Reason    string          `json:"reason,omitempty" doc:"Why, as he said."`
	Outcome   audit.Outcome   `json:"outcome" enum:"done,refused,failed" doc:"Unless it is done, nothing was changed."`
	Text      string          `json:"text,omitempty" doc:"Why it was not done."`
	Before    json.RawMessage `json:"before,omitempty" doc:"What was there before, without secrets; absent: nothing."`
	After     json.RawMessage `json:"after,omitempty" doc:"What was there afterwards, without secrets; absent: nothing."`
}

// StoredEvent is the row that the store has of an entry.
func StoredEvent(e *audit.Entry) store.AdminEvent {
	return store.AdminEvent{
		ID: e.ID, Time: e.At.UTC().Truncate(time.Millisecond), Actor: e.User, Role: e.Role, Via: string(e.Via), Token: e.Token, Source: e.Source, Request: e.Request,
		Operation: string(e.Operation), Object: e.Object, Reason: e.Reason, Outcome: string(cmp.Or(e.Outcome, audit.Done)), Text: e.Text,
		Before: string(e.Before), After: string(e.After),
	}
}

func adminEvent(e *store.AdminEvent) AdminEvent {
	x := AdminEvent{
		ID: e.ID, Time: e.Time, Actor: e.Actor, Role: e.Role, Via: e.Via, Token: e.Token, Source: e.Source, Request: e.Request, Operation: e.Operation,
		Object: e.Object, Reason: e.Reason, Outcome: audit.Outcome(e.Outcome), Text: e.Text,
	}
	for text, into := range map[*string]*json.RawMessage{&e.Before: &x.Before, &e.After: &x.After} {
		if json.Valid([]byte(*text)) {
			*into = json.RawMessage(*text)
		}
	}
	return x
}

// find returns the events that q asks for, the newest first. If the store does not answer, those that wait for it are returned together with the error.
func (a *AdminEvents) find(ctx context.Context, q store.AdminQuery) ([]store.AdminEvent, error) {
	const most = 20_000 // that wait
	waiting, err := a.Waiting(ctx, most)
	if err != nil {
		return nil, err
	}
	var list []store.AdminEvent
	for i := range waiting {
		if e := StoredEvent(&waiting[i]); q.Matches(&e) {
			list = append(list, e)
		}
	}
	stored, err := a.Stored(ctx, q)
	for i := range stored {
		// What has come to the store meanwhile is in both.
		if !slices.ContainsFunc(list, func(e store.AdminEvent) bool { return e.ID == stored[i].ID }) {
			list = append(list, stored[i])
		}
	}
	slices.SortFunc(list, func(x, y store.AdminEvent) int { return cmp.Compare(y.ID, x.ID) })
	return list[:min(len(list), q.Limit)], err
}

type adminEventsQuery struct {
	PageQuery
	From      time.Time `query:"from" doc:"Start, RFC 3339; default the first."`
	To        time.Time `query:"to" doc:"End, RFC 3339; default now."`
	Actor     string    `query:"actor" maxLength:"256" doc:"Of this user."`
	Operation string    `query:"operation" maxLength:"64" doc:"As host.add."`
	Object    string    `query:"object" maxLength:"1000" doc:"Name of what was changed."`
	Outcome   string    `query:"outcome" enum:"done,refused,failed" doc:"What became of it."`
}

type adminEventsBody struct {
	Events []AdminEvent `json:"events" doc:"The newest first."`
	Note   string       `json:"note,omitempty" doc:"Why older ones are missing, if they are."`
	Page
}

func (s *Server) auditRoutes(api huma.API) {
	read(api, huma.Operation{
		OperationID: "list-admin-events", Method: http.MethodGet, Path: "/api/v1/admin-events", Tags: []string{"events"},
		Summary: "What people asked to be changed, and what became of it",
	}, func(ctx context.Context, q *adminEventsQuery) (*body[adminEventsBody], error) {
		before, err := before(q.Cursor)
		if err != nil {
			return nil, err
		}
		list, err := s.deps.Admins.find(ctx, store.AdminQuery{
			From: q.From, To: q.To, Before: before, Actor: q.Actor, Operation: q.Operation, Object: q.Object, Outcome: q.Outcome, Limit: q.Limit + 1,
		})
		answer := adminEventsBody{Events: []AdminEvent{}}
		if err != nil {
			if ctx.Err() != nil { // who asked is gone
				return nil, huma.Error503ServiceUnavailable("cancelled")
			}
			answer.Note = "only what the store does not have yet: " + err.Error()
		}
		if len(list) > q.Limit {
			list = list[:q.Limit]
			answer.Next = encodeCursor(fmt.Sprint(list[len(list)-1].ID))
		}
		for i := range list {
			answer.Events = append(answer.Events, adminEvent(&list[i]))
		}
		return &body[adminEventsBody]{answer}, nil
	})
}

var errBadCursor = errors.New("want the next of an answer to the same question")

// A cursor is not to be made by clients: it is the key after which a page goes on, in base 64.
func encodeCursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodeCursor(cursor string) (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", errBadCursor
	}
	return string(key), nil
}

// before returns the number below which a page of a list with the newest first goes on; 0: at the newest.
func before(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	text, err := decodeCursor(cursor)
	n, parseErr := strconv.ParseUint(text, 10, 63)
	if err != nil || parseErr != nil || n == 0 {
		return 0, wrong("cursor", errBadCursor)
	}
	return n, nil
}
