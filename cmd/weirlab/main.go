// Command weirlab runs a small site of real Open vSwitch hosts, whose VMs have traffic, and the whole of Weir on it; and
// makes things happen to it while it runs. It needs root, and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/lab/site"
)

// defaultData is the data directory of the lab, and of the Weir in it, when none is named.
const defaultData = "data/lab"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code: 0 done, 1 failed, 2 wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "weirlab: %v\nsee: %s --help\n", err, cmd.CommandPath())
		return 2
	default:
		fmt.Fprintf(stderr, "weirlab: %v\n", err)
		return 1
	}
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weirlab",
		Short: "A site of real Open vSwitch hosts with traffic, and Weir on it",
		Long: `Runs real Open vSwitch hosts in network namespaces, with VMs that converse as those of a small company do, and the
whole of Weir on them. While it runs, things can be made to happen to it, and one can watch what Weir makes of that.

Start with:  sudo weirlab up
Then:        sudo weirlab move web-01 xcp-02

Nothing is left behind when it ends, also by kill -9, but for the data directory. docs/howto/lab.md shows what to try.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	data := root.PersistentFlags().String("data", defaultData, "data directory of the lab, and of the Weir in it")
	root.AddCommand(newUp(data), newList(data))
	for _, c := range site.Commands {
		root.AddCommand(newCommand(data, &c))
	}
	return root
}

// usageArgs makes what check finds a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// newCommand makes something that happens to a site a command.
func newCommand(data *string, c *site.Command) *cobra.Command {
	return &cobra.Command{
		Use:   c.Name + " " + strings.Join(c.Args, " "),
		Short: strings.TrimSuffix(c.Doc, "."),
		Args:  usageArgs(cobra.ExactArgs(len(c.Args))),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), cmd.OutOrStdout(), *data, append([]string{c.Name}, args...))
		},
	}
}

func newList(data *string) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the VMs of the running lab: where they are, how they are plugged in",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd.Context(), cmd.OutOrStdout(), *data, []string{listing})
		},
	}
}
