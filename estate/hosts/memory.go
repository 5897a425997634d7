package hosts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/internal/atomicfile"
)

// memoryForm is raised when what an estate.Model says of a host gets another meaning: what was kept before is then forgotten.
const memoryForm = 1

// MemoryDeps are what a Memory uses and does not own.
type MemoryDeps struct {
	Log   *slog.Logger
	Every time.Duration // what has changed is written so often; 0: ten seconds
}

// Memory keeps in a folder what was seen last at each host, so that after a restart groups have the VMs of a host that cannot be
// asked just then: else who may talk to members of a group would lose them. What is called a host here may be any other source of the
// estate, by its name. It is a cache: what is damaged or missing is as if the host had never been seen. Its methods may be called from any
// goroutine.
type Memory struct {
	dir  string
	deps MemoryDeps

	mu      sync.Mutex
	pending map[string]*kept // by key of the host; nil: to be forgotten; guarded by mu

	writing sync.Mutex // held by one flush at a time
}

// kept is the form of a file.
type kept struct {
	Form  int           `json:"form"`
	Host  string        `json:"host"` // key
	Seen  time.Time     `json:"seen"`
	Model *estate.Model `json:"model"`
}

// NewMemory returns the memory in a folder, which is made when something is written.
func NewMemory(dir string, d MemoryDeps) *Memory {
	if d.Every == 0 {
		d.Every = 10 * time.Second
	}
	return &Memory{dir: dir, deps: d, pending: map[string]*kept{}}
}

// Recall returns what was seen last at a host, and when; nil if nothing is known.
func (m *Memory) Recall(host string) (*estate.Model, time.Time) {
	name, err := m.file(host)
	if err != nil {
		return nil, time.Time{}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			m.deps.Log.Warn("what was seen last at a host cannot be used", "host", host, "err", err)
		}
		return nil, time.Time{}
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil || k.Form != memoryForm || k.Host != host || k.Model == nil {
		m.deps.Log.Warn("what was seen last at a host cannot be used", "host", host, "file", name, "err", err)
		return nil, time.Time{}
	}
	return k.Model, k.Seen
}

// Keep has Run write what is seen at a host now. The model is not changed afterwards.
func (m *Memory) Keep(host string, model *estate.Model, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending[host] = &kept{Form: memoryForm, Host: host, Seen: now, Model: model}
}

// Forget has Run remove what is kept of a host.
func (m *Memory) Forget(host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending[host] = nil
}

// Retain removes at once what is kept of other hosts than these, as of those that were removed while nobody looked, and returns how many those were.
// It is called before Run.
func (m *Memory) Retain(hosts []string) (int, error) {
	files, err := os.ReadDir(m.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	n := 0
	for _, f := range files {
		host, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok || !f.Type().IsRegular() || slices.Contains(hosts, host) {
			continue
		}
		if err := os.Remove(filepath.Join(m.dir, f.Name())); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Run writes what has changed now and then, and at last when ctx is done.
func (m *Memory) Run(ctx context.Context) error {
	tick := time.NewTicker(m.deps.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.flush()
		case <-ctx.Done():
			m.flush()
			return nil
		}
	}
}

// flush writes what has changed. What cannot be written is tried again with the next change.
func (m *Memory) flush() {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	pending := m.pending
	m.pending = map[string]*kept{}
	m.mu.Unlock()
	for host, k := range pending {
		if err := m.write(host, k); err != nil {
			m.deps.Log.Warn("what is seen at a host is not kept for a restart", "host", host, "err", err)
		}
	}
}

func (m *Memory) write(host string, k *kept) error {
	name, err := m.file(host)
	if err != nil {
		return err
	}
	if k == nil {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(name, b)
}

// file returns the name of the file of a host.
func (m *Memory) file(host string) (string, error) {
	name := host + ".json"
	if host == "" || filepath.Base(name) != name || !filepath.IsLocal(name) {
		return "", fmt.Errorf("keep host %q: its key is no name of a file", host)
	}
	return filepath.Join(m.dir, name), nil
}
