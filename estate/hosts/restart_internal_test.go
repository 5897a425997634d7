package hosts

import (
	"testing"
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// An exporter that numbers anew because its settings have changed says nothing of the switch.
func TestExporterRestartsAfterChange(t *testing.T) {
	rows := func(targets ...string) *ovsdb.Rows {
		return &ovsdb.Rows{
			Root:    ovsdb.Root{UUID: "r"},
			Bridges: map[ovsdb.UUID]*ovsdb.Bridge{"b": {UUID: "b", Name: "br0", IPFIX: "i"}},
			IPFIXs:  map[ovsdb.UUID]*ovsdb.IPFIX{"i": {UUID: "i", Targets: targets}},
		}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var r restarts
	at := func(after time.Duration) time.Time { return now.Add(after) }
	r.look(rows("a"), at(0))
	if !r.exporter(at(time.Second)) {
		t.Error("nothing has changed, and it is not told")
	}
	if r.exporter(at(2 * time.Second)) {
		t.Error("it is told twice")
	}
	r.look(rows("a"), at(10*time.Minute)) // read anew, with the same content
	if !r.exporter(at(10*time.Minute + time.Second)) {
		t.Error("the same content is taken for a change")
	}
	r.look(rows("a", "b"), at(20*time.Minute))
	if r.exporter(at(21*time.Minute)) || !r.exporter(at(23*time.Minute)) {
		t.Error("a change of targets does not explain it, or explains it for ever")
	}
	without := rows("a", "b")
	without.Bridges["b"] = &ovsdb.Bridge{UUID: "b", Name: "br0"}
	r.look(without, at(30*time.Minute))
	if r.exporter(at(31 * time.Minute)) {
		t.Error("a bridge that stops exporting does not explain it")
	}
	if reason := r.look(&ovsdb.Rows{Root: ovsdb.Root{UUID: "other"}}, at(40*time.Minute)); reason != "its database is a new one" {
		t.Errorf("a new database: %q", reason)
	}
}
