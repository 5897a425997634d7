package ovsbed

import "fmt"

// Platform is who runs the VMs of a host: each has its own way to say in OVSDB which VM an interface is of.
type Platform uint8

// Platforms.
const (
	Plain     Platform = iota // says nothing
	XenServer                 // also XCP-ng: xs-vif-uuid, xs-vm-uuid, xs-network-uuid; interfaces vif<domain>.<device>, tap<domain>.<device>
	Libvirt                   // iface-id, vm-id; vnet<n>
	OpenStack                 // iface-id, vm-uuid; tap and the first 11 characters of the VIF's UUID
	Proxmox                   // nothing but the name: tap<vmid>i<device>
)

// Identity is what the platform knows of an interface. UUIDs that are empty are chosen when it is plugged in first.
type Identity struct {
	Platform Platform
	VM       string // UUID
	VIF      string // UUID
	Network  string // UUID; of XenServer only
	Number   int    // Proxmox's of the VM; 0: chosen
	Device   int    // number of the interface in the VM
}

// complete chooses what is not there. n is a number that no other VM of the host has.
func (i *Identity) complete(n int) {
	for _, uuid := range []*string{&i.VM, &i.VIF, &i.Network} {
		if *uuid == "" {
			*uuid = newUUID()
		}
	}
	if i.Number == 0 {
		i.Number = 100 + n
	}
}

// name returns that of the interface. n is XenServer's number of the domain, which a VM gets anew wherever it starts, and
// libvirt's of the interface.
func (i *Identity) name(n int) string {
	switch i.Platform {
	case Libvirt:
		return fmt.Sprintf("vnet%d", n)
	case OpenStack:
		return "tap" + i.VIF[:11]
	case Proxmox:
		return fmt.Sprintf("tap%di%d", i.Number, i.Device)
	default:
		return fmt.Sprintf("vif%d.%d", n, i.Device)
	}
}

// settings returns the external_ids of the interface, as ovs-vsctl takes them.
func (i *Identity) settings(mac string, active bool) []string {
	status := "inactive"
	if active {
		status = "active"
	}
	var ids [][2]string
	switch i.Platform {
	case XenServer:
		ids = [][2]string{{"xs-vif-uuid", i.VIF}, {"xs-vm-uuid", i.VM}, {"xs-network-uuid", i.Network}, {"iface-id", i.VIF}, {"vm-id", i.VM}}
	case Libvirt:
		ids = [][2]string{{"iface-id", i.VIF}, {"vm-id", i.VM}}
	case OpenStack:
		ids = [][2]string{{"iface-id", i.VIF}, {"vm-uuid", i.VM}}
	case Plain, Proxmox:
		return nil
	}
	var args []string
	for _, id := range append(ids, [2]string{"attached-mac", mac}, [2]string{"iface-status", status}) {
		args = append(args, fmt.Sprintf("external_ids:%s=%q", id[0], id[1]))
	}
	return args
}
