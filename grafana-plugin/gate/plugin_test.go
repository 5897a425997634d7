package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/grpcplugin"
	"github.com/grafana/grafana-plugin-sdk-go/genproto/pluginv2"
	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"

	"github.com/weirhq/weir/grafana-plugin/pkg/plugin"
	"github.com/weirhq/weir/store/embedded"
)

// program is the data source's program as it runs below Grafana.
type program struct {
	process     *goplugin.Client
	diagnostics grpcplugin.DiagnosticsClient
	resource    grpcplugin.ResourceClient
	data        grpcplugin.DataClient
}

// started is the one process that all tests ask.
var started struct {
	once sync.Once
	program
	err error
}

// running returns the running program, built as it ships.
func running(t *testing.T) *program {
	t.Helper()
	started.once.Do(func() {
		var path string
		if path, started.err = built(); started.err == nil {
			started.program, started.err = start(path)
			atEnd = append(atEnd, started.process.Kill)
		}
	})
	if started.err != nil {
		t.Fatal(started.err)
	}
	return &started.program
}

// built is the path of the program for this machine, made by the script that makes it for release.
var built = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("../../scripts/plugin.sh", "backend", scratch, runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the plugin's program: %w\n%s", err, out)
	}
	return filepath.Join(scratch, "gpx_weir_datasource_linux_"+runtime.GOARCH), nil
})

// start starts the program as Grafana 13 does: by its handshake, over gRPC, without Grafana's environment.
func start(path string) (program, error) {
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it ends with the tests, also when they are killed
	p := program{process: goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion: grpcplugin.ProtocolVersion, MagicCookieKey: grpcplugin.MagicCookieKey, MagicCookieValue: grpcplugin.MagicCookieValue,
		},
		VersionedPlugins: map[int]goplugin.PluginSet{grpcplugin.ProtocolVersion: {
			"diagnostics": &grpcplugin.DiagnosticsGRPCPlugin{},
			"resource":    &grpcplugin.ResourceGRPCPlugin{},
			"data":        &grpcplugin.DataGRPCPlugin{},
		}},
		Cmd:              cmd,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		Logger:           hclog.New(&hclog.LoggerOptions{Output: &said, JSONFormat: true, Level: hclog.Warn}),
	})}
	client, err := p.process.Client()
	if err != nil {
		return p, err
	}
	for key, into := range map[string]any{"diagnostics": &p.diagnostics, "resource": &p.resource, "data": &p.data} {
		got, err := client.Dispense(key)
		if err != nil {
			return p, err
		}
		switch into := into.(type) {
		case *grpcplugin.DiagnosticsClient:
			*into = got.(grpcplugin.DiagnosticsClient)
		case *grpcplugin.ResourceClient:
			*into = got.(grpcplugin.ResourceClient)
		case *grpcplugin.DataClient:
			*into = got.(grpcplugin.DataClient)
		}
	}
	return p, nil
}

// said is what the program logged.
var said lockedBuffer

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns the last lines.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 2000
	b := l.b.Bytes()
	return string(b[max(0, len(b)-most):])
}

// source is a configured data source, and who asks it.
type source struct {
	*program
	id     int64
	json   map[string]any
	secure map[string]string
	user   *backend.User // nil is a request that no user makes, as of an alert rule
}

var sources atomic.Int64

// source is one of the seeded store, as provisioning sets it up with the reader's name and password, asked by an editor.
func (s *seed) source(t *testing.T) source {
	t.Helper()
	return s.sourceAs(t, s.Users.ReadOnly)
}

func (s *seed) sourceAs(t *testing.T, u embedded.Credentials) source {
	t.Helper()
	return source{
		program: running(t), id: sources.Add(1),
		json:   map[string]any{"url": "http://" + s.Addr, "database": s.database, "username": u.Name},
		secure: map[string]string{"password": u.Password},
		user:   &backend.User{Login: "eve", Name: "Eve", Email: "eve@example.org", Role: "Editor"},
	}
}

// with returns s with other settings; nil takes one out. Grafana gives settings that changed as a new instance.
func (s source) with(settings map[string]any) source {
	s.id = sources.Add(1)
	s.json = maps.Clone(s.json)
	for key, value := range settings {
		if value == nil {
			delete(s.json, key)
		} else {
			s.json[key] = value
		}
	}
	return s
}

// secret returns s with another secret.
func (s source) secret(key, value string) source {
	s.id = sources.Add(1)
	s.secure = maps.Clone(s.secure)
	s.secure[key] = value
	return s
}

// as returns s asked by a user with that role of Grafana; "" is by none.
func (s source) as(role string) source {
	s.user = nil
	if role != "" {
		s.user = &backend.User{Login: "eve", Name: "Eve", Email: "eve@example.org", Role: role}
	}
	return s
}

func (s source) context() backend.PluginContext {
	settings, err := json.Marshal(s.json)
	if err != nil {
		panic("BUG: settings are not JSON: " + err.Error())
	}
	return backend.PluginContext{
		Namespace: "default", PluginID: plugin.ID, PluginVersion: "0.0.0", User: s.user,
		DataSourceInstanceSettings: &backend.DataSourceInstanceSettings{
			ID: s.id, UID: "weir", Type: plugin.ID, Name: "Weir", JSONData: settings, DecryptedSecureJSONData: s.secure,
			Updated: base.Add(time.Duration(s.id) * time.Second),
		},
	}
}

// checkHealth asks for the health that "Save & test" shows.
func (s source) checkHealth(ctx context.Context) (*backend.CheckHealthResult, error) {
	resp, err := s.diagnostics.CheckHealth(ctx, &pluginv2.CheckHealthRequest{PluginContext: backend.ToProto().PluginContext(s.context())})
	if err != nil {
		return nil, fmt.Errorf("check health: %w\n%s", err, &said)
	}
	return backend.FromProto().CheckHealthResponse(resp), nil
}

// target is one query of a panel with what the panel adds to it.
type target struct {
	refID    string
	model    json.RawMessage
	from, to time.Time     // zero: what is seeded
	interval time.Duration // zero: a minute
	points   int64         // zero: 120
}

// ask asks all targets in one request, as a panel does.
func (s source) ask(ctx context.Context, targets ...target) (backend.Responses, error) {
	req := &backend.QueryDataRequest{PluginContext: s.context()}
	if s.user == nil {
		req.Headers = map[string]string{"FromAlert": "true"}
	}
	for _, q := range targets {
		if q.refID == "" {
			q.refID = "A"
		}
		if q.from.IsZero() {
			q.from, q.to = base, until
		}
		if q.interval == 0 {
			q.interval = time.Minute
		}
		if q.points == 0 {
			q.points = 120
		}
		var head struct {
			QueryType string `json:"queryType"`
		}
		_ = json.Unmarshal(q.model, &head) // a hostile one is passed on as it is
		req.Queries = append(req.Queries, backend.DataQuery{
			RefID: q.refID, QueryType: head.QueryType, MaxDataPoints: q.points, Interval: q.interval,
			TimeRange: backend.TimeRange{From: q.from, To: q.to}, JSON: q.model,
		})
	}
	resp, err := s.data.QueryData(ctx, backend.ToProto().QueryDataRequest(req))
	if err != nil {
		return nil, err
	}
	got, err := backend.FromProto().QueryDataResponse(resp)
	if err != nil {
		return nil, err
	}
	return got.Responses, nil
}

// one asks one query and returns its answer.
func (s source) one(t testing.TB, model string) backend.DataResponse {
	t.Helper()
	answers, err := s.ask(t.Context(), target{model: json.RawMessage(model)})
	if err != nil {
		t.Fatalf("query %s: %v\n%s", model, err, &said)
	}
	answer, ok := answers["A"]
	if !ok || len(answers) != 1 {
		t.Fatalf("query %s: answered %v, want A alone", model, answers)
	}
	return answer
}

// resourceCall calls a resource and returns its status and body.
func (s source) resourceCall(ctx context.Context, method, url string, body []byte) (status int, answer []byte, err error) {
	path, _, _ := strings.Cut(url, "?")
	stream, err := s.resource.CallResource(ctx, backend.ToProto().CallResourceRequest(&backend.CallResourceRequest{
		PluginContext: s.context(), Method: method, Path: path, URL: url, Body: body,
		Headers: map[string][]string{"Content-Type": {"application/json"}},
	}))
	if err != nil {
		return 0, nil, err
	}
	status = http.StatusOK
	for first := true; ; first = false {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return status, answer, nil
		}
		if err != nil {
			return 0, nil, fmt.Errorf("%s %s: %w\n%s", method, url, err, &said)
		}
		if first {
			status = int(part.Code)
		}
		answer = append(answer, part.Body...)
	}
}

// call is resourceCall that has to be answered.
func (s source) call(t testing.TB, method, url string, body []byte) (status int, answer []byte) {
	t.Helper()
	status, answer, err := s.resourceCall(t.Context(), method, url, body)
	must(t, err)
	return status, answer
}
