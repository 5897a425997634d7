package ovsdb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
)

// strangerLimit is the longest message that is read from a host that is not known yet, bytes.
const strangerLimit = 64 << 10

// Peer is a host at the other end of a connection: one that dialled in, or was dialled. Nothing is believed of it.
type Peer struct {
	Addr  netip.AddrPort // zero of a unix socket
	Cert  Certificate    // zero without TLS
	TLS   string         // "TLS 1.3 TLS_AES_128_GCM_SHA256"; empty without TLS
	Since time.Time

	chain []*x509.Certificate
	suite uint16
	conn  *conn
}

// Accept makes a peer of a connection that was accepted: with config, by a TLS handshake; config is nil without TLS. It closes nc
// if it returns an error. The peer is closed or offered to a session.
func Accept(ctx context.Context, nc net.Conn, config *tls.Config, limits Limits) (*Peer, error) {
	if config == nil {
		return newPeer(nc, nil, limits), nil
	}
	tc := tls.Server(nc, config)
	ctx, cancel := context.WithTimeout(ctx, limits.DialTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("accept %s: %w", nc.RemoteAddr(), err)
	}
	cs := tc.ConnectionState()
	return newPeer(tc, &cs, limits), nil
}

func newPeer(nc net.Conn, cs *tls.ConnectionState, limits Limits) *Peer {
	p := &Peer{Since: time.Now(), conn: newConn(nc, strangerLimit, limits.MessageTimeout, limits.WriteTimeout)}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		p.Addr = netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	if cs != nil {
		p.chain, p.suite, p.TLS = cs.PeerCertificates, cs.CipherSuite, describe(*cs)
		if len(p.chain) > 0 {
			p.Cert = certificateOf(p.chain[0])
		}
	}
	go p.conn.serve()
	return p
}

// Legacy says that the connection has what only TLS.Legacy allows.
func (p *Peer) Legacy() bool { return p.chain != nil && slices.Contains(rsaSuites, p.suite) }

// IsFor says whether the peer's certificate names that name, and Weir's own authority or the given one (PEM) signed it.
func (p *Peer) IsFor(name, authority string, own *x509.CertPool) bool {
	t := TLS{Authority: authority, Name: name}
	return name != "" && t.verify(p.chain, own, time.Now()) == nil
}

// Close ends the connection. It may be called more than once.
func (p *Peer) Close() {
	p.conn.close(errClosed)
	<-p.conn.served
}

var errClosed = errors.New("closed by Weir")

// Done is closed when the connection has ended.
func (p *Peer) Done() <-chan struct{} { return p.conn.done }

// Claim is what a host says of itself.
type Claim struct {
	SystemID   string // external_ids:system-id
	SystemUUID string // external_ids:xs-system-uuid, of XenServer
	Hostname   string // external_ids:hostname
}

// Ask asks the peer who it is: a question that changes nothing and tells the peer nothing. What it answers is a claim.
func (p *Peer) Ask(ctx context.Context) (Claim, error) {
	var claim Claim
	results, err := transact(ctx, p.conn, Select("Open_vSwitch", nil, "external_ids"))
	if err != nil {
		return claim, fmt.Errorf("ask %s who it is: %w", p.Addr, err)
	}
	for _, row := range results[0].Rows {
		ids, _ := row["external_ids"].(map[string]string)
		claim = Claim{SystemID: printable(ids["system-id"]), SystemUUID: printable(ids["xs-system-uuid"]), Hostname: printable(ids["hostname"])}
	}
	return claim, nil
}

// transact carries out operations in one transaction.
func transact(ctx context.Context, c *conn, operations ...Operation) ([]Result, error) {
	params := []any{database}
	for _, o := range operations {
		m, err := o.encode()
		if err != nil {
			return nil, err
		}
		params = append(params, m)
	}
	var results []Result
	var refused *OperationError
	err := c.ask(ctx, func(in *cursor) error {
		return in.array(func() error {
			index := len(results)
			if index > len(operations) {
				return in.errorf("more results than operations")
			}
			r, fault, err := readResult(in)
			if fault != nil && refused == nil {
				refused = fault
				if refused.Index = index; index < len(operations) {
					refused.Op = operations[index].String()
				} else {
					refused.Op = "commit"
				}
			}
			results = append(results, r)
			return err
		})
	}, "transact", params...)
	var sent *sentError
	switch {
	case errors.As(err, &sent):
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	case err != nil:
		return nil, err
	case refused != nil:
		return nil, refused
	case len(results) < len(operations):
		return nil, fmt.Errorf("%w: %d results of %d operations", ErrUnknown, len(results), len(operations))
	}
	return results[:len(operations)], nil
}

// readResult reads the result of an operation (RFC 7047 §4.1.3).
func readResult(in *cursor) (r Result, refused *OperationError, err error) {
	if in.peek() == 'n' { // it was not tried
		return r, nil, in.skip()
	}
	err = in.object(func(key []byte) (err error) {
		switch string(key) {
		case "count":
			var n int64
			n, err = in.integer()
			r.Count = int(n)
		case "uuid":
			r.UUID, err = in.uuid()
		case "rows":
			err = in.array(func() error {
				row := Values{}
				r.Rows = append(r.Rows, row)
				return in.object(func(column []byte) (err error) {
					row[string(column)], err = in.value()
					return err
				})
			})
		case "error":
			if in.peek() == 'n' {
				return in.skip()
			}
			if refused == nil {
				refused = &OperationError{}
			}
			refused.Reason, err = in.text()
		case "details":
			if in.peek() == 'n' {
				return in.skip()
			}
			if refused == nil {
				refused = &OperationError{}
			}
			refused.Details, err = in.text()
		default:
			err = in.skip()
		}
		return err
	})
	if refused != nil && refused.Reason == "" {
		refused = nil // details alone
	}
	return r, refused, err
}

// printable returns text that can be shown, cut short: without control characters.
func printable(s string) string {
	const longest = 256
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
