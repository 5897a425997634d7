package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
)

func newProfile() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "The servers that you log in at, and which of them is asked",
		Long: `Profiles are made by weir login, and kept in weir/profiles.yaml of $XDG_CONFIG_HOME, else of ~/.config, with a file for each token beside it.
Commands ask, in this order: the server of --server; the instance in --data; WEIR_SERVER of the environment; the profile in use; the instance that is
found on this machine. docs/howto/work-from-elsewhere.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProfileList(), newProfileShow(), newProfileUse(), newProfileRemove())
	return cmd
}

// listedProfile is a profile as it is listed.
type listedProfile struct {
	Name string `json:"name"`
	client.Profile
	Use      bool   `json:"use"`
	LoggedIn bool   `json:"logged_in"`
	File     string `json:"file"`
}

func profileListing(profiles *client.Profiles, name string) listedProfile {
	p := profiles.Profiles[name]
	return listedProfile{name, p, profiles.Use == name, p.TokenFile != "" && (p.Expires.IsZero() || time.Now().Before(p.Expires)), profiles.File()}
}

// token says how a profile's token is.
func (d *listedProfile) token() cli.Cell {
	switch {
	case d.TokenFile == "":
		return cli.Cell{Text: "not logged in", Style: cli.Dim}
	case !d.LoggedIn:
		return cli.Cell{Text: "ended " + d.Expires.Local().Format(time.DateTime), Style: cli.Bad}
	case d.Expires.IsZero():
		return cell("logged in")
	default:
		return cell("until " + d.Expires.Local().Format(time.DateTime))
	}
}

// trust says by what a profile's server is believed.
func (d *listedProfile) trust() string {
	switch {
	case d.CAFile != "":
		return "the authority in " + d.CAFile
	case d.Fingerprint != "":
		return string(d.Fingerprint)
	default:
		return "the authorities of the system"
	}
}

func newProfileList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List profiles; * is the one in use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			profiles, err := readProfiles()
			if err != nil {
				return err
			}
			out, list := outputOf(cmd, asJSON), []listedProfile{}
			for _, name := range profiles.Names() {
				list = append(list, profileListing(profiles, name))
			}
			if asJSON {
				return cli.WriteJSON(out, list)
			}
			if len(list) == 0 {
				_, err := fmt.Fprintln(out.W, "no profiles: weir login SERVER makes one")
				return err
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "PROFILE"}, {Name: "SERVER"}, {Name: "USER"}, {Name: "TOKEN"}, {Name: "BELIEVED BY"}}}
			for i := range list {
				d := &list[i]
				name := d.Name
				if d.Use {
					name += " *"
				}
				t.Add(cell(name), cell(d.Server), cell(d.User), d.token(), cell(d.trust()))
			}
			return t.Write(out)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newProfileShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [PROFILE]",
		Short: "Show a profile; without PROFILE, the one in use",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			profiles, err := readProfiles()
			if err != nil {
				return err
			}
			name, _, err := profiles.Find(firstOf(args...))
			if err != nil {
				return err
			}
			d := profileListing(profiles, name)
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, d)
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "WHAT"}, {Name: "FOUND"}}}
			t.Add(cell("profile"), cell(d.Name))
			t.Add(cell("server"), cell(d.Server))
			t.Add(cell("user"), cell(d.User))
			t.Add(cell("token"), d.token())
			t.Add(cell("believed by"), cell(d.trust()))
			t.Add(cell("in use"), cell(map[bool]string{true: "yes", false: "no"}[d.Use]))
			t.Add(cell("file"), cell(d.File))
			return t.Write(out)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newProfileUse() *cobra.Command {
	var none bool
	cmd := &cobra.Command{
		Use:   "use PROFILE",
		Short: "Have the server of a profile be asked where none is named",
		Example: `  weir profile use prod
  weir profile use --none`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if none == (len(args) == 1) {
				return usagef("found %d profiles: expected one, or --none", len(args))
			}
			profiles, err := readProfiles()
			if err != nil {
				return err
			}
			name := ""
			if !none {
				if name, _, err = profiles.Find(args[0]); err != nil {
					return err
				}
			}
			profiles.Use = name
			return profiles.Write()
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "none: the instance on this machine is asked again")
	return cmd
}

func newProfileRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove PROFILE",
		Short: "Forget a profile and its token",
		Long:  `Forgets a profile, and the token here. The server knows nothing of that: weir logout before has it forget the token, too.`,
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			profiles, err := readProfiles()
			if err != nil {
				return err
			}
			name, _, err := profiles.Find(args[0])
			if err != nil {
				return err
			}
			return profiles.Remove(name)
		},
	}
	return cmd
}
