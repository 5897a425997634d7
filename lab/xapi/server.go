package xapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Server is the API of one host of a pool.
type Server struct {
	pool *Pool
	l    net.Listener
	http *http.Server
	cert tls.Certificate
}

// Serve makes a host of the pool answer at an address, as 127.0.0.1:0, with a certificate of its own for that IP address. The first host is the
// coordinator. Close ends it.
func (p *Pool) Serve(address string) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	cert, err := NewCertificate(l.Addr().(*net.TCPAddr).IP)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return p.ServeOn(l, cert), nil
}

// ServeOn makes a host of the pool answer at l with a certificate; Close closes l.
func (p *Pool) ServeOn(l net.Listener, cert tls.Certificate) *Server {
	s := &Server{pool: p, l: l, cert: cert}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.cert}},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	go func() { _ = s.http.ServeTLS(l, "", "") }() // ends by Close
	p.mu.Lock()
	if p.master == "" {
		p.master = s.Address()
	}
	p.mu.Unlock()
	return s
}

// Address is where the host answers, as it names itself to others: without the port, if that is HTTPS's.
func (s *Server) Address() string {
	return strings.TrimSuffix(s.l.Addr().String(), ":443")
}

// Certificate returns that of the host; it signed itself.
func (s *Server) Certificate() *x509.Certificate { return s.cert.Leaf }

// PEM returns the certificate as ca_file has it.
func (s *Server) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Leaf.Raw})
}

// Close ends the host, and every call at it.
func (s *Server) Close() error { return s.http.Close() }

// NewCertificate returns one for an address, signed by itself.
func NewCertificate(ip net.IP) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "xapi of the lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IPAddresses: []net.IP{ip}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(raw)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}, err
}

type failure struct {
	code   string
	params []string
}

func (f *failure) Error() string { return f.code }

func fail(code string, params ...string) error { return &failure{code, params} }

// ServeHTTP answers POST /jsonrpc.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/jsonrpc" {
		http.NotFound(w, r)
		return
	}
	var call struct {
		ID     json.RawMessage   `json:"id"`
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	result, err := s.pool.call(r.Context(), s, call.Method, call.Params)
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": result}
	if f, ok := errors.AsType[*failure](err); ok {
		delete(answer, "result")
		answer["error"] = map[string]any{"code": 1, "message": f.code, "data": append([]string{}, f.params...)}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client is gone
}

var errCut = errors.New("cut")

// call is one call at a host.
func (p *Pool) call(ctx context.Context, s *Server, method string, params []json.RawMessage) (any, error) {
	p.mu.Lock()
	p.calls[method]++
	var f fault
	if i := slices.IndexFunc(p.faults, func(f fault) bool { return f.method == "" || f.method == method }); i >= 0 {
		f = p.faults[i]
		p.faults = slices.Delete(p.faults, i, i+1)
	}
	master := p.master
	p.mu.Unlock()
	if f.delay > 0 {
		select {
		case <-time.After(f.delay):
		case <-ctx.Done():
			return nil, errCut
		}
	} else if f.code != "" {
		return nil, fail(f.code)
	} else if f != (fault{}) {
		return nil, errCut
	}
	if master != s.Address() {
		return nil, fail("HOST_IS_SLAVE", master)
	}
	var text []string
	for _, raw := range params {
		var t string
		_ = json.Unmarshal(raw, &t) // empty if it is no text
		text = append(text, t)
	}
	switch method {
	case "session.login_with_password":
		if len(text) < 2 || text[0] != p.cfg.User || text[1] != p.cfg.Password {
			return nil, fail("SESSION_AUTHENTICATION_FAILED", text[0], "Authentication failure")
		}
		session := random()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sessions[session] = true
		return session, nil
	case "session.logout":
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.sessions, text[0])
		return "", nil
	case "event.from":
		return p.from(ctx, s, params)
	case "pool.remove_from_other_config", "pool.add_to_other_config", "tunnel.get_by_uuid", "tunnel.set_status":
		result, err := p.record(s, method, params)
		if err == nil {
			if then := p.taken(method); then != nil {
				then()
			}
		}
		return result, err
	}
	return nil, fail("MESSAGE_METHOD_UNKNOWN", method)
}

// from is event.from(session, classes, token, timeout).
func (p *Pool) from(ctx context.Context, s *Server, params []json.RawMessage) (any, error) {
	var session, token string
	var classes []string
	var timeout float64
	if len(params) != 4 || errors.Join(json.Unmarshal(params[0], &session), json.Unmarshal(params[1], &classes), json.Unmarshal(params[2], &token), json.Unmarshal(params[3], &timeout)) != nil {
		return nil, fail("MESSAGE_PARAMETER_COUNT_MISMATCH", "event.from")
	}
	var since uint64
	if token != "" {
		first, _, _ := strings.Cut(token, ",")
		n, err := strconv.ParseUint(first, 10, 64)
		if err != nil || len(token) != 41 {
			return nil, fail("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
		}
		since = n
	}
	deadline := time.NewTimer(time.Duration(timeout * float64(time.Second)))
	defer deadline.Stop()
	for over := false; ; {
		p.mu.Lock()
		switch {
		case p.master != s.Address():
			master := p.master
			p.mu.Unlock()
			return nil, fail("HOST_IS_SLAVE", master)
		case !p.sessions[session]:
			p.mu.Unlock()
			return nil, fail("SESSION_INVALID", session)
		}
		events := p.since(classes, token == "", since)
		if len(events) > 0 || over {
			answer := map[string]any{"events": events, "token": fmt.Sprintf("%020d,%020d", p.generation, 0), "valid_ref_counts": p.counts()}
			p.mu.Unlock()
			return answer, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
			time.Sleep(p.cfg.Batch) // as the real one: changes come in bulk
		case <-deadline.C:
			over = true
		case <-ctx.Done():
			return nil, errCut
		}
	}
}

// since returns the changes after a generation; p.mu is held.
func (p *Pool) since(classes []string, all bool, generation uint64) []map[string]any {
	type change struct {
		at    uint64
		event map[string]any
	}
	var list []change
	wanted := func(class, ref string) bool {
		return slices.ContainsFunc(classes, func(c string) bool { return c == "*" || c == class || c == class+"/"+ref })
	}
	for class, objects := range p.objects {
		for ref, o := range objects {
			if !all && o.modified <= generation || !wanted(class, ref) {
				continue
			}
			operation := "mod"
			if all || o.created > generation {
				operation = "add"
			}
			list = append(list, change{o.modified, map[string]any{"class": class, "ref": ref, "operation": operation, "snapshot": p.wire(o.record)}})
		}
	}
	for _, g := range p.graves {
		if !all && g.deleted > generation && g.created <= generation && wanted(g.class, g.ref) {
			list = append(list, change{g.deleted, map[string]any{"class": g.class, "ref": g.ref, "operation": "del"}})
		}
	}
	slices.SortFunc(list, func(a, b change) int { return int(a.at) - int(b.at) })
	events := make([]map[string]any, len(list))
	for i, c := range list {
		c.event["id"], c.event["timestamp"] = strconv.Itoa(i), "0"
		events[i] = c.event
	}
	return events
}

// wire returns a record as it is sent.
func (p *Pool) wire(r Record) Record {
	if p.cfg.Numbers {
		return r
	}
	r = maps.Clone(r)
	for k, v := range r {
		if n, ok := v.(int); ok {
			r[k] = strconv.Itoa(n)
		}
	}
	return r
}

// counts returns how many records there are of each class; p.mu is held.
func (p *Pool) counts() map[string]int {
	m := map[string]int{}
	for class, objects := range p.objects {
		m[class] = len(objects) + p.lies[class]
	}
	return m
}
