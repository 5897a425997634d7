package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/backup"
	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd/state"
	"github.com/weirhq/weir/sql"
	"github.com/weirhq/weir/store"
	"github.com/weirhq/weir/store/embedded"
)

// backupEnding is how files of weir backup end that are named by Weir.
const backupEnding = ".weirbackup"

func newBackup() *cobra.Command {
	var data, configFile, since string
	var o backup.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FILE|DIRECTORY",
		Short: "Write all that an instance knows into one file, while it runs or not",
		Long: `Writes policy, users, hosts and all else that people told Weir, its authority, the history of the estate, events, statistics, flows and their sums
into one new file, which weir restore makes an instance of, here or elsewhere. In a directory the file is named after the machine and the time.
The instance goes on meanwhile. All is of one moment, which is printed; flows that waited in the write-ahead log then are not in it. Neither are
files outside of the data directory, such as those in /etc/weir; passwords and certificates that the configuration names within it are.

The file holds the authority's key, digests of passwords and the passwords of the embedded store: only you can read it, keep it so. It takes about
as much space as the tables do. docs/howto/back-up.md has a job for cron.`,
		Example: `  weir backup /backup
  weir backup --since 7d --data /var/lib/weir /backup/weir.weirbackup
  weir backup --without-flows /backup/weir-small.weirbackup`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Since, err = sinceOf(since, time.Now()); err != nil {
				return usageError{err}
			}
			if in, err := instance.Find(data); err == nil {
				data, configFile = in.Data, firstOf(configFile, in.Config)
			}
			env, err := prepare(data, configFile, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := instance.Stranger(env.data); err != nil {
				return fmt.Errorf("back up: %w", err)
			}
			file := args[0]
			if info, err := os.Stat(file); err == nil && info.IsDir() {
				file = filepath.Join(file, backupName(time.Now()))
			}
			c, end, err := openForBackup(cmd.Context(), env, cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("back up: %w", err)
			}
			defer func() { err = errors.Join(err, c.Close(), end()) }()
			d := backup.Deps{
				Client: c, Data: env.data, Files: backedUpFiles(env, o), Version: versionString(), Machine: hostName(), Watch: watcher(progressOf(cmd, asJSON)),
			}
			if _, err := os.Stat(stateFile(env.data)); !errors.Is(err, fs.ErrNotExist) {
				d.State = func(ctx context.Context, file string) error { return copyState(ctx, env.data, file) }
			}
			begin := time.Now()
			m, err := backup.Write(cmd.Context(), file, o, d)
			if err != nil {
				return err
			}
			return printBackup(outputOf(cmd, asJSON), "written", file, m, time.Since(begin))
		},
	}
	dataFlag(cmd, &data)
	configFlag(cmd, &configFile)
	f := cmd.Flags()
	f.BoolVar(&o.WithoutFlows, "without-flows", false, "leave out flows and sums of them")
	f.StringVar(&since, "since", "", "leave out flows, sums, events and statistics from before: a time (2026-11-27, 10:00), or an age (7d)")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// backupName is how a backup is named that is made now.
func backupName(now time.Time) string {
	return fmt.Sprintf("weir-%s-%s%s", fileName(hostName()), now.UTC().Format("20060102T150405Z"), backupEnding)
}

// fileName is a name of a machine that can be in the name of a file.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '-'
		}
		return r
	}, name)
}

// sinceOf reads a time, or an age; empty is none.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := cli.ParseTime(text, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since: %w", err)
	}
	return t.UTC().Truncate(time.Second), nil
}

// backedUpFiles are the files and directories in the data directory that are backed up beside state and store. What is not among them is made
// anew, comes back from hosts and exporters, or is of the process.
func backedUpFiles(e *env, o backup.Options) []string {
	files := []string{"ca", "learned.json", "hosts", "sources", "weir.yaml", "estate.yaml", filepath.Join("store", "users.json")}
	more := append(e.config.readFiles(), &e.file)
	if !o.WithoutFlows {
		more = append(more, &e.config.Store.Fold.File) // which sums are this collector's
	}
	for _, f := range more {
		if rel, err := filepath.Rel(e.data, *f); *f != "" && err == nil && filepath.IsLocal(rel) && !slices.Contains(files, rel) {
			files = append(files, rel)
		}
	}
	return files
}

// copyState writes a copy of the state, which may be in use.
func copyState(ctx context.Context, data, file string) error {
	s, err := state.Open(ctx, stateFile(data), state.Deps{})
	if err != nil {
		return err
	}
	return errors.Join(s.Backup(ctx, actor(), file), s.Close())
}

// openForBackup connects to the store of an instance, as a user that may define tables. Where the embedded one does not run it is started, and
// ended by end.
func openForBackup(ctx context.Context, e *env, stderr io.Writer) (c *store.Client, end func() error, err error) {
	end = func() error { return nil }
	running, err := instance.Find(e.data)
	switch {
	case err != nil && !errors.Is(err, instance.ErrNotRunning):
		return nil, nil, err
	case e.config.Store.Mode != storeEmbedded:
		c, err = openPatient(e.config.Store.Server)
	case err == nil:
		var users embedded.Users
		if users, err = embedded.ReadUsers(storeDir(e.data)); err == nil {
			c, err = openPatient(embeddedConfig(running.Store, users.Writer))
		}
	default:
		var unlock func()
		if unlock, err = instance.Lock(e.data); err != nil {
			return nil, nil, err
		}
		var endStore func() error
		if c, endStore, err = ownStore(ctx, e, e.data, stderr); err != nil {
			unlock()
			return nil, nil, err
		}
		end = func() error {
			defer unlock()
			return endStore()
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return c, end, nil
}

// openPatient opens a client whose statements may take long.
func openPatient(c store.Config) (*store.Client, error) {
	c.Timeout = time.Hour
	return store.Open(c)
}

// ownStore starts an embedded store whose files are in the data directory dir.
func ownStore(ctx context.Context, e *env, dir string, stderr io.Writer) (c *store.Client, end func() error, err error) {
	own := *e
	own.data = dir
	if err := embedded.WaitUnlocked(ctx, storeDir(dir), storeEnds); err != nil {
		return nil, nil, err
	}
	cfg := own.config.Store.Embedded
	cfg.Listen = "127.0.0.1:0"
	l, err := embedded.Listen(cfg)
	if err != nil {
		return nil, nil, err
	}
	n := &node{env: &own, sockets: &sockets{store: l}}
	end, _, err = n.runStore(ctx, stderr)
	if err != nil {
		if closing := l.Close(); !errors.Is(closing, net.ErrClosed) {
			err = errors.Join(err, closing)
		}
		return nil, nil, err
	}
	users, err := embedded.ReadUsers(storeDir(dir))
	if err == nil {
		c, err = openPatient(embeddedConfig(n.supervisor.Addr().String(), users.Writer))
	}
	if err != nil {
		return nil, nil, errors.Join(err, end())
	}
	return c, end, nil
}

func newRestore() *cobra.Command {
	var data, configFile string
	var only, asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make an instance of a file of weir backup, in an empty data directory",
		Long: `Checks the whole file first, every byte of it by its hash. Then it makes an instance of it in a data directory in which there is nothing but a
weir.yaml, or which is not there yet; with store.mode server, the database has to be empty, too. Tables are compared with the file when they are
filled. weir up is then as at the moment of the backup: policy, users, hosts, the history of the estate, events, flows and their sums.

What is interrupted leaves nothing that counts; it is begun again by the same command. Numbers of rules and of revisions go on far above those that may
have been given since the moment of the backup, so that no flow is told under a wrong rule. Two Weirs with the same state must not run at once: each would
take the hosts of the other. Rows that are older than the configuration keeps them go after the start.

Restore only files that you trust: who made one is superuser of the instance.`,
		Example: `  weir restore /backup/weir-mon1-20261127T030000Z.weirbackup
  weir restore --check /backup/weir-mon1-20261127T030000Z.weirbackup`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			begin := time.Now()
			out := outputOf(cmd, asJSON)
			watch := watcher(progressOf(cmd, asJSON))
			if only {
				m, err := checkBackup(args[0], watch)
				if err != nil {
					return err
				}
				return printBackup(out, "whole", args[0], m, time.Since(begin))
			}
			dir := restoreDir(data)
			if err := errors.Join(instance.Stranger(dir), os.MkdirAll(dir, 0o700)); err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			unlock, err := instance.Lock(dir)
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			defer unlock()
			if err := settle(cmd.Context(), dir); err != nil {
				return err
			}
			if err := backup.Empty(dir); err != nil {
				return err
			}
			env, err := prepare(dir, configFile, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			m, err := restoreInto(cmd.Context(), env, args[0], watch, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return printBackup(out, "restored to "+env.data, args[0], m, time.Since(begin))
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory to restore to (default: /var/lib/weir)")
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&only, "check", false, "only look whether the file is whole")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// storeEnds is how long a store may go on whose parent was killed.
const storeEnds = time.Minute

// settle finishes or undoes what an interrupted restore left in a data directory, which is locked.
func settle(ctx context.Context, data string) error {
	if err := embedded.WaitUnlocked(ctx, storeDir(backup.Scratch(data)), storeEnds); err != nil {
		return err
	}
	return backup.Settle(data)
}

// restoreDir is the data directory that is restored to: never that of the demo, unless it is named.
func restoreDir(data string) string {
	if data == "" {
		return instance.DefaultDirs[1]
	}
	return data
}

func checkBackup(file string, watch func(string, uint64, uint64)) (*backup.Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("check backup: %w", err)
	}
	defer f.Close()
	size := uint64(0)
	if info, err := f.Stat(); err == nil {
		size = uint64(info.Size())
	}
	return backup.Check(f, func(n int64) { watch("checking", uint64(n), size) })
}

func restoreInto(ctx context.Context, e *env, file string, watch func(string, uint64, uint64), stderr io.Writer) (*backup.Manifest, error) {
	migrations, err := store.LoadMigrations(sql.Migrations())
	if err != nil {
		return nil, err
	}
	to := backup.Target{
		Data: e.data, Server: e.config.Store.Mode != storeEmbedded, Migrations: len(migrations), Watch: watch,
		State: func(ctx context.Context, from, to string) error {
			_, err := state.Restore(ctx, from, to, time.Now())
			return err
		},
		Store: func(ctx context.Context, dir string) (c *store.Client, end func() error, err error) {
			end = func() error { return nil }
			if e.config.Store.Mode == storeEmbedded {
				c, end, err = ownStore(ctx, e, dir, stderr)
			} else {
				c, err = openPatient(e.config.Store.Server)
			}
			if err != nil {
				return nil, nil, err
			}
			if err = c.WaitReady(ctx); err == nil {
				_, err = store.Apply(ctx, c, migrations, e.log)
			}
			if err != nil {
				return nil, nil, errors.Join(err, c.Close(), end())
			}
			return c, end, nil
		},
	}
	return backup.Restore(ctx, file, to)
}

// watcher returns what tells progress, every two seconds.
func watcher(w io.Writer) func(what string, done, of uint64) {
	last := time.Now()
	return func(what string, done, of uint64) {
		if time.Since(last) < patience {
			return
		}
		last = time.Now()
		if of == 0 {
			fmt.Fprintln(w, what)
		} else {
			fmt.Fprintf(w, "%s, %.0f %%\n", what, 100*float64(done)/float64(of))
		}
	}
}

func printBackup(out *cli.Output, what, file string, m *backup.Manifest, took time.Duration) error {
	if out.JSON {
		return cli.WriteJSON(out, map[string]any{"file": file, "moment": m.Moment, "bytes": m.Bytes(), "version": m.Version, "tables": m.Tables})
	}
	rows := uint64(0)
	for _, t := range m.Tables {
		rows += t.Rows
	}
	_, err := fmt.Fprintf(out.W, "%s is %s: %s, %d rows in %d tables, of %s, in %.1f s\n",
		cli.Clean(file), what, cli.Bytes(float64(m.Bytes())), rows, len(m.Tables), m.Moment.Local().Format(time.DateTime), took.Seconds())
	return err
}
