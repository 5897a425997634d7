package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
)

// Mode is what Weir may do at a host.
type Mode string

// The values of Mode.
const (
	ModeObserve Mode = "observe" // the host is read, and made to export flows; no traffic is touched
	ModeEnforce Mode = "enforce" // as observe, and policy is in force
	ModeDetach  Mode = "detach"  // everything of Weir's is taken off the host, or is off; it is still read

	ModeInherit Mode = "" // of a host: that of its pool; of a pool: observe
)

// Pool is hosts that are managed as one.
type Pool struct {
	Name     string
	Export   export.Override // of its hosts, over what is configured
	Mode     Mode            // of its hosts that have none of their own; observe, enforce or inherit
	Sampling string          // of packets by rules: "full", "new", "off"; "" is as configured
}

// In returns the mode that a host has in its pool.
func (m Mode) In(pool Mode) Mode {
	if m == ModeInherit {
		m = pool
	}
	if m == ModeInherit {
		return ModeObserve
	}
	return m
}

// Host is a host that Weir was told of.
type Host struct {
	UUID   string       // identity for ever, in lower case
	Name   string       // unique
	Pool   string       // name of its pool, "" is none
	Target ovsdb.Target // where Weir dials; zero: the host dials in
	TLS    ovsdb.TLS
	Mode   Mode

	// Who compared TLS.Pin with the host's, and when; zero where nobody has.
	ConfirmedAt time.Time
	ConfirmedBy string

	Export export.Override // over that of its pool
	Added  time.Time
}

// told is what the audit says of a host.
func (h *Host) told() any {
	return struct {
		UUID        string            `json:"uuid"`
		Name        string            `json:"name"`
		Pool        string            `json:"pool,omitempty"`
		Target      string            `json:"target,omitempty"`
		Trust       ovsdb.Trust       `json:"trust"`
		Authority   string            `json:"authority,omitempty"`
		CertName    string            `json:"cert_name,omitempty"`
		Pin         ovsdb.Fingerprint `json:"pin,omitempty"`
		OldTLS      bool              `json:"old_tls,omitempty"`
		Mode        Mode              `json:"mode,omitempty"`
		ConfirmedAt time.Time         `json:"confirmed_at,omitzero"`
		ConfirmedBy string            `json:"confirmed_by,omitempty"`
		Export      export.Override   `json:"export,omitzero"`
	}{h.UUID, h.Name, h.Pool, h.Target.String(), h.TLS.Trust, h.TLS.Authority, h.TLS.Name, h.TLS.Pin, h.TLS.Legacy, h.Mode, h.ConfirmedAt, h.ConfirmedBy, h.Export}
}

// told is what the audit says of a pool.
func (p *Pool) told() any {
	return struct {
		Mode     Mode            `json:"mode,omitempty"`
		Sampling string          `json:"sampling,omitempty"`
		Export   export.Override `json:"export,omitzero"`
	}{p.Mode, p.Sampling, p.Export}
}

// NewUUID returns a random UUID (RFC 9562 §5.4).
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

const hostColumns = `uuid, name, ifnull(pool, ''), target, trust, ca, cert_name, pin, ifnull(confirmed_at, ''), confirmed_by, old_tls, mode, export, added_at`

type scanner interface{ Scan(...any) error }

func scanHost(row scanner) (Host, error) {
	var h Host
	var target, confirmed, exported, added string
	err := row.Scan(&h.UUID, &h.Name, &h.Pool, &target, &h.TLS.Trust, &h.TLS.Authority, &h.TLS.Name, &h.TLS.Pin, &confirmed, &h.ConfirmedBy, &h.TLS.Legacy,
		&h.Mode, &exported, &added)
	if err != nil {
		return h, err
	}
	if confirmed != "" {
		h.ConfirmedAt, err = time.Parse(time.RFC3339Nano, confirmed)
	}
	var err2 error
	h.Added, err2 = time.Parse(time.RFC3339Nano, added)
	return h, errors.Join(err, err2, h.Target.UnmarshalText([]byte(target)), json.Unmarshal([]byte(exported), &h.Export))
}

// Hosts returns all hosts, by name.
func (s *State) Hosts(ctx context.Context) ([]Host, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+hostColumns+" FROM hosts ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list hosts: %w", err)
	}
	defer rows.Close()
	list := []Host{}
	for rows.Next() {
		h, err := scanHost(rows)
		if err != nil {
			return nil, fmt.Errorf("list hosts: %w", err)
		}
		list = append(list, h)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list hosts: %w", err)
	}
	return list, nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readHost(ctx context.Context, q querier, nameOrUUID string) (Host, error) {
	h, err := scanHost(q.QueryRowContext(ctx, "SELECT "+hostColumns+" FROM hosts WHERE name = ?1 OR uuid = lower(?1) ORDER BY name = ?1 DESC LIMIT 1", nameOrUUID))
	if !errors.Is(err, sql.ErrNoRows) {
		return h, err
	}
	var list string
	var names []string
	if err := q.QueryRowContext(ctx, "SELECT json_group_array(name) FROM hosts").Scan(&list); err != nil {
		return h, err
	}
	if err := json.Unmarshal([]byte(list), &names); err != nil {
		return h, err
	}
	return h, fmt.Errorf("%w%s", ErrNotFound, nearest.Hint(nameOrUUID, names, ": weir hosts list shows all"))
}

// Host returns the host of a name or UUID. ErrNotFound: there is none.
func (s *State) Host(ctx context.Context, nameOrUUID string) (Host, error) {
	h, err := readHost(ctx, s.db, nameOrUUID)
	if err != nil {
		return Host{}, fmt.Errorf("find host %q: %w", nameOrUUID, err)
	}
	return h, nil
}

// AddHost adds a host and returns it with what it did not say: a UUID, the time. Its pool is added if it is not
// there. ErrExists: there is one of its name or UUID.
func (s *State) AddHost(ctx context.Context, by audit.Act, h Host) (Host, error) {
	h.UUID = strings.ToLower(h.UUID)
	if h.UUID == "" {
		h.UUID = NewUUID()
	}
	h.Added = s.now().UTC()
	err := s.update(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM hosts WHERE name = ? OR uuid = ?", h.Name, h.UUID).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return ErrExists
		}
		if err := writeHost(ctx, tx, h); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, h.Name, nil, h.told())
	})
	if err != nil {
		return Host{}, fmt.Errorf("add host %q: %w", h.Name, err)
	}
	s.changed()
	return h, nil
}

// writeHost inserts h, or replaces the row of its UUID.
func writeHost(ctx context.Context, tx *sql.Tx, h Host) error {
	if h.Pool != "" {
		const pool = "INSERT INTO pools (name, export) VALUES (?, '{}') ON CONFLICT DO NOTHING"
		if _, err := tx.ExecContext(ctx, pool, h.Pool); err != nil {
			return err
		}
	}
	exported, err := json.Marshal(h.Export)
	if err != nil {
		return err
	}
	var confirmed any
	if !h.ConfirmedAt.IsZero() {
		confirmed = formatTime(h.ConfirmedAt)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO hosts
		(uuid, name, pool, target, trust, ca, cert_name, pin, confirmed_at, confirmed_by, old_tls, mode, export, added_at)
		VALUES (?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, pool = excluded.pool, target = excluded.target, trust = excluded.trust,
			ca = excluded.ca, cert_name = excluded.cert_name, pin = excluded.pin, confirmed_at = excluded.confirmed_at, confirmed_by = excluded.confirmed_by,
			old_tls = excluded.old_tls, mode = excluded.mode, export = excluded.export, added_at = excluded.added_at`,
		h.UUID, h.Name, h.Pool, h.Target.String(), string(h.TLS.Trust), h.TLS.Authority, h.TLS.Name, string(h.TLS.Pin), confirmed, h.ConfirmedBy, h.TLS.Legacy,
		string(h.Mode), string(exported), formatTime(h.Added))
	return err
}

// UpdateHost has f change the host of a name or UUID, in a transaction, and returns it as it is then. f may not change its UUID; an
// error of f leaves everything as it was and is returned. ErrNotFound: there is none. ErrExists: another one has its new name.
func (s *State) UpdateHost(ctx context.Context, by audit.Act, nameOrUUID string, f func(*Host) error) (Host, error) {
	var h Host
	err := s.update(ctx, func(tx *sql.Tx) (err error) {
		if h, err = readHost(ctx, tx, nameOrUUID); err != nil {
			return err
		}
		uuid, before := h.UUID, h.told()
		if err := f(&h); err != nil {
			return err
		}
		if h.UUID != uuid {
			panic("BUG: the UUID of a host changes")
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM hosts WHERE name = ? AND uuid <> ?", h.Name, h.UUID).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("name %q: %w", h.Name, ErrExists)
		}
		if err := writeHost(ctx, tx, h); err != nil {
			return err
		}
		return s.Record(ctx, tx, by, h.Name, before, h.told())
	})
	if err != nil {
		return Host{}, fmt.Errorf("change host %q: %w", nameOrUUID, err)
	}
	s.changed()
	return h, nil
}

// RemoveHost forgets the host of a name or UUID. ErrNotFound: there is none.
func (s *State) RemoveHost(ctx context.Context, by audit.Act, nameOrUUID string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		h, err := readHost(ctx, tx, nameOrUUID)
		if err != nil {
			return err
		}
		for _, q := range []string{
			"DELETE FROM policy_in_force WHERE host = ?", "DELETE FROM bypasses WHERE kind = 'host' AND target = ?", "DELETE FROM hosts WHERE uuid = ?",
		} {
			if _, err := tx.ExecContext(ctx, q, h.UUID); err != nil {
				return err
			}
		}
		if err := s.endInstances(ctx, tx, nil); err != nil { // of a revision that was in force there alone
			return err
		}
		return s.Record(ctx, tx, by, h.Name, h.told(), nil)
	})
	if err != nil {
		return fmt.Errorf("remove host %q: %w", nameOrUUID, err)
	}
	s.changed()
	return nil
}

// Pools returns all pools, by name.
func (s *State) Pools(ctx context.Context) ([]Pool, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+poolColumns+" FROM pools ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	defer rows.Close()
	list := []Pool{}
	for rows.Next() {
		p, err := scanPool(rows)
		if err != nil {
			return nil, fmt.Errorf("list pools: %w", err)
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list pools: %w", err)
	}
	return list, nil
}

const poolColumns = "name, export, mode, sampling"

func scanPool(row scanner) (Pool, error) {
	var p Pool
	var exported string
	if err := row.Scan(&p.Name, &exported, &p.Mode, &p.Sampling); err != nil {
		return p, err
	}
	return p, json.Unmarshal([]byte(exported), &p.Export)
}

// UpdatePool has f change the pool of a name, which is added if it is not there, in a transaction, and returns it as it is then. An
// error of f leaves everything as it was and is returned.
func (s *State) UpdatePool(ctx context.Context, by audit.Act, name string, f func(*Pool) error) (Pool, error) {
	p := Pool{Name: name}
	err := s.update(ctx, func(tx *sql.Tx) error {
		found, err := scanPool(tx.QueryRowContext(ctx, "SELECT "+poolColumns+" FROM pools WHERE name = ?", name))
		switch {
		case err == nil:
			p = found
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		before := p.told()
		if err := f(&p); err != nil {
			return err
		}
		exported, err := json.Marshal(p.Export)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO pools (name, export, mode, sampling) VALUES (?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET export = excluded.export, mode = excluded.mode, sampling = excluded.sampling`,
			name, string(exported), string(p.Mode), p.Sampling)
		if err != nil {
			return err
		}
		return s.Record(ctx, tx, by, name, before, p.told())
	})
	if err != nil {
		return Pool{}, fmt.Errorf("change pool %q: %w", name, err)
	}
	s.changed()
	return p, nil
}
