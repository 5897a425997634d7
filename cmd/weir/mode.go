package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/state"
)

// hostModes are what weir hosts mode takes.
const hostModes = "observe, enforce or inherit"

func validMode(word string) error {
	switch word {
	case string(state.ModeObserve), string(state.ModeEnforce), "inherit":
		return nil
	}
	return usagef("mode %q: expected %s", word, hostModes)
}

func newHostsMode() *cobra.Command {
	var data string
	var yes, asJSON bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "mode HOST MODE",
		Short: "Have policy be in force at a host, or not",
		Long: `Says what Weir may do at a host:

  observe   the host is read and made to export flows; no traffic is touched
  enforce   the policy that was applied is in force, too
  inherit   as the pool of the host says (weir pool mode), else observe

Shows what that changes at the host, in its database and of its flows, and asks, unless --yes. Then it waits until it was verified; the exit
code is 6 if that takes longer than --wait, or the host is offline: then it goes on. Going back to observe takes all flows of Weir's off the host.`,
		Example: `  weir hosts mode xcp1 enforce
  weir hosts mode xcp1 observe --yes`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, mode := args[0], args[1]
			if err := validMode(mode); err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			path := "/api/v1/hosts/" + url.PathEscape(host) + "/mode"
			var plan policyd.ModePlan
			if err := c.Get(cmd.Context(), path+"?mode="+mode, &plan); err != nil {
				return err
			}
			if len(plan.Refused) > 0 {
				return fmt.Errorf("mode of host %q: %s", host, strings.Join(plan.Refused, "; "))
			}
			out := outputOf(cmd, asJSON)
			if !yes {
				to := *out
				to.W = cmd.ErrOrStderr()
				if err := writeModePlan(&to, &plan); err != nil {
					return err
				}
				sure, err := confirmed(cmd, fmt.Sprintf("Set mode of %s to %s?", host, mode))
				if err != nil {
					return err
				}
				if !sure {
					return errors.New("mode: not changed")
				}
			}
			if err := c.Change(cmd.Context(), http.MethodPut, path, map[string]string{"mode": mode}, nil); err != nil {
				return err
			}
			hosts, behind, err := settled(cmd.Context(), c, wait, progressOf(cmd, asJSON), plan.Host)
			if err != nil {
				return err
			}
			if asJSON {
				err = cli.WriteJSON(out, hosts)
			} else {
				err = tellMode(out, hosts)
			}
			if err == nil && wait > 0 && !behind && hosts.State == policyd.HostOffline {
				err = partialf("mode of host %q: it is offline, and gets it when it is back", host)
			}
			if err == nil && behind {
				err = partialf("mode of host %q: it is not done after %s, and goes on: weir policy status tells", host, wait)
			}
			return err
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "do not ask")
	waitFlag(cmd, &wait, 30*time.Second, "longest wait; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// settled waits until a host is as it is to be, and returns how it is, and whether it is not in time.
func settled(ctx context.Context, c *client.API, wait time.Duration, progress interface{ Write([]byte) (int, error) }, host string) (policyd.HostPolicy, bool, error) {
	found, behind, err := inForce(ctx, c, wait, progress, func(h *policyd.HostPolicy) bool { return h.Host == host })
	if err != nil {
		return policyd.HostPolicy{}, false, err
	}
	if len(found) > 0 {
		return found[0], len(behind) > 0, nil
	}
	var s policyd.PolicyStatus
	if err := c.Get(ctx, "/api/v1/policy/status", &s); err != nil {
		return policyd.HostPolicy{}, false, err
	}
	for i := range s.Hosts {
		if s.Hosts[i].Host == host {
			return s.Hosts[i], len(behind) > 0, nil
		}
	}
	return policyd.HostPolicy{}, false, notFoundf("host %q is gone", host)
}

func writeModePlan(out *cli.Output, p *policyd.ModePlan) error {
	writeFailModes(out, p.Host, p.Bridges)
	if err := writeAttach(out, p.Host, p.Changes); err != nil {
		return err
	}
	for _, b := range p.Bridges {
		fmt.Fprintf(out.W, "\nbridge %s: %d flows are added, %d removed, %d are there then\n", cli.Clean(b.Bridge), b.Added, b.Removed, b.Total)
		writeRates(out, "", b.Rates)
	}
	fmt.Fprintln(out.W)
	return tellWarnings(out.W, p.Warnings)
}

func tellMode(out *cli.Output, h policyd.HostPolicy) error {
	line := fmt.Sprintf("%s: mode %s, %s", h.Host, h.Mode, h.State)
	switch h.State {
	case policyd.HostEnforced:
		line += fmt.Sprintf(": revision %d is in force and verified at %s", h.Verified, cli.Counted(len(h.Bridges), "bridge"))
	case policyd.HostNoPolicy:
		line += ": weir policy apply FILE puts one in force"
	case policyd.HostOffline:
		line += ": it is done when it is back"
	case policyd.HostObserving, policyd.HostLeaving, policyd.HostAttaching, policyd.HostBehind, policyd.HostFailed:
	}
	if h.Error != "" {
		line += ": " + h.Error
	}
	if _, err := fmt.Fprintln(out.W, cli.Clean(line)); err != nil {
		return err
	}
	return tellWarnings(out.W, h.Warnings)
}

func newPool() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Say what is so at the hosts of a pool that say nothing else themselves",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPoolMode(), newPoolSampling())
	return cmd
}

func newPoolMode() *cobra.Command {
	var data string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "mode POOL MODE",
		Short: "Have policy be in force at the hosts of a pool, or not",
		Long: `Says which mode hosts of a pool have that have none of their own, those that are added later, too: observe or enforce. Of each such host it is
shown what that changes, and you are asked, unless --yes. A host whose Open vSwitch would lose flows of others when Weir is attached is not
attached by its pool's mode: weir hosts mode shows what would be lost and does it.`,
		Example: `  weir pool mode berlin enforce`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			pool, mode := args[0], args[1]
			if err := validMode(mode); err != nil || mode == "inherit" {
				return usagef("mode %q: expected observe or enforce", mode)
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			if !yes {
				sure, err := showPoolMode(cmd, c, pool, mode)
				if err != nil {
					return err
				}
				if !sure {
					return errors.New("mode: not changed")
				}
			}
			r := policyd.PoolRequest{Mode: new(mode)}
			if err := c.Change(cmd.Context(), http.MethodPut, "/api/v1/pools/"+url.PathEscape(pool)+"/policy", r, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, r)
			}
			return tellPool(cmd.Context(), c, out, pool, "mode "+mode, "weir policy status")
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// tellPool says what was set of a pool, and whom it concerns. Hosts may be added to a pool that has none yet; who mistyped its name sees it.
func tellPool(ctx context.Context, c *client.API, out *cli.Output, pool, what, see string) error {
	var list api.Hosts
	if err := c.Get(ctx, "/api/v1/hosts", &list); err != nil {
		return err
	}
	n := 0
	var others []string
	for i := range list.Hosts {
		switch p := list.Hosts[i].Pool; {
		case p == pool:
			n++
		case p != "":
			others = append(others, p)
		}
	}
	more := "no host is in it yet"
	switch near := nearest.Word(pool, others); {
	case n > 0:
		more = fmt.Sprintf("of %s: see %s", cli.Counted(n, "host"), see)
	case near != "":
		more = fmt.Sprintf("no host is in it; did you mean %s?", near)
	}
	_, err := fmt.Fprintf(out.W, "pool %s: %s, %s\n", cli.Clean(pool), what, cli.Clean(more))
	return err
}

// showPoolMode shows what another mode would change at the hosts of a pool that have none of their own, and asks.
func showPoolMode(cmd *cobra.Command, c *client.API, pool, mode string) (bool, error) {
	var list api.Hosts
	if err := c.Get(cmd.Context(), "/api/v1/hosts", &list); err != nil {
		return false, err
	}
	out := outputOf(cmd, false)
	out.W = cmd.ErrOrStderr()
	n := 0
	for i := range list.Hosts {
		h := &list.Hosts[i]
		if h.Pool != pool || h.OwnMode {
			continue
		}
		n++
		var plan policyd.ModePlan
		if err := c.Get(cmd.Context(), "/api/v1/hosts/"+url.PathEscape(h.UUID)+"/mode?mode="+mode, &plan); err != nil {
			return false, err
		}
		fmt.Fprintf(out.W, "%s:\n", h.Name)
		if err := writeModePlan(out, &plan); err != nil {
			return false, err
		}
		for _, text := range plan.Refused {
			fmt.Fprintf(out.W, "not possible: %s\n", cli.Clean(text))
		}
	}
	return confirmed(cmd, fmt.Sprintf("Set mode of %s in pool %s to %s?", cli.Counted(n, "host"), pool, mode))
}

func newPoolSampling() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sampling POOL SAMPLING",
		Short: "Say which packets the hosts of a pool tell of, with the rule that decided",
		Long: `Says of which packets enforced hosts of a pool tell the collector, with the rule that decided:

  full      all packets; the samples are what totals are made of
  new       the first packets of connections, and what is dropped; totals are those of the other export
  off       none: only the switch counts what rules matched
  auto      full with the userspace datapath, else new
  inherit   as policy.sampling is configured`,
		Example: `  weir pool sampling berlin new`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s policyd.Sampling
			if args[1] != "inherit" {
				if err := s.UnmarshalText([]byte(args[1])); err != nil {
					return usageError{fmt.Errorf("sampling: %w or inherit", err)}
				}
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			r := policyd.PoolRequest{Sampling: new(string(s))}
			if err := c.Change(cmd.Context(), http.MethodPut, "/api/v1/pools/"+url.PathEscape(args[0])+"/policy", r, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, r)
			}
			return tellPool(cmd.Context(), c, out, args[0], "sampling "+args[1], "weir hosts show")
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newBypass() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bypass",
		Short: "Switch policy off at once: for a VIF, a host, a pool or all",
		Long: `Switches policy off where it does harm, and on again. Everything is allowed there then, as if no rule were; flows say so. It is done within
a second at hosts that are reached, stays over restarts, is told as an event, and is shown by weir status, weir policy status and weir doctor
until it ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBypassOn(), newBypassOff(), newBypassList())
	return cmd
}

// bypassTargets are what weir bypass takes.
const bypassTargets = `TARGET is estate, pool:NAME, host:NAME or vif:VM/DEVICE.`

// bypassJSON is what --json says of a bypass that begins or ends.
type bypassJSON struct {
	policyd.BypassChange
	late
}

func newBypassOn() *cobra.Command {
	var data, reason string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "on TARGET",
		Short: "Switch policy off: everything is allowed there",
		Long: `Switches policy off, and waits until the hosts that are concerned and reached were found to let everything pass.
` + bypassTargets + `

` + concernedByVIF,
		Example: `  weir bypass on estate --reason "shop is down"
  weir bypass on vif:web-01/0 --reason "looking for the cause"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var b policyd.BypassChange
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/bypass", policyd.BypassRequest{Target: args[0], Reason: reason}, &b); err != nil {
				return err
			}
			return finish(cmd, c, wait, asJSON, &outcome{What: "bypass", Text: "policy is off for " + b.Target, Concerned: b.Concerned, JSON: func(l late) any {
				return bypassJSON{b, l}
			}})
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "why; it is shown as long as policy is off")
	waitFlag(cmd, &wait, 10*time.Second, "longest wait; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newBypassOff() *cobra.Command {
	var data string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "off TARGET",
		Short: "Switch policy on again where it was switched off",
		Long: `Ends a bypass, and waits until the hosts that are concerned and reached have policy in force again.
` + bypassTargets + `

` + concernedByVIF,
		Example: `  weir bypass off estate`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			b := policyd.BypassChange{BypassStatus: policyd.BypassStatus{Target: args[0]}} // what servers that say nothing leave
			if err := c.Change(cmd.Context(), http.MethodDelete, "/api/v1/policy/bypass?target="+url.QueryEscape(args[0]), nil, &b); err != nil {
				return err
			}
			return finish(cmd, c, wait, asJSON, &outcome{What: "bypass", Text: "policy is on again for " + b.Target, Concerned: b.Concerned, JSON: func(l late) any {
				return bypassJSON{b, l}
			}})
		},
	}
	apiFlags(cmd, &data)
	waitFlag(cmd, &wait, 10*time.Second, "longest wait; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newBypassList() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List where policy is switched off, since when, by whom and why",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var s policyd.PolicyStatus
			if err := c.Get(cmd.Context(), "/api/v1/policy/status", &s); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, s.Bypasses)
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "TARGET"}, {Name: "SINCE"}, {Name: "BY"}, {Name: "REASON"}}}
			for _, b := range s.Bypasses {
				t.Add(cli.Cell{Text: b.Target, Style: cli.Bad}, cell(b.Since.Local().Format(time.DateTime)), cell(b.By), cell(b.Reason))
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}
