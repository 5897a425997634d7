package rollup

import "math/bits"

const minuteMs = 60_000

// Bounds of what a record's times may claim. Beyond them, time_received stands for the record's own times: a start in
// 1970 is a broken clock or an attack, not a flow of half a century.
const (
	MaxBuckets = 120         // minutes over which a flow is spread; of a longer one, the last ones
	maxAgeMs   = 24 * 3600e3 // a flow that ended longer ago
	maxAheadMs = 60_000      // a flow that ends later than it was received
)

// span is the time of a flow, ms since epoch: [from, to), or one instant where from == to.
type span struct{ from, to int64 }

// lifetime returns when a row's packets passed, within the bounds of this package.
func lifetime(received, startAge int64, duration uint32) span {
	from := received - startAge
	to := from + int64(duration)
	if startAge > received || received-to > maxAgeMs || to-received > maxAheadMs {
		return span{received, received}
	}
	if oldest := bucketOf(to) - (MaxBuckets - 1); bucketOf(from) < oldest {
		from = oldest * minuteMs
	}
	return span{from, to}
}

// bucketOf returns the minute of a time: minutes since epoch.
func bucketOf(ms int64) int64 { return ms / minuteMs }

// buckets returns the first minute of s and the number of minutes that it touches. An end on the minute is not in it.
func (s span) buckets() (first int64, n int) {
	first = bucketOf(s.from)
	last := bucketOf(max(s.from, s.to-1))
	return first, int(last-first) + 1
}

// spreader divides a total over the buckets of a span. The shares before each border are the total times the elapsed
// part of the span, rounded down; so all shares sum to the total, and no border is off by one or more.
type spreader struct {
	total  uint64
	length uint64 // of the span, ms
	given  uint64
}

// until returns the share of the time up to elapsed ms after the start, less what was returned before.
func (s *spreader) until(elapsed uint64) uint64 {
	sum := s.total
	if elapsed < s.length {
		hi, lo := bits.Mul64(s.total, elapsed)
		sum, _ = bits.Div64(hi, lo, s.length) // hi < length, since elapsed < length
	}
	share := sum - s.given
	s.given = sum
	return share
}
