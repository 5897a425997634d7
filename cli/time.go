package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// layouts are the ways to write a point in time; without a zone it is the local one of now.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999", "2006-01-02T15:04:05.999", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02",
}

// clocks are the ways to write a time of today.
var clocks = []string{"15:04", "15:04:05"}

// ParseTime reads a point in time: "now", "15m" or "1d12h" (so long ago), "now-1h", "10:00" (today),
// "2026-11-24 10:00", RFC 3339, or seconds since 1970.
func ParseTime(s string, now time.Time) (time.Time, error) {
	text := strings.TrimSpace(s)
	if text == "now" {
		return now, nil
	}
	if back, ok := strings.CutPrefix(text, "now"); ok {
		text = strings.TrimSpace(back)
		if !strings.HasPrefix(text, "-") {
			return time.Time{}, badTime(s)
		}
	}
	if d, err := ParseSpan(strings.TrimSpace(strings.TrimPrefix(text, "-"))); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range clocks {
		if t, err := time.Parse(layout, text); err == nil {
			year, month, day := now.Date()
			return time.Date(year, month, day, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 1e8 && n < 1e10 {
		return time.Unix(n, 0).In(now.Location()), nil
	}
	return time.Time{}, badTime(s)
}

func badTime(s string) error {
	return fmt.Errorf("time %q: expected now, 15m, now-1h, 10:00, \"2026-11-24 10:00\" or RFC 3339", s)
}

// ParseSpan reads a length of time greater than 0 with units from ms to w: "15m", "1d12h", "1.5h".
func ParseSpan(s string) (time.Duration, error) {
	total, rest := time.Duration(0), s
	for _, unit := range []struct {
		letter string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, unit.letter)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, badSpan(s)
		}
		total, rest = total+time.Duration(n)*unit.length, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || rest[0] == '-' || rest[0] == '+' {
			return 0, badSpan(s)
		}
		total += d
	}
	if total <= 0 {
		return 0, badSpan(s)
	}
	return total, nil
}

func badSpan(s string) error {
	return fmt.Errorf("duration %q: expected a number with a unit, as 30s, 15m, 2h, 1d12h", s)
}

// Range is a range of time as a user gives it: it may move with the clock.
type Range struct {
	last     time.Duration
	from, to string
}

// ParseRange reads a range: the last so long, or from a point in time to another (now if empty). With nothing given it
// is the last 15 minutes. now only serves to refuse what [Range.At] would refuse.
func ParseRange(last, from, to string, now time.Time) (Range, error) {
	switch {
	case last != "" && (from != "" || to != ""):
		return Range{}, fmt.Errorf("range: --last %s does not go with --from or --to", last)
	case from == "" && to != "":
		return Range{}, fmt.Errorf("range: --to %s needs --from", to)
	case from != "":
		r := Range{from: from, to: to}
		if to == "" {
			r.to = "now"
		}
		_, _, err := r.At(now)
		return r, err
	}
	if last == "" {
		last = "15m"
	}
	d, err := ParseSpan(last)
	return Range{last: d}, err
}

// At returns the range as it is at that time.
func (r Range) At(now time.Time) (from, to time.Time, err error) {
	if r.last != 0 {
		return now.Add(-r.last), now, nil
	}
	if from, err = ParseTime(r.from, now); err != nil {
		return from, to, fmt.Errorf("from: %w", err)
	}
	if to, err = ParseTime(r.to, now); err != nil {
		return from, to, fmt.Errorf("to: %w", err)
	}
	return from, to, nil
}
