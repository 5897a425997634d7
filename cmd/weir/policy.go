package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/export"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Say what VMs may send to whom, see what that changes, and put it in force",
		Long: `A policy is a YAML file with rules in levels: of all VIFs, of a pool, of a network, of a VM, of a VIF. The first rule that matches a packet
decides.

What is applied is kept by a running instance, which these commands talk to over a socket in its data directory, as its user or root, or over
its API (--server). It is in force at hosts with mode enforce (weir hosts mode), and nowhere else. weir bypass switches it off at once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newPolicyDraft(), newPolicyEdit(), newPolicyRule(), newPolicySet(), newPolicyUnset(), newPolicySettings(), newPolicyImport(), newPolicyExport(), newPolicyValidate(), newPolicyDiff(), newPolicyPlan(), newPolicyApply(),
		newPolicyConfirm(), newPolicyRollback(), newPolicyHistory(), newPolicyRestore(), newPolicyStatus(), newPolicyEffective(), newPolicyHits(),
		newPolicyQuarantine(), newPolicyRelease(), newPolicyQuarantined(),
	)
	return cmd
}

// maxPolicyFile bounds a policy that is read, bytes.
const maxPolicyFile = 64 << 20

// readPolicy reads a policy from a file, or, by the name -, from standard input.
func readPolicy(cmd *cobra.Command, name string) (string, error) {
	from := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("read policy: %w", err)
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxPolicyFile+1))
	if err != nil {
		return "", fmt.Errorf("read policy: %w", err)
	}
	if len(text) > maxPolicyFile {
		return "", fmt.Errorf("read policy %q: it is longer than %s", name, cli.Bytes(maxPolicyFile))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		// A command that failed before a pipe, or a full disk, gives one: it would take all rules out of force.
		return "", fmt.Errorf("read policy %q: it is empty; a policy without rules is written as: default: allow", name)
	}
	return string(text), nil
}

func newPolicyValidate() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Say everything that is wrong with a policy",
		Long: `Checks a policy by itself and against the estate that the running instance knows: every problem is named with its place. Nothing is
changed. FILE - is standard input.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var found policyd.PolicyCheck
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/check", map[string]string{"policy": text}, &found); err != nil {
				return withPlaces(err, args[0])
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, found)
			}
			fmt.Fprintf(out.W, "right: %s in force\n", cli.Counted(found.Rules, "rule"))
			return tellWarnings(out.W, found.Warnings)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func tellWarnings(w io.Writer, list []string) error {
	for _, text := range list {
		if _, err := fmt.Fprintf(w, "warning: %s\n", cli.Clean(text)); err != nil {
			return err
		}
	}
	return nil
}

func onlyFlag(cmd *cobra.Command, only *[]string) {
	cmd.Flags().StringSliceVar(only, "only", nil, "host:NAME: put it in force at this host only, the others keep what they have")
}

// onlyHosts returns the names of hosts that --only says.
func onlyHosts(only []string) ([]string, error) {
	var list []string
	for _, word := range only {
		name, ok := strings.CutPrefix(word, "host:")
		if !ok || name == "" {
			return nil, usagef("--only %q: expected host:NAME", word)
		}
		list = append(list, name)
	}
	return list, nil
}

// nameSome lists the first of names.
func nameSome(names []string) string {
	const some = 8
	if len(names) == 0 {
		return ""
	}
	text := ": " + cli.Clean(strings.Join(names[:min(some, len(names))], ", "))
	if more := len(names) - some; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// writeHostPlans shows what would change at hosts.
func writeHostPlans(out *cli.Output, hosts []policyd.HostPlan) error {
	if len(hosts) == 0 {
		_, err := fmt.Fprintln(out.W, "\nno host has mode enforce: nothing is touched (weir hosts mode HOST enforce)")
		return err
	}
	t := &cli.Table{Columns: []cli.Column{
		{Name: "HOST"}, {Name: "BRIDGE"}, {Name: "FLOWS +", Right: true}, {Name: "FLOWS -", Right: true}, {Name: "TOTAL", Right: true}, {Name: "NOTE"},
	}}
	for i := range hosts {
		h := &hosts[i]
		note := ""
		if h.Offline != "" {
			note = "offline, it gets it later: " + h.Offline
		}
		for _, b := range h.Bridges {
			style := cli.Plain
			text := note
			if b.Error != "" {
				text, style = b.Error, cli.Bad
			}
			t.Add(cell(h.Host), cell(b.Bridge), cell(b.Added), cell(b.Removed), cell(b.Total), cli.Cell{Text: text, Style: style})
		}
		if len(h.Bridges) == 0 {
			t.Add(cell(h.Host), cell("-"), cell("-"), cell("-"), cell("-"), cell(firstOf(note, "it has no bridges")))
		}
	}
	fmt.Fprintln(out.W)
	if err := t.Write(out); err != nil {
		return err
	}
	for i := range hosts {
		writeFailModes(out, hosts[i].Host, hosts[i].Bridges)
		for _, b := range hosts[i].Bridges {
			writeRates(out, hosts[i].Host+", "+b.Bridge+": ", b.Rates)
			for _, x := range []struct {
				lead string
				list []string
			}{{"copies of traffic begin", b.CopiesStart}, {"copies of traffic end", b.CopiesStop}} {
				if len(x.list) > 0 {
					fmt.Fprintf(out.W, "\n%s at host %s, bridge %s:\n  %s\n", x.lead, cli.Clean(hosts[i].Host), cli.Clean(b.Bridge), cli.Clean(strings.Join(x.list, "\n  ")))
				}
			}
		}
	}
	for i := range hosts {
		if err := writeAttach(out, hosts[i].Host, hosts[i].Attach); err != nil {
			return err
		}
	}
	return nil
}

// writeFailModes shows what becomes of what bridges do while Weir is away.
func writeFailModes(out *cli.Output, host string, bridges []policyd.BridgePlan) {
	for _, b := range bridges {
		if b.FailMode != "" {
			fmt.Fprintf(out.W, "\nBridge %s of %s: %s.\n", b.Bridge, host, b.FailMode)
		}
	}
}

// writeAttach shows what attaching would change in a host's database.
func writeAttach(out *cli.Output, host string, plan *export.Plan) error {
	if plan == nil || len(plan.Changes) == 0 {
		return nil
	}
	fmt.Fprintf(out.W, "\nIn the database of %s:\n\n", host)
	return writeChanges(out, plan)
}

// appliedJSON is what weir policy apply prints as JSON.
type appliedJSON struct {
	policyd.Applied
	Hosts []policyd.HostPolicy `json:"hosts"`
}

// progressOf returns where progress is shown: nowhere with --json.
func progressOf(cmd *cobra.Command, asJSON bool) io.Writer {
	if asJSON {
		return io.Discard
	}
	return cmd.ErrOrStderr()
}

// patience is after how long of waiting something is said.
const patience = 2 * time.Second

// inForce waits until hosts that are reached, and of which concerned says yes, have what they are to have. It returns how these stand, and
// the names of those that do not have it in time.
func inForce(ctx context.Context, c *client.API, wait time.Duration, progress io.Writer, concerned func(*policyd.HostPolicy) bool) (hosts []policyd.HostPolicy, behind []string, err error) {
	begin := time.Now()
	next := begin.Add(patience)
	for {
		var s policyd.PolicyStatus
		if err := c.Get(ctx, "/api/v1/policy/status", &s); err != nil {
			return nil, nil, err
		}
		hosts, behind = nil, nil
		asked := 0
		for i := range s.Hosts {
			h := &s.Hosts[i]
			if !concerned(h) || h.State == policyd.HostObserving {
				continue
			}
			hosts = append(hosts, *h)
			switch h.State {
			case policyd.HostBehind, policyd.HostAttaching, policyd.HostLeaving, policyd.HostFailed:
				behind = append(behind, h.Host)
				asked++
			case policyd.HostEnforced:
				asked++
			case policyd.HostObserving, policyd.HostNoPolicy, policyd.HostOffline:
			}
		}
		now := time.Now()
		if len(behind) == 0 || now.Sub(begin) >= wait {
			return hosts, behind, nil
		}
		if now.After(next) {
			fmt.Fprintf(progress, "%d of %d hosts have it after %s, waiting for %s\n", asked-len(behind), asked, now.Sub(begin).Round(time.Second), strings.Join(behind[:min(4, len(behind))], ", "))
			next = now.Add(patience)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// tellApplied says what was put in force, and where it is.
func tellApplied(out *cli.Output, done *policyd.Applied, hosts []policyd.HostPolicy, now time.Time) error {
	if done.Same {
		fmt.Fprintf(out.W, "revision %d is that policy already: nothing was changed\n", done.Revision.Revision)
	} else {
		fmt.Fprintf(out.W, "applied as revision %d: %s\n", done.Revision.Revision, cli.Counted(done.Rules, "rule"))
	}
	if r := &done.Revision; !done.Same && !r.ConfirmBy.IsZero() {
		tellPending(out, &policyd.Pending{Revision: r.Revision, ConfirmBy: r.ConfirmBy}, now)
	}
	if err := tellHosts(out, hosts); err != nil {
		return err
	}
	if len(done.Waited) > 0 {
		fmt.Fprintf(out.W, "warning: collectors that did not know the new rules in time: %s\n", strings.Join(done.Waited, ", "))
	}
	return tellWarnings(out.W, done.Warnings)
}

// tellHosts says at which hosts what is to be in force is.
func tellHosts(out *cli.Output, hosts []policyd.HostPolicy) error {
	by := map[policyd.HostState][]string{}
	for i := range hosts {
		by[hosts[i].State] = append(by[hosts[i].State], hosts[i].Host)
	}
	for _, s := range []struct {
		state policyd.HostState
		text  string
	}{
		{policyd.HostEnforced, "in force and verified at"},
		{policyd.HostBehind, "on its way to"},
		{policyd.HostAttaching, "waits to be attached:"},
		{policyd.HostFailed, "not possible at"},
		{policyd.HostOffline, "offline, it comes when they are back:"},
	} {
		if list := by[s.state]; len(list) > 0 {
			fmt.Fprintf(out.W, "%s %s\n", s.text, strings.Join(list, ", "))
		}
	}
	for i := range hosts {
		if hosts[i].Error != "" {
			fmt.Fprintf(out.W, "%s: %s\n", hosts[i].Host, cli.Clean(hosts[i].Error))
		}
	}
	if len(hosts) > 0 {
		return nil
	}
	_, err := fmt.Fprintln(out.W, "no host has mode enforce: it is in force nowhere yet (weir hosts mode HOST enforce)")
	return err
}

func newPolicyStatus() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which policy is in force where, and where it is switched off",
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
				return cli.WriteJSON(out, s)
			}
			return writePolicyStatus(out, &s, time.Now())
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// hostStateStyles are how states of hosts stand out.
var hostStateStyles = map[policyd.HostState]cli.Style{
	policyd.HostEnforced: cli.Good, policyd.HostBehind: cli.Warn, policyd.HostAttaching: cli.Warn, policyd.HostLeaving: cli.Warn,
	policyd.HostOffline: cli.Warn, policyd.HostFailed: cli.Bad, policyd.HostObserving: cli.Dim, policyd.HostNoPolicy: cli.Dim,
}

func writePolicyStatus(out *cli.Output, s *policyd.PolicyStatus, now time.Time) error {
	for _, b := range s.Bypasses {
		fmt.Fprintf(out.W, "%s\n", out.Paint(cli.Clean(fmt.Sprintf("BYPASS: policy is off for %s since %s, by %s%s", b.Target, b.Since.Local().Format(time.DateTime), b.By, after(": ", b.Reason))), cli.Bad))
	}
	for _, q := range s.Quarantined {
		fmt.Fprintf(out.W, "%s\n", out.Paint(cli.Clean(fmt.Sprintf("QUARANTINED: %s sends and receives nothing since %s, by %s%s", q.VIF, q.Since.Local().Format(time.DateTime), q.By, after(": ", q.Reason))), cli.Bad))
	}
	switch r := &s.Revision; r.Revision {
	case 0:
		fmt.Fprintln(out.W, "no policy was applied yet: weir policy apply FILE")
	default:
		fmt.Fprintf(out.W, "revision %d, applied %s ago by %s%s: %s\n", r.Revision, cli.Span(now.Sub(r.AppliedAt)), r.AppliedBy, cli.Clean(after(", ", r.Reason)), cli.Counted(s.Rules, "rule"))
	}
	for _, h := range s.Only {
		fmt.Fprintf(out.W, "host %s has revision %d, applied %s ago by %s%s\n", h.Host, h.Revision.Revision, cli.Span(now.Sub(h.AppliedAt)), h.AppliedBy, cli.Clean(after(", ", h.Reason)))
	}
	if len(s.Hosts) > 0 {
		fmt.Fprintln(out.W)
		if err := hostPolicyTable(s.Hosts, now).Write(out); err != nil {
			return err
		}
	}
	if len(s.Summary.Problems) == 0 {
		return nil
	}
	fmt.Fprintln(out.W)
	return tellWarnings(out.W, s.Summary.Problems)
}

func after(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}

func hostPolicyTable(list []policyd.HostPolicy, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{
		{Name: "HOST"},
		{Name: "POOL"},
		{Name: "MODE"},
		{Name: "STATE"},
		{Name: "REVISION", Right: true},
		{Name: "BRIDGE"},
		{Name: "FLOWS", Right: true},
		{Name: "CHECKED", Right: true},
		{Name: "DRIFT", Right: true},
		{Name: "NOTE"},
	}}
	for i := range list {
		h := &list[i]
		note := cli.Cell{Text: firstOf(append([]string{h.Error}, h.Warnings...)...), Style: cli.Warn}
		if h.Bypassed != "" {
			note = cli.Cell{Text: "BYPASSED: " + h.Bypassed, Style: cli.Bad}
		}
		first := []cli.Cell{cell(h.Host), cell(h.Pool), cell(string(h.Mode)), {Text: string(h.State), Style: hostStateStyles[h.State]}, cell(revisionText(h))}
		if len(h.Bridges) == 0 {
			t.Add(append(first, cell(""), cell(""), cell(""), cell(""), note)...)
		}
		for j := range h.Bridges {
			b := &h.Bridges[j]
			checked := ""
			if !b.VerifiedAt.IsZero() {
				checked = cli.Span(now.Sub(b.VerifiedAt))
			}
			if j > 0 {
				first = []cli.Cell{cell(""), cell(""), cell(""), cell(""), cell("")}
				note = cli.Cell{}
			}
			if b.Error != "" {
				note = cli.Cell{Text: b.Error, Style: cli.Bad}
			}
			t.Add(append(slices.Clone(first), cell(b.Bridge), cell(b.Installed), cell(checked), cell(b.Drift), note)...)
		}
	}
	return t
}

// revisionText says which revision a host has, and which it is to have.
func revisionText(h *policyd.HostPolicy) string {
	switch {
	case h.Revision == 0:
		return ""
	case h.Verified == h.Revision:
		return strconv.FormatUint(h.Revision, 10)
	case h.Verified == 0:
		return "- → " + strconv.FormatUint(h.Revision, 10)
	default:
		return fmt.Sprintf("%d → %d", h.Verified, h.Revision)
	}
}

// writeRates lists ports whose rates would be limited otherwise, the first ones of many.
func writeRates(out *cli.Output, where string, list []string) {
	const most = 20
	for i, r := range list {
		if i == most {
			fmt.Fprintf(out.W, "%sand %d ports more (--json)\n", cli.Clean(where), len(list)-i)
			return
		}
		fmt.Fprintf(out.W, "%srate of port %s\n", cli.Clean(where), cli.Clean(r))
	}
}
