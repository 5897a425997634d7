// Command weir measures and controls the virtual switches of a hypervisor estate. `weir help` lists what it can do.
//
// The package only reads flags and configuration and wires the services together; nothing else in the module knows
// that it is a program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/cli"
	"github.com/weirhq/weir/internal/nearest"
)

// version is set by the build (-ldflags -X).
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	code := exitCode(err)
	if code != exitOK {
		fmt.Fprintf(stderr, "weir: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintf(stderr, "see: %s --help\n", cmd.CommandPath())
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Measure and control the virtual switches of a hypervisor estate",
		Long: `Weir collects NetFlow and IPFIX, adds the VM, network and address group of each end, and stores the flows in
ClickHouse, where this command, SQL and dashboards find them.

Start with:  weir up --demo        a simulated estate, nothing to configure
Then:        weir flows top --by src_vm --last 15m

A running instance is found by --data, else in ./data/demo, else in /var/lib/weir; one elsewhere is named by --server after weir login.

Exit codes:` + exitCodesText(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil { // cobra looks at them, too, and that would be no usage error
				return flagsError(err)
			}
			return onMachine(cmd, args)
		},
	}
	root.PersistentFlags().String(serverFlag, "", "whose API is asked: a profile (weir login makes one), HOST:PORT or https://HOST:PORT; else WEIR_SERVER, else the profile in use")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 { // the flag is of a command that there is not
			return argumentError(cmd, args, err)
		}
		return flagError(cmd, err)
	})
	root.AddCommand(
		newUp(), newPolicyd(), newCollector(), newStore(), newSQL(), newHosts(), newPool(), newPolicy(), newGroup(), newBypass(),
		newFlows(), newEvents(), newEstate(), newExporters(), newStatus(),
		newUser(), newToken(), newRole(), newAudit(), newLogin(), newLogout(), newProfile(),
		newCompletion(), newMan(),
		newDecode(), newReplay(), newCA(), newCheckConfig(), newState(), newBackup(), newRestore(), newDoctor(), newVersion(),
	)
	usageArgs(root)
	addCompletions(root)
	return root
}

// usageArgs makes every argument check of the tree a usage error.
func usageArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return argumentError(c, args, err)
			}
			// Nothing that is named has an empty name: a variable of the shell was not set.
			if slices.Contains(args, "") {
				return usagef("found an empty argument: expected %s", c.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usageArgs(sub)
	}
}

// argumentError says what is wrong with the arguments of cmd, in place of what cobra says.
func argumentError(cmd *cobra.Command, args []string, err error) error {
	switch {
	case cmd.HasSubCommands():
		var names []string
		for _, sub := range cmd.Commands() {
			names = append(names, sub.Name())
		}
		if near := nearest.Word(args[0], names); near != "" {
			return usagef("unknown command %q: did you mean %s?", args[0], near)
		}
		return usagef("unknown command %q: expected one of %s", args[0], strings.Join(names, ", "))
	case strings.HasPrefix(err.Error(), "unknown command"): // of cobra.NoArgs
		return usagef("found argument %q: expected flags only", args[0])
	default:
		return usagef("found %s: expected %s", cli.Counted(len(args), "argument"), cmd.UseLine())
	}
}

// flagError says what is wrong with a flag of cmd, in place of what pflag says.
func flagError(cmd *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok && len(e.GetSpecifiedName()) > 1 {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := nearest.Word(e.GetSpecifiedName(), names); near != "" {
			return usagef("unknown flag: --%s: did you mean --%s?", e.GetSpecifiedName(), near)
		}
		return usageError{err}
	}
	e, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return usageError{err}
	}
	var want string
	switch e.GetFlag().Value.Type() {
	case "int":
		want = "a whole number"
	case "uint", "uint32", "uint64":
		want = "a whole number, 0 or more"
	case "float64":
		want = "a number"
	case "duration":
		want = "a time with its unit, as 30s or 5m, 0s or more"
	case "bool":
		want = "true or false"
	default:
		return usageError{err}
	}
	return usagef("--%s %q: expected %s", e.GetFlag().Name, e.GetValue(), want)
}

// flagsError says which flags do not go with each other, in place of what cobra says.
func flagsError(err error) error {
	if _, set, ok := strings.Cut(err.Error(), "none of the others can be; ["); ok {
		if set, ok = strings.CutSuffix(set, "] were all set"); ok {
			return usagef("found --%s: expected one of them", strings.Join(strings.Fields(set), " and --"))
		}
	}
	return usageError{err}
}

// waitFlag adds the flag for the longest time that cmd waits for something that goes on without it.
func waitFlag(cmd *cobra.Command, wait *time.Duration, preset time.Duration, usage string) {
	*wait = preset
	cmd.Flags().Var((*waitValue)(wait), "wait", usage)
}

// waitValue is a time that is not negative.
type waitValue time.Duration

func (w *waitValue) String() string { return time.Duration(*w).String() }
func (w *waitValue) Type() string   { return "duration" }

func (w *waitValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	*w = waitValue(d)
	return err
}

// versionString returns what the build or, for `go run`, the module says.
func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
