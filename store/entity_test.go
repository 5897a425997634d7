package store_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

func vm(key, name string) store.Entity {
	return store.Entity{Kind: flow.KindVM, ID: flow.NewID(flow.KindVM, key), Key: key, Name: name}
}

// publish publishes entities as a writer that has just been started.
func publish(t *testing.T, c *store.Client, at time.Time, want store.EntityChanges, entities ...store.Entity) {
	t.Helper()
	publishWith(t, store.NewEntities(c), at, want, entities...)
}

func publishWith(t *testing.T, e *store.Entities, at time.Time, want store.EntityChanges, entities ...store.Entity) {
	t.Helper()
	got, err := e.Publish(t.Context(), entities, at)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("Publish(%d entities) = %+v, want %+v", len(entities), got, want)
	}
}

func TestPublishEntitiesWritesWhatChanged(t *testing.T) {
	c := migrated(t)
	now := time.Now()
	a, b := vm("a", "alpha"), vm("b", "beta")
	a.Pool, a.Parent, a.Attributes, a.Source = 7, 8, map[string]string{"os": "Debian", "owner": "Zoë's"}, "file,host"
	b.SameAs = a.ID

	publish(t, c, now, store.EntityChanges{})
	publish(t, c, now, store.EntityChanges{Changed: 2}, a, b)
	publish(t, c, now.Add(time.Second), store.EntityChanges{}, b, a)
	if err := c.Exec(t.Context(), "INSERT INTO entities (id, valid_from, kind, key, name) VALUES (5, now64(), 'rule', 'r', 'a rule')"); err != nil {
		t.Fatal(err)
	}
	publish(t, c, now.Add(2*time.Second), store.EntityChanges{Removed: 1}, a)
	publish(t, c, now.Add(3*time.Second), store.EntityChanges{}, a)
	publish(t, c, now.Add(4*time.Second), store.EntityChanges{Changed: 1}, a, b)
	a.Attributes = map[string]string{"os": "Debian"}
	publish(t, c, now.Add(5*time.Second), store.EntityChanges{Changed: 1}, a, b)
	// A clock that went back, and a moment that the column cannot tell from the last one.
	a.Name = "aleph"
	publish(t, c, now, store.EntityChanges{Changed: 1}, a, b)
	a.Name = "alif"
	publish(t, c, now.Add(5*time.Second), store.EntityChanges{Changed: 1, Removed: 1}, a)

	got := column(t, c, "SELECT concat(key, ' ', name, ' ', kind, ' ', toString(parent), ' ', toString(pool), ' ', toString(attributes), ' ', toString(removed), ' ', source) FROM entities_now ORDER BY key")
	want := []string{
		"a alif vm 8 7 {'os':'Debian'} false file,host",
		"b beta vm 0 0 {} true ",
		"r a rule rule 0 0 {} false ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entities_now: -want +got\n%s", diff)
	}
	recorded, err := store.NewEntities(c).Recorded(t.Context())
	if err != nil || len(recorded) != 2 {
		t.Fatalf("Recorded() = %+v, %v; want a and b", recorded, err)
	}
	for _, r := range recorded {
		want := a
		if r.Removed {
			want = b
		}
		if diff := cmp.Diff(want, r.Entity, cmpopts.EquateEmpty()); diff != "" || !r.First.Before(r.From) {
			t.Errorf("Recorded() has %+v; -want +got\n%s", r, diff)
		}
	}
	if got := column(t, c, "SELECT name FROM entities FINAL WHERE key = 'a' ORDER BY valid_from"); !cmp.Equal(got, []string{"alpha", "alpha", "aleph", "alif"}) {
		t.Errorf("history of a = %q, want alpha, alpha (other attributes), aleph, alif", got)
	}
}

// insertFlow stores one flow from src to dst that was received at that time.
func insertFlow(t *testing.T, c *store.Client, at time.Time, change func(b *flow.Batch)) {
	t.Helper()
	b := flow.NewBatch(1)
	b.Grow(1)
	b.TimeReceived[0] = at.UnixMilli()
	b.SrcGroups.Set(0, nil)
	b.DstGroups.Set(0, nil)
	change(b)
	if _, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
		t.Fatal(err)
	}
}

func TestNamesNowAndThen(t *testing.T) {
	database, srv := storetest.Database(t)
	c := openConfig(t, config(srv, database))
	migrate(t, c)
	day := time.Now().UTC().Truncate(time.Hour).Add(-48 * time.Hour)
	group := store.Entity{Kind: flow.KindVMGroup, ID: flow.NewID(flow.KindVMGroup, "g"), Key: "g", Name: "web"}
	a := vm("a", "old name")
	publish(t, c, day, store.EntityChanges{Changed: 2}, a, group)
	for _, at := range []time.Time{day.Add(-time.Hour), day.Add(time.Hour), day.Add(3 * time.Hour), day.Add(5 * time.Hour)} {
		insertFlow(t, c, at, func(b *flow.Batch) {
			b.SrcVM[0] = uint64(a.ID)
			b.DstVM[0] = 12345 // nobody
			b.DstGroups.Set(0, []uint64{uint64(group.ID), 9})
		})
	}
	a.Name = "new name"
	publish(t, c, day.Add(2*time.Hour), store.EntityChanges{Changed: 1}, a, group)
	publish(t, c, day.Add(4*time.Hour), store.EntityChanges{Removed: 1}, group)

	query := "SELECT concat(src_vm_name, '|', src_vm_name_then, '|', dst_vm_name, '|', dst_vm_name_then, '|', toString(dst_group_names), '|', network_name, network_name_then, host_name) FROM flows ORDER BY time_received"
	want := []string{
		"new name|old name|||['web','']|",
		"new name|old name|||['web','']|",
		"new name|new name|||['web','']|",
		"new name|new name|||['web','']|",
	}
	if diff := cmp.Diff(want, column(t, c, query)); diff != "" {
		t.Errorf("names: -want +got\n%s", diff)
	}
	// The read-only user sees the same.
	reader := config(srv, database)
	reader.User, reader.Password = srv.Users.ReadOnly.Name, srv.Users.ReadOnly.Password
	if diff := cmp.Diff(want, column(t, openConfig(t, reader), query)); diff != "" {
		t.Errorf("names as the read-only user: -want +got\n%s", diff)
	}
}

func TestTextColumns(t *testing.T) {
	c := migrated(t)
	insertFlow(t, c, time.Now(), func(b *flow.Batch) {
		b.Exporter[0] = netip.MustParseAddr("::ffff:192.0.2.1").As16()
		b.SrcAddr[0] = netip.MustParseAddr("2001:db8::1").As16()
		b.DstAddr[0] = netip.MustParseAddr("::ffff:198.51.100.255").As16()
		b.SrcMAC[0] = 0x525400abcdef
	})
	var got string
	scan(t, c, "SELECT arrayStringConcat([exporter_text, src_addr_text, dst_addr_text, src_mac_text, dst_mac_text], ' ') FROM flows", &got)
	if want := "192.0.2.1 2001:db8::1 198.51.100.255 52:54:00:AB:CD:EF "; got != want {
		t.Errorf("text columns = %q, want %q", got, want)
	}
}

func TestPublishExporterNames(t *testing.T) {
	c := migrated(t)
	exporter := netip.MustParseAddr("192.0.2.1")
	names := []store.ExporterName{
		{exporter, 7, store.NameInterface, 3, "eth3", "uplink"},
		{exporter, 7, store.NameVRF, 3, "blue", ""},
		{exporter, 7, store.NameApplication, 13<<24 | 1, "ssh", "Secure Shell"},
		{netip.MustParseAddr("2001:db8::1"), 0, store.NameInterface, 3, "xe-0/0/0", ""},
	}
	publisher := store.NewExporterNames(c)
	f := func(want int, publisher *store.ExporterNames, names ...store.ExporterName) {
		t.Helper()
		got, err := publisher.Publish(t.Context(), names, time.Now())
		if err != nil || got != want {
			t.Fatalf("Publish(%v) = %d, %v; want %d", names, got, err, want)
		}
	}
	f(4, publisher, names...)
	f(0, publisher, names...)
	f(0, store.NewExporterNames(c), names...)
	f(0, store.NewExporterNames(c))
	names[0].Name = "eth3b"
	f(1, publisher, names...)
	f(0, publisher, names[1])

	insertFlow(t, c, time.Now(), func(b *flow.Batch) {
		b.Exporter[0] = exporter.As16()
		b.ObservationDomain[0] = 7
		b.InIf[0], b.OutIf[0], b.VRFIn[0], b.VRFOut[0], b.Application[0] = 3, 4, 3, 0, 13<<24|1
	})
	insertFlow(t, c, time.Now(), func(b *flow.Batch) {
		b.Exporter[0] = netip.MustParseAddr("2001:db8::1").As16()
		b.OutIf[0] = 3
	})
	got := column(t, c, "SELECT concat(in_if_name, '|', out_if_name, '|', vrf_in_name, '|', vrf_out_name, '|', application_name) FROM flows ORDER BY observation_domain DESC")
	if want := []string{"eth3b||blue||ssh", "|xe-0/0/0|||"}; !cmp.Equal(got, want) {
		t.Errorf("names = %q, want %q", got, want)
	}
}

// A large estate is published by one insert of what changed, which takes well under a second: a part of the table each.
func TestPublishManyEntities(t *testing.T) {
	c := migrated(t)
	if err := c.Exec(t.Context(), "SYSTEM STOP MERGES entities"); err != nil {
		t.Fatal(err)
	}
	entities := make([]store.Entity, 20_000)
	for i := range entities {
		entities[i] = vm(fmt.Sprint(i), fmt.Sprintf("vm %d", i))
	}
	start := time.Now()
	e := store.NewEntities(c)
	publishWith(t, e, start, store.EntityChanges{Changed: len(entities)}, entities...)
	publishWith(t, e, start, store.EntityChanges{}, entities...)
	entities[7].Name = "another"
	publishWith(t, e, start.Add(time.Second), store.EntityChanges{Changed: 1}, entities...)
	publish(t, c, start.Add(2*time.Second), store.EntityChanges{Removed: 1}, entities[1:]...)
	t.Logf("20000 entities, four times: %s", time.Since(start))
	want := []string{"20000", "1", "1"}
	if got := column(t, c, "SELECT toString(rows) FROM system.parts WHERE database = currentDatabase() AND table = 'entities' AND active ORDER BY min_block_number"); !cmp.Equal(got, want) {
		t.Errorf("rows by insert: %q, want %q", got, want)
	}
}

// What there was at a time is what was said last before it.
func TestEntitiesAt(t *testing.T) {
	c := migrated(t)
	day := time.Now().UTC().Truncate(time.Hour).Add(-48 * time.Hour)
	a, b := vm("a", "old"), vm("b", "beta")
	publish(t, c, day, store.EntityChanges{Changed: 2}, a, b)
	a.Name = "new"
	publish(t, c, day.Add(time.Hour), store.EntityChanges{Changed: 1, Removed: 1}, a)
	f := func(at time.Time, want ...string) {
		t.Helper()
		list, err := c.EntitiesAt(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range list {
			got = append(got, e.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("EntitiesAt(%s): -want +got\n%s", at, diff)
		}
	}
	f(day.Add(-time.Hour))
	f(day, "beta", "old")
	f(day.Add(59*time.Minute), "beta", "old")
	f(day.Add(time.Hour), "new")
}
