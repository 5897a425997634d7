package openflow_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/pki"
)

// serve runs a listener at all addresses of this machine until the end of the test, and returns its port and what it hands over.
func serve(t *testing.T, reg prometheus.Registerer, log *slog.Logger, conf *tls.Config) (port uint16, conns <-chan *openflow.Conn) {
	t.Helper()
	given := make(chan *openflow.Conn, 16)
	l, err := openflow.NewListener(config, openflow.Deps{Log: log, Metrics: reg, Handle: func(ctx context.Context, c *openflow.Conn) {
		select {
		case given <- c:
		case <-ctx.Done():
		}
		select {
		case <-ctx.Done():
		case <-c.Done():
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	nl, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, nl, conf) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return uint16(nl.Addr().(*net.TCPAddr).Port), given
}

// next returns the next connection that is handed over.
func next(t *testing.T, conns <-chan *openflow.Conn) *openflow.Conn {
	t.Helper()
	select {
	case c := <-conns:
		return c
	case <-time.After(time.Minute):
		t.Fatal("no connection is handed over")
		return nil
	}
}

// event returns the next event that is not of a port: those may still come up.
func event(t *testing.T, c *openflow.Conn) openflow.Event {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case e := <-c.Events():
			if _, port := e.(openflow.PortStatus); !port {
				return e
			}
		case <-deadline:
			t.Fatal("nothing is told")
		}
	}
}

// A bridge dials, with TLS and without, is told of by its datapath id, and proves who it is by the certificate of its database.
func TestBridgeDials(t *testing.T) {
	b := newBridge(t)
	id := strings.Trim(b.vsctl("get", "bridge", "br0", "datapath_id"), `"`)
	port, conns := serve(t, nil, slog.New(slog.DiscardHandler), nil)
	dial := func(scheme string, port uint16, conns <-chan *openflow.Conn) *openflow.Conn {
		t.Helper()
		target := fmt.Sprintf("%s:%v", scheme, netip.AddrPortFrom(b.host.Root, port))
		if err := b.host.SetControllers(t.Context(), "br0", ovsbed.Controller{Target: target, Service: true}); err != nil {
			t.Fatal(err)
		}
		c := next(t, conns)
		if got := openflow.DatapathID(c.Features.DatapathID); got != id || c.Addr.Addr() != b.host.Exporter || c.Features.Tables != 254 {
			t.Errorf("the bridge is %s at %v with %d tables, want %s at %v with 254", got, c.Addr, c.Features.Tables, id, b.host.Exporter)
		}
		return c
	}
	c := dial("tcp", port, conns)
	if c.Chain != nil {
		t.Error("there is a certificate without TLS")
	}
	// A service controller is told what it wants to be told of.
	f := openflow.Flow{Priority: 7, Cookie: 9, Flags: openflow.SendRemoved, Match: openflow.NewMatch(openflow.InPort(3))}
	if err := c.Apply(t.Context(), []openflow.Mod{openflow.AddFlow{Flow: f}, openflow.DeleteFlow{Key: f.Key()}}); err != nil {
		t.Fatal(err)
	}
	if err := c.PacketOut(t.Context(), openflow.PortController, make([]byte, 60), openflow.Output{Port: 1}); err != nil {
		t.Error(err)
	}
	e := event(t, c)
	if r, ok := e.(openflow.FlowRemoved); !ok || r.Flow != f || r.Reason != openflow.RemovedDeleted {
		t.Errorf("event %+v, want that %s was deleted", e, f)
	}

	dir := t.TempDir()
	authority, err := pki.Init(filepath.Join(dir, "ca"), pki.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{Name: "farm-1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.WriteHost(dir, pair); err != nil {
		t.Fatal(err)
	}
	keys := ovsbed.TLS{Key: filepath.Join(dir, "farm-1-privkey.pem"), Certificate: filepath.Join(dir, "farm-1-cert.pem"), CA: filepath.Join(dir, "weir-ca.pem")}
	if err := b.host.SetTLS(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	identity := func() ([]tls.Certificate, error) { return authority.Identities(time.Now()) }
	port, conns = serve(t, nil, slog.New(slog.DiscardHandler), ovsdb.ServerTLS(identity, func() bool { return false }))
	c = dial("ssl", port, conns)
	if len(c.Chain) == 0 || ovsdb.FingerprintOf(c.Chain[0]) != ovsdb.FingerprintOf(pair.Certificate) {
		t.Errorf("the bridge presents %v", c.Chain)
	}
	if err := c.Barrier(t.Context()); err != nil {
		t.Error(err)
	}
}

// Garbage closes the connection, is counted, and does nothing else: not even a line of the log.
func TestGarbage(t *testing.T) {
	reg := prometheus.NewRegistry()
	var lines atomic.Int64
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) { lines.Add(1); return len(b), nil }), nil))
	port, conns := serve(t, reg, log, nil)
	const each = 20
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", `{"method":"echo","id":"echo","params":[]}`, "\x04\x05\x00\x08\x00\x00\x00\x01"} {
		for range each {
			c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, garbage); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if said, err := io.ReadAll(c); len(said) > 16 || err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("after %q the connection says %x, %v", garbage, said, err)
			}
			c.Close()
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				counted[f.GetName()+" "+l.GetValue()] = m.Counter.GetValue()
			}
		}
	}
	for _, r := range openflow.Reasons() {
		want := 0.
		if r == openflow.ReasonMalformed {
			want = 4 * each
		}
		if got := counted["weir_openflow_ended_total "+string(r)]; got != want {
			t.Errorf("%v connections ended for reason %q, want %v", got, r, want)
		}
	}
	if lines.Load() != 0 || len(conns) != 0 {
		t.Errorf("garbage makes %d lines of the log and %d connections", lines.Load(), len(conns))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
