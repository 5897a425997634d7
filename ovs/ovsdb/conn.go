package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// maxEcho is the longest echo that is answered; Open vSwitch's has no parameters.
const maxEcho = 4 << 10

// lastWords is how long a connection on which nothing can be written is still read.
const lastWords = time.Second

// RemoteError is the host's answer that a request as a whole failed.
type RemoteError struct {
	Method string
	Text   string // JSON, cut short
}

// Error says what the host said.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s: the host answered %s", e.Method, e.Text)
}

// conn is one JSON-RPC 1.0 connection (RFC 7047 §4): it asks questions, answers echoes, and hands updates over. One goroutine,
// serve, reads; whatever is made of a message is made there, in the order in which messages came.
type conn struct {
	nc           net.Conn
	frames       framer
	limit        atomic.Int64 // of a message, bytes
	heard        atomic.Int64 // when something came last, ns since the epoch
	writeTimeout time.Duration

	writing sync.Mutex // guards writes to nc

	mu      sync.Mutex // guards what follows
	calls   map[uint64]*call
	lastID  uint64
	update  func(*cursor) error // gets the parameters of update notifications
	settled func()              // is called when what was buffered has been handled, or before an answer is handed over
	err     error               // why it ended

	done   chan struct{} // closed when it has ended
	served chan struct{} // closed when serve has returned, and nothing is made of messages any more
}

// call is a question that waits for its answer.
type call struct {
	method string
	decode func(*cursor) error // of the result
	err    error
	done   chan struct{}
}

// newConn returns a connection over nc. serve must be called.
func newConn(nc net.Conn, limit int, messageTimeout, writeTimeout time.Duration) *conn {
	c := &conn{nc: nc, writeTimeout: writeTimeout, calls: map[uint64]*call{}, done: make(chan struct{}), served: make(chan struct{})}
	c.limit.Store(int64(limit))
	c.heard.Store(time.Now().UnixNano())
	c.frames = framer{in: &ear{nc, &c.heard}, limit: func() int { return int(c.limit.Load()) }, patience: messageTimeout}
	return c
}

// serve reads until the connection ends, and closes it.
func (c *conn) serve() {
	defer close(c.served)
	for {
		message, err := c.frames.next()
		if err == nil {
			err = c.handle(message)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the host closed the connection")
			}
			c.close(err)
			return
		}
		if !c.frames.buffered() {
			c.settle()
		}
	}
}

// close ends the connection. The first reason stays.
func (c *conn) close(reason error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = reason
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	c.nc.Close()
	for _, k := range calls {
		k.err = reason
		close(k.done)
	}
	close(c.done)
}

// reason returns why the connection ended, nil while it has not.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *conn) settle() {
	c.mu.Lock()
	settled := c.settled
	c.mu.Unlock()
	if settled != nil {
		settled()
	}
}

// handle does what a message asks for, or gives it to who waits for it.
func (c *conn) handle(message []byte) error {
	var method string
	var params, id, result, failure []byte
	in := cursor{b: message}
	err := in.object(func(key []byte) (err error) {
		switch string(key) {
		case "method":
			if in.peek() == 'n' { // an answer may say null
				return in.skip()
			}
			method, err = in.text()
		case "params":
			params, err = in.raw()
		case "id":
			id, err = in.raw()
		case "result":
			result, err = in.raw()
		case "error":
			failure, err = in.raw()
		default:
			err = in.skip()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if method == "" {
		return c.answered(id, result, failure)
	}
	switch {
	case method == "update":
		c.mu.Lock()
		update := c.update
		c.mu.Unlock()
		if update == nil {
			return errors.New("read message: an update that nobody asked for")
		}
		if err := update(&cursor{b: params}); err != nil {
			return fmt.Errorf("read update: %w", err)
		}
		return nil
	case len(id) == 0 || string(id) == "null": // a notification that is not for us
		return nil
	case method == "echo" && len(params)+len(id) <= maxEcho:
		return c.send(map[string]any{"id": json.RawMessage(id), "result": json.RawMessage(orNull(params)), "error": nil})
	default:
		return fmt.Errorf("read message: the host asks for %.40q, which is not of an OVSDB server", method)
	}
}

func orNull(raw []byte) []byte {
	if len(raw) == 0 {
		return []byte("null")
	}
	return raw
}

// answered hands the answer to the question id over. One that nobody waits for any more is dropped.
func (c *conn) answered(id, result, failure []byte) error {
	n, err := strconv.ParseUint(string(id), 10, 64)
	if err != nil {
		return fmt.Errorf("read message: found id %.40q, expected that of a question", id)
	}
	c.mu.Lock()
	k := c.calls[n]
	delete(c.calls, n)
	c.mu.Unlock()
	if k == nil {
		return nil
	}
	c.settle()
	if len(failure) > 0 && string(failure) != "null" {
		k.err = &RemoteError{k.method, fmt.Sprintf("%.200s", failure)}
		close(k.done)
		return nil
	}
	in := cursor{b: result}
	if err = k.decode(&in); err == nil {
		err = in.end()
	}
	if err != nil {
		err = fmt.Errorf("read answer to %s: %w", k.method, err)
	}
	k.err = err
	close(k.done)
	return err
}

// send writes a message.
func (c *conn) send(message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if _, err := c.nc.Write(text); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// ask sends a question and returns when its answer has been decoded. After an error that is sentError, the host may have got it.
func (c *conn) ask(ctx context.Context, decode func(*cursor) error, method string, params ...any) error {
	if params == nil {
		params = []any{}
	}
	k := &call{method: method, decode: decode, done: make(chan struct{})}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.lastID++
	id := c.lastID
	c.calls[id] = k
	c.mu.Unlock()

	if err := c.send(map[string]any{"id": id, "method": method, "params": params}); err != nil {
		// Part of it may be on the way: nothing can follow. Why the host no longer listens may be waiting to be read.
		select {
		case <-c.done:
		case <-time.After(lastWords):
		}
		c.close(err)
		<-k.done
		return k.outcome()
	}
	select {
	case <-k.done:
		return k.outcome()
	case <-ctx.Done():
	}
	c.mu.Lock()
	_, waits := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if waits {
		return &sentError{fmt.Errorf("%s: %w", method, ctx.Err())}
	}
	<-k.done // being decoded now, or the connection has just ended
	return k.outcome()
}

func (k *call) outcome() error {
	var refused *RemoteError
	if k.err == nil || errors.As(k.err, &refused) {
		return k.err
	}
	return &sentError{k.err}
}

// sentError is that of a question that was sent and whose answer did not come, or was not understood.
type sentError struct{ cause error }

func (e *sentError) Error() string { return e.cause.Error() }
func (e *sentError) Unwrap() error { return e.cause }

// ear is a connection that notes when something comes.
type ear struct {
	net.Conn
	heard *atomic.Int64
}

func (e *ear) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	if n > 0 {
		e.heard.Store(time.Now().UnixNano())
	}
	return n, err
}
