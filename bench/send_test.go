package bench_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/weirhq/weir/bench/corpus"
	"github.com/weirhq/weir/lab/flowgen"
)

const (
	flowsPerDatagram = 24  // of corpus.Estate
	datagramsPerHost = 512 // distinct ones
	burst            = 32  // datagrams of one host in a row, as a flow cache gives up flows
)

// sent is what the sender did.
type sent struct {
	Datagrams, Flows uint64
	Took             time.Duration
}

// rate is in flows a second.
func (s sent) rate() float64 { return float64(s.Flows) / s.Took.Seconds() }

// sender is a child that sends flows of the hosts of flowgen.Demo.
type sender struct{ *process }

// newSender starts a sender on a core, which makes its datagrams and sends templates to a port of 127.0.0.1.
func newSender(tb testing.TB, core int, port uint16) sender {
	s := sender{role(tb, "send", core, "WEIR_BENCH_TO=127.0.0.1:"+strconv.Itoa(int(port)))}
	var ready bool
	s.read(&ready)
	return s
}

// send sends flows at a rate (a second; 0: as fast as it can) for some time, or until there were enough of them.
func (s sender) send(flowRate float64, flows uint64) (done sent) {
	s.tb.Helper()
	s.tell(fmt.Sprintf("%g %d", flowRate, flows))
	s.read(&done)
	return done
}

// exporter is a host of the estate.
type exporter struct {
	corpus.Corpus
	conn     *ipv4.PacketConn
	messages []ipv4.Message
	next     int
}

// send is the role: for each line "flows-a-second flows" of standard input it sends that many, at that rate.
func send() error {
	exporters, err := openExporters(os.Getenv("WEIR_BENCH_TO"))
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(true); err != nil {
		return err
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var rate float64
		var flows uint64
		if _, err := fmt.Sscan(orders.Text(), &rate, &flows); err != nil {
			return fmt.Errorf("order %q: %w", orders.Text(), err)
		}
		done, err := pace(exporters, rate/flowsPerDatagram, flows/flowsPerDatagram)
		if err != nil {
			return err
		}
		if err := answers.Encode(done); err != nil {
			return err
		}
	}
	return orders.Err()
}

func openExporters(to string) ([]exporter, error) {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, err
	}
	corpora, err := corpus.Estate(flowgen.Demo(), time.Now(), datagramsPerHost)
	if err != nil {
		return nil, err
	}
	exporters := make([]exporter, len(corpora))
	for i := range exporters {
		e := &exporters[i]
		e.Corpus = corpora[i]
		conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Exporter, 0)), net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return nil, err
		}
		for _, b := range e.Templates {
			if _, err := conn.Write(b); err != nil {
				return nil, err
			}
		}
		e.conn = ipv4.NewPacketConn(conn)
		e.messages = make([]ipv4.Message, burst)
		for i := range e.messages {
			e.messages[i].Buffers = make([][]byte, 1)
		}
	}
	return exporters, nil
}

// pace sends total datagrams, rate a second, in bursts of the exporters in turn. What it cannot send in time, since the
// core did other things, makes it later, not faster.
func pace(exporters []exporter, rate float64, total uint64) (sent, error) {
	const behind = 5 * time.Millisecond // that are made up for
	var done sent
	begin := time.Now()
	due := begin
	for turn := 0; done.Datagrams < total; turn++ {
		n := int(min(burst, total-done.Datagrams))
		if rate > 0 {
			for now := time.Now(); now.Before(due); now = time.Now() {
				if wait := due.Sub(now); wait > 200*time.Microsecond {
					time.Sleep(wait - 100*time.Microsecond)
				}
			}
			if late := time.Since(due); late > behind {
				due = due.Add(late - behind)
			}
			due = due.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		}
		if err := exporters[turn%len(exporters)].write(n); err != nil {
			return done, err
		}
		done.Datagrams += uint64(n)
	}
	done.Took, done.Flows = time.Since(begin), done.Datagrams*flowsPerDatagram
	return done, nil
}

// write sends the next n datagrams.
func (e *exporter) write(n int) error {
	ms := e.messages[:n]
	for i := range ms {
		b := e.Data[e.next%len(e.Data)]
		e.SetSequence(b, e.next)
		e.next++
		ms[i].Buffers[0] = b
	}
	for len(ms) > 0 {
		n, err := e.conn.WriteBatch(ms, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the kernel took no datagram")
		}
		ms = ms[n:]
	}
	return nil
}
