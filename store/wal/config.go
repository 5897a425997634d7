package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config says where the log is and how much of it there may be.
type Config struct {
	Dir          string        `yaml:"dir" doc:"Directory of the log, for this Weir alone; empty is wal in the data directory."`
	MaxSize      bytesize.Size `yaml:"max_size" doc:"Most that the log takes on disk. A flow takes some 300 bytes while it waits."`
	KeepFree     bytesize.Size `yaml:"keep_free" doc:"Space on the disk that the log leaves free, for the store beside it."`
	Sync         Sync          `yaml:"sync" doc:"What a loss of power may cost: every (nothing; each batch is synced to disk), interval (the last sync_interval), none (what the kernel had not written yet, some 30s). A process that crashes or is killed loses nothing with any of them."`
	SyncInterval time.Duration `yaml:"sync_interval" doc:"With sync interval: longest time that a batch waits without being synced."`

	SegmentSize bytesize.Size `yaml:"-"` // a segment takes no further record when it has this size; 0 = 64 MiB or, if less, an eighth of MaxSize
	Memory      bytesize.Size `yaml:"-"` // of records kept in memory too, so that they need not be read again; 0 = 64 MiB
}

// Default is a log for an absence of the store of some minutes at full load, or of an hour at 10 000 flows a second.
func Default() Config {
	return Config{MaxSize: 8 * bytesize.GiB, KeepFree: bytesize.GiB, Sync: SyncInterval, SyncInterval: time.Second}
}

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.MaxSize < 16*bytesize.MiB {
		refuse("max_size", "found %s, want at least 16MiB", c.MaxSize)
	}
	if c.KeepFree < 0 {
		refuse("keep_free", "found %s, want 0 or more", c.KeepFree)
	}
	if c.SyncInterval < 10*time.Millisecond || c.SyncInterval > time.Minute {
		refuse("sync_interval", "found %s, want 10ms to 1m", c.SyncInterval)
	}
	return errors.Join(errs...)
}

func (c *Config) segmentSize() int64 {
	if c.SegmentSize > 0 {
		return int64(c.SegmentSize)
	}
	return int64(min(64*bytesize.MiB, c.MaxSize/8))
}

func (c *Config) memory() int64 {
	if c.Memory > 0 {
		return int64(c.Memory)
	}
	return int64(64 * bytesize.MiB)
}

// Sync is when records are synced to disk.
type Sync uint8

// The values of Sync.
const (
	SyncInterval Sync = iota // a record that waits is synced at the latest Config.SyncInterval after Append
	SyncEvery                // Append syncs
	SyncNone                 // the kernel writes when it likes
)

var syncNames = []string{SyncInterval: "interval", SyncEvery: "every", SyncNone: "none"}

// String is the word of the configuration.
func (s Sync) String() string {
	if int(s) < len(syncNames) {
		return syncNames[s]
	}
	return fmt.Sprintf("Sync(%d)", uint8(s))
}

// Allowed lists the values for messages and for the manual.
func (Sync) Allowed() []string { return []string{"none", "interval", "every"} }

// MarshalText writes the word of the configuration.
func (s Sync) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts the allowed values only.
func (s *Sync) UnmarshalText(b []byte) error {
	for i, name := range syncNames {
		if name == string(b) {
			*s = Sync(i)
			return nil
		}
	}
	return errors.New("expected none, interval or every")
}
