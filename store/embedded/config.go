package embedded

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is store.embedded in the YAML file.
type Config struct {
	Data string `yaml:"-"` // directory of the store, made 0700; holds the engine's files, users.json and a lock

	// Grants are the rights of the engine's only account, GRANT statements; nil is what Weir's own store needs.
	Grants []string `yaml:"-"`

	Listen  string `yaml:"listen" doc:"host:port of the ClickHouse HTTP interface; port 0 is any free one."`
	Library string `yaml:"library" doc:"Path of libchdb.so; empty looks in the cache of make deps, then at /usr/lib/weir/libchdb.so."`

	Memory bytesize.Size `yaml:"memory" doc:"What the engine may use in all; 0 is 60 % of the machine's memory."`

	Writer   Limits `yaml:"writer" doc:"Limits of the user that defines tables and inserts."`
	ReadOnly Limits `yaml:"read_only" doc:"Limits of the user that reads."`

	MaxConnections  int           `yaml:"max_connections" doc:"Open TCP connections; more wait to be accepted."`
	MaxHeader       bytesize.Size `yaml:"max_header" doc:"Request line and headers."`
	MaxQuery        bytesize.Size `yaml:"max_query" doc:"Text of a statement, without the data of an INSERT."`
	HeaderTimeout   time.Duration `yaml:"header_timeout" doc:"For a client to send a whole request header."`
	BodyTimeout     time.Duration `yaml:"body_timeout" doc:"For a client to send a whole request body."`
	StallTimeout    time.Duration `yaml:"stall_timeout" doc:"A client that neither sends nor takes anything for this long is cut off."`
	IdleTimeout     time.Duration `yaml:"idle_timeout" doc:"How long a connection without a request is kept."`
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" doc:"For running statements at the end, then they are killed."`
}

// Limits bound what the statements of one user may use.
type Limits struct {
	Queries       int           `yaml:"queries" doc:"Statements at the same time; one more is refused with TOO_MANY_SIMULTANEOUS_QUERIES."`
	Body          bytesize.Size `yaml:"body" doc:"Size of a request body, before and after decompression."`
	ExecutionTime time.Duration `yaml:"execution_time" doc:"Longest time of a statement (max_execution_time), in whole seconds."`
	Memory        bytesize.Size `yaml:"memory" doc:"Memory of a statement (max_memory_usage)."`
	Result        bytesize.Size `yaml:"result" doc:"Size of a statement's result, uncompressed (max_result_bytes); 0 is unlimited."`
}

// Default is a store for one machine at ClickHouse's own port, on the loopback only.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:8123",
		Writer:          Limits{Queries: 64, Body: bytesize.GiB, ExecutionTime: time.Hour, Memory: 8 * bytesize.GiB},
		ReadOnly:        Limits{Queries: 32, Body: bytesize.MiB, ExecutionTime: 2 * time.Minute, Memory: 4 * bytesize.GiB, Result: 4 * bytesize.GiB},
		MaxConnections:  512,
		MaxHeader:       256 * bytesize.KiB,
		MaxQuery:        256 * bytesize.KiB, // max_query_size of ClickHouse
		HeaderTimeout:   10 * time.Second,
		BodyTimeout:     10 * time.Minute,
		StallTimeout:    30 * time.Second,
		IdleTimeout:     90 * time.Second,
		ShutdownTimeout: 3 * time.Second,
	}
}

// Bounds of the configuration that are not obvious.
const (
	maxQueryLimit  = 64 * bytesize.MiB // a statement is held in memory several times while it is parsed
	minQueryMemory = 16 * bytesize.MiB // less, and the engine can run nothing
)

// Validate reports everything that is wrong with c, each with its key; the limits of the users are checked by their own Validate.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		refuse("listen", `found %q, want host:port, e.g. "127.0.0.1:8123"`, c.Listen)
	}
	if c.Library != "" && !filepath.IsAbs(c.Library) {
		refuse("library", "found %q, want an absolute path", c.Library)
	}
	if c.Memory < 0 {
		refuse("memory", "found %s, want 0 or more", c.Memory)
	}
	if c.MaxConnections < 1 {
		refuse("max_connections", "found %d, want 1 or more", c.MaxConnections)
	}
	if c.MaxHeader < bytesize.KiB || c.MaxHeader > 16*bytesize.MiB {
		refuse("max_header", "found %s, want 1KiB to 16MiB", c.MaxHeader)
	}
	if c.MaxQuery < bytesize.KiB || c.MaxQuery > maxQueryLimit {
		refuse("max_query", "found %s, want 1KiB to %s", c.MaxQuery, maxQueryLimit)
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
			refuse(d.key, "found %s, want more than 0s", d.v)
		}
	}
	return errors.Join(errs...)
}

// Validate reports everything that is wrong with l, each with its key.
func (l *Limits) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if l.Queries < 1 {
		refuse("queries", "found %d, want 1 or more", l.Queries)
	}
	if l.Body < 1 {
		refuse("body", "found %s, want 1B or more", l.Body)
	}
	if l.ExecutionTime < time.Second {
		refuse("execution_time", "found %s, want 1s or more", l.ExecutionTime)
	}
	if l.Memory < minQueryMemory {
		refuse("memory", "found %s, want %s or more", l.Memory, minQueryMemory)
	}
	if l.Result < 0 {
		refuse("result", "found %s, want 0 or more", l.Result)
	}
	return errors.Join(errs...)
}

// check is Validate of the whole, and of what the file does not hold.
func (c *Config) check() error {
	var data error
	if c.Data == "" {
		data = errors.New("data: a directory is needed")
	}
	return errors.Join(data, c.Validate(), c.Writer.Validate(), c.ReadOnly.Validate())
}
