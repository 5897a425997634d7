package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
)

// lister returns words that an argument may be, each with what it is after a tab.
type lister func(ctx context.Context, c *client.API, draft string) ([]string, error)

// completes makes the arguments of a command, the first only unless many, and the flags that are named complete to what the API knows. What fails completes to
// nothing.
func completes(cmd *cobra.Command, data, draft *string, many bool, of lister, flags ...string) {
	words := func(cmd *cobra.Command) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completionTime)
		defer cancel()
		c, err := connect(cmd, *data)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		in := ""
		if draft != nil {
			in = *draft
		}
		list, err := of(ctx, c, in)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
	complete := func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) { return words(cmd) }
	for _, flag := range flags {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	if len(flags) == 0 {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 && !many {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return words(cmd)
		}
	}
}

// ownDrafts lists the drafts of who asks.
func ownDrafts(ctx context.Context, c *client.API, _ string) ([]string, error) {
	me, err := whoAmI(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := drafts(ctx, c, me)
	words := make([]string, len(list))
	for i, d := range list {
		words[i] = d.Name + "\t" + d.What
	}
	return words, err
}

// lastRevisions lists the newest revisions.
func lastRevisions(ctx context.Context, c *client.API, _ string) (words []string, err error) {
	err = eachRevision(ctx, c, "", func(r policyd.Revision) bool {
		words = append(words, fmt.Sprintf("%s\t%s", strconv.FormatUint(r.Revision, 10), firstOf(r.Reason, revisionWhat(&r))))
		return len(words) < 50
	})
	return words, err
}

// policyIn is what is in force, or a draft.
func policyIn(ctx context.Context, c *client.API, draft string) (policyText, error) {
	if draft == "" {
		return currentPolicy(ctx, c)
	}
	d, err := getDraft(ctx, c, "", draft)
	if err != nil {
		return policyText{}, err
	}
	return parsedPolicy("draft "+draft, d.Policy)
}

// groupNames lists the groups of a policy.
func groupNames(ctx context.Context, c *client.API, draft string) ([]string, error) {
	p, err := policyIn(ctx, c, draft)
	if err != nil {
		return nil, err
	}
	list := groupsOf(p.policy)
	words := make([]string, len(list))
	for i, g := range list {
		words[i] = g.Name + "\t" + inShort(g.Members)
	}
	return words, nil
}

// ruleIDs lists the rules of a policy.
func ruleIDs(ctx context.Context, c *client.API, draft string) (words []string, err error) {
	p, err := policyIn(ctx, c, draft)
	if err != nil {
		return nil, err
	}
	for r := range p.policy.Rules() {
		words = append(words, r.ID+"\t"+r.String())
	}
	return words, nil
}
