package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Config says what Listen binds.
type Config struct {
	Addr       string // host:port; see Listen
	Workers    int    // sockets on Addr, at least 1
	RecvBuffer int    // receive buffer asked of the kernel for each socket, bytes of payload; 0 leaves net.core.rmem_default
}

// MaxRecvBuffer is the largest Config.RecvBuffer: the kernel doubles it and keeps the result in an int.
const MaxRecvBuffer = 1<<30 - 1

// Listen binds cfg.Workers sockets to cfg.Addr.
//
// An empty host (":2055") receives IPv4 and IPv6 on one socket, or IPv4 alone on a machine without IPv6. An address
// binds that address and its family only: "0.0.0.0:2055" is IPv4 and "[::]:2055" is IPv6. With port 0 the kernel picks a
// free port, which all the sockets share.
//
// The port is this call's alone: if any other socket holds it, also one that offers to share it, Listen fails, rather
// than losing a part of the datagrams to it.
func Listen(cfg Config) ([]*Conn, error) {
	conns, err := listen(cfg)
	if err != nil {
		return nil, fmt.Errorf("listen udp %q: %w", cfg.Addr, err)
	}
	return conns, nil
}

func listen(cfg Config) (conns []*Conn, err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	network, addr, err := resolve(cfg.Addr)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(conns)
			conns = nil
		}
	}()

	// The first socket binds without SO_REUSEPORT: so another process (or another weir) on the port is an error, and
	// port 0 cannot land on a port that a sharing socket has. Once bound it lets the other shards in.
	for i := range cfg.Workers {
		lc := net.ListenConfig{}
		if i > 0 {
			lc.Control = func(_, _ string, c syscall.RawConn) error { return reusePort(c) }
		}
		pc, err := lc.ListenPacket(context.Background(), network, addr)
		if err != nil {
			return conns, bindError(err)
		}
		c, err := newConn(pc.(*net.UDPConn), cfg.RecvBuffer)
		if err != nil {
			pc.Close()
			return conns, err
		}
		conns = append(conns, c)
		if i == 0 && cfg.Workers > 1 {
			if err := reusePort(c.raw); err != nil {
				return conns, err
			}
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return conns, err
			}
			addr = net.JoinHostPort(host, strconv.Itoa(int(c.LocalAddr().Port())))
		}
	}
	return conns, nil
}

// CheckAddr says what is wrong with addr as Config.Addr, as far as it can be told without binding it.
func CheckAddr(addr string) error {
	_, _, err := resolve(addr)
	return err
}

func (c Config) validate() error {
	if c.Workers < 1 {
		return fmt.Errorf("workers %d: need at least 1", c.Workers)
	}
	if c.RecvBuffer < 0 || c.RecvBuffer > MaxRecvBuffer {
		return fmt.Errorf("receive buffer of %d bytes: allowed is 0 to %d", c.RecvBuffer, MaxRecvBuffer)
	}
	return nil
}

// resolve returns the network and address for package net, where "udp" with an empty host means both families.
func resolve(addr string) (network, hostPort string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("want host:port, for example \":2055\" or \"192.0.2.1:2055\": %w", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", fmt.Errorf("port %q: want a number from 0 to 65535", port)
	}
	ip, _ := netip.ParseAddr(host)
	switch ip = ip.Unmap(); {
	case ip.Is4():
		return "udp4", net.JoinHostPort(ip.String(), port), nil
	case ip.Is6():
		return "udp6", addr, nil
	default: // empty or a host name
		return "udp", addr, nil
	}
}

// bindError drops what package net says twice and adds what the reader can do.
func bindError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w; \"ss -lunp\" shows by whom", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w; ports below 1024 need root or CAP_NET_BIND_SERVICE", err)
	default:
		return err
	}
}

func reusePort(raw syscall.RawConn) error {
	var opErr error
	err := raw.Control(func(fd uintptr) {
		opErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err := errors.Join(err, opErr); err != nil {
		return fmt.Errorf("set SO_REUSEPORT: %w", err)
	}
	return nil
}

// FromFiles makes connections of bound UDP sockets that someone else opened (socket activation, sd_listen_fds(3)).
// recvBuffer is as in Config. The files are duplicated and may be closed afterwards. How they share an address is the
// opener's doing: with systemd, several sockets with ReusePort=yes are several shards.
func FromFiles(recvBuffer int, files ...*os.File) (conns []*Conn, err error) {
	if err := (Config{Workers: 1, RecvBuffer: recvBuffer}).validate(); err != nil {
		return nil, fmt.Errorf("take over sockets: %w", err)
	}
	defer func() {
		if err != nil {
			closeAll(conns)
			conns = nil
		}
	}()
	for _, f := range files {
		pc, err := net.FilePacketConn(f)
		if err != nil {
			return conns, fmt.Errorf("take over socket %q: %w", f.Name(), err)
		}
		uc, ok := pc.(*net.UDPConn)
		if !ok {
			pc.Close()
			return conns, fmt.Errorf("take over socket %q: is %s, want a UDP socket", f.Name(), pc.LocalAddr().Network())
		}
		c, err := newConn(uc, recvBuffer)
		if err != nil {
			_ = uc.Close()
			return conns, fmt.Errorf("take over socket %q: %w", f.Name(), err)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []*Conn) {
	for _, c := range conns {
		_ = c.Close() // nothing was read from them
	}
}
