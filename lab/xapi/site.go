package xapi

import (
	"fmt"
	"maps"
	"strconv"
)

// Site is a pool with records that fit together. Its methods are not safe for concurrent use; those of its Pool are.
type Site struct {
	*Pool
	uuids int
	doms  int
}

// NewSite returns a pool that has its one pool record.
func NewSite(cfg Config, name string) *Site {
	s := &Site{Pool: NewPool(cfg)}
	s.Create("pool", Record{"uuid": s.uuid(), "name_label": name, "master": Null, "tags": []string{}, "other_config": map[string]string{}})
	return s
}

// uuid returns one that is the same in every site that was built the same way.
func (s *Site) uuid() string {
	s.uuids++
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", s.uuids, s.uuids)
}

// AddHost adds a host with a management address. The first is the coordinator.
func (s *Site) AddHost(name, address string) string {
	defer s.enthrone(s.Master())
	metrics := s.Create("host_metrics", Record{"uuid": s.uuid(), "live": true})
	return s.Create("host", Record{
		"uuid": s.uuid(), "name_label": name, "hostname": name, "address": address, "enabled": true, "metrics": metrics, "tags": []string{}, "other_config": map[string]string{},
		"software_version": map[string]string{"product_brand": "XCP-ng", "product_version": "8.3.0", "network_backend": "openvswitch"},
	})
}

// SetMaster makes the host with an address the coordinator.
func (s *Site) SetMaster(address string) {
	s.Pool.SetMaster(address)
	s.enthrone(address)
}

// enthrone has the record of the pool say who is its coordinator.
func (s *Site) enthrone(address string) {
	for _, h := range s.Refs("host") {
		if s.Record("host", h)["address"] == address {
			s.Set("pool", s.Refs("pool")[0], Record{"master": h})
		}
	}
}

// AddNetwork adds a network that a bridge carries, with a PIF at each host. below is the network whose bridge carries the VLAN; empty without a
// VLAN.
func (s *Site) AddNetwork(name, bridge string, vlan int, below string) string {
	network := s.Create("network", Record{
		"uuid": s.uuid(), "name_label": name, "bridge": bridge, "MTU": 1500, "managed": true, "default_locking_mode": "unlocked", "purpose": []string{}, "tags": []string{},
		"other_config": map[string]string{},
	})
	for i, host := range s.Refs("host") {
		pif := Record{
			"uuid": s.uuid(), "device": "eth0", "MAC": fmt.Sprintf("0c:00:00:00:%02x:%02x", s.uuids>>8, s.uuids&0xff), "host": host, "network": network, "VLAN": -1, "IP": "", "netmask": "",
			"management": vlan == 0, "physical": vlan == 0, "currently_attached": true,
		}
		if vlan == 0 {
			pif["IP"], pif["netmask"] = fmt.Sprintf("192.0.2.%d", i+1), "255.255.255.0"
			s.Create("PIF", pif)
			continue
		}
		pif["VLAN"] = vlan
		untagged := s.Create("PIF", pif)
		for _, r := range s.Refs("PIF") {
			if p := s.Record("PIF", r); p["host"] == host && p["network"] == below {
				s.Create("VLAN", Record{"uuid": s.uuid(), "tagged_PIF": r, "untagged_PIF": untagged, "tag": vlan, "other_config": map[string]string{}})
			}
		}
	}
	return network
}

// AddVM adds a VM that runs on a host; halted without one.
func (s *Site) AddVM(name, host string, tags ...string) string {
	metrics := s.Create("VM_guest_metrics", Record{"uuid": s.uuid(), "networks": map[string]string{}, "os_version": map[string]string{"name": "Debian 12"}})
	s.doms++
	vm := Record{
		"uuid": s.uuid(), "name_label": name, "power_state": "Running", "resident_on": host, "scheduled_to_be_resident_on": Null, "guest_metrics": metrics,
		"tags": append([]string{}, tags...), "other_config": map[string]string{}, "is_a_template": false, "is_a_snapshot": false, "is_control_domain": false, "domid": s.doms,
		"current_operations": map[string]string{}, "memory_target": 1 << 30,
	}
	if host == "" {
		vm["power_state"], vm["resident_on"], vm["domid"], vm["guest_metrics"] = "Halted", Null, -1, Null
	}
	return s.Create("VM", vm)
}

// AddVIF plugs a VM into a network, with addresses that its guest tells.
func (s *Site) AddVIF(vm, network, mac string, addresses ...string) string {
	device := 0
	for _, r := range s.Refs("VIF") {
		if s.Record("VIF", r)["VM"] == vm {
			device++
		}
	}
	return s.addVIF(vm, network, device, mac, addresses...)
}

func (s *Site) addVIF(vm, network string, device int, mac string, addresses ...string) string {
	vif := s.Create("VIF", Record{
		"uuid": s.uuid(), "device": strconv.Itoa(device), "MAC": mac, "MTU": 1500, "network": network, "VM": vm, "currently_attached": true, "locking_mode": "network_default",
		"ipv4_allowed": []string{}, "ipv6_allowed": []string{}, "qos_algorithm_type": "", "qos_algorithm_params": map[string]string{}, "other_config": map[string]string{},
	})
	if len(addresses) > 0 {
		s.SetAddresses(vm, device, addresses...)
	}
	return vif
}

// SetAddresses has the guest of a VM say which addresses a device has.
func (s *Site) SetAddresses(vm string, device int, addresses ...string) {
	metrics, _ := s.Record("VM", vm)["guest_metrics"].(string)
	networks := map[string]string{}
	prefix := strconv.Itoa(device) + "/"
	for k, v := range s.Record("VM_guest_metrics", metrics)["networks"].(map[string]string) {
		if len(k) < len(prefix) || k[:len(prefix)] != prefix {
			networks[k] = v
		}
	}
	v4, v6 := 0, 0
	for _, a := range addresses {
		if isV6(a) {
			networks[fmt.Sprintf("%sipv6/%d", prefix, v6)] = a
			v6++
			continue
		}
		if v4 == 0 {
			networks[prefix+"ip"] = a
		}
		networks[fmt.Sprintf("%sipv4/%d", prefix, v4)] = a
		v4++
	}
	s.Set("VM_guest_metrics", metrics, Record{"networks": networks})
}

func isV6(a string) bool {
	for _, c := range a {
		if c == ':' {
			return true
		}
	}
	return false
}

// Migrate moves a VM to a host as XAPI tells of it: announced first, then done by finish.
func (s *Site) Migrate(vm, host string) (finish func()) {
	s.Set("VM", vm, Record{"current_operations": map[string]string{"OpaqueRef:task": "pool_migrate"}, "scheduled_to_be_resident_on": host})
	return func() {
		s.Set("VM", vm, Record{"current_operations": map[string]string{}, "scheduled_to_be_resident_on": Null, "resident_on": host})
	}
}

// Grow adds n VMs, spread over the hosts. Each has a VIF in the first network, every second one in the other, too; it returns how many VIFs that
// are, which is 1.5 n.
func (s *Site) Grow(n int, networks [2]string) (vifs int) {
	hosts := s.Refs("host")
	for i := range n {
		vm := s.AddVM(fmt.Sprintf("vm-%05d", i), hosts[i%len(hosts)], "grown")
		for device := range 1 + i%2 {
			s.addVIF(vm, networks[device], device, fmt.Sprintf("06:00:%02x:%02x:%02x:%02x", device, i>>16&0xff, i>>8&0xff, i&0xff), fmt.Sprintf("10.%d.%d.%d", device<<6|i>>16&0x3f, i>>8&0xff, i&0xff))
			vifs++
		}
	}
	return vifs
}

// Tag replaces the tags of a VM.
func (s *Site) Tag(vm string, tags ...string) {
	s.Set("VM", vm, Record{"tags": append([]string{}, tags...)})
}

// Configure adds to the other_config of a record.
func (s *Site) Configure(class, ref string, pairs map[string]string) {
	m := maps.Clone(s.Record(class, ref)["other_config"].(map[string]string))
	maps.Copy(m, pairs)
	s.Set(class, ref, Record{"other_config": m})
}
