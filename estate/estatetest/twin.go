package estatetest

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Twin answers what a snapshot answers by walking through the model, slowly and plainly. Everything goes by name, ""
// is none. The names in the model must be unique and its references be plain names, as those of Random are.
type Twin struct{ Model *estate.Model }

// Place is where a row was observed.
type Place struct {
	Host, Pool, Bridge        string
	OpenVSwitch, RuleSampling bool
	TotalsElsewhere           bool
}

// Place returns where an exporter's rows of an observation domain are observed, which carry a virtual_obs_id or "".
func (t Twin) Place(exporter netip.Addr, virtual string, domain uint32) Place {
	var byAddress *estate.Host
	for i, h := range t.Model.Hosts {
		if slices.Contains(h.Exporters, exporter) {
			byAddress = &t.Model.Hosts[i]
		}
	}
	if virtual != "" {
		var here, anywhere []Place
		for i := range t.Model.Hosts {
			h := &t.Model.Hosts[i]
			for j := range h.Bridges {
				if h.Bridges[j].VirtualObsID != virtual {
					continue
				}
				anywhere = append(anywhere, t.place(h, &h.Bridges[j]))
				if h == byAddress {
					here = append(here, t.place(h, &h.Bridges[j]))
				}
			}
		}
		switch {
		case len(here) == 1:
			return here[0]
		case len(anywhere) == 1:
			return anywhere[0]
		}
	}
	if byAddress == nil {
		return Place{}
	}
	for i := range byAddress.Bridges {
		if slices.Contains(byAddress.Bridges[i].ObservationDomains, domain) {
			return t.place(byAddress, &byAddress.Bridges[i])
		}
	}
	if len(byAddress.Bridges) == 1 {
		return t.place(byAddress, &byAddress.Bridges[0])
	}
	return t.place(byAddress, nil)
}

func (t Twin) place(h *estate.Host, b *estate.Bridge) Place {
	p := Place{Host: h.Name, Pool: h.Pool}
	if b != nil {
		p.Bridge, p.RuleSampling, p.TotalsElsewhere = b.Name, b.RuleSampling, b.TotalsElsewhere
	}
	for _, b := range h.Bridges {
		p.OpenVSwitch = p.OpenVSwitch || b.VirtualObsID != "" || b.RuleSampling
	}
	t.vifs(func(_ string, vm *estate.VM, vif *estate.VIF) {
		for _, port := range vif.Ports {
			if port.Host == h.Name || port.Host == "" && t.HostOf(vm.Name) == h.Name {
				p.OpenVSwitch = p.OpenVSwitch || port.OFPort != 0
			}
		}
	})
	return p
}

// vifs calls f with the name of every VIF, "vm/device".
func (t Twin) vifs(f func(name string, vm *estate.VM, vif *estate.VIF)) {
	for i := range t.Model.VMs {
		vm := &t.Model.VMs[i]
		for j := range vm.VIFs {
			f(vm.Name+"/"+vm.VIFs[j].Device, vm, &vm.VIFs[j])
		}
	}
}

func only(found []string) (string, estate.Match) {
	slices.Sort(found)
	found = slices.Compact(found)
	switch len(found) {
	case 0:
		return "", estate.Miss
	case 1:
		return found[0], estate.Hit
	}
	return "", estate.Ambiguous
}

// Port returns the VIF behind an interface index.
func (t Twin) Port(at Place, version uint8, index uint32) (string, estate.Match) {
	if at.Host == "" || index == 0 {
		return "", estate.Miss
	}
	type number struct {
		vif, bridge    string
		ifIndex, ofPrt uint32
	}
	var numbers []number
	hasOFPorts := false
	t.vifs(func(name string, vm *estate.VM, vif *estate.VIF) {
		for _, p := range vif.Ports {
			if p.Host == at.Host || p.Host == "" && t.HostOf(vm.Name) == at.Host {
				numbers = append(numbers, number{name, p.Bridge, p.IfIndex, p.OFPort})
				hasOFPorts = hasOFPorts || p.OFPort != 0
			}
		}
	})
	var found []string
	for _, n := range numbers {
		if at.Bridge != "" && n.bridge != "" && n.bridge != at.Bridge {
			continue
		}
		have := n.ifIndex
		if version == 5 && hasOFPorts {
			have = n.ofPrt
		}
		if have == index {
			found = append(found, n.vif)
		}
	}
	return only(found)
}

// MAC returns the VIF with a MAC address.
func (t Twin) MAC(mac estate.MAC, network string) (string, estate.Match) {
	if mac == 0 || mac>>40&1 == 1 {
		return "", estate.Miss
	}
	return t.address(network, func(vif *estate.VIF) bool { return vif.MAC == mac })
}

// Addr returns the VIF with an IP address, which is unmapped.
func (t Twin) Addr(addr netip.Addr, network string) (string, estate.Match) {
	return t.address(network, func(vif *estate.VIF) bool { return slices.Contains(vif.IPs, addr) })
}

func (t Twin) address(network string, has func(*estate.VIF) bool) (string, estate.Match) {
	var all, inNetwork []string
	t.vifs(func(name string, _ *estate.VM, vif *estate.VIF) {
		if has(vif) {
			all = append(all, name)
			if network != "" && vif.Network == network {
				inNetwork = append(inNetwork, name)
			}
		}
	})
	if vif, m := only(all); m != estate.Ambiguous || len(inNetwork) == 0 {
		return vif, m
	}
	return only(inNetwork)
}

// VLAN returns the network with a VLAN tag, or the bridge's only network for 0.
func (t Twin) VLAN(at Place, vlan uint16) string {
	if at.Host == "" {
		return ""
	}
	first := func(choices ...func(n *estate.Network) bool) string {
		for _, choice := range choices {
			var found []string
			for i := range t.Model.Networks {
				if choice(&t.Model.Networks[i]) {
					found = append(found, t.Model.Networks[i].Name)
				}
			}
			if len(found) > 0 {
				name, _ := only(found)
				return name
			}
		}
		return ""
	}
	in := func(pool string, f func(n *estate.Network) bool) func(n *estate.Network) bool {
		return func(n *estate.Network) bool { return n.Pool == pool && f(n) }
	}
	tagged := func(n *estate.Network) bool { return n.VLAN == vlan }
	onBridge := func(n *estate.Network) bool { return n.Bridge == at.Bridge && (vlan == 0 || n.VLAN == vlan) }
	anywhere := func(n *estate.Network) bool { return n.Bridge == "" && n.VLAN == vlan }
	if vlan == 0 {
		if at.Bridge == "" {
			return ""
		}
		// Several on the bridge of the pool tell nothing; those of no pool are asked then.
		if name := first(in(at.Pool, onBridge)); name != "" {
			return name
		}
		return first(in("", onBridge))
	}
	if at.Bridge == "" {
		return first(in(at.Pool, tagged), in("", tagged))
	}
	return first(in(at.Pool, onBridge), in(at.Pool, anywhere), in("", onBridge), in("", anywhere))
}

// Subnet returns the network in whose longest subnet addr lies.
func (t Twin) Subnet(at Place, addr netip.Addr) string {
	var found []string
	longest := -1
	for _, n := range t.Model.Networks {
		if n.Pool != "" && at.Pool != "" && n.Pool != at.Pool {
			continue
		}
		for _, p := range n.Subnets {
			if p.Contains(addr) && p.Bits() >= longest {
				if p.Bits() > longest {
					longest, found = p.Bits(), nil
				}
				found = append(found, n.Name)
			}
		}
	}
	name, _ := only(found)
	return name
}

// AddressGroups returns the address groups that addr is in, sorted by name.
func (t Twin) AddressGroups(addr netip.Addr) []string {
	var found []string
	for _, g := range t.Model.AddressGroups {
		if slices.ContainsFunc(g.Members, func(m string) bool { return memberHas(m, addr) }) {
			found = append(found, g.Name)
		}
	}
	slices.Sort(found)
	return found
}

func memberHas(member string, addr netip.Addr) bool {
	if low, high, ok := strings.Cut(member, "-"); ok {
		from, to := netip.MustParseAddr(low), netip.MustParseAddr(high)
		return from.BitLen() == addr.BitLen() && from.Compare(addr) <= 0 && addr.Compare(to) <= 0
	}
	if strings.Contains(member, "/") {
		return netip.MustParsePrefix(member).Contains(addr)
	}
	return netip.MustParseAddr(member) == addr
}

// VMGroups returns the VM groups that a VM is in, sorted by name.
func (t Twin) VMGroups(vm string) []string {
	var found []string
	v := t.VM(vm)
	for _, g := range t.Model.VMGroups {
		if slices.Contains(g.VMs, vm) || slices.ContainsFunc(g.Select, func(s estate.Selector) bool { return t.selects(&s, v) }) {
			found = append(found, g.Name)
		}
	}
	slices.Sort(found)
	return found
}

func (t Twin) selects(s *estate.Selector, vm *estate.VM) bool {
	for _, tag := range s.Tags {
		if !slices.Contains(vm.Tags, tag) {
			return false
		}
	}
	for k, v := range s.Attributes {
		if vm.Attributes[k] != v {
			return false
		}
	}
	if s.Pool != "" && t.PoolOf(vm.Name) != s.Pool {
		return false
	}
	if s.Network != "" && !slices.ContainsFunc(vm.VIFs, func(v estate.VIF) bool { return v.Network == s.Network }) {
		return false
	}
	matched, err := path.Match(s.Name, vm.Name)
	if err != nil {
		panic(fmt.Sprintf("BUG: pattern %q: %v", s.Name, err))
	}
	return s.Name == "" || matched
}

// Rule returns the rule of an instance and its verdict.
func (t Twin) Rule(instance uint32) (flow.ID, flow.Verdict) {
	for _, r := range t.Model.Rules {
		if r.Instance == instance {
			return r.Rule, r.Verdict
		}
	}
	return 0, flow.SystemVerdict(instance)
}

// VM returns the VM with a name.
func (t Twin) VM(name string) *estate.VM {
	for i := range t.Model.VMs {
		if t.Model.VMs[i].Name == name {
			return &t.Model.VMs[i]
		}
	}
	panic("BUG: no VM " + name)
}

// HostOf returns the host on which a VM runs.
func (t Twin) HostOf(name string) string {
	vm := t.VM(name)
	if vm.Host != "" {
		return vm.Host
	}
	var found []string
	for _, vif := range vm.VIFs {
		for _, p := range vif.Ports {
			found = append(found, p.Host)
		}
	}
	host, _ := only(found)
	return host
}

// PoolOf returns the pool in which a VM is.
func (t Twin) PoolOf(name string) string {
	if vm := t.VM(name); vm.Pool != "" {
		return vm.Pool
	}
	for _, h := range t.Model.Hosts {
		if h.Name == t.HostOf(name) {
			return h.Pool
		}
	}
	return ""
}

// VIF returns the VIF with a name, and its VM.
func (t Twin) VIF(name string) (found *estate.VIF, of *estate.VM) {
	t.vifs(func(n string, vm *estate.VM, vif *estate.VIF) {
		if n == name {
			found, of = vif, vm
		}
	})
	return found, of
}

// BridgeOf returns the bridge of its VM's host that a VIF is plugged into.
func (t Twin) BridgeOf(name string) string {
	vif, vm := t.VIF(name)
	on := t.HostOf(vm.Name)
	bridge := ""
	for _, p := range vif.Ports {
		if (p.Host == "" || p.Host == on) && p.Bridge != "" {
			bridge = p.Bridge
		}
	}
	for _, h := range t.Model.Hosts {
		for _, n := range t.Model.Networks {
			if bridge == "" && h.Name == on && n.Name == vif.Network &&
				slices.ContainsFunc(h.Bridges, func(b estate.Bridge) bool { return b.Name == n.Bridge }) {
				bridge = n.Bridge
			}
		}
	}
	return bridge
}
