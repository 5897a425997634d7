package plugin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// Bounds of resources.
const (
	maxBody       = 1 << 20
	maxValues     = 1000
	defaultValues = 100
	maxPrefix     = 256 // bytes
)

// resources are what editors ask for.
func (d *Datasource) resources() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			answer, err := f(r)
			if err != nil {
				p := sort(err)
				backend.Logger.FromContext(r.Context()).Debug("resource refused", "path", r.URL.Path, "status", p.Status)
				send(w, p.Status, p)
				return
			}
			send(w, http.StatusOK, answer)
		})
	}
	schema := sync.OnceValue(newSchema)
	handle("GET /schema", func(*http.Request) (any, error) { return schema(), nil })
	handle("GET /values", d.values)
	handle("POST /check", d.check)
	handle("POST /preview", d.preview)
	handle("GET /exporters", d.exporters)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		send(w, http.StatusNotFound, problem{Status: http.StatusNotFound, Message: "no resource " + quote(r.Method+" "+r.URL.Path), Hint: "GET schema, values, exporters; POST check, preview"})
	})
	return mux
}

func send(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // whoever asked is gone
}

// read reads the body of a request.
func read(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return &query.Error{Part: "body", Msg: err.Error(), Hint: "send JSON"}
	}
	return nil
}

// check says whether a text, or a whole query, can be read. A mistake is no failure of the request.
func (d *Datasource) check(r *http.Request) (any, error) {
	var asked struct {
		Filter *string         `json:"filter"`
		SQL    *string         `json:"sql"`
		Query  json.RawMessage `json:"query"`
	}
	if err := read(r, &asked); err != nil {
		return nil, err
	}
	var err error
	switch {
	case asked.Filter != nil:
		_, err = query.Parse(*asked.Filter)
	case asked.SQL != nil:
		_, err = planned(&model.Query{Type: model.TypeSQL, SQL: &model.SQL{Format: model.Table, Text: *asked.SQL}}, lastHour(d.now()))
	case asked.Query != nil:
		var q *model.Query
		if q, err = model.Parse(asked.Query); err == nil {
			_, err = planned(q, lastHour(d.now()))
		}
	default:
		return nil, &query.Error{Part: "body", Msg: "found nothing to check", Hint: "send filter, sql or query"}
	}
	answer := struct {
		OK bool `json:"ok"`
		*problem
	}{OK: err == nil}
	if err != nil {
		p := sort(err)
		if p.source == backend.ErrorSourcePlugin {
			return nil, err
		}
		answer.problem = &p
	}
	return answer, nil
}

// preview gives the statement that a query becomes.
func (d *Datasource) preview(r *http.Request) (any, error) {
	var asked struct {
		Query    json.RawMessage `json:"query"`
		From     *float64        `json:"from"` // ms since 1970
		To       *float64        `json:"to"`
		Interval float64         `json:"intervalMs"`
	}
	if err := read(r, &asked); err != nil {
		return nil, err
	}
	q, err := model.Parse(asked.Query)
	if err != nil {
		return nil, err
	}
	env := lastHour(d.now())
	if asked.From != nil && asked.To != nil {
		env.From, env.To = time.UnixMilli(int64(*asked.From)).UTC(), time.UnixMilli(int64(*asked.To)).UTC()
	}
	if d.client != nil {
		env.Limits.Rows = d.client.Settings().Caps.Rows
	}
	env.Interval = time.Duration(asked.Interval) * time.Millisecond
	p, err := planned(q, env)
	if err != nil {
		return nil, err
	}
	return struct {
		SQL    string        `json:"sql"`
		Params []query.Param `json:"params,omitempty"`
		Notes  []string      `json:"notes,omitempty"`
	}{p.SQL, p.Params, p.Notes}, nil
}

// planned plans a query without asking anybody anything.
func planned(q *model.Query, env model.Env) (*model.Plan, error) {
	p, err := q.Plan(env)
	if err == nil && p.Raw {
		err = clickhouse.Screen(p.SQL)
	}
	return p, err
}

func lastHour(now time.Time) model.Env {
	return model.Env{From: now.Add(-time.Hour), To: now, Now: now, Limits: model.DefaultLimits}
}

// exporters lists who sent what.
func (d *Datasource) exporters(r *http.Request) (any, error) {
	if d.broken != nil {
		return nil, d.broken
	}
	q := &model.Query{Type: model.TypeInventory, Inventory: &model.Inventory{Format: model.Table, Kind: "exporter"}}
	frames, err := d.ask(r.Context(), "", q, lastHour(d.now()))
	if err != nil {
		return nil, err
	}
	return map[string]any{"exporters": objects(frames)}, nil
}

// objects makes a list of objects of a table.
func objects(frames data.Frames) []map[string]any {
	list := []map[string]any{}
	for _, f := range frames {
		for row := range f.Rows() {
			object := map[string]any{}
			for _, field := range f.Fields {
				if v, ok := field.ConcreteAt(row); ok {
					object[field.Name] = v
				}
			}
			list = append(list, object)
		}
	}
	return list
}

// number reads a parameter that is a number from 1 to limit.
func number(r *http.Request, name string, normal, limit int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return normal, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, &query.Error{Part: name, Msg: "found " + quote(text), Hint: fmt.Sprintf("expected 1 to %d", limit)}
	}
	return n, nil
}
