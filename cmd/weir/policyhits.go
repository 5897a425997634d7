package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/query"
)

// askHits asks how often rules were met.
func askHits(ctx context.Context, c *client.API, r query.HitsRequest) ([]cli.RuleHits, error) {
	v := url.Values{"from": {r.From.UTC().Format(time.RFC3339Nano)}, "to": {r.To.UTC().Format(time.RFC3339Nano)}}
	if r.Rule != "" {
		v.Set("rule", r.Rule)
	}
	if r.Limit != 0 {
		v.Set("limit", strconv.Itoa(r.Limit))
	}
	for name, is := range map[string]bool{"unused": r.Unused, "system": r.System} {
		if is {
			v.Set(name, "true")
		}
	}
	var answer struct {
		Rules []cli.RuleHits `json:"rules"`
	}
	_, err := c.Send(ctx, client.Request{Path: "/api/v1/policy/hits?" + v.Encode(), Into: &answer, Timeout: questionTimeout})
	return answer.Rules, err
}

func newPolicyHits() *cobra.Command {
	var data, last, from, to string
	var r query.HitsRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "hits [RULE]",
		Short: "Show how often rules were met, and which were not",
		Long: `Shows how many packets met each rule in force: as a rule of their source (egress), as one of their destination (ingress), or as packets of
connections that it let in (reply); and former versions of rules, as far as they were met. Switches count all packets, whatever is
sampled; they are asked every minute, and table rule_hits_1m keeps it by minute. A shadow rule's are packets that it would have denied.`,
		Example: `  weir policy hits --last 24h
  weir policy hits --unused --last 30d
  weir policy hits no-ssh`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("limit") && r.Limit == 0 { // in a request it is the usual number
				return usagef("limit: found 0: expected 1 to 10000")
			}
			now := time.Now()
			if last == "" && from == "" && to == "" {
				last = "1h"
			}
			span, err := cli.ParseRange(last, from, to, now)
			if err != nil {
				return usageError{err}
			}
			if r.From, r.To, err = span.At(now); err != nil {
				return usageError{err}
			}
			if len(args) > 0 {
				r.Rule = args[0]
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			list, err := askHits(cmd.Context(), c, r)
			if err != nil {
				return mistake(err)
			}
			out := outputOf(cmd, asJSON)
			switch {
			case asJSON:
				return cli.WriteJSON(out, list)
			case len(list) > 0:
				return cli.HitsTable(list, now).Write(out)
			case r.Unused:
				_, err = fmt.Fprintln(out.W, "no rule in force was left unmet; weir policy hits shows how often each was met")
			default:
				_, err = fmt.Fprintln(out.W, "no rule is in force, and none was met; weir policy apply puts rules in force")
			}
			return err
		},
	}
	f := cmd.Flags()
	apiFlags(cmd, &data)
	f.StringVar(&last, "last", "", "the last span of time, as 15m, 2h or 7d (default 1h)")
	f.StringVar(&from, "from", "", "start, as 2026-11-24 10:00 or now-2h")
	f.StringVar(&to, "to", "", "end, in the same forms (default now)")
	f.BoolVar(&r.Unused, "unused", false, "only rules in force that were not met")
	f.BoolVar(&r.System, "system", false, "built-in rules, too: what the host itself sends, what is invalid or of no known port")
	f.IntVar(&r.Limit, "limit", 0, "versions of rules (default 1000)")
	jsonFlag(cmd, &asJSON)
	return cmd
}
