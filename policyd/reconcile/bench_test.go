package reconcile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/reconcile"
)

// A farm is programmed whole, then one rule changes on all its bridges until each has it and was read back.
func BenchmarkFarm(b *testing.B) {
	const hosts, vms, rules = 64, 50, 200
	r := newRig(b, hosts, vms)
	revision := uint64(0)
	want := func(d *compile.Desired) time.Duration {
		revision++
		list := make([]reconcile.Bridge, hosts)
		for i := range list {
			list[i] = r.bridge(i, revision, d)
		}
		began := time.Now()
		r.Set(list)
		for {
			has := 0
			for _, s := range r.Wait(b.Context(), revision) {
				if s.Has(revision) {
					has++
				}
			}
			if has == hosts {
				return time.Since(began)
			}
			time.Sleep(time.Millisecond) // between polls, until all are connected
		}
	}
	// Rules of VIFs: as many flows as 50 VIFs with 20 rules each and 200 for all.
	flows := func(last uint32) *compile.Desired {
		return policy(vms, vms*20+rules, func(list []openflow.Flow) []openflow.Flow {
			list[len(list)-1] = rule(vms*20+rules-1, last)
			return list
		})
	}
	want(compile.Of(nil)) // all are connected
	whole := want(flows(1))
	var changes, longest time.Duration
	n := 0
	for b.Loop() {
		n++
		took := want(flows(uint32(1_000_000 + n)))
		changes += took
		longest = max(longest, took)
	}
	b.ReportMetric(float64(whole.Milliseconds()), "ms/whole")
	b.ReportMetric(float64(flows(1).Len()), "flows/bridge")
	b.ReportMetric(float64(changes.Milliseconds())/float64(n), "ms/change")
	b.ReportMetric(float64(longest.Milliseconds()), "ms/longest")
}

// A bridge gets so many flows, by Weir (one bundle, then all are read) and by ovs-ofctl of the same run; and what Weir keeps of it in
// memory, once half of the flows were hit or none.
func BenchmarkBridge(b *testing.B) {
	for _, rules := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(rules), func(b *testing.B) {
			r := newRig(b, 2, 4)
			d := policy(4, rules, nil)
			var lines []string
			for f := range d.Each() {
				lines = append(lines, f.String())
			}
			file := filepath.Join(b.TempDir(), "flows.txt")
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
				b.Fatal(err)
			}
			revision := uint64(1)
			r.want(revision, compile.Of(nil))
			r.installed(revision)
			var ours, theirs, audit time.Duration
			var kept uint64
			n := 0
			for b.Loop() {
				n++
				before := heap()
				began := time.Now()
				revision++
				r.want(revision, d)
				r.installed(revision)
				ours += time.Since(began)
				kept += max(heap(), before) - before
				began = time.Now()
				r.audit()
				audit += time.Since(began)
				revision++
				r.want(revision, compile.Of(nil))
				r.installed(revision)

				twin := r.hosts[1]
				if n == 1 {
					if _, err := twin.OFCtl(b.Context(), "-OOpenFlow13", "add-group", "br0", flood(4).String()); err != nil {
						b.Fatal(err)
					}
				}
				began = time.Now()
				if _, err := twin.OFCtl(b.Context(), "-OOpenFlow14", "--bundle", "add-flows", "br0", file); err != nil {
					b.Fatal(err)
				}
				theirs += time.Since(began)
				if _, err := twin.OFCtl(b.Context(), "del-flows", "br0"); err != nil {
					b.Fatal(err)
				}
			}
			per := func(d time.Duration) float64 { return float64(d.Milliseconds()) / float64(n) }
			b.ReportMetric(per(ours), "ms/installed")
			b.ReportMetric(per(theirs), "ms/ovs-ofctl")
			b.ReportMetric(per(audit), "ms/audit")
			b.ReportMetric(float64(kept)/float64(n)/1e6, "MB/kept")
		})
	}
}

// heap returns what is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
