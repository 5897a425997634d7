package main

import (
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
)

// storeDir is where the embedded store lives in a data directory.
func storeDir(data string) string { return filepath.Join(data, "store") }

func dataFlag(cmd *cobra.Command, data *string) {
	cmd.Flags().StringVar(data, "data", "", "data directory of the instance (default: ./data/demo, else /var/lib/weir)")
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

func outputOf(cmd *cobra.Command, asJSON bool) *cli.Output {
	return cli.NewOutput(cmd.OutOrStdout(), cmd.ErrOrStderr(), asJSON, os.Getenv)
}

// readerOf returns the configuration of a connection to the instance's store that can read only.
func readerOf(in instance.Instance) (store.Config, error) {
	if in.StorePID == 0 { // a server: who reads was configured
		return configuredReader(in)
	}
	users, err := embedded.ReadUsers(storeDir(in.Data))
	if err != nil {
		return store.Config{}, err
	}
	return embeddedConfig(in.Store, users.ReadOnly), nil
}

// configuredReader is the connection that the instance's configuration names for reading.
func configuredReader(in instance.Instance) (store.Config, error) {
	cfg, file, err := loadConfig(in.Config, in.Data)
	if err != nil {
		return store.Config{}, err
	}
	cfg.rebase(file, in.Data)
	c := cfg.Store.Server
	if r := cfg.Store.Reader; r.User != "" {
		c.User, c.PasswordFile = r.User, r.PasswordFile
	}
	return c, nil
}

// embeddedConfig is a connection to the embedded store at addr.
func embeddedConfig(addr string, user embedded.Credentials) store.Config {
	c := store.DefaultConfig()
	c.Addr, c.User, c.Password = addr, user.Name, user.Password
	return c
}

// serverFlag names the persistent flag of the root that says whose API is asked.
const serverFlag = "server"

// asksAPI marks commands that ask an API, here or elsewhere; others work on the machine only.
const asksAPI = "asks API"

// apiFlags are the flags of a command that asks an API: it is asked by connect.
func apiFlags(cmd *cobra.Command, data *string) {
	dataFlag(cmd, data)
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[asksAPI] = "true"
}

// connect returns the API that a command asks: of --server, else of the instance in --data, else of WEIR_SERVER, else of the profile in use, else of the
// instance that is found on this machine.
func connect(cmd *cobra.Command, data string) (*client.API, error) {
	o := client.Options{Data: data, Profiles: &client.Profiles{}, Version: versionString()}
	if f := cmd.Flag(serverFlag); f != nil && f.Changed && data != "" {
		return nil, usagef("found --%s and --data: expected one of them", serverFlag)
	}
	if data == "" {
		o.Server = serverOf(cmd)
		var err error
		if o.Profiles, err = readProfiles(); err != nil {
			return nil, err
		}
	}
	return client.Open(o)
}

// serverOf is the server that is named by --server, else by WEIR_SERVER; "" is none.
func serverOf(cmd *cobra.Command) string {
	if f := cmd.Flag(serverFlag); f != nil && f.Changed {
		return f.Value.String()
	}
	return os.Getenv("WEIR_SERVER")
}

// readProfiles reads the profiles of who runs the command. Who has no home has none.
func readProfiles() (*client.Profiles, error) {
	file, err := client.ProfilesFile(os.Getenv)
	if err != nil {
		return &client.Profiles{}, nil //nolint:nilerr // as of a service
	}
	return client.ReadProfiles(file)
}

// onMachine refuses --server for commands that work on the machine only.
func onMachine(cmd *cobra.Command, _ []string) error {
	f := cmd.Flag(serverFlag)
	if f == nil || !f.Changed || cmd.Annotations[asksAPI] != "" || !cmd.Runnable() || cmd.HasSubCommands() && cmd.Flag("data") == nil {
		return nil
	}
	return usagef("found --%s: %s works on the machine itself only, with its files, its store or its ports", serverFlag, cmd.CommandPath())
}

// dialable returns addr with an unspecified host replaced by loopback.
func dialable(addr string) string {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || !a.Addr().IsUnspecified() {
		return addr
	}
	if a.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port()).String()
}
