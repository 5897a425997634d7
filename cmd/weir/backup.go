package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

func newState() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look after what people told Weir: hosts, confirmed certificates, export settings",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStateBackup(), newStateRestore(), newStateSnapshot())
	return cmd
}

func newStateBackup() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the state, while it is in use or not",
		Long: `Writes a whole copy of state.db of the data directory into a new file. A copy by other means may be torn while Weir runs. It is brought back
with weir state restore, here or on another machine. Flows and events are in the store, and Weir's authority in the directory ca: they are not
in it. A running Weir makes such copies by itself, in the directory snapshots of its data directory (snapshots.every).`,
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
			if err := errors.Join(s.Backup(cmd.Context(), actor(), args[0]), s.Close()); err != nil {
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

// actor is who runs the command, for what is kept of changes that it makes itself.
func actor() audit.Actor {
	a := audit.Actor{User: "uid " + strconv.Itoa(os.Getuid()), Source: "command"}
	if u, err := user.Current(); err == nil {
		a.User = u.Username
	}
	return a
}

func newStateRestore() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring a copy of the state back, while Weir does not run",
		Long: `Puts a copy that weir state backup wrote, or a snapshot of a running Weir, in the place of state.db of the data directory, which is made if it
is not there. The copy is checked first; what is replaced is kept beside it. Hosts, confirmed certificates, the policy in force, where it is switched off,
drafts and accounts are then as they were in the copy: see weir policy status before hosts with mode enforce matter.

Numbers of rules and of revisions go on far above those that may have been given since the copy was made, so that no flow is told under a wrong
rule. Two Weirs with the same state must not run at once: each would take the hosts of the other.`,
		Example: `  weir state restore /backup/weir-state.db
  weir state restore --data /var/lib/weir /var/lib/weir/snapshots/state-20261126T030000.000Z-auto.db`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := instance.DataDir(data)
			if err := errors.Join(instance.Stranger(dir), os.MkdirAll(dir, 0o700)); err != nil {
				return fmt.Errorf("restore state: %w", err)
			}
			unlock, err := instance.Lock(dir)
			if err != nil {
				return fmt.Errorf("restore state: stop weir first: %w", err)
			}
			defer unlock()
			file := stateFile(dir)
			done, err := state.Restore(cmd.Context(), args[0], file, time.Now())
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, restoredJSON{file, done.TakenAt, done.Before, errorText(done.Unread)})
			}
			made := ""
			if !done.TakenAt.IsZero() {
				made = ", made " + done.TakenAt.Local().Format(time.DateTime)
			}
			fmt.Fprintf(out.W, "%s is as in %s%s\n", file, args[0], made)
			if done.Before != "" {
				fmt.Fprintf(out.W, "what was there is kept as %s\n", done.Before)
			}
			if done.Unread != nil {
				fmt.Fprintf(out.W, "warning: what was there could not be read, numbers that it gave are skipped only as far as the store knows them: %s\n", cli.Clean(done.Unread.Error()))
			}
			return nil
		},
	}
	dataFlag(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// restoredJSON is what weir state restore prints as JSON.
type restoredJSON struct {
	File    string    `json:"file"`
	TakenAt time.Time `json:"taken_at,omitzero"`
	Before  string    `json:"before,omitempty"`
	Unread  string    `json:"unread,omitempty"`
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
