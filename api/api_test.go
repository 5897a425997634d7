package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/wal"
)

// running is a server on a port of its own.
type running struct {
	t    *testing.T
	addr string
	log  *lockedBuffer // unless another one is given
	stop context.CancelFunc
	done chan error // of Run
}

// serve runs a server until the test ends. What d does not say is harmless.
func serve(t *testing.T, d api.Deps) *running {
	t.Helper()
	cfg := api.Default()
	cfg.Listen = "127.0.0.1:0"
	return serveAs(t, cfg, d)
}

// serveAs is serve with a configuration.
func serveAs(t *testing.T, cfg api.Config, d api.Deps) *running {
	t.Helper()
	l, err := api.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Listener = l
	log := &lockedBuffer{}
	if d.Log == nil {
		d.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	if d.Metrics == nil {
		d.Metrics = prometheus.NewRegistry()
	}
	if d.Version == "" {
		d.Version = "v1.2.3"
	}
	if d.Status == nil {
		d.Status = func() api.Status { return api.Status{} }
	}
	if d.Ready == nil {
		d.Ready = func(context.Context) error { return nil }
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, addr: l.Addr().String(), log: log, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- api.New(cfg, d).Run(ctx) }()
	t.Cleanup(r.end)
	return r
}

// end stops the server and waits for it; it is idempotent.
func (r *running) end() {
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
		r.done <- nil
	case <-time.After(patience):
		r.t.Error("Run does not return after its context is done")
	}
}

// endsByItself stops the server, which is not to wait until its patience is over.
func (r *running) endsByItself() {
	r.t.Helper()
	r.end()
	if text := r.log.String(); strings.Contains(text, "cut at stop") {
		r.t.Errorf("requests held up the end: %s", text)
	}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (r *running) do(method, path, host string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func (r *running) get(path string) answer {
	r.t.Helper()
	return r.do(http.MethodGet, path, "")
}

func TestConfig(t *testing.T) {
	good, bad := func(addr string) {
		t.Helper()
		if err := strictyaml.Validate(&api.Config{Listen: addr}); err != nil {
			t.Errorf("listen %q: %v", addr, err)
		}
	}, func(addr string) {
		t.Helper()
		if err := strictyaml.Validate(&api.Config{Listen: addr}); err == nil {
			t.Errorf("listen %q is taken", addr)
		}
	}
	good(api.Default().Listen)
	good("localhost:8080")
	good("[::1]:0")
	good("127.9.9.9:1")
	good(":8080")
	good("[::]:8080")
	good("192.0.2.1:8080")
	bad("")
	bad("8080")
	for listen, want := range map[string]bool{
		"localhost:1": false, "127.9.9.9:1": false, "[::1]:1": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "192.0.2.1:1": true, "localhost.example:1": true,
	} {
		c := api.Default()
		if c.Listen = listen; c.Encrypted() != want {
			t.Errorf("listen %q: TLS is %v by itself, want %v", listen, c.Encrypted(), want)
		}
		if c.TLS.Mode = api.TLSOff; c.Encrypted() {
			t.Errorf("listen %q: TLS although it is off", listen)
		}
		if c.TLS.Mode = api.TLSOn; !c.Encrypted() {
			t.Errorf("listen %q: no TLS although it is on", listen)
		}
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := api.Listen(api.Config{Listen: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Listen on a port in use: %v, want the address", err)
	}
}

// Names from outside are shown, and are not part of the page.
func TestPage(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	status := api.Status{
		Version: "v1" + evil, Started: time.Now().Add(-time.Hour), Data: "/data/" + evil, Listen: []string{"127.0.0.1:2055"},
		Store:     api.StoreStatus{Mode: "embedded", Addr: "127.0.0.1:8123", Problem: "store: " + evil},
		Estate:    api.EstateStatus{File: "/etc/" + evil, Problem: "estate: " + evil, Warnings: []string{"VM " + evil}, Pools: 1, Hosts: 3},
		Collector: collector.Stats{Datagrams: 1234567, KernelDrops: 5, Dropped: map[string]uint64{"truncated" + evil: 7}},
		Writer: store.WriterStats{
			LastError: "insert: " + evil, LastErrorAt: time.Now().Add(-time.Minute),
			Dropped: map[string]store.Amount{"store_full": {Rows: 8765}, "refused": {}},
		},
		Exporters: []collector.Exporter{
			{Live: true, Info: template.Info{
				Exporter: netip.MustParseAddr("192.0.2.1"), Protocol: 10, Domain: 4294967295, LastSeen: time.Now().UnixMilli(), SamplingRate: 100,
				Interfaces: map[uint32]template.Interface{1: {Name: evil}},
				Counts:     template.Counts{Datagrams: 42, Dropped: map[string]uint64{"bad_record": 9}},
			}},
			{Info: template.Info{Exporter: netip.MustParseAddr("2001:db8::1"), Protocol: 5, LastSeen: time.Now().Add(-time.Hour).UnixMilli()}},
		},
	}
	r := serve(t, api.Deps{Status: func() api.Status { return status }})
	got := r.get("/")
	if typ := got.header.Get("Content-Type"); got.status != http.StatusOK || typ != "text/html; charset=utf-8" {
		t.Errorf("GET /: %d %s", got.status, typ)
	}
	if strings.Contains(strings.ToLower(got.body), "<script") {
		t.Errorf("the page has a script:\n%s", got.body)
	}
	if n := strings.Count(got.body, "&lt;script&gt;"); n < 8 {
		t.Errorf("%d hostile names are shown escaped, want 8:\n%s", n, got.body)
	}
	for _, want := range []string{
		"1\u202f234\u202f567", "8\u202f765", "truncated", "192.0.2.1", "IPFIX", "4294967295", "1:100", "bad_record 9",
		"2001:db8::1", "NetFlow 5", "1 pool · 3 hosts · 0 networks", `href="/metrics"`,
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, want := range []string{`up 1h\d+m\d+s`, `1h\d+m\d+s ago`, `last error of the store, \dm\d+s ago`} { // a busy machine takes its time
		if !regexp.MustCompile(want).MatchString(got.body) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(got.body, "refused") {
		t.Error("the page shows a loss that did not occur")
	}
	if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "script-src") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}

	status = api.Status{Listen: []string{"127.0.0.1:2055", "[::1]:4739"}, Started: time.Now()}
	if got := r.get("/"); !strings.Contains(got.body, "<code>127.0.0.1:2055</code>, <code>[::1]:4739</code>") {
		t.Errorf("the page of an instance without exporters does not say where to send flows:\n%s", got.body)
	}
}

// A page of another origin cannot reach the API by a name that it made point here.
func TestHostGuard(t *testing.T) {
	var asked atomic.Int64
	r := serve(t, api.Deps{Status: func() api.Status {
		asked.Add(1)
		return api.Status{}
	}})
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"evil.example", "evil.example:" + port, "192.0.2.1", "0.0.0.0", "localhost.evil.example", "127.0.0.1.evil.example", "[2001:db8::1]:" + port, "[::]", "*"} {
		for _, path := range []string{"/", "/metrics", "/healthz", "/api/v1/status", "/api/v1/openapi.json", "/nothing"} {
			got := r.do(http.MethodGet, path, host)
			if got.status != http.StatusMisdirectedRequest || !strings.Contains(got.body, "expected localhost or a loopback address") {
				t.Errorf("GET %s with host %q: %d %s, want 421", path, host, got.status, got.body)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("refused requests asked for the status %d times", n)
	}
	for _, host := range []string{"localhost", "LocalHost:" + port, "127.0.0.1", "127.0.0.1:1", "[::1]:" + port, "[::1]"} {
		if got := r.do(http.MethodGet, "/api/v1/status", host); got.status != http.StatusOK {
			t.Errorf("host %q: %d %s, want 200", host, got.status, got.body)
		}
	}
}

// There is nothing to change over HTTP, and nothing beside what is documented.
func TestMethods(t *testing.T) {
	r := serve(t, api.Deps{})
	for _, path := range []string{"/", "/healthz", "/metrics", "/api/v1/status", "/api/v1/exporters", "/api/v1/openapi.json"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace} {
			if got := r.do(method, path, ""); got.status != http.StatusMethodNotAllowed || !strings.Contains(got.header.Get("Allow"), http.MethodGet) {
				t.Errorf("%s %s: %d, allow %q, want 405", method, path, got.status, got.header.Get("Allow"))
			}
		}
		if got := r.do(http.MethodHead, path, ""); got.status != http.StatusOK || got.body != "" {
			t.Errorf("HEAD %s: %d %q", path, got.status, got.body)
		}
	}
	for _, path := range []string{"/nothing", "/api", "/api/v1", "/api/v1/nothing", "/docs", "/index.html", "/debug/pprof/", "/api/v1/../../etc/passwd"} {
		if got := r.get(path); got.status != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, got.status)
		}
	}
	for _, path := range []string{"/", "/healthz", "/metrics", "/api/v1/status", "/nothing"} {
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Access-Control-Allow-Origin": "",
		} {
			if got := r.get(path).header.Get(name); got != want {
				t.Errorf("GET %s: %s: %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	var problem atomic.Pointer[error]
	r := serve(t, api.Deps{Ready: func(context.Context) error {
		if p := problem.Load(); p != nil {
			return *p
		}
		return nil
	}})
	if got := r.get("/healthz"); got.status != http.StatusOK || got.body != "ok\n" {
		t.Errorf("healthy: %d %q", got.status, got.body)
	}
	err := errors.New(`ping store "127.0.0.1:8123": connection refused`)
	problem.Store(&err)
	if got := r.get("/healthz"); got.status != http.StatusServiceUnavailable || got.body != err.Error()+"\n" {
		t.Errorf("store away: %d %q", got.status, got.body)
	}
	problem.Store(nil)
	if got := r.get("/healthz"); got.status != http.StatusOK {
		t.Errorf("healthy again: %d %q", got.status, got.body)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_test_total", Help: "Is a test."})
	counter.Add(3)
	registry.MustRegister(counter)
	got := serve(t, api.Deps{Metrics: registry}).get("/metrics")
	if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain; version=0.0.4") || !strings.Contains(got.body, "\nweir_test_total 3\n") {
		t.Errorf("%d %s\n%s", got.status, got.header.Get("Content-Type"), got.body)
	}
}

func TestStatus(t *testing.T) {
	want := api.Status{
		Version: "v1", Started: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC), Data: "/data", Listen: []string{"127.0.0.1:2055"},
		Store:     api.StoreStatus{Mode: "embedded", Addr: "127.0.0.1:8123", PID: 7, Restarts: 1},
		Estate:    api.EstateStatus{File: "estate.yaml", VMs: 24},
		Collector: collector.Stats{Received: 1 << 60, Datagrams: 1 << 60, Decoded: 1 << 60, Flows: 12, Sealed: 9, Pending: 3},
		Writer: store.WriterStats{
			In: store.Amount{Rows: 9}, Replayed: store.Amount{Rows: 2}, Stored: store.Amount{Rows: 6}, Waiting: store.Amount{Rows: 4},
			Dropped: map[string]store.Amount{"refused": {Rows: 1}},
		},
		Alarms:    []string{}, // not null
		Exporters: []collector.Exporter{{Live: true, Info: template.Info{Exporter: netip.MustParseAddr("192.0.2.1"), Protocol: 9, Domain: 1}}},
	}
	r := serve(t, api.Deps{Status: func() api.Status { return want }})

	var status api.Status
	r.json("/api/v1/status", &status)
	exporters := want.Exporters
	want.Exporters = nil
	want.Ledger = api.Ledger{Datagrams: 1 << 60, Decoded: 1 << 60, Flows: 12, Replayed: 2, Stored: 6, Lost: 1, OnTheWay: 7}
	if diff := cmp.Diff(want, status, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if status.OnTheWay() != 7 {
		t.Errorf("%d flows on the way, want 7", status.OnTheWay())
	}
	want.Exporters = exporters
	var list struct {
		Exporters []collector.Exporter `json:"exporters"`
	}
	r.json("/api/v1/exporters", &list)
	for query, n := range map[string]int{"?exporter=192.0.2.1": 1, "?exporter=::ffff:192.0.2.1": 1, "?exporter=192.0.2.2": 0, "?live=true": 1, "?limit=1": 1} {
		var some struct{ Total int }
		if r.json("/api/v1/exporters"+query, &some); some.Total != n {
			t.Errorf("%s: %d, want %d", query, some.Total, n)
		}
	}
	if diff := cmp.Diff(exporters, list.Exporters, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("exporters (-want +got):\n%s", diff)
	}
}

// What is wrong now is in the list of alarms, and above everything else on the page.
func TestAlarms(t *testing.T) {
	status := api.Status{
		Store: api.StoreStatus{Problem: "connection refused"},
		Writer: store.WriterStats{AwaySince: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), LastError: "not enough space", WAL: wal.Stats{
			FullSince: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC), Problem: "read-only file system", Volatile: 3, Waiting: 5, Rows: 1234, Recovered: 2, Corrupt: 1,
		}},
		Retention: store.RetentionStats{
			DiskFree: 1 << 30, DiskTotal: 100 << 30, WarnFree: 5 << 30, MinFree: 1 << 29, Low: true, Problem: "timeout",
			Tables: []store.TableSize{{Table: "flows", Rows: 77, Bytes: 1 << 20, Partitions: 1, Oldest: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)}},
			Last:   &store.DroppedPartition{Table: "flows", Partition: "20261119", Reason: store.DropMinFree, Rows: 55},
		},
	}
	r := serve(t, api.Deps{Status: func() api.Status { return status }})
	var got api.Status
	r.json("/api/v1/status", &got)
	want := []string{
		"the store does not answer: connection refused",
		"the store takes no flows since 2026-11-24 09:00:00, they wait in the write-ahead log: not enough space",
		"the write-ahead log is full since 2026-11-24 10:00:00: flows wait in memory, and are dropped when that is full too",
		"the write-ahead log is not on disk, 3 batches are in memory only: read-only file system",
		"1GiB of 100GiB are free on the store's disk: less than warn_free",
		"retention is not applied: timeout",
	}
	if diff := cmp.Diff(want, got.Alarms); diff != "" {
		t.Errorf("alarms (-want +got):\n%s", diff)
	}
	page := r.get("/").body
	for _, alarm := range want {
		if !strings.Contains(page, "Alarm: "+strings.ReplaceAll(alarm, "'", "&#39;")) {
			t.Errorf("the page lacks alarm %q", alarm)
		}
	}
	for _, want := range []string{"5 batches with 1\u202f234 flows wait", "2 batches with", "1 damaged", "flows: 77 rows, 1MiB, since 2026-11-20 10:00", "flows 20261119 with 55 rows", "1GiB of 100GiB free"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// json reads a good answer.
func (r *running) json(path string, into any) {
	r.t.Helper()
	got := r.get(path)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("GET %s: %d %s %s", path, got.status, got.header.Get("Content-Type"), got.body)
	}
	if err := json.Unmarshal([]byte(got.body), into); err != nil {
		r.t.Fatalf("GET %s: %v\n%s", path, err, got.body)
	}
}

// problem is the form of errors (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

func (r *running) problem(path string) problem {
	r.t.Helper()
	got := r.get(path)
	var p problem
	if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.header.Get("Content-Type") != "application/problem+json" || p.Status != got.status {
		r.t.Errorf("GET %s: %d %s %v\n%s", path, got.status, got.header.Get("Content-Type"), err, got.body)
	}
	return p
}

func TestFlows(t *testing.T) {
	now := time.Now()
	var asked query.Request
	r := serve(t, api.Deps{Flows: func(_ context.Context, q query.Request) (api.FlowsAnswer, error) {
		asked = q
		plan, err := query.Build(q, query.Tables, now)
		if err != nil {
			return api.FlowsAnswer{}, fmt.Errorf("plan: %w", err) // wrapped or not, it is the asker's mistake
		}
		return api.FlowsAnswer{Columns: plan.Columns, Rows: json.RawMessage(`[{"row":"top"}]`), Table: plan.Table, Notes: []string{"a note"}}, nil
	}})

	var got api.FlowsAnswer
	r.json("/api/v1/flows", &got)
	want := query.Request{
		Kind: query.Top, Units: []query.Unit{query.Bytes}, Direction: query.Both, Traffic: query.Seen,
		From: asked.To.Add(-15 * time.Minute), To: asked.To,
	}
	if diff := cmp.Diff(want, asked); diff != "" || now.Sub(asked.To).Abs() > time.Minute {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if string(got.Rows) != `[{"row":"top"}]` || !strings.HasPrefix(got.Table, "flows") || len(got.Columns) == 0 || !slices.Equal(got.Notes, []string{"a note"}) {
		t.Errorf("answer %+v", got)
	}

	r.json("/api/v1/flows?kind=series&by=src_vm,dst_port&filter=vm%20%3D%20%22web-01%22&unit=bps&direction=in&limit=5&other=true&total=true&traffic=denied&from=2026-11-24T10:00:00%2B01:00&to=2026-11-24T10:30:00Z", &got)
	want = query.Request{
		Kind: query.Series, By: []string{"src_vm", "dst_port"}, Filter: `vm = "web-01"`, Units: []query.Unit{query.BPS}, Direction: query.Inbound,
		Limit: 5, Other: true, Total: true, Traffic: query.Denied, From: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("everything said (-want +got):\n%s", diff)
	}
	// A list may have more columns than a group has fields.
	r.json("/api/v1/flows?kind=list&by=network,exporter,src_addr,dst_addr,src_port,dst_port,protocol,bytes,packets,tcp_flags", &got)

	for path, want := range map[string]string{
		"filter=port+%3D":      `query.filter: found the end at 7: expected a value of port, as 443, https or 8000-8100`,
		"filter=vn+%3D+web-01": `query.filter: unknown field "vn" at 1: did you mean vm?`,
		"by=nothing":           `query.by: unknown field "nothing": see the list of fields`,
		"by=a,b,c,d,e,f,g,h,i": `query.by: found 9 fields: at most 8 are taken`,
		"from=2026-11-24T10:00:00Z&to=2026-11-24T09:00:00Z": `query.from: 2026-11-24T10:00:00Z is not before 2026-11-24T09:00:00Z: expected a time before to`,
		"kind=nothing":                        `query.kind: expected value to be one of "top, list, series"`,
		"unit=furlongs":                       `query.unit: expected value to be one of "bytes, bits, packets, flows, bps, pps, fps"`,
		"limit=-1":                            `query.limit: expected number >= 0`,
		"limit=10001":                         `query.limit: expected number <= 10000`,
		"limit=ten":                           `query.limit: invalid integer`,
		"from=yesterday":                      `query.from: invalid date/time for format 2006-01-02T15:04:05.999999999Z07:00`,
		"filtre=port+%3D+443":                 `query.filtre: unknown query parameter`,
		"filter=" + strings.Repeat("a", 4097): `query.filter: expected length <= 4096`,
		"by=" + strings.Repeat("bytes,", 100) + "bytes": `query.by: expected array length <= 100`,
	} {
		p := r.problem("/api/v1/flows?" + path)
		if p.Status != http.StatusUnprocessableEntity || len(p.Errors) != 1 {
			t.Errorf("%.60s: %+v, want 422 with one error", path, p)
			continue
		}
		if got := p.Errors[0].Location + ": " + p.Errors[0].Message; got != want {
			t.Errorf("%.60s: %s, want %s", path, got, want)
		}
	}
	if got := r.get("/api/v1/flows?filter=" + strings.Repeat("a", 64<<10)); got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of filter: %d, want 431", got.status)
	}
}

// Without its store the API says so, and what.
func TestFlowsWithoutStore(t *testing.T) {
	r := serve(t, api.Deps{Flows: func(context.Context, query.Request) (api.FlowsAnswer, error) {
		return api.FlowsAnswer{}, errors.New("ask about flows: connection refused")
	}})
	if p := r.problem("/api/v1/flows"); p.Status != http.StatusServiceUnavailable || p.Detail != "ask about flows: connection refused" {
		t.Errorf("%+v, want 503 and the reason", p)
	}
}

// The end of who asks ends the question, without a line in the log.
func TestFlowsCancelled(t *testing.T) {
	var log lockedBuffer
	begun, ended := make(chan struct{}), make(chan struct{})
	r := serve(t, api.Deps{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Flows: func(ctx context.Context, _ query.Request) (api.FlowsAnswer, error) {
			close(begun)
			<-ctx.Done()
			defer close(ended)
			return api.FlowsAnswer{}, ctx.Err()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/api/v1/flows", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("the request was answered")
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the question goes on")
	}
	r.end()
	if s := log.String(); s != "" {
		t.Errorf("log: %s", s)
	}
}

func TestStop(t *testing.T) {
	begun, release := make(chan struct{}, 1), make(chan struct{})
	flows := func(context.Context, query.Request) (api.FlowsAnswer, error) {
		begun <- struct{}{}
		<-release
		return api.FlowsAnswer{Rows: json.RawMessage("[]")}, nil
	}
	ask := func(r *running) <-chan error {
		got := make(chan error, 1)
		go func() {
			resp, err := http.Get("http://" + r.addr + "/api/v1/flows")
			if err == nil {
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
			}
			got <- err
		}()
		<-begun
		return got
	}

	t.Run("a request under way is answered", func(t *testing.T) {
		r := serve(t, api.Deps{Flows: flows})
		got := ask(r)
		r.stop()
		eventually(t, "new connections are refused", func() bool {
			c, err := net.Dial("tcp", r.addr)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		release <- struct{}{}
		if err := <-got; err != nil {
			t.Errorf("the request under way: %v", err)
		}
		r.end()
	})

	t.Run("a request that hangs is cut", func(t *testing.T) {
		var log lockedBuffer
		r := serve(t, api.Deps{Flows: flows, Log: slog.New(slog.NewTextHandler(&log, nil))})
		got := ask(r)
		r.end()                            // although the request goes on hanging
		if api.StopGrace > 4*time.Second { // weir up has five seconds for all
			t.Errorf("requests hold up the end for %s", api.StopGrace)
		}
		if err := <-got; err == nil {
			t.Error("the request that hung was answered")
		}
		if !strings.Contains(log.String(), "api requests cut at stop") {
			t.Errorf("log: %s", log.String())
		}
		release <- struct{}{}
	})

	t.Run("a browser's idle connections do not hold it up", func(t *testing.T) {
		r := serve(t, api.Deps{})
		fresh, err := net.Dial("tcp", r.addr) // nothing is asked on it
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		r.get("/healthz") // leaves an idle connection; the fresh one was accepted before
		r.endsByItself()
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// The OpenAPI document is complete and unambiguous: clients are generated from it.
func TestOpenAPI(t *testing.T) {
	r := serve(t, api.Deps{})
	var doc struct {
		OpenAPI string `json:"openapi"`
		Info    struct{ Title, Version string }
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Summary     string
			Tags        []string
			Parameters  []struct {
				Name, In, Description string
				Schema                map[string]any
			}
			Responses map[string]struct {
				Description string
				Content     map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]any }
	}
	got := r.get("/api/v1/openapi.json")
	if got.status != http.StatusOK || !strings.Contains(got.header.Get("Content-Type"), "json") {
		t.Fatalf("%d %s", got.status, got.header.Get("Content-Type"))
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || doc.Info.Title != "Weir" || doc.Info.Version != "v1.2.3" {
		t.Errorf("openapi %s of %+v", doc.OpenAPI, doc.Info)
	}
	ids := map[string]bool{}
	for path, operations := range doc.Paths {
		if !strings.HasPrefix(path, "/api/v1/") {
			t.Errorf("path %s is not under /api/v1", path)
		}
		for method, op := range operations {
			name := method + " " + path
			if op.OperationID == "" || op.Summary == "" || len(op.Tags) == 0 || ids[op.OperationID] {
				t.Errorf("%s: id %q, summary %q, tags %v: want all of them, and each id once", name, op.OperationID, op.Summary, op.Tags)
			}
			ids[op.OperationID] = true
			for _, p := range op.Parameters {
				if p.Description == "" || p.Schema == nil {
					t.Errorf("%s: parameter %s has no description or schema", name, p.Name)
				}
			}
			for _, code := range []string{"200", "401", "403", "422"} {
				if response := op.Responses[code]; response.Description == "" || len(response.Content) == 0 {
					t.Errorf("%s: answer %s is not described", name, code)
				}
			}
			for code, response := range op.Responses {
				for typ, content := range response.Content {
					if len(content.Schema) == 0 {
						t.Errorf("%s: answer %s as %s has no schema", name, code, typ)
					}
				}
			}
		}
	}
	for _, id := range []string{"get-status", "list-exporters", "query-flows"} {
		if !ids[id] {
			t.Errorf("operation %s is missing", id)
		}
	}
	refs := map[string]bool{}
	walk(doc.Components.Schemas, refs)
	for _, operations := range doc.Paths {
		b, err := json.Marshal(operations)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		walk(v, refs)
	}
	for ref := range refs {
		name, ok := strings.CutPrefix(ref, "#/components/schemas/")
		if _, there := doc.Components.Schemas[name]; !ok || !there {
			t.Errorf("reference %s leads nowhere", ref)
		}
	}
	for _, name := range []string{"Status", "CollectorStats", "EnricherStats", "StoreWriterStats", "CollectorExporter", "FlowsAnswer", "QueryColumn"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("schema %s is missing", name)
		}
		if got := r.get("/api/v1/schemas/" + name + ".json"); got.status != http.StatusOK {
			t.Errorf("schema %s by itself: %d", name, got.status)
		}
	}
}

// walk collects the references in a JSON value.
func walk(v any, refs map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if s, ok := value.(string); ok && key == "$ref" {
				refs[s] = true
			}
			walk(value, refs)
		}
	case []any:
		for _, value := range v {
			walk(value, refs)
		}
	}
}

// A client that sends its request slowly, or none, holds nobody else up.
func TestSlowClients(t *testing.T) {
	r := serve(t, api.Deps{})
	for range 50 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: local"); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.get("/healthz"); got.status != http.StatusOK {
		t.Errorf("beside 50 slow clients: %d", got.status)
	}
}
