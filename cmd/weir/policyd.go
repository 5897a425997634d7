package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/estate/learned"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/pki"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/state"
	"github.com/weirhq/weir/store"
)

// adminSocket is where an instance takes calls that change something.
func adminSocket(data string) string { return filepath.Join(data, "run", "admin.sock") }

// snapshotDir is where snapshots of the state are in a data directory.
func snapshotDir(data string) string { return filepath.Join(data, "snapshots") }

// authorityDir is where Weir's own certificate authority is in a data directory.
func authorityDir(data string) string { return filepath.Join(data, "ca") }

// wirePolicyd makes what looks after hosts.
func (n *node) wirePolicyd() (err error) {
	port := uint16(0)
	if len(n.sockets.flows) > 0 {
		port = n.sockets.flows[0].LocalAddr().Port()
	}
	n.rules = store.NewRuleInstances(store.RuleInstancesDeps{Log: n.log, Client: n.client, Metrics: n.metrics})
	n.hits = store.NewHits(store.HitsDeps{Log: n.log, Client: n.client, Metrics: n.metrics})
	n.learner, err = learned.New(learned.Deps{
		Log: n.log, Metrics: n.metrics, Estate: n.assembler, Events: n.events, File: filepath.Join(n.data, "learned.json"),
	})
	if err != nil {
		return err
	}
	n.policyd, err = policyd.New(n.config.Hosts, policyd.Deps{
		Log: n.log, Metrics: n.metrics, State: n.state, Assembler: n.assembler, Estate: n.estate, Events: n.events, Listeners: n.sockets.hosts,
		Learned:  n.learner,
		Memory:   hosts.NewMemory(filepath.Join(n.data, "hosts"), hosts.MemoryDeps{Log: n.log}),
		Identity: n.authority.identities, Authority: n.authority.pool, CollectorPort: port,
		ActiveTimeout: n.config.Collector.ActiveTimeout,
		Audit:         adminSink{store.NewAdminEvents(n.client)}, Policy: n.config.Policy, Bridges: n.sockets.bridges, Announce: n.announceRules, Hits: n.addHits,
		Snapshots: n.config.Snapshots, SnapshotDir: snapshotDir(n.data),
	})
	return err
}

// authority is Weir's own, made when it is needed first.
type authority struct {
	dir string

	mu sync.Mutex
	a  *pki.Authority // guarded by mu; nil until it is needed
}

func (c *authority) open(open func() (*pki.Authority, error)) (*pki.Authority, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.a != nil {
		return c.a, nil
	}
	a, err := open()
	if err == nil {
		c.a = a
	}
	return a, err
}

// identities are the certificates that Weir presents to hosts.
func (c *authority) identities() ([]tls.Certificate, error) {
	a, err := c.open(func() (*pki.Authority, error) { return pki.Ensure(c.dir, time.Now()) })
	if err != nil {
		return nil, err
	}
	return a.Identities(time.Now())
}

// pool holds the authority; nil if there is none, or it cannot be read: then nothing that it signed is believed.
func (c *authority) pool() *x509.CertPool {
	a, err := c.open(func() (*pki.Authority, error) { return pki.Open(c.dir) })
	if err != nil {
		return nil
	}
	return a.Pool()
}

// announceRules makes the numbers of rules known: to the store, which may take its time, and to the collectors that follow, for which it
// waits until ctx is done.
func (n *node) announceRules(ctx context.Context, live []state.Instance) (without []string, err error) {
	list := make([]store.RuleInstance, len(live))
	for i := range live {
		r := &live[i]
		list[i] = store.RuleInstance{
			Instance: r.Instance, Rule: flow.NewID(flow.KindRule, r.Rule), Name: r.Rule, Scope: r.Scope, Tier: policy.Tier(r.Tier).String(), Action: r.Action,
			Verdict: policyd.VerdictOf(r.Action), Text: r.Text, From: r.Since, Until: r.Until,
		}
	}
	n.rules.Set(list, time.Now())
	if n.feed == nil {
		return nil, nil
	}
	return n.feed.Wait(ctx)
}

// addHits hands over what rules matched.
func (n *node) addHits(list []reconcile.Hit) {
	rules := n.estate.Load()
	hits := make([]store.Hit, len(list))
	for i, h := range list {
		rule, _ := rules.Rule(h.Instance)
		hits[i] = store.Hit{
			Time: h.At, Host: h.Host, Bridge: h.Bridge, Rule: flow.ID(rule), Instance: h.Instance, Stage: h.Stage, Packets: h.Packets, Bytes: h.Bytes,
		}
	}
	n.hits.Add(hits)
}

// recallRules makes sure that no number of a rule is given that the store has: the state may have been lost.
func (n *node) recallRules(ctx context.Context) error {
	last, err := n.rules.LastInstance(ctx)
	if err != nil {
		return err
	}
	return n.state.SkipInstances(ctx, last)
}
