package chdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Version is the release of libchdb whose C interface this package binds, as chdb_version reports it.
const Version = "26.7.3"

// ExitWriteFailed is the status with which the process ends when the engine cannot write a file (EX_IOERR of sysexits.h).
const ExitWriteFailed = 74

// Library is a loaded libchdb. Its methods are safe for concurrent use.
type Library struct {
	version           func() string
	setSignalHandlers func(enabled int32)

	connect   func(argc int32, argv unsafe.Pointer) *cConnection
	closeConn func(conn *cConnection)

	query        func(conn handle, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr) handle
	queryParams  func(conn handle, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) handle
	streamQuery  func(conn handle, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr) handle
	streamParams func(conn handle, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) handle
	streamFetch  func(conn, stream handle) handle
	streamCancel func(conn, stream handle)

	insert        func(conn handle, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr) handle
	insertParams  func(conn handle, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, count uintptr) handle
	insertAppend  func(stream handle, data unsafe.Pointer, length uintptr) int32
	insertDone    func(stream handle) handle
	insertCancel  func(stream handle)
	insertError   func(stream handle) unsafe.Pointer
	insertDestroy func(stream handle)

	resultBuffer       func(result handle) unsafe.Pointer
	resultLength       func(result handle) uintptr
	resultElapsed      func(result handle) float64
	resultRows         func(result handle) uint64
	resultBytes        func(result handle) uint64
	resultReadRows     func(result handle) uint64
	resultReadBytes    func(result handle) uint64
	resultWrittenRows  func(result handle) uint64
	resultWrittenBytes func(result handle) uint64
	resultError        func(result handle) unsafe.Pointer
	resultDestroy      func(result handle)

	classify func(conn handle, sql unsafe.Pointer, sqlLen uintptr, database unsafe.Pointer, databaseLen uintptr, out unsafe.Pointer) int32
	backup   func(conn handle, database unsafe.Pointer, databaseLen uintptr, file unsafe.Pointer, fileLen uintptr, base unsafe.Pointer, baseLen uintptr) handle
}

// handle is a pointer to an object of the engine: never looked into, never null once checked.
type handle uintptr

// cConnection is chdb_connection *, memory of the engine: the connection handle sits behind it.
type cConnection struct{ conn handle }

// Open loads the library at path (absolute, or relative to the working directory). Loading maps the 566 MB file and
// starts nothing; the engine starts with the first Connect. It tells the engine to leave the process's signals alone, and sees
// to it that a write to a file that fails ends the process with ExitWriteFailed: the engine would go on as if it had been written.
// A missing or foreign file is an error, never a panic.
func Open(path string) (*Library, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("load libchdb %q: %w", path, err)
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("load libchdb %q: %w", path, errors.Unwrap(err))
	}
	lib, err := purego.Dlopen(abs, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load libchdb %q: %w", path, err)
	}
	l := &Library{}
	for _, f := range []struct {
		fn   any
		name string
	}{
		{&l.version, "chdb_version"},
		{&l.setSignalHandlers, "chdb_set_signal_handlers_enabled"},
		{&l.connect, "chdb_connect"},
		{&l.closeConn, "chdb_close_conn"},
		{&l.query, "chdb_query_n"},
		{&l.queryParams, "chdb_query_with_params_n"},
		{&l.streamQuery, "chdb_stream_query_n"},
		{&l.streamParams, "chdb_stream_query_with_params_n"},
		{&l.streamFetch, "chdb_stream_fetch_result"},
		{&l.streamCancel, "chdb_stream_cancel_query"},
		{&l.insert, "chdb_stream_insert_n"},
		{&l.insertParams, "chdb_stream_insert_with_params_n"},
		{&l.insertAppend, "chdb_stream_append"},
		{&l.insertDone, "chdb_stream_done"},
		{&l.insertCancel, "chdb_stream_cancel_insert"},
		{&l.insertError, "chdb_stream_insert_error"},
		{&l.insertDestroy, "chdb_destroy_insert_stream"},
		{&l.resultBuffer, "chdb_result_buffer"},
		{&l.resultLength, "chdb_result_length"},
		{&l.resultElapsed, "chdb_result_elapsed"},
		{&l.resultRows, "chdb_result_rows_read"},
		{&l.resultBytes, "chdb_result_bytes_read"},
		{&l.resultReadRows, "chdb_result_storage_rows_read"},
		{&l.resultReadBytes, "chdb_result_storage_bytes_read"},
		{&l.resultWrittenRows, "chdb_result_rows_written"},
		{&l.resultWrittenBytes, "chdb_result_bytes_written"},
		{&l.resultError, "chdb_result_error"},
		{&l.resultDestroy, "chdb_destroy_query_result"},
		{&l.classify, "chdb_classify_query_n"},
		{&l.backup, "chdb_backup_database_n"},
	} {
		// RegisterLibFunc panics on a missing symbol: look first.
		sym, err := purego.Dlsym(lib, f.name)
		if err != nil {
			return nil, fmt.Errorf("load libchdb %q: symbol %q: %w (expected libchdb %s)", path, f.name, err, Version)
		}
		purego.RegisterFunc(f.fn, sym)
	}
	version, err := purego.Dlsym(lib, "chdb_version")
	if err == nil {
		err = guardWrites(lib, abs, version)
	}
	if err != nil {
		return nil, fmt.Errorf("load libchdb %q: guard its writes: %w", path, err)
	}
	l.setSignalHandlers(0)
	if got := l.version(); got != Version && !strings.HasPrefix(got, Version+"-") {
		return nil, fmt.Errorf("load libchdb %q: version %q, expected %q", path, got, Version)
	}
	return l, nil
}

// Connect opens a connection. The first one starts the engine with args as its options ("--path=DIR" and server
// options); later ones must name the same path. It takes 0.2 to 1 s the first time and well under a millisecond later.
// Hold one connection for as long as the engine is needed: closing the last one stops the engine.
func (l *Library) Connect(args ...string) (*Conn, error) {
	argv := make([]*byte, 0, len(args)+2)
	for _, a := range append([]string{"clickhouse"}, args...) {
		if strings.IndexByte(a, 0) >= 0 {
			return nil, fmt.Errorf("connect engine: argument %q holds a zero byte", a)
		}
		b := append([]byte(a), 0)
		argv = append(argv, &b[0])
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	var pin runtime.Pinner
	defer pin.Unpin()
	for _, p := range argv {
		if p != nil {
			pin.Pin(p)
		}
	}
	c := l.connect(argc, unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(argv)
	if c == nil || c.conn == 0 {
		return nil, fmt.Errorf("connect engine with %q: refused (the engine gives no reason; check that the path is writable, holds data of this version and is used by no other process)", args)
	}
	return &Conn{lib: l, c: c}, nil
}

// Param is the value of one {name:Type} placeholder, as text in the escaping of a TSV field (a backslash is `\\`, NULL is
// `\N`), which is what ClickHouse's HTTP interface takes as param_name.
type Param struct{ Name, Value string }

// Conn is one session of the engine: it has a current database, settings and temporary tables of its own.
type Conn struct {
	lib *Library
	c   *cConnection
}

// Close ends the session. It is idempotent. Streams and inserts of the connection must be closed before.
func (c *Conn) Close() {
	if c.c != nil {
		c.lib.closeConn(c.c)
		c.c = nil
	}
}

// Query runs one statement of any kind and returns its whole output in format. A failure of the statement is an *Error.
func (c *Conn) Query(sql, format string, params []Param) (*Result, error) {
	if c.c == nil {
		return nil, errClosed
	}
	var r handle
	if len(params) == 0 {
		r = c.lib.query(c.c.conn, ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)))
	} else {
		a := newParamArrays(params)
		r = c.lib.queryParams(c.c.conn, ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)), a.names(), a.nameLens(), a.values(), a.valueLens(), uintptr(len(params)))
		a.release()
	}
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	return c.lib.result(r)
}

// Exec is Query for statements without output.
func (c *Conn) Exec(sql string) error {
	r, err := c.Query(sql, "Null", nil)
	if err != nil {
		return err
	}
	r.Free()
	return nil
}

// Stream starts a SELECT (nothing else can be streamed) whose output is fetched block by block. The engine works ahead by a few blocks
// and then waits, so memory stays bounded however slow the reader is.
func (c *Conn) Stream(sql, format string, params []Param) (*Stream, error) {
	if c.c == nil {
		return nil, errClosed
	}
	var r handle
	if len(params) == 0 {
		r = c.lib.streamQuery(c.c.conn, ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)))
	} else {
		a := newParamArrays(params)
		r = c.lib.streamParams(c.c.conn, ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)), a.names(), a.nameLens(), a.values(), a.valueLens(), uintptr(len(params)))
		a.release()
	}
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if r == 0 {
		return nil, errNoResult
	}
	if err := parseError(goString(c.lib.resultError(r))); err != nil {
		c.lib.resultDestroy(r)
		return nil, err
	}
	return &Stream{conn: c, h: r}, nil
}

// Insert starts an INSERT whose data is pushed with Append. sql is "INSERT INTO t (a, b)" without FORMAT and without data.
func (c *Conn) Insert(sql, format string, params []Param) (*Insert, error) {
	if c.c == nil {
		return nil, errClosed
	}
	var s handle
	if len(params) == 0 {
		s = c.lib.insert(c.c.conn, ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)))
	} else {
		a := newParamArrays(params)
		s = c.lib.insertParams(c.c.conn, ptr(sql), uintptr(len(sql)), ptr(format), uintptr(len(format)), a.names(), a.nameLens(), a.values(), a.valueLens(), uintptr(len(params)))
		a.release()
	}
	runtime.KeepAlive(sql)
	runtime.KeepAlive(format)
	if s == 0 {
		return nil, errNoResult
	}
	if err := parseError(goString(c.lib.insertError(s))); err != nil {
		c.lib.insertDestroy(s)
		return nil, err
	}
	return &Insert{lib: c.lib, h: s}, nil
}

// Classify says what the statements in sql would do, by the engine's own parser, without running them. Text that does not
// parse is ClassUnknown with no statements.
func (c *Conn) Classify(sql string) (Analysis, error) {
	if c.c == nil {
		return Analysis{}, errClosed
	}
	// struct chdb_query_analysis_v1
	out := struct{ size, statements, flags, class uint32 }{size: 16, class: uint32(ClassUnknown)}
	state := c.lib.classify(c.c.conn, ptr(sql), uintptr(len(sql)), nil, 0, unsafe.Pointer(&out))
	runtime.KeepAlive(sql)
	if state != 0 {
		return Analysis{}, errors.New("classify statement: the engine refused the call")
	}
	return Analysis{Statements: int(out.statements), Class: Class(out.class), Secrets: out.flags&1 != 0}, nil
}

// Backup writes database into the new archive file, an absolute path below the engine's backups.allowed_path. base is an
// earlier archive for an incremental backup, or "".
func (c *Conn) Backup(database, file, base string) error {
	if c.c == nil {
		return errClosed
	}
	r, err := c.lib.result(c.lib.backup(c.c.conn, ptr(database), uintptr(len(database)), ptr(file), uintptr(len(file)), ptr(base), uintptr(len(base))))
	runtime.KeepAlive([]string{database, file, base})
	if err != nil {
		return err
	}
	r.Free()
	return nil
}

// Analysis is the answer of Classify.
type Analysis struct {
	Statements int   // how many executable statements the text holds
	Class      Class // the most restricted of them
	Secrets    bool  // the text holds a credential (table function, named collection, …)
}

// Class is what a statement does to state that outlives it (enum chdb_query_class).
type Class uint32

// The classes, ascending by how restricted the statement is.
const (
	ClassReadOnly       Class = iota // SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS, CHECK
	ClassMutating                    // INSERT, CREATE, ALTER, DROP, TRUNCATE, RENAME, DELETE, OPTIMIZE
	ClassMutatingGlobal              // functions, named collections, access management, writes into system
	ClassControl                     // USE, SET, ATTACH, DETACH, SYSTEM, BACKUP, RESTORE, KILL, INTO OUTFILE, INSERT INTO FUNCTION
	ClassUnknown                     // does not parse, or unknown to the engine's classifier
)

// Result is output of a statement in C memory. Free gives it back.
type Result struct {
	lib *Library
	h   handle
}

// result wraps r, or frees it and returns its error.
func (l *Library) result(r handle) (*Result, error) {
	if r == 0 {
		return nil, errNoResult
	}
	if err := parseError(goString(l.resultError(r))); err != nil {
		l.resultDestroy(r)
		return nil, err
	}
	return &Result{lib: l, h: r}, nil
}

// Bytes is the output: a view of C memory, valid until Free, not to be written.
func (r *Result) Bytes() []byte {
	p, n := r.lib.resultBuffer(r.h), r.lib.resultLength(r.h)
	if p == nil || n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}

// Stats are the counters of the statement; of a streamed block, those of the block.
func (r *Result) Stats() Stats {
	return Stats{
		ResultRows:   r.lib.resultRows(r.h),
		ResultBytes:  r.lib.resultBytes(r.h),
		ReadRows:     r.lib.resultReadRows(r.h),
		ReadBytes:    r.lib.resultReadBytes(r.h),
		WrittenRows:  r.lib.resultWrittenRows(r.h),
		WrittenBytes: r.lib.resultWrittenBytes(r.h),
		Seconds:      r.lib.resultElapsed(r.h),
	}
}

// Free gives the memory back. It is idempotent.
func (r *Result) Free() {
	if r.h != 0 {
		r.lib.resultDestroy(r.h)
		r.h = 0
	}
}

// Stats counts what a statement read, wrote and returned, in rows and in bytes of the engine's memory format.
type Stats struct {
	ResultRows, ResultBytes   uint64
	ReadRows, ReadBytes       uint64 // from tables, views and table functions
	WrittenRows, WrittenBytes uint64 // with those of materialized views
	Seconds                   float64
}

// Add adds the counters of o.
func (s *Stats) Add(o Stats) {
	s.ResultRows += o.ResultRows
	s.ResultBytes += o.ResultBytes
	s.ReadRows += o.ReadRows
	s.ReadBytes += o.ReadBytes
	s.WrittenRows += o.WrittenRows
	s.WrittenBytes += o.WrittenBytes
	s.Seconds += o.Seconds
}

// Stream is a running SELECT.
type Stream struct {
	conn *Conn
	h    handle
	over bool
}

// Next returns the next block of output, or nil at the end. A failure of the statement is an *Error and ends the stream.
func (s *Stream) Next() (*Result, error) {
	if s.over || s.h == 0 {
		return nil, nil
	}
	r, err := s.conn.lib.result(s.conn.lib.streamFetch(s.conn.c.conn, s.h))
	if err != nil {
		s.over = true
		return nil, err
	}
	if s.conn.lib.resultLength(r.h) == 0 {
		s.over = true
		r.Free()
		return nil, nil
	}
	return r, nil
}

// Close ends the statement if it still runs, which waits until its threads have stopped, and frees the stream. It is idempotent.
func (s *Stream) Close() {
	if s.h == 0 {
		return
	}
	if !s.over {
		s.conn.lib.streamCancel(s.conn.c.conn, s.h)
	}
	s.conn.lib.resultDestroy(s.h)
	s.h = 0
}

// Insert is a running INSERT.
type Insert struct {
	lib *Library
	h   handle
}

// Append pushes the next piece of data; pieces need not end at rows or blocks. It blocks while the engine is busy with earlier ones.
func (i *Insert) Append(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	state := i.lib.insertAppend(i.h, unsafe.Pointer(unsafe.SliceData(data)), uintptr(len(data)))
	runtime.KeepAlive(data)
	if state == 0 {
		return nil
	}
	// The reason becomes readable once the engine's worker is joined, which done does.
	if _, err := i.Done(); err != nil {
		return err
	}
	return errors.New("insert data: the engine refused it without a reason")
}

// Done says that the data is complete, waits until the engine has committed it and returns its counters.
func (i *Insert) Done() (Stats, error) {
	r, err := i.lib.result(i.lib.insertDone(i.h))
	if err != nil {
		return Stats{}, err
	}
	defer r.Free()
	return r.Stats(), nil
}

// Close frees the insert; what was not followed by Done is cancelled (blocks that the engine already wrote stay). It is idempotent.
func (i *Insert) Close() {
	if i.h != 0 {
		i.lib.insertDestroy(i.h)
		i.h = 0
	}
}

var (
	errClosed   = errors.New("use engine connection: already closed")
	errNoResult = errors.New("run statement: the engine returned no result")
)

// ptr is the address of s's bytes. The caller keeps s alive until the engine has returned.
func ptr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

// goString copies a C string; "" for null.
func goString(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// paramArrays holds parameters the way the C functions take them: four arrays. The text is pinned until release.
type paramArrays struct {
	name, value       []*byte
	nameLen, valueLen []uintptr
	pin               runtime.Pinner
}

func newParamArrays(params []Param) *paramArrays {
	a := &paramArrays{}
	for _, p := range params {
		// One byte more than the length: a zero-length value still needs an address.
		n, v := append([]byte(p.Name), 0), append([]byte(p.Value), 0)
		a.pin.Pin(&n[0])
		a.pin.Pin(&v[0])
		a.name, a.value = append(a.name, &n[0]), append(a.value, &v[0])
		a.nameLen, a.valueLen = append(a.nameLen, uintptr(len(p.Name))), append(a.valueLen, uintptr(len(p.Value)))
	}
	return a
}

func (a *paramArrays) names() unsafe.Pointer     { return unsafe.Pointer(&a.name[0]) }
func (a *paramArrays) nameLens() unsafe.Pointer  { return unsafe.Pointer(&a.nameLen[0]) }
func (a *paramArrays) values() unsafe.Pointer    { return unsafe.Pointer(&a.value[0]) }
func (a *paramArrays) valueLens() unsafe.Pointer { return unsafe.Pointer(&a.valueLen[0]) }
func (a *paramArrays) release()                  { a.pin.Unpin(); runtime.KeepAlive(a) }
