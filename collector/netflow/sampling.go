package netflow

import (
	"cmp"
	"math"

	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
)

// rate is what elements say of sampling, in records and in options alike.
type rate struct {
	interval       uint64 // samplingInterval, samplerRandomInterval: one packet in so many
	packetInterval uint64 // samplingPacketInterval: so many packets in a row …
	packetSpace    uint64 // samplingPacketSpace: … then so many not (RFC 5477 §8.2.1)
	spaced         bool   // packetSpace was given
	size           uint64 // samplingSize: so many packets …
	population     uint64 // samplingPopulation: … of so many (RFC 5477 §8.2.5)
	probability    uint64 // samplingProbability, bits of a float64 (RFC 5477 §8.2.7)
}

// value returns the rate: one packet in so many; 0 is not said. It may be more than template.MaxRate. A
// samplingPacketInterval without a space is taken as one in so many: that is what exporters mean that send no space.
func (r *rate) value() uint64 {
	switch {
	case r.interval != 0:
		return r.interval
	case r.spaced && (r.packetInterval != 0 || r.packetSpace != 0):
		return ratio(r.packetInterval, r.packetSpace, true)
	case r.packetInterval != 0:
		return r.packetInterval
	case r.population != 0:
		return ratio(r.size, r.population, false)
	case r.probability != 0:
		if p := math.Float64frombits(r.probability); p > 0 && p <= 1 {
			return uint64(math.Round(min(1/p, math.MaxUint32)))
		}
	}
	return 0
}

// ratio returns how many packets there are for each one that is looked at, to the nearest: all in part, or, with
// more, part and all together in part. A part of 0 is taken as 1.
func ratio(part, all uint64, more bool) uint64 {
	part, all = max(1, min(part, math.MaxUint32)), min(all, math.MaxUint32)
	if more {
		all += part
	}
	return max(1, (all+part/2)/part)
}

// assumed returns the rate to assume for a record of m that names a sampler, or 0: the configured one of its exporter,
// else what other domains of the exporter say, else the configured one of all exporters.
func (d *Decoder) assumed(m *message, sampler uint64) uint32 {
	if d.cfg.ExporterSampling != nil {
		if r := d.cfg.ExporterSampling(m.domain.Key.Exporter); r != 0 {
			return r
		}
	}
	others := m.domain.OtherDomains()
	return cmp.Or(others.Sampler(sampler), others.Domain(), d.cfg.DefaultSampling, 1)
}

// assume gives all rows at hand the rate that is assumed for them.
func (d *Decoder) assume() {
	x := &d.run
	fill(column(x, x.out.SamplingRate), d.assumed(x.message, 0))
	fill(column(x, x.out.SamplingAssumed), true)
	x.domain.Count.Assumed.Add(uint64(x.n))
}

// sampling fills the columns SamplingRate and SamplingAssumed. The rate is that of the record itself, else of its
// sampler, its interface, its observation domain, else it is assumed. Open vSwitch multiplies by itself: 1.
func (d *Decoder) sampling(p *plan) {
	x := &d.run
	rates := column(x, x.out.SamplingRate)
	if p.scaled {
		fill(rates, 1)
		x.domain.Count.Scaled.Add(uint64(x.n))
		return
	}
	known := x.domain.Sampling()
	if !p.rates && !p.samplers && !known.PerInterface() {
		if r := known.Domain(); r != 0 {
			fill(rates, r)
		} else {
			d.assume()
		}
		return
	}
	assumed, absurd := uint64(0), uint64(0)
	otherwise, of := uint32(0), uint64(0) // what is assumed of a sampler
	for i := range rates {
		r, sampler := uint32(0), uint64(0)
		if p.rates {
			v := x.rate(p, i)
			if v > template.MaxRate {
				absurd++
				v = 0
			}
			r = uint32(v)
		}
		if p.samplers {
			sampler = x.scratch[scratchSampler][i]
			if r == 0 {
				r = known.Sampler(sampler)
			}
		}
		if r == 0 && known.PerInterface() {
			r = x.interfaceRate(known, x.first+i)
		}
		if r == 0 {
			r = known.Domain()
		}
		if r == 0 {
			if assumed == 0 || sampler != of {
				otherwise, of = d.assumed(x.message, sampler), sampler
			}
			r = otherwise
			x.out.SamplingAssumed[x.first+i] = true
			assumed++
		}
		rates[i] = r
	}
	if c := &x.domain.Count; assumed > 0 || absurd > 0 {
		c.Assumed.Add(assumed)
		c.AbsurdRates.Add(absurd)
	}
}

// rate returns what record i of the set says.
func (x *run) rate(p *plan, i int) uint64 {
	r := rate{
		interval: x.scratch[scratchInterval][i], packetInterval: x.scratch[scratchPacketInterval][i],
		packetSpace: x.scratch[scratchPacketSpace][i], spaced: p.spaced, size: x.scratch[scratchSampleSize][i],
		population: x.scratch[scratchSamplePopulation][i], probability: x.scratch[scratchProbability][i],
	}
	return r.value()
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
