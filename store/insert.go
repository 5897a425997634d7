package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pierrec/lz4/v4"
)

// Written is what the server says about an insert. Rows that it already had under the same token are in the figures.
type Written struct {
	Rows  uint64
	Bytes uint64 // in ClickHouse's memory format
}

// InsertNative inserts block, one block of format Native at revision 0 (flow.Batch.AppendNative makes one), into
// table. It returns once the rows are committed and visible.
//
// token names the block: a later insert of the same rows with the same token is ignored by the server, as long as it is
// among the last non_replicated_deduplication_window of the table (0 on a table without such a window: then nothing is
// ignored). A server that died within an insert may remember the token and not have the rows, for it writes the token
// first: whoever repeats a call that failed looks afterwards whether the rows are there, as Writer does. Nothing is sent
// twice without the caller's knowing. One block should touch one partition: the token is per block, not per part.
//
// block is only read, and not after the return. Failures are *Error, or the context's own error.
func (c *Client) InsertNative(ctx context.Context, table string, block []byte, token string) (Written, error) {
	if !isIdentifier(table) {
		return Written{}, fmt.Errorf("insert into %q: not a table name", table)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errInsertTimeout)
	defer cancel()
	w, err := c.insertNative(ctx, table, block, token)
	if err != nil {
		return Written{}, fmt.Errorf("insert into %q: %w", table, err)
	}
	return w, nil
}

var errInsertTimeout = &Error{Retryable: true, err: errors.New("no answer within the timeout")}

func (c *Client) insertNative(ctx context.Context, table string, block []byte, token string) (Written, error) {
	body, err := c.encodeBody(block)
	if err != nil {
		return Written{}, err
	}
	q := url.Values{
		"database": {c.cfg.Database},
		"query":    {"INSERT INTO " + table + " FORMAT Native"},
		// The answer comes when the insert is over, with the true status and figures.
		"wait_end_of_query": {"1"},
		// Async inserts would put the rows into a buffer of the server's and, by default, answer before they are safe.
		"async_insert": {"0"},
		// A block is a part: do not cut it.
		"max_insert_block_size": {"1048576"},
		// A column that the table lacks is a schema that was not migrated, not something to leave out.
		"input_format_skip_unknown_fields": {"0"},
		"insert_deduplicate":               {"1"},
	}
	if token != "" {
		q.Set("insert_deduplication_token", token)
	} else {
		// Without one ClickHouse would take the hash of the rows, and drop a block that happens to equal another.
		q.Set("insert_deduplication_token", rand.Text())
	}
	u := *c.base
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Written{}, err
	}
	req.Header.Set("X-ClickHouse-User", c.cfg.User)
	if c.password != "" {
		req.Header.Set("X-ClickHouse-Key", c.password)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if c.coding != "" {
		req.Header.Set("Content-Encoding", c.coding)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return Written{}, cause
		}
		return Written{}, classify(ctx, withoutURL(err))
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	if code := resp.Header.Get("X-ClickHouse-Exception-Code"); resp.StatusCode != http.StatusOK || code != "" {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
		return Written{}, answerError(resp.StatusCode, code, text)
	}
	// An exception after the status line was sent is text in the body; a good insert has none.
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	if err != nil {
		return Written{}, classify(ctx, err)
	}
	if exceptionText.Match(text) {
		return Written{}, answerError(resp.StatusCode, "", text)
	}
	return parseSummary(resp.Header.Get("X-ClickHouse-Summary")), nil
}

// encodeBody applies the content coding.
func (c *Client) encodeBody(block []byte) ([]byte, error) {
	switch c.coding {
	case "":
		return block, nil
	case "lz4":
		var b bytes.Buffer
		w := lz4.NewWriter(&b)
		if _, err := w.Write(block); err != nil {
			return nil, fmt.Errorf("compress body: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("compress body: %w", err)
		}
		return b.Bytes(), nil
	case "zstd":
		return c.zstd.EncodeAll(block, nil), nil
	}
	panic("BUG: content coding " + strconv.Quote(c.coding))
}

// parseSummary reads the header X-ClickHouse-Summary, whose numbers are strings. What it does not find is 0.
func parseSummary(header string) Written {
	var s struct {
		Rows  string `json:"written_rows"`
		Bytes string `json:"written_bytes"`
	}
	var w Written
	if json.Unmarshal([]byte(header), &s) == nil {
		w.Rows, _ = strconv.ParseUint(s.Rows, 10, 64)
		w.Bytes, _ = strconv.ParseUint(s.Bytes, 10, 64)
	}
	return w
}
