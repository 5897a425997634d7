package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/backup"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/feed"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/estate/learned"
	"github.com/weirhq/weir/estate/libvirt"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/event/syslog"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/lab/demo"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/state"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/fold"
	"github.com/weirhq/weir/store/wal"
)

// role is what an instance does.
type role struct {
	name string // of the command

	collects bool // receives flows, enriches and stores them
	governs  bool // knows hosts and estate, keeps the store in bounds, tells what happens
}

var (
	everything    = role{"up", true, true}
	policydAlone  = role{"policyd", false, true}
	collectorOnly = role{"collector", true, false}
)

// node is a running instance: the services of its role, wired.
type node struct {
	*env
	role    role
	sockets *sockets
	started time.Time
	metrics *prometheus.Registry

	supervisor *embedded.Supervisor // nil where the store is a server
	client     *store.Client        // as the user that writes
	reader     *store.Client        // as the user that can only read

	estate    *estate.Holder
	assembler *estate.Assembler
	source    *file.Source
	pools     []*xapi.Pool
	kept      *keptSources // of pools and libvirts
	libvirts  []*libvirt.Host
	collector *collector.Collector
	names     *collector.Names
	published *store.ExporterNames
	entities  *store.Entities
	stats     *exporterStats
	own       *statistics
	enricher  *enricher.Enricher
	wal       *wal.Log
	writer    *store.Writer
	retention *store.Retention
	fold      *fold.Folder
	state     *state.State
	events    *event.Log
	syslog    *syslog.Sender // nil where none is configured
	policyd   *policyd.Service
	learner   *learned.Learner
	rules     *store.RuleInstances
	hits      *store.Hits
	live      *estate.Liveness
	feed      *feed.Publisher // nil where no collectors are served
	feedReady chan struct{}
	follower  *feed.Follower // of a collector that works alone
	authority *authority
	accounts  *account.Accounts
	first     firstUser // made at this start
	api       *api.Server
	demo      *demo.Demo // nil without --demo
}

// newNode makes what needs neither sockets nor store.
func newNode(e *env, r role, started time.Time) (n *node, err error) {
	n = &node{env: e, role: r, started: started, metrics: prometheus.NewRegistry(), estate: estate.NewHolder()}
	n.authority = &authority{dir: authorityDir(e.data)}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if !r.governs {
		return n, nil
	}
	n.assembler = estate.NewAssembler(estate.AssemblerDeps{Log: e.log, Estate: n.estate})
	n.source, err = file.New(e.config.Estate.Config, file.Deps{Log: e.log, Estate: n.assembler, Metrics: n.metrics})
	return n, err
}

// runStore starts the embedded store and returns once it answers. end stops it and waits for it; failed gets its error
// if it gives up before.
func (n *node) runStore(ctx context.Context, stderr io.Writer) (end func() error, failed <-chan error, err error) {
	if n.sockets.store == nil {
		return func() error { return nil }, nil, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find own program: %w", err)
	}
	args := []string{"store", "--data", n.data}
	if n.file != "" {
		args = append(args, "--config", n.file)
	}
	n.supervisor, err = embedded.NewSupervisor(
		embedded.SupervisorConfig{Path: self, Args: args},
		embedded.SupervisorDeps{Log: n.log, Listener: n.sockets.store, Stderr: stderr},
	)
	if err != nil {
		return nil, nil, err
	}
	// The store outlives ctx: what came in before the end is still to be stored.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- n.supervisor.Run(running) }()
	end = func() error {
		stop()
		return <-ended
	}
	select {
	case <-n.supervisor.Ready():
		return end, ended, nil
	case err := <-ended:
		stop()
		return nil, nil, err
	case <-ctx.Done():
		return nil, nil, errors.Join(ctx.Err(), end())
	}
}

// openStore connects as the user that writes and as the one that reads, and brings the tables up to date.
func (n *node) openStore(ctx context.Context) error {
	write, read := n.config.Store.Server, n.config.Store.Server
	if n.supervisor != nil {
		users, err := embedded.ReadUsers(storeDir(n.data))
		if err != nil {
			return err
		}
		addr := n.supervisor.Addr().String()
		write, read = embeddedConfig(dialable(addr), users.Writer), embeddedConfig(dialable(addr), users.ReadOnly)
	} else if r := n.config.Store.Reader; r.User != "" {
		read.User, read.PasswordFile = r.User, r.PasswordFile
	}
	var err error
	if n.client, err = store.Open(write); err != nil {
		return err
	}
	if n.reader, err = store.Open(read); err != nil {
		return err
	}
	if !n.role.governs {
		return nil // its write-ahead log takes what comes until the store is there
	}
	if err := n.client.WaitReady(ctx); err != nil {
		return fmt.Errorf("wait for store %q: %w", n.client.Addr(), err)
	}
	if err := backup.Unfinished(ctx, n.client); err != nil {
		return err
	}
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		return err
	}
	_, err = store.Apply(ctx, n.client, migrations, n.log)
	return err
}

// wire makes the services of the node's role. It starts none. The caller closes n.wal, if it is set, also after an error.
func (n *node) wire(o upOptions) error {
	n.live = estate.NewLiveness(3 * n.config.Collector.ActiveTimeout)
	n.own = newStatistics(n.client, n.metrics)
	var steps []func() error
	if n.role.collects {
		steps = append(steps, n.wireCollector)
	}
	if n.role.governs {
		steps = append(steps, n.wireRetention, n.wireEvents, n.wireSources, n.wireAccounts, n.wirePolicyd, n.wireFeed)
	} else {
		steps = append(steps, n.wireFollower)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if o.demo {
		var err error
		if n.demo, err = newDemo(n.sockets, o.rate, n.log); err != nil {
			return err
		}
	}
	d := api.Deps{
		Log: n.log, Listener: n.sockets.api, Admin: n.sockets.admin, Metrics: n.metrics, Version: versionString(),
		Status: n.status, Flows: n.flows, Ready: n.client.Ping, Estate: n.estate.Load,
	}
	if n.role.governs {
		d.EstateOf, d.Events, d.Hosts, d.Policy = estateService{n.assembler, n.client, n.reports}, n.events, n.policyd, n.policyd
		d.Accounts, d.Refusals, d.Admins = n.accounts, n.state, &api.AdminEvents{Stored: store.NewAdminEvents(n.client).Events, Waiting: n.state.AuditEntries}
		d.Hits = func(ctx context.Context, r query.HitsRequest) ([]query.RuleHits, error) {
			return cli.Hits(ctx, cli.Conn(n.reader.Conn()), r, time.Now())
		}
	}
	var err error
	if d.Identity, err = n.apiIdentity(); err != nil {
		return err
	}
	n.api = api.New(n.config.API, d)
	return nil
}

// wireRetention makes what keeps the store within its age and size, and what tells it the estate: one does that for all.
func (n *node) wireRetention() (err error) {
	kept := store.RetentionDeps{Log: n.log, Metrics: n.metrics, Client: n.client}
	if n.supervisor != nil {
		kept.Dir = storeDir(n.data)
	}
	n.retention, err = store.NewRetention(n.config.Store.Retention, kept)
	n.entities = store.NewEntities(n.client)
	return err
}

// run runs the services until ctx is done or one of them fails, then stops them along the way of the data: sources,
// writer, and the caller the store.
func (n *node) run(ctx context.Context, storeFailed <-chan error) error {
	if n.role.collects {
		if err := n.openFold(ctx); err != nil {
			return err
		}
	}
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written, logged := make(chan error, 1), make(chan error, 1)
	written <- nil
	logged <- nil
	if n.role.collects {
		<-written
		go func() { written <- n.writer.Run(writing) }()
	}

	g, ctx := errgroup.WithContext(ctx)
	start := func(services ...func(context.Context) error) {
		for _, run := range services {
			g.Go(func() error { return run(ctx) })
		}
	}
	start(n.api.Run, n.publish)
	start(n.publishStatistics)
	if n.role.collects {
		start(n.collector.Run, n.fold.Run, n.publishStats)
	}
	if n.role.governs {
		<-logged
		go func() {
			// Until the last, as the writer of flows: what was counted and told shortly before the end is still to be stored.
			var told errgroup.Group
			for _, run := range []func(context.Context) error{n.events.Run, n.rules.Run, n.hits.Run} {
				told.Go(func() error { return run(writing) })
			}
			logged <- told.Wait()
		}()
		g.Go(func() error {
			select {
			case err := <-logged:
				logged <- nil
				return err
			case <-ctx.Done():
				return nil
			}
		})
		start(n.kept.memory.Run)
		for _, p := range n.pools {
			start(p.Run)
		}
		for _, h := range n.libvirts {
			start(h.Run)
		}
		start(n.source.Run, n.policyd.Run, n.learnFromFlows, n.watchExporters, n.retention.Run)
		if n.syslog != nil {
			start(n.syslog.Run)
		}
		if n.feed != nil {
			start(n.feed.Run, n.serveFeed, n.readyFeed)
		}
	} else {
		start(n.follower.Run)
	}
	if n.demo != nil {
		start(n.demo.Run)
	}
	if storeFailed != nil {
		g.Go(func() error {
			select {
			case err := <-storeFailed:
				return fmt.Errorf("embedded store gave up: %w", err)
			case <-ctx.Done():
				return nil
			}
		})
	}
	err := g.Wait()
	stopWriting()
	err = errors.Join(err, <-written, <-logged)
	n.publishLastStats(ctx)
	return err
}

const publishInterval = 5 * time.Second

// publish writes the entities of the estate, and the names that exporters told, to the store: at once, when the estate
// changes, and every few seconds. What fails is tried again with the next round.
func (n *node) publish(ctx context.Context) error {
	changes, cancel := n.estate.Subscribe()
	defer cancel()
	tick := time.NewTicker(publishInterval)
	defer tick.Stop()
	var published *estate.Snapshot
	for {
		if s := n.estate.Load(); n.role.governs && s != published {
			if err := n.publishEntities(ctx, s); err != nil {
				n.complain(ctx, "entities", err)
			} else {
				published = s
			}
		}
		if n.role.collects {
			if err := n.publishNames(ctx); err != nil {
				n.complain(ctx, "names of exporters", err)
			}
		}
		select {
		case <-changes:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *node) complain(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		n.log.Warn("not published, tried again", "what", what, "err", err)
	}
}

func (n *node) publishEntities(ctx context.Context, s *estate.Snapshot) error {
	entities := s.Entities()
	rows := make([]store.Entity, len(entities))
	for i, e := range entities {
		rows[i] = store.Entity(e)
	}
	at := s.Since()
	if at.IsZero() {
		at = time.Now()
	}
	_, err := n.entities.Publish(ctx, rows, at)
	return err
}

func (n *node) publishNames(ctx context.Context) error {
	changed := n.names.Changed()
	if len(changed) == 0 {
		return nil
	}
	rows := make([]store.ExporterName, len(changed))
	for i, c := range changed {
		rows[i] = store.ExporterName{
			Exporter: c.Exporter, Domain: c.Domain, Kind: store.NameKind(c.Kind), Key: c.Number, Name: c.Name, Description: c.Description,
		}
	}
	if _, err := n.published.Publish(ctx, rows, time.Now()); err != nil {
		return err
	}
	n.names.Published(changed)
	return nil
}

// hostName is the name of the machine, for people; "" if it has none.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// newDemo makes the simulated hosts, which send to the first socket that they can reach over loopback.
func newDemo(s *sockets, rate float64, log *slog.Logger) (*demo.Demo, error) {
	addrs := s.flowAddrs()
	to := func(addr string) (netip.AddrPort, error) {
		a, err := netip.ParseAddrPort(dialable(addr))
		if err == nil && a.Addr() == netip.IPv6Loopback() { // a dual-stack socket
			a = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
		}
		return a, err
	}
	netFlow, err1 := to(addrs[0])
	ipfix, err2 := to(addrs[len(addrs)-1])
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("start demo: %w", err)
	}
	return demo.New(demo.Config{NetFlow: netFlow, IPFIX: ipfix, Rate: rate, Estate: flowgen.Demo()}, demo.Deps{Log: log})
}

// instance is what other commands find the node by.
func (n *node) instance() instance.Instance {
	i := instance.Instance{
		Data: n.data, PID: os.Getpid(), Version: versionString(), Started: n.started, Config: n.file,
		Store: n.client.Addr(), API: dialable(n.sockets.api.Addr().String()), TLS: n.config.API.Encrypted(), Listen: n.sockets.flowAddrs(),
	}
	if n.sockets.admin != nil {
		i.Admin = adminSocket(n.data)
	}
	if n.supervisor != nil {
		i.StorePID = n.supervisor.PID()
	}
	return i
}

// announce tells a person where to look.
func (n *node) announce(out io.Writer) {
	i := n.instance()
	fmt.Fprintf(out, "weir %s is up after %.1f s, data in %s\n\n", i.Version, time.Since(n.started).Seconds(), i.Data)
	fmt.Fprintf(out, "  status page  %s://%s/\n", n.config.API.Scheme(), i.API)
	fmt.Fprintf(out, "  ClickHouse   http://%s/\n", i.Store)
	if n.role.collects {
		fmt.Fprintf(out, "  flows        NetFlow 5, NetFlow 9 and IPFIX to UDP %s\n", strings.Join(i.Listen, ", "))
	}
	if n.feed != nil {
		fmt.Fprintf(out, "  estate feed  %s\n", n.sockets.feed.Addr())
	}
	if n.follower != nil {
		fmt.Fprintf(out, "  estate       of %s\n", n.config.Follow.URL)
	}
	if n.first.name != "" {
		fmt.Fprintf(out, "  first user   %s, with the password %s for one time, also in %s\n", n.first.name, n.first.password, firstPasswordFile(n.data))
	}
	if n.demo != nil {
		fmt.Fprintln(out, "  demo         3 simulated hosts with 24 VMs are sending")
	}
	data := ""
	if found, err := instance.Find(""); err != nil || found.Data != n.data {
		data = " --data " + n.data
	}
	fmt.Fprintf(out, "\nIn another terminal:\n\n  %[1]s flows top --by src_vm --last 15m%[2]s\n  %[1]s sql%[2]s \"SELECT src_vm_name, dst_vm_name, dst_port, bytes FROM flows LIMIT 5\"\n\nCtrl-C ends it.\n", os.Args[0], data)
}

// status gathers what the status page and `weir status` show.
func (n *node) status() api.Status {
	s := api.Status{
		Version: versionString(), Started: n.started, Data: n.data, Listen: n.sockets.flowAddrs(),
		Store:  api.StoreStatus{Mode: string(n.config.Store.Mode), Addr: n.client.Addr()},
		Estate: n.estateStatus(),
	}
	if n.role.collects {
		s.Fold = n.fold.Stats()
		s.Writer = n.writer.Stats() // before the collector: see Status.balance
		s.Enricher = n.enricher.Stats()
		s.Collector = n.collector.Stats()
		s.Exporters = n.collector.Exporters(time.Now())
	}
	if n.role.governs {
		s.Retention = n.retention.Stats()
		s.Events = n.events.Stats()
	}
	now := time.Now()
	s.Servers, s.Network = n.own.processes(now), n.networkStats(now)
	if n.feed != nil {
		feed := n.feed.Status()
		s.Feed = &feed
	}
	if n.follower != nil {
		follow := n.follower.Status()
		s.Follow = &follow
	}
	if n.supervisor != nil {
		s.Store.PID, s.Store.Restarts = n.supervisor.PID(), n.supervisor.Restarts()
	}
	if n.syslog != nil {
		stats := n.syslog.Stats()
		s.Syslog = &stats
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := n.client.Ping(ctx); err != nil {
		s.Store.Problem = err.Error()
	}
	return s
}
