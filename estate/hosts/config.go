package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Config is hosts in the configuration file. The hosts themselves are not in it: see weir hosts.
type Config struct {
	Listeners  []ListenerConfig `yaml:"listeners" doc:"Where hosts that dial in are awaited; none: they are not. Open vSwitch's ports are 6640 and, of XenServer's SDN controllers, 6632."`
	Grace      time.Duration    `yaml:"grace" doc:"A host whose session comes back within this time is not told of as lost."`
	MaxWaiting int              `yaml:"max_waiting" doc:"How many unknown hosts that dialled in are kept waiting to be confirmed; further ones are turned away."`
	Session    ovsdb.Limits     `yaml:"session" doc:"What each host may take of time and memory."`
}

// ListenerConfig is one of hosts.listeners.
type ListenerConfig struct {
	Addr     string `yaml:"addr" doc:"host:port to bind, or unix:PATH."`
	TLS      bool   `yaml:"tls" doc:"Hosts dial in by TLS and present a certificate."`
	Insecure bool   `yaml:"insecure" doc:"Without TLS, the address may be one that other machines reach: whoever reaches it can pass for a host that has trust none."`
}

// SetDefaults makes a listener one with TLS.
func (c *ListenerConfig) SetDefaults() { c.TLS = true }

// Validate says what is wrong with a listener, or nil.
func (c *ListenerConfig) Validate() error {
	if path, local := strings.CutPrefix(c.Addr, "unix:"); local {
		if path == "" {
			return strictyaml.At("addr", errors.New("found no path, expected unix:PATH"))
		}
		return nil
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil || port == "" {
		return strictyaml.At("addr", fmt.Errorf("found %q, expected host:port, e.g. %q", c.Addr, ":6640"))
	}
	if a, err := netip.ParseAddr(host); !c.TLS && !c.Insecure && (err != nil || !a.IsLoopback()) {
		return strictyaml.At("tls", fmt.Errorf("found false with address %q, which other machines reach: want tls, a loopback address, or insecure as well", c.Addr))
	}
	return nil
}

// Default is no listener.
func Default() Config {
	return Config{Listeners: []ListenerConfig{}, Grace: 15 * time.Second, MaxWaiting: 64, Session: ovsdb.DefaultLimits()}
}

// Validate says what is wrong with the configuration, or nil. Its sections have methods of their own.
func (c *Config) Validate() error {
	var errs []error
	if c.Grace <= 0 {
		errs = append(errs, strictyaml.At("grace", fmt.Errorf("found %s, want more than 0s", c.Grace)))
	}
	if c.MaxWaiting < 0 || c.MaxWaiting > 10_000 {
		errs = append(errs, strictyaml.At("max_waiting", fmt.Errorf("found %d, want 0 to 10000", c.MaxWaiting)))
	}
	return errors.Join(errs...)
}

// Listener is a socket at which hosts dial in.
type Listener struct {
	net.Listener
	TLS bool
}

// Listen binds the listeners. A unix socket is for this user only.
func Listen(ctx context.Context, list []ListenerConfig) ([]Listener, error) {
	var bound []Listener
	for _, c := range list {
		l, err := listen(ctx, c)
		if err != nil {
			for _, b := range bound {
				err = errors.Join(err, b.Close())
			}
			return nil, fmt.Errorf("listen for hosts at %q: %w", c.Addr, err)
		}
		bound = append(bound, Listener{l, c.TLS})
	}
	return bound, nil
}

func listen(ctx context.Context, c ListenerConfig) (net.Listener, error) {
	path, local := strings.CutPrefix(c.Addr, "unix:")
	if !local {
		return (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if errors.Is(err, unix.EADDRINUSE) { // left over by one that was killed, unless somebody answers
		if nc, dialErr := (&net.Dialer{}).DialContext(ctx, "unix", path); dialErr == nil {
			return nil, errors.Join(err, nc.Close())
		} else if !errors.Is(dialErr, unix.ECONNREFUSED) {
			return nil, err
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = (&net.ListenConfig{}).Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
