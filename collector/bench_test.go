package collector_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/flowgen"
)

// TestMain is also the exporter of BenchmarkSteady, which must be another process to have its CPU time apart.
func TestMain(m *testing.M) {
	if to := os.Getenv("WEIR_COLLECTOR_BENCH_SEND"); to != "" {
		if err := export(netip.MustParseAddrPort(to), os.Getenv("WEIR_COLLECTOR_BENCH_RATE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// export sends rate packets of 24 flows a second until its standard input ends.
func export(to netip.AddrPort, rate string) error {
	perSecond, err := strconv.Atoi(rate)
	if err != nil {
		return err
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer c.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin) // ends, one way or the other, with the parent's end of the pipe
	}()
	if _, err := c.Write(v9TemplatePacket()); err != nil {
		return err
	}
	data := v9DataPacket(0, v9Flows)
	begin, sent := time.Now(), 0
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		for due := int(time.Since(begin).Seconds() * float64(perSecond)); sent < due; sent++ {
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// recycle makes Get and Seal hand the same few batches round, as a store that keeps up does.
func recycle(cfg collector.Config) func(*rig, *collector.Deps) {
	return func(_ *rig, d *collector.Deps) {
		free := make(chan *flow.Batch, 4)
		for range cap(free) {
			free <- flow.NewBatch(cfg.BatchCap())
		}
		d.Log = slog.New(slog.DiscardHandler)
		d.Get = func() *flow.Batch { return <-free }
		d.Enrich = func(*flow.Batch) {}
		d.Seal = func(b *flow.Batch) {
			b.Reset()
			free <- b
		}
	}
}

func benchConfig(b *testing.B) collector.Config {
	cfg := config()
	cfg.RecvBuffer = 64 << 20
	cfg.FlushInterval = time.Second
	if unix.Geteuid() != 0 {
		b.Skip("a 64 MiB receive buffer needs root")
	}
	return cfg
}

// BenchmarkDrain takes datagrams that wait in the socket to sealed batches. An operation is a datagram of 24 flows. CPU
// time is that of the thread that drains: on a busy machine it says more than ns/op.
func BenchmarkDrain(b *testing.B) {
	hosts := flowgen.Demo()
	corpora, err := corpus.Estate(hosts, time.Now(), 512)
	if err != nil {
		b.Fatal(err)
	}
	model := hosts.Model()
	snapshot, err := estate.Compile(&model)
	if err != nil {
		b.Fatal(err)
	}
	holder, live := estate.NewHolder(), estate.NewLiveness(time.Minute)
	holder.Store(snapshot)
	e := enricher.New(enricher.Deps{Estate: holder, Live: live})
	b.Run("decoded", func(b *testing.B) { benchmarkDrain(b, corpora, func(*collector.Deps) {}) })
	b.Run("enriched", func(b *testing.B) {
		benchmarkDrain(b, corpora, func(d *collector.Deps) { d.Enrich, d.Seen = e.Enrich, live.Seen })
	})
}

func benchmarkDrain(b *testing.B, corpora []corpus.Corpus, change func(*collector.Deps)) {
	cfg := benchConfig(b)
	r := newRig(b, cfg, recycle(cfg), func(_ *rig, d *collector.Deps) { change(d) })
	conns := make([]*net.UDPConn, len(corpora))
	fill := func(n int) {
		const run = 16 // datagrams of one exporter in a row
		for i := range n {
			exporter := i / run % len(corpora)
			data := corpora[exporter].Data
			r.send(conns[exporter], data[(i/run/len(corpora)*run+i%run)%len(data)])
		}
	}
	drain := func(n int) {
		for got := 0; got < n; {
			did, err := r.Step()
			if err != nil {
				b.Fatal(err)
			}
			got += did
		}
	}
	for i, c := range corpora {
		conns[i] = r.dial(c.Exporter.String())
		r.send(conns[i], c.Templates...)
		drain(len(c.Templates))
	}
	for range 2 { // touch all the batches once
		fill(10_000)
		drain(10_000)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	threadTime := func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			b.Fatal(err)
		}
		return time.Duration(t.Nano())
	}
	var cpu time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, 20_000)
		b.StopTimer()
		fill(n)
		b.StartTimer()
		before := threadTime()
		drain(n)
		cpu += threadTime() - before
		left -= n
	}
	b.ReportMetric(float64(cpu)/float64(b.N*corpora[0].Records), "cpu-ns/flow")
}

// BenchmarkSteady receives from another process at a fixed rate and reports the CPU time of the whole of this one for
// each flow, and the loss. An operation is a flow; ns/op is the sender's pace.
func BenchmarkSteady(b *testing.B) {
	for _, rate := range []int{20_000, 50_000, 100_000, 200_000} {
		b.Run(fmt.Sprintf("%dkflows", rate*v9Flows/1000), func(b *testing.B) {
			cfg := benchConfig(b)
			r := newRig(b, cfg, recycle(cfg))
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			sender := exec.Command(os.Args[0])
			sender.Env = append(os.Environ(), "WEIR_COLLECTOR_BENCH_SEND="+r.addr().String(), "WEIR_COLLECTOR_BENCH_RATE="+strconv.Itoa(rate))
			stdin, err := sender.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := sender.Start(); err != nil {
				b.Fatal(err)
			}
			until := func(flows uint64) {
				for r.Stats().Flows < flows {
					time.Sleep(time.Millisecond)
				}
			}
			until(uint64(rate) * v9Flows / 10) // started, and warm
			b.ReportAllocs()
			b.ResetTimer()
			before, from := cpuTime(b), r.Stats()
			until(from.Flows + uint64(b.N))
			cpu, to := cpuTime(b)-before, r.Stats()
			b.StopTimer()
			stdin.Close()
			if err := sender.Wait(); err != nil {
				b.Errorf("sender: %v", err)
			}
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
			flows, drops := to.Flows-from.Flows, to.KernelDrops-from.KernelDrops
			b.ReportMetric(float64(cpu)/float64(flows), "cpu-ns/flow")
			b.ReportMetric(100*float64(drops)/float64(drops+flows/v9Flows), "%lost")
			b.ReportMetric(float64(flows)/b.Elapsed().Seconds()/1e6, "Mflows/s")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
