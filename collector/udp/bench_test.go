package udp_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/collector/udp"
)

const benchPayload = 1344 // a NetFlow 9 packet of 24 flows

// TestMain is also the sender of BenchmarkSteady, which must be another process to have its CPU time apart.
func TestMain(m *testing.M) {
	if to := os.Getenv("WEIR_UDP_BENCH_SEND"); to != "" {
		if err := sendPaced(netip.MustParseAddrPort(to), os.Getenv("WEIR_UDP_BENCH_RATE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// sendPaced sends rate datagrams a second until its standard input ends.
func sendPaced(to netip.AddrPort, rate string) error {
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
	payload := make([]byte, benchPayload)
	begin, sent := time.Now(), 0
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		due := int(time.Since(begin).Seconds() * float64(perSecond))
		for ; sent < due; sent++ {
			if _, err := c.Write(payload); err != nil {
				return err
			}
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// method is a way to read: it returns how many datagrams one call gave.
type method struct {
	name string
	open func(b *testing.B) (addr netip.AddrPort, read func() (int, error))
}

func methods() []method {
	const buffer = 64 << 20
	plain := method{"ReadFromUDPAddrPort", func(b *testing.B) (netip.AddrPort, func() (int, error)) {
		pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { pc.Close() })
		raw, err := pc.SyscallConn()
		if err != nil {
			b.Fatal(err)
		}
		var optErr error
		err = raw.Control(func(fd uintptr) {
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)
		})
		if err := errors.Join(err, optErr); err != nil {
			b.Skipf("a 64 MiB receive buffer needs CAP_NET_ADMIN: %v", err)
		}
		buf := make([]byte, udp.MaxDatagram)
		return pc.LocalAddr().(*net.UDPAddr).AddrPort(), func() (int, error) {
			_, _, err := pc.ReadFromUDPAddrPort(buf)
			return 1, err
		}
	}}
	ms := []method{plain}
	for _, batch := range []int{1, 16, 32, 64, 256} {
		ms = append(ms, method{fmt.Sprintf("Reader%d", batch), func(b *testing.B) (netip.AddrPort, func() (int, error)) {
			c := listen(b, udp.Config{Addr: "127.0.0.1:0", Workers: 1, RecvBuffer: buffer})[0]
			if advice := c.Buffer().Advice(); advice != "" {
				b.Skip(advice)
			}
			r := udp.NewReader(c, batch, udp.MaxDatagram)
			return c.LocalAddr(), func() (int, error) {
				ds, err := r.Read()
				return len(ds), err
			}
		}})
	}
	return ms
}

// BenchmarkDrain reads queues that were filled beforehand: an operation is a datagram, no wake-ups are in it.
func BenchmarkDrain(b *testing.B) {
	for _, m := range methods() {
		b.Run(m.name, func(b *testing.B) {
			addr, read := m.open(b)
			s := dial(b, addr)
			payload := make([]byte, benchPayload)
			b.ReportAllocs()
			b.SetBytes(benchPayload)
			b.ResetTimer()
			for left := b.N; left > 0; {
				fill := min(left, 20_000)
				b.StopTimer()
				for range fill {
					send(b, s, payload)
				}
				b.StartTimer()
				for got := 0; got < fill; {
					n, err := read()
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
				left -= fill
			}
		})
	}
}

// BenchmarkSteady receives 100 000 datagrams a second from another process and reports the CPU time of this one for
// each, wake-ups included. An operation is a datagram; ns/op is the sender's pace.
func BenchmarkSteady(b *testing.B) {
	for _, m := range methods() {
		b.Run(m.name, func(b *testing.B) {
			addr, read := m.open(b)
			sender := exec.Command(os.Args[0])
			sender.Env = append(os.Environ(), "WEIR_UDP_BENCH_SEND="+addr.String(), "WEIR_UDP_BENCH_RATE=100000")
			stdin, err := sender.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := sender.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() {
				stdin.Close()
				if err := sender.Wait(); err != nil {
					b.Errorf("sender: %v", err)
				}
			}()
			if _, err := read(); err != nil { // it has started
				b.Fatal(err)
			}
			b.ReportAllocs()
			before, calls := cpuTime(b), 0
			b.ResetTimer()
			for got := 0; got < b.N; calls++ {
				n, err := read()
				if err != nil {
					b.Fatal(err)
				}
				got += n
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/datagram")
			b.ReportMetric(float64(b.N)/float64(calls), "datagrams/call")
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
