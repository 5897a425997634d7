package replay_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/weirhq/weir/lab/replay"
)

// listen returns a socket on loopback and what it received, once want datagrams are there or a minute has passed.
func listen(t *testing.T, address string) (to netip.AddrPort, received func(want int) (payloads []string, sources map[string]int)) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), func(want int) ([]string, map[string]int) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		var payloads []string
		sources := map[string]int{}
		b := make([]byte, 65536)
		for len(payloads) < want {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				t.Fatalf("%d datagrams received, want %d: %v", len(payloads), want, err)
			}
			payloads = append(payloads, string(b[:n]))
			sources[from.Addr().Unmap().String()]++
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, _, err := conn.ReadFromUDPAddrPort(b); err == nil {
			t.Fatalf("one datagram more than the %d wanted: % x", want, b[:n])
		}
		return payloads, sources
	}
}

// flowPayload is what begins like NetFlow 9.
func flowPayload(i int) []byte { return append([]byte{0, 9}, fmt.Sprintf("payload %d", i)...) }

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func ipv4(src string) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(src), DstIP: net.IPv4(192, 0, 2, 99)}
}

func udp(port int) *layers.UDP { return &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(port)} }

func ether(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: t}
}

// frames of every link type, each with flowPayload of its place in the list.
func frames(t testing.TB) map[string]struct {
	link  layers.LinkType
	frame []byte
} {
	payload := func(i int) gopacket.Payload { return flowPayload(i) }
	ip := func(i int) []byte { return serialize(t, ipv4("192.0.2.1"), udp(2055), payload(i)) }
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	extended := func(i int, next byte, header ...byte) []byte {
		b := serialize(t, ip6, udp(2055), payload(i))
		b[6] = next
		binary.BigEndian.PutUint16(b[4:], binary.BigEndian.Uint16(b[4:])+uint16(len(header)))
		return append(append(bytes.Clone(b[:40]), header...), b[40:]...)
	}
	sll := func(i int) []byte { return append([]byte{0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, ip(i)...) }
	return map[string]struct {
		link  layers.LinkType
		frame []byte
	}{
		"ethernet":         {1, serialize(t, ether(layers.EthernetTypeIPv4), ipv4("192.0.2.1"), udp(2055), payload(0))},
		"ethernet padded":  {1, append(serialize(t, ether(layers.EthernetTypeIPv4), ipv4("192.0.2.1"), udp(2055), payload(1)), 0, 0, 0, 0, 0)},
		"vlan":             {1, serialize(t, ether(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeIPv4}, ipv4("192.0.2.1"), udp(2055), payload(2))},
		"qinq":             {1, serialize(t, ether(layers.EthernetTypeQinQ), &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 8, Type: layers.EthernetTypeIPv6}, ip6, udp(2055), payload(3))},
		"raw":              {101, ip(4)},
		"raw ipv6":         {229, serialize(t, ip6, udp(2055), payload(5))},
		"null":             {0, append([]byte{2, 0, 0, 0}, ip(6)...)},
		"loop":             {108, append([]byte{0, 0, 0, 2}, ip(7)...)},
		"sll":              {113, sll(8)},
		"sll2":             {276, append([]byte{8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, ip(9)...)},
		"hop by hop":       {101, extended(10, 0, 17, 0, 1, 4, 0, 0, 0, 0)},
		"atomic fragment":  {101, extended(11, 44, 17, 0, 0, 0, 1, 2, 3, 4)},
		"destination, AH":  {101, extended(12, 60, 51, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		"ipv4 options":     {101, serialize(t, withOptions(ipv4("192.0.2.1")), udp(2055), payload(13))},
		"old raw":          {12, ip(14)},
		"ethernet, ns":     {1, serialize(t, ether(layers.EthernetTypeIPv4), ipv4("192.0.2.1"), udp(9996), payload(15))},
		"ipv4 link":        {228, ip(16)},
		"ethernet, sflow5": {1, serialize(t, ether(layers.EthernetTypeIPv4), ipv4("192.0.2.1"), udp(6343), gopacket.Payload{0, 0, 0, 5, 0, 0, 0, 1})},
	}
}

func withOptions(ip *layers.IPv4) *layers.IPv4 {
	ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	return ip
}

func writePcap(t *testing.T, link layers.LinkType, frames ...[]byte) string {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1500, link); err != nil { // shorter than some frames, as some tools write
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), Length: len(f), CaptureLength: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	return writeFile(t, "a.pcap", b.Bytes())
}

func writeFile(t *testing.T, name string, b []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestEveryLinkTypeIsRead(t *testing.T) {
	for name, f := range frames(t) {
		t.Run(name, func(t *testing.T) {
			to, received := listen(t, "127.0.0.1:0")
			result, err := replay.Run(t.Context(), replay.Config{Files: []string{writePcap(t, f.link, f.frame)}, To: to})
			if err != nil {
				t.Fatal(err)
			}
			if result.Frames != 1 || result.Sent != 1 {
				t.Fatalf("counts %+v, want one frame sent", result.Counts)
			}
			payloads, _ := received(1)
			if !bytes.HasSuffix(f.frame, []byte(payloads[0])) && !bytes.Contains(f.frame, []byte(payloads[0])) || len(payloads[0]) < 8 {
				t.Errorf("payload % x is not that of frame % x", payloads[0], f.frame)
			}
			if uint64(len(payloads[0])) != result.Bytes {
				t.Errorf("%d bytes counted, %d received", result.Bytes, len(payloads[0]))
			}
		})
	}
}

func TestEveryFrameIsCounted(t *testing.T) {
	good := func(i int) []byte {
		return serialize(t, ipv4("192.0.2.1"), udp(2055), gopacket.Payload(flowPayload(i)))
	}
	fragment := good(1)
	fragment[6] |= 0x20 // more fragments
	later := good(2)
	later[7] = 10
	tcp := good(3)
	tcp[9] = 6
	dns := serialize(t, ipv4("192.0.2.1"), udp(53), gopacket.Payload("\x12\x34 question"))
	long := good(4)
	file := writePcap(t, layers.LinkTypeRaw, good(0), fragment, later, tcp, dns, long[:25], []byte{}, []byte{0x45}, good(5))
	foreign := writePcap(t, layers.LinkTypeIEEE802_11, good(6))
	to, received := listen(t, "127.0.0.1:0")
	var progress replay.Counts
	result, err := replay.Run(t.Context(), replay.Config{Files: []string{file, foreign}, To: to, Progress: func(c replay.Counts) { progress = c }})
	if err != nil {
		t.Fatal(err)
	}
	want := replay.Counts{Frames: 10, Sent: 2, Bytes: 2 * uint64(len(flowPayload(0))), Other: 2, Fragments: 2, Truncated: 3, Foreign: 1}
	if result.Counts != want || progress != want {
		t.Errorf("counts %+v, progress %+v, want %+v", result.Counts, progress, want)
	}
	if payloads, _ := received(2); payloads[0] != string(flowPayload(0)) || payloads[1] != string(flowPayload(5)) {
		t.Errorf("received %q", payloads)
	}

	dnsTo, dnsReceived := listen(t, "[::1]:0")
	if _, err := replay.Run(t.Context(), replay.Config{Files: []string{file}, To: dnsTo, Ports: []uint16{53}}); err != nil {
		t.Fatal(err)
	}
	if payloads, _ := dnsReceived(1); payloads[0] != "\x12\x34 question" {
		t.Errorf("received %q, want what went to port 53", payloads)
	}
}

func TestPcapNGWithTwoLinkTypesAndRawAndGzip(t *testing.T) {
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeRaw})
	if err != nil {
		t.Fatal(err)
	}
	all := frames(t)
	for i, f := range [][]byte{all["ethernet"].frame, all["raw"].frame} {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), Length: len(f), CaptureLength: len(f), InterfaceIndex: []int{0, raw}[i]}
		if err := w.WritePacket(ci, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(b.Bytes())
	_ = z.Close()
	to, received := listen(t, "127.0.0.1:0")
	result, err := replay.Run(t.Context(), replay.Config{To: to, Files: []string{
		writeFile(t, "a.pcapng", b.Bytes()), writeFile(t, "a.pcapng.gz", zipped.Bytes()), writeFile(t, "a.dat", flowPayload(77)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != 5 {
		t.Fatalf("%+v, want 5 sent", result.Counts)
	}
	payloads, _ := received(5)
	want := []string{string(flowPayload(0)), string(flowPayload(4)), string(flowPayload(0)), string(flowPayload(4)), string(flowPayload(77))}
	for i := range want {
		if payloads[i] != want[i] {
			t.Errorf("datagram %d is %q, want %q", i, payloads[i], want[i])
		}
	}
}

func TestSourcesAreKept(t *testing.T) {
	packet := func(src string) []byte { return serialize(t, ipv4(src), udp(2055), gopacket.Payload(flowPayload(0))) }
	file := writePcap(t, layers.LinkTypeRaw, packet("192.0.2.1"), packet("192.0.2.2"), packet("192.0.2.1"), packet("127.0.0.55"))
	to, received := listen(t, "127.0.0.1:0")
	result, err := replay.Run(t.Context(), replay.Config{Files: []string{file}, To: to, KeepSources: true})
	if err != nil {
		t.Fatal(err)
	}
	_, sources := received(4)
	if sources["127.1.0.1"] != 2 || sources["127.1.0.2"] != 1 || sources["127.0.0.55"] != 1 {
		t.Errorf("sources %v", sources)
	}
	if got := result.Sources[netip.MustParseAddr("192.0.2.2")]; got.String() != "127.1.0.2" {
		t.Errorf("192.0.2.2 was sent from %v", got)
	}
	_, err = replay.Run(t.Context(), replay.Config{Files: []string{file}, To: netip.MustParseAddrPort("192.0.2.200:2055"), KeepSources: true})
	if err == nil || !strings.Contains(err.Error(), "this machine has no such address") {
		t.Errorf("error %v, want one about a missing address", err)
	}
}

func TestRateHolds(t *testing.T) {
	var all [][]byte
	for i := range 60 {
		all = append(all, serialize(t, ipv4("192.0.2.1"), udp(2055), gopacket.Payload(flowPayload(i))))
	}
	file := writePcap(t, layers.LinkTypeRaw, all...)
	to, received := listen(t, "127.0.0.1:0")
	result, err := replay.Run(t.Context(), replay.Config{Files: []string{file}, To: to, Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	// The last of 60 is due 59/200 s after the first.
	if result.Took < 290*time.Millisecond {
		t.Errorf("60 datagrams at 200/s took %v, want 295 ms at least", result.Took)
	}
	received(60)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result, err = replay.Run(ctx, replay.Config{Files: []string{file}, To: to, Rate: 0.001})
	}()
	received(1)
	cancel()
	if <-ended; !errors.Is(err, context.Canceled) || result.Sent != 1 {
		t.Errorf("after its end: %v, %+v, want what was sent until then and the reason", err, result.Counts)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:9")
	for want, cfg := range map[string]replay.Config{
		"want an address with a port": {Files: []string{"x"}},
		"no files":                    {To: to},
		"no such file":                {To: to, Files: []string{filepath.Join(t.TempDir(), "none")}},
		"the file is empty":           {To: to, Files: []string{writeFile(t, "a", nil)}},
		"it begins with 68 65 6c 6c":  {To: to, Files: []string{writeFile(t, "a", []byte("hello"))}},
		"longer than one datagram":    {To: to, Files: []string{writeFile(t, "a", bytes.Repeat([]byte{0, 9}, 40000))}},
		"want 0 or more datagrams":    {To: to, Files: []string{"x"}, Rate: -1},
		"gzip":                        {To: to, Files: []string{writeFile(t, "a", []byte{0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9})}},
		"pcapng":                      {To: to, Files: []string{writeFile(t, "a", []byte{0x0a, 0x0d, 0x0d, 0x0a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2})}},
		"pcap: ":                      {To: to, Files: []string{writeFile(t, "a", []byte{0xd4, 0xc3, 0xb2, 0xa1, 1})}},
	} {
		if _, err := replay.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestCaptureThatWasCutOffEndsThere(t *testing.T) {
	whole := writePcap(t, layers.LinkTypeRaw, serialize(t, ipv4("192.0.2.1"), udp(2055), gopacket.Payload(flowPayload(0))), bytes.Repeat([]byte{1}, 100))
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	to, received := listen(t, "127.0.0.1:0")
	result, err := replay.Run(t.Context(), replay.Config{Files: []string{writeFile(t, "cut.pcap", b[:len(b)-50])}, To: to})
	if err != nil || result.Sent != 1 || result.Truncated != 1 {
		t.Errorf("%v, %+v, want one sent and one truncated", err, result.Counts)
	}
	received(1)
}

func FuzzParse(f *testing.F) {
	for _, x := range frames(f) {
		f.Add(uint32(x.link), x.frame)
	}
	f.Fuzz(func(t *testing.T, link uint32, frame []byte) {
		payload, ok := replay.Parse(link, frame)
		if ok && len(payload) > len(frame)-28 {
			t.Errorf("payload of %d bytes in a frame of %d", len(payload), len(frame))
		}
	})
}
