package clickhouse

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Settings say where ClickHouse is, as whom to use it, and what a query may cost.
type Settings struct {
	URL      string // as configured, for messages: it holds no secret
	Protocol clickhouse.Protocol
	Addr     string // host:port
	Path     string // of the HTTP interface behind a proxy
	Database string
	Username string
	Password string      // a secret
	TLS      *tls.Config // nil: no TLS
	Caps     Caps
}

// Caps bound what a data source asks of ClickHouse and what it keeps in memory. They are always on.
type Caps struct {
	Connect     time.Duration // for a connection
	Time        time.Duration // for a query
	Rows        int           // of an answer
	ResultBytes int64         // of an answer
	ReadBytes   int64         // that a query reads, before compression
	Queries     int           // at the same time
}

// Limit is a key of jsonData that holds a whole number within bounds.
type Limit struct {
	Key     string `json:"key"`
	Doc     string `json:"doc"`
	Unit    string `json:"unit"`
	Default int64  `json:"default"`
	Min     int64  `json:"min"`
	Max     int64  `json:"max"`

	set func(*Caps, int64)
}

// Limits lists the keys of jsonData that become [Caps], but for timeout. It is not to be modified.
var Limits = []Limit{
	{"maxRows", "Rows of an answer; more are cut, with a notice.", "rows", 10_000, 1, 1_000_000, func(c *Caps, n int64) { c.Rows = int(n) }},
	{"maxSeconds", "Time that a query may run in ClickHouse.", "seconds", 30, 1, 600, func(c *Caps, n int64) { c.Time = time.Duration(n) * time.Second }},
	{"maxBytes", "Size of an answer in memory; more is cut, with a notice.", "bytes", 100 << 20, 1 << 10, 1 << 30, func(c *Caps, n int64) { c.ResultBytes = n }},
	{"maxReadBytes", "What a query may read, before compression; more is refused.", "bytes", 64 << 30, 1 << 20, 1 << 50, func(c *Caps, n int64) { c.ReadBytes = n }},
	{"maxQueries", "Queries at the same time; more wait.", "queries", 8, 1, 64, func(c *Caps, n int64) { c.Queries = int(n) }},
}

// Longest wait for a connection to be made: key timeout of jsonData.
const (
	defaultTimeout = 10 * time.Second
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = time.Minute
)

// Defaults of the keys that are text: the store that weir up starts on this machine, as the user that only reads.
const (
	DefaultURL      = "http://127.0.0.1:8123"
	DefaultDatabase = "default"
	DefaultUsername = "weir_ro"
)

// texts are the keys of jsonData that are no numbers; empty ones have their default.
type texts struct {
	URL           string `json:"url" default:"http://127.0.0.1:8123" doc:"Where ClickHouse is: http or https for its HTTP interface, clickhouse or clickhouses for the native protocol. The port may be left out where it is the usual one."`
	Database      string `json:"database" default:"default" doc:"Database with Weir's tables."`
	Username      string `json:"username" default:"weir_ro" doc:"User of ClickHouse, best one that only reads."`
	Timeout       string `json:"timeout" default:"10s" doc:"Longest wait for a connection, 100ms to 1m."`
	TLSServerName string `json:"tlsServerName" doc:"Name in the server's certificate; empty is the host of url."`
	TLSSkipVerify bool   `json:"tlsSkipVerify" default:"false" doc:"Take any certificate: whoever is on the way can read and change what passes."`
}

// Key describes a key of the settings.
type Key struct{ Name, Default, Doc string }

// Keys lists the keys of jsonData that this package reads.
func Keys() []Key {
	list := KeysOf(texts{})
	for _, l := range Limits {
		list = append(list, Key{l.Key, strconv.FormatInt(l.Default, 10), fmt.Sprintf("%s In %s, %d to %d.", l.Doc, l.Unit, l.Min, l.Max)})
	}
	return list
}

// KeysOf lists the keys that a struct reads, by its tags json, default and doc.
func KeysOf(settings any) (list []Key) {
	for field := range reflect.TypeOf(settings).Fields() {
		tag := field.Tag
		list = append(list, Key{tag.Get("json"), tag.Get("default"), tag.Get("doc")})
	}
	return list
}

// Secrets lists the keys of secureJsonData.
var Secrets = []Key{
	{secretPassword, "", "Password of the user."},
	{secretCA, "", "Certificates (PEM) of the authorities that are trusted; empty are those of the system."},
	{secretClientCert, "", "Certificate (PEM) that ClickHouse is shown."},
	{secretClientKey, "", "Its key (PEM)."},
}

// Keys of secureJsonData.
const (
	secretPassword   = "password"
	secretCA         = "tlsCACert"
	secretClientCert = "tlsClientCert"
	secretClientKey  = "tlsClientKey"
)

// ParseSettings reads jsonData and the decrypted secureJsonData of an instance; keys that are not ours are Grafana's and are passed
// over. An error is an *Error of class config that tells everything that is wrong.
func ParseSettings(jsonData []byte, secrets map[string]string) (Settings, error) {
	var raw texts
	numbers := map[string]json.RawMessage{}
	if len(jsonData) > 0 {
		if err := errors.Join(json.Unmarshal(jsonData, &raw), json.Unmarshal(jsonData, &numbers)); err != nil {
			return Settings{}, &Error{Class: ClassConfig, Msg: "read settings: " + err.Error(), Hint: "save the data source's settings anew", err: err}
		}
	}
	var errs []error
	refuse := func(key, format string, args ...any) { errs = append(errs, fmt.Errorf(key+": "+format, args...)) }
	s := Settings{
		URL:      or(strings.TrimSpace(raw.URL), DefaultURL),
		Database: or(raw.Database, DefaultDatabase),
		Username: or(raw.Username, DefaultUsername),
		Password: secrets[secretPassword],
	}
	secure, err := s.endpoint()
	if err != nil {
		refuse("url", "%w", err)
	}
	s.Caps.Connect = defaultTimeout
	if raw.Timeout != "" {
		if s.Caps.Connect, err = time.ParseDuration(raw.Timeout); err != nil || s.Caps.Connect < minTimeout || s.Caps.Connect > maxTimeout {
			refuse("timeout", "found %.40q, want %s to %s", raw.Timeout, minTimeout, maxTimeout)
		}
	}
	for _, l := range Limits {
		n := l.Default
		if text, given := numbers[l.Key]; given && string(text) != "null" {
			if err := json.Unmarshal(text, &n); err != nil || n < l.Min || n > l.Max {
				refuse(l.Key, "found %.40s, want a whole number from %d to %d (%s)", text, l.Min, l.Max, l.Unit)
				continue
			}
		}
		l.set(&s.Caps, n)
	}
	if secure {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: raw.TLSServerName, InsecureSkipVerify: raw.TLSSkipVerify}
		if pem := secrets[secretCA]; pem != "" {
			s.TLS.RootCAs = x509.NewCertPool()
			if !s.TLS.RootCAs.AppendCertsFromPEM([]byte(pem)) {
				refuse(secretCA, "found no certificate in PEM form")
			}
		}
		cert, key := secrets[secretClientCert], secrets[secretClientKey]
		switch {
		case (cert == "") != (key == ""):
			refuse(secretClientCert, "goes with %s, want both or neither", secretClientKey)
		case cert != "":
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				refuse(secretClientCert, "%w", err) // names what is wrong, never what the key is
			}
			s.TLS.Certificates = []tls.Certificate{pair}
		}
	}
	if len(errs) > 0 {
		all := errors.Join(errs...)
		return Settings{}, &Error{Class: ClassConfig, Msg: strings.ReplaceAll(all.Error(), "\n", "; "), Hint: "correct the data source's settings", err: all}
	}
	return s, nil
}

// ports are where ClickHouse listens by default, by scheme of the URL.
var ports = map[string]string{"http": "8123", "https": "8443", "clickhouse": "9000", "clickhouses": "9440"}

// endpoint reads URL into Protocol, Addr and Path, and reports whether it asks for TLS.
func (s *Settings) endpoint() (secure bool, err error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" {
		s.URL = "" // it may hold a password
		return false, errors.New("is no URL, want one like " + DefaultURL)
	}
	if u.User != nil {
		s.URL = ""
		return false, errors.New("holds a user or password, want them in their own fields")
	}
	port, known := ports[u.Scheme]
	switch {
	case !known:
		return false, fmt.Errorf("found scheme %q, want http, https, clickhouse or clickhouses", u.Scheme)
	case u.Hostname() == "":
		return false, fmt.Errorf("found %q, want a host, e.g. %s", s.URL, DefaultURL)
	case u.RawQuery != "" || u.Fragment != "":
		s.URL = ""
		return false, errors.New("holds parameters, want settings in their own fields")
	}
	s.Protocol, s.Path = clickhouse.HTTP, strings.TrimSuffix(u.Path, "/")
	if strings.HasPrefix(u.Scheme, "clickhouse") {
		if s.Path != "" {
			return false, fmt.Errorf("found path %q, want the database in its own field", s.Path)
		}
		s.Protocol = clickhouse.Native
	}
	s.Addr = net.JoinHostPort(u.Hostname(), or(u.Port(), port))
	return u.Scheme == "https" || u.Scheme == "clickhouses", nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
