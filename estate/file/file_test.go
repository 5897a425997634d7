package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/estate/estatetest"
	"github.com/weirhq/weir/estate/file"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/strictyaml"
)

// The example that ships compiles without a warning, and uses every key that there is.
func TestExample(t *testing.T) {
	name := filepath.Join("..", "..", "deploy", "example", "estate.yaml")
	s, err := file.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Warnings()) > 0 {
		t.Errorf("warnings: %v", s.Warnings())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range strictyaml.Describe(&estate.Model{}) {
		key := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
		if !bytes.Contains(text, []byte(key+":")) {
			t.Errorf("the example does not show %s", k.Path)
		}
		if k.Doc == "" {
			t.Errorf("key %s has no sentence for the manual", k.Path)
		}
	}
}

// What is wrong comes with its line, whether in form or in meaning.
func TestReadReportsLines(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		name := filepath.Join(t.TempDir(), "estate.yaml")
		write(t, name, text)
		_, err := file.Read(name)
		if err == nil {
			t.Fatalf("Read of %q: no error", text)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("Read: %v\nwant %s", err, w)
			}
		}
	}
	f("hosts:\n- name: h1\n  exporter: [192.0.2.1]\n- name: h2\n  exporters: [192.0.2]\n",
		`estate.yaml:3: hosts[0].exporter: unknown key; did you mean "exporters"?`,
		`estate.yaml:5: hosts[1].exporters[0]: found "192.0.2", want IP address`)
	f("networks:\n- name: prod\nvms:\n- name: web\n  vifs:\n  - {device: 0, network: prd}\n- name: web\n",
		`estate.yaml:6: vms[0].vifs[0].network: "prd" is no network; did you mean "prod"?`,
		`estate.yaml:7: vms[1]: VM "web" is also vms[0]`)
	f("vms:\n- name: web\n  vifs:\n  - mac: 02:00\n", `estate.yaml:4: vms[0].vifs[0].mac: found "02:00", want MAC address`)
	f("address_groups:\n- name: g\n  members:\n  - 10.0.0.0/8\n  - 10.0.0.5-10.0.0.1\n", `estate.yaml:5: address_groups[0].members[1]: found range`)
	var many strings.Builder
	many.WriteString("vms:\n")
	for range 150 {
		many.WriteString("- name: same\n")
	}
	f(many.String(), `149 problems`, `… and 49 more`)
	if _, err := file.Read(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of no file: %v", err)
	}
}

// A model survives being written as a file.
func TestModelRoundTrip(t *testing.T) {
	m := estatetest.Random(rand.New(rand.NewPCG(1, 2)), estatetest.Size{
		Pools: 2, Hosts: 4, Networks: 5, VMs: 20, VIFs: 3, AddressGroups: 3, Prefixes: 30, VMGroups: 4, Dense: true,
	})
	text, err := strictyaml.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := file.Parse("estate.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("Parse(Encode(m)) (-want +got):\n%s", diff)
	}
}

// source is a Source whose looks at the file the test commands.
type source struct {
	t     *testing.T
	name  string
	h     *estate.Holder
	s     *file.Source
	log   *logBuffer
	ticks chan time.Time
	reg   *prometheus.Registry
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// take returns what was logged since the last take.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newSource(t *testing.T, text string) *source {
	t.Helper()
	x := &source{
		t: t, name: filepath.Join(t.TempDir(), "estate.yaml"), h: estate.NewHolder(), log: &logBuffer{}, ticks: make(chan time.Time),
		reg: prometheus.NewRegistry(),
	}
	write(t, x.name, text)
	cfg := file.Default()
	cfg.File = x.name
	var err error
	x.s, err = file.New(cfg, file.Deps{Log: slog.New(slog.NewTextHandler(x.log, nil)), Estate: estate.NewAssembler(estate.AssemblerDeps{Estate: x.h}), Ticks: x.ticks, Metrics: x.reg})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *source) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.s.Run(ctx) }()
	x.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			x.t.Errorf("Run: %v", err)
		}
	})
}

// look makes the source look n times; when it returns, all but the last look are over.
func (x *source) look(n int) {
	for range n {
		x.ticks <- time.Time{}
	}
}

// settle makes the source look until a change is taken over.
func (x *source) settle() { x.look(3) }

func (x *source) vms(want int) {
	x.t.Helper()
	if got := x.h.Load().Count(flow.KindVM); got != want {
		x.t.Fatalf("the estate has %d VMs, want %d", got, want)
	}
}

func (x *source) metric(name string) float64 {
	x.t.Helper()
	families, err := x.reg.Gather()
	if err != nil {
		x.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			full := f.GetName()
			for _, l := range m.GetLabel() {
				full += "/" + l.GetValue()
			}
			if full == name {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	x.t.Fatalf("no metric %s", name)
	return 0
}

func TestReload(t *testing.T) {
	x := newSource(t, "vms: [{name: a}]")
	if err := x.s.Load(); err != nil {
		t.Fatal(err)
	}
	x.vms(1)
	first := x.h.Load()
	x.run()
	x.look(5)
	if x.h.Load() != first {
		t.Fatal("an unchanged file was read again")
	}

	// Written in place; of the same size and maybe within one tick of the file system's clock.
	write(t, x.name, "vms: [{name: b}]")
	x.settle()
	if _, ok := x.h.Load().Entity(flow.NewID(flow.KindVM, "b")); !ok {
		t.Fatal("a file written in place was not taken over")
	}

	// Renamed over.
	write(t, x.name+".new", "vms: [{name: a}, {name: b}]")
	if err := os.Rename(x.name+".new", x.name); err != nil {
		t.Fatal(err)
	}
	x.settle()
	x.vms(2)
	x.log.take()

	// One that makes no sense is told once, in full, and changes nothing.
	write(t, x.name, "vms: [{name: a}, {naem: b}, {name: c, host: h}]\nhots: 1\n")
	x.settle()
	x.vms(2)
	x.look(5)
	told := x.log.take()
	for _, want := range []string{"estate file is not used", `estate.yaml:1: vms[1].naem: unknown key; did you mean`, `estate.yaml:2: hots: unknown key`} {
		if strings.Count(strings.ReplaceAll(told, `\"`, `"`), want) != 1 {
			t.Errorf("log has %q not once:\n%s", want, told)
		}
	}
	if p := x.s.Status().Problem; !strings.Contains(p, "vms[1].naem") || !strings.Contains(p, "hots") {
		t.Errorf("Status().Problem = %q", p)
	}
	if x.metric("weir_estate_file_current") != 0 || x.metric("weir_estate_file_reads_total/refused") != 1 {
		t.Error("metrics do not say that the content was refused")
	}

	// Mended.
	write(t, x.name, "vms: [{name: a}, {name: b}, {name: c}]")
	x.settle()
	x.vms(3)
	if st := x.s.Status(); st.Problem != "" || st.Read.IsZero() || st.File != x.name {
		t.Errorf("Status() = %+v after the file was mended", st)
	}
	if x.metric("weir_estate_file_current") != 1 {
		t.Error("metrics do not say that the content is used")
	}

	// Gone for a while.
	x.log.take()
	if err := os.Remove(x.name); err != nil {
		t.Fatal(err)
	}
	x.look(5)
	x.vms(3)
	if told := x.log.take(); strings.Count(told, "no such file") != 1 {
		t.Errorf("log does not say once that the file is missing:\n%s", told)
	}
	write(t, x.name, "vms: [{name: a}, {name: b}, {name: c}]")
	x.settle()
	if st := x.s.Status(); st.Problem != "" {
		t.Errorf("Status() = %+v after the file came back", st)
	}
}

// A file is not taken over between two writes of one who is writing it.
func TestHalfWritten(t *testing.T) {
	x := newSource(t, "vms: [{name: a}]")
	if err := x.s.Load(); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		if err := x.s.Look(); err != nil {
			t.Fatal(err)
		}
	}
	text := ""
	for i := range 20 {
		write(t, x.name, text)
		look()
		x.vms(1)
		text += fmt.Sprintf("%s- {name: vm%d}\n", map[bool]string{true: "vms:\n"}[i == 0], i)
	}
	if _, ok := x.h.Load().Entity(flow.NewID(flow.KindVM, "a")); !ok {
		t.Fatal("a file was taken over while it was written")
	}
	write(t, x.name, text)
	look()
	look()
	x.vms(20)
}

func TestLoadRefuses(t *testing.T) {
	x := newSource(t, "vms: 1")
	if err := x.s.Load(); err == nil || !strings.Contains(err.Error(), "estate.yaml:1: vms: found number 1, want a list") {
		t.Errorf("Load: %v", err)
	}
	if x.s.Status().Problem == "" {
		t.Error("Status() knows of no problem")
	}
	if _, err := file.New(file.Config{}, file.Deps{Log: slog.Default(), Estate: estate.NewAssembler(estate.AssemblerDeps{Estate: x.h})}); err == nil || !strings.Contains(err.Error(), "interval: found 0s") {
		t.Errorf("New without an interval: %v", err)
	}
	if _, err := file.New(file.Default(), file.Deps{}); err == nil {
		t.Error("New without dependencies: no error")
	}
}

func TestNoFile(t *testing.T) {
	s, err := file.New(file.Default(), file.Deps{Log: slog.New(slog.DiscardHandler), Estate: estate.NewAssembler(estate.AssemblerDeps{Estate: estate.NewHolder()})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(); err != nil {
		t.Errorf("Load: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("hosts: [{name: h, exporters: [192.0.2.1], bridges: [{name: b}]}]\nvms: [{name: v, host: h, vifs: [{device: 0, ports: [{if_index: 1}]}]}]")
	f.Add("networks: [{name: n, vlan: 5, subnets: [10.0.0.0/8]}]\nvms: [{name: v, vifs: [{mac: 02:00:00:00:00:01, ips: [10.0.0.1], network: n}]}]")
	f.Add("address_groups: [{name: g, members: [10.0.0.1-10.0.0.9, '::/0']}]\nvm_groups: [{name: g, vms: [v], select: [{name: '*'}]}]\nvms: [{name: v}]")
	f.Add("pools: [{name: p, attributes: {a: b}}]\nhosts: [{name: h, pool: p}, {name: h}]\nvms: [{name: v, host: p/h}]")
	f.Fuzz(func(t *testing.T, text string) {
		m, s, err := file.Parse("f", []byte(text))
		if err != nil {
			return
		}
		// An estate that is accepted can be written and read back as the same.
		out, err := strictyaml.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		_, again, err := file.Parse("f", out)
		if err != nil {
			t.Fatalf("Parse(Encode(m)): %v\n%s", err, out)
		}
		if changed, gone := again.Diff(s); len(changed)+len(gone) > 0 {
			t.Fatalf("written and read back it differs: %v, %v\n%s", changed, gone, out)
		}
	})
}
