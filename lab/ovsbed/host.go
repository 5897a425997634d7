package ovsbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

const (
	schema = "/usr/share/openvswitch/vswitch.ovsschema"

	startTimeout   = time.Minute
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

// Bed makes hosts. Its methods, and those of one of its hosts and of that host's VMs, are for one goroutine at a time.
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
	UUID      string // by which it names itself: external_ids:system-id of its database
	Namespace *netns.Namespace
	Root      netip.Addr     // an address of the root namespace that the host reaches
	Exporter  netip.Addr     // the host's own, from which it sends to Root
	Manager   netip.AddrPort // where its database listens for managers, once Listen was called

	bed    *netns.Bed
	dir    string
	dummy  bool // its datapath is simulated, and so are its ports
	db     *netns.Process
	daemon *netns.Process

	managers []string // set last
	tls      TLS      // set last

	links   int                      // made so far, for names
	domains map[*netns.Namespace]int // of VMs: what XenServer calls their number
}

// managerPort is where Open vSwitch listens for managers by convention (IANA: ovsdb).
const managerPort = 6640

// Host starts a host. name is unique among the hosts and VMs of the bed, and of letters, digits and -.
func (b *Bed) Host(ctx context.Context, name string) (*Host, error) {
	h := b.newHost(name)
	if err := h.start(ctx); err != nil {
		return nil, fmt.Errorf("start host %q: %w", name, err)
	}
	return h, nil
}

func (b *Bed) newHost(name string) *Host {
	return &Host{Name: name, UUID: newUUID(), bed: b.netns, dir: filepath.Join(b.netns.Dir(), name), domains: map[*netns.Namespace]int{}}
}

func (h *Host) start(ctx context.Context) (err error) {
	if h.Namespace, err = h.bed.Namespace(h.Name); err != nil {
		return err
	}
	// The host's own protocol stack is to say nothing on the cables that the switch reads.
	if err := set(h.Namespace, "ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return err
	}
	if err := set(h.Namespace, "ipv4/conf/all/arp_ignore", "1"); err != nil {
		return err
	}
	if h.Root, h.Exporter, err = h.bed.Uplink(h.Namespace); err != nil {
		return err
	}
	h.Manager = netip.AddrPortFrom(h.Exporter, managerPort)
	if err := h.createDB(ctx); err != nil {
		return err
	}
	if err := h.startDB(ctx); err != nil {
		return err
	}
	if err := h.initDB(ctx); err != nil {
		return err
	}
	return h.startSwitch(ctx)
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

// run runs a command of Open vSwitch in the host and returns its output.
func (h *Host) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := h.Namespace.Command(ctx, name, args...)
	if h.dummy { // its sockets are files: nothing needs to be entered, for thousands of ports
		cmd = exec.CommandContext(ctx, name, args...)
	}
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

// Forget makes the datapath forget what to do with flows that it has seen, and the switch count what they had: packets of those that go on would be
// treated as before for up to half a second. A flow that is just being looked at is passed over by that; it has been looked at anew on return.
func (h *Host) Forget(ctx context.Context) error {
	if _, err := h.AppCtl(ctx, "revalidator/purge"); err != nil {
		return err
	}
	_, err := h.AppCtl(ctx, "revalidator/wait")
	return err
}

// Version returns that of Open vSwitch, as "3.1.0".
func (h *Host) Version(ctx context.Context) (string, error) {
	out, err := h.AppCtl(ctx, "version")
	if err != nil {
		return "", err
	}
	return versionIn(out), nil
}

// versionIn returns the version in what a program of Open vSwitch says of itself: "ovs-vswitchd (Open vSwitch) 3.1.0".
func versionIn(out string) string {
	line, _, _ := strings.Cut(out, "\n")
	return line[strings.LastIndexByte(line, ' ')+1:]
}

// Port is an interface of a bridge.
type Port struct {
	Name    string
	OFPort  uint32 // OpenFlow port number: what NetFlow 5 says
	IfIndex uint32 // in the host's namespace: what IPFIX says; 0 of a tunnel and in a farm
}

// Port reads the numbers of an interface.
func (h *Host) Port(ctx context.Context, name string) (Port, error) {
	out, err := h.VSCtl(ctx, "--bare", "--columns=ofport,ifindex", "find", "interface", fmt.Sprintf("name=%q", name))
	if err != nil {
		return Port{}, err
	}
	words := strings.Fields(out)
	if h.dummy && len(words) == 1 {
		words = append(words, "0")
	}
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

// Overrun returns how many frames the kernel has dropped at all ports that the host has but its own, since each was plugged in, because ovs-vswitchd
// had not taken those before them: as many wait as there is room for in a socket, some 257 small ones a port.
func (h *Host) Overrun(ctx context.Context) (frames int, err error) {
	out, err := h.Namespace.Run(ctx, "ss", "--packet", "--all", "--memory", "--numeric")
	if err != nil {
		return 0, fmt.Errorf("read drops of sockets of %q: %w", h.Name, err)
	}
	for _, at := range dropped.FindAllSubmatch(out, -1) {
		n, err := strconv.Atoi(string(at[1]))
		if err != nil {
			return 0, fmt.Errorf("read drops of sockets of %q: %w", h.Name, err)
		}
		frames += n
	}
	return frames, nil
}

// dropped is the last number of the memory of a socket as ss prints it: skmem:(r0,rb212992,…,d580).
var dropped = regexp.MustCompile(`skmem:\([^)]*,d(\d+)\)`)

// AddBridge makes a bridge that forwards like a learning switch. Each bridge is a switch of its own in IPFIX and NetFlow.
func (h *Host) AddBridge(ctx context.Context, name string) error {
	_, err := h.VSCtl(ctx, h.addBridge(name)...)
	return err
}

func (h *Host) addBridge(name string) []string {
	datapath := "netdev"
	if h.dummy {
		datapath = "dummy"
	}
	return []string{
		"add-br", name, "--", "set", "bridge", name, "datapath_type=" + datapath, "fail_mode=standalone",
		"protocols=OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15",
	}
}

// AddNetwork makes a VLAN of a bridge usable as a bridge of its own, as platforms do for networks with a VLAN: a fake
// bridge, which has ports and no flow table.
func (h *Host) AddNetwork(ctx context.Context, name, bridge string, vlan uint16) error {
	_, err := h.VSCtl(ctx, "add-br", name, bridge, strconv.Itoa(int(vlan)))
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
	return h.Forget(ctx)
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
