// Package turns times several ways of doing one thing beside each other, so that their ratio holds also on a machine
// that has other things to do.
package turns

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Least runs all ways in turns, once a round of b, and returns for each the CPU time of the process in its best round:
// user and system time of all threads, so the collection of garbage counts for who makes it. The first round of a
// benchmark warms up and does not count, if there is another.
func Least(b *testing.B, ways ...func()) []time.Duration {
	b.Helper()
	least := make([]time.Duration, len(ways))
	for round := 0; b.Loop(); round++ {
		for i, way := range ways {
			start := CPU(b)
			way()
			if took := CPU(b) - start; round <= 1 || took < least[i] {
				least[i] = took
			}
		}
	}
	return least
}

// CPU returns the CPU time that the process has used.
func CPU(tb testing.TB) time.Duration {
	tb.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(t.Nano())
}
