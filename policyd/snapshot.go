package policyd

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// SnapshotConfig is snapshots in the YAML file.
type SnapshotConfig struct {
	Every time.Duration `yaml:"every" doc:"A snapshot of the state is made when the last automatic one is so old; 0s: never."`
	Keep  int           `yaml:"keep" doc:"So many automatic snapshots are kept. Those that people made stay until they remove them."`
}

// DefaultSnapshots returns the configuration that is used where the file is silent.
func DefaultSnapshots() SnapshotConfig { return SnapshotConfig{Every: 24 * time.Hour, Keep: 14} }

// Validate says what is wrong with the configuration, or nil.
func (c *SnapshotConfig) Validate() error {
	if c.Every != 0 && (c.Every < time.Minute || c.Every > 366*24*time.Hour) {
		return strictyaml.At("every", fmt.Errorf("found %s, want 0s, or 1m to 8784h", c.Every))
	}
	if c.Keep < 1 || c.Keep > 1000 {
		return strictyaml.At("keep", fmt.Errorf("found %d, want 1 to 1000", c.Keep))
	}
	return nil
}

// Snapshot is a copy of the state as it was: a SQLite database.
type Snapshot struct {
	Name      string    `json:"name"`
	TakenAt   time.Time `json:"taken_at"`
	TakenBy   string    `json:"taken_by,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Automatic bool      `json:"automatic,omitempty" doc:"It is removed when there are enough newer ones."`
	Bytes     int64     `json:"bytes"`
}

func snapshotOf(x state.Snapshot) Snapshot {
	return Snapshot{x.Name, x.TakenAt, x.TakenBy, x.Reason, x.Automatic, x.Size}
}

// maxManual bounds how many snapshots people may have.
const maxManual = 100

// Snapshots returns the snapshots that there are, the newest first.
func (s *Service) Snapshots(ctx context.Context) ([]Snapshot, error) {
	list, err := state.Snapshots(ctx, s.deps.SnapshotDir)
	out := make([]Snapshot, len(list))
	for i, x := range list {
		out[i] = snapshotOf(x)
	}
	return out, err
}

// TakeSnapshot makes a snapshot of the state, while it is in use. A *MistakeError: there are many already.
func (s *Service) TakeSnapshot(ctx context.Context, by audit.Actor) (Snapshot, error) {
	s.snapping.Lock()
	defer s.snapping.Unlock()
	list, err := state.Snapshots(ctx, s.deps.SnapshotDir)
	if err != nil {
		return Snapshot{}, err
	}
	manual := 0
	for i := range list {
		if !list[i].Automatic {
			manual++
		}
	}
	if manual >= maxManual {
		return Snapshot{}, mistake("there are %d snapshots that people made: remove some", manual)
	}
	x, err := s.deps.State.TakeSnapshot(ctx, by, s.deps.SnapshotDir, false)
	if err != nil {
		return Snapshot{}, err
	}
	s.log.Info("snapshot of the state made", "name", x.Name, "by", by.User)
	return snapshotOf(x), nil
}

// OpenSnapshot opens a snapshot to be downloaded; it holds secrets: digests of passwords, and what hosts present. The caller closes it.
// An error for which errors.Is(err, state.ErrNotFound): there is none of that name.
func (s *Service) OpenSnapshot(ctx context.Context, name string) (io.ReadSeekCloser, Snapshot, error) {
	f, x, err := state.OpenSnapshot(ctx, s.deps.SnapshotDir, name)
	if err != nil {
		return nil, Snapshot{}, err
	}
	return f, snapshotOf(x), nil
}

// RemoveSnapshot removes a snapshot. An error for which errors.Is(err, state.ErrNotFound): there is none of that name.
func (s *Service) RemoveSnapshot(ctx context.Context, by audit.Actor, name string) error {
	s.snapping.Lock()
	defer s.snapping.Unlock()
	return s.deps.State.RemoveSnapshot(ctx, by, s.deps.SnapshotDir, name)
}

// retrySnapshot is when a snapshot that failed is tried again.
const retrySnapshot = 5 * time.Minute

// takeSnapshots makes snapshots when they are due, until ctx is done.
func (s *Service) takeSnapshots(ctx context.Context) error {
	cfg := &s.deps.Snapshots
	if cfg.Every == 0 || s.deps.SnapshotDir == "" {
		return nil
	}
	for {
		next, err := s.snapshotDue(ctx, time.Now())
		s.mu.Lock()
		s.unsnapped = err
		s.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			s.log.Error("no snapshot of the state is made, tried again", "err", err)
			next = retrySnapshot
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// snapshotDue makes a snapshot if it is time, and returns when it is time again.
func (s *Service) snapshotDue(ctx context.Context, now time.Time) (time.Duration, error) {
	s.snapping.Lock()
	defer s.snapping.Unlock()
	by := audit.Actor{User: audit.Weir, Source: "snapshots.every"}
	list, err := state.Snapshots(ctx, s.deps.SnapshotDir)
	if err != nil {
		return 0, err
	}
	every := s.deps.Snapshots.Every
	for i := range list { // the newest is first
		// One of the future is of a clock that was wrong.
		if age := now.Sub(list[i].TakenAt); list[i].Automatic && age >= 0 && age < every {
			return every - age, nil
		}
	}
	x, err := s.deps.State.TakeSnapshot(ctx, by, s.deps.SnapshotDir, true)
	if err != nil {
		return 0, err
	}
	s.log.Info("snapshot of the state made", "name", x.Name, "bytes", x.Size)
	return every, s.deps.State.ThinSnapshots(ctx, by, s.deps.SnapshotDir, s.deps.Snapshots.Keep)
}
