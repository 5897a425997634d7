package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

const patience = 2 * time.Minute // on a busy machine

// events is a log in memory.
type events struct {
	mu   sync.Mutex
	list []event.Event // guarded by mu
	news chan struct{} // guarded by mu: closed by the next add
	away error         // of the store
}

func newEvents(list ...event.Event) *events { return &events{list: list, news: make(chan struct{})} }

func (e *events) add(x event.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, x)
	close(e.news)
	e.news = make(chan struct{})
}

func (e *events) LastID(context.Context) (uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return 0, nil
	}
	return e.list[len(e.list)-1].ID, nil
}

func (e *events) Events(_ context.Context, q event.Query) (found []event.Event, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.list {
		if q.Matches(&x) {
			found = append(found, x)
		}
	}
	return found[max(0, len(found)-q.Limit):], e.away
}

func (e *events) Follow(ctx context.Context, after uint64, q event.Query, send func([]event.Event, uint64) error) error {
	for {
		e.mu.Lock()
		news, seen := e.news, after
		var found []event.Event
		for _, x := range e.list {
			if x.ID > after {
				seen = x.ID
				if q.Matches(&x) {
					found = append(found, x)
				}
			}
		}
		e.mu.Unlock()
		if seen > after {
			after = seen
			if err := send(found, seen); err != nil {
				return err
			}
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func estateOf(t *testing.T) (*estate.Snapshot, map[string]flow.ID) {
	t.Helper()
	s, err := estate.Compile(&estate.Model{
		Pools: []estate.Pool{{Name: "berlin"}, {Name: "paris"}},
		Hosts: []estate.Host{{Name: "xcp1", Pool: "berlin"}, {Name: "xcp1", Pool: "paris"}, {Name: "kvm1", UUID: "6D4F8C11-8d7b-4c06-9a53-0e2b3f1c5a9e"}},
		VMs:   []estate.VM{{Name: "web-01"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]flow.ID{}
	for _, e := range s.Entities() {
		if e.Kind == flow.KindPool {
			ids[e.Name] = e.ID
			continue
		}
		pool, _ := s.Entity(e.Pool)
		ids[strings.TrimPrefix(pool.Name+"/"+e.Name, "/")] = e.ID
	}
	return s, ids
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// eventServer serves three events.
func eventServer(t *testing.T) (*running, *events, map[string]flow.ID) {
	t.Helper()
	snapshot, ids := estateOf(t)
	log := newEvents(
		event.Event{ID: 5, Time: noon, Kind: event.HostLost, Host: ids["berlin/xcp1"], Pool: ids["berlin"], Subject: "xcp1", Text: "no answer", Attributes: map[string]string{"a": "b"}},
		event.Event{ID: 6, Time: noon.Add(time.Minute), Kind: event.VIFPlugged, Host: ids["kvm1"], VM: ids["web-01"], VIF: 1 << 63, Subject: "web-01/0"},
		event.Event{ID: 9, Time: noon.Add(2 * time.Minute), Kind: event.HostConnected, Host: ids["berlin/xcp1"], Subject: "xcp1"},
	)
	return serve(t, api.Deps{Estate: staticEstate(snapshot), Events: log}), log, ids
}

func staticEstate(s *estate.Snapshot) func() *estate.Snapshot {
	return func() *estate.Snapshot { return s }
}

func TestListEvents(t *testing.T) {
	r, log, ids := eventServer(t)
	list := func(query string) (got []uint64, all []api.Event, note string) {
		t.Helper()
		a := r.get("/api/v1/events" + query)
		var answer struct {
			Events []api.Event `json:"events"`
			LastID uint64      `json:"last_id"`
			Note   string      `json:"note"`
		}
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil || a.status != http.StatusOK || answer.LastID != 9 {
			t.Fatalf("%s: %d %v %s", query, a.status, err, a.body)
		}
		for _, e := range answer.Events {
			got = append(got, e.ID)
		}
		return got, answer.Events, answer.Note
	}
	for query, want := range map[string][]uint64{
		"":                                 {5, 6, 9},
		"?limit=2":                         {6, 9},
		"?kind=host_lost,host_connected":   {5, 9},
		"?host=berlin/xcp1":                {5, 9},
		"?host=kvm1":                       {6},
		"?host=" + fmt.Sprint(ids["kvm1"]): {6},
		"?host=12345":                      nil, // of one that is no more
		"?vm=web-01":                       {6},
		"?host=paris/xcp1":                 nil,
		"?from=2026-11-26T12:01:00Z":       {6, 9},
		"?to=2026-11-26T12:01:00Z":         {5},
		"?kind=vif_plugged&host=kvm1&vm=":  {6},
		"?host=6d4f8c11-8D7B-4c06-9a53-0e2b3f1c5a9e": {6},
	} {
		if got, _, _ := list(query); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	// Page by page, backwards, all are there once; what comes meanwhile is in none.
	var pages []uint64
	query := "?limit=2"
	for {
		var page struct {
			Events []api.Event `json:"events"`
			Next   string      `json:"next"`
		}
		r.json("/api/v1/events"+query, &page)
		for _, e := range slices.Backward(page.Events) {
			pages = append(pages, e.ID)
		}
		if page.Next == "" || len(pages) > 9 {
			break
		}
		query = "?limit=2&cursor=" + page.Next
	}
	if !slices.Equal(pages, []uint64{9, 6, 5}) {
		t.Errorf("in pages of two: %v", pages)
	}
	_, all, note := list("")
	named := func(name string) *api.Named {
		_, short, ok := strings.Cut(name, "/")
		if !ok {
			short = name
		}
		return &api.Named{ID: fmt.Sprint(uint64(ids[name])), Name: short}
	}
	want := []api.Event{
		{ID: 5, Time: noon, Kind: event.HostLost, Severity: "error", Subject: "xcp1", Text: "no answer", Attributes: map[string]string{"a": "b"}, Pool: named("berlin"), Host: named("berlin/xcp1")},
		{ID: 6, Time: noon.Add(time.Minute), Kind: event.VIFPlugged, Severity: "info", Subject: "web-01/0", Host: named("kvm1"), VM: named("web-01"), VIF: &api.Named{ID: "9223372036854775808"}},
	}
	if diff := cmp.Diff(want, all[:2]); diff != "" || note != "" {
		t.Error(diff, note)
	}
	for query, want := range map[string]string{
		"?kind=host_eaten": `found \"host_eaten\", want one of host_connected, `, "?host=xcp1": `is the name of 2: write pool/name`, "?limit=0": "limit", "?limit=100000": "limit", "?knid=host_lost": "knid",
		"?cursor=x": "want the next of an answer",
	} {
		if a := r.get("/api/v1/events" + query); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s, want %q", query, a.status, a.body, want)
		}
	}
	for query, want := range map[string]string{"?host=xcp9": `is no host`, "?vm=kvm1": `is no vm`, "/stream?vm=kvm1": `is no vm`} {
		if a := r.get("/api/v1/events" + query); a.status != http.StatusNotFound || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s, want %q", query, a.status, a.body, want)
		}
	}
	log.mu.Lock()
	log.away = errors.New("the store sleeps")
	log.mu.Unlock()
	if got, _, note := list(""); len(got) != 3 || !strings.Contains(note, "the store sleeps") {
		t.Errorf("%v, note %q", got, note)
	}
}

// stream is one that a client reads.
type stream struct {
	t     *testing.T
	resp  *http.Response
	lines *bufio.Scanner
}

func (r *running) stream(query, lastID string) *stream {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.addr+"/api/v1/events/stream"+query, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%s: %s %s", query, resp.Status, resp.Header)
	}
	s := &stream{r.t, resp, bufio.NewScanner(resp.Body)}
	s.next() // the greeting
	return s
}

// next returns the fields of the next message.
func (s *stream) next() map[string]string {
	s.t.Helper()
	timer := time.AfterFunc(patience, func() { s.resp.Body.Close() })
	defer timer.Stop()
	fields := map[string]string{}
	for s.lines.Scan() {
		line := s.lines.Text()
		if line == "" {
			return fields
		}
		name, value, _ := strings.Cut(line, ": ")
		fields[name] = value
	}
	s.t.Fatalf("the stream ended: %v", s.lines.Err())
	return nil
}

// A stream tells what comes, and on return what came meanwhile; ids of what was not asked for go along.
func TestStreamEvents(t *testing.T) {
	r, log, _ := eventServer(t)
	now, again, some := r.stream("", ""), r.stream("", "5"), r.stream("?kind=vif_plugged&after=0", "")
	for _, want := range []string{"6", "9"} {
		m := again.next()
		var e api.Event
		if err := json.Unmarshal([]byte(m["data"]), &e); err != nil || m["id"] != want || fmt.Sprint(e.ID) != want || m["event"] != string(e.Kind) {
			t.Errorf("%v %v, want event %s", m, err, want)
		}
	}
	if m := some.next(); m["id"] != "6" || m["event"] != "vif_plugged" {
		t.Errorf("%v, want event 6", m)
	}
	if m := some.next(); m["id"] != "9" || m["data"] != "" {
		t.Errorf("%v, want the id of event 9 only", m)
	}
	log.add(event.Event{ID: 10, Time: noon, Kind: event.VIFUnplugged, Text: "a\nb"})
	for _, s := range []*stream{now, again} {
		if m := s.next(); m["id"] != "10" || !strings.Contains(m["data"], `"a\nb"`) {
			t.Errorf("%v, want event 10", m)
		}
	}
	for _, bad := range []string{"?after=x", "?kind=x"} {
		if a := r.get("/api/v1/events/stream" + bad); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
	// The end of the server is the end of streams.
	r.endsByItself()
}

// Clients that leave make room for others.
func TestStreamsAreBounded(t *testing.T) {
	r, _, _ := eventServer(t)
	open := make([]*stream, 200)
	for i := range open {
		open[i] = r.stream("", "")
	}
	if a := r.get("/api/v1/events/stream"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "streams are open") {
		t.Errorf("one too many: %d %s", a.status, a.body)
	}
	for _, s := range open {
		s.resp.Body.Close()
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addr+"/api/v1/events/stream", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no room after clients have left")
		}
	}
}
