package udp_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/collector/udp"
)

const wait = time.Minute // generous: a test that needs it has failed

func listen(t testing.TB, cfg udp.Config) []*udp.Conn {
	t.Helper()
	conns, err := udp.Listen(cfg)
	if err != nil {
		t.Fatalf("Listen(%+v): %v", cfg, err)
	}
	t.Cleanup(func() {
		for _, c := range conns {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
	return conns
}

func listenOne(t testing.TB, addr string) *udp.Conn {
	t.Helper()
	return listen(t, udp.Config{Addr: addr, Workers: 1})[0]
}

func needIPv6(t testing.TB) {
	t.Helper()
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on loopback: %v", err)
	}
	pc.Close()
}

func dial(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func loopback(c *udp.Conn) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.LocalAddr().Port())
}

func send(t testing.TB, c *net.UDPConn, payload []byte) {
	t.Helper()
	if _, err := c.Write(payload); err != nil {
		t.Fatal(err)
	}
}

// read returns a batch that arrives before the test's patience ends.
func read(t testing.TB, c *udp.Conn, r *udp.Reader) []udp.Datagram {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	ds, err := r.Read()
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return ds
}

func TestReceive(t *testing.T) {
	f := func(listen string, from func(port uint16) netip.AddrPort) {
		t.Helper()
		c := listenOne(t, listen)
		s := dial(t, from(c.LocalAddr().Port()))
		r := udp.NewReader(c, 8, udp.MaxDatagram)
		before := time.Now()
		send(t, s, []byte("weir"))
		got := read(t, c, r)
		after := time.Now()
		if len(got) != 1 || string(got[0].Payload) != "weir" || got[0].Truncated {
			t.Fatalf("%s: Read() = %v, want one datagram \"weir\"", listen, got)
		}
		if want := s.LocalAddr().(*net.UDPAddr).AddrPort(); got[0].From != want {
			t.Errorf("%s: From = %v, want %v", listen, got[0].From, want)
		}
		// Both clocks are CLOCK_REALTIME; the kernel's stamp may be of a coarser tick.
		if got := time.Unix(0, got[0].Received); got.Before(before.Add(-20*time.Millisecond)) || got.After(after.Add(20*time.Millisecond)) {
			t.Errorf("%s: Received = %v, want between %v and %v", listen, got, before, after)
		}
	}
	v4 := func(p uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p) }
	v6 := func(p uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("::1"), p) }
	f("127.0.0.1:0", v4)
	f("0.0.0.0:0", v4)
	f(":0", v4)
	f("[::ffff:127.0.0.1]:0", v4)
	needIPv6(t)
	f("[::1]:0", v6)
	f("[::]:0", v6)
	f(":0", v6)
}

func TestReceiveEmptyAndLargest(t *testing.T) {
	c := listenOne(t, "127.0.0.1:0")
	s := dial(t, c.LocalAddr())
	r := udp.NewReader(c, 4, udp.MaxDatagram)
	for _, n := range []int{0, 1, 1472, 65507} {
		want := bytes.Repeat([]byte{0xa5}, n)
		send(t, s, want)
		got := read(t, c, r)
		if len(got) != 1 || !bytes.Equal(got[0].Payload, want) || got[0].Truncated {
			t.Fatalf("payload of %d bytes: got %d datagrams, the first of %d bytes, truncated %v",
				n, len(got), len(got[0].Payload), got[0].Truncated)
		}
	}
	if got, want := c.Stats().Bytes, uint64(1+1472+65507); got != want {
		t.Errorf("Stats().Bytes = %d, want %d", got, want)
	}
}

func TestTruncated(t *testing.T) {
	c := listenOne(t, "127.0.0.1:0")
	s := dial(t, c.LocalAddr())
	r := udp.NewReader(c, 4, 100)
	for _, n := range []int{99, 100, 101, 5000} {
		send(t, s, bytes.Repeat([]byte{byte(n)}, n))
	}
	got := read(t, c, r)
	if len(got) != 4 {
		t.Fatalf("Read() = %d datagrams, want 4", len(got))
	}
	for i, want := range []struct {
		n   int
		cut bool
	}{{99, false}, {100, false}, {100, true}, {100, true}} {
		if len(got[i].Payload) != want.n || got[i].Truncated != want.cut {
			t.Errorf("datagram %d: %d bytes, truncated %v; want %d, %v", i, len(got[i].Payload), got[i].Truncated, want.n, want.cut)
		}
	}
	if s := c.Stats(); s.Truncated != 2 || s.Datagrams != 4 || s.Bytes != 399 || s.Calls != 1 {
		t.Errorf("Stats() = %+v, want 4 datagrams, 399 bytes, 2 truncated, 1 call", s)
	}
}

func TestReadInBatches(t *testing.T) {
	c := listenOne(t, "127.0.0.1:0")
	s := dial(t, c.LocalAddr())
	r := udp.NewReader(c, 16, udp.MaxDatagram)
	const n = 50
	for i := range uint64(n) {
		send(t, s, binary.BigEndian.AppendUint64(nil, i))
	}
	var sizes []int
	for i := uint64(0); i < n; {
		ds := read(t, c, r)
		sizes = append(sizes, len(ds))
		for _, d := range ds {
			if got := binary.BigEndian.Uint64(d.Payload); got != i {
				t.Fatalf("datagram %d came as number %d", got, i)
			}
			i++
		}
	}
	if want := []int{16, 16, 16, 2}; fmt.Sprint(sizes) != fmt.Sprint(want) {
		t.Errorf("batch sizes %v, want %v", sizes, want)
	}
	if ds, err := r.TryRead(); len(ds) != 0 || err != nil {
		t.Errorf("TryRead() of an empty queue = %d datagrams, %v; want none, nil", len(ds), err)
	}
}

func TestTryReadIgnoresTheDeadline(t *testing.T) {
	c := listenOne(t, "127.0.0.1:0")
	send(t, dial(t, c.LocalAddr()), []byte("weir"))
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	r := udp.NewReader(c, 4, 100)
	if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read() error = %v, want os.ErrDeadlineExceeded", err)
	}
	if ds, err := r.TryRead(); len(ds) != 1 || err != nil {
		t.Errorf("TryRead() = %d datagrams, %v; want 1, nil", len(ds), err)
	}
}

func TestReceivedIsWhenTheKernelTookIt(t *testing.T) {
	c, idle := listenOne(t, "127.0.0.1:0"), listenOne(t, "127.0.0.1:0")
	s := dial(t, c.LocalAddr())
	// The first socket that asks for it has the kernel note times a moment later; until then it is when a datagram is read.
	for deadline, noted := time.Now().Add(wait), false; !noted; {
		if time.Now().After(deadline) {
			t.Fatal("the kernel does not note when it takes a datagram")
		}
		send(t, s, []byte("first"))
		sent := time.Now()
		noted = !time.Unix(0, read(t, c, udp.NewReader(c, 1, 100))[0].Received).After(sent)
	}
	send(t, s, []byte("weir"))
	sent := time.Now()

	// The datagram waits in the queue while another socket's read runs into its deadline.
	const queued = 100 * time.Millisecond
	if err := idle.SetReadDeadline(time.Now().Add(queued)); err != nil {
		t.Fatal(err)
	}
	if _, err := udp.NewReader(idle, 1, 100).Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read() error = %v, want os.ErrDeadlineExceeded", err)
	}
	ds := read(t, c, udp.NewReader(c, 1, 100))
	if late := time.Unix(0, ds[0].Received).Sub(sent); late > queued/2 {
		t.Errorf("Received is %v after sending: the time in the queue is in it", late)
	}
}

func TestCloseUnblocksRead(t *testing.T) {
	c := listenOne(t, "127.0.0.1:0")
	errs := make(chan error, 1)
	go func() {
		r := udp.NewReader(c, 1, 100)
		for {
			if _, err := r.Read(); err != nil {
				errs <- err
				return
			}
		}
	}()
	// A first datagram proves that the reader runs; that it then waits is likely, not needed.
	send(t, dial(t, c.LocalAddr()), []byte("weir"))
	for deadline := time.Now().Add(wait); c.Stats().Datagrams == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was read")
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-errs:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read() error after Close = %v, want net.ErrClosed", err)
		}
	case <-time.After(wait):
		t.Fatal("Close did not unblock Read")
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if got := c.Stats().Datagrams; got != 1 {
		t.Errorf("Stats().Datagrams after Close = %d, want 1", got)
	}
}

func TestShardsSplitSourcesNotTheirOrder(t *testing.T) {
	const shards, sources, each = 4, 64, 25
	conns := listen(t, udp.Config{Addr: "127.0.0.1:0", Workers: shards, RecvBuffer: 4 << 20})
	if len(conns) != shards {
		t.Fatalf("Listen gave %d sockets, want %d", len(conns), shards)
	}
	for _, c := range conns {
		if c.LocalAddr() != conns[0].LocalAddr() {
			t.Fatalf("shards on %v and %v, want one address", c.LocalAddr(), conns[0].LocalAddr())
		}
	}

	var mu sync.Mutex
	shardOf := map[netip.AddrPort]int{}
	total := 0
	var readers sync.WaitGroup
	for i, c := range conns {
		readers.Go(func() {
			next := map[netip.AddrPort]uint64{}
			r := udp.NewReader(c, 8, 100)
			for {
				ds, err := r.Read()
				if err != nil {
					return
				}
				mu.Lock()
				for _, d := range ds {
					if got := binary.BigEndian.Uint64(d.Payload); got != next[d.From] {
						t.Errorf("%v: datagram %d, want %d", d.From, got, next[d.From])
					}
					next[d.From]++
					if s, seen := shardOf[d.From]; seen && s != i {
						t.Errorf("%v reached shards %d and %d", d.From, s, i)
					}
					shardOf[d.From] = i
				}
				total += len(ds)
				mu.Unlock()
			}
		})
	}
	for range sources {
		s := dial(t, conns[0].LocalAddr())
		for i := range uint64(each) {
			send(t, s, binary.BigEndian.AppendUint64(nil, i))
		}
	}
	for deadline := time.Now().Add(wait); ; {
		mu.Lock()
		got := total
		mu.Unlock()
		if got == sources*each {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("received %d datagrams, want %d", got, sources*each)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	readers.Wait()
	used := map[int]bool{}
	for _, s := range shardOf {
		used[s] = true
	}
	if len(used) != shards { // 64 sources miss one of 4 shards once in 25 million runs
		t.Errorf("%d sources reached %d of %d shards", sources, len(used), shards)
	}
}

func TestListenRefusesAPortInUse(t *testing.T) {
	f := func(first, second int) {
		t.Helper()
		held := listen(t, udp.Config{Addr: "127.0.0.1:0", Workers: first})
		cfg := udp.Config{Addr: held[0].LocalAddr().String(), Workers: second}
		conns, err := udp.Listen(cfg)
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("Listen(%+v) beside %d sockets = %d sockets, %v; want EADDRINUSE", cfg, first, len(conns), err)
		}
		for _, c := range conns {
			c.Close()
		}
	}
	f(1, 1)
	f(1, 2)
	f(2, 1)
	f(2, 2)
}

func TestListenErrors(t *testing.T) {
	f := func(cfg udp.Config, want string) {
		t.Helper()
		conns, err := udp.Listen(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%+v) = %d sockets, error %v; want one with %q", cfg, len(conns), err, want)
		}
	}
	f(udp.Config{Addr: "2055", Workers: 1}, `want host:port`)
	f(udp.Config{Addr: ":netflow", Workers: 1}, `port "netflow"`)
	f(udp.Config{Addr: ":65536", Workers: 1}, `port "65536"`)
	f(udp.Config{Addr: "127.0.0.1:0"}, `workers 0`)
	f(udp.Config{Addr: "127.0.0.1:0", Workers: 1, RecvBuffer: -1}, `receive buffer of -1`)
	f(udp.Config{Addr: "127.0.0.1:0", Workers: 1, RecvBuffer: udp.MaxRecvBuffer + 1}, `allowed is 0 to`)
	f(udp.Config{Addr: "192.0.2.1:0", Workers: 1}, `listen udp "192.0.2.1:0": `)
}

func TestBuffer(t *testing.T) {
	c := listen(t, udp.Config{Addr: "127.0.0.1:0", Workers: 1, RecvBuffer: 128 << 10})[0]
	got := c.Buffer()
	if want := (udp.Buffer{Asked: 128 << 10, Granted: 128 << 10}); got != want {
		t.Errorf("Buffer() = %+v, want %+v", got, want)
	}
	if got := c.Stats().QueueLimit; got != 256<<10 {
		t.Errorf("QueueLimit = %d, want twice the buffer", got)
	}
	if got := got.Advice(); got != "" {
		t.Errorf("Advice() = %q for a granted buffer", got)
	}
	short := udp.Buffer{Asked: 16 << 20, Granted: 4 << 20}
	if got := short.Advice(); !strings.Contains(got, "net.core.rmem_max=16777216") {
		t.Errorf("Advice() = %q, want the sysctl and its value", got)
	}
	if got := listenOne(t, "127.0.0.1:0").Buffer(); got.Asked != 0 || got.Granted == 0 || got.Advice() != "" {
		t.Errorf("Buffer() by default = %+v, want the kernel's", got)
	}
}

func TestKernelDrops(t *testing.T) {
	c := listen(t, udp.Config{Addr: "127.0.0.1:0", Workers: 1, RecvBuffer: 64 << 10})[0]
	s := dial(t, c.LocalAddr())
	const sent = 2000
	payload := make([]byte, 1000)
	for range sent {
		send(t, s, payload)
	}
	// On loopback the sender's call puts the datagram into the receiver's queue or drops it.
	full := c.Stats()
	if full.KernelDrops == 0 || full.QueueBytes == 0 {
		t.Fatalf("Stats() of a full queue = %+v, want drops and queue bytes before anything is read", full)
	}
	if want := procDrops(t, c.LocalAddr()); full.KernelDrops != want {
		t.Errorf("KernelDrops = %d, /proc/net/udp says %d", full.KernelDrops, want)
	}
	r := udp.NewReader(c, 32, 1500)
	for {
		ds, err := r.TryRead()
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) == 0 {
			break
		}
	}
	got := c.Stats()
	if got.Datagrams+got.KernelDrops != sent {
		t.Errorf("received %d + dropped %d, want %d together", got.Datagrams, got.KernelDrops, sent)
	}
	c.Close()
	if closed := c.Stats(); closed.KernelDrops != got.KernelDrops {
		t.Errorf("KernelDrops after Close = %d, want %d", closed.KernelDrops, got.KernelDrops)
	}
}

// procDrops reads the last column of the socket's line in /proc/net/udp.
func procDrops(t *testing.T, addr netip.AddrPort) uint64 {
	t.Helper()
	f, err := os.Open("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := addr.Addr().As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], addr.Port())
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 10 && f[1] == want {
			n, err := strconv.ParseUint(f[len(f)-1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no socket %s in /proc/net/udp", want)
	return 0
}

func TestFromFiles(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	f, err := pc.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	conns, err := udp.FromFiles(64<<10, f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	c := conns[0]
	defer c.Close()
	if got := c.Buffer().Granted; got != 64<<10 {
		t.Errorf("Buffer().Granted = %d, want %d", got, 64<<10)
	}
	send(t, dial(t, loopback(c)), []byte("weir"))
	if ds := read(t, c, udp.NewReader(c, 4, 100)); string(ds[0].Payload) != "weir" {
		t.Errorf("received %q, want %q", ds[0].Payload, "weir")
	}
}

func TestFromFilesRefusesWhatIsNotUDP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	u, err := net.ListenPacket("unixgram", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	gram, err := u.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer gram.Close()
	regular, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	for _, f := range []*os.File{tcp, gram, regular} {
		if conns, err := udp.FromFiles(0, f); err == nil {
			t.Errorf("FromFiles(%s) = %d sockets, want an error", f.Name(), len(conns))
		}
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	c := listenOne(t, ":0")
	s := dial(t, loopback(c))
	const batch, runs = 8, 20 // fits the smallest default buffer
	payload := make([]byte, 100)
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	for range batch * (runs + 1) { // AllocsPerRun warms up with one run
		send(t, s, payload)
	}
	r := udp.NewReader(c, batch, udp.MaxDatagram)
	got := 0
	allocs := testing.AllocsPerRun(runs, func() {
		ds, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		got += len(ds)
		for i := range ds {
			if ds[i].From.Port() == 0 {
				t.Fatal("no source port")
			}
		}
	})
	if allocs != 0 || got != batch*(runs+1) {
		t.Errorf("%v allocations a Read, %d datagrams; want 0, %d", allocs, got, batch*(runs+1))
	}
}
