package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/policyd/policy"
)

// Estimate is how many flows a bridge would hold.
type Estimate struct {
	Flows int
	Rules []Cost // those that cost most, descending
}

// Cost is how many flows a rule takes on a bridge, for all VIFs that it is asked of.
type Cost struct {
	Rule  string // id
	Scope policy.Scope
	Flows int
}

// costliest is how many rules an Estimate names.
const costliest = 5

// LimitError says that a bridge would hold more flows than it may.
type LimitError struct {
	Bridge string
	Limit  int
	Estimate
}

func (e *LimitError) Error() string {
	var most []string
	for _, c := range e.Rules {
		most = append(most, fmt.Sprintf("%q %d", c.Rule, c.Flows))
	}
	return fmt.Sprintf("compile bridge %q: it would hold %d flows, which is more than the limit of %d (policy.flows_per_bridge); the rules that take most: %s; fewer members of groups, or fewer ports, take fewer",
		e.Bridge, e.Flows, e.Limit, strings.Join(most, ", "))
}

// Estimate returns how many flows Compile would make of an Input; it makes none.
func (c *Compiler) Estimate(in *Input) (Estimate, error) {
	p, err := c.plan(in)
	if err != nil {
		return Estimate{}, err
	}
	return p.estimate(), nil
}

func (p *plan) estimate() (e Estimate) {
	type key struct {
		rule  string
		scope policy.Scope
	}
	costs := map[key]int{}
	cost := func(r rule) int {
		n := r.count(&p.settings)
		costs[key{r.entry.Rule.ID, r.entry.Scope}] += n
		return n
	}
	for u := range p.units {
		switch u := u.(type) {
		case rule:
			e.Flows += cost(u)
		case vifRules:
			u.each(func(r rule) { e.Flows += cost(r) })
		default:
			e.Flows += u.count(&p.settings)
		}
	}
	for k, n := range costs {
		e.Rules = append(e.Rules, Cost{k.rule, k.scope, n})
	}
	slices.SortFunc(e.Rules, func(a, b Cost) int { return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Rule, b.Rule)) })
	e.Rules = e.Rules[:min(len(e.Rules), costliest)]
	return e
}
