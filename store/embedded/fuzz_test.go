package embedded_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/store/embedded"
)

// front is a server in this process, for fuzzing. It ends with the process.
var front struct {
	once  sync.Once
	s     *embedded.Server
	users embedded.Users
	err   error
}

// startFront runs the server on a directory that is removed when f ends.
func startFront(f *testing.F) (*embedded.Server, embedded.Users) {
	front.once.Do(func() {
		if _, front.err = embedded.FindLibrary(""); front.err != nil {
			return
		}
		cfg := embedded.Default()
		cfg.Data = f.TempDir()
		cfg.ReadOnly.ExecutionTime = time.Second
		cfg.ReadOnly.Memory = 64 * bytesize.MiB
		cfg.ReadOnly.Result = bytesize.MiB
		cfg.StallTimeout = time.Second
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			front.err = err
			return
		}
		if front.s, front.err = embedded.New(cfg, embedded.Deps{Log: slog.New(slog.DiscardHandler), Listener: l}); front.err != nil {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- front.s.Run(ctx) }()
		f.Cleanup(func() {
			cancel()
			<-ended
		})
		for front.err == nil {
			resp, err := http.Get("http://" + l.Addr().String() + "/ping")
			if err == nil {
				resp.Body.Close()
				break
			}
			select {
			case front.err = <-ended:
			case <-time.After(20 * time.Millisecond):
			}
		}
		if front.err == nil {
			front.users, front.err = embedded.ReadUsers(cfg.Data)
		}
	})
	if front.err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			f.Fatal(front.err)
		}
		f.Skip(front.err)
	}
	return front.s, front.users
}

// FuzzFront sends requests of any kind to the server and its engine as the read-only user: there is an answer, it is well
// formed, and it holds nothing of the machine's files. The password is the user's own, so it may come back in an error.
func FuzzFront(f *testing.F) {
	for _, s := range [][4]string{
		{"/", "query=SELECT+1", "", "gzip"},
		{"/", "default_format=Native&client_protocol_version=54485&compress=1", "SELECT 1, 'a', [1], map(1, 2)", ""},
		{"/", "enable_http_compression=1&param_x=1", "SELECT {x:UInt8} FORMAT JSON", "zstd, br"},
		{"/", "wait_end_of_query=1&max_threads=1", "SELECT number FROM numbers(10) FORMAT Parquet", ""},
		{"/", "query=INSERT+INTO+t+FORMAT+CSV", "1,2\n", ""},
		{"/", "", "SELECT file('/etc/passwd')", ""},
		{"/", "param_t=/etc/passwd", "SELECT * FROM {t:Identifier}", ""},
		{"/", "", "SELECT * FROM default.`/etc/passwd` INTO OUTFILE '/dev/stdout' FORMAT TSV", ""},
		{"/", "", "DESCRIBE (SELECT 1) FORMAT Vertical", ""},
		{"/", "decompress=1", "\x00\x01", ""},
		{"/", "database=x%60&query_id=%00", "SHOW TABLES SETTINGS a=1", ""},
		{"/", "", "\\i /etc/passwd", ""},
		{"/", "", "SELECT 1;\n\\i /etc/passwd", ""},
		{"/", "format_template_resultset=/etc/passwd&default_format=Template", "SELECT 1", ""},
		{"/", "", "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')", ""},
		{"/ping", "", "", ""},
		{"/x/../y", "%", "\xff", "\xff"},
		{"/", "session_id=a", "SELECT throwIf(1)", ""},
		{"/", "readonly=0&max_memory_usage=1e400", "SELECT 1 SETTINGS readonly=0", ""},
		{"/", "", "SELECT 1 FORMAT Null; -- x", ""},
		{"/", "", "WITH 1 AS x (SELECT x) UNION ALL SELECT 2 FORMAT `Native` SETTINGS max_threads=1", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	s, users := startFront(f)
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		f.Fatal(err)
	}
	secret, _, _ := strings.Cut(string(passwd), "\n") // root's line
	f.Fuzz(func(t *testing.T, path, query, body, accept string) {
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		if strings.Contains(body, "sleep") || strings.Contains(query, "sleep") {
			t.Skip("slow by wish")
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header.Set("Accept-Encoding", accept)
		r.Header.Set("X-ClickHouse-User", users.ReadOnly.Name)
		r.Header.Set("X-ClickHouse-Key", users.ReadOnly.Password)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if v := recover(); v != nil && v != http.ErrAbortHandler { //nolint:errorlint // the very value
					panic(v)
				}
			}()
			s.ServeHTTP(w, r.WithContext(ctx))
		}()
		out := w.Body.String()
		if strings.Contains(out, secret) && !strings.Contains(body+query, secret) {
			t.Fatalf("the answer holds a line of /etc/passwd: %q", out)
		}
		code := w.Header().Get("X-ClickHouse-Exception-Code")
		if w.Code != http.StatusOK && w.Code != http.StatusNotFound && code == "" {
			t.Fatalf("status %d without a code: %.300q", w.Code, out)
		}
		if code != "" && !strings.HasPrefix(out, "Code: "+code+". DB::Exception: ") {
			t.Fatalf("code %s, text %.300q", code, out)
		}
		for name, values := range w.Header() {
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Fatalf("header %s: %q", name, v)
				}
			}
		}
	})
}
