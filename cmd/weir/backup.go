package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd/state"
)

func newState() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look after what people told Weir: hosts, confirmed certificates, export settings",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStateBackup())
	return cmd
}

func newStateBackup() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the state, while it is in use or not",
		Long: `Writes a whole copy of state.db of the data directory into a new file. A copy by other means may be torn while Weir runs. To restore it, stop
Weir, put it in the place of state.db, and remove state.db-wal and state.db-shm beside it. Flows and events are in the store, and Weir's
authority in the directory ca: they are not in it.`,
		Example: `  weir state backup /backup/weir-state.db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := stateFile(instance.DataDir(data))
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("back up state: there is none in %q", file)
			}
			s, err := state.Open(cmd.Context(), file, state.Deps{})
			if err != nil {
				return err
			}
			if err := errors.Join(s.Backup(cmd.Context(), args[0]), s.Close()); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, map[string]string{"file": args[0]})
			}
			_, err = fmt.Fprintf(out.W, "%s is a copy of %s\n", args[0], file)
			return err
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}
