package hosts_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

// sink keeps events as text.
type sink struct {
	events []event.Event
}

func (s *sink) Emit(e event.Event) { s.events = append(s.events, e) }

// scene is a witness of hosts that are as the test says.
type scene struct {
	t *testing.T
	*hosts.Witness
	sink
	holder *estate.Holder
	at     time.Time
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, holder: estate.NewHolder(), at: now}
	var err error
	s.Witness, err = hosts.NewWitness(hosts.WitnessDeps{
		Assembler: estate.NewAssembler(estate.AssemblerDeps{Estate: s.holder}), Estate: s.holder, Events: &s.sink,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// host says that a host has VIFs, each as "vifA 3" for VIF A at OpenFlow port 3.
func (s *scene) host(name string, change func(d *database, b func(vif string, ofPort int64))) {
	d := newDatabase()
	br := d.bridge("xenbr0")
	change(d, func(vif string, ofPort int64) {
		vm := vm1
		if vif == vifB {
			vm = vm2
		}
		d.port(br, 0, "vif"+string(rune('0'+ofPort))+".0", "", ofPort, "xs-vif-uuid="+vif, "xs-vm-uuid="+vm, "attached-mac=02:00:00:00:00:"+vif[:2])
	})
	s.Observe(s.at, hosts.Map(hosts.Settings{Key: name, Name: name, Pool: "lab"}, d.Rows, ours))
}

// has says that a host has just these VIFs.
func (s *scene) has(name string, plugs map[string]int64) {
	s.host(name, func(_ *database, plug func(string, int64)) {
		for vif, ofPort := range plugs {
			plug(vif, ofPort)
		}
	})
}

// after lets time pass, with a look each second.
func (s *scene) after(d time.Duration) {
	for end := s.at.Add(d); s.at.Before(end); {
		s.at = s.at.Add(time.Second)
		s.Tick(s.at)
	}
}

// told checks what was told since the last call.
func (s *scene) told(want ...string) {
	s.t.Helper()
	var got []string
	for _, e := range s.events {
		got = append(got, string(e.Kind)+": "+e.Subject+": "+e.Text)
		if e.Time.IsZero() || e.Host == 0 && e.Kind != event.AddressConflict {
			s.t.Errorf("event %+v has no time or no host", e)
		}
	}
	s.events = nil
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("told (-want +got):\n%s", diff)
	}
}

const (
	nameA = vm1 + "/0"
	nameB = vm2 + "/0"
)

func TestWitnessTells(t *testing.T) {
	s := newScene(t)
	s.has("xcp1", map[string]int64{vifA: 3, vifB: 4})
	s.has("xcp2", nil)
	s.after(time.Minute)
	s.told() // the first sight

	s.has("xcp1", map[string]int64{vifA: 3})
	s.told()
	s.after(9 * time.Second)
	s.told()
	s.after(time.Second)
	s.told("vif_unplugged: " + nameB + ": unplugged from xenbr0 of xcp1, where it was vif4.0")
	s.has("xcp1", map[string]int64{vifA: 3, vifB: 5})
	s.told("vif_plugged: " + nameB + ": plugged into xenbr0 of xcp1 as vif5.0, OpenFlow port 5")

	// A VM that is started again, at once and with its port seen to go.
	s.has("xcp1", map[string]int64{vifA: 6, vifB: 5})
	s.told("vif_plugged: " + nameA + ": plugged again into xenbr0 of xcp1 as vif6.0, OpenFlow port 6")
	s.has("xcp1", map[string]int64{vifB: 5})
	s.after(5 * time.Second)
	s.has("xcp1", map[string]int64{vifA: 7, vifB: 5})
	s.after(time.Minute)
	s.told("vif_plugged: " + nameA + ": plugged again into xenbr0 of xcp1 as vif7.0, OpenFlow port 7")

	// Moves: plugged before unplugged, and the other way round.
	s.has("xcp2", map[string]int64{vifA: 1})
	s.after(time.Minute)
	s.told()
	s.has("xcp1", map[string]int64{vifB: 5})
	s.told("vif_moved: " + nameA + ": moved from xcp1 to xenbr0 of xcp2, where it is vif1.0")
	s.has("xcp2", nil)
	s.after(5 * time.Second)
	s.has("xcp1", map[string]int64{vifA: 8, vifB: 5})
	s.told("vif_moved: " + nameA + ": moved from xcp2 to xenbr0 of xcp1, where it is vif8.0")

	// At two hosts for longer than a migration takes.
	s.has("xcp2", map[string]int64{vifA: 2})
	s.after(11 * time.Minute)
	s.told("vif_duplicate: " + nameA + ": plugged at xcp1 and at xcp2 for 10m0s")
	s.has("xcp2", nil)
	s.after(time.Minute)
	s.told("vif_moved: " + nameA + ": moved from xcp2 to xenbr0 of xcp1, where it is vif8.0")

	// A host that is lost, whose VM is started elsewhere.
	s.Lost("xcp1", s.at)
	s.has("xcp2", map[string]int64{vifA: 3})
	s.told("vif_moved: " + nameA + ": moved from xcp1 to xenbr0 of xcp2, where it is vif3.0")
	s.has("xcp1", map[string]int64{vifB: 5})
	s.Forget("xcp1", s.at)
	s.after(time.Minute)
	s.told()
}

// After a start of Weir only what differs from the record is told.
func TestWitnessRecalls(t *testing.T) {
	s := newScene(t)
	of := func(vif, name string) estate.Entity {
		return estate.Entity{ID: flow.NewID(flow.KindVIF, vif), Name: name}
	}
	s.Recall(map[string][]estate.Entity{"xcp1": {of(vifA, "a"), of(vifB, "b")}, "xcp2": {of("gone", "old/0")}})
	s.has("xcp1", map[string]int64{vifB: 4})
	s.told()
	s.has("xcp2", map[string]int64{vifA: 3})
	s.told("vif_moved: " + nameA + ": moved from xcp1 to xenbr0 of xcp2, where it is vif3.0")
	s.after(time.Minute)
	s.told("vif_unplugged: old/0: unplugged from xcp2 while Weir did not look")
	s.has("xcp3", map[string]int64{vifB: 1}) // never seen before: it is where a VM moves to all the same
	s.after(time.Minute)
	s.told()

	// The host where a VIF was is not back yet.
	s = newScene(t)
	s.Recall(map[string][]estate.Entity{"xcp1": {of(vifA, "a")}})
	s.has("xcp2", map[string]int64{vifA: 3, vifB: 4})
	s.told("vif_moved: " + nameA + ": moved from xcp1 to xenbr0 of xcp2, where it is vif3.0")
	s.has("xcp1", nil)
	s.after(time.Minute)
	s.told()
}

func TestWitnessTellsOfPorts(t *testing.T) {
	s := newScene(t)
	broken := func(d *database, plug func(string, int64)) {
		plug(vifA, 3)
		d.iface("vif3.0").Error, d.iface("vif3.0").OFPort = "could not open network device vif3.0 (No such device)", -1
	}
	s.host("xcp1", broken)
	s.after(4 * time.Second)
	s.has("xcp1", map[string]int64{vifA: 3}) // it was only being made
	s.after(time.Minute)
	s.told()
	s.host("xcp1", broken)
	s.after(time.Minute)
	s.host("xcp1", broken)
	s.after(time.Minute)
	s.told("port_error: xcp1/xenbr0/vif3.0: port vif3.0 of xenbr0 at xcp1: could not open network device vif3.0 (No such device)")

	controlled := func(d *database, _ func(string, int64)) {
		for _, b := range d.Bridges {
			d.Controllers["x"] = &ovsdbController
			b.Controllers = append(b.Controllers, "x")
		}
	}
	s.host("xcp2", controlled)
	s.host("xcp2", controlled)
	s.told("foreign_controller: xcp2/xenbr0: bridge xenbr0 of xcp2 has the OpenFlow controller tcp:192.0.2.9:6653, which is not Weir's")

	// Two VIFs with one address.
	s = newScene(t)
	s.host("xcp3", func(d *database, _ func(string, int64)) {
		for _, b := range d.Bridges {
			d.port(b, 0, "vif1.0", "", 1, "xs-vif-uuid="+vifA, "xs-vm-uuid="+vm1, "attached-mac=02:00:00:00:00:01")
			d.port(b, 0, "vif2.0", "", 2, "xs-vif-uuid="+vifB, "xs-vm-uuid="+vm2, "attached-mac=02:00:00:00:00:01")
		}
	})
	s.after(2 * time.Second)
	if !slices.ContainsFunc(s.events, func(e event.Event) bool {
		return e.Kind == event.AddressConflict && e.Text == "MAC address 02:00:00:00:00:01 is that of several VIFs: "+nameA+", "+nameB
	}) {
		t.Errorf("told %+v, want an address conflict", s.events)
	}
}
