package estate_test

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/estate"
)

func exporterNo(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
	return netip.AddrFrom4(b)
}

func TestLiveness(t *testing.T) {
	l := estate.NewLiveness(3 * time.Minute)
	a, b := exporterNo(1), exporterNo(2)
	f := func(ms int64, wantA, wantB bool) {
		t.Helper()
		live := l.Snapshot(ms)
		if live.Exporter(a) != wantA || live.Exporter(b) != wantB {
			t.Fatalf("at %d: live %v, %v; want %v, %v", ms, live.Exporter(a), live.Exporter(b), wantA, wantB)
		}
	}
	f(0, false, false)
	l.Seen(a, 10_000)
	f(10_000, true, false)
	l.Seen(b, 10_500)
	f(10_900, true, false) // up to a second old
	f(11_000, true, true)
	l.Seen(a, 100_000)
	l.Seen(a, 90_000)        // out of order: the later one counts
	f(190_500, true, true)   // b's window ends
	f(191_600, true, false)  //
	f(280_000, true, false)  //
	f(281_001, false, false) //
	l.Seen(b, 281_002)       // back again
	f(282_500, false, true)  //
	f(11_000, true, true)    // a clock that was set back
	var none *estate.Live
	if none.Exporter(a) || !estate.NewLive(a).Exporter(a) || estate.NewLive(a).Exporter(b) {
		t.Error("a nil Live has an exporter, or NewLive has others than given")
	}
}

// Many exporters that come at once from several goroutines are all known, and the dead make room.
func TestLivenessManyExporters(t *testing.T) {
	l := estate.NewLiveness(time.Minute)
	const exporters, workers = 5000, 4
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range exporters {
				l.Seen(exporterNo((i*7+w*13)%exporters), 1000)
				if i%500 == 0 {
					l.Snapshot(int64(1000 + i))
				}
			}
		})
	}
	wg.Wait()
	live := l.Snapshot(10_000)
	for i := range exporters {
		if !live.Exporter(exporterNo(i)) {
			t.Fatalf("exporter %d is not live", i)
		}
	}
	for i := range 200_000 { // more than are tracked, most of them dead by then
		l.Seen(exporterNo(10_000+i), int64(100_000+i*10))
	}
	if live := l.Snapshot(100_000 + 200_000*10); !live.Exporter(exporterNo(10_000+199_999)) || live.Exporter(exporterNo(1)) {
		t.Error("the last exporter is not live, or the first still is")
	}
}

func TestHolder(t *testing.T) {
	h := estate.NewHolder()
	if len(h.Load().Entities()) != 0 {
		t.Fatal("a new holder has entities")
	}
	changes, cancel := h.Subscribe()
	s, err := estate.Compile(small())
	if err != nil {
		t.Fatal(err)
	}
	h.Store(s)
	h.Store(s)
	select {
	case <-changes:
	default:
		t.Fatal("no change was told")
	}
	select {
	case <-changes:
		t.Fatal("two changes were told, want them merged")
	default:
	}
	if h.Load() != s {
		t.Fatal("Load is not what was stored")
	}
	cancel()
	h.Store(estate.Empty())
	select {
	case <-changes:
		t.Fatal("a change was told after cancel")
	default:
	}
}
