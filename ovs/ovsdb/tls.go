package ovsdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Trust is by what a host's certificate is believed.
type Trust string

// Ways to believe a certificate.
const (
	TrustAuthority Trust = "authority" // an authority signed it; the default
	TrustPin       Trust = "pin"       // a person compared its fingerprint
	TrustNone      Trust = "none"      // there is none: the host dials in without TLS, which is for unix sockets and loopback
)

// TLS is how a session is secured, if its target says ssl or the host dials in. Weir presents its own certificate in any case.
// The zero TLS believes what Weir's own authority signed, for any name.
type TLS struct {
	Trust     Trust       // empty is TrustAuthority
	Authority string      // PEM of the certificates of the authority; empty: Weir's own
	Name      string      // with TrustAuthority, name or address that the certificate must be for; empty: any
	Pin       Fingerprint // that of the certificate; with TrustPin, empty: nobody has confirmed one yet
	Legacy    bool        // TLS 1.2 with RSA key exchange and CBC, too, which old hosts need; what was recorded can be read by who gets the key later
}

// Validate says what is wrong with the settings, or nil.
func (t TLS) Validate() error {
	switch t.Trust {
	case "", TrustAuthority:
		if t.Authority != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(t.Authority)) {
			return errors.New("the authority holds no certificate in PEM form")
		}
	case TrustPin, TrustNone:
	default:
		return fmt.Errorf("found trust %q, expected %s, %s or %s", t.Trust, TrustAuthority, TrustPin, TrustNone)
	}
	return nil
}

// RefusedError says why a host's certificate is not believed.
type RefusedError struct {
	Certificate Certificate
	Reason      string
	Confirm     bool // nobody has confirmed one yet: it waits for a person
}

// Error says what was found and what to do.
func (e *RefusedError) Error() string { return e.Reason }

// certificateOf describes a certificate.
func certificateOf(c *x509.Certificate) Certificate {
	return Certificate{
		Fingerprint: FingerprintOf(c), Subject: printable(c.Subject.String()), Issuer: printable(c.Issuer.String()),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}
}

// verify returns nil if the certificate chain[0] is believed, else a *RefusedError. own is Weir's own authority, nil if there is none.
func (t TLS) verify(chain []*x509.Certificate, own *x509.CertPool, now time.Time) error {
	switch {
	case t.Trust == TrustNone && len(chain) == 0:
		return nil
	case len(chain) == 0:
		return &RefusedError{Reason: "the host presented no certificate"}
	case t.Trust == TrustNone: // who may come without TLS may not come from where TLS is listened for: that is open to all
		return &RefusedError{Certificate: certificateOf(chain[0]), Reason: "the host is configured without TLS, and came with it"}
	}
	leaf := chain[0]
	found := certificateOf(leaf)
	refuse := func(format string, args ...any) error {
		return &RefusedError{Certificate: found, Reason: fmt.Sprintf(format, args...)}
	}
	if t.Trust == TrustPin && t.Pin == "" {
		return &RefusedError{Certificate: found, Confirm: true, Reason: fmt.Sprintf("nobody has confirmed the certificate with fingerprint %s", found.Fingerprint)}
	}
	if t.Pin != "" && t.Pin != found.Fingerprint {
		return refuse("the certificate's fingerprint is %s, and %s was confirmed: if the host has a new certificate, compare it there and confirm it; if not, somebody else answers in its place", found.Fingerprint, t.Pin)
	}
	if t.Trust == TrustPin {
		return nil // the fingerprint says it all: such certificates are self-signed, expired, or for another name
	}

	roots := own
	if t.Authority != "" {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(t.Authority))
	}
	if roots == nil {
		return refuse("there is no authority by which to believe the certificate: give one, make one with `weir ca init`, or confirm the certificate by its fingerprint")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // switches use one certificate for both sides
	})
	if err != nil {
		return refuse("the certificate of %q is not believed: %v", leaf.Subject, err)
	}
	if t.Name != "" && !isFor(leaf, t.Name) {
		return refuse("the certificate of %q is not for %q", leaf.Subject, t.Name)
	}
	return nil
}

// isFor says whether a certificate is for a name or address. The common name counts if there are no alternative names, as in
// certificates that ovs-pki makes.
func isFor(c *x509.Certificate, name string) bool {
	if len(c.DNSNames)+len(c.IPAddresses) == 0 {
		return c.Subject.CommonName == name
	}
	return c.VerifyHostname(name) == nil
}

// rsaSuites are those of TLS 1.2 with RSA key exchange, best first. Go offers them only if they are listed.
var rsaSuites = []uint16{
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}

// legacySuites are all of TLS 1.2 that old hosts may have.
var legacySuites = append([]uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
}, rsaSuites...)

// base returns what both sides of a connection share.
func base(legacy bool, identity []tls.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if legacy {
		c.CipherSuites = legacySuites // of TLS 1.2 only; 1.3 stays as it is
	}
	if len(identity) > 0 {
		c.Certificates = identity // a server presents the first that the client can verify
		c.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			// Some switches name the authorities that they believe, and not all of them. Ours is presented all the same.
			asked.AcceptableCAs = nil
			for i := range identity {
				if asked.SupportsCertificate(&identity[i]) == nil {
					return &identity[i], nil
				}
			}
			return &identity[0], nil
		}
	}
	return c
}

// client returns how to dial. seen gets the chain of the host, before it is believed.
func (t TLS) client(target Target, identity []tls.Certificate, own *x509.CertPool, seen func([]*x509.Certificate)) *tls.Config {
	c := base(t.Legacy, identity)
	c.ServerName = target.Host
	c.InsecureSkipVerify = true // verify below does it, and more: switches' certificates name no hosts
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		seen(cs.PeerCertificates)
		return t.verify(cs.PeerCertificates, own, time.Now())
	}
	return c
}

// ServerTLS returns how to answer hosts that dial in. They must present a certificate, which is believed or not when they are known:
// Session.Offer does that. identity is what Weir presents; legacy says whether some host needs TLS.Legacy. Both are asked for each
// connection.
func ServerTLS(identity func() ([]tls.Certificate, error), legacy func() bool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			own, err := identity()
			if err != nil {
				return nil, err
			}
			c := base(legacy(), own)
			c.ClientAuth = tls.RequireAnyClientCert
			return c, nil
		},
	}
}

// describe says which TLS a connection has.
func describe(cs tls.ConnectionState) string {
	return tls.VersionName(cs.Version) + " " + tls.CipherSuiteName(cs.CipherSuite)
}
