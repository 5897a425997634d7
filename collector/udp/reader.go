package udp

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxDatagram is longer than any UDP payload (65507 bytes over IPv4, 65527 over IPv6): nothing is cut.
const MaxDatagram = 65535

// Datagram is one received datagram.
type Datagram struct {
	Payload   []byte         // valid until the next Read of its Reader
	From      netip.AddrPort // source; IPv4 is unmapped, an IPv6 zone is dropped
	Received  int64          // when the kernel took it in, ns since epoch UTC; before it waited in the queue
	Truncated bool           // it was longer than the reader's limit; Payload is its beginning
}

// Reader reads one Conn. It belongs to one goroutine and does not allocate once made.
type Reader struct {
	conn *Conn
	out  []Datagram

	headers []unix.Mmsghdr
	names   []unix.RawSockaddrInet6 // large enough for IPv4 too
	control []byte                  // controlLen for each header
	used    int                     // headers that the kernel changed and that must be set up again

	try   func(fd uintptr) bool // method values, made once: a closure a call would be an allocation a call
	poll  func(fd uintptr)
	n     int
	errno syscall.Errno
}

// controlLen has room for the one control message that is asked for (SO_TIMESTAMPNS: a timespec).
var controlLen = unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))

// NewReader returns a reader of c that takes up to batch datagrams a call, each of up to maxDatagram bytes (what is
// longer is cut and counted). Address space for all of them is reserved; memory is used for what arrives.
func NewReader(c *Conn, batch, maxDatagram int) *Reader {
	batch, maxDatagram = max(1, batch), max(1, min(maxDatagram, MaxDatagram))
	r := &Reader{
		conn:    c,
		out:     make([]Datagram, batch),
		headers: make([]unix.Mmsghdr, batch),
		names:   make([]unix.RawSockaddrInet6, batch),
		control: make([]byte, batch*controlLen),
	}
	r.try, r.poll = r.receive, func(fd uintptr) { r.receive(fd) }
	// An odd number of 1472-byte steps between slots: at a power of two the beginnings of all datagrams, which is all
	// of most, would compete for the same few lines of the processor's caches.
	const step = 1472
	stride := (maxDatagram/step | 1) * step
	for stride < maxDatagram {
		stride += 2 * step
	}
	payload := make([]byte, batch*stride)
	iovecs := make([]unix.Iovec, batch)
	for i := range r.headers {
		iovecs[i].Base = &payload[i*stride]
		iovecs[i].SetLen(maxDatagram)
		r.out[i].Payload = payload[i*stride : i*stride : i*stride+maxDatagram]
		h := &r.headers[i].Hdr
		h.Iov = &iovecs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Control = &r.control[i*controlLen]
	}
	r.used = batch
	return r
}

// Read waits for datagrams and returns those that are there, at least one, valid until the next call. The error is
// os.ErrDeadlineExceeded after Conn.SetReadDeadline, net.ErrClosed after Conn.Close.
func (r *Reader) Read() ([]Datagram, error) {
	r.prepare()
	if err := r.conn.raw.Read(r.try); err != nil {
		return nil, err // net.OpError: says which address
	}
	return r.result()
}

// TryRead returns the datagrams that are waiting in the kernel, none if none is, whatever the deadline is.
func (r *Reader) TryRead() ([]Datagram, error) {
	r.prepare()
	if err := r.conn.raw.Control(r.poll); err != nil {
		return nil, err
	}
	if r.errno == unix.EAGAIN {
		return nil, nil
	}
	return r.result()
}

// prepare sets up again what the last call used.
func (r *Reader) prepare() {
	for i := range r.headers[:r.used] {
		h := &r.headers[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlLen)
	}
	r.used = 0
}

// receive is one recvmmsg; it returns false if there was nothing, for the poller to wait.
func (r *Reader) receive(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(r.headers))), uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		r.errno = errno
		r.n = int(n)
		return errno != unix.EAGAIN
	}
}

// result turns the headers that the kernel filled into datagrams.
func (r *Reader) result() ([]Datagram, error) {
	if r.errno != 0 {
		return nil, fmt.Errorf("receive on %s: recvmmsg: %w", r.conn.local, r.errno)
	}
	var bytes, truncated uint64
	out := r.out[:r.n]
	for i := range out {
		h, d := &r.headers[i], &out[i]
		d.Payload = d.Payload[:h.Len]
		d.From = source(&r.names[i])
		d.Received = timestamp(r.control[i*controlLen:][:controlLen], int(h.Hdr.Controllen))
		d.Truncated = h.Hdr.Flags&unix.MSG_TRUNC != 0
		bytes += uint64(h.Len)
		if d.Truncated {
			truncated++
		}
	}
	r.used = r.n
	c := r.conn
	c.calls.Add(1)
	c.datagrams.Add(uint64(r.n))
	c.bytes.Add(bytes)
	if truncated > 0 {
		c.truncated.Add(truncated)
	}
	return out, nil
}

// source reads a socket address. The port is in network byte order in either family and at the same place.
func source(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	p := uint16(port[0])<<8 | uint16(port[1])
	switch sa.Family {
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), p)
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), p)
	default:
		return netip.AddrPort{}
	}
}

// timestamp returns the time in the control messages b[:n], or now if the kernel sent none.
func timestamp(b []byte, n int) int64 {
	const header = unix.SizeofCmsghdr
	if n >= header+int(unsafe.Sizeof(unix.Timespec{})) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b)))
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS {
			ts := (*unix.Timespec)(unsafe.Pointer(&b[unix.CmsgLen(0)]))
			return ts.Nano()
		}
	}
	return time.Now().UnixNano()
}
