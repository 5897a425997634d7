package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/api/account"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/atomicfile"
)

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make and remove tokens, by which programs are known",
		Long: `Programs present a token instead of logging in: Authorization: Bearer weir_… . A token belongs to a user, may do what its scopes say and never more
than that user, and ends. weir login makes one for you by itself. docs/howto/users-and-tokens.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenList(), newTokenCreate(), newTokenRevoke())
	return cmd
}

// listTokens asks for the tokens of a user; "": of who asks, and of everybody for a superuser.
func listTokens(ctx context.Context, c *client.API, user string) ([]api.Token, error) {
	v := url.Values{}
	if user != "" {
		v.Set("user", user)
	}
	type page struct {
		Tokens []api.Token `json:"tokens"`
		Next   string      `json:"next"`
	}
	tokens := []api.Token{}
	err := eachPage(ctx, c, "/api/v1/tokens", v, func(p *page) string {
		tokens = append(tokens, p.Tokens...)
		return p.Next
	})
	return tokens, err
}

func newTokenList() *cobra.Command {
	var data, user string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens: yours, or, for a superuser, all",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			tokens, err := listTokens(cmd.Context(), c, user)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, tokens)
			}
			return tokenTable(tokens, time.Now()).Write(out)
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().StringVar(&user, "user", "", "only those of this user")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func tokenTable(tokens []api.Token, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "USER"}, {Name: "TOKEN"}, {Name: "ID"}, {Name: "SCOPES"}, {Name: "ENDS"}, {Name: "LAST USED", Right: true}}}
	for i := range tokens {
		k := &tokens[i]
		used := "never"
		if !k.Used.IsZero() {
			used = cli.Span(max(0, now.Sub(k.Used))) + " ago"
		}
		style := cli.Plain
		if k.Expired {
			style = cli.Bad
		}
		t.Add(cell(k.User), cell(k.Name), cell(k.ID), cell(scopesText(k.Scopes)), cli.Cell{Text: k.Expires.Local().Format(time.DateTime), Style: style}, cell(used))
	}
	return t
}

func newTokenCreate() *cobra.Command {
	var data, user, expires, file string
	var scopes []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token, and print it once",
		Long: `Makes a token. It is printed once, or written with mode 0600 to the file of --output, and told nowhere else. A scope is an area and :read or :write, which
includes reading: ` + strings.Join(namesOf(account.Areas, func(a account.Area) string { return string(a) }), ", ") + `, or all.
Give a program what it needs and no more: a token for metrics wants status:read.`,
		Example: `  weir token create prometheus --user prometheus --scope status:read --expires 366d -o /etc/prometheus/weir.token
  weir token create backup --scope policy:read`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := lifeOf(expires, time.Now())
			if err != nil {
				return err
			}
			if len(scopes) == 0 {
				return usagef("found no --scope: expected what the token is for, as status:read")
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var made struct {
				api.Token
				Secret string `json:"secret,omitempty"`
			}
			err = c.Change(cmd.Context(), http.MethodPost, "/api/v1/tokens", map[string]any{"user": user, "name": args[0], "scopes": scopes, "expires": until}, &made)
			if err != nil {
				return err
			}
			if file != "" {
				if err := atomicfile.Write(file, []byte(made.Secret+"\n")); err != nil {
					return fmt.Errorf("the token is made, and lost: weir token revoke %s: %w", made.ID, err)
				}
				made.Secret = ""
			}
			out := outputOf(cmd, asJSON)
			switch {
			case asJSON:
				return cli.WriteJSON(out, made)
			case file != "":
				_, err = fmt.Fprintf(out.W, "token %s of %s is in %s, until %s\n", made.Name, made.User, file, made.Expires.Local().Format(time.DateTime))
			default:
				fmt.Fprintf(cmd.ErrOrStderr(), "token %s of %s, until %s; it is told nowhere else:\n", made.Name, made.User, made.Expires.Local().Format(time.DateTime))
				_, err = fmt.Fprintln(out.W, made.Secret)
			}
			return err
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "whose it is (default: yours)")
	f.StringSliceVar(&scopes, "scope", nil, "what it may be used for, as status:read; several with commas")
	f.StringVar(&expires, "expires", "30d", "how long it is good, as 12h or 90d, at most 366d")
	f.StringVarP(&file, "output", "o", "", "file to write it to, instead of standard output")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newTokenRevoke() *cobra.Command {
	var data, user string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:     "revoke TOKEN",
		Short:   "Remove a token, which is refused from that moment on",
		Long:    `Removes a token by its id or name. Of a name that several users' tokens have, --user says whose is meant.`,
		Example: `  weir token revoke prometheus --user prometheus`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			tokens, err := listTokens(cmd.Context(), c, user)
			if err != nil {
				return err
			}
			k, err := oneToken(tokens, args[0])
			if err != nil {
				return err
			}
			if err := sure(cmd, yes, fmt.Sprintf("Remove token %s of %s?", k.Name, k.User)); err != nil {
				return err
			}
			if err := c.Change(cmd.Context(), http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(k.ID), nil, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, map[string]string{"removed": k.ID, "user": k.User, "name": k.Name})
			}
			_, err = fmt.Fprintf(out.W, "token %s of %s is removed\n", k.Name, k.User)
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().StringVar(&user, "user", "", "whose it is")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// oneToken returns the token that is meant by an id or a name.
func oneToken(tokens []api.Token, what string) (*api.Token, error) {
	var found []*api.Token
	var whose []string
	for i := range tokens {
		switch k := &tokens[i]; what {
		case k.ID:
			return k, nil
		case k.Name:
			found = append(found, k)
			whose = append(whose, k.User)
		}
	}
	switch len(found) {
	case 0:
		return nil, notFoundf("no token %q: weir token list shows those that you may see", what)
	case 1:
		return found[0], nil
	default:
		return nil, usagef("several users have a token %q: say whose by --user: %s", what, strings.Join(whose, ", "))
	}
}

func newRole() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "role",
		Short: "What roles may do",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRoleList())
	return cmd
}

func newRoleList() *cobra.Command {
	var role string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what can be done, the least role for it, and the scope that a token needs",
		Long: `Lists the operations of the API, which commands use, with the least role that may do each, and the scope that a token needs for it. Roles include
those before them: viewer, operator, superuser. It is the table of this program; a server of another version may have another.`,
		Example: `  weir role list
  weir role list --role operator`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := api.Permissions()
			if role != "" {
				r, err := validRole(role)
				if err != nil {
					return err
				}
				kept := []api.Permission{}
				for _, p := range list {
					if p.Role == "" || r.Includes(p.Role) {
						kept = append(kept, p)
					}
				}
				list = kept
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "OPERATION"}, {Name: "LEAST ROLE"}, {Name: "SCOPE"}, {Name: "TOLD AS"}}}
			for _, p := range list {
				t.Add(cell(p.Operation), cell(firstOf(string(p.Role), "(nobody needs to be known)")), cell(p.Scope), cell(p.Change))
			}
			return t.Write(out)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "only what this role may do")
	jsonFlag(cmd, &asJSON)
	return cmd
}
