package xapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Failures that XAPI names, of those that are told apart.
const (
	failSlave    = "HOST_IS_SLAVE"
	failSession  = "SESSION_INVALID"
	failPassword = "SESSION_AUTHENTICATION_FAILED"
	failToken    = "EVENT_FROM_TOKEN_PARSE_FAILURE"
	failRights   = "RBAC_PERMISSION_DENIED"
	failStarting = "HOST_STILL_BOOTING"
)

// Failure is what XAPI answers instead of a result.
type Failure struct {
	Code   string
	Params []string
}

// Error says which.
func (f *Failure) Error() string { return strings.Join(append([]string{f.Code}, f.Params...), " ") }

// failed says whether err is a failure with a code.
func failed(err error, code string) bool {
	var f *Failure
	return errors.As(err, &f) && f.Code == code
}

// client calls the API of one host.
type client struct {
	url   string
	http  *http.Client
	limit int64 // bytes of an answer
}

// pinError is a certificate that is not among the pins.
type pinError struct{ found ovsdb.Fingerprint }

func (e *pinError) Error() string {
	return fmt.Sprintf("the host presents a certificate with fingerprint %s, which is not among pins: compare it at the host, and add it", e.found)
}

// trust returns how certificates of hosts of the pool are believed.
func trust(cfg *Config) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(cfg.Pins) > 0 {
		conf.InsecureSkipVerify = true // VerifyConnection below does it instead
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the host presents no certificate")
			}
			if got := ovsdb.FingerprintOf(s.PeerCertificates[0]); !slices.Contains(cfg.Pins, got) {
				return &pinError{got}
			}
			return nil
		}
		return conf, nil
	}
	if cfg.CAFile != "" {
		b, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("read ca_file %q: it holds no certificate in PEM form", cfg.CAFile)
		}
	}
	return conf, nil
}

// call calls a method and reads its result by read, from the answer as it comes.
func (c *client) call(ctx context.Context, read func(*json.Decoder) error, method string, params ...any) error {
	body, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"2.0", 1, method, params})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("found HTTP status %s", res.Status)
	}
	limited := &io.LimitedReader{R: res.Body, N: c.limit}
	err = answer(json.NewDecoder(limited), read)
	if err != nil && limited.N <= 0 {
		return fmt.Errorf("the answer is longer than %d bytes", c.limit)
	}
	return err
}

// answer reads an answer: an object with a result, which read reads, or an error.
func answer(d *json.Decoder, read func(*json.Decoder) error) error {
	if err := open(d, '{'); err != nil {
		return err
	}
	found := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "result":
			found = true
			if err := read(d); err != nil {
				return fmt.Errorf("read result: %w", err)
			}
		case "error":
			var f struct {
				Message string `json:"message"`
				Data    []any  `json:"data"`
			}
			if err := d.Decode(&f); err != nil {
				return fmt.Errorf("read error: %w", err)
			}
			if f.Message == "" { // null: there is none
				continue
			}
			failure := &Failure{Code: f.Message}
			for i, p := range f.Data {
				if text := fmt.Sprint(p); i > 0 || text != f.Message { // some repeat the code
					failure.Params = append(failure.Params, text)
				}
			}
			return failure
		default:
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return err
			}
		}
	}
	if !found {
		return errors.New("the answer has neither a result nor an error")
	}
	return nil
}

// open reads the token that begins an object or a list.
func open(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("found %v, want %v", t, want)
	}
	return nil
}

// login opens a session. addr is where the coordinator is, if the host is not it.
func (c *client) login(ctx context.Context, user, password string) (session string, err error) {
	err = c.call(ctx, func(d *json.Decoder) error { return d.Decode(&session) }, "session.login_with_password", user, password, "1.0", "weir")
	if err == nil && session == "" {
		err = errors.New("found an empty session")
	}
	return session, err
}

// logout ends a session, as far as that is possible.
func (c *client) logout(session string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = c.call(ctx, func(d *json.Decoder) error { return d.Decode(new(any)) }, "session.logout", session) // it ends by itself, too
}

// from is event.from: it calls each with every change since a token, "" being all that there is, and returns the next token, and how many
// records of each class there are.
func (c *client) from(ctx context.Context, session, token string, wait time.Duration, each func(*event) error) (next string, counts map[class]int, err error) {
	read := func(d *json.Decoder) (err error) {
		next, counts, err = changes(d, each)
		return err
	}
	names := classes()
	// A float on the wire: some versions of XAPI take no integer in its place.
	seconds := json.RawMessage(fmt.Sprintf("%.1f", wait.Seconds()+0.1))
	err = c.call(ctx, read, "event.from", session, names, token, seconds)
	if err == nil && next == "" {
		err = errors.New("found no token")
	}
	return next, counts, err
}

// changes reads the result of event.from.
func changes(d *json.Decoder, each func(*event) error) (next string, counts map[class]int, err error) {
	if err := open(d, '{'); err != nil {
		return "", nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", nil, err
		}
		switch key {
		case "token":
			err = d.Decode(&next)
		case "valid_ref_counts":
			var m map[class]integer
			err = d.Decode(&m)
			counts = make(map[class]int, len(m))
			for k, v := range m {
				counts[class(strings.ToLower(string(k)))] = int(v)
			}
		case "events":
			err = events(d, each)
		default:
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return "", nil, fmt.Errorf("%v: %w", key, err)
		}
	}
	return next, counts, open(d, '}')
}

// events reads a list of changes one by one.
func events(d *json.Decoder, each func(*event) error) error {
	if err := open(d, '['); err != nil {
		return err
	}
	for d.More() {
		var e event
		if err := d.Decode(&e); err != nil {
			return err
		}
		e.Class = class(strings.ToLower(string(e.Class)))
		if err := each(&e); err != nil {
			return err
		}
	}
	return open(d, ']')
}
