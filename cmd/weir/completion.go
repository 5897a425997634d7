package main

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd"
)

// A words gives the words that an argument may be, where prefix is written already. Who has none to give gives none: completion does not complain.
type words func(cmd *cobra.Command, prefix string) []string

// argumentWords are the words that arguments of commands may be, by the path of the command: of the first argument, the second, and so on.
func argumentWords() map[string][]words {
	return map[string][]words{
		"weir login": {profileNames}, "weir logout": {profileNames},
		"weir profile show": {profileNames}, "weir profile use": {profileNames}, "weir profile remove": {profileNames},

		"weir user show": {userNames}, "weir user role": {userNames, fixed(roleNames()...)}, "weir user disable": {userNames}, "weir user enable": {userNames},
		"weir user password": {userNames}, "weir user remove": {userNames}, "weir token revoke": {tokenNames},

		"weir hosts show": {hostNames}, "weir hosts test": {hostNames}, "weir hosts confirm": {hostNames}, "weir hosts detach": {hostNames},
		"weir hosts remove": {hostNames}, "weir hosts mode": {hostNames, fixed("observe", "enforce", "inherit")},
		"weir hosts export": {hostNames, fixed("auto", "ipfix", "netflow", "off", "inherit")},
		"weir pool mode":    {poolNames, fixed("observe", "enforce")}, "weir pool sampling": {poolNames, fixed("full", "new", "off", "auto", "inherit")},

		"weir bypass on": {bypassNames}, "weir bypass off": {bypassNames},
		"weir policy effective": {effectiveNames}, "weir policy quarantine": {vmNames}, "weir policy release": {quarantinedNames}, "weir policy hits": {ruleNames},
		"weir exporters": {exporterNames}, "weir estate explain": {estateNames}, "weir estate search": {estateNames},
	}
}

// flagWords are the words that values of flags may be: by the path of the command and the flag, else by the flag alone. Of others a file is completed.
func flagWords() map[string]words {
	return map[string]words{
		"server": profileNames, "user": userNames, "actor": userNames, "role": fixed(roleNames()...), "scope": fixed(scopeNames()...),
		"host": hostNames, "pool": poolNames, "vm": vmNames, "only": asked(askOnly),

		"by": fixed(groupable()...), "unit": fixed("bytes", "bits", "packets", "flows", "bps", "pps", "fps"), "traffic": fixed("seen", "delivered", "denied"),
		"direction": fixed("in", "out", "both"), "verdict": fixed(verdictField.Words()...), "columns": fixed(fieldNames()...), "weir events --kind": fixed(eventKinds()...),
		"operation": fixed(changeNames()...), "outcome": fixed(outcomes()...),
		"weir hosts add --export": fixed("auto", "ipfix", "netflow", "off"),
	}
}

// addCompletions has all commands below cmd complete their arguments and flags, as far as they do not say how themselves.
func addCompletions(root *cobra.Command) {
	arguments, flags := argumentWords(), flagWords()
	var add func(*cobra.Command)
	add = func(cmd *cobra.Command) {
		if cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
			cmd.ValidArgsFunction = complete(arguments[cmd.CommandPath()]...)
			if takesFile.MatchString(cmd.Use) {
				cmd.ValidArgsFunction = nil
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			w := flags[cmd.CommandPath()+" --"+f.Name]
			if w == nil {
				w = flags[f.Name]
			}
			if _, ok := cmd.GetFlagCompletionFunc(f.Name); w != nil && !ok {
				completeFlag(cmd, f.Name, w)
			}
		})
		for _, sub := range cmd.Commands() {
			add(sub)
		}
	}
	add(root)
}

// takesFile tells by a line of use whether an argument is a file, which shells complete by themselves.
var takesFile = regexp.MustCompile(`\bFILE`)

// complete completes arguments, the first by the first of positions, and so on.
func complete(positions ...words) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(positions) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completed(positions[len(args)](cmd, prefix), prefix)
	}
}

// completed keeps the words that go on as prefix does.
func completed(list []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	list = slices.DeleteFunc(slices.Clone(list), func(w string) bool { return w == "" || !strings.HasPrefix(w, prefix) })
	slices.Sort(list)
	return slices.Compact(list), cobra.ShellCompDirectiveNoFileComp
}

// completeFlag completes the values of a flag, also those of a list with commas.
func completeFlag(cmd *cobra.Command, flag string, w words) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		i := strings.LastIndexByte(prefix, ',') + 1
		list, directive := completed(w(cmd, prefix[i:]), prefix[i:])
		for j := range list {
			list[j] = prefix[:i] + list[j]
		}
		return list, directive
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
}

// fixed are words that are always the same.
func fixed(list ...string) words {
	return func(*cobra.Command, string) []string { return list }
}

// profileNames are the names of profiles.
func profileNames(*cobra.Command, string) []string {
	profiles, err := readProfiles()
	if err != nil {
		return nil
	}
	return profiles.Names()
}

// completionTime is how long a person waits for words.
const completionTime = 2 * time.Second

// maxCompletions bounds the words that are asked for.
const maxCompletions = "1000"

// asked asks the API that the command would ask, for a short time.
func asked(ask func(ctx context.Context, c *client.API, prefix string) ([]string, error)) words {
	return func(cmd *cobra.Command, prefix string) []string {
		data := ""
		if f := cmd.Flag("data"); f != nil {
			data = f.Value.String()
		}
		c, err := connect(cmd, data)
		if err != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completionTime)
		defer cancel()
		list, err := ask(ctx, c, prefix)
		if err != nil {
			return nil
		}
		return list
	}
}

// Names that the API knows.
var (
	hostNames = asked(func(ctx context.Context, c *client.API, _ string) ([]string, error) {
		var answer api.Hosts
		err := c.Get(ctx, "/api/v1/hosts", &answer)
		return namesOf(answer.Hosts, func(h policyd.HostStatus) string { return h.Name }), err
	})
	poolNames     = entityNames(flow.KindPool)
	vmNames       = entityNames(flow.KindVM)
	estateNames   = entityNames(flow.KindVM, flow.KindNetwork, flow.KindHost, flow.KindPool)
	exporterNames = asked(askExporters)
	userNames     = asked(func(ctx context.Context, c *client.API, _ string) ([]string, error) {
		return listNames(ctx, c, "/api/v1/users", "users")
	})
	tokenNames = asked(func(ctx context.Context, c *client.API, _ string) ([]string, error) {
		return listNames(ctx, c, "/api/v1/tokens", "tokens")
	})
	ruleNames   = asked(askRules)
	bypassNames = asked(askBypassTargets)

	quarantinedNames = asked(func(ctx context.Context, c *client.API, _ string) ([]string, error) {
		var answer struct {
			Quarantined []policyd.QuarantineStatus `json:"quarantined"`
		}
		err := c.Get(ctx, "/api/v1/policy/quarantine", &answer)
		return namesOf(answer.Quarantined, func(q policyd.QuarantineStatus) string { return q.VIF }), err
	})
)

// effectiveNames are what settings can be shown of: VMs, and whatever is named with its kind.
func effectiveNames(cmd *cobra.Command, prefix string) []string {
	if strings.Contains(prefix, ":") {
		return levelWords(cmd, prefix)
	}
	return append(vmNames(cmd, prefix), "estate", "pool:", "network:", "vm:", "vif:")
}

func namesOf[T any](list []T, name func(T) string) []string {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = name(x)
	}
	return names
}

// listNames are the property name of the elements of a listing.
func listNames(ctx context.Context, c *client.API, path, list string) ([]string, error) {
	var answer map[string]any
	if err := c.Get(ctx, path+"?limit="+maxCompletions, &answer); err != nil {
		return nil, err
	}
	elements, _ := answer[list].([]any)
	var names []string
	for _, e := range elements {
		if e, ok := e.(map[string]any); ok {
			if name, ok := e["name"].(string); ok {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// entityNames are the names of what exists of some kinds.
func entityNames(kinds ...flow.Kind) words {
	return asked(func(ctx context.Context, c *client.API, prefix string) ([]string, error) {
		v := url.Values{"limit": {maxCompletions}}
		if prefix != "" {
			v.Set("search", prefix)
		}
		var names []string
		for _, kind := range kinds {
			var answer struct {
				Entities []api.Entity `json:"entities"`
			}
			if err := c.Get(ctx, "/api/v1/estate/"+string(kind)+"?"+v.Encode(), &answer); err != nil {
				return nil, err
			}
			names = append(names, namesOf(answer.Entities, func(e api.Entity) string { return e.Name })...)
		}
		return names, nil
	})
}

func askExporters(ctx context.Context, c *client.API, _ string) ([]string, error) {
	var answer struct {
		Exporters []struct {
			Exporter string `json:"exporter"`
		} `json:"exporters"`
	}
	err := c.Get(ctx, "/api/v1/exporters", &answer)
	var list []string
	for _, e := range answer.Exporters {
		list = append(list, e.Exporter)
	}
	return list, err
}

// askRules asks for the names of rules that are in force or were met.
func askRules(ctx context.Context, c *client.API, _ string) ([]string, error) {
	var answer struct {
		Rules []struct {
			Rule string `json:"rule"`
		} `json:"rules"`
	}
	err := c.Get(ctx, "/api/v1/policy/hits?limit="+maxCompletions, &answer)
	var list []string
	for _, r := range answer.Rules {
		list = append(list, r.Rule)
	}
	return list, err
}

// askBypassTargets asks where policy could be switched off, as far as it is hosts and pools.
func askBypassTargets(ctx context.Context, c *client.API, _ string) ([]string, error) {
	list := []string{"estate"}
	var answer api.Hosts
	err := c.Get(ctx, "/api/v1/hosts", &answer)
	for i := range answer.Hosts {
		list = append(list, "host:"+answer.Hosts[i].Name)
		if pool := answer.Hosts[i].Pool; pool != "" {
			list = append(list, "pool:"+pool)
		}
	}
	return list, err
}

// askOnly asks at which hosts a policy could be tried.
func askOnly(ctx context.Context, c *client.API, prefix string) ([]string, error) {
	list, err := askBypassTargets(ctx, c, prefix)
	return slices.DeleteFunc(list, func(w string) bool { return !strings.HasPrefix(w, "host:") }), err
}

// roleNames are all roles.
func roleNames() []string {
	return namesOf(account.Roles, func(r account.Role) string { return string(r) })
}

// scopeNames are all scopes.
func scopeNames() []string {
	return namesOf(account.Scopes, func(s account.Scope) string { return string(s) })
}

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what has a shell complete commands, flags and names",
		Long: `Prints a script for bash, zsh or fish. With it, the shell completes commands, flags, and the names that the API knows: of hosts, pools, VMs, rules, users and
so on. They are asked for two seconds at most, of the server that the command would ask.

  bash   weir completion bash > /etc/bash_completion.d/weir          (needs the package bash-completion)
  zsh    weir completion zsh > "${fpath[1]}/_weir"
  fish   weir completion fish > ~/.config/fish/completions/weir.fish`,
		Example:               `  weir completion bash`,
		Args:                  cobra.ExactArgs(1),
		ValidArgs:             shells,
		ValidArgsFunction:     complete(fixed(shells...)),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return usagef("shell %q: expected %s", args[0], strings.Join(shells, ", "))
			}
		},
	}
}

// shells are those that completions are made for.
var shells = []string{"bash", "zsh", "fish"}
