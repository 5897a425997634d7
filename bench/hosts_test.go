package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/export"
)

// The farm of BenchmarkHosts.
const (
	farmHosts = 64
	farmVMs   = 50
)

// BenchmarkHosts starts a Weir that was told of 64 hosts with 50 VMs each, whose databases and switches are real and whose datapath
// is simulated. It reports, from the start of the process, when Weir is up, when all hosts are connected and when all of their VIFs
// are in the estate; the CPU time until then; and how long it takes, once that is asked for, until all bridges export flows.
func BenchmarkHosts(b *testing.B) {
	if err := ovsbed.Check(); err != nil {
		b.Skipf("not measured: %v", err)
	}
	farm, err := ovsbedtest.New(b).Farm(b.Context(), farmHosts, farmVMs)
	if err != nil {
		b.Fatal(err)
	}
	targets, err := farm.ListenAll(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	data := b.TempDir()
	config := fmt.Sprintf("collector: {listen: [\"0.0.0.0:%d\"]}\nstore: {embedded: {listen: \"127.0.0.1:0\"}}\napi: {listen: \"127.0.0.1:0\"}\n", freePort(b))
	if err := os.WriteFile(filepath.Join(data, "weir.yaml"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	i := instance{App: apptest.Start(b, data)}
	export := func(protocol string) {
		b.Helper()
		if _, err := i.Run("hosts", "export", "--pool", "farm", protocol); err != nil {
			b.Fatal(err)
		}
	}
	var g errgroup.Group
	g.SetLimit(8)
	for n, h := range farm.Hosts {
		g.Go(func() error {
			_, err := i.Run("hosts", "add", h.Name, targets[n], "--pool", "farm")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	export("off")
	i.until(b, time.Now(), exporting(0))
	var up, connect, know, used, set time.Duration
	for b.Loop() {
		i.Stop()
		began := time.Now()
		i.App = apptest.Start(b, data)
		up += time.Since(began)
		connect += i.until(b, began, connected)
		know += i.until(b, began, known)
		used += cpu(b, i.PID)
		began = time.Now()
		export("auto")
		set += i.until(b, began, exporting(farmHosts))
		export("off")
		i.until(b, began, exporting(0))
	}
	for unit, d := range map[string]time.Duration{"up-ms": up, "connected-ms": connect, "known-ms": know, "cpu-ms": used, "export-ms": set} {
		b.ReportMetric(float64(d.Milliseconds())/float64(b.N), unit)
	}
	b.ReportMetric(0, "ns/op") // means nothing
}

// until waits until something is so of all hosts of the farm, and returns how long after began it was.
func (i instance) until(tb testing.TB, began time.Time, is func(api.Hosts, api.Status) error) time.Duration {
	tb.Helper()
	for {
		var list api.Hosts
		i.get(tb, "/api/v1/hosts", &list)
		err := is(list, i.status(tb))
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > patience {
			tb.Fatalf("not within %v: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond) // between polls, which cost the CPU time of Weir
	}
}

func connected(list api.Hosts, _ api.Status) error {
	n := 0
	for i := range list.Hosts {
		if list.Hosts[i].State == ovsdb.StateConnected {
			n++
		}
	}
	return expect("hosts are connected", n, farmHosts)
}

func known(_ api.Hosts, s api.Status) error {
	return expect("VIFs are known", s.Estate.VIFs, farmHosts*farmVMs)
}

// exporting returns a check that so many bridges export flows as Weir has set it up.
func exporting(want int) func(api.Hosts, api.Status) error {
	return func(list api.Hosts, _ api.Status) error {
		n := 0
		for i := range list.Hosts {
			for _, b := range list.Hosts[i].Exports {
				if b.State == export.StateSet {
					n++
				}
			}
		}
		return expect("bridges export", n, want)
	}
}

func expect(what string, got, want int) error {
	if got != want {
		return fmt.Errorf("%d %s, want %d", got, what, want)
	}
	return nil
}
