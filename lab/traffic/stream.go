package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

// StreamConfig says between whom a Stream is.
type StreamConfig struct {
	From     *netns.Namespace
	To       *netns.Namespace
	Server   netip.AddrPort // of To
	Down     bool           // the server sends only; else both do
	Interval time.Duration  // between writes of each end that sends; 0: 5 ms
}

// Stream is a TCP connection on which bytes go on and on, until it is closed. Methods may be called from any goroutine.
type Stream struct {
	cfg            StreamConfig
	client, server net.Conn
	up, down       atomic.Int64 // bytes that arrived at the server, at the client
	stop           chan struct{}
	all            sync.WaitGroup
}

// chunk is what an end writes at a time, in bytes: a packet.
const chunk = 500

// NewStream connects and begins. The caller closes the stream.
func NewStream(ctx context.Context, cfg StreamConfig) (*Stream, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 5 * time.Millisecond
	}
	s := &Stream{cfg: cfg, stop: make(chan struct{})}
	if err := s.connect(ctx); err != nil {
		return nil, fmt.Errorf("stream to %v: %w", cfg.Server, err)
	}
	s.all.Go(func() { receive(s.server, &s.up) })
	s.all.Go(func() { receive(s.client, &s.down) })
	s.all.Go(func() { s.send(s.server) })
	if !cfg.Down {
		s.all.Go(func() { s.send(s.client) })
	}
	return s, nil
}

func (s *Stream) connect(ctx context.Context) error {
	until := deadline(ctx)
	var listener *net.TCPListener
	if err := listen(until, s.cfg.To, func() error {
		l, err := (&net.ListenConfig{Control: smallBuffer}).Listen(ctx, "tcp", s.cfg.Server.String())
		if err == nil {
			listener = l.(*net.TCPListener)
		}
		return err
	}); err != nil {
		return err
	}
	defer listener.Close()
	err := s.cfg.From.Do(func() (err error) {
		s.client, err = (&net.Dialer{Deadline: until, Control: smallBuffer}).DialContext(ctx, "tcp", listener.Addr().String())
		return err
	})
	if err != nil {
		return err
	}
	_ = listener.SetDeadline(until)
	if s.server, err = listener.AcceptTCP(); err != nil {
		return errors.Join(err, s.client.Close())
	}
	return nil
}

func (s *Stream) send(c net.Conn) {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for b := make([]byte, chunk); ; {
		if _, err := c.Write(b); err != nil {
			return // closed
		}
		select {
		case <-tick.C:
		case <-s.stop:
			return
		}
	}
}

func receive(c net.Conn, bytes *atomic.Int64) {
	for b := make([]byte, 4096); ; {
		n, err := c.Read(b)
		bytes.Add(int64(n))
		if err != nil {
			return // closed
		}
	}
}

// Close ends the connection.
func (s *Stream) Close() {
	close(s.stop)
	_ = s.client.Close()
	_ = s.server.Close()
	s.all.Wait()
}

// Nudge has the client of a stream that only goes down send a byte, as keepalive would after a while.
func (s *Stream) Nudge() error {
	_, err := s.client.Write([]byte{0})
	return err
}

// Received returns how many bytes arrived at the server and at the client.
func (s *Stream) Received() (up, down int64) { return s.up.Load(), s.down.Load() }

// Goes waits until bytes that arrive after the call arrived at each end to which the other sends.
func (s *Stream) Goes(ctx context.Context) error {
	up, down := s.Received()
	for until := deadline(ctx); time.Now().Before(until) && ctx.Err() == nil; {
		if u, d := s.Received(); d > down && (u > up || s.cfg.Down) {
			return nil
		}
		time.Sleep(time.Millisecond) // between polls
	}
	u, d := s.Received()
	return fmt.Errorf("stream to %v: %d bytes arrived at the server and %d at the client, want some", s.cfg.Server, u-up, d-down)
}

// Stands waits until nothing has arrived at either end for quiet, which is longer than the ends wait between writes. TCP
// goes on to try: whether a longer silence follows is for the caller to look at.
func (s *Stream) Stands(ctx context.Context, quiet time.Duration) error {
	up, down := s.Received()
	since := time.Now()
	for until := deadline(ctx); time.Since(since) < quiet; {
		if time.Now().After(until) || ctx.Err() != nil {
			return fmt.Errorf("stream to %v: bytes go on to arrive: %d at the server, %d at the client", s.cfg.Server, up, down)
		}
		if u, d := s.Received(); u != up || d != down {
			up, down, since = u, d, time.Now()
		}
		time.Sleep(time.Millisecond) // between polls
	}
	return nil
}
