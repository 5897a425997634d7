package bench_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/estate/xapi"
	"github.com/weirhq/weir/internal/apptest"
	pool "github.com/weirhq/weir/lab/xapi"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// The pool of BenchmarkPool.
const (
	poolHosts   = 64
	poolVMs     = 10_000
	poolChanges = 1000
)

// BenchmarkPool starts a Weir that was told of a pool of 64 hosts and 10 000 VMs with 15 000 VIFs, whose XAPI is the lab's, in the process of the
// benchmark. It reports, from the start of the process, when Weir is up and when the pool is in the estate, the CPU time until then, and memory: of the
// process and of Go's heap; how long, and how much CPU time, it takes until 1000 VMs that are renamed at once are renamed in the estate; and until all
// was read again because the pool counted otherwise.
func BenchmarkPool(b *testing.B) {
	site := pool.NewSite(pool.Config{User: "weir", Password: "secret"}, "large")
	h, err := site.Serve("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	site.AddHost("xcp-1", h.Address())
	for i := 1; i < poolHosts; i++ {
		site.AddHost(fmt.Sprint("xcp-", i+1), fmt.Sprint("192.0.2.", i+1))
	}
	front := site.AddNetwork("front", "xenbr0", 0, "")
	vifs := site.Grow(poolVMs, [2]string{front, site.AddNetwork("back", "xapi1", 30, front)})
	vms := site.Refs("VM")

	data := b.TempDir()
	source, err := json.Marshal(map[string]any{
		"name": "large", "addresses": []string{"https://" + h.Address()}, "user": "weir", "password_file": "password", "pins": []ovsdb.Fingerprint{ovsdb.FingerprintOf(h.Certificate())},
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{
		"password":  "secret\n",
		"weir.yaml": fmt.Sprintf("estate: {xapi: [%s]}\ncollector: {listen: [\"127.0.0.1:0\"]}\nstore: {embedded: {listen: \"127.0.0.1:0\"}}\napi: {listen: \"127.0.0.1:0\"}\n", source),
	} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	i := instance{App: apptest.Start(b, data)} // makes the tables
	sum := map[string]float64{}
	since := func(what string, began time.Time, used time.Duration, is func(*xapi.Status, api.Status) error) {
		b.Helper()
		i.pool(b, is)
		sum[what+"-ms"] += float64(time.Since(began).Milliseconds())
		sum[what+"-cpu-ms"] += float64((cpu(b, i.PID) - used).Milliseconds())
	}
	round := 0
	for b.Loop() {
		round++
		site.Lie("vm", 0)
		i.Stop()
		began := time.Now()
		i.App = apptest.Start(b, data)
		sum["up-ms"] += float64(time.Since(began).Milliseconds())
		since("known", began, 0, func(_ *xapi.Status, s api.Status) error { return expect("VIFs are known", s.Estate.VIFs, vifs) })
		sum["MiB"] += float64(memory(b, i.PID)) / (1 << 20)
		sum["heap-MiB"] += i.metric(b, "go_memstats_heap_inuse_bytes") / (1 << 20)

		name := fmt.Sprint("renamed-", round, "-")
		began = time.Now()
		used := cpu(b, i.PID)
		for _, vm := range vms[:poolChanges] {
			site.Set("VM", vm, pool.Record{"name_label": name + vm[10:18]})
		}
		since("changed", began, used, func(*xapi.Status, api.Status) error {
			var list struct {
				Total int `json:"total"`
			}
			i.get(b, "/api/v1/estate/vm?limit=1&search="+name, &list)
			return expect("VMs are renamed", list.Total, poolChanges)
		})

		began, used = time.Now(), cpu(b, i.PID)
		reads := i.metric(b, "weir_estate_xapi_reads_total")
		site.Lie("vm", 1)
		site.Set("VM", vms[0], pool.Record{"domid": round})
		since("drift", began, used, func(s *xapi.Status, _ api.Status) error {
			if s.Drift == 0 {
				return errors.New("no drift was noticed")
			}
			return expect("times all was read again", int(i.metric(b, "weir_estate_xapi_reads_total")-reads), 1)
		})
	}
	for unit, x := range sum {
		b.ReportMetric(x/float64(b.N), unit)
	}
	b.ReportMetric(0, "ns/op") // means nothing
}

// pool waits until something is so of the pool.
func (i instance) pool(tb testing.TB, is func(*xapi.Status, api.Status) error) {
	tb.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { // between polls, which cost the CPU time of Weir
		s := i.status(tb)
		if len(s.Estate.Sources) != 1 || s.Estate.Sources[0].XAPI == nil {
			tb.Fatalf("sources %+v", s.Estate.Sources)
		}
		err := is(s.Estate.Sources[0].XAPI, s)
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			tb.Fatalf("not within %v: %v", patience, err)
		}
	}
}

// metric returns a metric that has one value.
func (i instance) metric(tb testing.TB, name string) float64 {
	tb.Helper()
	resp, err := http.Get("http://" + i.API + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `(?:\{.*\})? (.*)$`).FindSubmatch(text)
	if m == nil {
		tb.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
