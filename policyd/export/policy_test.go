package export_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/own"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
)

// enforcer is a Weir that enforces a policy of two rules at the bridges of one host, as policyd wires it, in small.
type enforcer struct {
	*weir
	job       job
	reconcile *reconcile.Reconciler
	listener  *openflow.Listener
	bound     net.Listener
	compilers map[string]*compile.Compiler
	last      map[string]*compile.Desired
	revision  uint64
}

func newEnforcer(w *weir, j job) (*enforcer, error) {
	e := &enforcer{weir: w, job: j, compilers: map[string]*compile.Compiler{}, last: map[string]*compile.Desired{}}
	log := slog.New(slog.DiscardHandler)
	e.reconcile = reconcile.New(reconcile.Config{}, reconcile.Deps{Log: log, Events: &w.events})
	var err error
	if e.listener, err = openflow.NewListener(openflow.Config{Limits: openflow.DefaultLimits()}, openflow.Deps{Log: log, Handle: e.reconcile.Handle}); err != nil {
		return nil, err
	}
	e.bound, err = net.Listen("tcp4", j.Controller.Reach.String())
	return e, err
}

// run enforces until ctx is done; with Detach it removes everything first, flows before rows, and ends then.
func (e *enforcer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { _ = e.weir.run(ctx) })                     // it returns nil
	all.Go(func() { _ = e.reconcile.Run(ctx) })                // as well
	all.Go(func() { _ = e.listener.Serve(ctx, e.bound, nil) }) // it returns when ctx is done
	rows, stop := e.session.Subscribe()
	defer stop()
	flows, stop2 := e.reconcile.Subscribe()
	defer stop2()
	for {
		e.look()
		if e.job.Detach && e.gone() {
			e.set(e.job.Settings, true)
			<-ctx.Done() // as soon as it is detached
			return nil
		}
		select {
		case <-rows:
		case <-flows:
		case <-ctx.Done():
			return nil
		}
	}
}

// look says to all what is wanted now.
func (e *enforcer) look() {
	r := e.session.Rows()
	if r == nil {
		return
	}
	inv := hosts.Map(hosts.Settings{Key: identity.UUID, Name: identity.Name}, r, func(ids map[string]string) bool { return own.Made(ids, instance) })
	domains := export.RuleDomains(&identity, r)
	installed := map[string]bool{}
	for _, s := range e.reconcile.Status() {
		installed[s.Bridge] = s.State == reconcile.StateInstalled
	}
	enforced := map[string]export.Enforced{}
	var list []reconcile.Bridge
	for i := range inv.Bridges {
		b := &inv.Bridges[i]
		want, is := e.job.Enforced[b.Name]
		if !is {
			continue
		}
		switch {
		case e.job.Detach:
			want.Flows = export.FlowsLeaving
		case installed[b.Name]:
			want.Flows = export.FlowsInstalled
		default:
			want.Flows = export.FlowsUnknown
		}
		enforced[b.Name] = want
		id, err := strconv.ParseUint(b.DatapathID, 16, 64)
		if err != nil {
			continue // it is not there yet
		}
		c := e.compilers[b.Name]
		if c == nil {
			c = compile.New()
			e.compilers[b.Name] = c
		}
		d, err := c.Compile(&compile.Input{
			Inventory: inv, Bridge: b.Name, Host: flow.NewID(flow.KindHost, identity.UUID), VIFs: make([]flow.ID, len(inv.VIFs)), Policy: twoRules(), Estate: &policy.Estate{},
			Sampling: want.Sampling, CollectorSet: export.CollectorSet, Domain: domains[b.Name], Generation: 1, Capabilities: compile.Capabilities{ConnTrack: true, Sample: true},
		})
		if err != nil {
			panic(err)
		}
		if d != e.last[b.Name] {
			e.revision++
			e.last[b.Name] = d
		}
		list = append(list, reconcile.Bridge{
			Host: reconcile.Host{UUID: identity.UUID, Name: identity.Name}, Name: b.Name, DatapathID: id, Addrs: []netip.Addr{e.job.Exporter},
			Revision: e.revision, Desired: d, Detach: e.job.Detach,
		})
	}
	e.reconcile.Set(list)
	e.enforced, e.controller = enforced, e.job.Controller
	e.set(e.job.Settings, false)
}

// gone says whether no flow of Weir's is at any bridge.
func (e *enforcer) gone() bool {
	list := e.reconcile.Status()
	return len(list) == len(e.job.Enforced) && !slices.ContainsFunc(list, func(s reconcile.BridgeStatus) bool { return s.State != reconcile.StateDetached })
}

// twoRules lets all pass but TCP to port 25 from outside.
func twoRules() *policy.Set {
	deny := policy.Rule{ID: "no-mail", Action: policy.Deny, Direction: policy.From, Protocol: policy.Protocol{}, LocalPorts: policy.Ports{}}
	var err error
	if deny.Protocol, err = policy.ParseProtocol("tcp"); err != nil {
		panic(err)
	}
	if deny.LocalPorts, err = policy.ParsePorts("25"); err != nil {
		panic(err)
	}
	global := policy.Scope{Tier: policy.GlobalMandatory}
	return &policy.Set{
		Default: &policy.Entry{Rule: policy.Rule{ID: policy.DefaultRule, Action: policy.Allow}, Scope: policy.Scope{Tier: policy.GlobalDefault}, Instance: 300},
		Lists:   map[policy.Scope][]*policy.Entry{global: {{Rule: deny, Scope: global, Instance: 301, Rank: 1}}},
		Groups:  map[flow.ID]*policy.Group{},
	}
}

// enforce enforces policy at a host until it is killed, or detached.
func enforce(ctx context.Context, w *weir, j job) error {
	e, err := newEnforcer(w, j)
	if err != nil {
		return err
	}
	return e.run(ctx)
}

// A host that enforced policy is, once Weir was detached from it, as before: its database, flows, groups and meters, however often Weir was killed in
// between, while it set up and while it detached.
func TestDetachedHostIsAsBeforePolicy(t *testing.T) {
	s := newSite(t)
	s.others()
	database, flows := ovsdbtest.Dump(t, s.target, false), s.openFlow()
	seed, kills := chance.Seed(t), 8
	if text := os.Getenv("WEIR_TEST_RUNS"); text != "" { // the long version
		n, err := strconv.Atoi(text)
		s.must(err)
		kills = 10 * n
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	l, err := net.Listen("tcp4", net.JoinHostPort(s.host.Root.String(), "0")) // a port that is free
	s.must(err)
	reach := netip.MustParseAddrPort(l.Addr().String())
	s.must(l.Close())
	policy := func(detach bool) job {
		return job{
			Target: s.target, Settings: s.settings(func(x *export.Settings) { x.TakeOver = true }), Controller: attach.Settings{Reach: reach}, Exporter: s.host.Exporter, Detach: detach,
			Enforced: map[string]export.Enforced{"br0": {Sampling: compile.SampleFull}, "br1": {Sampling: compile.SampleNew}},
		}
	}
	ours := func() int { return strings.Count(s.openFlow(), "cookie=0x5745") }
	paces := map[bool]time.Duration{
		false: s.pace(policy(false), func() bool { return ours() > 0 }),
		true:  s.pace(policy(true), func() bool { return ours() == 0 }),
	}
	kept := map[bool]int{}
	for n := range kills {
		detach := n%2 == 1
		s.keeper(policy(detach), paces[detach]/4+time.Duration(rng.Int64N(int64(3*paces[detach]/2))))
		if ours() > 0 {
			kept[detach]++
		}
	}
	t.Logf("of %d kills, after some %s of setting up each, flows of Weir's were there after %d; after some %s of detaching, after %d",
		kills, paces[false].Round(time.Millisecond), kept[false], paces[true].Round(time.Millisecond), kept[true])

	// One that lives until all is as it is to be, and does what it is for.
	w, err := newWeir(s.target)
	s.must(err)
	e, err := newEnforcer(w, policy(false))
	s.must(err)
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan error, 1)
	go func() { done <- e.run(ctx) }()
	for deadline := time.Now().Add(patience); w.policy() != "br0:set/set! br1:set/set" || w.bridges() != "br0=off br1=set"; time.Sleep(10 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			t.Fatalf("exports stand as %q, %q, flows as %+v", w.bridges(), w.policy(), e.reconcile.Status())
		}
	}
	s.must(errors.Join(s.talk(s.ctx, "a", "b", 1000, 5), s.talk(s.ctx, "c", "d", 1000, 5)))
	t.Logf("%d flows of Weir's", ours())
	foreign := slices.DeleteFunc(strings.Split(s.openFlow(), "\n"), func(line string) bool {
		id, _, _ := strings.Cut(strings.TrimPrefix(line, "group group_id="), ",")
		n, _ := strconv.ParseUint(id, 10, 32)
		return strings.Contains(line, "cookie=0x5745") || n>>24 == 0x57 // as docs/reference/openflow.md says
	})
	if diff := cmp.Diff(strings.Split(flows, "\n"), foreign); diff != "" {
		t.Errorf("what others have differs while policy is enforced (-before +now):\n%s", diff)
	}
	cancel()
	s.must(<-done)

	s.keeper(policy(true), 0)
	if diff := cmp.Diff(strings.Split(database, "\n"), strings.Split(ovsdbtest.Dump(t, s.target, false), "\n")); diff != "" {
		t.Errorf("the database differs (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(flows, s.openFlow()); diff != "" {
		t.Errorf("flows, groups or meters differ (-before +after):\n%s", diff)
	}
}
