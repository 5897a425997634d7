package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/query"
)

// Config is api in the YAML file.
type Config struct {
	Listen     string    `yaml:"listen" doc:"host:port of the API, status page and metrics."`
	LocalReads bool      `yaml:"local_reads" doc:"With a listener on loopback, users of this machine may look without logging in; what changes something, and who may do what, is not for them."`
	Names      []string  `yaml:"names" doc:"Further names by which clients reach the API, as of a proxy in front: of a listener on loopback, requests for other names are refused; Weir's own certificate is for them, too."`
	TLS        TLSConfig `yaml:"tls" doc:"Encryption of listen."`
}

// Default returns the configuration that is used where the file is silent.
func Default() Config {
	return Config{Listen: "127.0.0.1:8080", LocalReads: true, TLS: TLSConfig{Mode: TLSAuto}}
}

// Validate refuses what is no address.
func (c Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return strictyaml.At("listen", fmt.Errorf("found %q, want host:port, e.g. %q", c.Listen, Default().Listen))
	}
	for i, name := range c.Names {
		if name == "" || strings.ContainsAny(name, " /:") && !validAddr(name) {
			return strictyaml.At(fmt.Sprintf("names[%d]", i), fmt.Errorf("found %q, want the name of a host, or an address, without a port", name))
		}
	}
	return nil
}

func validAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// Loopback tells whether only this machine reaches the listener.
func (c Config) Loopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && loopback(host)
}

// Encrypted tells whether the listener speaks TLS.
func (c Config) Encrypted() bool {
	return c.TLS.Mode == TLSOn || c.TLS.Mode != TLSOff && (!c.Loopback() || c.TLS.CertFile != "")
}

// Scheme is that of the API's addresses.
func (c Config) Scheme() string {
	if c.Encrypted() {
		return "https"
	}
	return "http"
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
	Flows  func(context.Context, query.Request) (FlowsAnswer, error)          // a *query.Error is the asker's mistake
	Hits   func(context.Context, query.HitsRequest) ([]query.RuleHits, error) // likewise; nil: not asked here
	Ready  func(context.Context) error                                        // nil when flows that come in are stored
	Estate func() *estate.Snapshot

	EstateOf EstateService
	Events   EventSource
	Hosts    HostService
	Policy   PolicyService

	// With accounts the API asks who it is, and takes calls that change something over TCP, too.
	Accounts *account.Accounts
	Refusals Refusals                         // nil: what is not done is not written down
	Admins   *AdminEvents                     // nil: they are not told
	Identity func() (*tls.Certificate, error) // what is presented by TLS; nil: Listener is plain
}

// Server is the HTTP server.
type Server struct {
	config Config
	deps   Deps

	changing sync.Mutex // held by who changes what he has seen

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
func New(cfg Config, d Deps) *Server {
	s := &Server{config: cfg, deps: d}
	s.stopping, s.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	status := account.Permission{Least: account.Viewer, Area: account.AreaStatus}
	mux.Handle("GET /{$}", s.protected(status, http.HandlerFunc(s.page)))
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", s.protected(status, promhttp.HandlerFor(d.Metrics, promhttp.HandlerOpts{})))
	s.mount(mux, d.Accounts != nil)
	s.http = s.server(s.guard(http.NewCrossOriginProtection().Handler(s.identified(mux))))
	if d.Identity != nil {
		s.http.TLSConfig = serverTLS(d.Identity)
	}
	if d.Admin != nil {
		mux := http.NewServeMux()
		s.mount(mux, true)
		s.admin = s.server(local(mux))
		s.admin.ConnContext = withPeer
	}
	return s
}

// mount registers the operations: those that change something, too, or not.
func (s *Server) mount(mux *http.ServeMux, changes bool) huma.API {
	api := humago.New(mux, openAPI(s.deps.Version))
	api.UseMiddleware(s.authorize(api))
	s.routes(api)
	if !changes {
		return api
	}
	if s.deps.Hosts != nil {
		s.adminRoutes(api)
	}
	if s.deps.Policy != nil {
		s.policyAdminRoutes(api)
	}
	if s.deps.Accounts != nil {
		s.sessionRoutes(api)
		s.userRoutes(api)
	}
	if s.deps.Admins != nil {
		s.auditRoutes(api)
	}
	return api
}

// protected serves what is no operation of the API to who may see it.
func (s *Server) protected(p account.Permission, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := s.allowed(entryOf(r.Context()), p)
		if status, ok := errors.AsType[huma.StatusError](err); ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
			http.Error(w, err.Error(), status.GetStatus())
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      maxDetachWait + time.Minute, // the longest that the API allows, and its answer
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
	err := serveOn(server, l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve api: %w", err)
	}
	if err := <-stopped; err != nil {
		s.deps.Log.Warn("api requests cut at stop", "err", err)
	}
	return nil
}

// serveOn serves by TLS, if the server is to.
func serveOn(server *http.Server, l net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(l, "", "")
	}
	return server.Serve(l)
}

// guard sets the headers every answer carries. Of a listener on loopback it refuses requests by a name that is not this machine's own, so that
// a page in a browser cannot reach it by a DNS name of its own.
func (s *Server) guard(next http.Handler) http.Handler {
	own := loopbackListener(s.deps.Listener)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		host := hostOf(r)
		if own && !loopback(host) && !slices.ContainsFunc(s.config.Names, func(name string) bool { return strings.EqualFold(name, strings.Trim(host, "[]")) }) {
			http.Error(w, fmt.Sprintf("host %q: expected localhost or a loopback address, or one of api.names", host), http.StatusMisdirectedRequest)
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
