package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/strictyaml"
)

// check says what the configuration lacks for the role.
func (r role) check(c *config) error {
	if r.governs {
		return nil
	}
	var errs []error
	if c.Follow.URL == "" {
		errs = append(errs, strictyaml.At("follow.url", errors.New("found none, want where policyd serves its estate (feed.listen there)")))
	}
	if c.Store.Mode == storeEmbedded {
		errs = append(errs, strictyaml.At("store.mode", errors.New("found embedded, want server: a collector alone runs no store; that of policyd or of weir store is a server to it")))
	}
	if !c.API.Loopback() {
		errs = append(errs, strictyaml.At("api.listen", fmt.Errorf("found %q, want a loopback address: a collector alone knows no users; those of policyd reach its API there", c.API.Listen)))
	}
	return errors.Join(errs...)
}

func newPolicyd() *cobra.Command {
	o := upOptions{rate: 1}
	cmd := &cobra.Command{
		Use:   "policyd",
		Short: "Run all but the collector on this machine",
		Long: `Runs what knows hosts and estate, keeps the store within its bounds and serves the API, in the foreground until it is
interrupted; with store.mode embedded, the store as well. Flows go to collectors on other machines (weir collector), which follow the
estate that feed.listen serves. docs/howto/split-over-machines.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), policydAlone, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "data directory (default: /var/lib/weir)")
	configFlag(cmd, &o.config)
	f.StringVar(&o.store, "store-listen", "", "host:port of the embedded store's HTTP interface, instead of the configured one")
	f.StringVar(&o.api, "api-listen", "", "host:port of status page and API, instead of the configured one")
	return cmd
}

func newCollector() *cobra.Command {
	o := upOptions{rate: 1}
	cmd := &cobra.Command{
		Use:   "collector",
		Short: "Receive, enrich and store flows, with the estate of a policyd elsewhere",
		Long: `Runs the way of a flow from socket to store, in the foreground until it is interrupted. What exists it learns from the policyd
of follow.url, and keeps for a start while that is away. The store is a server (store.mode), at which it is one of several collectors; while
it is away, flows wait in the write-ahead log. docs/howto/split-over-machines.md goes through it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return up(cmd.Context(), collectorOnly, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "data directory (default: /var/lib/weir)")
	configFlag(cmd, &o.config)
	f.StringSliceVar(&o.listen, "listen", nil, "host:port to receive flows on, instead of the configured ones; port 0 is any free one")
	f.StringVar(&o.api, "api-listen", "", "host:port of status page and API, instead of the configured one")
	return cmd
}
