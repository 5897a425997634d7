package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/explain"
)

// policyText is a policy that a command works with.
type policyText struct {
	Name   string `json:"name"` // for people: what is in force (revision 3), revision 3, draft x, policy.yaml
	Text   string `json:"-"`
	policy *policy.Policy
	kept   string // by what the API names it: a revision or a draft; "": Weir does not keep it
}

// policyWords say what names a policy in arguments.
const policyWords = "the number of a revision, current (what is in force), draft:NAME, draft:USER/NAME, or a file; - is standard input"

// findPolicy returns the policy that a word of a command line names; see policyWords.
func findPolicy(cmd *cobra.Command, c *client.API, word string) (policyText, error) {
	n, err := strconv.ParseUint(word, 10, 63)
	switch {
	case word == "current":
		return currentPolicy(cmd.Context(), c)
	case err == nil:
		return revisionPolicy(cmd.Context(), c, n)
	}
	if name, ok := strings.CutPrefix(word, "draft:"); ok {
		owner := ""
		if o, n, ok := strings.Cut(name, "/"); ok {
			owner, name = o, n
		}
		d, err := getDraft(cmd.Context(), c, owner, name)
		if err != nil {
			return policyText{}, err
		}
		p, err := parsedPolicy("draft "+d.Name, d.Policy)
		p.kept = "draft:" + d.Owner + "/" + d.Name
		return p, err
	}
	text, err := readPolicy(cmd, word)
	if err != nil {
		if _, statErr := os.Stat(word); os.IsNotExist(statErr) {
			return policyText{}, notFoundf("%q is no file: expected %s", word, policyWords)
		}
		return policyText{}, err
	}
	return parsedPolicy(word, text)
}

// parsedPolicy reads the text of a policy. The name is that of a file, for messages.
func parsedPolicy(name, text string) (policyText, error) {
	p, err := policy.Parse(name, []byte(text))
	return policyText{Name: name, Text: text, policy: p}, err
}

// currentPolicy returns what is in force at all hosts; a policy that says nothing if that is none.
func currentPolicy(ctx context.Context, c *client.API) (policyText, error) {
	var p policyd.PolicyText
	err := c.Get(ctx, "/api/v1/policy", &p)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return policyText{Name: "no policy (none was applied yet)", policy: &policy.Policy{}}, nil
	case err != nil:
		return policyText{}, err
	}
	return keptRevision(&p, ", in force")
}

// keptRevision returns a revision that the API told; note is added to its name.
func keptRevision(p *policyd.PolicyText, note string) (policyText, error) {
	x, err := parsedPolicy(fmt.Sprintf("revision %d%s", p.Revision.Revision, note), p.Policy)
	x.kept = strconv.FormatUint(p.Revision.Revision, 10)
	return x, err
}

// revisionPolicy returns a revision; 0 is a policy that says nothing.
func revisionPolicy(ctx context.Context, c *client.API, number uint64) (policyText, error) {
	if number == 0 {
		return policyText{Name: "no policy", policy: &policy.Policy{}}, nil
	}
	var p policyd.PolicyText
	if err := c.Get(ctx, "/api/v1/policy/revisions/"+strconv.FormatUint(number, 10), &p); err != nil {
		return policyText{}, err
	}
	return keptRevision(&p, "")
}

// explained is how one policy differs from another, for people and as JSON.
type explained struct {
	From       policyText          `json:"from"`
	To         policyText          `json:"to"`
	Difference *policy.Difference  `json:"difference"`
	Explained  explain.Explanation `json:"explained"`
	vifSettings
}

// vifSettings are settings that VIFs of the estate as it is now have otherwise by one policy than by another one.
type vifSettings struct {
	VIFs    int                    `json:"setting_vifs,omitempty"`
	Changes []policy.SettingChange `json:"setting_changes,omitempty"`
	Unknown string                 `json:"setting_unknown,omitempty"` // why that is not known
}

// compareSettings asks which settings VIFs have otherwise by b than by a.
func compareSettings(ctx context.Context, c *client.API, a, b *policyText) (vifSettings, error) {
	if a.kept == "" || b.kept == "" {
		return vifSettings{Unknown: "both have to be revisions or drafts; of a file, weir policy plan says it"}, nil
	}
	var x policyd.Comparison
	err := c.Get(ctx, "/api/v1/policy/compare?from="+url.QueryEscape(a.kept)+"&to="+url.QueryEscape(b.kept), &x)
	return vifSettings{x.SettingVIFs, x.SettingChanges, x.SettingUnknown}, err
}

// write says it for people, after differences.
func (v *vifSettings) write(out *cli.Output) error {
	if v.Unknown != "" {
		_, err := fmt.Fprintf(out.W, "\nwhich VIFs get other settings is not known: %s\n", cli.Clean(v.Unknown))
		return err
	}
	fmt.Fprintf(out.W, "\n%s other settings by it, of those that there are now\n", vifsGet(v.VIFs))
	writeSettingChanges(out, v.Changes, 0)
	return nil
}

// explainPolicies says how b differs from a. Rules of b without an id are called new-1 and so on: they get one when they are kept.
func explainPolicies(a, b policyText, now time.Time) explained {
	identify(a.policy, nil)
	identify(b.policy, a.policy)
	return explained{From: a, To: b, Difference: policy.Compare(a.policy, b.policy), Explained: *explain.Of(a.policy, b.policy, now)}
}

// identify names rules that have no id for as long as a command runs.
func identify(p, former *policy.Policy) {
	n := 0
	p.Identify(former, func() string {
		n++
		return fmt.Sprintf("new-%d", n)
	})
}

// raw returns a unified diff of the documents, as Weir writes them; "" if they are the same.
func (e *explained) raw() (string, error) {
	a, err := e.From.policy.Encode()
	if err != nil {
		return "", err
	}
	b, err := e.To.policy.Encode()
	if err != nil {
		return "", err
	}
	text := string(diff.Diff(e.From.Name, a, e.To.Name, b))
	_, text, _ = strings.Cut(text, "\n") // without its first line, which says diff and the names
	return text, nil
}

var markStyles = map[string]cli.Style{"+": cli.Good, "-": cli.Bad, "~": cli.Warn}

// writeDifferences says for people how policies differ; at most so many points, 0: all.
func writeDifferences(out *cli.Output, e *explain.Explanation, most int) error {
	style := cli.Bold
	if e.Effect == explain.None {
		style = cli.Plain
	}
	fmt.Fprintln(out.W, out.Paint(cli.Clean(e.Summary), style))
	const mostWarnings = 20 // unless all is asked for
	for i, w := range e.Warnings {
		if most > 0 && i == mostWarnings {
			fmt.Fprintf(out.W, "! … and %s: weir policy diff shows all\n", cli.Counted(len(e.Warnings)-i, "more warning"))
			break
		}
		writeWrapped(out, "! ", "  ", w, cli.Bad)
	}
	left := most
	for _, s := range e.Sections {
		fmt.Fprintf(out.W, "\n%s\n", out.Paint(cli.Clean(s.Title), cli.Bold))
		for i, p := range s.Points {
			if most > 0 {
				if left == 0 {
					more := len(s.Points) - i
					fmt.Fprintf(out.W, "  … and %s here: weir policy diff shows all\n", cli.Counted(more, "difference"))
					break
				}
				left--
			}
			writeWrapped(out, "  "+out.Paint(p.Mark, markStyles[p.Mark])+" ", "    ", p.Text, cli.Plain)
		}
	}
	return nil
}

// writeWrapped writes a text in lines of the width of the terminal.
func writeWrapped(out *cli.Output, lead, indent, text string, style cli.Style) {
	for i, line := range cli.Wrap(cli.Clean(text), out.Width-len(indent)) {
		if i > 0 {
			lead = indent
		}
		fmt.Fprintf(out.W, "%s%s\n", lead, out.Paint(line, style))
	}
}

func newPolicyDiff() *cobra.Command {
	var data string
	var raw, asJSON bool
	cmd := &cobra.Command{
		Use:   "diff [A] [B]",
		Short: "Say how one policy differs from another",
		Long: `Says in sentences how policy B differs from policy A: what opens and what closes first, which rule decides now what another one decided, and
what to think about; of revisions and drafts also which VIFs that there are now get another value of which setting. Each of them is
` + policyWords + `.

Without A and B, your draft is compared with what is in force. With one, a revision is compared with what is in force since, and anything else with
what is in force now. weir policy history NUMBER says what a single revision changed.`,
		Example: `  weir policy diff
  weir policy diff 11 12
  weir policy diff policy.yaml
  weir policy diff draft:web --raw`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			words := args
			switch _, err := strconv.ParseUint(firstOf(append(args, "")...), 10, 63); {
			case len(args) == 0:
				d, err := onlyDraft(cmd.Context(), c, "")
				if err != nil {
					return err
				}
				words = []string{"current", "draft:" + d}
			case len(args) == 1 && err == nil:
				words = []string{args[0], "current"}
			case len(args) == 1:
				words = []string{"current", args[0]}
			}
			a, err := findPolicy(cmd, c, words[0])
			if err != nil {
				return err
			}
			b, err := findPolicy(cmd, c, words[1])
			if err != nil {
				return err
			}
			e := explainPolicies(a, b, time.Now())
			out := outputOf(cmd, asJSON)
			differ := len(e.Difference.Settings) > 0
			if differ && !raw {
				if e.vifSettings, err = compareSettings(cmd.Context(), c, &a, &b); err != nil {
					return err
				}
			}
			switch {
			case asJSON:
				return cli.WriteJSON(out, e)
			case raw:
				text, err := e.raw()
				if err != nil {
					return err
				}
				return writeRaw(out, text)
			}
			fmt.Fprintf(out.W, "%s compared with %s:\n", cli.Clean(b.Name), cli.Clean(a.Name))
			if err := writeDifferences(out, &e.Explained, 0); err != nil || !differ {
				return err
			}
			return e.vifSettings.write(out)
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().BoolVar(&raw, "raw", false, "a unified diff of the documents instead of sentences")
	jsonFlag(cmd, &asJSON)
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	return cmd
}

// writeRaw writes a unified diff.
func writeRaw(out *cli.Output, text string) error {
	styles := map[byte]cli.Style{'+': cli.Good, '-': cli.Bad, '@': cli.Dim}
	for line := range strings.Lines(text) {
		line = cli.Clean(strings.TrimSuffix(line, "\n"))
		style := cli.Plain
		if line != "" {
			style = styles[line[0]]
		}
		if _, err := fmt.Fprintln(out.W, out.Paint(line, style)); err != nil {
			return err
		}
	}
	return nil
}

// withPlaces names what is wrong with a policy by the name of its file instead of by that of the request.
func withPlaces(err error, file string) error {
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Status != http.StatusUnprocessableEntity {
		return err
	}
	var lines []string
	for _, f := range p.Fields {
		var found policyd.Problem
		if f.Location != "body.policy" || json.Unmarshal(f.Value, &found) != nil || found.Text == "" {
			continue
		}
		if found.Line > 0 {
			lines = append(lines, file+":"+found.String())
		} else {
			lines = append(lines, file+": "+found.String())
		}
	}
	switch n := len(lines); n {
	case 0:
		return err
	case 1:
		return errors.New(lines[0])
	default:
		text := fmt.Sprintf("%s: %d problems:\n  %s", file, n, strings.Join(lines, "\n  "))
		if _, more, ok := strings.Cut(p.Detail, "\n  … and "); ok {
			text += "\n  … and " + more
		}
		return errors.New(text)
	}
}

// getDraft returns a draft with its text; owner is whose it is, "": who asks.
func getDraft(ctx context.Context, c *client.API, owner, name string) (policyd.DraftText, error) {
	path := draftPath(name)
	if owner != "" {
		path += "?owner=" + url.QueryEscape(owner)
	}
	var d policyd.DraftText
	return d, c.Get(ctx, path, &d)
}

func draftPath(name string) string { return "/api/v1/policy/drafts/" + url.PathEscape(name) }
