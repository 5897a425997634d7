package template

import (
	"reflect"
	"sync/atomic"
)

// Counters count what one observation domain sent, since it was first heard of. All are safe for concurrent use.
//
// They balance: every data record of a known template is one of Flows, NoFlow or OptionRecords; every data set
// without a template was counted in Held or in Dropped; and Held = Replayed + held now + Expired.
type Counters struct {
	Datagrams     atomic.Uint64 // datagrams, or messages where a datagram has several
	Bytes         atomic.Uint64 // octets of those
	Flows         atomic.Uint64 // rows made
	NoFlow        atomic.Uint64 // data records that are no flow: no address, MAC or counter in the template
	OptionRecords atomic.Uint64
	Templates     atomic.Uint64 // template records, refreshes included
	Changes       atomic.Uint64 // template records that were new or different
	Withdrawals   atomic.Uint64
	Stale         atomic.Uint64 // restored templates that did not fit the data, and were forgotten
	Held          atomic.Uint64 // data sets that were held because their template was unknown
	Replayed      atomic.Uint64 // held data sets whose template came
	Expired       atomic.Uint64 // held data sets whose template did not come in time; they are in Dropped too
	Assumed       atomic.Uint64 // rows whose sampling rate the exporter did not say
	Scaled        atomic.Uint64 // rows that the exporter multiplied by its sampling rate itself
	AbsurdRates   atomic.Uint64 // sampling rates of more than MaxRate, in records and options, which are not believed
	Clamped       atomic.Uint64 // rows whose times could not be true and were changed
	Reverse       atomic.Uint64 // rows of biflows, whose reverse direction is not stored
	Dropped       [reasons]atomic.Uint64
}

// Counts are Counters read at one moment.
type Counts struct {
	Datagrams     uint64            `json:"datagrams"`
	Bytes         uint64            `json:"bytes"`
	Flows         uint64            `json:"flows"`
	NoFlow        uint64            `json:"no_flow"`
	OptionRecords uint64            `json:"option_records"`
	Templates     uint64            `json:"templates"`
	Changes       uint64            `json:"template_changes"`
	Withdrawals   uint64            `json:"withdrawals"`
	Stale         uint64            `json:"stale_templates"`
	Held          uint64            `json:"held_sets"`
	Replayed      uint64            `json:"replayed_sets"`
	Expired       uint64            `json:"expired_sets"`
	Assumed       uint64            `json:"sampling_assumed"`
	Scaled        uint64            `json:"scaled_by_exporter"`
	AbsurdRates   uint64            `json:"absurd_sampling_rates"`
	Clamped       uint64            `json:"times_clamped"`
	Reverse       uint64            `json:"reverse_not_stored"`
	Dropped       map[string]uint64 `json:"dropped,omitempty"` // by Reason; datagrams, sets or template records
}

// Read returns the counters as they are now.
func (c *Counters) Read() Counts {
	r := Counts{
		Datagrams:     c.Datagrams.Load(),
		Bytes:         c.Bytes.Load(),
		Flows:         c.Flows.Load(),
		NoFlow:        c.NoFlow.Load(),
		OptionRecords: c.OptionRecords.Load(),
		Templates:     c.Templates.Load(),
		Changes:       c.Changes.Load(),
		Withdrawals:   c.Withdrawals.Load(),
		Stale:         c.Stale.Load(),
		Held:          c.Held.Load(),
		Replayed:      c.Replayed.Load(),
		Expired:       c.Expired.Load(),
		Assumed:       c.Assumed.Load(),
		Scaled:        c.Scaled.Load(),
		AbsurdRates:   c.AbsurdRates.Load(),
		Clamped:       c.Clamped.Load(),
		Reverse:       c.Reverse.Load(),
	}
	r.Dropped = readDrops(&c.Dropped)
	return r
}

// add adds what b counted.
func (a *Counts) add(b *Counts) {
	a.Datagrams += b.Datagrams
	a.Bytes += b.Bytes
	a.Flows += b.Flows
	a.NoFlow += b.NoFlow
	a.OptionRecords += b.OptionRecords
	a.Templates += b.Templates
	a.Changes += b.Changes
	a.Withdrawals += b.Withdrawals
	a.Held += b.Held
	a.Replayed += b.Replayed
	a.Expired += b.Expired
	a.Assumed += b.Assumed
	a.Scaled += b.Scaled
	a.AbsurdRates += b.AbsurdRates
	a.Clamped += b.Clamped
	a.Reverse += b.Reverse
	for reason, n := range b.Dropped {
		if a.Dropped == nil {
			a.Dropped = map[string]uint64{}
		}
		a.Dropped[reason] += n
	}
}

// Sub takes away what b, which was counted before, has, and reports whether anything is left.
func (a *Counts) Sub(b *Counts) bool {
	a.Datagrams -= b.Datagrams
	a.Bytes -= b.Bytes
	a.Flows -= b.Flows
	a.NoFlow -= b.NoFlow
	a.OptionRecords -= b.OptionRecords
	a.Templates -= b.Templates
	a.Changes -= b.Changes
	a.Withdrawals -= b.Withdrawals
	a.Held -= b.Held
	a.Replayed -= b.Replayed
	a.Expired -= b.Expired
	a.Assumed -= b.Assumed
	a.Scaled -= b.Scaled
	a.AbsurdRates -= b.AbsurdRates
	a.Clamped -= b.Clamped
	a.Reverse -= b.Reverse
	dropped := map[string]uint64{}
	for reason, n := range a.Dropped {
		if n -= b.Dropped[reason]; n > 0 {
			dropped[reason] = n
		}
	}
	a.Dropped = nil
	left := !reflect.ValueOf(*a).IsZero()
	a.Dropped = dropped
	return left || len(dropped) > 0
}

func readDrops(drops *[reasons]atomic.Uint64) map[string]uint64 {
	var m map[string]uint64
	for i := range drops {
		if n := drops[i].Load(); n > 0 {
			if m == nil {
				m = map[string]uint64{}
			}
			m[Reason(i).String()] = n
		}
	}
	return m
}
