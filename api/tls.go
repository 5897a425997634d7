package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
)

// TLSConfig is api.tls in the YAML file.
type TLSConfig struct {
	Mode     TLSMode `yaml:"mode" doc:"auto: unless the listener is on loopback; on; or off, for a proxy in front that encrypts."`
	CertFile string  `yaml:"cert_file" doc:"Certificate, with those between it and its authority, PEM; a new one is taken when the file changes. Empty: one of Weir's own authority (weir ca)."`
	KeyFile  string  `yaml:"key_file" doc:"Its private key, PEM."`
}

// TLSMode says whether a listener speaks TLS.
type TLSMode string

// The values of TLSMode.
const (
	TLSAuto TLSMode = "auto"
	TLSOn   TLSMode = "on"
	TLSOff  TLSMode = "off"
)

// Allowed lists the values for messages and for the manual.
func (TLSMode) Allowed() []string { return []string{string(TLSAuto), string(TLSOn), string(TLSOff)} }

// UnmarshalText accepts the allowed values only.
func (m *TLSMode) UnmarshalText(b []byte) error {
	switch v := TLSMode(b); v {
	case TLSAuto, TLSOn, TLSOff:
		*m = v
		return nil
	}
	return errors.New("expected auto, on or off")
}

// MarshalText writes the mode.
func (m TLSMode) MarshalText() ([]byte, error) { return []byte(m), nil }

// Validate refuses half a certificate.
func (c TLSConfig) Validate() error {
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return strictyaml.At("cert_file", fmt.Errorf("found %q, and key_file %q: want both or none", c.CertFile, c.KeyFile))
	case c.Mode == TLSOff && c.CertFile != "":
		return strictyaml.At("mode", errors.New("found off, and a certificate: want none, or auto or on"))
	}
	return nil
}

// serverTLS is how a server speaks TLS.
func serverTLS(identity func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return identity() },
	}
}

// Files returns what gives the certificate of two files, as they are now: a change is seen within a second. While a new one is not whole, the
// former is given. The first is read at once.
func Files(cert, key string) (func() (*tls.Certificate, error), error) {
	f := &certificateFiles{cert: cert, key: key, every: time.Second, now: time.Now}
	_, err := f.get()
	return f.get, err
}

type certificateFiles struct {
	cert, key string
	every     time.Duration
	now       func() time.Time

	mu     sync.Mutex
	last   *tls.Certificate // guarded by mu
	stamps [2]stamp         // guarded by mu: of last
	looked time.Time        // guarded by mu
}

// stamp changes when a file does.
type stamp struct {
	at   time.Time
	size int64
}

func stampOf(file string) (stamp, error) {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

func (f *certificateFiles) get() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.last != nil && now.Sub(f.looked) < f.every {
		return f.last, nil
	}
	f.looked = now
	certStamp, err1 := stampOf(f.cert)
	keyStamp, err2 := stampOf(f.key)
	stamps := [2]stamp{certStamp, keyStamp}
	err := errors.Join(err1, err2)
	if err == nil && (f.last == nil || stamps != f.stamps) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.last, f.stamps = &pair, stamps
		}
	}
	if f.last == nil {
		return nil, fmt.Errorf("read certificate of api.tls: %w", err)
	}
	return f.last, nil
}
