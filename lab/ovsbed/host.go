package ovsbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

const (
	schema = "/usr/share/openvswitch/vswitch.ovsschema"

	startTimeout   = 30 * time.Second
	commandTimeout = "30" // seconds, of one ovs-vsctl, ovs-ofctl or ovs-appctl
	poll           = 20 * time.Millisecond
)

// Check says why there can be no Open vSwitch host on this machine, or nil.
func Check() error {
	if err := netns.Check(); err != nil {
		return err
	}
	for _, tool := range []string{"ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("check Open vSwitch: %s is not installed (Debian package openvswitch-switch)", tool)
		}
	}
	if _, err := os.Stat(schema); err != nil {
		return fmt.Errorf("check Open vSwitch: %w", err)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil { // the port of the host itself is one
		return fmt.Errorf("check Open vSwitch: userspace datapath: %w", err)
	}
	return nil
}

// Bed makes hosts. Its methods, and those of its hosts, are for one goroutine at a time.
type Bed struct{ netns *netns.Bed }

// New returns a bed whose hosts and VMs are namespaces of bed, whose end is theirs.
func New(bed *netns.Bed) (*Bed, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	return &Bed{bed}, nil
}

// Host is an Open vSwitch host.
type Host struct {
	Name      string
	Namespace *netns.Namespace
	Root      netip.Addr // an address of the root namespace that the host reaches
	Exporter  netip.Addr // the host's own, from which it sends to Root

	bed   *netns.Bed
	dir   string
	links int // made so far, for names
}

// Host starts a host. name is unique among the hosts and VMs of the bed, and of letters, digits and -.
func (b *Bed) Host(ctx context.Context, name string) (*Host, error) {
	h := &Host{Name: name, bed: b.netns, dir: filepath.Join(b.netns.Dir(), name)}
	if err := h.start(ctx); err != nil {
		return nil, fmt.Errorf("start host %q: %w", name, err)
	}
	return h, nil
}

func (h *Host) start(ctx context.Context) (err error) {
	if h.Namespace, err = h.bed.Namespace(h.Name); err != nil {
		return err
	}
	// The host's own protocol stack is to say nothing on the cables that the switch reads.
	if err := set(h.Namespace, "ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return err
	}
	if h.Root, h.Exporter, err = h.bed.Uplink(h.Namespace); err != nil {
		return err
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return err
	}
	if _, err := h.run(ctx, "ovsdb-tool", "create", h.path("conf.db"), schema); err != nil {
		return err
	}
	db, err := h.spawn("ovsdb-server", h.path("conf.db"), "--remote=punix:"+h.path("db.sock"), "--unixctl="+h.path("ovsdb.ctl"), "--pidfile="+h.path("ovsdb.pid"))
	if err != nil {
		return err
	}
	if err := h.await(ctx, db, h.path("db.sock")); err != nil {
		return err
	}
	if _, err := h.VSCtl(ctx, "--no-wait", "init"); err != nil {
		return err
	}
	daemon, err := h.spawn("ovs-vswitchd", "unix:"+h.path("db.sock"), "--unixctl="+h.path("vswitchd.ctl"), "--pidfile="+h.path("vswitchd.pid"), "--disable-system")
	if err != nil {
		return err
	}
	return h.await(ctx, daemon, h.path("vswitchd.ctl"))
}

// path returns that of a file of the host.
func (h *Host) path(file string) string { return filepath.Join(h.dir, file) }

// environment makes the programs of Open vSwitch look for everything in the host's directory.
func (h *Host) environment() []string {
	env := os.Environ()
	for _, v := range []string{"OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_LOGDIR"} {
		env = append(env, v+"="+h.dir)
	}
	return env
}

// spawn starts a daemon in the foreground.
func (h *Host) spawn(name string, args ...string) (*netns.Process, error) {
	all := []string{"-i"}
	all = append(all, h.environment()...)
	return h.Namespace.Start(h.path(name+".log"), "env", append(append(all, name), args...)...)
}

// await waits for the file that a daemon makes when it is there.
func (h *Host) await(ctx context.Context, p *netns.Process, file string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %s", strings.TrimSpace(p.Log()))
		case <-ctx.Done():
			return fmt.Errorf("%w: no %s: %s", ctx.Err(), filepath.Base(file), strings.TrimSpace(p.Log()))
		case <-time.After(poll):
		}
	}
}

// run runs a command of Open vSwitch in the host and returns its output.
func (h *Host) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := h.Namespace.Command(ctx, name, args...)
	cmd.Env = h.environment()
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			said = ": " + strings.TrimSpace(string(e.Stderr))
		}
		return "", fmt.Errorf("run %s %s on %q: %w%s", name, strings.Join(args, " "), h.Name, err, said)
	}
	return strings.TrimSpace(string(out)), nil
}

// VSCtl runs ovs-vsctl, which waits until the switch has done what it says.
func (h *Host) VSCtl(ctx context.Context, args ...string) (string, error) {
	return h.run(ctx, "ovs-vsctl", append([]string{"--db=unix:" + h.path("db.sock"), "--timeout=" + commandTimeout}, args...)...)
}

// OFCtl runs ovs-ofctl with OpenFlow 1.5; a bridge's name is found by itself.
func (h *Host) OFCtl(ctx context.Context, args ...string) (string, error) {
	return h.run(ctx, "ovs-ofctl", append([]string{"-OOpenFlow15", "--timeout=" + commandTimeout}, args...)...)
}

// appCtl gives ovs-vswitchd a command.
func (h *Host) appCtl(ctx context.Context, args ...string) (string, error) {
	return h.run(ctx, "ovs-appctl", append([]string{"--target=" + h.path("vswitchd.ctl"), "--timeout=" + commandTimeout}, args...)...)
}

// forget makes the datapath forget what to do with flows that it has seen: packets of those that go on would be treated as
// before for up to half a second.
func (h *Host) forget(ctx context.Context) error {
	_, err := h.appCtl(ctx, "revalidator/purge")
	return err
}

// Version returns that of Open vSwitch, as "3.1.0".
func (h *Host) Version(ctx context.Context) (string, error) {
	out, err := h.appCtl(ctx, "version")
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(out, "\n")
	return line[strings.LastIndexByte(line, ' ')+1:], nil
}

// Port is an interface of a bridge.
type Port struct {
	Name    string
	OFPort  uint32 // OpenFlow port number: what NetFlow 5 says
	IfIndex uint32 // in the host's namespace: what IPFIX says; 0 of a tunnel
}

// Port reads the numbers of an interface.
func (h *Host) Port(ctx context.Context, name string) (Port, error) {
	out, err := h.VSCtl(ctx, "--bare", "--columns=ofport,ifindex", "find", "interface", "name="+name)
	if err != nil {
		return Port{}, err
	}
	words := strings.Fields(out)
	if len(words) != 2 {
		return Port{}, fmt.Errorf("read port %q of %q: found %q, want two numbers", name, h.Name, out)
	}
	of, err1 := strconv.ParseUint(words[0], 10, 16)
	index, err2 := strconv.ParseUint(words[1], 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return Port{}, fmt.Errorf("read port %q of %q: %w", name, h.Name, err)
	}
	return Port{Name: name, OFPort: uint32(of), IfIndex: uint32(index)}, nil
}

// Counters reads those of an interface in the host's namespace. Of a VM's port, what the VM sends is received.
func (h *Host) Counters(device string) (netns.Counters, error) { return h.Namespace.Counters(device) }

// AddBridge makes a bridge that forwards like a learning switch. Each bridge is a switch of its own in IPFIX and NetFlow.
func (h *Host) AddBridge(ctx context.Context, name string) error {
	_, err := h.VSCtl(ctx, "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "fail_mode=standalone",
		"protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15")
	return err
}

// SetFlows replaces the OpenFlow flows of a bridge, at once, and returns when every packet is treated by them.
func (h *Host) SetFlows(ctx context.Context, bridge string, flows ...string) error {
	file := h.path("flows.txt")
	if err := os.WriteFile(file, []byte(strings.Join(flows, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("set flows of %q: %w", bridge, err)
	}
	if _, err := h.OFCtl(ctx, "--bundle", "replace-flows", bridge, file); err != nil {
		return err
	}
	return h.forget(ctx)
}

// VM is a virtual machine with one interface, eth0.
type VM struct {
	Name   string         // unique among the hosts and VMs of the bed
	Bridge string         // into which it is plugged
	MAC    string         // of eth0
	Addrs  []netip.Prefix // of eth0
	MTU    int            // of eth0; 0: 1500
	VLAN   uint16         // tag that its frames have beyond the port (an access port); 0: none

	Namespace *netns.Namespace
	Host      *Host
	Port      Port
}

// AddVM plugs vm into a bridge and returns it with its last three fields filled.
func (h *Host) AddVM(ctx context.Context, vm VM) (VM, error) {
	var err error
	if vm.Namespace, err = h.bed.Namespace(vm.Name); err != nil {
		return vm, fmt.Errorf("add VM %q: %w", vm.Name, err)
	}
	// No routers are asked for, which would take seconds, and multicast groups are told at once and not a second later again.
	for setting, value := range map[string]string{"router_solicitations": "0", "mldv2_unsolicited_report_interval": "1"} {
		if err := set(vm.Namespace, "ipv6/conf/default/"+setting, value); err != nil {
			return vm, fmt.Errorf("add VM %q: %w", vm.Name, err)
		}
	}
	vm.Host = h
	port := h.link("vif")
	err = h.bed.Link(
		netns.End{Namespace: vm.Namespace, Name: "eth0", MAC: vm.MAC, MTU: vm.MTU, Addrs: vm.Addrs},
		netns.End{Namespace: h.Namespace, Name: port},
	)
	if err != nil {
		return vm, fmt.Errorf("add VM %q: %w", vm.Name, err)
	}
	for _, family := range []string{"ipv4", "ipv6"} { // neighbours are not asked again, a few seconds after the traffic
		if err := set(vm.Namespace, family+"/neigh/eth0/delay_first_probe_time", "3600"); err != nil {
			return vm, fmt.Errorf("add VM %q: %w", vm.Name, err)
		}
	}
	if vm.Port, err = h.plug(ctx, vm.Bridge, port, vm.VLAN); err != nil {
		return vm, fmt.Errorf("add VM %q: %w", vm.Name, err)
	}
	return vm, nil
}

// set gives a setting of the kernel's network protocols a value in n.
func set(n *netns.Namespace, setting, value string) error {
	return n.Do(func() error {
		err := os.WriteFile("/proc/sys/net/"+setting, []byte(value), 0)
		if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			return nil
		}
		return err
	})
}

// link returns a new name for an interface.
func (h *Host) link(kind string) string {
	h.links++
	return fmt.Sprintf("%s%d.0", kind, h.links)
}

// plug adds an interface to a bridge.
func (h *Host) plug(ctx context.Context, bridge, device string, vlan uint16) (Port, error) {
	args := []string{"add-port", bridge, device}
	if vlan != 0 {
		args = append(args, fmt.Sprint("tag=", vlan))
	}
	if _, err := h.VSCtl(ctx, args...); err != nil {
		return Port{}, err
	}
	return h.Port(ctx, device)
}

// Join lays a cable from a bridge of h to a bridge of another host, and returns the ports at both ends: trunks of all
// VLANs.
func (h *Host) Join(ctx context.Context, bridge string, other *Host, otherBridge string) (here, there Port, err error) {
	x, y := h.link("eth"), other.link("eth")
	err = h.bed.Link(netns.End{Namespace: h.Namespace, Name: x}, netns.End{Namespace: other.Namespace, Name: y})
	if err == nil {
		here, err = h.plug(ctx, bridge, x, 0)
	}
	if err == nil {
		there, err = other.plug(ctx, otherBridge, y, 0)
	}
	if err != nil {
		return here, there, fmt.Errorf("join %q to %q: %w", h.Name, other.Name, err)
	}
	return here, there, nil
}

// AddAddress gives the host itself an address on a bridge, from which its tunnels begin.
func (h *Host) AddAddress(ctx context.Context, bridge string, addr netip.Prefix) error {
	if _, err := h.Namespace.Run(ctx, "ip", "address", "add", addr.String(), "dev", bridge); err != nil {
		return fmt.Errorf("add address to %q: %w", h.Name, err)
	}
	if _, err := h.Namespace.Run(ctx, "ip", "link", "set", bridge, "up"); err != nil {
		return fmt.Errorf("add address to %q: %w", h.Name, err)
	}
	return nil
}

// AddTunnel adds a port by which a bridge reaches another host: kind is vxlan or gre, key the network's number.
func (h *Host) AddTunnel(ctx context.Context, bridge, kind string, remote netip.Addr, key uint32) (Port, error) {
	name := h.link("tun")
	if _, err := h.VSCtl(ctx, "add-port", bridge, name, "--", "set", "interface", name, "type="+kind,
		"options:remote_ip="+remote.String(), fmt.Sprint("options:key=", key)); err != nil {
		return Port{}, err
	}
	return h.Port(ctx, name)
}
