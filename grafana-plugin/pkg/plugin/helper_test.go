package plugin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/grafana-plugin/pkg/plugin"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/storetest"
)

// instance is a data source and who asks it.
type instance struct {
	*plugin.Datasource
	user *backend.User
}

// newInstance makes an instance of settings.
func newInstance(t *testing.T, settings map[string]any, secrets map[string]string) *instance {
	t.Helper()
	b, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	made, err := plugin.New(t.Context(), backend.DataSourceInstanceSettings{JSONData: b, DecryptedSecureJSONData: secrets})
	if err != nil {
		t.Fatal(err)
	}
	d := made.(*plugin.Datasource)
	t.Cleanup(d.Dispose)
	return &instance{d, &backend.User{Login: "eve", Role: "Editor"}}
}

// of makes an instance over a database of a store, as one of its users.
func of(t *testing.T, s *storetest.Server, database string, u embedded.Credentials, more map[string]any) *instance {
	t.Helper()
	settings := map[string]any{"url": "http://" + s.Addr, "database": database, "username": u.Name}
	maps.Copy(settings, more)
	return newInstance(t, settings, map[string]string{"password": u.Password})
}

// migrated is a database with the schema up to a migration; 0 is all.
func migrated(t *testing.T, version int) (string, *storetest.Server, *store.Client) {
	t.Helper()
	database, s := storetest.Database(t)
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Database, cfg.User, cfg.Password = "http://"+s.Addr, database, s.Users.Writer.Name, s.Users.Writer.Password
	c, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if version == 0 {
		version = len(migrations)
	}
	if _, err := store.Apply(t.Context(), c, migrations[:version], slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return database, s, c
}

// one asks one query, of the last hour.
func (i *instance) one(t *testing.T, target string) backend.DataResponse {
	t.Helper()
	return i.ask(t.Context(), t, nil, target)["A"]
}

// ask asks targets A, B, … in one request.
func (i *instance) ask(ctx context.Context, t *testing.T, headers map[string]string, targets ...string) backend.Responses {
	t.Helper()
	req := &backend.QueryDataRequest{PluginContext: backend.PluginContext{User: i.user}, Headers: headers}
	for n, target := range targets {
		req.Queries = append(req.Queries, backend.DataQuery{
			RefID: string(rune('A' + n)), JSON: []byte(target), Interval: time.Minute, MaxDataPoints: 100,
			TimeRange: backend.TimeRange{From: time.Now().Add(-time.Hour), To: time.Now()},
		})
	}
	resp, err := i.QueryData(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Responses) != len(targets) {
		t.Fatalf("%d answers to %d queries", len(resp.Responses), len(targets))
	}
	return resp.Responses
}

// sqlTarget is a query of a statement.
func sqlTarget(t *testing.T, text string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"queryType": "sql", "sql": map[string]string{"format": "table", "text": text}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// call calls a resource and reads its answer, which has to have that status.
func (i *instance) call(t *testing.T, method, url, body string, status int, into any) {
	t.Helper()
	path := url
	for n, c := range url {
		if c == '?' {
			path = url[:n]
			break
		}
	}
	var got *backend.CallResourceResponse
	err := i.CallResource(t.Context(), &backend.CallResourceRequest{Method: method, Path: path, URL: url, Body: []byte(body)},
		backend.CallResourceResponseSenderFunc(func(r *backend.CallResourceResponse) error {
			if got == nil {
				got = &backend.CallResourceResponse{Status: r.Status, Headers: r.Headers}
			}
			got.Body = append(got.Body, r.Body...)
			return nil
		}))
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if got.Status != status || http.Header(got.Headers).Get("Content-Type") != "application/json" {
		t.Fatalf("%s %s: status %d %v, want %d and JSON: %s", method, url, got.Status, got.Headers, status, got.Body)
	}
	if err := json.Unmarshal(got.Body, into); err != nil {
		t.Fatalf("%s %s: %v\n%s", method, url, err, got.Body)
	}
}

// seeded is a database with two VMs, a network, and flows of just now between the VMs.
func seeded(t *testing.T) (string, *storetest.Server) {
	t.Helper()
	database, s, c := migrated(t, 0)
	vm := func(name string) store.Entity {
		return store.Entity{ID: flow.NewID(flow.KindVM, name), Kind: flow.KindVM, Key: name, Name: name, Source: "test"}
	}
	entities := []store.Entity{vm("db-01"), vm("web-01"), vm("web-02")}
	if _, err := store.NewEntities(c).Publish(t.Context(), entities, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	const rows = 30
	b := flow.NewBatch(rows)
	b.Grow(rows)
	for i := range rows {
		b.TimeReceived[i] = time.Now().Add(-time.Duration(i) * time.Minute).UnixMilli()
		b.ID[i], b.SamplingRate[i], b.Counted[i] = uint64(i+1), 1, true
		b.Bytes[i], b.Packets[i] = uint64(1000*(i+1)), 10
		b.Exporter[i] = netip.MustParseAddr("192.0.2.1").As16()
		b.SrcAddr[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i%3 + 1)}).As16()
		b.DstAddr[i] = netip.MustParseAddr("2001:db8::1").As16()
		b.SrcVM[i], b.DstVM[i] = uint64(entities[i%2].ID), uint64(entities[2].ID)
		b.Protocol[i], b.DstPort[i], b.SrcPort[i] = 6, 443, 40000
	}
	if _, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
		t.Fatal(err)
	}
	if err := store.PublishExporterStats(t.Context(), c, []store.ExporterStats{
		{Time: time.Now(), IntervalMs: 1000, Instance: 1, Exporter: netip.MustParseAddr("192.0.2.1"), Version: 10, Flows: rows, SequenceUnit: "records", Received: rows},
		{Time: time.Now().Add(-3 * time.Hour), IntervalMs: 1000, Instance: 1, Exporter: netip.MustParseAddr("192.0.2.2"), Version: 9, Flows: 1, SequenceUnit: "messages"},
	}); err != nil {
		t.Fatal(err)
	}
	return database, s
}
