package netflow

import (
	"math"

	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// rate is what elements say of sampling, in records and in options alike.
type rate struct {
	interval       uint64 // samplingInterval, samplerRandomInterval: one packet in so many
	packetInterval uint64 // samplingPacketInterval: so many packets in a row …
	packetSpace    uint64 // samplingPacketSpace: … then so many not (RFC 5477 §8.2.1)
	size           uint64 // samplingSize: so many packets …
	population     uint64 // samplingPopulation: … of so many (RFC 5477 §8.2.5)
	probability    uint64 // samplingProbability, bits of a float64 (RFC 5477 §8.2.7)
}

// value returns the rate: one packet in so many; 0 is not said. A samplingPacketInterval alone is taken as one in so
// many: that is what exporters mean that send no space.
func (r rate) value() uint32 {
	switch {
	case r.interval != 0:
		return saturate(r.interval)
	case r.packetSpace != 0:
		return ratio(r.packetInterval, r.packetSpace, true)
	case r.packetInterval != 0:
		return saturate(r.packetInterval)
	case r.population != 0:
		return ratio(r.size, r.population, false)
	case r.probability != 0:
		p := math.Float64frombits(r.probability)
		if p > 0 && p <= 1 {
			return saturate(uint64(math.Round(min(1/p, math.MaxUint32))))
		}
	}
	return 0
}

// ratio returns how many packets there are for each one that is looked at, to the nearest: all in part, or, with
// more, part and all together in part. A part of 0 is taken as 1.
func ratio(part, all uint64, more bool) uint32 {
	part, all = max(1, min(part, math.MaxUint32)), min(all, math.MaxUint32)
	if more {
		all += part
	}
	return saturate(max(1, (all+part/2)/part))
}

func saturate(v uint64) uint32 { return uint32(min(v, math.MaxUint32)) }

// defaultSampling returns the rate to assume for the exporter of m.
func (d *Decoder) defaultSampling(m *message) uint32 {
	if d.cfg.DefaultSampling == nil {
		return 1
	}
	return max(1, d.cfg.DefaultSampling(m.domain.Key.Exporter))
}

// sampling fills the columns SamplingRate and SamplingAssumed and returns how many rates were assumed. The rate is
// that of the record itself, else of its sampler, its interface, its observation domain, else the default. Open vSwitch
// multiplies by itself: 1.
func (x *run) sampling(p *plan, assume func(*message) uint32) int {
	rates := column(x, x.out.SamplingRate)
	if p.scaled {
		fill(rates, 1)
		return 0
	}
	known := x.domain.Sampling()
	if !p.rates && !p.samplers && !known.PerInterface() {
		if r := known.Domain(); r != 0 {
			fill(rates, r)
			return 0
		}
		fill(rates, assume(x.message))
		fill(column(x, x.out.SamplingAssumed), true)
		return len(rates)
	}
	assumed, otherwise := 0, uint32(0)
	for i := range rates {
		r := uint32(0)
		if p.rates {
			r = rate{
				interval: x.scratch[scratchInterval][i], packetInterval: x.scratch[scratchPacketInterval][i],
				packetSpace: x.scratch[scratchPacketSpace][i], size: x.scratch[scratchSampleSize][i],
				population: x.scratch[scratchSamplePopulation][i], probability: x.scratch[scratchProbability][i],
			}.value()
		}
		if r == 0 && p.samplers {
			r = known.Sampler(x.scratch[scratchSampler][i])
		}
		if r == 0 && known.PerInterface() {
			r = x.interfaceRate(known, x.first+i)
		}
		if r == 0 {
			r = known.Domain()
		}
		if r == 0 {
			if assumed == 0 {
				otherwise = assume(x.message)
			}
			r = otherwise
			x.out.SamplingAssumed[x.first+i] = true
			assumed++
		}
		rates[i] = r
	}
	return assumed
}

// interfaceRate returns the rate of the interface at which the flow in row was seen, or 0.
func (x *run) interfaceRate(known *template.Sampling, row int) uint32 {
	if x.out.Observed[row] == flow.ObservedEgress {
		if r := known.Interface(x.out.OutIf[row]); r != 0 {
			return r
		}
	}
	return known.Interface(x.out.InIf[row])
}
