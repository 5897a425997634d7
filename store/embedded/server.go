package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/weirhq/weir/store/embedded/chdb"
)

// Deps are what a Server uses. Run closes Listener.
type Deps struct {
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Listener net.Listener     // from Listen, FileListener, or a test
	Now      func() time.Time // for the login throttle; nil = time.Now
}

// Listen binds cfg.Listen.
func Listen(cfg Config) (net.Listener, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for ClickHouse HTTP on %q: %w", cfg.Listen, err)
	}
	return l, nil
}

// FileListener takes over a listening socket that the parent process bound and passed on as file descriptor fd.
func FileListener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	if f == nil {
		return nil, fmt.Errorf("take over listener: %d is no file descriptor", fd)
	}
	l, err := net.FileListener(f)
	_ = f.Close() // FileListener duplicated it
	if err != nil {
		return nil, fmt.Errorf("take over listener from file descriptor %d: %w", fd, err)
	}
	return l, nil
}

// Server serves the ClickHouse HTTP interface over an engine in this process. Since the engine cannot be started twice in a
// process, at most one Server may Run in a process.
type Server struct {
	cfg      Config
	deps     Deps
	metrics  *metrics
	throttle *throttle

	// Set by Run before the first request.
	engine *engine
	users  Users
	tmp    string

	queries [2]atomic.Int64 // running statements: of the writer, of the read-only user
}

// New checks and wires a server. It opens nothing.
func New(cfg Config, d Deps) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Server{cfg: cfg, deps: d, metrics: newMetrics(d.Metrics), throttle: newThrottle(d.Now)}, nil
}

// Run locks the data directory, starts the engine and serves until ctx is done; then it accepts nothing more, lets running statements end
// for ShutdownTimeout, kills those that are left, stops the engine and returns nil. All of it takes at most three times ShutdownTimeout;
// an engine that does not stop is an error, and the process has to end then.
func (s *Server) Run(ctx context.Context) (err error) {
	defer s.deps.Listener.Close()
	lock, err := lockData(s.cfg.Data)
	if err != nil {
		return err
	}
	stopped := true
	defer func() {
		if stopped { // else the engine is still on the data: the lock ends with the process
			_ = lock.Close()
		}
	}()
	if s.users, err = ensureUsers(s.cfg.Data); err != nil {
		return err
	}
	s.tmp = filepath.Join(s.cfg.Data, "tmp")
	if err := os.RemoveAll(s.tmp); err != nil {
		return fmt.Errorf("clear temporary directory: %w", err)
	}
	if err := os.Mkdir(s.tmp, 0o700); err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	began := time.Now()
	s.deps.Log.Info("store starting", "data", s.cfg.Data)
	if s.engine, err = openEngine(s.cfg, s.deps.Log); err != nil {
		return err
	}
	s.deps.Log.Info("store started", "addr", s.deps.Listener.Addr().String(), "clickhouse", s.engine.version, "took", time.Since(began))

	// Statements outlive ctx by ShutdownTimeout: their contexts descend from cut.
	cut, cutNow := context.WithCancel(context.WithoutCancel(ctx))
	defer cutNow()
	var handlers sync.RWMutex // each holds it for reading: net/http does not say when the last one has returned
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !handlers.TryRLock() {
				panic(http.ErrAbortHandler) // came in while everything was being closed
			}
			defer handlers.RUnlock()
			s.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout:            s.cfg.HeaderTimeout,
		WriteTimeout:                 s.cfg.StallTimeout, // from the end of the request header; renewed before each write
		IdleTimeout:                  s.cfg.IdleTimeout,
		MaxHeaderBytes:               int(s.cfg.MaxHeader),
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return cut },
		ErrorLog:                     slog.NewLogLogger(s.deps.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(s.deps.Listener, s.cfg.MaxConnections)) }()
	var ending time.Time
	select {
	case err = <-served: // the listener broke
		ending = time.Now()
	case <-ctx.Done():
		ending = time.Now()
		s.deps.Log.Info("store stopping", "running", s.queries[0].Load()+s.queries[1].Load())
		grace, done := context.WithTimeout(cut, s.cfg.ShutdownTimeout)
		if srv.Shutdown(grace) != nil {
			s.deps.Log.Warn("statements cut at shutdown", "running", s.queries[0].Load()+s.queries[1].Load())
		}
		done()
		<-served
		err = nil
	}
	cutNow()
	_ = srv.Close()
	stopped = within(s.cfg.ShutdownTimeout, handlers.Lock)
	if !stopped {
		// The engine ignores the kill. Its tables cannot be closed under running statements; what is on disk is whole at any time.
		return errors.Join(err, fmt.Errorf("stop store: %d statements did not end", s.queries[0].Load()+s.queries[1].Load()))
	}
	stopped = within(s.cfg.ShutdownTimeout, s.engine.close)
	if !stopped {
		return errors.Join(err, fmt.Errorf("stop store: the engine did not stop within %s", s.cfg.ShutdownTimeout))
	}
	s.deps.Log.Info("store stopped", "took", time.Since(ending))
	return err
}

// within calls f and says whether it returned in time; if not, it still runs.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// Paths that take statements are / and /query; /ping answers without a login.
const helpText = "Use / or /ping for health checks, and send queries with POST / or GET /?query=… and the user's name and password " +
	"(basic authentication, headers X-ClickHouse-User and X-ClickHouse-Key, or parameters user and password).\n"

// ServeHTTP answers one request of the ClickHouse HTTP interface.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/", "/query":
	case "/ping":
		ok(w)
		return
	default:
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, "There is no handle %s\n%s", cleanPath(r.URL.Path), helpText)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if r.URL.RawQuery == "" {
			ok(w)
			return
		}
	case http.MethodPost, http.MethodPut:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, PUT")
		http.Error(w, "Method "+r.Method+" is not supported.\n"+helpText, http.StatusMethodNotAllowed)
		return
	}
	args, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.refused(w, "", refuse(codeBadArguments, "URL parameters: %v", err))
		return
	}
	writer, err := s.login(w, r, args)
	if err != nil {
		s.metrics.refused.WithLabelValues("login").Inc()
		s.refused(w, "", err)
		return
	}
	req, err := parseRequest(r, args)
	if err != nil {
		s.metrics.refused.WithLabelValues("request").Inc()
		s.refused(w, req.id, err)
		return
	}
	s.query(w, r, req, writer)
}

func ok(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	_, _ = io.WriteString(w, "Ok.\n")
}

// cleanPath makes a path from outside fit for a text answer.
func cleanPath(p string) string {
	if len(p) > 100 {
		p = p[:100] + "…"
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(p, "?"))
}

// refused answers with an exception before a statement exists.
func (s *Server) refused(w http.ResponseWriter, id string, err error) {
	if id == "" || !printable(id) {
		id = newQueryID()
	}
	commonHeaders(w, s.engine, id)
	e := exception(err)
	writeException(w, e.Code, e.Error()+" (version "+s.engine.version+")\n")
}

// login says which user a request is from.
func (s *Server) login(w http.ResponseWriter, r *http.Request, args url.Values) (writer bool, err error) {
	from := remoteAddr(r)
	if wait := s.throttle.blocked(from); wait > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
		return false, refuse(codeAuthFailed, "Authentication failed: too many wrong passwords from your address, wait %d s", int(wait/time.Second)+1)
	}
	c, given, err := credentials(r, args)
	if err != nil {
		return false, err
	}
	if !given {
		w.Header().Set("WWW-Authenticate", `Basic realm="ClickHouse server HTTP API"`)
		return false, refuse(codeRequiredPassword, "Authentication required: a user name and a password. They are in users.json in the store's data directory")
	}
	writer, known := s.users.check(c)
	if !known {
		s.throttle.failed(from)
		s.deps.Log.Warn("login refused", "addr", from.String())
		return false, refuse(codeAuthFailed, "%s: Authentication failed: password is incorrect, or there is no user with such name", cleanPath(c.Name))
	}
	return writer, nil
}

func remoteAddr(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr) // zero for listeners that are not TCP: one bucket
	return ap.Addr()
}

// query runs one statement for a user that is known.
func (s *Server) query(w http.ResponseWriter, r *http.Request, req request, writer bool) {
	began := time.Now()
	user, lim, running := "readonly", s.cfg.ReadOnly, &s.queries[1]
	if writer {
		user, lim, running = "writer", s.cfg.Writer, &s.queries[0]
	}
	resp := newResponse(w, req, s.engine, s.cfg.StallTimeout, s.tmp)
	defer resp.close()
	n := running.Add(1)
	defer running.Add(-1)
	s.metrics.running.WithLabelValues(user).Inc()
	defer s.metrics.running.WithLabelValues(user).Dec()

	var err error
	var stats chdb.Stats
	if n > int64(lim.Queries) {
		err = refuse(codeTooManyAtOnce, "Too many simultaneous queries for user. Maximum: %d", lim.Queries)
	} else {
		stats, err = s.execute(r, resp, lim, writer)
	}
	if err == nil {
		err = resp.finish(stats)
	}
	s.metrics.seconds.WithLabelValues(user).Observe(time.Since(began).Seconds())
	s.metrics.queries.WithLabelValues(user, outcome(r.Context(), err)).Inc()
	if err != nil {
		e := exception(err)
		level := slog.LevelDebug
		if e.Code == codeUnknown {
			level = slog.LevelWarn
		}
		s.deps.Log.Log(r.Context(), level, "statement failed", "query_id", req.id, "user", user, "code", e.Code, "err", e.Message)
		resp.fail(r.Context(), err) // may panic with http.ErrAbortHandler: nothing after it
	}
}

// outcome is the label of a finished statement.
func outcome(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return "ok"
	case ctx.Err() != nil:
		return "cancelled"
	}
	return "failed"
}

// execute reads the statement and runs it; the result goes to resp.
func (s *Server) execute(r *http.Request, resp *response, lim Limits, writer bool) (chdb.Stats, error) {
	var none chdb.Stats
	req := resp.req
	if ct := r.Header.Get("Content-Type"); strings.HasPrefix(ct, "multipart/") {
		return none, refuse(codeNotImplemented, "multipart bodies (external tables) are not supported by the embedded store")
	}
	body, err := s.body(r, resp, lim)
	if err != nil {
		return none, err
	}
	// The statement: the parameter query, continued by the body on a new line. Of an INSERT the body goes on with data.
	text := req.query
	if text != "" && r.ContentLength != 0 {
		text += "\n"
	}
	head, more, err := readHead(body, int(s.cfg.MaxQuery)+1-len(text))
	if err != nil {
		return none, err
	}
	text += head
	st := parse(text)
	if len(st.text) > int(s.cfg.MaxQuery) || more && !st.insert {
		return none, refuse(codeQueryTooLarge, "Query is too large: max_query_size is %d bytes", int(s.cfg.MaxQuery))
	}
	if st.text == "" {
		return none, refuse(codeSyntaxError, "Syntax error: failed at position 1 (end of query): Empty query")
	}
	if first := (&lexer{text: st.text}).next(); !startsStatement(first) {
		return none, refuse(codeSyntaxError, "Syntax error: failed at position %d (%.100s): expected a statement, e.g. SELECT", first.start+1, first.text)
	}
	format := st.format
	if format == "" {
		format = req.format
	}
	if !allowedFormat(format) {
		return none, refuse(codeAccessDenied, "format %q is refused: it needs files of the machine", format)
	}
	screened := st.text
	if st.format == "Values" && !more {
		screened = text // the rows may hold expressions
	}
	if err := screen(screened); err != nil {
		return none, err
	}
	set, err := sessionSettings(req.settings, lim, !writer, req.readonly, newTag())
	if err != nil {
		return none, err
	}
	if st.format == "Values" && more {
		// Rows too many to be looked at must be plain values.
		set = append([]setting{{"input_format_values_interpret_expressions", "0"}, {"input_format_values_deduce_templates_of_expressions", "0"}}, set...)
	}
	tag := ""
	for _, x := range set {
		if x.name == tagSetting {
			tag = x.value
		}
	}
	session, err := s.engine.open(req.database, set, tag)
	if err != nil {
		return none, err
	}
	defer session.Close()
	analysed := st.text
	if st.insert {
		analysed = st.head + " VALUES"
	}
	what, err := session.Classify(analysed)
	if err != nil {
		return none, err
	}
	if what.Statements > 1 {
		return none, refuse(codeSyntaxError, "Syntax error (Multi-statements are not allowed)")
	}
	if (!writer || req.readonly) && what.Class != chdb.ClassReadOnly && what.Class != chdb.ClassUnknown {
		if writer {
			return none, refuse(codeReadonly, "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries")
		}
		return none, refuse(codeReadonly, "%s: Cannot execute query in readonly mode", s.users.ReadOnly.Name)
	}
	if err := r.Context().Err(); err != nil {
		return none, refuse(codeCancelled, "Query was cancelled: the client is gone")
	}
	stop := session.watch(r.Context())
	defer stop()
	switch {
	case st.insert:
		return s.insert(session, st, format, text[st.data:], body, req)
	case what.Class == chdb.ClassReadOnly:
		return s.read(session, st, format, resp)
	case what.Class == chdb.ClassUnknown:
		return none, explain(session, st)
	}
	return s.change(session, st, format, resp)
}

// explain returns the engine's reason for not understanding a statement. The streaming call parses before anything runs, takes no
// more than one statement, and nothing but SELECT.
func explain(session *session, st statement) error {
	stream, err := session.Stream(st.text, "Null", nil)
	if err != nil {
		return err
	}
	stream.Close()
	return refuse(codeSyntaxError, "Syntax error: the statement is not understood")
}

// insert sends the rows of an INSERT to the engine: those in rows, then those in body.
func (s *Server) insert(session *session, st statement, format, rows string, body io.Reader, req request) (chdb.Stats, error) {
	in, err := session.Insert(st.head, format, req.params)
	if err != nil {
		return chdb.Stats{}, err
	}
	defer in.Close()
	if err := in.Append([]byte(rows)); err != nil {
		return chdb.Stats{}, err
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if err := in.Append(buf[:n]); err != nil {
				return chdb.Stats{}, err
			}
		}
		if errors.Is(err, io.EOF) {
			return in.Done()
		}
		if err != nil {
			return chdb.Stats{}, err
		}
	}
}

// change runs a statement that gives no rows, or few.
func (s *Server) change(session *session, st statement, format string, resp *response) (chdb.Stats, error) {
	res, err := session.Query(st.text, format, resp.req.params)
	if err != nil {
		return chdb.Stats{}, err
	}
	defer res.Free()
	stats := res.Stats()
	if len(res.Bytes()) > 0 {
		setFormat(resp, format)
	}
	return stats, send(resp, format, strings.NewReader(string(res.Bytes())))
}

// read runs a statement that gives rows. The engine formats them into a pipe (its streaming functions would write a document of its own for
// each block), from which they go to the client; memory is bounded by the pipe and the buffers.
func (s *Server) read(session *session, st statement, format string, resp *response) (chdb.Stats, error) {
	setFormat(resp, format)
	pr, pw, err := os.Pipe()
	if err != nil {
		return chdb.Stats{}, fmt.Errorf("make pipe: %w", err)
	}
	defer pr.Close()
	growPipe(pw)
	text, clause := st.withOutput(fmt.Sprintf("/proc/self/fd/%d", pw.Fd()), format)
	type result struct {
		stats chdb.Stats
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		res, err := session.Query(text, "Null", resp.req.params)
		var stats chdb.Stats
		if err == nil {
			stats = res.Stats()
			res.Free()
		}
		_ = pw.Close() // the last writer: the reader sees the end
		ended <- result{stats, err}
	}()
	sendErr := send(resp, format, pr)
	if sendErr != nil {
		// The client is gone or cannot be served: end the statement, and take what it still writes, for it would block.
		s.engine.kill(session.tag)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, pr)
		}()
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
			select {
			case <-drained:
			case <-time.After(wait):
				s.engine.kill(session.tag)
				continue
			}
			break
		}
	}
	res := <-ended
	if e, ok := errors.AsType[*chdb.Error](res.err); ok {
		e.Message = strings.ReplaceAll(e.Message, clause, "")
	}
	if res.err != nil && exceptionCode(sendErr) == 0 {
		return res.stats, res.err
	}
	return res.stats, sendErr
}

// setFormat says in the headers what the answer is.
func setFormat(resp *response, format string) {
	h := resp.w.Header()
	h.Set("X-ClickHouse-Format", format)
	h.Set("Content-Type", contentType(format))
}

// send copies a result to the client, re-encoded if it is Native and the client asked for a revision.
func send(resp *response, format string, src io.Reader) error {
	if format == "Native" && resp.req.revision > 0 {
		return reencode(resp, src, resp.req.revision)
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{resp}, struct{ io.Reader }{src}, make([]byte, 64<<10))
	return err
}

// body is the request's body: limited in size before and after decompression, and in the time between its pieces and in all.
func (s *Server) body(r *http.Request, resp *response, lim Limits) (io.Reader, error) {
	if r.ContentLength > int64(lim.Body) {
		return nil, refuse(codeQueryTooLarge, "Request body of %d bytes is too large: the limit is %d", r.ContentLength, int64(lim.Body))
	}
	var in io.Reader = &slowBody{r: r.Body, control: resp.control, stall: s.cfg.StallTimeout, until: time.Now().Add(s.cfg.BodyTimeout)}
	in = &limitedBody{r: in, left: int64(lim.Body), limit: int64(lim.Body)}
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	if encoding == "" || encoding == "identity" {
		if !resp.req.unblock {
			return in, nil
		}
	}
	out, err := newDecompressor(encoding, in)
	if err != nil {
		if exceptionCode(err) != 0 {
			return nil, err
		}
		return nil, refuse(codeCannotDecompress, "Request body is no %s: %v", encoding, err)
	}
	if resp.req.unblock {
		out = newBlockReader(out, int64(lim.Body))
	}
	return &limitedBody{r: out, left: int64(lim.Body), limit: int64(lim.Body), compressed: true}, nil
}

// slowBody gives the client time for each piece and for all.
type slowBody struct {
	r       io.Reader
	control *http.ResponseController
	stall   time.Duration
	until   time.Time
}

func (b *slowBody) Read(p []byte) (int, error) {
	deadline := time.Now().Add(b.stall)
	if deadline.After(b.until) {
		deadline = b.until
	}
	if err := b.control.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := b.r.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = refuse(codeSocketTimeout, "Timeout exceeded while reading the request body")
	} else if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{}) // from here on the connection is watched for the client's leaving
	}
	return n, err
}

// limitedBody refuses more than limit bytes.
type limitedBody struct {
	r           io.Reader
	left, limit int64
	compressed  bool
	err         error // of the last read; it stays: a decompressor read beyond its end may begin anew
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one byte more shows that there is more
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.err = refuse(codeQueryTooLarge, "Request body is too large: the limit is %d bytes", b.limit)
		return 0, b.err
	}
	switch {
	case err == nil:
	case exceptionCode(err) != 0:
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = refuse(codeBadArguments, "Request body ends too early: %v", err)
	case errors.Is(err, io.EOF):
		err = io.EOF // the decompressors wrap it
	case b.compressed:
		err = refuse(codeCannotDecompress, "Cannot decompress request body: %v", err)
	}
	b.err = err
	return n, err
}

// readHead reads up to limit bytes of the body; more says that there may be more behind them.
func readHead(body io.Reader, limit int) (head string, more bool, err error) {
	if limit <= 0 {
		return "", false, refuse(codeQueryTooLarge, "Query is too large")
	}
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(body, int64(limit)))
	return b.String(), n == int64(limit), err
}
