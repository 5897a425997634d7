package syslog_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/event/syslog"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/internal/strictyaml"
)

const patience = time.Minute

var then = time.Date(2026, 11, 26, 12, 0, 0, 123e6, time.UTC)

func name(id flow.ID) string { return map[flow.ID]string{7: "xcp1", 9: `we]b"\`}[id] }

// A message says what the event says.
func TestFormat(t *testing.T) {
	e := event.Event{
		ID: 57, Time: then, Kind: event.HostLost, Host: 7, VM: 9, VIF: 10, Subject: `xcp]1`, Text: "no answer\nfor 15 s, ä",
		Attributes: map[string]string{"last error": `a"b\c]d` + "\x00\xff", "äöü=": "x", "": "y"},
	}
	b := syslog.Format(syslog.Header{Facility: 17, Hostname: "weir 1", PID: 812}, &e, name, 8192)
	got, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	want := message{
		facility: 17, severity: 3, time: then, hostname: "weir_1", app: "weir", pid: "812", id: "host_lost",
		data: map[string]map[string]string{
			"event@32473": {"id": "57", "severity": "error", "subject": "xcp]1", "host_id": "7", "host": "xcp1", "vm_id": "9", "vm": `we]b"\`, "vif_id": "10"},
			"facts@32473": {"last_error": `a"b\c]d` + " \ufffd", "____": "x", "_": "y"},
		},
		text: "xcp]1: no answer for 15 s, ä",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(message{})); diff != "" {
		t.Errorf("%s\n%s", b, diff)
	}
}

// Whatever an event says, its message is one that a strict receiver takes, within the limit.
func TestFormatIsStrict(t *testing.T) {
	seed := chance.Seed(t)
	r := randv2.New(randv2.NewPCG(seed, 0))
	text := func(most int) string {
		b := make([]byte, r.IntN(most))
		for i := range b {
			b[i] = byte(r.Uint32())
			if r.IntN(3) > 0 {
				b[i] = ` "]\=[<>@äx`[r.IntN(12)]
			}
		}
		return string(b)
	}
	rounds := 3000
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		e := event.Event{ID: r.Uint64(), Time: then, Kind: event.Kind(text(60)), Host: flow.ID(r.IntN(12)), Bridge: 1, Network: 2, VM: flow.ID(r.Uint64()), VIF: 4, Subject: text(300), Text: text(1200), Attributes: map[string]string{}}
		for range r.IntN(40) {
			e.Attributes[text(70)] = text(600)
		}
		limit := []int{2048, 8192}[r.IntN(2)]
		name := func(flow.ID) string { return text(1000) }
		b := syslog.Format(syslog.Header{Facility: 16, Hostname: text(300), PID: 1}, &e, name, limit)
		if len(b) > limit {
			t.Fatalf("seed %d: %d bytes, limit %d", seed, len(b), limit)
		}
		if _, err := parse(b); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// source is a log of events in memory, which Follow follows as event.Log's does.
type source struct {
	mu     sync.Mutex
	events []event.Event // guarded by mu
	news   chan struct{} // guarded by mu: closed by the next add
}

func newSource() *source { return &source{news: make(chan struct{})} }

func (s *source) add(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.ID = uint64(len(s.events) + 1)
	s.events = append(s.events, e)
	close(s.news)
	s.news = make(chan struct{})
}

func (s *source) LastID(context.Context) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.events)), nil
}

func (s *source) Follow(ctx context.Context, after uint64, _ event.Query, send func([]event.Event, uint64) error) error {
	for {
		s.mu.Lock()
		events, news := s.events[min(after, uint64(len(s.events))):], s.news
		s.mu.Unlock()
		if len(events) > 0 {
			after = events[len(events)-1].ID
			if err := send(events, after); err != nil {
				return err
			}
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// positions keeps positions in memory.
type positions struct{ all sync.Map }

func (p *positions) Position(_ context.Context, name string) (uint64, bool, error) {
	v, known := p.all.Load(name)
	if !known {
		return 0, false, nil
	}
	return v.(uint64), true, nil
}

func (p *positions) SetPosition(_ context.Context, name string, id uint64) error {
	p.all.Store(name, id)
	return nil
}

// receiver takes messages over one transport.
type receiver struct {
	t        *testing.T
	listener net.Listener
	packets  net.PacketConn
	messages chan message
	accepted atomic.Int32

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func listen(t *testing.T, transport syslog.Transport, addr string, cfg *tls.Config) *receiver {
	t.Helper()
	r := &receiver{t: t, messages: make(chan message, 1000)}
	var err error
	switch transport {
	case syslog.UDP:
		r.packets, err = net.ListenPacket("udp", addr)
	case syslog.TCP:
		r.listener, err = net.Listen("tcp", addr)
	case syslog.TLS:
		r.listener, err = tls.Listen("tcp", addr, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r.packets != nil {
		go r.readPackets()
	} else {
		go r.accept()
	}
	t.Cleanup(r.close)
	return r
}

func (r *receiver) addr() string {
	if r.packets != nil {
		return r.packets.LocalAddr().String()
	}
	return r.listener.Addr().String()
}

func (r *receiver) close() {
	if r.packets != nil {
		r.packets.Close()
		return
	}
	r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
}

func (r *receiver) readPackets() {
	b := make([]byte, 65536)
	for {
		n, _, err := r.packets.ReadFrom(b)
		if err != nil {
			return
		}
		r.take(b[:n])
	}
}

func (r *receiver) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.accepted.Add(1)
		r.mu.Lock()
		r.conns = append(r.conns, c)
		r.mu.Unlock()
		go r.readFrames(c)
	}
}

// readFrames reads MSG-LEN SP SYSLOG-MSG, strictly (RFC 6587 §3.4.1).
func (r *receiver) readFrames(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		length, err := in.ReadString(' ')
		if err != nil {
			return
		}
		length = strings.TrimSuffix(length, " ")
		n, err := strconv.Atoi(length)
		if err != nil || n < 1 || n > 8192 || strconv.Itoa(n) != length {
			r.t.Errorf("MSG-LEN %q", length)
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return
		}
		r.take(b)
	}
}

func (r *receiver) take(b []byte) {
	m, err := parse(b)
	if err != nil {
		r.t.Error(err)
	}
	r.messages <- m
}

// next returns the next message.
func (r *receiver) next() message {
	r.t.Helper()
	select {
	case m := <-r.messages:
		return m
	case <-time.After(patience):
		r.t.Fatal("no message")
		return message{}
	}
}

func run(t *testing.T, cfg syslog.Config, s *source, p *positions) (sender *syslog.Sender, stop func()) {
	t.Helper()
	sender, err := syslog.New(cfg, syslog.Deps{Log: slog.New(slog.DiscardHandler), Events: s, Keep: p, Name: name, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sender.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return sender, stop
}

func lost(n int) event.Event {
	return event.Event{Time: time.Now(), Kind: event.HostLost, Subject: fmt.Sprintf("host %d", n), Text: "no answer"}
}

// begun waits until the sender has noted where it begins, since earlier events are not for it.
func begun(t *testing.T, p *positions) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		found := false
		p.all.Range(func(_, _ any) bool { found = true; return false })
		if found {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the sender does not begin")
		}
	}
}

// Events come over each transport, in order; not those from before the receiver was configured; those while Weir was down, and those while
// the receiver was away, later.
func TestTransports(t *testing.T) {
	server, caFile := certificate(t)
	for _, transport := range []syslog.Transport{syslog.UDP, syslog.TCP, syslog.TLS} {
		t.Run(string(transport), func(t *testing.T) {
			s, p := newSource(), &positions{}
			s.add(lost(1))
			r := listen(t, transport, "127.83.54.24:0", server) // of its own, as it comes back at the same port: nobody takes that meanwhile
			cfg := syslog.Default()
			cfg.Address, cfg.Transport = r.addr(), transport
			if transport == syslog.TLS {
				cfg.TLS = syslog.TLSConfig{CAFile: caFile, ServerName: "syslog.example"}
			}
			expect := func(from, to int) {
				t.Helper()
				for i := from; i <= to; i++ {
					if m := r.next(); m.text != fmt.Sprintf("host %d: no answer", i) || m.data["event@32473"]["id"] != strconv.Itoa(i) || m.facility != 16 || m.severity != 3 {
						t.Fatalf("%+v, want host %d", m, i)
					}
				}
			}
			_, stop := run(t, cfg, s, p)
			begun(t, p)
			for i := 2; i <= 50; i++ {
				s.add(lost(i))
			}
			expect(2, 50)
			stop()
			for i := 51; i <= 60; i++ {
				s.add(lost(i))
			}
			sender, _ := run(t, cfg, s, p)
			expect(51, 60)
			if transport == syslog.UDP {
				return // nobody knows there whether a receiver is away
			}
			r.close()
			awaitProblem(t, sender, true)
			for i := 61; i <= 70; i++ {
				s.add(lost(i))
			}
			r = listen(t, transport, cfg.Address, server)
			expect(61, 70)
			awaitProblem(t, sender, false)
			// What the receiver has is counted a moment later.
			for deadline := time.Now().Add(patience); sender.Stats().Sent < 20 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			}
			if st := sender.Stats(); st.Sent != 20 || st.TooOld != 0 {
				t.Errorf("%+v, want 20 sent", st)
			}
		})
	}
}

func awaitProblem(t *testing.T, s *syslog.Sender, want bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); (s.Stats().Problem != "") != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v, want a problem: %v", s.Stats(), want)
		}
	}
}

// A receiver whose certificate is not of the authority gets nothing.
func TestTLSIsChecked(t *testing.T) {
	server, _ := certificate(t)
	_, otherCA := certificate(t)
	s, p := newSource(), &positions{}
	s.add(lost(1))
	r := listen(t, syslog.TLS, "127.0.0.1:0", server)
	cfg := syslog.Default()
	cfg.Address, cfg.Transport, cfg.TLS = r.addr(), syslog.TLS, syslog.TLSConfig{CAFile: otherCA, ServerName: "syslog.example"}
	sender, _ := run(t, cfg, s, p)
	begun(t, p)
	s.add(lost(2))
	awaitProblem(t, sender, true)
	if problem := sender.Stats().Problem; !strings.Contains(problem, "certificate") {
		t.Errorf("problem %q, want one of the certificate", problem)
	}
	if len(r.messages) > 0 {
		t.Errorf("%d messages went to somebody else", len(r.messages))
	}
}

// What happened long before it can be sent is passed over and counted.
func TestTooOld(t *testing.T) {
	s, p := newSource(), &positions{}
	s.add(lost(1))
	r := listen(t, syslog.TCP, "127.0.0.1:0", nil)
	cfg := syslog.Default()
	cfg.Address, cfg.Transport = r.addr(), syslog.TCP
	sender, _ := run(t, cfg, s, p)
	begun(t, p)
	old := lost(2)
	old.Time = time.Now().Add(-25 * time.Hour)
	s.add(old)
	s.add(lost(3))
	if m := r.next(); m.text != "host 3: no answer" {
		t.Errorf("%+v", m)
	}
	if st := sender.Stats(); st.TooOld != 1 {
		t.Errorf("%+v, want one too old", st)
	}
}

func TestConfig(t *testing.T) {
	if cfg := syslog.Default(); strictyaml.Validate(&cfg) != nil {
		t.Error("the default is refused")
	}
	for text, want := range map[string]string{
		"address: nowhere":                              `address: found "nowhere", want host:port`,
		"address: ':514'":                               "want host:port",
		"address: 'h:0'":                                "want host:port",
		"transport: smoke":                              "want udp or tcp or tls",
		"facility: kern":                                "want user or daemon",
		"tls: {ca_file: x}":                             "given with transport udp",
		"{transport: tls, tls: {cert_file: x}}":         "want both or none",
		"{address: 'h:6514', transport: tls, tls: {}}":  "",
		"{address: '[::1]:514', facility: local7}":      "",
		"{address: 'syslog.example:514', transport: x}": "transport",
	} {
		cfg := syslog.Default()
		err := strictyaml.Decode(strictyaml.Document{Data: []byte(text)}, &cfg)
		if err == nil {
			err = strictyaml.Validate(&cfg)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// certificate returns what a server needs that is syslog.example, and the file of who signed that.
func certificate(t *testing.T) (server *tls.Config, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "syslog.example"}, DNSNames: []string{"syslog.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, caFile
}
