package xapi

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/estate"
)

// Bounds of what a pool may say of one thing. More is left out.
const (
	maxAttributes = 64
	maxText       = 1024 // bytes of one value
	maxAddresses  = 256  // of a VIF
)

// otherConfig is what keys of other_config begin with as attributes.
const otherConfig = "other_config:"

// model returns what the pool has, as a source of the estate. Things refer to each other by UUID. name is that of the pool in the
// estate; empty is its name label.
func (d *database) model(name string) *estate.Model {
	m := &estate.Model{}
	pool := ""
	for _, p := range inOrder(d.pools) { // there is one
		pool = p.UUID
		m.Pools = append(m.Pools, estate.Pool{Name: cmp.Or(name, p.Name, p.UUID), UUID: p.UUID, Attributes: attributes(map[string]string{"tags": strings.Join(p.Tags, ",")}, p.OtherConfig)})
	}
	slaves := map[ref]bool{}
	for _, b := range d.bonds {
		for _, s := range b.Slaves {
			slaves[s] = true
		}
	}
	trunk := map[ref]*vlanRecord{} // by the PIF that is the VLAN
	for _, v := range d.vlans {
		trunk[v.Untagged] = v
	}
	pifs := inOrder(d.pifs)
	for r, h := range inOrder(d.hosts) {
		m.Hosts = append(m.Hosts, d.host(r, h, pool, pifs, slaves))
	}
	for r, n := range inOrder(d.networks) {
		m.Networks = append(m.Networks, d.network(r, n, pool, pifs, trunk))
	}
	vifs := map[ref][]*vifRecord{}
	for _, v := range inOrder(d.vifs) {
		vifs[v.VM] = append(vifs[v.VM], v)
	}
	for r, v := range inOrder(d.vms) {
		if !v.Template && !v.Snapshot && !v.ControlDom {
			m.VMs = append(m.VMs, d.vm(v, pool, vifs[r]))
		}
	}
	return m
}

// inOrder returns records by their references, so that the same records make the same model.
func inOrder[T any](t table[T]) func(func(ref, *T) bool) {
	order := slices.Sorted(maps.Keys(t))
	return func(yield func(ref, *T) bool) {
		for _, r := range order {
			if !yield(r, t[r]) {
				return
			}
		}
	}
}

func (d *database) host(r ref, h *hostRecord, pool string, pifs func(func(ref, *pifRecord) bool), slaves map[ref]bool) estate.Host {
	x := estate.Host{Name: cmp.Or(h.Name, h.Hostname, h.UUID), UUID: h.UUID, Pool: pool}
	add := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && usable(a) && !slices.Contains(x.Exporters, a.Unmap()) {
			x.Exporters = append(x.Exporters, a.Unmap())
		}
	}
	add(h.Address)
	bridges := map[string]bool{}
	for pr, p := range pifs {
		if p.Host != r {
			continue
		}
		add(p.IP)
		if n := d.networks[p.Network]; n != nil && n.Bridge != "" && p.VLAN < 0 && p.Attached && !slaves[pr] {
			bridges[n.Bridge] = true
		}
	}
	for _, b := range slices.Sorted(maps.Keys(bridges)) {
		x.Bridges = append(x.Bridges, estate.Bridge{Name: b})
	}
	live := ""
	if metrics := d.hostMetrics[h.Metrics]; metrics != nil {
		live = strconv.FormatBool(metrics.Live)
	}
	x.Attributes = attributes(map[string]string{
		"hostname": h.Hostname, "address": h.Address, "enabled": strconv.FormatBool(h.Enabled), "live": live, "tags": strings.Join(h.Tags, ","),
		"product": h.product(), "network_backend": h.Software["network_backend"],
	}, h.OtherConfig)
	return x
}

func (d *database) network(r ref, n *networkRecord, pool string, pifs func(func(ref, *pifRecord) bool), trunk map[ref]*vlanRecord) estate.Network {
	x := estate.Network{Name: cmp.Or(n.Name, n.Bridge, n.UUID), UUID: n.UUID, Pool: pool, Bridge: n.Bridge}
	for pr, p := range pifs {
		if p.Network != r {
			continue
		}
		if v := trunk[pr]; v != nil && x.VLAN == 0 && v.Tag > 0 && v.Tag < 4095 {
			// A VLAN is a bridge of its own in name only: its packets are on that of the untagged network.
			if below := d.pifs[v.Tagged]; below != nil && d.networks[below.Network] != nil {
				x.Bridge, x.VLAN = d.networks[below.Network].Bridge, uint16(v.Tag)
			}
		}
		if s, ok := subnet(p.IP, p.Netmask); ok && !slices.Contains(x.Subnets, s) {
			x.Subnets = append(x.Subnets, s)
		}
	}
	x.Attributes = attributes(map[string]string{
		"mtu": number(n.MTU), "purpose": strings.Join(n.Purpose, ","), "locking_mode": n.LockingMode, "tags": strings.Join(n.Tags, ","),
	}, n.OtherConfig)
	return x
}

// subnet returns the network of an address with a mask as 255.255.255.0.
func subnet(address, mask string) (netip.Prefix, bool) {
	a, err := netip.ParseAddr(address)
	m := net.ParseIP(mask).To4()
	if err != nil || !a.Is4() || !usable(a) || m == nil {
		return netip.Prefix{}, false
	}
	ones, bits := net.IPMask(m).Size()
	if bits != 32 || ones == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones).Masked(), true
}

func (d *database) vm(v *vmRecord, pool string, vifs []*vifRecord) estate.VM {
	x := estate.VM{Name: cmp.Or(v.Name, v.UUID), UUID: v.UUID, Pool: pool, Tags: tags(v.Tags)}
	facts := map[string]string{"power_state": strings.ToLower(v.PowerState)}
	if h := d.hosts[v.ResidentOn]; h != nil {
		x.Host = h.UUID
	}
	if h := d.hosts[v.ScheduledOn]; h != nil && h.UUID != x.Host {
		facts["moving_to"] = cmp.Or(h.Name, h.UUID) // told before the VM is there
	}
	metrics := d.guestMetrics[v.GuestMetrics]
	var networks map[string]string
	if metrics != nil {
		networks = metrics.Networks
		facts["os"] = metrics.OSVersion["name"]
	}
	if len(v.Operations) > 0 {
		facts["operations"] = strings.Join(slices.Compact(slices.Sorted(maps.Values(v.Operations))), ",")
	}
	x.Attributes = attributes(facts, v.OtherConfig)
	slices.SortStableFunc(vifs, func(a, b *vifRecord) int { return cmp.Compare(a.Device, b.Device) })
	for _, vif := range vifs {
		y := estate.VIF{Device: vif.Device, UUID: vif.UUID, IPs: addresses(networks, vif.Device)}
		network := d.networks[vif.Network]
		if network != nil {
			y.Network = network.UUID
		}
		y.Attributes = vif.limits(network)
		_ = y.MAC.UnmarshalText([]byte(vif.MAC)) // 0 if it is none
		x.VIFs = append(x.VIFs, y)
	}
	return x
}

// networkDefault is the locking mode of a VIF that has that of its network.
const networkDefault = "network_default"

// limits returns what the pool lets the VIF do by itself. network is the one that it is in; nil: none is known.
func (v *vifRecord) limits(network *networkRecord) map[string]string {
	locking := v.LockingMode
	if locking == networkDefault {
		locking = ""
		if network != nil {
			locking = network.LockingMode
		}
	}
	facts := map[string]string{
		estate.VIFLocking: locking, estate.VIFIPv4Allowed: strings.Join(v.IPv4Allowed, ","), estate.VIFIPv6Allowed: strings.Join(v.IPv6Allowed, ","),
	}
	// kbps are 1024 octets a second each, as xenopsd gives them to the back-end of the VIF.
	if n, err := strconv.ParseUint(v.QoSParams["kbps"], 10, 32); err == nil && n > 0 && v.QoSType == "ratelimit" {
		facts[estate.VIFRate] = strconv.FormatUint(n*1024*8/1000, 10)
	}
	return attributes(facts, nil)
}

// addresses returns those that the guest says a device has. Old guests write <device>/ip for the first only.
func addresses(networks map[string]string, device string) []netip.Addr {
	var list []netip.Addr
	for key, text := range networks {
		rest, ok := strings.CutPrefix(key, device+"/")
		if !ok || rest != "ip" && !strings.HasPrefix(rest, "ipv4/") && !strings.HasPrefix(rest, "ipv6/") {
			continue
		}
		for word := range strings.FieldsSeq(text) { // some agents write several
			if a, err := netip.ParseAddr(word); err == nil && usable(a) && len(list) < maxAddresses {
				list = append(list, a.Unmap().WithZone(""))
			}
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// usable says whether an address can be of one thing.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}

func number(n integer) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10)
}

// tags returns those that are some, once, in order.
func tags(list []string) []string {
	list = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" || len(s) > maxText })
	slices.Sort(list)
	list = slices.Compact(list)
	return list[:min(len(list), maxAttributes)]
}

// attributes returns what is known of facts, and other_config, as far as it fits.
func attributes(facts, other map[string]string) map[string]string {
	m := map[string]string{}
	for k, v := range facts {
		if v != "" && len(v) <= maxText {
			m[k] = v
		}
	}
	for _, k := range slices.Sorted(maps.Keys(other)) {
		if len(m) >= maxAttributes {
			break
		}
		if v := other[k]; v != "" && k != "" && len(k) <= maxText && len(v) <= maxText {
			m[otherConfig+k] = v
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
