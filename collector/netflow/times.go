package netflow

import (
	"encoding/binary"
	"math"
)

// times turns the scratch times into the columns StartAge and Duration.
//
// A start or end that is not known is the other; if neither is known, both are the time of receipt. A duration
// element counts where one of them is missing. Times relative to the initialisation of an exporter that did not say
// when that was give their duration, ended at export.
func (x *run) times(p *plan) {
	ages, durations := column(x, x.out.StartAge), column(x, x.out.Duration)
	if !p.starts && !p.ends && !p.durations {
		return // age and duration 0: at the time of receipt
	}
	starts, ends := x.temp(scratchStart), x.temp(scratchEnd)
	if p.startsRelative || p.endsRelative {
		x.absolute(p, starts, ends)
	}
	if p.durations {
		x.bridge(starts, ends, x.temp(scratchDuration))
	}
	for i := range ages {
		ages[i], durations[i] = span(x.received, int64(starts[i]), int64(ends[i]))
	}
}

// span returns the age and duration of a flow, of whose start and end 0 is not known.
func span(received, start, end int64) (age int64, duration uint32) {
	if start == 0 {
		start = end
	}
	if start == 0 {
		start = received
	}
	if end == 0 {
		end = start
	}
	return received - start, uint32(min(max(end-start, 0), math.MaxUint32))
}

// clamp applies Config.MaxAge and MaxAhead to the rows at hand.
func (d *Decoder) clamp() {
	if d.cfg.MaxAge <= 0 {
		return
	}
	if n := d.run.clamp(d.cfg.MaxAge.Milliseconds(), d.cfg.MaxAhead.Milliseconds()); n > 0 {
		d.run.domain.Count.Clamped.Add(uint64(n))
	}
}

// clamp changes times that cannot be true, and returns of how many rows. A flow that ended more than maxAhead after it was
// received, or more than maxAge before (ms), is of an exporter whose clock is wrong: it keeps its duration and ends when
// it was received. One that only began too long ago begins maxAge before.
func (x *run) clamp(maxAge, maxAhead int64) (clamped int) {
	ages, durations := column(x, x.out.StartAge), column(x, x.out.Duration)
	for i, age := range ages {
		end := age - int64(durations[i])
		if age <= maxAge && end >= -maxAhead {
			continue
		}
		clamped++
		if end < -maxAhead || end > maxAge {
			age, end = int64(durations[i]), 0
		}
		ages[i] = min(age, maxAge)
		durations[i] = uint32(max(0, ages[i]-end))
	}
	return clamped
}

// uptimes fills StartAge and Duration from pairs of sysUpTime.
func (x *run) uptimes(p pair, body []byte, stride int) {
	ages, durations := column(x, x.out.StartAge), column(x, x.out.Duration)
	start, end := body[p.start:], body[p.end:]
	for i := range ages {
		s := sinceBoot(x.exported, x.uptime, binary.BigEndian.Uint32(start[i*stride:]))
		e := sinceBoot(x.exported, x.uptime, binary.BigEndian.Uint32(end[i*stride:]))
		ages[i], durations[i] = span(x.received, max(0, s), max(0, e))
	}
}

// milliseconds fills StartAge and Duration from pairs of milliseconds since the epoch.
func (x *run) milliseconds(p pair, body []byte, stride int) {
	ages, durations := column(x, x.out.StartAge), column(x, x.out.Duration)
	start, end := body[p.start:], body[p.end:]
	for i := range ages {
		s := boundTime(binary.BigEndian.Uint64(start[i*stride:]))
		e := boundTime(binary.BigEndian.Uint64(end[i*stride:]))
		ages[i], durations[i] = span(x.received, int64(s), int64(e))
	}
}

// absolute turns starts and ends that are relative to the exporter's initialisation (IPFIX flowStartSysUpTime,
// flowEndSysUpTime), kept as value + 1, into times.
func (x *run) absolute(p *plan, starts, ends []uint64) {
	init := uint64(max(0, x.domain.InitTime()))
	for i := range starts {
		base := init
		if p.inits {
			if v := x.temp(scratchInit)[i]; v != 0 {
				base = v
			}
		}
		start, end := starts[i], ends[i]
		switch {
		case base != 0:
			if p.startsRelative && start != 0 {
				starts[i] = base + start - 1
			}
			if p.endsRelative && end != 0 {
				ends[i] = base + end - 1
			}
		case p.startsRelative && p.endsRelative && start != 0 && end != 0:
			duration := uint64(uint32(end - start)) // sysUpTime wraps after 49.7 days
			if duration > math.MaxInt32 {
				duration = 0
			}
			ends[i] = uint64(x.exported)
			starts[i] = ends[i] - min(duration, ends[i])
		default:
			if p.startsRelative {
				starts[i] = 0
			}
			if p.endsRelative {
				ends[i] = 0
			}
		}
	}
}

// bridge uses durations where a start or an end is missing.
func (x *run) bridge(starts, ends, durations []uint64) {
	for i, duration := range durations {
		switch {
		case starts[i] != 0 && ends[i] != 0:
		case starts[i] != 0:
			ends[i] = starts[i] + min(duration, maxTime)
		default:
			if ends[i] == 0 {
				ends[i] = uint64(x.received)
			}
			starts[i] = ends[i] - min(duration, ends[i])
		}
	}
}

// sinceBoot returns the time of a value of sysUpTime in a message that was exported at exported (ms) when sysUpTime
// was uptime. Values after uptime are clock jitter, unless they are so far after that the counter must have wrapped
// in between (RFC 3954 §8, fields 21 and 22).
func sinceBoot(exported int64, uptime, value uint32) int64 {
	d := int64(value) - int64(uptime)
	if d > math.MaxInt32 {
		d -= 1 << 32
	}
	return exported + d
}

func (x *run) setUptime(dst []uint64, src []byte, stride, width int) {
	relative := x.version == VersionIPFIX
	for i := range dst {
		v := readUint(src[i*stride:], width)
		if relative {
			dst[i] = v + 1
		} else {
			dst[i] = uint64(max(0, sinceBoot(x.exported, x.uptime, uint32(v))))
		}
	}
}

// ntpEpoch is 1970 in seconds of the NTP era that began in 1900 (RFC 7011 §6.1.9, RFC 5905 §6).
const ntpEpoch = 2_208_988_800

// fromNTP returns the time in ms of an NTP timestamp; 0 stays 0. Seconds before 1970 belong to the era of 2036.
func fromNTP(v uint64) uint64 {
	if v == 0 {
		return 0
	}
	seconds := v >> 32
	if seconds < ntpEpoch {
		seconds += 1 << 32
	}
	return (seconds-ntpEpoch)*1000 + (v&math.MaxUint32)*1000>>32
}

// timeSetter returns a setter of a scratch column of times, which converts each value of the wire.
func timeSetter(k int, convert func(x *run, v uint64) uint64) setter {
	return func(x *run, src []byte, stride, width int) {
		for i, dst := 0, x.temp(k); i < len(dst); i++ {
			dst[i] = convert(x, readUint(src[i*stride:], width))
		}
	}
}

func epochMilliseconds(k int) setter {
	return func(x *run, src []byte, stride, _ int) {
		for i, dst := 0, x.temp(k); i < len(dst); i++ {
			dst[i] = boundTime(binary.BigEndian.Uint64(src[i*stride:]))
		}
	}
}

// maxTime is the last time that is believed, in ms: the year 9999. Beyond it sums would overflow.
const maxTime = 253_402_300_799_999

// boundTime makes a time that no clock can mean unknown.
func boundTime(ms uint64) uint64 {
	if ms > maxTime {
		return 0
	}
	return ms
}

func seconds(k int) setter {
	return timeSetter(k, func(_ *run, v uint64) uint64 { return boundTime(min(v, maxTime) * 1000) })
}

func ntp(k int) setter {
	return timeSetter(k, func(_ *run, v uint64) uint64 { return fromNTP(v) })
}

// deltaMicroseconds is an offset back from the export time (RFC 5102 §5.9.9).
func deltaMicroseconds(k int) setter {
	return timeSetter(k, func(x *run, v uint64) uint64 { return uint64(max(0, x.exported-int64(v/1000))) })
}

func uptime(k int) setter {
	return func(x *run, src []byte, stride, width int) { x.setUptime(x.temp(k), src, stride, width) }
}
