package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/feed"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
)

var discard = slog.New(slog.DiscardHandler)

// policyd is a publisher behind HTTP, and the estate that it publishes.
type policyd struct {
	*feed.Publisher
	assembler *estate.Assembler
	live      *estate.Liveness
	url       string
	stop      func()
}

func startPolicyd(t testing.TB, change func(*feed.PublisherDeps)) *policyd {
	t.Helper()
	holder := estate.NewHolder()
	p := &policyd{assembler: estate.NewAssembler(estate.AssemblerDeps{Estate: holder}), live: estate.NewLiveness(time.Minute)}
	d := feed.PublisherDeps{Log: discard, Estate: holder, Model: p.assembler.Model, Live: p.live, Pause: 10 * time.Millisecond}
	if change != nil {
		change(&d)
	}
	var err error
	if p.Publisher, err = feed.NewPublisher(d); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(p.Publisher)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	p.url = srv.URL
	p.stop = sync.OnceFunc(func() {
		cancel()
		srv.CloseClientConnections()
		srv.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

// collector is a follower, and the estate that it has.
type collector struct {
	*feed.Follower
	holder *estate.Holder
	live   *estate.Liveness
	stop   func()
}

func config(url, cache string) feed.Config {
	cfg := feed.DefaultConfig()
	cfg.URL, cfg.Cache, cfg.Every = url, cache, 100*time.Millisecond
	return cfg
}

func startCollector(t testing.TB, cfg feed.Config, change func(*feed.Follower)) *collector {
	t.Helper()
	c := &collector{holder: estate.NewHolder(), live: estate.NewLiveness(time.Minute)}
	var err error
	if c.Follower, err = feed.NewFollower(cfg, feed.FollowerDeps{Log: discard, Estate: c.holder, Live: c.live}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(c.Follower)
	}
	c.Load()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for err := check(); err != nil; err = check() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
		<-tick.C
	}
}

// has waits until the collector has the estate of the policyd.
func (c *collector) has(t testing.TB, p *policyd) {
	t.Helper()
	eventually(t, "the collector has the estate", func() error {
		want, err := estate.Compile(p.assembler.Model())
		if err != nil {
			return err
		}
		if got := c.holder.Load().Entities(); !cmp.Equal(got, want.Entities()) {
			return fmt.Errorf("%d entities, want %d; %+v", len(got), len(want.Entities()), c.Status())
		}
		return nil
	})
}

// source is what an estate file would say: n VMs.
func source(n int, rename map[int]string) *estate.Model {
	m := &estate.Model{Networks: []estate.Network{{Name: "prod"}}, Hosts: []estate.Host{{Name: "xcp1", Exporters: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
	for i := range n {
		name := fmt.Sprintf("vm-%d", i)
		if rename[i] != "" {
			name = rename[i]
		}
		m.VMs = append(m.VMs, estate.VM{
			Name: name, UUID: fmt.Sprintf("3f1c5a9e-8d7b-4c06-9a53-%012x", i), Host: "xcp1",
			VIFs: []estate.VIF{{Device: "0", Network: "prod", MAC: estate.MAC(0x020000000000 + i), IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}}},
		})
	}
	return m
}

// A collector has what policyd has, gets of a change what changed, takes a broken stream up where it was, starts from its file while
// policyd is away, and asks for all of it where policyd does not know its state.
func TestFollow(t *testing.T) {
	p := startPolicyd(t, nil)
	p.assembler.Set(estate.FileSource, source(500, nil), time.Now())
	cache := filepath.Join(t.TempDir(), "estate.cache")
	c := startCollector(t, config(p.url, cache), nil)
	c.has(t, p)
	var before feed.FollowerStatus
	eventually(t, "it says that it has the estate", func() error { // a moment after it has
		if before = c.Status(); before.Snapshots+before.Deltas == 0 || !before.Following || before.Problem != "" || before.Records != 502 || before.Revision != p.Status().Revision {
			return fmt.Errorf("status %+v", before)
		}
		return nil
	})
	p.assembler.Set(estate.FileSource, source(500, map[int]string{77: "renamed"}), time.Now())
	c.has(t, p)
	eventually(t, "it says that the rename came", func() error {
		if s := c.Status(); s.Deltas <= before.Deltas {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	if s := c.Status(); s.Snapshots != before.Snapshots {
		t.Errorf("a rename came with %d whole estates", s.Snapshots-before.Snapshots)
	}
	eventually(t, "the collector reports the revision that it uses", func() error {
		s := p.Status()
		if len(s.Collectors) != 1 || s.Collectors[0].Revision != s.Revision || s.Collectors[0].Following != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	c.stop()

	// It starts while policyd is away.
	nowhere := config("http://127.0.0.1:1", cache)
	c = startCollector(t, nowhere, nil)
	if n := len(c.holder.Load().Entities()); n != len(mustCompile(t, p).Entities()) {
		t.Errorf("%d entities from the file", n)
	}
	eventually(t, "it says that policyd is away", func() error {
		if s := c.Status(); s.Following || s.Problem == "" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	c.stop()

	// What it has is known there: nothing comes again.
	c = startCollector(t, config(p.url, cache), nil)
	eventually(t, "it follows", func() error {
		if !c.Status().Following {
			return errors.New(c.Status().Problem)
		}
		return nil
	})
	if s := c.Status(); s.Snapshots+s.Deltas != 0 {
		t.Errorf("the estate came again: %+v", s)
	}
	c.stop()

	// Another policyd that never had that state.
	other := startPolicyd(t, nil)
	other.assembler.Set(estate.FileSource, source(20, nil), time.Now())
	c = startCollector(t, config(other.url, cache), nil)
	c.has(t, other)
}

func mustCompile(t testing.TB, p *policyd) *estate.Snapshot {
	t.Helper()
	s, err := estate.Compile(p.assembler.Model())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Until policyd knows its estate, a collector keeps what it has.
func TestNothingIsToldBeforeItIsReady(t *testing.T) {
	first := startPolicyd(t, nil)
	first.assembler.Set(estate.FileSource, source(10, nil), time.Now())
	cache := filepath.Join(t.TempDir(), "estate.cache")
	c := startCollector(t, config(first.url, cache), nil)
	c.has(t, first)
	c.stop()
	first.stop()
	ready := make(chan struct{})
	p := startPolicyd(t, func(d *feed.PublisherDeps) { d.Ready = ready })
	c = startCollector(t, config(p.url, cache), nil)
	eventually(t, "it follows", func() error {
		if !c.Status().Following {
			return errors.New(c.Status().Problem)
		}
		return nil
	})
	if n := c.holder.Load().Count(flow.KindVM); n != 10 {
		t.Errorf("%d VMs before policyd is ready, want the 10 that were kept", n)
	}
	p.assembler.Set(estate.FileSource, source(11, nil), time.Now())
	close(ready)
	c.has(t, p)
}

// What one collector hears, all know to be live, policyd too; while policyd is away that stays so, and each knows best what it hears itself.
func TestLive(t *testing.T) {
	p := startPolicyd(t, nil)
	a := startCollector(t, config(p.url, filepath.Join(t.TempDir(), "a")), nil)
	b := startCollector(t, config(p.url, filepath.Join(t.TempDir(), "b")), nil)
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	now := func() int64 { return time.Now().UnixMilli() }
	a.live.Seen(one, now())
	b.live.Seen(two, now())
	for _, l := range []*estate.Liveness{a.live, b.live, p.live} {
		eventually(t, "both are live", func() error {
			if s := l.Snapshot(now() + 2000); !s.Exporter(one) || !s.Exporter(two) {
				return errors.New("they are not")
			}
			return nil
		})
	}
	if heard := a.live.Heard(now()); len(heard) != 1 {
		t.Errorf("a hears %v, want what it hears itself", heard)
	}
	p.stop()
	eventually(t, "policyd is gone", func() error {
		if a.Status().Following {
			return errors.New("it follows")
		}
		return nil
	})
	later := now() + 10*time.Minute.Milliseconds()
	if s := a.live.Snapshot(later); s.Exporter(one) || !s.Exporter(two) {
		t.Errorf("ten minutes later, without policyd: own exporter live %t, want false; the other's %t, want true", s.Exporter(one), s.Exporter(two))
	}
}

func TestWhoIsNoCollectorGetsNothing(t *testing.T) {
	p := startPolicyd(t, func(d *feed.PublisherDeps) {
		d.Collector = func(*http.Request) (string, error) { return "", errors.New(`certificate of "xcp1": not a collector`) }
	})
	c := startCollector(t, config(p.url, filepath.Join(t.TempDir(), "cache")), nil)
	eventually(t, "the collector says why", func() error {
		if s := c.Status(); !strings.Contains(s.Problem, `status 403: "certificate of \"xcp1\": not a collector"`) {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if s := p.Status(); len(s.Collectors) != 0 {
		t.Errorf("status %+v", s)
	}
	resp, err := http.Post(p.url+feed.PathReport, "application/json", strings.NewReader(`{"heard":{"192.0.2.1":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || len(p.live.Heard(time.Now().UnixMilli())) != 0 {
		t.Errorf("a report of nobody: status %s, and %v are live", resp.Status, p.live.Heard(time.Now().UnixMilli()))
	}
}

func TestReportsAreBounded(t *testing.T) {
	p := startPolicyd(t, nil)
	for text, want := range map[string]int{
		`{`:                          http.StatusBadRequest,
		`{"heard":{"nobody":1}}`:     http.StatusBadRequest,
		`{"heard":{"":1}}`:           http.StatusNoContent,
		strings.Repeat(" ", 5<<20):   http.StatusBadRequest,
		`{"heard":{"192.0.2.7":-5}}`: http.StatusNoContent,
	} {
		resp, err := http.Post(p.url+feed.PathReport, "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("report %.30q: status %s, want %d", text, resp.Status, want)
		}
	}
	if heard := p.live.Heard(time.Now().UnixMilli()); len(heard) != 1 {
		t.Errorf("heard %v", heard)
	}
}

// Whatever answers in place of policyd, a collector keeps its estate, says what is wrong, stays within its bounds, and is ready when
// the right one is back.
func TestHostileAnswers(t *testing.T) {
	good := startPolicyd(t, nil)
	good.assembler.Set(estate.FileSource, source(10, nil), time.Now())
	var mu sync.Mutex
	var answer http.HandlerFunc
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := answer
		mu.Unlock()
		h(w, r)
	}))
	defer srv.Close()
	set := func(h http.HandlerFunc) {
		mu.Lock()
		answer = h
		mu.Unlock()
		srv.CloseClientConnections()
	}
	set(good.ServeHTTP)
	cfg := config(srv.URL, filepath.Join(t.TempDir(), "cache"))
	cfg.MaxSize = 2 * bytesize.MiB
	c := startCollector(t, cfg, func(f *feed.Follower) { f.Hasten(time.Second, 3*time.Second, 50*time.Millisecond) })
	c.has(t, good)
	body := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", feed.ContentType)
			_, _ = w.Write(b)
		}
	}
	many := feed.Message(nil, feed.Encode(site(20_000)), 1)
	for name, f := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a page":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, `found content type "text/html`},
		"an error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, `status 500: "no"`},
		"garbage":  {body(bytes.Repeat([]byte{7}, 1<<20)), "follow"},
		"no JSON":  {body(feed.Compressed([]byte("hello\n"))), "read header"},
		"huge":     {body(feed.Compressed(many)), "as many as are taken"},
		"a bomb":   {body(feed.Compressed(bytes.Repeat([]byte{' '}, 64<<20))), "longer than"},
		"cut":      {body(feed.Compressed(many)[:1000]), "unexpected EOF"},
		"silent": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", feed.ContentType)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "nothing came for 1s"},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", feed.ContentType)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			b := feed.Message(nil, feed.Encode(site(100)), 1)
			header := bytes.IndexByte(b, '\n') + 1
			raw := uncompressedFrames(b[:header])
			_, _ = w.Write(raw)
			for i := header; i < len(b) && r.Context().Err() == nil; i++ {
				_ = http.NewResponseController(w).Flush()
				<-tick.C
				_, _ = w.Write(uncompressedFrames(b[i : i+1]))
			}
		}, "a message took longer than 3s"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, good.url, http.StatusFound) }, "status 302"},
	} {
		var low, high runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&low)
		set(f.answer)
		eventually(t, name+" is told", func() error {
			if s := c.Status(); s.Following || !strings.Contains(s.Problem, f.want) {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		runtime.GC()
		runtime.ReadMemStats(&high)
		if grown := int64(high.HeapAlloc) - int64(low.HeapAlloc); grown > 96<<20 {
			t.Errorf("%s: memory grew by %d MiB", name, grown>>20)
		}
		if n := c.holder.Load().Count(flow.KindVM); n != 10 {
			t.Fatalf("%s: the estate has %d VMs, want the 10 as before", name, n)
		}
	}
	set(good.ServeHTTP)
	good.assembler.Set(estate.FileSource, source(12, nil), time.Now())
	c.has(t, good)
}

// uncompressedFrames is b as a frame of compression of its own, so that it can be sent alone.
func uncompressedFrames(b []byte) []byte { return feed.Compressed(b) }

// A file that was damaged is of no use, and does no harm.
func TestDamagedFile(t *testing.T) {
	p := startPolicyd(t, nil)
	p.assembler.Set(estate.FileSource, source(50, nil), time.Now())
	cache := filepath.Join(t.TempDir(), "cache")
	c := startCollector(t, config(p.url, cache), nil)
	c.has(t, p)
	c.stop()
	whole, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/40 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x55
		if err := os.WriteFile(cache, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		holder := estate.NewHolder()
		f, err := feed.NewFollower(config("http://127.0.0.1:1", cache), feed.FollowerDeps{Log: discard, Estate: holder, Live: estate.NewLiveness(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		f.Load()
		if n := holder.Load().Count(flow.KindVM); n != 0 && n != 50 {
			t.Errorf("octet %d damaged: %d VMs", i, n)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"policyd:6643":             "want https://host:port",
		"http://192.0.2.1:6643":    "unless the host is a loopback address",
		"https://policyd:6643":     "want ca_file, cert_file and key_file",
		"https://policyd:6643/x?y": "want https://host:port",
		"ftp://127.0.0.1":          "want https://host:port",
	} {
		cfg := feed.DefaultConfig()
		cfg.URL = text
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate of url %q: %v, want an error with %q", text, err, want)
		}
	}
	for _, text := range []string{"http://127.0.0.1:6643", "http://[::1]:6643", "http://localhost:1/"} {
		cfg := feed.DefaultConfig()
		cfg.URL = text
		if err := cfg.Validate(); err != nil {
			t.Errorf("Validate of url %q: %v", text, err)
		}
	}
}

// rulesOf returns n rule instances from the first number on.
func rulesOf(first uint32, n int) []estate.RuleInstance {
	list := make([]estate.RuleInstance, n)
	for i := range list {
		list[i] = estate.RuleInstance{Instance: first + uint32(i), Rule: flow.NewID(flow.KindRule, fmt.Sprint(i/2)), Verdict: flow.Verdict(1 + i%3)}
	}
	return list
}

// Rule instances reach collectors by messages as small as the change, without the estate being compiled again; Wait returns when
// they have them, and they are there after a restart without policyd.
func TestRulesAreWaitedFor(t *testing.T) {
	p := startPolicyd(t, func(d *feed.PublisherDeps) {
		d.Collector = func(r *http.Request) (string, error) { return r.Header.Get("Collector"), nil }
	})
	p.assembler.Set("file", source(50, nil), time.Now())
	if without, err := p.Wait(t.Context()); err != nil || without != nil {
		t.Fatalf("Wait without collectors = %v, %v", without, err)
	}
	cache := filepath.Join(t.TempDir(), "cache")
	var collectors []*collector
	for _, name := range []string{"site-a", "site-b"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Collector", name)
			p.ServeHTTP(w, r)
		}))
		t.Cleanup(srv.Close)
		t.Cleanup(srv.CloseClientConnections)
		c := startCollector(t, config(srv.URL, cache+name), nil)
		c.has(t, p)
		collectors = append(collectors, c)
	}
	list := rulesOf(256, 10_000)
	p.assembler.SetRules(list)
	if without, err := p.Wait(t.Context()); err != nil || without != nil {
		t.Fatalf("Wait = %v, %v", without, err)
	}
	for i, c := range collectors {
		if got := c.holder.Load().Rules(); !slices.Equal(got, list) {
			t.Errorf("collector %d has %d rules when Wait has returned, want %d", i, len(got), len(list))
		}
		if s := c.Status(); s.Rules != len(list) || s.Records != p.Status().Records || p.Status().Rules != len(list) {
			t.Errorf("collector %d: status %+v, publisher %+v", i, s, p.Status())
		}
	}
	// One that is replaced, and one more: two blocks of many.
	before := p.Status()
	entities := &collectors[0].holder.Load().Entities()[0]
	list = slices.Clone(list)
	list[500].Verdict = flow.VerdictShadowDenied
	list = append(list, estate.RuleInstance{Instance: 1 << 29, Rule: 5, Verdict: flow.VerdictDenied})
	p.assembler.SetRules(list)
	if without, err := p.Wait(t.Context()); err != nil || without != nil {
		t.Fatalf("Wait = %v, %v", without, err)
	}
	c := collectors[0]
	if got := c.holder.Load().Rules(); !slices.Equal(got, list) {
		t.Errorf("the collector has %d rules that differ from those of policyd", len(got))
	}
	if &c.holder.Load().Entities()[0] != entities {
		t.Error("the estate was compiled again for rules")
	}
	if p.Status().Revision <= before.Revision {
		t.Errorf("revision %d after %d", p.Status().Revision, before.Revision)
	}
	c.has(t, p)
	c.stop()
	p.stop()
	again := startCollector(t, config(p.url, cache+"site-a"), nil)
	if got := again.holder.Load().Rules(); !slices.Equal(got, list) {
		t.Errorf("%d rules after a start without policyd, want %d", len(got), len(list))
	}
}

// Wait names the collectors that do not have the estate, and does not wait for those that have gone.
func TestWaitNamesThoseWithout(t *testing.T) {
	p := startPolicyd(t, func(d *feed.PublisherDeps) {
		d.Collector = func(*http.Request) (string, error) { return "site-b", nil }
	})
	p.assembler.Set("file", source(1, nil), time.Now())
	// It follows and never reports.
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+feed.PathEstate, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	eventually(t, "it follows", func() error {
		if s := p.Status(); len(s.Collectors) != 1 || s.Collectors[0].Following != 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	p.assembler.SetRules(rulesOf(256, 1))
	short, done := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer done()
	if without, err := p.Wait(short); !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(without, []string{"site-b"}) {
		t.Errorf("Wait = %v, %v, want site-b and that time was up", without, err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := p.Wait(t.Context())
		ended <- err
	}()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Wait when the collector has gone: %v", err)
	}
}

// As long as the estate is not worth telling, Wait waits for that.
func TestWaitForReady(t *testing.T) {
	ready := make(chan struct{})
	p := startPolicyd(t, func(d *feed.PublisherDeps) { d.Ready = ready })
	short, done := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer done()
	if without, err := p.Wait(short); !errors.Is(err, context.DeadlineExceeded) || without != nil {
		t.Errorf("Wait = %v, %v, want that time was up", without, err)
	}
	close(ready)
	if without, err := p.Wait(t.Context()); err != nil || without != nil {
		t.Errorf("Wait = %v, %v", without, err)
	}
}
