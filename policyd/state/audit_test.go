package state_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/policyd/audit"
)

// While nobody takes entries, those of changes are all kept; what was not done is kept up to a bound, and above it that is said.
func TestAuditWaits(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const most = 10_000
	refuse := func() error {
		return s.RecordRefusal(t.Context(), alice.Does(audit.PolicyBypass), "estate", audit.Refused, "not allowed")
	}
	if err := refuse(); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(tx *sql.Tx) error {
		for range most - 1 {
			if err := s.Record(t.Context(), tx, alice.Does(audit.PolicyBypass), "estate", nil, "on"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := refuse(); err == nil || !strings.Contains(err.Error(), "10000 entries wait") {
		t.Errorf("one that is refused above the bound: %v", err)
	}
	err = s.Update(t.Context(), func(tx *sql.Tx) error {
		return s.Record(t.Context(), tx, bob.Does(audit.PolicyBypassEnd), "estate", "on", nil)
	})
	if err != nil {
		t.Errorf("a change above the bound: %v", err)
	}
	list, err := s.AuditEntries(t.Context(), 2*most)
	if err != nil || len(list) != most+1 || list[0].Outcome != audit.Refused || list[most].User != "bob" {
		t.Fatalf("%d entries, %v; want %d, the last by bob", len(list), err, most+1)
	}
	if err := s.DropAudit(t.Context(), list[most].ID); err != nil {
		t.Fatal(err)
	}
	if err := refuse(); err != nil {
		t.Errorf("after all were taken: %v", err)
	}
}
