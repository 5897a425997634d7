// Package file is the source of the estate that people write: one YAML file with the form of estate.Model, read again
// when its content changes.
//
// A version of the file that makes no sense changes nothing: the estate before it stays in use, what is wrong is logged
// once and is part of the status until the file is mended.
package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is the section estate of the configuration file.
type Config struct {
	File     string        `yaml:"file" doc:"YAML file that describes pools, hosts, networks, VMs and groups (docs/howto/describe-the-estate.md); a relative path is relative to the configuration file. Empty is none."`
	Interval time.Duration `yaml:"interval" doc:"How often the file is looked at for changes."`
}

// Default is the configuration without a file.
func Default() Config { return Config{Interval: time.Second} }

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	if c.Interval < 10*time.Millisecond {
		return strictyaml.At("interval", fmt.Errorf("found %s, want at least 10ms", c.Interval))
	}
	return nil
}

// maxSize bounds the file: some 200 000 VIFs.
const maxSize = 64 * bytesize.MiB

// Read reads and compiles the file named name. Its error lists everything that is wrong.
func Read(name string) (*estate.Snapshot, error) {
	data, err := load(name)
	if err != nil {
		return nil, err
	}
	return parse(name, data)
}

func load(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read estate: %w", err)
	}
	defer f.Close() // only read from
	data, err := io.ReadAll(io.LimitReader(f, int64(maxSize)+1))
	if err != nil {
		return nil, fmt.Errorf("read estate %q: %w", name, err)
	}
	return data, nil
}

func parse(name string, data []byte) (*estate.Snapshot, error) {
	var m estate.Model
	if err := strictyaml.Decode(strictyaml.Document{File: name, Data: data, MaxSize: maxSize}, &m); err != nil {
		return nil, fmt.Errorf("read estate: %w", err)
	}
	s, err := estate.Compile(&m)
	if err != nil {
		return nil, fmt.Errorf("read estate %q: %w", name, err)
	}
	return s, nil
}

// Deps are what a Source uses and does not own.
type Deps struct {
	Log    *slog.Logger
	Estate *estate.Holder // gets every version of the file that makes sense
}

// Source follows the file.
type Source struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	last version // belongs to Load, then to Run

	mu     sync.Mutex
	status Status // guarded by mu
}

// version is what is remembered of the content that was read last.
type version struct {
	info os.FileInfo // of the file when it was read; nil if it was not there
	hash [sha256.Size]byte
}

// Status is how the source does.
type Status struct {
	File    string    // "" if there is none
	Read    time.Time // when the estate in use was read; zero if never
	Problem string    // with the newest content of the file; empty if it is in use
}

// New checks and wires; it reads nothing.
func New(cfg Config, d Deps) (*Source, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure estate file: %w", err)
	}
	if d.Log == nil || d.Estate == nil {
		return nil, errors.New("configure estate file: a dependency is missing: want Log and Estate")
	}
	return &Source{cfg: cfg, deps: d, log: d.Log.With("part", "estate_file"), status: Status{File: cfg.File}}, nil
}

// Load reads the file for the first time. A file that is missing or makes no sense is an error here, since whoever
// starts Weir is there to mend it; Run is more patient. It is called at most once, before Run.
func (s *Source) Load() error {
	if s.cfg.File == "" {
		return nil
	}
	return s.read()
}

// Run looks at the file until ctx is done, and returns nil.
func (s *Source) Run(ctx context.Context) error {
	if s.cfg.File == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.read(); err != nil {
			s.log.Error("estate file is not used; the estate before it stays", "err", err)
		}
	}
}

// Status may be called from any goroutine.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// read takes over the file if its content is new. It returns an error once for each content.
func (s *Source) read() error {
	info, err := os.Stat(s.cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.last.info == nil && s.Status().Problem != "":
		return nil // still missing
	case err != nil:
		if s.Status().Problem == err.Error() {
			return nil
		}
		s.last = version{}
		s.problem(err)
		return fmt.Errorf("read estate: %w", err)
	case s.last.info != nil && os.SameFile(info, s.last.info) && info.ModTime().Equal(s.last.info.ModTime()) &&
		info.Size() == s.last.info.Size() && !fresh(info):
		return nil
	}
	data, err := load(s.cfg.File)
	if err != nil {
		s.problem(err)
		return err
	}
	hash := sha256.Sum256(data)
	known := s.last.info != nil && bytes.Equal(hash[:], s.last.hash[:])
	s.last = version{info, hash}
	if known {
		return nil
	}
	snapshot, err := parse(s.cfg.File, data)
	if err != nil {
		s.problem(err)
		return err
	}
	s.deps.Estate.Store(snapshot)
	s.mu.Lock()
	s.status.Read, s.status.Problem = time.Now(), ""
	s.mu.Unlock()
	s.log.Info("estate read", "file", s.cfg.File, "entities", len(snapshot.Entities()), "warnings", len(snapshot.Warnings()))
	return nil
}

// fresh reports whether the file may change again without a change of its time: file systems count in ticks.
func fresh(info os.FileInfo) bool { return time.Since(info.ModTime()) < 2*time.Second }

func (s *Source) problem(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Problem = err.Error()
}
