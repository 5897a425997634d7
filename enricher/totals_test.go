package enricher_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/enricher"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// What the rows of bridges add up to in the store, from single records as from sums: each packet once, whoever saw it, and of what
// was sent, delivered and denied what it was.
func TestTotalsInTheStore(t *testing.T) {
	srv := storetest.ClickHouse(t)
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.User, cfg.Password = "http://"+srv.Addr, srv.Users.Writer.Name, srv.Users.Writer.Password
	c, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), c, migrations, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}

	const (
		out = flow.StageEgress
		in  = flow.StageIngress
		re  = flow.StageReply
		sys = flow.StageSystem
	)
	type observation struct {
		exporter string
		from     uint32
		stage    flow.Stage
		instance uint32
	}
	type packets struct {
		src, dst string
		mac      uint64 // of the source
		n        uint64 // packets, 100 bytes each
		rows     []observation
		denied   bool
	}
	at := time.Now().Add(-2 * time.Hour).UTC().Truncate(time.Hour)
	// Each has its own number of packets, so that a sum says what is in it.
	all := []packets{
		{"10.2.0.1", "10.2.0.7", macFw1, 1, []observation{{h2, 3, out, allows}, {h2, 3, in, allows}}, false},
		{"10.2.0.7", "10.2.0.1", macDB, 2, []observation{{h2, 4, re, allows}}, false},
		{"10.2.0.1", "10.2.0.7", macFw1, 4, []observation{{h2, 3, out, allows}, {h2, 3, in, denies}}, true},
		{"10.2.0.1", "10.2.0.7", macFw1, 8, []observation{{h2, 3, out, denies}}, true},
		{"10.1.0.5", "10.2.0.7", macWeb, 16, []observation{{h1, 1, out, allows}, {h2, uplink, in, allows}}, false},
		{"10.2.0.7", "10.1.0.5", macDB, 32, []observation{{h2, 4, re, allows}, {h1, uplink, re, allows}}, false},
		{"10.1.0.5", "10.2.0.7", macWeb, 64, []observation{{h1, 1, out, allows}, {h2, uplink, in, denies}}, true},
		{"10.1.0.5", "203.0.113.9", macWeb, 128, []observation{{h1, 1, out, allows}}, false},
		{"203.0.113.9", "10.2.0.7", macRouter, 256, []observation{{h2, uplink, in, allows}}, false},
		{"203.0.113.9", "10.2.0.7", macRouter, 512, []observation{{h2, uplink, in, denies}}, true},
		{"10.2.0.1", "10.2.0.7", macFw1, 1024, []observation{{h2, 3, out, shadows}, {h2, 3, out, allows}, {h2, 3, in, shadows}, {h2, 3, in, allows}}, false},
		{"10.1.0.5", "10.2.0.7", macWeb, 2048, []observation{{h1, 1, sys, flow.SystemSpoofedMAC}}, true},
		{"10.1.0.5", "10.2.0.7", macWeb, 4096, []observation{{h1, 1, out, allows}, {h2, uplink, sys, flow.SystemInvalid}}, true},
		{"10.2.0.7", "10.2.0.1", macDB, 8192, []observation{{h2, 4, re, flow.SystemBlocked}}, true},
		{"10.2.0.1", "10.2.0.7", macFw1, 16384, []observation{{h2, 3, out, flow.SystemKept}, {h2, 3, in, flow.SystemKept}}, false},
		// To many: out, to one that takes it, to two that do not.
		{"10.2.0.7", "224.0.0.251", macDB, 32768, []observation{{h2, 4, out, allows}, {h2, 4, in, allows}, {h2, 4, in, denies}, {h1, uplink, in, denies}}, false},
	}
	type sums struct{ Seen, Delivered, Denied uint64 }
	var want sums
	for elsewhere := range 2 {
		h := estate.NewHolder()
		s, err := estate.Compile(ruled(elsewhere == 1))
		if err != nil {
			t.Fatal(err)
		}
		h.Store(s)
		live := estate.NewLiveness(time.Hour)
		for _, exporter := range both {
			live.Seen(netip.MustParseAddr(exporter), at.UnixMilli())
		}
		b := flow.NewBatch(64)
		row := func(p *packets, o observation, point uint32) {
			i := b.Len()
			b.Grow(1)
			b.TimeReceived[i], b.Version[i], b.SamplingRate[i], b.ID[i] = at.Add(time.Duration(i)*time.Second).UnixMilli(), 10, 1, uint64(1+elsewhere)
			b.Exporter[i], b.ObservationDomain[i], b.ObservationPoint[i] = netip.MustParseAddr(o.exporter).As16(), 1, point
			b.SrcAddr[i], b.DstAddr[i], b.SrcMAC[i], b.InIf[i] = netip.MustParseAddr(p.src).As16(), netip.MustParseAddr(p.dst).As16(), p.mac, o.from
			b.Packets[i], b.Bytes[i] = p.n, 100*p.n
		}
		for k := range all {
			p := &all[k]
			for n, o := range p.rows {
				row(p, o, flow.Point(o.stage, o.instance))
				// The bridge's own export sees what the door lets in, once at each host, whatever becomes of it.
				if elsewhere == 1 && (n == 0 || o.exporter != p.rows[n-1].exporter) {
					row(p, o, 0)
				}
			}
			want.Seen += p.n
			if p.denied {
				want.Denied += p.n
			} else {
				want.Delivered += p.n
			}
		}
		want.Denied += 2 * 32768 // the copies of what goes to many
		enricher.New(enricher.Deps{Estate: h, Live: live}).Enrich(b)
		if _, err := c.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
			t.Fatal(err)
		}
		rollup.New(1).Derive([]*flow.Batch{b}, 1, at.Add(time.Duration(elsewhere)*time.Hour), func(table, _ string, _ int, encode func([]byte) []byte) {
			if _, err := c.InsertNative(t.Context(), table, encode(nil), ""); err != nil {
				t.Fatal(err)
			}
		})
	}
	total := func(tables []query.Table, traffic query.Traffic, basis query.Basis) (packets uint64, table string) {
		t.Helper()
		p, err := query.Build(query.Request{
			Kind: query.Top, Units: []query.Unit{query.Packets}, From: at, To: at.Add(time.Hour), Traffic: traffic, Basis: basis,
		}, tables, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		text := p.SQL
		for _, x := range p.Params {
			text = strings.ReplaceAll(text, fmt.Sprintf("{%s:%s}", x.Name, x.Type), x.Value)
		}
		var kind string
		if err := c.Conn().QueryRow(t.Context(), text).Scan(&kind, &packets); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return packets, p.Table
	}
	for _, q := range []struct {
		tables []query.Table
		basis  query.Basis
		table  string
	}{
		{query.Tables[:1], query.AnyBasis, "flows"},
		{query.Tables, query.Received, "flows_rx_1m"},
		{query.Tables, query.Lived, "flows_1m"},
	} {
		var got sums
		for traffic, sum := range map[query.Traffic]*uint64{query.Seen: &got.Seen, query.Delivered: &got.Delivered, query.Denied: &got.Denied} {
			n, table := total(q.tables, traffic, q.basis)
			if *sum = n; table != q.table {
				t.Errorf("%s traffic is read from %s, want %s", traffic, table, q.table)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", q.table, diff)
		}
	}
}
