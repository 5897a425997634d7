package xapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
	netevent "github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

const (
	waitForChanges = 30 * time.Second       // of one event.from
	backoffFirst   = time.Second            // after a connection that failed; doubled each time up to
	backoffLast    = 30 * time.Second       //
	lasting        = 2 * time.Second        // a connection that lasted so long is opened again at once
	resyncsApart   = 10 * time.Second       // that counts ask for
	batchPause     = 100 * time.Millisecond // between two questions that were answered with changes: a pool that changes all the time is read in bulk
	answerLimit    = 256 << 20              // bytes; a VM is about 5 kB with its VIFs
	maxRedirects   = 4
)

// Estate takes what a source says; *estate.Assembler does.
type Estate interface {
	Set(source string, m *estate.Model, at time.Time)
	Lost(source string, since time.Time)
}

// Deps are what a Pool uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Estate  Estate
	Events  netevent.Sink
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
	Own     func(netip.Addr) bool // whether an address is Weir's: of an SDN controller there nobody is warned; nil: none is

	// Asked returns what policy asks of a pool, by its UUID. It is asked again and again, and not to block. nil: nothing.
	Asked func(poolUUID string) Asked
}

// State is how the connection with a pool is.
type State string

// The states.
const (
	StateConnecting State = "connecting"
	StateReading    State = "reading" // all that the pool has, for the first time
	StateConnected  State = "connected"
	StateBackoff    State = "backoff"
)

// controllerWaits is the protocol of an SDN controller that is none: hosts wait to be dialled, by Weir for one.
const controllerWaits = "pssl"

// Controller is what a pool has as its SDN controller.
type Controller struct {
	Protocol string `json:"protocol" doc:"ssl: hosts dial it; pssl: hosts wait to be dialled."`
	Address  string `json:"address,omitempty"`
	Port     int    `json:"port,omitempty"`
}

// String returns it as ssl:198.51.100.7:6632.
func (c Controller) String() string {
	return c.Protocol + ":" + net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
}

// Status is how a pool does as a source.
type Status struct {
	Name        string       `json:"name" doc:"As in the configuration."`
	State       State        `json:"state" doc:"connecting, reading, connected or backoff."`
	Since       time.Time    `json:"since" doc:"Of state."`
	Coordinator string       `json:"coordinator,omitempty" doc:"Address of the host that was asked last."`
	Master      string       `json:"master,omitempty" doc:"Name of the coordinator, as the pool says."`
	Pool        string       `json:"pool,omitempty" doc:"Name label of the pool."`
	UUID        string       `json:"uuid,omitempty" doc:"Of the pool."`
	Version     string       `json:"version,omitempty" doc:"Product and version of the coordinator."`
	Error       string       `json:"error,omitempty" doc:"Why there is no connection, and what to do."`
	Read        time.Time    `json:"read,omitzero" doc:"When all was read last."`
	Changed     time.Time    `json:"changed,omitzero" doc:"When the pool last told of a change."`
	Hosts       int          `json:"hosts"`
	Networks    int          `json:"networks"`
	VMs         int          `json:"vms" doc:"Without templates, snapshots and control domains."`
	VIFs        int          `json:"vifs"`
	Drift       uint64       `json:"drift" doc:"Times that what was known differed from what the pool counts, and all was read again."`
	Logins      uint64       `json:"logins" doc:"Sessions opened."`
	Controllers []Controller `json:"controllers,omitempty" doc:"SDN controllers that the pool is registered with."`
	FailMode    FailMode     `json:"fail_mode" doc:"The pool's other_config:vswitch-controller-fail-mode."`
	Problems    []string     `json:"problems,omitempty" doc:"What is wrong with the pool as a source, and what to do."`
}

// Pool follows one pool.
type Pool struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	source  string
	http    *http.Client
	metrics *metrics

	// These belong to Run.
	db         *database // nil: all is to be read
	token      string
	read       time.Time // when all was
	resynced   time.Time // when counts last asked for it
	beside     map[class]int
	last       string   // endpoint of the coordinator that answered last
	known      []string // endpoints of hosts that the pool has
	told       bool     // that it is lost
	controller string   // that was told of
	keeper     keeper   // of the fail mode

	mu      sync.Mutex
	status  Status  // guarded by mu
	client  *client // of session; nil: there is none; guarded by mu
	session string  // guarded by mu
}

// New checks and wires. It reads the certificates that ca_file names, and connects nowhere.
func New(cfg Config, d Deps) (*Pool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure XAPI pool %q: %w", cfg.Name, err)
	}
	if d.Log == nil || d.Estate == nil || d.Events == nil {
		return nil, errors.New("configure XAPI pool: a dependency is missing: want Log, Estate and Events")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	secure, err := trust(&cfg)
	if err != nil {
		return nil, fmt.Errorf("configure XAPI pool %q: %w", cfg.Name, err)
	}
	p := &Pool{cfg: cfg, deps: d, log: d.Log.With("part", "xapi", "pool", cfg.Name), source: estate.XAPISourcePrefix + cfg.Name, metrics: newMetrics(d.Metrics, cfg.Name), keeper: newKeeper(fixed(cfg.Write.FailMode))}
	p.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: secure, TLSHandshakeTimeout: cfg.Timeout, ResponseHeaderTimeout: cfg.Timeout + waitForChanges,
			DialContext: (&net.Dialer{Timeout: cfg.Timeout}).DialContext, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		},
		// A password goes where the configuration says, and to the coordinator that a host of the pool names; never where HTTP says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the host answers with a redirection") },
	}
	p.status = Status{Name: cfg.Name, State: StateConnecting, Since: d.Now(), FailMode: FailMode{Wanted: fixed(cfg.Write.FailMode)}}
	return p, nil
}

// fixed returns what write.fail_mode keeps a pool at by itself.
func fixed(mode string) string {
	if mode == FollowPolicy {
		return ""
	}
	return mode
}

// Status may be called from any goroutine.
func (p *Pool) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Controllers = slices.Clone(s.Controllers)
	s.Problems = p.problems(&s)
	return s
}

// problems says what is wrong with the pool as a source.
func (p *Pool) problems(s *Status) []string {
	var list []string
	if s.Error != "" {
		list = append(list, fmt.Sprintf("it cannot be asked since %s: %s", s.Since.UTC().Format(time.DateTime), s.Error))
	}
	if text := s.FailMode.problem(); text != "" {
		list = append(list, text)
	}
	for _, c := range s.Controllers {
		if p.foreign(c) {
			list = append(list, fmt.Sprintf("it is registered with the SDN controller %s, which is not Weir: XAPI resets bridges whenever that changes, and its flows may pass by the policy; `xe sdn-controller-forget` ends it", c))
		}
	}
	if n := len(p.cfg.Pins); n > 0 && n < s.Hosts {
		list = append(list, fmt.Sprintf("pins has fingerprints of %d of the %d hosts: when another becomes the coordinator, Weir cannot ask it unless its fingerprint is there", n, s.Hosts))
	}
	return list
}

// foreign says whether an SDN controller is somebody else's.
func (p *Pool) foreign(c Controller) bool {
	a, err := netip.ParseAddr(c.Address)
	return c.Protocol != controllerWaits && (err != nil || p.deps.Own == nil || !p.deps.Own(a.Unmap()))
}

// Run follows the pool until ctx is done.
func (p *Pool) Run(ctx context.Context) error {
	defer p.http.CloseIdleConnections()
	wait := backoffFirst
	for {
		began := time.Now()
		connected, err := p.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if connected {
			wait = backoffFirst
			if time.Since(began) > lasting {
				// The coordinator is another one, or XAPI was restarted: only if it cannot be reached now is it lost.
				p.log.Info("connection with pool ended, opened again", "err", err)
				continue
			}
		}
		p.lost(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, backoffLast)
	}
}

// lost notes that there is no connection.
func (p *Pool) lost(err error) {
	now := p.deps.Now()
	text := explain(err)
	p.metrics.connected.Set(0)
	p.mu.Lock()
	was := p.status.Error
	p.status.State, p.status.Error = StateBackoff, text
	if was == "" {
		p.status.Since = now
	}
	p.mu.Unlock()
	p.deps.Estate.Lost(p.source, now)
	if text != was {
		p.log.Warn("pool cannot be asked, tried again", "err", text)
	}
	if !p.told && p.db != nil { // of one that was never reached the status tells
		p.told = true
		p.emit(netevent.PoolLost, fmt.Sprintf("pool %s cannot be asked any more: %s; what it said last stays in use", p.cfg.Name, text), map[string]string{"error": text})
	}
}

// explain says what failed, and what to do about it.
func explain(failure error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	err := oneLine(failure) // of several hosts
	switch {
	case failed(failure, failPassword):
		return fmt.Sprintf("the pool refuses user and password (%s): check user and password_file", err)
	case failed(failure, failRights):
		return fmt.Sprintf("the account may not read (%s): give it role read-only", err)
	case failed(failure, failStarting):
		return fmt.Sprintf("the host is starting (%s)", err)
	case errors.As(failure, &unknown):
		return fmt.Sprintf("%s: set ca_file to the authority that signed it, or pins to its fingerprint, compared at the host", err)
	case errors.As(failure, &name):
		return fmt.Sprintf("%s: use the name that the certificate is for in addresses, or pins", err)
	case errors.As(failure, new(*pinError)):
	case failed(failure, failSlave):
		return fmt.Sprintf("only members of the pool answer, and the coordinator that they name does not (%s): can Weir reach it at that address, port 443? If it is gone for good, `xe pool-emergency-transition-to-master` at a member makes that the coordinator", err)
	}
	return err
}

// follow connects to the coordinator and takes what it says until that fails. connected says whether all was read.
func (p *Pool) follow(ctx context.Context) (connected bool, err error) {
	password, err := p.cfg.password()
	if err != nil {
		return false, err
	}
	c, session, err := p.login(ctx, password)
	if err != nil {
		return false, err
	}
	defer func() {
		p.hold(nil, "")
		c.logout(session)
	}()
	p.hold(c, session)
	p.token = "" // it may be of another coordinator, or of this one before it was started anew, and mean something else there
	for {
		changed, err := p.ask(ctx, c, session)
		if err == nil {
			connected = true
			err = p.keep(ctx, c, session)
		}
		switch {
		case failed(err, failSession): // it expired, or XAPI was restarted
			if session, err = c.login(ctx, p.cfg.User, password); err != nil {
				return connected, err
			}
			p.hold(c, session)
			p.metrics.logins.Inc()
			p.set(func(s *Status) { s.Logins++ })
			p.token = ""
			continue
		case failed(err, failToken): // of an XAPI before a restart
			p.token = ""
			continue
		case err != nil:
			return connected, err
		}
		if !changed {
			continue
		}
		select {
		case <-time.After(batchPause):
		case <-ctx.Done():
			return connected, ctx.Err()
		}
	}
}

// login opens a session at the coordinator: at the host that was it last, else wherever a host of the pool says it is.
func (p *Pool) login(ctx context.Context, password string) (*client, string, error) {
	p.set(func(s *Status) {
		if s.State != StateBackoff {
			s.State, s.Since = StateConnecting, p.deps.Now()
		}
	})
	candidates := []string{}
	add := func(url string) {
		if url != "" && !slices.Contains(candidates, url) {
			candidates = append(candidates, url)
		}
	}
	add(p.last)
	for _, a := range p.cfg.Addresses {
		if url, err := endpoint(a); err == nil {
			add(url)
		}
	}
	for _, url := range p.known {
		add(url)
	}
	var errs []error
	redirects := 0
	for i := 0; i < len(candidates); i++ {
		c := &client{url: candidates[i], http: p.http, limit: answerLimit}
		trying, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
		session, err := c.login(trying, p.cfg.User, password)
		cancel()
		var f *Failure
		switch {
		case err == nil:
			p.last = c.url
			p.metrics.logins.Inc()
			p.set(func(s *Status) { s.Coordinator, s.Logins = hostOf(c.url), s.Logins+1 })
			return c, session, nil
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
		case failed(err, failPassword): // it is one account for all of the pool; others would lock it
			return nil, "", fmt.Errorf("log in at %s: %w", hostOf(c.url), err)
		case errors.As(err, &f) && f.Code == failSlave && len(f.Params) > 0 && redirects < maxRedirects:
			if url, err := endpoint(f.Params[0]); err == nil {
				redirects++
				candidates = slices.DeleteFunc(candidates, func(u string) bool { return u == url && !slices.Contains(candidates[:i+1], u) })
				if !slices.Contains(candidates[:i+1], url) {
					candidates = slices.Insert(candidates, i+1, url)
				}
			}
		}
		errs = append(errs, fmt.Errorf("log in at %s: %w", hostOf(c.url), err))
	}
	return nil, "", errors.Join(errs...)
}

// hostOf returns the host of an endpoint.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// ask waits for changes, or reads all, and takes what it gets into the estate. changed says whether there was something.
func (p *Pool) ask(ctx context.Context, c *client, session string) (changed bool, err error) {
	now := p.deps.Now()
	db, token, wait := p.db, p.token, p.keeper.wait(now)
	if db == nil || token == "" || now.Sub(p.read) >= p.cfg.Resync {
		db, token, wait = &database{}, "", 0
		p.set(func(s *Status) {
			if s.State != StateConnected {
				s.State, s.Since, s.Error = StateReading, now, ""
			}
		})
	}
	tables := db.tables()
	n := 0
	asking, cancel := context.WithTimeout(ctx, wait+p.cfg.Timeout)
	if token == "" {
		cancel()
		asking, cancel = context.WithTimeout(ctx, 10*p.cfg.Timeout) // a large pool takes its time
	}
	next, counts, err := c.from(asking, session, token, wait, func(e *event) error {
		n++
		return db.apply(tables, e)
	})
	cancel()
	if err != nil {
		if token != "" && n > 0 {
			p.token = "" // half of the changes may be in
		}
		return false, fmt.Errorf("ask %s: %w", hostOf(c.url), err)
	}
	p.metrics.events.Add(float64(n))
	whole := token == ""
	p.db, p.token = db, next
	if whole {
		p.read = now
		p.metrics.reads.Inc()
		p.beside = db.beside(counts)
	} else if at := db.differs(counts, p.beside); at != "" && now.Sub(p.resynced) >= resyncsApart {
		// What was taken is not what there is: nothing of it is used before all was read.
		p.log.Warn("pool counts other records than are known, all is read again", "class", string(at), "known", tables[at].size(), "counted", counts[at])
		p.metrics.drift.Inc()
		p.set(func(s *Status) { s.Drift++ })
		p.token, p.resynced = "", now
		return false, nil
	}
	if whole || n > 0 {
		p.publish(now, n > 0)
	}
	p.connectedNow(now)
	return n > 0, nil
}

// beside returns how many records more the pool counts than it gave when all was read, by class: usually none.
func (d *database) beside(counts map[class]int) map[class]int {
	m := map[class]int{}
	for name, t := range d.tables() {
		if n, ok := counts[name]; ok && n != t.size() {
			m[name] = n - t.size()
		}
	}
	return m
}

// differs returns a class of which the pool counts other records than are known, beside those that it did not give; empty: none.
func (d *database) differs(counts, beside map[class]int) class {
	tables := d.tables()
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if n, ok := counts[name]; ok && n != tables[name].size()+beside[name] {
			return name
		}
	}
	return ""
}

// publish gives the estate what the pool has.
func (p *Pool) publish(now time.Time, changed bool) {
	m := p.db.model(p.cfg.Pool)
	p.deps.Estate.Set(p.source, m, now)
	vifs := 0
	for i := range m.VMs {
		vifs += len(m.VMs[i].VIFs)
	}
	p.known = p.known[:0]
	for _, h := range inOrder(p.db.hosts) {
		if url, err := endpoint(h.Address); err == nil {
			p.known = append(p.known, url)
		}
	}
	var pool poolRecord
	for _, r := range inOrder(p.db.pools) { // there is one
		pool = *r
	}
	var master hostRecord
	if h := p.db.hosts[pool.Master]; h != nil {
		master = *h
	}
	var controllers []Controller
	for _, c := range inOrder(p.db.controllers) {
		controllers = append(controllers, Controller{c.Protocol, c.Address, int(c.Port)})
	}
	p.set(func(s *Status) {
		s.Hosts, s.Networks, s.VMs, s.VIFs, s.Controllers, s.Read = len(m.Hosts), len(m.Networks), len(m.VMs), vifs, controllers, p.read
		s.Pool, s.UUID, s.Master, s.Version = pool.Name, pool.UUID, master.Name, master.product()
		if changed {
			s.Changed = now
		}
	})
	p.watch(controllers)
}

// watch tells of an SDN controller that the pool is registered with: XAPI wipes what Weir sets up whenever that changes.
func (p *Pool) watch(controllers []Controller) {
	text := fmt.Sprint(controllers)
	if text == p.controller {
		return
	}
	p.controller = text
	for _, c := range controllers {
		if !p.foreign(c) {
			continue
		}
		p.emit(netevent.PoolController, fmt.Sprintf("pool %s is registered with an SDN controller (%s %s), which is not Weir's: XAPI takes its part at the hosts' bridges, and wipes exports and fail modes when it is changed",
			p.cfg.Name, c.Protocol, c.Address), map[string]string{"protocol": c.Protocol, "address": c.Address, "port": fmt.Sprint(c.Port)})
	}
}

// connectedNow notes that the pool answers.
func (p *Pool) connectedNow(now time.Time) {
	p.metrics.connected.Set(1)
	first := false
	p.set(func(s *Status) {
		if first = s.State != StateConnected; first {
			s.State, s.Since = StateConnected, now
		}
		s.Error = ""
	})
	if !first {
		return
	}
	st := p.Status()
	p.log.Info("pool is read", "coordinator", st.Coordinator, "hosts", st.Hosts, "networks", st.Networks, "vms", st.VMs, "vifs", st.VIFs)
	p.told = false
	p.emit(netevent.PoolConnected, fmt.Sprintf("pool %s is read from %s", p.cfg.Name, st.Coordinator), map[string]string{"coordinator": st.Coordinator})
}

func (p *Pool) emit(kind netevent.Kind, text string, facts map[string]string) {
	e := netevent.Event{Time: p.deps.Now(), Kind: kind, Subject: p.cfg.Name, Text: text, Attributes: facts}
	if p.db != nil {
		for _, pool := range inOrder(p.db.pools) {
			e.Pool = flow.NewID(flow.KindPool, pool.UUID)
		}
	}
	p.deps.Events.Emit(e)
}

// hold makes a session the one that others than Run call with.
func (p *Pool) hold(c *client, session string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client, p.session = c, session
}

func (p *Pool) set(change func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.status)
}
