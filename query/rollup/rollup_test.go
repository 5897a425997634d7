package rollup

import (
	"math/rand/v2"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
)

// The shares of a spread flow sum to the flow, none is off its exact part by one or more, and the buckets lie within
// the flow's life.
func TestSpreadIsExact(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 20_000 {
		received := int64(1_790_000_000_000) + r.Int64N(1e9)
		life := lifetime(received, r.Int64N(7_300_000), uint32(r.Int64N(7_300_000)))
		first, n := life.buckets()
		total := r.Uint64() >> r.IntN(64)
		if n < 1 || n > MaxBuckets {
			t.Fatalf("seed %d: span %v touches %d buckets, want 1 to %d", seed, life, n, MaxBuckets)
		}
		if n == 1 {
			continue
		}
		length := uint64(life.to - life.from)
		s := spreader{total: total, length: length}
		var sum uint64
		for k := range n {
			elapsed := uint64(min((first+int64(k)+1)*minuteMs, life.to) - life.from)
			sum += s.until(elapsed)
			exact := float64(total) * (float64(elapsed) / float64(length))
			if diff := exact - float64(sum); diff < -1-exact*1e-12 || diff > 1+exact*1e-12 {
				t.Fatalf("seed %d: %d over %v: after bucket %d the shares sum to %d, want %f", seed, total, life, k, sum, exact)
			}
		}
		if sum != total {
			t.Fatalf("seed %d: shares of %d over %v sum to %d", seed, total, life, sum)
		}
	}
}

func TestLifetimeIsBounded(t *testing.T) {
	const now = 1_790_000_000_000
	for _, c := range []struct {
		name     string
		age      int64
		duration uint32
		want     span
	}{
		{"ordinary", 90_000, 60_000, span{now - 90_000, now - 30_000}},
		{"no times", 0, 0, span{now, now}},
		{"start in 1970", now - 5, 10, span{now, now}},
		{"before 1970", now + 5, 10, span{now, now}},
		{"ended too long ago", 25 * 3600e3, 1000, span{now, now}},
		{"ends in the future", -70_000, 0, span{now, now}},
		{"a little ahead", -5000, 1000, span{now + 5000, now + 6000}},
		{"a day long", 86_400_000, 86_400_000, span{bucketOf(now)*minuteMs - (MaxBuckets-1)*minuteMs, now}},
	} {
		if got := lifetime(now, c.age, c.duration); got != c.want {
			t.Errorf("%s: lifetime(age %d, duration %d) = %v, want %v", c.name, c.age, c.duration, got, c.want)
		}
	}
}

// twin sums the slow way.
type twin struct {
	minute   map[minuteKey]sums
	received map[receivedKey]sums
	group    map[groupKey]sums
}

func slow(b *flow.Batch, exporters map[flow.Addr]uint32) twin {
	w := twin{map[minuteKey]sums{}, map[receivedKey]sums{}, map[groupKey]sums{}}
	for i := range b.Len() {
		rate := uint64(b.SamplingRate[i])
		all := sums{b.Bytes[i] * rate, b.Packets[i] * rate, 1}
		rk := receivedKey{b.Network[i], b.SrcVM[i], b.DstVM[i], b.RuleID[i], uint32(b.TimeReceived[i] / 60_000), exporters[b.Exporter[i]], b.Stage[i], b.Verdict[i], b.Counted[i]}
		s := w.received[rk]
		s.add(all)
		w.received[rk] = s
		life := lifetime(b.TimeReceived[i], b.StartAge[i], b.Duration[i])
		var before sums
		for minute := life.from / 60_000; ; minute++ {
			share := all
			until := (minute + 1) * 60_000
			if until < life.to {
				part := func(v uint64) uint64 { // v is small enough in this test
					return v * uint64(until-life.from) / uint64(life.to-life.from)
				}
				share.bytes, share.packets = part(all.bytes), part(all.packets)
			}
			d := sums{share.bytes - before.bytes, share.packets - before.packets, 0}
			if minute == life.from/60_000 {
				d.flows = 1
			}
			before = share
			if d != (sums{}) {
				mk := minuteKey{b.Host[i], b.Network[i], b.SrcVM[i], b.DstVM[i], b.RuleID[i], uint32(minute), exporters[b.Exporter[i]], min(b.SrcPort[i], b.DstPort[i]), b.Protocol[i], b.Stage[i], b.Verdict[i], b.Counted[i]}
				s := w.minute[mk]
				s.add(d)
				w.minute[mk] = s
				at := map[uint64]end{}
				for _, g := range b.SrcGroups.Row(i) {
					at[g] |= endOut
				}
				for _, g := range b.DstGroups.Row(i) {
					at[g] |= endIn
				}
				if len(b.SrcGroups.Row(i)) == 0 {
					at[0] |= endOut
				}
				if len(b.DstGroups.Row(i)) == 0 {
					at[0] |= endIn
				}
				for g, e := range at {
					gk := groupKey{g, uint32(minute), b.Protocol[i], e, b.Stage[i], b.Verdict[i], b.Counted[i]}
					s := w.group[gk]
					s.add(d)
					w.group[gk] = s
				}
			}
			if until >= life.to {
				break
			}
		}
	}
	return w
}

func TestAggregatorAgreesWithTwin(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	a := New(seed)
	for range 20 {
		b := flow.NewBatch(16)
		exporters := map[flow.Addr]uint32{}
		for i := range r.IntN(3000) {
			b.Grow(1)
			b.TimeReceived[i] = 1_790_000_000_000 + r.Int64N(90_000)
			b.StartAge[i] = r.Int64N(400_000)
			b.Duration[i] = uint32(r.Int64N(b.StartAge[i] + 1))
			b.Exporter[i] = flow.Addr{15: byte(r.IntN(3))}
			if _, ok := exporters[b.Exporter[i]]; !ok {
				exporters[b.Exporter[i]] = uint32(len(exporters))
			}
			b.SamplingRate[i] = uint32(1 + r.IntN(3)*99)
			b.Bytes[i], b.Packets[i] = r.Uint64N(1<<20), r.Uint64N(1000)
			b.SrcPort[i], b.DstPort[i] = uint16(1+r.IntN(5)), uint16(20_000+r.IntN(3))
			b.Protocol[i] = uint8(6 + 11*r.IntN(2))
			b.Host[i], b.Network[i] = r.Uint64N(3), r.Uint64N(2)
			b.SrcVM[i], b.DstVM[i] = r.Uint64N(4), r.Uint64N(4)
			b.Stage[i], b.Verdict[i], b.Counted[i] = flow.Stage(r.IntN(3)), flow.Verdict(r.IntN(3)), r.IntN(2) == 0
			b.SrcGroups.Set(i, []uint64{1, 2, 3}[:r.IntN(4)])
			b.DstGroups.Set(i, []uint64{2, 4}[:r.IntN(3)])
		}
		a.sum([]*flow.Batch{b})
		want := slow(b, exporters)
		same(t, seed, "minute", &a.minute, want.minute)
		same(t, seed, "received", &a.received, want.received)
		same(t, seed, "group", &a.group, want.group)
	}
}

func same[K comparable](t *testing.T, seed uint64, name string, got *table[K], want map[K]sums) {
	t.Helper()
	seen := map[K]bool{}
	for _, k := range got.keys {
		if _, ok := want[k]; !ok || seen[k] {
			t.Errorf("seed %d: table %s has %+v, twice or unwanted", seed, name, k)
		}
		seen[k] = true
	}
	if len(got.keys) != len(want) {
		t.Fatalf("seed %d: table %s has %d rows, want %d", seed, name, len(got.keys), len(want))
	}
	for i, k := range got.keys {
		if got.sums[i] != want[k] {
			t.Fatalf("seed %d: table %s: %+v sums to %+v, want %+v", seed, name, k, got.sums[i], want[k])
		}
	}
}

func TestSumDoesNotAllocateOnceWarm(t *testing.T) {
	b := flow.NewBatch(1000)
	b.Grow(1000)
	for i := range b.Len() {
		b.TimeReceived[i] = 1_790_000_000_000
		b.SrcVM[i] = uint64(i % 100)
		b.SrcGroups.Set(i, []uint64{7})
		b.SamplingRate[i] = 1
	}
	for i := range b.Len() {
		b.DstGroups.Set(i, nil)
	}
	a, list := New(1), []*flow.Batch{b}
	if n := testing.AllocsPerRun(20, func() { a.sum(list) }); n != 0 {
		t.Errorf("sum of a batch of 1000 rows: %v allocations, want 0", n)
	}
}
