package hosts_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/pki"
)

// told keeps events.
type told struct {
	mu   sync.Mutex
	list []event.Event
}

func (s *told) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
}

// of returns the events of a kind.
func (s *told) of(kind event.Kind) []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.list), func(e event.Event) bool { return e.Kind != kind })
}

// fleetRig is a running fleet with an authority and what it told.
type fleetRig struct {
	*hosts.Fleet
	authority *pki.Authority
	events    *told
	metrics   *prometheus.Registry
	addr      map[bool]string // at which it listens, with and without TLS
	t         *testing.T
}

func newFleet(t *testing.T) *fleetRig {
	t.Helper()
	authority, err := pki.Init(filepath.Join(t.TempDir(), "pki"), pki.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg := hosts.Default()
	cfg.Grace, cfg.MaxWaiting = 2*time.Second, 3 // what is there is reached within, and answers within the next, on a busy machine
	cfg.Session.Probe, cfg.Session.BackoffMin, cfg.Session.BackoffMax = 3*time.Second, 10*time.Millisecond, 50*time.Millisecond
	listeners, err := hosts.Listen(t.Context(), []hosts.ListenerConfig{{Addr: "127.0.0.1:0", TLS: true}, {Addr: "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	r := &fleetRig{authority: authority, events: &told{}, metrics: prometheus.NewRegistry(), t: t, addr: map[bool]string{
		true: listeners[0].Addr().String(), false: listeners[1].Addr().String(),
	}}
	r.Fleet, err = hosts.NewFleet(cfg, hosts.Deps{
		Metrics: r.metrics, Events: r.events, Listeners: listeners,
		Identity:  func() ([]tls.Certificate, error) { return authority.Identities(time.Now()) },
		Authority: authority.Pool,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func (r *fleetRig) set(list ...hosts.Host) {
	r.t.Helper()
	if err := r.Set(list); err != nil {
		r.t.Fatal(err)
	}
}

func (r *fleetRig) status(name string) hosts.HostStatus {
	for _, h := range r.Hosts() {
		if h.Host.Name == name {
			return h
		}
	}
	return hosts.HostStatus{}
}

func (r *fleetRig) await(name string, state ovsdb.State) {
	r.t.Helper()
	r.until(fmt.Sprintf("host %s is %s", name, state), func() bool { return r.status(name).Session.State == state })
}

// until waits for a condition, and says how everything is if it does not come.
func (r *fleetRig) until(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) { // between polls
		if time.Now().After(deadline) {
			r.t.Fatalf("waited for: %s\nhosts %+v\nstrangers %+v\nevents %+v", what, r.Hosts(), r.Strangers(), r.events.list)
		}
	}
}

// one waits until there is exactly one event of a kind about a subject, and returns it.
func (r *fleetRig) one(kind event.Kind, subject string) event.Event {
	r.t.Helper()
	about := func() []event.Event {
		return slices.DeleteFunc(r.events.of(kind), func(e event.Event) bool { return e.Subject != subject })
	}
	r.until(fmt.Sprintf("%s %s", kind, subject), func() bool { return len(about()) > 0 })
	list := about()
	if len(list) != 1 {
		r.t.Fatalf("events %+v, want one", list)
	}
	return list[0]
}

func target(t *testing.T, text string) ovsdb.Target {
	t.Helper()
	to, err := ovsdb.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// secure gives a server a certificate of an authority.
func secure(t *testing.T, server *ovsdbtest.Server, a *pki.Authority, name, trusts string, algorithm pki.Algorithm) *x509.Certificate {
	t.Helper()
	pair, err := a.Issue(pki.Request{Name: name, Algorithm: algorithm}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	if err := a.WriteHost(dir, pair); err != nil {
		t.Fatal(err)
	}
	if trusts == "" {
		trusts = filepath.Join(dir, "weir-ca.pem")
	}
	server.VSCtl("--no-wait", "set-ssl", filepath.Join(dir, name+"-privkey.pem"), filepath.Join(dir, name+"-cert.pem"), trusts)
	return pair.Certificate
}

const (
	id1 = "aaaaaaaa-0000-4000-8000-000000000001"
	id2 = "aaaaaaaa-0000-4000-8000-000000000002"
)

func TestFleetDials(t *testing.T) {
	r := newFleet(t)
	server := ovsdbtest.Start(t, nil)
	changes, cancel := r.Subscribe()
	defer cancel()
	r.set(hosts.Host{ID: strings.ToUpper(id1), Name: "hv1", Pool: "p", Target: target(t, server.Socket())},
		hosts.Host{ID: id2, Name: "hv2", Target: target(t, "unix:"+filepath.Join(t.TempDir(), "none"))})
	r.await("hv1", ovsdb.StateConnected)
	<-changes
	if e := r.one(event.HostConnected, "hv1"); e.Host != r.status("hv1").Host.FlowID() || e.Pool == 0 || e.Attributes["host"] != id1 {
		t.Errorf("event %+v", e)
	}
	if e := r.one(event.HostLost, "hv2"); !strings.Contains(e.Text, "not reached") {
		t.Errorf("event %+v", e)
	}
	s := r.Session(id1)
	if s == nil || s.Rows() == nil || r.Session("no such") != nil {
		t.Fatal("no session")
	}

	r.set(hosts.Host{ID: id1, Name: "renamed", Target: target(t, server.Socket())})
	if r.Session(id1) != s || r.status("renamed").Session.State != ovsdb.StateConnected || r.Session(id2) != nil {
		t.Error("a new name ended the session, or a host that is gone is still there")
	}
	if err := r.Set([]hosts.Host{{ID: id1, Name: "a"}, {ID: id2, Name: "a"}}); err == nil {
		t.Error("two hosts of one name are taken")
	}
	if err := r.Set([]hosts.Host{{ID: id1, Name: "a", TLS: ovsdb.TLS{Trust: "odd"}}}); err == nil || len(r.Hosts()) != 1 || r.Hosts()[0].Host.Name != "renamed" {
		t.Errorf("settings that are not valid: error %v, hosts %+v", err, r.Hosts())
	}
	if got := metric(r.metrics, "weir_hosts_connections_total", ""); got != 1 {
		t.Errorf("connections %v, want 1", got)
	}
}

func TestFleetTellsOfLoss(t *testing.T) {
	r := newFleet(t)
	server, frozen := ovsdbtest.Start(t, nil), ovsdbtest.Start(t, nil)
	r.set(hosts.Host{ID: id1, Name: "hv1", Target: target(t, server.Socket())}, hosts.Host{ID: id2, Name: "hv2", Target: target(t, frozen.Socket())})
	r.await("hv1", ovsdb.StateConnected)
	r.await("hv2", ovsdb.StateConnected)
	frozen.Signal(unix.SIGSTOP)
	if e := r.one(event.HostLost, "hv2"); !strings.Contains(e.Text, "no echo") {
		t.Errorf("event %+v", e)
	}
	// The other one goes on while it is frozen.
	server.VSCtl("--no-wait", "add-br", "br0")
	r.until("the bridge is seen", func() bool { return len(r.Session(id1).Rows().Bridges) == 1 })
	frozen.Signal(unix.SIGCONT)
	r.until("it is back", func() bool { return len(r.events.of(event.HostConnected)) >= 3 })
}

// A host that is refused, and believed later, is told of both times.
func TestDialledHostIsConfirmed(t *testing.T) {
	r := newFleet(t)
	server := ovsdbtest.Start(t, nil)
	certificate := secure(t, server, r.authority, "hv1", "", "")
	h := hosts.Host{ID: id1, Name: "hv1", Target: target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.1")), TLS: ovsdb.TLS{Trust: ovsdb.TrustPin}}
	r.set(h)
	r.await("hv1", ovsdb.StateConfirm)
	if e := r.one(event.HostRefused, "hv1"); e.Attributes["fingerprint"] != string(ovsdb.FingerprintOf(certificate)) || e.Host != h.FlowID() {
		t.Errorf("event %+v", e)
	}
	if s := r.Session(id1); s.Rows() != nil {
		t.Error("it was read before it was confirmed")
	}
	h.TLS.Pin = ovsdb.FingerprintOf(certificate)
	r.set(h)
	r.await("hv1", ovsdb.StateConnected)
	r.one(event.HostConnected, "hv1")
}

func TestHostDialsIn(t *testing.T) {
	r := newFleet(t)
	server := ovsdbtest.Start(t, nil)
	certificate := secure(t, server, r.authority, "hv1", "", "")
	r.set(hosts.Host{ID: id1, Name: "hv1"}, hosts.Host{ID: id2, Name: "hv2"})
	r.await("hv1", ovsdb.StateWaiting)
	server.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	r.await("hv1", ovsdb.StateConnected)
	if st := r.status("hv1").Session; st.Cert.Fingerprint != ovsdb.FingerprintOf(certificate) || !strings.HasPrefix(st.TLS, "TLS 1.3") || r.status("hv2").Session.State != ovsdb.StateWaiting {
		t.Errorf("status %+v, hosts %+v", st, r.Hosts())
	}
	if _, err := r.Session(id1).Transact(t.Context(), ovsdb.Mutate("Open_vSwitch", nil, ovsdb.Mutation{Column: "external_ids", Mutator: "insert", Value: map[string]string{"x": "y"}})); err != nil {
		t.Error(err)
	}

	// Somebody says that it is the same host: it waits, and the session is as it was.
	other, err := pki.Init(filepath.Join(t.TempDir(), "other"), pki.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	impostor := ovsdbtest.Start(t, nil)
	impostor.VSCtl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:system-id="+id1)
	secure(t, impostor, other, "hv1", weirCA(t, r.authority), "")
	impostor.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	r.until("it waits", func() bool { list := r.Strangers(); return len(list) == 1 && list[0].Host == id1 })
	if st := r.status("hv1").Session; st.State != ovsdb.StateConnected || st.Cert.Fingerprint != ovsdb.FingerprintOf(certificate) || st.Error != "" {
		t.Errorf("status %+v", st)
	}
	impostor.Stop()

	// It is restarted and dials in anew, into the same session.
	s := r.Session(id1)
	server.Stop()
	server.Run()
	r.until("it is back", func() bool { return s.Status().Starts >= 2 && s.Status().State == ovsdb.StateConnected })
	if s.Rows().Root.ExternalIDs["x"] != "y" {
		t.Errorf("rows %+v", s.Rows().Root)
	}

	// Another server has the same certificate: the session that lives stays.
	starts := s.Status().Starts
	twin := ovsdbtest.Start(t, nil)
	secure(t, twin, r.authority, "hv1", "", "")
	twin.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	r.until("the second is turned away", func() bool { return metric(r.metrics, "weir_hosts_refused_total", "twice") > 0 })
	if s.Status().Starts != starts || s.Rows().Root.ExternalIDs["x"] != "y" {
		t.Errorf("status %+v", s.Status())
	}
	// When the first is frozen, the second takes its place: to Weir they are the same host, with a way that died.
	server.Signal(unix.SIGSTOP)
	r.until("the second replaces it", func() bool { rows := s.Rows(); return s.Status().Starts > starts && rows.Root.ExternalIDs["x"] == "" })
}

// metric returns the value of a metric with that label, if it has one.
func metric(reg *prometheus.Registry, name, label string) float64 {
	families, err := reg.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	panic("no metric " + name + " " + label)
}

func TestUnknownHostWaitsToBeConfirmed(t *testing.T) {
	r := newFleet(t)
	other, err := pki.Init(filepath.Join(t.TempDir(), "other"), pki.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:system-id="+id1, `external_ids:hostname="xcp1"`)
	certificate := secure(t, server, other, "xcp1", weirCA(t, r.authority), "")
	server.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	r.until("it waits", func() bool { return len(r.Strangers()) == 1 })
	x := r.Strangers()[0]
	if x.Cert.Fingerprint != ovsdb.FingerprintOf(certificate) || x.Claim.SystemID != id1 || x.Claim.Hostname != "xcp1" || x.Host != "" || !x.Addr.IsValid() || x.Legacy {
		t.Errorf("stranger %+v", x)
	}
	if e := r.one(event.HostRefused, "xcp1"); e.Attributes["fingerprint"] != string(x.Cert.Fingerprint) || !strings.Contains(e.Text, "not one of the configured hosts") {
		t.Errorf("event %+v", e)
	}

	// A host is configured that may be it, and nobody has confirmed a certificate.
	r.set(hosts.Host{ID: id1, Name: "hv1", TLS: ovsdb.TLS{Trust: ovsdb.TrustPin}})
	r.until("it is known as what it says", func() bool { list := r.Strangers(); return len(list) == 1 && list[0].Host == id1 })
	if st := r.status("hv1").Session; st.State == ovsdb.StateConnected || st.Cert.Fingerprint != x.Cert.Fingerprint {
		t.Errorf("status %+v", st)
	}
	// The wrong one is confirmed, then the right one: the connection that waited is taken.
	wrong := ovsdb.FingerprintOf(other.Certificate())
	r.set(hosts.Host{ID: id1, Name: "hv1", TLS: ovsdb.TLS{Trust: ovsdb.TrustPin, Pin: wrong}})
	r.until("it is refused", func() bool {
		list := r.Strangers()
		return len(list) == 1 && strings.Contains(list[0].Reason, string(wrong))
	})
	r.set(hosts.Host{ID: id1, Name: "hv1", TLS: ovsdb.TLS{Trust: ovsdb.TrustPin, Pin: x.Cert.Fingerprint}})
	r.await("hv1", ovsdb.StateConnected)
	if peer := r.status("hv1").Session.Peer; peer != x.Addr || len(r.Strangers()) != 0 {
		t.Errorf("peer %v, want %v; strangers %+v", peer, x.Addr, r.Strangers())
	}

	// A certificate that changes after it was confirmed is refused.
	secure(t, server, other, "xcp1", weirCA(t, r.authority), "")
	server.Stop()
	server.Run()
	r.until("the new certificate is refused", func() bool {
		list := r.Strangers()
		return len(list) == 1 && list[0].Host == id1 && strings.Contains(list[0].Reason, "was confirmed") && r.status("hv1").Session.State != ovsdb.StateConnected
	})
	r.until("that is told", func() bool {
		return slices.ContainsFunc(r.events.of(event.HostRefused), func(e event.Event) bool {
			return e.Subject == "hv1" && strings.Contains(e.Text, string(x.Cert.Fingerprint))
		})
	})
}

// weirCA writes the certificate of an authority to a file.
func weirCA(t *testing.T, a *pki.Authority) string {
	t.Helper()
	pair, err := a.Issue(pki.Request{Name: "any"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := a.WriteHost(dir, pair); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "weir-ca.pem")
}

// A host with a certificate of Weir's authority does not pass for another, whatever it says of itself.
func TestHostDoesNotPassForAnother(t *testing.T) {
	r := newFleet(t)
	server := ovsdbtest.Start(t, nil)
	secure(t, server, r.authority, "hv2", "", "")
	server.VSCtl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:system-id="+id1, "external_ids:xs-system-uuid="+id1)
	r.set(hosts.Host{ID: id1, Name: "hv1"})
	server.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	r.until("it waits", func() bool {
		list := r.Strangers()
		return len(list) == 1 && list[0].Host == id1 && strings.Contains(list[0].Reason, `not for "hv1"`)
	})
	r.set(hosts.Host{ID: id1, Name: "hv1", TLS: ovsdb.TLS{Trust: ovsdb.TrustNone}}) // not by the way with TLS either
	r.until("it waits still", func() bool {
		list := r.Strangers()
		return len(list) == 1 && strings.Contains(list[0].Reason, "configured without TLS")
	})
	if r.status("hv1").Session.Starts != 0 {
		t.Errorf("hosts %+v", r.Hosts())
	}
}

func TestHostDialsInWithoutTLS(t *testing.T) {
	r := newFleet(t)
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:system-id="+id1)
	r.set(hosts.Host{ID: id1, Name: "hv1"})
	server.VSCtl("--no-wait", "set-manager", "tcp:"+r.addr[false])
	r.until("it waits: its certificate is missing", func() bool {
		list := r.Strangers()
		return len(list) == 1 && strings.Contains(list[0].Reason, "no certificate")
	})
	r.set(hosts.Host{ID: id1, Name: "hv1", TLS: ovsdb.TLS{Trust: ovsdb.TrustNone}})
	r.await("hv1", ovsdb.StateConnected)
}

func TestLegacyHostDialsIn(t *testing.T) {
	r := newFleet(t)
	server := ovsdbtest.Start(t, nil, "--ssl-protocols=TLSv1.2", "--ssl-ciphers=AES128-SHA")
	secure(t, server, r.authority, "hv1", "", pki.RSA)
	r.set(hosts.Host{ID: id1, Name: "hv1"}, hosts.Host{ID: id2, Name: "hv2"})
	server.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	r.until("no handshake comes about", func() bool { return metric(r.metrics, "weir_hosts_refused_total", "handshake") > 0 })
	// That another host may speak so does not make it right for this one.
	r.set(hosts.Host{ID: id1, Name: "hv1"}, hosts.Host{ID: id2, Name: "hv2", TLS: ovsdb.TLS{Legacy: true}})
	r.until("it waits", func() bool {
		list := r.Strangers()
		return len(list) == 1 && list[0].Legacy && strings.Contains(list[0].Reason, "legacy TLS")
	})
	r.set(hosts.Host{ID: id1, Name: "hv1", TLS: ovsdb.TLS{Legacy: true}})
	r.await("hv1", ovsdb.StateConnected)
}

// What comes to the listener and is no host is bounded, and delays no host.
func TestListenerIsBounded(t *testing.T) {
	r := newFleet(t)
	var silent []net.Conn
	for range 40 {
		nc, err := net.Dial("tcp", r.addr[true])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		silent = append(silent, nc)
	}
	r.until("most are turned away", func() bool { return metric(r.metrics, "weir_hosts_refused_total", "busy") >= 36 })
	if _, err := silent[0].Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r.until("garbage is refused", func() bool { return metric(r.metrics, "weir_hosts_refused_total", "handshake") > 0 })
	for _, nc := range silent {
		nc.Close()
	}
	// Hosts that are not known: so many wait, and no more.
	for i := range 5 {
		server := ovsdbtest.Start(t, nil)
		secure(t, server, r.authority, fmt.Sprint("x", i), "", "")
		server.VSCtl("--no-wait", "set-manager", "ssl:"+r.addr[true])
	}
	r.until("the list is full", func() bool {
		return len(r.Strangers()) == 3 && metric(r.metrics, "weir_hosts_refused_total", "full") > 0
	})
}

func TestListenAtASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	list := []hosts.ListenerConfig{{Addr: "unix:" + path}}
	// One that was killed leaves its socket behind.
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	bound, err := hosts.Listen(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	defer bound[0].Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	// One that lives keeps it.
	if _, err := hosts.Listen(t.Context(), list); err == nil {
		t.Error("the socket of another was taken")
	}
	if nc, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		nc.Close()
	}
}

func TestListenerConfig(t *testing.T) {
	for _, c := range []struct {
		hosts.ListenerConfig
		ok bool
	}{
		{hosts.ListenerConfig{Addr: ":6640", TLS: true}, true},
		{hosts.ListenerConfig{Addr: "127.0.0.1:6640"}, true},
		{hosts.ListenerConfig{Addr: "[::1]:6640"}, true},
		{hosts.ListenerConfig{Addr: "unix:/run/weir.sock"}, true},
		{hosts.ListenerConfig{Addr: ":6640", Insecure: true}, true},
		{hosts.ListenerConfig{Addr: ":6640"}, false},
		{hosts.ListenerConfig{Addr: "192.0.2.1:6640"}, false},
		{hosts.ListenerConfig{Addr: "localhost:6640"}, false}, // a name: who knows
		{hosts.ListenerConfig{Addr: "6640", TLS: true}, false},
		{hosts.ListenerConfig{Addr: "unix:", TLS: true}, false},
	} {
		if err := c.Validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.ListenerConfig, err)
		}
	}
}

func TestSwitchRestarted(t *testing.T) {
	r := newFleet(t)
	first, second := ovsdbtest.Start(t, nil), ovsdbtest.Start(t, nil)
	for _, server := range []*ovsdbtest.Server{first, second} {
		server.VSCtl("--no-wait", "add-br", "br0", "--", "set", "Interface", "br0", "ifindex=5", "--", "add-port", "br0", "p1", "--", "set", "Interface", "p1", "ifindex=6")
	}
	r.set(hosts.Host{ID: id1, Name: "hv1", Target: target(t, first.Socket())}, hosts.Host{ID: id2, Name: "hv2", Target: target(t, second.Socket())})
	r.until("both are connected", func() bool { return len(r.events.of(event.HostConnected)) == 2 })
	restarts := func(host string) (list []string) {
		for _, e := range r.events.of(event.SwitchRestarted) {
			if e.Subject == host {
				list = append(list, e.Attributes["evidence"])
			}
		}
		return list
	}
	// A port's new device, and a server that is restarted, say nothing; the bridge's own does.
	first.VSCtl("--no-wait", "set", "Interface", "p1", "ifindex=9")
	first.Stop()
	first.Run()
	r.until("it is connected again", func() bool { st := r.status("hv1").Session; return st.Starts >= 2 && st.State == ovsdb.StateConnected })
	first.VSCtl("--no-wait", "set", "Interface", "br0", "ifindex=5", "--", "set", "Open_vSwitch", ".", "other_config:seen=1")
	r.until("the mark is seen", func() bool { return r.Session(id1).Rows().Root.OtherConfig["seen"] == "1" })
	if list := restarts("hv1"); len(list) != 0 {
		t.Errorf("restarts %q, want none", list)
	}
	first.VSCtl("--no-wait", "set", "Interface", "br0", "ifindex=10")
	r.until("the new device tells", func() bool { return len(restarts("hv1")) == 1 })
	r.ExporterRestarted(id1) // of the same restart
	first.VSCtl("--no-wait", "set", "Open_vSwitch", ".", "other_config:flow-restore-wait=true")
	r.until("that it waits for its flows tells", func() bool { return len(restarts("hv1")) == 2 })
	if list := restarts("hv1"); !strings.Contains(list[0], `bridge "br0"`) || !strings.Contains(list[1], "flows are restored") {
		t.Errorf("restarts %q", list)
	}

	// An exporter that numbers anew tells.
	r.ExporterRestarted(id2)
	r.ExporterRestarted(id2)
	r.ExporterRestarted("no such")
	if list := restarts("hv2"); len(list) != 1 || !strings.Contains(list[0], "exporter") {
		t.Errorf("restarts %q", list)
	}
}
