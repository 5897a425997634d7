package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

// single are the tables of single flows, which is all that the tests fill; what the planner picks is tested with it.
var single = query.Tables[:1]

// estate is a store with three VMs and, once it is filled, a few flows between them.
type estate struct {
	t      *testing.T
	writer *store.Client
	db     cli.DB // as the read-only user
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	srv := storetest.ClickHouse(t)
	open := func(user, password string) *store.Client {
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.User, cfg.Password = "http://"+srv.Addr, user, password
		c, err := store.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	e := &estate{t: t, writer: open(srv.Users.Writer.Name, srv.Users.Writer.Password)}
	e.db = cli.Conn(open(srv.Users.ReadOnly.Name, srv.Users.ReadOnly.Password).Conn())
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), e.writer, migrations, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *estate) fill(at time.Time) {
	e.t.Helper()
	id := func(kind flow.Kind, name string) uint64 { return uint64(flow.NewID(kind, name)) }
	batch, err := e.writer.Conn().PrepareBatch(e.t.Context(), "INSERT INTO entities (id, valid_from, kind, key, name)")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, name := range []string{"web-01", "db-01", "evil\x1b[2J"} {
		if err := batch.Append(id(flow.KindVM, name), at, "vm", name, name); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := batch.Append(id(flow.KindNetwork, "prod"), at, "network", "prod", "prod"); err != nil {
		e.t.Fatal(err)
	}
	if err := batch.Send(); err != nil {
		e.t.Fatal(err)
	}
	if err := e.writer.Exec(e.t.Context(), "SYSTEM RELOAD DICTIONARY entity_now"); err != nil {
		e.t.Fatal(err)
	}
	b := flow.NewBatch(4)
	b.Grow(4)
	addr := func(s string) flow.Addr { return netip.MustParseAddr(s).As16() }
	for i := range 4 {
		b.TimeReceived[i] = at.UnixMilli() + int64(i)*1000
		b.StartAge[i], b.Duration[i] = 2000, 1500
		b.Exporter[i], b.SamplingRate[i], b.Protocol[i] = addr("192.0.2.1"), 1, 6
		b.SrcAddr[i], b.DstAddr[i] = addr("10.0.0.1"), addr("10.0.0.2")
		b.SrcPort[i], b.DstPort[i] = 51000, 443
		b.Bytes[i], b.Packets[i] = 1<<20, 1000
		b.Network[i], b.Counted[i], b.Verdict[i] = id(flow.KindNetwork, "prod"), true, flow.VerdictAllowed
		b.SrcVM[i], b.DstVM[i] = id(flow.KindVM, "web-01"), id(flow.KindVM, "db-01")
	}
	b.SrcVM[1], b.SamplingRate[1] = id(flow.KindVM, "evil\x1b[2J"), 10
	b.SrcVM[2], b.SrcAddr[2], b.SrcPort[2] = 0, addr("2001:db8::9"), 0
	b.SrcVM[3], b.Verdict[3], b.Counted[3] = 7777, flow.VerdictDenied, false
	if _, err := e.writer.InsertNative(e.t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
		e.t.Fatal(err)
	}
}

// show returns what Flows shows for a request of the last 15 minutes.
func (e *estate) show(r query.Request, o cli.Output, now time.Time) (string, error) {
	e.t.Helper()
	var b, errs bytes.Buffer
	o.W, o.Err = &b, &errs
	r.From, r.To = now.Add(-15*time.Minute), now
	err := cli.Flows(e.t.Context(), e.db, r, single, &o, now)
	return b.String() + errs.String(), err
}

func TestFlows(t *testing.T) {
	e := newEstate(t)
	// Rows of fixed times would expire; the date is not shown.
	at := time.Now().UTC().Truncate(24 * time.Hour).Add(-14 * time.Hour)
	now := at.Add(10 * time.Minute)
	check := func(r query.Request, o cli.Output, now time.Time, want string) {
		t.Helper()
		got, err := e.show(r, o, now)
		if err != nil {
			t.Errorf("%+v: %v", r, err)
		}
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
			t.Errorf("%+v\n%s\n(-want +got):\n%s", r, got, diff)
		}
	}
	top := query.Request{Kind: query.Top, By: []string{"src_vm"}, Units: []query.Unit{query.Bytes, query.BPS, query.Flows}, Limit: 2, Other: true, Total: true}

	check(top, cli.Output{}, now, "no flows yet: nothing has been stored; see weir exporters and weir doctor\n")
	check(top, cli.Output{JSON: true}, now, "[]\nno flows yet: nothing has been stored; see weir exporters and weir doctor\n")
	e.fill(at)
	check(top, cli.Output{}, now, `
src_vm       bytes          bps  flows    share
`+"evil\ufffd[2J  10.0 MiB  93.2 kbit/s      1   83.3 %"+`
-         1.00 MiB  9.32 kbit/s      1    8.3 %
(other)   1.00 MiB  9.32 kbit/s      1    8.3 %
(total)   12.0 MiB   112 kbit/s      3  100.0 %
`)
	check(query.Request{Kind: query.Top, By: []string{"vm", "service"}, Split: true, Filter: "vm = db-01"}, cli.Output{}, now, `
vm        service       bytes  bytes_in  bytes_out
db-01     443 https  12.0 MiB  12.0 MiB        0 B
`+"evil\ufffd[2J  443 https  10.0 MiB       0 B   10.0 MiB"+`
web-01    443 https  1.00 MiB       0 B   1.00 MiB
note: a flow is in the row of every vm that it has: rows add up to more than the total
`)
	check(query.Request{Kind: query.Top, By: []string{"src_vm", "verdict", "protocol"}, Filter: "verdict = denied"}, cli.Output{}, now, `
src_vm  verdict  protocol     bytes
#7777   denied   tcp       1.00 MiB
`)
	check(query.Request{Kind: query.Series, By: []string{"dst_vm"}, Step: query.Duration(time.Minute), Units: []query.Unit{query.PPS}, Total: true}, cli.Output{}, now, `
time      dst_vm     pps
10:00:00  db-01    200/s
10:00:00  (total)  200/s
`)
	check(query.Request{Kind: query.List}, cli.Output{}, now, `
time_received  network  source                   destination         protocol         bytes    packets  duration  verdict  exporter
10:00:03.000   prod     #7777 10.0.0.1:51000     db-01 10.0.0.2:443  tcp           1.00 MiB      1.00k      1.5s  denied   192.0.2.1
10:00:02.000   prod     2001:db8::9              db-01 10.0.0.2:443  tcp           1.00 MiB      1.00k      1.5s  allowed  192.0.2.1
10:00:01.000   prod     `+"evil\ufffd[2J 10.0.0.1:51000"+`  db-01 10.0.0.2:443  tcp       1.00 MiB ×10  1.00k ×10      1.5s  allowed  192.0.2.1
10:00:00.000   prod     web-01 10.0.0.1:51000    db-01 10.0.0.2:443  tcp           1.00 MiB      1.00k      1.5s  allowed  192.0.2.1
`)
	check(query.Request{Kind: query.List, By: []string{"src_addr", "dst_port", "bytes", "tcp_flags"}, Limit: 1}, cli.Output{}, now, `
time_received  src_addr  dst_port      bytes  tcp_flags
10:00:03.000   10.0.0.1  443 https  1.00 MiB  none
`)
	check(top, cli.Output{}, now.Add(3*time.Hour), "no flows in the last 15m; the newest is 3h9m old; see weir exporters\n")
	check(top, cli.Output{}, at.Add(-time.Hour), "no flows in the last 15m; there are others before or after it\n")
	top.Filter = "port = 1"
	check(top, cli.Output{}, now, "nothing matches in the last 15m, in 4 records\n")
	check(query.Request{Kind: query.Top, Filter: "port = 1"}, cli.Output{}, now, "nothing matches in the last 15m, in 4 records\n")
	check(query.Request{Kind: query.Top}, cli.Output{}, now, `
   bytes
12.0 MiB
`)

	t.Run("json", func(t *testing.T) {
		for _, r := range []query.Request{
			{Kind: query.Top, By: []string{"src_vm", "src_addr"}, Total: true, Limit: 1},
			{Kind: query.List, By: []string{"vm", "group", "src_mac", "counted", "sampling_rate"}, Limit: 1},
		} {
			got, err := e.show(r, cli.Output{JSON: true}, now)
			if err != nil {
				t.Fatal(err)
			}
			var rows []map[string]any
			if err := json.Unmarshal([]byte(got), &rows); err != nil {
				t.Fatalf("%v\n%s", err, got)
			}
			date := at.Format(time.DateOnly)
			want := []map[string]any{
				{"row": "top", "src_vm": "6226806389441284467", "src_vm_name": "evil\x1b[2J", "src_addr": "10.0.0.1", "bytes": 10485760.0, "share": 10.0 / 12},
				{"row": "total", "src_vm": "0", "src_vm_name": "", "src_addr": "::", "bytes": 12582912.0, "share": 1.0},
			}
			if r.Kind == query.List {
				want = []map[string]any{{
					"time_received": date + "T10:00:03.000Z", "flow_start": date + "T10:00:01.000Z", "src_vm": "7777", "src_vm_name": "",
					"dst_vm": rows[0]["dst_vm"], "dst_vm_name": "db-01", "src_groups": []any{}, "src_groups_names": []any{},
					"dst_groups": []any{}, "dst_groups_names": []any{}, "src_mac": "00:00:00:00:00:00", "counted": false, "sampling_rate": 1.0,
				}}
			} else {
				want[0]["src_vm"] = rows[0]["src_vm"]
			}
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if id, ok := rows[0]["src_vm"].(string); !ok || id == "" {
				t.Errorf("src_vm = %v, want an id as a string", rows[0]["src_vm"])
			}
		}
	})

	t.Run("mistakes", func(t *testing.T) {
		for filter, want := range map[string]string{
			"vm = web-1":       `filter: unknown vm "web-1" at 6: did you mean web-01?`,
			"vn = web-01":      `filter: unknown field "vn" at 1: did you mean vm?`,
			"vm = \"evil[2J\"": `filter: unknown vm "evil[2J" at 6: did you mean ` + "evil\ufffd[2J?",
		} {
			_, err := e.show(query.Request{Kind: query.Top, Filter: filter}, cli.Output{}, now)
			var mistake *query.Error
			if !errors.As(err, &mistake) || err.Error() != want {
				t.Errorf("filter %s: %v, want %s", filter, err, want)
			}
		}
	})
}

// A name of one group is asked of the table that holds a flow once for each of its groups; a name of two of the table that holds it once.
func TestGroupsNamedAlike(t *testing.T) {
	e := newEstate(t)
	now := time.Now().UTC()
	batch, err := e.writer.Conn().PrepareBatch(t.Context(), "INSERT INTO entities (id, valid_from, kind, key, name)")
	if err != nil {
		t.Fatal(err)
	}
	var groups []uint64
	for _, g := range []struct {
		kind flow.Kind
		name string
	}{{flow.KindAddressGroup, "db"}, {flow.KindVMGroup, "db"}, {flow.KindVMGroup, "web"}} {
		id := uint64(flow.NewID(g.kind, g.name))
		groups = append(groups, id)
		if err := batch.Append(id, now.Add(-time.Hour), string(g.kind), g.name, g.name); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	if err := e.writer.Exec(t.Context(), "SYSTEM RELOAD DICTIONARY entity_now"); err != nil {
		t.Fatal(err)
	}
	b := flow.NewBatch(1)
	b.Grow(1)
	b.TimeReceived[0], b.SamplingRate[0], b.Counted[0], b.Bytes[0] = now.Add(-5*time.Minute).UnixMilli(), 1, true, 1<<20
	b.DstGroups.Set(0, groups)
	if _, err := e.writer.InsertNative(t.Context(), "flows", b.AppendNative(nil), ""); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"db": `"bytes": 1048576}`, "web": `"bytes": 0}`} { // nothing was put into the sums
		var got bytes.Buffer
		r := query.Request{Kind: query.Top, Filter: "group = " + name, Units: []query.Unit{query.Bytes}, From: now.Add(-15 * time.Minute), To: now}
		if err := cli.Flows(t.Context(), e.db, r, query.Tables, &cli.Output{W: &got, Err: &got, JSON: true}, now); err != nil {
			t.Errorf("group %s: %v", name, err)
		}
		if !strings.Contains(got.String(), want) {
			t.Errorf("group %s: %s, want %s", name, got.String(), want)
		}
	}
}

func TestExplain(t *testing.T) {
	var b bytes.Buffer
	r := query.Request{Kind: query.Top, By: []string{"vm"}, Filter: "vm = \"a\x7f\"", From: noon.Add(-time.Hour), To: noon}
	if err := cli.Explain(r, single, &cli.Output{W: &b}, noon); err == nil {
		t.Error("Explain takes a filter with a control character")
	}
	r.Filter = "src_vm = web-01"
	if err := cli.Explain(r, single, &cli.Output{W: &b}, noon); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FROM flows\n", "{p1:String}", `-- p1 String = "web-01"`, "-- reads flows from 2026-11-24T11:00:00Z to", "note: a flow is in"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("Explain lacks %q:\n%s", want, b.String())
		}
	}
}
