package estate

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
)

// addAddressGroups builds the longest-prefix look-up. Each prefix carries the groups of all prefixes that cover it, so
// that one look-up finds them all.
func (c *compiler) addAddressGroups() {
	names := map[string]bool{}
	for _, g := range c.m.AddressGroups {
		names[g.Name] = true
	}
	groupsOf := map[netip.Prefix][]uint64{}
	for i, g := range c.m.AddressGroups {
		path := at("address_groups", i)
		var id flow.ID
		if c.named(path, g.Name) {
			id, _ = c.enter(path, "", g.UUID, "", Entity{Kind: flow.KindAddressGroup, Name: g.Name})
		}
		if c.memo != nil && c.memo.valid { // the prefixes are there
			continue
		}
		for j, member := range g.Members {
			prefixes, err := ParseMember(member)
			if err != nil && names[member] {
				err = fmt.Errorf("%q is an address group: groups do not hold groups, list its members", member)
			}
			if err != nil {
				c.refuse(at(path+".members", j), "%v", err)
				continue
			}
			for _, p := range prefixes {
				groupsOf[p] = append(groupsOf[p], uint64(id))
			}
		}
	}
	prefixes := make([]netip.Prefix, 0, len(groupsOf))
	for p := range groupsOf {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	for _, p := range prefixes {
		list := groupsOf[p]
		if cover, ok := c.s.prefixes.LookupPrefix(p); ok { // the nearest: shorter prefixes were inserted before
			list = append(list, c.s.list(cover)...)
		}
		c.s.prefixes.Insert(p, c.list(list))
	}
}

// list returns where in Snapshot.lists the list of these group ids is. It disorders ids.
func (c *compiler) list(ids []uint64) uint32 {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	c.listKey = c.listKey[:0]
	for _, id := range ids {
		c.listKey = binary.BigEndian.AppendUint64(c.listKey, id)
	}
	i, ok := c.listNo[string(c.listKey)]
	if !ok {
		i = uint32(len(c.s.lists))
		c.listNo[string(c.listKey)] = i
		c.s.lists = append(append(c.s.lists, uint64(len(ids))), ids...)
	}
	return i
}

// ParseMember returns the prefixes that make up a member of an address group: an address, a prefix or a range. They are
// disjoint and ascend.
func ParseMember(s string) ([]netip.Prefix, error) {
	wrong := fmt.Errorf(`found %q, want an address, prefix or range, e.g. "192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.9"`, s)
	if low, high, ok := strings.Cut(s, "-"); ok {
		from, err1 := netip.ParseAddr(strings.TrimSpace(low))
		to, err2 := netip.ParseAddr(strings.TrimSpace(high))
		if err1 != nil || err2 != nil || from.Zone() != "" || to.Zone() != "" {
			return nil, wrong
		}
		from, to = from.Unmap(), to.Unmap()
		if from.BitLen() != to.BitLen() || to.Less(from) {
			return nil, fmt.Errorf("found range %q, want the lower address first, both of one family", s)
		}
		return rangePrefixes(from, to), nil
	}
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return nil, wrong
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("%s is an IPv4-mapped prefix: write it as IPv4", p)
		case p.Masked() != p:
			return nil, fmt.Errorf("%s has bits set beyond /%d: write %s for the prefix, %s for the address", p, p.Bits(), p.Masked(), p.Addr())
		}
		return []netip.Prefix{p}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return nil, wrong
	}
	a = a.Unmap()
	return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
}

// rangePrefixes returns the fewest prefixes that cover from to to, which are of one family, from not above to: at most
// two for each bit of the address.
func rangePrefixes(from, to netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	width := from.BitLen()
	for low, high := wordsOf(from), wordsOf(to); ; {
		// The widest block that begins at low and does not reach beyond high.
		host := min(low.trailingZeros(), width)
		for host > 0 && high.less(low.plus(host)) {
			host--
		}
		list = append(list, netip.PrefixFrom(low.addr(width), width-host))
		last := low.plus(host)
		if last == high {
			return list
		}
		low = last.next()
	}
}

// words are the bits of an address, those of IPv4 the lowest.
type words struct{ high, low uint64 }

func wordsOf(a netip.Addr) words {
	if a.Is4() {
		b := a.As4()
		return words{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return words{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (w words) addr(width int) netip.Addr {
	if width == 32 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(w.low))))
	}
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, w.high), w.low)))
}

func (w words) less(o words) bool { return w.high < o.high || w.high == o.high && w.low < o.low }

func (w words) trailingZeros() int {
	if w.low == 0 {
		return 64 + bits.TrailingZeros64(w.high)
	}
	return bits.TrailingZeros64(w.low)
}

// plus returns the last address of the block of 2^host addresses that begins at w.
func (w words) plus(host int) words {
	if host >= 64 {
		return words{w.high | (1<<(host-64) - 1), ^uint64(0)}
	}
	return words{w.high, w.low | (1<<host - 1)}
}

func (w words) next() words {
	w.low++
	if w.low == 0 {
		w.high++
	}
	return w
}

// addVMGroups resolves the members of VM groups and hands each VM's list to its VIFs.
func (c *compiler) addVMGroups() {
	names := map[string]bool{}
	for _, g := range c.m.VMGroups {
		names[g.Name] = true
	}
	if c.memo != nil && c.memo.valid {
		c.addSomeVMGroups()
		return
	}
	byTag, byNetwork, byPool, all := c.candidates()
	for i, g := range c.m.VMGroups {
		path := at("vm_groups", i)
		var id flow.ID
		if c.named(path, g.Name) {
			id, _ = c.enter(path, "", g.UUID, "", Entity{Kind: flow.KindVMGroup, Name: g.Name})
		}
		for j, ref := range g.VMs {
			path := at(path+".vms", j)
			if ref == "" {
				c.refuse(path, "missing, want a VM")
			} else if !c.m.Merged && names[ref] && len(c.vms.byName[ref]) == 0 {
				c.refuse(path, "%q is a VM group: groups do not hold groups, list its VMs or select them", ref)
			} else if IsUUID(ref) && len(c.lookup(&c.vms, ref, -1)) == 0 {
				c.warn(path, "no VM with UUID %s is known to this source; it counts if another one knows it", ref)
			} else if vm := c.find(&c.vms, path, ref, -1); vm >= 0 {
				c.vmGroups[vm] = append(c.vmGroups[vm], uint64(id))
			}
		}
		for j := range g.Select {
			path, sel := at(path+".select", j), &g.Select[j]
			if len(sel.Tags) == 0 && sel.Name == "" && sel.Network == "" && sel.Pool == "" && len(sel.Attributes) == 0 {
				c.refuse(path, `selects by nothing: say what the VMs have in common, or name: "*" for all`)
				continue
			}
			pool := c.find(&c.pools, path+".pool", sel.Pool, -1)
			network := c.find(&c.networks, path+".network", sel.Network, pool)
			list := all
			if pool >= 0 {
				list = byPool[pool]
			}
			if network >= 0 {
				list = shorter(list, byNetwork[NetworkRef(network+1)])
			}
			for _, tag := range sel.Tags {
				list = shorter(list, byTag[tag])
			}
			if pool < 0 && sel.Pool != "" || network < 0 && sel.Network != "" {
				continue // reported
			}
			for _, vm := range list {
				if selects(sel, &c.m.VMs[vm], c.vmPool[vm], c.vmNetworks[vm], pool, NetworkRef(network+1)) {
					c.vmGroups[vm] = append(c.vmGroups[vm], uint64(id))
				}
			}
		}
	}
	c.addPast()
	for ref := 1; ref < len(c.s.endpoints); ref++ {
		groups := c.pastGroups[Ref(ref)]
		if vm := c.endpointVM[ref]; vm >= 0 {
			groups = c.vmGroups[vm]
		}
		c.setGroups(Ref(ref), groups)
	}
	c.s.lists = append(c.s.lists, make([]uint64, shortList)...)
}

// setGroups gives a VIF the groups of its VM.
func (c *compiler) setGroups(ref Ref, groups []uint64) {
	e := &c.s.endpoints[ref]
	e.vmGroups = c.list(append(c.union[:0], groups...))
	c.union = append(append(c.union[:0], c.s.list(e.vmGroups)...), c.s.AddressGroups(e.addr)...)
	e.allGroups = c.list(c.union)
}

// addSomeVMGroups finds the groups of those VMs that were not compiled before; the groups themselves are as they were.
func (c *compiler) addSomeVMGroups() {
	for i, g := range c.m.VMGroups {
		if path := at("vm_groups", i); c.named(path, g.Name) {
			c.enter(path, "", g.UUID, "", Entity{Kind: flow.KindVMGroup, Name: g.Name})
		}
	}
	for _, i := range c.fresh {
		c.vmGroups[i] = c.groupsOf(&c.m.VMs[i], c.vmPool[i], c.vmNetworks[i])
		for ref := c.firstRef[i]; ref < len(c.s.endpoints) && int(c.endpointVM[ref]) == i; ref++ {
			c.setGroups(Ref(ref), c.vmGroups[i])
		}
	}
	c.addPast()
	for ref, groups := range c.pastGroups {
		c.setGroups(ref, groups)
	}
	c.s.lists = append(c.s.lists, make([]uint64, shortList)...)
}

// candidates returns the VMs by what most selectors ask for, so that few VMs are looked at for a group.
func (c *compiler) candidates() (byTag map[string][]int, byNetwork map[NetworkRef][]int, byPool map[int][]int, all []int) {
	byTag, byNetwork, byPool = map[string][]int{}, map[NetworkRef][]int{}, map[int][]int{}
	for i, vm := range c.m.VMs {
		all = append(all, i)
		byPool[c.vmPool[i]] = append(byPool[c.vmPool[i]], i)
		for _, tag := range vm.Tags {
			byTag[tag] = append(byTag[tag], i)
		}
		for _, n := range c.vmNetworks[i] {
			byNetwork[n] = append(byNetwork[n], i)
		}
	}
	return byTag, byNetwork, byPool, all
}

func shorter(a, b []int) []int {
	if len(b) < len(a) {
		return b
	}
	return a
}

// selects reports whether all of sel applies to a VM.
func selects(sel *Selector, vm *VM, vmPool int, vmNetworks []NetworkRef, pool int, network NetworkRef) bool {
	if pool >= 0 && vmPool != pool || network != 0 && !slices.Contains(vmNetworks, network) {
		return false
	}
	return sel.Describes(vm)
}

// Describes reports whether a VM has the name, the tags and the attributes that the selector asks for. Pool and network are
// not looked at.
func (sel *Selector) Describes(vm *VM) bool {
	for _, tag := range sel.Tags {
		if !slices.Contains(vm.Tags, tag) {
			return false
		}
	}
	for k, v := range sel.Attributes {
		if value, ok := vm.Attributes[k]; !ok || value != v {
			return false
		}
	}
	return sel.Name == "" || glob(sel.Name, vm.Name)
}

// glob reports whether pattern matches all of s; * is any text, ? any one byte. It takes time of at most the product
// of their lengths.
func glob(pattern, s string) bool {
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // let the last star take one more
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
