package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/query"
)

// Config is api in the YAML file.
type Config struct {
	Listen string `yaml:"listen" doc:"host:port of the API, status page and metrics; loopback only, since there are no users yet."`
}

// Default returns the configuration that is used where the file is silent.
func Default() Config { return Config{Listen: "127.0.0.1:8080"} }

// Validate refuses addresses that others could reach.
func (c Config) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return strictyaml.At("listen", fmt.Errorf("found %q, want host:port, e.g. %q", c.Listen, Default().Listen))
	}
	if !loopback(host) {
		return strictyaml.At("listen", fmt.Errorf("found %q, want a loopback address such as 127.0.0.1 or [::1]: the API has no users yet; use an SSH tunnel from elsewhere", c.Listen))
	}
	return nil
}

// Deps are what a Server uses and does not own, except Listener and Admin, which Run closes.
type Deps struct {
	Log      *slog.Logger
	Listener net.Listener
	Admin    net.Listener // for calls that change something, from ListenAdmin; nil: there are none
	Metrics  prometheus.Gatherer
	Version  string

	// These are safe for concurrent use.
	Status func() Status
	Flows  func(context.Context, query.Request) (FlowsAnswer, error) // a *query.Error is the asker's mistake
	Ready  func(context.Context) error                               // nil when flows that come in are stored
	Estate func() *estate.Snapshot

	EstateOf EstateService
	Events   EventSource
	Hosts    HostService
	Policy   PolicyService
}

// Server is the HTTP server.
type Server struct {
	deps  Deps
	http  *http.Server
	admin *http.Server // nil without Deps.Admin
	fresh sync.Map     // net.Conn → struct{}: connections that have not asked anything yet

	streams  atomic.Int32    // open ones
	stopping context.Context // done when streams are to end
	stop     context.CancelFunc
}

// stopGrace is how long requests under way may take at the end. All of `weir up` is to end within five seconds.
const stopGrace = 2 * time.Second

// Listen binds the address of the configuration.
func Listen(cfg Config) (net.Listener, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for api on %q: %w", cfg.Listen, err)
	}
	return l, nil
}

// New wires the routes and starts nothing.
func New(d Deps) *Server {
	s := &Server{deps: d}
	s.stopping, s.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.Metrics, promhttp.HandlerOpts{}))
	s.routes(humago.New(mux, openAPI(d.Version)))
	s.http = s.server(guard(mux))
	if d.Admin != nil {
		mux := http.NewServeMux()
		api := humago.New(mux, openAPI(d.Version))
		s.routes(api)
		s.adminRoutes(api)
		if d.Policy != nil {
			s.policyAdminRoutes(api)
		}
		s.admin = s.server(local(mux))
		s.admin.ConnContext = withPeer
		s.admin.WriteTimeout = maxDetachWait + time.Minute
	}
	return s
}

func (s *Server) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      2 * time.Minute, // the longest query that the API allows, and its answer
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.deps.Log.Handler(), slog.LevelDebug),
		ConnState:         s.track,
	}
}

// track keeps the list of connections that have not asked anything yet. Browsers open some ahead, and Shutdown would
// wait five seconds for a first request on them.
func (s *Server) track(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.fresh.Store(c, struct{}{})
	} else {
		s.fresh.Delete(c)
	}
}

func openAPI(version string) huma.Config {
	cfg := huma.DefaultConfig("Weir", version)
	cfg.OpenAPIPath = "/api/v1/openapi"
	cfg.SchemasPath = "/api/v1/schemas"
	cfg.RejectUnknownQueryParameters = true // a mistyped filter is not no filter
	cfg.DocsPath = ""                       // the library's page loads scripts from elsewhere
	cfg.Components = &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName)}
	return cfg
}

// schemaName names a type in the OpenAPI document. Types of other packages carry the package's name, since several
// have a Stats.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if pkg := path.Base(t.PkgPath()); t.Name() != "" && strings.HasPrefix(t.PkgPath(), module+"/") && pkg != "api" {
		return strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	return name
}

const module = "github.com/weirhq/weir"

// Run serves until ctx is done, then lets requests under way finish for two seconds.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx, s.http, s.deps.Listener) })
	if s.admin != nil {
		g.Go(func() error { return s.serve(ctx, s.admin, s.deps.Admin) })
	}
	return g.Wait()
}

func (s *Server) serve(ctx context.Context, server *http.Server, l net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		s.stop()
		s.fresh.Range(func(c, _ any) bool {
			c.(net.Conn).Close()
			return true
		})
		err := server.Shutdown(grace)
		stopped <- errors.Join(err, server.Close())
	})
	err := server.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve api: %w", err)
	}
	if err := <-stopped; err != nil {
		s.deps.Log.Warn("api requests cut at stop", "err", err)
	}
	return nil
}

// guard refuses requests by a name that is not this machine's own, and sets the headers every answer carries.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		if !loopback(host) {
			http.Error(w, fmt.Sprintf("host %q: expected localhost or a loopback address", host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopback tells whether host, without a port, names this machine to itself.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
