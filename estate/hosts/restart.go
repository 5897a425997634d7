package hosts

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// exportSettles is how long after a change of a host's export an exporter that numbers anew says nothing of the switch.
const exportSettles = 2 * time.Minute

// restarts tells from a host's database that ovs-vswitchd was started anew. A start of ovs-vswitchd alone, by itself, leaves no trace
// there: not even devices, which outlive it, get new numbers. What does leave one:
//
//   - other_config:flow-restore-wait, which the packages' scripts set while they restart the switch;
//   - a new device for a bridge's own interface, with another ifindex;
//   - a new database (another row Open_vSwitch), as XenServer makes one when it boots.
//
// Of all others, an exporter of flows that numbers anew tells; Fleet.ExporterRestarted is told so.
type restarts struct {
	last    *ovsdb.Rows
	devices map[ovsdb.UUID]int64 // ifindex of the own interface of each bridge, as far as it was ever known
	exports time.Time            // when rows of exports changed last
	told    time.Time            // when a restart was last told
}

// look compares rows with those that it saw last. It returns why the switch must have been started anew, or "".
func (r *restarts) look(rows *ovsdb.Rows, now time.Time) string {
	last := r.last
	if last == rows {
		return ""
	}
	r.last = rows
	renewed := r.newDevice(rows)
	if last == nil {
		return ""
	}
	if !sameExports(last, rows) {
		r.exports = now
	}
	reason := ""
	switch {
	case last.Root.UUID != "" && rows.Root.UUID != "" && last.Root.UUID != rows.Root.UUID:
		reason = "its database is a new one"
	case last.Root.OtherConfig["flow-restore-wait"] != "true" && rows.Root.OtherConfig["flow-restore-wait"] == "true":
		reason = "it waits until its flows are restored"
	case renewed != "":
		reason = fmt.Sprintf("the device of bridge %q is a new one", renewed)
	}
	if reason != "" {
		r.told = now
	}
	return reason
}

// exporter is told that an exporter of the host numbers anew, and says whether the switch must have been started anew and nobody has told.
func (r *restarts) exporter(now time.Time) bool {
	if now.Sub(r.exports) < exportSettles || now.Sub(r.told) < exportSettles {
		return false
	}
	r.told = now
	return true
}

// newDevice notes the devices of bridges' own interfaces, and returns the name of a bridge that has another one now, or "". While the database
// was just restarted it tells of none.
func (r *restarts) newDevice(rows *ovsdb.Rows) (bridge string) {
	devices := map[ovsdb.UUID]int64{}
	for _, id := range slices.Sorted(maps.Keys(rows.Bridges)) {
		b := rows.Bridges[id]
		before := r.devices[id]
		devices[id] = before
		for _, port := range b.Ports {
			p := rows.Ports[port]
			if p == nil || p.Name != b.Name || len(p.Interfaces) != 1 {
				continue
			}
			i := rows.Interfaces[p.Interfaces[0]]
			if i == nil || i.IfIndex == 0 {
				continue
			}
			devices[id] = i.IfIndex
			if before != 0 && before != i.IfIndex {
				bridge = b.Name
			}
		}
	}
	r.devices = devices
	return bridge
}

// sameExports says whether each bridge exports as before: by the same rows, with the same content.
func sameExports(a, b *ovsdb.Rows) bool {
	for id, x := range b.Bridges {
		if y := a.Bridges[id]; y == nil || y.NetFlow != x.NetFlow || y.IPFIX != x.IPFIX {
			return false
		}
	}
	return len(a.Bridges) == len(b.Bridges) && reflect.DeepEqual(a.NetFlows, b.NetFlows) && reflect.DeepEqual(a.IPFIXs, b.IPFIXs)
}

// restarted returns why the switch must have been started anew, or "".
func (m *member) restarted(rows *ovsdb.Rows) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rest.look(rows, time.Now())
}

func restartEvent(h Host, reason string) event.Event {
	e := hostEvent(h, event.SwitchRestarted, fmt.Sprintf("the switch of host %s was started anew: %s", h.Name, reason))
	e.Attributes["evidence"] = reason
	return e
}

// ExporterRestarted tells the fleet that an exporter of flows at the host of that id began to number anew, as the collector has seen. Unless
// the export was set up anew just before, the switch was restarted, and that becomes an event.
func (f *Fleet) ExporterRestarted(id string) {
	f.mu.Lock()
	m := f.members[id]
	f.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	host, restarted := m.host, m.rest.exporter(time.Now())
	m.mu.Unlock()
	if restarted {
		f.emit(restartEvent(host, "its exporter of flows began to number anew"))
	}
}
