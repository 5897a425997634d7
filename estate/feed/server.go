package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
)

// ServerConfig is about serving the estate to collectors that work alone.
type ServerConfig struct {
	Listen     string   `yaml:"listen" doc:"host:port where collectors that work alone get the estate; empty: nowhere."`
	TLS        bool     `yaml:"tls" doc:"Policyd and collectors show each other certificates of weir ca. Without it listen is a loopback address, and whoever reaches it gets the estate."`
	Collectors []string `yaml:"collectors" doc:"Names in the certificates of collectors. Others get nothing, whoever signed theirs: a host's certificate is no collector's."`
}

// DefaultServerConfig serves nothing.
func DefaultServerConfig() ServerConfig { return ServerConfig{TLS: true} }

// Validate reports everything that is wrong with c, each with its key.
func (c *ServerConfig) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		return strictyaml.At("listen", fmt.Errorf("found %q, want host:port, e.g. %q", c.Listen, ":6643"))
	case !c.TLS && !loopback(host):
		return strictyaml.At("listen", fmt.Errorf("found %q, want a loopback address such as 127.0.0.1 where tls is false", c.Listen))
	case c.TLS && len(c.Collectors) == 0:
		return strictyaml.At("collectors", errors.New("found none, want the names of those that may follow: collectors are named in their certificates (weir ca host NAME)"))
	}
	return nil
}

// ListenFeed binds the address of the configuration; nil if there is none.
func ListenFeed(cfg ServerConfig) (net.Listener, error) {
	if cfg.Listen == "" {
		return nil, nil //nolint:nilnil // there is nothing to serve
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for collectors on %q: %w", cfg.Listen, err)
	}
	return l, nil
}

// Named returns who asks by the name in the certificate, which has been verified; those that are not in names are refused. It is for
// PublisherDeps.Collector.
func Named(names []string) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return "", errors.New("found no certificate, want that of a collector")
		}
		name := r.TLS.PeerCertificates[0].Subject.CommonName
		if !slices.Contains(names, name) {
			return "", fmt.Errorf("certificate of %q: not among the collectors that may follow (feed.collectors)", name)
		}
		return name, nil
	}
}

// Serve serves p at l until ctx is done. conf, if it is not nil, is for TLS. It closes l.
func (p *Publisher) Serve(ctx context.Context, l net.Listener, conf *tls.Config) error {
	srv := &http.Server{
		Handler: p, TLSConfig: conf, ReadHeaderTimeout: askTimeout, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog:    slog.NewLogLogger(p.log.Handler(), slog.LevelInfo), // of handshakes: who was refused, and why
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() }) // streams have no end of their own
	defer stop()
	if err := srv.Serve(l); ctx.Err() == nil || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve estate feed: %w", err)
	}
	return nil
}
