package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// OpenFlow 1.0, of which this file knows what SetNoFlood needs.
const (
	version10        = 1
	typePortMod10    = 15
	typeBarrierAsk10 = 18
	typeBarrier10    = 19

	noFlood10 = 1 << 4 // OFPPC_NO_FLOOD
)

// SetNoFlood says of ports, by number and MAC address as Conn.Ports tells them, whether what a bridge floods goes out by them. Only OpenFlow
// 1.0 can say that, so it needs a connection of its own, which it closes, and which the bridge must be willing to speak 1.0 on. A port
// forgets it when the switch restarts.
func SetNoFlood(ctx context.Context, nc net.Conn, limits Limits, ports []PortDesc, noFlood bool) error {
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, limits.AnswerTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	if err := setNoFlood(nc, ports, noFlood); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return fmt.Errorf("set no-flood of %d ports: %w", len(ports), err)
	}
	return nil
}

func setNoFlood(nc net.Conn, ports []PortDesc, noFlood bool) error {
	c := &Conn{nc: nc, in: bufio.NewReaderSize(nc, maxGreeting)}
	header := func(b []byte, kind uint8, length uint16, xid uint32) []byte {
		return append32(append16(append(b, version10, kind), length), xid)
	}
	if err := c.send(header(nil, typeHello, headerLen, 1)); err != nil {
		return err
	}
	if m, _, err := c.next(maxGreeting); err != nil {
		return err
	} else if m.kind != typeHello {
		return malformed("the first message is of type %d, want a hello", m.kind)
	}
	var config uint32
	if noFlood {
		config = noFlood10
	}
	var b []byte
	for i, p := range ports {
		b = append16(header(b, typePortMod10, 32, uint32(i+2)), to16(p.Number))
		b = append32(appendBits(b, U64(p.MAC), 6), config, noFlood10, 0, 0)
	}
	if err := c.send(header(b, typeBarrierAsk10, headerLen, 0)); err != nil {
		return err
	}
	for {
		m, _, err := c.next(maxGreeting)
		if err != nil {
			return err
		}
		switch m.kind {
		case typeError:
			e, err := decodeError(m.body)
			if err != nil {
				return err
			}
			if i := int(m.xid) - 2; i >= 0 && i < len(ports) {
				return fmt.Errorf("port %s: OpenFlow 1.0 error type %d code %d", ports[i].Number, e.Type, e.Code)
			}
			return errors.New("the switch does not speak OpenFlow 1.0: protocols of its bridge must have OpenFlow10 among them")
		case typeEchoRequest:
			if err := c.send(append(header(nil, typeEchoReply, uint16(headerLen+len(m.body)), m.xid), m.body...)); err != nil {
				return err
			}
		case typeBarrier10:
			return nil
		}
	}
}
