package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/weirhq/weir/store"
)

// Names in the data directory while an instance is restored into it. What is in unfinished counts for nothing. Once all is there it is renamed
// to finished, in one step, and from then on it is to be moved to its place.
const (
	unfinished = ".restoring"
	finished   = ".restored"
)

// copiedState is the state of a backup in unfinished, until it is that of the instance.
const copiedState = "copy-of-" + stateMember

// marker is a table of a store that is a server, while it is filled.
const marker = "weir_restoring"

// Scratch is the data directory that a restore into data fills, and whose store may go on for a moment after the restore was killed.
func Scratch(data string) string { return filepath.Join(data, unfinished) }

// Unsettled tells whether a restore left something in a data directory for Settle.
func Unsettled(data string) bool {
	for _, name := range []string{unfinished, finished} {
		if _, err := os.Lstat(filepath.Join(data, name)); err == nil {
			return true
		}
	}
	return false
}

// Settle finishes or undoes what an interrupted restore left in a data directory, which the caller has locked and in whose Scratch nothing
// works. It is called before anything in the directory is used.
func Settle(data string) error {
	if err := settle(data); err != nil {
		return fmt.Errorf("settle what a restore left in %q: %w", data, err)
	}
	return nil
}

func settle(data string) error {
	if err := os.RemoveAll(filepath.Join(data, unfinished)); err != nil {
		return err
	}
	from := filepath.Join(data, finished)
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(data, e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(from), syncDir(data))
}

// Unfinished is an error if a restore into the store of c, a server, was interrupted.
func Unfinished(ctx context.Context, c *store.Client) error {
	there, err := str(ctx, c, "SELECT toString(count()) FROM system.tables WHERE database = currentDatabase() AND name = '"+marker+"'")
	if err != nil {
		return fmt.Errorf("look for an interrupted restore: %w", err)
	}
	if there != "0" {
		return fmt.Errorf("database %q was being restored from a backup, which was interrupted: run weir restore again, or drop the database", c.Database())
	}
	return nil
}

// Empty is an error unless nothing is in a data directory but a configuration and what locks it.
func Empty(data string) error {
	entries, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "run" && n != configFile && n != ".cache" { // of a user whose home the directory is, as Debian's weir
			return fmt.Errorf("data directory %q is not empty, %q is there: a backup is restored into an empty one; move it away first", data, n)
		}
	}
	return nil
}

// configFile may be in the data directory before; then it stays, and that of the backup is not used.
const configFile = "weir.yaml"

// Target is where a backup is restored to.
type Target struct {
	Data string // data directory: Empty and locked by the caller, and it has been settled

	// Store starts the store, with its files in dir if it is embedded, or connects to a server. It has the tables of this version when it is
	// returned. end stops it.
	Store  func(ctx context.Context, dir string) (c *store.Client, end func() error, err error)
	Server bool // Store is a server: it has what it has, whatever becomes of Data

	State      func(ctx context.Context, from, to string) error // puts a copy of the state into a place where none is
	Migrations int                                              // that this Weir has
	Watch      func(what string, done, of uint64)               // is told of progress; nil: nobody is
}

// Restore checks the whole backup in file, and then makes an instance of it: all, or, after an error or a crash, nothing. Of a store that is a
// server, an interrupted restore is begun anew by the next.
func Restore(ctx context.Context, file string, to Target) (*Manifest, error) {
	m, err := restore(ctx, file, to)
	if err != nil {
		return nil, fmt.Errorf("restore from %q: %w", file, err)
	}
	return m, nil
}

func restore(ctx context.Context, file string, to Target) (*Manifest, error) {
	if to.Watch == nil {
		to.Watch = func(string, uint64, uint64) {}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := Check(f, func(n int64) { to.Watch("checking", uint64(n), uint64(info.Size())) })
	if err != nil {
		return nil, err
	}
	if m.Migration > to.Migrations {
		return nil, fmt.Errorf("it has tables after %d migrations, this weir knows %d: it was written by version %s, use that or a later one", m.Migration, to.Migrations, m.Version)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	dir := filepath.Join(to.Data, unfinished)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	err = fillInstance(ctx, f, m, dir, to)
	if err == nil {
		err = syncAll(dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := errors.Join(os.Rename(dir, filepath.Join(to.Data, finished)), syncDir(to.Data)); err != nil {
		return nil, err
	}
	return m, settle(to.Data)
}

// fillInstance makes the instance in dir.
func fillInstance(ctx context.Context, r io.Reader, m *Manifest, dir string, to Target) (err error) {
	in := &loading{to: to, manifest: m, dir: dir}
	defer func() {
		if in.end != nil {
			err = errors.Join(err, in.client.Close(), in.end())
		}
	}()
	members := map[string]string{}
	for _, x := range m.Members {
		members[x.Name] = x.SHA256
	}
	err = eachMember(r, func(name string, size int64, r io.Reader) error {
		want, ok := members[name]
		if !ok || name == formMember {
			return nil // of the manifest
		}
		in.done += uint64(size)
		return in.member(ctx, name, &verifying{r: r, sum: sha256.New(), want: want})
	})
	if err != nil {
		return err
	}
	if err := in.open(ctx); err != nil { // without a row there is a store, too
		return err
	}
	return in.finish(ctx)
}

// loading is a restore that goes on.
type loading struct {
	to       Target
	manifest *Manifest
	dir      string
	done     uint64        // bytes of members
	client   *store.Client // nil until the first rows
	end      func() error
	tables   []table // that the store has
}

func (l *loading) member(ctx context.Context, name string, r io.Reader) error {
	if file, ok := splitFile(name); ok {
		if file == configFile {
			if _, err := os.Lstat(filepath.Join(l.to.Data, configFile)); err == nil {
				_, err := io.Copy(io.Discard, r)
				return err
			}
		}
		return extract(filepath.Join(l.dir, filepath.FromSlash(file)), r)
	}
	if table, _, ok := splitRows(name); ok {
		if err := l.open(ctx); err != nil {
			return err
		}
		return l.rows(ctx, name, table, r)
	}
	if name != stateMember {
		return fmt.Errorf("member %q is none of a backup", name)
	}
	copied := filepath.Join(l.dir, copiedState)
	if err := extract(copied, r); err != nil {
		return err
	}
	return errors.Join(l.to.State(ctx, copied, filepath.Join(l.dir, stateMember)), os.Remove(copied))
}

// open starts the store, unless it runs, and makes sure that no table has a row, and none expires.
func (l *loading) open(ctx context.Context) (err error) {
	if l.client != nil {
		return nil
	}
	l.to.Watch("starting the store", 0, 0)
	if l.client, l.end, err = l.to.Store(ctx, l.dir); err != nil {
		return err
	}
	if l.tables, err = findTables(ctx, l.client); err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if l.to.Server {
		if err := l.mark(ctx); err != nil {
			return err
		}
	}
	for i := range l.tables {
		// What the configuration says of age holds from the next start on, and may be longer than this.
		if t := &l.tables[i]; t.ttl {
			if err := l.client.Exec(ctx, "ALTER TABLE "+t.name+" REMOVE TTL"); err != nil {
				return fmt.Errorf("keep rows of %q: %w", t.name, err)
			}
		}
	}
	return nil
}

// mark makes sure that a server has no rows, or those of an interrupted restore, which go, and marks it.
func (l *loading) mark(ctx context.Context) error {
	again := Unfinished(ctx, l.client) != nil
	for i := range l.tables {
		name := l.tables[i].name
		if again {
			if err := l.client.Exec(ctx, "TRUNCATE TABLE "+name); err != nil {
				return fmt.Errorf("empty table %q: %w", name, err)
			}
			continue
		}
		rows, err := str(ctx, l.client, "SELECT toString(count()) FROM "+name)
		if err != nil {
			return fmt.Errorf("look whether the store is empty: %w", err)
		}
		if rows != "0" {
			return fmt.Errorf("table %q of database %q has %s rows: a backup is restored into an empty database, so drop it and make it anew, or name another", name, l.client.Database(), rows)
		}
	}
	if err := l.client.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+marker+" (x UInt8) ENGINE = MergeTree ORDER BY x"); err != nil {
		return fmt.Errorf("mark the database: %w", err)
	}
	return nil
}

// rows inserts the rows of a member.
func (l *loading) rows(ctx context.Context, member, name string, r io.Reader) error {
	if !slices.ContainsFunc(l.tables, func(t table) bool { return t.name == name }) {
		return fmt.Errorf("rows of table %q, which the store of this version does not have", name)
	}
	native, err := inflate(r, maxRows)
	if err != nil {
		return err
	}
	// To the end, where a member that has changed is found out.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if _, err := l.client.InsertNative(ctx, name, native, ""); err != nil {
		return fmt.Errorf("insert %s: %w", member, err)
	}
	l.to.Watch("restoring "+name, l.done, uint64(l.manifest.Bytes()))
	return nil
}

// finish compares the tables with the manifest.
func (l *loading) finish(ctx context.Context) error {
	for _, want := range l.manifest.Tables {
		l.to.Watch("comparing "+want.Name, 0, 0)
		i := slices.IndexFunc(l.tables, func(t table) bool { return t.name == want.Name })
		if i < 0 {
			return fmt.Errorf("table %q, which the store of this version does not have", want.Name)
		}
		t := &l.tables[i]
		rows, sum, err := tally(ctx, l.client, t, t.name)
		if err != nil {
			return err
		}
		// The hash is of all columns: it differs where this version has more of them.
		if rows != want.Rows || l.manifest.Migration == l.to.Migrations && sum != want.Sum {
			return fmt.Errorf("table %q has %d rows with the sum %d, want %d with %d", t.name, rows, sum, want.Rows, want.Sum)
		}
	}
	if !l.to.Server {
		return nil
	}
	if err := l.client.Exec(ctx, "DROP TABLE "+marker); err != nil {
		return fmt.Errorf("unmark the database: %w", err)
	}
	return nil
}

// syncAll has all files and directories below dir be on the disk.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() && !e.IsDir() {
			return err
		}
		return syncDir(name)
	})
}
