package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/explain"
)

// candidate is a policy that is to be planned or applied: a draft, or a text.
type candidate struct {
	policyText
	draft string // its name; "": it is a text
	base  uint64 // newest revision that the draft takes into account
}

// wantedPolicy returns what the arguments of a command and --draft name: a file, a draft, or, without any, the only draft of the user.
func wantedPolicy(cmd *cobra.Command, c *client.API, args []string, draft string) (w candidate, err error) {
	switch {
	case len(args) > 0 && draft != "":
		return w, usagef("found the file %q and --draft %s: expected one of them", args[0], draft)
	case len(args) > 0:
		text, err := readPolicy(cmd, args[0])
		if err != nil {
			return w, err
		}
		w.Name, w.Text = args[0], text
		return w, nil // it is parsed by who knows the estate, too, so that all that is wrong is named
	}
	if w.draft, err = onlyDraft(cmd.Context(), c, draft); err != nil {
		return w, err
	}
	d, err := getDraft(cmd.Context(), c, "", w.draft)
	if err != nil {
		return w, err
	}
	w.base = d.Base
	w.policyText, err = parsedPolicy("draft "+d.Name, d.Policy)
	return w, err
}

// patiently does what may take long, and says so every two seconds.
func patiently(cmd *cobra.Command, asJSON bool, what string, do func() error) error {
	progress := progressOf(cmd, asJSON)
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- do() }()
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			fmt.Fprintf(progress, "%s, for %s so far\n", what, time.Since(begin).Round(time.Second))
		}
	}
}

// planned is a plan with what differs, explained.
type planned struct {
	policyd.PolicyPlan
	Explained explain.Explanation `json:"explained"`
}

// planPolicy asks what applying a policy would change.
func planPolicy(cmd *cobra.Command, c *client.API, asJSON bool, w *candidate, only []string) (planned, explained, error) {
	var p planned
	var e explained
	err := patiently(cmd, asJSON, "compiling for all hosts that are concerned", func() error {
		if w.draft != "" {
			return c.Change(cmd.Context(), http.MethodPost, draftPath(w.draft)+"/plan", map[string]any{"only": append([]string{}, only...)}, &p.PolicyPlan)
		}
		return c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/plan", policyd.PlanRequest{Policy: w.Text, Only: only}, &p.PolicyPlan)
	})
	if err != nil {
		return p, e, withPlaces(err, w.Name)
	}
	base, err := revisionPolicy(cmd.Context(), c, p.Base)
	if err != nil {
		return p, e, err
	}
	to, err := parsedPolicy(w.Name, w.Text)
	if err != nil {
		return p, e, err
	}
	e = explainPolicies(base, to, time.Now())
	p.Explained = e.Explained
	return p, e, nil
}

func newPolicyPlan() *cobra.Command {
	var data, draft string
	var only []string
	var raw, all, asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Show what applying a policy would change, and change nothing",
		Long: `Says in sentences how a policy differs from what is in force, compiles it for every host with mode enforce and shows what would change there: VIFs
whose rules or settings would be others, flows of each bridge, and, of hosts that are not attached yet, what attaching would change in their databases. The
figures are those that applying it now would have. The exit code is 1 if the policy would be refused.

The policy is that of FILE (- is standard input), of --draft, or of your draft if you have one only.`,
		Example: `  weir policy plan
  weir policy plan policy.yaml --only host:xcp1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := onlyHosts(only)
			if err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			w, err := wantedPolicy(cmd, c, args, draft)
			if err != nil {
				return err
			}
			p, e, err := planPolicy(cmd, c, asJSON, &w, hosts)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			switch {
			case asJSON:
				err = cli.WriteJSON(out, p)
			case raw:
				text, rawErr := e.raw()
				if err = rawErr; err == nil {
					err = writeRaw(out, text)
				}
			default:
				most := maxPlanned
				if all {
					most = 0
				}
				err = writePlan(out, &p, w.Name, most)
			}
			if err == nil && len(p.Refused) > 0 {
				err = errors.New("plan: the policy would be refused")
			}
			return err
		},
	}
	apiFlags(cmd, &data)
	onlyFlag(cmd, &only)
	draftFlag(cmd, &data, &draft)
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, fmt.Sprintf("every difference, also if there are more than %d, and every change of settings", maxPlanned))
	f.BoolVar(&raw, "raw", false, "a unified diff of the documents, and nothing of hosts")
	jsonFlag(cmd, &asJSON)
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	return cmd
}

// maxPlanned is how many differences a plan says unless asked for all.
const maxPlanned = 40

func draftFlag(cmd *cobra.Command, data, draft *string) {
	draftFlagOf(cmd, data, draft, "name of a draft of yours, instead of a file")
}

func writePlan(out *cli.Output, p *planned, name string, most int) error {
	base := fmt.Sprintf("revision %d", p.Base)
	if p.Base == 0 {
		base = "no policy"
	}
	fmt.Fprintf(out.W, "%s compared with %s:\n", cli.Clean(name), base)
	if err := writeDifferences(out, &p.Explained, most); err != nil {
		return err
	}
	fmt.Fprintf(out.W, "\n%s other rules%s\n", vifsGet(len(p.VIFs)), nameSome(p.VIFs))
	fmt.Fprintf(out.W, "%s other settings\n", vifsGet(p.SettingVIFs))
	writeSettingChanges(out, p.Settings, most)
	if p.Instances+p.Ends > 0 {
		fmt.Fprintf(out.W, "%s given, %s whose connections are decided anew\n", cli.Counted(p.Instances, "number"), cli.Counted(p.Ends, "former allow rule"))
	}
	if err := writeHostPlans(out, p.Hosts); err != nil {
		return err
	}
	if err := tellWarnings(out.W, p.Warnings); err != nil {
		return err
	}
	for _, text := range p.Refused {
		fmt.Fprintf(out.W, "refused: %s\n", cli.Clean(text))
	}
	return nil
}

func vifsGet(n int) string {
	if n == 1 {
		return "1 VIF gets"
	}
	return fmt.Sprintf("%d VIFs get", n)
}

// maxSettingChanges is how many changes of settings a plan says unless asked for all.
const maxSettingChanges = 12

// writeSettingChanges says which VIFs get which settings; the first ones only unless most is 0.
func writeSettingChanges(out *cli.Output, list []policy.SettingChange, most int) {
	for i := range list {
		if most > 0 && i == maxSettingChanges {
			fmt.Fprintf(out.W, "  … and %s of settings: --json has all\n", cli.Counted(len(list)-i, "more change"))
			return
		}
		c := &list[i]
		text := fmt.Sprintf("%s: %s (%s) → %s (%s) for %s%s", c.Key, c.Before, c.BeforeLevel, c.After, c.AfterLevel, cli.Counted(len(c.VIFs), "VIF"), nameSome(c.VIFs))
		writeWrapped(out, "  ", "    ", text, cli.Plain)
	}
}

// applyFlags are how a policy is put in force.
type applyFlags struct {
	reason  string
	confirm time.Duration
	wait    time.Duration
	yes     bool
}

func (f *applyFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.reason, "reason", "", "why; kept with the revision")
	s.DurationVar(&f.confirm, "confirm", 0, "undo it unless weir policy confirm says within this time that it stays, as 10m; 10s to 24h")
	waitFlag(cmd, &f.wait, 30*time.Second, "longest wait until the hosts that are reached have it; 0s: none")
}

func (f *applyFlags) options(base *uint64) (policyd.ApplyOptions, error) {
	if f.confirm != 0 && (f.confirm < policyd.MinConfirm || f.confirm > policyd.MaxConfirm) {
		return policyd.ApplyOptions{}, usagef("--confirm %s: expected %s to %s", f.confirm, policyd.MinConfirm, policyd.MaxConfirm)
	}
	return policyd.ApplyOptions{Reason: f.reason, Base: base, ConfirmWithin: policyd.Duration(f.confirm)}, nil
}

func newPolicyApply() *cobra.Command {
	var data, draft string
	var only []string
	var base int64
	var how applyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "apply [FILE]",
		Short: "Put a policy in force",
		Long: `Checks a policy as weir policy plan does, keeps it as a new revision and has all hosts with mode enforce hold it. What cannot be is refused as
a whole: then nothing has changed anywhere. It waits until the hosts that are reached were found to hold it; the exit code is 6 if one is offline
or takes longer, which goes on: hosts that are offline get it when they are back.

The policy is that of FILE (- is standard input), of --draft, or of your draft if you have one only. A draft is not applied over what others
applied since it was begun: who did is told, and what (exit code 4); weir policy draft rebase takes it over. For a file --base does the same: it
is the newest revision that the file takes into account, which weir policy plan and history tell.

With --confirm it is undone unless weir policy confirm says in time that it stays: also if this machine cannot be reached then, or Weir is restarted.

With --only, the revision is tried at some hosts; the others keep theirs. Without, it is put in force at all.`,
		Example: `  weir policy apply --reason "web may ask the resolver" --confirm 10m
  weir policy apply policy.yaml --base 12 --reason "web may ask the resolver"
  weir policy apply policy.yaml --only host:xcp1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hosts, err := onlyHosts(only)
			if err != nil {
				return err
			}
			var known *uint64
			if cmd.Flags().Changed("base") {
				if base < 0 {
					return usagef("--base %d: expected the number of a revision", base)
				}
				n := uint64(base)
				known = &n
			}
			options, err := how.options(known)
			if err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			w, err := wantedPolicy(cmd, c, args, draft)
			if err != nil {
				return err
			}
			return applyWanted(cmd, c, &w, hosts, options, how.wait, asJSON)
		},
	}
	apiFlags(cmd, &data)
	onlyFlag(cmd, &only)
	draftFlag(cmd, &data, &draft)
	how.add(cmd)
	cmd.Flags().Int64Var(&base, "base", 0, "newest revision that the policy takes into account: if there is a newer one, nothing is changed; 0: none was made yet")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// applyWanted puts a policy in force and waits until hosts have it.
func applyWanted(cmd *cobra.Command, c *client.API, w *candidate, only []string, options policyd.ApplyOptions, wait time.Duration, asJSON bool) error {
	var done policyd.Applied
	err := patiently(cmd, asJSON, "compiling for all hosts that are concerned", func() error {
		if w.draft != "" {
			return c.Change(cmd.Context(), http.MethodPost, draftPath(w.draft)+"/apply", struct {
				Only []string `json:"only,omitempty"`
				policyd.ApplyOptions
			}{only, options}, &done)
		}
		return c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/apply", policyd.ApplyRequest{PlanRequest: policyd.PlanRequest{Policy: w.Text, Only: only}, ApplyOptions: options}, &done)
	})
	if errors.Is(err, client.ErrConflict) {
		base := w.base
		if options.Base != nil {
			base = *options.Base
		}
		return conflict(cmd, c, err, base, w.draft)
	}
	if err != nil {
		return withPlaces(err, w.Name)
	}
	return afterApply(cmd, c, &done, only, wait, asJSON)
}

// afterApply waits until hosts have what was put in force, and tells.
func afterApply(cmd *cobra.Command, c *client.API, done *policyd.Applied, only []string, wait time.Duration, asJSON bool) error {
	status, behind, err := inForce(cmd.Context(), c, wait, progressOf(cmd, asJSON), func(h *policyd.HostPolicy) bool {
		return len(only) == 0 || slices.Contains(only, h.Host) || slices.Contains(only, h.UUID)
	})
	if err != nil {
		return err
	}
	out := outputOf(cmd, asJSON)
	if asJSON {
		err = cli.WriteJSON(out, appliedJSON{*done, status})
	} else {
		err = tellApplied(out, done, status, time.Now())
	}
	var offline []string
	for i := range status {
		if status[i].State == policyd.HostOffline {
			offline = append(offline, status[i].Host)
		}
	}
	switch {
	case err != nil:
		return err
	case len(behind) > 0 && wait > 0: // who does not wait knows
		return partialf("apply: revision %d is kept, and not yet in force at %s: weir policy status tells", done.Revision.Revision, strings.Join(behind, ", "))
	case len(offline) > 0 && !done.Same:
		return partialf("apply: revision %d is kept; offline, so that they get it when they are back: %s", done.Revision.Revision, strings.Join(offline, ", "))
	}
	return nil
}

// conflict explains why a policy was not put in force: who made which revisions since base, and how to go on. The error keeps what was said.
func conflict(cmd *cobra.Command, c *client.API, err error, base uint64, draft string) error {
	var s policyd.PolicyStatus
	if statusErr := c.Get(cmd.Context(), "/api/v1/policy/status", &s); statusErr != nil {
		return err // what it says is enough
	}
	if p := s.Pending; p != nil && s.Head == p.Revision {
		return fmt.Errorf("%w\nweir policy confirm keeps revision %d, weir policy rollback undoes it (%s left)", err, p.Revision, cli.Span(time.Until(p.ConfirmBy)))
	}
	if s.Head == base {
		return err
	}
	out := outputOf(cmd, false)
	to := *out
	to.W = cmd.ErrOrStderr()
	if explainErr := explainMeanwhile(cmd.Context(), &to, c, base); explainErr != nil {
		return err
	}
	if draft != "" {
		return fmt.Errorf("%w\nnothing was changed; to go on: weir policy draft rebase %s, look at weir policy plan, and apply it again", err, draft)
	}
	return fmt.Errorf("%w\nnothing was changed; to go on: take over into the file what you want of that, and apply it with --base %d", err, s.Head)
}

// explainMeanwhile tells which revisions were made since base, and how what is in force differs since.
func explainMeanwhile(ctx context.Context, out *cli.Output, c *client.API, base uint64) error {
	made, err := revisionsSince(ctx, c, base)
	if err != nil {
		return err
	}
	if base == 0 {
		fmt.Fprint(out.W, "meanwhile:\n\n")
	} else {
		fmt.Fprintf(out.W, "since revision %d:\n\n", base)
	}
	if err := historyTable(made, time.Now()).Write(out); err != nil {
		return err
	}
	before, err := forcedAt(ctx, c, base)
	if err != nil {
		return err
	}
	a, err := revisionPolicy(ctx, c, before)
	if err != nil {
		return err
	}
	b, err := currentPolicy(ctx, c)
	if err != nil {
		return err
	}
	e := explainPolicies(a, b, time.Now())
	fmt.Fprintf(out.W, "\n%s compared with %s:\n", cli.Clean(b.Name), cli.Clean(a.Name))
	if err := writeDifferences(out, &e.Explained, maxPlanned); err != nil {
		return err
	}
	fmt.Fprintln(out.W)
	return nil
}

// revisionsSince returns the revisions above base, the newest first.
func revisionsSince(ctx context.Context, c *client.API, base uint64) ([]policyd.Revision, error) {
	var list []policyd.Revision
	err := eachRevision(ctx, c, "", func(r policyd.Revision) bool {
		if r.Revision <= base {
			return false
		}
		list = append(list, r)
		return len(list) < 1000
	})
	return list, err
}

// forcedAt returns the revision that was in force at all hosts when the newest one was base; 0: none was.
func forcedAt(ctx context.Context, c *client.API, base uint64) (found uint64, err error) {
	err = eachRevision(ctx, c, "", func(r policyd.Revision) bool {
		if r.Revision <= base && len(r.Hosts) == 0 {
			found = r.Revision
			return false
		}
		return true
	})
	return found, err
}

// eachRevision calls f for each revision, the newest first, until it says no.
func eachRevision(ctx context.Context, c *client.API, cursor string, f func(policyd.Revision) bool) error {
	for {
		var page struct {
			Revisions []policyd.Revision `json:"revisions"`
			Next      string             `json:"next"`
		}
		if err := c.Get(ctx, "/api/v1/policy/revisions?limit=100&cursor="+cursor, &page); err != nil {
			return err
		}
		for _, r := range page.Revisions {
			if !f(r) {
				return nil
			}
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// number is a number of a revision in an argument.
func revisionArg(word string) (uint64, error) {
	n, err := strconv.ParseUint(word, 10, 63)
	if err != nil || n == 0 {
		return 0, usagef("revision %q: expected its number, as weir policy history tells", word)
	}
	return n, nil
}
