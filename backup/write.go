package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/store"
)

// agreeWithin is how long clones may take to agree: the store may be behind for a while.
const agreeWithin = time.Minute

// Options say what goes into a backup.
type Options struct {
	WithoutFlows bool      // neither flows nor sums of them
	Since        time.Time // of what is kept for some time only, what is older is left out; zero: nothing is
}

// Deps are what a backup is made of.
type Deps struct {
	Client  *store.Client                                // as a user that may define tables
	State   func(ctx context.Context, file string) error // writes a copy of the state into a new file; nil: there is none
	Data    string                                       // data directory
	Files   []string                                     // files and directories there that go into it, relative; those that are not there do not
	Version string                                       // of this Weir
	Machine string                                       // its name
	Watch   func(what string, done, of uint64)           // is told of progress; nil: nobody is
}

// Write writes a backup to file, which does not exist: all of it, or none, readable for its owner only. The instance may run.
func Write(ctx context.Context, file string, o Options, d Deps) (*Manifest, error) {
	m, err := write(ctx, file, o, d)
	if err != nil {
		return nil, fmt.Errorf("back up to %q: %w", file, err)
	}
	return m, nil
}

func write(ctx context.Context, file string, o Options, d Deps) (m *Manifest, err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, fs.ErrExist)
	}
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".weir-backup-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	m, err = fill(ctx, f, o, d)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	// A link, unlike a new name, does not replace a file that somebody made meanwhile.
	if err := os.Link(f.Name(), file); err != nil {
		return nil, err
	}
	return m, errors.Join(os.Remove(f.Name()), syncDir(dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fill writes the archive.
func fill(ctx context.Context, w io.Writer, o Options, d Deps) (_ *Manifest, err error) {
	if d.Watch == nil {
		d.Watch = func(string, uint64, uint64) {}
	}
	unlock, err := alone(d.Data)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state, remove, err := copyState(ctx, d)
	if err != nil {
		return nil, err
	}
	defer remove()
	tables, err := findTables(ctx, d.Client)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	if o.WithoutFlows {
		tables = slices.DeleteFunc(tables, func(t table) bool { return ofFlows(t.name) })
	}
	for i := range tables {
		if at, ok := store.AgeOf(tables[i].name); ok && !o.Since.IsZero() {
			tables[i].since = fmt.Sprintf("%s >= toDateTime(%d, 'UTC')", at, o.Since.Unix())
		}
	}
	migration, err := str(ctx, d.Client, "SELECT toString(max(version)) FROM weir_migrations")
	if err != nil {
		return nil, fmt.Errorf("ask for migrations: %w", err)
	}
	d.Watch("cloning tables", 0, 0)
	k, err := cloneAll(ctx, d.Client, tables, agreeWithin)
	defer func() { err = errors.Join(err, k.drop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return nil, err
	}
	m := Manifest{Version: d.Version, Machine: d.Machine, Moment: k.moment, WithoutFlows: o.WithoutFlows, Since: o.Since}
	if _, err := fmt.Sscan(migration, &m.Migration); err != nil {
		return nil, fmt.Errorf("ask for migrations: found %q, want a number", migration)
	}
	a, err := newWriter(w, m)
	if err != nil {
		return nil, err
	}
	if err := addFiles(a, state, o, d); err != nil {
		return nil, err
	}
	if err := addTables(ctx, a, k, d); err != nil {
		return nil, err
	}
	return &a.manifest, a.close()
}

// alone makes this the only backup that is made of a data directory: each drops the clones of others.
func alone(data string) (unlock func(), err error) {
	name := filepath.Join(data, "run", "backup.lock")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another backup is being made of it: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing is what unlocks
}

// copyState copies the state into a file of its own; "" if there is none.
func copyState(ctx context.Context, d Deps) (file string, remove func(), err error) {
	if d.State == nil {
		return "", func() {}, nil
	}
	dir, err := os.MkdirTemp(filepath.Join(d.Data, "run"), "backup-") // mode 0700
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(dir, stateMember)
	if err := d.State(ctx, file); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return file, func() { _ = os.RemoveAll(dir) }, nil
}

// addFiles adds the state and the files of the data directory.
func addFiles(a *writer, state string, o Options, d Deps) error {
	if state != "" {
		f, err := os.Open(state)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if err := a.addFrom(stateMember, info.Size(), f); err != nil {
			return err
		}
	}
	for _, name := range d.Files {
		err := filepath.WalkDir(filepath.Join(d.Data, name), func(file string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) { // it was replaced by another
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(d.Data, file)
			if err == nil && len(b) > maxFile {
				err = fmt.Errorf("file %q: found %d bytes, want at most %d", rel, len(b), maxFile)
			}
			if err != nil {
				return err
			}
			return a.add(filesPrefix+filepath.ToSlash(rel), b)
		})
		if err != nil {
			return fmt.Errorf("add files: %w", err)
		}
	}
	return nil
}

// addTables adds the rows of all clones.
func addTables(ctx context.Context, a *writer, k *clones, d Deps) error {
	var all, done uint64
	for i := range k.tables {
		parts, err := partsOf(ctx, d.Client, ClonePrefix+k.tables[i].name)
		if err != nil {
			return err
		}
		for _, p := range parts {
			all += p.rows
		}
	}
	for i := range k.tables {
		t := &k.tables[i]
		x, err := k.dump(ctx, a, t, func(rows uint64) {
			done += rows
			d.Watch("copying "+t.name, done, all)
		})
		if err != nil {
			return fmt.Errorf("copy table %q: %w", t.name, err)
		}
		a.manifest.Tables = append(a.manifest.Tables, x)
	}
	return nil
}
