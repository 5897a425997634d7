package libvirt

import (
	"encoding/binary"
	"fmt"
	"net"
	"reflect"
	"sync/atomic"

	rpc "github.com/digitalocean/go-libvirt"
)

// guard is a connection with a libvirtd of which only whole packets are read that go-libvirt decodes without harm: it makes room for as many
// bytes and elements as a packet says, and ends the program on a length that is too short. What is refused ends the connection; packets
// that nobody asked for are left out.
type guard struct {
	net.Conn
	ready []byte                // of a packet that was checked
	err   error                 // why no more is read
	found atomic.Pointer[error] // what was refused; nil: nothing
}

// refused returns what was refused, or nil. It may be called from any goroutine.
func (g *guard) refused() error {
	if err := g.found.Load(); err != nil {
		return *err
	}
	return nil
}

// A packet of libvirt's RPC (virnetprotocol.x): its length, program, version, procedure, type, serial, status, payload.
const (
	headLen   = 28
	maxPacket = 32 << 20 // VIR_NET_MESSAGE_MAX

	remoteProgram = 0x20008086

	typeReply, typeMessage = 1, 2
	statusOK, statusError  = 0, 1
)

// answers are what may come of each procedure that is called, and messages what may come of each that tells of changes (remote_protocol.x). nil:
// nothing, or nothing that is read.
var answers = map[uint32]reflect.Type{
	1: nil, 2: nil, 317: nil, // open, close, no more events
	7: reflect.TypeFor[rpc.ConnectGetCapabilitiesRet](), 14: reflect.TypeFor[rpc.DomainGetXMLDescRet](), 59: reflect.TypeFor[rpc.ConnectGetHostnameRet](),
	66: reflect.TypeFor[rpc.AuthListRet](), 70: reflect.TypeFor[rpc.AuthPolkitRet](), 157: reflect.TypeFor[rpc.ConnectGetLibVersionRet](),
	212: reflect.TypeFor[rpc.DomainGetStateRet](), 273: reflect.TypeFor[rpc.ConnectListAllDomainsRet](),
	316: reflect.TypeFor[rpc.ConnectDomainEventCallbackRegisterAnyRet](), 353: reflect.TypeFor[rpc.DomainInterfaceAddressesRet](),
}

var messages = map[uint32]reflect.Type{
	318: reflect.TypeFor[rpc.DomainEventCallbackLifecycleMsg](), 333: reflect.TypeFor[rpc.DomainEventCallbackDeviceRemovedMsg](),
	348: reflect.TypeFor[rpc.DomainEventCallbackAgentLifecycleMsg](), 354: reflect.TypeFor[rpc.DomainEventCallbackDeviceAddedMsg](),
	379: reflect.TypeFor[rpc.DomainEventCallbackMetadataChangeMsg](),
}

// refusal is the beginning of remote_error, which is all of it that is read.
type refusal struct {
	Code, Domain, Message uint32
	Text                  string
	Level                 uint32
}

func (g *guard) Read(b []byte) (int, error) {
	for len(g.ready) == 0 {
		if g.err != nil {
			return 0, g.err
		}
		if g.ready, g.err = g.next(); g.err != nil {
			g.ready = nil
			_ = g.Conn.Close() // nothing that comes after it can be understood
		}
	}
	n := copy(b, g.ready)
	g.ready = g.ready[n:]
	return n, nil
}

// next reads a packet; it returns none if it is one to be left out.
func (g *guard) next() ([]byte, error) {
	var head [headLen]byte
	if _, err := readFull(g.Conn, head[:]); err != nil {
		return nil, err
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(head[4*i:]) }
	n := word(0)
	if n < headLen || n > maxPacket {
		return nil, g.refuse("found a packet of %d bytes, want %d to %d: is it libvirt that listens there?", n, headLen, maxPacket)
	}
	packet, err := readGrowing(g.Conn, head[:], int(n))
	if err != nil {
		return nil, err
	}
	program, procedure, kind, status := word(1), word(3), word(4), word(6)
	var of reflect.Type
	known := false
	switch {
	case program != remoteProgram:
		return nil, nil
	case kind == typeMessage:
		if of, known = messages[procedure]; !known {
			return nil, nil
		}
	case kind == typeReply && status == statusError:
		of = reflect.TypeFor[refusal]()
	case kind == typeReply && status == statusOK:
		if of, known = answers[procedure]; !known {
			return nil, g.refuse("found an answer to procedure %d, which was not called", procedure)
		}
	default:
		return nil, g.refuse("found a packet of type %d and status %d, want an answer or a message", kind, status)
	}
	if of == nil {
		return packet, nil
	}
	if _, ok := fits(of, packet[headLen:]); !ok {
		return nil, g.refuse("found a packet of procedure %d whose lengths are beyond its end", procedure)
	}
	return packet, nil
}

// refuse notes what is refused.
func (g *guard) refuse(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	g.found.Store(&err)
	return err
}

// readGrowing reads the rest of a packet of n bytes; memory grows with what comes, not with what was said.
func readGrowing(c net.Conn, head []byte, n int) ([]byte, error) {
	b := append([]byte(nil), head...)
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-at, max(at, 4096)))...)
		if _, err := readFull(c, b[at:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func readFull(c net.Conn, b []byte) (int, error) {
	for n := 0; n < len(b); {
		m, err := c.Read(b[n:])
		if n += m; err != nil && n < len(b) {
			return n, err
		}
	}
	return len(b), nil
}

// fits reports whether b begins with a value of type t in XDR (RFC 4506), and returns what follows. A list has no more elements than the bytes
// that are left could hold.
func fits(t reflect.Type, b []byte) (rest []byte, ok bool) {
	take := func(n int) bool {
		if n < 0 || n > len(b) {
			return false
		}
		b = b[n:]
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			if b, ok = fits(f.Type, b); !ok {
				return nil, false
			}
		}
		return b, true
	case reflect.Array: // opaque
		ok = take((t.Len() + 3) &^ 3)
		return b, ok
	case reflect.String:
		if len(b) < 4 {
			return nil, false
		}
		n := uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
		ok = n <= uint64(len(b)) && take((int(n)+3)&^3)
		return b, ok
	case reflect.Slice:
		if len(b) < 4 {
			return nil, false
		}
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b))/4 {
			return nil, false
		}
		for range n {
			if b, ok = fits(t.Elem(), b); !ok {
				return nil, false
			}
		}
		return b, true
	case reflect.Int64, reflect.Uint64:
		ok = take(8)
		return b, ok
	default:
		ok = take(4)
		return b, ok
	}
}
