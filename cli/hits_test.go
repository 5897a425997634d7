package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/query"
	"github.com/weirhq/weir/store"
)

func TestHits(t *testing.T) {
	e := newEstate(t)
	log := slog.New(slog.DiscardHandler)
	now := time.Now().UTC().Truncate(time.Minute).Add(30 * time.Second)
	id := func(rule string) flow.ID { return flow.NewID(flow.KindRule, rule) }
	instance := func(number uint32, rule, action string) store.RuleInstance {
		return store.RuleInstance{
			Instance: number, Rule: id(rule), Name: rule, Tier: "global_default", Action: action, Text: action + " something",
			Verdict: map[string]flow.Verdict{"allow": flow.VerdictAllowed, "deny": flow.VerdictDenied}[action],
		}
	}
	rules := store.NewRuleInstances(store.RuleInstancesDeps{Log: log, Client: e.writer})
	for i, list := range [][]store.RuleInstance{
		{instance(1000, "web", "allow"), instance(1001, "db", "deny"), instance(1002, "old", "deny"), instance(1003, "quiet", "deny")},
		{instance(1000, "web", "allow"), instance(1004, "db", "allow"), instance(1003, "quiet", "deny")},
	} {
		rules.Set(list, now.Add(time.Duration(i-10)*time.Minute))
		if err := rules.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hits := store.NewHits(store.HitsDeps{Log: log, Client: e.writer, Now: func() time.Time { return now }})
	hit := func(ago time.Duration, number uint32, rule string, stage flow.Stage, packets uint64) store.Hit {
		h := store.Hit{Time: now.Add(-ago), Host: 1, Bridge: 2, Instance: number, Stage: stage, Packets: packets, Bytes: 100 * packets}
		if rule != "" {
			h.Rule = id(rule)
		}
		return h
	}
	hits.Add([]store.Hit{
		hit(2*time.Minute, 1000, "web", flow.StageEgress, 10), hit(time.Minute, 1000, "web", flow.StageIngress, 20), hit(0, 1000, "web", flow.StageReply, 30),
		hit(5*time.Minute, 1001, "db", flow.StageEgress, 7), hit(2*time.Hour, 1003, "quiet", flow.StageEgress, 1),
		hit(time.Minute, flow.SystemKept, "", flow.StageSystem, 5), hit(time.Minute, 2000, "gone", flow.StageEgress, 1),
	})
	for range 2 { // what is stored twice counts once
		if err := hits.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		hits.Add([]store.Hit{hit(0, 1000, "web", flow.StageReply, 1)})
	}
	ask := func(r query.HitsRequest) []string {
		t.Helper()
		r.From, r.To = now.Add(-time.Hour), now
		list, err := cli.Hits(t.Context(), e.db, r, now)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, h := range list {
			last := "never"
			if !h.LastHit.IsZero() {
				last = now.Sub(h.LastHit).Truncate(time.Minute).String()
			}
			lines = append(lines, fmt.Sprintf("%d %s %s %v: %d %d %d %d of %d, %d bytes, %.4f/s, last %s", h.Instance, h.Rule, h.Action, h.InForce,
				h.Egress, h.Ingress, h.Reply, h.System, h.Packets, h.Bytes, h.Rate, last))
		}
		return lines
	}
	const rest = "1003 quiet deny true: 0 0 0 0 of 0, 0 bytes, 0.0000/s, last 2h0m0s"
	if diff := cmp.Diff([]string{
		"1000 web allow true: 10 20 31 0 of 61, 6100 bytes, 0.0168/s, last 0s",
		"1001 db deny false: 7 0 0 0 of 7, 700 bytes, 0.0019/s, last 5m0s",
		"9 kept allow false: 0 0 0 5 of 5, 500 bytes, 0.0014/s, last 1m0s",
		"2000   false: 1 0 0 0 of 1, 100 bytes, 0.0003/s, last 1m0s",
		"1004 db allow true: 0 0 0 0 of 0, 0 bytes, 0.0000/s, last never",
		rest,
	}, ask(query.HitsRequest{System: true})); diff != "" {
		t.Errorf("all: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1004 db allow true: 0 0 0 0 of 0, 0 bytes, 0.0000/s, last never", rest}, ask(query.HitsRequest{Unused: true})); diff != "" {
		t.Errorf("unused: -want +got\n%s", diff)
	}
	if got := ask(query.HitsRequest{}); len(got) != 5 {
		t.Errorf("without built-in rules: %q, want 5", got)
	}
	if got := ask(query.HitsRequest{Rule: "db"}); len(got) != 2 {
		t.Errorf("of one rule: %q, want both its versions", got)
	}
	if got := ask(query.HitsRequest{Limit: 1}); len(got) != 1 {
		t.Errorf("with a limit of 1: %q", got)
	}
	_, err := cli.Hits(t.Context(), e.db, query.HitsRequest{From: now.Add(-time.Hour), To: now, Rule: "wev"}, now)
	if mistake, ok := errors.AsType[*query.Error](err); !ok || !strings.Contains(mistake.Error(), `unknown rule "wev"`) || !strings.Contains(mistake.Error(), "did you mean web?") {
		t.Errorf("an unknown rule: %v", err)
	}
	list, err := cli.Hits(t.Context(), e.db, query.HitsRequest{From: now.Add(-time.Hour), To: now}, now)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := cli.HitsTable(list, now).Write(&cli.Output{W: &b}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"db (former)", "#" + fmt.Sprint(uint64(id("gone"))), "1m ago", "never"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, b.String())
		}
	}
}

func TestHitsRefuses(t *testing.T) {
	now := time.Now()
	for _, r := range []query.HitsRequest{{}, {From: now, To: now}, {From: now.Add(-1), To: now, Limit: -1}} {
		if _, err := query.Hits(r, now); err == nil {
			t.Errorf("Hits(%+v) succeeded", r)
		}
	}
}

// How long ago is said in minutes, since only the minute of a hit is known.
func TestLastHit(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 30, 0, time.UTC)
	f := func(ago time.Duration, want string) {
		t.Helper()
		if got := cli.LastHit(&cli.RuleHits{LastHit: now.Add(-ago)}, now); got != want {
			t.Errorf("%s ago: %q, want %q", ago, got, want)
		}
	}
	f(30*time.Second, "just now")
	f(-time.Second, "just now") // by another clock
	f(90*time.Second, "1m ago")
	f(2*time.Hour+5*time.Minute+30*time.Second, "2h5m ago")
	if got := cli.LastHit(&cli.RuleHits{}, now); got != "never" {
		t.Errorf("of none: %q", got)
	}
}
