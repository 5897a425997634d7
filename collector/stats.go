package collector

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/collector/netflow"
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
	Records        Records      `json:"records"`         // what the datagrams held

	// Sequence is what sequence numbers say, by protocol: netflow5 counts flows, netflow9 messages, ipfix records.
	Sequence  map[string]loss.Counts `json:"sequence"`
	ClocksOff int                    `json:"clocks_off"` // observation domains whose clock is off by more than times.max_skew

	SealWait time.Duration `json:"seal_wait_ns"` // time that workers spent in Deps.Seal: back-pressure
}

// Records counts what was in the datagrams of all exporters since the start. Held = Replayed + Expired + Waiting.
type Records struct {
	template.Counts
	Waiting int `json:"waiting_sets"`
}

// Check says which of the equations of the package comment does not hold, if any.
func (s *Stats) Check() error {
	var errs []error
	equal := func(what string, got, want uint64) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s: %d, by parts %d", what, got, want))
		}
	}
	sum := s.Decoded
	for _, n := range s.Dropped {
		sum += n
	}
	equal("datagrams", s.Datagrams, sum)
	equal("flows", s.Flows, s.Sealed+s.Pending)
	r := &s.Records
	equal("held sets", r.Held, r.Replayed+r.Expired+uint64(r.Waiting))
	if s.Received < s.Datagrams {
		errs = append(errs, fmt.Errorf("%d datagrams taken of %d received", s.Datagrams, s.Received))
	}
	return errors.Join(errs...)
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
	s.Records.Counts, s.Records.Waiting = c.deps.Templates.Totals()
	totals, off := c.deps.Templates.Ledger().Totals()
	s.ClocksOff = off
	s.Sequence = map[string]loss.Counts{}
	for _, p := range protocols {
		s.Sequence[p.label] = totals[p.version]
	}
	return s
}

// protocols are the keys of Stats.Sequence and what their sequence numbers count.
var protocols = []struct {
	version     uint8
	label, unit string
}{{netflow.Version5, "netflow5", "flows"}, {netflow.Version9, "netflow9", "messages"}, {netflow.VersionIPFIX, "ipfix", "records"}}

// SequenceUnit says what sequence numbers count, of a key of Stats.Sequence, as in "flows of netflow5".
func SequenceUnit(protocol string) string {
	for _, p := range protocols {
		if p.label == protocol {
			return p.unit + " of " + p.label
		}
	}
	return protocol
}

// Exporter is one observation domain of an exporter.
type Exporter struct {
	template.Info
	Live bool `json:"live"` // a datagram came within three active timeouts
}

// Check says which of the equations of an observation domain does not hold, if any.
func (e *Exporter) Check() error {
	var errs []error
	if c := &e.Counts; c.Held != c.Replayed+c.Expired+uint64(e.HeldNow) {
		errs = append(errs, fmt.Errorf("%d held sets: %d replayed, %d expired, %d wait", c.Held, c.Replayed, c.Expired, e.HeldNow))
	}
	if r := &e.Rows; r.Sealed > e.Counts.Flows || r.Logged > r.Sealed || r.Stored > r.Logged || r.Stored+r.Lost+r.Unclear > r.Sealed {
		errs = append(errs, fmt.Errorf("%d flows: %+v: more left than came", e.Counts.Flows, *r))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("exporter %s, protocol %d, domain %d: %w", e.Exporter, e.Protocol, e.Domain, err)
	}
	return nil
}

// LossSummary says in a few words what sequence numbers tell: "0", or as "12 flows (0.3 %), 1 restart".
func (e *Exporter) LossSummary() string {
	s := &e.Loss
	text := "0"
	if s.Lost > 0 {
		text = fmt.Sprintf("%d %s (%.2g %%)", s.Lost, s.Unit, 100*float64(s.Lost)/float64(s.Lost+s.Received))
	}
	if s.Restarts > 0 {
		text += fmt.Sprintf(", %d restarts", s.Restarts)
	}
	return text
}

// ClockSummary says in a few words how far the exporter's clock is off: "+1.2s", or "?" if it was not measured.
func (e *Exporter) ClockSummary() string {
	if !e.Loss.Measured {
		return "?"
	}
	skew := e.Loss.Skew.Round(100 * time.Millisecond)
	if skew.Abs() > time.Hour {
		skew = skew.Round(time.Second)
	}
	if skew >= 0 {
		return "+" + skew.String()
	}
	return skew.String()
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
