package store

import (
	"bytes"
	"context"
	"errors"
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
	return &stream{body: resp.Body, tag: resp.Header.Get("X-ClickHouse-Exception-Tag")}, nil
}

// stream hands out an answer, but for the exception that may stand at its end:
//
//	\r\n__exception__\r\n TAG \r\n text \n length SPACE TAG \r\n__exception__\r\n
//
// It keeps back as many bytes as an exception may have until the body ends.
type stream struct {
	body io.ReadCloser
	tag  string // random, sent in the header; empty for servers that do not mark exceptions
	kept []byte
	err  error // of body; io.EOF at its good end
}

// maxTail bounds an exception in an answer: its text is at most 16 KiB in ClickHouse.
const maxTail = 32 << 10

func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil && len(s.kept) <= maxTail {
		n := len(s.kept)
		s.kept = append(s.kept, make([]byte, maxTail)...)
		got, err := s.body.Read(s.kept[n:])
		s.kept = s.kept[:n+got]
		if s.err = err; err != nil {
			s.end()
		}
	}
	free := len(s.kept)
	if s.err == nil {
		free -= maxTail
	}
	if free <= 0 {
		return 0, s.err
	}
	n := copy(p, s.kept[:free])
	s.kept = s.kept[n:]
	return n, nil
}

// end takes the exception, if there is one, out of what is left.
func (s *stream) end() {
	if s.tag == "" {
		return
	}
	mark := []byte("__exception__\r\n" + s.tag)
	at := bytes.Index(s.kept, mark)
	if at < 0 {
		return
	}
	text, _, _ := bytes.Cut(s.kept[at+len(mark):], []byte(s.tag))
	if i := bytes.LastIndexByte(bytes.TrimRight(text, " \r\n"), '\n'); i >= 0 {
		text = text[:i] // the length of the text
	}
	s.kept = bytes.TrimSuffix(s.kept[:at], []byte("\r\n"))
	s.err = answerError(http.StatusInternalServerError, "", bytes.TrimSpace(text))
}

// Close ends the query if it still runs.
func (s *stream) Close() error { return s.body.Close() }
