package collector_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/state"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
)

const patience = time.Minute // a test that needs it has failed

// row is what the tests look at.
type row struct {
	exporter netip.Addr
	src      netip.Addr
	srcPort  uint16
	bytes    uint64
	rate     uint32
	assumed  bool
	received int64
	batch    uint64
}

// rig is a collector with what is around it.
type rig struct {
	*collector.Collector
	t     testing.TB
	conns []*udp.Conn
	log   *strings.Builder // read it after stop
	hold  chan struct{}    // while it is open, Seal blocks; nil: never

	batchID atomic.Uint64

	mu       sync.Mutex // guards what follows
	batches  [][]row
	enriched int
	seen     map[netip.Addr]int

	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// config is the default, but on a loopback port.
func config() collector.Config {
	cfg := collector.Default()
	cfg.Listen = []string{"127.0.0.1:0"}
	cfg.Workers = 1
	cfg.RecvBuffer = 4 << 20
	cfg.FlushInterval = 100 * time.Millisecond
	return cfg
}

// newRig makes a collector that does not run yet.
func newRig(t testing.TB, cfg collector.Config, change ...func(*rig, *collector.Deps)) *rig {
	t.Helper()
	conns, err := collector.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	r := &rig{t: t, conns: conns, log: &strings.Builder{}, seen: map[netip.Addr]int{}}
	deps := collector.Deps{
		Log:       slog.New(slog.NewTextHandler(&lockedWriter{w: r.log}, nil)),
		Conns:     conns,
		Templates: template.New(cfg.Templates),
		Get:       func() *flow.Batch { return flow.NewBatch(cfg.BatchCap()) },
		BatchID:   func() uint64 { return r.batchID.Add(1) },
		Enrich: func(*flow.Batch) {
			r.mu.Lock()
			r.enriched++
			r.mu.Unlock()
		},
		Seal: r.seal,
		Seen: func(a netip.Addr, _ int64) {
			r.mu.Lock()
			r.seen[a]++
			r.mu.Unlock()
		},
	}
	for _, f := range change {
		f(r, &deps)
	}
	if r.Collector, err = collector.New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	return r
}

// start makes a collector and runs it until stop or the end of the test.
func start(t testing.TB, cfg collector.Config, change ...func(*rig, *collector.Deps)) *rig {
	t.Helper()
	r := newRig(t, cfg, change...)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		r.err = r.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop() }) // tests that care about the error stop it themselves
	return r
}

// stop ends Run and returns its error.
func (r *rig) stop() error {
	r.t.Helper()
	r.cancel()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		r.t.Fatal("Run did not return")
		return nil
	}
}

func (r *rig) seal(b *flow.Batch) {
	if r.hold != nil {
		<-r.hold
	}
	rows := make([]row, b.Len())
	for i := range rows {
		rows[i] = row{
			exporter: netip.AddrFrom16(b.Exporter[i]).Unmap(), src: netip.AddrFrom16(b.SrcAddr[i]).Unmap(), srcPort: b.SrcPort[i],
			bytes: b.Bytes[i], rate: b.SamplingRate[i], assumed: b.SamplingAssumed[i], received: b.TimeReceived[i],
			batch: b.ID[i],
		}
	}
	r.mu.Lock()
	r.batches = append(r.batches, rows)
	r.mu.Unlock()
}

func (r *rig) sealed() [][]row {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.batches)
}

func (r *rig) rows() []row { return slices.Concat(r.sealed()...) }

// addr is where the collector's first socket can be reached.
func (r *rig) addr() netip.AddrPort {
	a := r.conns[0].LocalAddr()
	if a.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return a
}

// dial is an exporter with the address from, on loopback.
func (r *rig) dial(from string) *net.UDPConn {
	r.t.Helper()
	local := &net.UDPAddr{IP: net.ParseIP(from)}
	to := netip.AddrPortFrom(r.addr().Addr(), r.addr().Port())
	if local.IP.To4() == nil {
		to = netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
	}
	c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) send(c *net.UDPConn, packets ...[]byte) {
	r.t.Helper()
	for _, p := range packets {
		if _, err := c.Write(p); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) waitFor(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s; stats: %+v", what, r.Stats())
		}
	}
}

// waitRows waits until n rows are sealed.
func (r *rig) waitRows(n int) []row {
	r.t.Helper()
	r.waitFor("rows", func() bool { return r.Stats().Sealed >= uint64(n) && len(r.rows()) >= n })
	return r.rows()
}

// balance fails the test if a datagram or flow is not accounted for.
func balance(t testing.TB, s collector.Stats) {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Errorf("the books do not balance: %v\n%+v", err, s)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  *strings.Builder
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestDatagramsBecomeRows(t *testing.T) {
	cfg := config()
	cfg.Listen = []string{":0", "127.0.0.1:0"}
	cfg.Workers = 2
	r := start(t, cfg)
	if len(r.conns) != 4 {
		t.Fatalf("Listen made %d sockets, want 2 for each of 2 addresses", len(r.conns))
	}
	before := time.Now().UnixMilli()
	a := r.dial("127.0.0.1")
	r.send(a, v9TemplatePacket(), v9DataPacket(1000, 24))
	r.send(r.dial("127.0.0.2"), v5Packet(30))
	want := 54
	if c, err := net.Dial("udp6", netip.AddrPortFrom(netip.IPv6Loopback(), r.addr().Port()).String()); err == nil {
		r.send(c.(*net.UDPConn), v5Packet(1)) // the same socket, by IPv6
		c.Close()
		want++
	}
	got := r.waitRows(want)
	by := map[netip.Addr]int{}
	for _, row := range got {
		by[row.exporter]++
		if row.src.As4()[0] != 10 || row.bytes != 1500 {
			t.Errorf("row %+v, want source 10.0.0.x and 1500 bytes", row)
		}
		if row.received < before-20 || row.received > time.Now().UnixMilli()+20 {
			t.Errorf("received at %d, sent at %d", row.received, before)
		}
		if row.batch == 0 {
			t.Error("row without a batch id")
		}
	}
	if by[netip.MustParseAddr("127.0.0.1")] != 24 || by[netip.MustParseAddr("127.0.0.2")] != 30 || len(got) != want {
		t.Errorf("rows by exporter: %v, want 24 of 127.0.0.1, 30 of 127.0.0.2, %d in all", by, want)
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	balance(t, r.Stats())
	if r.enriched != len(r.batches) || int(r.Stats().Batches) != len(r.batches) {
		t.Errorf("%d batches enriched, %d sealed, %d counted", r.enriched, len(r.batches), r.Stats().Batches)
	}
	exporters := r.Exporters(time.Now())
	if len(exporters) < 2 {
		t.Fatalf("Exporters() = %v, want those that sent", exporters)
	}
	if e := exporters[0]; e.Exporter != netip.MustParseAddr("127.0.0.1") || e.Domain != 7 || e.Counts.Flows != 24 || !e.Live {
		t.Errorf("Exporters()[0] = %+v, want 127.0.0.1, domain 7, 24 flows, live", e)
	}
	if r.Exporters(time.Now().Add(time.Hour))[0].Live {
		t.Error("an exporter silent for an hour is live")
	}
	if r.seen[netip.MustParseAddr("127.0.0.2")] == 0 {
		t.Errorf("Seen was called for %v, want 127.0.0.2 too", r.seen)
	}
}

func TestBatchesEndWhenFull(t *testing.T) {
	cfg := config()
	cfg.BatchRows = 100
	cfg.FlushInterval = time.Minute // only full ones, until the end
	r := start(t, cfg)
	c := r.dial("127.0.0.1")
	r.send(c, v9TemplatePacket())
	const packets = 44
	for i := range packets {
		r.send(c, v9DataPacket(uint16(i*v9Flows), v9Flows))
	}
	r.waitRows(8 * 120)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	batches := r.sealed()
	ids := map[uint64]bool{}
	for i, b := range batches {
		want := 120 // the first multiple of 24 from 100 on
		if i == len(batches)-1 {
			want = packets*v9Flows - 8*120
		}
		if len(b) != want {
			t.Errorf("batch %d has %d rows, want %d", i, len(b), want)
		}
		for _, row := range b {
			if row.batch != b[0].batch {
				t.Fatalf("batch %d has two ids", i)
			}
		}
		ids[b[0].batch] = true
	}
	if len(batches) != 9 || len(ids) != 9 {
		t.Errorf("%d batches with %d ids, want 9", len(batches), len(ids))
	}
	for i, row := range r.rows() {
		if row.srcPort != uint16(i) {
			t.Fatalf("row %d has source port %d: out of order", i, row.srcPort)
		}
	}
}

func TestFlushAfterASecond(t *testing.T) {
	cfg := config()
	cfg.FlushInterval = collector.Default().FlushInterval
	r := start(t, cfg)
	c := r.dial("127.0.0.1")
	for range 2 { // the second time after an idle flush
		n := len(r.rows())
		sent := time.Now()
		r.send(c, v5Packet(1))
		r.waitRows(n + 1)
		if took := time.Since(sent); took > 30*time.Second { // of a busy machine
			t.Errorf("a lone row was sealed after %v, want about a second", took)
		}
	}
}

func TestStopKeepsWhatTheKernelTook(t *testing.T) {
	const packets = 1000
	for range 5 {
		cfg := config()
		cfg.Workers = 2
		r := start(t, cfg)
		for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
			c := r.dial(from)
			r.send(c, v9TemplatePacket())
			for range packets / 2 {
				r.send(c, v9DataPacket(0, v9Flows))
			}
		}
		if err := r.stop(); err != nil { // at once
			t.Fatal(err)
		}
		s := r.Stats()
		balance(t, s)
		if s.Datagrams+s.KernelDrops != packets+2 {
			t.Errorf("%d datagrams and %d kernel drops, want %d together", s.Datagrams, s.KernelDrops, packets+2)
		}
		if s.KernelDrops == 0 && len(r.rows()) != packets*v9Flows {
			t.Errorf("%d rows, want %d", len(r.rows()), packets*v9Flows)
		}
		if s.Pending != 0 || int(s.Sealed) != len(r.rows()) {
			t.Errorf("%d rows pending, %d counted as sealed, %d sealed", s.Pending, s.Sealed, len(r.rows()))
		}
	}
}

func TestBlockedSealDropsInTheKernel(t *testing.T) {
	cfg := config()
	cfg.BatchRows = 1
	cfg.RecvBuffer = 64 << 10
	hold := make(chan struct{})
	r := start(t, cfg, func(r *rig, _ *collector.Deps) { r.hold = hold })
	c := r.dial("127.0.0.1")
	const packets = 3000
	for range packets {
		r.send(c, v5Packet(30))
	}
	if r.Stats().KernelDrops == 0 {
		t.Error("no kernel drops although nothing is read")
	}
	close(hold)
	r.waitFor("every datagram", func() bool {
		s := r.Stats()
		return s.Datagrams+s.KernelDrops == packets
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	balance(t, s)
	if want := s.Datagrams * 30; s.Sealed != want || s.SealWait == 0 {
		t.Errorf("%d rows sealed of %d datagrams, waited %v; want %d rows and some wait", s.Sealed, s.Datagrams, s.SealWait, want)
	}
}

func TestAllow(t *testing.T) {
	cfg := config()
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.8/29"), netip.MustParsePrefix("2001:db8::/32")}
	r := start(t, cfg)
	good, bad := r.dial("127.0.0.9"), r.dial("127.0.0.1")
	for range 10 {
		r.send(bad, v5Packet(30))
		r.send(good, v5Packet(1))
	}
	r.waitFor("20 datagrams", func() bool { return r.Stats().Datagrams == 20 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	balance(t, s)
	if s.Dropped["not_allowed"] != 10 || s.Sealed != 10 {
		t.Errorf("%d dropped as not_allowed and %d rows, want 10 and 10", s.Dropped["not_allowed"], s.Sealed)
	}
	if n := strings.Count(r.log.String(), "not allowed"); n != 1 || !strings.Contains(r.log.String(), "source=127.0.0.1:") {
		t.Errorf("%d lines about refused sources, want one that names 127.0.0.1:\n%s", n, r.log)
	}
	if len(r.Exporters(time.Now())) != 1 {
		t.Errorf("refused sources are remembered: %v", r.Exporters(time.Now()))
	}
}

func TestTooManyExporters(t *testing.T) {
	cfg := config()
	cfg.Templates.MaxExporters = 2
	r := start(t, cfg)
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"} {
		r.send(r.dial(from), v5Packet(1))
	}
	r.waitFor("5 datagrams", func() bool { return r.Stats().Datagrams == 5 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	balance(t, s)
	if s.Dropped["too_many_exporters"] != 2 || s.Sealed != 3 || len(r.seen) != 2 {
		t.Errorf("%v dropped, %d rows, %d exporters seen; want 2 too_many_exporters, 3, 2", s.Dropped, s.Sealed, len(r.seen))
	}
}

func TestUnknownVersionsAreCounted(t *testing.T) {
	r := start(t, config())
	c := r.dial("127.0.0.1")
	r.send(c, []byte{0, 1, 0, 0}, []byte{0, 0, 0, 5}, []byte("GET / HTTP/1.1\r\n"), []byte{}, []byte{9}, v5Packet(1))
	r.waitRows(1)
	s := r.Stats()
	balance(t, s)
	if s.Dropped["unknown_version"] != 3 || s.Dropped["truncated"] != 2 {
		t.Errorf("dropped %v, want 3 unknown_version and 2 truncated", s.Dropped)
	}
}

func TestSamplingByPrefix(t *testing.T) {
	cfg := config()
	cfg.Sampling = []collector.Sampling{
		{Exporters: netip.MustParsePrefix("127.0.0.0/24"), Rate: 100},
		{Exporters: netip.MustParsePrefix("127.0.0.2/32"), Rate: 1000},
	}
	cfg.DefaultSampling = 7
	r := start(t, cfg)
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.1.1"} {
		r.send(r.dial(from), v5Packet(1))
	}
	for _, row := range r.waitRows(3) {
		want := map[string]uint32{"127.0.0.1": 100, "127.0.0.2": 1000, "127.0.1.1": 7}[row.exporter.String()]
		if row.rate != want || !row.assumed {
			t.Errorf("%v: rate %d, assumed %v; want %d, true", row.exporter, row.rate, row.assumed, want)
		}
	}
	if got := r.Stats().Assumed; got != 3 {
		t.Errorf("sampling_assumed = %d, want 3", got)
	}
}

// "After the exporter restarted its flows were gone until it sent templates again": it came back on another port.
func TestExporterThatComesBackOnAnotherPort(t *testing.T) {
	r := start(t, config())
	r.send(r.dial("127.0.0.1"), v9TemplatePacket())
	r.waitFor("the template", func() bool { return len(r.Exporters(time.Now())) == 1 })
	r.send(r.dial("127.0.0.1"), v9DataPacket(0, 3)) // another socket
	r.waitRows(3)
}

// What the last datagrams before a stop brought is known after it, however long it is until the next save.
func TestStopSavesTheState(t *testing.T) {
	cfg := config()
	cfg.State = state.Config{File: filepath.Join(t.TempDir(), "state"), Interval: time.Hour, MaxSize: 1 << 20}
	kept := func(_ *rig, d *collector.Deps) {
		var err error
		if d.State, err = state.Open(cfg.State, state.Deps{Log: d.Log, Store: d.Templates, Parse: netflow.ParseTemplate, Now: time.Now}); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, cfg, kept)
	r.send(r.dial("127.0.0.1"), v9TemplatePacket())
	r.waitFor("the template", func() bool { return len(r.Exporters(time.Now())) == 1 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg, kept)
	if s := r.Stats().State; s == nil || s.Restored.Templates != 1 {
		t.Fatalf("state %+v, want 1 template restored", s)
	}
	r.send(r.dial("127.0.0.1"), v9DataPacket(0, 3))
	r.waitRows(3)
}

// hostile makes datagrams of every degree of nonsense.
func hostile(rnd *rand.Rand) []byte {
	var b []byte
	switch rnd.IntN(4) {
	case 0:
		b = make([]byte, rnd.IntN(1500))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if len(b) >= 2 {
			b[0], b[1] = 0, []byte{5, 9, 10, byte(rnd.Uint32())}[rnd.IntN(4)]
		}
		return b
	case 1:
		b = v9TemplatePacket()
	case 2:
		b = v9DataPacket(0, rnd.IntN(30))
	case 3:
		b = v5Packet(rnd.IntN(31))
	}
	for range rnd.IntN(8) {
		b[rnd.IntN(len(b))] = byte(rnd.Uint32())
	}
	return b[:rnd.IntN(len(b)+1)]
}

func TestHostileFlood(t *testing.T) {
	rnd := rand.New(rand.NewPCG(chance.Seed(t), 0))
	cfg := config()
	cfg.Workers = 2
	cfg.Templates.MaxMemory = 32 << 20
	cfg.Templates.MaxExporters = 20
	cfg.BatchRows = 5000
	var rows, batches atomic.Uint64
	store := template.New(cfg.Templates)
	r := start(t, cfg, func(_ *rig, d *collector.Deps) {
		d.Templates = store
		free := make(chan *flow.Batch, 8)
		d.Get = func() *flow.Batch {
			select {
			case b := <-free:
				return b
			default:
				return flow.NewBatch(cfg.BatchCap())
			}
		}
		d.Seal = func(b *flow.Batch) {
			rows.Add(uint64(b.Len()))
			batches.Add(1)
			b.Reset()
			select {
			case free <- b:
			default:
			}
		}
	})
	var exporters []*net.UDPConn
	for i := range 40 {
		exporters = append(exporters, r.dial(net.IPv4(127, 0, 2, byte(i)).String()))
	}
	heap := heapInUse()
	sent := uint64(0)
	for begin := time.Now(); time.Since(begin) < 3*time.Second; {
		for range 50 {
			r.send(exporters[rnd.IntN(len(exporters))], hostile(rnd))
			sent++
		}
		balance(t, r.Stats()) // at every moment
		if got := store.Memory(); got > int64(cfg.Templates.MaxMemory) {
			t.Fatalf("templates take %d bytes, bound %d", got, cfg.Templates.MaxMemory)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	balance(t, s)
	if s.Datagrams+s.KernelDrops != sent || s.Received != s.Datagrams {
		t.Errorf("sent %d, taken %d, received %d, kernel drops %d", sent, s.Datagrams, s.Received, s.KernelDrops)
	}
	if s.Pending != 0 || s.Sealed != rows.Load() || s.Batches != batches.Load() {
		t.Errorf("sealed %d rows in %d batches, counted %d in %d, pending %d", rows.Load(), batches.Load(), s.Sealed, s.Batches, s.Pending)
	}
	// What each exporter is said to have sent adds up to the same.
	flows := uint64(0)
	for _, e := range r.Exporters(time.Now()) {
		flows += e.Counts.Flows
	}
	if flows != s.Flows {
		t.Errorf("the exporters' flows are %d, the collector's %d", flows, s.Flows)
	}
	if got := heapInUse() - heap; got > 128<<20 {
		t.Errorf("the heap grew by %d MB", got>>20)
	}
	if s.Decoded == 0 || s.Dropped["unknown_version"] == 0 || s.Dropped["too_many_exporters"] == 0 {
		t.Errorf("the flood did not reach what it should: %+v", s)
	}
	t.Logf("%d datagrams, %d kernel drops, %d flows, dropped %v", sent, s.KernelDrops, s.Flows, s.Dropped)
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func TestPanicOfTheDecoderCostsOneDatagram(t *testing.T) {
	r := newRig(t, config())
	r.BreakDecoder("fatal")
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		r.err = r.Run(ctx)
	}()
	c := r.dial("127.0.0.1")
	r.send(c, v5Packet(2), []byte("fatal"), v5Packet(3))
	r.waitRows(5)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	balance(t, s)
	if s.Dropped["panic"] != 1 || s.Sealed != 5 || len(r.rows()) != 5 {
		t.Errorf("dropped %v, sealed %d, %d rows; want 1 panic, 5, 5", s.Dropped, s.Sealed, len(r.rows()))
	}
	if !strings.Contains(r.log.String(), "datagram=666174616c") {
		t.Errorf("the log does not show the datagram:\n%s", r.log)
	}
}

func TestFailedSocketEndsRun(t *testing.T) {
	cfg := config()
	cfg.Workers = 2
	r := start(t, cfg)
	r.send(r.dial("127.0.0.1"), v5Packet(7))
	r.waitFor("a datagram", func() bool { return r.Stats().Datagrams == 1 })
	r.conns[0].Close()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("Run goes on without its socket")
	}
	if !errors.Is(r.err, net.ErrClosed) {
		t.Errorf("Run() = %v, want net.ErrClosed", r.err)
	}
	if len(r.rows()) != 7 {
		t.Errorf("%d rows sealed, want 7", len(r.rows()))
	}
}

func TestSmallBufferIsTold(t *testing.T) {
	cfg := config()
	cfg.RecvBuffer = udp.MaxRecvBuffer
	r := start(t, cfg)
	b := r.conns[0].Buffer()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	told := strings.Contains(r.log.String(), "receive buffer is smaller than asked") && strings.Contains(r.log.String(), "net.core.rmem_max")
	if told != (b.Granted < b.Asked) {
		t.Errorf("told %v, buffer %+v:\n%s", told, b, r.log)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	cfg := config()
	cfg.Workers = 2
	r := start(t, cfg, func(_ *rig, d *collector.Deps) { d.Metrics = reg })
	r.send(r.dial("127.0.0.1"), v5Packet(30), []byte{0, 1})
	r.waitRows(30)
	r.waitFor("the other datagram", func() bool { return r.Stats().Dropped["unknown_version"] == 1 })
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	sum := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sum[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"weir_collector_udp_datagrams_total":           2,
		"weir_collector_decode_datagrams_total":        2,
		"weir_collector_udp_bytes_total":               24 + 30*48 + 2,
		"weir_collector_decode_flows_total":            30,
		"weir_collector_batch_flows_total":             30,
		"weir_collector_batch_pending_flows":           0,
		"weir_collector_batch_sealed_total":            1,
		"weir_collector_udp_queue_limit_bytes":         float64(r.Stats().Sockets[0].QueueLimit + r.Stats().Sockets[1].QueueLimit),
		"weir_collector_template_memory_bytes":         sum["weir_collector_template_memory_bytes"],
		"weir_collector_udp_reads_total":               float64(r.Stats().Sockets[0].Calls + r.Stats().Sockets[1].Calls),
		"weir_collector_udp_queue_bytes":               0,
		"weir_collector_batch_seal_wait_seconds_total": r.Stats().SealWait.Seconds(),
	} {
		if got, ok := sum[name]; !ok || got != want {
			t.Errorf("%s = %v, there %v; want %v", name, got, ok, want)
		}
	}
}

func TestNothingIsAllocatedPerPacket(t *testing.T) {
	cfg := config()
	cfg.Workers = 1
	batches := make(chan *flow.Batch, 2)
	r := newRig(t, cfg, func(_ *rig, d *collector.Deps) {
		d.Get = func() *flow.Batch { return <-batches }
		d.Seal = func(b *flow.Batch) {
			b.Reset()
			batches <- b
		}
		d.Seen = nil
	})
	batches <- flow.NewBatch(cfg.BatchCap())
	a, b := r.dial("127.0.0.1"), r.dial("127.0.0.2")
	r.send(a, v9TemplatePacket())
	data, v5 := v9DataPacket(0, v9Flows), v5Packet(30)
	round := func() {
		for range 20 {
			r.send(a, data)
			r.send(a, data)
			r.send(b, v5)
		}
		for got := 0; got < 60; {
			n, err := r.Step()
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		r.Flush()
	}
	if _, err := r.Step(); err != nil { // the template
		t.Fatal(err)
	}
	round()
	const runs = 10
	if allocs := testing.AllocsPerRun(runs, round); allocs != 0 {
		t.Errorf("%v allocations for 60 datagrams, want 0", allocs)
	}
	if s := r.Stats(); s.Sealed != (2+runs)*(40*v9Flows+20*30) || s.Datagrams != s.Decoded {
		t.Errorf("the runs did not do their work: %+v", s)
	}
}
