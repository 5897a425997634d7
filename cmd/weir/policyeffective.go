package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/query"
)

func newPolicyEffective() *cobra.Command {
	var data, last string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "effective VIF",
		Short: "Show the rules that decide about a VIF, in their order, and the settings of its port",
		Long: `Shows the list that a VIF's packets go through, first rule first, with the level that each comes from. VIF is VM/DEVICE, pool/VM/DEVICE, a
UUID, or the name of a VM that has one VIF. Below stand the settings of its port: what holds, which level says it, and what levels above it
say in vain.

PACKETS is how many met a rule in the span of --last, and LAST HIT the minute in which it was met last: at all VIFs that the rule is for,
since switches count by rule. weir policy hits says more of them.`,
		Example: `  weir policy effective web-01/0
  weir policy effective web-01/0 --last 7d`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			span, err := cli.ParseRange(last, "", "", now)
			if err != nil {
				return usageError{err}
			}
			r := query.HitsRequest{Limit: query.MaxHits}
			if r.From, r.To, err = span.At(now); err != nil {
				return usageError{err}
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var e effective
			if err := c.Get(cmd.Context(), "/api/v1/policy/effective?vif="+url.QueryEscape(args[0]), &e); err != nil {
				return err
			}
			if err := e.count(cmd.Context(), c, r); err != nil { // the list itself does not depend on the store
				if err := tellWarnings(cmd.ErrOrStderr(), []string{"how often the rules were met is not known: " + err.Error()}); err != nil {
					return err
				}
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, e)
			}
			return e.write(out, now)
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().StringVar(&last, "last", "1h", "the span of time whose packets are counted, as 15m, 2h or 7d")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// effective is the list of a VIF, with how often its rules were met.
type effective struct {
	policyd.Effective
	Rules []effectiveRule `json:"rules"` // in place of those without
}

type effectiveRule struct {
	policyd.EffectiveRule
	Hits *cli.RuleHits `json:"hits,omitempty" doc:"At all VIFs that it is for; absent if not known."`
}

// count asks how often the rules were met.
func (e *effective) count(ctx context.Context, c *client.API, r query.HitsRequest) error {
	list, err := askHits(ctx, c, r)
	if err != nil {
		return err
	}
	byInstance := make(map[uint32]*cli.RuleHits, len(list))
	for i := range list {
		byInstance[list[i].Instance] = &list[i]
	}
	for i := range e.Rules {
		e.Rules[i].Hits = byInstance[e.Rules[i].Instance]
	}
	return nil
}

// writeSettings lists the settings of a VIF, with what levels above say in vain.
func writeSettings(out *cli.Output, list []policy.EffectiveSetting) error {
	t := &cli.Table{Columns: []cli.Column{{Name: "SETTING"}, {Name: "VALUE"}, {Name: "SAID BY"}, {Name: "OVERRIDES"}}}
	for _, s := range list {
		var over []string
		for _, o := range s.Overridden {
			over = append(over, fmt.Sprintf("%s: %s", cli.Clean(o.Level), o.Value))
		}
		t.Add(cell(s.Key), cell(s.Value), cell(s.Level), cli.Cell{Text: strings.Join(over, "; "), Style: cli.Dim})
	}
	if err := t.Write(out); err != nil {
		return err
	}
	for _, s := range list {
		for _, n := range s.Notes {
			fmt.Fprintf(out.W, "%s\n", out.Paint(cli.Clean(s.Key+": "+n), cli.Warn))
		}
	}
	return nil
}

func (e *effective) write(out *cli.Output, now time.Time) error {
	fmt.Fprintf(out.W, "%s, network %s, pool %s\n", cli.Clean(e.VIF), cli.Clean(firstOf(e.Network, "-")), cli.Clean(firstOf(e.Pool, "-")))
	for _, h := range e.Hosts {
		line := fmt.Sprintf("at %s: %s", h.Host, h.State)
		if h.Bypassed != "" {
			line += ", BYPASSED: " + cli.Clean(h.Bypassed)
		}
		fmt.Fprintln(out.W, line)
	}
	if e.Quarantined != "" {
		fmt.Fprintln(out.W, out.Paint("QUARANTINED "+cli.Clean(e.Quarantined)+": it sends and receives nothing", cli.Bad))
	}
	t := &cli.Table{Columns: []cli.Column{
		{Name: "#", Right: true},
		{Name: "RULE"},
		{Name: "WHERE"},
		{Name: "SAYS"},
		{Name: "NUMBER", Right: true},
		{Name: "PACKETS", Right: true},
		{Name: "LAST HIT", Right: true},
		{Name: "NOTE"},
	}}
	for _, r := range e.Rules {
		note := cli.Cell{Text: r.Comment, Style: cli.Dim}
		if r.Hidden != "" {
			note = cli.Cell{Text: "never decides: " + r.Hidden + " comes before", Style: cli.Warn}
		}
		packets, last := cell("?"), cell("?")
		if r.Hits != nil {
			packets, last = cell(cli.Count(float64(r.Hits.Packets))), cell(cli.LastHit(r.Hits, now))
		}
		t.Add(cell(r.Number), cell(r.Rule), cell(r.Where), cell(r.Text), cell(r.Instance), packets, last, note)
	}
	fmt.Fprintln(out.W)
	if err := t.Write(out); err != nil {
		return err
	}
	fmt.Fprintf(out.W, "\nelse: %s\n\n", e.Default)
	return writeSettings(out, e.Settings)
}
