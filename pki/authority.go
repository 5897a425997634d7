package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long certificates are good for, unless asked otherwise.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	HostLife      = 3 * 365 * 24 * time.Hour
	identityLife  = 365 * 24 * time.Hour

	clockSlack = time.Hour // certificates are good from before now: hosts' clocks are behind
	rsaBits    = 2048      // as ovs-pki(8) makes them: every OpenSSL takes them
)

// Algorithm is what keys are of.
type Algorithm string

// Algorithms of keys.
const (
	ECDSA Algorithm = "ecdsa" // P-256
	RSA   Algorithm = "rsa"   // 2048 bits, for hosts that know nothing else
)

// ErrNone is that of Open if there is no authority yet.
var ErrNone = errors.New("there is no authority; make one: weir ca init")

// Pair is a certificate with its private key.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// Authority signs certificates. All methods may be called from any goroutine.
type Authority struct {
	dir  string
	self Pair

	mu         sync.Mutex // guards what follows, and the files
	identities []identity
	server     *tls.Certificate // nil until it is asked for
}

// identity is one of the certificates that Weir presents.
type identity struct {
	file string // without .pem and .key
	tls  tls.Certificate
}

// identities are the files of what Weir presents, best first.
var identities = []struct {
	file      string
	algorithm Algorithm
}{{"weir", ECDSA}, {"weir-rsa", RSA}}

// Init makes an authority in dir, which is made if it is not there. It is an error if there is one already.
func Init(dir string, algorithm Algorithm, now time.Time) (*Authority, error) {
	a, err := create(dir, algorithm, now)
	if err != nil {
		return nil, fmt.Errorf("make authority in %q: %w", dir, err)
	}
	return a, nil
}

func create(dir string, algorithm Algorithm, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, "ca.pem")); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ca.pem is there already (%w): every host that trusts it would have to be given the new one; move it away first if that is meant", fs.ErrExist)
	}
	// Another Weir may do the same now, or was killed in between: whose key is there first is everybody's, and all certificates of it are as good.
	file := filepath.Join(dir, "ca.key")
	key, err := newKey(algorithm)
	if err != nil {
		return nil, err
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	err = writeFile(file, text, os.Link)
	if errors.Is(err, fs.ErrExist) {
		key, err = readKey(file)
	}
	if err != nil {
		return nil, err
	}
	template, err := authorityTemplate(key, now)
	if err != nil {
		return nil, err
	}
	self, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, "ca.pem"), certificatePEM(self.Certificate), os.Rename); err != nil {
		return nil, err
	}
	return &Authority{dir: dir, self: self}, nil
}

func authorityTemplate(key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(public)
	return &x509.Certificate{
		SerialNumber: serial,
		// The number makes authorities of several Weirs different to who looks them up by name, and is the same for a key.
		Subject:   pkix.Name{Organization: []string{"Weir"}, CommonName: fmt.Sprintf("Weir authority %x", digest[:4])},
		NotBefore: now.Add(-clockSlack), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil
}

// Open reads the authority in dir. ErrNone: there is none.
func Open(dir string) (*Authority, error) {
	self, err := readPair(dir, "ca")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open authority in %q: %w", dir, ErrNone)
	}
	if err == nil && !self.Certificate.IsCA {
		err = errors.New("ca.pem is not the certificate of an authority")
	}
	if err != nil {
		return nil, fmt.Errorf("open authority in %q: %w", dir, err)
	}
	return &Authority{dir: dir, self: self}, nil
}

// Ensure opens the authority in dir, and makes one if there is none.
func Ensure(dir string, now time.Time) (*Authority, error) {
	a, err := Open(dir)
	if !errors.Is(err, ErrNone) {
		return a, err
	}
	if a, err = Init(dir, ECDSA, now); errors.Is(err, fs.ErrExist) { // another was faster
		return Open(dir)
	}
	return a, err
}

// Certificate returns the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.self.Certificate }

// Algorithm returns what the authority's key is of.
func (a *Authority) Algorithm() Algorithm {
	if _, ok := a.self.Key.(*rsa.PrivateKey); ok {
		return RSA
	}
	return ECDSA
}

// PEM returns the authority's certificate in the form that hosts are given.
func (a *Authority) PEM() []byte { return certificatePEM(a.self.Certificate) }

// Pool returns a pool that holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.self.Certificate)
	return pool
}

// Request is what a certificate of a host is made from.
type Request struct {
	Name      string        // of the host, as Weir knows it; it becomes common name and DNS name
	Addresses []netip.Addr  // further names
	Algorithm Algorithm     // empty is the authority's
	Life      time.Duration // 0 is HostLife; it ends with the authority's at the latest
}

// ownName is the name in Weir's own certificates.
const ownName = "weir"

// ValidName says why a host's name cannot be that of a certificate and of its file, or nil.
func ValidName(name string) error {
	ok := len(name) > 0 && len(name) <= 63
	for i, c := range []byte(name) {
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		ok = ok && (alphanumeric || i > 0 && (c == '.' || c == '-' || c == '_'))
	}
	if !ok {
		return fmt.Errorf("found name %q, expected up to 63 letters, digits, dots, hyphens and underscores, the first a letter or digit", name)
	}
	if strings.EqualFold(name, ownName) {
		return fmt.Errorf("found name %q, by which collectors know Weir itself: expected another one", name)
	}
	return nil
}

// Issue signs a certificate for a host with a new key, and notes the certificate, not the key, in the list of Issued. An earlier one of
// that name stays good until it expires.
func (a *Authority) Issue(r Request, now time.Time) (Pair, error) {
	pair, err := a.issue(r, now)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate for %q: %w", r.Name, err)
	}
	return pair, nil
}

func (a *Authority) issue(r Request, now time.Time) (Pair, error) {
	if err := ValidName(r.Name); err != nil {
		return Pair{}, err
	}
	if r.Life == 0 {
		r.Life = HostLife
	}
	if r.Algorithm == "" {
		r.Algorithm = a.Algorithm()
	}
	pair, err := a.signNew(r, now, nil)
	if err != nil {
		return Pair{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	issued := filepath.Join(a.dir, "issued")
	if err := os.MkdirAll(issued, 0o700); err != nil {
		return Pair{}, err
	}
	return pair, writeFile(filepath.Join(issued, r.Name+".pem"), certificatePEM(pair.Certificate), os.Rename)
}

// signNew makes a key and a certificate for both sides of a connection: a switch listens with the same one with which it dials.
// adjust, unless nil, may make another one of it.
func (a *Authority) signNew(r Request, now time.Time, adjust func(*x509.Certificate)) (Pair, error) {
	if !now.Before(a.self.Certificate.NotAfter) {
		return Pair{}, fmt.Errorf("the authority's own certificate expired on %s; renew it: weir ca renew", a.self.Certificate.NotAfter.Format(time.DateOnly))
	}
	if r.Life < 0 {
		return Pair{}, fmt.Errorf("found a life of %s, expected more than 0s", r.Life)
	}
	key, err := newKey(r.Algorithm)
	if err != nil {
		return Pair{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, err
	}
	until := now.Add(r.Life)
	if until.After(a.self.Certificate.NotAfter) {
		until = a.self.Certificate.NotAfter
	}
	usage := x509.KeyUsageDigitalSignature
	if r.Algorithm == RSA {
		usage |= x509.KeyUsageKeyEncipherment // for RSA key exchange
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Weir"}, CommonName: r.Name},
		DNSNames:     []string{r.Name},
		NotBefore:    now.Add(-clockSlack), NotAfter: until,
		KeyUsage:              usage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, addr := range r.Addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.Unmap().AsSlice()))
	}
	if adjust != nil {
		adjust(template)
	}
	return sign(template, a.self.Certificate, key, a.self.Key)
}

// serverFile is where the certificate for clients of the API is, without .pem and .key.
const serverFile = "api"

// Server returns a certificate by which clients believe a server at those names and addresses, if they believe the authority. It is made when it is
// asked for first, and anew when two thirds of its time are over, it is for others, or another authority signed it. It is for servers only.
func (a *Authority) Server(names []string, addresses []netip.Addr, now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil {
		if pair, err := readPair(a.dir, serverFile); err == nil { // else it is made anew
			chain := a.chain(pair)
			a.server = &chain
		}
	}
	if a.server != nil && !a.stale(a.server.Leaf, now) && covers(a.server.Leaf, names, addresses) {
		return a.server, nil
	}
	pair, err := a.signNew(Request{Name: ownName, Addresses: addresses, Algorithm: ECDSA, Life: identityLife}, now, func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames = "Weir API", names
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	if err == nil {
		err = writePair(a.dir, serverFile, pair)
	}
	if err != nil {
		return nil, fmt.Errorf("make certificate of the API: %w", err)
	}
	chain := a.chain(pair)
	a.server = &chain
	return a.server, nil
}

// covers tells whether a certificate is for names and addresses, and no others.
func covers(c *x509.Certificate, names []string, addresses []netip.Addr) bool {
	return slices.Equal(c.DNSNames, names) && slices.EqualFunc(c.IPAddresses, addresses, func(ip net.IP, a netip.Addr) bool { return ip.Equal(a.AsSlice()) })
}

// Renew gives the authority a new certificate of the same key and name: what it has signed stays good, and hosts that have the old
// certificate believe new ones until the old one expires.
func (a *Authority) Renew(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	template, err := authorityTemplate(a.self.Key, now)
	if err == nil {
		var self Pair
		if self, err = sign(template, template, a.self.Key, a.self.Key); err == nil {
			err = writeFile(filepath.Join(a.dir, "ca.pem"), certificatePEM(self.Certificate), os.Rename)
		}
	}
	if err != nil {
		return fmt.Errorf("renew authority in %q: %w", a.dir, err)
	}
	reopened, err := Open(a.dir)
	if err != nil {
		return err
	}
	a.self = reopened.self
	return nil
}

// Identities returns what Weir presents: an ECDSA and an RSA certificate, of which TLS takes the one that the other side knows. They are
// made when they are asked for first, and anew when two thirds of their time are over or another authority signed them.
func (a *Authority) Identities(now time.Time) ([]tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.identities == nil {
		for _, i := range identities {
			id := identity{file: i.file}
			if pair, err := readPair(a.dir, i.file); err == nil { // else it is made anew: two that write at once leave a key and another's certificate
				id.tls = a.chain(pair)
			}
			a.identities = append(a.identities, id)
		}
	}
	list := make([]tls.Certificate, len(a.identities))
	for i := range a.identities {
		id := &a.identities[i]
		if a.stale(id.tls.Leaf, now) {
			pair, err := a.signNew(Request{Name: ownName, Algorithm: identities[i].algorithm, Life: identityLife}, now, nil)
			if err == nil {
				err = writePair(a.dir, id.file, pair)
			}
			if err != nil {
				return nil, fmt.Errorf("make Weir's certificate: %w", err)
			}
			id.tls = a.chain(pair)
		}
		list[i] = id.tls
	}
	return list, nil
}

func (a *Authority) chain(p Pair) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Certificate.Raw, a.self.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
}

func (a *Authority) stale(c *x509.Certificate, now time.Time) bool {
	if c == nil || c.CheckSignatureFrom(a.self.Certificate) != nil {
		return true
	}
	life := c.NotAfter.Sub(c.NotBefore)
	return now.After(c.NotBefore.Add(life * 2 / 3))
}

// Issued returns the newest certificate of each host, by name.
func (a *Authority) Issued() ([]*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(a.dir, "issued", "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	var list []*x509.Certificate
	for _, name := range files {
		c, err := readCertificate(name)
		if err != nil {
			return nil, fmt.Errorf("list certificates: %w", err)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y *x509.Certificate) int { return strings.Compare(x.Subject.CommonName, y.Subject.CommonName) })
	return list, nil
}

// WriteHost writes what a host is given to dir, which is made if it is not there: NAME-privkey.pem, NAME-cert.pem and weir-ca.pem. It
// replaces what is there.
func (a *Authority) WriteHost(dir string, p Pair) error {
	name := p.Certificate.Subject.CommonName
	key, err := keyPEM(p.Key)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{name + "-privkey.pem", key}, {name + "-cert.pem", certificatePEM(p.Certificate)}, {"weir-ca.pem", a.PEM()}} {
		if err == nil {
			err = writeFile(filepath.Join(dir, f.name), f.text, os.Rename)
		}
	}
	if err != nil {
		return fmt.Errorf("write certificate of %q: %w", name, err)
	}
	return nil
}

func newKey(algorithm Algorithm) (crypto.Signer, error) {
	switch algorithm {
	case "", ECDSA:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("found algorithm %q, expected %s or %s", algorithm, ECDSA, RSA)
	}
}

// newSerial returns a number of 16 random bytes, positive and without leading zeros.
func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return Pair{}, err
	}
	c, err := x509.ParseCertificate(der)
	return Pair{c, key}, err
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// keyPEM encodes a key in the form that every version of OpenSSL reads.
func keyPEM(key crypto.Signer) ([]byte, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
	default:
		return nil, fmt.Errorf("found a key of type %T", key)
	}
}

func writePair(dir, name string, p Pair) error {
	key, err := keyPEM(p.Key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key is of no use, the other way round it is made again.
	if err := writeFile(filepath.Join(dir, name+".key"), key, os.Rename); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, name+".pem"), certificatePEM(p.Certificate), os.Rename)
}

func readPair(dir, name string) (Pair, error) {
	c, err := readCertificate(filepath.Join(dir, name+".pem"))
	if err != nil {
		return Pair{}, err
	}
	key, err := readKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return Pair{}, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(c.PublicKey) {
		return Pair{}, fmt.Errorf("read %q: %s.key is not the key of %s.pem", dir, name, name)
	}
	return Pair{c, key}, nil
}

func readKey(file string) (crypto.Signer, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others may read %q (mode %#o): chmod 600 it, and consider whether the key is still secret", file, mode)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("read %q: no private key in PEM form", file)
	}
	var key crypto.Signer
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("found PEM of type %q, expected that of a private key", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file, err)
	}
	return key, nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("read %q: no certificate in PEM form", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file, err)
	}
	return c, nil
}

// writeFile puts text into a file of mode 0600, at once: a reader, and who comes after a crash, sees the old content or the new. It is put in
// place by os.Rename, or by os.Link, which is an fs.ErrExist if there is one already.
func writeFile(name string, text []byte, place func(from, to string) error) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // after os.Rename it is no longer there
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = place(f.Name(), name)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
