package template

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// What is to be remembered of a domain over a restart, as octets. All integers are little-endian.
//
//	key        protocol u8 │ length of address u8 │ address │ domain u32
//	memory     key │ first heard i64 │ last heard i64 │ initialised i64 │ rates u32 │ rate … │ templates u32 │ template …
//	rate       scope u8 │ id u64 │ rate u32
//	template   last sent i64 │ options u8 │ length u32 │ the template record as it was sent
//
// Counters, held data and names are not remembered: counters count since the start, and names are in the store.

var le = binary.LittleEndian

// AppendKey appends k to b.
func AppendKey(b []byte, k Key) []byte {
	addr := k.Exporter.AsSlice()
	b = append(b, k.Protocol, uint8(len(addr)))
	b = append(b, addr...)
	return le.AppendUint32(b, k.Domain)
}

var errMemory = errors.New("not the memory of a domain")

// ReadKey reads the key at the start of b and returns what follows it.
func ReadKey(b []byte) (Key, []byte, error) {
	r := reader{b: b}
	k := r.key()
	return k, r.b, r.err()
}

// Version changes whenever something changes that AppendMemory appends, except for times. It is 0 as long as there is
// nothing, and else a number that no other domain of the store ever had.
func (d *Domain) Version() uint64 { return d.version.Load() }

// LastHeard returns when a datagram last came, in ms since the epoch.
func (d *Domain) LastHeard() int64 { return d.seen.Load() }

// AppendMemory appends what is to be remembered of the domain to b; false if there is nothing worth it. It takes the
// lock that writers of templates and rates take; flows do not wait for it.
func (d *Domain) AppendMemory(b []byte) ([]byte, bool) {
	d.mu.Lock()
	templates, sampling := *d.templates.Load(), d.sampling.Load() // immutable, and of one moment
	d.mu.Unlock()
	rates := sampling.Rates()
	if len(templates)+len(rates) == 0 && d.init.Load() == 0 {
		return b, false
	}
	b = AppendKey(b, d.Key)
	for _, ms := range []int64{d.first, d.seen.Load(), d.init.Load()} {
		b = le.AppendUint64(b, uint64(ms))
	}
	b = le.AppendUint32(b, uint32(len(rates)))
	for _, r := range rates {
		b = append(b, uint8(r.Scope))
		b = le.AppendUint64(b, r.ID)
		b = le.AppendUint32(b, r.Rate)
	}
	b = le.AppendUint32(b, uint32(len(templates)))
	for _, t := range templates {
		b = le.AppendUint64(b, uint64(t.seen.Load()))
		b = append(b, 0)
		if t.Options {
			b[len(b)-1] = 1
		}
		b = le.AppendUint32(b, uint32(len(t.Wire)))
		b = append(b, t.Wire...)
	}
	return b, true
}

// Parse reads a template record of a protocol, as a decoder does, with its plan.
type Parse func(protocol uint8, options bool, wire []byte) (*Template, Reason)

// Recalled says what became of a memory.
type Recalled struct {
	Templates int // that are known again
	Expired   int // not sent for Config.Timeout
	Refused   int // that cannot be read, or for which there is no room
}

// Recall makes the store remember b, which AppendMemory made, as of now (ms). What was not heard of for Config.Timeout is
// left out, and so is what there is no room for. Templates are [Template.Restored]. b is as hostile as a datagram. An
// error leaves the store as it was; so does a domain that it has already.
func (s *Store) Recall(b []byte, now int64, parse Parse) (Recalled, error) {
	var did Recalled
	r := reader{b: b}
	key := r.key()
	first, seen, init := r.time(now), r.time(now), r.time(now)
	rates := make([]Rate, 0, r.count(1+8+4))
	for range cap(rates) {
		rate := Rate{SamplingScope(r.u8()), r.u64(), r.u32()}
		if rate.Scope > OfInterface || rate.Rate < 1 || rate.Rate > MaxRate {
			return Recalled{}, errMemory
		}
		rates = append(rates, rate)
	}
	oldest := now - s.cfg.Timeout.Milliseconds()
	var templates []*Template
	for range r.count(8 + 1 + 4) {
		sent, options := r.time(now), r.u8()
		wire := r.take(int(r.u32()))
		switch {
		case r.bad || options > 1:
			return Recalled{}, errMemory
		case sent < oldest:
			did.Expired++
			continue
		}
		t, why := parse(key.Protocol, options == 1, wire)
		if why != None || len(t.Fields) > s.cfg.MaxFields {
			did.Refused++
			continue
		}
		t.seen.Store(sent)
		t.restored.Store(true)
		templates = append(templates, t)
	}
	switch {
	case r.bad || len(r.b) > 0:
		return Recalled{}, errMemory
	case seen < oldest:
		did.Expired += len(templates)
		return did, nil
	}
	s.recall(key, first, seen, init, rates, templates, &did)
	return did, nil
}

// recall makes the domain of a memory.
func (s *Store) recall(key Key, first, seen, init int64, rates []Rate, templates []*Template, did *Recalled) {
	if s.has(key) {
		did.Refused += len(templates)
		return
	}
	d, why := s.Domain(key, first)
	if why != None {
		did.Refused += len(templates)
		return
	}
	d.seen.Store(seen)
	d.SetInitTime(init)
	d.SetRates(rates)
	taken, _ := d.put(templates) // counts what it refuses
	did.Templates += taken
	did.Refused += len(templates) - taken
}

func (s *Store) has(key Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.domains[key] != nil
}

// Each calls f for every domain, sorted by exporter, protocol and domain. f may call methods of the domain.
func (s *Store) Each(f func(*Domain)) {
	for _, d := range s.list() {
		f(d)
	}
}

// reader reads integers off the front of b. Where b is too short they are 0, and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) err() error {
	if r.bad {
		return errMemory
	}
	return nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

// time reads a time, none of which is after now.
func (r *reader) time(now int64) int64 { return max(0, min(int64(r.u64()), now)) }

// count reads how many things of at least so many octets follow; no more than fit.
func (r *reader) count(octets int) int {
	n := int(r.u32())
	if n > len(r.b)/octets {
		r.bad = true
		return 0
	}
	return n
}

func (r *reader) key() Key {
	var k Key
	k.Protocol = r.u8()
	addr, ok := netip.AddrFromSlice(r.take(int(r.u8())))
	k.Exporter, k.Domain = addr, r.u32()
	if !ok || addr.Is4In6() || !slices.Contains(protocols, k.Protocol) {
		r.bad = true
	}
	return k
}

var protocols = []uint8{5, 9, 10} // see Key
