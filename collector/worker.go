package collector

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/flow"
)

// readBatch is how many datagrams one read takes: measured, 64 is the fastest where a queue exists.
const readBatch = 64

// worker receives from one socket. Everything but counts and its mutex belongs to its goroutine.
type worker struct {
	c       *Collector
	log     *slog.Logger
	conn    *udp.Conn
	reader  *udp.Reader
	decoder *netflow.Decoder
	decode  func(b []byte, exporter netip.Addr, receivedMs int64, out *flow.Batch) error // that of decoder

	batch    *flow.Batch         // nil until a datagram needs one
	shares   map[*flow.Tally]int // rows of batch
	messages []loss.Message      // taken, and not yet in the ledger
	now      time.Time           // of the last read
	due      time.Time           // when the batch and seen are to be handed over, however small; zero while there is nothing
	last     netip.Addr          // the exporter whose datagram was taken last, known to be allowed and in seen
	seen     map[netip.Addr]struct{}

	refusals, faults throttle

	n      counts
	mu     sync.Mutex // guards counts
	counts counts     // n as of the last batch of datagrams, for Stats
}

// counts are a worker's share of Stats. It is copied as a whole, so that what is read balances.
type counts struct {
	datagrams, bytes  uint64
	decoded           uint64
	refused, panicked uint64
	faulty            [maxReasons]uint64 // by template.Reason
	flows             uint64
	sealed, batches   uint64
	assumed           uint64 // of sealed, rows whose sampling rate is assumed
	sealing           time.Duration
}

// maxReasons bounds template.Reason, of which there are about a dozen.
const maxReasons = 32

func newWorker(c *Collector, conn *udp.Conn) *worker {
	w := &worker{
		c:        c,
		log:      c.log.With("addr", conn.LocalAddr()),
		conn:     conn,
		shares:   map[*flow.Tally]int{},
		messages: make([]loss.Message, 0, maxMessages),
		seen:     map[netip.Addr]struct{}{},
	}
	w.newDecoder()
	return w
}

func (w *worker) newDecoder() {
	w.decoder = w.c.newDecoder()
	w.decode = w.decoder.Decode
}

func (w *worker) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, w.conn.Close()) }()
	w.reader = udp.NewReader(w.conn, readBatch, udp.MaxDatagram)
	for {
		ds, err := w.reader.Read()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			w.flush()
			return fmt.Errorf("receive flows: %w", err)
		}
		w.now = time.Now()
		sealed := w.take(ds)
		switch {
		case ctx.Err() != nil:
			return w.drain()
		case sealed && !w.isOpen():
			w.setDue(ctx, time.Time{})
		case w.isOpen() && (sealed || w.due.IsZero()):
			w.setDue(ctx, w.now.Add(w.c.cfg.FlushInterval))
		case !w.due.IsZero() && !w.now.Before(w.due):
			w.flush()
			w.setDue(ctx, time.Time{})
		}
	}
}

// isOpen reports whether there is something to hand over.
func (w *worker) isOpen() bool { return len(w.seen) > 0 || w.rows() > 0 }

func (w *worker) rows() int {
	if w.batch == nil {
		return 0
	}
	return w.batch.Len()
}

func (w *worker) setDue(ctx context.Context, due time.Time) {
	w.due = due
	_ = w.conn.SetReadDeadline(due) // fails only on a closed socket, which the next read reports
	if ctx.Err() != nil {           // interrupt may have come before
		w.interrupt()
	}
}

// interrupt makes the worker's reads fail. It may be called from any goroutine, once ctx is done.
func (w *worker) interrupt() {
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed socket, whose reads fail
}

// drain takes the datagrams that the kernel has taken in until now, which are no more than the receive buffer holds, and seals what is open.
func (w *worker) drain() error {
	const (
		limit = 10 * time.Second // of reading, on a machine that is busy with something else; tenths of one are usual
		least = 512              // octets of kernel memory that a datagram holds, with its bookkeeping
	)
	stop := time.Now()
	w.now = stop
	// When a datagram was received does not tell what came before: the kernel may begin to note that a moment after it was asked to.
	most := w.conn.Stats().QueueBytes/least + 1
	for read := uint64(0); read < most && time.Since(stop) < limit; {
		ds, err := w.reader.TryRead()
		if err != nil {
			w.flush()
			return fmt.Errorf("receive flows: %w", err)
		}
		w.take(ds)
		if len(ds) == 0 {
			break
		}
		read += uint64(len(ds))
	}
	w.flush()
	return nil
}

// take decodes ds and hands over each batch that becomes full; it reports whether one did.
func (w *worker) take(ds []udp.Datagram) (sealed bool) {
	for len(ds) > 0 {
		if w.batch == nil {
			w.batch = w.c.deps.Get()
		}
		ds = ds[w.decodeAll(ds):]
		if w.batch.Len() >= w.c.cfg.BatchRows {
			w.flush()
			sealed = true
		}
	}
	w.book()
	w.publish()
	return sealed
}

// decodeAll decodes datagrams until the batch is full or ds ends, and returns how many it took. It also ends after one
// on which the decoder panicked. No datagram is known that does that; if there is one, it must not be able to stop the
// collector.
func (w *worker) decodeAll(ds []udp.Datagram) (done int) {
	before := 0 // rows in the batch before the datagram
	defer func() {
		if r := recover(); r != nil {
			w.recovered(r, &ds[done-1], before)
		}
	}()
	for done < len(ds) && w.batch.Len() < w.c.cfg.BatchRows {
		d := &ds[done]
		done++
		w.n.datagrams++
		w.n.bytes += uint64(len(d.Payload))
		from := d.From.Addr()
		if from != w.last && w.c.allow != nil && !w.c.allow.Contains(from) {
			w.refuse(d.From)
			continue
		}
		before = w.batch.Len()
		err := w.decode(d.Payload, from, d.Received/int64(time.Millisecond), w.batch)
		w.n.flows += uint64(w.batch.Len() - before)
		w.enter(d.From.Port())
		if err != nil {
			w.fault(from, err)
		} else {
			w.n.decoded++
			w.note(from)
		}
	}
	return done
}

// maxMessages is how many messages go into the ledger at a time, under one lock.
const maxMessages = 4 * readBatch

// enter takes the books' part of the datagram that was decoded last.
func (w *worker) enter(port uint16) {
	for _, e := range w.decoder.Entries() {
		if e.Rows > 0 {
			w.shares[&e.Domain.Tally] += e.Rows
		}
		if len(w.messages) == maxMessages {
			w.book()
		}
		e.Port = port
		w.messages = append(w.messages, e.Message)
	}
}

// book brings the messages into the ledger.
func (w *worker) book() {
	if len(w.messages) > 0 {
		w.c.deps.Templates.Ledger().Observe(w.messages)
		w.messages = w.messages[:0]
	}
}

// note remembers that the exporter sent something good.
func (w *worker) note(from netip.Addr) {
	if from != w.last {
		w.seen[from] = struct{}{}
		w.last = from
	}
}

func (w *worker) refuse(from netip.AddrPort) {
	w.n.refused++
	if n := w.refusals.pass(w.now); n > 0 {
		w.log.Warn("datagrams from a source that is not allowed are dropped", "source", from, "datagrams", n)
	}
}

// fault counts a datagram of which not everything could be decoded.
func (w *worker) fault(from netip.Addr, err error) {
	e, ok := errors.AsType[*netflow.Error](err)
	if !ok {
		panic(fmt.Sprintf("BUG: the decoder returned %T: %v", err, err))
	}
	w.n.faulty[e.Reason]++
	switch e.Reason {
	case template.Truncated, template.UnknownVersion, template.BadLength, template.TooManyExporters,
		template.TooManyDomains, template.OutOfMemory:
		// Anyone may send these, from any number of addresses.
	default:
		w.note(from) // an exporter that the store knows
	}
	if n := w.faults.pass(w.now); n > 0 {
		w.log.Warn("datagrams that cannot be decoded in full", "exporter", from, "datagrams", n, "err", err)
	}
}

// recovered counts and reports the datagram on which the decoder panicked, and takes its rows back.
func (w *worker) recovered(r any, d *udp.Datagram, rows int) {
	w.n.panicked++
	w.batch.Truncate(rows)
	w.newDecoder()
	const shown = 256 // octets of the datagram: enough for its header and first set
	w.log.Error("BUG: the decoder panicked on a datagram, which is dropped; please report this",
		"exporter", d.From, "panic", r, "datagram", hex.EncodeToString(d.Payload[:min(len(d.Payload), shown)]),
		"bytes", len(d.Payload), "stack", string(debug.Stack()))
}

// flush hands over the open batch, if it has rows, and the exporters that were seen.
func (w *worker) flush() {
	if w.c.deps.Seen != nil && len(w.seen) > 0 {
		for from := range w.seen {
			w.c.deps.Seen(from, w.now.UnixMilli())
		}
	}
	clear(w.seen)
	w.last = netip.Addr{}
	if w.rows() == 0 {
		return
	}
	b := w.batch
	w.batch = nil
	id := w.c.deps.BatchID()
	for i := range b.Len() {
		b.ID[i] = id
	}
	for of, rows := range w.shares {
		of.Sealed.Add(uint64(rows))
		b.Shares = append(b.Shares, flow.Share{Of: of, Rows: rows})
	}
	clear(w.shares)
	w.n.sealed += uint64(b.Len())
	w.n.batches++
	w.publish()
	w.c.deps.Enrich(b)
	w.n.assumed += count(b.SamplingAssumed)
	start := time.Now()
	w.c.deps.Seal(b)
	w.n.sealing += time.Since(start)
	w.publish()
}

func count(set []bool) (n uint64) {
	for _, v := range set {
		if v {
			n++
		}
	}
	return n
}

func (w *worker) publish() {
	w.mu.Lock()
	w.counts = w.n
	w.mu.Unlock()
}

// throttle lets one event a minute be told, with the number of those since the last one.
type throttle struct {
	next   time.Time
	events uint64
}

func (t *throttle) pass(now time.Time) (events uint64) {
	t.events++
	if now.Before(t.next) {
		return 0
	}
	events, t.events, t.next = t.events, 0, now.Add(time.Minute)
	return events
}
