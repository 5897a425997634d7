package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/store"
)

// estateService is what the API offers of the estate.
type estateService struct {
	*estate.Assembler
	store   *store.Client
	reports func() []api.SourceReport
}

// Reports returns how each source does.
func (s estateService) Reports() []api.SourceReport { return s.reports() }

// At returns the estate at a time, from the history in the store.
func (s estateService) At(ctx context.Context, at time.Time) ([]estate.Entity, error) {
	rows, err := s.store.EntitiesAt(ctx, at)
	list := make([]estate.Entity, len(rows))
	for i, e := range rows {
		list[i] = estate.Entity(e)
	}
	return list, err
}

func newEstate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "estate",
		Short: "Show what exists, who says so, and what a flow is resolved to",
		Long: `Shows the estate of a running instance: pools, hosts, bridges, networks, VMs, VIFs and groups, as the estate file and the databases of
hosts tell them together. docs/explanation/estate.md says how they are merged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEstateTree(), newEstateSearch(), newEstateExplain(), newEstateSources())
	return cmd
}

func newEstateTree() *cobra.Command {
	var o estateOptions
	cmd := &cobra.Command{
		Use:   "tree",
		Short: "Show all that exists, or did at a time",
		Long: `Shows pools with their hosts, bridges, networks and VMs, then groups, and who tells of each.

With --at it is as it was stored at that time (table entities): what was known then, under the names of then.`,
		Example: `  weir estate tree
  weir estate tree --at "2026-11-24 10:00"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.show(cmd, "") },
	}
	o.flags(cmd)
	return cmd
}

func newEstateSearch() *cobra.Command {
	var o estateOptions
	cmd := &cobra.Command{
		Use:   "search TEXT",
		Short: "Show what has a text in its name, key, addresses or other attributes",
		Long:  `Shows, as weir estate tree does, what has TEXT in its name, key or attributes, in any case, and what it is part of.`,
		Example: `  weir estate search web
  weir estate search 02:00:00:00:10 --at now-1h`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.show(cmd, args[0])
		},
	}
	o.flags(cmd)
	return cmd
}

type estateOptions struct {
	data, at string
	asJSON   bool
}

func (o *estateOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.at, "at", "", "show it as it was, at 2026-11-24 10:00 or now-2h")
	apiFlags(cmd, &o.data)
	jsonFlag(cmd, &o.asJSON)
}

func (o *estateOptions) show(cmd *cobra.Command, text string) error {
	v := url.Values{}
	if text != "" {
		v.Set("search", text)
	}
	if o.at != "" {
		at, err := cli.ParseTime(o.at, time.Now())
		if err != nil {
			return usageError{fmt.Errorf("--at: %w", err)}
		}
		v.Set("at", at.UTC().Format(time.RFC3339Nano))
	}
	c, err := connect(cmd, o.data)
	if err != nil {
		return err
	}
	var answer api.EstateAnswer
	if err := c.Get(cmd.Context(), "/api/v1/estate?"+v.Encode(), &answer); err != nil {
		return err
	}
	out := outputOf(cmd, o.asJSON)
	switch {
	case len(answer.Entities) == 0 && text != "":
		return notFoundf("nothing in the estate has %q", text)
	case o.asJSON:
		return cli.WriteJSON(out, answer)
	case len(answer.Entities) == 0:
		_, err := fmt.Fprintln(out.W, "nothing is known: describe the estate in a file (docs/howto/describe-the-estate.md), or add hosts (weir hosts add)")
		return err
	}
	if err := estateTable(answer.Entities).Write(out); err != nil {
		return err
	}
	for _, s := range answer.Sources {
		if !s.Stale.IsZero() {
			fmt.Fprintf(out.W, "note: %s cannot be asked since %s; what it said last stays in use\n", s.Title, s.Stale.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// estateTable shows entities as a tree.
func estateTable(list []api.Entity) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "KIND"}, {Name: "NAME"}, {Name: "SOURCE"}, {Name: "ATTRIBUTES"}}}
	there := map[flow.ID]bool{}
	for _, e := range list {
		there[e.ID] = true
	}
	children := map[flow.ID][]api.Entity{} // of 0 what is part of nothing
	for _, e := range list {
		parent := e.Parent
		if !there[parent] || parent == e.ID {
			parent = 0
		}
		children[parent] = append(children[parent], e)
	}
	shown := map[flow.ID]bool{}
	var add func(parent flow.ID, depth int)
	add = func(parent flow.ID, depth int) {
		slices.SortStableFunc(children[parent], func(a, b api.Entity) int {
			return cmp.Or(cmp.Compare(slices.Index(flow.Kinds, a.Kind), slices.Index(flow.Kinds, b.Kind)), strings.Compare(a.Name, b.Name))
		})
		for _, e := range children[parent] {
			if shown[e.ID] { // a circle, which only a damaged table has
				continue
			}
			shown[e.ID] = true
			var attributes []string
			for _, k := range slices.Sorted(maps.Keys(e.Attributes)) {
				if k != "device" {
					attributes = append(attributes, k+"="+e.Attributes[k])
				}
			}
			t.Add(cli.Cell{Text: string(e.Kind)}, cli.Cell{Text: strings.Repeat("  ", depth) + e.Name}, cli.Cell{Text: e.Source}, cli.Cell{Text: strings.Join(attributes, " ")})
			add(e.ID, depth+1)
		}
	}
	add(0, 0)
	return t
}

func newEstateExplain() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain WHAT",
		Short: "Tell which source says what of something, which of them counts and why, and what a flow is resolved to",
		Long: `WHAT is an IP or MAC address, a UUID or other key, an id as flows hold it, or a name (of a VIF: vm/device), in any case.

For each property it lists what every source says, the most believed first; * marks what is used. With an address it also tells
what a flow with it is resolved to.`,
		Example: `  weir estate explain 198.51.100.11
  weir estate explain web01`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var e estate.Explanation
			if err := c.Get(cmd.Context(), "/api/v1/estate/explain?"+url.Values{"what": {args[0]}}.Encode(), &e); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if len(e.Found) == 0 && !slices.ContainsFunc(e.Flow, func(r estate.Resolution) bool { return r.Result != "miss" || len(r.Groups) > 0 }) {
				return notFoundf("%s", nothingGoesBy(&e))
			}
			if asJSON {
				return cli.WriteJSON(out, e)
			}
			return writeExplanation(out, &e)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func nothingGoesBy(e *estate.Explanation) string {
	var names []string
	for _, s := range e.Sources {
		names = append(names, s.Title)
	}
	if len(names) == 0 {
		names = []string{"none: describe the estate in a file, or add hosts"}
	}
	return fmt.Sprintf("nothing in the estate goes by %q; sources: %s; weir estate search finds parts of names", e.Query, strings.Join(names, ", "))
}

func writeExplanation(out *cli.Output, e *estate.Explanation) error {
	for i := range e.Found {
		x := &e.Found[i]
		fmt.Fprintf(out.W, "%s %s, id %d\n", x.Kind, cli.Clean(x.Name), x.ID)
		if len(x.SameAs) > 0 {
			fmt.Fprintf(out.W, "also known by %s\n", cli.Clean(strings.Join(x.SameAs, ", ")))
		}
		t := &cli.Table{Columns: []cli.Column{{Name: "PROPERTY"}, {Name: "VALUE"}, {Name: "SOURCE"}, {Name: "SAYS"}, {Name: "WHY"}}}
		for _, f := range x.Fields {
			property, value, why := f.Field, f.Value, f.Why
			for _, w := range f.Said {
				source := w.Source
				if w.Used {
					source += " *"
				}
				style := cli.Plain
				if w.Stale {
					source, style = source+" (stale)", cli.Warn
				}
				t.Add(cli.Cell{Text: property}, cli.Cell{Text: value}, cli.Cell{Text: source, Style: style}, cli.Cell{Text: w.Value}, cli.Cell{Text: why})
				property, value, why = "", "", ""
			}
			if len(f.Said) == 0 {
				t.Add(cli.Cell{Text: property}, cli.Cell{Text: value}, cli.Cell{}, cli.Cell{}, cli.Cell{Text: why})
			}
		}
		if err := t.Write(out); err != nil {
			return err
		}
		fmt.Fprintln(out.W)
	}
	if e.More > 0 {
		fmt.Fprintf(out.W, "… and %d more\n\n", e.More)
	}
	for _, r := range e.Flow {
		parts := []string{fmt.Sprintf("a flow with it, by %s: %s", r.By, r.Result)}
		for _, part := range []struct{ what, value string }{{"VIF", r.VIF}, {"VM", r.VM}, {"host", r.Host}, {"groups", strings.Join(r.Groups, ", ")}} {
			if part.value != "" {
				parts = append(parts, part.what+" "+part.value)
			}
		}
		fmt.Fprintln(out.W, cli.Clean(strings.Join(parts, ", ")))
	}
	return nil
}
