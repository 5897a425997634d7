package reconcile_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/reconcile"
)

// job is what a Weir in a process of its own is told: to have a bridge hold one of two policies, then the other, without end.
type job struct {
	Host     reconcile.Host
	Datapath uint64
	Source   netip.Addr
	Rules    int
}

const jobVariable = "WEIR_TEST_RECONCILER"

// TestMain is this test or, when it started itself with that variable, such a Weir.
func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		if err := alternate(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// alternate does what a job says until the process is killed. It prints where it listens, and a line when the first policy is about to be
// wanted.
func alternate(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := newWeir(l, reconcile.Config{}, nil)
	if err != nil {
		return err
	}
	defer w.stop()
	b := reconcile.Bridge{Host: j.Host, Name: "br0", DatapathID: j.Datapath, Addrs: []netip.Addr{j.Source}}
	w.Set([]reconcile.Bridge{b})
	for w.Status()[0].State == reconcile.StateOffline {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(time.Millisecond) // between polls
	}
	fmt.Println("connected")
	for n := range uint64(1 << 62) {
		b.Revision, b.Desired = n+1, side(int(n%2), j.Rules)
		w.Set([]reconcile.Bridge{b})
		if s := w.Wait(ctx, b.Revision); !s[0].Has(b.Revision) {
			return fmt.Errorf("revision %d: %+v", b.Revision, s)
		}
	}
	return nil
}

// side is one of two policies: they have the same matches, and instances of their own.
func side(n, rules int) *compile.Desired {
	return policy(4, rules, func(list []openflow.Flow) []openflow.Flow {
		for i := range rules {
			list[len(list)-1-i] = rule(i, uint32((n+1)*1_000_000+i))
		}
		return list
	})
}

var instanceOf = regexp.MustCompile(`cookie=0x57450008([0-9a-f]{8}), table=30.*udp`)

// A Weir that is killed at any moment leaves one policy or the other, whole; the next one goes on from there.
func TestKilled(t *testing.T) {
	long(t)
	const kills, rules = 8, 3000
	rng := rand.New(rand.NewPCG(chance.Seed(t), 0))
	r := newRig(t, 2, 4)
	r.stop()
	text, err := json.Marshal(job{r.bridge(0, 0, nil).Host, datapath(0), r.hosts[0].Exporter, rules})
	if err != nil {
		t.Fatal(err)
	}
	sides := map[string]int{}
	for range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		r.addr = lines.Text()
		r.dial(0)
		if !lines.Scan() {
			t.Fatalf("the Weir to be killed ended: %v", lines.Err())
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond) // the moment that is tried
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		found := map[string]int{}
		for _, line := range r.dump() {
			if m := instanceOf.FindStringSubmatch(line); m != nil {
				var n int
				if _, err := fmt.Sscanf(m[1], "%x", &n); err != nil {
					t.Fatal(err)
				}
				found[[]string{"", "one", "other"}[n/1_000_000]]++
			}
		}
		name := "none"
		for side, n := range found {
			if name = side; n != rules || len(found) != 1 {
				t.Fatalf("after a kill the bridge has %v flows of policies, want %d of one", found, rules)
			}
		}
		sides[name]++
	}
	t.Logf("held after kills: %v", sides)
	r.start(reconcile.Config{}, nil)
	d := side(0, rules)
	r.want(1, d)
	r.installed(1)
	r.holds(d)
}

// faulty is a connection on which things go wrong.
type faulty struct {
	reconcile.Conn
	fate func() int // what happens to the next question
}

var errFault = errors.New("fault of the test")

// Apply does it, or not, and says so, or that it is not known.
func (c *faulty) Apply(ctx context.Context, mods []openflow.Mod) error {
	switch c.fate() {
	case 0:
		return fmt.Errorf("%w: %w", openflow.ErrUnknown, errFault)
	case 1:
		_ = c.Conn.Apply(ctx, mods)
		return fmt.Errorf("%w: %w", openflow.ErrUnknown, errFault)
	case 2:
		err := c.Conn.Apply(ctx, mods)
		go c.Close()
		return err
	}
	return c.Conn.Apply(ctx, mods)
}

// AddMeter does it, or not, and says so, or that it is not known.
func (c *faulty) AddMeter(ctx context.Context, m openflow.MeterSpec, modify bool) error {
	return c.meter(func() error { return c.Conn.AddMeter(ctx, m, modify) })
}

// DeleteMeter does it, or not, and says so, or that it is not known.
func (c *faulty) DeleteMeter(ctx context.Context, id uint32) error {
	return c.meter(func() error { return c.Conn.DeleteMeter(ctx, id) })
}

func (c *faulty) meter(do func() error) error {
	switch c.fate() {
	case 0:
		return errFault
	case 1:
		_ = do()
		return errFault
	case 2:
		err := do()
		go c.Close()
		return err
	}
	return do()
}

// Flows fails now and then, in the middle.
func (c *faulty) Flows(ctx context.Context, f openflow.Filter, each func(openflow.FlowStats)) error {
	if c.fate() != 3 {
		return c.Conn.Flows(ctx, f, each)
	}
	n := 0
	_ = c.Conn.Flows(ctx, f, func(s openflow.FlowStats) {
		if n++; n < 20 {
			each(s)
		}
	})
	return errFault
}

// Groups fails now and then.
func (c *faulty) Groups(ctx context.Context) ([]openflow.Group, error) {
	if c.fate() == 4 {
		return nil, errFault
	}
	return c.Conn.Groups(ctx)
}

// Whatever goes wrong on a connection, what is wanted is there in the end, and every packet that a rule counted is told once.
func TestFaults(t *testing.T) {
	t.Parallel()
	seed := chance.Seed(t)
	var mu sync.Mutex
	rng, faults := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // faults is guarded by mu
	var calm atomic.Bool
	fate := func() int {
		if calm.Load() {
			return -1
		}
		mu.Lock()
		defer mu.Unlock()
		return faults.IntN(12)
	}
	r := newRig(t, 2, 4)
	r.start(reconcile.Config{}, func(c reconcile.Conn) reconcile.Conn { return &faulty{c, fate} })
	r.hurry()
	sent := map[uint32]uint64{}
	var d *compile.Desired
	for revision := range uint64(12) {
		instances := [30]uint32{}
		d = policy(4, 30, func(list []openflow.Flow) []openflow.Flow {
			for i := range 30 {
				instances[i] = uint32(firstRule+i) + uint32(rng.IntN(3))*1000
				list[len(list)-30+i] = rule(i, instances[i])
			}
			return list[:len(list)-rng.IntN(3)]
		})
		r.want(revision+1, d)
		r.installed(revision + 1)
		for i := range 3 {
			r.send(i, i+1)
			sent[instances[i]] += uint64(i + 1)
		}
	}
	calm.Store(true)
	r.audit()
	r.holds(d)
	for instance, want := range sent {
		if got := r.hits.packets(instance); got != want {
			t.Errorf("rule %d: told of %d packets, want %d", instance, got, want)
		}
	}
	if got := r.events.kinds(); got != "policy_installed" {
		t.Errorf("events %q: what went wrong on the way is nobody else's doing", got)
	}
}

// old is a connection with a switch that has no bundles.
type old struct {
	reconcile.Conn
	*met
}

// met are the tables to which flows were added, in order.
type met struct {
	mu     sync.Mutex
	tables []uint8 // guarded by mu
}

// Apply says that there are none.
func (c old) Apply(context.Context, []openflow.Mod) error { return openflow.ErrNoBundles }

// ApplyEach notes the order.
func (c old) ApplyEach(ctx context.Context, mods []openflow.Mod) error {
	c.mu.Lock()
	for _, m := range mods {
		if f, is := m.(openflow.AddFlow); is {
			c.tables = append(c.tables, f.Flow.Table)
		}
	}
	c.mu.Unlock()
	return c.Conn.ApplyEach(ctx, mods)
}

// unmetered is a connection of a switch whose datapath has no meters.
type unmetered struct{ reconcile.Conn }

// MaxMeter says so.
func (unmetered) MaxMeter(context.Context) (uint32, error) { return 0, nil }

// Where meters are wanted and the switch has none, nothing is tried, and that is said; without them everything goes on.
func TestWithoutMeters(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	r.start(reconcile.Config{}, func(c reconcile.Conn) reconcile.Conn { return unmetered{c} })
	r.want(1, policy(4, 20, nil))
	r.await("it says that there are no meters", func(s reconcile.BridgeStatus) bool {
		return s.MaxMeter != nil && *s.MaxMeter == 0 && strings.Contains(s.Error, "no meters") && s.Installed == 0
	})
	without := policy(4, 20, func(list []openflow.Flow) []openflow.Flow {
		for i := range list {
			list[i].Actions = openflow.NewActions(slices.DeleteFunc(list[i].Actions.List(), func(a openflow.Action) bool { _, is := a.(openflow.Meter); return is })...)
		}
		return list
	})
	without.Meters = nil
	r.want(2, without)
	r.installed(2)
	r.holds(without)
	if got := r.events.of(event.PolicyFailed); len(got) != 0 {
		t.Errorf("events %v, want that nothing failed", got)
	}
}

// probed is a connection that tells when it is asked for meters, with which a look at a bridge begins.
type probed struct {
	reconcile.Conn
	tell func()
}

// MaxMeter tells.
func (c probed) MaxMeter(ctx context.Context) (uint32, error) {
	c.tell()
	return c.Conn.MaxMeter(ctx)
}

// What is wanted while a bridge of which nothing was wanted is looked at is on its way, and is waited for.
func TestWantedDuringALook(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, 2)
	wanted := make(chan struct{})
	want := sync.OnceFunc(func() {
		r.want(1, policy(2, 3, nil))
		close(wanted)
	})
	r.start(reconcile.Config{}, func(c reconcile.Conn) reconcile.Conn { return probed{c, want} })
	r.want(0, nil)
	<-wanted
	for _, s := range r.Wait(t.Context(), 1) {
		if !s.Has(1) {
			t.Errorf("%+v, want revision 1", s)
		}
	}
}

// A switch without bundles gets its flows one by one, from the last table to the first; what is refused is undone.
func TestWithoutBundles(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	o := &met{}
	r.start(reconcile.Config{}, func(c reconcile.Conn) reconcile.Conn { return old{c, o} })
	first := policy(4, 20, nil)
	r.want(1, first)
	r.installed(1)
	r.holds(first)
	o.mu.Lock()
	if !slices.IsSortedFunc(o.tables, func(a, b uint8) int { return int(b) - int(a) }) || len(o.tables) != first.Len() {
		t.Errorf("flows were added to tables %v, want %d in descending order", o.tables, first.Len())
	}
	o.mu.Unlock()
	if s := r.status(); !s.Stepwise {
		t.Errorf("%+v, want that it says so", s)
	}
	bad := policy(4, 25, func(list []openflow.Flow) []openflow.Flow {
		list[len(list)-3].Actions = openflow.NewActions(openflow.ToGroup{ID: 12345}) // there is none
		return list
	})
	r.want(2, bad)
	r.await("it is refused", func(s reconcile.BridgeStatus) bool { return s.State == reconcile.StateFailed })
	r.await("what was done is undone", func(s reconcile.BridgeStatus) bool { return s.Installed == first.Len() && s.Pending == 0 })
	if got := r.events.kinds(); got != "policy_installed policy_failed" {
		t.Errorf("events %q", got)
	}
	next := policy(4, 10, nil)
	r.want(3, next)
	r.installed(3)
	r.holds(next)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Remove(ctx, r.key(0)); err != nil {
		t.Fatal(err)
	}
	r.holds(compile.Of(nil))
}

// Counters of rules are told once, over changes of what counts, restarts of the switch, and an orderly end.
func TestHits(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 4)
	told := func(instance uint32, want uint64) {
		t.Helper()
		r.audit()
		if got := r.hits.packets(instance); got != want {
			t.Errorf("told of %d packets of rule %d, want %d", got, instance, want)
		}
	}
	with := func(change func(list []openflow.Flow) []openflow.Flow) *compile.Desired { return policy(4, 5, change) }
	at := len(base(4))
	r.want(1, with(nil))
	r.installed(1)
	r.send(1, 5)
	told(1001, 5)
	told(1001, 5)

	r.send(1, 2)
	r.want(2, with(func(list []openflow.Flow) []openflow.Flow { // it is another rule's from now on
		list[at+1] = rule(1, 5001)
		return list
	}))
	r.installed(2)
	r.send(1, 4)
	told(1001, 7)
	told(5001, 4)

	r.send(1, 3)
	r.want(3, with(func(list []openflow.Flow) []openflow.Flow { // it is gone
		return append(list[:at+1], list[at+2:]...)
	}))
	r.installed(3)
	told(5001, 7)

	r.send(2, 2)
	r.want(4, with(func(list []openflow.Flow) []openflow.Flow { // another action, the same rule
		list[at+2].Actions = openflow.NewActions(openflow.Resubmit{Table: compile.TableDeliver})
		return list
	}))
	r.installed(4)
	r.send(2, 1)
	told(1002, 3)

	since := r.status().Connected
	if err := r.hosts[0].RestartSwitch(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.await("it is connected anew", func(s reconcile.BridgeStatus) bool { return s.Connected.After(since) && s.Has(4) })
	r.send(2, 5)
	told(1002, 8)

	r.send(2, 4)
	r.stop()
	if got := r.hits.packets(1002); got != 12 {
		t.Errorf("told of %d packets at the end, want 12", got)
	}

	// Another Weir begins with what it finds.
	r.start(reconcile.Config{}, nil)
	r.want(5, with(nil))
	r.installed(5)
	r.send(2, 1)
	told(1002, 1)
}

// Connections that are no bridge's are closed.
func TestConnections(t *testing.T) {
	long(t)
	r := newRig(t, 3, 1)
	refused := func(reason string, least float64) {
		t.Helper()
		ovsdbtest.Until(t, "connections are refused as "+reason, func() bool {
			return r.metric(t, "weir_policyd_reconcile_refused_connections_total", `reason="`+reason+`"`) >= least
		})
	}
	// Bridges that would have the same connection have none; a wrong address and a wrong datapath id are nobody's.
	d := policy(1, 3, nil)
	a, b := r.bridge(0, 1, d), r.bridge(1, 1, d)
	b.DatapathID = a.DatapathID
	c := r.bridge(2, 1, d)
	c.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	r.Set([]reconcile.Bridge{a, b, c})
	r.ahead.Add(int64(time.Minute)) // those who wait have waited
	refused("stranger", 3)
	for _, s := range r.Status() {
		if confused := strings.Contains(s.Error, "has the same datapath id, 0000000000fa0001"); s.State != reconcile.StateOffline || confused != (s.HostUUID != r.hosts[2].UUID) {
			t.Errorf("%+v, want offline, and the first two confused", s)
		}
		if mistaken := strings.Contains(s.Error, "a connection with its datapath id came from "+r.hosts[2].Exporter.String()); mistaken != (s.HostUUID == r.hosts[2].UUID) {
			t.Errorf("%+v, want that the third's came from a wrong address", s)
		}
	}
	// Once it is known whose they are they are taken.
	r.want(1, d)
	r.installed(1)

	// A second one is taken if the first does not answer.
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *openflow.Conn)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if c, err := openflow.Accept(t.Context(), nc, openflow.Config{Limits: openflow.DefaultLimits()}); err == nil {
				accepted <- c
			}
		}
	}()
	second := fmt.Sprintf("tcp:%s", netip.AddrPortFrom(r.hosts[0].Root, l.Addr().(*net.TCPAddr).AddrPort().Port()))
	if _, err := r.hosts[0].VSCtl(t.Context(), "--id=@c", "create", "controller", fmt.Sprintf("target=%q", second), "type=service", "max_backoff=1000",
		"--", "add", "bridge", "br0", "controller", "@c"); err != nil {
		t.Fatal(err)
	}
	first := r.status().Peer
	r.Handle(t.Context(), <-accepted)
	refused("second", 1)
	if got := r.status().Peer; got != first {
		t.Errorf("connection of %s is in use, want the first, of %s", got, first)
	}
}

// A connection that does not answer any more gives way to the next.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, 1)
	var dead atomic.Bool
	r.start(reconcile.Config{}, func(c reconcile.Conn) reconcile.Conn { return &silent{c, &dead, c} })
	d := policy(1, 3, nil)
	r.want(1, d)
	r.installed(1)
	first := r.status().Peer
	dead.Store(true)
	r.dial(0) // the switch gives its connection up and dials again; nothing on the first one says so
	r.await("the second is in use", func(s reconcile.BridgeStatus) bool { return s.Peer != first && s.Peer != "" })
}

// silent is a connection whose end is not heard and that does not answer, once dead.
type silent struct {
	reconcile.Conn
	dead *atomic.Bool
	real reconcile.Conn
}

// Done says nothing.
func (c *silent) Done() <-chan struct{} { return nil }

// Barrier fails once it is dead, except on the connection after it.
func (c *silent) Barrier(ctx context.Context) error {
	if c.dead.Load() {
		return errFault
	}
	return c.real.Barrier(ctx)
}
