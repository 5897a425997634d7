package syslog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is events.syslog in the YAML file.
type Config struct {
	Address   string    `yaml:"address" doc:"Receiver of network events as syslog messages (RFC 5424), host:port; empty sends none. The usual ports are 514 (UDP, TCP) and 6514 (TLS)."`
	Transport Transport `yaml:"transport" doc:"How messages are sent; over TCP and TLS with octet counting (RFC 6587)."`
	Facility  Facility  `yaml:"facility" doc:"Facility of the messages."`
	TLS       TLSConfig `yaml:"tls" doc:"Certificates, with transport tls."`
}

// TLSConfig is how the receiver proves who it is, and Weir too if it asks.
type TLSConfig struct {
	CAFile     string `yaml:"ca_file" doc:"Certificates (PEM) to trust; empty are those of the system."`
	CertFile   string `yaml:"cert_file" doc:"Certificate (PEM) of Weir as a client; empty is none."`
	KeyFile    string `yaml:"key_file" doc:"Key (PEM) of cert_file."`
	ServerName string `yaml:"server_name" doc:"Name in the receiver's certificate; empty is the host of address."`
}

// Default returns the configuration that is used where the file is silent.
func Default() Config { return Config{Transport: UDP, Facility: local0} }

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.Address != "" {
		host, port, err := net.SplitHostPort(c.Address)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			refuse("address", "found %q, want host:port, e.g. \"syslog.example:514\"", c.Address)
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		refuse("tls.cert_file", "given without the other of cert_file and key_file, want both or none")
	}
	if c.TLS != (TLSConfig{}) && c.Transport != TLS {
		refuse("tls", "given with transport %s, want transport tls", c.Transport)
	}
	return errors.Join(errs...)
}

// clientConfig reads the files.
func (c *Config) clientConfig() (*tls.Config, error) {
	if c.Transport != TLS {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates %q: found none in PEM form", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate of weir: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// Transport is how messages are sent.
type Transport string

// The values of Transport.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls"
)

// Allowed lists the values for messages and for the manual.
func (Transport) Allowed() []string { return []string{string(UDP), string(TCP), string(TLS)} }

// UnmarshalText accepts the allowed values only.
func (t *Transport) UnmarshalText(b []byte) error {
	v := Transport(b)
	if !slices.Contains(v.Allowed(), string(v)) {
		return fmt.Errorf("found %q, want %s", v, strings.Join(v.Allowed(), " or "))
	}
	*t = v
	return nil
}

// MarshalText writes the value.
func (t Transport) MarshalText() ([]byte, error) { return []byte(t), nil }

// Facility is that of RFC 5424 §6.2.1.
type Facility uint8

const local0 Facility = 16

// facilities are the names by number, as syslog.conf(5) has them; kern is for the kernel alone.
var facilities = map[string]Facility{
	"user": 1, "daemon": 3, "auth": 4, "syslog": 5, "authpriv": 10,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// Allowed lists the values for messages and for the manual.
func (Facility) Allowed() []string {
	return slices.SortedFunc(func(yield func(string) bool) {
		for name := range facilities {
			if !yield(name) {
				return
			}
		}
	}, func(a, b string) int { return int(facilities[a]) - int(facilities[b]) })
}

// UnmarshalText accepts the allowed values only.
func (f *Facility) UnmarshalText(b []byte) error {
	n, ok := facilities[string(b)]
	if !ok {
		return fmt.Errorf("found %q, want %s", b, strings.Join(f.Allowed(), " or "))
	}
	*f = n
	return nil
}

// MarshalText writes the name.
func (f Facility) MarshalText() ([]byte, error) {
	for name, n := range facilities {
		if n == f {
			return []byte(name), nil
		}
	}
	return nil, fmt.Errorf("facility %d has no name", f)
}
