package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/policyd/policy"
)

// listForms says how lists of rules are written.
const listForms = `Lists are global, pool:NAME, network:NAME, vm:NAME and vif:VM/DEVICE: their mandatory rules, or, with --default, those that hold where nothing below says
otherwise; a VIF has one list only. Within a list the first rule that matches decides.`

func newPolicyRule() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rule",
		Short: "Look at single rules, add, remove, move them, switch them off and on",
		Long: `Changes single rules without an editor. A change shows what it would do and asks, unless --yes; then it is put in force at once, as a new revision. With
--draft, it is made in that draft of yours, and nothing is put in force.

` + listForms,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRuleList(), newRuleAdd(), newRuleRemove(), newRuleMove(), newRuleSwitch("enable", "Switch rules on", false), newRuleSwitch("disable", "Switch rules off, and keep them", true))
	return cmd
}

// listedRule is a rule at its place.
type listedRule struct {
	Rule     string    `json:"rule"`
	List     string    `json:"list"`
	Number   int       `json:"number"` // in its list
	Text     string    `json:"text"`
	Disabled bool      `json:"disabled,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Comment  string    `json:"comment,omitempty"`
}

func newRuleList() *cobra.Command {
	var data, draft string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [TEXT]",
		Short: "List the rules, all or those with a text in them, in the order of the document",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			p, _, err := groupPolicy(cmd, c, draft)
			if err != nil {
				return err
			}
			text := strings.ToLower(firstArg(args))
			list := []listedRule{}
			for l := range p.policy.Lists() {
				for i := range l.Rules {
					r := &l.Rules[i]
					x := listedRule{r.ID, l.Tier.Name(l.Of), i + 1, r.String(), r.Disabled, r.Expires, r.Comment}
					if strings.Contains(strings.ToLower(strings.Join([]string{x.Rule, x.List, x.Text, x.Comment}, "\n")), text) {
						list = append(list, x)
					}
				}
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintf(out.W, "%s has no such rule\n", cli.Clean(p.Name))
				return err
			}
			now := time.Now()
			t := &cli.Table{Columns: []cli.Column{{Name: "WHERE"}, {Name: "#", Right: true}, {Name: "RULE"}, {Name: "SAYS"}, {Name: "NOTE"}}}
			for _, x := range list {
				note := cli.Cell{Text: x.Comment, Style: cli.Dim}
				switch {
				case x.Disabled:
					note = cli.Cell{Text: "off" + after(": ", x.Comment), Style: cli.Warn}
				case !x.Expires.IsZero() && !now.Before(x.Expires):
					note = cli.Cell{Text: "expired" + after(": ", x.Comment), Style: cli.Warn}
				}
				t.Add(cell(x.List), cell(x.Number), cell(x.Rule), cell(x.Text), note)
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	draftFlagOf(cmd, &data, &draft, "rules of this draft of yours, instead of what is in force")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// ruleList is a list of rules, as --in and --default name it.
type ruleList struct {
	in        string
	byDefault bool
}

func (l *ruleList) add(cmd *cobra.Command, text string) {
	f := cmd.Flags()
	f.StringVar(&l.in, "in", "", text)
	f.BoolVar(&l.byDefault, "default", false, "its default rules instead of the mandatory ones")
}

// listTiers are the tiers of a kind of levels: of mandatory rules and of default ones.
var listTiers = map[flow.Kind][2]policy.Tier{
	"":               {policy.GlobalMandatory, policy.GlobalDefault},
	flow.KindPool:    {policy.PoolMandatory, policy.PoolDefault},
	flow.KindNetwork: {policy.NetworkMandatory, policy.NetworkDefault},
	flow.KindVM:      {policy.VMMandatory, policy.VMDefault},
	flow.KindVIF:     {policy.VIFRules, policy.VIFRules},
}

// of returns which list that is.
func (l *ruleList) of() (policy.Tier, string, error) {
	level, err := policy.ParseLevel(l.in, policy.Levels)
	tiers := listTiers[level.Kind]
	switch {
	case err != nil:
		return 0, "", usagef("--in: %w", err)
	case level.Kind == flow.KindVIF && l.byDefault:
		return 0, "", usagef("found --default: a VIF has one list of rules only")
	case l.byDefault:
		return tiers[1], level.Name, nil
	}
	return tiers[0], level.Name, nil
}

// rulePlace is where in a list a rule is put.
type rulePlace struct {
	before, after string
	first         bool
}

func (p *rulePlace) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.before, "before", "", "put it before this rule")
	f.StringVar(&p.after, "after", "", "put it after this rule")
	f.BoolVar(&p.first, "first", false, "put it before all others of the list (else: behind them)")
	cmd.MarkFlagsMutuallyExclusive("before", "after", "first")
}

// neighbour is the rule next to which the rule is put, "" if it is put at an end of the list.
func (p *rulePlace) neighbour() string { return firstOf(p.before, p.after) }

// insert puts a rule into a list.
func (p *rulePlace) insert(list *[]policy.Rule, r policy.Rule) {
	at := len(*list)
	switch next := p.neighbour(); {
	case p.first:
		at = 0
	case next != "":
		at = slices.IndexFunc(*list, func(o policy.Rule) bool { return o.ID == next })
		if p.after != "" {
			at++
		}
	}
	*list = slices.Insert(*list, at, r)
}

// findRule returns in which list a rule is, and where.
func findRule(p *policyText, id string) (tier policy.Tier, of string, at int, err error) {
	var ids []string
	for l := range p.policy.Lists() {
		for i := range l.Rules {
			if l.Rules[i].ID == id {
				return l.Tier, l.Of, i, nil
			}
			ids = append(ids, l.Rules[i].ID)
		}
	}
	return 0, "", 0, notFoundf("%s has no rule %q%s: weir policy rule list shows them", p.Name, id, after("; did you mean ", nearest.Word(id, ids)))
}

func newRuleAdd() *cobra.Command {
	var list ruleList
	var place rulePlace
	var r struct{ id, direction, protocol, remote, remotePorts, localPorts, expires, comment string }
	g := policyChange{
		use: "add ACTION", short: "Add a rule", args: cobra.ExactArgs(1),
		long: "ACTION is allow, deny or shadow. Next to a rule that --before or --after names, it comes into the list of that one.\n\n" + listForms,
		example: `  weir policy rule add deny --in global --protocol tcp --remote-ports 23 --id no-telnet
  weir policy rule add allow --direction from --protocol tcp --remote 10.0.0.0/8 --local-ports 22 --before nothing-else`,
		flags: func(cmd *cobra.Command) {
			list.add(cmd, "list that it comes into")
			place.add(cmd)
			f := cmd.Flags()
			f.StringVar(&r.id, "id", "", "name for ever (default: one is given)")
			f.StringVar(&r.direction, "direction", "", "to (the remote), from or either (default either)")
			f.StringVar(&r.protocol, "protocol", "", "any, tcp, udp, icmp, icmp/8, arp and others (default any)")
			f.StringVar(&r.remote, "remote", "", "any, an address, a prefix, a MAC address, address-group:NAME or vm-group:NAME (default any)")
			f.StringVar(&r.remotePorts, "remote-ports", "", "ports of the remote, as 443 or 22,8000-8099")
			f.StringVar(&r.localPorts, "local-ports", "", "ports of the VM")
			f.StringVar(&r.expires, "expires", "", "until when it is in force, as 8h, or RFC 3339: 2026-12-24T18:00:00Z")
			f.StringVar(&r.comment, "comment", "", "for people")
		},
		do: func(p *policyText, args []string) (string, error) {
			rule := policy.Rule{ID: r.id, Comment: r.comment}
			for _, x := range []struct {
				flag, text string
				into       interface{ UnmarshalText([]byte) error }
			}{
				{"ACTION", args[0], &rule.Action},
				{"--direction", r.direction, &rule.Direction},
				{"--protocol", r.protocol, &rule.Protocol},
				{"--remote", r.remote, &rule.Remote},
				{"--remote-ports", r.remotePorts, &rule.RemotePorts},
				{"--local-ports", r.localPorts, &rule.LocalPorts},
			} {
				if x.text == "" {
					continue
				}
				if err := x.into.UnmarshalText([]byte(x.text)); err != nil {
					return "", usagef("%s: %w", x.flag, err)
				}
			}
			var err error
			if rule.Expires, err = parseExpires(r.expires, time.Now()); err != nil {
				return "", err
			}
			if rule.ID == "" {
				var b [4]byte
				_, _ = rand.Read(b[:]) // it never fails
				rule.ID = "r" + hex.EncodeToString(b[:])
			} else if _, _, _, err := findRule(p, rule.ID); err == nil {
				return "", conflictError{fmt.Errorf("%s has a rule %q already: expected another --id", p.Name, rule.ID)}
			}
			if err := rule.Validate(); err != nil {
				return "", usagef("rule: %w", err)
			}
			tier, of, err := placeFor(p, &list, &place)
			if err != nil {
				return "", err
			}
			place.insert(p.policy.RulesOf(tier, of), rule)
			return "rule " + rule.ID + " added", nil
		},
	}
	return g.command()
}

// placeFor returns the list that a rule comes into: that of its neighbour, or the one that is named.
func placeFor(p *policyText, list *ruleList, place *rulePlace) (policy.Tier, string, error) {
	next := place.neighbour()
	if next == "" {
		if list.in == "" {
			return 0, "", usagef("it is not said which list the rule comes into: expected --in, --before or --after")
		}
		return list.of()
	}
	tier, of, _, err := findRule(p, next)
	if err != nil || list.in == "" {
		return tier, of, err
	}
	wanted, name, err := list.of()
	if err == nil && (wanted != tier || name != of) {
		err = usagef("rule %q is in %s, and --in says %s", next, tier.Name(of), wanted.Name(name))
	}
	return tier, of, err
}

// parseExpires reads a time, or a span from now on.
func parseExpires(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usagef("--expires %q: expected a span of time as 8h, or RFC 3339 as 2026-12-24T18:00:00Z", text)
	}
	return at, nil
}

func newRuleRemove() *cobra.Command {
	g := policyChange{
		use: "remove RULE...", complete: ruleIDs, many: true, short: "Remove rules", args: cobra.MinimumNArgs(1),
		long: "A rule that is only to rest is switched off: weir policy rule disable.",
		do: func(p *policyText, args []string) (string, error) {
			for _, id := range args {
				tier, of, at, err := findRule(p, id)
				if err != nil {
					return "", err
				}
				list := p.policy.RulesOf(tier, of)
				*list = slices.Delete(*list, at, at+1)
			}
			return ruleWords(args) + " removed", nil
		},
	}
	return g.command()
}

// ruleWords names rules.
func ruleWords(ids []string) string {
	if len(ids) == 1 {
		return "rule " + ids[0]
	}
	return "rules " + inShort(ids)
}

func newRuleMove() *cobra.Command {
	var list ruleList
	var place rulePlace
	g := policyChange{
		use: "move RULE", complete: ruleIDs, short: "Move a rule within its list, or into another one", args: cobra.ExactArgs(1), long: listForms,
		example: `  weir policy rule move web-in --before deny-all
  weir policy rule move web-in --in network:front --default --first`,
		flags: func(cmd *cobra.Command) {
			list.add(cmd, "list that it comes into (default: the one that it is in)")
			place.add(cmd)
		},
		do: func(p *policyText, args []string) (string, error) {
			tier, of, at, err := findRule(p, args[0])
			if err != nil {
				return "", err
			}
			if place.neighbour() == args[0] {
				return "", usagef("rule %q cannot stand next to itself", args[0])
			}
			to, name := tier, of
			if list.in != "" || place.neighbour() != "" {
				if to, name, err = placeFor(p, &list, &place); err != nil {
					return "", err
				}
			}
			from := p.policy.RulesOf(tier, of)
			rule := (*from)[at]
			*from = slices.Delete(*from, at, at+1)
			place.insert(p.policy.RulesOf(to, name), rule)
			return "rule " + args[0] + " moved", nil
		},
	}
	return g.command()
}

func newRuleSwitch(word, short string, off bool) *cobra.Command {
	g := policyChange{
		use: word + " RULE...", complete: ruleIDs, many: true, short: short, args: cobra.MinimumNArgs(1),
		long: "A rule that is switched off is kept at its place, and is not in force.",
		do: func(p *policyText, args []string) (string, error) {
			for _, id := range args {
				tier, of, at, err := findRule(p, id)
				if err != nil {
					return "", err
				}
				(*p.policy.RulesOf(tier, of))[at].Disabled = off
			}
			return ruleWords(args) + " " + word + "d", nil
		},
	}
	return g.command()
}
