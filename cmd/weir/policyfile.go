package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
)

func newPolicyExport() *cobra.Command {
	var data, file, draft string
	var revision uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "export",
		Aliases: []string{"get"},
		Short:   "Print the policy that is in force, a revision or a draft as YAML",
		Long: `Prints the policy that is in force as YAML, in which every rule has its id; with --revision one that was in force before, with --draft a draft. What is
written is what weir policy import, plan and apply read: to import what was exported changes nothing.`,
		Example: `  weir policy export -o policy.yaml
  weir policy export --revision 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var text string
			var answer any
			if draft != "" {
				owner, name, ok := strings.Cut(draft, "/")
				if !ok {
					owner, name = "", draft
				}
				d, err := getDraft(cmd.Context(), c, owner, name)
				if err != nil {
					return err
				}
				text, answer = d.Policy, d
			} else {
				var p policyd.PolicyText
				if err := c.Get(cmd.Context(), fmt.Sprintf("/api/v1/policy?revision=%d", revision), &p); err != nil {
					return err
				}
				text, answer = p.Policy, p
			}
			out := outputOf(cmd, asJSON)
			switch {
			case asJSON:
				return cli.WriteJSON(out, answer)
			case file != "":
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					return fmt.Errorf("write policy: %w", err)
				}
				return nil
			}
			_, err = io.WriteString(out.W, text)
			return err
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.StringVarP(&file, "output", "o", "", "file to write it to, instead of standard output")
	f.Uint64Var(&revision, "revision", 0, "one that was applied before (weir policy history lists them)")
	f.StringVar(&draft, "draft", "", "a draft of yours, or USER/NAME")
	jsonFlag(cmd, &asJSON)
	cmd.MarkFlagsMutuallyExclusive("output", "json")
	cmd.MarkFlagsMutuallyExclusive("revision", "draft")
	completes(cmd, &data, nil, false, ownDrafts, "draft")
	completes(cmd, &data, nil, false, lastRevisions, "revision")
	return cmd
}

func newPolicyImport() *cobra.Command {
	var data, draft string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a YAML file a draft",
		Long: `Checks a policy as for being applied and makes it a draft: a new one, or, if you have it, the next edit of it, which can be undone. If anything is
wrong, all of it is named with line and column, and nothing is changed. Nothing is put in force. FILE - is standard input.`,
		Example: `  weir policy import policy.yaml --draft web
  weir policy import - < policy.yaml`,
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
			name := firstOf(draft, draftNameOf(args[0]))
			var version uint64
			switch d, err := getDraft(cmd.Context(), c, "", name); {
			case err == nil:
				version = d.Version
			case !errors.Is(err, client.ErrNotFound):
				return err
			}
			var d policyd.DraftText
			err = patiently(cmd, asJSON, "checking the policy", func() error {
				return c.Change(cmd.Context(), http.MethodPost, "/api/v1/policy/import", policyd.ImportRequest{Name: name, Policy: text, Version: version}, &d)
			})
			if err != nil {
				return withPlaces(err, args[0])
			}
			now, err := currentPolicy(cmd.Context(), c)
			if err != nil {
				return err
			}
			p, err := parsedPolicy("draft "+d.Name, d.Policy)
			if err != nil {
				return err
			}
			e := explainPolicies(now, p, time.Now())
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, struct {
					policyd.DraftText
					explained
				}{d, e})
			}
			fmt.Fprintf(out.W, "%s is draft %s; compared with %s:\n", cli.Clean(args[0]), cli.Clean(d.Name), cli.Clean(now.Name))
			if err := writeDifferences(out, &e.Explained, maxPlanned); err != nil {
				return err
			}
			_, err = fmt.Fprintf(out.W, "\nnothing of it is in force: weir policy plan --draft %[1]s, then weir policy apply --draft %[1]s\n", cli.Clean(d.Name))
			return err
		},
	}
	apiFlags(cmd, &data)
	draftFlagOf(cmd, &data, &draft, "name of the draft (default: as the file is named)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// draftNameOf is the name of a draft that is made of a file.
func draftNameOf(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	if name = name[:min(64, len(name))]; strings.Trim(name, "-.") == "" {
		return firstDraft
	}
	return name
}
