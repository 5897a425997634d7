package crash_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/export"
	"github.com/weirhq/weir/lab/flowgen"
)

// load is the hosts of a simulated estate, which send their flows to one collector over UDP. Each flow carries, as its
// observation point, its number among those of its host: 1, 2, 3 …
//
// One goroutine sends for all of them, so a collector with one socket gets the flows of a host in the order of their
// numbers. What is sent while no socket is there is lost, as on any network.
type load struct {
	sent atomic.Uint64 // flows
	stop func()        // ends it and waits; idempotent
}

// sender is one host.
type sender struct {
	conn    *net.UDPConn
	encoder *export.Encoder
	last    uint32 // number
	due     []export.Record
}

const (
	sendInterval = 5 * time.Millisecond
	resend       = 50 * time.Millisecond // of templates: a collector that comes back holds little until then
)

// send starts a load of rate flows a second.
func send(t *testing.T, to netip.AddrPort, rate float64) *load {
	t.Helper()
	estate := flowgen.Demo()
	senders := make([]sender, len(estate.Hosts))
	for i := range senders {
		h := &estate.Hosts[i]
		cfg := export.Config{Version: h.Version, Domain: h.Domain, Refresh: resend, Boot: time.Now().Add(-time.Hour).UnixMilli(), Templates: export.OpenVSwitch(false)}
		if h.Version == export.NetFlow9 {
			cfg.Templates = export.Switch(export.UptimeTimes)[:2] // it knows IP only
			for n := range cfg.Templates {
				cfg.Templates[n].Fields = append(slices.Clone(cfg.Templates[n].Fields), export.Field{ID: 138, Len: 4})
			}
		}
		var err error
		if senders[i].encoder, err = export.New(cfg); err != nil {
			t.Fatal(err)
		}
		// Not connected: a collector that is away must not cost the next datagram.
		senders[i].conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Exporter, 0)))
		if err != nil {
			t.Fatal(err)
		}
	}
	l := &load{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			for i := range senders {
				_ = senders[i].conn.Close() // nothing is buffered
			}
		}()
		if err := l.run(ctx, estate, senders, to, rate); err != nil {
			t.Errorf("load: %v", err)
		}
	})
	l.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(l.stop)
	return l
}

func (l *load) run(ctx context.Context, estate *flowgen.Estate, senders []sender, to netip.AddrPort, rate float64) error {
	start := time.Now()
	generator, err := flowgen.New(flowgen.Config{Estate: estate, Start: start, Rate: rate, Seed: 1})
	if err != nil {
		return err
	}
	tick := time.NewTicker(sendInterval)
	defer tick.Stop()
	// The generator is asked for a number of flows a second, whatever their times: right after its start it has few to give.
	// What a busy machine makes late is left out, not sent in a burst.
	next := start
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		span := min(now.Sub(next), 10*sendInterval)
		next = now
		for range int(span.Seconds() * rate) {
			var o flowgen.Observation
			generator.Next(&o)
			s := &senders[o.Host]
			if estate.Hosts[o.Host].Version == export.NetFlow9 && o.IP() == 0 {
				continue
			}
			s.last++
			o.ObservationPoint = s.last
			age := now.UnixMilli() - o.End
			o.Start, o.End = o.Start+age, o.End+age
			s.due = append(s.due, o.Record)
			l.sent.Add(1)
		}
		for i := range senders {
			s := &senders[i]
			skipped, err := s.encoder.Encode(now.UnixMilli(), s.due, func(datagram []byte) error {
				_, err := s.conn.WriteToUDPAddrPort(datagram, to)
				return err
			})
			if err == nil && skipped > 0 {
				err = errors.New("a flow has no template")
			}
			if err != nil {
				return err
			}
			s.due = s.due[:0]
		}
	}
}

// udpPort returns a port of loopback that is free, for a collector that comes back to the same one. While the collector is
// away the load goes on, and anybody could be given that port: so it is one of an address that no other test binds.
func udpPort(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.77.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// kernelDrops is how many datagrams the socket at a has lost because it was full, or false if there is none.
func kernelDrops(t *testing.T, a netip.AddrPort) (uint64, bool) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 13 {
			continue
		}
		_, port, _ := strings.Cut(f[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err != nil || uint16(n) != a.Port() {
			continue
		}
		drops, err := strconv.ParseUint(f[12], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return drops, true
	}
	return 0, false
}

// configure writes weir.yaml and the estate of the load into a new data directory in dir and returns it.
func configure(t *testing.T, dir, yaml string) (data string) {
	t.Helper()
	data = filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	estate, err := flowgen.Demo().YAML()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"weir.yaml": []byte(yaml), "estate.yaml": estate} {
		if err := os.WriteFile(filepath.Join(data, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return data
}
