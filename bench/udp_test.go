package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/lab/flowgen"
)

// receiver is a collector that listens on a port of 127.0.0.1 in a process of its own.
type receiver struct {
	*process
	port     uint16
	accepted uint64        // flows that the kernel handed over since the start, by load
	flows    func() uint64 // ends the collector and returns how many flows it says it has received
}

// collectors are Weir and its peers. A start function skips the benchmark where its program is not installed.
var collectors = []struct {
	name  string
	start func(tb testing.TB, core int) *receiver
}{
	{"weir", startWeir},
	{"nfcapd", startNfcapd},
	{"nfacctd", startNfacctd},
}

// BenchmarkUDP sends the same flows at the same pace to Weir and its peers, each on one core of its own with a receive
// buffer of the same size, and reports the CPU time of the collector's whole process for each flow that it accepted, how
// many of the datagrams the kernel dropped for it, and how many of the flows that it accepted it does not account for.
//
// They do not do the same: Weir enriches and leaves the columns in memory, nfcapd writes a file in memory, nfacctd
// aggregates and prints.
func BenchmarkUDP(b *testing.B) {
	for _, millions := range rates(b) {
		for _, c := range collectors {
			b.Run(fmt.Sprintf("%gM/impl=%s", millions, c.name), func(b *testing.B) {
				for b.Loop() {
					r := c.start(b, 0)
					s := newSender(b, 1, r.port)
					load(b, s, r, millions*1e6/4, 0.25) // warm
					m := load(b, s, r, millions*1e6, seconds(b))
					s.kill()
					b.ReportMetric(m.cpuPerFlow(), "cpu-ns/flow")
					b.ReportMetric(m.lost(), "%lost")
					b.ReportMetric(100-100*float64(r.flows())/float64(r.accepted), "%unaccounted")
					b.ReportMetric(m.sent.rate()/1e6, "Mflows/s")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// TestUDP sends to every collector that is there what none can lose: so the figures, whatever they are worth, are about
// these flows.
func TestUDP(t *testing.T) {
	for _, c := range collectors {
		t.Run(c.name, func(t *testing.T) {
			r := c.start(t, -1)
			s := newSender(t, -1, r.port)
			m := load(t, s, r, 240_000, 0.2)
			s.kill()
			if got := r.flows(); got != 48_000 || m.sent.Flows != got || m.drops != 0 {
				t.Errorf("%d flows sent, %d received, %d datagrams dropped; want 48000, 48000, 0", m.sent.Flows, got, m.drops)
			}
		})
	}
}

// rates are those of WEIR_BENCH_RATES, in millions of flows a second.
func rates(tb testing.TB) (list []float64) {
	text := os.Getenv("WEIR_BENCH_RATES")
	if text == "" {
		text = "1.2 2.4 3.6 4.8"
	}
	for word := range strings.FieldsSeq(text) {
		rate, err := strconv.ParseFloat(word, 64)
		if err != nil {
			tb.Fatalf("WEIR_BENCH_RATES: %v", err)
		}
		list = append(list, rate)
	}
	return list
}

// seconds is how long a rate is kept up.
func seconds(tb testing.TB) float64 {
	text := os.Getenv("WEIR_BENCH_SECONDS")
	if text == "" {
		return 3
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		tb.Fatalf("WEIR_BENCH_SECONDS: %v", err)
	}
	return s
}

// measurement is what a load cost.
type measurement struct {
	sent  sent
	drops uint64 // datagrams
	cpu   time.Duration
}

// accepted are the flows that the kernel handed over.
func (m measurement) accepted() uint64 { return m.sent.Flows - m.drops*flowsPerDatagram }

func (m measurement) cpuPerFlow() float64 { return float64(m.cpu) / float64(m.accepted()) }

func (m measurement) lost() float64 { return 100 * float64(m.drops) / float64(m.sent.Datagrams) }

// load sends for some time and waits until the receiver is done with it.
func load(tb testing.TB, s sender, r *receiver, flowRate, seconds float64) measurement {
	tb.Helper()
	before, cpu := udpQueue(tb, r.port), r.cpu()
	done := s.send(flowRate, uint64(flowRate*seconds))
	last, quiet := time.Duration(-1), 0
	until(tb, r.name+" works on what it received", patience, func() bool {
		now := r.cpu()
		if udpQueue(tb, r.port).bytes > 0 || now > last+10*time.Millisecond {
			last, quiet = now, 0
			return false
		}
		quiet++
		return quiet > 25
	})
	m := measurement{sent: done, cpu: r.cpu() - cpu, drops: udpQueue(tb, r.port).drops - before.drops}
	r.accepted += m.accepted()
	return m
}

// recvBuffer is the receive buffer of every collector: as much as a process may ask for without privileges, which is what
// the peers do. The kernel doubles it.
func recvBuffer(tb testing.TB) int {
	const wanted = 8_000_000
	b, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		tb.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		tb.Fatal(err)
	}
	return min(wanted, limit)
}

// heard waits until somebody listens on the port.
func heard(tb testing.TB, p *process, port uint16) {
	tb.Helper()
	until(tb, p.name+" listens", patience, func() bool {
		p.cpu() // fails if it has ended
		return udpQueue(tb, port).sockets > 0
	})
}

func startWeir(tb testing.TB, core int) *receiver {
	port := freePort(tb)
	p := role(tb, "receive", core, "WEIR_BENCH_LISTEN=127.0.0.1:"+strconv.Itoa(int(port)), "WEIR_BENCH_BUFFER="+strconv.Itoa(recvBuffer(tb)))
	p.name = "weir"
	heard(tb, p, port)
	return &receiver{process: p, port: port, flows: func() uint64 {
		p.tell("end")
		var s received
		p.read(&s)
		p.wait()
		if s.Named < s.Flows*9/10 {
			tb.Errorf("an end of %d of %d flows was found in the estate, want nine of ten", s.Named, s.Flows)
		}
		return s.Flows
	}}
}

// received is what Weir says at its end.
type received struct {
	Flows uint64 // sealed
	Named uint64 // of them, those of which an end is known
}

// receive is the role of Weir's collector and enricher, with batches that go round as if the store kept up.
func receive() error {
	buffer, err := strconv.Atoi(os.Getenv("WEIR_BENCH_BUFFER"))
	if err != nil {
		return err
	}
	cfg := collector.Default()
	cfg.Listen, cfg.RecvBuffer = []string{os.Getenv("WEIR_BENCH_LISTEN")}, bytesize.Size(buffer)
	model := flowgen.Demo().Model()
	snapshot, err := estate.Compile(&model)
	if err != nil {
		return err
	}
	holder, live := estate.NewHolder(), estate.NewLiveness(3*cfg.ActiveTimeout)
	holder.Store(snapshot)
	enrich := enricher.New(enricher.Deps{Estate: holder, Live: live})
	conns, err := collector.Listen(cfg)
	if err != nil {
		return err
	}
	free := make(chan *flow.Batch, len(conns)+2)
	for range cap(free) {
		free <- flow.NewBatch(cfg.BatchCap())
	}
	var id uint64
	c, err := collector.New(cfg, collector.Deps{
		Log: slog.New(slog.DiscardHandler), Conns: conns, Templates: template.New(cfg.Templates), Seen: live.Seen,
		BatchID: func() uint64 { id++; return id },
		Get:     func() *flow.Batch { return <-free },
		Enrich:  enrich.Enrich,
		Seal: func(b *flow.Batch) {
			b.Reset()
			free <- b
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(os.Stdin, 1)) // a line, or the end of the parent
		cancel()
	}()
	if err := c.Run(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(received{c.Stats().Sealed, c.Stats().Sealed - enrich.Stats().NoEnd})
}

// peer returns the path of a program, or skips.
func peer(tb testing.TB, program string) string {
	tb.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tb.Skipf("not measured: %s is not installed (scripts/deps.sh bench)", program)
	return ""
}

// memoryDir is a directory in memory, where there is one.
func memoryDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "weir-bench-")
	if err != nil {
		dir, err = os.MkdirTemp("", "weir-bench-")
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

var storedFlows = regexp.MustCompile(`(?m)^Flows: (\d+)$`)

// startNfcapd runs nfdump's collector as its manual says for NetFlow: no compression, a new file every five minutes.
func startNfcapd(tb testing.TB, core int) *receiver {
	program, reader := peer(tb, "nfcapd"), peer(tb, "nfdump")
	port, dir := freePort(tb), memoryDir(tb)
	p := start(tb, core, nil, program, "-w", dir, "-p", strconv.Itoa(int(port)), "-b", "127.0.0.1", "-t", "300", "-B", strconv.Itoa(recvBuffer(tb)))
	heard(tb, p, port)
	return &receiver{process: p, port: port, flows: func() (flows uint64) {
		p.stop(syscall.SIGTERM)
		out, err := exec.Command(reader, "-R", dir, "-I").Output()
		if err != nil {
			tb.Fatalf("%s -R %s -I: %v", reader, dir, err)
		}
		for _, m := range storedFlows.FindAllSubmatch(out, -1) {
			n, _ := strconv.ParseUint(string(m[1]), 10, 64) // digits
			flows += n
		}
		return flows
	}}
}

// startNfacctd runs pmacct's collector with the plugin that prints to a file every two seconds.
func startNfacctd(tb testing.TB, core int) *receiver {
	program, dir := peer(tb, "nfacctd"), memoryDir(tb)
	port := freePort(tb)
	out := filepath.Join(dir, "flows.csv")
	config := filepath.Join(dir, "nfacctd.conf")
	err := os.WriteFile(config, fmt.Appendf(nil, `daemonize: false
nfacctd_ip: 127.0.0.1
nfacctd_port: %d
nfacctd_pipe_size: %d
plugins: print
aggregate: src_host, dst_host, src_port, dst_port, proto, tos, tcpflags, in_iface, out_iface, peer_src_ip, flows
print_output: csv
print_output_file: %s
print_output_file_append: true
print_refresh_time: 2
plugin_buffer_size: 1024000
plugin_pipe_size: 102400000
`, port, recvBuffer(tb), out), 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	p := start(tb, core, nil, program, "-f", config)
	heard(tb, p, port)
	return &receiver{process: p, port: port, flows: func() (flows uint64) {
		p.stop(syscall.SIGINT)
		b, err := os.ReadFile(out)
		if err != nil {
			tb.Fatal(err)
		}
		column := -1
		for line := range bytes.Lines(b) {
			cells := strings.Split(strings.TrimSpace(string(line)), ",")
			if !strings.ContainsAny(cells[0][:1], "0123456789") { // a header
				for i, cell := range cells {
					if cell == "FLOWS" {
						column = i
					}
				}
				continue
			}
			n, err := strconv.ParseUint(cells[column], 10, 64)
			if err != nil {
				tb.Fatalf("%s: %q: %v", out, line, err)
			}
			flows += n
		}
		return flows
	}}
}
