package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/estate/libvirt"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/store"
)

//go:generate go test . -run ^TestReference$ -update

var update = flag.Bool("update", false, "write the reference pages instead of comparing with them")

// The pages are what the program says about itself.
func TestReference(t *testing.T) {
	for name, page := range map[string]func(*testing.T) string{
		"config.md":  configPage,
		"estate.md":  estatePage,
		"policy.md":  policyPage,
		"cli.md":     func(*testing.T) string { return cliPage(newRoot()) },
		"metrics.md": metricsPage,

		"policy.schema.json": policySchema,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("..", "..", "docs", "reference", name)
			got := page(t)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s is not up to date (go generate ./cmd/weir):\n%s", path, diff)
			}
		})
	}
}

const configIntro = `# Configuration

Generated from the program (` + "`go generate ./cmd/weir`" + `); do not edit.

Weir reads one YAML file: the one that ` + "`--config`" + ` names, else ` + "`weir.yaml`" + ` in the data directory, else none. A key that
is not there has its default; an unknown or mistyped one is an error. Relative paths are relative to the file. Passwords
stand in files of their own. The environment overrides one key, ` + "`log.level`" + `, by ` + "`WEIR_LOG_LEVEL`" + `.
[weir check-config](cli.md#weir-check-config) says everything that is wrong with a file, and with ` + "`--print`" + ` what is in
force. An example: [deploy/example/weir.yaml](../../deploy/example/weir.yaml).
`

func configPage(t *testing.T) string {
	cfg := defaultConfig()
	return keysPage(t, configIntro, strictyaml.Describe(&cfg), true, func(doc []byte) error {
		cfg := defaultConfig()
		return strictyaml.Decode(strictyaml.Document{Data: doc}, &cfg)
	})
}

const estateIntro = `# Estate file

Generated from the program (` + "`go generate ./cmd/weir`" + `); do not edit.

What the file that ` + "`estate.file`" + ` names may say. How to write one: [Describe the estate](../howto/describe-the-estate.md). A file
that shows every key: [deploy/example/estate.yaml](../../deploy/example/estate.yaml). Entities refer to each other by
name, by pool and name (` + "`berlin/front`" + `) or by UUID.
`

func estatePage(t *testing.T) string {
	return keysPage(t, estateIntro, strictyaml.Describe(&estate.Model{}), false, func(doc []byte) error {
		_, _, err := file.Parse("estate.yaml", doc)
		return err
	})
}

const policyIntro = `# Policy file

Generated from the program (` + "`go generate ./cmd/weir`" + `); do not edit.

What a policy says, as ` + "`weir policy apply`" + ` reads it and ` + "`weir policy export`" + ` writes it. What it means: [Policy](../explanation/policy.md).
Editors check it as it is written with [policy.schema.json](policy.schema.json): for those that use the YAML language server, a first line
` + "`# yaml-language-server: $schema=PATH/policy.schema.json`" + `. A policy of more than 8 MiB or 50 000 rules, or with more than
3 000 in one list, is refused. What a rule says is the same in all lists: it stands at ` + "`global.mandatory`" + `. Settings
are the same at all levels: they stand at ` + "`global.settings`" + `.
`

func policyPage(t *testing.T) string {
	// Rules are the same in all lists, settings at all levels: they are described once.
	lists := regexp.MustCompile(`(mandatory|default|rules)\[\]\.|\.settings\.`)
	keys := slices.DeleteFunc(strictyaml.Describe(&policy.Policy{}), func(k strictyaml.Key) bool {
		return lists.MatchString(k.Path) && !strings.HasPrefix(k.Path, "global.mandatory[]") && !strings.HasPrefix(k.Path, "global.settings.")
	})
	return keysPage(t, policyIntro, keys, false, func(doc []byte) error {
		_, err := policy.Parse("policy.yaml", doc)
		return err
	})
}

func policySchema(t *testing.T) string {
	out, err := strictyaml.Schema(&policy.Policy{}, "Weir policy", "Rules for the traffic of VMs, and settings of their ports; see docs/explanation/policy.md of Weir.")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// keysPage renders keys, each section as a table. load reads a document of them.
func keysPage(t *testing.T, intro string, keys []strictyaml.Key, defaults bool, load func([]byte) error) string {
	var top []strictyaml.Key
	sections := map[string][]strictyaml.Key{}
	var order []strictyaml.Key
	types := map[string]string{}
	for _, k := range keys {
		if k.Doc == "" {
			t.Errorf("key %s has no doc", k.Path)
		}
		if strings.HasSuffix(k.Type, "section") || strings.HasSuffix(k.Type, "sections") {
			order = append(order, k)
			continue
		}
		for _, values := range []string{"duration with unit", "size with unit"} {
			if form, examples, ok := strings.Cut(k.Type, ", e.g. "); ok && strings.HasSuffix(form, values) {
				types[strings.TrimPrefix(form, "list of ")] = examples
			}
		}
		parent := parentOf(k.Path)
		if parent == "" {
			top = append(top, k)
		}
		sections[parent] = append(sections[parent], k)
	}

	var out strings.Builder
	out.WriteString(intro)
	for _, form := range []string{"duration with unit", "size with unit"} {
		if examples := types[form]; examples != "" {
			name, _, _ := strings.Cut(form, " ")
			fmt.Fprintf(&out, "A %s is written with its unit: %s. ", name, strings.NewReplacer(`"`, "`").Replace(examples))
		}
	}
	if len(types) > 0 {
		out.WriteString("0 needs none.\n")
	}
	table := func(keys []strictyaml.Key) {
		out.WriteString(map[bool]string{
			true:  "\n| key | values | default | meaning |\n|---|---|---|---|\n",
			false: "\n| key | values | meaning |\n|---|---|---|\n",
		}[defaults])
		for _, k := range keys {
			fmt.Fprintf(&out, "| `%s` | %s |", k.Path, valuesOf(k, load))
			if defaults {
				def := k.Default
				switch {
				case strings.Contains(k.Path, "[]") && (def == `""` || def == "0"):
					def = "" // has to be said
				case def == `"0"`: // a size
					def = "0"
				}
				fmt.Fprintf(&out, " %s |", code(def))
			}
			fmt.Fprintf(&out, " %s |\n", strings.ReplaceAll(k.Doc, "|", `\|`))
		}
	}
	if len(top) > 0 {
		out.WriteString("\n## At the top\n")
		table(top)
	}
	for _, s := range order {
		level := strings.Repeat("#", 2+min(2, strings.Count(s.Path, ".")))
		about := s.Doc
		if list, ok := strings.CutSuffix(s.Type, " of sections"); ok {
			about += " A " + list + "."
		}
		fmt.Fprintf(&out, "\n%s `%s`\n\n%s\n", level, s.Path, about)
		for _, suffix := range []string{"", "[]", ".<name>"} {
			if keys := sections[s.Path+suffix]; len(keys) > 0 {
				table(keys)
			}
		}
	}
	return out.String()
}

func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

var wanted = regexp.MustCompile(`(?:want|expected) (.*?)(?:; did you mean .*)?$`)

// valuesOf says what the values of a key are: its type and, from what is said about values that are far off, its
// bounds.
func valuesOf(k strictyaml.Key, load func([]byte) error) string {
	form, _, _ := strings.Cut(k.Type, ", e.g. ")
	form = strings.NewReplacer(" with unit", "", " or ", ", ").Replace(form)
	var far []string
	switch {
	case strings.HasPrefix(k.Type, "list"), strings.HasPrefix(k.Type, "map"):
		return form
	case strings.HasPrefix(k.Type, "duration"):
		far = []string{"-1ns", "0s", "1000000h"}
	case strings.HasPrefix(k.Type, "size"):
		far = []string{"0", "1TiB"}
	case strings.HasPrefix(k.Type, "integer"):
		far = []string{"-1", "0", "1000000000"}
	case k.Type == "text":
		far = []string{`""`, `"?"`}
	}
	values := []string{form}
	for _, v := range far {
		refused, ok := errors.AsType[*strictyaml.Error](load([]byte(nested(k.Path, v))))
		if !ok {
			continue
		}
		for _, p := range refused.Problems {
			m := wanted.FindStringSubmatch(p.Text)
			if m != nil && p.Path == strings.ReplaceAll(k.Path, "[]", "[0]") && !strings.HasPrefix(m[1], "integer") && !slices.Contains(values, m[1]) {
				values = append(values, m[1])
			}
		}
	}
	return strings.ReplaceAll(strings.Join(values, "; "), "|", `\|`)
}

// nested is a document with one key.
func nested(path, value string) string {
	var s strings.Builder
	indent, item := "", ""
	for i, name := range strings.Split(path, ".") {
		if i > 0 {
			s.WriteByte('\n')
		}
		name, list := strings.CutSuffix(name, "[]")
		s.WriteString(indent + item + name + ":")
		indent, item = indent+strings.Repeat(" ", 2+len(item)), ""
		if list {
			item = "- "
		}
	}
	return s.String() + " " + value + "\n"
}

var (
	pageLink = regexp.MustCompile(`docs/reference/([a-z]+\.md)`)
	flagWord = regexp.MustCompile(`(^|[\s(])(--[a-z][a-z-]*)`)
)

// cliPage renders a tree of commands.
func cliPage(root *cobra.Command) string {
	var out strings.Builder
	out.WriteString("# Command line\n\nGenerated from the program (`go generate ./cmd/weir`); do not edit. `--help` of each command says the same.\n")
	var render func(*cobra.Command)
	render = func(cmd *cobra.Command) {
		fmt.Fprintf(&out, "\n## `%s`\n\n%s.\n", cmd.CommandPath(), cmd.Short)
		for paragraph := range strings.SplitSeq(cmd.Long, "\n\n") {
			switch {
			case paragraph == "", paragraph == cmd.Short+".": // is said above
			case strings.Contains(paragraph, "  "): // arranged
				out.WriteString("\n```text\n" + paragraph + "\n```\n")
			default:
				paragraph = pageLink.ReplaceAllString(paragraph, "[$1]($1)")
				out.WriteString("\n" + flagWord.ReplaceAllString(paragraph, "$1`$2`") + "\n")
			}
		}
		if cmd.HasAvailableSubCommands() {
			out.WriteString("\n| command | |\n|---|---|\n")
			for _, sub := range cmd.Commands() {
				fmt.Fprintf(&out, "| [`%s`](#%s) | %s |\n", sub.CommandPath(), strings.ReplaceAll(sub.CommandPath(), " ", "-"), sub.Short)
			}
		}
		if cmd.Run != nil || cmd.RunE != nil {
			fmt.Fprintf(&out, "\n```text\n%s\n```\n", cmd.UseLine())
		}
		if cmd.HasAvailableLocalFlags() {
			out.WriteString("\n| flag | values | default | meaning |\n|---|---|---|---|\n")
			cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Hidden || f.Name == "help" {
					return
				}
				values, usage := pflag.UnquoteUsage(f)
				def := f.DefValue
				if slices.Contains([]string{"false", "[]", "0"}, def) {
					def = ""
				}
				fmt.Fprintf(&out, "| `--%s` | %s | %s | %s |\n", f.Name, values, code(def), strings.ReplaceAll(usage, "|", `\|`))
			})
		}
		if cmd.Example != "" {
			fmt.Fprintf(&out, "\n```text\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
		}
		for _, sub := range cmd.Commands() {
			render(sub)
		}
	}
	render(root)
	return out.String()
}

const metricsIntro = `# Metrics

Generated from the program (` + "`go generate ./cmd/weir`" + `); do not edit.

` + "`weir up`" + ` serves them at ` + "`/metrics`" + ` of ` + "`api.listen`" + ` in the text format of Prometheus. All are there from the start, with 0
where nothing happened yet. Where one is of a socket, ` + "`addr`" + ` is its address and ` + "`shard`" + ` its number there, from 0. Where one is of a pool
of ` + "`estate.xapi`" + ` or a host of ` + "`estate.libvirt`" + `, ` + "`pool`" + ` or ` + "`host`" + ` is its name there. Beside
them are those of the Go runtime (` + "`go_…`" + `) and of the process (` + "`process_…`" + `).

At every stage what came in is what went on, what was dropped under a reason, and what is still there:

- datagrams taken = the sum of ` + "`weir_collector_decode_datagrams_total`" + ` over its outcomes
- flows decoded = flows in sealed batches + pending ones
- rows in + replayed = rows stored + dropped + waiting
`

// metricsPage renders the metrics of a node that is wired as weir up wires it, and started as little.
func metricsPage(t *testing.T) string {
	e, err := prepare(t.TempDir(), "", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	e.config.Collector.Listen, e.config.API.Listen, e.config.Store.Mode = []string{"127.0.0.1:0"}, "127.0.0.1:0", storeServer
	e.config.Estate.XAPI = []xapi.Config{{Name: "NAME", Addresses: []string{"192.0.2.1"}, User: "weir", PasswordFile: "none", Timeout: time.Minute, Resync: time.Hour}}
	e.config.Estate.Libvirt = []libvirt.Config{{Name: "NAME", URI: "qemu:///system", Timeout: time.Minute, Resync: time.Hour}}
	e.config.Feed.Listen, e.config.Feed.TLS, e.config.Follow.URL = "127.0.0.1:0", false, "http://127.0.0.1:1"
	n, err := newNode(e, everything, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(e.data, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	if n.sockets, err = bind(t.Context(), everything, e, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.sockets.close(); err != nil {
			t.Error(err)
		}
	})
	if n.client, err = store.Open(store.DefaultConfig()); err != nil { // asks nothing yet
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.client.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.openState(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.state.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.wire(upOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.wireFollower(); err != nil { // of weir collector
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.wal.Close(); err != nil {
			t.Error(err)
		}
	})
	families, err := n.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "weir_") })
	for name := range described(n.metrics) {
		if !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == name }) {
			t.Errorf("%s is not there from the start: resolve its labels where it is made", name)
		}
	}
	var out strings.Builder
	out.WriteString(metricsIntro)
	last := ""
	for _, f := range families {
		service, _, _ := strings.Cut(strings.TrimPrefix(f.GetName(), "weir_"), "_")
		if service != last {
			last = service
			fmt.Fprintf(&out, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", strings.ToUpper(service[:1])+service[1:])
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labelsOf(f), strings.ReplaceAll(f.GetHelp(), "|", `\|`))
	}
	return out.String()
}

// described returns the names of Weir's metrics that reg holds, with or without values.
func described(reg *prometheus.Registry) map[string]bool {
	descs := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(descs)
		close(descs)
	}()
	names := map[string]bool{}
	fqName := regexp.MustCompile(`fqName: "(weir_[a-z0-9_]+)"`)
	for d := range descs {
		if m := fqName.FindStringSubmatch(d.String()); m != nil {
			names[m[1]] = true
		}
	}
	return names
}

// labelsOf lists the labels of a metric and, where they are words of a fixed list, their values.
func labelsOf(f *dto.MetricFamily) string {
	var names []string
	values := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
			if v := code(l.GetValue()); !slices.Contains(values[l.GetName()], v) {
				values[l.GetName()] = append(values[l.GetName()], v)
			}
		}
	}
	for i, name := range names {
		names[i] = code(name)
		if name != "addr" && name != "shard" && !slices.Equal(values[name], []string{"`NAME`"}) {
			names[i] += ": " + strings.Join(values[name], ", ")
		}
	}
	return strings.Join(names, "; ")
}

// The example configuration, and the estate file that it names, are right.
func TestExampleConfig(t *testing.T) {
	example := filepath.Join("..", "..", "deploy", "example", "weir.yaml")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check-config", "--config", example}, nil, &stdout, &stderr); code != exitOK {
		t.Fatalf("check-config: exit code %d\n%s", code, stderr.String())
	}
	for _, want := range []string{"weir.yaml: ok", "estate.yaml: ok"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("check-config does not say %q:\n%s", want, stdout.String())
		}
	}
}
