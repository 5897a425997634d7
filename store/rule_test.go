package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/storetest"
)

func instance(number uint32, rule, action string) store.RuleInstance {
	return store.RuleInstance{
		Instance: number, Rule: flow.NewID(flow.KindRule, rule), Name: rule, Tier: "vm_mandatory", Action: action, Text: action + " tcp",
		Verdict: map[string]flow.Verdict{"allow": flow.VerdictAllowed, "deny": flow.VerdictDenied, "shadow": flow.VerdictShadowDenied}[action],
	}
}

func newRules(c *store.Client) *store.RuleInstances {
	return store.NewRuleInstances(store.RuleInstancesDeps{Log: discard, Client: c})
}

// periodsIn returns what the table says of rules, in s from start on.
func periodsIn(t *testing.T, c *store.Client, start time.Time) []string {
	t.Helper()
	return column(t, c, fmt.Sprintf(`SELECT concat(toString(instance), ' ', rule, ' ', action, ' ', toString(verdict), ' ',
		toString((toUnixTimestamp64Milli(valid_from) - %[1]d) / 1000), '–', if(valid_to >= '2200-01-01', '', toString((toUnixTimestamp64Milli(valid_to) - %[1]d) / 1000)))
		FROM rule_instances FINAL WHERE instance > 255 ORDER BY instance, valid_from`, start.UnixMilli()))
}

// The table says when each instance was in force, whoever wrote it and however often.
func TestRuleInstances(t *testing.T) {
	c := migrated(t)
	start := time.UnixMilli(time.Now().UnixMilli())
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	r := newRules(c)
	write := func(s int, list ...store.RuleInstance) {
		t.Helper()
		r.Set(list, at(s))
		if err := r.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	web, db, dbDenied := instance(1000, "web", "allow"), instance(1001, "db", "allow"), instance(1002, "db", "deny")
	if err := r.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n uint64
	if scan(t, c, "SELECT count() FROM rule_instances", &n); n != 0 {
		t.Errorf("%d rows before anything was said, want 0", n)
	}
	write(0, web, db)
	write(1, db, web)
	r = newRules(c) // a restart
	write(2, web, dbDenied)
	write(3, web, db)
	r = newRules(c)
	web.Text = "allow tcp, in other words"
	write(4, web)
	want := []string{"1000 web allow allowed 0–", "1001 db allow allowed 0–2", "1001 db allow allowed 3–4", "1002 db deny denied 2–3"}
	if diff := cmp.Diff(want, periodsIn(t, c, start)); diff != "" {
		t.Errorf("rule_instances: -want +got\n%s", diff)
	}
	if scan(t, c, "SELECT count() FROM rule_instances FINAL WHERE instance <= 255", &n); n != uint64(len(flow.SystemRules)) {
		t.Errorf("%d built-in rules, want %d", n, len(flow.SystemRules))
	}
	last, err := r.LastInstance(t.Context())
	if err != nil || last != 1002 {
		t.Errorf("LastInstance() = %d, %v, want 1002", last, err)
	}
	got := column(t, c, "SELECT concat(name, ' ', toString(removed), ' ', attributes['text']) FROM entities_now WHERE kind = 'rule' ORDER BY name")
	if diff := cmp.Diff([]string{"db true allow tcp", "web false allow tcp, in other words"}, got); diff != "" {
		t.Errorf("entities_now: -want +got\n%s", diff)
	}
	// Flows have names, without waiting for the dictionaries.
	if err := c.Exec(t.Context(), fmt.Sprintf(`INSERT INTO flows (time_received, rule_id, rule_instance, stage) VALUES
		(now64(), %d, 1002, 'egress'), (now64(), 0, %d, 'egress'), (now64(), 0, 0, 'none')`, uint64(db.Rule), flow.SystemKept)); err != nil {
		t.Fatal(err)
	}
	got = column(t, c, "SELECT concat(rule_name, ': ', rule_text) FROM flows ORDER BY rule_instance")
	if diff := cmp.Diff([]string{": ", "kept: " + flow.SystemRules[flow.SystemKept-1].Text, "db: deny tcp"}, got); diff != "" {
		t.Errorf("names of rules in flows: -want +got\n%s", diff)
	}
	// The estate's entities are another writer's, and stay.
	publish(t, c, at(5), store.EntityChanges{Changed: 1}, vm("a", "alpha"))
	write(6, web)
	if scan(t, c, "SELECT countIf(NOT removed AND kind = 'vm') + 10 * countIf(NOT removed AND kind = 'rule') FROM entities_now", &n); n != 11 {
		t.Errorf("%d, want one VM and one rule", n)
	}
}

// What the caller remembers of former times is written as it was.
func TestRuleInstancesOfFormerTimes(t *testing.T) {
	c := migrated(t)
	start := time.UnixMilli(time.Now().UnixMilli())
	a, b := instance(1000, "a", "allow"), instance(1001, "a", "deny")
	a.From, a.Until, b.From = start.Add(time.Second), start.Add(2*time.Second), start.Add(2*time.Second)
	for range 2 {
		r := newRules(c)
		r.Set([]store.RuleInstance{a, b}, start.Add(time.Minute))
		for range 2 {
			if err := r.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff([]string{"1000 a allow allowed 1–2", "1001 a deny denied 2–"}, periodsIn(t, c, start)); diff != "" {
		t.Errorf("rule_instances: -want +got\n%s", diff)
	}
}

// Instances that come and go while the store is away are written when it is back, and so is what was under way when it left.
func TestRuleInstancesOverAnOutage(t *testing.T) {
	database, srv := storetest.Database(t)
	cfg := config(srv, database)
	direct := openConfig(t, cfg)
	migrate(t, direct)
	gate := newGate(t, srv.Addr)
	cfg.Addr = gate.addr
	r := newRules(openConfig(t, cfg))
	start := time.UnixMilli(time.Now().UnixMilli())
	gate.close()
	r.Set([]store.RuleInstance{instance(1000, "a", "allow")}, start)
	if err := r.Publish(t.Context()); err == nil {
		t.Fatal("Publish with the store away succeeded")
	}
	r.Set([]store.RuleInstance{instance(1001, "a", "deny")}, start.Add(time.Second))
	r.Set([]store.RuleInstance{instance(1002, "a", "shadow")}, start.Add(2*time.Second))
	gate.open()
	// The first answers are lost: it is not known of what they are about whether it was done.
	answers := 0
	gate.watch(func([]byte) bool { answers++; return answers != 2 && answers != 4 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	want := []string{"1000 a allow allowed 0–1", "1001 a deny denied 1–2", "1002 a shadow shadow_denied 2–"}
	eventually(t, "all periods are there", func() bool { return cmp.Equal(want, periodsIn(t, direct, start)) })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
