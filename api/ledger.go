package api

import (
	"errors"
	"fmt"
)

// Ledger is the way from socket to store in figures that add up:
//
//	Datagrams        = Decoded + Faulty
//	Flows + Replayed = Stored + OnTheWay + Lost
type Ledger struct {
	KernelDrops uint64 `json:"kernel_drops"` // datagrams that did not become Datagrams
	Datagrams   uint64 `json:"datagrams"`
	Decoded     uint64 `json:"decoded"`
	Faulty      uint64 `json:"faulty"` // by reason in collector.dropped; of some, flows were decoded

	Flows    uint64 `json:"flows"`    // decoded
	Replayed uint64 `json:"replayed"` // found in the write-ahead log at the start
	Logged   uint64 `json:"logged"`   // of Flows, those that the write-ahead log took
	Stored   uint64 `json:"stored"`
	OnTheWay uint64 `json:"on_the_way"`
	Lost     uint64 `json:"lost"` // by reason in writer.Dropped

	Problem string `json:"problem,omitempty"` // which figures do not add up: a bug
}

// balance fills s.Ledger. The figures of the writer must have been taken before those of the collector.
func (s *Status) balance() {
	c, w := &s.Collector, &s.Writer
	l := Ledger{
		KernelDrops: c.KernelDrops, Datagrams: c.Datagrams, Decoded: c.Decoded,
		Flows: c.Flows, Replayed: w.Replayed.Rows, Logged: w.Logged.Rows, Stored: w.Stored.Rows, OnTheWay: s.OnTheWay(),
	}
	for _, n := range c.Dropped {
		l.Faulty += n
	}
	for _, n := range w.Dropped {
		l.Lost += n.Rows
	}
	errs := []error{c.Check(), w.Check()}
	if in, out := l.Flows+l.Replayed, l.Stored+l.OnTheWay+l.Lost; in != out {
		errs = append(errs, fmt.Errorf("%d flows came in, %d are stored, on the way or lost", in, out))
	}
	if w.In.Rows > c.Sealed {
		errs = append(errs, fmt.Errorf("the writer got %d flows, %d were sealed", w.In.Rows, c.Sealed))
	}
	for i := range s.Exporters {
		errs = append(errs, s.Exporters[i].Check())
	}
	if err := errors.Join(errs...); err != nil {
		l.Problem = err.Error()
	}
	s.Ledger = l
}

// Lines writes the ledger for a person: what it is about, and the equation.
func (l *Ledger) Lines() [][2]string {
	datagrams := fmt.Sprintf("%d = %d decoded + %d faulty; the kernel dropped %d more", l.Datagrams, l.Decoded, l.Faulty, l.KernelDrops)
	flows := fmt.Sprintf("%d decoded + %d replayed = %d stored + %d on the way + %d lost; %d were logged",
		l.Flows, l.Replayed, l.Stored, l.OnTheWay, l.Lost, l.Logged)
	return [][2]string{{"datagrams", datagrams}, {"flows", flows}}
}
