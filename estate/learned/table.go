package learned

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
)

// Source is what told of an address; greater ones are believed more.
type Source uint8

// The values of Source.
const (
	Flow Source = iota // the VIF sent from it
	ARP                // it announced it
	ND                 // the same, of IPv6
	DHCP               // a server gave it to the VIF, which had asked
	sources
)

func (s Source) String() string { return [sources]string{"flow", "arp", "nd", "dhcp"}[s] }

// confidence is how much an address that a source tells of is believed.
type confidence uint8

const (
	low confidence = iota
	medium
	high
)

func (s Source) confidence() confidence { return [sources]confidence{low, medium, medium, high}[s] }

func (c confidence) String() string { return [...]string{"low", "medium", "high"}[c] }

const (
	// maxAddrs is how many addresses of a VIF are remembered. One that comes when there are so many takes the place of one that is
	// believed less, or is not remembered.
	maxAddrs = 16

	// hold is for how long nobody else takes an address over that a VIF was seen with.
	hold = 2 * time.Minute

	// absence is after how long a VIF that the estate does not have any more is forgotten.
	absence = 10 * time.Minute

	minLease, maxLease = time.Minute, 24 * time.Hour
)

// keeps is for how long an address is remembered that a source told of; DHCP: as long as the lease, within bounds.
var keeps = [sources]time.Duration{Flow: 15 * time.Minute, ARP: time.Hour, ND: time.Hour, DHCP: maxLease}

// Place is where a VIF is, and what is told of it.
type Place struct {
	Network string         // key, or what else says who can be met there; empty: not known
	Told    []netip.Addr   // unmapped
	Subnets []netip.Prefix // of the network, as far as they are told
}

// Finding is something about addresses that people should know. They are comparable.
type Finding struct {
	What  What
	VIF   string // key
	Addr  netip.Addr
	Other string // key of the VIF that has the address; empty: none
}

// What is what was found.
type What uint8

// The values of What.
const (
	Taken   What = iota // VIF claims what Other has
	Differs             // VIF has other addresses, as is told
	TooMany             // VIF has more addresses than are remembered; Addr is the first of those that are not
)

// Table is what was learned. It is for one goroutine at a time; keys are those of VIFs. Its zero value has learned nothing.
type Table struct {
	vifs    map[string]*vif
	holders map[spot]string // who has an address
	told    map[Finding]bool
}

type vif struct {
	claims  map[netip.Addr]*claim
	missing time.Time  // since when the estate does not have it; zero: it has
	refused netip.Addr // one that was not remembered since the last Settle
	crowded bool       // that was told

	// Until then nothing gets in among maxAddrs claims that is believed no more than floor: who floods is refused at once.
	floor      confidence
	floorUntil time.Time
}

type claim struct {
	until       [sources]time.Time // zero: this source does not tell of it
	first, last time.Time
	used        bool
	why         string
}

// spot is an address in a network, or of a VIF whose network is not known.
type spot struct {
	network, vif string
	addr         netip.Addr
}

// best returns the most believed source that tells of an address.
func (c *claim) best() Source {
	for s := sources - 1; s > 0; s-- {
		if !c.until[s].IsZero() {
			return s
		}
	}
	return Flow
}

// end returns when nothing tells of an address any more.
func (c *claim) end() time.Time {
	return slices.MaxFunc(c.until[:], time.Time.Compare)
}

// expire forgets sources that told long ago, and says whether none is left.
func (c *claim) expire(now time.Time) (gone bool) {
	gone = true
	for s, t := range c.until {
		if !t.After(now) {
			c.until[s] = time.Time{}
		} else {
			gone = false
		}
	}
	return gone
}

// See notes that a VIF was seen with an address; lease is that of DHCP. It reports whether that may change anything else than until when
// it is remembered: then Settle is due.
func (t *Table) See(key string, addr netip.Addr, from Source, lease time.Duration, now time.Time) bool {
	if !Possible(addr) {
		return false
	}
	if t.vifs == nil {
		t.vifs = map[string]*vif{}
	}
	v := t.vifs[key]
	if v == nil {
		v = &vif{claims: map[netip.Addr]*claim{}}
		t.vifs[key] = v
	}
	c := v.claims[addr]
	fresh := c == nil
	if fresh {
		if len(v.claims) >= maxAddrs && !v.makeRoom(from, now) {
			first := !v.refused.IsValid()
			if first {
				v.refused = addr
			}
			return first
		}
		c = &claim{first: now}
		v.claims[addr] = c
	}
	fresh = fresh || c.until[from].IsZero() || now.Sub(c.last) > hold
	c.last = now
	until := keeps[from]
	if from == DHCP {
		until = max(minLease, min(lease, maxLease))
	}
	c.until[from] = now.Add(until)
	return fresh
}

// makeRoom forgets the address of v that is believed least, if it is believed less than one that a source tells of.
func (v *vif) makeRoom(from Source, now time.Time) bool {
	if from.confidence() <= v.floor && now.Before(v.floorUntil) {
		return false
	}
	var worst netip.Addr
	var until time.Time
	for addr, c := range v.claims {
		if c.expire(now) {
			delete(v.claims, addr)
			return true
		}
		if w := v.claims[worst]; w == nil || cmp.Or(cmp.Compare(c.best().confidence(), w.best().confidence()), c.last.Compare(w.last), addr.Compare(worst)) < 0 {
			worst = addr
		}
		for _, t := range c.until {
			if !t.IsZero() && (until.IsZero() || t.Before(until)) {
				until = t
			}
		}
	}
	v.floor, v.floorUntil = v.claims[worst].best().confidence(), until
	if v.claims[worst].best().confidence() >= from.confidence() {
		return false
	}
	delete(v.claims, worst)
	v.floorUntil = time.Time{}
	return true
}

// Leave forgets an address of a VIF that gave it back, and reports whether it had it.
func (t *Table) Leave(key string, addr netip.Addr) bool {
	v := t.vifs[key]
	if v == nil || v.claims[addr] == nil {
		return false
	}
	delete(v.claims, addr)
	return true
}

// Settle decides who has which address, of VIFs that are at places, and returns all that is remembered, by the key of the VIF, in the order
// of addresses; and what was found that was not found the last time.
func (t *Table) Settle(now time.Time, places map[string]Place) (estate.LearnedAt, []Finding) {
	t.forget(now, places)
	found := map[Finding]bool{}
	var fresh []Finding
	claimants := map[spot][]string{}
	for key, v := range t.vifs {
		place, ok := places[key]
		if !ok {
			continue // as it was
		}
		for addr, c := range v.claims {
			at := spotOf(key, &place, addr)
			c.used, c.why = false, ""
			switch confident := c.best().confidence() > low; {
			case slices.Contains(place.Told, addr):
				c.used, c.why = true, "as is told"
				claimants[at] = append(claimants[at], key)
			case !confident && !slices.ContainsFunc(place.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) }):
				c.why = "not used: only flows have it, and no subnet of its network"
			default:
				claimants[at] = append(claimants[at], key)
				if confident && differs(addr, place.Told) {
					found[Finding{What: Differs, VIF: key, Addr: addr}] = true
				}
			}
		}
		if v.refused.IsValid() && !v.crowded {
			v.crowded = true
			fresh = append(fresh, Finding{What: TooMany, VIF: key, Addr: v.refused})
		}
		v.refused = netip.Addr{}
		v.crowded = v.crowded && len(v.claims) >= maxAddrs
	}
	told := map[spot]string{}
	for key, place := range places {
		for _, addr := range place.Told {
			at := spotOf(key, &place, addr)
			if _, ok := claimants[at]; ok && (told[at] == "" || key < told[at]) {
				told[at] = key
			}
		}
	}
	holders := make(map[spot]string, len(claimants))
	for at, list := range claimants {
		holder := told[at]
		if holder == "" {
			holder = t.holder(at, list)
			holders[at] = holder
		}
		for _, key := range list {
			switch c := t.vifs[key].claims[at.addr]; {
			case c.used:
			case key == holder:
				c.used, c.why = true, "nobody else has it"
				if len(list) > 1 {
					c.why = "it had it first"
				}
			default:
				c.why = "not used: another VIF has it"
				if told[at] != "" {
					c.why = "not used: it is told of another VIF"
				}
				found[Finding{What: Taken, VIF: key, Addr: at.addr, Other: holder}] = true
			}
		}
	}
	t.holders = holders
	for f := range found {
		if !t.told[f] {
			fresh = append(fresh, f)
		}
	}
	slices.SortFunc(fresh, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.What, b.What), strings.Compare(a.VIF, b.VIF), a.Addr.Compare(b.Addr), strings.Compare(a.Other, b.Other))
	})
	t.told = found
	return t.list(), fresh
}

// spotOf returns where an address of a VIF is.
func spotOf(key string, p *Place, addr netip.Addr) spot {
	if p.Network == "" {
		return spot{vif: key, addr: addr}
	}
	return spot{network: p.Network, addr: addr}
}

// differs reports whether addresses of the family are told of a VIF, though not this one. Each VIF has a link-local one besides.
func differs(addr netip.Addr, told []netip.Addr) bool {
	return !addr.IsLinkLocalUnicast() && slices.ContainsFunc(told, func(t netip.Addr) bool { return t.Is4() == addr.Is4() && !t.IsLinkLocalUnicast() })
}

// holder returns which of several VIFs has an address: the one that had it, unless it was silent for long and another that is believed as
// much was seen since.
func (t *Table) holder(at spot, list []string) string {
	of := func(key string) *claim { return t.vifs[key].claims[at.addr] }
	best := slices.MinFunc(list, func(a, b string) int {
		x, y := of(a), of(b)
		return cmp.Or(cmp.Compare(y.best().confidence(), x.best().confidence()), y.last.Compare(x.last), strings.Compare(a, b))
	})
	had := t.holders[at]
	if had == "" {
		// Who had it first, of those that are believed most.
		return slices.MinFunc(list, func(a, b string) int {
			x, y := of(a), of(b)
			return cmp.Or(cmp.Compare(y.best().confidence(), x.best().confidence()), x.first.Compare(y.first), strings.Compare(a, b))
		})
	}
	if !slices.Contains(list, had) {
		return best
	}
	x, y := of(had), of(best)
	if best != had && y.best().confidence() >= x.best().confidence() && y.last.Sub(x.last) > hold {
		return best
	}
	return had
}

// forget removes what is too old, and VIFs that are gone.
func (t *Table) forget(now time.Time, places map[string]Place) {
	for key, v := range t.vifs {
		maps.DeleteFunc(v.claims, func(_ netip.Addr, c *claim) bool { return c.expire(now) })
		if _, ok := places[key]; ok {
			v.missing = time.Time{}
		} else if v.missing.IsZero() {
			v.missing = now
		}
		if len(v.claims) == 0 && !v.refused.IsValid() || !v.missing.IsZero() && now.Sub(v.missing) >= absence {
			delete(t.vifs, key)
		}
	}
}

// list returns all that is remembered.
func (t *Table) list() estate.LearnedAt {
	all := make(estate.LearnedAt, len(t.vifs))
	for key, v := range t.vifs {
		list := make([]estate.Learned, 0, len(v.claims))
		for addr, c := range v.claims {
			var from []string
			for s := sources; s > 0; s-- {
				if !c.until[s-1].IsZero() {
					from = append(from, (s - 1).String())
				}
			}
			list = append(list, estate.Learned{
				Addr: addr, From: strings.Join(from, ","), Confidence: c.best().confidence().String(), First: c.first, Last: c.last, Until: c.end(),
				Used: c.used, Why: c.why,
			})
		}
		slices.SortFunc(list, func(a, b estate.Learned) int { return a.Addr.Compare(b.Addr) })
		all[key] = list
	}
	return all
}

// Kept is one source's word of an address, for the next run.
type Kept struct {
	VIF         string     `json:"vif"`
	Addr        netip.Addr `json:"addr"`
	From        string     `json:"from"`
	First, Last time.Time
	Until       time.Time
	Used        bool
}

// Keep returns all that is remembered, for Recall.
func (t *Table) Keep() []Kept {
	var list []Kept
	for key, v := range t.vifs {
		for addr, c := range v.claims {
			for s, until := range c.until {
				if !until.IsZero() {
					list = append(list, Kept{key, addr, Source(s).String(), c.first, c.last, until, c.used})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b Kept) int {
		return cmp.Or(strings.Compare(a.VIF, b.VIF), a.Addr.Compare(b.Addr), strings.Compare(a.From, b.From))
	})
	return list
}

// Recall takes what a table kept, as far as it still holds and makes sense, and returns it as Settle did.
func (t *Table) Recall(list []Kept, now time.Time) estate.LearnedAt {
	for _, k := range list {
		from := sources
		for s := range sources {
			if s.String() == k.From {
				from = s
			}
		}
		if from == sources || k.VIF == "" || !k.Until.After(now) || k.Until.Sub(now) > maxLease || k.Last.After(now) || k.First.After(k.Last) {
			continue
		}
		if v := t.vifs[k.VIF]; v != nil && v.claims[k.Addr] == nil && len(v.claims) >= maxAddrs {
			continue
		}
		if !t.See(k.VIF, k.Addr, from, 0, k.Last) && t.vifs[k.VIF] == nil {
			continue
		}
		if c := t.vifs[k.VIF].claims[k.Addr]; c != nil {
			c.first, c.last, c.used, c.why = k.First, k.Last, k.Used, "as before a restart"
			c.until[from] = k.Until
		}
	}
	return t.list()
}
