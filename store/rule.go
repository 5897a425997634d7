package store

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/flow"
)

// RuleInstance is a rule with one action in one version, as table rule_instances has it.
type RuleInstance struct {
	Instance uint32  // from flow.MaxSystemInstance+1 to flow.MaxInstance
	Rule     flow.ID // of kind rule; the same for all instances of a rule
	Name     string  // of the rule in the policy, which is also its key
	Scope    flow.ID // pool, network, VM or VIF whose rule it is; 0 is all
	Tier     string  // as global_mandatory
	Action   string  // allow, deny, shadow
	Verdict  flow.Verdict
	Text     string // the rule in a line

	From  time.Time // from when on it was in force; zero: since Set
	Until time.Time // until when it was; zero: it is
}

// maxGone is how many instances that are gone may wait to be written.
const maxGone = 500_000

// inForce is what is written for the end of what has not ended.
var inForce = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// RuleInstancesDeps are what RuleInstances use and do not own.
type RuleInstancesDeps struct {
	Log     *slog.Logger
	Client  *Client
	Metrics prometheus.Registerer // nil: none
}

// RuleInstances writes the rule instances of a policy, with their names, to tables rule_instances and entities. There is one
// writer at a time. Set may be called from any goroutine.
type RuleInstances struct {
	deps     RuleInstancesDeps
	entities *Entities // of the rules

	mu      sync.Mutex
	list    []RuleInstance          // guarded by mu: those that Set said last
	at      time.Time               // guarded by mu: when
	gone    map[uint32]RuleInstance // guarded by mu: those of before, until they are written
	dropped uint64                  // guarded by mu: of gone, for which there was no room
	changed chan struct{}           // capacity 1

	known map[uint32]RuleInstance // last period of each in the table; nil until it was read, and after a failure. Used by publish alone
}

// NewRuleInstances returns a writer that has read nothing yet, and writes nothing until Run runs.
func NewRuleInstances(d RuleInstancesDeps) *RuleInstances {
	r := &RuleInstances{
		deps: d, entities: &Entities{client: d.Client, rules: true}, gone: map[uint32]RuleInstance{}, changed: make(chan struct{}, 1),
	}
	if d.Metrics != nil {
		d.Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "weir_store_rule_instances_dropped_total",
			Help: "Rule instances that came and went while the store was away, and of which it will not be known what they were, since too many waited.",
		}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return float64(r.dropped)
		}))
	}
	return r
}

// Set says which instances there are from at on: those in force, in place of all that were before, and as many that are not any more
// as the caller remembers. It does not wait for the store: what was in force between two writes is written all the same. The list
// is not changed afterwards.
func (r *RuleInstances) Set(list []RuleInstance, at time.Time) {
	there := make(map[uint32]struct{}, len(list))
	r.mu.Lock()
	for _, one := range list {
		there[one.Instance] = struct{}{}
		delete(r.gone, one.Instance)
	}
	for _, one := range r.list {
		if _, ok := there[one.Instance]; !ok && one.Until.IsZero() {
			if len(r.gone) >= maxGone {
				r.dropped++
				continue
			}
			if one.From.IsZero() {
				one.From = r.at
			}
			one.Until = after(at, one.From)
			r.gone[one.Instance] = one
		}
	}
	r.list, r.at = list, at
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default: // it will look
	}
}

// Run writes what Set says until ctx is done, and returns nil. What fails is tried again.
func (r *RuleInstances) Run(ctx context.Context) error {
	return keepWriting(ctx, r.deps.Log, "rule instances", r.changed, r.Publish)
}

// LastInstance returns the highest number that the table has of an instance; 0 if it is empty.
func (r *RuleInstances) LastInstance(ctx context.Context) (uint32, error) {
	var last uint32
	ctx, cancel := context.WithTimeout(ctx, r.deps.Client.cfg.Timeout)
	defer cancel()
	if err := r.deps.Client.conn.QueryRow(ctx, "SELECT max(instance) FROM rule_instances").Scan(&last); err != nil {
		return 0, fmt.Errorf("ask for the last rule instance: %w", classify(ctx, err))
	}
	return last, nil
}

// Publish writes what differs from what the table has, and has the dictionaries read it; Run calls it. It is idempotent: after a
// failure, whatever came of it, the same call completes it. It is not for concurrent use.
func (r *RuleInstances) Publish(ctx context.Context) error {
	r.mu.Lock()
	list, at, gone := r.list, r.at, maps.Clone(r.gone)
	r.mu.Unlock()
	if at.IsZero() {
		return nil // nobody has said anything yet
	}
	if err := r.publish(ctx, list, at, gone); err != nil {
		return fmt.Errorf("publish rule instances: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for instance := range gone {
		if r.gone[instance] == gone[instance] {
			delete(r.gone, instance)
		}
	}
	return nil
}

func (r *RuleInstances) publish(ctx context.Context, list []RuleInstance, at time.Time, gone map[uint32]RuleInstance) error {
	ctx, cancel := context.WithTimeout(ctx, r.deps.Client.cfg.Timeout)
	defer cancel()
	if r.known == nil {
		known, err := r.read(ctx)
		if err != nil {
			return err
		}
		r.known, r.entities.stale = known, true
	}
	rows := periods(r.known, slices.Concat(systemInstances(), slices.Collect(maps.Values(gone)), list), at)
	if len(rows) > 0 {
		r.entities.stale = true
		known := r.known
		r.known = nil // some may be there
		if err := r.insert(ctx, rows); err != nil {
			return err
		}
		for _, row := range rows {
			known[row.Instance] = row
		}
		r.known = known
	}
	stale := r.entities.stale
	if _, err := r.entities.publish(ctx, ruleEntities(list), at); err != nil {
		return err
	}
	if stale {
		if err := r.deps.Client.reload(ctx, "rule_instance"); err != nil {
			r.entities.stale = true
			return err
		}
	}
	return nil
}

// systemInstances returns the built-in rules, which were always in force.
func systemInstances() []RuleInstance {
	var list []RuleInstance
	for _, s := range flow.SystemRules {
		action := "deny"
		if s.Verdict == flow.VerdictAllowed {
			action = "allow"
		}
		list = append(list, RuleInstance{Instance: s.Instance, Name: s.Name, Tier: "system", Action: action, Verdict: s.Verdict, Text: s.Text, From: time.UnixMilli(0).UTC()})
	}
	return list
}

// ruleEntities returns the rules that list has instances of.
func ruleEntities(list []RuleInstance) []Entity {
	byID := map[flow.ID]Entity{}
	for i := range list {
		if one := &list[i]; one.Until.IsZero() {
			byID[one.Rule] = Entity{
				Kind: flow.KindRule, ID: one.Rule, Key: one.Name, Name: one.Name, Parent: one.Scope, Source: "policy",
				Attributes: map[string]string{"tier": one.Tier, "action": one.Action, "text": one.Text},
			}
		}
	}
	return slices.Collect(maps.Values(byID))
}

// periods returns the rows that make the table say what list does from at on, where known is what it says now; ascending. A later
// element of list holds before an earlier one of the same instance.
func periods(known map[uint32]RuleInstance, list []RuleInstance, at time.Time) []RuleInstance {
	rows := map[uint32]RuleInstance{}
	there := make(map[uint32]bool, len(list))
	for _, one := range list {
		there[one.Instance] = true
		delete(rows, one.Instance)
		old, ok := known[one.Instance]
		if one.From.IsZero() {
			one.From = at
		}
		one.From = one.From.UTC().Truncate(time.Millisecond)
		if one.Until.IsZero() {
			one.Until = inForce
		}
		one.Until = one.Until.UTC().Truncate(time.Millisecond)
		switch {
		case ok && old.Until.Equal(inForce):
			one.From = old.From // the same period goes on, or ends
		case ok && one.Until.Equal(inForce): // it is back
			one.From = after(one.From, old.Until)
		case ok:
			continue // its end was written
		}
		if !ok || one != old {
			rows[one.Instance] = one
		}
	}
	for instance, old := range known {
		if !there[instance] && old.Until.Equal(inForce) {
			old.Until = after(at, old.From)
			rows[instance] = old
		}
	}
	return slices.SortedFunc(maps.Values(rows), func(a, b RuleInstance) int { return int(a.Instance) - int(b.Instance) })
}

func (r *RuleInstances) read(ctx context.Context) (map[uint32]RuleInstance, error) {
	rows, err := r.deps.Client.conn.Query(ctx, `SELECT instance, rule_id, rule, scope, tier, action, CAST(verdict, 'Int8'), text, valid_from, valid_to
		FROM rule_instances FINAL ORDER BY instance, valid_from DESC LIMIT 1 BY instance`)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer rows.Close()
	known := map[uint32]RuleInstance{}
	for rows.Next() {
		var one RuleInstance
		var rule, scope uint64
		var verdict int8
		if err := rows.Scan(&one.Instance, &rule, &one.Name, &scope, &one.Tier, &one.Action, &verdict, &one.Text, &one.From, &one.Until); err != nil {
			return nil, err
		}
		one.Rule, one.Scope, one.Verdict, one.From, one.Until = flow.ID(rule), flow.ID(scope), flow.Verdict(verdict), one.From.UTC(), one.Until.UTC()
		known[one.Instance] = one
	}
	return known, classify(ctx, rows.Err())
}

func (r *RuleInstances) insert(ctx context.Context, rows []RuleInstance) error {
	batch, err := r.deps.Client.conn.PrepareBatch(ctx, "INSERT INTO rule_instances (instance, valid_from, valid_to, rule_id, rule, scope, tier, action, verdict, text, written)")
	if err != nil {
		return classify(ctx, err)
	}
	defer func() { _ = batch.Close() }()
	now := time.Now().UTC()
	for _, one := range rows {
		err := batch.Append(one.Instance, one.From, one.Until, uint64(one.Rule), valid(one.Name), uint64(one.Scope), valid(one.Tier), valid(one.Action), one.Verdict.String(), valid(one.Text), now)
		if err != nil {
			return fmt.Errorf("rule instance %d: %w", one.Instance, err)
		}
	}
	return classify(ctx, batch.Send())
}

// valid returns s as text that a client reads back as it was written.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

const (
	writeRetryFirst = time.Second
	writeRetryMax   = 30 * time.Second
	writeLast       = 5 * time.Second // for what is left when it is time to go
)

// keepWriting calls write, which writes what, whenever due has an element, again where it failed, and a last time when ctx is done. It
// returns nil.
func keepWriting(ctx context.Context, log *slog.Logger, what string, due <-chan struct{}, write func(context.Context) error) error {
	pause, told := writeRetryFirst, ""
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-due:
		case <-retry.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeLast)
			defer cancel()
			if err := write(last); err != nil {
				log.Warn("the last is not stored", "what", what, "err", err)
			}
			return nil
		}
		err := write(ctx)
		switch {
		case err == nil:
			pause, told = writeRetryFirst, ""
		case ctx.Err() != nil: // next comes the last time
		default:
			if told != err.Error() {
				log.Warn("not stored; tried again", "what", what, "err", err)
				told = err.Error()
			}
			retry.Reset(pause)
			pause = min(2*pause, writeRetryMax)
		}
	}
}
