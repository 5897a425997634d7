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

func (s *Sampling) has(scope SamplingScope, id uint64, rate uint32) bool {
	switch scope {
	case OfSampler:
		return find(s.samplers, id) == rate
	case OfInterface:
		return find(s.interfaces, id) == rate
	default:
		return s.rate == rate
	}
}

// with returns a copy of s with one rate changed, or nil if there is no room.
func (s *Sampling) with(scope SamplingScope, id uint64, rate uint32) *Sampling {
	next := *s
	switch scope {
	case OfDomain:
		next.rate = rate
	case OfSampler:
		if next.samplers = insert(s.samplers, id, rate); next.samplers == nil {
			return nil
		}
		next.uniform = next.samplers[0].rate
		for _, r := range next.samplers {
			if r.rate != next.uniform {
				next.uniform = 0
				break
			}
		}
	case OfInterface:
		if next.interfaces = insert(s.interfaces, id, rate); next.interfaces == nil {
			return nil
		}
	}
	return &next
}

// insert returns a copy of list with the rate of id set; nil if it is full.
func insert(list []rateOf, id uint64, rate uint32) []rateOf {
	i, ok := slices.BinarySearchFunc(list, id, compareID)
	if !ok && len(list) >= maxRates {
		return nil
	}
	next := make([]rateOf, 0, len(list)+1)
	next = append(next, list[:i]...)
	next = append(next, rateOf{id, rate})
	if ok {
		i++
	}
	return append(next, list[i:]...)
}
