package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/internal/atomicfile"
	"github.com/weirhq/weir/internal/instance"
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
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil && !errors.Is(err, errLeft): // what was under way then does not matter
		return nil, fmt.Errorf("back up to %q: interrupted, nothing of it is left", file)
	default:
		return nil, fmt.Errorf("back up to %q: %w", file, err)
	}
}

// errLeft is of a backup that failed, and left something behind.
var errLeft = errors.New("something is left")

// leaves is the error of taking away what a backup made for itself.
func leaves(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLeft, err)
}

func write(ctx context.Context, file string, o Options, d Deps) (m *Manifest, err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, fs.ErrExist)
	}
	dir := filepath.Dir(file)
	if err := sweep(dir); err != nil {
		return nil, err
	}
	f, err := begin(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, leaves(os.Remove(f.Name())))
		}
	}()
	m, err = fill(ctx, f, o, d)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = rename(f.Name(), file)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return m, syncDir(dir)
}

// begun is how files begin that are not written to their end; the process that writes one has it locked.
const begun = ".weir-backup-"

// begin makes a file that another process does not sweep, and nobody else can read.
func begin(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, begun+"*") // mode 0600
		if err != nil {
			return nil, err
		}
		// Where files cannot be locked, none is swept.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		_, err = os.Lstat(f.Name())
		if err == nil {
			return f, nil
		}
		closing := f.Close()
		if !errors.Is(err, fs.ErrNotExist) || closing != nil { // it was not swept before it was locked
			return nil, errors.Join(err, closing)
		}
	}
}

// sweep removes what backups that were killed left in a directory.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), begun) || !e.Type().IsRegular() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // it is gone, or of somebody else
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.Remove(f.Name())
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("remove what an interrupted backup left: %w", err)
		}
	}
	return nil
}

// rename gives a file its name, unless there is one of that name by now. Not all file systems know both ways.
func rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errors.Join(os.Link(from, to), os.Remove(from))
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// syncDir has a directory, or a file, be on the disk. Not all file systems do that for directories.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err = f.Sync(); errors.Is(err, unix.EINVAL) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// fill writes the archive.
func fill(ctx context.Context, w io.Writer, o Options, d Deps) (_ *Manifest, err error) {
	if d.Watch == nil {
		d.Watch = func(string, uint64, uint64) {}
	}
	unlock, err := instance.LockBackup(d.Data) // each drops the clones that another one left
	if err != nil {
		return nil, err
	}
	defer unlock()
	name, err := nameOf(d.Data)
	if err != nil {
		return nil, err
	}
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
	k, err := cloneAll(ctx, d.Client, name, tables, agreeWithin)
	defer func() { err = errors.Join(err, leaves(k.drop(context.WithoutCancel(ctx)))) }()
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
	if err := addFiles(a, state, d); err != nil {
		return nil, err
	}
	if err := addTables(ctx, a, k, d); err != nil {
		return nil, err
	}
	return &a.manifest, a.close()
}

// nameOf returns the name of a data directory among all that are backed up from one server. It is made up when the directory is backed up first.
// The caller has locked it.
func nameOf(data string) (string, error) {
	file := filepath.Join(data, "run", "backup.name")
	b, err := os.ReadFile(file)
	if err == nil && wellNamed.Match(b) {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := fmt.Sprintf("%016x", rand.Uint64())
	return name, atomicfile.Write(file, []byte(name))
}

var wellNamed = regexp.MustCompile(`^[0-9a-f]{16}$`)

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
		return "", nil, errors.Join(err, leaves(os.RemoveAll(dir)))
	}
	return file, func() { _ = os.RemoveAll(dir) }, nil
}

// addFiles adds the state and the files of the data directory.
func addFiles(a *writer, state string, d Deps) error {
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
	added := map[string]bool{}
	for _, name := range d.Files {
		err := filepath.WalkDir(filepath.Join(d.Data, name), func(file string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || e.IsDir() {
				return err
			}
			info, err := os.Stat(file) // a link is followed: what is there after a restore is a file
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(d.Data, file)
			if err != nil || added[rel] {
				return err
			}
			if !info.Mode().IsRegular() {
				return fmt.Errorf("%q is neither a file nor a directory: put there what it leads to", rel)
			}
			added[rel] = true
			member := filesPrefix + filepath.ToSlash(rel)
			if _, ok := splitFile(member); !ok {
				return fmt.Errorf("file %q is where none can be restored to: move it", rel)
			}
			if info.Size() > maxFile {
				return fmt.Errorf("file %q: found %d bytes, want at most %d", rel, info.Size(), maxFile)
			}
			b, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) { // it was replaced by another
				return nil
			}
			if err != nil {
				return err
			}
			return a.add(member, b)
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
		parts, err := partsOf(ctx, d.Client, k.name(k.tables[i].name))
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
