package embedded

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// Config is store.embedded in the YAML file.
type Config struct {
	Data    string // directory of the store, created 0700; holds the engine's files, users.json and a lock
	Listen  string // host:port of the HTTP interface; port 0 picks a free one
	Library string // libchdb.so to load; "" searches as FindLibrary says

	Memory int64 // bytes the engine may use in all (max_server_memory_usage); 0 = 60 % of the machine's

	Writer   Limits // of the user that defines tables and inserts
	ReadOnly Limits // of the user that reads

	MaxConnections  int           // open TCP connections; more wait in the accept queue
	MaxHeaderBytes  int           // request line and headers
	MaxQueryBytes   int           // text of one statement, without the data of an INSERT
	HeaderTimeout   time.Duration // for the whole request header
	BodyTimeout     time.Duration // for the whole request body
	StallTimeout    time.Duration // a client that neither sends nor takes a byte for this long is cut off
	IdleTimeout     time.Duration // a kept-alive connection without a request
	ShutdownTimeout time.Duration // for running statements at the end, then they are killed
}

// Limits bound what the statements of one user may use.
type Limits struct {
	Queries       int           // at the same time; one more is refused with TOO_MANY_SIMULTANEOUS_QUERIES
	BodyBytes     int64         // of one request body, before and after decompression
	ExecutionTime time.Duration // max_execution_time; whole seconds
	MemoryBytes   int64         // max_memory_usage of one statement
	ResultBytes   int64         // max_result_bytes of one statement, uncompressed; 0 = unlimited
}

// Default is a store for one machine: 127.0.0.1:8123, data to be set.
func Default() Config {
	return Config{
		Listen: "127.0.0.1:8123",
		Writer: Limits{Queries: 64, BodyBytes: 1 << 30, ExecutionTime: time.Hour, MemoryBytes: 8 << 30},
		ReadOnly: Limits{
			Queries: 32, BodyBytes: 1 << 20, ExecutionTime: 2 * time.Minute, MemoryBytes: 4 << 30, ResultBytes: 4 << 30,
		},
		MaxConnections:  512,
		MaxHeaderBytes:  256 << 10,
		MaxQueryBytes:   256 << 10, // max_query_size of ClickHouse
		HeaderTimeout:   10 * time.Second,
		BodyTimeout:     10 * time.Minute,
		StallTimeout:    30 * time.Second,
		IdleTimeout:     90 * time.Second,
		ShutdownTimeout: 10 * time.Second,
	}
}

// Validate reports everything that is wrong, each with its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Data == "" {
		bad(`data: "": a directory is needed`)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad(`listen: %q: expected host:port, e.g. "127.0.0.1:8123"`, c.Listen)
	}
	if c.Library != "" && !filepath.IsAbs(c.Library) {
		bad("library: %q: expected an absolute path", c.Library)
	}
	if c.Memory < 0 {
		bad("memory: %d: expected 0 or more bytes", c.Memory)
	}
	for _, u := range []struct {
		key string
		Limits
	}{{"writer", c.Writer}, {"read_only", c.ReadOnly}} {
		if u.Queries < 1 {
			bad("%s.queries: %d: expected 1 or more", u.key, u.Queries)
		}
		if u.BodyBytes < 1 {
			bad("%s.body_bytes: %d: expected 1 or more", u.key, u.BodyBytes)
		}
		if u.ExecutionTime < time.Second {
			bad("%s.execution_time: %s: expected 1s or more", u.key, u.ExecutionTime)
		}
		if u.MemoryBytes < 16<<20 {
			bad("%s.memory_bytes: %d: expected 16MiB or more", u.key, u.MemoryBytes)
		}
		if u.ResultBytes < 0 {
			bad("%s.result_bytes: %d: expected 0 or more", u.key, u.ResultBytes)
		}
	}
	for _, n := range []struct {
		key string
		v   int
	}{{"max_connections", c.MaxConnections}, {"max_header_bytes", c.MaxHeaderBytes}, {"max_query_bytes", c.MaxQueryBytes}} {
		if n.v < 1 {
			bad("%s: %d: expected 1 or more", n.key, n.v)
		}
	}
	for _, d := range []struct {
		key string
		v   time.Duration
	}{
		{"header_timeout", c.HeaderTimeout},
		{"body_timeout", c.BodyTimeout},
		{"stall_timeout", c.StallTimeout},
		{"idle_timeout", c.IdleTimeout},
		{"shutdown_timeout", c.ShutdownTimeout},
	} {
		if d.v <= 0 {
			bad("%s: %s: expected more than 0", d.key, d.v)
		}
	}
	return errors.Join(errs...)
}
