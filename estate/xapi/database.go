package xapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// maxRecords is how many there may be of a class. Pools have up to some thousand VMs, each with snapshots.
const maxRecords = 200_000

// database is the copy of a pool's records.
type database struct {
	pools        table[poolRecord]
	hosts        table[hostRecord]
	hostMetrics  table[hostMetricsRecord]
	networks     table[networkRecord]
	vms          table[vmRecord]
	guestMetrics table[guestMetricsRecord]
	vifs         table[vifRecord]
	pifs         table[pifRecord]
	bonds        table[bondRecord]
	vlans        table[vlanRecord]
	tunnels      table[tunnelRecord]
	controllers  table[controllerRecord]
}

// table has the records of a class by reference.
type table[T any] map[ref]*T

// records is a table whatever its records are.
type records interface {
	put(r ref, snapshot json.RawMessage) error
	remove(r ref)
	size() int
}

func (t *table[T]) put(r ref, snapshot json.RawMessage) error {
	x := new(T)
	if err := json.Unmarshal(snapshot, x); err != nil {
		return err
	}
	if *t == nil {
		*t = table[T]{}
	}
	(*t)[r] = x
	return nil
}

func (t *table[T]) remove(r ref) { delete(*t, r) }

func (t *table[T]) size() int { return len(*t) }

// tables returns all, by class.
func (d *database) tables() map[class]records {
	return map[class]records{
		classPool: &d.pools, classHost: &d.hosts, classHostMetrics: &d.hostMetrics, classNetwork: &d.networks, classVM: &d.vms,
		classGuestMetrics: &d.guestMetrics, classVIF: &d.vifs, classPIF: &d.pifs, classBond: &d.bonds, classVLAN: &d.vlans,
		classTunnel: &d.tunnels, classController: &d.controllers,
	}
}

// classes returns those that are read, in one order.
func classes() []class { return slices.Sorted(maps.Keys(new(database).tables())) }

// event is one change.
type event struct {
	Class     class           `json:"class"`
	Operation string          `json:"operation"` // add, mod, del
	Ref       ref             `json:"ref"`
	Snapshot  json.RawMessage `json:"snapshot"` // the whole record; absent of del
}

// apply makes a change. A class that is not read is none of ours.
func (d *database) apply(tables map[class]records, e *event) error {
	t := tables[e.Class]
	switch {
	case t == nil:
		return nil
	case e.Ref == "":
		return fmt.Errorf("event of class %q without a reference", e.Class)
	case e.Operation == "del":
		t.remove(e.Ref)
		return nil
	case len(e.Snapshot) == 0 || string(e.Snapshot) == "null": // it is gone by now, and the event that says so is yet to come
		return nil
	}
	if err := t.put(e.Ref, e.Snapshot); err != nil {
		return fmt.Errorf("record %q of class %q: %w", e.Ref, e.Class, err)
	}
	if t.size() > maxRecords {
		return fmt.Errorf("found more than %d records of class %q, which no pool has", maxRecords, e.Class)
	}
	return nil
}
