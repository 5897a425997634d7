package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/estate/feed"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/event/syslog"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
	"github.com/weirhq/weir/store/fold"
	"github.com/weirhq/weir/store/wal"
)

// config is the configuration file.
type config struct {
	Collector       collector.Config       `yaml:"collector" doc:"Where flows come in."`
	Hosts           policyd.Config         `yaml:"hosts" doc:"Open vSwitch hosts. Which there are is not said here: weir hosts add."`
	Policy          policyd.PolicyConfig   `yaml:"policy" doc:"What is allowed between VMs, on hosts with mode enforce. The rules are not said here: weir policy apply."`
	Snapshots       policyd.SnapshotConfig `yaml:"snapshots" doc:"Copies of what people told Weir, in the directory snapshots of the data directory."`
	Estate          estateConfig           `yaml:"estate" doc:"What exists: hosts, networks, VMs, groups."`
	Store           storeConfig            `yaml:"store" doc:"Where flows go."`
	Feed            feed.ServerConfig      `yaml:"feed" doc:"Of weir policyd and weir up: the estate for collectors that work alone."`
	Follow          feed.Config            `yaml:"follow" doc:"Of weir collector: the policyd whose estate it uses."`
	Events          eventsConfig           `yaml:"events" doc:"What happens in the estate, and who is told."`
	API             api.Config             `yaml:"api" doc:"Status page, metrics and API."`
	Log             logConfig              `yaml:"log" doc:"What is logged, to standard error."`
	ShutdownTimeout time.Duration          `yaml:"shutdown_timeout" doc:"At the end, longest wait until all flows that came in are stored."`
}

// storeConfig says which ClickHouse is used.
type storeConfig struct {
	Mode     storeMode          `yaml:"mode" doc:"embedded: Weir runs the ClickHouse engine itself; server: it uses the ClickHouse of the section server."`
	Embedded embedded.Config    `yaml:"embedded" doc:"The engine that Weir runs."`
	Server   store.Config       `yaml:"server" doc:"A ClickHouse server or cluster."`
	Reader   readerConfig       `yaml:"reader" doc:"With mode server: the user as whom commands read; it needs SELECT on the database and dictGet."`
	Writer   store.WriterConfig `yaml:"writer" doc:"Batches on their way to the store."`
	WAL      wal.Config         `yaml:"wal" doc:"Write-ahead log: batches are kept here until the store has them, over its absence and restarts of either."`
	Fold     fold.Config        `yaml:"fold" doc:"Rollups: the sums that each batch brings are summed once more when their time is over. Each collector folds its own."`

	Retention store.RetentionConfig `yaml:"retention" doc:"How long flows are kept, and how much of the disk they may take."`
}

// Validate checks what concerns more than one section.
func (c *storeConfig) Validate() error {
	if free := c.Retention.MinFree; c.Mode == storeEmbedded && free > 0 && free < c.WAL.KeepFree {
		return strictyaml.At("retention.min_free", fmt.Errorf("found %s, want 0 or at least wal.keep_free (%s): else the log stops taking flows before the store makes room", free, c.WAL.KeepFree))
	}
	return nil
}

// readerConfig is the user for reading from a server. The embedded engine has its own.
type readerConfig struct {
	User         string `yaml:"user" doc:"Name; empty takes the user of the section server."`
	PasswordFile string `yaml:"password_file" doc:"File with the password; empty is none."`
}

type storeMode string

const (
	storeEmbedded storeMode = "embedded"
	storeServer   storeMode = "server"
)

// Allowed lists the values for messages and for the manual.
func (storeMode) Allowed() []string { return []string{string(storeEmbedded), string(storeServer)} }

// UnmarshalText accepts the allowed values only.
func (m *storeMode) UnmarshalText(b []byte) error {
	switch v := storeMode(b); v {
	case storeEmbedded, storeServer:
		*m = v
		return nil
	default:
		return errors.New("expected embedded or server")
	}
}

// MarshalText writes the mode.
func (m storeMode) MarshalText() ([]byte, error) { return []byte(m), nil }

// logConfig says what is logged.
type logConfig struct {
	Level  logLevel  `yaml:"level" doc:"Least severity that is logged; the environment variable WEIR_LOG_LEVEL overrides it."`
	Format logFormat `yaml:"format" doc:"Form of a line."`
}

type logLevel slog.Level

// Allowed lists the values for messages and for the manual.
func (logLevel) Allowed() []string { return []string{"debug", "info", "warn", "error"} }

// UnmarshalText accepts the allowed values, and what slog writes.
func (l *logLevel) UnmarshalText(b []byte) error { return (*slog.Level)(l).UnmarshalText(b) }

// MarshalText writes the level.
func (l logLevel) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(slog.Level(l).String())), nil
}

type logFormat string

// Allowed lists the values for messages and for the manual.
func (logFormat) Allowed() []string { return []string{"text", "json"} }

// UnmarshalText accepts the allowed values only.
func (f *logFormat) UnmarshalText(b []byte) error {
	if s := string(b); s != "text" && s != "json" {
		return errors.New("expected text or json")
	}
	*f = logFormat(b)
	return nil
}

// MarshalText writes the format.
func (f logFormat) MarshalText() ([]byte, error) { return []byte(f), nil }

func defaultConfig() config {
	return config{
		Collector:       collector.Default(),
		Hosts:           policyd.Default(),
		Policy:          policyd.DefaultPolicy(),
		Snapshots:       policyd.DefaultSnapshots(),
		Estate:          estateConfig{Config: file.Default()},
		Store:           storeConfig{Mode: storeEmbedded, Embedded: embedded.Default(), Server: store.DefaultConfig(), Writer: store.DefaultWriterConfig(), WAL: wal.Default(), Fold: fold.Default(), Retention: store.DefaultRetention()},
		Feed:            feed.DefaultServerConfig(),
		Follow:          feed.DefaultConfig(),
		Events:          eventsConfig{Syslog: syslog.Default()},
		API:             api.Default(),
		Log:             logConfig{Level: logLevel(slog.LevelInfo), Format: "text"},
		ShutdownTimeout: 15 * time.Second,
	}
}

// Validate checks what concerns more than one section.
func (c *config) Validate() error {
	if c.ShutdownTimeout <= 0 {
		return strictyaml.At("shutdown_timeout", fmt.Errorf("found %s, want more than 0s", c.ShutdownTimeout))
	}
	if asked := c.Hosts.Export.ActiveTimeout; asked > c.Collector.ActiveTimeout {
		return strictyaml.At("hosts.export.active_timeout", fmt.Errorf("found %s, longer than collector.active_timeout %s, want at most that of the collector: else hosts seem silent between reports", asked, c.Collector.ActiveTimeout))
	}
	return nil
}

// loadConfig reads the file named name, or, where name is empty, DIR/weir.yaml if there is one. It returns which file
// was read, "" if none was.
func loadConfig(name, data string) (config, string, error) {
	c := defaultConfig()
	if name == "" {
		name = filepath.Join(data, "weir.yaml")
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return c, "", nil
		}
	}
	if err := strictyaml.Load(name, &c); err != nil {
		return c, name, fmt.Errorf("load config: %w", err) // which names the file
	}
	return c, name, nil
}

// rebase makes the paths of the configuration that are relative to its file, or to the data directory, absolute.
func (c *config) rebase(file, data string) {
	if c.Store.WAL.Dir == "" {
		c.Store.WAL.Dir = filepath.Join(data, "wal")
	}
	if c.Store.Fold.File == "" {
		c.Store.Fold.File = filepath.Join(data, "fold.json")
	}
	if c.Follow.Cache == "" {
		c.Follow.Cache = filepath.Join(data, "estate.cache")
	}
	if c.Collector.State.File == "" {
		c.Collector.State.File = filepath.Join(data, "collector.state")
	}
	dir := data
	if file != "" {
		dir = filepath.Dir(file)
	}
	for _, p := range append(c.readFiles(), &c.Store.WAL.Dir, &c.Store.Fold.File, &c.Collector.State.File, &c.Follow.Cache) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// readFiles are the files that the configuration names for Weir to read: what people write and Weir does not.
func (c *config) readFiles() []*string {
	server, receiver := &c.Store.Server, &c.Events.Syslog.TLS
	files := []*string{
		&c.Estate.File, &server.PasswordFile, &c.Store.Reader.PasswordFile, &server.TLS.CAFile, &server.TLS.CertFile, &server.TLS.KeyFile,
		&c.Follow.CA, &c.Follow.Cert, &c.Follow.Key, &receiver.CAFile, &receiver.CertFile, &receiver.KeyFile,
		&c.API.TLS.CertFile, &c.API.TLS.KeyFile,
	}
	for i := range c.Estate.XAPI {
		files = append(files, &c.Estate.XAPI[i].PasswordFile, &c.Estate.XAPI[i].CAFile)
	}
	for i := range c.Estate.Libvirt {
		files = append(files, &c.Estate.Libvirt[i].CAFile, &c.Estate.Libvirt[i].CertFile, &c.Estate.Libvirt[i].KeyFile)
	}
	return files
}
