package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/instancemgmt"
	"github.com/grafana/grafana-plugin-sdk-go/backend/resource/httpadapter"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/grafana-plugin/pkg/clickhouse"
	"github.com/weirhq/weir/grafana-plugin/pkg/frame"
	"github.com/weirhq/weir/grafana-plugin/pkg/model"
	"github.com/weirhq/weir/query"
)

// ID is the plugin's id in Grafana.
const ID = "weir-datasource"

// parallel is how many queries of one request run at the same time.
const parallel = 4

// Datasource is one instance of the data source, with the settings that it was made with.
type Datasource struct {
	backend.CallResourceHandler

	access access
	client *clickhouse.Client
	broken error // why there is no client: what is wrong with the settings
	now    func() time.Time
}

// New makes the instance of settings. Grafana calls it at the first request and again when the settings change. Settings that are
// wrong are no error here, so that health and queries can say what is wrong with them.
func New(_ context.Context, s backend.DataSourceInstanceSettings) (instancemgmt.Instance, error) {
	d := &Datasource{now: time.Now}
	d.CallResourceHandler = httpadapter.New(d.resources())
	settings, err := clickhouse.ParseSettings(s.JSONData, s.DecryptedSecureJSONData)
	access, errAccess := parseAccess(s.JSONData)
	d.access, d.broken = access, allWrong(err, errAccess)
	if d.broken == nil {
		d.client, d.broken = clickhouse.Open(settings)
	}
	return d, nil
}

// allWrong makes one error of what is wrong with the settings.
func allWrong(a, b error) error {
	first, _ := errors.AsType[*clickhouse.Error](a)
	second, _ := errors.AsType[*clickhouse.Error](b)
	if first == nil || second == nil || first.Msg == second.Msg {
		return cmp.Or(a, b)
	}
	return &clickhouse.Error{Class: clickhouse.ClassConfig, Msg: first.Msg + "; " + second.Msg, Hint: first.Hint}
}

// Dispose ends what runs and closes the connections: Grafana calls it when there is an instance with newer settings.
func (d *Datasource) Dispose() {
	if d.client == nil {
		return
	}
	if err := d.client.Close(); err != nil {
		backend.Logger.Debug("close data source", "err", err.Error())
	}
}

// asker is who asks, and for what.
type asker struct {
	user  *backend.User
	alert bool // an alert rule or a recording rule asks
}

// QueryData answers the queries of a panel or of an alert rule; each has its own answer, or its own error.
func (d *Datasource) QueryData(ctx context.Context, req *backend.QueryDataRequest) (*backend.QueryDataResponse, error) {
	who := asker{user: req.PluginContext.User, alert: req.Headers["FromAlert"] == "true"}
	answers := make([]backend.DataResponse, len(req.Queries))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, q := range req.Queries {
		group.Go(func() error {
			frames, err := d.answer(ctx, who, q)
			answers[i] = backend.DataResponse{Frames: frames}
			if err != nil {
				answers[i] = respond(err)
				backend.Logger.FromContext(ctx).Debug("query refused", "ref_id", q.RefID, "status", int(answers[i].Status), "source", string(answers[i].ErrorSource))
			}
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
	resp := backend.NewQueryDataResponse()
	for i, q := range req.Queries {
		resp.Responses[q.RefID] = answers[i]
	}
	return resp, nil
}

// answer answers one query. A panic is a mistake of ours and ends this answer only.
func (d *Datasource) answer(ctx context.Context, who asker, q backend.DataQuery) (frames data.Frames, err error) {
	defer func() {
		if p := recover(); p != nil {
			backend.Logger.FromContext(ctx).Error("query panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			frames, err = nil, errors.New("a mistake of the plugin: see Grafana's log")
		}
	}()
	if d.broken != nil {
		return nil, d.broken
	}
	target, err := model.Parse(q.JSON)
	if err != nil {
		return nil, err
	}
	if target.Type == model.TypeSQL {
		if err := d.access.mayRunSQL(who); err != nil {
			return nil, err
		}
	}
	env := d.env(q.TimeRange)
	env.Interval, env.MaxPoints, env.Alert = q.Interval, int(q.MaxDataPoints), who.alert || who.user == nil
	return d.ask(ctx, q.RefID, target, env)
}

// env is what an answer depends on beside the target, with the caps of the settings.
func (d *Datasource) env(r backend.TimeRange) model.Env {
	limits := model.DefaultLimits
	limits.Rows = d.client.Settings().Caps.Rows
	return model.Env{From: r.From, To: r.To, Now: d.now(), Limits: limits}
}

// ask plans a target, runs the plan and makes frames of the answer.
func (d *Datasource) ask(ctx context.Context, refID string, target *model.Query, env model.Env) (data.Frames, error) {
	if target.Type == model.TypeEvents {
		var err error
		if env.AdminEvents, err = d.hasTable(ctx, "admin_events"); err != nil {
			return nil, err
		}
	}
	p, err := target.Plan(env)
	if err != nil {
		return nil, err
	}
	known, err := d.known(ctx, p.Names)
	if err != nil {
		return nil, err
	}
	if query.Several(p.Names, known) {
		env.Tables = query.Single(query.Tables)
		if p, err = target.Plan(env); err != nil {
			return nil, err
		}
	}
	return d.run(ctx, refID, p, env)
}

// run runs a plan, whose names are known, and makes frames of the answer.
func (d *Datasource) run(ctx context.Context, refID string, p *model.Plan, env model.Env) (data.Frames, error) {
	rows, err := d.client.Query(ctx, clickhouse.Ask{Statement: p.Statement, MaxRows: p.MaxRows, Raw: p.Raw})
	if err != nil {
		return nil, ofPlan(p, err)
	}
	if rows.Len == 0 && len(rows.Columns) == 0 {
		for _, c := range p.Shape.Columns {
			rows.Columns = append(rows.Columns, clickhouse.Column{Name: c.Name, Values: []string(nil)})
		}
	}
	return frame.Build(refID, p, rows, env.Limits)
}

// hasTable reports whether the store has a table, whose name is the program's.
func (d *Datasource) hasTable(ctx context.Context, name string) (bool, error) {
	rows, err := d.client.Query(ctx, clickhouse.Ask{Statement: query.Statement{SQL: "EXISTS TABLE " + name}})
	if err != nil {
		return false, err
	}
	has, ok := columnOf[uint8](rows, 0)
	return ok && len(has) == 1 && has[0] == 1, nil
}

// known returns what in the estate goes by the names, and refuses names that nothing has, with those that are most like the first of them.
func (d *Datasource) known(ctx context.Context, names []query.Name) ([]query.KnownEntity, error) {
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := d.client.Query(ctx, clickhouse.Ask{Statement: query.KnownNames(names)})
	if err != nil {
		return nil, err
	}
	var entities []query.KnownEntity
	kinds, _ := columnOf[string](rows, 0)
	called, _ := columnOf[string](rows, 1)
	keys, _ := columnOf[string](rows, 2)
	for i := range rows.Len {
		entities = append(entities, query.KnownEntity{Kind: kinds[i], Name: called[i], Key: keys[i]})
	}
	missing := query.Missing(names, entities)
	if len(missing) == 0 {
		return entities, nil
	}
	rows, err = d.client.Query(ctx, clickhouse.Ask{Statement: query.SimilarNames(missing[0])})
	if err != nil {
		return nil, err
	}
	similar, _ := columnOf[string](rows, 0)
	return nil, missing[0].Unknown(similar)
}

// columnOf returns the values of a column of an answer; an answer without rows has none.
func columnOf[T any](rows *clickhouse.Rows, column int) ([]T, bool) {
	if column >= len(rows.Columns) {
		return nil, false
	}
	v, ok := rows.Columns[column].Values.([]T)
	return v, ok
}
