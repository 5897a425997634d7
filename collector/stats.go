package collector

import (
	"net/netip"
	"time"

	"github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/collector/udp"
)

// Reasons for which a datagram is dropped, beside those of template.Reason.
const (
	reasonNotAllowed = "not_allowed" // its source is in no network of Config.Allow
	reasonPanic      = "panic"       // the decoder has a bug
)

// Stats is the ledger of a collector: what came in and what became of it. See the package comment.
type Stats struct {
	Sockets []SocketStats `json:"sockets"`

	Received    uint64 `json:"received_datagrams"` // read from the sockets; Datagrams, and up to 64 a socket in work
	KernelDrops uint64 `json:"kernel_drops"`       // datagrams that the kernel discarded for want of buffer

	Datagrams uint64 `json:"datagrams"` // taken from the sockets
	Bytes     uint64 `json:"bytes"`     // UDP payload of Datagrams
	Decoded   uint64 `json:"decoded"`   // of Datagrams, those without fault
	// Dropped is the rest of Datagrams, by reason: what was wrong first. Of a datagram with a fault, the flows that
	// could be decoded are kept.
	Dropped map[string]uint64 `json:"dropped,omitempty"`

	Flows   uint64 `json:"flows"`            // rows decoded
	Sealed  uint64 `json:"sealed_flows"`     // of Flows, those handed over
	Assumed uint64 `json:"sampling_assumed"` // of Sealed, those whose sampling rate nobody said
	Pending uint64 `json:"pending_flows"`
	Batches uint64 `json:"batches"` // handed over

	State          *state.Stats `json:"state,omitempty"` // nil if nothing is kept over a restart
	StaleTemplates uint64       `json:"stale_templates"` // restored ones that did not fit the first data

	SealWait time.Duration `json:"seal_wait_ns"` // time that workers spent in Deps.Seal: back-pressure
}

// SocketStats are the counters of one socket.
type SocketStats struct {
	Addr  netip.AddrPort `json:"addr"`
	Shard int            `json:"shard"` // number of the socket among those on Addr
	udp.Stats
}

// Stats returns the ledger as it is now. It may be called at any time, also after Run.
func (c *Collector) Stats() Stats {
	var s Stats
	shards := map[netip.AddrPort]int{}
	dropped := map[string]uint64{}
	for _, w := range c.workers {
		w.mu.Lock()
		n := w.counts
		w.mu.Unlock()
		s.Datagrams += n.datagrams
		s.Bytes += n.bytes
		s.Decoded += n.decoded
		s.Flows += n.flows
		s.Sealed += n.sealed
		s.Assumed += n.assumed
		s.Batches += n.batches
		s.SealWait += n.sealing
		dropped[reasonNotAllowed] += n.refused
		dropped[reasonPanic] += n.panicked
		for _, r := range template.Reasons() {
			dropped[r.String()] += n.faulty[r]
		}

		addr := w.conn.LocalAddr()
		socket := SocketStats{Addr: addr, Shard: shards[addr], Stats: w.conn.Stats()}
		shards[addr]++
		s.Sockets = append(s.Sockets, socket)
		s.Received += socket.Datagrams
		s.KernelDrops += socket.KernelDrops
	}
	if c.deps.State != nil {
		state := c.deps.State.Stats()
		s.State = &state
	}
	s.StaleTemplates = c.deps.Templates.Stale()
	s.Pending = s.Flows - s.Sealed
	for reason, n := range dropped {
		if n == 0 {
			delete(dropped, reason)
		}
	}
	s.Dropped = dropped
	return s
}

// Exporter is one observation domain of an exporter.
type Exporter struct {
	template.Info
	Live bool `json:"live"` // a datagram came within three active timeouts
}

// Exporters describes every observation domain that is remembered, sorted by exporter, protocol and domain.
func (c *Collector) Exporters(now time.Time) []Exporter {
	silent := now.Add(-3 * c.cfg.ActiveTimeout).UnixMilli()
	infos := c.deps.Templates.Domains()
	list := make([]Exporter, len(infos))
	for i, info := range infos {
		list[i] = Exporter{Info: info, Live: info.LastSeen >= silent}
	}
	return list
}
