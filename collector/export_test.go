package collector

import (
	"net/netip"

	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/flow"
)

// Step reads and decodes once on the collector's first socket, as its worker's loop does, and returns the number of
// datagrams. Run must not be called.
func (c *Collector) Step() (int, error) {
	w := c.workers[0]
	if w.reader == nil {
		w.reader = udp.NewReader(w.conn, readBatch, udp.MaxDatagram)
	}
	ds, err := w.reader.Read()
	if err != nil {
		return 0, err
	}
	w.take(ds)
	return len(ds), nil
}

// Flush hands over the open batch of the first socket.
func (c *Collector) Flush() { c.workers[0].flush() }

// BreakDecoder makes the decoders panic on payloads that are equal to fatal, after they appended a row.
func (c *Collector) BreakDecoder(fatal string) {
	for _, w := range c.workers {
		decode := w.decode
		w.decode = func(b []byte, exporter netip.Addr, receivedMs int64, out *flow.Batch) error {
			if string(b) == fatal {
				out.Grow(1)
				panic("broken by a test")
			}
			return decode(b, exporter, receivedMs, out)
		}
	}
}
