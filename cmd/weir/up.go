package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/backup"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/udp"
	"github.com/weirhq/weir/estate/feed"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/internal/systemd"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/store/embedded"
)

func newUp() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine",
		Long: `Runs collector, enricher, embedded store and API in the foreground until it is interrupted. Without a configuration it
receives NetFlow 5, NetFlow 9 and IPFIX on UDP ports 2055 and 4739 of every address, and serves ClickHouse's HTTP
interface on 127.0.0.1:8123 and the status page on 127.0.0.1:8080.

--demo adds a simulated estate of 3 hosts and 24 VMs that sends NetFlow 9 and IPFIX over loopback, and listens on
loopback only.`,
		Example: `  weir up --demo
  weir up --data /var/lib/weir --listen :2055,:4739`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("demo-rate") && !o.demo {
				return usagef("--demo-rate %v: expected --demo with it", o.rate)
			}
			return up(cmd.Context(), everything, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "data directory (default: with --demo ./data/demo, else /var/lib/weir)")
	configFlag(cmd, &o.config)
	f.BoolVar(&o.demo, "demo", false, "simulate an estate and its traffic")
	f.Float64Var(&o.rate, "demo-rate", 300, "with --demo: flows a second that the simulated estate sends, in the mean over a day")
	f.StringSliceVar(&o.listen, "listen", nil, "host:port to receive flows on, instead of the configured ones; port 0 is any free one")
	f.StringVar(&o.store, "store-listen", "", "host:port of the embedded store's HTTP interface, instead of the configured one")
	f.StringVar(&o.api, "api-listen", "", "host:port of status page and API, instead of the configured one")
	return cmd
}

type upOptions struct {
	data, config string
	demo         bool
	rate         float64
	listen       []string
	store, api   string
}

// apply puts the command line over the configuration file.
func (o *upOptions) apply(e *env) error {
	c := &e.config
	if o.demo {
		c.Collector.Listen = []string{"127.0.0.1:2055", "127.0.0.1:4739"}
		c.Estate.File = filepath.Join(e.data, "estate.yaml")
	}
	if len(o.listen) > 0 {
		c.Collector.Listen = o.listen
	}
	if o.store != "" {
		c.Store.Embedded.Listen = o.store
	}
	if o.api != "" {
		c.API.Listen = o.api
	}
	c.Store.Embedded.Data = storeDir(e.data)
	if o.rate <= 0 {
		return fmt.Errorf("--demo-rate %v: expected more than 0 flows a second", o.rate)
	}
	return strictyaml.Validate(c)
}

// up reads as the life of an instance: prepare, bind, start the store, wire, run, and stop along the way of the data.
func up(ctx context.Context, r role, o upOptions, stdout, stderr io.Writer) (err error) {
	started := time.Now()
	passed, err := systemd.Sockets()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range passed {
			_ = f.Close() // what is used of it was duplicated
		}
	}()
	env, err := o.environment(ctx, r, stderr)
	if err != nil {
		return err
	}
	unlock, err := instance.Lock(env.data)
	if err != nil {
		return err
	}
	defer unlock()
	if o.demo {
		if err := writeDemoEstate(env.config.Estate.File); err != nil {
			return err
		}
	}
	n, err := newNode(env, r, started)
	if err != nil {
		return err
	}
	if r.governs {
		if err := n.source.Load(); err != nil {
			return err
		}
		if err := n.openState(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.state.Close()) }()
	}
	if env.config.Store.Mode == storeEmbedded {
		// The store of a weir that was killed ends by itself, but may still be about it.
		if err := embedded.WaitUnlocked(ctx, storeDir(env.data), 4*env.config.Store.Embedded.ShutdownTimeout); err != nil {
			return err
		}
	}
	if n.sockets, err = bind(ctx, r, env, passed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.sockets.close()) }()
	endStore, storeFailed, err := n.runStore(ctx, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, endStore()) }()
	if err := n.openStore(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.client.Close(), n.reader.Close()) }()
	defer func() {
		if n.wal != nil {
			err = errors.Join(err, n.wal.Close())
		}
	}()
	if err := n.wire(o); err != nil {
		return err
	}
	if n.follower != nil {
		n.follower.Load()
	} else if err := errors.Join(n.recall(ctx), n.recallRules(ctx), n.policyd.Configure(ctx), n.firstUser(ctx)); err != nil {
		return err
	}
	if err := instance.Write(n.instance()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, instance.Remove(n.data, os.Getpid())) }()
	n.announce(stdout)
	if err := systemd.Notify(systemd.Ready); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() {
		if err := systemd.Notify(systemd.Stopping); err != nil {
			n.log.Warn("systemd was not told of the end", "err", err)
		}
	})()
	return n.run(ctx, storeFailed)
}

// environment returns the configuration by file and options, with a data directory that is there, and in which no restore is half done.
func (o *upOptions) environment(ctx context.Context, r role, stderr io.Writer) (*env, error) {
	if o.data == "" {
		o.data = instance.DefaultDirs[1]
		if o.demo {
			o.data = instance.DefaultDirs[0]
		}
	}
	if err := settleRestored(ctx, o.data); err != nil {
		return nil, err
	}
	env, err := prepare(o.data, o.config, stderr)
	if err != nil {
		return nil, err
	}
	if err := o.apply(env); err != nil {
		return nil, usageError{err} // the configuration file by itself was right
	}
	if err := r.check(&env.config); err != nil {
		return nil, err
	}
	return env, env.makeData()
}

// settleRestored finishes or undoes what an interrupted weir restore left in a data directory.
func settleRestored(ctx context.Context, data string) error {
	if !backup.Unsettled(data) {
		return nil
	}
	unlock, err := instance.Lock(data)
	if err != nil {
		return err
	}
	defer unlock()
	return settle(ctx, data)
}

// sockets are everything that is bound before anything starts, so that a port in use is the first thing one hears.
type sockets struct {
	flows   []*udp.Conn
	api     net.Listener
	admin   net.Listener
	hosts   []hosts.Listener // for hosts that dial in
	bridges []policyd.BridgeSocket
	feed    net.Listener // nil where no collectors are served
	store   net.Listener // nil where the store is a server
}

// bind binds what e says. Sockets for flows that systemd passed stand in the place of collector.listen.
func bind(ctx context.Context, r role, e *env, passed []*os.File) (s *sockets, err error) {
	s = &sockets{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	switch {
	case len(passed) > 0 && !r.collects:
		return s, fmt.Errorf("take sockets of systemd: found %d, want none: flows are received by weir collector, or weir up", len(passed))
	case len(passed) > 0:
		s.flows, err = udp.FromFiles(int(e.config.Collector.RecvBuffer), passed...)
	case r.collects:
		s.flows, err = collector.Listen(e.config.Collector)
	}
	if err != nil {
		return s, err
	}
	if s.api, err = api.Listen(e.config.API); err != nil {
		return s, err
	}
	if !r.governs {
		return s, nil
	}
	if s.feed, err = feed.ListenFeed(e.config.Feed); err != nil {
		return s, err
	}
	if s.admin, err = api.ListenAdmin(adminSocket(e.data)); err != nil {
		return s, err
	}
	if s.hosts, err = hosts.Listen(ctx, e.config.Hosts.Listeners); err != nil {
		return s, err
	}
	if s.bridges, err = policyd.ListenBridges(ctx, e.config.Policy.Listeners); err != nil {
		return s, err
	}
	if e.config.Store.Mode == storeEmbedded {
		s.store, err = embedded.Listen(e.config.Store.Embedded)
	}
	return s, err
}

// close closes what nobody has taken over.
func (s *sockets) close() error {
	var errs []error
	for _, c := range s.flows {
		errs = append(errs, c.Close())
	}
	listeners := []net.Listener{s.api, s.admin, s.feed, s.store}
	for _, l := range s.hosts {
		listeners = append(listeners, l)
	}
	for _, l := range s.bridges {
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// flowAddrs are the addresses on which flows are received, each once.
func (s *sockets) flowAddrs() []string {
	var list []string
	seen := map[netip.AddrPort]bool{}
	for _, c := range s.flows {
		if a := c.LocalAddr(); !seen[a] {
			seen[a] = true
			list = append(list, a.String())
		}
	}
	return list
}
