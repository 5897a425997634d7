package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"sync"
	"time"

	"github.com/weirhq/weir/pki"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/state"
)

// adminSocket is where an instance takes calls that change something.
func adminSocket(data string) string { return filepath.Join(data, "run", "admin.sock") }

// authorityDir is where Weir's own certificate authority is in a data directory.
func authorityDir(data string) string { return filepath.Join(data, "ca") }

// wirePolicyd makes what looks after hosts.
func (n *node) wirePolicyd() (err error) {
	ca := &authority{dir: authorityDir(n.data)}
	port := uint16(0)
	if len(n.sockets.flows) > 0 {
		port = n.sockets.flows[0].LocalAddr().Port()
	}
	n.policyd, err = policyd.New(n.config.Hosts, policyd.Deps{
		Log: n.log, Metrics: n.metrics, State: n.state, Assembler: n.assembler, Estate: n.estate, Events: n.events, Listeners: n.sockets.hosts,
		Identity: ca.identities, Authority: ca.pool, CollectorPort: port,
		ActiveTimeout: n.config.Collector.ActiveTimeout,
		Policy:        n.config.Policy, Bridges: n.sockets.bridges, Announce: n.announceRules,
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

// announceRules makes the numbers of rules known to the collectors that follow.
func (n *node) announceRules(ctx context.Context, _ []state.Instance) (without []string, err error) {
	if n.feed == nil {
		return nil, nil
	}
	return n.feed.Wait(ctx)
}
