package feed

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/atomicfile"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

const (
	contentType = "application/vnd.weir.feed+zstd"
	windowSize  = 1 << 20 // of the compression, octets

	silence     = 3 * beat        // after which the other end is taken for gone
	messageTime = 2 * time.Minute // that a message may take from its header to its end
	retryFirst  = 500 * time.Millisecond
	retryMax    = 30 * time.Second
	reportEvery = 30 * time.Second // at least; at once where an exporter is new
	reportPause = time.Second
	askTimeout  = 10 * time.Second
)

// Config is about following the estate of a policyd.
type Config struct {
	URL     string        `yaml:"url" doc:"Where policyd serves the estate feed, as https://policyd.example:6643; http:// to a loopback address only. Empty: the estate is known here."`
	CA      string        `yaml:"ca_file" doc:"File with the certificates (PEM) of which one signed policyd's: weir-ca.pem of weir ca."`
	Cert    string        `yaml:"cert_file" doc:"File with the certificate (PEM) that this collector shows to policyd."`
	Key     string        `yaml:"key_file" doc:"File with the key of that."`
	Name    string        `yaml:"server_name" doc:"Name in policyd's certificate."`
	Cache   string        `yaml:"cache_file" doc:"File that keeps the estate for a start while policyd is away."`
	Every   time.Duration `yaml:"cache_interval" doc:"How often the file is written at most, when the estate has changed."`
	MaxSize bytesize.Size `yaml:"max_size" doc:"Size of the estate that is taken at most, as text. 100 000 VIFs are some 40 MiB."`
}

// DefaultConfig follows nobody.
func DefaultConfig() Config {
	return Config{Name: "weir", Every: 30 * time.Second, MaxSize: 512 * bytesize.MiB}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || (u.Path != "" && u.Path != "/"):
			refuse("url", "found %q, want https://host:port or http://127.0.0.1:port", c.URL)
		case u.Scheme == "http" && !loopback(u.Hostname()):
			refuse("url", "found %q, want https:// unless the host is a loopback address: the feed says all of the estate, and is believed", c.URL)
		case u.Scheme == "https" && (c.CA == "" || c.Cert == "" || c.Key == ""):
			refuse("url", "found %q, want ca_file, cert_file and key_file with it: policyd and collector know each other by their certificates (weir ca)", c.URL)
		}
	}
	if c.Every < 100*time.Millisecond || c.Every > time.Hour {
		refuse("cache_interval", "found %s, want 100ms to 1h", c.Every)
	}
	if c.MaxSize < bytesize.MiB || c.MaxSize > 16*bytesize.GiB {
		refuse("max_size", "found %s, want 1MiB to 16GiB", c.MaxSize)
	}
	return errors.Join(errs...)
}

// loopback tells whether host names this machine to itself.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// FollowerDeps are what a Follower uses and does not own.
type FollowerDeps struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: none
	Estate  *estate.Holder        // gets the estate
	Live    *estate.Liveness      // is asked whom this collector hears, and told whom the others do
	TLS     *tls.Config           // for https
}

// Follower keeps the estate of a holder as a publisher has it. Status may be called from any goroutine.
type Follower struct {
	cfg    Config
	deps   FollowerDeps
	log    *slog.Logger
	client *http.Client
	at     *state // used by Load and follow alone, like live
	size   int64
	live   []netip.Addr
	stored []*record // of which the holder's estate was made; used by Load and follow alone

	keep  chan *kept    // capacity 1: the latest that is to be kept in the file
	fresh chan struct{} // capacity 1: another estate is used

	silence, messageTime, retryMax time.Duration

	mu     sync.Mutex
	status FollowerStatus // guarded by mu
}

// kept is what the file holds.
type kept struct {
	*state
	live []netip.Addr
}

// FollowerStatus is how a Follower does.
type FollowerStatus struct {
	URL       string    `json:"url"`
	Following bool      `json:"following"`
	Since     time.Time `json:"since" doc:"Since when that is so."`
	Heard     time.Time `json:"heard,omitzero" doc:"When something came last; absent if nothing ever did."`
	Revision  uint64    `json:"revision" doc:"Of the estate that is used: ms since 1970 when it became so; 0 if there is none."`
	Records   int       `json:"records" doc:"Entities in it, VIFs not counted."`
	Rules     int       `json:"rules" doc:"Rule instances in it."`
	Others    int       `json:"others" doc:"Exporters that are live as all collectors hear them."`
	Problem   string    `json:"problem,omitempty" doc:"Why the feed is not followed."`

	Failures      uint64 `json:"failures"`
	Snapshots     uint64 `json:"snapshots"`
	Deltas        uint64 `json:"deltas"`
	CacheFailures uint64 `json:"cache_failures"`

	sum string // of the state that is used
}

// NewFollower checks and wires; it connects to nothing.
func NewFollower(cfg Config, d FollowerDeps) (*Follower, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure estate feed: %w", err)
	}
	if cfg.URL == "" || cfg.Cache == "" || d.Log == nil || d.Estate == nil || d.Live == nil {
		return nil, errors.New("configure estate feed: something is missing: want URL, cache file, Log, Estate and Live")
	}
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: askTimeout}).DialContext,
		TLSClientConfig:        d.TLS,
		TLSHandshakeTimeout:    askTimeout,
		ResponseHeaderTimeout:  askTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		IdleConnTimeout:        time.Minute,
		MaxConnsPerHost:        4,
	}
	f := &Follower{
		cfg: cfg, deps: d, log: d.Log.With("part", "feed"), at: &state{}, keep: make(chan *kept, 1), fresh: make(chan struct{}, 1), silence: silence, messageTime: messageTime, retryMax: retryMax,
		// A redirect would lead to where nobody has checked who answers.
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		status: FollowerStatus{URL: cfg.URL, Since: time.Now()},
	}
	if d.Metrics != nil {
		if err := d.Metrics.Register(followerMetrics{f}); err != nil {
			return nil, fmt.Errorf("register metrics of the feed: %w", err)
		}
	}
	return f, nil
}

// Status returns how it does.
func (f *Follower) Status() FollowerStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *Follower) update(change func(*FollowerStatus)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

// Load puts into the holder what the file has, if there is one. A file that makes no sense is logged, and of no use. It is
// called once, before Run.
func (f *Follower) Load() {
	start := time.Now()
	in, err := os.Open(f.cfg.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer in.Close()
		err = f.load(in)
	}
	if err != nil {
		f.log.Error("the kept estate cannot be used; waiting for policyd's", "file", f.cfg.Cache, "err", err)
		return
	}
	f.log.Info("estate as it was kept", "revision", f.at.revision, "records", len(f.at.records), "duration", time.Since(start))
}

func (f *Follower) load(in io.Reader) error {
	z, err := newDecompressor(in)
	if err != nil {
		return err
	}
	defer z.Close()
	r := newReader(z, int64(f.cfg.MaxSize))
	if _, err := r.next(func() {}); err != nil {
		return err
	}
	return f.take(r)
}

func newDecompressor(in io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowSize), zstd.WithDecoderMaxMemory(64<<20))
}

// take puts the state of r into the holder.
func (f *Follower) take(r *reader) error {
	f.live = r.live
	f.deps.Live.Others(r.live)
	if r.state.sum != f.at.sum {
		if err := f.store(r.state.records); err != nil {
			return fmt.Errorf("compile revision %d: %w", r.state.revision, err)
		}
	}
	f.at, f.size = r.state, r.size
	f.update(func(s *FollowerStatus) {
		if s.sum != f.at.sum {
			select {
			case f.fresh <- struct{}{}:
			default: // it will look
			}
		}
		s.Revision, s.Records, s.Rules, s.Others = f.at.revision, f.at.entities, f.at.rules, len(f.live)
		s.sum = f.at.sum
	})
	return nil
}

// store puts the estate that records make into the holder. Where only rules differ, the rest is not compiled again.
func (f *Follower) store(records []*record) error {
	if f.stored != nil && sameAround(f.stored, records) {
		f.deps.Estate.Store(f.deps.Estate.Load().WithRules(rulesOf(records)))
	} else {
		snapshot, err := estate.Compile(model(records))
		if err != nil {
			return err
		}
		f.deps.Estate.Store(snapshot)
	}
	f.stored = records
	return nil
}

// Run follows until ctx is done, and returns nil. What fails is tried again.
func (f *Follower) Run(ctx context.Context) error {
	var g errgroup.Group
	following, ended := context.WithCancel(context.WithoutCancel(ctx)) // what comes last is kept, too
	g.Go(func() error { return f.keepFile(following) })
	g.Go(func() error { return f.report(ctx) })
	pause := min(retryFirst, f.retryMax)
	for ctx.Err() == nil {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		f.alone()
		told := f.Status().Problem
		f.update(func(s *FollowerStatus) {
			if s.Following {
				s.Following, s.Since = false, time.Now()
			}
			s.Problem = err.Error()
			s.Failures++
		})
		if told != err.Error() {
			f.log.Warn("estate feed is not followed; the estate stays as it is until then", "err", err, "revision", f.at.revision)
		}
		if time.Since(began) > f.retryMax {
			pause = min(retryFirst, f.retryMax)
		}
		if errors.Is(err, errGap) {
			f.at = &state{} // all of it, please
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1)) // so that many collectors do not come back in step
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, f.retryMax)
	}
	ended()
	return g.Wait()
}

// alone is called when nobody tells any more which exporters are live. Those that only others hear stay live; of those that are heard
// here one knows better.
func (f *Follower) alone() {
	heard := f.deps.Live.Heard(time.Now().UnixMilli())
	f.deps.Live.Others(slices.DeleteFunc(slices.Clone(f.live), func(a netip.Addr) bool { _, here := heard[a]; return here }))
}

// follow follows one stream until it ends, which is an error.
func (f *Follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.silence, func() { cancel(fmt.Errorf("nothing came for %s", f.silence)) })
	defer watch.Stop()
	resp, err := f.ask(ctx, http.MethodGet, PathEstate+"?state="+f.at.sum, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if t := resp.Header.Get("Content-Type"); t != contentType {
		return fmt.Errorf("follow %s: found content type %q, want %q: something else answers there", f.cfg.URL, t, contentType)
	}
	z, err := newDecompressor(resp.Body)
	if err != nil {
		return err
	}
	defer z.Close()
	r := newReader(z, int64(f.cfg.MaxSize))
	r.state, r.size, r.live = f.at, f.size, f.live
	var late *time.Timer
	for first := true; ; first = false {
		from := r.state
		changed, err := r.next(func() {
			watch.Stop()
			late = time.AfterFunc(f.messageTime, func() { cancel(fmt.Errorf("a message took longer than %s", f.messageTime)) })
		})
		if late != nil {
			late.Stop()
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("follow %s: %w", f.cfg.URL, err)
		}
		watch.Reset(f.silence)
		if err := f.take(r); err != nil {
			return fmt.Errorf("follow %s: %w", f.cfg.URL, err)
		}
		now := time.Now()
		f.update(func(s *FollowerStatus) {
			if first {
				s.Following, s.Since, s.Problem = true, now, ""
			}
			s.Heard = now
			switch {
			case changed && from.revision == 0:
				s.Snapshots++
			case changed:
				s.Deltas++
			}
		})
		if first {
			f.log.Info("estate feed is followed", "url", f.cfg.URL, "revision", f.at.revision, "records", len(f.at.records))
		}
		if f.at.revision != 0 {
			select {
			case <-f.keep: // the one before is of no interest any more
			default:
			}
			f.keep <- &kept{f.at, f.live}
		}
	}
}

// ask sends a request, and returns an answer of status 2xx, whose body the caller closes.
func (f *Follower) ask(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	base, _ := url.Parse(f.cfg.URL) // Validate did
	req, err := http.NewRequestWithContext(ctx, method, base.Scheme+"://"+base.Host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the address is said below
		}
		return nil, fmt.Errorf("ask %s: %w", f.cfg.URL, err)
	}
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("ask %s: status %d: %q", f.cfg.URL, resp.StatusCode, bytes.TrimSpace(text))
	}
	return resp, nil
}

// report tells whom this collector hears, now and then, and at once when there is somebody new or another estate.
func (f *Follower) report(ctx context.Context) error {
	tick := time.NewTicker(reportPause)
	defer tick.Stop()
	var told map[netip.Addr]int64
	var sum string
	var at time.Time
	for {
		now := time.Now()
		heard := f.deps.Live.Heard(now.UnixMilli())
		s := f.Status()
		same := maps.EqualFunc(heard, told, func(int64, int64) bool { return true }) // the same exporters
		if s.Following && (!same || s.sum != sum || now.Sub(at) >= reportEvery) {
			if err := f.tell(ctx, heard, &s, now); err == nil {
				told, sum, at = heard, s.sum, now
			} else if ctx.Err() == nil {
				f.log.Debug("report not taken, tried again", "err", err)
			}
		}
		if !s.Following {
			told = nil // whoever answers next knows nothing
		}
		select {
		case <-tick.C:
		case <-f.fresh: // policyd may wait for it
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *Follower) tell(ctx context.Context, heard map[netip.Addr]int64, s *FollowerStatus, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r := report{s.Revision, s.sum, make(map[netip.Addr]int64, len(heard))}
	for exporter, last := range heard {
		r.Heard[exporter] = max(0, now.UnixMilli()-last)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	resp, err := f.ask(ctx, http.MethodPost, PathReport, body)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// keepFile writes the file when there is something new, not more often than Config.Every, and at the end.
func (f *Follower) keepFile(ctx context.Context) error {
	var written kept
	write := func(k *kept) {
		if written.state != nil && k.sum == written.sum && slices.Equal(k.live, written.live) {
			return
		}
		if err := f.writeFile(k); err != nil {
			f.update(func(s *FollowerStatus) { s.CacheFailures++ })
			f.log.Warn("estate is not kept for a start without policyd", "err", err)
			return
		}
		written = *k
	}
	for {
		select {
		case k := <-f.keep:
			write(k)
		case <-ctx.Done():
			select {
			case k := <-f.keep:
				write(k)
			default:
			}
			return nil
		}
		timer := time.NewTimer(f.cfg.Every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (f *Follower) writeFile(k *kept) error {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowSize))
	if err != nil {
		return err
	}
	h := &header{Revision: k.revision, Sum: k.sum, Live: &k.live}
	h.Ops, _ = delta(&state{}, k.state)
	if err := errors.Join(write(z, h, k.records), z.Close()); err != nil {
		return err
	}
	return atomicfile.Write(f.cfg.Cache, b.Bytes())
}
