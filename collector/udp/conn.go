package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is one bound UDP socket. Its methods may be called from any goroutine; its datagrams are read by one [Reader].
type Conn struct {
	pc     *net.UDPConn
	raw    syscall.RawConn
	local  netip.AddrPort
	buffer Buffer

	// Written by the reader once a batch.
	datagrams, bytes, truncated, calls atomic.Uint64

	mu     sync.Mutex // guards what follows
	drops  uint64     // dropped by the kernel since the socket was opened
	last   uint32     // the kernel's own counter, which wraps, when drops was brought up to date
	closed bool
}

// Buffer is a receive buffer in bytes, in the terms of SO_RCVBUF's argument: the kernel reserves twice as much, since
// it charges a datagram with its bookkeeping too (about 2.3 KB for one of 1.4 KB).
type Buffer struct {
	Asked   int // 0: the kernel's default was wanted
	Granted int
}

// Advice says how to get what was asked for, or "" if it was granted.
func (b Buffer) Advice() string {
	if b.Granted >= b.Asked {
		return ""
	}
	return fmt.Sprintf("set net.core.rmem_max to at least %d (sysctl -w net.core.rmem_max=%[1]d), or give weir CAP_NET_ADMIN", b.Asked)
}

// Stats are the counters of one socket since it was opened.
type Stats struct {
	Datagrams   uint64 `json:"datagrams"`         // read from the socket
	Bytes       uint64 `json:"bytes"`             // payload of those; a truncated one counts with what was kept
	Truncated   uint64 `json:"truncated"`         // of Datagrams, those longer than the reader's limit
	Calls       uint64 `json:"calls"`             // reads that returned datagrams; Datagrams/Calls is the mean batch
	KernelDrops uint64 `json:"kernel_drops"`      // discarded by the kernel for this socket: receive buffer full, or bad checksum
	QueueBytes  uint64 `json:"queue_bytes"`       // kernel memory that waiting datagrams hold now, bookkeeping included; 0 once closed
	QueueLimit  uint64 `json:"queue_limit_bytes"` // QueueBytes at which the kernel begins to drop: twice the granted buffer
}

func newConn(pc *net.UDPConn, recvBuffer int) (*Conn, error) {
	raw, err := pc.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{pc: pc, raw: raw, buffer: Buffer{Asked: recvBuffer}}
	local := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	c.local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())

	var optErr error
	if err := raw.Control(func(fd uintptr) { optErr = c.setOptions(int(fd)) }); err != nil {
		return nil, err
	}
	return c, optErr
}

func (c *Conn) setOptions(fd int) error {
	if c.buffer.Asked > 0 {
		// FORCE ignores net.core.rmem_max and needs CAP_NET_ADMIN.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, c.buffer.Asked) != nil {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.buffer.Asked); err != nil {
				return fmt.Errorf("set SO_RCVBUF: %w", err)
			}
		}
	}
	doubled, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return fmt.Errorf("get SO_RCVBUF: %w", err)
	}
	c.buffer.Granted = doubled / 2

	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("set SO_TIMESTAMPNS: %w", err)
	}
	if _, err := memInfo(fd); err != nil {
		return fmt.Errorf("read the drop counter (SO_MEMINFO, Linux 4.12 or later): %w", err)
	}
	return nil
}

// LocalAddr returns the bound address; for both families on one socket it is [::] with the port.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Buffer returns the receive buffer asked for and granted.
func (c *Conn) Buffer() Buffer { return c.buffer }

// SetReadDeadline makes reads after t, and one that waits at t, fail with os.ErrDeadlineExceeded. Zero means never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.pc.SetReadDeadline(t) }

// Close unblocks the reader, which gets net.ErrClosed. Datagrams that still wait in the kernel are lost. Idempotent.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.update() // the kernel's counter goes with the socket
	c.closed = true
	return c.pc.Close()
}

// Stats returns the counters as they are now. The kernel's drop counter has 32 bits: it is right if Stats is called
// at least once in 2³² drops.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{
		Datagrams:  c.datagrams.Load(),
		Bytes:      c.bytes.Load(),
		Truncated:  c.truncated.Load(),
		Calls:      c.calls.Load(),
		QueueLimit: 2 * uint64(c.buffer.Granted),
	}
	s.QueueBytes = c.update()
	s.KernelDrops = c.drops
	return s
}

// update brings drops up to date and returns the memory held by the queue. c.mu is held.
//
// SO_MEMINFO is the counter that SO_RXQ_OVFL sends along with datagrams and /proc/net/udp prints, without the faults of
// either: the first stays silent until a datagram follows the dropped ones, the second is a walk over all sockets.
func (c *Conn) update() (queueBytes uint64) {
	if c.closed {
		return 0
	}
	var info [unix.SK_MEMINFO_VARS]uint32
	var infoErr error
	if err := c.raw.Control(func(fd uintptr) { info, infoErr = memInfo(int(fd)) }); err != nil || infoErr != nil {
		return 0 // asked for at open, so this is a socket that was closed under us
	}
	now := info[unix.SK_MEMINFO_DROPS]
	c.drops += uint64(now - c.last) // modulo 2³²
	c.last = now
	return uint64(info[unix.SK_MEMINFO_RMEM_ALLOC])
}

func memInfo(fd int) (info [unix.SK_MEMINFO_VARS]uint32, err error) {
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return info, errno
	}
	if size < 4*(unix.SK_MEMINFO_DROPS+1) {
		return info, errors.ErrUnsupported
	}
	return info, nil
}
