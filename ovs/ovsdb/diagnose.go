package ovsdb

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Outcome is how a step of a diagnosis went.
type Outcome string

// Outcomes of a step.
const (
	OK      Outcome = "ok"
	Warning Outcome = "warning" // it works, and somebody should look
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // it makes no sense here, or an earlier step failed
)

// Step is one thing that a diagnosis looked at.
type Step struct {
	Name    string // "resolve", "connect", "tls", "certificate", "database", "schema", "switch", "identity", "trip"
	Outcome Outcome
	Text    string // what was found
	Advice  string // what to do; empty if nothing
	Took    time.Duration
}

// steps are the names of those that Diagnose takes, in their order.
var steps = []string{"resolve", "connect", "tls", "certificate", "database", "schema", "switch", "identity", "trip"}

// trips is how many echoes the round trip is measured with.
const trips = 5

// Diagnose tries step by step what a session needs, changes nothing at the host, and sends nothing but the handshake to one that is not
// believed. It returns all steps, in the same order whatever happens; after one that failed the others are skipped.
func Diagnose(ctx context.Context, cfg Config, d Deps) []Step {
	x := &diagnosis{cfg: cfg, d: d}
	if x.d.Dial == nil {
		x.d.Dial = (&net.Dialer{}).DialContext
	}
	defer x.close()
	tries := map[string]func(context.Context) Step{
		"resolve": x.resolve, "connect": x.connect, "tls": x.handshake, "certificate": x.certificate, "database": x.database,
		"schema": x.schema, "switch": x.vswitchd, "identity": x.identity, "trip": x.trip,
	}
	list := make([]Step, 0, len(steps))
	failed := false
	for _, name := range steps {
		s := Step{Outcome: Skipped, Text: "not tried"}
		if !failed {
			began := time.Now()
			s = tries[name](ctx)
			s.Took = time.Since(began)
		}
		s.Name = name
		failed = failed || s.Outcome == Failed
		list = append(list, s)
	}
	return list
}

// diagnosis is what the steps hand on.
type diagnosis struct {
	cfg    Config
	d      Deps
	nc     net.Conn
	chain  []*x509.Certificate
	trust  error // why the chain is not believed
	peer   *Peer
	fields *Schema
	rows   *Rows
}

func (x *diagnosis) close() {
	switch {
	case x.peer != nil:
		x.peer.Close()
	case x.nc != nil:
		x.nc.Close()
	}
}

func (x *diagnosis) resolve(ctx context.Context) Step {
	host := x.cfg.Target.Host
	if host == "" {
		return Step{Outcome: Skipped, Text: "a unix socket has no address"}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return Step{Outcome: Skipped, Text: host + " is an address"}
	}
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Limits.DialTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return Step{Outcome: Failed, Text: err.Error(), Advice: "Is the name right? Give the address, or add the name to DNS or /etc/hosts of this machine."}
	}
	text := make([]string, len(addrs))
	for i, a := range addrs {
		text[i] = a.Unmap().String()
	}
	return Step{Outcome: OK, Text: fmt.Sprintf("%s is %s", host, strings.Join(text, ", "))}
}

func (x *diagnosis) connect(ctx context.Context) Step {
	if x.cfg.Target.IsZero() {
		return Step{Outcome: Failed, Text: "the host dials in: there is nothing to dial", Advice: "Look at weir hosts list: it shows hosts that dialled in and wait, or why one was refused. On the host, ovs-vsctl list Manager shows its side."}
	}
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Limits.DialTimeout)
	defer cancel()
	nc, err := x.d.Dial(ctx, x.cfg.Target.network(), x.cfg.Target.address())
	if err == nil {
		x.nc = nc
		text := "connected"
		if a := nc.RemoteAddr(); x.cfg.Target.Path == "" {
			text = "connected to " + a.String()
		}
		return Step{Outcome: OK, Text: text}
	}
	s := Step{Outcome: Failed, Text: err.Error()}
	scheme, _, _ := strings.Cut(x.cfg.Target.String(), ":")
	switch {
	case errors.Is(err, unix.ECONNREFUSED) && x.cfg.Target.Path == "":
		s.Advice = fmt.Sprintf("Nothing listens there. On the host, `ovs-vsctl get-manager` shows what it listens on; `ovs-vsctl set-manager p%s:%d` replaces that.", scheme, x.cfg.Target.Port)
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		s.Advice = "Is ovsdb-server running, and is this the path of its socket (/var/run/openvswitch/db.sock)?"
	case errors.Is(err, fs.ErrPermission):
		s.Advice = "Weir may not open the socket: run it as a user or group that may."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		s.Advice = fmt.Sprintf("Nothing answers. Is the host up, and may this machine reach its TCP port %d (firewalls on the way and on the host)?", x.cfg.Target.Port)
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		s.Advice = "There is no way to the host from this machine: look at its routes."
	}
	return s
}

func (x *diagnosis) handshake(ctx context.Context) Step {
	if !x.cfg.Target.TLS {
		x.peer = newPeer(x.nc, nil, x.cfg.Limits)
		if x.cfg.Target.Path != "" || isLoopback(x.nc.RemoteAddr()) {
			return Step{Outcome: Skipped, Text: "without TLS, on this machine"}
		}
		return Step{Outcome: Warning, Text: "without TLS", Advice: "Who is on the way can read and change everything. Use ssl: if the way is not your own."}
	}
	identity, own, err := x.d.secrets()
	if err != nil {
		return Step{Outcome: Failed, Text: err.Error()}
	}
	c := x.cfg.TLS.client(x.cfg.Target, identity, own, func(chain []*x509.Certificate) { x.chain = chain })
	verify := c.VerifyConnection
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		x.trust = verify(cs)
		return x.trust
	}
	tc := tls.Client(x.nc, c)
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Limits.DialTimeout)
	defer cancel()
	err = tc.HandshakeContext(ctx)
	switch {
	case err == nil:
		cs := tc.ConnectionState()
		x.peer = newPeer(tc, &cs, x.cfg.Limits)
		s := Step{Outcome: OK, Text: describe(cs)}
		if x.peer.Legacy() {
			s.Outcome, s.Advice = Warning, "Legacy TLS is in use: who gets the host's key later can read what was recorded. A newer Open vSwitch or OpenSSL on the host ends that."
		}
		return s
	case x.trust != nil: // the handshake was all right until then
		return Step{Outcome: OK, Text: "the host speaks TLS; the handshake was ended at its certificate"}
	case errors.Is(err, context.DeadlineExceeded):
		return Step{Outcome: Failed, Text: "the host does not answer the handshake", Advice: "Is ovsdb-server frozen, or does something else listen at this port?"}
	default:
		return Step{Outcome: Failed, Text: err.Error(), Advice: advice(err)}
	}
}

func (x *diagnosis) certificate(context.Context) Step {
	if !x.cfg.Target.TLS {
		return Step{Outcome: Skipped, Text: "without TLS"}
	}
	if len(x.chain) == 0 {
		return Step{Outcome: Failed, Text: "the host presented no certificate"}
	}
	c := certificateOf(x.chain[0])
	s := Step{Outcome: OK, Text: fmt.Sprintf("%s, by %s, SHA-256 %s, good from %s to %s", c.Subject, c.Issuer, c.Fingerprint,
		c.NotBefore.UTC().Format(time.DateTime), c.NotAfter.UTC().Format(time.DateTime))}
	if bytes.Equal(x.chain[0].RawSubject, x.chain[0].RawIssuer) {
		s.Text = strings.Replace(s.Text, "by "+c.Issuer, "self-signed", 1)
	}
	var refused *RefusedError
	switch now := time.Now(); {
	case errors.As(x.trust, &refused) && refused.Confirm:
		s.Outcome = Failed
		s.Text += "; nobody has confirmed it"
		s.Advice = "Compare the fingerprint with the host's own: `openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE` there, where `ovs-vsctl get-ssl` names the file. If it is the same, confirm it: weir hosts confirm."
	case x.trust != nil:
		s.Outcome = Failed
		s.Text += "; not believed: " + x.trust.Error()
	case now.Before(c.NotBefore):
		s.Outcome, s.Advice = Warning, "It is not good yet: is the clock of this machine, or that of whoever made it, right?"
	case now.After(c.NotAfter):
		s.Outcome, s.Advice = Warning, "It has expired; it is believed by its fingerprint. Give the host a new one before others refuse it."
	case now.Add(soon).After(c.NotAfter):
		s.Outcome, s.Advice = Warning, "It expires soon: give the host a new one (weir ca host NAME)."
	}
	return s
}

// soon is how long before its end a certificate is warned of.
const soon = 30 * 24 * time.Hour

func (x *diagnosis) database(ctx context.Context) Step {
	x.peer.conn.limit.Store(int64(x.cfg.Limits.MaxMessage))
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Limits.AnswerTimeout)
	defer cancel()
	var names []string
	err := x.peer.conn.ask(ctx, func(in *cursor) error {
		return in.array(func() error {
			name, err := in.text()
			if len(names) < 16 {
				names = append(names, printable(name))
			}
			return err
		})
	}, "list_dbs")
	switch {
	case err != nil:
		return Step{Outcome: Failed, Text: err.Error(), Advice: advice(err)}
	case !slices.Contains(names, database):
		return Step{Outcome: Failed, Text: fmt.Sprintf("the server has the databases %q", names), Advice: fmt.Sprintf("Expected is %s. Is this the server of OVN, or of another program?", database)}
	default:
		return Step{Outcome: OK, Text: "the server has " + strings.Join(names, ", ")}
	}
}

func (x *diagnosis) schema(ctx context.Context) Step {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Limits.AnswerTimeout)
	defer cancel()
	schema, err := fetchSchema(ctx, x.peer.conn)
	if err == nil {
		err = schema.check()
	}
	if err != nil {
		return Step{Outcome: Failed, Text: err.Error()}
	}
	x.fields = schema
	s := Step{Outcome: OK, Text: "schema " + schema.Version() + ", with all that Weir reads"}
	if missing := schema.missing(); len(missing) > 0 {
		s.Text = fmt.Sprintf("schema %s, without %s: what needs these is left out at this host", schema.Version(), strings.Join(missing, ", "))
	}
	return s
}

func (x *diagnosis) vswitchd(ctx context.Context) Step {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.Limits.AnswerTimeout)
	defer cancel()
	m := newMonitor(x.fields, int(x.cfg.Limits.MaxMemory))
	c := x.peer.conn
	c.mu.Lock()
	c.update = m.update
	c.mu.Unlock()
	var rows Rows // of the moment at which the monitor began
	if err := m.start(ctx, c, func() { rows = *m.snapshot() }); err != nil {
		return Step{Outcome: Failed, Text: err.Error()}
	}
	x.rows = &rows
	root := rows.Root
	version := "Open vSwitch " + printable(root.OVSVersion)
	if root.OVSVersion == "" {
		version = "a version of Open vSwitch that the host does not tell"
	}
	unmade := 0
	for _, b := range rows.Bridges {
		if b.DatapathID == "" {
			unmade++
		}
	}
	text := fmt.Sprintf("%s, %d bridges, %d ports", version, len(rows.Bridges), len(rows.Ports))
	const look = "Is ovs-vswitchd running? On the host: `ovs-appctl version` and its log."
	switch {
	case root.UUID == "":
		return Step{Outcome: Failed, Text: "the database was never set up", Advice: "Start Open vSwitch on the host."}
	case unmade > 0:
		return Step{Outcome: Warning, Text: fmt.Sprintf("%s, of which %d bridges are not made", text, unmade), Advice: look}
	case root.CurCfg < root.NextCfg:
		return Step{Outcome: Warning, Text: fmt.Sprintf("%s; change %d was asked for and %d applied", text, root.NextCfg, root.CurCfg), Advice: look}
	default: // one that has ended since its last change cannot be told from one that runs
		return Step{Outcome: OK, Text: text + "; all that was asked for is applied"}
	}
}

func (x *diagnosis) identity(context.Context) Step {
	ids := x.rows.Root.ExternalIDs
	var found []string
	for _, key := range []string{"hostname", "system-id", "xs-system-uuid"} {
		if v := printable(ids[key]); v != "" {
			found = append(found, key+" "+v)
		}
	}
	if len(found) == 0 {
		return Step{Outcome: Warning, Text: "the host has no system-id", Advice: "Weir gives it an identity of its own. To give it one that outlives Weir: `ovs-vsctl set Open_vSwitch . external_ids:system-id=$(uuidgen)`."}
	}
	return Step{Outcome: OK, Text: strings.Join(found, ", ")}
}

func (x *diagnosis) trip(ctx context.Context) Step {
	var took []time.Duration
	for range trips {
		probing, cancel := context.WithTimeout(ctx, x.cfg.Limits.Probe)
		began := time.Now()
		err := echo(probing, x.peer.conn)
		cancel()
		if err != nil {
			return Step{Outcome: Failed, Text: err.Error(), Advice: "The host stopped answering."}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return Step{Outcome: OK, Text: fmt.Sprintf("%s, at worst %s", round(took[len(took)/2]), round(took[len(took)-1]))}
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
