package clickhouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
	_ "time/tzdata" // a server may be in a time zone that Grafana's machine has no file of

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirhq/weir/query"
)

// Client is a data source's way to its ClickHouse: one pool of connections. Its methods are safe for concurrent use.
type Client struct {
	settings Settings
	conn     driver.Conn
	slots    chan struct{} // one for each query that runs

	closed context.Context
	close  context.CancelFunc

	mu      sync.Mutex
	allowed *allowed // what the user may set; nil is not known yet; guarded by mu
}

// Ask is a statement and what its answer may be.
type Ask struct {
	query.Statement
	MaxRows int  // of the answer, which is cut there, with a Cut; 0 is what the settings say
	Raw     bool // the text is a user's: it is screened first, see Screen
}

// Open makes a client. It does not connect: that is done when a query needs it.
func Open(s Settings) (*Client, error) {
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol:        s.Protocol,
		Addr:            []string{s.Addr},
		HttpUrlPath:     s.Path,
		Auth:            clickhouse.Auth{Database: s.Database, Username: s.Username, Password: s.Password},
		TLS:             s.TLS,
		DialContext:     dialer(s),
		DialTimeout:     s.Caps.Connect,
		ReadTimeout:     s.Caps.Time + s.Caps.Connect,
		MaxOpenConns:    s.Caps.Queries, // slots keeps to it, so that nobody waits in the driver, which gives up too early
		MaxIdleConns:    s.Caps.Queries,
		ConnMaxLifetime: time.Hour,
		ClientInfo:      clickhouse.ClientInfo{Products: []struct{ Name, Version string }{{Name: "weir-datasource"}}},
		TransportFunc: func(t *http.Transport) (http.RoundTripper, error) {
			t.Proxy = nil // the plugin does not read its environment
			t.TLSHandshakeTimeout = s.Caps.Connect
			return t, nil
		},
	})
	if err != nil {
		return nil, &Error{Class: ClassConfig, Msg: "open ClickHouse: " + err.Error(), Hint: "correct the data source's settings", err: err}
	}
	c := &Client{settings: s, conn: conn, slots: make(chan struct{}, s.Caps.Queries)}
	c.closed, c.close = context.WithCancel(context.Background())
	return c, nil
}

// dialer returns how connections are made: for the native protocol with TLS, which the driver leaves to a dialer that is given.
func dialer(s Settings) func(context.Context, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: s.Caps.Connect}
	if s.Protocol == clickhouse.Native && s.TLS != nil {
		secure := &tls.Dialer{NetDialer: plain, Config: s.TLS}
		return func(ctx context.Context, addr string) (net.Conn, error) { return secure.DialContext(ctx, "tcp", addr) }
	}
	return func(ctx context.Context, addr string) (net.Conn, error) { return plain.DialContext(ctx, "tcp", addr) }
}

// Close ends what runs and closes the connections. It is idempotent.
func (c *Client) Close() error {
	c.close()
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("close connections to %q: %w", c.settings.Addr, err)
	}
	return nil
}

// Settings returns what the client was opened with.
func (c *Client) Settings() Settings { return c.settings }

// Query runs a statement and reads its answer. It returns when ctx is done, and ClickHouse stops working on it then: the connection is
// closed, which ends a query that only reads where the user may set cancel_http_readonly_queries_on_client_close or the server's
// profile has it (the embedded store always does). Errors are *Error.
func (c *Client) Query(ctx context.Context, a Ask) (*Rows, error) {
	if a.Raw {
		if err := Screen(a.SQL); err != nil {
			return nil, err
		}
	}
	for again := false; ; again = true {
		allowed, err := c.may(ctx)
		if err != nil {
			return nil, err
		}
		rows, err := c.run(ctx, a, allowed)
		if again || !slices.Contains(names, settingIn(err)) {
			return rows, err
		}
		c.forget(allowed) // what the user may set has changed
	}
}

// run runs a statement with the settings that the user may give.
func (c *Client) run(caller context.Context, a Ask, allowed *allowed) (*Rows, error) {
	caps := c.settings.Caps
	rows := a.MaxRows
	if rows <= 0 {
		rows = caps.Rows
	}
	if c.closed.Err() != nil {
		return nil, errClosed
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-caller.Done():
		return nil, c.over(context.Cause(caller))
	case <-c.closed.Done():
		return nil, errClosed
	}
	// Where the server does not end it, the client does: after the time for the query, and some for the connection. The context has no
	// deadline of its own, since the driver would make a max_execution_time of it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	defer cancel(nil)
	defer context.AfterFunc(caller, func() { cancel(context.Cause(caller)) })()
	defer context.AfterFunc(c.closed, func() { cancel(errClosed) })()
	limit := caps.Time + caps.Connect
	defer time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) }).Stop()
	settings := clickhouse.Settings{}
	for name, value := range allowed.settings(caps, rows, a.Settings) {
		settings[name] = value
	}
	var args []any
	for _, p := range a.Params {
		args = append(args, clickhouse.Named(p.Name, p.Value))
	}
	answer, err := c.conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(settings)), a.SQL, args...)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, c.over(cause)
		}
		return nil, c.classify(err)
	}
	out, err := read(answer, rows, caps.ResultBytes)
	cause := context.Cause(ctx)
	cancel(nil)        // of what was cut, the rest is not wanted
	_ = answer.Close() // its error is that of read, or of the cut
	if err != nil && cause != nil {
		return nil, c.over(cause)
	}
	if err != nil {
		return nil, c.classify(err)
	}
	return out, nil
}

var errClosed = &Error{Class: ClassCancelled, Msg: "the data source's settings changed while it was asked", Hint: "ask again"}

// read takes an answer up to so many rows and bytes.
func read(answer driver.Rows, maxRows int, maxBytes int64) (*Rows, error) {
	types := answer.ColumnTypes()
	out := &Rows{Columns: make([]Column, len(types))}
	columns := make([]reflect.Value, len(types))
	row := make([]any, len(types))
	for i, t := range types {
		out.Columns[i] = Column{Name: t.Name(), Type: t.DatabaseTypeName()}
		columns[i] = reflect.MakeSlice(reflect.SliceOf(t.ScanType()), 0, 0)
	}
	bytes := int64(0)
	for answer.Next() {
		if out.Len == maxRows {
			out.Cut = append(out.Cut, Cut{CapRows, "only the first " + strconv.Itoa(maxRows) + " rows are shown: there are more"})
			break
		}
		for i, t := range types {
			row[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := answer.Scan(row...); err != nil {
			return nil, fmt.Errorf("read row %d: %w", out.Len+1, err)
		}
		for i := range row {
			v := reflect.ValueOf(row[i]).Elem()
			bytes += size(v)
			columns[i] = reflect.Append(columns[i], v)
		}
		out.Len++
		if bytes > maxBytes {
			out.Cut = append(out.Cut, Cut{CapBytes, "only the first " + strconv.Itoa(out.Len) + " rows are shown: the answer is larger than " + strconv.FormatInt(maxBytes, 10) + " bytes"})
			break
		}
	}
	for i := range columns {
		out.Columns[i].Values = columns[i].Interface()
	}
	return out, answer.Err()
}

// size returns about what a value takes: no less than ClickHouse counts for max_result_bytes.
func size(v reflect.Value) int64 {
	const word = 8
	switch v.Kind() {
	case reflect.String:
		return word + 1 + int64(v.Len())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 2 * word
		}
		return word + size(v.Elem())
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return 2*word + int64(v.Len())
		}
		n := int64(word)
		for i := range v.Len() {
			n += size(v.Index(i))
		}
		return n
	case reflect.Map:
		n := int64(word)
		for it := v.MapRange(); it.Next(); {
			n += size(it.Key()) + size(it.Value())
		}
		return n
	default:
		return max(word, int64(v.Type().Size()))
	}
}

// --- what the user may set ----------------------------------------------------------------------------------------

// allowed is what is known of the user at ClickHouse.
type allowed struct {
	since    time.Time
	version  string
	readonly int             // the user's own: 0 may write, 1 reads, 2 reads and may set
	refused  map[string]bool // settings that the user may not give
}

// Access tells what the user may do, for the health check.
type Access struct {
	Version string   // of ClickHouse
	Writes  bool     // the user is not limited to reading; the data source sends readonly=1 with each of its queries
	Refused []string // settings by which caps would hold in ClickHouse, and which the user may not give
}

// names of the settings that are sent, in the order in which they are told.
var names = []string{
	"max_execution_time", "timeout_overflow_mode", "max_result_rows", "max_result_bytes", "result_overflow_mode", "max_rows_to_read",
	"max_bytes_to_read", "read_overflow_mode",
	"cancel_http_readonly_queries_on_client_close",
}

// settings returns what is sent beside a statement, with what the statement asks for itself: of two numbers the smaller holds, 0
// being none.
func (u *allowed) settings(caps Caps, rows int, of map[string]string) map[string]string {
	set := map[string]string{
		"max_execution_time":                           seconds(caps.Time),
		"timeout_overflow_mode":                        "throw",
		"max_result_rows":                              strconv.Itoa(rows + 1),                          // the one more shows that there are more
		"max_result_bytes":                             strconv.FormatInt(2*caps.ResultBytes+1<<20, 10), // this side cuts before, and tells
		"result_overflow_mode":                         "break",
		"max_rows_to_read":                             "0",
		"max_bytes_to_read":                            strconv.FormatInt(caps.ReadBytes, 10),
		"read_overflow_mode":                           "throw",
		"cancel_http_readonly_queries_on_client_close": "1",
	}
	for name, value := range of {
		a, errA := strconv.ParseInt(value, 10, 64)
		b, errB := strconv.ParseInt(set[name], 10, 64)
		if errA != nil || errB != nil || b == 0 || a > 0 && a < b {
			set[name] = value
		}
	}
	if u.readonly == 0 {
		set["readonly"] = "1" // also: what the text sets is refused, and functions that reach files and other hosts
	}
	for name := range u.refused {
		delete(set, name)
	}
	return set
}

func seconds(d time.Duration) string { return strconv.Itoa(int((d + time.Second - 1) / time.Second)) }

// refusedSetting finds the setting in ClickHouse's refusals of one: of a read-only user (READONLY), beyond a constraint of the user's profile
// (SETTING_CONSTRAINT_VIOLATION), or of a version that does not know it (UNKNOWN_SETTING).
var refusedSetting = regexp.MustCompile("(?i)setting '?\"?([a-z_]+)|['\"`]([a-z_]+)['\"`] setting")

// settingIn returns the setting that ClickHouse refused, "" if that is not what is wrong.
func settingIn(err error) string {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != 164 && e.Code != 452 && e.Code != 115 {
		return ""
	}
	m := refusedSetting.FindStringSubmatch(e.Msg)
	if m == nil {
		return ""
	}
	return or(m[1], m[2])
}

// fresh is how long it is taken for granted what the user may set.
const fresh = time.Minute

// may returns what the user may set.
func (c *Client) may(ctx context.Context) (*allowed, error) {
	c.mu.Lock()
	known := c.allowed
	c.mu.Unlock()
	if known != nil && time.Since(known.since) < fresh {
		return known, nil
	}
	return c.learn(ctx)
}

func (c *Client) forget(known *allowed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allowed == known {
		c.allowed = nil
	}
}

// learn finds out what the user may set: it asks with all settings, and leaves out those that are refused.
func (c *Client) learn(ctx context.Context) (*allowed, error) {
	found := &allowed{since: time.Now(), readonly: 1, refused: map[string]bool{}} // 1: readonly is not sent before it is known that it can be
	for {
		rows, err := c.run(ctx, Ask{Statement: query.Statement{SQL: "SELECT version() AS version, toInt64(getSetting('readonly')) AS readonly"}}, found)
		if name := settingIn(err); slices.Contains(names, name) && !found.refused[name] {
			found.refused[name] = true
			continue
		}
		if err != nil {
			return nil, err
		}
		if rows.Len != 1 {
			return nil, &Error{Class: ClassServer, Msg: "what " + c.settings.Addr + " answered is not understood", Hint: "check that it is ClickHouse, and its URL"}
		}
		found.version = rows.Columns[0].Values.([]string)[0]
		found.readonly = int(rows.Columns[1].Values.([]int64)[0])
		c.mu.Lock()
		defer c.mu.Unlock()
		c.allowed = found
		return found, nil
	}
}

// Access finds out what the user may do.
func (c *Client) Access(ctx context.Context) (Access, error) {
	found, err := c.learn(ctx)
	if err != nil {
		return Access{}, err
	}
	a := Access{Version: found.version, Writes: found.readonly == 0}
	for _, name := range names {
		if found.refused[name] {
			a.Refused = append(a.Refused, name)
		}
	}
	return a, nil
}
