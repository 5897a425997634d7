package loss

import "time"

// Clock measures how far an exporter's clock is ahead of the collector's. The zero value has measured nothing.
type Clock struct {
	smooth   int64 // ms × weight
	measured bool
	off      bool // by more than was allowed, at the last Judge
}

// A measurement counts for one part in so many: a message that was delayed on the way moves the mean little.
const weight = 16

// Measure takes the time at which a message was exported and that at which it was received, both in ms. coarse says
// that the exporter tells whole seconds, so that on average it was half a second later.
func (c *Clock) Measure(exported, received int64, coarse bool) {
	skew := exported - received
	if coarse {
		skew += 500
	}
	if !c.measured {
		c.smooth, c.measured = skew*weight, true
		return
	}
	c.smooth += skew - c.smooth/weight
}

// Skew returns by how much the exporter's clock is ahead, smoothed; false if nothing was measured.
func (c *Clock) Skew() (time.Duration, bool) {
	return time.Duration(c.smooth/weight) * time.Millisecond, c.measured
}

// Judge says whether the clock is off by more than allowed, and whether that is news. Once it is, it stays so until it
// is off by less than three quarters of that. allowed 0 is any.
func (c *Clock) Judge(allowed time.Duration) (off, changed bool) {
	skew, _ := c.Skew()
	was := c.off
	if was {
		allowed -= allowed / 4
	}
	c.off = allowed > 0 && skew.Abs() > allowed
	return c.off, c.off != was
}
