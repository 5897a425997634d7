package embedded

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/weirhq/weir/store/embedded/chdb"
)

// request is what a client asked for in URL and headers, checked and without the body.
type request struct {
	id       string // X-ClickHouse-Query-Id
	query    string // parameter query; the body continues it
	database string // "" = default
	format   string // default_format or X-ClickHouse-Format; "" = TabSeparated
	params   []chdb.Param
	settings []setting // in the order of their names
	revision uint64    // client_protocol_version; 0 = blocks of Native as the engine writes them
	wait     bool      // wait_end_of_query: no byte of the response before the statement has ended
	readonly bool      // method GET or HEAD

	blocks      bool   // compress=1: response in ClickHouse's compressed blocks
	blockMethod string // network_compression_method: LZ4, ZSTD or NONE
	unblock     bool   // decompress=1: the body is in compressed blocks
	encoding    string // Content-Encoding of the response, "" for none
}

// setting is one name and value for SET.
type setting struct{ name, value string }

// parseRequest reads URL and headers of r. args are r's URL parameters, already parsed. Errors carry ClickHouse's codes.
func parseRequest(r *http.Request, args url.Values) (request, error) {
	q := request{
		database: r.Header.Get("X-ClickHouse-Database"),
		format:   r.Header.Get("X-ClickHouse-Format"),
		readonly: r.Method == http.MethodGet || r.Method == http.MethodHead,
	}
	compression := false
	names := make([]string, 0, len(args))
	for name := range args {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		value := args[name][len(args[name])-1]
		var err error
		switch name {
		case "query":
			q.query = strings.Join(args[name], "")
		case "database":
			q.database = value
		case "default_format":
			q.format = value
		case "query_id":
			q.id = value
		case "client_protocol_version":
			q.revision, err = strconv.ParseUint(value, 10, 32)
		case "wait_end_of_query":
			q.wait, err = flag(value)
		case "compress":
			q.blocks, err = flag(value)
		case "decompress":
			q.unblock, err = flag(value)
		case "enable_http_compression":
			compression, err = flag(value)
		case "network_compression_method":
			q.blockMethod = strings.ToUpper(value)
		case "session_id", "session_timeout", "session_check", "close_session":
			if value == "" {
				continue
			}
			return q, refuse(codeNotImplemented, "sessions are not supported by the embedded store (%s); use a ClickHouse server for temporary tables and SET over several requests", name)
		case "role":
			return q, refuse(codeNotImplemented, "roles are not supported by the embedded store")
		case "user", "password", "quota_key", "stacktrace", "buffer_size", "http_zlib_compression_level", "send_progress_in_http_headers",
			"http_headers_progress_interval_ms", "http_wait_end_of_query", "http_write_exception_in_output_format", "add_http_cors_header",
			"http_response_buffer_size", "cancel_http_readonly_queries_on_client_close", "network_zstd_compression_level", "http_native_compression_disable_checksumming_on_decompress",
			// An INSERT is synchronous here and costs one part, whatever the client asks.
			"async_insert", "wait_for_async_insert", "wait_for_async_insert_timeout", "async_insert_deduplicate",
			"async_insert_busy_timeout_ms", "async_insert_busy_timeout_max_ms", "async_insert_busy_timeout_min_ms", "async_insert_max_data_size":
			// taken by the front, or without meaning here
		default:
			if p, ok := strings.CutPrefix(name, "param_"); ok {
				if p == "" || len(p) > 256 {
					return q, refuse(codeBadArguments, "parameter %q has no usable name", name)
				}
				q.params = append(q.params, chdb.Param{Name: p, Value: value})
				continue
			}
			if !settingName(name) {
				return q, refuse(115, "Unknown setting %q", name)
			}
			q.settings = append(q.settings, setting{name, value})
		}
		if err != nil {
			return q, refuse(codeBadArguments, "parameter %s: %q: expected a number", name, value)
		}
	}
	if q.id == "" {
		q.id = newQueryID()
	}
	if len(q.id) > 256 || !printable(q.id) {
		return q, refuse(codeBadArguments, "query_id is longer than 256 bytes or not printable")
	}
	if q.database != "" && len(q.database) > 256 {
		return q, refuse(81, "Database name is longer than 256 bytes")
	}
	if q.format == "" {
		q.format = "TabSeparated"
	}
	if !settingName(q.format) {
		return q, refuse(codeUnknownFormat, "Unknown format %q", q.format)
	}
	if q.blockMethod == "" {
		q.blockMethod = "LZ4"
	}
	switch q.blockMethod {
	case "LZ4", "ZSTD", "NONE":
	case "LZ4HC":
		q.blockMethod = "LZ4"
	default:
		return q, refuse(codeBadArguments, "network_compression_method %q: expected LZ4, ZSTD or NONE", q.blockMethod)
	}
	if compression && !q.blocks {
		q.encoding = chooseEncoding(r.Header.Get("Accept-Encoding"))
	}
	return q, nil
}

// flag reads a 0/1 parameter.
func flag(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	_, err := strconv.ParseUint(v, 10, 64)
	return true, err
}

// settingName says whether s can stand in SET as a name: letters, digits, underscores and dots.
func settingName(s string) bool {
	if s == "" || len(s) > 128 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '.' && (c == '$' || !isWordByte(c)) {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// newQueryID returns a random UUID (version 4).
func newQueryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// chooseEncoding picks the response's Content-Encoding from Accept-Encoding, in ClickHouse's order of preference; "" for none.
func chooseEncoding(accept string) string {
	offered := map[string]bool{}
	for part := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if w := strings.ReplaceAll(weight, " ", ""); w != "q=0" && w != "q=0.0" {
			offered[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	for _, e := range []string{"gzip", "deflate", "zstd", "lz4", "br"} {
		if offered[e] {
			return e
		}
	}
	return ""
}
