package template

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirhq/weir/collector/loss"
	"github.com/weirhq/weir/flow"
)

// Store remembers the observation domains of all exporters. See the package comment. It is safe for concurrent use.
type Store struct {
	cfg     Config
	ledger  *loss.Ledger
	used    atomic.Int64 // bytes charged by domains
	dropped [reasons]atomic.Uint64
	stale   atomic.Uint64

	versions atomic.Uint64 // the last one that was given to a domain

	mu        sync.Mutex // guards what follows
	domains   map[Key]*Domain
	exporters map[netip.Addr]int // number of domains
	gone      Counts             // of the domains that were forgotten
}

// New returns an empty store. cfg must be valid.
func New(cfg Config) *Store {
	return &Store{cfg: cfg, ledger: loss.NewLedger(), domains: map[Key]*Domain{}, exporters: map[netip.Addr]int{}}
}

// Config returns what the store was made with.
func (s *Store) Config() Config { return s.cfg }

// Ledger follows the messages of all domains.
func (s *Store) Ledger() *loss.Ledger { return s.ledger }

const domainCost = 2048 // what an empty domain is taken to occupy

// Domain returns the domain of key, which is made if it is new, as of now (ms). On a reason other than None there is
// no domain, and the drop is counted. Decoders keep what they got until it is Closed.
func (s *Store) Domain(key Key, now int64) (*Domain, Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.domains[key]; d != nil {
		return d, None
	}
	n := s.exporters[key.Exporter]
	why := None
	switch {
	case n == 0 && len(s.exporters) >= s.cfg.MaxExporters:
		why = TooManyExporters
	case n >= s.cfg.MaxDomains:
		why = TooManyDomains
	case s.used.Load()+domainCost > int64(s.cfg.MaxMemory):
		why = OutOfMemory
	}
	if why != None {
		s.Drop(why)
		return nil, why
	}
	d := &Domain{Key: key, store: s, first: now, memory: domainCost, Loss: s.ledger.Domain(key.Exporter, key.Protocol, key.Domain)}
	s.used.Add(domainCost)
	d.seen.Store(now)
	d.templates.Store(&[]*Template{})
	d.sampling.Store(&Sampling{})
	d.others.Store(&Sampling{})
	d.told.Store(n > 0) // the other domains of the exporter may have told
	s.domains[key] = d
	s.exporters[key.Exporter] = n + 1
	return d, None
}

// Drop counts a datagram that was dropped before its domain was known.
func (s *Store) Drop(r Reason) { s.dropped[r].Add(1) }

// Dropped returns the datagrams dropped before their domain was known, by reason.
func (s *Store) Dropped() map[string]uint64 { return readDrops(&s.dropped) }

// Version changes whenever a domain's does, and when a domain is forgotten.
func (s *Store) Version() uint64 { return s.versions.Load() }

// Stale returns the templates that were restored and did not fit the first data.
func (s *Store) Stale() uint64 { return s.stale.Load() }

// Memory returns the bytes charged to Config.MaxMemory.
func (s *Store) Memory() int64 { return s.used.Load() }

// Expire forgets, as of now (ms): domains that were silent and templates that were not sent for Config.Timeout, and
// held data older than Config.HeldAge. It also finds what the domains of each exporter agree on. Call it every few
// seconds.
func (s *Store) Expire(now int64) {
	oldest := now - s.cfg.Timeout.Milliseconds()
	list := s.list()
	for first, next := 0, 0; first < len(list); first = next {
		for next = first; next < len(list) && sameExporter(list[first].Key, list[next].Key); next++ {
		}
		agree(list[first:next])
	}
	for _, d := range list {
		if d.seen.Load() < oldest {
			s.forget(d)
		} else {
			d.expire(oldest, now-s.cfg.HeldAge.Milliseconds())
		}
	}
}

func sameExporter(a, b Key) bool { return a.Exporter == b.Exporter && a.Protocol == b.Protocol }

// agree lets the domains of one exporter know what they all say, if one of them has said anything new.
func agree(domains []*Domain) {
	news := false
	for _, d := range domains {
		news = d.told.Swap(false) || news
	}
	if !news || len(domains) == 1 {
		return
	}
	all := agreement(domains)
	for _, d := range domains {
		d.others.Store(all)
	}
}

func (s *Store) forget(d *Domain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.domains, d.Key)
	if s.exporters[d.Key.Exporter]--; s.exporters[d.Key.Exporter] <= 0 {
		delete(s.exporters, d.Key.Exporter)
	}
	s.ledger.Forget(d.Loss)
	c, held := d.close()
	c.Expired += uint64(held) // what still waited goes with it
	s.gone.add(&c)
	s.versions.Add(1)
}

// Totals is what all domains sent, those that were forgotten too.
func (s *Store) Totals() (total Counts, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	total = s.gone
	total.Dropped = maps.Clone(total.Dropped)
	for _, d := range s.domains {
		c, held := d.counts()
		total.add(&c)
		waiting += held
	}
	return total, waiting
}

func (s *Store) list() []*Domain {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.domains), func(a, b *Domain) int {
		return cmp.Or(a.Key.Exporter.Compare(b.Key.Exporter), cmp.Compare(a.Key.Protocol, b.Key.Protocol),
			cmp.Compare(a.Key.Domain, b.Key.Domain))
	})
}

// Info describes a domain at one moment, for listings.
type Info struct {
	Exporter     netip.Addr             `json:"exporter"`
	Protocol     uint8                  `json:"protocol"`
	Domain       uint32                 `json:"observation_domain"`
	FirstSeen    int64                  `json:"first_seen_ms"`
	LastSeen     int64                  `json:"last_seen_ms"`
	Counts       Counts                 `json:"counts"`
	Rows         flow.Tallied           `json:"rows"`
	Loss         loss.State             `json:"sequence"`
	HeldNow      int                    `json:"held_now"`
	Memory       int64                  `json:"memory_bytes"`
	Templates    []Layout               `json:"templates,omitempty"`
	SamplingRate uint32                 `json:"sampling_rate,omitempty"` // of the domain; 0 = not said
	Samplers     map[uint64]uint32      `json:"samplers,omitempty"`
	PerInterface map[uint64]uint32      `json:"sampling_per_interface,omitempty"`
	Interfaces   map[uint32]Interface   `json:"interfaces,omitempty"`
	Applications map[uint64]Application `json:"applications,omitempty"`
	VRFs         map[uint32]string      `json:"vrfs,omitempty"`
}

// Layout describes a template, for listings.
type Layout struct {
	ID      uint16 `json:"id"`
	Options bool   `json:"options,omitempty"`
	Fields  int    `json:"fields"`
	Length  int    `json:"length"` // of a record; the least if it varies
	Varies  bool   `json:"varies,omitempty"`
	Seen    int64  `json:"seen_ms"`
	// Restored is set while the template is known from before a restart only.
	Restored bool `json:"restored,omitempty"`
}

// Domains describes all domains, sorted by exporter, protocol and domain.
func (s *Store) Domains() []Info {
	list := s.list()
	infos := make([]Info, len(list))
	for i, d := range list {
		infos[i] = d.info()
	}
	return infos
}

func (d *Domain) info() Info {
	sampling := d.Sampling()
	i := Info{
		Exporter:     d.Key.Exporter,
		Protocol:     d.Key.Protocol,
		Domain:       d.Key.Domain,
		FirstSeen:    d.first,
		LastSeen:     d.seen.Load(),
		Rows:         d.Tally.Read(), // before the counters: what was sealed was decoded
		Loss:         d.store.ledger.State(d.Loss),
		SamplingRate: sampling.Domain(),
		Samplers:     rateMap(sampling.samplers),
		PerInterface: rateMap(sampling.interfaces),
	}
	for _, t := range d.Templates() {
		i.Templates = append(i.Templates, Layout{
			ID: t.ID, Options: t.Options, Fields: len(t.Fields), Length: t.MinLength, Varies: t.VariableLength,
			Seen: t.seen.Load(), Restored: t.Restored(),
		})
	}
	i.Counts, i.HeldNow = d.counts()
	d.mu.Lock()
	defer d.mu.Unlock()
	i.Memory = d.memory
	i.Interfaces, i.Applications, i.VRFs = maps.Clone(d.interfaces), maps.Clone(d.applications), maps.Clone(d.vrfs)
	return i
}

// counts returns the counters, and the number of sets that are held, at one moment.
func (d *Domain) counts() (Counts, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Count.Read(), len(d.held)
}

func rateMap(list []rateOf) map[uint64]uint32 {
	if len(list) == 0 {
		return nil
	}
	m := make(map[uint64]uint32, len(list))
	for _, r := range list {
		m[r.id] = r.rate
	}
	return m
}
