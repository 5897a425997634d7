package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Migration is one file of migrations.
type Migration struct {
	Version    int    // 1, 2, …: the number in front of the name
	Name       string // file name
	Checksum   string // SHA-256 of the file, hexadecimal
	Statements []string
}

var migrationName = regexp.MustCompile(`^(\d{4})_[a-z0-9_]+\.sql$`)

// LoadMigrations reads the files NNNN_what.sql in the root of files. Their numbers are 1, 2, 3 … without gaps.
func LoadMigrations(files fs.FS) ([]Migration, error) {
	entries, err := fs.ReadDir(files, ".") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var migrations []Migration
	for _, entry := range entries {
		match := migrationName.FindStringSubmatch(entry.Name())
		if match == nil {
			return nil, fmt.Errorf("read migration %q: want a name of the form 0001_create_flows.sql", entry.Name())
		}
		version, _ := strconv.Atoi(match[1])
		if version != len(migrations)+1 {
			return nil, fmt.Errorf("read migration %q: number %d, expected %d", entry.Name(), version, len(migrations)+1)
		}
		text, err := fs.ReadFile(files, entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration %q: %w", entry.Name(), err)
		}
		statements, err := splitStatements(string(text))
		if err != nil {
			return nil, fmt.Errorf("read migration %q: %w", entry.Name(), err)
		}
		if len(statements) == 0 {
			return nil, fmt.Errorf("read migration %q: no statement in it", entry.Name())
		}
		sum := sha256.Sum256(text)
		migrations = append(migrations, Migration{version, entry.Name(), hex.EncodeToString(sum[:]), statements})
	}
	return migrations, nil
}

// Applied is a migration as the database remembers it.
type Applied struct {
	Version   int
	Name      string
	Checksum  string
	AppliedAt time.Time
	Duration  time.Duration
}

// MigrationPlan is what a database has and what it lacks.
type MigrationPlan struct {
	Applied []Applied   // ascending
	Pending []Migration // ascending: what Apply would run
}

// The table that remembers. A version that was applied twice at the same time by two runners has one row after a merge,
// and two with different checksums if their files differed.
const createMigrations = `CREATE TABLE IF NOT EXISTS weir_migrations
(
    version UInt32 COMMENT 'Number of the migration.',
    name String COMMENT 'File name.',
    checksum String COMMENT 'SHA-256 of the file, hexadecimal.',
    applied_at DateTime64(3, 'UTC') COMMENT 'When its last statement was done.',
    duration_ms UInt64 COMMENT 'How long it took, ms.'
)
ENGINE = ReplacingMergeTree(applied_at) ORDER BY (version, checksum)
COMMENT 'Migrations of the schema that were applied.'`

// Plan compares the database with migrations (of LoadMigrations) and changes nothing. It is an error if a file differs
// from the one that was applied, or if the database has versions that migrations lacks: it was used by a newer weir.
func Plan(ctx context.Context, c *Client, migrations []Migration) (MigrationPlan, error) {
	applied, err := c.appliedMigrations(ctx)
	if err != nil {
		return MigrationPlan{}, fmt.Errorf("plan migrations: %w", err)
	}
	done := map[int]bool{}
	for _, a := range applied {
		if a.Version > len(migrations) {
			return MigrationPlan{}, fmt.Errorf("plan migrations: database %q has migration %q, this weir knows up to %d: it was used by a newer version, run that or a later one",
				c.cfg.Database, a.Name, len(migrations))
		}
		if m := migrations[a.Version-1]; m.Checksum != a.Checksum {
			return MigrationPlan{}, fmt.Errorf("plan migrations: file %q was changed after it was applied (as %q on %s): its checksum is %s, the database has %s; restore the file and put the change into a new one",
				m.Name, a.Name, a.AppliedAt.Format(time.DateOnly), short(m.Checksum), short(a.Checksum))
		}
		done[a.Version] = true
	}
	plan := MigrationPlan{Applied: applied}
	for _, m := range migrations {
		if !done[m.Version] {
			plan.Pending = append(plan.Pending, m)
		}
	}
	return plan, nil
}

// short is enough of a checksum to tell two apart by eye.
func short(checksum string) string { return checksum[:min(12, len(checksum))] }

func (c *Client) appliedMigrations(ctx context.Context) ([]Applied, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	var exists uint8
	if err := c.conn.QueryRow(ctx, "EXISTS TABLE weir_migrations").Scan(&exists); err != nil {
		return nil, classify(ctx, err)
	}
	if exists == 0 {
		return nil, nil
	}
	rows, err := c.conn.Query(ctx, "SELECT version, name, checksum, applied_at, duration_ms FROM weir_migrations FINAL ORDER BY version, applied_at")
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	var applied []Applied
	for rows.Next() {
		var a Applied
		var version uint32
		var ms uint64
		if err := rows.Scan(&version, &a.Name, &a.Checksum, &a.AppliedAt, &ms); err != nil {
			return nil, err
		}
		a.Version, a.Duration = int(version), time.Duration(ms)*time.Millisecond
		applied = append(applied, a)
	}
	return applied, classify(ctx, rows.Err())
}

// Apply runs what Plan calls pending, in order, and returns it. A migration is remembered when all its statements are
// done; after a failure or a crash the next Apply runs the whole file again. Apply on an up-to-date database does
// nothing. Two runners at the same time do no harm: every statement can be repeated.
func Apply(ctx context.Context, c *Client, migrations []Migration, log *slog.Logger) ([]Migration, error) {
	plan, err := Plan(ctx, c, migrations)
	if err != nil {
		return nil, err
	}
	if len(plan.Pending) == 0 {
		return nil, nil
	}
	if err := c.Exec(ctx, createMigrations); err != nil {
		return nil, fmt.Errorf("create table weir_migrations: %w", err)
	}
	for i, m := range plan.Pending {
		start := time.Now()
		for n, statement := range m.Statements {
			if err := c.Exec(ctx, c.withCollection(statement)); err != nil {
				return plan.Pending[:i], fmt.Errorf("apply migration %q: statement %d of %d (%s): %w",
					m.Name, n+1, len(m.Statements), firstLine(statement), err)
			}
		}
		took := time.Since(start)
		if err := c.remember(ctx, m, took); err != nil {
			return plan.Pending[:i], fmt.Errorf("record migration %q: %w", m.Name, err)
		}
		log.Info("migration applied", "name", m.Name, "duration", took)
	}
	return slices.Clone(plan.Pending), nil
}

func (c *Client) remember(ctx context.Context, m Migration, took time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	batch, err := c.conn.PrepareBatch(ctx, "INSERT INTO weir_migrations (version, name, checksum, applied_at, duration_ms)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	if err := batch.Append(uint32(m.Version), m.Name, m.Checksum, time.Now().UTC(), uint64(took.Milliseconds())); err != nil {
		return err
	}
	return classify(ctx, batch.Send())
}

// withCollection gives a dictionary that reads a table of its own server the named collection to log in with. It is
// the only thing in the migrations that differs between servers; engines for a cluster (Replicated…) would be put in
// here as well, by the same rule: the files stay plain SQL, and a fixed phrase of theirs is replaced.
func (c *Client) withCollection(statement string) string {
	if c.cfg.DictionaryCollection == "" {
		return statement
	}
	return strings.ReplaceAll(statement, "SOURCE(CLICKHOUSE(", "SOURCE(CLICKHOUSE(NAME "+c.cfg.DictionaryCollection+" ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
