package embedded

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"github.com/weirhq/weir/store/embedded/chdb"
)

// headBuffer is how much of a response is held back: a statement that fails before gets an HTTP status of its own, one that ends before
// gets a complete X-ClickHouse-Summary.
const headBuffer = 64 << 10

// response writes the answer to one statement.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration // for the client to take one piece
	tmp     string        // directory for the body when wait is asked
	req     request
	version string // of the engine, for exception texts
	tag     string // X-ClickHouse-Exception-Tag

	head  []byte
	spool *os.File // body beyond the head while waiting for the end (wait_end_of_query)

	started bool
	z       flusher   // nil without compression
	out     io.Writer // z, or the client
}

// newResponse sets the headers that every answer has.
func newResponse(w http.ResponseWriter, req request, e *engine, stall time.Duration, tmp string) *response {
	r := &response{w: w, control: http.NewResponseController(w), stall: stall, tmp: tmp, req: req, version: e.version, tag: newExceptionTag()}
	commonHeaders(w, e, req.id)
	w.Header().Set("X-ClickHouse-Exception-Tag", r.tag)
	return r
}

func commonHeaders(w http.ResponseWriter, e *engine, id string) {
	h := w.Header()
	h.Set("X-ClickHouse-Query-Id", id)
	h.Set("X-ClickHouse-Server-Display-Name", e.name)
	h.Set("X-ClickHouse-Timezone", e.timezone)
}

// newExceptionTag returns 16 random lower-case letters: the client tells an exception in the stream from data by them.
func newExceptionTag() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b[:])
}

// Write takes a piece of the result.
func (r *response) Write(p []byte) (int, error) {
	if !r.started {
		if len(r.head)+len(p) <= headBuffer {
			r.head = append(r.head, p...)
			return len(p), nil
		}
		if r.req.wait {
			return r.spoolTo(p)
		}
		if err := r.start(chdb.Stats{}, false); err != nil {
			return 0, err
		}
	}
	return r.out.Write(p)
}

// spoolTo puts p behind what a temporary file without a name already holds.
func (r *response) spoolTo(p []byte) (int, error) {
	if r.spool == nil {
		f, err := os.CreateTemp(r.tmp, "result")
		if err != nil {
			return 0, fmt.Errorf("spool result: %w", err)
		}
		_ = os.Remove(f.Name())
		r.spool = f
	}
	n, err := r.spool.Write(p)
	if err != nil {
		err = fmt.Errorf("spool result: %w", err)
	}
	return n, err
}

// close gives up what is still held.
func (r *response) close() {
	if r.spool != nil {
		_ = r.spool.Close()
	}
}

// start sends headers and what was held back.
func (r *response) start(stats chdb.Stats, complete bool) error {
	h := r.w.Header()
	h.Set("X-ClickHouse-Summary", summary(stats))
	r.started = true
	var client io.Writer = clientWriter{r}
	r.out = client
	switch {
	case r.req.blocks:
		r.z = newBlockWriter(r.req.blockMethod, client)
	case r.req.encoding != "":
		h.Set("Content-Encoding", r.req.encoding)
		z, err := newCompressor(r.req.encoding, client)
		if err != nil {
			return err
		}
		r.z = z
	case complete && r.spool == nil:
		h.Set("Content-Length", strconv.Itoa(len(r.head)))
	}
	if r.z != nil {
		r.out = r.z
	}
	if len(r.head) > 0 {
		if _, err := r.out.Write(r.head); err != nil {
			return err
		}
	}
	if r.spool != nil {
		if _, err := r.spool.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(r.out, r.spool); err != nil {
			return err
		}
	}
	if !complete {
		return r.flush()
	}
	return nil
}

// flush sends out what compressors and buffers hold.
func (r *response) flush() error {
	if r.z != nil {
		if err := r.z.Flush(); err != nil {
			return err
		}
	}
	return r.control.Flush()
}

// clientWriter writes to the client, who must take each piece of 64 KiB within the stall time.
type clientWriter struct{ r *response }

func (c clientWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		c.r.renewDeadline()
		var k int
		k, err = c.r.w.Write(p[:min(len(p), 64<<10)])
		n, p = n+k, p[k:]
	}
	return n, err
}

// renewDeadline gives the client the stall time from now. A connection that has no deadlines (in tests) goes without.
func (r *response) renewDeadline() { _ = r.control.SetWriteDeadline(time.Now().Add(r.stall)) }

// finish ends a good answer.
func (r *response) finish(stats chdb.Stats) error {
	defer r.renewDeadline() // for the last chunk, which net/http sends
	if !r.started {
		if err := r.start(stats, true); err != nil {
			return err
		}
	}
	if r.z != nil {
		return r.z.Close()
	}
	return nil
}

// fail ends the answer with an exception: with a status of its own if nothing was sent, else inside the stream, in the form that
// ClickHouse has had since 25.11:
//
//	CRLF __exception__ CRLF tag CRLF text LF length SP tag CRLF __exception__ CRLF      (length of text and LF)
//
// Behind that the connection is cut, so that a client that knows nothing of the form notices too (curl ends with code 18). Not so with
// a Content-Encoding, which only clients of ClickHouse ask for (enable_http_compression): those decompress in the background
// and would hear of the cut before they have read the exception.
func (r *response) fail(ctx context.Context, err error) {
	e := exception(err)
	text := e.Error() + " (version " + r.version + ")\n"
	r.renewDeadline()
	if !r.started {
		writeException(r.w, e.Code, text)
		return
	}
	if len(text) > maxExceptionText {
		text = strings.ToValidUTF8(text[:maxExceptionText-1], "") + "\n"
	}
	// @clickhouse/client wants the exception whole in one piece of what it reads: what came before goes out by itself and is
	// given a moment to be read, then the exception goes in one write.
	_ = r.flush()
	pause(ctx, settle)
	_, werr := fmt.Fprintf(r.out, "\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", r.tag, text, len(text), r.tag)
	if werr == nil && r.z != nil {
		werr = r.z.Close()
	}
	if werr == nil {
		werr = r.control.Flush()
	}
	if werr == nil && r.req.encoding != "" {
		return
	}
	if werr == nil {
		// The client reads what is under way first; if it closes by itself, all the better.
		pause(ctx, linger)
	}
	panic(http.ErrAbortHandler) // net/http: close without the last chunk, without a log line
}

// How long a client is given to read what comes before an exception in the stream, and the exception; less if it closes the connection.
const (
	settle = 100 * time.Millisecond
	linger = time.Second
)

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// maxExceptionText keeps an exception in the stream within the 16 KiB that clients look for.
const maxExceptionText = 15 << 10

// writeException answers with an exception as the only content.
func writeException(w http.ResponseWriter, code int, text string) {
	h := w.Header()
	h.Del("Content-Encoding")
	h.Del("X-ClickHouse-Format")
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(code))
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(httpStatus(code))
	_, _ = io.WriteString(w, text)
}

// summary is the content of X-ClickHouse-Summary.
func summary(s chdb.Stats) string {
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	b, _ := json.Marshal(struct {
		ReadRows     string `json:"read_rows"`
		ReadBytes    string `json:"read_bytes"`
		WrittenRows  string `json:"written_rows"`
		WrittenBytes string `json:"written_bytes"`
		TotalRows    string `json:"total_rows_to_read"`
		ResultRows   string `json:"result_rows"`
		ResultBytes  string `json:"result_bytes"`
		ElapsedNs    string `json:"elapsed_ns"`
	}{u(s.ReadRows), u(s.ReadBytes), u(s.WrittenRows), u(s.WrittenBytes), "0", u(s.ResultRows), u(s.ResultBytes), u(uint64(s.Seconds * 1e9))})
	return string(b)
}

var errTruncated = errors.New("the result ends in the middle of a block")

// reencode reads Native blocks at revision 0 from src and writes them to dst as a client of that revision reads them. The
// revisions differ in the block's header and in one byte per column.
//
// The source may end in the middle of a block when the statement failed: errTruncated.
func reencode(dst io.Writer, src io.Reader, revision uint64) error {
	reader := chproto.NewReader(src)
	buf := new(chproto.Buffer)
	for {
		block := proto.NewBlock()
		if err := block.Decode(reader, 0); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return refuse(codeNotImplemented, "a column of the result cannot be sent as Native to a client of revision %d (%v); cast it or choose another FORMAT", revision, err)
			}
			if block.Columns == nil {
				return nil
			}
			return errTruncated
		}
		buf.Reset()
		if err := block.Encode(buf, revision); err != nil {
			return fmt.Errorf("encode block: %w", err)
		}
		if _, err := dst.Write(buf.Buf); err != nil {
			return err
		}
	}
}

// contentType is what ClickHouse says of a format.
func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSON") && strings.Contains(format, "EachRow"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		if strings.Contains(format, "WithNames") {
			return "text/csv; charset=UTF-8; header=present"
		}
		return "text/csv; charset=UTF-8; header=absent"
	case format == "XML":
		return "application/xml; charset=UTF-8"
	case format == "Native", strings.HasPrefix(format, "RowBinary"), strings.HasPrefix(format, "Arrow"), format == "Parquet", format == "ORC":
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}
