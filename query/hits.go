package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/flow"
)

// HitsRequest is a question how often rules are met. The zero value of all but the range: every rule.
type HitsRequest struct {
	From   time.Time `json:"from"`             // inclusive, widened to whole minutes
	To     time.Time `json:"to"`               // exclusive, likewise
	Rule   string    `json:"rule,omitempty"`   // name of the only rule that is asked about
	Unused bool      `json:"unused,omitempty"` // only rules in force that were not met in the range
	System bool      `json:"system,omitempty"` // built-in rules, too, as far as they were met
	Limit  int       `json:"limit,omitempty"`  // rules; default 1000
}

// MaxHits is the largest Limit of a HitsRequest.
const MaxHits = 100_000

const defaultHits = 1000

// RuleHits is how often a version of a rule was met.
type RuleHits struct {
	Rule     string    `json:"rule" doc:"Name; empty if nothing is known of it any more."`
	RuleID   string    `json:"rule_id" doc:"Column rule_id of flows; 0 of built-in rules."`
	Instance uint32    `json:"rule_instance" doc:"Column rule_instance of flows."`
	Scope    string    `json:"scope,omitempty" doc:"Pool, network, VM or VIF whose rule it is."`
	Tier     string    `json:"tier" doc:"Of the hierarchy; system of built-in rules."`
	Action   string    `json:"action" doc:"allow, deny or shadow."`
	Text     string    `json:"text" doc:"The rule in a line."`
	InForce  bool      `json:"in_force" doc:"It is a rule of the policy that is in force."`
	Egress   uint64    `json:"egress" doc:"Packets that met it as a rule of their source."`
	Ingress  uint64    `json:"ingress" doc:"Packets that met it as a rule of their destination."`
	Reply    uint64    `json:"reply" doc:"Packets of replies that it let pass."`
	System   uint64    `json:"system" doc:"Packets that met it as a built-in rule."`
	Packets  uint64    `json:"packets" doc:"All of them."`
	Bytes    uint64    `json:"bytes" doc:"Their bytes, from the Ethernet header on."`
	Rate     float64   `json:"packets_per_second" doc:"Over the range."`
	LastHit  time.Time `json:"last_hit,omitzero" doc:"Minute in which it was met last, in the range or not; absent if never, as far as is known."`
}

// HitsColumns are the columns of the answer to [Hits], in order: instance, rule_id, rule, scope_name, tier, action, text, in_force,
// egress, ingress, reply, system, packets, bytes, last_hit (1970: never, as far as is known). It is not to be modified.
var HitsColumns = []Column{
	{Name: "instance", Role: RoleKey, Type: "UInt32"},
	{Name: "rule_id", Role: RoleKey, Type: "UInt64"},
	{Name: "rule", Role: RoleName, Type: "String"},
	{Name: "scope_name", Role: RoleName, Type: "String"},
	{Name: "tier", Role: RoleName, Type: "String"},
	{Name: "action", Role: RoleName, Type: "String"},
	{Name: "text", Role: RoleName, Type: "String"},
	{Name: "in_force", Role: RoleKey, Type: "Bool"},
	{Name: "egress", Role: RoleValue, Type: "UInt64", Unit: Packets},
	{Name: "ingress", Role: RoleValue, Type: "UInt64", Unit: Packets},
	{Name: "reply", Role: RoleValue, Type: "UInt64", Unit: Packets},
	{Name: "system", Role: RoleValue, Type: "UInt64", Unit: Packets},
	{Name: "packets", Role: RoleValue, Type: "UInt64", Unit: Packets},
	{Name: "bytes", Role: RoleValue, Type: "UInt64", Unit: Bytes},
	{Name: "last_hit", Role: RoleTime, Type: "DateTime('UTC')"},
}

// HitsPlan is how a HitsRequest is answered.
type HitsPlan struct {
	Statement
	From  time.Time `json:"from"` // range that is read
	To    time.Time `json:"to"`
	Names []Name    `json:"names,omitempty"` // that should be checked before: see [KnownNames]
}

// Hits plans the answer to the question which rules are met and which are not: a row for each version of a rule that is in force, or
// that was met in the range; the one that was met most first. The figures are those of the switches' own
// counters, and so complete whatever is sampled. now is the time, which says what is in force. An error is an [*Error].
func Hits(r HitsRequest, now time.Time) (*HitsPlan, error) {
	switch {
	case r.From.IsZero() || r.To.IsZero():
		return nil, reject("from", "expected both ends of the range", "found no time")
	case !r.From.Before(r.To):
		return nil, reject("from", "expected a time before to", "%s is not before %s", stamp(r.From), stamp(r.To))
	case r.Limit < 0 || r.Limit > MaxHits:
		return nil, reject("limit", fmt.Sprintf("expected 1 to %d", MaxHits), "found %d", r.Limit)
	case r.Limit == 0:
		r.Limit = defaultHits
	}
	plan := &HitsPlan{From: floor(r.From, time.Minute), To: ceil(r.To, time.Minute)}
	p := &params{}
	bound := func(name string, at time.Time) string {
		return "fromUnixTimestamp(" + p.named(name, "Int64", strconv.FormatInt(at.Unix(), 10)) + ")"
	}
	rules := "instance > " + strconv.Itoa(int(flow.MaxSystemInstance))
	inForce := "valid_to > fromUnixTimestamp64Milli(" + p.named("now", "Int64", strconv.FormatInt(now.UnixMilli(), 10)) + ") AND " + rules
	which := []string{"(packets > 0 OR " + inForce + ")"}
	if r.Unused {
		which = []string{"packets = 0", inForce}
	}
	if !r.System {
		which = append(which, rules)
	}
	if r.Rule != "" {
		which = append(which, "rule = "+p.named("rule", "String", r.Rule))
		plan.Names = []Name{{Field: "rule", Kinds: []flow.Kind{flow.KindRule}, Text: r.Rule, Pos: 1}}
	}
	ofStage := func(s flow.Stage) string { return "sumIf(h.packets, h.stage = '" + s.String() + "') AS " + s.String() }
	const figures = "0 AS egress, 0 AS ingress, 0 AS reply, 0 AS system, 0 AS packets, 0 AS bytes"
	const words = "'' AS rule, 0 AS scope, '' AS tier, '' AS action, '' AS text, toDateTime64(0, 3, 'UTC') AS valid_to"
	const never = "toDateTime(0, 'UTC') AS last_hit"
	parts := []string{
		"SELECT instance, rule_id, rule, scope, toString(tier) AS tier, toString(action) AS action, text, valid_to, " + figures + ", " + never +
			"\nFROM rule_instances FINAL\nORDER BY instance, valid_from DESC\nLIMIT 1 BY instance",
		"SELECT rule_instance AS instance, rule_id, " + words + ", " +
			strings.Join([]string{ofStage(flow.StageEgress), ofStage(flow.StageIngress), ofStage(flow.StageReply), ofStage(flow.StageSystem)}, ", ") +
			", sum(h.packets) AS packets, sum(h.bytes) AS bytes, " + never +
			"\nFROM rule_hits_1m AS h FINAL\nWHERE minute >= " + bound("from", plan.From) + " AND minute < " + bound("to", plan.To) + "\nGROUP BY rule_instance, rule_id",
		"SELECT rule_instance AS instance, 0 AS rule_id, " + words + ", " + figures + ", max(minute) AS last_hit\nFROM rule_hits_1m\nGROUP BY rule_instance",
	}
	sums := []string{"instance", "max(rule_id) AS rule_id", "max(rule) AS rule", "max(scope) AS scope", "max(tier) AS tier", "max(action) AS action", "max(text) AS text", "max(valid_to) AS valid_to"}
	for _, figure := range []string{"egress", "ingress", "reply", "system", "packets", "bytes"} {
		sums = append(sums, "sum("+figure+") AS "+figure)
	}
	sums = append(sums, "max(last_hit) AS last_hit")
	all := selectFrom(sums, "SELECT * FROM (\n"+indent(parts[0])+"\n)\nUNION ALL\n"+parts[1]+"\nUNION ALL\n"+parts[2]) + "\nGROUP BY instance"
	sql := selectFrom([]string{
		"toUInt32(instance) AS instance", "toUInt64(rule_id) AS rule_id", "rule", nameSQL("toUInt64(scope)") + " AS scope_name", "tier", "action", "text",
		"toBool(" + inForce + ") AS in_force", "egress", "ingress", "reply", "system", "packets", "bytes", "last_hit",
	}, all) + "\nWHERE " + strings.Join(which, " AND ") + "\nORDER BY packets DESC, tier, rule, instance\nLIMIT " + strconv.Itoa(r.Limit)
	plan.Statement = statement(sql, p)
	return plan, nil
}
