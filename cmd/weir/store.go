package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
)

func newStore() *cobra.Command {
	var data, configFile, listen string
	var parent, socket int
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Run the embedded ClickHouse alone",
		Long: `Serves the embedded ClickHouse engine over HTTP, in the foreground, without collecting anything. "weir up" starts it by
itself; alone it is for looking at the data while the rest is down.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			env, err := prepare(data, configFile, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := env.makeData(); err != nil {
				return err
			}
			cfg := env.config.Store.Embedded
			cfg.Data = storeDir(env.data)
			if listen != "" {
				cfg.Listen = listen
			}
			return serveStore(cmd.Context(), cfg, env.log, parent, socket)
		},
	}
	dataFlag(cmd, &data)
	configFlag(cmd, &configFile)
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "", "host:port to serve at, instead of the configured one")
	f.IntVar(&parent, "parent-fd", 0, "end when the pipe at this file descriptor does")
	f.IntVar(&socket, "listen-fd", 0, "serve the listening socket at this file descriptor")
	for _, internal := range []string{"parent-fd", "listen-fd"} {
		if err := f.MarkHidden(internal); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	cmd.AddCommand(newStoreMigrate())
	return cmd
}

func serveStore(ctx context.Context, cfg embedded.Config, log *slog.Logger, parent, socket int) error {
	var err error
	if parent > 0 {
		if ctx, err = embedded.UntilParentExits(ctx, parent); err != nil {
			return err
		}
	}
	var l net.Listener
	if socket > 0 {
		l, err = embedded.FileListener(socket)
	} else {
		l, err = embedded.Listen(cfg)
	}
	if err != nil {
		return err
	}
	s, err := embedded.New(cfg, embedded.Deps{Log: log, Listener: l})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func newStoreMigrate() *cobra.Command {
	var data, configFile string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the tables of a ClickHouse server to this version",
		Long: `Runs the migrations that the configured ClickHouse lacks. "weir up" does so at every start; this command is for looking
first (--dry-run), and for servers where another user has to do it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			env, err := prepare(data, configFile, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			access := env.config.Store.Server
			if env.config.Store.Mode == storeEmbedded {
				users, err := embedded.ReadUsers(storeDir(env.data))
				if err != nil {
					return err
				}
				addr := dialable(env.config.Store.Embedded.Listen)
				if in, err := instance.Find(env.data); err == nil {
					addr = in.Store
				}
				access = embeddedConfig(addr, users.Writer)
			}
			c, err := store.Open(access)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Ping(cmd.Context()); err != nil {
				return fmt.Errorf("migrate: %w; start it, the embedded one with `weir store`", err)
			}
			return migrate(cmd.Context(), c, env.log, dryRun, outputOf(cmd, asJSON))
		},
	}
	dataFlag(cmd, &data)
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list what would run")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func migrate(ctx context.Context, c *store.Client, log *slog.Logger, dryRun bool, out *cli.Output) error {
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		return err
	}
	plan, err := store.Plan(ctx, c, migrations)
	if err != nil {
		return err
	}
	if !dryRun {
		if _, err := store.Apply(ctx, c, migrations, log); err != nil {
			return err
		}
	}
	type row struct {
		Version int    `json:"version"`
		Name    string `json:"name"`
		State   string `json:"state"`

		AppliedAt time.Time `json:"applied_at,omitzero"`
	}
	rows := []row{}
	for _, m := range plan.Applied {
		rows = append(rows, row{m.Version, m.Name, "was applied", m.AppliedAt.UTC()})
	}
	state := "applied now"
	if dryRun {
		state = "to be applied"
	}
	for _, m := range plan.Pending {
		rows = append(rows, row{m.Version, m.Name, state, time.Time{}})
	}
	if out.JSON {
		return cli.WriteJSON(out, rows)
	}
	t := &cli.Table{Columns: []cli.Column{{Name: "VERSION", Right: true}, {Name: "NAME"}, {Name: "STATE"}}}
	for _, r := range rows {
		text := r.State
		if !r.AppliedAt.IsZero() {
			text += " " + r.AppliedAt.Format(time.DateTime)
		}
		t.Add(cell(r.Version), cell(r.Name), cell(text))
	}
	return t.Write(out)
}
