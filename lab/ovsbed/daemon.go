package ovsbed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

// stopTimeout is how long a daemon may take to end.
const stopTimeout = 30 * time.Second

// newUUID returns a random UUID (RFC 9562 §5.4).
func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// DBSocket is the path of the socket on which the database of the host can be reached from anywhere on this machine.
func (h *Host) DBSocket() string { return h.path("db.sock") }

func (h *Host) createDB(ctx context.Context) error {
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return err
	}
	_, err := h.run(ctx, "ovsdb-tool", "create", h.path("conf.db"), schema)
	return err
}

// startDB starts ovsdb-server as the packages of Open vSwitch do: managers, keys and certificates are in the database.
func (h *Host) startDB(ctx context.Context) (err error) {
	if h.db, err = h.spawn("ovsdb-server", h.path("conf.db"), "--remote=punix:"+h.DBSocket(),
		"--remote=db:Open_vSwitch,Open_vSwitch,manager_options", "--private-key=db:Open_vSwitch,SSL,private_key",
		"--certificate=db:Open_vSwitch,SSL,certificate", "--bootstrap-ca-cert=db:Open_vSwitch,SSL,ca_cert",
		"--unixctl="+h.path("ovsdb.ctl"), "--pidfile="+h.path("ovsdb.pid")); err != nil {
		return err
	}
	return h.await(ctx, h.db, h.DBSocket())
}

// initDB puts into a new database what the packages' scripts put there before the switch starts, and what args say.
func (h *Host) initDB(ctx context.Context, args ...string) error {
	out, err := h.run(ctx, "ovs-vswitchd", "--version")
	if err != nil {
		return err
	}
	_, err = h.VSCtl(ctx, append([]string{
		"--no-wait", "init", "--", "set", "open_vswitch", ".",
		fmt.Sprintf("ovs_version=%q", versionIn(out)), `system_type="lab"`,
		fmt.Sprintf("external_ids:system-id=%q", h.UUID), fmt.Sprintf("external_ids:hostname=%q", h.Name),
	}, args...)...)
	return err
}

// SetUUID makes the host name itself otherwise: by a UUID that is the same in every run, or was given away before.
func (h *Host) SetUUID(ctx context.Context, uuid string) error {
	_, err := h.VSCtl(ctx, "--no-wait", "set", "open_vswitch", ".", fmt.Sprintf("external_ids:system-id=%q", uuid))
	if err == nil {
		h.UUID = uuid
	}
	return err
}

func (h *Host) startSwitch(ctx context.Context) (err error) {
	kind := "--disable-system"
	if h.dummy {
		kind = "--enable-dummy=override"
	}
	if h.daemon, err = h.spawn("ovs-vswitchd", "unix:"+h.DBSocket(), "--unixctl="+h.SwitchSocket(), "--pidfile="+h.path("vswitchd.pid"), kind); err != nil {
		return err
	}
	return h.await(ctx, h.daemon, h.SwitchSocket())
}

// settled waits until a switch that was started has done what the database says: until it has seen a new number of the
// configuration, which is all that changes.
func (h *Host) settled(ctx context.Context) error {
	out, err := h.VSCtl(ctx, "get", "open_vswitch", ".", "next_cfg")
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(out)
	if err != nil {
		return fmt.Errorf("read next_cfg of %q: %w", h.Name, err)
	}
	_, err = h.VSCtl(ctx, "set", "open_vswitch", ".", fmt.Sprint("next_cfg=", number+1))
	return err
}

// spawn starts a daemon in the foreground.
func (h *Host) spawn(name string, args ...string) (*netns.Process, error) {
	all := []string{"-i"}
	all = append(all, h.environment()...)
	return h.Namespace.Start(h.path(name+".log"), "env", append(append(all, name), args...)...)
}

// await waits until something listens on the socket of a daemon.
func (h *Host) await(ctx context.Context, p *netns.Process, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %s", strings.TrimSpace(p.Log()))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %s", ctx.Err(), err, strings.TrimSpace(p.Log()))
		case <-time.After(poll):
		}
	}
}

// The daemons of a host can be ended and started again; the database stays. Each call returns when it is done.

// ReloadSwitch restarts ovs-vswitchd as the packages' scripts do, which tell it by other_config:flow-restore-wait not to forward
// anything before they have put flows back. Here they are not: flows are gone, as after RestartSwitch.
func (h *Host) ReloadSwitch(ctx context.Context) error {
	const key = "flow-restore-wait"
	if _, err := h.VSCtl(ctx, "set", "open_vswitch", ".", "other_config:"+key+"=true"); err != nil {
		return err
	}
	if err := h.RestartSwitch(ctx); err != nil {
		return err
	}
	_, err := h.VSCtl(ctx, "remove", "open_vswitch", ".", "other_config", key)
	return err
}

// RestartSwitch ends ovs-vswitchd and starts it again, as its own monitor does when it crashes. Meanwhile nothing passes; flows,
// groups and meters are gone. The database has no trace of it.
func (h *Host) RestartSwitch(ctx context.Context) error {
	err := h.daemon.Stop(syscall.SIGTERM, stopTimeout)
	if err == nil {
		err = h.startSwitch(ctx)
	}
	if err == nil {
		err = h.settled(ctx)
	}
	if err != nil {
		return fmt.Errorf("restart ovs-vswitchd of %q: %w", h.Name, err)
	}
	return nil
}

// RestartDB ends ovsdb-server and starts it again. What is configured stays, flows too. Until ovs-vswitchd has found it again, which it tries after a
// second, and later and later if it was there for a short time only, nothing passes and no OpenFlow is answered: what is sent meanwhile waits, and is
// lost where there is no more room (Overrun). RestartDB does not wait for that.
func (h *Host) RestartDB(ctx context.Context) error {
	err := h.db.Stop(syscall.SIGTERM, stopTimeout)
	if err == nil {
		err = h.startDB(ctx)
	}
	if err != nil {
		return fmt.Errorf("restart ovsdb-server of %q: %w", h.Name, err)
	}
	return nil
}

// Kill ends both daemons as a loss of power does. Start starts them again.
func (h *Host) Kill() error {
	var errs []error
	for _, p := range []*netns.Process{h.daemon, h.db} {
		errs = append(errs, p.Stop(syscall.SIGKILL, stopTimeout))
	}
	return errors.Join(errs...)
}

// Start starts both daemons after Kill.
func (h *Host) Start(ctx context.Context) error {
	err := h.startDB(ctx)
	if err == nil {
		err = h.startSwitch(ctx)
	}
	if err == nil {
		err = h.settled(ctx)
	}
	if err != nil {
		return fmt.Errorf("start %q again: %w", h.Name, err)
	}
	return nil
}

// Freeze stops both daemons where they are: connections stay open and nobody answers. Thaw lets them go on.
func (h *Host) Freeze() error { return h.signal(syscall.SIGSTOP) }

// Thaw ends what Freeze began.
func (h *Host) Thaw() error { return h.signal(syscall.SIGCONT) }

func (h *Host) signal(s syscall.Signal) error {
	var errs []error
	for _, p := range []*netns.Process{h.daemon, h.db} {
		errs = append(errs, syscall.Kill(p.PID(), s))
	}
	return errors.Join(errs...)
}

// SetManagement takes the cable between the host and Root out or puts it back in: what is sent meanwhile is lost. Only DBSocket
// still reaches the host.
func (h *Host) SetManagement(up bool) error {
	device := ""
	err := h.Namespace.Do(func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			addrs, err := i.Addrs()
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == h.Exporter {
					device = i.Name
				}
			}
		}
		return err
	})
	if err == nil && device == "" {
		err = fmt.Errorf("no interface has %v", h.Exporter)
	}
	if err != nil {
		return fmt.Errorf("set management of %q: %w", h.Name, err)
	}
	return h.Namespace.SetLink(device, up)
}

// EmerReset makes the switch forget controllers, mirrors, NetFlow, IPFIX, sFlow, fail modes and other settings of bridges, and the
// database its managers and keys: their connections end. The managers and keys that were set last are then set again. XAPI does both
// whenever its SDN controller changes.
func (h *Host) EmerReset(ctx context.Context) error {
	if _, err := h.VSCtl(ctx, "emer-reset"); err != nil {
		return err
	}
	if h.tls != (TLS{}) {
		if err := h.SetTLS(ctx, h.tls); err != nil {
			return err
		}
	}
	if len(h.managers) == 0 {
		return nil
	}
	return h.SetManagers(ctx, h.managers...)
}

// TLS is what the database of a host has for ssl: managers: paths of PEM files.
type TLS struct {
	Key         string
	Certificate string
	CA          string // of the managers; one that is not there is taken from the first manager that comes (bootstrap)
}

// SetTLS gives the database keys, at once also for listeners that are there.
func (h *Host) SetTLS(ctx context.Context, t TLS) error {
	h.tls = t
	_, err := h.VSCtl(ctx, "--", "--bootstrap", "set-ssl", t.Key, t.Certificate, t.CA)
	return err
}

// SetManagers says which managers the database dials ("tcp:ADDR:PORT", "ssl:ADDR:PORT") or listens for ("ptcp:…", "pssl:…"), and
// no others.
func (h *Host) SetManagers(ctx context.Context, targets ...string) error {
	h.managers = targets
	_, err := h.VSCtl(ctx, append([]string{"--no-wait", "set-manager"}, targets...)...)
	return err
}

// Listen makes the database listen for managers at h.Manager, and returns the target by which the root namespace reaches
// it: "ssl:…" after SetTLS if encrypted, else "tcp:…". Other managers are forgotten.
func (h *Host) Listen(ctx context.Context, encrypted bool) (target string, err error) {
	kind := "tcp"
	if encrypted {
		kind = "ssl"
	}
	if err := h.SetManagers(ctx, fmt.Sprintf("p%s:%d:%v", kind, h.Manager.Port(), h.Manager.Addr())); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for { // ovsdb-server opens it soon after
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.Manager.String())
		if err == nil {
			return fmt.Sprintf("%s:%v", kind, h.Manager), c.Close()
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("listen for managers at %q: %w: %w", h.Name, ctx.Err(), err)
		case <-time.After(poll):
		}
	}
}
