package gate_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/grafana-plugin/pkg/alert"
	"github.com/weirhq/weir/query/rollup"
	"github.com/weirhq/weir/store"
)

// What happens is in a database of its own: everything is well, goes wrong for half an hour, and is well again. Minutes are after noon of a day
// ten days ago; a week before it there are flows to compare with.
var noon = time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -10).Add(12 * time.Hour)

const (
	begins, ends = 44, 74   // of what is wrong
	last         = 140      // of what there is
	nothing      = -20 * 24 // hours after noon: nothing is known of then
)

func at(minute int) time.Time { return noon.Add(time.Duration(minute) * time.Minute) }

// scenario is what a rule is to say of what happens.
type scenario struct {
	bad   data.Labels // of what is wrong, some of the labels
	fine  data.Labels // of what is not, though it is much, or was for a short while; nil: of nothing
	wrong int         // minute in which it is looked at, and again when it has lasted
	says  []string    // in the summary
}

var scenarios = map[string]scenario{
	"vm-throughput":       {data.Labels{"vm": "busy"}, data.Labels{"vm": "steady"}, begins + 11, []string{"VM busy", "2e+09"}},
	"network-throughput":  {data.Labels{"network": "backbone"}, data.Labels{"network": "front"}, begins + 11, []string{"Network backbone"}},
	"exporter-throughput": {data.Labels{"exporter": "192.0.2.30"}, data.Labels{"exporter": "192.0.2.32"}, begins + 11, []string{"192.0.2.30"}},
	"vm-unusual":          {data.Labels{"vm": "odd one"}, data.Labels{"vm": "steady"}, begins + 16, []string{"VM odd one", "10.0 times"}},
	"network-unusual":     {data.Labels{"network": "lab"}, data.Labels{"network": "front"}, begins + 16, []string{"Network lab"}},
	"exporter-unusual":    {data.Labels{"exporter": "192.0.2.31"}, data.Labels{"exporter": "192.0.2.32"}, begins + 16, []string{"192.0.2.31"}},
	"denied-vm":           {data.Labels{"vm": "denied", "rule": "deny-telnet"}, data.Labels{"vm": "noisy"}, begins + 6, []string{"VM denied", "rule deny-telnet", "10000 packets"}},
	"denied-rule":         {data.Labels{"rule": "deny-telnet", "level": "pool_mandatory"}, data.Labels{"rule": "deny-smtp"}, begins + 6, []string{"Rule deny-telnet", "pool_mandatory"}},
	"spoofing":            {data.Labels{"vif": "spoofer/0", "vm": "spoofer", "guard": "spoofed MAC", "host": "host1"}, nil, begins + 2, []string{"spoofer/0", "VM spoofer", "spoofed MAC", "host1", "42 packets"}},
	"policy-changed":      {data.Labels{"kind": "policy_applied", "about": "policy"}, nil, begins + 2, []string{"revision 4 by alice"}},
	"policy-failed":       {data.Labels{"host": "host2", "bridge": "xenbr0"}, data.Labels{"host": "host1"}, begins + 2, []string{"xenbr0", "host2"}},
	"drift":               {data.Labels{"host": "host2", "kind": "policy_drift"}, nil, begins + 2, []string{"host2", "policy_drift", "2 times"}},
	"host-lost":           {data.Labels{"subject": "host2"}, data.Labels{"subject": "host1"}, begins + 2, []string{"host2"}},
	"fail-mode":           {data.Labels{"host": "host2", "bridge": "xenbr0"}, data.Labels{"host": "host1"}, begins + 2, []string{"xenbr0", "host2"}},
	"exporter-silent":     {data.Labels{"exporter": "192.0.2.2"}, data.Labels{"exporter": "192.0.2.1"}, begins + 2, []string{"192.0.2.2"}},
	"exporter-losing":     {data.Labels{"exporter": "192.0.2.2"}, data.Labels{"exporter": "192.0.2.1"}, begins + 11, []string{"192.0.2.2", "0.2"}},
	"exporter-clock":      {data.Labels{"exporter": "192.0.2.3"}, data.Labels{"exporter": "192.0.2.1"}, begins + 11, []string{"192.0.2.3", "-3600"}},
	"store-away":          {data.Labels{"machine": "away", "service": "collector"}, data.Labels{"machine": "fine"}, begins + 2, []string{"collector at away", "120"}},
	"process-gone":        {data.Labels{"machine": "gone", "service": "policyd"}, data.Labels{"machine": "fine"}, begins + 8, []string{"policyd at gone"}},
	"losing":              {data.Labels{"machine": "losing", "service": "collector"}, data.Labels{"machine": "fine"}, begins + 2, []string{"losing"}},
	"wal-growing":         {data.Labels{"machine": "growing", "service": "collector"}, data.Labels{"machine": "filled"}, begins + 16, []string{"growing"}},
	"wal-full":            {data.Labels{"machine": "full", "service": "collector"}, data.Labels{"machine": "growing"}, begins + 2, []string{"full", "0.75"}},
	"disk":                {data.Labels{"machine": "narrow", "service": "store"}, data.Labels{"machine": "fine"}, begins + 2, []string{"store at narrow", "0.05"}},
}

// The questions of each rule are answered by the built program in the form that its expressions need; of the answers the twin computes
// that nothing fires while all is well, that what is wrong does once it has lasted as long as it has to, and that it is over when it is over. Without data and
// without an answer, the rule is what it says it is then.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/provisioning/alerting/weir.yaml")
	must(t, err)
	file, models, err := alert.Read(text)
	must(t, err)
	seeded := seededStore(t)
	seeded.Exec(t, "CREATE DATABASE alerts")
	seedAlerts(t, &seed{Server: seeded.Server, database: "alerts", client: seeded.open(t, "alerts")})
	s := seeded.source(t).with(map[string]any{"database": "alerts"}).as("")
	away := s.with(map[string]any{"url": "http://127.0.0.1:1"})

	known := map[string]bool{}
	for _, g := range file.Groups {
		interval, err := time.ParseDuration(g.Interval)
		must(t, err)
		for i := range g.Rules {
			r := &g.Rules[i]
			name := strings.TrimPrefix(r.UID, "weir-")
			known[name] = true
			t.Run(name, func(t *testing.T) {
				x, ok := scenarios[name]
				if !ok {
					t.Fatal("there is no scenario of the rule")
				}
				e := evaluation{rule: r, models: models[r.UID], source: s}
				w, err := newWatch(r)
				must(t, err)

				// All is well.
				e.evaluate(t, w, at(begins-3))
				if now, soon := w.firing(); len(now)+len(soon) > 0 {
					t.Fatalf("while all is well %v fire, and %v would", now, soon)
				}
				// It goes wrong, and lasts.
				wrong := at(x.wrong)
				e.evaluate(t, w, wrong)
				now, soon := w.firing()
				if w.hold > 0 && (has(now, x.bad) || !has(soon, x.bad)) || w.hold == 0 && !has(now, x.bad) {
					t.Fatalf("as it goes wrong %v fire, and %v would; %v is wrong, and has to last %s", now, soon, x.bad, w.hold)
				}
				all := e.evaluate(t, w, wrong.Add(w.hold))
				now, soon = w.firing()
				if !has(now, x.bad) {
					t.Fatalf("when it has lasted %v fire, and %v would; %v is wrong\n%v", now, soon, x.bad, all)
				}
				if x.fine != nil && (has(now, x.fine) || has(soon, x.fine)) {
					t.Errorf("%v fire, and %v would; %v is not wrong", now, soon, x.fine)
				}
				e.checkTexts(t, all, now[slices.IndexFunc(now, func(l data.Labels) bool { return within(x.bad, l) })], x)
				// Nobody knows.
				before := len(now)
				failed := evaluation{rule: r, models: models[r.UID], source: away}
				failed.evaluate(t, w, wrong.Add(w.hold+interval))
				if now, _ = w.firing(); r.ExecErrState == "KeepLast" && len(now) != before || !has(now, x.bad) {
					t.Errorf("without an answer %v fire: execErrState is %s, and %d fired before", now, r.ExecErrState, before)
				}
				// It is over; what is not there any more is resolved at the second evaluation.
				for i := range missingEvaluations {
					e.evaluate(t, w, at(ends+40).Add(time.Duration(i)*interval))
				}
				if now, soon = w.firing(); has(now, x.bad) || has(soon, x.bad) {
					t.Errorf("when it is over %v fire, and %v would", now, soon)
				}
				// There is nothing at all.
				e.evaluate(t, w, noon.Add(nothing*time.Hour))
				e.evaluate(t, w, noon.Add(nothing*time.Hour+w.hold))
				if now, soon = w.firing(); (len(now) > 0) != (r.NoDataState == "Alerting") || len(soon) > 0 {
					t.Errorf("without data %v fire, and %v would: noDataState is %s", now, soon, r.NoDataState)
				}
			})
		}
	}
	// What is usual is not said of less than three days.
	for day, want := range map[int]int{5: 0, 4: 2} { // two days are known, and three
		to := noon.AddDate(0, 0, -day).Add(5 * time.Minute)
		answers, err := s.ask(t.Context(), target{model: models["weir-vm-unusual"]["B"], from: to.Add(-15 * time.Minute), to: to})
		must(t, err)
		list, err := numbers(answers["A"].Frames)
		if err != nil || len(list) != want {
			t.Errorf("%d days before: %v, %v, want %d VMs", day, list, err, want)
		}
	}
	for name := range scenarios {
		if !known[name] {
			t.Errorf("there is no rule %q", name)
		}
	}
}

// evaluation is how a rule is evaluated.
type evaluation struct {
	rule   *alert.FileRule
	models map[string]json.RawMessage // of its questions, as the file has them
	source source
}

// evaluate asks the questions as Grafana does at that time, in one request, and takes the condition over. It returns all figures.
func (e *evaluation) evaluate(t *testing.T, w *watch, at time.Time) map[string][]number {
	t.Helper()
	var asked []target
	for _, q := range e.rule.Data {
		if q.DatasourceUID == "weir" {
			asked = append(asked, target{
				refID: q.RefID, model: e.models[q.RefID], from: at.Add(-time.Duration(q.RelativeTimeRange.From) * time.Second), to: at,
				interval: time.Duration(q.Model.IntervalMs) * time.Millisecond, points: int64(q.Model.MaxDataPoints),
			})
		}
	}
	responses, err := e.source.ask(t.Context(), asked...)
	must(t, err)
	answers := map[string][]number{}
	for _, q := range asked {
		response := responses[q.refID]
		if response.Error != nil {
			if e.source.json["database"] == "alerts" && !strings.HasSuffix(e.source.json["url"].(string), ":1") {
				t.Fatalf("query %s: %v\n%s", q.refID, response.Error, q.model)
			}
			w.evaluate(at, nil, true)
			return nil
		}
		list, err := numbers(response.Frames)
		if err != nil {
			t.Fatalf("query %s: %v\n%s", q.refID, err, describe(response))
		}
		want := alert.ByUID(e.rule.UID).Labels
		for _, n := range list {
			if got := slices.Sorted(maps.Keys(n.labels)); !slices.Equal(got, want) {
				t.Fatalf("query %s: labels %v, want %q", q.refID, n.labels, want)
			}
		}
		answers[q.refID] = list
	}
	holds, all, err := condition(e.rule, answers)
	must(t, err)
	w.evaluate(at, holds, false)
	return all
}

// checkTexts checks that the summary of an alert says what it is about, and that its link leads there.
func (e *evaluation) checkTexts(t *testing.T, all map[string][]number, labels data.Labels, x scenario) {
	t.Helper()
	summary, err := render(e.rule.Annotations.Summary, labels, all)
	must(t, err)
	for _, want := range x.says {
		if !strings.Contains(summary, want) {
			t.Errorf("summary %q does not say %q", summary, want)
		}
	}
	jump, err := render(e.rule.Annotations.Dashboard, labels, all)
	must(t, err)
	for _, text := range []string{summary, jump} {
		if strings.Contains(text, "no value") || strings.Contains(text, "{{") {
			t.Errorf("text %q lacks a value", text)
		}
	}
	if _, query, _ := strings.Cut(jump, "?"); strings.Contains(query, " ") {
		t.Errorf("link %q is not encoded", jump)
	}
}

// within reports whether all has the labels of some.
func within(some, all data.Labels) bool {
	for name, value := range some {
		if all[name] != value {
			return false
		}
	}
	return true
}

// has reports whether one of list has the labels.
func has(list []data.Labels, labels data.Labels) bool {
	return slices.ContainsFunc(list, func(l data.Labels) bool { return within(labels, l) })
}

// seedAlerts stores what happens.
func seedAlerts(t *testing.T, s *seed) {
	t.Helper()
	ctx := context.Background()
	model := estate.Model{Pools: []estate.Pool{{Name: "demo"}}}
	for _, name := range []string{"host1", "host2"} {
		model.Hosts = append(model.Hosts, estate.Host{Name: name, Pool: "demo", Bridges: []estate.Bridge{{Name: "xenbr0"}}})
	}
	for i, name := range []string{"front", "backbone", "lab"} {
		model.Networks = append(model.Networks, estate.Network{Name: name, Pool: "demo", Bridge: "xenbr0", VLAN: uint16(i + 1)})
	}
	for _, name := range []string{"busy", "steady", "odd one", "denied", "noisy", "spoofer"} {
		model.VMs = append(model.VMs, estate.VM{Name: name, Pool: "demo", Host: "host1"})
	}
	snapshot, err := estate.Compile(&model)
	must(t, err)
	for _, e := range snapshot.Entities() {
		s.entities = append(s.entities, store.Entity(e))
	}
	_, err = store.NewEntities(s.client).Publish(ctx, s.entities, noon.AddDate(0, 0, -30))
	must(t, err)
	var rules []store.RuleInstance
	for _, name := range []string{ruleDeny, ruleUnused} {
		rules = append(rules, store.RuleInstance{
			Instance: ruleInstances[name], Rule: flow.NewID(flow.KindRule, name), Name: name, Scope: s.id(t, flow.KindPool, "demo"), Tier: "pool_mandatory",
			Action: "deny", Verdict: flow.VerdictDenied, Text: "deny tcp", From: noon.AddDate(0, 0, -30),
		})
	}
	instances := store.NewRuleInstances(store.RuleInstancesDeps{Log: slog.New(slog.DiscardHandler), Client: s.client})
	instances.Set(rules, noon.AddDate(0, 0, -30))
	must(t, instances.Publish(ctx))
	s.alertFlows(ctx, t)
	s.alertHits(ctx, t)
	s.alertEvents(ctx, t)
	s.alertExporters(ctx, t)
	s.alertServers(ctx, t)
}

// happens returns one of two values: that of when all is well, or of when it is not.
func happens[T any](minute int, well, wrong T) T {
	if minute >= begins && minute < ends {
		return wrong
	}
	return well
}

// alertFlows stores sums of flows by the time of receipt: of the hours, and of a week before what is compared with that.
func (s *seed) alertFlows(ctx context.Context, t *testing.T) {
	t.Helper()
	const mega, giga = 1e6, 1e9
	b := flow.NewBatch(4096)
	add := func(when time.Time, exporter, network, vm string, bits float64, packets uint64, rule string) {
		i := b.Len()
		b.Grow(1)
		b.TimeReceived[i], b.Exporter[i], b.SamplingRate[i], b.ID[i] = when.UnixMilli(), netip.MustParseAddr(exporter).As16(), 1, 1
		b.Bytes[i], b.Packets[i] = uint64(bits/8), packets
		b.Counted[i] = network != ""
		if network != "" {
			b.Network[i] = uint64(s.id(t, flow.KindNetwork, network))
		}
		if vm != "" {
			b.SrcVM[i] = uint64(s.id(t, flow.KindVM, vm))
		}
		if rule != "" {
			b.RuleID[i], b.Verdict[i], b.Stage[i] = uint64(flow.NewID(flow.KindRule, rule)), flow.VerdictDenied, flow.StageEgress
			b.RuleInstance[i] = ruleInstances[rule]
		}
	}
	for m := -90; m < last; m++ {
		when := at(m)
		rate := func(exporter, network, vm string, well, wrong float64) {
			add(when, exporter, network, vm, happens(m, well, wrong)*60, 1000, "")
		}
		rate("192.0.2.1", "backbone", "busy", 10*mega, 2*giga)
		rate("192.0.2.1", "front", "steady", 300*mega, 300*mega)
		rate("192.0.2.1", "front", "odd one", 20*mega, 200*mega)
		rate("192.0.2.1", "backbone", "", 10*mega, 6*giga)
		rate("192.0.2.1", "lab", "", 50*mega, 500*mega)
		rate("192.0.2.30", "", "", 1*mega, 12*giga)
		rate("192.0.2.31", "", "", 20*mega, 300*mega)
		rate("192.0.2.32", "", "", 9*giga, 9*giga)
		add(when, "192.0.2.1", "front", "denied", 0, happens[uint64](m, 10, 2000), ruleDeny)
		add(when, "192.0.2.1", "front", "noisy", 0, 3000, ruleUnused)
	}
	for day := 1; day <= 7; day++ {
		for hour := range 3 {
			hourly := func(exporter, network, vm string, rate float64) {
				add(noon.AddDate(0, 0, -day).Add(time.Duration(hour)*time.Hour), exporter, network, vm, rate*3600, 1000, "")
			}
			hourly("192.0.2.1", "front", "steady", 300*mega)
			hourly("192.0.2.1", "front", "odd one", 20*mega)
			hourly("192.0.2.1", "lab", "", 50*mega)
			hourly("192.0.2.31", "", "", 20*mega)
			hourly("192.0.2.32", "", "", 9*giga)
		}
	}
	rollup.New(1).Derive([]*flow.Batch{b}, 1, noon, func(table, _ string, _ int, encode func([]byte) []byte) {
		if table == rollup.ReceivedTable {
			_, err := s.client.InsertNative(ctx, table, encode(nil), "")
			must(t, err)
		}
	})
}

func (s *seed) alertHits(ctx context.Context, t *testing.T) {
	t.Helper()
	host, bridge := s.id(t, flow.KindHost, "host1"), s.id(t, flow.KindBridge, "xenbr0")
	hits := store.NewHits(store.HitsDeps{Log: slog.New(slog.DiscardHandler), Client: s.client})
	for m := -90; m < last; m++ {
		for rule, packets := range map[string]uint64{ruleDeny: happens[uint64](m, 10, 3000), ruleUnused: 4000} {
			hits.Add([]store.Hit{{
				Time: at(m), Host: host, Bridge: bridge, Rule: flow.NewID(flow.KindRule, rule), Instance: ruleInstances[rule], Stage: flow.StageEgress,
				Packets: packets, Bytes: 64 * packets,
			}})
		}
	}
	must(t, hits.Write(ctx))
}

func (s *seed) alertEvents(ctx context.Context, t *testing.T) {
	t.Helper()
	var events []event.Event
	add := func(minute int, kind event.Kind, subject, text string, about event.Event, attributes map[string]string) {
		about.ID, about.Time, about.Kind, about.Subject, about.Text, about.Attributes = uint64(len(events)+1), at(minute), kind, subject, text, attributes
		events = append(events, about)
	}
	host1 := event.Event{Host: s.id(t, flow.KindHost, "host1"), Bridge: s.id(t, flow.KindBridge, "xenbr0")}
	host2 := event.Event{Host: s.id(t, flow.KindHost, "host2"), Bridge: s.lastID(t, flow.KindBridge, "xenbr0")}
	spoofer := event.Event{Host: host1.Host, VM: s.id(t, flow.KindVM, "spoofer")}
	for host, about := range map[string]event.Event{"host1": host1, "host2": host2} {
		add(-60, event.HostConnected, host, "well", about, nil)
		add(-60, event.PolicyInstalled, host+"/xenbr0", "well", about, nil)
	}
	// Away for a moment, and well again.
	add(begins-10, event.HostLost, "host1", "lost", host1, nil)
	add(begins-9, event.HostConnected, "host1", "well", host1, nil)
	add(begins-10, event.PolicyFailed, "host1/xenbr0", "failed", host1, nil)
	add(begins-9, event.PolicyInstalled, "host1/xenbr0", "well", host1, nil)
	add(begins-10, event.FailModeEntered, "host1/xenbr0", "entered", host1, nil)
	add(begins-9, event.FailModeLeft, "host1/xenbr0", "left", host1, nil)
	add(begins-10, event.ExporterSilent, "192.0.2.1", "silent", event.Event{}, nil)
	add(begins-9, event.ExporterHeard, "192.0.2.1", "well", event.Event{}, nil)

	add(begins, event.HostLost, "host2", "lost", host2, nil)
	add(ends, event.HostConnected, "host2", "well", host2, nil)
	add(begins, event.PolicyFailed, "host2/xenbr0", "failed", host2, nil)
	add(ends, event.PolicyInstalled, "host2/xenbr0", "well", host2, nil)
	add(begins, event.FailModeEntered, "host2/xenbr0", "entered", host2, nil)
	add(ends, event.FailModeLeft, "host2/xenbr0", "left", host2, nil)
	add(begins, event.ExporterSilent, "192.0.2.2", "silent", event.Event{}, nil)
	add(ends, event.ExporterHeard, "192.0.2.2", "well", event.Event{}, nil)
	add(begins, event.PolicyDrift, "host2/xenbr0", "drift", host2, nil)
	add(begins+1, event.PolicyDrift, "host2/xenbr0", "drift", host2, nil)
	add(begins, event.VIFSpoofs, "spoofer/0", "spoofs", spoofer, map[string]string{"guard": "spoofed MAC", "packets": "40"})
	add(begins+1, event.VIFSpoofs, "spoofer/0", "spoofs", spoofer, map[string]string{"guard": "spoofed MAC", "packets": "2"})
	add(begins, event.PolicyApplied, "policy", "policy of 12 rules applied as revision 4 by alice", event.Event{}, map[string]string{"by": "alice"})
	must(t, store.NewEvents(s.client).InsertEvents(ctx, events))
}

// lastID returns the last entity of a kind and name.
func (s *seed) lastID(t *testing.T, kind flow.Kind, name string) flow.ID {
	t.Helper()
	s.id(t, kind, name)
	var id flow.ID
	for _, e := range s.entities {
		if e.Kind == kind && e.Name == name {
			id = e.ID
		}
	}
	return id
}

func (s *seed) alertExporters(ctx context.Context, t *testing.T) {
	t.Helper()
	var rows []store.ExporterStats
	for m := -30; m < last; m++ {
		for i := range 3 {
			lost, skew := uint64(0), int64(200)
			if i == 1 {
				lost = happens[uint64](m, 0, 50)
			}
			if i == 2 {
				skew = happens[int64](m, -9000, -3_600_000)
			}
			rows = append(rows, store.ExporterStats{
				Time: at(m), IntervalMs: 60_000, Instance: 1, Collector: 1, Exporter: netip.MustParseAddr("192.0.2." + strconv.Itoa(i+1)), Version: 10, ObservationDomain: 1,
				Datagrams: 10, Flows: 200, SequenceUnit: "flows", Received: 200, Lost: lost, Dropped: map[string]uint64{}, ClockSkewMs: skew,
			})
		}
	}
	must(t, store.PublishExporterStats(ctx, s.client, rows))
}

func (s *seed) alertServers(ctx context.Context, t *testing.T) {
	t.Helper()
	var rows []store.ServerStats
	well := store.ServerStats{IntervalMs: 60_000, Instance: 1, Service: "collector", DiskBytes: 100 << 30, DiskFreeBytes: 50 << 30, WALMaxBytes: 8 << 30, WALBytes: 1 << 20}
	for m := -30; m < last; m++ {
		for machine, change := range map[string]func(*store.ServerStats){
			"fine":    func(*store.ServerStats) {},
			"filled":  func(*store.ServerStats) {},
			"away":    func(r *store.ServerStats) { r.StoreAwayMs = 120_000 },
			"gone":    func(r *store.ServerStats) { r.Service = "" },
			"losing":  func(r *store.ServerStats) { r.SocketDrops = 5 },
			"growing": func(r *store.ServerStats) { r.WALBytes = uint64(m-begins+1) * 10 << 20 },
			"full":    func(r *store.ServerStats) { r.WALBytes = 6 << 30 },
			"narrow":  func(r *store.ServerStats) { r.DiskFreeBytes = 5 << 30 },
		} {
			r := well
			r.Time, r.Machine = at(m), machine
			switch machine {
			case "gone":
				r.Service = "policyd"
			case "narrow":
				r.Service = "store"
			case "filled": // since long, and no more
				r.WALBytes = 2 << 30
			}
			if m >= begins && m < ends {
				change(&r)
			}
			if r.Service != "" {
				rows = append(rows, r)
			}
		}
	}
	must(t, store.PublishServerStats(ctx, s.client, rows))
}
