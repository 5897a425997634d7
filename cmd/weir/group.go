package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
)

// Kinds of groups on the command line.
const (
	addressKind = "address"
	vmKind      = "vm"
)

// memberForms says how members are written.
const memberForms = `Members of an address group are addresses, prefixes, ranges (192.0.2.1-192.0.2.9) and address-group:NAME. Those of a VM group are VMs by name,
pool/name or UUID, vm-group:NAME, and what selects VMs: tag:TAG, name:PATTERN, network:NAME, pool:NAME, attribute:KEY=VALUE.`

func newGroup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Look at the groups of the policy, and change who is in them",
		Long: `Groups of the policy are names for addresses or VMs that rules use. Groups that the estate has are not among them: weir estate shows those.

A change shows what it would do and asks, unless --yes; then it is put in force at once, as a new revision. With --draft, it is made in that draft of yours,
and nothing is put in force.

` + memberForms,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGroupList(), newGroupShow(), newGroupNew(), newGroupAdd(), newGroupRemove(), newGroupDelete())
	return cmd
}

// group is a group of a policy, as it is shown.
type group struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Members []string `json:"members"`
	Rules   []string `json:"rules"`  // that name it, by id
	Groups  []string `json:"groups"` // that hold it

	VMs *[]string `json:"vms,omitempty"` // that are in a VM group in force now, by name; nil: not known
}

// groupsOf returns the groups of a policy, by kind and name.
func groupsOf(p *policy.Policy) []group {
	list := []group{}
	for i := range p.AddressGroups {
		g := &p.AddressGroups[i]
		list = append(list, group{Kind: addressKind, Name: g.Name, Members: append([]string{}, g.Members...)})
	}
	for i := range p.VMGroups {
		list = append(list, group{Kind: vmKind, Name: p.VMGroups[i].Name, Members: vmMembers(&p.VMGroups[i])})
	}
	for i := range list {
		g := &list[i]
		g.Rules, g.Groups = []string{}, []string{}
		for r := range p.Rules() {
			if g.Kind == addressKind && r.Remote.AddressGroup == g.Name || g.Kind == vmKind && r.Remote.VMGroup == g.Name {
				g.Rules = append(g.Rules, r.ID)
			}
		}
		for _, o := range list {
			if o.Kind == g.Kind && slices.Contains(o.Members, g.Kind+"-group:"+g.Name) {
				g.Groups = append(g.Groups, o.Name)
			}
		}
	}
	slices.SortFunc(list, func(a, b group) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return list
}

// vmMembers writes the members of a VM group as the command line reads them; a selector of several words is joined by &.
func vmMembers(g *policy.VMGroup) []string {
	list := append([]string{}, g.VMs...)
	for _, name := range g.Groups {
		list = append(list, "vm-group:"+name)
	}
	for i := range g.Select {
		list = append(list, selectorText(&g.Select[i]))
	}
	return list
}

func selectorText(s *estate.Selector) string {
	var words []string
	for _, tag := range s.Tags {
		words = append(words, "tag:"+tag)
	}
	for _, x := range [][2]string{{"name:", s.Name}, {"network:", s.Network}, {"pool:", s.Pool}} {
		if x[1] != "" {
			words = append(words, x[0]+x[1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Attributes)) {
		words = append(words, "attribute:"+key+"="+s.Attributes[key])
	}
	return strings.Join(words, " & ")
}

// parseSelector reads what selectorText writes; false: it is none.
func parseSelector(text string) (s estate.Selector, ok bool) {
	for word := range strings.SplitSeq(text, " & ") {
		key, value, found := strings.Cut(word, ":")
		if !found || value == "" {
			return s, false
		}
		switch key {
		case "tag":
			s.Tags = append(s.Tags, value)
		case "name":
			s.Name = value
		case "network":
			s.Network = value
		case "pool":
			s.Pool = value
		case "attribute":
			name, content, found := strings.Cut(value, "=")
			if !found {
				return s, false
			}
			if s.Attributes == nil {
				s.Attributes = map[string]string{}
			}
			s.Attributes[name] = content
		default:
			return s, false
		}
	}
	return s, true
}

// groupPolicy returns the policy whose groups are meant: what is in force, or a draft.
func groupPolicy(cmd *cobra.Command, c *client.API, draft string) (policyText, *policyd.DraftText, error) {
	if draft == "" {
		p, err := currentPolicy(cmd.Context(), c)
		return p, nil, err
	}
	d, err := getDraft(cmd.Context(), c, "", draft)
	if err != nil {
		return policyText{}, nil, err
	}
	p, err := parsedPolicy("draft "+d.Name, d.Policy)
	return p, &d, err
}

func newGroupList() *cobra.Command {
	var data, draft string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the groups of the policy, and how many rules use each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			p, _, err := groupPolicy(cmd, c, draft)
			if err != nil {
				return err
			}
			list := groupsOf(p.policy)
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintf(out.W, "%s has no groups: weir group new makes one\n", cli.Clean(p.Name))
				return err
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "GROUP"}, {Name: "OF"}, {Name: "RULES", Right: true}, {Name: "MEMBERS", Right: true}, {Name: ""}}}
			for _, g := range list {
				t.Add(cell(g.Name), cell(map[string]string{addressKind: "addresses", vmKind: "VMs"}[g.Kind]), cell(len(g.Rules)), cell(len(g.Members)), cell(strings.Join(g.Members[:min(6, len(g.Members))], ", ")))
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	draftFlagOf(cmd, &data, &draft, "groups of this draft of yours, instead of what is in force")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// draftFlagOf is --draft, which completes to the drafts of who asks.
func draftFlagOf(cmd *cobra.Command, data, draft *string, text string) {
	cmd.Flags().StringVar(draft, "draft", "", text)
	completes(cmd, data, nil, false, ownDrafts, "draft")
}

// findGroup returns a group by name. kind may be "".
func findGroup(p *policyText, kind, name string) (*group, error) {
	var found []*group
	list := groupsOf(p.policy)
	names := []string{}
	for i := range list {
		if list[i].Name == name && (kind == "" || list[i].Kind == kind) {
			found = append(found, &list[i])
		}
		names = append(names, list[i].Name)
	}
	switch len(found) {
	case 0:
		return nil, notFoundf("%s has no group %q: expected %s; weir group new makes one", p.Name, name, firstOf(strings.Join(names[:min(10, len(names))], ", "), "none, since it has no groups"))
	case 1:
		return found[0], nil
	}
	return nil, usagef("%q is an address group and a VM group: expected --kind address or --kind vm", name)
}

func kindFlag(cmd *cobra.Command, kind *string, text string) {
	cmd.Flags().StringVar(kind, "kind", "", firstOf(text, "address or vm, where groups of both kinds have that name"))
}

func validKind(kind string) error {
	if kind != "" && kind != addressKind && kind != vmKind {
		return usagef("--kind %q: expected address or vm", kind)
	}
	return nil
}

func newGroupShow() *cobra.Command {
	var data, draft, kind string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show GROUP",
		Short:   "Show who is in a group, and which rules and groups use it",
		Example: `  weir group show web --kind vm`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validKind(kind); err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			p, _, err := groupPolicy(cmd, c, draft)
			if err != nil {
				return err
			}
			g, err := findGroup(&p, kind, args[0])
			if err != nil {
				return err
			}
			if g.Kind == vmKind && draft == "" {
				if g.VMs, err = vmsIn(cmd.Context(), c, g.Name); err != nil {
					return err
				}
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, g)
			}
			fmt.Fprintf(out.W, "%s group %s of %s, %s\n", map[string]string{addressKind: "address", vmKind: "VM"}[g.Kind], cli.Clean(g.Name), cli.Clean(p.Name), cli.Counted(len(g.Members), "member"))
			for _, m := range g.Members {
				fmt.Fprintf(out.W, "  %s\n", cli.Clean(m))
			}
			if g.VMs != nil {
				fmt.Fprintf(out.W, "in it now: %s\n", cli.Clean(firstOf(strings.Join(*g.VMs, ", "), "no VM that has a VIF")))
			}
			if len(g.Groups) > 0 {
				fmt.Fprintf(out.W, "in groups: %s\n", cli.Clean(strings.Join(g.Groups, ", ")))
			}
			if len(g.Rules) == 0 {
				later := ""
				if g.Kind == vmKind && draft == "" {
					later = ": once one does, this says which VMs are in it"
				}
				_, err := fmt.Fprintf(out.W, "no rule names it%s\n", later)
				return err
			}
			fmt.Fprintf(out.W, "%s it:\n", map[bool]string{true: "1 rule names", false: fmt.Sprintf("%d rules name", len(g.Rules))}[len(g.Rules) == 1])
			for l := range p.policy.Lists() {
				for i := range l.Rules {
					if r := &l.Rules[i]; slices.Contains(g.Rules, r.ID) {
						off := map[bool]string{true: " (switched off)"}[r.Disabled]
						fmt.Fprintf(out.W, "  %s  %s: %s%s\n", cli.Clean(r.ID), cli.Clean(l.Tier.Name(l.Of)), cli.Clean(r.String()), off)
					}
				}
			}
			return nil
		},
	}
	apiFlags(cmd, &data)
	draftFlagOf(cmd, &data, &draft, "as this draft of yours has it, instead of what is in force")
	completes(cmd, &data, &draft, false, groupNames)
	kindFlag(cmd, &kind, "")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// vmsIn returns the names of the VMs that are in a VM group now; nil if the estate does not know the group yet.
func vmsIn(ctx context.Context, c *client.API, name string) (*[]string, error) {
	names := []string{}
	err := eachPage(ctx, c, "/api/v1/estate/vm", url.Values{"vm_group": {name}}, func(page *struct {
		Entities []api.Entity `json:"entities"`
		Next     string       `json:"next"`
	},
	) string {
		for _, e := range page.Entities {
			names = append(names, e.Name)
		}
		return page.Next
	})
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusNotFound {
		return nil, nil
	}
	return &names, err
}

func newGroupNew() *cobra.Command {
	var kind string
	g := policyChange{
		use: "new GROUP [MEMBER]...", short: "Make a group", long: memberForms, args: cobra.MinimumNArgs(1), flags: func(cmd *cobra.Command) {
			kindFlag(cmd, &kind, "address or vm (default: address if all members are addresses, else vm)")
		},
		example: `  weir group new office 203.0.113.0/24
  weir group new web tag:www --draft web`,
		do: func(p *policyText, args []string) (string, error) {
			if err := validKind(kind); err != nil {
				return "", err
			}
			name, members := args[0], args[1:]
			if kind == "" {
				kind = vmKind
				if len(members) > 0 && !slices.ContainsFunc(members, func(m string) bool { return !isAddressMember(m) }) {
					kind = addressKind
				}
			}
			if len(members) == 0 && kind == vmKind {
				return "", usagef("group %q: expected members, or --kind address for an empty group of addresses", name)
			}
			for _, o := range groupsOf(p.policy) {
				if o.Kind == kind && o.Name == name {
					return "", usagef("%s has a group %q: weir group add puts members into it", p.Name, name)
				}
			}
			if kind == addressKind {
				p.policy.AddressGroups = append(p.policy.AddressGroups, policy.AddressGroup{Name: name, Members: []string{}})
			} else {
				p.policy.VMGroups = append(p.policy.VMGroups, policy.VMGroup{Name: name})
			}
			_, err := addMembers(p.policy, kind, name, members)
			return "group " + name + " made", err
		},
	}
	return g.command()
}

func newGroupAdd() *cobra.Command {
	var kind string
	g := policyChange{
		use: "add GROUP MEMBER...", complete: groupNames, short: "Put members into a group", long: memberForms, args: cobra.MinimumNArgs(2), flags: func(cmd *cobra.Command) { kindFlag(cmd, &kind, "") },
		example: `  weir group add admins 10.0.0.0/8 --reason "the new office"
  weir group add web web-07 --draft web`,
		do: func(p *policyText, args []string) (string, error) {
			if err := validKind(kind); err != nil {
				return "", err
			}
			g, err := findGroup(p, kind, args[0])
			if err != nil {
				return "", err
			}
			added, err := addMembers(p.policy, g.Kind, g.Name, args[1:])
			if err == nil && len(added) == 0 {
				err = conflictError{fmt.Errorf("group %q has %s already: nothing was changed", g.Name, strings.Join(args[1:], ", "))}
			}
			return fmt.Sprintf("group %s gains %s", g.Name, inShort(added)), err
		},
	}
	return g.command()
}

func newGroupRemove() *cobra.Command {
	var kind string
	g := policyChange{
		use: "remove GROUP MEMBER...", complete: groupNames, short: "Take members out of a group", long: memberForms, args: cobra.MinimumNArgs(2), flags: func(cmd *cobra.Command) { kindFlag(cmd, &kind, "") },
		example: `  weir group remove admins 10.0.0.0/8 --reason "the old office"`,
		do: func(p *policyText, args []string) (string, error) {
			if err := validKind(kind); err != nil {
				return "", err
			}
			g, err := findGroup(p, kind, args[0])
			if err != nil {
				return "", err
			}
			for _, m := range args[1:] {
				if !slices.Contains(g.Members, m) {
					return "", notFoundf("group %q has no member %q as it is written: expected %s", g.Name, m, inShort(g.Members))
				}
			}
			keep := func(m string) bool { return !slices.Contains(args[1:], m) }
			removeMembers(p.policy, g.Kind, g.Name, keep)
			return fmt.Sprintf("group %s loses %s", g.Name, inShort(args[1:])), nil
		},
	}
	return g.command()
}

func newGroupDelete() *cobra.Command {
	var kind string
	g := policyChange{
		use: "delete GROUP", complete: groupNames, short: "Delete a group that nothing uses", long: memberForms, args: cobra.ExactArgs(1), flags: func(cmd *cobra.Command) { kindFlag(cmd, &kind, "") },
		do: func(p *policyText, args []string) (string, error) {
			if err := validKind(kind); err != nil {
				return "", err
			}
			g, err := findGroup(p, kind, args[0])
			if err != nil {
				return "", err
			}
			if len(g.Rules)+len(g.Groups) > 0 {
				return "", conflictError{fmt.Errorf("group %q is used: by %s: change that first", g.Name, inShort(append(slices.Clone(g.Rules), g.Groups...)))}
			}
			if g.Kind == addressKind {
				p.policy.AddressGroups = slices.DeleteFunc(p.policy.AddressGroups, func(o policy.AddressGroup) bool { return o.Name == g.Name })
			} else {
				p.policy.VMGroups = slices.DeleteFunc(p.policy.VMGroups, func(o policy.VMGroup) bool { return o.Name == g.Name })
			}
			return "group " + g.Name + " deleted", nil
		},
	}
	return g.command()
}

// inShort lists the first of words.
func inShort(list []string) string {
	const most = 6
	text := strings.Join(list[:min(most, len(list))], ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func isAddressMember(m string) bool {
	_, err := estate.ParseMember(m)
	return err == nil || strings.HasPrefix(m, "address-group:")
}

// addMembers puts members into a group that is there, and returns those that it did not have.
func addMembers(p *policy.Policy, kind, name string, members []string) (added []string, err error) {
	has := map[string]bool{}
	for _, g := range groupsOf(p) {
		if g.Kind == kind && g.Name == name {
			for _, m := range g.Members {
				has[m] = true
			}
		}
	}
	for _, m := range members {
		if has[m] {
			continue
		}
		has[m] = true
		added = append(added, m)
		if kind == addressKind {
			if !isAddressMember(m) {
				return nil, usagef("member %q of address group %q: expected an address, prefix, range or address-group:NAME", m, name)
			}
			for i := range p.AddressGroups {
				if g := &p.AddressGroups[i]; g.Name == name {
					g.Members = append(g.Members, m)
				}
			}
			continue
		}
		for i := range p.VMGroups {
			g := &p.VMGroups[i]
			if g.Name != name {
				continue
			}
			if inner, ok := strings.CutPrefix(m, "vm-group:"); ok {
				g.Groups = append(g.Groups, inner)
			} else if s, ok := parseSelector(m); ok {
				g.Select = append(g.Select, s)
			} else {
				g.VMs = append(g.VMs, m)
			}
		}
	}
	return added, nil
}

// removeMembers keeps those members of a group for which keep says so.
func removeMembers(p *policy.Policy, kind, name string, keep func(string) bool) {
	if kind == addressKind {
		for i := range p.AddressGroups {
			if g := &p.AddressGroups[i]; g.Name == name {
				g.Members = slices.DeleteFunc(g.Members, func(m string) bool { return !keep(m) })
			}
		}
		return
	}
	for i := range p.VMGroups {
		g := &p.VMGroups[i]
		if g.Name != name {
			continue
		}
		g.VMs = slices.DeleteFunc(g.VMs, func(m string) bool { return !keep(m) })
		g.Groups = slices.DeleteFunc(g.Groups, func(m string) bool { return !keep("vm-group:" + m) })
		g.Select = slices.DeleteFunc(g.Select, func(s estate.Selector) bool { return !keep(selectorText(&s)) })
	}
}
