package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/internal/apptest"
)

// The commands beside a running instance, all on the same one.
func TestInstance(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up")
	}
	data := filepath.Join(t.TempDir(), "demo")
	a := apptest.Start(t, data, append([]string{"--demo"}, anyPorts...)...)
	apptest.Eventually(t, soon, "flows of all exporters are stored", func() error {
		out, err := a.SQL("SELECT uniq(exporter), countIf(src_vm_name = 'db-01') > 0 FROM flows WHERE counted")
		if err == nil && out != "3\t1" {
			err = errors.New(out)
		}
		return err
	})
	apptest.Eventually(t, soon, "weir flows top shows names", func() error {
		out, err := a.Run("flows", "top", "--by", "src_vm", "--limit", "30")
		if err == nil && (!strings.Contains(out, "web-01") || !strings.Contains(out, "db-01")) {
			err = errors.New(out)
		}
		return err
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *apptest.App)
	}{
		{"sql", testSQL},
		{"flows", testFlows},
		{"watch", testWatch},
		{"status", testStatus},
		{"exporters", testExporters},
		{"estate", testEstate},
		{"doctor", testHealthyDoctor},
		{"api", testAPI},
		{"metrics", testMetrics},
		{"page", testPage},
		{"replay", testReplayInto},
		{"migrate", testMigrate},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, a) })
	}
}

func testSQL(t *testing.T, a *apptest.App) {
	sql := func(args ...string) []string { return append([]string{"sql", "--data", a.Data}, args...) }
	f := func(want string, args ...string) {
		t.Helper()
		if got := good(t, sql(args...)...); got != want {
			t.Errorf("weir sql %q: %q, want %q", args, got, want)
		}
	}
	const query = "SELECT 1 AS a, 'x' AS b"
	f("a\tb\n1\tx\n", query)
	f("1\tx\n", query, "--format", "TSV")
	f("\"a\",\"b\"\n1,\"x\"\n", query, "--format", "CSVWithNames")
	f(`{"a":1,"b":"x"}`+"\n", query, "--json")
	f("1,\"x\"\n", query+" FORMAT CSV")
	f("", "SELECT 1 WHERE 0", "--format", "TSV")
	f("1\n", "SELECT 1 -- a comment at the end", "--format", "TSV")
	f("ü\n", "SELECT 'ü';", "--format", "TSV")
	if r := weirIn(t, "SELECT 42\n", sql("--format", "TSV")...); r.code != exitOK || r.stdout != "42\n" {
		t.Errorf("from standard input: %+v", r)
	}

	// The user of weir sql can look, and do nothing else.
	before := count(t, a)
	for query, want := range map[string]string{
		"DROP TABLE flows":                                         "can only read",
		"INSERT INTO flows (bytes) VALUES (1)":                     "can only read",
		"CREATE TABLE x (a UInt8) ENGINE = Memory":                 "can only read",
		"ALTER TABLE flows DELETE WHERE 1":                         "can only read",
		"SELECT * FROM file('/etc/passwd', 'LineAsString')":        "refused",
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')": "refused",
		"SELEKT 1":                  "Syntax error",
		"SELECT 1; SELECT 2":        "Multi-statements are not allowed",
		"SELECT missing FROM flows": "missing",
	} {
		fails(t, exitFailed, want, sql(query)...)
	}
	fails(t, exitFailed, "Unknown format Nothing", sql("SELECT 1", "--format", "Nothing")...)
	if after := count(t, a); after < before {
		t.Errorf("%d flows after what was refused, %d before", after, before)
	}

	// An answer that breaks off under way fails, after the rows that came.
	r := weir(t, sql("--format", "TSV", "SELECT throwIf(number = 3000000) FROM numbers(10000000)")...)
	if r.code != exitFailed || !strings.Contains(r.err, "throwIf") || len(r.stdout) < 1_000_000 || strings.Trim(r.stdout, "0\n") != "" {
		t.Errorf("exit code %d after %d bytes, %s", r.code, len(r.stdout), r.err)
	}
	// A reader that has seen enough is no failure.
	if code := run(t.Context(), sql("SELECT number FROM numbers(1000000000)"), nil, brokenPipe{}, io.Discard); code != exitOK {
		t.Errorf("closed pipe: exit code %d", code)
	}
	// Nor does a disk that is full go unnoticed.
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var complaint bytes.Buffer
	if code := run(t.Context(), sql("SELECT 1"), nil, full, &complaint); code != exitFailed || !strings.Contains(complaint.String(), "no space left on device") {
		t.Errorf("full disk: exit code %d, %s", code, complaint.String())
	}
}

// noted wants a command line to succeed, with nothing but notes beside its JSON.
func noted(t *testing.T, args ...string) string {
	t.Helper()
	r := weir(t, args...)
	for line := range strings.Lines(r.err) {
		if !strings.HasPrefix(line, "note: ") {
			t.Errorf("weir %s says %q", strings.Join(args, " "), line)
		}
	}
	if r.code != exitOK {
		t.Errorf("weir %s: exit code %d", strings.Join(args, " "), r.code)
	}
	return r.stdout
}

func testFlows(t *testing.T, a *apptest.App) {
	flows := func(args ...string) []string { return append([]string{"flows"}, append(args, "--data", a.Data)...) }
	out := good(t, flows("top", "--by", "src_addr", "--last", "15m", "--limit", "3")...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 6 || !strings.HasPrefix(lines[0], "src_addr ") || !strings.HasPrefix(lines[4], "(other) ") || !strings.HasPrefix(lines[5], "(total) ") {
		t.Errorf("%s", out)
	}
	for _, line := range lines[1:] { // figures stand under the ends of their headers
		if len([]rune(line)) != len(lines[0]) {
			t.Errorf("lines are not aligned:\n%s", out)
		}
	}
	type row struct {
		Row   string
		VM    *string `json:"src_vm"`
		Name  *string `json:"src_vm_name"`
		Bytes uint64
		Share float64
	}
	top := parse[[]row](t, noted(t, flows("top", "--by", "src_vm", "--json", "--limit", "30")...))
	if last := top[len(top)-1]; last.Row != "total" || last.Share != 1 {
		t.Errorf("the last row is %+v", last)
	}
	var sum uint64
	names := map[string]bool{}
	for _, r := range top[:len(top)-1] {
		if r.VM == nil || r.Name == nil {
			t.Fatalf("no src_vm or src_vm_name in %+v", r)
		}
		names[*r.Name] = true
		sum += r.Bytes
	}
	if sum != top[len(top)-1].Bytes || !names["web-01"] || !names["db-01"] {
		t.Errorf("%d bytes in rows, %d in total, names %v", sum, top[len(top)-1].Bytes, names)
	}
	if got := parse[[]row](t, noted(t, flows("top", "--json", "--no-other", "--limit", "1")...)); len(got) != 2 {
		t.Errorf("%+v, want a row and the total", got)
	}
	for _, args := range [][]string{
		{"--by", "network,service", "--unit", "bps"},
		{"--by", "vm", "--split"},
		{"--by", "exporter,protocol"},
		{"--bottom"},
		{"--filter", "src_vm = web-01 and port = 443"},
		{"--filter", "addr in 10.0.0.0/8", "--direction", "in", "--by", "vm"},
	} {
		good(t, flows(append([]string{"top"}, args...)...)...)
	}

	out = good(t, flows("list", "--limit", "5")...)
	if strings.Count(out, "\n") != 6 || !strings.HasPrefix(out, "time_received ") {
		t.Errorf("%s", out)
	}
	list := parse[[]map[string]any](t, good(t, flows("list", "--json", "--limit", "2", "--columns", "src_addr,dst_port,bytes")...))
	for _, key := range []string{"time_received", "src_addr", "dst_port", "bytes"} {
		if len(list) != 2 || list[0][key] == nil {
			t.Errorf("no %s in %v", key, list)
		}
	}

	fails(t, exitUsage, `unknown vm "wb-01" at 10: did you mean`, flows("top", "--filter", "src_vm = wb-01")...)
	r := weir(t, flows("top", "--json", "--filter", "port = 1")...)
	if r.code != exitOK || strings.TrimSpace(r.stdout) != "[]" || !strings.Contains(r.err, "nothing matches") {
		t.Errorf("an empty answer as JSON: %+v", r)
	}
	if out := good(t, flows("list", "--from", "2020-01-01 00:00", "--to", "2020-01-02 00:00")...); !strings.Contains(out, "no flows") {
		t.Errorf("before there were any: %s", out)
	}
}

// syncWriter is output that a test reads while a command writes.
type syncWriter struct{ lines chan string }

func (w syncWriter) Write(p []byte) (int, error) {
	select {
	case w.lines <- string(p):
	default:
	}
	return len(p), nil
}

func testWatch(t *testing.T, a *apptest.App) {
	for _, args := range [][]string{{"top"}, {"list", "--limit", "1"}, {"top", "--json"}} {
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		out := syncWriter{make(chan string, 100)}
		var complaint bytes.Buffer
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, append(append([]string{"flows"}, args...), "--watch", "--data", a.Data), nil, out, &complaint)
		}()
		select {
		case <-out.lines:
		case <-ctx.Done():
			t.Errorf("%v: nothing is shown", args)
		}
		cancel() // as Ctrl-C does
		select {
		case code := <-ended:
			if code != exitOK || strings.Contains(complaint.String(), "weir: ") {
				t.Errorf("%v: exit code %d after Ctrl-C, %s", args, code, complaint.String())
			}
		case <-time.After(soon):
			t.Fatalf("%v does not end", args)
		}
	}
}

// checkKeys wants the keys of JSON to be words in lower case with underscores, since they are a promise. Keys that are data
// (names of reasons, numbers) are the same.
func checkKeys(t *testing.T, text string) {
	t.Helper()
	key := regexp.MustCompile(`^[a-z0-9][a-z0-9_]*$`)
	var visit func(path string, v any)
	visit = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, value := range v {
				if !key.MatchString(k) {
					t.Errorf("key %s.%s is not in lower case", path, k)
				}
				visit(path+"."+k, value)
			}
		case []any:
			for _, value := range v {
				visit(path+"[]", value)
			}
		}
	}
	visit("", parse[any](t, text))
}

func testStatus(t *testing.T, a *apptest.App) {
	out := good(t, "status", "--data", a.Data)
	for _, want := range []string{
		"version ", "up ", a.Listen[0], "embedded at " + a.Store + " answers", "1 pool, 3 hosts, 2 networks, 24 VMs, 33 VIFs, 15 groups", " stored + ",
		" replayed = ", "write-ahead log ", " batches with ", "disk of the store ", " free, alarm below 5.00 GiB", "table flows ", "kept 30d",
		"active ", " of 3 hosts (none managed), ", " of 24 VMs, ", "process up ", "process store ", " CPUs, ", " memory free, ", "; disk ", "; 0 flows, ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	type status struct {
		Version, Data_directory string
		Listen                  []string
		Store                   struct {
			Mode, Addr string
			PID        int
		}
		Estate    struct{ VMs int }
		Collector struct {
			Datagrams, Decoded, Flows uint64
		}
		Retention struct {
			Disk_free_bytes    uint64
			Disk_at, Tables_at time.Time
			Tables             []struct{ Table string }
		}
		Alarms []string
	}
	s := parse[status](t, good(t, "status", "--json", "--data", a.Data))
	if s.Data_directory != a.Data || !slices.Equal(s.Listen, a.Listen) || s.Store.Mode != "embedded" || s.Store.PID != a.StorePID || s.Estate.VMs != 24 ||
		s.Collector.Flows == 0 || s.Collector.Datagrams != s.Collector.Decoded ||
		s.Retention.Disk_free_bytes == 0 || s.Retention.Disk_at.IsZero() || s.Retention.Tables_at.IsZero() || len(s.Retention.Tables) == 0 || len(s.Alarms) != 0 {
		t.Errorf("%+v", s)
	}
}

func testExporters(t *testing.T, a *apptest.App) {
	out := good(t, "exporters", "--data", a.Data)
	for _, want := range []string{"EXPORTER ", "127.0.0.11  NetFlow 9 ", "127.0.0.12  NetFlow 9 ", "127.0.0.13  IPFIX "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, want := range []string{"\ndatagrams: ", " decoded + 0 faulty; ", "\nflows: ", " lost; "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	one := good(t, "exporters", "127.0.0.11", "--data", a.Data)
	for _, want := range []string{"NetFlow 9", "lost before here", "clock ", "before its template"} {
		if !strings.Contains(one, want) {
			t.Errorf("no %q in\n%s", want, one)
		}
	}
	fails(t, exitNotFound, "has sent nothing", "exporters", "192.0.2.200", "--data", a.Data)
	fails(t, exitUsage, "want an IP address", "exporters", "localhost", "--data", a.Data)
	text := good(t, "exporters", "--json", "--data", a.Data)
	list := parse[[]struct {
		Exporter string
		Protocol int
		Live     bool
		Counts   struct{ Flows uint64 }
	}](t, text)
	if len(list) < 3 || list[0].Exporter != "127.0.0.11" || list[0].Protocol != 9 || !list[0].Live || list[0].Counts.Flows == 0 {
		t.Errorf("%+v", list)
	}
	checkKeys(t, text)
}

func testHealthyDoctor(t *testing.T, a *apptest.App) {
	got := findings(t, exitOK, "--data", a.Data)
	for _, check := range []string{"configuration", "engine library", "data directory", "instance", "store", "write-ahead log", "store disk", "losses", "estate", "exporters"} {
		if f := got[check]; f.State != "ok" {
			t.Errorf("%s: %+v", check, f)
		}
	}
	if _, there := got["receive buffer"]; !there {
		t.Error("the receive buffer is not checked")
	}
}

func testReplayInto(t *testing.T, a *apptest.App) {
	file := write(t, t.TempDir(), "v5.dat", netFlow5(time.Now()))
	good(t, "replay", file, "--to", a.Listen[0])
	apptest.Eventually(t, soon, "the flow is stored", func() error {
		out, err := a.SQL("SELECT count() FROM flows WHERE exporter = toIPv6('127.0.0.1') AND observation_domain = 258")
		if err == nil && out != "1" {
			err = errors.New(out + " flows")
		}
		return err
	})
}

func testMigrate(t *testing.T, a *apptest.App) {
	rows := parse[[]struct {
		Version     int
		Name, State string
		AppliedAt   time.Time `json:"applied_at"`
	}](t, good(t, "store", "migrate", "--dry-run", "--json", "--data", a.Data))
	for i, r := range rows {
		if r.Version != i+1 || !strings.HasSuffix(r.Name, ".sql") || r.State != "was applied" || time.Since(r.AppliedAt) > time.Hour {
			t.Errorf("%+v", r)
		}
	}
	if len(rows) == 0 || !strings.HasPrefix(good(t, "store", "migrate", "--data", a.Data), "VERSION  NAME ") {
		t.Error("no migrations")
	}
}

// ask is a request to the instance's API.
func ask(t *testing.T, a *apptest.App, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + a.API + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func testAPI(t *testing.T, a *apptest.App) {
	if status, body := ask(t, a, "/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %s", status, body)
	}
	status, body := ask(t, a, "/api/v1/flows?by=src_vm&total=true&filter="+url.QueryEscape("vm = web-01"))
	var answer struct {
		Columns []struct{ Name, Role, Type string }
		Rows    []map[string]any
		Table   string
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || len(answer.Rows) == 0 {
		t.Fatalf("/api/v1/flows: %d %v %s", status, err, body)
	}
	for _, c := range answer.Columns {
		if _, there := answer.Rows[0][c.Name]; !there || c.Role == "" || c.Type == "" {
			t.Errorf("column %+v, row %v", c, answer.Rows[0])
		}
	}
	if last := answer.Rows[len(answer.Rows)-1]; last["row"] != "total" || last["bytes"].(float64) == 0 {
		t.Errorf("the last row is %v", last)
	}
	for filter, want := range map[string]string{
		"vm = web-1": `"location":"query.filter"`, "port = ": "found the end at 8", "src_vm = 'x' or": "found the end",
	} {
		if status, body := ask(t, a, "/api/v1/flows?filter="+url.QueryEscape(filter)); status != http.StatusUnprocessableEntity || !strings.Contains(body, want) {
			t.Errorf("filter %s: %d %s, want 422 and %s", filter, status, body, want)
		}
	}
	for _, kind := range []string{"list", "series"} {
		if status, body := ask(t, a, "/api/v1/flows?limit=3&kind="+kind); status != http.StatusOK || !json.Valid([]byte(body)) {
			t.Errorf("kind %s: %d %s", kind, status, body)
		}
	}
}

// The metrics follow Prometheus's conventions, and their figures are those of the status.
func testMetrics(t *testing.T, a *apptest.App) {
	status, body := ask(t, a, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") && !regexp.MustCompile(`^(weir|go|process|promhttp)_`).MatchString(line) {
			t.Errorf("a metric that is not ours: %s", line)
		}
	}
	value := func(name string) float64 {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no metric %s", name)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	in := value("weir_store_writer_in_rows_total")
	if out := value("weir_store_writer_stored_rows_total") + value("weir_store_writer_waiting_rows"); in == 0 || in != out {
		t.Errorf("%v rows went to the writer, %v are stored or wait", in, out)
	}
	if enriched := value("weir_enricher_rows_total"); enriched < in {
		t.Errorf("%v rows enriched, %v written", enriched, in)
	}
}

func testPage(t *testing.T, a *apptest.App) {
	status, body := ask(t, a, "/")
	for _, want := range []string{"127.0.0.11", "NetFlow 9", "24 VMs", "write-ahead log: ", "disk: ", "weir flows top --by src_vm --last 15m --data " + a.Data, a.Store} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, no %q in\n%s", status, want, body)
		}
	}
	if strings.Contains(body, `class="bad">Alarm`) || strings.Contains(body, "not stored") {
		t.Errorf("the page complains:\n%s", body)
	}
}
