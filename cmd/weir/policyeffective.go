package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/query"
)

func newPolicyEffective() *cobra.Command {
	var data, last string
	var unguarded, all, asJSON bool
	cmd := &cobra.Command{
		Use:   "effective VIF|VM|vm:NAME|network:NAME|pool:NAME|estate",
		Short: "Show the rules that decide about a VIF, in their order, and the settings of its port; of a VM, network or pool, the settings of all its VIFs",
		Long: `Shows the list that a VIF's packets go through, first rule first, with the level that each comes from. VIF is VM/DEVICE, pool/VM/DEVICE, a
UUID, or the name of a VM that has one VIF. Below stand the settings of its port: what holds, which level says it, and what levels above it
say, which is overridden: at a terminal it is struck through.

Of a VM that has several VIFs, a network, a pool or the estate, the settings of all VIFs are shown: first those that are the same at all of them,
then those that differ, with the level that says each. VIFs for which the same is said share a line if there are many, unless --all. With
--unguarded, only VIFs are shown at which guards that are on are not enforced in full, since no source tells their addresses; the notes below say
what is missing. --json has all of each VIF.

PACKETS is how many met a rule in the span of --last, and LAST HIT the minute in which it was met last: at all VIFs that the rule is for,
since switches count by rule. weir policy hits says more of them.`,
		Example: `  weir policy effective web-01/0
  weir policy effective web-01/0 --last 7d
  weir policy effective network:front
  weir policy effective estate --unguarded`,
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
			out := outputOf(cmd, asJSON)
			kind, name, _ := strings.Cut(args[0], ":")
			switch {
			case args[0] == "estate", kind == "pool", kind == "network", kind == "vm":
				return showSettings(cmd.Context(), out, c, args[0], unguarded, all)
			case kind != "vif":
				name = args[0]
			}
			if unguarded {
				return showSettings(cmd.Context(), out, c, "vif:"+name, unguarded, all)
			}
			var e effective
			if err := c.Get(cmd.Context(), "/api/v1/policy/effective?vif="+url.QueryEscape(name), &e); err != nil {
				if errors.Is(err, client.ErrNotFound) && kind != "vif" { // it may be a VM that has several
					if of := showSettings(cmd.Context(), out, c, "vm:"+name, false, all); !errors.Is(of, client.ErrNotFound) {
						return of
					}
				}
				return err
			}
			if err := e.count(cmd.Context(), c, r); err != nil { // the list itself does not depend on the store
				if err := tellWarnings(cmd.ErrOrStderr(), []string{"how often the rules were met is not known: " + err.Error()}); err != nil {
					return err
				}
			}
			if asJSON {
				return cli.WriteJSON(out, e)
			}
			return e.write(out, now)
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.StringVar(&last, "last", "1h", "of one VIF: the span of time whose packets are counted, as 15m, 2h or 7d")
	f.BoolVar(&unguarded, "unguarded", false, "only VIFs at which guards that are on are not enforced in full")
	f.BoolVar(&all, "all", false, "a line for each VIF")
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
