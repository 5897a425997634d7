package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy/explain"
	"github.com/weirhq/weir/policyd/state"
)

func newPolicyHistory() *cobra.Command {
	var data string
	var limit int
	var raw, asJSON bool
	cmd := &cobra.Command{
		Use:     "history [REVISION]",
		Aliases: []string{"revisions"},
		Short:   "Tell who changed the policy, when, from where, why and how",
		Long: `Lists the policies that were applied, the newest first: who did, when, from where and why, and how many rules differ from what was in force before.
A revision that waits to be confirmed is told first, with the time that is left. With the number of a REVISION, all of that one: what it changed.`,
		Example: `  weir policy history
  weir policy history 12`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > 100_000 {
				return usagef("--limit %d: expected 1 to 100000", limit)
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if len(args) > 0 {
				return showRevision(cmd.Context(), out, c, args[0], raw, asJSON)
			}
			if raw {
				return usagef("found --raw: it shows what one revision changed: expected its number")
			}
			list := []policyd.Revision{}
			err = eachRevision(cmd.Context(), c, "", func(r policyd.Revision) bool {
				list = append(list, r)
				return len(list) < limit
			})
			if err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintln(out.W, "no policy was applied yet: weir policy edit begins one, weir policy apply puts it in force")
				return err
			}
			var s policyd.PolicyStatus
			if err := c.Get(cmd.Context(), "/api/v1/policy/status", &s); err != nil {
				return err
			}
			now := time.Now()
			tellPending(out, s.Pending, now)
			return historyTable(list, now).Write(out)
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, lastRevisions)
	f := cmd.Flags()
	f.IntVar(&limit, "limit", 20, "at most so many")
	f.BoolVar(&raw, "raw", false, "of one revision: a unified diff of the documents instead of sentences")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// tellPending says which revision waits to be confirmed.
func tellPending(out *cli.Output, p *policyd.Pending, now time.Time) {
	if p == nil {
		return
	}
	left := "its time is over: it is being undone"
	if d := p.ConfirmBy.Sub(now); d > 0 {
		left = fmt.Sprintf("it is undone at %s, in %s, unless somebody confirms it: weir policy confirm %d", p.ConfirmBy.Local().Format(time.DateTime), cli.Span(d.Truncate(time.Second)), p.Revision)
	}
	fmt.Fprintf(out.W, "%s\n\n", out.Paint(fmt.Sprintf("revision %d waits to be confirmed: %s", p.Revision, left), cli.Warn))
}

func historyTable(list []policyd.Revision, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{
		{Name: "REVISION", Right: true},
		{Name: "WHEN"},
		{Name: "BY"},
		{Name: "FROM"},
		{Name: "WHAT"},
		{Name: "STATE"},
		{Name: "REASON"},
	}}
	for i := range list {
		r := &list[i]
		where, style := revisionState(r, now)
		t.Add(cell(r.Revision), cell(r.AppliedAt.Local().Format(time.DateTime)), cell(r.AppliedBy), cell(r.Source), cell(revisionWhat(r)), cli.Cell{Text: where, Style: style}, cell(r.Reason))
	}
	return t
}

// revisionWhat says in a few words what a revision is.
func revisionWhat(r *policyd.Revision) string {
	var words []string
	switch r.Kind {
	case state.KindRestore:
		words = append(words, fmt.Sprintf("restores %d", r.Of))
	case state.KindRollback:
		words = append(words, fmt.Sprintf("undoes %d", r.Of))
	case state.KindApply:
	}
	for _, x := range []struct {
		n    int
		text string
	}{
		{r.Changes.Added, "%d added"},
		{r.Changes.Changed, "%d changed"},
		{r.Changes.Moved, "%d moved"},
		{r.Changes.Removed, "%d removed"},
	} {
		if x.n > 0 {
			words = append(words, fmt.Sprintf(x.text, x.n))
		}
	}
	if r.Changes.Groups > 0 {
		words = append(words, cli.Counted(r.Changes.Groups, "group"))
	}
	if r.Changes.Settings > 0 {
		words = append(words, cli.Counted(r.Changes.Settings, "setting"))
	}
	if len(words) == 0 {
		words = append(words, "no rule differs")
	}
	text := strings.Join(words, ", ")
	if len(r.Hosts) > 0 {
		text += ", at " + strings.Join(r.Hosts[:min(3, len(r.Hosts))], ", ")
		if more := len(r.Hosts) - 3; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		text += " only"
	}
	return text
}

// revisionState says whether a revision is in force, and whether it was confirmed.
func revisionState(r *policyd.Revision, now time.Time) (string, cli.Style) {
	switch {
	case r.InForce && !r.ConfirmBy.IsZero() && r.ConfirmedAt.IsZero():
		return fmt.Sprintf("in force, %s to confirm", cli.Span(max(0, r.ConfirmBy.Sub(now).Truncate(time.Second)))), cli.Warn
	case r.InForce:
		return "in force", cli.Good
	case !r.ConfirmBy.IsZero() && r.ConfirmedAt.IsZero():
		return "not confirmed", cli.Dim
	}
	return "", cli.Plain
}

// showRevision tells all of one revision.
func showRevision(ctx context.Context, out *cli.Output, c *client.API, word string, raw, asJSON bool) error {
	n, err := revisionArg(word)
	if err != nil {
		return err
	}
	var p policyd.PolicyText
	if err := c.Get(ctx, fmt.Sprintf("/api/v1/policy/revisions/%d", n), &p); err != nil {
		return err
	}
	b, err := keptRevision(&p, "")
	if err != nil {
		return err
	}
	a, err := revisionPolicy(ctx, c, p.Replaces)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return err
	}
	pruned := err != nil
	var e explained
	differ := false // in settings, from another policy
	if !pruned {
		e = explainPolicies(a, b, p.AppliedAt)
		if differ = p.Replaces != 0 && len(e.Difference.Settings) > 0; differ {
			if e.vifSettings, err = compareSettings(ctx, c, &a, &b); err != nil {
				return err
			}
		}
	}
	switch {
	case asJSON:
		answer := struct {
			policyd.PolicyText
			Explained *explain.Explanation `json:"explained,omitempty"`

			vifSettings
		}{PolicyText: p, vifSettings: e.vifSettings}
		if !pruned {
			answer.Explained = &e.Explained
		}
		return cli.WriteJSON(out, answer)
	case raw && !pruned:
		text, err := e.raw()
		if err != nil {
			return err
		}
		return writeRaw(out, text)
	}
	r := &p.Revision
	lines := [][2]string{
		{"applied", r.AppliedAt.Local().Format(time.DateTime)},
		{"by", r.AppliedBy},
		{"from", r.Source},
		{"reason", r.Reason},
		{"rules", fmt.Sprint(r.Total)},
		{"hosts", strings.Join(r.Hosts, ", ")},
	}
	if !r.ConfirmBy.IsZero() {
		text := "was to be until " + r.ConfirmBy.Local().Format(time.DateTime) + ", and was not"
		if !r.ConfirmedAt.IsZero() {
			text = r.ConfirmedAt.Local().Format(time.DateTime) + ", by " + r.ConfirmedBy
		}
		lines = append(lines, [2]string{"confirmed", text})
	}
	fmt.Fprintf(out.W, "revision %d: %s\n", r.Revision, revisionWhat(r))
	for _, l := range lines {
		if l[1] != "" {
			fmt.Fprintf(out.W, "  %-10s %s\n", l[0], cli.Clean(l[1]))
		}
	}
	if pruned {
		_, err := fmt.Fprintf(out.W, "\nwhat it replaced, revision %d, is not kept any more\n", p.Replaces)
		return err
	}
	fmt.Fprintf(out.W, "\nCompared with %s:\n", cli.Clean(a.Name))
	if err := writeDifferences(out, &e.Explained, 0); err != nil || !differ {
		return err
	}
	return e.vifSettings.write(out)
}

// pendingArg returns the revision that an argument means, without one that which waits to be confirmed.
func pendingArg(ctx context.Context, c *client.API, args []string) (uint64, error) {
	if len(args) > 0 {
		return revisionArg(args[0])
	}
	var s policyd.PolicyStatus
	if err := c.Get(ctx, "/api/v1/policy/status", &s); err != nil {
		return 0, err
	}
	if s.Pending == nil {
		return 0, conflictError{errors.New("no revision waits to be confirmed: weir policy history tells what was applied, weir policy restore puts an older one in force again")}
	}
	return s.Pending.Revision, nil
}

// conflictError is of what is not as it would have to be for what was asked.
type conflictError struct{ error }

func newPolicyConfirm() *cobra.Command {
	var data, reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "confirm [REVISION]",
		Short: "Say that the revision that waits for it stays",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			n, err := pendingArg(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			var r policyd.Revision
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/confirm", map[string]any{"revision": n, "reason": reason}, &r); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, r)
			}
			_, err = fmt.Fprintf(out.W, "revision %d stays\n", r.Revision)
			return err
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, lastRevisions)
	cmd.Flags().StringVar(&reason, "reason", "", "why; told with the change")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newPolicyRollback() *cobra.Command {
	var data, reason string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Undo the revision that waits to be confirmed, before its deadline",
		Long: `What was in force before is in force again, at each host what it had. That cannot be refused, since nothing is compiled anew. Revisions that do not
wait to be confirmed are undone by weir policy restore.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			n, err := pendingArg(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			var done struct {
				Revisions []policyd.Revision `json:"revisions"`
			}
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/rollback", map[string]any{"revision": n, "reason": reason}, &done); err != nil {
				return err
			}
			hosts, behind, err := inForce(cmd.Context(), c, wait, progressOf(cmd, asJSON), func(*policyd.HostPolicy) bool { return true })
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, struct {
					Revisions []policyd.Revision   `json:"revisions"`
					Hosts     []policyd.HostPolicy `json:"hosts"`
				}{done.Revisions, hosts})
			}
			fmt.Fprintf(out.W, "revision %d is undone\n", n)
			for i := range done.Revisions {
				r := &done.Revisions[i]
				fmt.Fprintf(out.W, "revision %d is what was in force before%s\n", r.Revision, cli.Clean(after(", at ", strings.Join(r.Hosts, ", "))))
			}
			if err := tellHosts(out, hosts); err != nil {
				return err
			}
			if len(behind) > 0 && wait > 0 {
				return partialf("rollback: not yet in force at %s: weir policy status tells", strings.Join(behind, ", "))
			}
			return nil
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, lastRevisions)
	f := cmd.Flags()
	f.StringVar(&reason, "reason", "", "why; kept with the revision")
	waitFlag(cmd, &wait, 30*time.Second, "longest wait until the hosts that are reached have it; 0s: none")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newPolicyRestore() *cobra.Command {
	var data, draft string
	var only []string
	var how applyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore REVISION",
		Short: "Put an older revision in force again, or make it a draft",
		Long: `Puts the text of an older revision in force, as a new revision: at once, after it has shown what that changes and asked, unless --yes. With --draft,
nothing is put in force: a draft of that name is begun with it.

Names mean what they mean now; one that nothing has any more waits for what had it then.`,
		Example: `  weir policy restore 11 --reason "shop is down"
  weir policy restore 11 --draft back`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := revisionArg(args[0])
			if err != nil {
				return err
			}
			hosts, err := onlyHosts(only)
			if err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if draft != "" {
				var d policyd.DraftText
				if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/drafts", policyd.DraftRequest{Name: draft, Revision: n}, &d); err != nil {
					return err
				}
				if asJSON {
					return cli.WriteJSON(out, d)
				}
				_, err := fmt.Fprintf(out.W, "draft %[1]s is %s: weir policy plan --draft %[1]s, then weir policy apply --draft %[1]s\n", cli.Clean(d.Name), cli.Clean(d.What))
				return err
			}
			w := candidate{}
			if w.policyText, err = revisionPolicy(cmd.Context(), c, n); err != nil {
				return err
			}
			p, _, err := planPolicy(cmd, c, asJSON, &w, hosts)
			if err != nil {
				return err
			}
			options, err := how.options(&p.Head)
			if err != nil {
				return err
			}
			if !how.yes {
				to := *out
				to.W = cmd.ErrOrStderr()
				if err := writePlan(&to, &p, w.Name, maxPlanned); err != nil {
					return err
				}
				switch sure, err := confirmed(cmd, fmt.Sprintf("Put revision %d in force again?", n)); {
				case err != nil:
					return err
				case !sure:
					return errors.New("restore: nothing was changed")
				}
			}
			var done policyd.Applied
			err = patiently(cmd, asJSON, "compiling for all hosts that are concerned", func() error {
				return c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/restore", policyd.RestoreRequest{Revision: n, Only: hosts, ApplyOptions: options}, &done)
			})
			if errors.Is(err, client.ErrConflict) {
				return conflict(cmd, c, err, p.Head, "")
			}
			if err != nil {
				return err
			}
			return afterApply(cmd, c, &done, hosts, how.wait, asJSON)
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, lastRevisions)
	onlyFlag(cmd, &only)
	how.add(cmd)
	cmd.Flags().BoolVar(&how.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&draft, "draft", "", "begin a draft of this name with it instead")
	jsonFlag(cmd, &asJSON)
	return cmd
}
