package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Config is the section estate of the configuration file.
type Config struct {
	File     string        `yaml:"file" doc:"YAML file that describes pools, hosts, networks, VMs and groups (docs/howto/describe-the-estate.md); a relative path is relative to the configuration file. Empty is none."`
	Interval time.Duration `yaml:"interval" doc:"How often the file is looked at for changes. A change is used when two looks in a row find it the same."`
}

// Default is the configuration without a file.
func Default() Config { return Config{Interval: time.Second} }

// Validate reports everything that is wrong with c, each with its key.
func (c *Config) Validate() error {
	const least = 10 * time.Millisecond
	if c.Interval < least {
		return strictyaml.At("interval", fmt.Errorf("found %s, want at least %s", c.Interval, least))
	}
	return nil
}

// Estate takes what a source says; *estate.Assembler does.
type Estate interface {
	Set(source string, m *estate.Model, at time.Time)
}

// Deps are what a Source uses and does not own.
type Deps struct {
	Log     *slog.Logger
	Estate  Estate                // gets every content of the file that makes sense
	Metrics prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
	Ticks   <-chan time.Time      // when to look at the file; nil: each Interval
}

// Source follows the file.
type Source struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics

	// These belong to Load, then to Run.
	looked os.FileInfo       // at the last look; nil if there was no file
	read   os.FileInfo       // of the content that was read last, as far as it cannot have changed since; else nil
	hash   [sha256.Size]byte // of the content that was read last

	mu     sync.Mutex
	status Status // guarded by mu
}

// Status is how the source does.
type Status struct {
	File    string    // "" if there is none
	Read    time.Time // when the estate in use was read; zero if never
	Problem string    // with the file as it is now; empty if it is in use
}

// New checks and wires; it reads nothing.
func New(cfg Config, d Deps) (*Source, error) {
	if err := strictyaml.Validate(&cfg); err != nil {
		return nil, fmt.Errorf("configure estate file: %w", err)
	}
	if d.Log == nil || d.Estate == nil {
		return nil, errors.New("configure estate file: a dependency is missing: want Log and Estate")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Source{
		cfg: cfg, deps: d, log: d.Log.With("part", "estate_file"), metrics: newMetrics(d.Metrics), status: Status{File: cfg.File},
	}, nil
}

// Load reads the file for the first time. A file that is missing or makes no sense is an error here, since whoever
// starts Weir is there to mend it; Run is more patient. It is called at most once, before Run.
func (s *Source) Load() error {
	if s.cfg.File == "" {
		return nil
	}
	info, err := os.Stat(s.cfg.File)
	if err != nil {
		return s.refuse(fmt.Errorf("read estate: %w", err))
	}
	s.looked = info
	return s.take(info)
}

// Run looks at the file until ctx is done, and returns nil.
func (s *Source) Run(ctx context.Context) error {
	if s.cfg.File == "" {
		<-ctx.Done()
		return nil
	}
	ticks := s.deps.Ticks
	if ticks == nil {
		t := time.NewTicker(s.cfg.Interval)
		defer t.Stop()
		ticks = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
		if err := s.look(); err != nil {
			s.tell(err)
		}
	}
}

// Status may be called from any goroutine.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// look takes the content of the file over if it is new and nobody is writing it at the moment. It returns an error once
// for each content that makes no sense, and once for each reason why there is none.
func (s *Source) look() error {
	info, err := os.Stat(s.cfg.File)
	if err != nil {
		s.looked, s.read, s.hash = nil, nil, [sha256.Size]byte{}
		return s.refuseOnce(fmt.Errorf("read estate: %w", opening(err)))
	}
	settled := same(info, s.looked)
	s.looked = info
	if !settled || same(info, s.read) {
		return nil
	}
	return s.take(info)
}

// same reports whether two looks at the file saw the same content, as far as its size, time and identity tell.
func same(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// take reads the file, of which info was seen just before, and makes its estate the current one.
func (s *Source) take(info os.FileInfo) error {
	data, err := load(s.cfg.File)
	if err != nil {
		return s.refuseOnce(err)
	}
	// What was read while the file was written may be a part of it, or nothing: it is looked at again.
	after, err := os.Stat(s.cfg.File)
	if err != nil {
		return s.refuseOnce(fmt.Errorf("read estate: %w", opening(err)))
	}
	if s.looked = after; !same(info, after) {
		return nil
	}
	// A file may change again within the same tick of the file system's clock: then only its content tells.
	const tick = 2 * time.Second
	s.read = info
	if age := s.deps.Now().Sub(info.ModTime()); age < tick && age > -tick {
		s.read = nil
	}
	hash := sha256.Sum256(data)
	if hash == s.hash {
		return nil
	}
	s.hash = hash
	model, snapshot, err := Parse(s.cfg.File, data)
	if err != nil {
		return s.refuse(err)
	}
	s.deps.Estate.Set(estate.FileSource, model, s.deps.Now())
	s.metrics.used.Inc()
	s.metrics.current.Set(1)
	s.mu.Lock()
	s.status.Read, s.status.Problem = s.deps.Now(), ""
	s.mu.Unlock()
	s.log.Info("estate read", "file", s.cfg.File, "entities", len(snapshot.Entities()), "warnings", len(snapshot.Warnings()))
	for i, w := range snapshot.Warnings() {
		if i == maxTold {
			break
		}
		s.log.Warn("odd in the estate file", "path", w.Path, "problem", w.Text)
	}
	return nil
}

// refuse notes why the file as it is now is not used.
func (s *Source) refuse(err error) error {
	s.metrics.refused.Inc()
	s.metrics.current.Set(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Problem = err.Error()
	return err
}

// opening makes the error of a file that is not there the same whatever noticed it, so that it is told once.
func opening(err error) error {
	if p, is := errors.AsType[*fs.PathError](err); is {
		return &fs.PathError{Op: "open", Path: p.Path, Err: p.Err}
	}
	return err
}

// refuseOnce is refuse, but returns nil if that is known.
func (s *Source) refuseOnce(err error) error {
	if s.Status().Problem == err.Error() {
		return nil
	}
	return s.refuse(err)
}

// maxTold is how many lines about one content go to the log. The status has all.
const maxTold = 20

// tell logs why the file is not used.
func (s *Source) tell(err error) {
	var problems *strictyaml.Error
	if !errors.As(err, &problems) {
		s.log.Error("estate file is not used, the estate before it stays", "err", err)
		return
	}
	s.log.Error("estate file is not used, the estate before it stays", "file", s.cfg.File, "problems", len(problems.Problems)+problems.More)
	for i, p := range problems.Problems {
		if i == maxTold {
			break
		}
		s.log.Error("wrong in the estate file", "err", p)
	}
}
