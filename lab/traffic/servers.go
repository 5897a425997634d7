package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/weirhq/weir/lab/netns"
)

// Conversation is one exchange of bytes: a request and its response.
type Conversation struct {
	From     *netns.Namespace
	Client   netip.Addr // of From
	To       *netns.Namespace
	Server   netip.AddrPort // of To
	Request  int64          // bytes of payload; at least 8 are sent
	Response int64
}

// Servers answer conversations that go on at the same time. Each address is listened on from the first conversation with it
// until its last one ends. The zero Servers is ready; its methods may be called by several goroutines.
type Servers struct {
	mu   sync.Mutex
	open map[endpoint]*server // guarded by mu
}

type endpoint struct {
	namespace *netns.Namespace
	network   string
	addr      netip.AddrPort
}

type server struct {
	io.Closer
	users int // guarded by Servers.mu
}

// header is how a request begins: with the length of the response.
const header = 8

// datagram is the most payload that one of a UDP conversation has.
const datagram = 1200

// TCP carries c over a connection of its own.
func (s *Servers) TCP(ctx context.Context, c Conversation) error {
	if err := s.tcp(ctx, c); err != nil {
		return fmt.Errorf("converse by TCP with %v: %w", c.Server, err)
	}
	return nil
}

func (s *Servers) tcp(ctx context.Context, c Conversation) error {
	release, err := s.acquire(endpoint{c.To, "tcp", c.Server}, func() (io.Closer, error) {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(c.Server))
		if err == nil {
			go acceptAll(l) // ends with l
		}
		return l, err
	})
	if err != nil {
		return err
	}
	defer release()
	var conn net.Conn
	if err := c.From.Do(func() (err error) {
		local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Client, 0))
		conn, err = (&net.Dialer{LocalAddr: local, Deadline: deadline(ctx)}).DialContext(ctx, "tcp", c.Server.String())
		return err
	}); err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline(ctx))
	begin := binary.BigEndian.AppendUint64(nil, uint64(c.Response))
	if _, err := conn.Write(begin); err != nil {
		return err
	}
	if _, err := io.CopyN(conn, zeros{}, max(0, c.Request-header)); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, conn)
	if err == nil && n != c.Response {
		err = fmt.Errorf("received %d bytes, want %d", n, c.Response)
	}
	return err
}

// acceptAll answers the connections of l until it is closed.
func acceptAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends by itself at the deadline
			defer conn.Close()
			_ = conn.SetDeadline(deadline(context.Background()))
			var begin [header]byte
			if _, err := io.ReadFull(conn, begin[:]); err != nil {
				return // the client says what went wrong
			}
			if _, err := io.Copy(io.Discard, conn); err == nil {
				_, _ = io.CopyN(conn, zeros{}, int64(binary.BigEndian.Uint64(begin[:])))
			}
		}()
	}
}

// UDP carries c in datagrams. Where an answer is lost, it fails.
func (s *Servers) UDP(ctx context.Context, c Conversation) error {
	if err := s.udp(ctx, c); err != nil {
		return fmt.Errorf("converse by UDP with %v: %w", c.Server, err)
	}
	return nil
}

func (s *Servers) udp(ctx context.Context, c Conversation) error {
	release, err := s.acquire(endpoint{c.To, "udp", c.Server}, func() (io.Closer, error) {
		l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.Server))
		if err == nil {
			go answerAll(l) // ends with l
		}
		return l, err
	})
	if err != nil {
		return err
	}
	defer release()
	var conn *net.UDPConn
	if err := c.From.Do(func() (err error) {
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.Client, 0)), net.UDPAddrFromAddrPort(c.Server))
		return err
	}); err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline(ctx))
	b := make([]byte, datagram)
	binary.BigEndian.PutUint64(b, uint64(c.Response))
	for left := max(c.Request, header); left > 0; left -= datagram {
		if _, err := conn.Write(b[:max(header, min(left, datagram))]); err != nil {
			return err
		}
		clear(b[:header]) // one response to all
	}
	for got := int64(0); got < c.Response; {
		n, err := conn.Read(b)
		if err != nil {
			return fmt.Errorf("%d of %d bytes of the answer: %w", got, c.Response, err)
		}
		got += int64(n)
	}
	return nil
}

// answerAll answers the datagrams that come to l until it is closed.
func answerAll(l *net.UDPConn) {
	b := make([]byte, 65536)
	zero := make([]byte, datagram)
	for {
		n, peer, err := l.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < header { // ICMP of a client that has gone
			continue
		}
		for left := int64(binary.BigEndian.Uint64(b)); left > 0; left -= datagram {
			_, _ = l.WriteToUDPAddrPort(zero[:min(left, datagram)], peer)
		}
	}
}

// acquire opens e unless it is open. release closes it after the last user.
func (s *Servers) acquire(e endpoint, open func() (io.Closer, error)) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.open[e]
	if x == nil {
		x = &server{}
		if err := e.namespace.Do(func() (err error) { x.Closer, err = open(); return err }); err != nil {
			return nil, err
		}
		if s.open == nil {
			s.open = map[endpoint]*server{}
		}
		s.open[e] = x
	}
	x.users++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if x.users--; x.users == 0 {
			delete(s.open, e)
			_ = x.Close() // accepted connections go on
		}
	}, nil
}

// Knock sends a TCP SYN to a port on which perhaps nobody listens, and returns whether there was an answer.
func Knock(ctx context.Context, from *netns.Namespace, client netip.Addr, server netip.AddrPort) bool {
	err := from.Do(func() error {
		local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))
		conn, err := (&net.Dialer{LocalAddr: local, Deadline: deadline(ctx)}).DialContext(ctx, "tcp", server.String())
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}

// Announce sends one datagram of size bytes to a multicast address by the interface of from that has the address source.
func Announce(ctx context.Context, from *netns.Namespace, source netip.AddrPort, group netip.AddrPort, size int64) error {
	err := from.Do(func() error {
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(source), net.UDPAddrFromAddrPort(group))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(deadline(ctx))
		_, err = conn.Write(make([]byte, min(size, datagram)))
		return err
	})
	if err != nil {
		return fmt.Errorf("announce to %v: %w", group, err)
	}
	return nil
}
