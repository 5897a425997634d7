package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/audit"
)

// What counters skip when a copy is opened for the first time: what may have been given since it was made, by the database that it is a copy of, must not be given
// again. The numbers of rules that are known to have been given are skipped besides, by Restore and SkipInstances.
const (
	skipInstances = 1 << 20 // of 2^30: twenty times a policy of the greatest length, each rule of which is new
	skipRevisions = 10_000
	skipOthers    = 1 << 32 // of 2^63
)

// notCopied are the tables whose rows are of the database alone, not of its copies: what is on its way to somebody is sent by the original, and who was logged in
// there is not here.
var notCopied = []string{"waiting_events", "waiting_audit", "sessions"}

// firstInstance is the lowest number of a rule: those below are of Weir's own rules.
const firstInstance = flow.MaxSystemInstance + 1

// Backup writes a copy of the database to file, which must not exist, while it is in use; nobody waits for it. The copy is whole, and on the disk when Backup returns
// nil; after an error, or a crash, there is no file of that name. To restore it: [Restore]. A copy that is put in the place of the database by other means, as
// is, is as good: whichever is opened first after that skips numbers that may have been given meanwhile.
func (s *State) Backup(ctx context.Context, by audit.Actor, file string) error {
	if err := s.backup(ctx, by, file); err != nil {
		return fmt.Errorf("back up state to %q: %w", file, err)
	}
	return nil
}

func (s *State) backup(ctx context.Context, by audit.Actor, file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return err
	}
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, partial+"*") // mode 0600
	if err != nil {
		return err
	}
	name := tmp.Name()
	err = errors.Join(tmp.Close(), s.copyTo(ctx, by, name))
	if err == nil {
		err = syncFile(name)
	}
	if err == nil {
		err = os.Rename(name, file)
	}
	if err != nil {
		return errors.Join(explain(err, dir), remove(name))
	}
	return syncFile(dir)
}

// partial begins the names of copies that are being written.
const partial = ".weir-state-"

// remove removes a database and what SQLite puts beside it.
func remove(file string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(file + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// syncFile has the contents of a file or directory be on the disk.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// copyTo writes a copy into an empty file, over a connection of its own: who writes meanwhile does not wait.
func (s *State) copyTo(ctx context.Context, by audit.Actor, file string) error {
	from, err := connect(s.file)
	if err != nil {
		return err
	}
	_, err = from.ExecContext(ctx, "VACUUM INTO ?", file)
	if err = errors.Join(err, from.Close()); err != nil {
		return err
	}
	return mark(ctx, file, func(tx *sql.Tx) error {
		for _, table := range notCopied {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM copied"); err != nil { // of a copy of a copy that nobody opened
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO copied (taken_at, taken_by, reason) VALUES (?, ?, ?)", formatTime(s.now()), by.User, by.Reason)
		return err
	})
}

// mark has f change a database that nobody else has open.
func mark(ctx context.Context, file string, f func(*sql.Tx) error) error {
	db, err := connect(file)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	s := State{db: db}
	return errors.Join(s.update(ctx, f), db.Close())
}

// wake has the counters of a copy that is opened for the first time skip what may have been given since it was made.
func (s *State) wake(ctx context.Context, tx *sql.Tx) error {
	var takenAt, takenBy string
	err := tx.QueryRowContext(ctx, "SELECT taken_at, taken_by FROM copied").Scan(&takenAt, &takenBy)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read whether it is a copy: %w", err)
	}
	for _, q := range []string{
		"DELETE FROM copied",
		fmt.Sprintf("INSERT INTO counters (name, next) VALUES ('instance', %d) ON CONFLICT DO NOTHING", firstInstance),
		fmt.Sprintf("UPDATE counters SET next = next + CASE name WHEN 'instance' THEN %d WHEN 'revision' THEN %d ELSE %d END", skipInstances, skipRevisions, int64(skipOthers)),
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("skip numbers that may have been given since it was copied: %w", err)
		}
	}
	by := audit.Actor{User: audit.Weir, Source: "start"}
	return s.Record(ctx, tx, by.Does(audit.SnapshotRestore), "state", nil, map[string]string{"taken_at": takenAt, "taken_by": takenBy})
}

// Restored is what Restore did.
type Restored struct {
	TakenAt time.Time // of the copy; zero: it does not say
	Before  string    // where the database is that was replaced; "": there was none
	Unread  error     // why the database that was replaced was not read; nil: it was, or there was none
}

// Restore puts a copy of a database, from, in the place of the database to, which nobody may have open. from stays as it is. The database that is replaced is kept
// beside it. Numbers that it gave are not given again by the restored one, if it can be read; those that may have been given by others are skipped when the
// restored one is opened. After an error, or a crash, to is as it was, or the restored one.
func Restore(ctx context.Context, from, to string, now time.Time) (Restored, error) {
	r, err := restore(ctx, from, to, now)
	if err != nil {
		return r, fmt.Errorf("restore state from %q: %w", from, err)
	}
	return r, nil
}

func restore(ctx context.Context, from, to string, now time.Time) (r Restored, err error) {
	dir := filepath.Dir(to)
	tmp, err := os.CreateTemp(dir, partial+"*")
	if err != nil {
		return r, err
	}
	name := tmp.Name()
	defer func() {
		if err != nil {
			err = errors.Join(explain(err, dir), remove(name))
		}
	}()
	if err := copyInto(tmp, from); err != nil {
		return r, err
	}
	if r.TakenAt, err = check(ctx, name); err != nil {
		return r, err
	}
	given, err := givenBy(ctx, to)
	if err != nil {
		r.Unread = err
	}
	if err := mark(ctx, name, func(tx *sql.Tx) error { return markRestored(ctx, tx, given, now) }); err != nil {
		return r, err
	}
	if err := syncFile(name); err != nil {
		return r, err
	}
	if r.Before, err = keepAside(to, now); err != nil {
		return r, err
	}
	// What SQLite put beside the old one is of that: it would be taken for the new one's.
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if err := os.Remove(to + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	if err := os.Rename(name, to); err != nil {
		return r, err
	}
	return r, syncFile(dir)
}

// copyInto writes the contents of a file and closes it.
func copyInto(to *os.File, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return errors.Join(err, to.Close())
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return errors.Join(err, to.Close())
}

// readOnly opens a database that nobody changes.
func readOnly(file string) (*sql.DB, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro&immutable=1"}
	return sql.Open("sqlite", dsn.String())
}

// check says what is wrong with a copy, and when it was made.
func check(ctx context.Context, file string) (takenAt time.Time, err error) {
	db, err := readOnly(file)
	if err != nil {
		return takenAt, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return takenAt, fmt.Errorf("it is no database of Weir's: %w", err)
	}
	if found != "ok" {
		return takenAt, fmt.Errorf("it is damaged: %s", found)
	}
	known, err := migrations()
	if err != nil {
		return takenAt, err
	}
	var newest int
	var name string
	if err := db.QueryRowContext(ctx, "SELECT version, name FROM migrations ORDER BY version DESC LIMIT 1").Scan(&newest, &name); err != nil {
		return takenAt, fmt.Errorf("it is no state of Weir's: %w", err)
	}
	if newest > len(known) {
		return takenAt, fmt.Errorf("it has migration %q, this weir knows up to %d: it was made by a newer version, run that or a later one", name, len(known))
	}
	takenAt, _, _, err = takenOf(ctx, db)
	return takenAt, err
}

// takenOf says when, by whom and why a copy was made; all zero if it does not say.
func takenOf(ctx context.Context, db *sql.DB) (at time.Time, by, reason string, err error) {
	var there int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'copied'").Scan(&there); err != nil || there == 0 {
		return at, "", "", err
	}
	var text string
	err = db.QueryRowContext(ctx, "SELECT taken_at, taken_by, reason FROM copied").Scan(&text, &by, &reason)
	if errors.Is(err, sql.ErrNoRows) {
		return at, "", "", nil
	}
	if err == nil {
		at, err = time.Parse(time.RFC3339Nano, text)
	}
	return at, by, reason, err
}

// givenBy returns the counters of the database that is to be replaced, if there is one, and has all of it in the one file.
func givenBy(ctx context.Context, file string) (map[string]int64, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	db, err := connect(file)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	given := map[string]int64{}
	s := State{db: db}
	err = s.update(ctx, func(tx *sql.Tx) error {
		return each(ctx, tx, func(row scanner) error {
			var name string
			var next int64
			err := row.Scan(&name, &next)
			given[name] = next
			return err
		}, "SELECT name, next FROM counters")
	})
	if err == nil {
		_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return given, errors.Join(err, db.Close())
}

// markRestored says that a database is a copy, and which numbers were given by that which it replaces.
func markRestored(ctx context.Context, tx *sql.Tx, given map[string]int64, now time.Time) error {
	for name, next := range given {
		const q = "INSERT INTO counters (name, next) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET next = max(next, excluded.next)"
		if _, err := tx.ExecContext(ctx, q, name, next); err != nil {
			return err
		}
	}
	// A copy that was made by other means, or by an older version, does not say that it is one.
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS copied (taken_at TEXT NOT NULL, taken_by TEXT NOT NULL, reason TEXT NOT NULL) STRICT"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO copied (taken_at, taken_by, reason) SELECT ?, '', '' WHERE NOT EXISTS (SELECT 1 FROM copied)", formatTime(now))
	return err
}

// keepAside gives the database that is to be replaced a second name, so that it is there under one at every moment.
func keepAside(file string, now time.Time) (string, error) {
	aside := file + ".before-" + now.UTC().Format("20060102T150405.000Z")
	err := os.Link(file, aside)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP) { // a file system without hard links
		var to *os.File
		if to, err = os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			if err = copyInto(to, file); err == nil {
				err = syncFile(aside)
			}
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("keep what is there: %w", err)
	}
	for _, suffix := range []string{"-wal", "-journal"} { // of one that could not be read
		if err := os.Link(file+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("keep what is there: %w", err)
		}
	}
	return aside, nil
}

// Snapshot is a copy of the database in a directory of copies.
type Snapshot struct {
	Name      string
	TakenAt   time.Time
	TakenBy   string
	Reason    string
	Automatic bool
	Size      int64 // bytes
}

// snapshotName is the form of the names of snapshots.
var snapshotName = regexp.MustCompile(`^state-(\d{8}T\d{6}\.\d{3}Z)-(auto|manual)\.db$`)

const snapshotTime = "20060102T150405.000Z"

// TakeSnapshot makes a copy in a directory, which it makes if it is not there.
func (s *State) TakeSnapshot(ctx context.Context, by audit.Actor, dir string, automatic bool) (Snapshot, error) {
	kind := "manual"
	if automatic {
		kind = "auto"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Snapshot{}, fmt.Errorf("take snapshot: %w", err)
	}
	name := "state-" + s.now().UTC().Format(snapshotTime) + "-" + kind + ".db"
	file := filepath.Join(dir, name)
	if err := s.Backup(ctx, by, file); err != nil {
		return Snapshot{}, fmt.Errorf("take snapshot: %w", err)
	}
	snap, err := readSnapshot(ctx, dir, name)
	if err == nil {
		err = s.update(ctx, func(tx *sql.Tx) error {
			return s.Record(ctx, tx, by.Does(audit.SnapshotTake), name, nil, map[string]int64{"bytes": snap.Size})
		})
	}
	if err != nil { // a snapshot that nobody was told of is none
		return Snapshot{}, errors.Join(fmt.Errorf("take snapshot: %w", err), os.Remove(file))
	}
	return snap, nil
}

func readSnapshot(ctx context.Context, dir, name string) (Snapshot, error) {
	m := snapshotName.FindStringSubmatch(name)
	if m == nil {
		return Snapshot{}, fmt.Errorf("find snapshot %q: %w", name, ErrNotFound)
	}
	info, err := os.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("find snapshot %q: %w", name, err)
	}
	snap := Snapshot{Name: name, Size: info.Size(), Automatic: m[2] == "auto"}
	if snap.TakenAt, err = time.Parse(snapshotTime, m[1]); err != nil {
		return Snapshot{}, fmt.Errorf("find snapshot %q: %w", name, ErrNotFound)
	}
	db, err := readOnly(filepath.Join(dir, name))
	if err != nil {
		return Snapshot{}, fmt.Errorf("read snapshot %q: %w", name, err)
	}
	_, snap.TakenBy, snap.Reason, err = takenOf(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return Snapshot{}, fmt.Errorf("read snapshot %q: %w", name, err)
	}
	return snap, nil
}

// Snapshots returns the snapshots in a directory, the newest first; files of other names are left out.
func Snapshots(ctx context.Context, dir string) ([]Snapshot, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	list := []Snapshot{}
	for _, e := range entries {
		if !snapshotName.MatchString(e.Name()) {
			continue
		}
		snap, err := readSnapshot(ctx, dir, e.Name())
		if err != nil {
			if errors.Is(err, ErrNotFound) { // it was removed meanwhile
				continue
			}
			return nil, err
		}
		list = append(list, snap)
	}
	slices.SortFunc(list, func(a, b Snapshot) int { return strings.Compare(b.Name, a.Name) })
	return list, nil
}

// OpenSnapshot opens a snapshot to be read. ErrNotFound: there is none of that name.
func OpenSnapshot(ctx context.Context, dir, name string) (*os.File, Snapshot, error) {
	snap, err := readSnapshot(ctx, dir, name)
	if err != nil {
		return nil, snap, err
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, snap, fmt.Errorf("open snapshot %q: %w", name, err)
	}
	return f, snap, nil
}

// RemoveSnapshot removes a snapshot. ErrNotFound: there is none of that name.
func (s *State) RemoveSnapshot(ctx context.Context, by audit.Actor, dir, name string) error {
	snap, err := readSnapshot(ctx, dir, name)
	if err != nil {
		return err
	}
	err = s.update(ctx, func(tx *sql.Tx) error {
		if err := s.Record(ctx, tx, by.Does(audit.SnapshotRemove), name, map[string]any{"bytes": snap.Size, "taken_at": snap.TakenAt}, nil); err != nil {
			return err
		}
		return os.Remove(filepath.Join(dir, name))
	})
	if err != nil {
		return fmt.Errorf("remove snapshot %q: %w", name, err)
	}
	return nil
}

// ThinSnapshots removes all but the newest keep automatic snapshots, and what is left of copies that were never finished. No copy may be being made.
func (s *State) ThinSnapshots(ctx context.Context, by audit.Actor, dir string, keep int) error {
	left, err := filepath.Glob(filepath.Join(dir, partial+"*"))
	errs := []error{err}
	for _, name := range left {
		errs = append(errs, os.Remove(name))
	}
	list, err := Snapshots(ctx, dir)
	errs = append(errs, err)
	list = slices.DeleteFunc(list, func(x Snapshot) bool { return !x.Automatic })
	for _, old := range list[min(keep, len(list)):] {
		errs = append(errs, s.RemoveSnapshot(ctx, by, dir, old.Name))
	}
	return errors.Join(errs...)
}
