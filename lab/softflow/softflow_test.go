package softflow_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/softflow"
	"github.com/weirhq/weir/lab/traffic"
)

var (
	client4, server4 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	client6, server6 = netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:1::2")
)

// What flows say in all is what the interface counted, to the byte: without the Ethernet headers and the frames that
// are not IP.
func TestSumsEqualInterfaceCounters(t *testing.T) {
	if err := softflow.Check(); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	for _, c := range []struct {
		version uint8
		args    []string
	}{{5, nil}, {9, nil}, {10, nil}, {9, []string{"-T", "ether"}}, {10, []string{"-T", "ether", "-A", "milli"}}} {
		t.Run(fmt.Sprint("version ", c.version, " ", c.args), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			compare(ctx, t, c.version, c.args)
		})
	}
}

func compare(ctx context.Context, t *testing.T, version uint8, args []string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bed := netnstest.New(t)
	a, b := netnstest.Namespace(t, bed, "a"), netnstest.Namespace(t, bed, "b")
	netnstest.Link(t, bed,
		netns.End{Namespace: a, Name: "eth0", MAC: "02:00:00:00:00:01", Addrs: []netip.Prefix{netip.PrefixFrom(client4, 24), netip.PrefixFrom(client6, 64)}},
		netns.End{Namespace: b, Name: "eth0", MAC: "02:00:00:00:00:02", Addrs: []netip.Prefix{netip.PrefixFrom(server4, 24), netip.PrefixFrom(server6, 64)}},
	)
	root, inside, err := bed.Uplink(a)
	must(err)
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: root.AsSlice()})
	must(err)
	defer conn.Close()

	exporter, err := softflow.Start(ctx, softflow.Config{
		Namespace: a, Device: "eth0", Index: 7, Collector: conn.LocalAddr().(*net.UDPAddr).AddrPort(), Version: version, Dir: bed.Dir(), Args: args,
	})
	must(err)
	must(traffic.TCP(ctx, a, b, netip.AddrPortFrom(server4, 8080), 123_457, 2_000_003))
	must(traffic.UDP(ctx, a, b, netip.AddrPortFrom(server4, 5353), 100, 700, 33))
	must(traffic.Ping(ctx, a, server4, 20, 56))
	must(traffic.TCP(ctx, a, b, netip.AddrPortFrom(server6, 8080), 55_555, 777_777))
	must(traffic.UDP(ctx, a, b, netip.AddrPortFrom(server6, 5353), 50, 1200, -1))
	must(traffic.Ping(ctx, a, server6, 10, 1000))

	want, err := exporter.Truth(ctx)
	must(err)
	must(exporter.Stop(ctx))

	batch := receive(t, conn, inside)
	var packets, bytes uint64
	for i := range batch.Len() {
		packets += batch.Packets[i]
		bytes += batch.Bytes[i]
		if batch.BytesLayer[i] != flow.BytesLayer3 {
			t.Errorf("row %d: bytes of %v, want layer 3", i, batch.BytesLayer[i])
		}
		if batch.InIf[i] != 7 || batch.SamplingRate[i] != 1 {
			t.Errorf("row %d: interface %d, sampling rate %d, want 7 and 1", i, batch.InIf[i], batch.SamplingRate[i])
		}
		if want := uint64(0x020000000001); len(args) > 0 && netip.AddrFrom16(batch.SrcAddr[i]).Unmap() == client4 && batch.SrcMAC[i] != want {
			t.Errorf("row %d: source MAC %012x, want %012x", i, batch.SrcMAC[i], want)
		}
	}
	if packets != want.Packets || bytes != want.Bytes {
		t.Errorf("flows say %d packets and %d bytes, the interface %+v", packets, bytes, want)
	}

	check := func(protocol uint8, from, to netip.Addr, port uint16, wantPackets, wantBytes uint64) {
		t.Helper()
		var packets, bytes uint64
		for i := range batch.Len() {
			if batch.Protocol[i] == protocol && batch.SrcAddr[i] == from.As16() && batch.DstAddr[i] == to.As16() && (port == 0 || batch.SrcPort[i] == port || batch.DstPort[i] == port) {
				packets += batch.Packets[i]
				bytes += batch.Bytes[i]
			}
		}
		if packets != wantPackets || bytes != wantBytes {
			t.Errorf("protocol %d, %v to %v: %d packets, %d bytes, want %d, %d", protocol, from, to, packets, bytes, wantPackets, wantBytes)
		}
	}
	check(17, client4, server4, 5353, 100, 100*(700+8+20))
	check(17, server4, client4, 5353, 100, 100*(33+8+20))
	check(1, client4, server4, 0, 20, 20*(56+8+20))
	check(1, server4, client4, 0, 20, 20*(56+8+20))
	if version != 5 {
		check(17, client6, server6, 5353, 50, 50*(1200+8+40))
	}
}

// receive decodes what is in the socket's buffer. softflowd has ended: nothing more comes.
func receive(t *testing.T, conn *net.UDPConn, from netip.Addr) *flow.Batch {
	t.Helper()
	decoder := netflow.New(netflow.Config{}, template.New(template.DefaultConfig()))
	batch := flow.NewBatch(256)
	b := make([]byte, 65536)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, source, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return batch
		}
		if err != nil || source.Addr() != from {
			t.Fatalf("datagram from %v, want %v: %v", source, from, err)
		}
		if err := decoder.Decode(b[:n], from, time.Now().UnixMilli(), batch); err != nil {
			t.Fatal(err)
		}
	}
}
