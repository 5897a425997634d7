package template

import (
	"cmp"
	"slices"
)

// MaxRate is the highest sampling rate that is believed. The sparsest sampling that exporters offer is one packet in
// 2^24; a field that says more was not meant as a rate, and would make of one packet more than a link carries.
const MaxRate = 1 << 24

// Sampling is what an observation domain said about its sampling: one packet in Rate is looked at. It is immutable.
type Sampling struct {
	rate       uint32 // of the whole domain; 0 = not said
	uniform    uint32 // the rate of all samplers where they agree; 0 = they do not, or there are none
	samplers   []rateOf
	interfaces []rateOf
}

type rateOf struct {
	id   uint64
	rate uint32
}

// Domain returns the rate of packets whose record names no sampler: that of the whole domain or, if that was not
// said, the one on which all its samplers agree. 0 means not known.
func (s *Sampling) Domain() uint32 {
	if s.rate != 0 {
		return s.rate
	}
	return s.uniform
}

// Sampler returns the rate of a sampler (samplerId) or selector (selectorId); 0 means not known.
func (s *Sampling) Sampler(id uint64) uint32 { return find(s.samplers, id) }

// Interface returns the rate of an interface, by its index; 0 means not known.
func (s *Sampling) Interface(index uint32) uint32 { return find(s.interfaces, uint64(index)) }

// PerInterface reports whether any interface has a rate of its own.
func (s *Sampling) PerInterface() bool { return len(s.interfaces) > 0 }

func find(list []rateOf, id uint64) uint32 {
	i, ok := slices.BinarySearchFunc(list, id, compareID)
	if !ok {
		return 0
	}
	return list[i].rate
}

func compareID(r rateOf, id uint64) int { return cmp.Compare(r.id, id) }

// SamplingScope says to what a sampling rate applies.
type SamplingScope uint8

// The scopes of a sampling rate.
const (
	OfDomain    SamplingScope = iota // everything the observation domain sends
	OfSampler                        // records that carry this samplerId or selectorId
	OfInterface                      // records that came in by this interface
)

const (
	maxRates = 4096 // samplers, and interfaces, of one domain
	rateCost = 16   // octets in memory of the rate of a sampler or an interface
)

// Rate is one sampling rate: one packet in Rate is looked at.
type Rate struct {
	Scope SamplingScope
	ID    uint64 // of a sampler, or index of an interface, by Scope
	Rate  uint32 // 1 to MaxRate
}

// Says reports whether s holds r already.
func (s *Sampling) Says(r Rate) bool {
	switch r.Scope {
	case OfSampler:
		return find(s.samplers, r.ID) == r.Rate
	case OfInterface:
		return find(s.interfaces, r.ID) == r.Rate
	default:
		return s.rate == r.Rate
	}
}

// Rates returns all that s says, the domain's own rate first, then those of samplers and of interfaces, sorted by id.
func (s *Sampling) Rates() []Rate {
	list := make([]Rate, 0, 1+len(s.samplers)+len(s.interfaces))
	if s.rate != 0 {
		list = append(list, Rate{OfDomain, 0, s.rate})
	}
	for _, r := range s.samplers {
		list = append(list, Rate{OfSampler, r.id, r.rate})
	}
	for _, r := range s.interfaces {
		list = append(list, Rate{OfInterface, r.id, r.rate})
	}
	return list
}

// cost is what s is taken to occupy in memory, beside its domain.
func (s *Sampling) cost() int64 { return int64(len(s.samplers)+len(s.interfaces)) * rateCost }

// with returns a copy of s with some rates changed, and how many there was no room for.
func (s *Sampling) with(rates []Rate) (*Sampling, int) {
	next := &Sampling{rate: s.rate, samplers: slices.Clone(s.samplers), interfaces: slices.Clone(s.interfaces)}
	refused := 0
	for _, r := range rates {
		ok := true
		switch r.Scope {
		case OfSampler:
			next.samplers, ok = put(next.samplers, r.ID, r.Rate)
		case OfInterface:
			next.interfaces, ok = put(next.interfaces, r.ID, r.Rate)
		default:
			next.rate = r.Rate
		}
		if !ok {
			refused++
		}
	}
	next.settle()
	return next, refused
}

// settle finds the rate on which all samplers agree.
func (s *Sampling) settle() {
	s.uniform = 0
	for i, r := range s.samplers {
		if i > 0 && r.rate != s.uniform {
			s.uniform = 0
			return
		}
		s.uniform = r.rate
	}
}

// put sets the rate of id in list, which it changes; false if the list is full.
func put(list []rateOf, id uint64, rate uint32) ([]rateOf, bool) {
	i, ok := slices.BinarySearchFunc(list, id, compareID)
	switch {
	case ok:
		list[i].rate = rate
	case len(list) >= maxRates:
		return list, false
	default:
		list = slices.Insert(list, i, rateOf{id, rate})
	}
	return list, true
}

// agreement returns what the domains of one exporter agree on: the rate of a domain, a sampler or an interface of which
// all that know it say the same. Exporters exist that tell the rates of all their line cards in a domain of its own.
func agreement(domains []*Domain) *Sampling {
	all := &Sampling{}
	disputed := false
	for _, d := range domains {
		s := d.Sampling()
		if r := s.Domain(); r != 0 && !disputed {
			disputed = all.rate != 0 && all.rate != r
			all.rate = r
		}
		all.samplers = append(all.samplers, s.samplers...)
		all.interfaces = append(all.interfaces, s.interfaces...)
	}
	if disputed {
		all.rate = 0
	}
	all.samplers, all.interfaces = agreed(all.samplers), agreed(all.interfaces)
	return all
}

// agreed returns the ids of list that have one rate only, sorted. It changes list.
func agreed(list []rateOf) []rateOf {
	slices.SortFunc(list, func(a, b rateOf) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.rate, b.rate)) })
	kept := list[:0]
	for i := 0; i < len(list); {
		first := i
		for i < len(list) && list[i].id == list[first].id {
			i++
		}
		if list[first].rate == list[i-1].rate { // sorted: the lowest is the highest
			kept = append(kept, list[first])
		}
	}
	return slices.Clip(kept)
}
