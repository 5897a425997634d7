package ovsdb_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
)

// quick are limits under which tests do not wait long.
func quick() ovsdb.Limits {
	l := ovsdb.DefaultLimits()
	l.BackoffMin, l.BackoffMax = 10*time.Millisecond, 50*time.Millisecond
	return l
}

// probing are limits under which a server is probed often.
func probing() ovsdb.Limits {
	l := quick()
	l.Probe = 2 * time.Second // a busy machine answers within
	return l
}

// run makes a session and runs it until the end of the test.
func run(t *testing.T, cfg ovsdb.Config, d ovsdb.Deps) *ovsdb.Session {
	t.Helper()
	if cfg.Limits == (ovsdb.Limits{}) {
		cfg.Limits = quick()
	}
	s, err := ovsdb.New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if state := s.Status().State; state != ovsdb.StateStopped {
			t.Errorf("after Run: state %q", state)
		}
	})
	return s
}

func target(t *testing.T, text string) ovsdb.Target {
	t.Helper()
	target, err := ovsdb.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func dial(t *testing.T, text string) *ovsdb.Session {
	t.Helper()
	s := run(t, ovsdb.Config{Target: target(t, text)}, ovsdb.Deps{})
	await(t, s, ovsdb.StateConnected)
	return s
}

func await(t *testing.T, s *ovsdb.Session, state ovsdb.State) {
	t.Helper()
	says(t, s, "want "+string(state), func(st ovsdb.Status) bool { return st.State == state })
}

// says waits until the status is as it should be.
func says(t *testing.T, s *ovsdb.Session, what string, holds func(ovsdb.Status) bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds(s.Status()) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: status is %+v", what, s.Status())
		}
		time.Sleep(5 * time.Millisecond) // between polls
	}
}

// until waits until what the session knows is as it should be.
func until(t *testing.T, s *ovsdb.Session, what string, holds func(*ovsdb.Rows) bool) {
	t.Helper()
	ovsdbtest.Until(t, what, func() bool {
		rows := s.Rows()
		return rows != nil && holds(rows)
	})
}

func bridge(rows *ovsdb.Rows, name string) *ovsdb.Bridge {
	for _, b := range rows.Bridges {
		if b.Name == name {
			return b
		}
	}
	return nil
}

func TestSessionFollowsTheDatabase(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0", "--", "add-port", "br0", "p1", "tag=7", "--", "set", "Interface", "p1", "external_ids:iface-id=a\"b", "type=internal",
		"--", "set", "Open_vSwitch", ".", "external_ids:system-id=hv1")
	s := dial(t, server.Socket())
	rows := s.Rows()
	br0 := bridge(rows, "br0")
	if br0 == nil || len(br0.Ports) != 2 || len(rows.Interfaces) != 2 {
		t.Fatalf("bridge %+v, interfaces %v", br0, rows.Interfaces)
	}
	if st := s.Status(); st.SystemID != "hv1" || st.SchemaVersion == "" || st.Error != "" {
		t.Errorf("status %+v", st)
	}
	for _, p := range rows.Ports {
		i := rows.Interfaces[p.Interfaces[0]]
		switch p.Name {
		case "p1":
			if p.Tag == nil || *p.Tag != 7 || i.ExternalIDs["iface-id"] != `a"b` || i.Type != "internal" {
				t.Errorf("port p1 %+v, interface %+v", p, i)
			}
		default:
			if p.Tag != nil || i.ExternalIDs != nil {
				t.Errorf("port %q %+v, interface %+v", p.Name, p, i)
			}
		}
	}

	changes, cancel := s.Subscribe()
	defer cancel()
	server.VSCtl("--no-wait", "set", "Bridge", "br0", "fail_mode=secure")
	until(t, s, "the bridge is secure", func(r *ovsdb.Rows) bool { return bridge(r, "br0").FailMode == "secure" })
	select {
	case <-changes:
	case <-time.After(time.Minute):
		t.Error("nothing was said of a change")
	}
	after := s.Rows()
	if bridge(rows, "br0").FailMode != "" {
		t.Error("rows that were returned before have changed")
	}
	for id, p := range rows.Ports {
		if after.Ports[id] != p {
			t.Errorf("port %q was made anew though it did not change", p.Name)
		}
	}
	server.VSCtl("--no-wait", "del-br", "br0")
	until(t, s, "nothing is left", func(r *ovsdb.Rows) bool {
		return len(r.Bridges)+len(r.Ports)+len(r.Interfaces)+len(r.Root.Bridges) == 0
	})
}

func TestTransact(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0")
	s := dial(t, server.Socket())
	ctx := t.Context()
	br0 := bridge(s.Rows(), "br0")
	n, five := int64(3), int64(5)

	results, err := s.Transact(ctx,
		ovsdb.Verify("Bridge", br0.UUID, ovsdb.Values{"netflow": nil, "external_ids": map[string]string{}}),
		ovsdb.Insert("NetFlow", "n", ovsdb.Values{"targets": []string{"192.0.2.5:2055"}, "engine_id": &n, "engine_type": (*int64)(nil), "active_timeout": five, "add_id_to_interface": false}),
		ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"netflow": ovsdb.Named("n")}),
		ovsdb.Mutate("Bridge", ovsdb.Is(br0.UUID), ovsdb.Mutation{Column: "external_ids", Mutator: "insert", Value: map[string]string{"a": "1", "b": "2"}}),
		ovsdb.Comment("a test"),
		ovsdb.Select("Bridge", []ovsdb.Condition{{Column: "name", Function: "==", Value: "br0"}}, "name", "external_ids", "netflow", "ports", "flood_vlans"),
	)
	if err != nil {
		t.Fatal(err)
	}
	if results[1].UUID == "" || results[2].Count != 1 || results[3].Count != 1 {
		t.Errorf("results %+v", results)
	}
	if row := results[5].Rows[0]; row["name"] != "br0" || row["external_ids"].(map[string]string)["b"] != "2" || row["netflow"] != results[1].UUID || row["ports"] != br0.Ports[0] {
		t.Errorf("selected %#v", row)
	} else if set, ok := row["flood_vlans"].([]any); !ok || len(set) != 0 {
		t.Errorf("selected an empty set as %#v", row["flood_vlans"])
	}
	now := s.Rows() // without waiting
	if b := bridge(now, "br0"); b.NetFlow != results[1].UUID || b.ExternalIDs["a"] != "1" {
		t.Errorf("after Transact the bridge is %+v", b)
	}
	if f := now.NetFlows[results[1].UUID]; f == nil || *f.EngineID != 3 || f.EngineType != nil || f.ActiveTimeout != 5 || f.Targets[0] != "192.0.2.5:2055" {
		t.Errorf("after Transact the row is %+v", f)
	}

	// What was looked at has changed since: nothing happens.
	_, err = s.Transact(ctx,
		ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"fail_mode": "secure"}),
		ovsdb.Verify("Bridge", br0.UUID, ovsdb.Values{"netflow": nil}))
	if !errors.Is(err, ovsdb.ErrChanged) {
		t.Errorf("Verify of what has changed: %v", err)
	}
	if b := bridge(s.Rows(), "br0"); b.FailMode != "" {
		t.Errorf("after a transaction that was given up the bridge is %+v", b)
	}
	if _, err := s.Transact(ctx, ovsdb.Verify("Bridge", "11111111-1111-1111-1111-111111111111", ovsdb.Values{"netflow": nil})); !errors.Is(err, ovsdb.ErrChanged) {
		t.Errorf("Verify of a row that is gone: %v", err)
	}

	// Refused at once, and at the end.
	var refused *ovsdb.OperationError
	_, err = s.Transact(ctx, ovsdb.Comment("x"), ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"fail_mode": "odd"}))
	if !errors.As(err, &refused) || refused.Index != 1 || refused.Op != "update Bridge" || errors.Is(err, ovsdb.ErrChanged) || errors.Is(err, ovsdb.ErrUnknown) {
		t.Errorf("an odd value: %v", err)
	}
	_, err = s.Transact(ctx, ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"netflow": ovsdb.UUID("11111111-1111-1111-1111-111111111111")}))
	if !errors.As(err, &refused) || refused.Op != "commit" {
		t.Errorf("a reference to nothing: %v", err)
	}
	if _, err := s.Transact(ctx, ovsdb.Update("Bridge", nil, ovsdb.Values{"name": 1.5})); err == nil {
		t.Error("a value of no known type was sent")
	}

	// A trial changes nothing.
	if err := s.Try(ctx, ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"fail_mode": "secure"})); err != nil {
		t.Errorf("Try: %v", err)
	}
	if err := s.Try(ctx, ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"no_such": "secure"})); !errors.As(err, &refused) || refused.Index != 0 {
		t.Errorf("Try of what is not there: %v", err)
	}
	if b := bridge(s.Rows(), "br0"); b.FailMode != "" {
		t.Errorf("after a trial the bridge is %+v", b)
	}

	_, err = s.Transact(ctx, ovsdb.Mutate("Bridge", ovsdb.Is(br0.UUID), ovsdb.Mutation{Column: "external_ids", Mutator: "delete", Value: []string{"a"}}),
		ovsdb.Update("Bridge", ovsdb.Is(br0.UUID), ovsdb.Values{"netflow": ovsdb.UUID("")}))
	if b := bridge(s.Rows(), "br0"); err != nil || b.NetFlow != "" || len(b.ExternalIDs) != 1 || len(s.Rows().NetFlows) != 0 {
		t.Errorf("after taking it back, error %v, the bridge is %+v", err, b)
	}
}

func TestServerIsRestarted(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0")
	s := dial(t, server.Socket())
	before := s.Rows()
	server.Stop()
	ovsdbtest.Until(t, "the loss is seen", func() bool { return s.Status().State != ovsdb.StateConnected })
	if s.Rows() != before {
		t.Error("what was known is gone with the session")
	}
	if _, err := s.Transact(t.Context(), ovsdb.Comment("x")); !errors.Is(err, ovsdb.ErrNotConnected) {
		t.Errorf("Transact without a session: %v", err)
	}
	server.Run()
	server.VSCtl("--no-wait", "add-br", "br1")
	until(t, s, "both bridges", func(r *ovsdb.Rows) bool { return bridge(r, "br0") != nil && bridge(r, "br1") != nil })
	says(t, s, "want a second start", func(st ovsdb.Status) bool { return st.State == ovsdb.StateConnected && st.Starts == 2 }) // rows are known first
}

func TestServerIsFrozen(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	s := run(t, ovsdb.Config{Target: target(t, server.Socket()), Limits: probing()}, ovsdb.Deps{})
	await(t, s, ovsdb.StateConnected)
	server.Signal(unix.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Transact(ctx, ovsdb.Comment("x")); !errors.Is(err, ovsdb.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Transact with a frozen server: %v", err)
	}
	says(t, s, "want that the probe tells", func(st ovsdb.Status) bool { // the server is dialled again meanwhile, in vain
		return st.State != ovsdb.StateConnected && strings.Contains(st.Error, "answered no echo")
	})
	server.Signal(unix.SIGCONT)
	await(t, s, ovsdb.StateConnected)
}

func TestSchemaWithoutColumns(t *testing.T) {
	server := ovsdbtest.Start(t, func(schema map[string]any) {
		tables := schema["tables"].(map[string]any)
		columns := func(table string) map[string]any { return tables[table].(map[string]any)["columns"].(map[string]any) }
		delete(columns("Controller"), "type")
		delete(columns("Interface"), "mtu")
		columns("Interface")["ifindex"] = map[string]any{"type": "string"} // of another type than Weir knows
		delete(columns("IPFIX"), "other_config")
		delete(tables, "Flow_Sample_Collector_Set")
		schema["version"] = "7.12.1"
	})
	server.VSCtl("--no-wait", "add-br", "br0", "--", "set-controller", "br0", "tcp:192.0.2.1:6653")
	s := dial(t, server.Socket())
	rows := s.Rows()
	if len(rows.Controllers) != 1 || len(rows.Interfaces) != 1 {
		t.Errorf("rows %+v", rows)
	}
	for column, want := range map[[2]string]bool{
		{"Controller", "type"}: false, {"Controller", "target"}: true, {"Flow_Sample_Collector_Set", ""}: false, {"IPFIX", "other_config"}: false, {"IPFIX", ""}: true,
	} {
		if s.Schema().Has(column[0], column[1]) != want {
			t.Errorf("Has%v is not %v", column, want)
		}
	}
	if !s.Schema().Allows("Bridge", "protocols", "OpenFlow15") || s.Schema().Allows("Bridge", "protocols", "OpenFlow16") || !s.Schema().Allows("Bridge", "name", "any") {
		t.Error("Allows does not tell what the schema lists")
	}
	want := []string{"Interface.ifindex", "Interface.mtu", "Controller.type", "IPFIX.other_config", "Flow_Sample_Collector_Set"}
	st := s.Status()
	missing := slices.DeleteFunc(st.Missing, func(m string) bool { return m == "IPFIX.template_interval" }) // of Open vSwitch 3.2
	if !slices.Equal(missing, want) || st.SchemaVersion != "7.12.1" {
		t.Errorf("missing %q, want %q; version %q", missing, want, st.SchemaVersion)
	}
}

func TestSchemaOfSomethingElse(t *testing.T) {
	server := ovsdbtest.Start(t, func(schema map[string]any) {
		delete(schema["tables"].(map[string]any)["Port"].(map[string]any)["columns"].(map[string]any), "interfaces")
	})
	s := run(t, ovsdb.Config{Target: target(t, server.Socket())}, ovsdb.Deps{})
	ovsdbtest.Until(t, "it says what is missing", func() bool {
		return s.Status().Error == `the database has no column Port.interfaces: its schema "8.3.1" is not one of Open vSwitch that Weir can read`
	})
}

func TestTCP(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	port := server.Listen("ptcp:0:127.0.0.1")
	s := run(t, ovsdb.Config{Target: target(t, "tcp:127.0.0.1:"+port), Limits: probing()}, ovsdb.Deps{})
	await(t, s, ovsdb.StateConnected)
	if st := s.Status(); st.Peer.String() != "127.0.0.1:"+port || st.TLS != "" || !st.Cert.IsZero() {
		t.Errorf("status %+v", st)
	}
	ovsdbtest.Until(t, "a probe was answered", func() bool { return s.Status().Trip > 0 })
	for _, m := range s.Rows().Managers {
		if m.Target != "ptcp:0:127.0.0.1" {
			t.Errorf("manager %+v", m)
		}
	}
}
