package hosts

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Owned reports whether a row with these external ids was made by Weir.
type Owned func(externalIDs map[string]string) bool

// TotalsKey says, in external_ids of a row of table Flow_Sample_Collector_Set that Weir made, whether what flows of the bridge sample is the source
// of totals ("true"), or another export of the bridge is ("false").
const TotalsKey = "weir-totals"

// Map returns what the database of a host says exists there. It is pure. Rows may say anything: what contradicts itself
// is left out, and nothing is larger than what the rows hold.
func Map(s Settings, rows *ovsdb.Rows, ours Owned) *Inventory {
	m := mapper{rows: rows, ours: ours, inv: &Inventory{Settings: s, UUID: s.UUID, OVSVersion: rows.Root.OVSVersion}, vifs: map[string]*vif{}}
	for _, id := range []string{"xs-system-uuid", "system-id"} {
		if u := rows.Root.ExternalIDs[id]; m.inv.UUID == "" && estate.IsUUID(u) {
			m.inv.UUID = strings.ToLower(u)
		}
	}
	for _, id := range rows.Root.Bridges {
		if b := rows.Bridges[id]; b != nil && b.Name != "" {
			m.bridge(b)
		}
	}
	slices.SortFunc(m.inv.Bridges, func(a, b Bridge) int { return strings.Compare(a.Name, b.Name) })
	m.identify()
	m.sampling()
	return m.inv
}

type mapper struct {
	rows *ovsdb.Rows
	ours Owned
	inv  *Inventory
	vifs map[string]*vif // by key

	found []foundPort
}

// foundPort is a port with the rows that it is made of.
type foundPort struct {
	Port
	port  *ovsdb.Port
	iface *ovsdb.Interface

	copies bool // it gets copies of traffic
}

// vif is a VIF whose ports are still being gathered.
type vif struct {
	VIF
	ports []*foundPort
}

func (m *mapper) bridge(b *ovsdb.Bridge) {
	out := Bridge{UUID: b.UUID, Name: b.Name, DatapathID: b.DatapathID, FailMode: b.FailMode}
	for _, id := range b.Controllers {
		if c := m.rows.Controllers[id]; c != nil {
			out.Controllers = append(out.Controllers, Controller{Target: c.Target, Connected: c.IsConnected, Ours: m.ours(c.ExternalIDs)})
		}
	}
	slices.SortFunc(out.Controllers, func(a, b Controller) int { return strings.Compare(a.Target, b.Target) })
	local := map[string]bool{b.Name: true}
	for _, id := range b.Ports {
		p := m.rows.Ports[id]
		if p == nil {
			continue
		}
		if tag := vlan(p.Tag); p.FakeBridge && tag != 0 {
			out.Fake = append(out.Fake, FakeBridge{p.Name, tag})
			local[p.Name] = true
		}
	}
	slices.SortFunc(out.Fake, func(a, b FakeBridge) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), strings.Compare(a.Name, b.Name))
	})
	mirrored := map[ovsdb.UUID]bool{}
	for _, id := range b.Mirrors {
		if row := m.rows.Mirrors[id]; row != nil {
			mirrored[row.OutputPort] = true
		}
	}
	for _, id := range b.Ports {
		if p := m.rows.Ports[id]; p != nil {
			m.port(b, p, local, mirrored[id] || m.ours(p.ExternalIDs))
		}
	}
	m.inv.Bridges = append(m.inv.Bridges, out)
}

// port notes a port. Open vSwitch keeps one to which something is mirrored for copies alone; Weir makes ports for nothing else.
func (m *mapper) port(b *ovsdb.Bridge, p *ovsdb.Port, local map[string]bool, copies bool) {
	for _, id := range p.Interfaces {
		i := m.rows.Interfaces[id]
		if i == nil || i.Name == "" {
			continue
		}
		out := Port{
			UUID: p.UUID, Interface: i.UUID, Bridge: b.Name, Name: i.Name, Type: i.Type, VLAN: vlan(p.Tag), Error: i.Error,
			OFPort: number(i.OFPort), IfIndex: number(i.IfIndex), LinkUp: i.LinkState == "up", VIF: -1, VLANMode: p.VLANMode,
		}
		out.MAC, _ = estate.ParseMAC(i.MACInUse)
		if len(p.Interfaces) > 1 {
			active, err := estate.ParseMAC(p.BondActiveSlave)
			out.Bond, out.BondMode, out.LACP = p.Name, p.BondMode, p.LACP == "active" || p.LACP == "passive"
			out.Active = err == nil && active == out.MAC
		}
		if out.Error == "" && i.OFPort < 0 {
			out.Error = "Open vSwitch has given it no OpenFlow port"
		}
		for _, t := range p.Trunks {
			if t >= 0 && t < 1<<12 {
				out.Trunks = append(out.Trunks, uint16(t))
			}
		}
		switch {
		case local[i.Name]:
			out.Kind = KindLocal
		case i.Type == "patch":
			out.Kind, out.Remote = KindPatch, i.Options["peer"]
		case tunnels[i.Type]:
			out.Kind, out.Remote = KindTunnel, i.Options["remote_ip"]
		}
		m.found = append(m.found, foundPort{out, p, i, copies && out.Kind != KindLocal})
	}
}

// tunnels are the types of interfaces that lead to other hosts (ovs-vswitchd.conf.db(5), Interface, type).
var tunnels = map[string]bool{
	"geneve": true, "gre": true, "vxlan": true, "lisp": true, "stt": true, "erspan": true, "ip6erspan": true, "ip6gre": true,
	"gtpu": true, "bareudp": true, "srv6": true,
}

// vlan returns a VLAN that a port can be in; 0 if there is none.
func vlan(tag *int64) uint16 {
	if tag == nil || *tag < 1 || *tag > 4094 {
		return 0
	}
	return uint16(*tag)
}

// number returns a number of a port; 0 if it is none.
func number(n int64) uint32 {
	if n < 1 || n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// identify finds out which ports are VIFs, and gives the rest their kind.
func (m *mapper) identify() {
	slices.SortFunc(m.found, func(a, b foundPort) int {
		return cmp.Or(strings.Compare(a.Bridge, b.Bridge), strings.Compare(a.Name, b.Name), strings.Compare(string(a.Interface), string(b.Interface)))
	})
	for i := range m.found {
		f := &m.found[i]
		if f.Kind != "" || f.Bond != "" {
			continue
		}
		if v, ok := m.identity(f); ok {
			m.add(v, f)
		}
	}
	m.joinTaps()
	for _, key := range slices.Sorted(maps.Keys(m.vifs)) {
		v := m.vifs[key]
		v.rank()
		m.inv.VIFs = append(m.inv.VIFs, v.VIF)
		for _, f := range v.ports {
			f.Kind, f.VIF = KindVIF, len(m.inv.VIFs)-1
		}
	}
	at := map[*foundPort]int{}
	for i := range m.found {
		f := &m.found[i]
		switch {
		case f.copies && f.Kind != KindVIF: // a VM that gets copies may send, too: as its rules say
			f.Kind = KindMirror
		case f.Kind == "":
			f.Kind = rest(f)
		}
		at[f] = i
		m.inv.Ports = append(m.inv.Ports, f.Port)
	}
	for i := range m.inv.VIFs {
		v := &m.inv.VIFs[i]
		for _, f := range m.vifs[v.Key].ports {
			v.Ports = append(v.Ports, at[f])
		}
	}
}

// rest returns the kind of a port that is no VIF. A bond, and an interface of the operating system whose name is not one
// that hypervisors and container runtimes give to virtual ones, is taken for an uplink.
func rest(f *foundPort) PortKind {
	switch {
	case f.Type == "internal":
		return KindInternal
	case f.Type == "dpdk" || f.Bond != "":
		return KindUplink
	case f.Type != "" && f.Type != "system":
		return KindUnknown
	}
	for _, prefix := range []string{"veth", "tap", "tun", "vnet", "vif", "fwpr", "fwln", "docker", "lxc", "cali", "macvtap", "ovs-"} {
		if strings.HasPrefix(f.Name, prefix) {
			return KindUnknown
		}
	}
	return KindUplink
}

// identity returns the VIF that a port is of, as far as the port by itself tells.
func (m *mapper) identity(f *foundPort) (VIF, bool) {
	id := f.iface.ExternalIDs
	v := VIF{Bridge: f.Bridge, VLAN: f.VLAN, Network: uuid(id["xs-network-uuid"])}
	if v.Network == "" { // OpenStack; the tag is then a number that the host chose
		v.Network = uuid(f.port.OtherConfig["net_uuid"])
		v.LocalVLAN = v.Network != ""
	}
	v.MAC, _ = estate.ParseMAC(id["attached-mac"])
	for _, key := range []string{"xs-vm-uuid", "vm-id", "vm-uuid"} {
		if v.VM.UUID == "" {
			v.VM.UUID = uuid(id[key])
		}
	}
	byName, named := parseName(f.Name)
	v.Device = byName.device
	switch {
	case uuid(id["xs-vif-uuid"]) != "":
		v.UUID, v.By = uuid(id["xs-vif-uuid"]), "xs-vif-uuid"
	case uuid(id["iface-id"]) != "":
		v.UUID, v.By = uuid(id["iface-id"]), "iface-id"
	case id["iface-id"] != "" && printable(id["iface-id"]):
		v.Key, v.By = "iface-id/"+id["iface-id"], "iface-id"
	case named && byName.vmid != "":
		v.Key, v.By = m.scope()+"/"+byName.vmid+"/"+byName.device, "name"
	case v.MAC != 0:
		v.Key, v.By = m.scope()+"/"+v.MAC.String(), "attached-mac"
	case named:
		v.Key, v.By = m.hostKey()+"/"+f.Name, "name"
	default:
		return v, false
	}
	if v.UUID != "" {
		v.Key = v.UUID
	}
	switch {
	case v.VM.UUID != "":
		v.VM.Key, v.VM.Name = v.VM.UUID, v.VM.UUID
		if name := id["vm-name"]; printable(name) {
			v.VM.Name = name
		}
	case byName.vmid != "":
		v.VM.Key, v.VM.Name, v.VM.ID = m.scope()+"/"+byName.vmid, byName.vmid, byName.vmid
	default:
		v.VM.Key, v.VM.Name = "vif/"+v.Key, f.Name
	}
	return v, true
}

// scope returns the prefix of keys of what a pool numbers, or a host that is in none.
func (m *mapper) scope() string {
	if m.inv.Settings.Pool != "" {
		return m.inv.Settings.Pool
	}
	return m.hostKey()
}

func (m *mapper) hostKey() string {
	if m.inv.UUID != "" {
		return m.inv.UUID
	}
	return m.inv.Settings.Key
}

// printable reports whether s can be part of a key and be shown.
func printable(s string) bool {
	const longest = 255
	return s != "" && len(s) <= longest && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// uuid returns s in lower case if it is a UUID, else "".
func uuid(s string) string {
	if !estate.IsUUID(s) {
		return ""
	}
	return strings.ToLower(s)
}

// parsed is what the name of an interface says.
type parsed struct {
	vmid   string // of Proxmox; stays as long as the VM
	domid  string // of Xen; of one run of the VM
	device string
}

// parseName reads the names that hypervisors give to the interfaces of VMs:
//
//	vif<domid>.<n>, tap<domid>.<n>           Xen
//	tap<vmid>i<n>, veth<vmid>i<n>            Proxmox, VM and container
//	fwln<vmid>o<n>                           Proxmox, the bridge's end of the VM's firewall bridge
//	vnet<n>                                  libvirt
func parseName(name string) (p parsed, ok bool) {
	cut := func(prefix, separator string) (a, b string, ok bool) {
		rest, found := strings.CutPrefix(name, prefix)
		if !found {
			return "", "", false
		}
		a, b, found = strings.Cut(rest, separator)
		return a, b, found && digits(a) && digits(b)
	}
	for _, prefix := range []string{"vif", "tap"} {
		if domid, n, ok := cut(prefix, "."); ok {
			return parsed{domid: domid, device: n}, true
		}
	}
	for _, form := range [][2]string{{"tap", "i"}, {"veth", "i"}, {"fwln", "o"}} {
		if vmid, n, ok := cut(form[0], form[1]); ok {
			return parsed{vmid: vmid, device: n}, true
		}
	}
	n, found := strings.CutPrefix(name, "vnet")
	return parsed{}, found && digits(n)
}

func digits(s string) bool {
	const longest = 10
	return s != "" && len(s) <= longest && strings.Trim(s, "0123456789") == ""
}

// add adds a port to a VIF.
func (m *mapper) add(found VIF, f *foundPort) {
	v, ok := m.vifs[found.Key]
	if !ok {
		m.vifs[found.Key] = &vif{found, []*foundPort{f}}
		return
	}
	v.ports = append(v.ports, f)
	v.MAC = cmp.Or(v.MAC, found.MAC)
	v.Device = cmp.Or(v.Device, found.Device)
	v.Network = cmp.Or(v.Network, found.Network)
	if v.VM.UUID == "" && found.VM.UUID != "" {
		v.VM = found.VM
	}
}

// joinTaps gives a tap that says nothing of itself to the VIF beside it: Xen makes vif5.0 and tap5.0 for one.
func (m *mapper) joinTaps() {
	byName := map[string]*vif{}
	for _, v := range m.vifs {
		for _, f := range v.ports {
			byName[f.Name] = v
		}
	}
	for key, v := range m.vifs {
		if v.By != "name" || len(v.ports) != 1 {
			continue
		}
		rest, isTap := strings.CutPrefix(v.ports[0].Name, "tap")
		if beside := byName["vif"+rest]; isTap && strings.Contains(rest, ".") && beside != nil && beside != v {
			beside.ports = append(beside.ports, v.ports[0])
			delete(m.vifs, key)
		}
	}
}

// rank puts the active port first, and takes bridge and VLAN from it: the one that says so, else a tap, which is there as
// long as the VM has no driver for the vif; else one that is up.
func (v *vif) rank() {
	class := func(f *foundPort) int {
		switch {
		case f.iface.ExternalIDs["iface-status"] == "active":
			return 0
		case f.iface.ExternalIDs["iface-status"] == "inactive":
			return 4
		case strings.HasPrefix(f.Name, "tap"):
			return 1
		case f.LinkUp:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(v.ports, func(a, b *foundPort) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), strings.Compare(a.Bridge, b.Bridge), strings.Compare(a.Name, b.Name))
	})
	v.Bridge, v.VLAN = v.ports[0].Bridge, v.ports[0].VLAN
}

// sampling gives bridges what tells their flows from those of others. What several bridges have tells nothing.
func (m *mapper) sampling() {
	domains, virtuals := map[uint32]int{}, map[string]int{}
	for i := range m.inv.Bridges {
		b := &m.inv.Bridges[i]
		row := m.rows.Bridges[b.UUID]
		exports := []*ovsdb.IPFIX{m.rows.IPFIXs[row.IPFIX]}
		var rules *ovsdb.IPFIX
		for _, id := range slices.Sorted(maps.Keys(m.rows.SampleSets)) {
			s := m.rows.SampleSets[id]
			if s.Bridge != b.UUID {
				continue
			}
			x := m.rows.IPFIXs[s.IPFIX]
			exports = append(exports, x)
			if x != nil && m.ours(s.ExternalIDs) && m.ours(x.ExternalIDs) {
				b.RuleSampling, b.TotalsElsewhere = true, s.ExternalIDs[TotalsKey] != "true"
				rules = x
			}
		}
		if n := m.rows.NetFlows[row.NetFlow]; n != nil && n.EngineType != nil && n.EngineID != nil {
			b.ObservationDomains = append(b.ObservationDomains, uint32(uint8(*n.EngineType))<<8|uint32(uint8(*n.EngineID)))
		}
		for n, x := range exports {
			if x == nil {
				continue
			}
			if (n == 0 || x == rules) && x.ObsDomainID != nil && *x.ObsDomainID >= 0 && *x.ObsDomainID <= math.MaxUint32 {
				b.ObservationDomains = append(b.ObservationDomains, uint32(*x.ObsDomainID))
			}
			if id := x.OtherConfig["virtual_obs_id"]; b.VirtualObsID == "" && printable(id) {
				b.VirtualObsID = id
			}
		}
		slices.Sort(b.ObservationDomains)
		b.ObservationDomains = slices.Compact(b.ObservationDomains)
		for _, d := range b.ObservationDomains {
			domains[d]++
		}
		virtuals[b.VirtualObsID]++
	}
	for i := range m.inv.Bridges {
		b := &m.inv.Bridges[i]
		b.ObservationDomains = slices.DeleteFunc(b.ObservationDomains, func(d uint32) bool { return domains[d] > 1 })
		if virtuals[b.VirtualObsID] > 1 {
			b.VirtualObsID = ""
		}
	}
}
