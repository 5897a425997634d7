package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// settingForms says how levels and settings are written.
func settingForms() string {
	var b strings.Builder
	b.WriteString(`LEVEL is global, pool:NAME, network:NAME, vm:NAME, vif:VM/DEVICE, or, for where its copies go, mirror-target:NAME. Of the levels that a VIF is in, the
lowest that says a setting decides, whole; a level that is silent leaves it to those above. Values with spaces stand in quotes. Settings, and their values:
`)
	for _, s := range policy.KnownSettings() {
		of := ""
		if len(s.Levels) < len(policy.Levels) {
			of = " (" + strings.Join(s.Levels, ", ") + ")"
		}
		fmt.Fprintf(&b, "\n  %-19s%s%s", s.Key, s.Form, of)
	}
	return b.String()
}

// levelOf reads the name of a level.
func levelOf(text string) (policy.LevelName, error) {
	l, err := policy.ParseLevel(text, policy.Sayers)
	if err != nil {
		return l, usagef("LEVEL: %w", err)
	}
	return l, nil
}

func newPolicySet() *cobra.Command {
	g := policyChange{
		use: "set LEVEL SETTING=VALUE...", short: "Have a level say settings: rates, mirrors, guards, fail modes", args: cobra.MinimumNArgs(2),
		long: settingForms(),
		example: `  weir policy set network:guests rate_out=100Mbit/s rate_in="200Mbit/s burst 20MB"
  weir policy set mirror-target:ids to="gre 10.1.0.200 key 77" --draft mirror
  weir policy set vm:router guard_ip=off allowed_addresses="00:00:5e:00:01:0a 192.0.2.1, 192.0.2.64/28"
  weir policy set pool:berlin fail_mode=static --reason "nothing denied passes without Weir"`,
		do: func(p *policyText, args []string) (string, error) {
			level, err := levelOf(args[0])
			if err != nil {
				return "", err
			}
			var wrong []error
			said := map[string]bool{}
			for _, arg := range args[1:] {
				key, value, ok := strings.Cut(arg, "=")
				switch {
				case !ok:
					err = fmt.Errorf(`%q: expected SETTING=VALUE; a value with spaces stands in quotes, as rate_out="20Mbit/s burst 2MB"`, arg)
				case said[key]:
					err = fmt.Errorf("setting %q is there twice", key)
				default:
					err = p.policy.Say(level, key, value)
				}
				if err != nil && (value == "" || value == "inherit") && ok {
					err = fmt.Errorf("%w; weir policy unset leaves it to the levels above", err)
				}
				said[key] = true
				wrong = append(wrong, err)
			}
			if err := errors.Join(wrong...); err != nil {
				return "", usageError{err}
			}
			return level.String() + " says " + inShort(args[1:]), nil
		},
	}
	return completesSettings(g.command(), false)
}

// sayers says which levels of a kind say a setting, if they are few: what is looked for may stand under another name there; "": none, or many.
func sayers(p *policy.Policy, kind flow.Kind, key string) string {
	const few = 3
	var names []string
	for _, s := range p.Sayings() {
		if s.Level.Kind == kind && s.Key == key {
			names = append(names, s.Level.String())
		}
	}
	switch n := len(names); {
	case n == 0 || n > few:
		return ""
	case n == 1:
		return ", as " + names[0] + " does"
	default:
		return ", as " + strings.Join(names[:n-1], ", ") + " and " + names[n-1] + " do"
	}
}

func newPolicyUnset() *cobra.Command {
	g := policyChange{
		use: "unset LEVEL SETTING...", short: "Have a level say settings no more, which leaves them to the levels above", args: cobra.MinimumNArgs(2),
		long:    "What levels say is listed by weir policy settings. To have a setting off whatever the levels above say, set it off.",
		example: `  weir policy unset network:guests rate_out rate_in`,
		do: func(p *policyText, args []string) (string, error) {
			level, err := levelOf(args[0])
			if err != nil {
				return "", err
			}
			for _, key := range args[1:] {
				switch said, err := p.policy.Unsay(level, key); {
				case err != nil:
					return "", usageError{err}
				case !said:
					return "", notFoundf("in %s, %s does not say %s%s: weir policy settings lists what is said", p.Name, level, key, sayers(p.policy, level.Kind, key))
				}
			}
			return level.String() + " says no more " + inShort(args[1:]), nil
		},
	}
	return completesSettings(g.command(), true)
}

// saidSetting is a setting that a level says.
type saidSetting struct {
	Level string `json:"level"` // as set and unset take it
	Key   string `json:"key"`
	Value string `json:"value"`
}

func newPolicySettings() *cobra.Command {
	var data, draft string
	var known, asJSON bool
	cmd := &cobra.Command{
		Use:   "settings [LEVEL]",
		Short: "List which settings each level says, or which settings there are",
		Long: `Lists the settings that levels say, all or one LEVEL, as weir policy set takes them, in the order of the document. What holds for a VIF in the end, and
which level says it, is shown by weir policy effective.

With --known, lists the settings that there are: their values, which levels may say them, and what holds if none does.`,
		Example: `  weir policy settings
  weir policy settings network:guests
  weir policy settings --known`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var only policy.LevelName
			if len(args) > 0 {
				l, err := levelOf(args[0])
				if err != nil {
					return err
				}
				only = l
			}
			out := outputOf(cmd, asJSON)
			if known {
				return writeKnownSettings(out, asJSON, len(args) > 0, only)
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			p, _, err := groupPolicy(cmd, c, draft)
			if err != nil {
				return err
			}
			list := []saidSetting{}
			for _, s := range p.policy.Sayings() {
				if len(args) == 0 || s.Level == only {
					list = append(list, saidSetting{s.Level.String(), s.Key, s.Value})
				}
			}
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				what := "no setting is said"
				if len(args) > 0 {
					what = only.String() + " says no setting"
				}
				_, err := fmt.Fprintf(out.W, "in %s, %s: weir policy settings --known lists those that there are\n", cli.Clean(p.Name), cli.Clean(what))
				return err
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "LEVEL"}, {Name: "SETTING"}, {Name: "VALUE"}}}
			for _, x := range list {
				t.Add(cell(x.Level), cell(x.Key), cell(x.Value))
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	draftFlagOf(cmd, &data, &draft, "settings of this draft of yours, instead of what is in force")
	cmd.Flags().BoolVar(&known, "known", false, "settings that there are, instead of those that are said")
	jsonFlag(cmd, &asJSON)
	cmd.MarkFlagsMutuallyExclusive("known", "draft")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return goesOn(complete(levelWords)(cmd, args, prefix))
	}
	return cmd
}

// writeKnownSettings lists which settings there are, for one level if limited.
func writeKnownSettings(out *cli.Output, asJSON, limited bool, only policy.LevelName) error {
	list := slices.DeleteFunc(policy.KnownSettings(), func(s policy.Setting) bool { return limited && !slices.Contains(s.Kinds, only.Kind) })
	if asJSON {
		return cli.WriteJSON(out, list)
	}
	t := &cli.Table{Columns: []cli.Column{{Name: "SETTING"}, {Name: "LEVELS"}, {Name: "DEFAULT"}, {Name: "VALUES"}}}
	for _, s := range list {
		t.Add(cell(s.Key), cell(strings.Join(kindWords(s.Levels), ", ")), cell(firstOf(s.Default, "-")), cell(s.Form))
	}
	if err := t.Write(out); err != nil {
		return err
	}
	fmt.Fprintln(out.W)
	for _, s := range list {
		writeWrapped(out, s.Key+": ", "  ", s.Doc, cli.Plain)
	}
	return nil
}

// kindWords are the first words of names of levels.
func kindWords(names []string) []string {
	words := make([]string, len(names))
	for i, name := range names {
		words[i], _, _ = strings.Cut(name, ":")
	}
	return words
}

// completesSettings has the arguments of a command complete to a level, and then to its settings: those that it says, or those that it may say, with values.
func completesSettings(cmd *cobra.Command, said bool) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return goesOn(completed(levelWords(cmd, prefix), prefix))
		}
		level, err := policy.ParseLevel(args[0], policy.Sayers)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if said {
			return completed(saidWords(level)(cmd, prefix), prefix)
		}
		var list []string
		for _, s := range policy.KnownSettings() {
			switch key, _, hasValue := strings.Cut(prefix, "="); {
			case !slices.Contains(s.Kinds, level.Kind):
			case !hasValue:
				list = append(list, s.Key+"=")
			case s.Key == key:
				for _, value := range valueWords(&s)(cmd, prefix) {
					list = append(list, key+"="+value)
				}
			}
		}
		return goesOn(completed(list, prefix))
	}
	return cmd
}

// goesOn lets a shell put no space behind the only word that there is, if that is but the beginning of an argument.
func goesOn(list []cobra.Completion, directive cobra.ShellCompDirective) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(list) > 0 && !slices.ContainsFunc(list, func(w string) bool { return !strings.HasSuffix(w, "=") && !strings.HasSuffix(w, ":") }) {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return list, directive
}

// levelWords are names of levels: their kinds first, then what there is of the kind that is written already.
func levelWords(cmd *cobra.Command, prefix string) []string {
	word, name, named := strings.Cut(prefix, ":")
	var list []string
	for _, kind := range policy.Sayers {
		l := policy.LevelName{Kind: kind}.String()
		switch of := strings.TrimSuffix(l, ":"); {
		case !named:
			list = append(list, l)
		case of != word:
		case kind == policy.KindMirrorTarget:
			list = mirrorTargets(cmd, name)
		case kind == flow.KindVIF:
			list = vifNames(cmd, name)
		default:
			list = entityNames(kind)(cmd, name)
		}
	}
	if named {
		for i := range list {
			list[i] = word + ":" + list[i]
		}
	}
	return list
}

// vifNames are names of VIFs.
var vifNames = entityNames(flow.KindVIF)

// ofPolicy are words that a policy has: what is in force, or the draft that --draft names.
func ofPolicy(of func(p *policy.Policy) []string) words {
	return func(cmd *cobra.Command, prefix string) []string {
		draft := ""
		if f := cmd.Flag("draft"); f != nil {
			draft = f.Value.String()
		}
		return asked(func(ctx context.Context, c *client.API, _ string) ([]string, error) {
			p, err := policyIn(ctx, c, draft)
			if err != nil {
				return nil, err
			}
			return of(p.policy), nil
		})(cmd, prefix)
	}
}

// mirrorTargets are the names of mirror targets.
var mirrorTargets = ofPolicy(func(p *policy.Policy) []string {
	return namesOf(p.MirrorTargets, func(t policy.MirrorTarget) string { return t.Name })
})

// saidWords are the settings that a level says.
func saidWords(level policy.LevelName) words {
	return ofPolicy(func(p *policy.Policy) (keys []string) {
		for _, s := range p.Sayings() {
			if s.Level == level {
				keys = append(keys, s.Key)
			}
		}
		return keys
	})
}

// valueWords are values of a setting, as far as they are few.
func valueWords(s *policy.Setting) words {
	switch {
	case s.Values != nil:
		return fixed(s.Values...)
	case s.Key == "mirror":
		return func(cmd *cobra.Command, prefix string) []string { return append(mirrorTargets(cmd, prefix), s.Default) }
	case s.Default != "":
		return fixed(s.Default)
	}
	return fixed()
}
