package collector

import (
	"net/netip"
	"slices"
)

// Restarts tells which exporters have begun to number their messages anew, by comparing. It is pure and for one goroutine.
type Restarts struct {
	known map[numbering]uint64
}

// numbering is who numbers: a domain of an exporter, in one protocol.
type numbering struct {
	exporter netip.Addr
	protocol uint8
	domain   uint32
}

// NewRestarts returns a Restarts that has seen nothing. What it sees first is no news.
func NewRestarts() *Restarts { return &Restarts{known: map[numbering]uint64{}} }

// Look compares list, which Exporters returned, with the one before, and returns the exporters that number anew since, each once.
func (r *Restarts) Look(list []Exporter) []netip.Addr {
	next := make(map[numbering]uint64, len(list))
	var anew []netip.Addr
	for i := range list {
		e := &list[i]
		key := numbering{e.Exporter, e.Protocol, e.Domain}
		next[key] = e.Loss.Restarts
		if before, known := r.known[key]; known && e.Loss.Restarts > before && !slices.Contains(anew, e.Exporter) {
			anew = append(anew, e.Exporter)
		}
	}
	r.known = next
	return anew
}
