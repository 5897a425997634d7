package wal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/store/wal"
)

const kib, mib = int64(bytesize.KiB), int64(bytesize.MiB)

var discard = slog.New(slog.DiscardHandler)

// config is a small log in dir whose records are read from disk.
func config(dir string) wal.Config {
	cfg := wal.Default()
	cfg.Dir, cfg.MaxSize, cfg.KeepFree, cfg.Sync = dir, 64*bytesize.MiB, 0, wal.SyncNone
	cfg.SegmentSize, cfg.Memory = 64*bytesize.KiB, 1
	return cfg
}

func open(t testing.TB, cfg wal.Config) *wal.Log {
	t.Helper()
	return openBoot(t, cfg, "this")
}

func openBoot(t testing.TB, cfg wal.Config, boot string) *wal.Log {
	t.Helper()
	l, err := wal.Open(cfg, wal.Deps{Log: discard, Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog(t, l) })
	return l
}

func closeLog(t testing.TB, l *wal.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// block is the block of piece n of batch id: size bytes that no other piece has.
func block(dst []byte, id uint64, n, size int) []byte {
	rng := rand.New(rand.NewPCG(id, uint64(n)))
	for range size / 8 {
		dst = binary.LittleEndian.AppendUint64(dst, rng.Uint64())
	}
	return append(dst, make([]byte, size%8)...)
}

// shape is how many pieces batch id has, and the size of the first.
func shape(id uint64) (pieces, size int) {
	rng := rand.New(rand.NewPCG(id, 99))
	return 1 + rng.IntN(4), 1 + rng.IntN(9000)
}

// record is batch id, all of whose contents follow from its id.
func record(l *wal.Log, id uint64) *wal.Record {
	r := l.New()
	pieces, size := shape(id)
	r.Batch, r.First, r.Last, r.Rows = id, int64(id)*1000, int64(id)*1000+500, int(id)%100+1
	for n := range pieces {
		r.Add("flows", fmt.Sprint("p", n), n+1, func(dst []byte) []byte { return block(dst, id, n, size+n) })
	}
	return r
}

// check tells what is wrong with a record that came back, if anything is.
func check(r *wal.Record) error {
	pieces, size := shape(r.Batch)
	if len(r.Pieces) != pieces || r.First != int64(r.Batch)*1000 || r.Last != r.First+500 || r.Rows != int(r.Batch)%100+1 {
		return fmt.Errorf("batch %d came back with %d pieces, %d rows, times %d to %d", r.Batch, len(r.Pieces), r.Rows, r.First, r.Last)
	}
	for n, p := range r.Pieces {
		if p.Table != "flows" || p.Partition != fmt.Sprint("p", n) || p.Rows != n+1 {
			return fmt.Errorf("batch %d: piece %d came back as %+v", r.Batch, n, p)
		}
		if !slices.Equal(r.Block(n), block(nil, r.Batch, n, size+n)) {
			return fmt.Errorf("batch %d: block %d came back changed", r.Batch, n)
		}
	}
	return nil
}

func add(t testing.TB, l *wal.Log, from, to uint64) {
	t.Helper()
	for id := from; id <= to; id++ {
		if err := l.Append(record(l, id)); err != nil {
			t.Fatal(err)
		}
	}
}

// ended is a context that is done: Next then returns only what is there.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// next takes the next record, nil if there is none. What is lost fails the test, unless lost is given to count it.
func next(t testing.TB, l *wal.Log, lost *wal.LostError) *wal.Record {
	t.Helper()
	for {
		r, err := l.Next(ended())
		gone, damaged := errors.AsType[*wal.LostError](err)
		switch {
		case damaged && lost != nil:
			lost.Records += gone.Records
			lost.Rows += gone.Rows
			continue
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			t.Fatal(err)
		}
		if err := check(r); err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// drain takes and retires all records and returns the ids.
func drain(t testing.TB, l *wal.Log, lost *wal.LostError) []uint64 {
	t.Helper()
	var ids []uint64
	for {
		r := next(t, l, lost)
		if r == nil {
			return ids
		}
		ids = append(ids, r.Batch)
		l.Retire(r)
	}
}

func span(from, to uint64) []uint64 {
	var ids []uint64
	for id := from; id <= to; id++ {
		ids = append(ids, id)
	}
	return ids
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func expect(t testing.TB, what string, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got batches %v, want %v", what, got, want)
	}
}

func TestOrder(t *testing.T) {
	for name, memory := range map[string]bytesize.Size{"disk": 1, "memory": bytesize.GiB, "both": 64 * bytesize.KiB} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			cfg.Memory = memory
			l := open(t, cfg)
			add(t, l, 1, 100)
			var ids []uint64
			for range 50 {
				r := next(t, l, nil)
				ids = append(ids, r.Batch)
				l.Retire(r)
			}
			add(t, l, 101, 200) // some of which fit into the memory that is free again, those before them do not
			ids = append(ids, drain(t, l, nil)...)
			expect(t, "in order", ids, span(1, 200))
			add(t, l, 201, 202)
			expect(t, "after a pause", drain(t, l, nil), span(201, 202))
			s := l.Stats()
			if s.Appended != 202 || s.Retired != 202 || s.Waiting != 0 || s.Rows != 0 || !s.Oldest.IsZero() || s.Segments != 1 {
				t.Errorf("stats %+v, want 202 appended and retired, one segment", s)
			}
			closeLog(t, l)
			if left := segments(t, cfg.Dir); len(left) > 0 {
				t.Errorf("files %q are left of an empty log", left)
			}
		})
	}
}

func TestReopen(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	add(t, l, 1, 60)
	for range 20 {
		l.Retire(next(t, l, nil))
	}
	a, b, c := next(t, l, nil), next(t, l, nil), next(t, l, nil) // 21 to 23
	l.Retire(b)
	closeLog(t, l)
	l.Retire(a) // too late: stays in doubt
	_ = c

	l = open(t, cfg)
	if s := l.Stats(); s.Recovered != 39 || s.Waiting != 39 || s.Torn+s.Corrupt != 0 || s.Oldest.UnixMilli() != 21_000 {
		t.Errorf("after the restart: %+v, want 39 records found, the oldest of 21 s", s)
	}
	add(t, l, 61, 70)
	var ids, doubts []uint64
	for r := next(t, l, nil); r != nil; r = next(t, l, nil) {
		ids = append(ids, r.Batch)
		if r.Doubt {
			doubts = append(doubts, r.Batch)
		}
	}
	expect(t, "after the restart", ids, append([]uint64{21}, span(23, 70)...))
	expect(t, "in doubt", doubts, []uint64{21, 23})
	closeLog(t, l)

	l = openBoot(t, cfg, "another")
	doubts = nil
	for r := next(t, l, nil); r != nil; r = next(t, l, nil) {
		if r.Doubt {
			doubts = append(doubts, r.Batch)
		}
		l.Retire(r)
	}
	expect(t, "in doubt after the machine started again", doubts, append([]uint64{21}, span(23, 70)...))
	if left := l.Stats(); left.Segments != 0 || left.Bytes != 0 {
		t.Errorf("when all is retired: %+v, want no segment", left)
	}
}

// However much of the last record is missing, what was before it is there.
func TestTorn(t *testing.T) {
	whole := t.TempDir()
	cfg := config(whole)
	cfg.SegmentSize = bytesize.MiB
	l := open(t, cfg)
	add(t, l, 1, 3)
	before := l.Stats().Bytes
	add(t, l, 4, 4)
	after := l.Stats().Bytes
	closeLog(t, l)
	name := filepath.Base(segments(t, whole)[0])
	content, err := os.ReadFile(filepath.Join(whole, name))
	if err != nil {
		t.Fatal(err)
	}
	f := func(size int64, want []uint64, torn uint64) {
		t.Helper()
		cfg := config(t.TempDir())
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), content[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, cfg)
		if s := l.Stats(); s.Torn != torn || s.Corrupt != 0 || s.Waiting != len(want) {
			t.Errorf("cut to %d of %d bytes: %+v, want %d waiting, %d torn", size, len(content), s, len(want), torn)
		}
		add(t, l, 9, 9)
		expect(t, fmt.Sprintf("cut to %d bytes", size), drain(t, l, nil), append(slices.Clone(want), 9))
		closeLog(t, l)
	}
	f(int64(len(content)), span(1, 4), 0)
	f(before, span(1, 3), 0)
	for size := before + 1; size < int64(len(content)); size += max(1, (after-before)/97) {
		f(size, span(1, 3), 1)
	}
	f(int64(len(content))-1, span(1, 3), 1)
	f(64, nil, 0)
	f(63, nil, 1)
	f(0, nil, 1)
}

// Whichever byte is damaged: no panic, nothing that was not written, and one record lost at most, unless it is the
// segment's own header.
func TestDamagedByte(t *testing.T) {
	whole := t.TempDir()
	cfg := config(whole)
	cfg.SegmentSize = bytesize.MiB
	l := open(t, cfg)
	add(t, l, 1, 6)
	closeLog(t, l)
	name := filepath.Base(segments(t, whole)[0])
	content, err := os.ReadFile(filepath.Join(whole, name))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	for i := range rounds {
		at := rng.IntN(len(content))
		if i < 128 { // headers are small, so more often
			at = i
		}
		damaged := slices.Clone(content)
		damaged[at] ^= byte(1 + rng.IntN(255))
		cfg := config(t.TempDir())
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, cfg)
		var lost wal.LostError
		ids := drain(t, l, &lost)
		want := 5
		if at < 64 {
			want = 0
		}
		if len(ids) < want || !slices.IsSorted(ids) {
			t.Errorf("byte %d damaged: got %v, want all but one", at, ids)
		}
		s := l.Stats()
		if len(ids) < 6 && s.Corrupt+s.Torn == 0 {
			t.Errorf("byte %d damaged: got %v, and nothing counted: %+v", at, ids, s)
		}
		if want > 0 && s.Recovered != uint64(len(ids)+lost.Records) {
			t.Errorf("byte %d damaged: %d came and %d were lost of %d", at, len(ids), lost.Records, s.Recovered)
		}
		closeLog(t, l)
		if left := segments(t, cfg.Dir); len(left) > 0 {
			t.Errorf("byte %d damaged: files left %q", at, left)
		}
		l = open(t, cfg)
		expect(t, "afterwards", drain(t, l, nil), nil)
		closeLog(t, l)
	}
}

// Damage that happens while the log is open, between Open or Append and Next, is counted too.
func TestDamagedWhileOpen(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.SegmentSize = bytesize.MiB
	l := open(t, cfg)
	add(t, l, 1, 5)
	second := l.Stats().Bytes
	closeLog(t, l)
	l = open(t, cfg)
	f, err := os.OpenFile(segments(t, cfg.Dir)[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := next(t, l, nil)
	at := 64 + (second-64)/2 // somewhere in the middle, all of two records at least
	at -= at % 64
	if _, err := f.WriteAt(make([]byte, second-at), at); err != nil {
		t.Fatal(err)
	}
	add(t, l, 6, 7)
	var lost wal.LostError
	ids := []uint64{r.Batch}
	l.Retire(r)
	ids = append(ids, drain(t, l, &lost)...)
	if s := l.Stats(); lost.Records == 0 || len(ids)+lost.Records != 7 || !slices.Contains(ids, 7) || s.Waiting != 0 || s.Rows != 0 || s.Corrupt != uint64(lost.Records) {
		t.Errorf("got %v, lost %+v, stats %+v; want the sum to be 7, nothing waiting", ids, lost, s)
	}
}

func TestUnknownVersion(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	add(t, l, 1, 1)
	closeLog(t, l)
	name := segments(t, cfg.Dir)[0]
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[8] = 2
	binary.LittleEndian.PutUint32(content[60:], wal.Checksum(content[:60]))
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = wal.Open(cfg, wal.Deps{Log: discard})
	if err == nil || !strings.Contains(err.Error(), "version 2, this weir knows version 1") {
		t.Errorf("a segment of version 2: %v, want an error that says so", err)
	}
	if left := segments(t, cfg.Dir); len(left) != 1 {
		t.Errorf("a segment of another version was touched: %q", left)
	}
}

func TestFull(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.MaxSize, cfg.SegmentSize = 16*bytesize.MiB, 2*bytesize.MiB
	l := open(t, cfg)
	big := func(id uint64, size int64) *wal.Record {
		r := l.New()
		r.Batch, r.First, r.Rows = id, int64(id), 1
		r.Add("flows", "p", 1, func(dst []byte) []byte { return append(dst, make([]byte, size)...) })
		return r
	}
	var n uint64
	var kept *wal.Record
	for {
		kept = big(n+1, mib-64*kib)
		err := l.Append(kept)
		if errors.Is(err, wal.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if s := l.Stats(); s.Bytes > s.MaxBytes || n < 15 || s.FullSince.IsZero() || s.Problem != "" {
		t.Errorf("full after %d records: %+v, want at least 15 of 16 MiB, no more than that, and since when", n, s)
	}
	for len(l.Freed()) > 0 {
		<-l.Freed()
	}
	for range 2 { // a segment
		r, err := l.Next(ended())
		if err != nil {
			t.Fatal(err)
		}
		l.Retire(r)
	}
	select {
	case <-l.Freed():
	default:
		t.Error("a segment was freed, and nobody was told")
	}
	if err := l.Append(kept); err != nil {
		t.Errorf("append after a segment was freed: %v", err)
	}
	if s := l.Stats(); !s.FullSince.IsZero() {
		t.Errorf("stats %+v, want it to be full no more", s)
	}
	for {
		r, err := l.Next(ended())
		if err != nil {
			break
		}
		l.Retire(r)
	}
	if err := l.Append(big(1000, 20*mib)); err != nil {
		t.Errorf("a record larger than the log, which is empty: %v, want it taken", err)
	}
	if err := l.Append(big(1001, 1)); !errors.Is(err, wal.ErrFull) {
		t.Errorf("a record after it: %v, want ErrFull", err)
	}
}

// A disk that takes nothing: records wait in memory, as far as there is some, and are handed out in order.
func TestDiskRefuses(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.KeepFree, cfg.Memory = 1<<60, 100*bytesize.KiB
	l := open(t, cfg)
	var n uint64
	for {
		err := l.Append(record(l, n+1))
		if errors.Is(err, wal.ErrFull) && strings.Contains(err.Error(), "keep_free is") {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	s := l.Stats()
	if n < 3 || s.Volatile != int(n) || s.Waiting != int(n) || s.Problem == "" || s.FullSince.IsZero() || s.Bytes > 64 {
		t.Errorf("%d records taken, stats %+v; want some, in memory only, a problem, and full", n, s)
	}
	expect(t, "from memory", drain(t, l, nil), span(1, n))
	if s := l.Stats(); s.Volatile != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v, want none", s)
	}
	add(t, l, n+1, n+1)
	expect(t, "and again", drain(t, l, nil), []uint64{n + 1})
}

func TestLock(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	if _, err := wal.Open(cfg, wal.Deps{Log: discard}); !errors.Is(err, wal.ErrLocked) {
		t.Errorf("second Open: %v, want ErrLocked", err)
	}
	closeLog(t, l)
	closeLog(t, l)
	if err := l.Append(record(l, 1)); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("Append after Close: %v, want ErrClosed", err)
	}
	if _, err := l.Next(t.Context()); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("Next after Close: %v, want ErrClosed", err)
	}
	open(t, cfg)
}

func TestCloseWakesNext(t *testing.T) {
	l := open(t, config(t.TempDir()))
	errs := make(chan error)
	go func() {
		_, err := l.Next(context.Background())
		errs <- err
	}()
	closeLog(t, l)
	if err := <-errs; !errors.Is(err, wal.ErrClosed) {
		t.Errorf("Next while the log is closed: %v, want ErrClosed", err)
	}
}

func TestOldest(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Memory = bytesize.MiB
	l := open(t, cfg)
	f := func(what string, want int64) {
		t.Helper()
		if got, ok := l.Oldest(); ok != (want > 0) || ok && got != want {
			t.Errorf("%s: Oldest = %d, %v; want %d", what, got, ok, want)
		}
	}
	f("empty", 0)
	add(t, l, 5, 5)
	add(t, l, 3, 4) // not in order: another socket's
	f("waiting", 3000)
	a, b, c := next(t, l, nil), next(t, l, nil), next(t, l, nil)
	f("handed out", 3000)
	l.Retire(b)
	f("the oldest retired", 4000)
	l.Retire(c)
	f("the next oldest retired", 5000)
	l.Retire(a)
	f("all retired", 0)
}

// Settled waits for what was there, in memory or in a file, and not for what comes later.
func TestSettled(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	if err := l.Settled(ended()); err != nil {
		t.Errorf("empty log: %v", err)
	}
	add(t, l, 1, 3)
	closeLog(t, l)
	l = open(t, cfg) // 1 to 3 are in the file
	add(t, l, 4, 5)  // and 4 and 5 in memory
	for id := uint64(1); id < 6; id++ {
		r := next(t, l, nil)
		if err := l.Settled(ended()); !errors.Is(err, context.Canceled) {
			t.Errorf("record %d is not retired: %v", id, err)
		}
		l.Retire(r)
	}
	if err := l.Settled(ended()); err != nil {
		t.Errorf("all is retired: %v", err)
	}
	settled := make(chan error)
	go func() { settled <- l.Settled(t.Context()) }()
	var last *wal.Record
	for id, deadline := uint64(6), time.Now().Add(2*time.Minute); ; id++ { // some record waits at every moment
		add(t, l, id, id)
		r := next(t, l, nil)
		if last != nil {
			l.Retire(last)
		}
		last = r
		select {
		case err := <-settled:
			if err != nil {
				t.Error(err)
			}
			l.Retire(last)
			closeLog(t, l)
			if err := l.Settled(t.Context()); !errors.Is(err, wal.ErrClosed) {
				t.Errorf("closed log: %v", err)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("Settled waits for records that came later")
		}
	}
}

func TestSync(t *testing.T) {
	f := func(policy wal.Sync, done func(wal.Stats) bool) wal.Stats {
		t.Helper()
		cfg := config(t.TempDir())
		cfg.Sync, cfg.SyncInterval, cfg.Memory = policy, 100*time.Millisecond, bytesize.MiB
		l := open(t, cfg)
		add(t, l, 1, 3)
		deadline := time.Now().Add(2 * time.Minute)
		for !done(l.Stats()) {
			if time.Now().After(deadline) {
				t.Fatalf("sync %s: waited in vain: %+v", policy, l.Stats())
			}
			time.Sleep(time.Millisecond)
		}
		drain(t, l, nil)
		return l.Stats()
	}
	if s := f(wal.SyncEvery, func(wal.Stats) bool { return true }); s.Syncs != 3 {
		t.Errorf("sync every: %d syncs of 3 records", s.Syncs)
	}
	if s := f(wal.SyncNone, func(wal.Stats) bool { return true }); s.Syncs != 0 {
		t.Errorf("sync none: %d syncs", s.Syncs)
	}
	// Records that come within half an interval are synced together. On a busy machine three may take longer to come.
	for try := 1; ; try++ {
		s := f(wal.SyncInterval, func(s wal.Stats) bool { return s.Syncs > 0 })
		if s.Syncs == 1 {
			break
		}
		if try == 20 {
			t.Fatalf("sync interval: %d syncs of 3 records, %d times", s.Syncs, try)
		}
	}

	var s wal.Sync
	for _, word := range s.Allowed() {
		if err := s.UnmarshalText([]byte(word)); err != nil || s.String() != word {
			t.Errorf("%q is read as %q, %v", word, s, err)
		}
	}
	if err := s.UnmarshalText([]byte("always")); err == nil {
		t.Error(`"always" is taken for a sync policy`)
	}
}

// What is retired at once is never synced: the store has it.
func TestSyncLeavesOutWhatIsRetired(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Sync, cfg.SyncInterval, cfg.Memory = wal.SyncInterval, time.Minute, bytesize.MiB
	l := open(t, cfg)
	for id := range uint64(100) {
		add(t, l, id+1, id+1)
		drain(t, l, nil)
	}
	closeLog(t, l)
	if s := l.Stats(); s.Syncs != 0 {
		t.Errorf("%d syncs, though nothing waited", s.Syncs)
	}
}

// Many append, many take, the log is closed and opened again in between: each record comes once if it is retired, and
// nothing is left in the end.
func TestConcurrent(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Memory, cfg.Sync, cfg.SyncInterval = 200*bytesize.KiB, wal.SyncInterval, 10*time.Millisecond
	const rounds, appenders, takers, each = 4, 3, 3, 80
	var mu sync.Mutex
	seen := map[uint64]int{}
	for round := range rounds {
		l := open(t, cfg)
		var appending, taking sync.WaitGroup
		for a := range appenders {
			appending.Go(func() {
				for i := range each {
					id := uint64(round*1_000_000 + a*1000 + i + 1)
					if err := l.Append(record(l, id)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		for n := range takers {
			taking.Go(func() {
				for i := 0; ; i++ {
					r, err := l.Next(ctx)
					if err != nil {
						if ctx.Err() == nil {
							t.Error(err)
						}
						return
					}
					if err := check(r); err != nil {
						t.Error(err)
					}
					if round < rounds-1 && i%7 == n { // left to the next process
						continue
					}
					mu.Lock()
					seen[r.Batch]++
					mu.Unlock()
					l.Retire(r)
				}
			})
		}
		appending.Wait()
		cancel()
		taking.Wait()
		closeLog(t, l)
	}
	if len(seen) != rounds*appenders*each {
		t.Errorf("%d batches came, want %d", len(seen), rounds*appenders*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("batch %d was retired %d times", id, n)
		}
	}
	if left := segments(t, cfg.Dir); len(left) > 0 {
		t.Errorf("files left: %q", left)
	}
}

func TestNoAllocationPerRecord(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Memory, cfg.SegmentSize = bytesize.MiB, 16*bytesize.MiB
	l := open(t, cfg)
	payload := make([]byte, 10_000)
	ctx := ended()
	encode := func(dst []byte) []byte { return append(dst, payload...) }
	allocs := testing.AllocsPerRun(200, func() {
		r := l.New()
		r.Batch, r.Rows = 1, 100
		r.Add("flows", "20261124", 100, encode)
		if err := l.Append(r); err != nil {
			t.Fatal(err)
		}
		r, err := l.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		l.Retire(r)
	})
	if allocs > 1 {
		t.Errorf("%.1f allocations a record, want at most 1", allocs)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	l, err := wal.Open(config(t.TempDir()), wal.Deps{Log: discard, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	add(t, l, 1, 2)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	for _, f := range families {
		if f.GetName() == "weir_store_wal_waiting_batches" && f.GetMetric()[0].GetGauge().GetValue() != 2 {
			t.Errorf("waiting = %v, want 2", f)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, change := range []func(*wal.Config){
		func(c *wal.Config) { c.MaxSize = bytesize.MiB },
		func(c *wal.Config) { c.KeepFree = -1 },
		func(c *wal.Config) { c.SyncInterval = 0 },
		func(c *wal.Config) { c.SyncInterval = time.Hour },
	} {
		cfg := wal.Default()
		change(&cfg)
		if err := cfg.Validate(); err == nil {
			t.Errorf("Validate(%+v) = nil, want an error", cfg)
		}
	}
	cfg := wal.Default()
	if err := cfg.Validate(); err != nil {
		t.Errorf("Validate of the default: %v", err)
	}
}

// A further block for a partition goes behind the first; the pieces between stay what they are.
func TestAddJoinsBlocksOfAPartition(t *testing.T) {
	l := open(t, config(t.TempDir()))
	r := l.New()
	r.Batch, r.Rows = 1, 1
	put := func(table, partition, block string) {
		r.Add(table, partition, 1, func(dst []byte) []byte { return append(dst, block...) })
	}
	put("flows", "a", "first")
	put("flows", "b", "other")
	put("sums", "a", "sum")
	put("flows", "a", "+second")
	put("flows", "b", "+more")
	if err := l.Append(r); err != nil {
		t.Fatal(err)
	}
	r, err := l.Next(ended())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, p := range r.Pieces {
		got = append(got, fmt.Sprintf("%s %s %d %s", p.Table, p.Partition, p.Rows, r.Block(i)))
	}
	if want := []string{"sums a 1 sum", "flows a 2 first+second", "flows b 2 other+more"}; !slices.Equal(got, want) {
		t.Errorf("pieces %q, want %q", got, want)
	}
}

// Whatever is in a file of the log: no panic, and records only as their checksums say.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	l := open(f, config(dir))
	add(f, l, 1, 3)
	closeLog(f, l)
	content, err := os.ReadFile(segments(f, dir)[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:64])
	f.Add(content[:200])
	f.Add([]byte("weir-wal"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := config(t.TempDir())
		if err := os.WriteFile(filepath.Join(cfg.Dir, "0000000000000001.wal"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := wal.Open(cfg, wal.Deps{Log: discard, Boot: "this"})
		if err != nil {
			return // another version
		}
		defer closeLog(t, l)
		for {
			r, err := l.Next(ended())
			if _, lost := errors.AsType[*wal.LostError](err); lost {
				continue
			}
			if err != nil {
				break
			}
			size := 0
			for i := range r.Pieces {
				size += len(r.Block(i))
			}
			if size > len(b) {
				t.Errorf("a file of %d bytes gave a record of %d", len(b), size)
			}
			l.Retire(r)
		}
		if s := l.Stats(); s.Waiting != 0 || s.Rows != 0 {
			t.Errorf("after all: %+v, want none waiting", s)
		}
	})
}
