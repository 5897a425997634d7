package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/client"
	"github.com/weirhq/weir/policyd"
)

func newStateSnapshot() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Copies of the state that a running Weir makes: list, take, download, remove",
		Long: `A running Weir makes a copy of all that people told it every day, and keeps the last ones (snapshots of the configuration). Whoever takes one by hand
has it kept until it is removed. What is downloaded is brought back by weir state restore, here or on another machine. Copies hold digests of
passwords: for superusers only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotList(), newSnapshotTake(), newSnapshotDownload(), newSnapshotRemove())
	return cmd
}

func newSnapshotList() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the copies, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var answer struct {
				Snapshots []policyd.Snapshot `json:"snapshots"`
			}
			if err := c.Get(cmd.Context(), "/api/v1/snapshots", &answer); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, answer.Snapshots)
			}
			if len(answer.Snapshots) == 0 {
				_, err := fmt.Fprintln(out.W, "there is no copy yet: weir state snapshot take makes one")
				return err
			}
			t := &cli.Table{Columns: []cli.Column{{Name: "SNAPSHOT"}, {Name: "TAKEN"}, {Name: "BY"}, {Name: "SIZE", Right: true}, {Name: "REASON"}}}
			for _, x := range answer.Snapshots {
				by := x.TakenBy
				if x.Automatic {
					by = "weir, by itself"
				}
				t.Add(cell(x.Name), cell(x.TakenAt.Local().Format(time.DateTime)), cell(by), cell(cli.Bytes(float64(x.Bytes))), cell(x.Reason))
			}
			return t.Write(out)
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newSnapshotTake() *cobra.Command {
	var data, reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "take",
		Short: "Make a copy now, which is kept until it is removed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			var x policyd.Snapshot
			err = patiently(cmd, asJSON, "copying the state", func() error {
				return c.Change(cmd.Context(), http.MethodPost, "/api/v1/snapshots", map[string]string{"reason": reason}, &x)
			})
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, x)
			}
			_, err = fmt.Fprintf(out.W, "%s, %s\n", cli.Clean(x.Name), cli.Bytes(float64(x.Bytes)))
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with it")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newSnapshotDownload() *cobra.Command {
	var data, file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "download SNAPSHOT",
		Short: "Write a copy into a new file",
		Long:  `Writes a copy into a new file, which only you can read: it holds digests of passwords. weir state restore brings it back.`,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			name := firstOf(file, filepath.Base(args[0]))
			var size int64
			err = patiently(cmd, asJSON, "downloading", func() error {
				size, err = download(cmd, c, "/api/v1/snapshots/"+url.PathEscape(args[0]), name)
				return err
			})
			if err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, struct {
					File  string `json:"file"`
					Bytes int64  `json:"bytes"`
				}{name, size})
			}
			_, err = fmt.Fprintf(out.W, "%s is %s, %s\n", cli.Clean(name), cli.Clean(args[0]), cli.Bytes(float64(size)))
			return err
		},
	}
	apiFlags(cmd, &data)
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write, which is not there yet (default: as the snapshot is named, here)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// download writes an answer into a new file, or none.
func download(cmd *cobra.Command, c *client.API, path, name string) (int64, error) {
	resp, err := c.Stream(cmd.Context(), client.Request{Path: path})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("download snapshot: %w", err)
	}
	n, err := io.Copy(f, resp.Body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("download snapshot: %w", errors.Join(err, os.Remove(name)))
	}
	return n, nil
}

func newSnapshotRemove() *cobra.Command {
	var data string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove SNAPSHOT",
		Short: "Remove a copy",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd, data)
			if err != nil {
				return err
			}
			if err := c.Change(cmd.Context(), http.MethodDelete, "/api/v1/snapshots/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			out := outputOf(cmd, asJSON)
			if asJSON {
				return cli.WriteJSON(out, map[string]string{"removed": args[0]})
			}
			_, err = fmt.Fprintf(out.W, "%s is removed\n", cli.Clean(args[0]))
			return err
		},
	}
	apiFlags(cmd, &data)
	jsonFlag(cmd, &asJSON)
	return cmd
}
