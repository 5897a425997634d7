package estate

import (
	"net/netip"
	"slices"
	"time"
)

// Learned is an address that a VIF was seen to have, and that no source may have told; see estate/learned.
type Learned struct {
	Addr       netip.Addr `json:"address"`
	From       string     `json:"from" doc:"What told of it, the most believed first: dhcp, nd, arp, flow."`
	Confidence string     `json:"confidence" doc:"high: a DHCP server gave it; medium: the VIF announced it; low: it sent from it."`
	First      time.Time  `json:"first" doc:"When it was seen first."`
	Last       time.Time  `json:"last" doc:"When it was seen last."`
	Until      time.Time  `json:"until" doc:"When it is forgotten unless it is seen again."`
	Used       bool       `json:"used" doc:"It is an address of the VIF, for groups and for names in flows."`
	Why        string     `json:"why" doc:"Why it is used, or is not."`
}

// LearnedAt is what was learned of a VIF of the merged estate.
type LearnedAt map[string][]Learned // by key of the VIF

// SetLearned makes these the learned addresses, in place of those that there were, and returns when the estate with them is in the holder.
// Those that are used are addresses of their VIFs from then on, after those that sources tell. Costs what assembling does, and next to
// nothing if the addresses that are used are the same. The lists are not changed afterwards.
func (a *Assembler) SetLearned(list LearnedAt, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := map[string][]netip.Addr{}
	for key, learned := range list {
		if addrs := usedOf(learned); len(addrs) > 0 {
			used[key] = addrs
		}
	}
	before := a.merger.learned
	a.learned, a.merger.learned = list, used
	touched := false
	for _, c := range a.merger.order {
		for i := range c.vm.VIFs {
			if key := c.vm.VIFs[i].Key; !slices.Equal(before[key], used[key]) {
				a.merger.changed[c.members[0]] = struct{}{}
				touched = true
			}
		}
	}
	if touched {
		a.assemble(map[string]*source{}, at)
	}
}

func usedOf(list []Learned) []netip.Addr {
	var addrs []netip.Addr
	for i := range list {
		if list[i].Used {
			addrs = append(addrs, list[i].Addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// Told returns the addresses of v that sources tell.
func (v *VIF) Told() []netip.Addr { return v.IPs[:max(0, len(v.IPs)-int(v.Learned))] }

// withLearned adds to v what was learned of it and is not told.
func (m *merger) withLearned(v *VIF) {
	for _, addr := range m.learned[v.Key] {
		if !slices.ContainsFunc(v.IPs, func(told netip.Addr) bool { return told.Unmap() == addr }) {
			v.IPs = append(slices.Clip(v.IPs), addr)
			v.Learned++
		}
	}
}

// learnedWords adds to the addresses of a VIF what was learned.
func (e *explainer) learnedWords(f FieldOrigins, list []Learned) FieldOrigins {
	for i := range list {
		l := &list[i]
		f.Said = append(f.Said, Words{
			Source: "learned:" + l.From, Used: l.Used,
			Value: l.Addr.String() + " (" + l.Confidence + ", seen " + l.Last.UTC().Format(time.RFC3339) + ", " + l.Why + ")",
		})
	}
	return f
}

// learnedBy reports whether an address was learned of the VIF with a key, used or not.
func (e *explainer) learnedBy(key string, addr netip.Addr) bool {
	return slices.ContainsFunc(e.a.learned[key], func(l Learned) bool { return l.Addr == addr })
}
