package libvirtrpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"

	rpc "github.com/digitalocean/go-libvirt"
)

// A packet of libvirt's RPC: its length, program, version, procedure, type, serial, status, payload.
const (
	headLen   = 28
	maxPacket = 1 << 20
	program   = 0x20008086

	typeReply, typeMessage = 1, 2
	statusOK, statusError  = 0, 1
)

// client is a connection.
type client struct {
	host *Host
	conn net.Conn

	mu     sync.Mutex
	events map[int32]rpc.DomainEventID // by callback, what it asked to be told; guarded by mu
}

// serve answers calls until the connection ends.
func (c *client) serve() {
	defer c.conn.Close()
	for {
		var head [headLen]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return
		}
		word := func(i int) uint32 { return binary.BigEndian.Uint32(head[4*i:]) }
		if word(0) < headLen || word(0) > maxPacket || word(1) != program {
			return
		}
		args := make([]byte, word(0)-headLen)
		if _, err := io.ReadFull(c.conn, args); err != nil {
			return
		}
		ret, err := c.answer(word(3), args)
		status := uint32(statusOK)
		if err != nil {
			status = statusError
			code := uint32(rpc.ErrNoSupport)
			if e, ok := errors.AsType[rpc.Error](err); ok {
				code = e.Code
			}
			ret = struct {
				Code, Domain, Message uint32 // that there is one
				Text                  string
				Level                 uint32
				Rest                  [24]byte // no domain, strings and numbers
			}{Code: code, Message: 1, Text: err.Error(), Level: 2}
		}
		if c.send(word(3), typeReply, word(5), status, ret) != nil {
			return
		}
	}
}

// subscribe notes that a client is to be told of events of a kind.
func (c *client) subscribe(kind rpc.DomainEventID) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := int32(len(c.events) + 1)
	c.events[id] = kind
	return id
}

// tell sends an event to who asked for its kind.
func (c *client) tell(kind rpc.DomainEventID, procedure uint32, message func(callback int32) any) {
	c.mu.Lock()
	var ids []int32
	for id, k := range c.events {
		if k == kind {
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		_ = c.send(procedure, typeMessage, 0, statusOK, message(id)) // who is gone is told nothing
	}
}

func (c *client) send(procedure, kind, serial, status uint32, value any) error {
	var b []byte
	for _, w := range []uint32{0, program, 1, procedure, kind, serial, status} {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	if value != nil {
		b = encode(b, reflect.ValueOf(value))
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.conn.Write(b)
	return err
}

// encode appends a value as XDR (RFC 4506).
func encode(b []byte, v reflect.Value) []byte {
	pad := func(b []byte, n int) []byte { return append(b, make([]byte, (4-n%4)%4)...) }
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range v.Fields() {
			b = encode(b, f)
		}
	case reflect.String:
		b = append(binary.BigEndian.AppendUint32(b, uint32(v.Len())), v.String()...)
		b = pad(b, v.Len())
	case reflect.Slice:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Len()))
		for i := range v.Len() {
			b = encode(b, v.Index(i))
		}
	case reflect.Array: // opaque
		for i := range v.Len() {
			b = append(b, byte(v.Index(i).Uint()))
		}
		b = pad(b, v.Len())
	case reflect.Int32:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Int()))
	case reflect.Uint32:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Uint()))
	case reflect.Uint64:
		b = binary.BigEndian.AppendUint64(b, v.Uint())
	default:
		panic("BUG: encode " + v.Type().String())
	}
	return b
}

// decode reads what into points to.
func decode(b []byte, into any) error {
	v := reflect.ValueOf(into).Elem()
	if _, err := read(b, v); err != nil {
		return fmt.Errorf("decode %s: %w", v.Type(), err)
	}
	return nil
}

func read(b []byte, v reflect.Value) ([]byte, error) {
	word := func() (n int, ok bool) {
		if len(b) < 4 {
			return 0, false
		}
		n = int(binary.BigEndian.Uint32(b))
		b = b[4:]
		return n, true
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range v.Fields() {
			var err error
			if b, err = read(b, f); err != nil {
				return nil, err
			}
		}
		return b, nil
	case reflect.String:
		n, ok := word()
		if padded := (n + 3) &^ 3; ok && padded <= len(b) {
			v.SetString(string(b[:n]))
			return b[padded:], nil
		}
	case reflect.Slice:
		n, ok := word()
		if !ok || n > len(b)/4 {
			break
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			var err error
			if b, err = read(b, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return b, nil
	case reflect.Array:
		if n := (v.Len() + 3) &^ 3; n <= len(b) {
			reflect.Copy(v, reflect.ValueOf(b[:v.Len()]))
			return b[n:], nil
		}
	case reflect.Int32:
		if n, ok := word(); ok {
			v.SetInt(int64(int32(n)))
			return b, nil
		}
	case reflect.Uint32:
		if n, ok := word(); ok {
			v.SetUint(uint64(n))
			return b, nil
		}
	default:
		return nil, errors.New("a type that no call has")
	}
	return nil, io.ErrUnexpectedEOF
}
