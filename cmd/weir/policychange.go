package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
)

// policyChange is a command that changes a part of the policy: what is in force, at once, or a draft.
type policyChange struct {
	use, short, long, example string
	args                      cobra.PositionalArgs
	complete                  lister                                                      // of its first argument, or all; nil: they are not known
	many                      bool                                                        // all
	flags                     func(*cobra.Command)                                        // adds its own; nil: it has none
	do                        func(p *policyText, args []string) (what string, err error) // changes p.policy, and says what it has done
}

// command makes it one.
func (g *policyChange) command() *cobra.Command {
	var data, draft string
	var how applyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: g.use, Short: g.short, Example: g.example, Args: g.args,
		Long: g.short + ".\n\n" + g.long + "\n\n" + `It shows what that changes and asks, unless --yes; then it is put in force, as a new revision. With --draft, it is an edit of that draft of yours.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			p, d, err := groupPolicy(cmd, c, draft)
			if err != nil {
				return err
			}
			before := p.policy.Warnings()
			what, err := g.do(&p, args)
			if err != nil {
				return err
			}
			text, err := p.policy.Encode()
			if err != nil {
				return err
			}
			if d != nil {
				warnings := slices.DeleteFunc(p.policy.Warnings(), func(w string) bool { return slices.Contains(before, w) })
				return changeDraft(cmd, c, d, string(text), what, warnings, asJSON)
			}
			if how.reason == "" {
				how.reason = what
			}
			return changeCurrent(cmd, c, string(text), &how, asJSON)
		},
	}
	apiFlags(cmd, &data)
	draftFlagOf(cmd, &data, &draft, "make the change in this draft of yours, instead of putting it in force")
	if g.flags != nil {
		g.flags(cmd)
	}
	if g.complete != nil {
		completes(cmd, &data, &draft, g.many, g.complete)
	}
	if cmd.Flags().Lookup("before") != nil {
		completes(cmd, &data, &draft, false, ruleIDs, "before", "after")
	}
	how.add(cmd)
	cmd.Flags().BoolVar(&how.yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// changeDraft makes an edit of a draft. Warnings are what is to be known of the edit.
func changeDraft(cmd *cobra.Command, c *client.API, d *policyd.DraftText, text, what string, warnings []string, asJSON bool) error {
	var saved policyd.DraftText
	if err := c.Change(cmd.Context(), http.MethodPut, draftPath(d.Name), policyd.DraftEdit{Policy: text, Version: d.Version, What: what}, &saved); err != nil {
		return withPlaces(err, "draft "+d.Name)
	}
	out := outputOf(cmd, asJSON)
	if asJSON {
		return cli.WriteJSON(out, struct {
			policyd.DraftText
			Warnings []string `json:"warnings,omitempty"`
		}{saved, warnings})
	}
	fmt.Fprintf(out.W, "draft %s: %s\n\n", cli.Clean(saved.Name), cli.Clean(saved.What))
	if err := writeAgainstCurrent(cmd.Context(), out, c, &saved); err != nil {
		return err
	}
	return tellWarnings(out.W, warnings)
}

// changeCurrent puts a policy in force in place of the one that it was made of, once it was shown and confirmed.
func changeCurrent(cmd *cobra.Command, c *client.API, text string, how *applyFlags, asJSON bool) error {
	w := candidate{policyText: policyText{Name: "the policy", Text: text}}
	p, _, err := planPolicy(cmd, c, asJSON, &w, nil)
	if err != nil {
		return err
	}
	options, err := how.options(&p.Head)
	if err != nil {
		return err
	}
	if len(p.Refused) > 0 || !how.yes {
		to := *outputOf(cmd, false)
		to.W = cmd.ErrOrStderr()
		if err := writePlan(&to, &p, w.Name, maxPlanned); err != nil {
			return err
		}
	}
	if len(p.Refused) > 0 {
		return errors.New("nothing was changed: the policy would be refused")
	}
	if !how.yes {
		switch sure, err := confirmed(cmd, "Put it in force?"); {
		case err != nil:
			return err
		case !sure:
			return errors.New("nothing was changed")
		}
	}
	return applyWanted(cmd, c, &w, nil, options, how.wait, asJSON)
}
