package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/store"
)

// readAll returns the whole answer to a query, and the error that ended it.
func readAll(t testing.TB, c *store.Client, query, format string) ([]byte, error) {
	t.Helper()
	answer, err := c.Stream(t.Context(), query, format)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return io.ReadAll(answer)
}

// isError wants an error of the server with that code and text.
func isError(t *testing.T, err error, code int, text string) {
	t.Helper()
	var e *store.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Error(), text) {
		t.Errorf("error %v, want code %d and %q", err, code, text)
	}
}

func TestStream(t *testing.T) {
	c := open(t)

	f := func(query, format, want string) {
		t.Helper()
		got, err := readAll(t, c, query, format)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", query, got, err, want)
		}
	}
	f("SELECT 1 AS a, 'x' AS b", "TSV", "1\tx\n")
	f("SELECT 1 AS a, 'x' AS b", "TSVWithNames", "a\tb\n1\tx\n")
	f("SELECT 1 AS a, 'x' AS b", "JSONEachRow", `{"a":1,"b":"x"}`+"\n")
	f("SELECT 1 FORMAT CSV", "TSV", "1\n") // the query's own word counts
	f("SELECT 1 WHERE 0", "TSV", "")
	f("SELECT currentDatabase() = '"+c.Database()+"'", "TSV", "1\n")
	f("SELECT unhex('0D0A5F5F657863657074696F6E5F5F0D0A')", "RawBLOB", "\r\n__exception__\r\n") // data that look like the mark

	got, err := readAll(t, c, "SELECT number FROM numbers(3)", "JSON")
	var answer struct{ Rows int }
	if err != nil || json.Unmarshal(got, &answer) != nil || answer.Rows != 3 {
		t.Errorf("JSON: %s, %v", got, err)
	}

	// Before the first byte an error is an error of Stream.
	for query, want := range map[string]int{"SELEKT 1": 62, "SELECT * FROM missing": 60, "SELECT throwIf(1)": 395} {
		answer, err := c.Stream(t.Context(), query, "TSV")
		if err == nil {
			answer.Close()
		}
		isError(t, err, want, "DB::Exception")
	}
	_, err = c.Stream(t.Context(), "SELECT 1", "Nothing")
	isError(t, err, 73, "Nothing")
}

// Every byte of a large answer arrives, in order, whatever the size of the reads.
func TestStreamLarge(t *testing.T) {
	c := open(t)
	const rows = 3_000_000
	want := sha256.New()
	for i := range rows {
		want.Write(strconv.AppendInt(nil, int64(i), 10))
		want.Write([]byte{'\n'})
	}
	answer, err := c.Stream(t.Context(), fmt.Sprintf("SELECT number FROM numbers(%d)", rows), "TSV")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	got := sha256.New()
	n, err := io.Copy(got, answer)
	if err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d bytes, %v: they are not those of the %d rows", n, err, rows)
	}
	if n, err := answer.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("a read after the end: %d, %v", n, err)
	}
}

// A query that fails under way is an error after the rows that came, of which none is half or lost.
func TestStreamFailsUnderWay(t *testing.T) {
	c := open(t)
	const query = "SELECT number, throwIf(number = %d) FROM numbers(10000000)"
	got, err := readAll(t, c, fmt.Sprintf(query, 3_000_000), "TSV")
	isError(t, err, 395, "throwIf")
	lines := bytes.SplitAfter(got, []byte("\n"))
	if len(lines) < 1_000_000 {
		t.Errorf("%d lines before the error, want millions", len(lines))
	}
	for i, line := range lines {
		if want := strconv.Itoa(i) + "\t0\n"; string(line) != want && i < len(lines)-1 {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if last := lines[len(lines)-1]; len(last) > 0 {
		t.Errorf("after the last line: %.200q", last)
	}

	// The engine itself closes what it has written of a JSON document; the error is what says that rows are missing.
	got, err = readAll(t, c, fmt.Sprintf(query, 300_000), "JSON")
	isError(t, err, 395, "throwIf")
	if len(got) < 1<<20 || bytes.Contains(got, []byte("__exception__")) {
		t.Errorf("%d bytes of JSON, that end with %.300q", len(got), got[max(0, len(got)-300):])
	}
}

// The end of the caller ends the query.
func TestStreamCancelled(t *testing.T) {
	c := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	answer, err := c.Stream(ctx, "SELECT number FROM numbers(100000000000) FORMAT TSV /* "+t.Name()+" */", "TSV")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := io.ReadFull(answer, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, answer); !errors.Is(err, context.Canceled) {
		t.Errorf("after the cancel: %v", err)
	}
}

// answering is a client of a server that answers with body in pieces of those sizes, and then cuts the connection or
// ends well. The real store decides where pieces end; a server of the test goes through all the ways.
func answering(t testing.TB, tag string, body []byte, piece int, cut bool) *store.Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tag != "" {
			w.Header().Set("X-ClickHouse-Exception-Tag", tag)
		}
		for rest := body; len(rest) > 0; {
			n := min(piece, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			rest = rest[n:]
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(srv.Close)
	cfg := store.DefaultConfig()
	cfg.Addr = srv.Listener.Addr().String()
	return openConfig(t, cfg)
}

const tag = "abcdefghijklmnop"

func exceptionTail(text string) string {
	return "\r\n__exception__\r\n" + tag + "\r\n" + text + "\n" + strconv.Itoa(len(text)+1) + " " + tag + "\r\n__exception__\r\n"
}

// Neither is a byte lost nor one added, wherever data, exception and pieces begin and end.
func TestStreamTail(t *testing.T) {
	const text = "Code: 395. DB::Exception: thrown.\nIn two lines. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO) (version 26.7.2.1)"
	seed := chance.Seed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	pieces := []int{1 << 20, 4096, 1021}
	for _, size := range []int{0, 1, 2, 100, 32<<10 - 200, 32<<10 - 1, 32 << 10, 32<<10 + 1, 64 << 10, 200_000} {
		data := make([]byte, size)
		for i := range data {
			data[i] = "\r\n__exception__ab"[random.IntN(17)] // much of what is in the mark
		}
		for _, piece := range pieces {
			for _, thrown := range []bool{false, true} {
				body, cut := data, thrown
				if thrown {
					body = append(bytes.Clone(data), exceptionTail(text)...)
				}
				name := fmt.Sprintf("seed %d: %d bytes in pieces of %d, thrown %v", seed, size, piece, thrown)
				answer, err := answering(t, tag, body, piece, cut).Stream(t.Context(), "SELECT", "TSV")
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				var r io.Reader = answer
				if random.IntN(2) == 0 && size < 40_000 {
					r = iotest.OneByteReader(r)
				}
				got, err := io.ReadAll(r)
				answer.Close()
				if !bytes.Equal(got, data) {
					t.Errorf("%s: %d bytes came: …%q, want …%q", name, len(got), got[max(0, len(got)-40):], data[max(0, len(data)-40):])
				}
				if !thrown && err != nil {
					t.Errorf("%s: %v", name, err)
				}
				var e *store.Error
				if thrown && (!errors.As(err, &e) || e.Code != 395 || e.Error() != text) {
					t.Errorf("%s: error %q, want %q", name, err, text)
				}
			}
		}
	}
}

// An answer that is cut without a reason is an error, after the bytes that came.
func TestStreamCut(t *testing.T) {
	for _, tag := range []string{"", tag} {
		got, err := readAll(t, answering(t, tag, []byte("1\n2\n"), 2, true), "SELECT", "TSV")
		if string(got) != "1\n2\n" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("tag %q: %q, %v", tag, got, err)
		}
		var e *store.Error
		if !errors.As(err, &e) || !e.Retryable || !strings.Contains(e.Error(), "answer cut") {
			t.Errorf("tag %q: error %v, want a retryable one that says that the answer is cut", tag, err)
		}
	}
	// The mark of a server that sends no tag, or another's, is data.
	for _, header := range []string{"", "qrstuvwxyzabcdef"} {
		body := "1\n" + exceptionTail("Code: 1. DB::Exception: x")
		got, err := readAll(t, answering(t, header, []byte(body), 100, false), "SELECT", "TSV")
		if err != nil || string(got) != body {
			t.Errorf("tag %q: %q, %v", header, got, err)
		}
	}
}
