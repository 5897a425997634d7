package cli

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes returns a size in powers of 1024, to three digits: "1.21 GiB".
func Bytes(n float64) string {
	return scaled(n, 1024, " ", "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
}

// Bits returns an amount of bits in powers of 1000: "1.21 Gbit".
func Bits(n float64) string {
	return scaled(n, 1000, " ", "bit", "kbit", "Mbit", "Gbit", "Tbit", "Pbit", "Ebit")
}

// BitRate returns bits per second in powers of 1000: "1.21 Gbit/s".
func BitRate(n float64) string { return Bits(n) + "/s" }

// Count returns a number in powers of 1000: "1.21M".
func Count(n float64) string { return scaled(n, 1000, "", "", "k", "M", "G", "T", "P", "E") }

// scaled returns n with three digits in the largest unit of which there is at least one.
func scaled(n, base float64, space string, units ...string) string {
	i := 0
	for i < len(units)-1 && math.Abs(n) >= base {
		n /= base
		i++
	}
	if i < len(units)-1 && math.Abs(n) >= base-base/2000 { // 999.96 k is 1.00 M
		n /= base
		i++
	}
	decimals := 0
	switch a := math.Abs(n); {
	case i == 0 && n == math.Trunc(n):
	case a < 9.995:
		decimals = 2
	case a < 99.95:
		decimals = 1
	}
	return strings.TrimRight(strconv.FormatFloat(n, 'f', decimals, 64)+space+units[i], " ")
}

// Percent returns a share of 0 to 1 as "12.3 %".
func Percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + " %" }

// Span returns a length of time to about two digits: "350ms", "4.2s", "3m12s", "2h5m", "3d4h".
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < 10*time.Second && d%time.Second != 0:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', 1, 64) + "s"
	case d < time.Minute:
		return pair(d, time.Second, "s", 1, "")
	case d < time.Hour:
		return pair(d, time.Minute, "m", time.Second, "s")
	case d < day:
		return pair(d, time.Hour, "h", time.Minute, "m")
	default:
		return pair(d, day, "d", time.Hour, "h")
	}
}

func pair(d, large time.Duration, largeUnit string, small time.Duration, smallUnit string) string {
	s := strconv.FormatInt(int64(d/large), 10) + largeUnit
	if rest := int64(d % large / small); smallUnit != "" && rest > 0 {
		s += strconv.FormatInt(rest, 10) + smallUnit
	}
	return s
}

// Counted says how many there are of something: "1 rule", "3 rules".
func Counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
