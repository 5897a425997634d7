package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Stream runs one query and returns the answer as the server formats and sends it, for a reader that wants the bytes
// rather than values. The caller closes it. A query that fails after its answer has begun is an error of Read, an
// *Error where the server said why; what came before is good as far as it goes.
func (c *Client) Stream(ctx context.Context, query, format string) (io.ReadCloser, error) {
	u := *c.base
	u.RawQuery = url.Values{"database": {c.cfg.Database}, "default_format": {format}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-ClickHouse-User", c.cfg.User)
	if c.password != "" {
		req.Header.Set("X-ClickHouse-Key", c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, classify(ctx, withoutURL(err))
	}
	if code := resp.Header.Get("X-ClickHouse-Exception-Code"); resp.StatusCode != http.StatusOK || code != "" {
		defer resp.Body.Close()
		defer drain(resp.Body)
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
		return nil, errors.Join(answerError(resp.StatusCode, code, text), err)
	}
	return &stream{ctx: ctx, body: resp.Body, tag: resp.Header.Get("X-ClickHouse-Exception-Tag"), buf: make([]byte, 4*maxTail)}, nil
}

// stream hands out an answer, but for the exception that may stand at its end:
//
//	\r\n__exception__\r\n TAG \r\n text \n length SPACE TAG \r\n__exception__\r\n
//
// It keeps back as many bytes as an exception may have until the body ends.
type stream struct {
	ctx      context.Context
	body     io.ReadCloser
	tag      string // random, sent in the header; empty for servers that do not mark exceptions
	buf      []byte
	from, to int   // buf[from:to] was read and not handed out
	err      error // of body; io.EOF at its good end
}

// maxTail bounds an exception in an answer: its text is at most 16 KiB in ClickHouse.
const maxTail = 32 << 10

func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil && s.to-s.from <= maxTail {
		s.fill()
	}
	free := s.to - s.from
	if s.err == nil {
		free -= maxTail
	}
	if free <= 0 {
		return 0, s.err
	}
	n := copy(p, s.buf[s.from:s.from+free])
	s.from += n
	return n, nil
}

// fill reads some more of the body.
func (s *stream) fill() {
	if s.to == len(s.buf) {
		s.from, s.to = 0, copy(s.buf, s.buf[s.from:])
	}
	n, err := s.body.Read(s.buf[s.to:])
	s.to += n
	switch {
	case err == nil:
		return
	case errors.Is(err, io.EOF) || s.ctx.Err() != nil:
		s.err = err
	default:
		s.err = classify(s.ctx, fmt.Errorf("answer cut: %w", err))
	}
	s.end()
}

// end takes the exception, if there is one, out of what is left.
func (s *stream) end() {
	if s.tag == "" {
		return
	}
	kept := s.buf[s.from:s.to]
	mark := []byte("\r\n__exception__\r\n" + s.tag)
	at := bytes.Index(kept, mark)
	if at < 0 {
		return
	}
	text, _, _ := bytes.Cut(kept[at+len(mark):], []byte(s.tag))
	if i := bytes.LastIndexByte(bytes.TrimRight(text, " \r\n"), '\n'); i >= 0 {
		text = text[:i] // the length of the text
	}
	s.to = s.from + at
	s.err = answerError(http.StatusInternalServerError, "", bytes.TrimSpace(text))
}

// Close ends the query if it still runs.
func (s *stream) Close() error { return s.body.Close() }
