package main

import (
	"context"
	_ "embed" // of a policy
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/site"
)

// limit is how long a lab lives at most: its namespaces go after that whatever happens.
const limit = 30 * 24 * time.Hour

type upOptions struct {
	site site.Config
	rate float64
	seed uint64
	weir []string // flags of weir up
}

func newUp(data *string) *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up [-- FLAGS OF WEIR UP]",
		Short: "Run the lab in the foreground until it is interrupted",
		Long: `Starts hosts, VMs and a Weir that knows them, and has the VMs converse. Ctrl-C ends all of it; the data directory stays,
so that what was measured can be looked at, and the next lab goes on with it.`,
		Example: `  sudo weirlab up
  sudo weirlab up --hosts 5 --vms 48 --rate 50
  sudo weirlab up --farm 64
  sudo weirlab up -- --api-listen 0.0.0.0:8080`,
		Args: usageArgs(func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); len(args) > 0 && n != 0 {
				return fmt.Errorf("found argument %q: expected flags; those of weir up come after --", args[0])
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.weir = args
			return up(cmd.Context(), *data, o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.site.Hosts, "hosts", 3, "hosts with traffic, 1 to 64")
	f.IntVar(&o.site.VMs, "vms", 24, "VMs on them, 1 to 500; a multiple of 24 keeps the roles in proportion")
	f.IntVar(&o.site.Farm, "farm", 0, "more hosts, each with 50 VMs, whose datapath is simulated and which have no traffic, 0 to 64")
	f.BoolVar(&o.site.XAPI, "xapi", true, "the hosts are a pool with XAPI, which tells Weir of VMs; without it the estate file does")
	f.Float64Var(&o.rate, "rate", 20, "conversations a second, in the mean over a day")
	f.Uint64Var(&o.seed, "seed", 1, "of the conversations")
	return cmd
}

// lab is a running lab.
type lab struct {
	site *site.Site
	weir *weir
	data string
	out  io.Writer

	told bool // where to look
}

// up reads as the life of a lab: look whether it can be, listen, start the site, describe it, run all, end all.
func up(ctx context.Context, data string, o upOptions, out io.Writer) (err error) {
	began := time.Now()
	if o.rate <= 0 {
		return usageError{fmt.Errorf("--rate %v: expected more than 0 conversations a second", o.rate)}
	}
	l := &lab{out: out}
	if l.data, err = filepath.Abs(data); err != nil {
		return err
	}
	program, err := findWeir()
	if err != nil {
		return err
	}
	control, err := listen(l.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeListener(control)) }()
	bed, err := netns.New(netns.Config{Limit: limit})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bed.Close()) }()
	fmt.Fprintf(out, "starting %d hosts with %d VMs, and a farm of %d\n", o.site.Hosts, o.site.VMs, o.site.Farm)
	if l.site, err = site.New(ctx, o.site, bed); err != nil {
		return err
	}
	fmt.Fprintf(out, "they are there after %.1f s; starting weir\n", time.Since(began).Seconds())
	if err := l.configure(); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(l.data, "weir.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	l.weir = &weir{program: program, args: o.weir, data: l.data, out: out, log: log}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.weir.run(ctx, l.attach) })
	g.Go(func() error { return l.site.Play(ctx, o.rate, o.seed) })
	g.Go(func() error {
		serve(control, l.do) // until it is closed
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return closeListener(control)
	})
	err = g.Wait()
	s := l.site.Stats()
	fmt.Fprintf(out, "\n%d conversations, %d failed, %d were left out because too many went on; what was measured is in %s\n",
		s.Conversations, s.Failed, s.LeftOut, l.data)
	return err
}

func closeListener(l net.Listener) error {
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// configuration is that of the Weir of a lab, with the port at which bridges dial in. Flows come from the hosts only, and one soon sees what
// is new.
const configuration = `# Written by weirlab.
estate:
  file: estate.yaml
%scollector: {allow: [169.254.0.0/16, 127.0.0.0/8], active_timeout: 5s}
hosts: {export: {active_timeout: 5s}}
policy: {listeners: [{addr: ":%d", tls: false, insecure: true}]}
`

// xapiFile has the password for XAPI.
const xapiFile = "xapi.password"

// sources is what the configuration says of the pool that is asked by XAPI, if there is one.
func (l *lab) sources() (string, error) {
	if l.site.Management() == nil {
		return "", nil
	}
	a := l.site.Access()
	list, err := json.Marshal(map[string]any{ // which is YAML, too
		"name": site.Pool, "addresses": a.Addresses, "user": site.User, "password_file": xapiFile, "pins": a.Pins,
	})
	return fmt.Sprintf("  xapi:\n    - %s\n", list), err
}

// policyText is a policy to begin with.
//
//go:embed policy.yaml
var policyText []byte

// policyOf returns the policy to begin with, as far as the site has what it names: few VMs have not all roles.
func policyOf(has func(group string) bool) []byte {
	text := string(policyText)
	if !has("databases") {
		text, _, _ = strings.Cut(text, "\nvms:\n")
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if _, after, ok := strings.Cut(line, "vm-group:"); !ok || has(after[:strings.IndexAny(after, ",}")]) {
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

// configure writes the files that Weir reads, and a policy to try.
func (l *lab) configure() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	sources, err := l.sources()
	if err != nil {
		return err
	}
	model := l.site.Model()
	hasGroup := func(name string) bool {
		for i := range model.VMGroups {
			if model.VMGroups[i].Name == name {
				return true
			}
		}
		return false
	}
	for name, text := range map[string][]byte{
		"weir.yaml": fmt.Appendf(nil, configuration, sources, port), "policy.yaml": policyOf(hasGroup), xapiFile: []byte(site.Password + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(l.data, name), text, 0o600); err != nil {
			return err
		}
	}
	return l.describe()
}

// freePort returns a TCP port that nobody has at present. It is another one in each lab, and the same when Weir is started again.
func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("find a port: %w", err)
	}
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		panic("BUG: TCP without TCP address")
	}
	return a.Port, l.Close()
}

// describe writes what Weir does not read at the hosts.
func (l *lab) describe() error {
	body, err := strictyaml.Encode(l.site.Model())
	if err != nil {
		return fmt.Errorf("describe the estate: %w", err)
	}
	path := filepath.Join(l.data, "estate.yaml")
	if err := os.WriteFile(path+".new", append([]byte("# Written by weirlab: groups and subnets; without XAPI also names, networks and addresses. What else there is, the hosts and their pool say.\n"), body...), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// do carries out a request.
func (l *lab) do(ctx context.Context, words []string) (string, error) {
	if words[0] == listing {
		return l.site.List(), nil
	}
	began := time.Now()
	if err := l.site.Do(ctx, words[0], words[1:]...); err != nil {
		return "", err
	}
	took := time.Since(began)
	return fmt.Sprintf("done within %v\n", took.Round(time.Millisecond)), l.describe()
}

// atOnce is how many hosts are added at the same time.
const atOnce = 8

// attach makes a Weir that is up know the hosts, and says where to look. What it knows of a former lab, whose hosts were elsewhere, it
// forgets.
func (l *lab) attach(ctx context.Context, i instance.Instance) error {
	if l.told {
		_, err := fmt.Fprintf(l.out, "weir is up again, process %d\n", i.PID)
		return err
	}
	l.told = true
	targets := map[string]string{}
	for _, h := range l.site.Hosts() {
		var err error
		if targets[h.Name], err = h.Listen(ctx, false); err != nil {
			return err
		}
	}
	g, adding := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, h := range l.site.Hosts() {
		g.Go(func() error {
			add := []string{"hosts", "add", h.Name, targets[h.Name], "--pool", site.Pool, "--uuid", h.UUID}
			if _, err := l.weir.command(adding, add...); err == nil {
				return nil
			}
			if _, err := l.weir.command(adding, "hosts", "remove", h.Name, "--force"); err != nil {
				return err
			}
			_, err := l.weir.command(adding, add...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	out, err := l.weir.command(ctx, "hosts", "list", "--json")
	if err != nil {
		return err
	}
	var known struct{ Hosts []struct{ Name string } }
	if err := json.Unmarshal([]byte(out), &known); err != nil {
		return fmt.Errorf("list hosts: %w", err)
	}
	for _, h := range known.Hosts {
		if targets[h.Name] != "" {
			continue
		}
		if _, err := l.weir.command(ctx, "hosts", "remove", h.Name, "--force"); err != nil {
			return err
		}
	}
	return l.announce(i)
}

func (l *lab) announce(i instance.Instance) error {
	_, err := fmt.Fprintf(l.out, `
weir is up, process %d
  status page  http://%s/
  ClickHouse   http://%s/
  log          %s

In another terminal:

  %[5]s flows top --by src_vm,dst_vm --last 5m --data %[6]s
  %[7]s list --data %[6]s
  %[7]s move web-01 xcp-02 --data %[6]s
  %[5]s policy apply %[6]s/policy.yaml --data %[6]s
  %[5]s pool mode %[8]s enforce --data %[6]s

Ctrl-C ends it.
`, i.PID, i.API, i.Store, short(l.weir.log.Name()), short(l.weir.program), short(l.data), os.Args[0], site.Pool)
	return err
}

// short returns a path as one types it where this program was started.
func short(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
