package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
)

// Config says where ClickHouse is and as whom to use it.
type Config struct {
	Addr         string        `yaml:"addr" doc:"Address (host:port) of ClickHouse's HTTP interface, or its URL: http://host:port or https://host:port."`
	Database     string        `yaml:"database" doc:"Database that holds the tables; it must exist."`
	User         string        `yaml:"user" doc:"User that may create tables and insert."`
	PasswordFile string        `yaml:"password_file" doc:"File with the password of the user; empty is none."`
	Password     string        `yaml:"-"` // the password itself, of a server that this process started
	TLS          TLSConfig     `yaml:"tls" doc:"Certificates, where addr is an https URL."`
	Compression  Compression   `yaml:"compression" doc:"Compression of inserts; auto is none on loopback and zstd elsewhere."`
	Timeout      time.Duration `yaml:"timeout" doc:"Longest wait for one statement or insert."`

	DictionaryCollection string `yaml:"dictionary_collection" doc:"Named collection of the server with user and password for its dictionaries, which read the server's own tables; empty where the server's user default needs no password."`
}

// Compression is how inserts are compressed.
type Compression string

// The values of Compression.
const (
	CompressionAuto Compression = "auto" // none on loopback, zstd elsewhere
	CompressionNone Compression = "none"
	CompressionLZ4  Compression = "lz4"
	CompressionZSTD Compression = "zstd"
)

// Allowed lists the values for messages and for the manual.
func (Compression) Allowed() []string {
	return []string{string(CompressionAuto), string(CompressionNone), string(CompressionLZ4), string(CompressionZSTD)}
}

// UnmarshalText accepts the allowed values only.
func (c *Compression) UnmarshalText(b []byte) error {
	v := Compression(b)
	if !slices.Contains(v.Allowed(), string(v)) {
		return fmt.Errorf("found %q, want %s", v, strings.Join(v.Allowed(), " or "))
	}
	*c = v
	return nil
}

// MarshalText writes the value.
func (c Compression) MarshalText() ([]byte, error) { return []byte(c), nil }

// TLSConfig is how the server proves who it is, and the client too if the server asks.
type TLSConfig struct {
	CAFile     string `yaml:"ca_file" doc:"Certificates (PEM) to trust; empty are those of the system."`
	CertFile   string `yaml:"cert_file" doc:"Certificate (PEM) of Weir as a client; empty is none."`
	KeyFile    string `yaml:"key_file" doc:"Key (PEM) of cert_file."`
	ServerName string `yaml:"server_name" doc:"Name in the server's certificate; empty is the host of addr."`
}

// DefaultConfig is a ClickHouse on this machine at its usual port.
func DefaultConfig() Config {
	return Config{
		Addr:        "127.0.0.1:8123",
		Database:    "default",
		User:        "default",
		Compression: CompressionAuto,
		Timeout:     time.Minute,
	}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if _, err := c.endpoint(); err != nil {
		refuse("addr", "%w", err)
	}
	if !isIdentifier(c.Database) {
		refuse("database", "found %q, want letters, digits and _, no digit first", c.Database)
	}
	if c.User == "" {
		refuse("user", "is empty, want the name of a ClickHouse user, e.g. default")
	}
	if c.Password != "" && c.PasswordFile != "" {
		refuse("password_file", "given together with a password, want one of them")
	}
	if err := new(Compression).UnmarshalText([]byte(c.Compression)); err != nil {
		refuse("compression", "%w", err)
	}
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		refuse("timeout", "found %s, want 1s to 1h", c.Timeout)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		refuse("tls", "cert_file and key_file go together, want both or neither")
	}
	if c.DictionaryCollection != "" && !isIdentifier(c.DictionaryCollection) {
		refuse("dictionary_collection", "found %q, want letters, digits and _, no digit first", c.DictionaryCollection)
	}
	return errors.Join(errs...)
}

// isIdentifier reports whether s is a name that SQL takes without quotes: what is checked so can be put into a statement.
func isIdentifier(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// endpoint is the base URL of the HTTP interface.
func (c *Config) endpoint() (*url.URL, error) {
	addr := c.Addr
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, fmt.Errorf("found %q, want host:port or a URL, e.g. 127.0.0.1:8123", c.Addr)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("found scheme %q in %q, want http or https", u.Scheme, c.Addr)
	}
	if u.User != nil {
		return nil, errors.New("holds a user or password, want them in user and password_file")
	}
	if u.Hostname() == "" || u.Port() == "" {
		return nil, fmt.Errorf("found %q, want a host and a port, e.g. 127.0.0.1:8123", c.Addr)
	}
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// password reads the password; a final line end in the file is not part of it.
func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// coding is the content coding of inserts: "" (none), "lz4" or "zstd".
func (c *Config) coding(u *url.URL) string {
	switch c.Compression {
	case CompressionNone:
		return ""
	case CompressionAuto:
		if isLoopback(u.Hostname()) {
			return "" // measured: the copy through loopback costs less than the fastest compressor
		}
		return string(CompressionZSTD)
	default:
		return string(c.Compression)
	}
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// tls is the client side of TLS, or nil where u is not https.
func (c *Config) tls(u *url.URL) (*tls.Config, error) {
	if u.Scheme != "https" {
		return nil, nil
	}
	t := &tls.Config{ServerName: c.TLS.ServerName, MinVersion: tls.VersionTLS12}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read tls.ca_file %q: no certificate in PEM form found", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read tls.cert_file %q: %w", c.TLS.CertFile, err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// addrOf is host:port of u.
func addrOf(u *url.URL) string { return net.JoinHostPort(u.Hostname(), u.Port()) }
