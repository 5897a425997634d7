package netns

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config of a bed.
type Config struct {
	// Limit is the time after which everything is removed whatever happens. 0 is ten minutes.
	Limit time.Duration
}

// Bed is a set of namespaces with one life. Its methods may be called by several goroutines.
type Bed struct {
	prefix string
	dir    string

	reaper  *exec.Cmd
	alive   io.Closer // the end of it is the end of the bed
	reports *bytes.Buffer

	mu         sync.Mutex
	closed     bool
	namespaces map[string]*Namespace
	uplinks    int
}

const (
	defaultLimit = 10 * time.Minute
	ipTimeout    = time.Minute      // of one ip command
	reapTimeout  = 60 * time.Second // of the reaper, once it has begun
)

// reap is the reaper: $1 is the prefix of the bed, $2 its limit in seconds, $3 its directory. The processes in a
// namespace were all started there by the bed's owner.
const reap = `
timeout "$2" cat >/dev/null
for n in /run/netns/"$1"-*; do
	for p in $(ip netns pids "${n##*/}" 2>/dev/null); do kill -9 "$p" 2>/dev/null; done
done
for n in /run/netns/"$1"-*; do
	if [ -e "$n" ]; then ip netns delete "${n##*/}"; fi
done
for l in /sys/class/net/"$1"*; do
	if [ -e "$l" ]; then ip link delete "${l##*/}" 2>/dev/null; fi
done
rm -rf "$3"
`

// Check says why there can be no bed on this machine, or nil.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("check network namespaces: not root")
	}
	for tool, from := range map[string]string{"ip": "iproute2", "ethtool": "ethtool", "timeout": "coreutils"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("check network namespaces: %s is not installed (Debian package %s)", tool, from)
		}
	}
	return nil
}

// New starts an empty bed. The caller closes it.
func New(cfg Config) (*Bed, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	if cfg.Limit == 0 {
		cfg.Limit = defaultLimit
	}
	id := make([]byte, 3)
	_, _ = rand.Read(id) // never fails
	b := &Bed{prefix: "w" + hex.EncodeToString(id), reports: &bytes.Buffer{}, namespaces: map[string]*Namespace{}}
	b.dir = filepath.Join(os.TempDir(), b.prefix)
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make bed: %w", err)
	}
	seconds := strconv.Itoa(max(1, int(cfg.Limit.Seconds())))
	b.reaper = exec.Command("sh", "-c", reap, "reaper", b.prefix, seconds, b.dir)
	b.reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the others
	b.reaper.Stderr = b.reports
	alive, err := b.reaper.StdinPipe()
	if err == nil {
		err = b.reaper.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start reaper: %w", err), os.Remove(b.dir))
	}
	b.alive = alive
	return b, nil
}

// Close ends every process in the bed's namespaces and removes everything. A second call does nothing.
func (b *Bed) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	_ = b.alive.Close()
	done := make(chan error, 1)
	go func() { done <- b.reaper.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-time.After(reapTimeout):
		_ = b.reaper.Process.Kill()
		err = errors.Join(fmt.Errorf("not done after %v", reapTimeout), <-done)
	}
	if said := strings.TrimSpace(b.reports.String()); said != "" {
		err = errors.Join(err, errors.New(said))
	}
	if err != nil {
		return fmt.Errorf("reap bed %q: %w", b.prefix, err)
	}
	return nil
}

// Dir is a directory for sockets, logs and the like; it goes when the bed goes.
func (b *Bed) Dir() string { return b.dir }

// Prefix is how the names of everything of the bed begin.
func (b *Bed) Prefix() string { return b.prefix }

// Namespace makes a namespace whose loopback interface is up. name is unique in the bed and of letters, digits and -.
func (b *Bed) Namespace(name string) (*Namespace, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("make namespace %q: the bed is closed", name)
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return nil, fmt.Errorf("make namespace %q: want a name of letters, digits and -", name)
	}
	if b.namespaces[name] != nil {
		return nil, fmt.Errorf("make namespace %q: there is one", name)
	}
	n := &Namespace{name: b.prefix + "-" + name}
	if _, err := ip("netns", "add", n.name); err != nil {
		return nil, fmt.Errorf("make namespace %q: %w", name, err)
	}
	if _, err := ip("-n", n.name, "link", "set", "lo", "up"); err != nil {
		return nil, fmt.Errorf("make namespace %q: %w", name, err)
	}
	b.namespaces[name] = n
	return n, nil
}

// End is one end of a link.
type End struct {
	Namespace *Namespace // nil is the root namespace, where Name must begin with the bed's prefix
	Name      string     // of the interface, at most 15 bytes
	MAC       string     // empty: the kernel's choice
	MTU       int        // 0: the kernel's
	Addrs     []netip.Prefix
}

// Link joins two ends by a veth pair and brings it up, with offloads off: what counts on the wire is what counts in
// the interface counters and what a capture sees. IPv6 addresses are usable at once (no duplicate detection).
func (b *Bed) Link(x, y End) error {
	args := []string{"link", "add", "name", x.Name}
	args = append(args, linkOptions(&x)...)
	args = append(args, "type", "veth", "peer", "name", y.Name)
	args = append(args, linkOptions(&y)...)
	if _, err := ip(args...); err != nil {
		return fmt.Errorf("link %q to %q: %w", x.Name, y.Name, err)
	}
	for _, e := range []*End{&x, &y} {
		if err := e.bringUp(); err != nil {
			return fmt.Errorf("link %q to %q: %w", x.Name, y.Name, err)
		}
	}
	return nil
}

func linkOptions(e *End) []string {
	var args []string
	if e.MAC != "" {
		args = append(args, "address", e.MAC)
	}
	if e.MTU != 0 {
		args = append(args, "mtu", strconv.Itoa(e.MTU))
	}
	if e.Namespace != nil {
		args = append(args, "netns", e.Namespace.name)
	}
	return args
}

func (e *End) bringUp() error {
	// Without checksum offload too, the packets of a capture are as on a wire.
	offloads := []string{"-K", e.Name, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"}
	ctx, cancel := context.WithTimeout(context.Background(), ipTimeout)
	defer cancel()
	if _, err := e.Namespace.Run(ctx, "ethtool", offloads...); err != nil {
		return err
	}
	for _, a := range e.Addrs {
		args := []string{"address", "add", a.String(), "dev", e.Name}
		if a.Addr().Is6() {
			args = append(args, "nodad")
		}
		if _, err := ip(e.Namespace.flags(args...)...); err != nil {
			return err
		}
	}
	_, err := ip(e.Namespace.flags("link", "set", e.Name, "up")...)
	return err
}

// Uplink joins n to the root namespace by a link of its own, so that what runs in n can reach what listens in the
// root namespace. It returns the addresses of both ends, link-local IPv4 ones.
func (b *Bed) Uplink(n *Namespace) (root, inside netip.Addr, err error) {
	// 169.254.0.0/16 is for what does not leave a link; the bed's random number keeps beds apart, mostly.
	id, err := strconv.ParseUint(b.prefix[1:], 16, 32)
	if err != nil {
		return root, inside, fmt.Errorf("uplink %q: %w", n.name, err)
	}
	taken, err := net.InterfaceAddrs()
	if err != nil {
		return root, inside, fmt.Errorf("uplink %q: %w", n.name, err)
	}
	number := 0
	for free := false; !free; {
		b.mu.Lock()
		b.uplinks++
		number = b.uplinks
		b.mu.Unlock()
		// 63 subnets of 4 in each of 254 thirds of the address.
		subnet := (id*251 + uint64(number)) % (63 * 254)
		base := [4]byte{169, 254, byte(1 + subnet/63), byte(4 + subnet%63*4)}
		root = netip.AddrFrom4([4]byte{base[0], base[1], base[2], base[3] + 1})
		free = !slices.ContainsFunc(taken, func(a net.Addr) bool { return strings.HasPrefix(a.String(), root.String()+"/") })
	}
	inside = root.Next()
	name := b.prefix + "u" + strconv.Itoa(number)
	err = b.Link(
		End{Name: name, Addrs: []netip.Prefix{netip.PrefixFrom(root, 30)}},
		End{Namespace: n, Name: "uplink" + strconv.Itoa(number), Addrs: []netip.Prefix{netip.PrefixFrom(inside, 30)}},
	)
	return root, inside, err
}

// ip runs one ip command and returns its output.
func ip(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), ipTimeout)
	defer cancel()
	return output(exec.CommandContext(ctx, "ip", args...))
}

// output runs cmd; its error says what it wrote to standard error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("run %q: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
