package hosts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb"
)

const (
	maxHandshakes = 32                    // at a time, of connections that were accepted
	maxPerAddress = 4                     // of one address: handshakes, and again hosts that wait
	acceptPause   = 50 * time.Millisecond // after an error of accept, e.g. no file descriptors
	tellAgain     = time.Hour             // after which a host that is refused for the same reason is told of again
	maxTold       = 1024                  // hosts of which that is remembered
)

// Stranger is a host that dialled in and is not, or not yet, believed to be one of the fleet. It stays connected until it is, or goes.
type Stranger struct {
	Addr   netip.AddrPort // zero of a unix socket
	Since  time.Time
	TLS    string            // version and suite; empty without TLS
	Legacy bool              // it speaks only what Host.TLS.Legacy allows
	Cert   ovsdb.Certificate // what to compare at the host, before it is confirmed
	Claim  ovsdb.Claim       // what it says of itself; nobody has checked that
	Host   string            // id of the configured host that it says, or seems, to be; empty: none
	Reason string            // why it waits
}

// stranger is a Stranger with its connection.
type stranger struct {
	Stranger // Host and Reason are guarded by Fleet.mu
	peer     *ovsdb.Peer

	admitting sync.Mutex // held by one admit at a time; guards taken
	taken     bool       // the connection is a session's, or is ended
}

// strangers are those that wait, a bounded number. Fleet.mu guards it.
type strangers struct {
	limit int
	list  []*stranger          // longest waiting first
	told  map[string]time.Time // when an event said of whom, and why, that it waits
}

// news says whether that is to be told, and notes that it was.
func (s *strangers) news(what string, now time.Time) bool {
	if t, found := s.told[what]; found && now.Sub(t) < tellAgain {
		return false
	}
	if len(s.told) >= maxTold {
		clear(s.told) // somebody plays with us: rather twice than never
	}
	s.told[what] = now
	return true
}

// add adds one. It returns false if there is no room, else the connection that it replaces: another of the same host, or nil.
func (s *strangers) add(x *stranger) (replaced *stranger, ok bool) {
	here := 0
	for _, y := range s.list {
		if x.Cert.Fingerprint != "" && y.Cert.Fingerprint == x.Cert.Fingerprint {
			s.remove(y)
			s.list = append(s.list, x)
			return y, true
		}
		if y.Addr.Addr() == x.Addr.Addr() {
			here++
		}
	}
	if len(s.list) >= s.limit || here >= maxPerAddress {
		return nil, false
	}
	s.list = append(s.list, x)
	return nil, true
}

func (s *strangers) remove(x *stranger) {
	s.list = slices.DeleteFunc(s.list, func(y *stranger) bool { return y == x })
}

// Strangers returns the hosts that dialled in and wait to be confirmed, longest waiting first.
func (f *Fleet) Strangers() []Stranger {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Stranger, len(f.strangers.list))
	for i, s := range f.strangers.list {
		list[i] = s.Stranger
	}
	return list
}

// accept takes connections of a listener until it is closed.
func (f *Fleet) accept(ctx context.Context, l Listener) {
	config := ovsdb.ServerTLS(f.d.Identity, f.legacy)
	if !l.TLS {
		config = nil
	}
	var mu sync.Mutex
	busy, here := 0, map[netip.Addr]int{}
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return
		}
		if err != nil {
			f.d.Log.Warn("host is not accepted", "addr", l.Addr().String(), "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		address := addressOf(nc)
		mu.Lock()
		full := busy >= maxHandshakes || address.IsValid() && here[address] >= maxPerAddress
		if !full {
			busy++
			here[address]++
		}
		mu.Unlock()
		if full {
			f.metrics.refuse(refusedBusy)
			nc.Close()
			continue
		}
		f.running.Go(func() {
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				busy--
				if here[address]--; here[address] == 0 {
					delete(here, address)
				}
			}()
			f.greet(ctx, nc, l, config)
		})
	}
}

func addressOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// legacy says whether a host that dials in needs what TLS.Legacy allows.
func (f *Fleet) legacy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if h := m.Host(); h.DialsIn() && h.TLS.Legacy {
			return true
		}
	}
	return false
}

// greet makes the handshake and asks who it is.
func (f *Fleet) greet(ctx context.Context, nc net.Conn, l Listener, config *tls.Config) {
	peer, err := ovsdb.Accept(ctx, nc, config, f.cfg.Session)
	if err != nil {
		f.metrics.refuse(refusedHandshake)
		f.d.Log.Debug("host that dials in is refused", "err", err)
		return
	}
	s := &stranger{peer: peer, Stranger: Stranger{Addr: peer.Addr, Since: peer.Since, TLS: peer.TLS, Legacy: peer.Legacy(), Cert: peer.Cert}}
	if f.byCertificate(s) == nil { // else there is nothing to ask
		asking, cancel := context.WithTimeout(ctx, f.cfg.Session.DialTimeout)
		s.Claim, err = peer.Ask(asking)
		cancel()
		if err != nil {
			f.metrics.refuse(refusedSilent)
			f.d.Log.Debug("host that dials in does not say who it is", "peer", peer.Addr.String(), "err", err)
			peer.Close()
			return
		}
	}
	f.admit(ctx, s)
}

// byCertificate returns the host of the fleet whose certificate proves that it is the one, or nil.
func (f *Fleet) byCertificate(s *stranger) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		h := m.Host()
		if !h.DialsIn() || s.Cert.IsZero() {
			continue
		}
		name := h.session(f.cfg.Session).TLS.Name
		switch h.TLS.Trust {
		case ovsdb.TrustNone:
		case ovsdb.TrustPin:
			if h.TLS.Pin == s.Cert.Fingerprint {
				return m
			}
		default:
			var own *x509.CertPool
			if f.d.Authority != nil {
				own = f.d.Authority()
			}
			if s.peer.IsFor(name, h.TLS.Authority, own) {
				return m
			}
		}
	}
	return nil
}

// byClaim returns the host of the fleet that the stranger says it is, or nil.
func (f *Fleet) byClaim(s *stranger) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, claim := range []string{s.Claim.SystemUUID, s.Claim.SystemID} {
		if m := f.members[strings.ToLower(claim)]; claim != "" && m != nil && m.Host().DialsIn() {
			return m
		}
	}
	return nil
}

// admit gives the connection to the session of the host that it is, if that believes it. Else the host waits.
func (f *Fleet) admit(ctx context.Context, s *stranger) {
	s.admitting.Lock()
	defer s.admitting.Unlock()
	if s.taken {
		return
	}
	m := f.byCertificate(s)
	if m == nil {
		m = f.byClaim(s)
	}
	host, reason := Host{}, "it is not one of the configured hosts"
	if m != nil {
		host = m.Host()
		err := m.session.Offer(ctx, s.peer)
		switch {
		case err == nil:
			s.taken = true
			f.mu.Lock()
			defer f.mu.Unlock()
			f.strangers.remove(s)
			f.changes.Tell()
			return
		case errors.Is(err, ovsdb.ErrConnected), errors.Is(err, ovsdb.ErrNotConnected):
			s.taken = true
			f.metrics.refuse(refusedTwice)
			f.forget(s)
			return
		}
		reason = err.Error()
	}
	if !f.wait(s, host.ID, reason) {
		s.taken = true
		f.metrics.refuse(refusedFull)
		s.peer.Close()
		return
	}
	f.tell(s, host, reason)
}

// wait puts a stranger on the list. It returns false if there is no room.
func (f *Fleet) wait(s *stranger, host, reason string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Host, s.Reason = host, reason
	defer f.changes.Tell()
	if slices.Contains(f.strangers.list, s) {
		return true
	}
	if f.run == nil {
		return false
	}
	replaced, ok := f.strangers.add(s)
	if ok {
		f.running.Go(func() {
			<-s.peer.Done()
			f.forget(s)
		})
	}
	if replaced != nil {
		f.running.Go(replaced.peer.Close)
	}
	return ok
}

// tell makes an event of a stranger that waits, unless there was one lately.
func (f *Fleet) tell(s *stranger, host Host, reason string) {
	who := string(s.Cert.Fingerprint)
	if who == "" {
		who = s.Addr.Addr().String()
	}
	f.mu.Lock()
	news := f.strangers.news(who+" "+host.ID+" "+reason, time.Now())
	f.mu.Unlock()
	if !news {
		return
	}
	f.metrics.refuse(refusedUnknown)
	e := event.Event{Time: time.Now(), Kind: event.HostRefused, Subject: host.Name, Attributes: map[string]string{"peer": s.Addr.String()}}
	if host.ID != "" {
		e = hostEvent(host, e.Kind, "")
		e.Attributes["peer"] = s.Addr.String()
	}
	if e.Subject == "" {
		e.Subject = s.Claim.Hostname
	}
	if e.Subject == "" {
		e.Subject = s.Addr.Addr().String()
	}
	for key, value := range map[string]string{"fingerprint": string(s.Cert.Fingerprint), "system_id": s.Claim.SystemID, "hostname": s.Claim.Hostname} {
		if value != "" {
			e.Attributes[key] = value
		}
	}
	e.Text = fmt.Sprintf("host %s dialled in and waits: %s", e.Subject, reason)
	f.emit(e)
}

// forget closes a stranger and takes it off the list.
func (f *Fleet) forget(s *stranger) {
	s.peer.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strangers.remove(s)
	f.changes.Tell()
}
