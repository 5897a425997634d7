package gate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
)

// bridge is what the page in the browser takes for Grafana's server: it serves the page and the built plugin, and hands
// queries, health and resources to the plugin's program.
type bridge struct {
	t testing.TB

	mu     sync.Mutex
	source source // guarded by mu
}

// newBridge serves the page for a data source until the test ends.
func newBridge(t *testing.T, s source) string {
	t.Helper()
	b := &bridge{t: t, source: s}
	mux := http.NewServeMux()
	serve := func(prefix, dir string) {
		mux.Handle("GET "+prefix, http.StripPrefix(prefix, http.FileServerFS(os.DirFS(dir))))
	}
	plugin := tree(t)
	dir, err := page()
	must(t, err)
	serve("/", dir)
	serve("/public/plugins/weir-app/", filepath.Join(plugin, "linux_"+runtime.GOARCH, "weir-app"))
	serve("/build/img/", "../node_modules/@grafana/ui/dist/public/img")
	mux.HandleFunc("GET /api/datasources/uid/weir", b.settings)
	mux.HandleFunc("PUT /api/datasources/uid/weir", b.save)
	mux.HandleFunc("GET /api/datasources/uid/weir/health", b.health)
	mux.HandleFunc("GET /api/datasources/uid/weir/resources/{path...}", b.resource)
	mux.HandleFunc("POST /api/datasources/uid/weir/resources/{path...}", b.resource)
	mux.HandleFunc("POST /api/ds/query", b.query)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// page is the directory with the page, bundled once.
var page = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "page")
	html, err := os.ReadFile("page/index.html")
	if err != nil {
		return "", err
	}
	node, err := exec.Command("../../scripts/node-path.sh").Output()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("../node_modules/.bin/esbuild", "page/page.tsx", "--bundle", "--outdir="+dir, "--log-level=error",
		`--define:process.env.NODE_ENV="production"`, "--loader:.svg=dataurl", "--loader:.ttf=dataurl")
	cmd.Env = append(os.Environ(), "PATH="+strings.TrimSpace(string(node))+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bundle page: %w\n%s", err, out)
	}
	return dir, os.WriteFile(filepath.Join(dir, "index.html"), html, 0o600)
})

func (b *bridge) current() source {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.source
}

// answer writes a value as JSON.
func (b *bridge) answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		b.t.Logf("answer the page: %v", err)
	}
}

func (b *bridge) settings(w http.ResponseWriter, _ *http.Request) {
	s := b.current()
	configured := map[string]bool{}
	for key := range s.secure {
		configured[key] = true
	}
	b.answer(w, http.StatusOK, map[string]any{
		"id": 1, "uid": "weir", "name": "Weir", "type": "weir-datasource", "access": "proxy", "url": "", "user": "", "database": "",
		"jsonData": s.json, "secureJsonFields": configured, "readOnly": false, "isDefault": true,
	})
}

// save keeps settings as Grafana does: secrets that are not given stay.
func (b *bridge) save(w http.ResponseWriter, r *http.Request) {
	var got struct {
		JSONData       map[string]any    `json:"jsonData"`
		SecureJSONData map[string]string `json:"secureJsonData"`
	}
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.source.id = sources.Add(1)
	b.source.json = got.JSONData
	b.source.secure = maps.Clone(b.source.secure)
	maps.Copy(b.source.secure, got.SecureJSONData)
	b.mu.Unlock()
	b.settings(w, r)
}

func (b *bridge) health(w http.ResponseWriter, r *http.Request) {
	got, err := b.current().checkHealth(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	status := http.StatusOK
	if got.Status != backend.HealthStatusOk {
		status = http.StatusBadRequest
	}
	details := got.JSONDetails
	if len(details) == 0 {
		details = []byte("null")
	}
	b.answer(w, status, map[string]any{"status": strings.ToUpper(got.Status.String()), "message": got.Message, "details": json.RawMessage(details)})
}

func (b *bridge) resource(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	url := r.PathValue("path")
	if r.URL.RawQuery != "" {
		url += "?" + r.URL.RawQuery
	}
	status, answer, err := b.current().resourceCall(r.Context(), r.Method, url, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// query is POST /api/ds/query: targets with from and to in ms since 1970.
func (b *bridge) query(w http.ResponseWriter, r *http.Request) {
	var got struct {
		From    string            `json:"from"`
		To      string            `json:"to"`
		Queries []json.RawMessage `json:"queries"`
	}
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	at := func(text string) time.Time {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			b.t.Errorf("the page asks for a time %q", text)
		}
		return time.UnixMilli(ms).UTC()
	}
	var targets []target
	for _, q := range got.Queries {
		var head struct {
			RefID         string `json:"refId"`
			IntervalMs    int64  `json:"intervalMs"`
			MaxDataPoints int64  `json:"maxDataPoints"`
		}
		if err := json.Unmarshal(q, &head); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		targets = append(targets, target{refID: head.RefID, model: q, from: at(got.From), to: at(got.To), interval: time.Duration(head.IntervalMs) * time.Millisecond, points: head.MaxDataPoints})
	}
	responses, err := b.current().ask(r.Context(), targets...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	status := http.StatusOK
	for _, response := range responses {
		if response.Error != nil {
			status = http.StatusBadRequest
		}
	}
	b.answer(w, status, &backend.QueryDataResponse{Responses: responses})
}
