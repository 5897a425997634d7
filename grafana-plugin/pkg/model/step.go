package model

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How long after its end a step is complete, that is, how late rows come that belong into it. A step that is not complete reads low,
// which people know who look at its edge, but alert rules do not: so series end with the last complete step, and rates are of a range
// that ends there.
const (
	flowsDelay      = 15 * time.Second // batches are sealed each second, and a split collector has a way to the store
	exportersDelay  = 15 * time.Second // after the end of its interval a row is written
	rateDelay       = 45 * time.Second // a row tells of 30 s, and its share of a step is only known when it is there
	hitsDelay       = 25 * time.Second // what was counted is written each 10 s
	statisticsDelay = 15 * time.Second // after its minute a row is written
)

const day = 24 * time.Hour

// rounds are the steps that are taken: those from a minute on are of whole minutes, those from an hour on of whole hours, which is what
// the tables of sums have.
var rounds = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	day, 2 * day, 7 * day, 14 * day, 30 * day, 90 * day, 365 * day,
}

// steps are the times of a series: from, from+step, … before to.
type steps struct {
	from, to time.Time
	step     time.Duration
	notes    []string
}

// steps returns those that fit the panel: at least asked if that is not empty, at least fine; delay is how late rows come.
func (e *Env) steps(asked string, fine, delay time.Duration) (*steps, error) {
	span := e.To.Sub(e.From)
	step := e.step(fine)
	s := &steps{}
	if asked != "" {
		d, err := parseStep(asked)
		if err != nil {
			return nil, err
		}
		step = max(d, fine)
		if d < fine {
			s.notes = append(s.notes, fmt.Sprintf("steps are %s instead of %s: the rows are no finer", plain(fine), plain(d)))
		}
		if least := span / time.Duration(e.Limits.Points-2); step <= least {
			wider := round(least + 1)
			s.notes = append(s.notes, fmt.Sprintf("steps are %s instead of %s: at most %d are given", plain(wider), plain(step), e.Limits.Points))
			step = wider
		}
	}
	s.align(e, step, delay)
	return s, nil
}

// align sets the range to whole steps, the last of which is complete.
func (s *steps) align(e *Env, step, delay time.Duration) {
	s.step = step
	s.from, s.to = floor(e.From, step), floor(e.To, step)
	if s.to.Before(e.To) {
		s.to = s.to.Add(step)
	}
	if complete := floor(e.Now.Add(-delay), step); s.to.After(complete) {
		s.to = complete
	}
	if !s.from.Before(s.to) {
		s.from = s.to.Add(-step)
	}
}

// step returns one that makes at most as many points as the panel has, and none below fine. What is a quarter of an hour or longer is
// not looked at by seconds: exporters tell of a flow once a minute, and tables of sums have minutes.
func (e *Env) step(fine time.Duration) time.Duration {
	span := e.To.Sub(e.From)
	points := e.Limits.Points - 2
	if e.MaxPoints > 0 {
		points = min(points, max(e.MaxPoints, 2))
	}
	if span > 15*time.Minute {
		fine = max(fine, time.Minute)
	} else {
		fine = max(fine, 10*time.Second)
	}
	return round(max(fine, e.Interval, (span+time.Duration(points)-1)/time.Duration(points)))
}

// round returns the next round step.
func round(d time.Duration) time.Duration {
	for _, r := range rounds {
		if d <= r {
			return r
		}
	}
	return (d/day + 1) * day
}

// minutes returns the range in whole minutes, which tables of sums can answer as it is; one of a few minutes as it is.
func (e *Env) minutes() (from, to time.Time) {
	if e.To.Sub(e.From) < 10*time.Minute {
		return e.From, e.To
	}
	from, to = floor(e.From, time.Minute), floor(e.To, time.Minute)
	if to.Before(e.To) {
		to = to.Add(time.Minute)
	}
	return from, to
}

// complete returns the range for a rate: one that reaches up to now is moved back, by whole units, to where the last of them is complete. It
// keeps its length, so that the same tables can answer.
func (e *Env) complete(delay time.Duration) (from, to time.Time) {
	unit, span := time.Second, e.To.Sub(e.From)
	if span >= 4*time.Minute {
		unit = time.Minute
	}
	limit := floor(e.Now.Add(-delay), unit)
	if !e.To.After(limit) {
		return e.minutes()
	}
	return limit.Add(-max(span.Truncate(unit), unit)), limit
}

// parseStep reads a step: a whole number with a unit, as people and Grafana write it, or several such.
func parseStep(text string) (time.Duration, error) {
	wrong := reject("step", "expected whole seconds, as 30s, 5m, 1h or 1d", "found %q", text)
	rest, total := text, time.Duration(0)
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return 0, wrong
		}
		n, err := strconv.ParseUint(rest[:end], 10, 32)
		if err != nil {
			return 0, wrong
		}
		rest = rest[end:]
		unit, name := time.Duration(0), ""
		for _, u := range []struct {
			name string
			unit time.Duration
		}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", day}, {"w", 7 * day}, {"y", 365 * day}} {
			if strings.HasPrefix(rest, u.name) && len(u.name) > len(name) {
				unit, name = u.unit, u.name
			}
		}
		const most = 10 * 365 * day
		if name == "" || time.Duration(n) > most/unit || total > most {
			return 0, wrong
		}
		rest = rest[len(name):]
		total += time.Duration(n) * unit
	}
	if total < time.Second || total%time.Second != 0 {
		return 0, wrong
	}
	return total, nil
}

// floor returns t rounded down to a multiple of unit since 1970.
func floor(t time.Time, unit time.Duration) time.Time {
	ms, u := t.UnixMilli(), unit.Milliseconds()
	return time.UnixMilli(ms - ms%u).UTC()
}

// plain returns a length of time as people write it: 1d, 5m, 30s.
func plain(d time.Duration) string {
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= u.unit && d%u.unit == 0 {
			return strconv.Itoa(int(d/u.unit)) + u.name
		}
	}
	return d.String()
}
