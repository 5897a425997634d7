package estate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/flow"
)

// Explanation says who said what of something in the estate, and how a flow with it is resolved.
type Explanation struct {
	Query   string         `json:"query"`
	Found   []Explained    `json:"found" doc:"What goes by it, at most 20."`
	More    int            `json:"more,omitempty" doc:"How many more go by it."`
	Flow    []Resolution   `json:"flow,omitempty" doc:"What a flow with it is resolved to."`
	Sources []SourceStatus `json:"sources" doc:"All sources, the most believed first."`
}

// Explained is something of the estate.
type Explained struct {
	Kind   flow.Kind      `json:"kind"`
	ID     flow.ID        `json:"id,string"`
	Key    string         `json:"key" doc:"What the id is made of: the first by which it was known."`
	SameAs []string       `json:"same_as,omitempty" doc:"Further keys by which flows may know it."`
	Name   string         `json:"name"`
	Fields []FieldOrigins `json:"fields"`
}

// FieldOrigins says where a property comes from.
type FieldOrigins struct {
	Field string  `json:"field"`
	Value string  `json:"value"`
	Said  []Words `json:"said" doc:"What each source says, in the order in which they are believed of this field."`
	Why   string  `json:"why" doc:"By which rule the value follows from that."`
}

// Words is what one source says of a property.
type Words struct {
	Source string `json:"source"`
	Value  string `json:"value"`
	Used   bool   `json:"used" doc:"It is, or is part of, the value."`
	Stale  bool   `json:"stale,omitempty" doc:"The source cannot be asked at present."`
}

// Resolution is the outcome of a look-up.
type Resolution struct {
	By     string   `json:"by" doc:"As: IP address in network front."`
	Result string   `json:"result" doc:"hit, miss or ambiguous."`
	VIF    string   `json:"vif,omitempty"`
	VM     string   `json:"vm,omitempty"`
	Host   string   `json:"host,omitempty" doc:"Where the VM runs."`
	Groups []string `json:"groups,omitempty" doc:"Of the address, and of the VM."`
}

const maxExplained = 20

// Why a value was taken.
const (
	whyTold     = "what people say: xapi before libvirt, file, host"
	whyObserved = "what is seen: host before xapi, libvirt, file"
	whyUnion    = "all that is said, together"
	whyAddrs    = "all that is said, together, and what was learned as far as it is used"
	whyKept     = "the first key by which it was known stays"
	whyPlugged  = "where it was plugged last at a host that can be asked; else the most believed of: xapi, libvirt, file"
	whyPorts    = "of a host whose database is read only that counts; else all that is said"
)

// Explain explains what goes by an IP or MAC address, a UUID or key, an id, or a name (of a VIF "vm/device"), in any case.
func (a *Assembler) Explain(query string) Explanation {
	e := explainer{a: a, s: a.deps.Estate.Load(), out: Explanation{Query: query, Found: []Explained{}}}
	e.out.Sources = a.Sources()
	a.mu.Lock()
	defer a.mu.Unlock()
	e.parse(query)
	e.frame()
	for i := range a.merger.order {
		e.vm(a.merger.order[i])
	}
	e.resolve()
	return e.out
}

type explainer struct {
	a   *Assembler
	s   *Snapshot
	out Explanation

	text string
	addr netip.Addr
	mac  MAC
}

func (e *explainer) parse(query string) {
	e.text = strings.ToLower(strings.TrimSpace(query))
	if addr, err := netip.ParseAddr(e.text); err == nil {
		e.addr = addr.Unmap()
	} else if mac, err := ParseMAC(e.text); err == nil {
		e.mac = mac
	}
}

// by reports whether an entity goes by what is asked for.
func (e *explainer) by(kind flow.Kind, key string, sameAs []string, names ...string) bool {
	is := func(s string) bool { return s != "" && strings.EqualFold(s, e.text) }
	return is(key) || slices.ContainsFunc(sameAs, is) || slices.ContainsFunc(names, is) ||
		e.text == strconv.FormatUint(uint64(flow.NewID(kind, key)), 10)
}

func (e *explainer) add(kind flow.Kind, key string, sameAs []string, name string, fields []FieldOrigins) {
	if len(e.out.Found) == maxExplained {
		e.out.More++
		return
	}
	fields = slices.DeleteFunc(fields, func(f FieldOrigins) bool { return f.Value == "" && len(f.Said) == 0 })
	e.out.Found = append(e.out.Found, Explained{Kind: kind, ID: flow.NewID(kind, key), Key: key, SameAs: sameAs, Name: name, Fields: fields})
}

// field says what members say of a property, in an order.
func field[M any](name, value, why string, order []string, members []M, source func(M) *source, says func(M) string) FieldOrigins {
	f := FieldOrigins{Field: name, Value: value, Why: why}
	rank := func(m M) int { return rankIn(order, source(m).name) }
	used := false
	for _, m := range slices.SortedStableFunc(slices.Values(members), func(a, b M) int { return cmp.Compare(rank(a), rank(b)) }) {
		if text := says(m); text != "" {
			w := Words{Source: source(m).title(), Value: text, Stale: !source(m).stale.IsZero()}
			if w.Used = text == value && !used; why == whyUnion || why == whyAddrs || why == whyPorts {
				w.Used = slices.ContainsFunc(strings.Split(text, ","), func(part string) bool { return slices.Contains(strings.Split(value, ","), part) })
			}
			used = used || w.Used
			f.Said = append(f.Said, w)
		}
	}
	return f
}

func (e *explainer) frame() {
	f := e.a.frame
	of := func(m member) *source { return m.src }
	for i := range f.pools {
		p := &f.pools[i]
		if !e.by(flow.KindPool, p.Key, p.SameAs, p.Name) {
			continue
		}
		members := f.poolMembers[p.Key]
		e.add(flow.KindPool, p.Key, p.SameAs, p.Name, []FieldOrigins{
			field("key", p.Key, whyKept, toldBy, members, of, func(m member) string { return m.src.poolKeys[m.i] }),
			field("name", p.Name, whyTold, toldBy, members, of, func(m member) string { return m.src.model.Pools[m.i].Name }),
			field("attributes", pairsOf(p.Attributes), whyUnion, toldBy, members, of, func(m member) string { return pairsOf(m.src.model.Pools[m.i].Attributes) }),
		})
	}
	for i := range f.hosts {
		h := &f.hosts[i]
		if !e.by(flow.KindHost, h.Key, h.SameAs, h.Name) && !slices.Contains(h.Exporters, e.addr) {
			continue
		}
		members := f.hostMembers[h.Key]
		at := func(m member) *Host { return &m.src.model.Hosts[m.i] }
		bridges := func(list []Bridge) string {
			var names []string
			for _, b := range list {
				names = append(names, b.Name)
			}
			return strings.Join(names, ",")
		}
		e.add(flow.KindHost, h.Key, h.SameAs, h.Name, []FieldOrigins{
			field("key", h.Key, whyKept, toldBy, members, of, func(m member) string { return m.src.hostKeys[m.i] }),
			field("name", h.Name, whyTold, toldBy, members, of, func(m member) string { return at(m).Name }),
			field("pool", e.poolName(h.Pool), whyTold, toldBy, members, of, func(m member) string { return at(m).Pool }),
			field("exporters", joined(h.Exporters), whyUnion, toldBy, members, of, func(m member) string { return joined(unmapped(at(m).Exporters)) }),
			field("bridges", bridges(h.Bridges), whyUnion, observedBy, members, of, func(m member) string { return bridges(at(m).Bridges) }),
			field("attributes", pairsOf(h.Attributes), whyUnion, toldBy, members, of, func(m member) string { return pairsOf(at(m).Attributes) }),
		})
	}
	for i := range f.networks {
		n := &f.networks[i]
		if !e.by(flow.KindNetwork, n.Key, n.SameAs, n.Name) {
			continue
		}
		members := f.networkMembers[n.Key]
		at := func(m member) *Network { return &m.src.model.Networks[m.i] }
		wire := func(n *Network) string {
			if n.VLAN == 0 {
				return n.Bridge
			}
			return fmt.Sprintf("%s VLAN %d", n.Bridge, n.VLAN)
		}
		e.add(flow.KindNetwork, n.Key, n.SameAs, n.Name, []FieldOrigins{
			field("key", n.Key, whyKept, toldBy, members, of, func(m member) string { return m.src.networkKeys[m.i] }),
			field("name", n.Name, whyTold, toldBy, members, of, func(m member) string { return at(m).Name }),
			field("pool", e.poolName(n.Pool), whyTold, toldBy, members, of, func(m member) string { return at(m).Pool }),
			field("bridge", wire(n), whyTold, toldBy, members, of, func(m member) string { return wire(at(m)) }),
			field("subnets", joined(n.Subnets), whyUnion, toldBy, members, of, func(m member) string { return joined(at(m).Subnets) }),
			field("attributes", pairsOf(n.Attributes), whyUnion, toldBy, members, of, func(m member) string { return pairsOf(at(m).Attributes) }),
		})
	}
}

// named returns the name of an entity by its key.
func (e *explainer) named(kind flow.Kind, key string) string {
	if found, ok := e.s.Find(kind, key); ok {
		return found.Name
	}
	return key
}

func (e *explainer) poolName(key string) string { return e.named(flow.KindPool, key) }

// vm explains a VM and its VIFs as far as they are asked for.
func (e *explainer) vm(c *cluster) {
	vm := &c.vm
	source := func(n *node) *source { return n.src }
	if e.by(flow.KindVM, vm.Key, vm.SameAs, vm.Name, vm.UUID) {
		e.add(flow.KindVM, vm.Key, vm.SameAs, vm.Name, []FieldOrigins{
			field("key", vm.Key, whyKept, toldBy, c.members, source, func(n *node) string { return n.key }),
			field("name", vm.Name, whyTold, toldBy, c.members, source, func(n *node) string { return n.vm.Name }),
			field("uuid", vm.UUID, whyTold, toldBy, c.members, source, func(n *node) string { return strings.ToLower(n.vm.UUID) }),
			field("pool", e.poolName(vm.Pool), whyTold, toldBy, c.members, source, func(n *node) string { return e.poolName(n.poolKey()) }),
			field("host", e.named(flow.KindHost, vm.Host), whyPlugged, observedBy, c.members, source, func(n *node) string {
				return e.named(flow.KindHost, keyAt(n.src.hosts, n.host))
			}),
			field("tags", strings.Join(vm.Tags, ","), whyUnion, toldBy, c.members, source, func(n *node) string { return strings.Join(n.vm.Tags, ",") }),
			field("attributes", pairsOf(vm.Attributes), whyUnion, toldBy, c.members, source, func(n *node) string { return pairsOf(n.vm.Attributes) }),
		})
	}
	var groups [][]vifOf
	for i := range vm.VIFs {
		v := &vm.VIFs[i]
		name := e.named(flow.KindVIF, v.Key)
		if !e.by(flow.KindVIF, v.Key, v.SameAs, name, v.UUID) && (e.mac == 0 || v.MAC != e.mac) &&
			!e.learnedBy(v.Key, e.addr) && (!e.addr.IsValid() || !slices.ContainsFunc(v.IPs, func(a netip.Addr) bool { return a.Unmap() == e.addr })) {
			continue
		}
		if groups == nil {
			groups = groupVIFs(c.members)
		}
		e.vif(v, name, groups[i])
	}
}

func (e *explainer) vif(v *VIF, name string, members []vifOf) {
	source := func(x vifOf) *source { return x.node.src }
	network := func(key string) string {
		if key == "" {
			return ""
		}
		return e.named(flow.KindNetwork, key)
	}
	ports := func(list []Port, host func(k int) string) string {
		var names []string
		for k, p := range list {
			if host(k) == "" {
				continue
			}
			text := e.named(flow.KindHost, host(k)) + "/" + p.Bridge
			if p.Name != "" {
				text += "/" + p.Name
			}
			if p.OFPort != 0 {
				text += fmt.Sprintf(" of_port %d", p.OFPort)
			}
			if p.IfIndex != 0 {
				text += fmt.Sprintf(" if_index %d", p.IfIndex)
			}
			names = append(names, text)
		}
		return strings.Join(names, ",")
	}
	e.add(flow.KindVIF, v.Key, v.SameAs, name, []FieldOrigins{
		field("key", v.Key, whyKept, toldBy, members, source, func(x vifOf) string { return x.node.vifs[x.i].key }),
		field("device", v.Device, whyTold, toldBy, members, source, func(x vifOf) string { return x.vif().Device }),
		field("uuid", v.UUID, whyTold, toldBy, members, source, func(x vifOf) string { return strings.ToLower(x.vif().UUID) }),
		field("mac", v.MAC.String(), whyObserved, observedBy, members, source, func(x vifOf) string { return x.vif().MAC.String() }),
		e.learnedWords(field("ips", joined(unmapped(v.IPs)), whyAddrs, toldBy, members, source, func(x vifOf) string { return joined(unmapped(x.vif().IPs)) }), e.a.learned[v.Key]),
		field("network", network(v.Network), whyObserved, observedBy, members, source, func(x vifOf) string { return network(e.a.merger.networkOf(x.node, x.i)) }),
		field("ports", ports(v.Ports, func(k int) string { return v.Ports[k].Host }), whyPorts, observedBy, members, source, func(x vifOf) string {
			return ports(x.vif().Ports, func(k int) string { return keyAt(x.node.src.hosts, x.node.vifs[x.i].ports[k]) })
		}),
		field("attributes", pairsOf(v.Attributes), whyUnion, toldBy, members, source, func(x vifOf) string { return pairsOf(x.vif().Attributes) }),
	})
}

// resolve says what flows with the address are resolved to.
func (e *explainer) resolve() {
	look := func(by string, ref Ref, m Match, addr flow.Addr) {
		r := Resolution{By: by, Result: [...]string{Miss: "miss", Hit: "hit", Ambiguous: "ambiguous"}[m]}
		endpoint := e.s.Endpoint(ref)
		name := func(id uint64) string { found, _ := e.s.Entity(flow.ID(id)); return found.Name }
		r.VIF, r.VM = name(endpoint.ID), name(endpoint.VM)
		if endpoint.Host != 0 {
			r.Host = name(e.s.hosts[endpoint.Host].id)
		}
		for _, id := range slices.Concat(e.s.AddressGroups(addr), e.s.VMGroups(ref)) {
			r.Groups = append(r.Groups, name(id))
		}
		e.out.Flow = append(e.out.Flow, r)
	}
	each := func(what string, lookUp func(NetworkRef) (Ref, Match), addr flow.Addr) {
		ref, m := lookUp(0)
		look(what, ref, m, addr)
		for n := 1; m == Ambiguous && n < len(e.s.networks); n++ {
			if ref, in := lookUp(NetworkRef(n)); in == Hit {
				found, _ := e.s.Entity(flow.ID(e.s.networks[n].id))
				look(what+" in network "+found.Name, ref, in, addr)
			}
		}
	}
	switch {
	case e.addr.IsValid():
		addr := flow.Addr(e.addr.As16())
		if ref := e.s.exporters[addr]; ref != 0 {
			found, _ := e.s.Entity(flow.ID(e.s.hosts[ref].id))
			e.out.Flow = append(e.out.Flow, Resolution{By: "exporter", Result: "hit", Host: found.Name})
		}
		each("IP address", func(n NetworkRef) (Ref, Match) { return e.s.Addr(addr, n) }, addr)
	case e.mac != 0:
		each("MAC address", func(n NetworkRef) (Ref, Match) { return e.s.MAC(uint64(e.mac), n) }, flow.Addr{})
	}
}

// pairsOf returns attributes as "a=b,c=d".
func pairsOf(m map[string]string) string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}
