package openflow

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Config is how a connection is made.
type Config struct {
	Limits Limits
	Want   Want // events
}

// Conn is a connection with the OpenFlow side of one bridge. Its methods may be called by several goroutines at once; the switch does what
// they ask for one after the other.
type Conn struct {
	Features Features
	Addr     netip.AddrPort      // of the switch; zero of a unix socket
	Chain    []*x509.Certificate // that the switch presented; nil without TLS
	Since    time.Time

	nc     net.Conn
	in     *bufio.Reader
	limits Limits
	count  *metrics
	dec    decoder // of the reading goroutine

	chunks chan []byte // to be written, in order
	spare  chan []byte // chunks that were
	echoes chan []byte // answers to echoes, to be written between chunks

	xid    atomic.Uint32
	bundle atomic.Uint32
	slots  chan struct{} // one for each question that waits for its answer
	apply  chan struct{} // held by the one Apply

	events  chan Event
	dropped atomic.Uint64

	mu      sync.Mutex // guards what follows
	calls   map[uint32]*call
	bundled *bundled // the bundle under way, or nil
	err     *EndError

	done    chan struct{} // closed when the connection has ended
	running sync.WaitGroup
}

// call is a question that waits for its answer.
type call struct {
	xid   uint32
	reply func(m message) (over bool, err error) // on the reading goroutine; it may not block
	parts atomic.Uint64                          // that came
	size  uint64                                 // of them, octets

	handling sync.Mutex // held while reply runs; guards gone
	gone     bool       // nobody waits any more

	err  error
	done chan struct{}
}

// bundled is a bundle under way: the xid of modification i is first + i.
type bundled struct {
	first, count uint32
	failed       bool
	index        uint32 // of the first that failed
	err          *SwitchError
}

// Accept introduces us to the switch at the other end of nc, and is told its features. It closes nc if it returns an error, which is an
// *EndError. It does not matter who dialled; a *tls.Conn makes its handshake now.
func Accept(ctx context.Context, nc net.Conn, cfg Config) (*Conn, error) {
	return accept(ctx, nc, cfg, newMetrics(nil))
}

func accept(ctx context.Context, nc net.Conn, cfg Config, count *metrics) (*Conn, error) {
	c := &Conn{
		Since: time.Now(), Addr: remote(nc), nc: nc, limits: cfg.Limits, count: count,
		chunks: make(chan []byte, 2), spare: make(chan []byte, 3), echoes: make(chan []byte, maxEchoes),
		slots: make(chan struct{}, maxOutstanding), apply: make(chan struct{}, 1), events: make(chan Event, maxEvents),
		calls: map[uint32]*call{}, done: make(chan struct{}),
	}
	if err := c.introduce(ctx, cfg.Want); err != nil {
		count.end(reasonOf(err))
		nc.Close()
		return nil, err
	}
	c.in = bufio.NewReaderSize(c.in, maxMessage+1)
	c.running.Go(c.read)
	c.running.Go(c.write)
	return c, nil
}

// introduce exchanges greetings and features, in the time that there is for it.
func (c *Conn) introduce(ctx context.Context, want Want) error {
	ctx, cancel := context.WithTimeout(ctx, c.limits.HandshakeTimeout)
	defer cancel()
	if t, ok := c.nc.(*tls.Conn); ok {
		if err := t.HandshakeContext(ctx); err != nil {
			return ended(ReasonTLS, "TLS with %s: %w", c.nc.RemoteAddr(), err)
		}
		c.Chain = t.ConnectionState().PeerCertificates
	}
	defer context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })()
	if err := c.greet(want); err != nil {
		var timeout net.Error
		if ctx.Err() != nil && errors.As(err, &timeout) && timeout.Timeout() {
			return ended(ReasonSlow, "introduction of %s: %w", c.nc.RemoteAddr(), context.Cause(ctx))
		}
		return &EndError{reasonOf(err), fmt.Errorf("introduction of %s: %w", c.nc.RemoteAddr(), err)}
	}
	return nil
}

func (c *Conn) greet(want Want) error {
	c.in = bufio.NewReaderSize(c.nc, maxGreeting)
	if err := c.send(appendHello(nil, c.nextXID())); err != nil {
		return err
	}
	m, version, err := c.next(maxGreeting)
	if err != nil {
		return err
	}
	if m.kind != typeHello {
		return malformed("the first message is of type %d, want a hello", m.kind)
	}
	ours, err := helloVersions(version, m.body)
	if err != nil {
		return err
	}
	if !ours {
		e := finish(append16(appendHeader(nil, typeError, m.xid), 0, 0), 0) // hello failed: incompatible
		_ = c.send(e)                                                       // it is the last word
		return ended(ReasonVersion, "the switch does not speak OpenFlow 1.3: protocols of its bridge must be empty, or have OpenFlow13 among them")
	}
	asked := c.nextXID()
	if err := c.send(appendRequest(nil, typeFeaturesRequest, asked)); err != nil {
		return err
	}
	for {
		m, version, err := c.next(maxGreeting)
		if err != nil {
			return err
		}
		switch {
		case m.kind == typeError:
			e, err := decodeError(m.body)
			if err != nil {
				return err
			}
			r := ReasonRefused
			if e.Type == 0 {
				r = ReasonVersion
			}
			return &EndError{r, e}
		case version != Version:
			return malformed("message of version %d, want %d", version, Version)
		case m.kind == typeEchoRequest:
			if err := c.send(appendRequest(nil, typeEchoReply, m.xid, m.body...)); err != nil {
				return err
			}
		case m.kind == typeFeaturesReply && m.xid == asked:
			if c.Features, err = decodeFeatures(m.body); err != nil {
				return err
			}
			if c.Features.auxiliary != 0 {
				return malformed("auxiliary connection %d, which nobody asked for", c.Features.auxiliary)
			}
			return c.send(appendSetAsync(nil, c.nextXID(), want))
		}
	}
}

// send writes before there are goroutines for it.
func (c *Conn) send(b []byte) error {
	if _, err := c.nc.Write(b); err != nil {
		return c.wireError(err)
	}
	return nil
}

// wireError says why reading or writing ended.
func (c *Conn) wireError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &EndError{ReasonSlow, err}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the switch closed the connection")
	}
	return &EndError{ReasonClosed, err}
}

// next reads a message of up to limit octets, which fit into c.in.
func (c *Conn) next(limit int) (m message, version uint8, err error) {
	head, err := c.in.Peek(headerLen)
	if err != nil {
		return m, 0, c.wireError(err)
	}
	n := int(get16(head[2:]))
	if version = head[0]; version == 0 || version > 0x10 {
		return m, version, malformed("message of version %d: %s", version, hexText(head))
	}
	if n < headerLen || n > limit {
		return m, version, malformed("message of %d octets, want %d to %d", n, headerLen, limit)
	}
	whole, err := c.in.Peek(n)
	if err != nil {
		return m, version, c.wireError(err)
	}
	m = message{kind: whole[1], xid: get32(whole[4:]), body: whole[headerLen:]}
	_, _ = c.in.Discard(n) // it is there; what Peek gave stays until the next read
	return m, version, nil
}

func (c *Conn) nextXID() uint32 { return c.xid.Add(1) }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended; nil if it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return c.err
}

// Close ends the connection and waits until nothing is made of what came. It may be called more than once, but not by a callback.
func (c *Conn) Close() {
	c.end(ended(ReasonOurs, "closed by Weir"))
	c.running.Wait()
}

// Events are what the switch said unasked, a bounded number of them; Dropped counts those that did not fit. It is closed when the
// connection has ended.
func (c *Conn) Events() <-chan Event { return c.events }

// Dropped returns how many events nobody took in time.
func (c *Conn) Dropped() uint64 { return c.dropped.Load() }

// end ends the connection. The first reason stays.
func (c *Conn) end(reason *EndError) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = reason
		close(c.done)
	}
	c.mu.Unlock()
	if first {
		c.count.end(reason.Reason)
		c.nc.Close() // with TLS it may have to wait until the last word is taken
	}
}

// write writes until the connection ends.
func (c *Conn) write() {
	for {
		var b []byte
		select {
		case <-c.done:
			return
		case b = <-c.echoes:
		default:
			select {
			case <-c.done:
				return
			case b = <-c.echoes:
			case b = <-c.chunks:
			}
		}
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.limits.WriteTimeout))
		if _, err := c.nc.Write(b); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.end(ended(ReasonStuck, "the switch took nothing for %s", c.limits.WriteTimeout))
			} else {
				c.end(&EndError{ReasonClosed, err})
			}
			return
		}
		if cap(b) >= writeChunk {
			select {
			case c.spare <- b[:0]:
			default:
			}
		}
	}
}

// chunk returns an empty chunk to be filled and given to put.
func (c *Conn) chunk() []byte {
	select {
	case b := <-c.spare:
		return b
	default:
		return make([]byte, 0, writeChunk+maxMessage+1)
	}
}

// put hands whole messages to the writer.
func (c *Conn) put(ctx context.Context, b []byte) error {
	select {
	case c.chunks <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.Err()
	}
}

// read reads until the connection ends, and tells those who wait.
func (c *Conn) read() {
	defer close(c.events)
	var err error
	for err == nil {
		err = c.step()
	}
	reason, ok := errors.AsType[*EndError](err)
	if !ok {
		reason = &EndError{ReasonMalformed, err}
	}
	c.end(reason)
	c.mu.Lock()
	calls := c.calls
	c.calls = nil
	final := c.err
	c.mu.Unlock()
	for _, k := range calls {
		k.finish(final)
	}
}

// step waits for a message and does what it says.
func (c *Conn) step() error {
	probed := false
	for c.in.Buffered() == 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.limits.Probe))
		_, err := c.in.Peek(1)
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout() && !probed:
			probed = true
			if err := c.echo(appendRequest(nil, typeEchoRequest, c.nextXID())); err != nil {
				return err
			}
		case errors.As(err, &timeout) && timeout.Timeout():
			return ended(ReasonSilent, "nothing came from the switch for %s", 2*c.limits.Probe)
		default:
			return c.wireError(err)
		}
	}
	if !c.whole() {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.limits.MessageTimeout))
	}
	m, version, err := c.next(maxMessage)
	if err != nil {
		return err
	}
	if version != Version {
		return malformed("message of version %d, want %d", version, Version)
	}
	switch m.kind {
	case typeEchoRequest:
		return c.echo(appendRequest(nil, typeEchoReply, m.xid, m.body...))
	case typeEchoReply:
		return nil
	case typePortStatus, typeFlowRemoved, typePacketIn:
		e, err := c.dec.decodeEvent(m.kind, m.body)
		if err != nil {
			return err
		}
		select {
		case c.events <- e:
		default:
			c.dropped.Add(1)
			c.count.dropped.Inc()
		}
		return nil
	case typeError:
		return c.failed(m)
	default:
		return c.answer(m)
	}
}

// whole says whether a message is in the buffer, all of it.
func (c *Conn) whole() bool {
	n := c.in.Buffered()
	if n < headerLen {
		return false
	}
	head, err := c.in.Peek(headerLen)
	return err == nil && n >= int(get16(head[2:]))
}

// echo hands a short message to the writer, before what waits there.
func (c *Conn) echo(b []byte) error {
	select {
	case c.echoes <- b:
		return nil
	default:
		return ended(ReasonTooMuch, "%d answers to echoes wait for the switch to take them", maxEchoes)
	}
}

// failed gives an error to who asked.
func (c *Conn) failed(m message) error {
	e, err := decodeError(m.body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	k := c.calls[m.xid]
	delete(c.calls, m.xid)
	if b := c.bundled; b != nil && m.xid-b.first < b.count && !b.failed {
		b.failed, b.index, b.err = true, m.xid-b.first, e
	}
	c.mu.Unlock()
	if k == nil {
		c.count.errors.Inc()
		return nil
	}
	k.finish(e)
	return nil
}

// answer gives an answer to who asked.
func (c *Conn) answer(m message) error {
	c.mu.Lock()
	k := c.calls[m.xid]
	c.mu.Unlock()
	if k == nil { // nobody waits any more, or nobody asked
		c.count.unasked.Inc()
		return nil
	}
	k.parts.Add(1)
	if k.size += uint64(len(m.body)); k.size > uint64(c.limits.MaxAnswer) {
		return ended(ReasonTooMuch, "an answer is longer than %s", c.limits.MaxAnswer)
	}
	over, err := k.handle(m)
	if err != nil {
		return err
	}
	if over {
		c.forget(k)
		k.finish(nil)
	}
	return nil
}

func (k *call) handle(m message) (over bool, err error) {
	k.handling.Lock()
	defer k.handling.Unlock()
	if k.gone {
		return true, nil
	}
	return k.reply(m)
}

// finish says that the answer is complete. Only who took the call off c.calls may call it, or its reader.
func (k *call) finish(err error) {
	k.err = err
	close(k.done)
}

func (c *Conn) forget(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, k.xid)
}

// ask registers a question with a new xid. Whoever asks must call wait.
func (c *Conn) ask(ctx context.Context, reply func(message) (bool, error)) (*call, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
	k := &call{xid: c.nextXID(), reply: reply, done: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil || c.err != nil {
		<-c.slots
		return nil, c.err
	}
	c.calls[k.xid] = k
	return k, nil
}

// errNoAnswer says that a switch did not answer in time.
var errNoAnswer = errors.New("the switch did not answer in time")

// wait waits for the answer, as long as parts of it come in time.
func (c *Conn) wait(ctx context.Context, k *call) error {
	defer func() { <-c.slots }()
	timer := time.NewTimer(c.limits.AnswerTimeout)
	defer timer.Stop()
	seen := uint64(0)
	for {
		var err error
		select {
		case <-k.done:
			return k.err
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			if n := k.parts.Load(); n != seen {
				seen = n
				timer.Reset(c.limits.AnswerTimeout)
				continue
			}
			err = fmt.Errorf("%w: %s", errNoAnswer, c.limits.AnswerTimeout)
		}
		c.forget(k)
		k.handling.Lock() // the callback does not run any more when we return
		k.gone = true
		k.handling.Unlock()
		return err
	}
}

// question sends one message and waits for its answer.
func (c *Conn) question(ctx context.Context, encode func(b []byte, xid uint32) []byte, reply func(message) (bool, error)) error {
	k, err := c.ask(ctx, reply)
	if err != nil {
		return err
	}
	if err := c.put(ctx, encode(nil, k.xid)); err != nil {
		c.forget(k)
		<-c.slots
		return err
	}
	return c.wait(ctx, k)
}

// Barrier returns when the switch has done all that it was asked for before.
func (c *Conn) Barrier(ctx context.Context) error {
	err := c.question(ctx, func(b []byte, xid uint32) []byte { return appendRequest(b, typeBarrierRequest, xid) }, isBarrier)
	if err != nil {
		return fmt.Errorf("await barrier: %w", err)
	}
	return nil
}

func isBarrier(m message) (bool, error) {
	if m.kind != typeBarrierReply {
		return false, malformed("answer of type %d to a barrier", m.kind)
	}
	return true, nil
}

// multipart asks a question whose answer has parts, and gives the body of each to part.
func (c *Conn) multipart(ctx context.Context, kind uint16, encode func(b []byte, xid uint32) []byte, part func([]byte) error) error {
	return c.question(ctx, encode, func(m message) (bool, error) {
		if m.kind != typeMultipart || len(m.body) < 8 || get16(m.body) != kind {
			return false, malformed("answer of type %d to a question of multipart type %d", m.kind, kind)
		}
		if err := part(m.body[8:]); err != nil {
			return false, err
		}
		return get16(m.body[2:])&multipartMore == 0, nil
	})
}

// Flows calls each for every flow that the filter selects, as they come: it may not block, nor use the connection. A flow changed while
// this runs may be told in its old or its new form. If an error is returned, flows may be missing.
func (c *Conn) Flows(ctx context.Context, filter Filter, each func(FlowStats)) error {
	err := c.multipart(ctx, multipartFlow,
		func(b []byte, xid uint32) []byte { return appendFlowsRequest(b, xid, filter) },
		func(b []byte) error {
			for len(b) > 0 {
				s, n, err := c.dec.flowStats(b)
				if err != nil {
					return err
				}
				each(s)
				b = b[n:]
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("read flows: %w", err)
	}
	return nil
}

// Groups returns the groups that are there.
func (c *Conn) Groups(ctx context.Context) (list []Group, err error) {
	err = c.multipart(ctx, multipartGroupDesc,
		func(b []byte, xid uint32) []byte { return appendMultipart(b, xid, multipartGroupDesc) },
		func(b []byte) error {
			for len(b) > 0 {
				g, n, err := groupDesc(b)
				if err != nil {
					return err
				}
				list = append(list, g)
				b = b[n:]
			}
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("read groups: %w", err)
	}
	return list, nil
}

// Meters returns the meters that are there.
func (c *Conn) Meters(ctx context.Context) (list []MeterSpec, err error) {
	err = c.multipart(ctx, multipartMeterConfig,
		func(b []byte, xid uint32) []byte {
			at := len(b)
			return finish(append32(appendMultipart(b, xid, multipartMeterConfig), allMeters, 0), at)
		},
		func(b []byte) error {
			for len(b) > 0 {
				m, n, err := meterConfig(b)
				if err != nil {
					return err
				}
				list = append(list, m)
				b = b[n:]
			}
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("read meters: %w", err)
	}
	return list, nil
}

// MaxMeter returns the highest id that a meter of kilobits a second may have; 0: the bridge's datapath has no meters.
func (c *Conn) MaxMeter(ctx context.Context) (most uint32, err error) {
	err = c.multipart(ctx, multipartMeterFeatures,
		func(b []byte, xid uint32) []byte { return appendMultipart(b, xid, multipartMeterFeatures) },
		func(b []byte) (err error) {
			most, err = meterFeatures(b)
			return err
		})
	if err != nil {
		return 0, fmt.Errorf("read features of meters: %w", err)
	}
	return most, nil
}

// Ports returns the ports of the bridge.
func (c *Conn) Ports(ctx context.Context) (list []PortDesc, err error) {
	err = c.multipart(ctx, multipartPortDesc,
		func(b []byte, xid uint32) []byte { return appendMultipart(b, xid, multipartPortDesc) },
		func(b []byte) error {
			if len(b)%portDescLen != 0 {
				return malformed("ports in %d octets, want a multiple of %d", len(b), portDescLen)
			}
			for ; len(b) > 0; b = b[portDescLen:] {
				list = append(list, portDesc(b))
			}
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("read ports: %w", err)
	}
	return list, nil
}

// tell sends a message that has no answer, and a barrier: it returns when the switch has done it, or refused.
func (c *Conn) tell(ctx context.Context, encode func(b []byte, xid uint32) []byte) error {
	told, err := c.ask(ctx, func(m message) (bool, error) {
		return false, malformed("answer of type %d where there is none", m.kind)
	})
	if err != nil {
		return err
	}
	if err = c.put(ctx, encode(nil, told.xid)); err == nil {
		err = c.Barrier(ctx)
	}
	select {
	case <-told.done: // before the barrier's answer came
		err = told.err
	default:
		c.forget(told)
	}
	<-c.slots
	return err
}

// AddMeter adds a meter, or changes the one that is there if modify says so.
func (c *Conn) AddMeter(ctx context.Context, m MeterSpec, modify bool) error {
	command := uint16(meterAdd)
	if modify {
		command = meterModify
	}
	if err := c.tell(ctx, func(b []byte, xid uint32) []byte { return appendMeterMod(b, xid, command, m) }); err != nil {
		return fmt.Errorf("set meter %d: %w", m.ID, err)
	}
	return nil
}

// DeleteMeter deletes a meter, and all flows that use it.
func (c *Conn) DeleteMeter(ctx context.Context, id uint32) error {
	if err := c.tell(ctx, func(b []byte, xid uint32) []byte { return appendMeterMod(b, xid, meterDelete, MeterSpec{ID: id}) }); err != nil {
		return fmt.Errorf("delete meter %d: %w", id, err)
	}
	return nil
}

// PacketOut has the switch do actions with a packet as if it had come in by a port. It returns when that is done.
func (c *Conn) PacketOut(ctx context.Context, in Port, packet []byte, actions ...Action) error {
	const room = maxMessage - 1<<10
	if n := len(packet) + len(appendActions(nil, actions)); n > room {
		return fmt.Errorf("send packet: packet and actions have %d octets, want up to %d", n, room)
	}
	if err := c.tell(ctx, func(b []byte, xid uint32) []byte { return appendPacketOut(b, xid, in, actions, packet) }); err != nil {
		return fmt.Errorf("send packet: %w", err)
	}
	return nil
}
