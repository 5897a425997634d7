package demo_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/demo"
)

func TestHostsSendFromTheirOwnAddressesAtOnce(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	const rate = 300 // few enough for the buffer of a socket, also where a busy machine makes a burst of a second
	d, err := demo.New(demo.Config{NetFlow: to, IPFIX: to, Rate: rate, Seed: 1}, demo.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	begun := time.Now()
	go func() { done <- d.Run(ctx) }()

	versions := map[string]uint16{"127.0.0.11": 9, "127.0.0.12": 9, "127.0.0.13": 10}
	decoder := netflow.New(netflow.Config{}, template.New(template.DefaultConfig()))
	rows := flow.NewBatch(1024)
	templates, data := map[string]bool{}, map[string]int{}
	_ = conn.SetReadDeadline(begun.Add(time.Minute))
	b := make([]byte, 65536)
	for len(data) < 3 {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatalf("data of %d hosts after %v: %v", len(data), time.Since(begun), err)
		}
		host := from.Addr().Unmap().String()
		version := binary.BigEndian.Uint16(b)
		if want, ok := versions[host]; !ok || version != want {
			t.Fatalf("datagram of version %d from %s, want one of %v", version, host, versions)
		}
		received := time.Now().UnixMilli()
		rows.Reset()
		if err := decoder.Decode(b[:n], from.Addr(), received, rows); err != nil {
			t.Fatalf("decode a datagram from %s: %v", host, err)
		}
		for i := range rows.Len() {
			// The longest timeout, the second that headers cut off, and a slow machine.
			if age := rows.StartAge[i]; age < 0 || age > 80_000 || rows.Bytes[i] == 0 || rows.Packets[i] == 0 || rows.InIf[i] == 0 {
				t.Errorf("%s: row %d: began %d ms ago, %d bytes, %d packets, interface %d", host, i, age, rows.Bytes[i], rows.Packets[i], rows.InIf[i])
			}
		}
		header := 20
		if version == 10 {
			header = 16
		}
		switch set := binary.BigEndian.Uint16(b[header:n]); {
		case set < 4:
			templates[host] = true
		case !templates[host]:
			t.Fatalf("data set %d from %s before any template", set, host)
		default:
			data[host]++
		}
	}
	t.Logf("data of all hosts after %v", time.Since(begun))
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run did not return within a minute of its end")
	}
	if s := d.Stats(); s.Records == 0 || s.Datagrams == 0 || s.Failed != 0 {
		t.Errorf("stats %+v: want records and datagrams, none failed", s)
	}
}

func TestNewRefusesWhatTheHostsCannotReach(t *testing.T) {
	ok := netip.MustParseAddrPort("127.0.0.1:2055")
	for _, to := range []string{"192.0.2.1:2055", "[::1]:2055", "127.0.0.1:0"} {
		_, err := demo.New(demo.Config{NetFlow: ok, IPFIX: netip.MustParseAddrPort(to)}, demo.Deps{})
		if err == nil || !strings.Contains(err.Error(), "want an IPv4 loopback address") {
			t.Errorf("collector %s: error %v, want one about an IPv4 loopback address", to, err)
		}
	}
}
