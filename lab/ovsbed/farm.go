package ovsbed

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Farm is many hosts whose datapath and ports are simulated by Open vSwitch itself: everything that managers and controllers
// see is real, no traffic passes. They share one namespace, thus one address, and have each a port of their own for managers.
// VMs are of XenServer, libvirt and OpenStack, by host; their Namespace is nil.
type Farm struct {
	Hosts []*Host
	VMs   []*VM // as many of each host, by host
}

// starting is how many hosts of a farm are started at once: more wait for the same processors.
const starting = 8

// farmVLAN is the tag of every second VM of a farm.
const farmVLAN = 120

// Farm starts a farm of hosts with so many VMs each, all in bridge br0. Names are farm-1 … and farm-1-1 …, MAC addresses
// 02:fa: and twice 16 bits of the number of the host and of the VM.
func (b *Bed) Farm(ctx context.Context, hosts, vms int) (*Farm, error) {
	f := &Farm{}
	if err := f.start(ctx, b, hosts, vms); err != nil {
		return nil, fmt.Errorf("start farm of %d hosts: %w", hosts, err)
	}
	return f, nil
}

func (f *Farm) start(ctx context.Context, b *Bed, hosts, vms int) error {
	if hosts < 1 || hosts > 10_000 || vms < 0 || vms > 10_000 {
		return fmt.Errorf("want 1 to 10000 hosts, and up to 10000 VMs each, found %d", vms)
	}
	namespace, err := b.netns.Namespace("farm")
	if err != nil {
		return err
	}
	root, inside, err := b.netns.Uplink(namespace)
	if err != nil {
		return err
	}
	networks := [2]string{newUUID(), newUUID()} // untagged, and with farmVLAN
	// One write of a batch of commands a host and one start: nothing is configured while the switch looks on.
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(starting)
	for i := range hosts {
		h := b.newHost("farm-" + strconv.Itoa(i+1))
		h.dummy, h.Namespace, h.Root, h.Exporter = true, namespace, root, inside
		h.Manager = netip.AddrPortFrom(inside, uint16(managerPort+i))
		f.Hosts = append(f.Hosts, h)
		own := make([]*VM, vms)
		for j := range own {
			own[j] = h.farmVM(i, j, networks[j%2])
		}
		f.VMs = append(f.VMs, own...)
		g.Go(func() error {
			if err := h.startDummy(ctx, own); err != nil {
				return fmt.Errorf("host %q: %w", h.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// farmVM returns VM j of host i of a farm, in a network.
func (h *Host) farmVM(i, j int, network string) *VM {
	vm := &VM{
		Name: fmt.Sprintf("%s-%d", h.Name, j+1), Bridge: "br0", Host: h, domain: h.domain(nil),
		MAC:      fmt.Sprintf("02:fa:%02x:%02x:%02x:%02x", (i+1)>>8, (i+1)&0xff, (j+1)>>8, (j+1)&0xff),
		Identity: Identity{Platform: []Platform{XenServer, Libvirt, OpenStack}[i%3], Network: network},
	}
	if j%2 == 1 {
		vm.VLAN = farmVLAN
	}
	vm.Identity.complete(vm.domain)
	return vm
}

// startDummy starts a host of a farm and reads the numbers of its ports.
func (h *Host) startDummy(ctx context.Context, vms []*VM) error {
	if err := h.createDB(ctx); err != nil {
		return err
	}
	if err := h.startDB(ctx); err != nil {
		return err
	}
	args := append([]string{"--"}, h.addBridge("br0")...)
	for _, vm := range vms {
		args = append(append(args, "--"), vm.addPortArgs(vm.Identity.name(vm.domain))...)
	}
	if err := h.initDB(ctx, args...); err != nil {
		return err
	}
	if err := h.startSwitch(ctx); err != nil {
		return err
	}
	if err := h.settled(ctx); err != nil {
		return err
	}
	ports := map[string]Port{}
	out, err := h.VSCtl(ctx, "--bare", "--format=csv", "--no-headings", "--columns=name,ofport", "list", "interface")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), ",")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return fmt.Errorf("read ports: %q: %w", line, err)
		}
		ports[name] = Port{Name: name, OFPort: uint32(n)}
	}
	for _, vm := range vms {
		name := vm.Identity.name(vm.domain)
		if vm.Port = ports[name]; vm.Port.Name == "" {
			return fmt.Errorf("read ports: no %q", name)
		}
	}
	return nil
}

// ListenAll makes the databases of all hosts listen for managers without encryption, and returns their targets in the order of
// f.Hosts.
func (f *Farm) ListenAll(ctx context.Context) ([]string, error) {
	targets := make([]string, len(f.Hosts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(starting)
	for i, h := range f.Hosts {
		g.Go(func() (err error) {
			targets[i], err = h.Listen(ctx, false)
			return err
		})
	}
	return targets, g.Wait()
}
