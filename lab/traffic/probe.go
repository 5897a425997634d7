package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

// ProbeConfig says what a Probe sends.
type ProbeConfig struct {
	From     *netns.Namespace
	Source   netip.Addr         // of From, with the zone of an interface where Target needs one
	To       []*netns.Namespace // those at which datagrams are looked for: one with a unicast Target, any number else
	Target   netip.AddrPort     // an address of To, a broadcast address, or a multicast address
	Device   string             // interface of To that joins a multicast Target; empty: eth0
	Interval time.Duration      // between datagrams; 0: 10 ms
	Port     uint16             // of Source; 0: any
	Count    uint64             // of datagrams; 0: until the probe is closed
	Replies  bool               // what is sent is replies: the one receiver has sent a datagram first, by which it opened the connection
}

// Probe sends numbered UDP datagrams, the first is 1, and remembers which arrived where, until it is closed. What
// receivers are told of a datagram is its number alone, so a late one is not taken for a new one. Methods may be called
// from any goroutine.
type Probe struct {
	cfg     ProbeConfig
	sender  *net.UDPConn
	readers []*net.UDPConn
	stop    chan struct{}
	done    chan struct{} // closed when the last datagram was sent
	all     sync.WaitGroup

	stopping sync.Once

	mu      sync.Mutex
	sent    uint64 // guarded by mu
	failed  uint64 // of sent, those that the kernel refused; guarded by mu
	arrived []set  // by receiver; guarded by mu
}

// NewProbe begins to send. The caller closes the probe.
func NewProbe(ctx context.Context, cfg ProbeConfig) (*Probe, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 10 * time.Millisecond
	}
	if cfg.Device == "" {
		cfg.Device = "eth0"
	}
	p := &Probe{cfg: cfg, stop: make(chan struct{}), done: make(chan struct{}), arrived: make([]set, len(cfg.To))}
	if err := p.open(ctx); err != nil {
		p.closeSockets()
		return nil, fmt.Errorf("probe %v from %v: %w", cfg.Target, cfg.Source, err)
	}
	for i, r := range p.readers {
		p.all.Go(func() { p.receive(i, r) })
	}
	p.all.Go(p.send)
	return p, nil
}

func (p *Probe) open(ctx context.Context) error {
	for _, n := range p.cfg.To {
		if err := listen(deadline(ctx), n, func() error {
			r, err := p.listen()
			if err == nil {
				p.readers = append(p.readers, r)
			}
			return err
		}); err != nil {
			return err
		}
	}
	if err := listen(deadline(ctx), p.cfg.From, func() (err error) {
		p.sender, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.cfg.Source, p.cfg.Port)))
		return err
	}); err != nil || !p.cfg.Replies {
		return err
	}
	return p.ask(ctx)
}

// ask has the receiver open the connection, and waits until the sender has heard of it.
func (p *Probe) ask(ctx context.Context) error {
	for until := deadline(ctx); ; {
		if err := p.Ask(); err != nil {
			return err
		}
		_ = p.sender.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, from, err := p.sender.ReadFromUDPAddrPort(make([]byte, 8))
		if err == nil && netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != p.cfg.Target {
			err = fmt.Errorf("a datagram came from %v, want %v", from, p.cfg.Target)
		}
		if err == nil || time.Now().After(until) || ctx.Err() != nil {
			return err
		}
	}
}

// Ask has the receiver of a probe of replies send another datagram to the sender.
func (p *Probe) Ask() error {
	_, err := p.readers[0].WriteToUDPAddrPort([]byte("?"), p.sender.LocalAddr().(*net.UDPAddr).AddrPort())
	return err
}

// listen binds a receiver's socket, in its namespace.
func (p *Probe) listen() (*net.UDPConn, error) {
	target := p.cfg.Target
	if target.Addr().IsMulticast() {
		device, err := net.InterfaceByName(p.cfg.Device)
		if err != nil {
			return nil, err
		}
		return net.ListenMulticastUDP("udp", device, net.UDPAddrFromAddrPort(target))
	}
	any := netip.IPv4Unspecified()
	if target.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	return net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(any, target.Port())))
}

func (p *Probe) send() {
	defer close(p.done)
	tick := time.NewTicker(p.cfg.Interval)
	defer tick.Stop()
	for {
		p.mu.Lock()
		p.sent++
		n := p.sent
		p.mu.Unlock()
		if _, err := p.sender.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, n), p.cfg.Target); err != nil {
			// An interface that is being plugged again refuses: it is as good as lost.
			p.mu.Lock()
			p.failed++
			p.mu.Unlock()
		}
		if n == p.cfg.Count {
			return
		}
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
	}
}

func (p *Probe) receive(i int, r *net.UDPConn) {
	b := make([]byte, 64)
	for {
		n, _, err := r.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 8 {
			continue
		}
		p.mu.Lock()
		p.arrived[i].add(binary.BigEndian.Uint64(b))
		p.mu.Unlock()
	}
}

// Wait waits until the last of Count datagrams was sent.
func (p *Probe) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("probe %v from %v: %d datagrams were sent: %w", p.cfg.Target, p.cfg.Source, p.Sent(), ctx.Err())
	}
}

// Stop ends sending. What is on its way still arrives.
func (p *Probe) Stop() {
	p.stopping.Do(func() { close(p.stop) })
	<-p.done
}

// Close ends the probe and closes its sockets.
func (p *Probe) Close() {
	p.Stop()
	p.closeSockets()
	p.all.Wait()
}

func (p *Probe) closeSockets() {
	if p.sender != nil {
		_ = p.sender.Close()
	}
	for _, r := range p.readers {
		_ = r.Close()
	}
}

// Sent returns the number of the last datagram that was sent.
func (p *Probe) Sent() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// Refused returns how many of the datagrams the kernel did not take.
func (p *Probe) Refused() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Arrived returns how many of the datagrams after number after, up to number until, arrived at receiver i. One that came twice counts
// once; see Twice.
func (p *Probe) Arrived(i int, after, until uint64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrived[i].count(after, until)
}

// Lost returns which of the datagrams after number after, up to number until, did not arrive at receiver i.
func (p *Probe) Lost(i int, after, until uint64) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []uint64
	for n := after + 1; n <= until; n++ {
		if p.arrived[i].next(n-1) != n {
			list = append(list, n)
		}
	}
	return list
}

// Twice returns how many datagrams came to receiver i again.
func (p *Probe) Twice(i int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrived[i].twice
}

// Passes waits until a datagram that is sent after the call arrives at receiver i, and returns its number.
func (p *Probe) Passes(ctx context.Context, i int) (uint64, error) {
	after, until := p.Sent(), deadline(ctx)
	for time.Now().Before(until) && ctx.Err() == nil {
		p.mu.Lock()
		n := p.arrived[i].next(after)
		p.mu.Unlock()
		if n != 0 {
			return n, nil
		}
		time.Sleep(time.Millisecond) // between polls
	}
	return 0, fmt.Errorf("probe %v from %v: none of the datagrams %d to %d arrived at receiver %d", p.cfg.Target, p.cfg.Source, after+1, p.Sent(), i)
}

// Arrive waits until n datagrams in all have arrived at receiver i.
func (p *Probe) Arrive(ctx context.Context, i, n int) error {
	for until := deadline(ctx); p.Arrived(i, 0, most) < n; {
		if time.Now().After(until) || ctx.Err() != nil {
			return fmt.Errorf("probe %v from %v: %d of %d datagrams arrived at receiver %d, want %d", p.cfg.Target, p.cfg.Source, p.Arrived(i, 0, most), p.Sent(), i, n)
		}
		time.Sleep(time.Millisecond) // between polls
	}
	return nil
}

// Ends waits until run datagrams in succession, the last of which is sent after the call, have not arrived at receiver i, and returns the number of the
// last that did (0: none ever).
func (p *Probe) Ends(ctx context.Context, i int, run uint64) (uint64, error) {
	begin, until := p.Sent(), deadline(ctx)
	for time.Now().Before(until) && ctx.Err() == nil {
		p.mu.Lock()
		sent, last := p.sent, p.arrived[i].last
		p.mu.Unlock()
		if sent > begin && sent-last >= run {
			return last, nil
		}
		time.Sleep(time.Millisecond) // between polls
	}
	return 0, fmt.Errorf("probe %v from %v: datagrams go on to arrive at receiver %d: %d of %d since number %d",
		p.cfg.Target, p.cfg.Source, i, p.Arrived(i, begin, p.Sent()), p.Sent()-begin, begin)
}

// set is numbers that arrived.
type set struct {
	words []uint64
	last  uint64 // the highest
	twice int
}

// most bounds what a receiver takes for a number: a day of datagrams every millisecond.
const most = 100_000_000

func (s *set) add(n uint64) {
	if n == 0 || n > most {
		return
	}
	for uint64(len(s.words)) <= n/64 {
		s.words = append(s.words, 0)
	}
	if s.words[n/64]&(1<<(n%64)) != 0 {
		s.twice++
	}
	s.words[n/64] |= 1 << (n % 64)
	s.last = max(s.last, n)
}

// next returns the lowest number above after, 0 if there is none.
func (s *set) next(after uint64) uint64 {
	for n := after + 1; n <= s.last; n = (n/64 + 1) * 64 {
		if w := s.words[n/64] >> (n % 64); w != 0 {
			return n + uint64(bits.TrailingZeros64(w))
		}
	}
	return 0
}

// count returns how many numbers are above after and not above until.
func (s *set) count(after, until uint64) int {
	n := 0
	for x := s.next(after); x != 0 && x <= until; x = s.next(x) {
		n++
	}
	return n
}
