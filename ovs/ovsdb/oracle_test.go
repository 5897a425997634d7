package ovsdb_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
)

// What libovsdb reads of some tables.
type (
	oracleRoot struct {
		UUID        string            `ovsdb:"_uuid"`
		Bridges     []string          `ovsdb:"bridges"`
		ExternalIDs map[string]string `ovsdb:"external_ids"`
		OtherConfig map[string]string `ovsdb:"other_config"`
		NextCfg     int               `ovsdb:"next_cfg"`
	}
	oracleBridge struct {
		UUID        string            `ovsdb:"_uuid"`
		Name        string            `ovsdb:"name"`
		Ports       []string          `ovsdb:"ports"`
		FailMode    *string           `ovsdb:"fail_mode"`
		Protocols   []string          `ovsdb:"protocols"`
		NetFlow     *string           `ovsdb:"netflow"`
		ExternalIDs map[string]string `ovsdb:"external_ids"`
	}
	oraclePort struct {
		UUID        string            `ovsdb:"_uuid"`
		Name        string            `ovsdb:"name"`
		Interfaces  []string          `ovsdb:"interfaces"`
		Tag         *int              `ovsdb:"tag"`
		Trunks      []int             `ovsdb:"trunks"`
		FakeBridge  bool              `ovsdb:"fake_bridge"`
		ExternalIDs map[string]string `ovsdb:"external_ids"`
	}
	oracleNetFlow struct {
		UUID          string            `ovsdb:"_uuid"`
		Targets       []string          `ovsdb:"targets"`
		EngineID      *int              `ovsdb:"engine_id"`
		ActiveTimeout int               `ovsdb:"active_timeout"`
		ExternalIDs   map[string]string `ovsdb:"external_ids"`
	}
)

// oracle is a client of libovsdb that follows a server.
func oracle(t *testing.T, server *ovsdbtest.Server) client.Client {
	t.Helper()
	db, err := model.NewClientDBModel("Open_vSwitch", map[string]model.Model{
		"Open_vSwitch": &oracleRoot{}, "Bridge": &oracleBridge{}, "Port": &oraclePort{}, "NetFlow": &oracleNetFlow{},
	})
	if err != nil {
		t.Fatal(err)
	}
	quiet := logr.Discard()
	c, err := client.NewOVSDBClient(db, client.WithEndpoint(server.Socket()), client.WithLogger(&quiet))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.MonitorAll(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// plain is what both clients read, in one form: a line a row.
type plain map[string]string

func list[T any](t *testing.T, c client.Client) []T {
	t.Helper()
	var rows []T
	if err := c.List(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func show[T any](p *T) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprint(*p)
}

func sorted[T any](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = fmt.Sprintf("%q", fmt.Sprint(v))
	}
	slices.Sort(words)
	return fmt.Sprint(words)
}

func theirs(t *testing.T, c client.Client) plain {
	p := plain{}
	for _, r := range list[oracleRoot](t, c) {
		p[r.UUID] = fmt.Sprintf("root %s %q %q %d", sorted(r.Bridges), r.ExternalIDs, r.OtherConfig, r.NextCfg)
	}
	for _, r := range list[oracleBridge](t, c) {
		p[r.UUID] = fmt.Sprintf("bridge %q %s %s %s %s %q", r.Name, sorted(r.Ports), show(r.FailMode), sorted(r.Protocols), show(r.NetFlow), r.ExternalIDs)
	}
	for _, r := range list[oraclePort](t, c) {
		p[r.UUID] = fmt.Sprintf("port %q %s %s %s %v %q", r.Name, sorted(r.Interfaces), show(r.Tag), sorted(r.Trunks), r.FakeBridge, r.ExternalIDs)
	}
	for _, r := range list[oracleNetFlow](t, c) {
		p[r.UUID] = fmt.Sprintf("netflow %s %s %d %q", sorted(r.Targets), show(r.EngineID), r.ActiveTimeout, r.ExternalIDs)
	}
	return p
}

func ours(rows *ovsdb.Rows) plain {
	orNone := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	p := plain{}
	r := rows.Root
	p[string(r.UUID)] = fmt.Sprintf("root %s %q %q %d", sorted(r.Bridges), r.ExternalIDs, r.OtherConfig, r.NextCfg)
	for id, r := range rows.Bridges {
		p[string(id)] = fmt.Sprintf("bridge %q %s %s %s %s %q", r.Name, sorted(r.Ports), orNone(r.FailMode), sorted(r.Protocols), orNone(string(r.NetFlow)), r.ExternalIDs)
	}
	for id, r := range rows.Ports {
		p[string(id)] = fmt.Sprintf("port %q %s %s %s %v %q", r.Name, sorted(r.Interfaces), show(r.Tag), sorted(r.Trunks), r.FakeBridge, r.ExternalIDs)
	}
	for id, r := range rows.NetFlows {
		p[string(id)] = fmt.Sprintf("netflow %s %s %d %q", sorted(r.Targets), show(r.EngineID), r.ActiveTimeout, r.ExternalIDs)
	}
	return p
}

// Random changes, made by our transactions and by ovs-vsctl, are read alike by libovsdb.
func TestRowsAgainstLibovsdb(t *testing.T) {
	rnd := rand.New(rand.NewPCG(chance.Seed(t), 1))
	server := ovsdbtest.Start(t, nil)
	s := dial(t, server.Socket())
	their := oracle(t, server)

	texts := []string{"", "plain", `a "quoted" \ back`, "ümläut €", "tab\tnew\nline", "\U0001f40b", strings.Repeat("long", 100)}
	text := func() string { return texts[rnd.IntN(len(texts))] }
	ids := func() map[string]string {
		m := map[string]string{}
		for range rnd.IntN(3) {
			m[text()] = text()
		}
		return m
	}
	root := s.Rows().Root.UUID
	bridges, steps := 0, 60
	for step := range steps {
		rows := s.Rows()
		var one *ovsdb.Bridge
		for _, b := range rows.Bridges {
			if one == nil || b.Name < one.Name {
				one = b
			}
		}
		var err error
		switch what := rnd.IntN(7); {
		case one == nil || what == 0 && bridges < 8:
			bridges++
			name := fmt.Sprintf("br%d", bridges)
			_, err = s.Transact(t.Context(),
				ovsdb.Insert("Interface", "i", ovsdb.Values{"name": name, "type": "internal"}),
				ovsdb.Insert("Port", "p", ovsdb.Values{"name": name, "interfaces": ovsdb.Named("i"), "external_ids": ids()}),
				ovsdb.Insert("Bridge", "b", ovsdb.Values{"name": name, "ports": []ovsdb.Named{"p"}, "external_ids": ids()}),
				ovsdb.Mutate("Open_vSwitch", ovsdb.Is(root), ovsdb.Mutation{Column: "bridges", Mutator: "insert", Value: ovsdb.Named("b")}))
		case what == 1:
			tag := rnd.Int64N(4096)
			trunks := make([]int64, rnd.IntN(4))
			for i := range trunks {
				trunks[i] = int64(10*i) + rnd.Int64N(10)
			}
			values := ovsdb.Values{"tag": &tag, "trunks": trunks, "external_ids": ids(), "fake_bridge": rnd.IntN(2) == 0}
			if rnd.IntN(2) == 0 {
				values["tag"] = nil
			}
			_, err = s.Transact(t.Context(), ovsdb.Update("Port", ovsdb.Is(one.Ports[0]), values))
		case what == 2:
			engine := rnd.Int64N(256)
			_, err = s.Transact(t.Context(),
				ovsdb.Insert("NetFlow", "n", ovsdb.Values{"targets": []string{"192.0.2.1:1", "192.0.2.2:2"}[:1+rnd.IntN(2)], "engine_id": &engine, "external_ids": ids()}),
				ovsdb.Update("Bridge", ovsdb.Is(one.UUID), ovsdb.Values{"netflow": ovsdb.Named("n"), "fail_mode": []string{"secure", "standalone"}[rnd.IntN(2)]}))
		case what == 3:
			_, err = s.Transact(t.Context(), ovsdb.Update("Bridge", ovsdb.Is(one.UUID), ovsdb.Values{
				"netflow": nil, "fail_mode": (*string)(nil), "protocols": []string{"OpenFlow10", "OpenFlow13", "OpenFlow15"}[:rnd.IntN(4)],
			}))
		case what == 4:
			_, err = s.Transact(t.Context(), ovsdb.Mutate("Open_vSwitch", nil,
				ovsdb.Mutation{Column: "external_ids", Mutator: "insert", Value: ids()}, ovsdb.Mutation{Column: "other_config", Mutator: "delete", Value: []string{text(), text() + "x"}},
				ovsdb.Mutation{Column: "next_cfg", Mutator: "+=", Value: 1}))
		case what == 5 && len(rows.Bridges) > 2:
			_, err = s.Transact(t.Context(), ovsdb.Mutate("Open_vSwitch", ovsdb.Is(root), ovsdb.Mutation{Column: "bridges", Mutator: "delete", Value: one.UUID}))
		default:
			server.VSCtl("--no-wait", "add-port", one.Name, fmt.Sprintf("p%d", step), fmt.Sprintf("external_ids:step=%d", step))
		}
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		var diff string
		ovsdbtest.Until(t, "both read the same", func() bool {
			diff = cmp.Diff(theirs(t, their), ours(s.Rows()), cmpopts.EquateEmpty())
			return diff == ""
		})
	}
	if len(s.Rows().Bridges) == 0 {
		t.Error("nothing was compared")
	}
}
