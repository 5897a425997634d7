package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/klauspost/compress/zstd"

	"github.com/weirhq/weir/internal/strictyaml"
)

// Client is a way to one ClickHouse. Its methods are safe for concurrent use.
type Client struct {
	cfg       Config
	base      *url.URL // without query
	password  string
	coding    string        // content coding of inserts, "" = none
	zstd      *zstd.Encoder // EncodeAll only
	transport *http.Transport
	http      *http.Client
	conn      driver.Conn
}

// Open checks cfg, reads the files that it names and returns a client. It does not wait for the server: connections
// are made when they are needed, and WaitReady tells when the server answers.
func Open(cfg Config) (*Client, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	base, err := cfg.endpoint()
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	password, err := cfg.password()
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", cfg.Addr, err)
	}
	tlsConfig, err := cfg.tls(base)
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", cfg.Addr, err)
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
	}
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol:      clickhouse.HTTP,
		Addr:          []string{addrOf(base)},
		HttpUrlPath:   base.Path,
		Auth:          clickhouse.Auth{Database: cfg.Database, Username: cfg.User, Password: password},
		TLS:           tlsConfig,
		DialTimeout:   10 * time.Second,
		ReadTimeout:   cfg.Timeout,
		MaxOpenConns:  8,
		TransportFunc: func(*http.Transport) (http.RoundTripper, error) { return transport, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", cfg.Addr, err)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("open store %q: %w", cfg.Addr, err)
	}
	return &Client{
		cfg: cfg, base: base, password: password, coding: cfg.coding(base), zstd: encoder,
		transport: transport, http: &http.Client{Transport: transport}, conn: conn,
	}, nil
}

// Close closes the idle connections. It is idempotent.
func (c *Client) Close() error {
	err := c.conn.Close()
	c.transport.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("close store %q: %w", c.cfg.Addr, err)
	}
	return nil
}

// Addr is the address that the client was opened with.
func (c *Client) Addr() string { return c.cfg.Addr }

// Database is the database that holds Weir's tables.
func (c *Client) Database() string { return c.cfg.Database }

// Conn is for queries. It belongs to the client. Errors of its methods are not [*Error]s; [AsError] makes them so.
func (c *Client) Conn() driver.Conn { return c.conn }

// AsError classifies what a method of Conn returned. It returns nil for nil.
func AsError(ctx context.Context, err error) error { return classify(ctx, err) }

// Exec runs one statement that has no result. Failures are *Error.
func (c *Client) Exec(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return classify(ctx, c.conn.Exec(ctx, statement))
}

// Ping asks whether the server answers; it needs no user.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	u := c.base.JoinPath("ping")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("ping store %q: %w", c.cfg.Addr, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ping store %q: %w", c.cfg.Addr, withoutURL(err))
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ping store %q: status %d, expected 200", c.cfg.Addr, resp.StatusCode)
	}
	return nil
}

// WaitReady returns nil once the server answers a ping, or, when ctx is done first, why the last ping did not succeed.
func (c *Client) WaitReady(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for store: %w", errors.Join(context.Cause(ctx), last))
		case <-timer.C:
		}
		err := c.Ping(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else the ping only says that it was cancelled
			last = err
		}
		timer.Reset(100 * time.Millisecond)
	}
}

// drain reads an answer to its end, within reason, so that its connection can be used again.
func drain(body io.Reader) {
	_, _ = io.CopyN(io.Discard, body, 1<<20) // a connection that breaks here is only not used again
}

// withoutURL takes the URL, which is long and holds the whole statement, off an error of net/http.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
