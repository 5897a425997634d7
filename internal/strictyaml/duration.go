package strictyaml

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// ParseDuration is time.ParseDuration with days and weeks in front: "30d", "2w", "1d12h". A day has 24 hours. 0 needs
// no unit.
func ParseDuration(s string) (time.Duration, error) {
	wrong := func() (time.Duration, error) {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return 0, fmt.Errorf(`found %q without a unit, want %s`, s, known[durationType])
		}
		return 0, fmt.Errorf("found %q, want %s", s, known[durationType])
	}
	rest, negative := strings.CutPrefix(s, "-")
	var sum time.Duration
	for _, u := range []struct {
		suffix string
		unit   time.Duration
	}{{"w", week}, {"d", day}} {
		number, after, ok := strings.Cut(rest, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || time.Duration(n) > (math.MaxInt64-sum)/u.unit {
			return wrong()
		}
		sum, rest = sum+time.Duration(n)*u.unit, after
	}
	if rest != "" || sum == 0 && s != "0d" && s != "0w" {
		d, err := time.ParseDuration(rest)
		if err != nil || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") || d > math.MaxInt64-sum {
			return wrong()
		}
		sum += d
	}
	if negative {
		sum = -sum
	}
	return sum, nil
}

// FormatDuration returns d in the shortest form that ParseDuration reads: "5s", "1h30m", "30d".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
