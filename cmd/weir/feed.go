package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/collector/template"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/feed"
)

// wireFeed makes what collectors that work alone follow, if they are served.
func (n *node) wireFeed() (err error) {
	cfg := &n.config.Feed
	if n.sockets.feed == nil {
		return nil
	}
	var collectors func(*http.Request) (string, error)
	if cfg.TLS {
		collectors = feed.Named(cfg.Collectors)
	}
	n.feedReady = make(chan struct{})
	n.feed, err = feed.NewPublisher(feed.PublisherDeps{
		Log: n.log, Metrics: n.metrics, Estate: n.estate, Model: n.assembler.Model, Live: n.live, Ready: n.feedReady, Collector: collectors,
	})
	return err
}

// feedTLS is how collectors and Weir know each other: both by certificates that Weir's own authority signed.
func (n *node) feedTLS() *tls.Config {
	if !n.config.Feed.TLS {
		return nil
	}
	ca := &authority{dir: authorityDir(n.data)}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// For each connection anew: certificates are renewed while Weir runs.
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			own, err := ca.identities()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: own, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
				NextProtos: []string{"http/1.1"},
			}, nil
		},
	}
}

// feedGrace is how long after a start collectors are told nothing at most, while hosts have not said what they have: what
// collectors know from before is better than half of it.
const feedGrace = 20 * time.Second

// serveFeed serves collectors until ctx is done.
func (n *node) serveFeed(ctx context.Context) error {
	return n.feed.Serve(ctx, n.sockets.feed, n.feedTLS())
}

// readyFeed has the estate told to collectors once all hosts have said what they have, or after feedGrace.
func (n *node) readyFeed(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < feedGrace; {
		told := 0
		for _, s := range n.assembler.Sources() {
			if strings.HasPrefix(s.Name, estate.HostSourcePrefix) {
				told++
			}
		}
		if hosts, err := n.state.Hosts(ctx); err == nil && told >= len(hosts) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	close(n.feedReady)
	return nil
}

// wireFollower makes what gets the estate from policyd.
func (n *node) wireFollower() (err error) {
	cfg := n.config.Follow
	var conf *tls.Config
	if strings.HasPrefix(cfg.URL, "https:") {
		if conf, err = followTLS(&cfg); err != nil {
			return err
		}
	}
	n.follower, err = feed.NewFollower(cfg, feed.FollowerDeps{Log: n.log, Metrics: n.metrics, Estate: n.estate, Live: n.live, TLS: conf})
	return err
}

func followTLS(cfg *feed.Config) (*tls.Config, error) {
	text, err := os.ReadFile(cfg.CA)
	if err != nil {
		return nil, fmt.Errorf("read follow.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read follow.ca_file %q: no certificate in PEM form", cfg.CA)
	}
	own := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("read follow.cert_file and key_file: %w", err)
		}
		return &pair, nil
	}
	if _, err := own(); err != nil { // one hears of it at the start
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: cfg.Name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }, // it is renewed while Weir runs
	}, nil
}

// elsewhere are the exporters that only other collectors hear, as Silence wants them: those that were heard before as well.
type elsewhere struct{ last map[netip.Addr]int64 }

func (e *elsewhere) add(list []collector.Exporter, live *estate.Liveness, now time.Time) []collector.Exporter {
	heard := live.Heard(now.UnixMilli())
	here := map[netip.Addr]bool{}
	for i := range list {
		here[list[i].Exporter] = true
	}
	maps.Copy(e.last, heard)
	for a, last := range e.last {
		_, lives := heard[a]
		switch {
		case here[a]:
		case !lives && now.Sub(time.UnixMilli(last)) > 24*time.Hour: // it is gone, and that was told
			delete(e.last, a)
		default:
			list = append(list, collector.Exporter{Info: template.Info{Exporter: a, LastSeen: last}, Live: lives})
		}
	}
	return list
}
