package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/store"
)

// What is said of the store's disk and tables was measured a while ago, each at its time, and says so.
func TestAddRetention(t *testing.T) {
	now := time.Date(2026, 6, 9, 12, 0, 0, 0, time.UTC)
	r := store.RetentionStats{
		DiskFree: 2 << 30, DiskTotal: 8 << 30, WarnFree: 1 << 30, MinFree: 1 << 29, Bytes: 3 << 20, MaxBytes: 5 << 20, DiskAt: now.Add(-5 * time.Second), TablesAt: now.Add(-2 * time.Minute),
		Tables: []store.TableSize{{Table: "flows", Age: 24 * time.Hour}},
	}
	lines := func() (list []string) {
		addRetention(func(what string, _ cli.Style, format string, args ...any) {
			list = append(list, what+": "+fmt.Sprintf(format, args...))
		}, &r, now)
		return list
	}
	want := []string{
		"disk of the store: as of 5s ago: 2.00 GiB of 8.00 GiB free, alarm below 1.00 GiB, oldest flows dropped below 512 MiB",
		"table flows: as of 2m ago: 0 rows, 0 B in 0 partitions, kept 1d",
		"all tables: as of 2m ago: 3.00 MiB of 5.00 MiB",
	}
	if got := lines(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	r.DiskAt, r.TablesAt = time.Time{}, time.Time{} // as servers say it that do not know
	if got, want := lines()[1], "table flows: 0 rows, 0 B in 0 partitions, kept 1d"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
