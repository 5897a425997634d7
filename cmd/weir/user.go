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
)

func newUser() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Say who may use Weir, and as what",
		Long: `Users log in with a password, at the API or by weir login, or make tokens for programs. A user has a role: viewer, operator or superuser (weir
role list). On the machine itself nobody needs to log in: commands that are run as the user of Weir may do everything, which is also the way back
when the last password is lost. docs/howto/users-and-tokens.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUserList(), newUserShow(), newUserAdd(), newUserRole(), newUserDisabled(true), newUserDisabled(false), newUserPassword(), newUserRemove())
	return cmd
}

// eachPage asks for all pages of a listing, and gives each to take, which returns the cursor of the next.
func eachPage[T any](ctx context.Context, c *client.API, path string, v url.Values, take func(*T) (next string)) error {
	v.Set("limit", "1000")
	for {
		var page T
		if err := c.Get(ctx, path+"?"+v.Encode(), &page); err != nil {
			return err
		}
		next := take(&page)
		if next == "" {
			return nil
		}
		v.Set("cursor", next)
	}
}

func newUserList() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List users, their roles, and when they logged in last",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			type page struct {
				Users []api.User `json:"users"`
				Next  string     `json:"next"`
			}
			users := []api.User{}
			err = eachPage(cmd.Context(), c, "/api/v1/users", url.Values{}, func(p *page) string {
				users = append(users, p.Users...)
				return p.Next
			})
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, users)
			}
			return userTable(users, time.Now()).Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func userTable(users []api.User, now time.Time) *cli.Table {
	t := &cli.Table{Columns: []cli.Column{{Name: "USER"}, {Name: "ROLE"}, {Name: "STATE"}, {Name: "LAST LOGIN", Right: true}, {Name: "COMMENT"}}}
	for i := range users {
		u := &users[i]
		seen := "never"
		if !u.Seen.IsZero() {
			seen = cli.Span(now.Sub(u.Seen)) + " ago"
		}
		t.Add(cell(u.Name), cell(u.Role), userState(u), cell(seen), cell(u.Comment))
	}
	return t
}

// userState says whether somebody can log in.
func userState(u *api.User) cli.Cell {
	switch {
	case u.Disabled:
		return cli.Cell{Text: "disabled", Style: cli.Bad}
	case !u.Password:
		return cli.Cell{Text: "has no password", Style: cli.Dim}
	case u.OneTime:
		return cli.Cell{Text: "password for one time", Style: cli.Warn}
	default:
		return cli.Cell{Text: "active", Style: cli.Good}
	}
}

func newUserShow() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [USER]",
		Short: "Show a user; without USER, who you are to the server",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if len(args) == 0 {
				return showWho(cmd.Context(), c, out)
			}
			var u api.User
			if err := c.Get(cmd.Context(), userPath(args[0]), &u); err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(out, u)
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
			t.Add(cell("user"), cell(u.Name))
			t.Add(cell("role"), cell(u.Role))
			t.Add(cell("state"), userState(&u))
			t.Add(cell("made"), cell(u.Created.Local().Format(time.DateTime)))
			if !u.Seen.IsZero() {
				t.Add(cell("last login"), cell(u.Seen.Local().Format(time.DateTime)))
			}
			if u.Comment != "" {
				t.Add(cell("comment"), cell(u.Comment))
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// showWho says who asks.
func showWho(ctx context.Context, c *client.API, out *cli.Output) error {
	var who api.Session
	if err := c.Get(ctx, "/api/v1/session", &who); err != nil {
		return err
	}
	who.CSRF = ""
	if out.JSON {
		return cli.WriteJSON(out, who)
	}
	t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
	t.Add(cell("server"), cell(c.Name()))
	t.Add(cell("user"), cell(firstOf(who.User, "nobody: who is on this machine may look")))
	t.Add(cell("role"), cell(who.Role))
	t.Add(cell("known by"), cell(who.Via))
	if len(who.Scopes) > 0 {
		t.Add(cell("scopes"), cell(scopesText(who.Scopes)))
	}
	return t.Write(out)
}

func scopesText(list []account.Scope) string {
	return strings.Join(namesOf(list, func(s account.Scope) string { return string(s) }), ", ")
}

func userPath(name string) string { return "/api/v1/users/" + url.PathEscape(name) }

// validRole refuses what is no role.
func validRole(word string) (account.Role, error) {
	r := account.Role(word)
	if !r.Known() {
		return r, usagef("role %q: expected one of %s", word, strings.Join(roleNames(), ", "))
	}
	return r, nil
}

// passwordJSON is a password as it is told.
type passwordJSON struct {
	User     string `json:"user"`
	Password string `json:"password"` // for one time
}

// givePassword gives a user a password for one time, and returns it.
func givePassword(ctx context.Context, c *client.API, user string) (passwordJSON, error) {
	given := passwordJSON{User: user}
	err := c.Change(ctx, http.MethodPost, userPath(user)+"/password", struct{}{}, &given)
	return given, err
}

// tellPassword shows a password, once.
func tellPassword(out *cli.Output, given passwordJSON) error {
	if out.JSON {
		return cli.WriteJSON(out, given)
	}
	_, err := fmt.Fprintf(out.W, "password of %s, for one time: %s\nIt is told nowhere else, and has to be changed at the first login.\n", given.User, given.Password)
	return err
}

func newUserAdd() *cobra.Command {
	var data, role, comment string
	var noPassword, asJSON bool
	cmd := &cobra.Command{
		Use:   "add USER",
		Short: "Make a user, and print a password for one time",
		Long: `Makes a user. The password is printed once, and has to be changed at the first login (weir login). With --no-password there is none: such a user is
for the tokens of programs.`,
		Example: `  weir user add vera --role viewer --comment "network team"
  weir user add prometheus --role viewer --no-password`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := validRole(role)
			if err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var u api.User
			_, err = c.Send(cmd.Context(), client.Request{
				Method: http.MethodPut, Path: userPath(args[0]), Body: api.UserWanted{Role: r, Comment: comment}, Into: &u, IfNoneMatch: "*",
			})
			if err != nil {
				return fmt.Errorf("add user %q: %w", args[0], err)
			}
			out := outputOf(cmd, asJSON)
			if !noPassword {
				given, err := givePassword(cmd.Context(), c, args[0])
				if err != nil {
					return fmt.Errorf("%s is made, and has no password yet (weir user password %s): %w", args[0], args[0], err)
				}
				return tellPassword(out, given)
			}
			if asJSON {
				return cli.WriteJSON(out, u)
			}
			_, err = fmt.Fprintf(out.W, "%s is made: %s\n", u.Name, u.Role)
			return err
		},
	}
	apiFlags(cmd, &data)
	f := cmd.Flags()
	f.StringVar(&role, "role", string(account.Viewer), "what he may do: "+strings.Join(roleNames(), ", "))
	f.StringVar(&comment, "comment", "", "who that is")
	f.BoolVar(&noPassword, "no-password", false, "none: the user cannot log in")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// changeUser changes what a user is, unless somebody else does meanwhile.
func changeUser(ctx context.Context, c *client.API, name string, change func(*api.UserWanted)) (api.User, error) {
	var u api.User
	found, err := c.Send(ctx, client.Request{Path: userPath(name), Into: &u})
	if err != nil {
		return u, err
	}
	wanted := u.UserWanted
	change(&wanted)
	var after api.User
	_, err = c.Send(ctx, client.Request{Method: http.MethodPut, Path: userPath(name), Body: wanted, Into: &after, IfMatch: found.ETag})
	return after, err
}

// tellUser says how a user is now.
func tellUser(out *cli.Output, u *api.User, text string) error {
	if out.JSON {
		return cli.WriteJSON(out, u)
	}
	_, err := fmt.Fprintln(out.W, text)
	return err
}

func newUserRole() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "role USER ROLE",
		Short:   "Give a user another role",
		Long:    `Gives a user another role, and ends his sessions; his tokens do no more than the role from then on. The last superuser who can log in stays one.`,
		Example: `  weir user role vera operator`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := validRole(args[1])
			if err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			u, err := changeUser(cmd.Context(), c, args[0], func(w *api.UserWanted) { w.Role = r })
			if err != nil {
				return err
			}
			return tellUser(outputOf(cmd, asJSON), &u, fmt.Sprintf("%s is %s", u.Name, u.Role))
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// newUserDisabled is weir user disable, or enable.
func newUserDisabled(disabled bool) *cobra.Command {
	var data string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "disable USER",
		Short: "Shut a user out: what he presents is refused from that moment on",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if disabled {
				if err := sure(cmd, yes, "Shut out "+args[0]+", and all programs with his tokens?"); err != nil {
					return err
				}
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			u, err := changeUser(cmd.Context(), c, args[0], func(w *api.UserWanted) { w.Disabled = disabled })
			if err != nil {
				return err
			}
			return tellUser(outputOf(cmd, asJSON), &u, fmt.Sprintf("%s is %s", u.Name, map[bool]string{true: "disabled", false: "enabled"}[u.Disabled]))
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	if disabled {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	} else {
		cmd.Use, cmd.Short = "enable USER", "Let a user in again"
	}
	return cmd
}

func newUserPassword() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "password [USER]",
		Short: "Give a user a password for one time; without USER, change your own",
		Long: `With USER, gives a user a new password for one time, which is printed once; all his sessions end, his tokens stay. On the machine it works
without logging in, also for the last superuser, which is what to do when a password is lost.

Without USER, asks for your password at the server and changes it. Where standard input is no terminal, the former and the new one are read from
it, a line each.`,
		Example: `  weir user password vera
  weir user password --server prod`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if len(args) == 0 {
				return changeOwnPassword(cmd, c, out)
			}
			given, err := givePassword(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return tellPassword(out, given)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// changeOwnPassword changes the password of who asks with a token.
func changeOwnPassword(cmd *cobra.Command, c *client.API, out *cli.Output) error {
	if _, here := c.Instance(); here {
		return usagef("found no USER: on the machine you are not logged in as one: expected whose password")
	}
	who, err := c.Session(cmd.Context())
	if err != nil {
		return err
	}
	former, err := askSecret(cmd, "Password of "+who.User)
	if err != nil {
		return err
	}
	s, err := c.Login(cmd.Context(), who.User, former)
	if err != nil {
		return err
	}
	password, err := askNewPassword(cmd)
	if err == nil {
		err = s.ChangePassword(cmd.Context(), former, password)
	}
	if endErr := s.End(context.WithoutCancel(cmd.Context())); err == nil && endErr != nil {
		err = fmt.Errorf("end session: %w", endErr)
	}
	if err != nil {
		return err
	}
	if out.JSON {
		return cli.WriteJSON(out, map[string]string{"user": s.User})
	}
	_, err = fmt.Fprintf(out.W, "the password of %s is changed; other sessions have ended, tokens stay\n", s.User)
	return err
}

func newUserRemove() *cobra.Command {
	var data string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "remove USER",
		Short: "Remove a user, with his tokens",
		Long: `Removes a user; what he presents is refused from that moment on. What he has changed stays, and stays told (weir audit list). weir user disable
shuts him out and can be undone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sure(cmd, yes, "Remove "+args[0]+", and his tokens?"); err != nil {
				return err
			}
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			if err := c.Change(cmd.Context(), http.MethodDelete, userPath(args[0]), nil, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, map[string]string{"removed": args[0]})
			}
			_, err = fmt.Fprintf(out.W, "%s is removed\n", args[0])
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	jsonFlag(cmd, &asJSON)
	return cmd
}
