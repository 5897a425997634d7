package template

import (
	"cmp"
	"slices"
)

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

const maxRates = 4096 // samplers, and interfaces, of one domain

// Rate is one sampling rate: one packet in Rate is looked at.
type Rate struct {
	Scope SamplingScope
	ID    uint64 // of a sampler, or index of an interface, by Scope
	Rate  uint32
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
	for i, r := range next.samplers {
		if i == 0 {
			next.uniform = r.rate
		} else if r.rate != next.uniform {
			next.uniform = 0
			break
		}
	}
	return next, refused
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
