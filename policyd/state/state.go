package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/weirhq/weir/internal/notify"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
)

// State is an open database.
type State struct {
	db       *sql.DB
	file     string // absolute
	now      func() time.Time
	instance string

	changes  notify.Changes // of hosts, pools and policy
	audited  notify.Changes // of waiting audit entries
	recorded atomic.Bool    // the transaction that runs has recorded one
}

// Deps are what a State uses and does not own.
type Deps struct {
	Now func() time.Time // nil: time.Now
}

// busyTimeout is how long a write waits for another process that has the database open, such as a backup.
const busyTimeout = 10 * time.Second

// Open opens the database file, which it makes if it is not there, and brings its tables up to date. Its directory exists.
func Open(ctx context.Context, file string, d Deps) (*State, error) {
	s, err := open(ctx, file, d)
	if err != nil {
		return nil, fmt.Errorf("open state %q: %w", file, err)
	}
	return s, nil
}

func open(ctx context.Context, file string, d Deps) (*State, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600) // SQLite gives its further files the same mode
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	db, err := connect(path, "journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	// One connection: writes follow each other, and what is read is never a mixture.
	db.SetMaxOpenConns(1)
	s := &State{db: db, file: path, now: d.Now}
	if s.now == nil {
		s.now = time.Now
	}
	list, err := migrations()
	if err == nil {
		err = s.migrate(ctx, list)
	}
	if err == nil {
		err = s.update(ctx, func(tx *sql.Tx) error { return errors.Join(s.identify(ctx, tx), s.wake(ctx, tx)) })
	}
	if err != nil {
		return nil, errors.Join(explain(err, path), db.Close())
	}
	return s, nil
}

// connect opens a database, whose writes begin with the lock, and whose committed transactions are on the disk. Foreign keys are off unless asked for.
func connect(file string, pragmas ...string) (*sql.DB, error) {
	path, err := filepath.Abs(file) // the first part of a relative one would be taken for the host of the URI
	if err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "synchronous(FULL)", "foreign_keys(1)"}, pragmas...),
		"_txlock": {"immediate"},
	}.Encode()}
	return sql.Open("sqlite", dsn.String())
}

// explain says of an error that the disk is full, if it is: SQLite says "disk I/O error" then.
func explain(err error, path string) error {
	const needed = 128 << 10 // bytes, of the files beside the database
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < needed {
		return fmt.Errorf("%w: its disk is full: make room", err)
	}
	return err
}

// identify reads the id of this Weir, or gives it one.
func (s *State) identify(ctx context.Context, tx *sql.Tx) error {
	err := tx.QueryRowContext(ctx, "SELECT id FROM instance").Scan(&s.instance)
	if errors.Is(err, sql.ErrNoRows) {
		s.instance = NewUUID()
		_, err = tx.ExecContext(ctx, "INSERT INTO instance (id) VALUES (?)", s.instance)
	}
	if err != nil {
		return fmt.Errorf("read instance: %w", err)
	}
	return nil
}

// Instance is a UUID that this database has for ever: what is Weir's at hosts is marked with it.
func (s *State) Instance() string { return s.instance }

// Close closes the database. It is idempotent.
func (s *State) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// Subscribe returns a channel that gets an element after each change of hosts, pools, policy, bypasses or quarantines; several may be merged into one. The
// subscriber calls cancel when it is done; the channel is never closed.
func (s *State) Subscribe() (changes <-chan struct{}, cancel func()) {
	return s.changes.Subscribe()
}

func (s *State) changed() {
	s.changes.Tell()
}

// update runs f in a transaction that writes.
func (s *State) update(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		// It is done when ctx is, and SQLite does it by itself when the disk fails or is full.
		if undone := tx.Rollback(); undone != nil && !errors.Is(undone, sql.ErrTxDone) && !strings.Contains(undone.Error(), "no transaction is active") {
			err = errors.Join(err, undone)
		}
		return err
	}
	told := s.recorded.Swap(false)
	if err := tx.Commit(); err != nil {
		return err
	}
	if told {
		s.audited.Tell()
	}
	return nil
}

//go:embed migrations/*.sql
var files embed.FS

// migration is one file of migrations.
type migration struct {
	name, text, checksum string
}

func migrations() ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var list []migration
	for i, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		base := filepath.Base(name)
		if want := fmt.Sprintf("%04d_", i+1); base[:min(5, len(base))] != want {
			panic(fmt.Sprintf("BUG: migration %q, want a name that begins with %q", base, want))
		}
		sum := sha256.Sum256(text)
		list = append(list, migration{base, string(text), hex.EncodeToString(sum[:])})
	}
	return list, nil
}

// migrate applies what list has and the database has not, each file in a transaction of its own.
func (s *State) migrate(ctx context.Context, list []migration) error {
	const table = `CREATE TABLE IF NOT EXISTS migrations (version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT`
	if _, err := s.db.ExecContext(ctx, table); err != nil {
		return fmt.Errorf("create table migrations: %w", err)
	}
	for i, m := range list {
		if err := s.update(ctx, func(tx *sql.Tx) error { return apply(ctx, tx, i+1, m, s.now()) }); err != nil {
			return fmt.Errorf("apply migration %q: %w", m.name, err)
		}
	}
	var newest int
	var name string
	err := s.db.QueryRowContext(ctx, "SELECT version, name FROM migrations ORDER BY version DESC LIMIT 1").Scan(&newest, &name)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if newest > len(list) {
		return fmt.Errorf("it has migration %q, this weir knows up to %d: it was used by a newer version, run that or a later one", name, len(list))
	}
	return nil
}

func apply(ctx context.Context, tx *sql.Tx, version int, m migration, now time.Time) error {
	var checksum string
	err := tx.QueryRowContext(ctx, "SELECT checksum FROM migrations WHERE version = ?", version).Scan(&checksum)
	switch {
	case err == nil && checksum != m.checksum:
		return fmt.Errorf("it was changed after it was applied: its checksum is %s, the database has %s; restore the file and put the change into a new one", m.checksum[:12], checksum[:min(12, len(checksum))])
	case err == nil:
		return nil
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	if _, err := tx.ExecContext(ctx, m.text); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)", version, m.name, m.checksum, formatTime(now))
	return err
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
