package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/store"
)

// ruleHits is how often a rule was met, in one version at one stage.
type ruleHits struct {
	Rule     string    `json:"rule"`
	Tier     string    `json:"tier"`
	Action   string    `json:"action"`
	Stage    string    `json:"stage,omitempty"`
	Instance uint32    `json:"instance"`
	InForce  bool      `json:"in_force"`
	Packets  uint64    `json:"packets"`
	Bytes    uint64    `json:"bytes"`
	Last     time.Time `json:"last,omitzero"`
	Text     string    `json:"text"`
}

func newPolicyHits() *cobra.Command {
	var data string
	var since string
	var system, asJSON bool
	cmd := &cobra.Command{
		Use:   "hits [RULE]",
		Short: "Show how often rules were met, and which were not",
		Long: `Shows how many packets met each rule, by its versions and by stage: egress as a rule of the source, ingress as one of the destination, reply as
packets of connections that it let in. Switches count all packets, whatever is sampled; it is asked for every minute and kept by minute, as
table rule_hits_1m. Rules in force that nothing met are listed, too.`,
		Example: `  weir policy hits --since 24h
  weir policy hits no-ssh`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			span, err := cli.ParseSpan(since)
			if err != nil {
				return usageError{fmt.Errorf("--since: %w", err)}
			}
			c, _, err := openReader(data)
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := readHits(cmd.Context(), c, time.Now().Add(-span))
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(h ruleHits) bool {
				return len(args) == 1 && h.Rule != args[0] || h.Tier == "system" && !system && len(args) == 0
			})
			if len(args) == 1 && len(list) == 0 {
				return fmt.Errorf("hits of rule %q: no rule of that id is in force, or was met since then", args[0])
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, append([]ruleHits{}, list...))
			}
			return writeHits(out, list, time.Now())
		},
	}
	dataFlag(cmd, &data)
	f := cmd.Flags()
	f.StringVar(&since, "since", "1h", "how far back to look, as 15m, 2h or 7d")
	f.BoolVar(&system, "system", false, "built-in rules, too: what the host itself sends, what is invalid or of no known port")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// readHits asks the store, the most met first, those that were not met last.
func readHits(ctx context.Context, c *store.Client, since time.Time) ([]ruleHits, error) {
	const met = `
SELECT rule_instance, toString(stage), sum(packets), sum(bytes), max(minute)
FROM rule_hits_1m FINAL WHERE minute >= toStartOfMinute($1) GROUP BY rule_instance, stage`
	const known = `SELECT toUInt32(instance), rule, tier, action, text, valid_to > now64(3) FROM rule_instances_now`
	rules := map[uint32]ruleHits{}
	rows, err := c.Conn().Query(ctx, known)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h ruleHits
		var inForce uint8
		if err := rows.Scan(&h.Instance, &h.Rule, &h.Tier, &h.Action, &h.Text, &inForce); err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		h.InForce = inForce != 0
		rules[h.Instance] = h
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	counted, err := c.Conn().Query(ctx, met, since)
	if err != nil {
		return nil, fmt.Errorf("read hits: %w", err)
	}
	defer counted.Close()
	var list []ruleHits
	seen := map[uint32]bool{}
	for counted.Next() {
		var instance uint32
		var h ruleHits
		if err := counted.Scan(&instance, &h.Stage, &h.Packets, &h.Bytes, &h.Last); err != nil {
			return nil, fmt.Errorf("read hits: %w", err)
		}
		r := rules[instance]
		h.Instance, h.Rule, h.Tier, h.Action, h.Text, h.InForce = instance, r.Rule, r.Tier, r.Action, r.Text, r.InForce
		seen[instance] = true
		list = append(list, h)
	}
	if err := counted.Err(); err != nil {
		return nil, fmt.Errorf("read hits: %w", err)
	}
	for instance, h := range rules {
		if !seen[instance] && h.InForce {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b ruleHits) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), strings.Compare(a.Rule, b.Rule), cmp.Compare(a.Instance, b.Instance), strings.Compare(a.Stage, b.Stage))
	})
	return list, nil
}

func writeHits(out *cli.Output, list []ruleHits, now time.Time) error {
	t := &cli.Table{Columns: []cli.Column{
		{Name: "RULE"}, {Name: "STAGE"}, {Name: "PACKETS", Right: true}, {Name: "BYTES", Right: true}, {Name: "LAST", Right: true}, {Name: "TIER"}, {Name: "SAYS"}, {Name: "NOTE"},
	}}
	for _, h := range list {
		last, note := "", ""
		if !h.Last.IsZero() {
			last = cli.Span(max(0, now.Sub(h.Last)))
		}
		style := cli.Plain
		switch {
		case !h.InForce && h.Tier != "system":
			note, style = "no more in force", cli.Dim
		case h.Packets == 0:
			style = cli.Dim
		}
		t.Add(cli.Cell{Text: h.Rule, Style: style}, cell(h.Stage), cell(h.Packets), cell(cli.Bytes(float64(h.Bytes))), cell(last), cell(h.Tier), cli.Cell{Text: h.Text, Style: style}, cli.Cell{Text: note, Style: style})
	}
	return t.Write(out)
}
