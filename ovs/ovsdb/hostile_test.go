package ovsdb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// peer is the other side of a session.
type peer struct {
	net.Conn
	over <-chan struct{} // closed at the end of the test
}

// script is what a peer does with a connection.
type script func(p *peer)

// drain takes what comes, so that the session's writing does not block.
func (p *peer) drain() { go func() { _, _ = io.Copy(io.Discard, p) }() }

// asked waits for the first question, and drains.
func (p *peer) asked() {
	_, _ = p.Read(make([]byte, 1<<10))
	p.drain()
}

// say writes. It returns false when the other side has enough.
func (p *peer) say(text string) bool {
	_, err := io.WriteString(p, text)
	return err == nil
}

// hold does nothing until the end.
func (p *peer) hold() { <-p.over }

// pause waits for a second. It returns false at the end.
func (p *peer) pause() bool {
	select {
	case <-p.over:
		return false
	case <-time.After(time.Second):
		return true
	}
}

// against runs a session with a peer that behaves so, in fake time, for long. It returns the session's last status with an error, and the
// bytes that it took of the peer.
func against(t *testing.T, limits ovsdb.Limits, long time.Duration, do script) (last ovsdb.Status, taken int64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var count atomic.Int64
		over := make(chan struct{})
		s, err := ovsdb.New(ovsdb.Config{Target: ovsdb.Target{Host: "192.0.2.1", Port: 6640}, Limits: limits}, ovsdb.Deps{
			Dial: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				go func() {
					defer there.Close()
					do(&peer{there, over})
				}()
				return counted{here, &count}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		changes, stop := s.Subscribe()
		defer stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-ctx.Done():
					return
				case <-changes:
					if st := s.Status(); st.Error != "" {
						last = st
					}
				}
			}
		}()
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		<-done
		close(over)
		taken = count.Load()
		if s.Rows() != nil && last.Starts == 0 {
			t.Errorf("rows %+v", s.Rows())
		}
	})
	return last, taken
}

// counted counts what is read.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// once are limits under which there is one attempt.
func once() ovsdb.Limits {
	l := ovsdb.DefaultLimits()
	l.BackoffMin, l.BackoffMax = time.Hour, time.Hour
	return l
}

func TestHostilePeers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   script
		want string // in the error
	}{
		{"closes at once", func(p *peer) {}, "closed"},
		{"says nothing", func(p *peer) { p.asked(); p.hold() }, "deadline exceeded"},
		{"does not even read", func(p *peer) { p.hold() }, "timeout"},
		{"garbage", func(p *peer) { p.asked(); p.say("\x16\x03\x01\x02\x00") }, `found '\x16', expected a JSON object`},
		{"an array", func(p *peer) { p.asked(); p.say("[]") }, "found '[', expected a JSON object"},
		{"no answer to a question", func(p *peer) { p.asked(); p.say(`{"id":"x","result":{},"error":null}`) }, "expected that of a question"},
		{"an answer to none", func(p *peer) { p.asked(); p.say(`{"id":77,"result":{},"error":null}`); p.hold() }, "deadline exceeded"},
		{"an update too early", func(p *peer) { p.asked(); p.say(`{"id":null,"method":"update","params":["weir",{}]}`) }, "nobody asked for"},
		{"asks for something", func(p *peer) { p.asked(); p.say(`{"id":1,"method":"transact","params":[]}`) }, "not of an OVSDB server"},
		{"a long echo", func(p *peer) {
			p.asked()
			p.say(`{"id":1,"method":"echo","params":["` + strings.Repeat("x", 1<<16) + `"]}`)
		}, "not of an OVSDB server"},
		{"an error", func(p *peer) { p.asked(); p.say(`{"id":1,"result":null,"error":"unknown database"}`); p.hold() }, `get_schema: the host answered "unknown database"`},
		{"no schema", func(p *peer) { p.asked(); p.say(`{"id":1,"result":[],"error":null}`) }, "read schema: byte 0"},
		{"half a message", func(p *peer) { p.asked(); p.say(`{"id":1,`) }, "unexpected EOF"},
		{"deep brackets", func(p *peer) {
			p.asked()
			p.say(`{"id":1,"result":`)
			for p.say(strings.Repeat("[", 1000)) {
			}
		}, "brackets deep"},
		{"a byte a second", func(p *peer) {
			p.asked()
			p.say(`{"id":1,"result":"`)
			for p.say("x") && p.pause() {
			}
		}, "deadline exceeded"}, // of the answer; that of the message is tested below
		{"a schema without end", func(p *peer) {
			p.asked()
			p.say(`{"id":1,"error":null,"result":{"tables":{"T":{"columns":{`)
			for i := range 5000 {
				p.say(fmt.Sprintf(`"c%d":{"type":"string"},`, i))
			}
			p.say(`"d":{"type":"string"}}}}}}`)
		}, "more than 4096 tables and columns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			last, _ := against(t, once(), 10*time.Minute, c.do)
			if last.State != ovsdb.StateBackoff || !strings.Contains(last.Error, c.want) {
				t.Errorf("status %q: %q, want %q", last.State, last.Error, c.want)
			}
		})
	}
}

// A message of 100 MB is given up at the limit.
func TestHugeMessage(t *testing.T) {
	limits := once()
	limits.MaxMessage = bytesize.MiB
	last, taken := against(t, limits, time.Minute, func(p *peer) {
		p.drain()
		p.say(`{"id":1,"result":"`)
		x := strings.Repeat("x", 1<<20)
		for range 100 {
			if !p.say(x) {
				return
			}
		}
		t.Error("the peer could send all of it")
	})
	if !strings.Contains(last.Error, "longer than 1048576 bytes") || taken > 2<<20 {
		t.Errorf("error %q, %d bytes taken", last.Error, taken)
	}
}

// server is a peer that answers like ovsdb-server: get_schema and monitor with what is given, and then goes on with then.
func server(t *testing.T, monitor string, then script) script {
	t.Helper()
	schema := ovsdb.SchemaJSON(t)
	return func(p *peer) {
		buf := make([]byte, 1<<16)
		answer := func(id int, text string) bool {
			n, err := p.Read(buf) // a pipe: one write is one read
			if err != nil || !strings.Contains(string(buf[:n]), fmt.Sprintf(`"id":%d`, id)) {
				return false
			}
			return p.say(fmt.Sprintf(`{"id":%d,"error":null,"result":%s}`, id, text))
		}
		if answer(1, schema) && answer(2, monitor) {
			then(p)
		}
	}
}

func TestHostileContent(t *testing.T) {
	hold := (*peer).hold
	const id = "11111111-1111-1111-1111-111111111111"
	row := func(table, columns string) string {
		return `{"` + table + `":{"` + id + `":{"new":{` + columns + `}}}}`
	}
	for _, c := range []struct{ name, content, want string }{
		{"an unknown table", `{"Nonsense":{}}`, "which nobody asked for"},
		{"a row with no UUID", `{"Port":{"x":{"new":{}}}}`, "expected a UUID"},
		{"a UUID cut short", row("Port", `"qos":["uuid"]`), "column qos"},
		{"a set without elements", row("Port", `"trunks":["set"]`), "column trunks"},
		{"a set in a set", row("Port", `"trunks":["set",[["set",[]]]]`), "column trunks"},
		{"a map in place of a number", row("Port", `"tag":["set",[["map",[]]]]`), "column tag"},
		{"an object", row("Port", `"tag":{"a":1}`), "column tag"},
		{"null", row("Port", `"tag":null`), "column tag"},
		{"a fraction", row("Port", `"tag":1.5`), "column tag"},
		{"a number that is too large", row("Port", `"tag":99999999999999999999`), "column tag"},
		{"text for a flag", row("Port", `"fake_bridge":"true"`), "column fake_bridge"},
		{"a map of three", row("Port", `"external_ids":["map",[["a","b","c"]]]`), "column external_ids"},
		{"a map of numbers", row("Port", `"external_ids":["map",[[1,2]]]`), "column external_ids"},
		{"many elements", row("Port", `"trunks":["set",[`+strings.Repeat("1,", 1<<17)+`1]]`), "more than 131072 elements"},
		{"no object", `[]`, "expected '{'"},
		{"a bad escape", row("Port", `"name":"\x"`), "escape"},
	} {
		t.Run(c.name, func(t *testing.T) {
			last, _ := against(t, once(), 10*time.Minute, server(t, c.content, hold))
			if last.State != ovsdb.StateBackoff || !strings.Contains(last.Error, c.want) || last.Starts > 0 {
				t.Errorf("status %q: %q, want %q", last.State, last.Error, c.want)
			}
		})
	}
	// The same in an update, and a row that goes that was never there.
	last, _ := against(t, once(), 10*time.Minute, server(t, `{}`, func(p *peer) {
		p.drain()
		p.say(`{"id":null,"method":"update","params":["weir",{"Port":{"` + id + `":{"old":{}}}}]}`)
		p.say(`{"id":null,"method":"update","params":["weir",` + row("Port", `"tag":["uuid"]`) + `]}`)
	}))
	if last.Starts != 1 || !strings.Contains(last.Error, "read update: table Port, row "+id+": column tag") {
		t.Errorf("status %+v", last)
	}
}

// What is kept of a host is bounded, however many messages it comes in.
func TestEndlessRows(t *testing.T) {
	limits := once()
	limits.MaxMessage, limits.MaxMemory = 64*bytesize.KiB, bytesize.MiB
	limits.MaxMessage = 256 * bytesize.KiB // the schema is one
	last, taken := against(t, limits, 10*time.Minute, server(t, `{}`, func(p *peer) {
		p.drain()
		for i := range 1 << 20 {
			if !p.say(fmt.Sprintf(`{"id":null,"method":"update","params":["weir",{"Port":{"11111111-1111-1111-1111-%012x":{"new":{"name":"p%d"}}}}]}`, i, i)) {
				return
			}
		}
		t.Error("the peer could send all of it")
	}))
	if last.Starts != 1 || !strings.Contains(last.Error, "takes more than 1048576 bytes of memory") || taken > 4<<20 {
		t.Errorf("status %+v, %d bytes taken", last, taken)
	}
}

// A message that comes too slowly is given up though the connection is alive.
func TestSlowMessage(t *testing.T) {
	limits := once()
	last, _ := against(t, limits, 20*time.Minute, server(t, `{}`, func(p *peer) {
		p.drain()
		p.say(`{"id":null,"method":"update","params":["weir",{"Port":`)
		for p.say(" ") && p.pause() {
		}
	}))
	if last.Starts != 1 || !strings.Contains(last.Error, "not complete after 1m0s") {
		t.Errorf("status %+v", last)
	}
	// Blanks between messages are no message, and no answer.
	last, _ = against(t, limits, 20*time.Minute, server(t, `{}`, func(p *peer) {
		p.drain()
		for p.say(" ") && p.pause() {
		}
	}))
	if last.Starts != 1 || !strings.Contains(last.Error, "answered no echo for 1m") {
		t.Errorf("status %+v", last)
	}
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := ovsdb.DefaultLimits()
		limits.BackoffMin, limits.BackoffMax = time.Second, 10*time.Second
		var times []time.Duration
		began := time.Now()
		s, err := ovsdb.New(ovsdb.Config{Target: ovsdb.Target{Host: "192.0.2.1", Port: 6640}, Limits: limits}, ovsdb.Deps{
			Rand: func() float64 { return 0.5 },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				times = append(times, time.Since(began))
				return nil, errors.New("no way")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		ms := time.Millisecond // three quarters of 1, 2, 4, 8, 10, 10 s
		want := []time.Duration{0, 750 * ms, 2250 * ms, 5250 * ms, 11250 * ms, 18750 * ms, 26250 * ms}
		if fmt.Sprint(times) != fmt.Sprint(want) {
			t.Errorf("dialled after %v, want %v", times, want)
		}
	})
}
