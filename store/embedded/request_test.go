package embedded_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/store/embedded"
)

func TestParseRequest(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/?"+url.Values{
		"query": {"SELECT {a:String}"}, "database": {"db"}, "default_format": {"Native"}, "query_id": {"id-1"}, "param_a": {`x\ty`}, "param_b": {""},
		"client_protocol_version": {"54485"}, "compress": {"1"}, "decompress": {"0"}, "network_compression_method": {"zstd"}, "wait_end_of_query": {"1"},
		"max_threads": {"2"}, "enable_http_compression": {"1"}, "async_insert": {"1"}, "user": {"u"}, "password": {"p"}, "quota_key": {""}, "session_id": {""},
	}.Encode(), nil)
	r.Header.Set("Accept-Encoding", "gzip")
	got, err := embedded.ParseRequest(r)
	want := embedded.Request{
		ID: "id-1", Query: "SELECT {a:String}", Database: "db", Format: "Native", BlockMethod: "ZSTD",
		Params: [][2]string{{"a", `x\ty`}, {"b", ""}}, Settings: [][2]string{{"max_threads", "2"}}, Revision: 54485, Blocks: true, Wait: true,
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("parseRequest: %v %s", err, cmp.Diff(got, want))
	}
}

func TestChooseEncoding(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "gzip": "gzip", "br, zstd;q=0.5, gzip": "gzip", "zstd, br": "zstd", "gzip;q=0, deflate": "deflate", "lz4": "lz4", "br": "br", "identity": "",
		"gzip; q=0": "", "GZIP": "gzip",
	} {
		r := httptest.NewRequest(http.MethodGet, "/?query=1&enable_http_compression=1", nil)
		r.Header.Set("Accept-Encoding", accept)
		if got, err := embedded.ParseRequest(r); err != nil || got.Encoding != want {
			t.Errorf("Accept-Encoding %q: %q, %v; want %q", accept, got.Encoding, err, want)
		}
	}
}

func TestParseRequestRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"session_id=a":                           "sessions are not supported",
		"a%20b=1":                                "Unknown setting",
		"x'=1":                                   "Unknown setting",
		"client_protocol_version=-1":             "expected a number",
		"compress=x":                             "expected a number",
		"query_id=a%0ab":                         "query_id",
		"query_id=" + strings.Repeat("a", 300):   "query_id",
		"default_format=A%20B":                   "Unknown format",
		"network_compression_method=DEFLATE_QPL": "network_compression_method",
		"role=x":                                 "roles",
		"param_=1":                               "no usable name",
		"database=" + strings.Repeat("a", 300):   "Database name",
		"$x=1":                                   "Unknown setting",
		"1x=1":                                   "Unknown setting",
	} {
		_, err := embedded.ParseRequest(httptest.NewRequest(http.MethodPost, "/?"+query, nil))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseRequest(%q) = %v, want %q in it", query, err, want)
		}
	}
}

func TestSessionSettings(t *testing.T) {
	lim := embedded.Limits{Queries: 1, ExecutionTime: 60 * time.Second, Memory: 100 * bytesize.MiB, Result: 1000}
	f := func(asked [][2]string, restricted, readonly bool, want ...string) {
		t.Helper()
		got, err := embedded.SessionSet(asked, lim, restricted, readonly)
		if err != nil {
			t.Errorf("settings %q: %v", asked, err)
			return
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("settings %q: %s; want %q in it", asked, got, w)
			}
		}
	}
	f(nil, false, false, "max_execution_time = '60'", "max_memory_usage = '104857600'", "max_result_bytes = '1000'")
	f([][2]string{{"max_execution_time", "5"}}, true, false, "max_execution_time = '5'", "readonly = '1'")
	f([][2]string{{"max_execution_time", "500"}, {"max_memory_usage", "0"}}, true, false, "max_execution_time = '60'", "max_memory_usage = '104857600'")
	f([][2]string{{"max_execution_time", "2.5"}}, true, false, "max_execution_time = '2'")
	f([][2]string{{"max_threads", "1'; DROP TABLE x\\"}}, true, false, `max_threads = '1\'; DROP TABLE x\\'`)
	f([][2]string{{"readonly", "0"}}, true, false, "readonly = '1'")
	f([][2]string{{"readonly", "2"}}, false, false, "readonly = '1'")
	f([][2]string{{"insert_deduplication_token", "x"}}, false, false, "insert_deduplication_token = 'x'")
	f(nil, false, true, "readonly = '1'")
	if got, _ := embedded.SessionSet(nil, lim, false, false); strings.Contains(got, "readonly") {
		t.Errorf("the writer's session is read-only: %s", got)
	}
	for _, name := range []string{"max_sessions_for_user", "allow_introspection_functions", "storage_file_read_method", "format_schema", embedded.TagSetting} {
		if _, err := embedded.SessionSet([][2]string{{name, "1"}}, lim, true, false); err == nil {
			t.Errorf("the read-only user may set %s", name)
		}
	}
	if _, err := embedded.SessionSet([][2]string{{"max_memory_usage", "-1"}}, lim, true, false); err == nil {
		t.Error("a limit of -1 is taken")
	}
}

func TestCredentials(t *testing.T) {
	f := func(want embedded.Credentials, given bool, query string, set func(*http.Request)) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/?"+query, nil)
		if set != nil {
			set(r)
		}
		got, ok, err := embedded.CredentialsOf(r)
		if err != nil || ok != given || got != want {
			t.Errorf("credentials(%q): %v, %v, %v; want %v, %v", query, got, ok, err, want, given)
		}
	}
	u := embedded.Credentials{Name: "u", Password: "p"}
	f(embedded.Credentials{}, false, "", nil)
	f(u, true, "user=u&password=p", nil)
	f(u, true, "", func(r *http.Request) { r.SetBasicAuth("u", "p") })
	f(u, true, "user=u", func(r *http.Request) { r.SetBasicAuth("u", "p") })
	f(u, true, "", func(r *http.Request) { r.Header.Set("X-ClickHouse-User", "u"); r.Header.Set("X-ClickHouse-Key", "p") })
	r := httptest.NewRequest(http.MethodGet, "/?user=u&password=p", nil)
	r.SetBasicAuth("u", "p")
	if _, _, err := embedded.CredentialsOf(r); err == nil {
		t.Error("two ways of authentication at once are taken")
	}
	r = httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer x")
	if _, _, err := embedded.CredentialsOf(r); err == nil {
		t.Error("a bearer token is taken")
	}
}

func TestThrottle(t *testing.T) {
	now := time.Unix(0, 0)
	th := embedded.NewThrottle(func() time.Time { return now })
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1")
	for range embedded.ThrottleFailures {
		if th.Blocked(a) != 0 {
			t.Fatal("blocked too early")
		}
		th.Failed(a)
	}
	if got := th.Blocked(b); got != embedded.ThrottleWindow {
		t.Errorf("the same address, IPv4-mapped, is blocked for %s", got)
	}
	if th.Blocked(netip.MustParseAddr("192.0.2.2")) != 0 {
		t.Error("a neighbour is blocked")
	}
	now = now.Add(embedded.ThrottleWindow)
	if th.Blocked(a) != 0 {
		t.Error("still blocked after the window")
	}
	th.Failed(netip.MustParseAddr("2001:db8::1"))
	for range embedded.ThrottleFailures {
		th.Failed(netip.MustParseAddr("2001:db8::2"))
	}
	if th.Blocked(netip.MustParseAddr("2001:db8::ffff")) == 0 {
		t.Error("a neighbour in the same /64 is not blocked")
	}
	// A flood of addresses does not grow the table.
	var x [4]byte
	for i := range 3 * embedded.ThrottleEntries {
		x[1], x[2], x[3] = byte(i>>16), byte(i>>8), byte(i)
		th.Failed(netip.AddrFrom4(x))
	}
	if th.Len() > embedded.ThrottleEntries {
		t.Errorf("%d addresses are remembered", th.Len())
	}
}

// Whatever a URL and its headers hold, the front answers without a panic, and what it makes SQL of is quoted.
func FuzzParseRequest(f *testing.F) {
	for _, s := range [][3]string{
		{"query=SELECT+1&max_threads=1&param_x=1", "gzip", ""},
		{"compress=1&network_compression_method=ZSTD", "br;q=0", "x"},
		{"a=%00&b=%27", "", ""},
		{"session_id=1", "", ""},
		{"max_memory_usage=1e30&readonly=0", "", ""},
		{"query_id=%ff", "", ""},
		{";", "", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	lim := embedded.Default().ReadOnly
	f.Fuzz(func(t *testing.T, query, accept, format string) {
		r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
		r.Header.Set("Accept-Encoding", accept)
		r.Header.Set("X-ClickHouse-Format", format)
		q, err := embedded.ParseRequest(r)
		if err != nil {
			return
		}
		set, err := embedded.SessionSet(q.Settings, lim, true, false)
		if err != nil {
			return
		}
		st := embedded.ParseStatement(set)
		if st.Insert || strings.Contains(strings.ToLower(stripQuoted(set)), "readonly = ,") || strings.ContainsAny(stripQuoted(set), ";()`\"") {
			t.Fatalf("SET is more than names and literals: %s", set)
		}
		if !strings.HasSuffix(set, "readonly = '1'") {
			t.Fatalf("readonly is not the last: %s", set)
		}
	})
}

// stripQuoted takes the literals out of a SET statement.
func stripQuoted(s string) string {
	var b strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch {
		case in && s[i] == '\\':
			i++
		case s[i] == '\'':
			in = !in
		case !in:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
