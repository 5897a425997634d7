package collector_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
)

// numbered is packet with a sequence number.
func numbered(packet []byte, sequence uint32) []byte {
	at := map[byte]int{5: 16, 9: 12, 10: 8}[packet[1]]
	binary.BigEndian.PutUint32(packet[at:], sequence)
	return packet
}

// asIPFIX is a packet of NetFlow 9 with one set, as IPFIX has it (RFC 7011 §3.1, §3.3.2).
func asIPFIX(packet []byte) []byte {
	const header9 = 20
	set := packet[header9:]
	b := binary.BigEndian.AppendUint16(nil, 10)
	b = binary.BigEndian.AppendUint16(b, uint16(16+len(set)))
	b = append(b, packet[8:12]...)  // time of export
	b = append(b, packet[12:20]...) // sequence, observation domain
	b = append(b, set...)
	if binary.BigEndian.Uint16(set) == 0 {
		binary.BigEndian.PutUint16(b[16:], 2) // templates
	}
	return b
}

// balanced checks what must hold of every exporter, and returns those.
func (r *rig) balanced() []collector.Exporter {
	r.t.Helper()
	list := r.Exporters(time.Now())
	for i := range list {
		if err := list[i].Check(); err != nil {
			r.t.Error(err)
		}
	}
	return list
}

// relay is a network between an exporter and the collector that loses what drop says, by number of the datagram. It ends
// when the test does; arrived tells how many datagrams came to it.
func relay(t *testing.T, to netip.AddrPort, drop func(n int) bool) (addr netip.AddrPort, passed <-chan int) {
	t.Helper()
	in, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	if err := in.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	out, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	counts := make(chan int, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 65535)
		for n := 0; ; n++ {
			size, err := in.Read(b)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
					t.Error(err)
				}
				return
			}
			if !drop(n) {
				if _, err := out.Write(b[:size]); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-counts:
			default:
			}
			counts <- n + 1
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-done
		out.Close()
	})
	return in.LocalAddr().(*net.UDPAddr).AddrPort(), counts
}

// What a network between loses is found to the last flow, by NetFlow 5 and IPFIX, and to the last message, by NetFlow 9.
func TestLossOnTheWayIsCountedExactly(t *testing.T) {
	for _, version := range []byte{5, 9, 10} {
		rnd := rand.New(rand.NewPCG(uint64(version), 7))
		r := start(t, config())
		const packets = 400
		lost, want := make([]bool, packets+1), uint64(0)
		for i := 1; i < packets; i++ { // the last one tells what is missing before it
			lost[i] = rnd.IntN(4) == 0
		}
		addr, passed := relay(t, r.addr(), func(n int) bool { return lost[n] })
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sequence := rnd.Uint32()
		for i := range packets + 1 {
			flows := 1 + rnd.IntN(24)
			packet, step := v5Packet(flows), uint32(flows)
			if version != 5 {
				packet, step = v9TemplatePacket(), 1
				if i > 0 {
					packet = v9DataPacket(0, flows)
				}
			}
			if version == 10 {
				packet, step = asIPFIX(packet), uint32(flows)
				if i == 0 {
					step = 0 // templates are no data records
				}
			}
			if lost[i] {
				want += uint64(step)
			}
			r.send(c, numbered(packet, sequence))
			sequence += step
			for n := range passed { // one after the other: this socket has no room for all
				if n == i+1 {
					break
				}
			}
		}
		r.waitFor("the last datagram", func() bool {
			list := r.balanced()
			return len(list) == 1 && list[0].Loss.Lost+list[0].Loss.Missing == want
		})
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		s := r.Stats()
		balance(t, s)
		if s.KernelDrops != 0 {
			t.Fatalf("the kernel dropped %d datagrams", s.KernelDrops)
		}
		e := r.balanced()[0]
		if l := e.Loss; l.Lost != want || l.Missing+l.OutOfOrder+l.Duplicates+l.Restarts+l.Jumps != 0 {
			t.Errorf("version %d: %+v, want %d lost and nothing else", version, l.Counts, want)
		}
		if total := s.Sequence[map[byte]string{5: "netflow5", 9: "netflow9", 10: "ipfix"}[version]]; total != e.Loss.Counts {
			t.Errorf("version %d: all exporters %+v, the only one %+v", version, total, e.Loss.Counts)
		}
	}
}

// What the kernel drops for want of buffer is counted there, and missing in the sequence.
func TestKernelDropsAreMissingInTheSequence(t *testing.T) {
	cfg := config()
	cfg.RecvBuffer = 16 << 10
	cfg.BatchRows = 1
	hold := make(chan struct{})
	r := start(t, cfg, func(r *rig, _ *collector.Deps) { r.hold = hold })
	c := r.dial("127.0.0.1")
	const packets, flows = 1000, 20
	for i := range packets {
		r.send(c, numbered(v5Packet(flows), uint32(i*flows)))
	}
	close(hold)
	r.waitFor("all that was not dropped", func() bool {
		s := r.Stats()
		return s.Datagrams+s.KernelDrops == packets
	})
	r.send(c, numbered(v5Packet(flows), packets*flows))
	r.waitFor("one more", func() bool {
		s := r.Stats()
		return s.Datagrams+s.KernelDrops == packets+1
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	balance(t, s)
	if e := r.balanced()[0]; s.KernelDrops == 0 || e.Loss.Lost != s.KernelDrops*flows || e.Loss.Received != s.Datagrams*flows {
		t.Errorf("%d kernel drops, %d datagrams of %d flows; by the sequence %+v", s.KernelDrops, s.Datagrams, flows, e.Loss.Counts)
	}
}

// A clock that is off is reported once, and times that cannot be true are changed.
func TestTimesThatCannotBeTrue(t *testing.T) {
	r := start(t, config())
	c := r.dial("127.0.0.1")
	packet := func(ahead time.Duration) []byte {
		b := v5Packet(2)
		binary.BigEndian.PutUint32(b[8:], uint32(time.Now().Add(ahead).Unix()))
		return b
	}
	for _, ahead := range []time.Duration{0, 10 * time.Second, time.Hour, -time.Hour, -48 * time.Hour, 1000 * time.Hour} {
		r.send(c, packet(ahead))
	}
	r.waitRows(12)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if e := r.balanced()[0]; e.Counts.Clamped != 6 || !e.Loss.Measured {
		t.Errorf("times of %d flows changed, want those of the hour ahead, the two days and the thousand hours: 6", e.Counts.Clamped)
	}
	if got := r.Stats().Records.Clamped; got != 6 {
		t.Errorf("%d of all exporters, want 6", got)
	}
}
