package estate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
)

// frame is what all sources say of pools, hosts and networks, merged. It is immutable.
type frame struct {
	pools    []Pool
	hosts    []Host
	networks []Network

	// What each is made of by key, the most believed first.
	poolMembers, hostMembers, networkMembers map[string][]member

	byVLAN   map[onWire]string // keys of networks; several: none
	seen     map[string]bool   // keys of hosts whose database is read
	problems []Problem
}

// member is one of the things that were found to be one: an index in a source's model.
type member struct {
	src *source
	i   int
}

// onWire is what tells a network by what it is on the wire.
type onWire struct {
	pool   string // key; empty: none
	bridge string
	vlan   uint16
}

// mergeFrame merges the pools, hosts and networks of sources, which come with the most believed first, and notes in them
// where their own are. Things are one if they have one UUID, else if they have one name in one pool, and none of them
// contradicts by its UUID; hosts also if they export from one address, networks if they have one bridge and VLAN in a pool.
// Two things of one source, and two hosts whose databases are read, are never one.
func mergeFrame(sources []*source, ids *identities) *frame {
	f := &frame{byVLAN: map[onWire]string{}, seen: map[string]bool{}}
	f.mergePools(sources, ids)
	f.mergeHosts(sources, ids)
	f.mergeNetworks(sources, ids)
	slices.SortFunc(f.pools, func(a, b Pool) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(f.hosts, func(a, b Host) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(f.networks, func(a, b Network) int { return strings.Compare(a.Key, b.Key) })
	return f
}

// matcher finds among things that are merged already the one that a further thing is.
type matcher struct {
	byUUID map[string]int
	uuids  []string          // of the merged things
	owners []map[string]bool // sources that each is made of
	others map[string][]int  // by what else tells
	keys   map[string][]int  // own keys: which merged things would go by them
	chosen map[string]bool   // keys that merged things go by
}

func newMatcher() *matcher {
	return &matcher{byUUID: map[string]int{}, others: map[string][]int{}, keys: map[string][]int{}, chosen: map[string]bool{}}
}

// onlyOnce is what may be part of a merged thing only once.
func onlyOnce(s *source) string {
	if s.seesHosts {
		return "host"
	}
	return s.name
}

// find returns which merged thing one of s with a uuid is, tried by each of the other marks in turn; -1 is none.
func (m *matcher) find(s *source, uuid string, exclusive bool, marks ...string) int {
	fits := func(i int) bool {
		by := s.name
		if exclusive {
			by = onlyOnce(s)
		}
		return !m.owners[i][by] && (uuid == "" || m.uuids[i] == "" || m.uuids[i] == uuid)
	}
	if i, ok := m.byUUID[uuid]; ok && uuid != "" {
		if fits(i) {
			return i
		}
		return -1
	}
	for _, mark := range marks {
		found := -1
		for _, i := range m.others[mark] {
			if mark == "" || !fits(i) {
				continue
			}
			if found >= 0 && found != i {
				found = -1
				break
			}
			found = i
		}
		if found >= 0 {
			return found
		}
	}
	return -1
}

// note makes merged thing i, the next one or one that is there, known by what one of s with a uuid says of it.
func (m *matcher) note(i int, s *source, uuid, key string, exclusive bool, marks ...string) {
	if i == len(m.uuids) {
		m.uuids, m.owners = append(m.uuids, ""), append(m.owners, map[string]bool{})
	}
	m.owners[i][s.name] = true
	if exclusive {
		m.owners[i][onlyOnce(s)] = true
	}
	if uuid != "" && m.uuids[i] == "" {
		m.uuids[i] = uuid
		if _, ok := m.byUUID[uuid]; !ok {
			m.byUUID[uuid] = i
		}
	}
	for _, mark := range marks {
		if mark != "" && !slices.Contains(m.others[mark], i) {
			m.others[mark] = append(m.others[mark], i)
		}
	}
	if !slices.Contains(m.keys[key], i) {
		m.keys[key] = append(m.keys[key], i)
		slices.Sort(m.keys[key])
	}
}

// identify gives merged thing i its key. own and uuids are those of its members, the most believed first.
func (m *matcher) identify(ids *identities, kind flow.Kind, i int, members []member, own, uuids []string) (key string, sameAs []string) {
	candidates := candidates(own, uuids, members[0].src)
	key, sameAs = ids.choose(kind, len(uuids), candidates, func(key string) right {
		owners := m.keys[key]
		switch {
		case m.chosen[key]:
			return rightNone
		case len(owners) == 0 || len(owners) == 1 && owners[0] == i:
			return rightFull
		case owners[0] == i:
			return rightFirst
		}
		return rightNone
	})
	m.chosen[key] = true
	return key, sameAs
}

// candidates returns what something may go by, without repetition, and what it goes by if it has no right to any of that:
// the first of its own keys, with the source that says it.
func candidates(own, uuids []string, by *source) []string {
	list := make([]string, 0, len(own)+len(uuids)+1)
	list = append(list, uuids...)
	for _, k := range own {
		if !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return append(list, by.name+"/"+own[0])
}

// ownKeys returns the own keys of members and their UUIDs.
func ownKeys(members []member, keys func(*source) []string, uuidOf func(member) string) (own, uuids []string) {
	for _, m := range members {
		own = append(own, keys(m.src)[m.i])
		if u := strings.ToLower(uuidOf(m)); u != "" && !slices.Contains(uuids, u) {
			uuids = append(uuids, u)
		}
	}
	return own, uuids
}

func (f *frame) mergePools(sources []*source, ids *identities) {
	match := newMatcher()
	var all [][]member
	for _, s := range sources {
		for j := range s.model.Pools {
			p := &s.model.Pools[j]
			uuid, mark := strings.ToLower(p.UUID), "name/"+p.Name
			i := match.find(s, uuid, false, mark)
			if i < 0 {
				i, all = len(all), append(all, nil)
			}
			match.note(i, s, uuid, s.poolKeys[j], false, mark)
			all[i] = append(all[i], member{s, j})
		}
		s.pools = make([]string, len(s.model.Pools))
	}
	f.pools, f.poolMembers = make([]Pool, len(all)), make(map[string][]member, len(all))
	for i, members := range all {
		p := &f.pools[i]
		of := func(m member) *Pool { return &m.src.model.Pools[m.i] }
		own, uuids := ownKeys(members, func(s *source) []string { return s.poolKeys }, func(m member) string { return of(m).UUID })
		p.Key, p.SameAs = match.identify(ids, flow.KindPool, i, members, own, uuids)
		f.poolMembers[p.Key], p.Origin = members, originOf(members)
		for _, m := range members {
			m.src.pools[m.i] = p.Key
			p.Name = cmp.Or(p.Name, of(m).Name)
			p.UUID = cmp.Or(p.UUID, strings.ToLower(of(m).UUID))
			p.Attributes = union(p.Attributes, of(m).Attributes)
		}
	}
}

// origin returns the kinds of the sources of a thing, which come with the most believed first.
func origin(sources []*source) string {
	var kinds []string
	for _, s := range sources {
		if kind := kindOf(s.name); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, ",")
}

func originOf(members []member) string {
	var sources []*source
	for _, m := range members {
		sources = append(sources, m.src)
	}
	return origin(sources)
}

// union returns a with what b has besides.
func union(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	all := maps.Clone(b)
	maps.Copy(all, a)
	return all
}

// unionOf appends to a what it does not have of b.
func unionOf[T comparable](a, b []T) []T {
	if len(a) == 0 {
		return slices.Clip(b)
	}
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

func (f *frame) mergeHosts(sources []*source, ids *identities) {
	match := newMatcher()
	var all [][]member
	var pools []string // keys, of the merged hosts
	for _, s := range sources {
		s.hosts = make([]string, len(s.model.Hosts))
		for j := range s.model.Hosts {
			h := &s.model.Hosts[j]
			pool := keyAt(s.pools, s.hostPool[j])
			uuid := strings.ToLower(h.UUID)
			marks := []string{fmt.Sprintf("name/%q/%s", pool, h.Name)}
			for _, a := range h.Exporters {
				marks = append(marks, "exporter/"+a.Unmap().String())
			}
			find := append(slices.Clone(marks), fmt.Sprintf("name/%q/%s", "", h.Name)) // one whose pool is not known
			if pool == "" {
				find = append(find, "name/"+h.Name)
			}
			marks = append(marks, "name/"+h.Name)
			i := match.find(s, uuid, true, find...)
			if i < 0 {
				i = len(all)
				all, pools = append(all, nil), append(pools, "")
				if other, ok := match.byUUID[uuid]; ok && uuid != "" {
					f.problems = append(f.problems, Problem{
						Path: fmt.Sprintf("host %q of %s", h.Name, s.name),
						Text: fmt.Sprintf("its UUID %s is also that of host %q of %s: they are two entries for one host, or one is a copy of the other's disk", uuid,
							all[other][0].src.model.Hosts[all[other][0].i].Name, all[other][0].src.name),
					})
				}
			}
			match.note(i, s, uuid, s.hostKeys[j], true, marks...)
			pools[i] = cmp.Or(pools[i], pool)
			all[i] = append(all[i], member{s, j})
		}
	}
	f.hosts, f.hostMembers = make([]Host, len(all)), make(map[string][]member, len(all))
	taken := map[string]bool{}
	for i, members := range all {
		h := &f.hosts[i]
		of := func(m member) *Host { return &m.src.model.Hosts[m.i] }
		own, uuids := ownKeys(members, func(s *source) []string { return s.hostKeys }, func(m member) string { return of(m).UUID })
		if len(uuids) > 0 && taken[uuids[0]] { // reported
			own, uuids = []string{members[0].src.name + "/" + of(members[0]).Name}, nil
		}
		for _, u := range uuids {
			taken[u] = true
		}
		h.Key, h.SameAs = match.identify(ids, flow.KindHost, i, members, own, uuids)
		h.Pool = pools[i]
		f.hostMembers[h.Key], h.Origin = members, originOf(members)
		for _, m := range members {
			m.src.hosts[m.i] = h.Key
			f.seen[h.Key] = f.seen[h.Key] || m.src.seesHosts
			h.Name = cmp.Or(h.Name, of(m).Name)
			if len(uuids) > 0 {
				h.UUID = uuids[0]
			}
			h.Exporters = unionOf(h.Exporters, unmapped(of(m).Exporters))
			h.Attributes = union(h.Attributes, of(m).Attributes)
		}
		h.Bridges = mergeBridges(members)
	}
}

// hostsOf returns the hosts that a source tells of, and those that others say are in a pool of it, by name.
func (f *frame) hostsOf(s *source) []SourceHost {
	pools := map[string]string{} // names, by key
	for i := range f.pools {
		pools[f.pools[i].Key] = f.pools[i].Name
	}
	var list []SourceHost
	for i := range f.hosts {
		h := &f.hosts[i]
		x := SourceHost{Name: h.Name, UUID: h.UUID, Pool: pools[h.Pool]}
		for _, m := range f.hostMembers[h.Key] {
			x.Told = x.Told || m.src.name == s.name
			if m.src.seesHosts {
				x.Database = m.src.title()
			}
		}
		if x.Told || x.Database != "" && h.Pool != "" && slices.Contains(s.pools, h.Pool) {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b SourceHost) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.UUID, b.UUID))
	})
	return list
}

func unmapped(list []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, a := range list {
		out[i] = a.Unmap()
	}
	return out
}

// byObservation returns members with those that see most first.
func byObservation(members []member) []member {
	return slices.SortedStableFunc(slices.Values(members), func(a, b member) int { return cmp.Compare(a.src.observed, b.src.observed) })
}

// mergeBridges merges the bridges of one host by name. A host's database knows whether Weir set up the sampling.
func mergeBridges(members []member) []Bridge {
	var all []Bridge
	for n, m := range byObservation(members) {
		for _, b := range m.src.model.Hosts[m.i].Bridges {
			i := slices.IndexFunc(all, func(o Bridge) bool { return o.Name == b.Name })
			if i < 0 {
				if n > 0 && byObservation(members)[0].src.seesHosts {
					b.RuleSampling, b.TotalsElsewhere = false, false
				}
				all = append(all, b)
				continue
			}
			if len(all[i].ObservationDomains) == 0 {
				all[i].ObservationDomains = b.ObservationDomains
			}
			all[i].VirtualObsID = cmp.Or(all[i].VirtualObsID, b.VirtualObsID)
		}
	}
	return all
}

func (f *frame) mergeNetworks(sources []*source, ids *identities) {
	match := newMatcher()
	var all [][]member
	var pools []string
	wire := func(s *source, j int) string {
		n := &s.model.Networks[j]
		if n.Bridge == "" {
			return ""
		}
		return fmt.Sprintf("wire/%q/%d/%s", keyAt(s.pools, s.networkPool[j]), n.VLAN, n.Bridge)
	}
	for _, s := range sources {
		s.networks = make([]string, len(s.model.Networks))
		wires := map[string]int{} // in this source
		for j := range s.model.Networks {
			wires[wire(s, j)]++
		}
		for j := range s.model.Networks {
			n := &s.model.Networks[j]
			pool := keyAt(s.pools, s.networkPool[j])
			uuid, marks := strings.ToLower(n.UUID), []string{fmt.Sprintf("name/%q/%s", pool, n.Name)}
			if w := wire(s, j); wires[w] == 1 {
				marks = append(marks, w)
			}
			i := match.find(s, uuid, false, marks...)
			if i < 0 {
				i = len(all)
				all, pools = append(all, nil), append(pools, "")
			}
			match.note(i, s, uuid, s.networkKeys[j], false, marks...)
			pools[i] = cmp.Or(pools[i], pool)
			all[i] = append(all[i], member{s, j})
		}
	}
	f.networks, f.networkMembers = make([]Network, len(all)), make(map[string][]member, len(all))
	for i, members := range all {
		n := &f.networks[i]
		of := func(m member) *Network { return &m.src.model.Networks[m.i] }
		own, uuids := ownKeys(members, func(s *source) []string { return s.networkKeys }, func(m member) string { return of(m).UUID })
		n.Key, n.SameAs = match.identify(ids, flow.KindNetwork, i, members, own, uuids)
		n.Pool = pools[i]
		f.networkMembers[n.Key], n.Origin = members, originOf(members)
		for _, m := range members {
			m.src.networks[m.i] = n.Key
			n.Name = cmp.Or(n.Name, of(m).Name)
			n.UUID = cmp.Or(n.UUID, strings.ToLower(of(m).UUID))
			n.Subnets = unionOf(n.Subnets, of(m).Subnets)
			n.Attributes = union(n.Attributes, of(m).Attributes)
			if n.Bridge == "" && (n.VLAN == 0 || n.VLAN == of(m).VLAN) {
				n.Bridge, n.VLAN = of(m).Bridge, cmp.Or(n.VLAN, of(m).VLAN)
			}
		}
		if n.Bridge != "" {
			k := onWire{pools[i], n.Bridge, n.VLAN}
			if _, ok := f.byVLAN[k]; ok {
				f.byVLAN[k] = ""
			} else {
				f.byVLAN[k] = n.Key
			}
		}
	}
}

// networkAt returns the key of the network of a VLAN of a bridge of a host in a pool, of the pool's networks or of those of no
// pool; empty if there is none, or several.
func (f *frame) networkAt(pool, bridge string, vlan uint16) string {
	if key, ok := f.byVLAN[onWire{pool, bridge, vlan}]; ok {
		return key
	}
	return f.byVLAN[onWire{"", bridge, vlan}]
}
