package store_test

import (
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/weirhq/weir/store"
)

// Every counter of a row comes to its column, and rows that are written again are there once.
func TestPublishExporterStats(t *testing.T) {
	c := migrated(t)
	row := store.ExporterStats{
		Time: time.UnixMilli(time.Now().UnixMilli()).UTC(), Exporter: netip.MustParseAddr("192.0.2.1"), Version: 9, ObservationDomain: math.MaxUint32,
		SequenceUnit: "messages", Dropped: map[string]uint64{"truncated": 3}, ClockSkewMs: -5000,
	}
	v := reflect.ValueOf(&row).Elem()
	want := map[string]uint64{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("ch"); v.Field(i).Kind() == reflect.Uint64 {
			v.Field(i).SetUint(uint64(1000 + i))
			want[name] = uint64(1000 + i)
		}
	}
	other := row
	other.Exporter, other.Dropped = netip.MustParseAddr("2001:db8::1"), nil
	for range 2 { // the second time as after a failure
		if err := store.PublishExporterStats(t.Context(), c, []store.ExporterStats{row, other}); err != nil {
			t.Fatal(err)
		}
	}
	var n, skews uint64
	scan(t, c, "SELECT count(), countIf(clock_skew_ms = -5000 AND sequence_unit = 'messages') FROM exporter_stats FINAL", &n, &skews)
	if n != 2 || skews != 2 {
		t.Errorf("%d rows, %d of them as written; want 2", n, skews)
	}
	for name, number := range want {
		var got uint64
		scan(t, c, "SELECT "+name+" FROM exporter_stats FINAL WHERE exporter = toIPv6('192.0.2.1') AND dropped['truncated'] = 3", &got)
		if got != number {
			t.Errorf("column %s is %d, want %d", name, got, number)
		}
	}
}
