package ovsbed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/weirhq/weir/lab/netns"
)

// VM is a virtual machine with one interface. Another VM with the same Namespace is another interface of it.
type VM struct {
	Name     string         // unique among the hosts and VMs of the bed
	Bridge   string         // into which it is plugged; may be one of AddNetwork
	Device   string         // the interface, as the VM has it; empty: eth0
	MAC      string         // of the interface
	Addrs    []netip.Prefix // of the interface
	MTU      int            // of the interface; 0: 1500
	VLAN     uint16         // tag that its frames have beyond the port (an access port); 0: none
	Identity Identity

	Namespace *netns.Namespace // unless it is given: made by AddVM
	Host      *Host            // where it runs
	Port      Port             // where it is plugged in; the name is empty while it is not
	Tap       Port             // the emulated device's, after AddTap
	domain    int              // number of the VM at its host
}

// AddVM plugs vm into a bridge and returns it with Namespace, Host, Port and all of Identity filled in.
func (h *Host) AddVM(ctx context.Context, vm VM) (VM, error) {
	if err := h.addVM(ctx, &vm); err != nil {
		return vm, fmt.Errorf("add VM %q: %w", vm.Name, err)
	}
	return vm, nil
}

func (h *Host) addVM(ctx context.Context, vm *VM) (err error) {
	if vm.Namespace == nil && !h.dummy {
		if vm.Namespace, err = h.bed.Namespace(vm.Name); err != nil {
			return err
		}
		// No routers are asked for, which would take seconds, and multicast groups are told at once and not a second later again.
		for setting, value := range map[string]string{"router_solicitations": "0", "mldv2_unsolicited_report_interval": "1"} {
			if err := set(vm.Namespace, "ipv6/conf/default/"+setting, value); err != nil {
				return err
			}
		}
	}
	if vm.Device == "" {
		vm.Device = "eth0"
	}
	vm.Host = h
	vm.domain = h.domain(vm.Namespace)
	vm.Identity.complete(vm.domain)
	return vm.Plug(ctx)
}

// domain returns the number of a VM at h.
func (h *Host) domain(vm *netns.Namespace) int {
	if n := h.domains[vm]; n != 0 {
		return n
	}
	h.links++
	if vm != nil {
		h.domains[vm] = h.links
	}
	return h.links
}

// Plug plugs vm into its bridge again after Unplug: with the name that it had, and another port number.
func (vm *VM) Plug(ctx context.Context) error {
	if !vm.Host.dummy {
		if err := vm.cable(vm.Host, vm.Device, vm.Identity.name(vm.domain), vm.Addrs); err != nil {
			return err
		}
	}
	return vm.addPort(ctx)
}

// cable lays a cable between device in the VM and port at a host.
func (vm *VM) cable(h *Host, device, port string, addrs []netip.Prefix) error {
	if err := h.bed.Link(
		netns.End{Namespace: vm.Namespace, Name: device, MAC: vm.MAC, MTU: vm.MTU, Addrs: addrs},
		netns.End{Namespace: h.Namespace, Name: port},
	); err != nil {
		return err
	}
	for _, family := range []string{"ipv4", "ipv6"} { // neighbours are not asked again, a few seconds after the traffic
		if err := set(vm.Namespace, family+"/neigh/"+device+"/delay_first_probe_time", "3600"); err != nil {
			return err
		}
	}
	return nil
}

// addPort makes the interface, which is there, a port of the bridge.
func (vm *VM) addPort(ctx context.Context) (err error) {
	name := vm.Identity.name(vm.domain)
	if _, err = vm.Host.VSCtl(ctx, vm.addPortArgs(name)...); err != nil {
		return err
	}
	vm.Port, err = vm.Host.Port(ctx, name)
	return err
}

func (vm *VM) addPortArgs(name string) []string {
	args := []string{"add-port", vm.Bridge, name}
	if vm.VLAN != 0 {
		args = append(args, fmt.Sprint("tag=", vm.VLAN))
	}
	set := vm.Identity.settings(vm.MAC, vm.Tap.Name == "")
	if vm.Host.dummy {
		set = append(set, "type=dummy")
	}
	if len(set) > 0 {
		args = append(append(args, "--", "set", "interface", name), set...)
	}
	return args
}

// Unplug takes vm off the network: its port and its interface are gone, an emulated one with it.
func (vm *VM) Unplug(ctx context.Context) error {
	if err := vm.RemoveTap(ctx); err != nil {
		return err
	}
	if err := vm.Host.unplug(ctx, vm.Bridge, vm.Port.Name); err != nil {
		return fmt.Errorf("unplug VM %q: %w", vm.Name, err)
	}
	vm.Port = Port{}
	return nil
}

// unplug removes a port and the cable in it.
func (h *Host) unplug(ctx context.Context, bridge, device string) error {
	_, err := h.VSCtl(ctx, "del-port", bridge, device)
	if err == nil && !h.dummy {
		_, err = h.Namespace.Run(ctx, "ip", "link", "delete", device)
	}
	return err
}

// Replug unplugs vm and plugs it in again.
func (vm *VM) Replug(ctx context.Context) error {
	return errors.Join(vm.Unplug(ctx), vm.Plug(ctx))
}

// Move moves vm to the bridge of the same name of another host, as a live migration does: it is plugged in there before it
// is unplugged here. meanwhile, unless it is nil, is called while it is plugged in at both.
func (vm *VM) Move(ctx context.Context, to *Host, meanwhile func() error) error {
	if err := vm.move(ctx, to, meanwhile); err != nil {
		return fmt.Errorf("move VM %q to %q: %w", vm.Name, to.Name, err)
	}
	return nil
}

func (vm *VM) move(ctx context.Context, to *Host, meanwhile func() error) error {
	if err := vm.RemoveTap(ctx); err != nil {
		return err
	}
	here := *vm
	vm.Host, vm.domain = to, to.domain(vm.Namespace)
	delete(here.Host.domains, vm.Namespace)
	arriving := "new-" + vm.Device
	if !to.dummy {
		if err := vm.cable(to, arriving, vm.Identity.name(vm.domain), nil); err != nil {
			return err
		}
	}
	if err := vm.addPort(ctx); err != nil {
		return err
	}
	if meanwhile != nil {
		if err := meanwhile(); err != nil {
			return err
		}
	}
	if err := here.Host.unplug(ctx, here.Bridge, here.Port.Name); err != nil || to.dummy {
		return err
	}
	return vm.resume(ctx, arriving)
}

// resume makes an interface that was plugged in beforehand the VM's, and tells all switches where the VM is now.
func (vm *VM) resume(ctx context.Context, arriving string) error {
	commands := []string{"link set " + arriving + " down", "link set " + arriving + " name " + vm.Device}
	for _, a := range vm.Addrs {
		nodad := ""
		if a.Addr().Is6() {
			nodad = " nodad"
		}
		commands = append(commands, fmt.Sprint("address add ", a, " dev ", vm.Device, nodad))
	}
	for _, c := range append(commands, "link set "+vm.Device+" up") {
		if _, err := vm.Namespace.Run(ctx, "ip", strings.Fields(c)...); err != nil {
			return err
		}
	}
	frame, err := announcement(vm.MAC)
	if err != nil {
		return err
	}
	return vm.Namespace.Inject(vm.Device, frame, 1)
}

// announcement is the frame by which hypervisors announce a VM that has arrived: a reverse ARP request of its own address
// (RFC 903) to everybody.
func announcement(mac string) ([]byte, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	frame := append([]byte{255, 255, 255, 255, 255, 255}, hw...)
	for _, v := range []uint16{0x8035, 1, 0x0800, 6<<8 | 4, 3} { // reverse ARP; of Ethernet for IPv4, addresses of 6 and 4 bytes, request
		frame = binary.BigEndian.AppendUint16(frame, v)
	}
	frame = append(append(frame, hw...), 0, 0, 0, 0)
	frame = append(append(frame, hw...), 0, 0, 0, 0)
	return append(frame, make([]byte, 60-len(frame))...), nil
}

// AddTap plugs in the emulated device of a VM of XenServer beside the paravirtual one: as long as both are there, the
// emulated one is the active one. In the VM it is emu0, without addresses.
func (vm *VM) AddTap(ctx context.Context) error {
	if vm.Identity.Platform != XenServer {
		return fmt.Errorf("add tap of VM %q: want a VM of XenServer", vm.Name)
	}
	vif := vm.Port.Name
	tap := "tap" + strings.TrimPrefix(vif, "vif")
	if !vm.Host.dummy {
		if err := vm.cable(vm.Host, "emu0", tap, nil); err != nil {
			return err
		}
	}
	args := append(vm.addPortArgs(tap), "--", "set", "interface", vif, "external_ids:iface-status=inactive")
	if _, err := vm.Host.VSCtl(ctx, args...); err != nil {
		return err
	}
	var err error
	vm.Tap, err = vm.Host.Port(ctx, tap)
	return err
}

// RemoveTap unplugs the emulated device, as it happens when the VM's drivers have taken over. It does nothing where there is
// none.
func (vm *VM) RemoveTap(ctx context.Context) error {
	if vm.Tap.Name == "" {
		return nil
	}
	if err := vm.Host.unplug(ctx, vm.Bridge, vm.Tap.Name); err != nil {
		return err
	}
	vm.Tap = Port{}
	_, err := vm.Host.VSCtl(ctx, "set", "interface", vm.Port.Name, "external_ids:iface-status=active")
	return err
}

// SetID changes one of the external_ids of the interface; an empty value removes it.
func (vm *VM) SetID(ctx context.Context, key, value string) error {
	args := []string{"set", "interface", vm.Port.Name, fmt.Sprintf("external_ids:%s=%q", key, value)}
	if value == "" {
		args = []string{"remove", "interface", vm.Port.Name, "external_ids", key}
	}
	_, err := vm.Host.VSCtl(ctx, args...)
	return err
}
