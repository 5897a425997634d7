package openflow_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/ovs/openflow"
)

// peer is the other end of a connection, which behaves as it likes.
type peer struct {
	net.Conn
	over <-chan struct{} // closed at the end of the test
}

// say writes a message. It returns false when the other side has enough.
func (p peer) say(version, kind uint8, xid uint32, body ...byte) bool {
	b := []byte{version, kind, 0, 0, 0, 0, 0, 0}
	b = append(b, body...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[4:], xid)
	_, err := p.Write(b)
	return err == nil
}

// hear reads a message. It returns type 255 when there is none any more.
func (p peer) hear() (kind uint8, xid uint32, body []byte) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(p, head); err != nil {
		return 255, 0, nil
	}
	body = make([]byte, binary.BigEndian.Uint16(head[2:])-8)
	if _, err := io.ReadFull(p, body); err != nil {
		return 255, 0, nil
	}
	return head[1], binary.BigEndian.Uint32(head[4:]), body
}

// until reads messages until there is one of a type, and returns its xid.
func (p peer) until(want uint8) (xid uint32, body []byte) {
	for {
		kind, xid, body := p.hear()
		if kind == want || kind == 255 {
			return xid, body
		}
	}
}

// drain takes what comes, so that the other side's writing does not block.
func (p peer) drain() { go func() { _, _ = io.Copy(io.Discard, p) }() }

// hold does nothing until the end.
func (p peer) hold() { <-p.over }

// introduce behaves as a switch does until it has introduced itself.
func (p peer) introduce() {
	p.until(0)
	p.say(4, 0, 1, 0, 1, 0, 8, 0, 0, 0, 1<<4)
	xid, _ := p.until(5)
	p.say(4, 6, xid, make([]byte, 24)...)
	p.until(28)
}

// against makes a connection with a peer that behaves so, in fake time, and does use with it. It returns why it ended.
func against(t *testing.T, do func(p peer), use func(ctx context.Context, c *openflow.Conn)) (why error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		over := make(chan struct{})
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			defer there.Close()
			do(peer{there, over})
		}()
		limits := openflow.DefaultLimits()
		limits.MaxAnswer = bytesize.MiB
		c, err := openflow.Accept(t.Context(), here, openflow.Config{Limits: limits})
		if err != nil {
			why = err
		} else {
			use(t.Context(), c)
			close(over)
			over = nil
			<-c.Done()
			why = c.Err()
			c.Close()
		}
		if over != nil {
			close(over)
		}
		<-gone
	})
	return why
}

// idle waits until the connection ends by itself, at most an hour.
func idle(_ context.Context, c *openflow.Conn) {
	select {
	case <-c.Done():
	case <-time.After(time.Hour):
	}
}

// ask reads flows.
func ask(ctx context.Context, c *openflow.Conn) {
	_ = c.Flows(ctx, openflow.Everything, func(openflow.FlowStats) {})
}

func TestHostile(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(p peer)
		use  func(ctx context.Context, c *openflow.Conn)
		want openflow.Reason
		says string
	}{
		{"says nothing", func(p peer) { p.drain(); p.hold() }, nil, openflow.ReasonSlow, "deadline"},
		{"takes nothing", func(p peer) { p.hold() }, nil, openflow.ReasonSlow, "deadline"},
		{"speaks HTTP", func(p peer) { p.drain(); _, _ = io.WriteString(p, "GET / HTTP/1.1\r\n\r\n"); p.hold() }, nil, openflow.ReasonMalformed, "version 71"},
		{"closes", func(peer) {}, nil, openflow.ReasonClosed, ""},
		{"speaks 1.0 only", func(p peer) { p.drain(); p.say(1, 0, 1); p.hold() }, nil, openflow.ReasonVersion, "OpenFlow13"},
		{"offers 1.5 only", func(p peer) { p.drain(); p.say(6, 0, 1, 0, 1, 0, 8, 0, 0, 0, 1<<6); p.hold() }, nil, openflow.ReasonVersion, "OpenFlow13"},
		{"greets with nonsense", func(p peer) { p.drain(); p.say(4, 0, 1, 0, 1, 0xff, 0xff); p.hold() }, nil, openflow.ReasonMalformed, "hello"},
		{"does not greet", func(p peer) { p.drain(); p.say(4, 6, 1, make([]byte, 24)...); p.hold() }, nil, openflow.ReasonMalformed, "hello"},
		{"greets at length", func(p peer) { p.drain(); p.say(4, 0, 1, make([]byte, 60000)...); p.hold() }, nil, openflow.ReasonMalformed, "60008 octets"},
		{"refuses", func(p peer) { p.until(0); p.say(4, 0, 1); p.drain(); p.say(4, 1, 2, 0, 1, 0, 5); p.hold() }, nil, openflow.ReasonRefused, "not permitted"},
		{"drips its greeting", func(p peer) {
			p.drain()
			for _, c := range []byte{4, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 8, 0, 0, 0, 16} {
				time.Sleep(time.Second)
				if _, err := p.Write([]byte{c}); err != nil {
					return
				}
			}
			p.hold()
		}, nil, openflow.ReasonSlow, "deadline"},
		{"is another's auxiliary", func(p peer) {
			p.until(0)
			p.say(4, 0, 1)
			xid, _ := p.until(5)
			p.drain()
			p.say(4, 6, xid, append(make([]byte, 13), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)...)
			p.hold()
		}, nil, openflow.ReasonMalformed, "auxiliary"},
		{"goes silent", func(p peer) { p.introduce(); p.drain(); p.hold() }, idle, openflow.ReasonSilent, "10s"},
		{"stops reading", func(p peer) {
			p.introduce()
			for p.say(4, 2, 1) { // echoes that it does not read the answers to
				time.Sleep(time.Second)
			}
		}, idle, openflow.ReasonStuck, "took nothing"},
		{"floods with echoes", func(p peer) {
			p.introduce()
			for p.say(4, 2, 1, make([]byte, 1000)...) {
			}
		}, idle, openflow.ReasonTooMuch, "echoes"},
		{"drips a message", func(p peer) {
			p.introduce()
			p.drain()
			for _, err := p.Write([]byte{4, 19, 0xff, 0xff, 0, 0, 0, 0}); err == nil; _, err = p.Write([]byte{0}) {
				time.Sleep(time.Second)
			}
		}, idle, openflow.ReasonSlow, ""},
		{"says a message of 4 octets", func(p peer) { p.introduce(); p.drain(); _, _ = p.Write([]byte{4, 2, 0, 4, 0, 0, 0, 0}); p.hold() }, idle, openflow.ReasonMalformed, "4 octets"},
		{"changes its version", func(p peer) { p.introduce(); p.drain(); p.say(6, 2, 1); p.hold() }, idle, openflow.ReasonMalformed, "version 6"},
		{"answers without end", func(p peer) {
			p.introduce()
			xid, _ := p.until(18)
			p.drain()
			for p.say(4, 19, xid, 0, 1, 0, 1, 0, 0, 0, 0) { // parts without flows, and more to come
			}
		}, ask, openflow.ReasonTooMuch, "1MiB"},
		{"answers another question", func(p peer) {
			p.introduce()
			xid, _ := p.until(18)
			p.drain()
			p.say(4, 21, xid)
			p.hold()
		}, ask, openflow.ReasonMalformed, "type 21"},
		{"says that a flow is longer than it is", func(p peer) {
			p.introduce()
			xid, _ := p.until(18)
			p.drain()
			p.say(4, 19, xid, append([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, make([]byte, 100)...)...)
			p.hold()
		}, ask, openflow.ReasonMalformed, "65535 octets"},
	} {
		t.Run(test.name, func(t *testing.T) {
			use := test.use
			if use == nil {
				use = func(context.Context, *openflow.Conn) { t.Error("the peer was accepted") }
			}
			err := against(t, test.do, use)
			ended, ok := errors.AsType[*openflow.EndError](err)
			if !ok || ended.Reason != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("ended with %v, want reason %q and %q", err, test.want, test.says)
			}
		})
	}
}

// What nobody asked for is ignored, events that nobody takes are dropped and counted, and echoes are answered all the while.
func TestUnasked(t *testing.T) {
	const events = 3000
	err := against(t, func(p peer) {
		p.introduce()
		for range events {
			p.say(4, 12, 0, append(make([]byte, 8), make([]byte, 64)...)...)
		}
		p.say(4, 21, 4711)
		p.say(4, 1, 4712, 0, 1, 0, 0)
		p.say(4, 99, 4713)
		p.say(4, 2, 77, 1, 2, 3)
		if xid, body := p.until(3); xid != 77 || len(body) != 3 {
			t.Errorf("echo answered with xid %d and %d octets, want 77 and 3", xid, len(body))
		}
	}, func(_ context.Context, c *openflow.Conn) {
		<-c.Done()
		kept := 0
		for range c.Events() {
			kept++
		}
		if kept == 0 || kept+int(c.Dropped()) != events {
			t.Errorf("%d events kept and %d dropped, want %d in all", kept, c.Dropped(), events)
		}
	})
	if ended, ok := errors.AsType[*openflow.EndError](err); !ok || ended.Reason != openflow.ReasonClosed {
		t.Errorf("ended with %v", err)
	}
}

// An answer that does not come ends the question, not the connection; a commit that is not answered is not known to be done or not.
func TestNoAnswer(t *testing.T) {
	err := against(t, func(p peer) {
		p.introduce()
		for {
			kind, xid, body := p.hear()
			switch {
			case kind == 255:
				return
			case kind == 2:
				p.say(4, 3, xid)
			case kind == 20:
				p.say(4, 21, xid)
			case kind == 4 && body[7] == 0xfc && body[13] == 0: // open
				p.say(4, 4, xid, append(body[:13:13], 1, body[14], body[15])...)
			}
		}
	}, func(ctx context.Context, c *openflow.Conn) {
		if err := c.Flows(ctx, openflow.Everything, func(openflow.FlowStats) {}); err == nil || errors.Is(err, openflow.ErrUnknown) {
			t.Errorf("Flows without an answer: %v", err)
		}
		mods := []openflow.Mod{openflow.AddFlow{}}
		if err := c.Apply(ctx, mods); !errors.Is(err, openflow.ErrUnknown) {
			t.Errorf("Apply without an answer to its commit: %v, want ErrUnknown", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := c.Apply(short, mods); !errors.Is(err, openflow.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Apply with little time: %v, want ErrUnknown and DeadlineExceeded", err)
		}
		if err := c.Barrier(ctx); err != nil {
			t.Error(err)
		}
		go c.Close()
	})
	if ended, ok := errors.AsType[*openflow.EndError](err); !ok || ended.Reason != openflow.ReasonOurs {
		t.Errorf("ended with %v", err)
	}
}

// A switch that is slower than its own patience with a bundle is not asked to commit it.
func TestSlowBundle(t *testing.T) {
	err := against(t, func(p peer) {
		p.introduce()
		for {
			kind, xid, body := p.hear()
			switch {
			case kind == 255:
				return
			case kind == 2:
				p.say(4, 3, xid)
			case kind == 20:
				time.Sleep(9 * time.Second)
				p.say(4, 21, xid)
			case kind == 4 && body[7] == 0xfc:
				if body[13] == 4 {
					t.Error("it was asked to commit")
				}
				p.say(4, 4, xid, append(body[:13:13], body[13]+1, body[14], body[15])...)
			}
		}
	}, func(ctx context.Context, c *openflow.Conn) {
		if err := c.Apply(ctx, []openflow.Mod{openflow.AddFlow{}}); err == nil || errors.Is(err, openflow.ErrUnknown) {
			t.Errorf("Apply: %v, want an error, and to know that nothing was done", err)
		}
		go c.Close()
	})
	if ended, ok := errors.AsType[*openflow.EndError](err); !ok || ended.Reason != openflow.ReasonOurs {
		t.Errorf("ended with %v", err)
	}
}

// A switch that knows no bundles is told from one that refuses a modification.
func TestNoBundles(t *testing.T) {
	var mods int
	err := against(t, func(p peer) {
		p.introduce()
		for {
			kind, xid, _ := p.hear()
			switch kind {
			case 255:
				return
			case 4:
				p.say(4, 1, xid, 0, 1, 0, 3) // bad request: experimenter
			case 14:
				if mods++; mods == 3 {
					p.say(4, 1, xid, 0, 5, 0, 1) // flow not changed: table is full
				}
			case 20:
				p.say(4, 21, xid)
			}
		}
	}, func(ctx context.Context, c *openflow.Conn) {
		list := []openflow.Mod{openflow.AddFlow{}, openflow.AddFlow{Flow: openflow.Flow{Priority: 1}}}
		if err := c.Apply(ctx, list); !errors.Is(err, openflow.ErrNoBundles) {
			t.Errorf("Apply: %v, want ErrNoBundles", err)
		}
		if err := c.ApplyEach(ctx, list); err != nil || mods != 2 {
			t.Errorf("ApplyEach sent %d modifications, want 2: %v", mods, err)
		}
		err := c.ApplyEach(ctx, list)
		if refused, ok := errors.AsType[*openflow.ModError](err); !ok || refused.Index != 0 || !strings.Contains(err.Error(), "table is full") {
			t.Errorf("ApplyEach, the first of which is refused: %v", err)
		}
		go c.Close()
	})
	if ended, ok := errors.AsType[*openflow.EndError](err); !ok || ended.Reason != openflow.ReasonOurs {
		t.Errorf("ended with %v", err)
	}
}
