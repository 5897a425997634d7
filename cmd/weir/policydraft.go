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
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
)

func newPolicyDraft() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "draft",
		Short: "Work on a policy before it is in force: begin, look at, undo, forget",
		Long: `A draft is a policy that you work on; nothing of it is in force. Weir keeps it, with its edits, which can be undone. Others see it, and only you
change it. weir policy edit changes it in an editor, weir group its groups, weir policy plan says what it would do, weir policy apply puts it in
force: then it is gone.

Where a command takes a draft, yours is meant if you have one only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDraftList(), newDraftNew(), newDraftShow(), newDraftUndo(), newDraftRedo(), newDraftRebase(), newDraftDiscard())
	return cmd
}

// whoAmI is the user that the API takes a command for.
func whoAmI(ctx context.Context, c *client.API) (string, error) {
	var s api.Session
	if err := c.Get(ctx, "/api/v1/session", &s); err != nil {
		return "", err
	}
	return s.User, nil
}

// drafts returns the drafts of a user, of all if owner is empty.
func drafts(ctx context.Context, c *client.API, owner string) ([]policyd.Draft, error) {
	list := []policyd.Draft{}
	for cursor := ""; ; {
		var page struct {
			Drafts []policyd.Draft `json:"drafts"`
			Next   string          `json:"next"`
		}
		q := url.Values{}
		if owner != "" {
			q.Set("owner", owner)
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		if err := c.Get(ctx, "/api/v1/policy/drafts?"+q.Encode(), &page); err != nil {
			return nil, err
		}
		list = append(list, page.Drafts...)
		if cursor = page.Next; cursor == "" {
			return list, nil
		}
	}
}

// onlyDraft returns the name of the draft that is meant: name, else the only one of who asks.
func onlyDraft(ctx context.Context, c *client.API, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	me, err := whoAmI(ctx, c)
	if err != nil {
		return "", err
	}
	list, err := drafts(ctx, c, me)
	if err != nil {
		return "", err
	}
	switch len(list) {
	case 0:
		return "", notFoundf("you have no draft: weir policy edit begins one")
	case 1:
		return list[0].Name, nil
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return "", usagef("you have %d drafts, expected the name of one: %s", len(list), strings.Join(names, ", "))
}

// firstArg is the first argument of a command, "" if it has none.
func firstArg(args []string) string { return firstOf(append(args, "")...) }

func newDraftList() *cobra.Command {
	var data string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List your drafts",
		Long:  `Lists your drafts, with --all those of everybody. BASE is the newest revision that a draft takes into account: a newer one is marked.`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			owner := ""
			if !all {
				if owner, err = whoAmI(cmd.Context(), c); err != nil {
					return err
				}
			}
			list, err := drafts(cmd.Context(), c, owner)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintln(out.W, "there is no draft: weir policy edit begins one")
				return err
			}
			var s policyd.PolicyStatus
			if err := c.Get(cmd.Context(), "/api/v1/policy/status", &s); err != nil {
				return err
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "DRAFT"}, {Name: "OF"}, {Name: "CHANGED"}, {Name: "EDITS", Right: true}, {Name: "LAST"}, {Name: "BASE"}}}
			for _, d := range list {
				base := cell(d.Base)
				if d.Base != s.Head {
					base = cli.Cell{Text: fmt.Sprintf("%d, newest is %d", d.Base, s.Head), Style: cli.Warn}
				}
				t.Add(cell(d.Name), cell(d.Owner), cell(d.ChangedAt.Local().Format(time.DateTime)), cell(d.Undo), cell(d.What), base)
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().BoolVar(&all, "all", false, "also drafts of others")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newDraftNew() *cobra.Command {
	var data string
	var revision uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Begin a draft with what is in force, or with a revision",
		Example: `  weir policy draft new web
  weir policy draft new back --revision 7`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var d policyd.DraftText
			if err := c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/drafts", policyd.DraftRequest{Name: args[0], Revision: revision}, &d); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, d)
			}
			_, err = fmt.Fprintf(out.W, "draft %s is %s: weir policy edit %s\n", cli.Clean(d.Name), cli.Clean(d.What), cli.Clean(d.Name))
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().Uint64Var(&revision, "revision", 0, "one that was applied before (weir policy history lists them)")
	completes(cmd, &data, nil, false, lastRevisions, "revision")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newDraftShow() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [DRAFT]",
		Short: "Show how a draft differs from what is in force, and its edits",
		Long: `Shows how a draft differs from what is in force, and what was done to it, the newest edit first; > is where it stands, what is above was undone.
DRAFT is one of yours, or USER/NAME. weir policy export --draft prints it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			owner, name, ok := strings.Cut(firstArg(args), "/")
			if !ok {
				owner, name = "", owner
			}
			if name, err = onlyDraft(cmd.Context(), c, name); err != nil {
				return err
			}
			d, err := getDraft(cmd.Context(), c, owner, name)
			if err != nil {
				return err
			}
			var steps struct {
				Edits []policyd.DraftStep `json:"edits"`
			}
			if err := c.Get(cmd.Context(), draftPath(name)+"/edits?owner="+url.QueryEscape(d.Owner), &steps); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, struct {
					policyd.DraftText
					Edits []policyd.DraftStep `json:"edits"`
				}{d, steps.Edits})
			}
			fmt.Fprintf(out.W, "draft %s of %s, based on revision %d\n\n", cli.Clean(d.Name), cli.Clean(d.Owner), d.Base)
			if err := writeAgainstCurrent(cmd.Context(), out, c, &d); err != nil {
				return err
			}
			t := &cli.Table{Columns: []cli.Column{{Name: ""}, {Name: "EDITED"}, {Name: "WHAT"}}}
			for _, s := range steps.Edits {
				mark := ""
				if s.Now {
					mark = ">"
				}
				t.Add(cell(mark), cell(s.At.Local().Format(time.DateTime)), cell(s.What))
			}
			fmt.Fprintln(out.W)
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, ownDrafts)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// writeAgainstCurrent says how a draft differs from what is in force.
func writeAgainstCurrent(ctx context.Context, out *cli.Output, c *client.API, d *policyd.DraftText) error {
	now, err := currentPolicy(ctx, c)
	if err != nil {
		return err
	}
	p, err := parsedPolicy("draft "+d.Name, d.Policy)
	if err != nil {
		return err
	}
	e := explainPolicies(now, p, time.Now())
	fmt.Fprintf(out.W, "%s compared with %s:\n", cli.Clean(p.Name), cli.Clean(now.Name))
	return writeDifferences(out, &e.Explained, 0)
}

func newDraftUndo() *cobra.Command {
	return newDraftMove("undo", "Undo the last edit of a draft, or several", "undone")
}

func newDraftRedo() *cobra.Command {
	return newDraftMove("redo", "Do edits of a draft again that were undone", "done again")
}

// newDraftMove is weir policy draft undo and redo.
func newDraftMove(word, short, done string) *cobra.Command {
	var data string
	var edits int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   word + " [DRAFT]",
		Short: short,
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if edits < 1 {
				return usagef("--edits %d: expected 1 or more", edits)
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			name, err := onlyDraft(cmd.Context(), c, firstArg(args))
			if err != nil {
				return err
			}
			var d policyd.DraftText
			if err := c.Change(cmd.Context(), http.MethodPost, draftPath(name)+"/"+word, map[string]int{"edits": edits}, &d); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, d)
			}
			_, err = fmt.Fprintf(out.W, "draft %s: %s %s; it stands at: %s\n", cli.Clean(name), cli.Counted(edits, "edit"), done, cli.Clean(d.What))
			return err
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, ownDrafts)
	cmd.Flags().IntVar(&edits, "edits", 1, "how many")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newDraftDiscard() *cobra.Command {
	var data string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "discard DRAFT",
		Short: "Forget a draft, with all its edits",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			d, err := getDraft(cmd.Context(), c, "", args[0])
			if err != nil {
				return err
			}
			if !yes {
				to := *outputOf(cmd, false)
				to.W = cmd.ErrOrStderr()
				if err := writeAgainstCurrent(cmd.Context(), &to, c, &d); err != nil {
					return err
				}
				switch sure, err := confirmed(cmd, fmt.Sprintf("Forget draft %s and its edits? They cannot be brought back.", cli.Clean(d.Name))); {
				case err != nil:
					return err
				case !sure:
					return errors.New("discard: the draft is kept")
				}
			}
			if err := c.Change(cmd.Context(), http.MethodDelete, draftPath(d.Name), nil, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, d.Draft)
			}
			_, err = fmt.Fprintf(out.W, "draft %s is gone\n", cli.Clean(d.Name))
			return err
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, ownDrafts)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newDraftRebase() *cobra.Command {
	var data, keep string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rebase [DRAFT]",
		Short: "Take over into a draft what others applied since it was begun",
		Long: `Makes what the draft changes a change of what is in force now: rule by rule, each at the place that it has in the draft, and group by group. It is
an edit of the draft, which can be undone; nothing is put in force.

Where you and others changed the same rule or group differently, nothing is changed, and all of that is told (exit code 4): --keep mine takes
what the draft says, --keep theirs what is in force.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep != "" && keep != "mine" && keep != "theirs" {
				return usagef("--keep %q: expected mine or theirs", keep)
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			name, err := onlyDraft(cmd.Context(), c, firstArg(args))
			if err != nil {
				return err
			}
			d, conflicts, err := rebaseDraft(cmd.Context(), c, name, keep)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			switch {
			case asJSON:
				return cli.WriteJSON(out, struct {
					policyd.DraftText
					Conflicts []policy.Conflict `json:"conflicts"`
				}{d.DraftText, append([]policy.Conflict{}, conflicts...)})
			case !d.rebased:
				_, err := fmt.Fprintf(out.W, "draft %s takes into account revision %d, which is the newest\n", cli.Clean(d.Name), d.Base)
				return err
			}
			fmt.Fprintf(out.W, "draft %s takes into account revision %d now\n", cli.Clean(d.Name), d.Base)
			for _, x := range conflicts {
				fmt.Fprintf(out.W, "%s: what is kept is %s\n", cli.Clean(x.String()), map[string]string{"mine": "yours", "theirs": "theirs"}[keep])
			}
			fmt.Fprintln(out.W)
			return writeAgainstCurrent(cmd.Context(), out, c, &d.DraftText)
		},
	}
	apiFlags(cmd, &data)
	completes(cmd, &data, nil, false, ownDrafts)
	cmd.Flags().StringVar(&keep, "keep", "", "what is kept of what both changed: mine or theirs")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// rebased is a draft, and whether it was changed.
type rebased struct {
	policyd.DraftText
	rebased bool
}

// rebaseDraft makes a draft one of the newest revision. Conflicts are an error unless keep says what is kept.
func rebaseDraft(ctx context.Context, c *client.API, name, keep string) (rebased, []policy.Conflict, error) {
	d, err := getDraft(ctx, c, "", name)
	if err != nil {
		return rebased{}, nil, err
	}
	var s policyd.PolicyStatus
	if err := c.Get(ctx, "/api/v1/policy/status", &s); err != nil {
		return rebased{}, nil, err
	}
	if s.Head == d.Base {
		return rebased{DraftText: d}, nil, nil
	}
	before, err := forcedAt(ctx, c, d.Base)
	if err != nil {
		return rebased{}, nil, err
	}
	base, err := revisionPolicy(ctx, c, before)
	if err != nil {
		return rebased{}, nil, err
	}
	theirs, err := currentPolicy(ctx, c)
	if err != nil {
		return rebased{}, nil, err
	}
	ours, err := parsedPolicy("draft "+name, d.Policy)
	if err != nil {
		return rebased{}, nil, err
	}
	merged, conflicts := policy.Merge(base.policy, ours.policy, theirs.policy, keep == "mine")
	if len(conflicts) > 0 && keep == "" {
		lines := make([]string, len(conflicts))
		for i, x := range conflicts {
			lines[i] = "\n  " + x.String()
		}
		return rebased{}, nil, conflictError{fmt.Errorf("rebase draft %q: nothing was changed, since you and others changed the same:%s\n--keep mine takes what the draft says, --keep theirs what is in force",
			name, strings.Join(lines, ""))}
	}
	text, err := merged.Encode()
	if err != nil {
		return rebased{}, nil, err
	}
	var saved policyd.DraftText
	edit := policyd.DraftEdit{Policy: string(text), Version: d.Version, Base: s.Head, What: fmt.Sprintf("rebased on revision %d", s.Head)}
	err = c.Change(ctx, http.MethodPut, draftPath(name), edit, &saved)
	return rebased{saved, true}, conflicts, err
}
