package feed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
)

// Where a Publisher is found.
const (
	PathEstate = "/feed/v1/estate" // GET, with the parameter state: sum of the state that the asker has, may be empty
	PathReport = "/feed/v1/report" // POST, a report as JSON
)

const (
	beat         = 10 * time.Second // between messages, at most
	writeTimeout = 2 * time.Minute  // of one message: longer than a large estate takes over a slow line
	keptStates   = 16               // from which the way to the present one is known
	maxStreams   = 64               // at a time
	maxCollector = 256              // that are remembered
	maxReport    = 4 << 20          // octets
	lookForLive  = time.Second      // between looks at who is live
)

// PublisherDeps are what a Publisher uses and does not own.
type PublisherDeps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Estate  *estate.Holder        // tells when there is something new
	Model   func() *estate.Model  // what is in the holder
	Live    *estate.Liveness      // is told whom collectors hear, and knows who is live as all of them hear it
	Pause   time.Duration         // between two states, at least; 0 is a second
	Ready   <-chan struct{}       // closed when the estate is worth telling: before, collectors keep what they have. nil: at once

	// Collector returns the name of the collector that asks, or why it gets nothing. nil: everybody gets it, and is known by
	// the address.
	Collector func(*http.Request) (string, error)
}

// Publisher is where collectors get the estate. It is a handler; that and the methods may be called from any goroutine.
type Publisher struct {
	deps PublisherDeps
	log  *slog.Logger
	mux  *http.ServeMux

	publishing sync.Mutex // held while a state is made
	encoded    *encoded   // of the latest; guarded by publishing

	mu         sync.Mutex    // guards all below
	states     []*state      // the latest last; empty until Run looked at the estate
	live       []netip.Addr  // ascending
	changed    chan struct{} // closed, and replaced, when states or live change
	heard      chan struct{} // closed, and replaced, when a collector reports or goes, or there is a state
	streams    int
	collectors map[string]*collector
	sent       sentStats
}

// sentStats counts what went to collectors.
type sentStats struct{ snapshots, deltas, octets, refused uint64 }

// CollectorStatus is how a collector does, as the publisher knows it.
type CollectorStatus struct {
	Name      string    `json:"name" doc:"That of its certificate, or its address."`
	Address   string    `json:"address" doc:"From which it asked last."`
	Following int       `json:"following" doc:"Streams that it has open."`
	Since     time.Time `json:"since" doc:"When it began to follow, or stopped."`
	Revision  uint64    `json:"revision" doc:"Of the estate that it uses, as it reported last."`
	Reported  time.Time `json:"reported,omitzero" doc:"When that was; absent if never."`
	Exporters int       `json:"exporters" doc:"Live exporters that it hears."`
}

// collector is what the publisher knows of one.
type collector struct {
	CollectorStatus
	sum string // of the state that it uses, as it reported last
}

// PublisherStatus is how a Publisher does.
type PublisherStatus struct {
	Revision   uint64            `json:"revision" doc:"Of the estate now: ms since 1970 when it became so; 0 if there is none to tell yet."`
	Records    int               `json:"records" doc:"Entities in it, VIFs not counted."`
	Rules      int               `json:"rules" doc:"Rule instances in it."`
	Live       int               `json:"live" doc:"Exporters that are live, as all collectors hear them."`
	Collectors []CollectorStatus `json:"collectors" doc:"By name."`
}

// NewPublisher wires; it publishes nothing until Run runs.
func NewPublisher(d PublisherDeps) (*Publisher, error) {
	if d.Log == nil || d.Estate == nil || d.Model == nil || d.Live == nil {
		return nil, errors.New("make feed: a dependency is missing: want Log, Estate, Model and Live")
	}
	if d.Pause == 0 {
		d.Pause = time.Second
	}
	p := &Publisher{
		deps: d, log: d.Log.With("part", "feed"), mux: http.NewServeMux(), changed: make(chan struct{}), heard: make(chan struct{}), encoded: &encoded{}, collectors: map[string]*collector{},
	}
	p.mux.HandleFunc("GET "+PathEstate, p.stream)
	p.mux.HandleFunc("POST "+PathReport, p.report)
	if d.Metrics != nil {
		if err := d.Metrics.Register(publisherMetrics{p}); err != nil {
			return nil, fmt.Errorf("register metrics of the feed: %w", err)
		}
	}
	return p, nil
}

// ServeHTTP answers collectors.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// Status returns the counters.
func (p *Publisher) Status() PublisherStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PublisherStatus{Live: len(p.live), Collectors: []CollectorStatus{}}
	if n := len(p.states); n > 0 {
		s.Revision, s.Records, s.Rules = p.states[n-1].revision, p.states[n-1].entities, p.states[n-1].rules
	}
	for _, name := range slices.Sorted(maps.Keys(p.collectors)) {
		s.Collectors = append(s.Collectors, p.collectors[name].CollectorStatus)
	}
	return s
}

// Run publishes the estate as it is, and whenever it changes, until ctx is done; then streams end. It returns nil.
func (p *Publisher) Run(ctx context.Context) error {
	changes, cancel := p.deps.Estate.Subscribe()
	defer cancel()
	pause := time.NewTicker(p.deps.Pause)
	defer pause.Stop()
	look := time.NewTicker(lookForLive)
	defer look.Stop()
	for {
		if err := p.publish(); err != nil {
			p.log.Error("estate is not told to collectors", "err", err)
		}
		p.lookForLive()
		for again := false; !again; {
			select {
			case <-changes:
				select {
				case <-pause.C: // what comes in the same moment goes in one message
					again = true
				case <-ctx.Done():
					return nil
				}
			case <-look.C:
				again = true
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// publish makes the estate as it is now the present state, if it is worth telling.
func (p *Publisher) publish() error {
	if !p.ready() {
		return nil
	}
	p.publishing.Lock()
	defer p.publishing.Unlock()
	m := p.deps.Model()
	if m == p.encoded.model {
		return nil
	}
	next, err := p.encoded.next(m)
	if err != nil {
		return err
	}
	s := newState(uint64(time.Now().UnixMilli()), next.records())
	p.encoded = next
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.states); n > 0 {
		if p.states[n-1].sum == s.sum {
			return nil
		}
		s.revision = max(s.revision, p.states[n-1].revision+1)
	}
	if p.states = append(p.states, s); len(p.states) > keptStates {
		p.states = slices.Delete(p.states, 0, 1)
	}
	p.wake()
	p.hear()
	return nil
}

// ready tells whether the estate is worth telling.
func (p *Publisher) ready() bool {
	if p.deps.Ready == nil {
		return true
	}
	select {
	case <-p.deps.Ready:
		return true
	default:
		return false
	}
}

// Wait publishes the estate as the holder has it now, at once, and returns when all collectors that follow use it or a later one;
// nobody has to follow. If ctx is done before, it returns the names of those that do not, and why it ended; no names if the estate is
// not worth telling yet. A collector that follows no more is not waited for: it uses what it has.
func (p *Publisher) Wait(ctx context.Context) (without []string, err error) {
	if !p.ready() {
		select {
		case <-p.deps.Ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := p.publish(); err != nil {
		return nil, fmt.Errorf("publish the estate: %w", err)
	}
	p.mu.Lock()
	revision := p.states[len(p.states)-1].revision
	p.mu.Unlock()
	// By the hash: a revision is a time, and the clock that a former policyd went by may have been ahead.
	uses := func(sum string) bool {
		return slices.ContainsFunc(p.states, func(s *state) bool { return s.sum == sum && s.revision >= revision })
	}
	for {
		p.mu.Lock()
		heard := p.heard
		without = nil
		for name, c := range p.collectors {
			if c.Following > 0 && !uses(c.sum) {
				without = append(without, name)
			}
		}
		p.mu.Unlock()
		if len(without) == 0 {
			return nil, nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			slices.Sort(without)
			return without, ctx.Err()
		}
	}
}

// hear tells those that wait to look again; p.mu is held.
func (p *Publisher) hear() {
	close(p.heard)
	p.heard = make(chan struct{})
}

// wake tells the streams that something changed; p.mu is held.
func (p *Publisher) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Publisher) lookForLive() {
	live := slices.SortedFunc(maps.Keys(p.deps.Live.Heard(time.Now().UnixMilli())), netip.Addr.Compare)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == nil || !slices.Equal(live, p.live) {
		p.live = live
		p.wake()
	}
}

// asker returns who asks, or answers that it gets nothing.
func (p *Publisher) asker(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	name, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		name = r.RemoteAddr
	}
	if p.deps.Collector != nil {
		if name, err = p.deps.Collector(r); err != nil {
			p.mu.Lock()
			p.sent.refused++
			p.mu.Unlock()
			p.log.Warn("feed refused", "address", r.RemoteAddr, "err", err)
			http.Error(w, err.Error(), http.StatusForbidden)
			return "", false
		}
	}
	return name, true
}

// collector returns the status of a collector, p.mu held. Of many the one that was seen least recently makes room.
func (p *Publisher) collector(name, address string) *collector {
	c, ok := p.collectors[name]
	if !ok {
		if len(p.collectors) >= maxCollector {
			oldest := slices.MinFunc(slices.Collect(maps.Values(p.collectors)), func(a, b *collector) int {
				return cmp.Or(cmp.Compare(a.Following, b.Following), a.Reported.Compare(b.Reported))
			})
			delete(p.collectors, oldest.Name)
		}
		c = &collector{CollectorStatus: CollectorStatus{Name: name}}
		p.collectors[name] = c
	}
	c.Address = address
	return c
}

// follow counts a stream of a collector in or out. It returns false if there are too many.
func (p *Publisher) follow(name, address string, by int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.streams+by > maxStreams {
		return false
	}
	p.streams += by
	c := p.collector(name, address)
	c.Following += by
	c.Since = time.Now()
	p.hear()
	return true
}

// stream answers with messages until the asker goes.
func (p *Publisher) stream(w http.ResponseWriter, r *http.Request) {
	name, ok := p.asker(w, r)
	if !ok {
		return
	}
	if !p.follow(name, r.RemoteAddr, 1) {
		http.Error(w, fmt.Sprintf("%d collectors follow the feed, as many as can", maxStreams), http.StatusServiceUnavailable)
		return
	}
	p.log.Info("collector follows the estate", "collector", name, "address", r.RemoteAddr)
	err := p.serve(r.Context(), w, r.URL.Query().Get("state"))
	p.follow(name, r.RemoteAddr, -1)
	p.log.Info("collector no longer follows the estate", "collector", name, "address", r.RemoteAddr, "err", err)
}

// counter counts what is written through it.
type counter struct {
	http.ResponseWriter
	n uint64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += uint64(n)
	return n, err
}

func (p *Publisher) serve(ctx context.Context, w http.ResponseWriter, has string) error {
	out := &counter{ResponseWriter: w}
	control := http.NewResponseController(w)
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowSize))
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }() // frees; what was not flushed the asker does without
	// The request is read; a time limit of the server's on that would end the stream.
	if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	var at, stated *state // that the asker has, and that it was told
	var told []netip.Addr
	for first := true; ; first = false {
		p.mu.Lock()
		changed, live := p.changed, p.live
		var to *state
		if n := len(p.states); n > 0 {
			to = p.states[n-1]
			if i := slices.IndexFunc(p.states, func(s *state) bool { return s.sum == has }); at == nil && i >= 0 {
				at = p.states[i]
			}
		}
		p.mu.Unlock()
		h := &header{}
		var records []*record
		if first || !slices.Equal(live, told) {
			list := live
			if list == nil {
				list = []netip.Addr{}
			}
			h.Live, told = &list, live
		}
		if to != nil && to != stated {
			from := at
			if from == nil {
				from = &state{}
			}
			h.Revision, h.Sum, h.From = to.revision, to.sum, from.sum
			h.Ops, records = delta(from, to)
			at, stated = to, to
		}
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		before := out.n
		if err := write(z, h, records); err != nil {
			return err
		}
		if err := z.Flush(); err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
		p.mu.Lock()
		p.sent.octets += out.n - before
		switch {
		case h.Revision == 0:
		case h.From == "":
			p.sent.snapshots++
		default:
			p.sent.deltas++
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// report is what a collector says of itself.
type report struct {
	Revision uint64               `json:"revision"` // of the estate that it uses
	Sum      string               `json:"sum"`      // of that state
	Heard    map[netip.Addr]int64 `json:"heard"`    // live exporters that it hears, and how long ago it did, in ms
}

// report takes what a collector hears.
func (p *Publisher) report(w http.ResponseWriter, r *http.Request) {
	name, ok := p.asker(w, r)
	if !ok {
		return
	}
	var said report
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport)).Decode(&said); err != nil {
		http.Error(w, "read report: "+err.Error(), http.StatusBadRequest)
		return
	}
	if len(said.Heard) > maxLive {
		http.Error(w, fmt.Sprintf("read report: found %d exporters, want at most %d", len(said.Heard), maxLive), http.StatusBadRequest)
		return
	}
	now := time.Now()
	for exporter, ago := range said.Heard {
		if exporter.IsValid() {
			p.deps.Live.Seen(exporter.Unmap(), now.UnixMilli()-max(0, ago))
		}
	}
	p.mu.Lock()
	c := p.collector(name, r.RemoteAddr)
	c.Revision, c.sum, c.Reported, c.Exporters = said.Revision, said.Sum, now, len(said.Heard)
	p.hear()
	p.mu.Unlock()
	p.lookForLive() // at once: until the others know a new exporter, they may count its flows twice
	w.WriteHeader(http.StatusNoContent)
}
