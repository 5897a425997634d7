package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
	netevent "github.com/weirhq/weir/event"
)

const (
	backoffFirst = time.Second // after a connection that failed; doubled each time up to
	backoffLast  = 30 * time.Second
	settle       = 100 * time.Millisecond // after an event: several come together
	maxDomains   = 10_000                 // of a host
)

// Estate takes what a source says; *estate.Assembler does.
type Estate interface {
	Set(source string, m *estate.Model, at time.Time)
	Lost(source string, since time.Time)
}

// Deps are what a Host uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Estate  Estate
	Events  netevent.Sink
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
}

// State is how the connection with a host is.
type State string

// The states.
const (
	StateConnecting State = "connecting"
	StateConnected  State = "connected"
	StateBackoff    State = "backoff"
)

// Status is how a host does as a source.
type Status struct {
	Name     string    `json:"name" doc:"As in the configuration."`
	State    State     `json:"state" doc:"connecting, connected or backoff."`
	Since    time.Time `json:"since" doc:"Of state."`
	Error    string    `json:"error,omitempty" doc:"Why there is no connection, and what to do."`
	Host     string    `json:"host,omitempty" doc:"As libvirt calls it."`
	Version  string    `json:"version,omitempty" doc:"Of libvirt."`
	Read     time.Time `json:"read,omitzero" doc:"When all domains were read last."`
	Domains  int       `json:"domains"`
	VIFs     int       `json:"vifs"`
	Events   uint64    `json:"events" doc:"Changes that libvirt told of."`
	Skipped  int       `json:"skipped,omitempty" doc:"Domains that could not be read."`
	Problems []string  `json:"problems,omitempty" doc:"With domains, and with what this libvirt lacks."`
}

// Host follows the libvirt of one host.
type Host struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	source  string
	target  *target
	metrics *metrics

	told bool // that it is lost; of Run
	ever bool // it was read; of Run

	mu     sync.Mutex
	status Status // guarded by mu
}

// New checks and wires. It connects nowhere.
func New(cfg Config, d Deps) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure libvirt host %q: %w", cfg.Name, err)
	}
	if d.Log == nil || d.Estate == nil || d.Events == nil {
		return nil, errors.New("configure libvirt host: a dependency is missing: want Log, Estate and Events")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	t, err := parseURI(cfg.URI)
	if err != nil {
		return nil, err
	}
	return &Host{
		cfg: cfg, deps: d, log: d.Log.With("part", "libvirt", "host", cfg.Name), source: estate.LibvirtSourcePrefix + cfg.Name, target: t, metrics: newMetrics(d.Metrics, cfg.Name),
		status: Status{Name: cfg.Name, State: StateConnecting, Since: d.Now()},
	}, nil
}

// Status may be called from any goroutine.
func (h *Host) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

// Run follows the host until ctx is done.
func (h *Host) Run(ctx context.Context) error {
	wait := backoffFirst
	for {
		connected, err := h.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it is the end that was asked for
		}
		if connected {
			wait = backoffFirst
		}
		h.lost(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, backoffLast)
	}
}

// lost notes that there is no connection.
func (h *Host) lost(err error) {
	now, text := h.deps.Now(), err.Error()
	h.metrics.connected.Set(0)
	h.mu.Lock()
	was := h.status
	h.status.State, h.status.Error = StateBackoff, text
	if was.State != StateBackoff {
		h.status.Since = now
	}
	h.mu.Unlock()
	h.deps.Estate.Lost(h.source, now)
	if text != was.Error {
		h.log.Warn("libvirt cannot be asked, tried again", "err", text)
	}
	if h.ever && !h.told {
		h.told = true
		h.emit(netevent.LibvirtLost, fmt.Sprintf("libvirt of host %s cannot be asked any more: %s; what it said last stays in use", h.cfg.Name, text))
	}
}

func (h *Host) emit(kind netevent.Kind, text string) {
	h.deps.Events.Emit(netevent.Event{Time: h.deps.Now(), Kind: kind, Subject: h.cfg.Name, Text: text, Attributes: map[string]string{"uri": h.cfg.URI}})
}

// session is a connection with a host. A call that takes too long ends it.
type session struct {
	*rpc.Libvirt
	end     func()
	timeout time.Duration
}

// limited runs a call, and ends the connection if it takes too long, so that it returns.
func (s *session) limited(call func() error) error {
	late := time.AfterFunc(s.timeout, s.end)
	err := call()
	if !late.Stop() && err != nil {
		return fmt.Errorf("no answer in %s", s.timeout)
	}
	return err
}

// follow connects, reads all domains, and again whenever libvirt tells of a change. connected says whether they were read.
func (h *Host) follow(ctx context.Context) (connected bool, err error) {
	conn, err := h.cfg.dial(ctx, h.target)
	if err != nil {
		return false, fmt.Errorf("connect to %s: %w", h.target.address, advised(err))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := context.AfterFunc(ctx, func() { conn.Close() })
	defer closed()
	guarded := &guard{Conn: conn}
	defer func() {
		if refused := guarded.refused(); refused != nil && err != nil {
			err = fmt.Errorf("talk with %s: %w", h.target.address, refused)
		}
	}()
	s := &session{Libvirt: rpc.NewWithDialer(dialers.NewAlreadyConnected(guarded)), end: func() { conn.Close() }, timeout: h.cfg.Timeout}
	if err := s.limited(func() error { return s.ConnectToURI(rpc.ConnectURI(h.target.driver)) }); err != nil {
		return false, errors.Join(fmt.Errorf("open %s: %w", h.target.driver, advised(err)), conn.Close())
	}
	defer s.end() // Disconnect would wait for an answer
	place, err := h.place(s)
	if err != nil {
		return false, err
	}
	changed, err := h.subscribe(ctx, s)
	if err != nil {
		return false, err
	}
	for {
		if err := h.read(s, place); err != nil {
			return connected, err
		}
		connected = true
		resync := time.NewTimer(h.cfg.Resync)
		select {
		case <-changed:
			select {
			case <-time.After(settle):
			case <-ctx.Done():
			}
			select { // those that came meanwhile
			case <-changed:
			default:
			}
		case <-resync.C:
		case <-s.Disconnected():
			resync.Stop()
			return connected, errors.New("the host ended the connection")
		case <-ctx.Done():
			resync.Stop()
			return connected, ctx.Err()
		}
		resync.Stop()
	}
}

// place asks what the host is.
func (h *Host) place(s *session) (*placeOf, error) {
	p := &placeOf{host: h.cfg.Host, pool: h.cfg.Pool}
	var version uint64
	var name, capabilities string
	err := s.limited(func() (err error) {
		if name, err = s.ConnectGetHostname(); err != nil {
			return err
		}
		if version, err = s.ConnectGetLibVersion(); err != nil {
			return err
		}
		capabilities, err = s.ConnectGetCapabilities()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask what the host is: %w", err)
	}
	var x struct {
		UUID string `xml:"host>uuid"`
	}
	if len(capabilities) <= maxXML {
		_ = xml.Unmarshal([]byte(capabilities), &x) // without, the host is known by its name
	}
	p.hostUUID = strings.ToLower(x.UUID)
	if p.host == "" {
		p.host = name
	}
	h.set(func(st *Status) {
		st.Host, st.Version = name, fmt.Sprintf("%d.%d.%d", version/1e6, version/1000%1000, version%1000)
	})
	return p, nil
}

// kinds of events after which domains are read again. What a libvirt does not have is missed until the next resync.
var kinds = map[string]rpc.DomainEventID{
	"lifecycle": rpc.DomainEventIDLifecycle, "device added": rpc.DomainEventIDDeviceAdded, "device removed": rpc.DomainEventIDDeviceRemoved,
	"metadata": rpc.DomainEventIDMetadataChange, "MAC address": rpc.DomainEventIDNicMacChange, "guest agent": rpc.DomainEventIDAgentLifecycle,
}

// subscribe has libvirt tell of changes; the channel gets an element when there are some.
func (h *Host) subscribe(ctx context.Context, s *session) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	var lacks []string
	for name, kind := range kinds {
		var events <-chan any
		err := s.limited(func() (err error) { events, err = s.SubscribeEvents(ctx, kind, nil); return err })
		switch {
		case err != nil && kind == rpc.DomainEventIDLifecycle:
			return nil, fmt.Errorf("ask for events of domains: %w", err)
		case err != nil:
			lacks = append(lacks, fmt.Sprintf("no events (%s): %v", name, err))
			continue
		}
		go func() { // ends with the connection
			for range events {
				h.metrics.events.Inc()
				h.set(func(st *Status) { st.Events++ })
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}()
	}
	h.set(func(st *Status) { st.Problems = lacks })
	return changed, nil
}

// states of domains (virDomainState), as virsh writes them.
var states = map[rpc.DomainState]string{
	rpc.DomainNostate: "no state", rpc.DomainRunning: "running", rpc.DomainBlocked: "idle", rpc.DomainPaused: "paused", rpc.DomainShutdown: "in shutdown",
	rpc.DomainShutoff: "shut off", rpc.DomainCrashed: "crashed", rpc.DomainPmsuspended: "pmsuspended",
}

// read reads all domains into the estate.
func (h *Host) read(s *session, place *placeOf) error {
	now := h.deps.Now()
	var list []rpc.Domain
	if err := s.limited(func() (err error) { list, _, err = s.ConnectListAllDomains(1, 0); return err }); err != nil {
		return fmt.Errorf("list domains: %w", err)
	}
	if len(list) > maxDomains {
		return fmt.Errorf("list domains: found %d, of at most %d", len(list), maxDomains)
	}
	var domains []*seen
	skipped, vifs := 0, 0
	for _, d := range list {
		x, err := h.domain(s, d)
		switch {
		case err != nil && !s.IsConnected():
			return fmt.Errorf("read domain %q: %w", d.Name, err)
		case gone(err): // since it was listed
		case err != nil:
			skipped++
			h.log.Warn("domain is left out", "domain", d.Name, "err", err)
		default:
			domains = append(domains, x)
			vifs += len(x.Interfaces)
		}
	}
	h.deps.Estate.Set(h.source, place.model(domains), now)
	h.metrics.reads.Inc()
	h.metrics.connected.Set(1)
	first := false
	h.set(func(st *Status) {
		if first = st.State != StateConnected; first {
			st.State, st.Since = StateConnected, now
		}
		st.Error, st.Read, st.Domains, st.VIFs, st.Skipped = "", now, len(domains), vifs, skipped
	})
	if first {
		h.ever, h.told = true, false
		h.log.Info("libvirt is read", "domains", len(domains), "vifs", vifs)
		h.emit(netevent.LibvirtConnected, fmt.Sprintf("libvirt of host %s is read", h.cfg.Name))
	}
	return nil
}

// gone says whether an error is that a domain is not there.
func gone(err error) bool {
	var e rpc.Error
	return errors.As(err, &e) && e.Code == uint32(rpc.ErrNoDomain)
}

// domain reads one domain.
func (h *Host) domain(s *session, d rpc.Domain) (*seen, error) {
	x := &seen{addresses: map[string][]netip.Addr{}}
	var text string
	var state int32
	err := s.limited(func() (err error) {
		if text, err = s.DomainGetXMLDesc(d, 0); err != nil {
			return err
		}
		state, _, err = s.DomainGetState(d, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if x.domain, err = parse(text); err != nil {
		return nil, err
	}
	x.state = states[rpc.DomainState(state)]
	if !x.active() {
		return x, nil
	}
	// From leases, then the ARP table of the host. The guest agent is not asked: one that hangs would hold all.
	for _, from := range []rpc.DomainInterfaceAddressesSource{rpc.DomainInterfaceAddressesSrcLease, rpc.DomainInterfaceAddressesSrcArp} {
		var nics []rpc.DomainInterface
		if err := s.limited(func() (err error) { nics, err = s.DomainInterfaceAddresses(d, uint32(from), 0); return err }); err != nil {
			if !s.IsConnected() {
				return nil, err
			}
			continue // a driver that has none
		}
		for i := range nics {
			for _, a := range nics[i].Addrs {
				if ip, err := netip.ParseAddr(a.Addr); err == nil && !ip.IsUnspecified() && !ip.IsLoopback() && len(nics[i].Hwaddr) > 0 {
					mac := strings.ToLower(nics[i].Hwaddr[0])
					x.addresses[mac] = append(x.addresses[mac], ip.Unmap().WithZone(""))
				}
			}
		}
	}
	return x, nil
}

func (h *Host) set(change func(*Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
}
