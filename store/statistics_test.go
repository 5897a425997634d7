package store_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/store"
)

// filled returns a row whose every field says something of its own.
func filled[T any](at time.Time) T {
	var row T
	v := reflect.ValueOf(&row).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name)
		case reflect.Float64:
			f.SetFloat(float64(i) + 0.5)
		case reflect.Struct:
			f.Set(reflect.ValueOf(at))
		default:
			f.SetUint(uint64(100 + i))
		}
	}
	return row
}

// Rows of a struct have the columns of their table, in that order, come back as they were, and are there once if they are written again.
func TestPublishStatistics(t *testing.T) {
	c := migrated(t)
	at := time.UnixMilli(time.Now().UnixMilli()).UTC()
	server, network := filled[store.ServerStats](at), filled[store.NetworkStats](at)
	for range 2 { // the second time as after a failure
		if err := store.PublishServerStats(t.Context(), c, []store.ServerStats{server}); err != nil {
			t.Fatal(err)
		}
		if err := store.PublishNetworkStats(t.Context(), c, []store.NetworkStats{network}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, c, "server_stats", server)
	same(t, c, "network_stats", network)
}

func same[T any](t *testing.T, c *store.Client, table string, want T) {
	t.Helper()
	var columns []string
	for f := range reflect.TypeFor[T]().Fields() {
		columns = append(columns, f.Tag.Get("ch"))
	}
	if diff := cmp.Diff(column(t, c, "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '"+table+"' ORDER BY position"), columns); diff != "" {
		t.Errorf("columns of %s: -table +struct\n%s", table, diff)
	}
	rows, err := c.Conn().Query(t.Context(), "SELECT "+strings.Join(columns, ", ")+" FROM "+table+" FINAL")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []T
	for rows.Next() {
		var row T
		if err := rows.ScanStruct(&row); err != nil {
			t.Fatal(err)
		}
		got = append(got, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]T{want}, got); diff != "" {
		t.Errorf("%s: -want +got\n%s", table, diff)
	}
}

func TestServerStatsSince(t *testing.T) {
	at := time.Unix(1000, 0)
	before := store.ServerStats{Time: at, PID: 7, CPUMs: 500, MachineCPUMs: 9000, Flows: 10, FlowsWaiting: 4, StoreRestarts: 1}
	now := store.ServerStats{Time: at.Add(time.Minute), PID: 7, CPUMs: 800, MachineCPUMs: 9900, Flows: 30, FlowsWaiting: 9, StoreRestarts: 1}
	want := store.ServerStats{Time: now.Time, IntervalMs: 60_000, PID: 7, CPUMs: 300, MachineCPUMs: 900, Flows: 20, FlowsWaiting: 9}
	if diff := cmp.Diff(want, now.Since(&before)); diff != "" {
		t.Errorf("same process: -want +got\n%s", diff)
	}
	now.PID, now.CPUMs, now.StoreRestarts = 8, 40, 2
	want.PID, want.CPUMs, want.StoreRestarts = 8, 40, 1
	if diff := cmp.Diff(want, now.Since(&before)); diff != "" {
		t.Errorf("another process in its place: -want +got\n%s", diff)
	}
	now.Time = at.Add(-time.Second) // the clock was set back
	if got := now.Since(&before).IntervalMs; got != 0 {
		t.Errorf("interval of a clock that was set back is %d ms, want 0", got)
	}
}
