// Package traffic sends real traffic between namespaces: known amounts of TCP, UDP and ICMP echo, and probes and streams
// that go on while something else happens; IPv4 and IPv6. It needs no programs besides the kernel's own protocols.
package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/lab/netns"
)

const timeout = 30 * time.Second // of one exchange, unless the context ends before

func deadline(ctx context.Context) time.Time {
	d := time.Now().Add(timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(d) {
		return end
	}
	return d
}

// tcpBuffer is the receive buffer of connections. So little is under way that a switch in software, which reads a cable from
// a socket with a buffer of its own, loses nothing: what is lost there, interfaces have counted and flows have not.
const tcpBuffer = 16 << 10

// TCP opens a connection from one namespace to an address of another, sends up bytes there and down bytes back, and
// closes it. Both ends have then seen all and the end of it.
func TCP(ctx context.Context, from, to *netns.Namespace, server netip.AddrPort, up, down int64) error {
	if err := tcp(ctx, from, to, server, up, down); err != nil {
		return fmt.Errorf("send %d and %d bytes by TCP to %v: %w", up, down, server, err)
	}
	return nil
}

func tcp(ctx context.Context, from, to *netns.Namespace, server netip.AddrPort, up, down int64) error {
	until := deadline(ctx)
	var listener *net.TCPListener
	if err := listen(until, to, func() error {
		l, err := (&net.ListenConfig{Control: smallBuffer}).Listen(ctx, "tcp", server.String())
		if err == nil {
			listener = l.(*net.TCPListener)
		}
		return err
	}); err != nil {
		return err
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		_ = listener.SetDeadline(until)
		c, err := listener.AcceptTCP()
		if err == nil {
			err = exchange(c, until, down, up)
		}
		served <- err
	}()
	var client *net.TCPConn
	err := from.Do(func() error {
		c, err := (&net.Dialer{Deadline: until, Control: smallBuffer}).Dial("tcp", listener.Addr().String())
		if err == nil {
			client = c.(*net.TCPConn)
		}
		return err
	})
	if err == nil {
		err = exchange(client, until, up, down)
	} else {
		_ = listener.Close() // ends Accept
	}
	return errors.Join(err, <-served)
}

// listen calls f in n, which binds a socket, again as long as the address is in use: a process that is just being started,
// between fork and exec, still has the socket of the exchange before.
func listen(until time.Time, n *netns.Namespace, f func() error) error {
	for {
		err := n.Do(f)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return err
		}
		time.Sleep(time.Millisecond) // between polls
	}
}

// smallBuffer bounds the receive window of a socket, and of those that it accepts.
func smallBuffer(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, tcpBuffer) }), err)
}

// exchange sends bytes, ends sending, and reads until the other side ends: exactly want bytes.
func exchange(c *net.TCPConn, until time.Time, send, want int64) error {
	defer c.Close()
	_ = c.SetDeadline(until)
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(c, zeros{}, send)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != want {
		err = fmt.Errorf("received %d bytes, want %d", n, want)
	}
	return errors.Join(err, <-sent)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// UDP sends n datagrams of size bytes from one namespace to a server in another, which answers each with reply bytes
// (none if negative); each answer is waited for before the next datagram.
func UDP(ctx context.Context, from, to *netns.Namespace, server netip.AddrPort, n, size, reply int) error {
	if err := udp(ctx, from, to, server, n, size, reply); err != nil {
		return fmt.Errorf("send %d UDP datagrams of %d bytes to %v: %w", n, size, server, err)
	}
	return nil
}

func udp(ctx context.Context, from, to *netns.Namespace, server netip.AddrPort, n, size, reply int) error {
	var listener, client *net.UDPConn
	if err := listen(deadline(ctx), to, func() (err error) {
		listener, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(server))
		return err
	}); err != nil {
		return err
	}
	defer listener.Close()
	if err := from.Do(func() (err error) {
		client, err = net.DialUDP("udp", nil, listener.LocalAddr().(*net.UDPAddr))
		return err
	}); err != nil {
		return err
	}
	defer client.Close()
	until := deadline(ctx)
	_ = listener.SetDeadline(until)
	_ = client.SetDeadline(until)
	b := make([]byte, 65536)
	for i := range n {
		if _, err := client.Write(b[:size]); err != nil {
			return fmt.Errorf("datagram %d: %w", i, err)
		}
		got, peer, err := listener.ReadFromUDPAddrPort(b)
		if err != nil || got != size {
			return fmt.Errorf("datagram %d: received %d bytes: %w", i, got, err)
		}
		if reply < 0 {
			continue
		}
		if _, err := listener.WriteToUDPAddrPort(b[:reply], peer); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if got, err := client.Read(b); err != nil || got != reply {
			return fmt.Errorf("answer %d: received %d bytes: %w", i, got, err)
		}
	}
	return nil
}

// Ping sends n echo requests with size bytes of data (at least 8) from a namespace, each after the answer to the one
// before.
func Ping(ctx context.Context, from *netns.Namespace, to netip.Addr, n, size int) error {
	if err := ping(ctx, from, to, n, max(size, 8)); err != nil {
		return fmt.Errorf("ping %v: %w", to, err)
	}
	return nil
}

func ping(ctx context.Context, from *netns.Namespace, to netip.Addr, n, size int) error {
	network, request, reply, protocol := "ip4:icmp", icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if to.Is6() {
		network, request, reply, protocol = "ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	var conn *net.IPConn
	if err := from.Do(func() (err error) {
		conn, err = net.DialIP(network, nil, &net.IPAddr{IP: to.AsSlice()})
		return err
	}); err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline(ctx))
	id, b := os.Getpid()&0xffff, make([]byte, 65536)
	for i := range n {
		data := make([]byte, size)
		binary.BigEndian.PutUint64(data, uint64(i))
		// The kernel computes the checksum of ICMPv6, which has addresses in it.
		m, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: i & 0xffff, Data: data}}).Marshal(nil)
		if err != nil {
			return err
		}
		if _, err := conn.Write(m); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		for answered := false; !answered; {
			got, _, err := conn.ReadFromIP(b) // without the IP header, which Read leaves in
			if err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
			m, err := icmp.ParseMessage(protocol, b[:got])
			if err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
			echo, ok := m.Body.(*icmp.Echo)
			answered = ok && m.Type == reply && echo.ID == id && echo.Seq == i&0xffff && len(echo.Data) == size
		}
	}
	return nil
}

// Settle waits until the counters of an interface stand still for quiet, and returns them.
func Settle(ctx context.Context, n *netns.Namespace, device string, quiet time.Duration) (netns.Counters, error) {
	until := deadline(ctx)
	last, err := n.Counters(device)
	since := time.Now()
	for err == nil && time.Since(since) < quiet {
		if time.Now().After(until) {
			return last, fmt.Errorf("settle: counters of %q still move after %v", device, timeout)
		}
		time.Sleep(quiet / 10) // between polls
		var c netns.Counters
		if c, err = n.Counters(device); c != last {
			last, since = c, time.Now()
		}
	}
	return last, err
}
