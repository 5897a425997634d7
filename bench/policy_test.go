package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/ovstrace"
	"github.com/weirhq/weir/policyd"
)

// policyRules is how many rules each VIF of the farm of BenchmarkPolicy has.
const policyRules = 200

// BenchmarkPolicy enforces policy at 64 hosts with 50 VMs and 200 rules each: real switches whose datapath is simulated. It reports
// how long it takes to program all of them, once that is asked for, and then, of a policy in which one rule changes, how long it
// takes from the start of weir policy apply until a packet is treated by the new rule at the first and at every host (as
// ofproto/trace says), and until every bridge was read back; and CPU time and memory of Weir.
func BenchmarkPolicy(b *testing.B) {
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
	config := fmt.Sprintf(`collector: {listen: ["0.0.0.0:%d"]}
store: {embedded: {listen: "127.0.0.1:0"}}
api: {listen: "127.0.0.1:0"}
policy: {listeners: [{addr: "%s:0", tls: false, insecure: true}]}
`, freePort(b), farm.Hosts[0].Root)
	if err := os.WriteFile(filepath.Join(data, "weir.yaml"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	i := instance{App: apptest.Start(b, data)}
	run := func(args ...string) {
		b.Helper()
		if _, err := i.Run(args...); err != nil {
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
	i.until(b, time.Now(), known)

	file := filepath.Join(data, "policy.yaml")
	write := func(last string) {
		b.Helper()
		if err := os.WriteFile(file, []byte(farmPolicy(last)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	write("allow")
	run("policy", "apply", file)
	before := cpu(b, i.PID)
	began := time.Now()
	run("pool", "mode", "farm", "enforce", "--yes")
	whole := i.enforced(b, began, 1)
	programmed := cpu(b, i.PID) - before
	flows := 0
	for _, h := range i.policy(b).Hosts {
		flows += h.Bridges[0].Installed
	}
	held := memory(b, i.PID)

	probes := newFarmProbes(b, farm)
	probes.until(b, time.Now(), true)
	var first, all, verified, used time.Duration
	n := 0
	for b.Loop() {
		n++
		deny := n%2 == 1
		write(map[bool]string{true: "deny", false: "allow"}[deny])
		before := cpu(b, i.PID)
		began := time.Now()
		run("policy", "apply", file, "--wait", "0s")
		f, a := probes.until(b, began, !deny)
		first, all = first+f, all+a
		verified += i.enforced(b, began, uint64(n+1))
		used += cpu(b, i.PID) - before
	}
	for unit, d := range map[string]time.Duration{"first-ms": first, "all-ms": all, "verified-ms": verified, "change-cpu-ms": used} {
		b.ReportMetric(float64(d.Milliseconds())/float64(n), unit)
	}
	b.ReportMetric(float64(flows)/farmHosts, "flows/bridge") // b.Loop forgets what was reported before it
	b.ReportMetric(float64(whole.Milliseconds()), "whole-ms")
	b.ReportMetric(float64(programmed.Milliseconds()), "whole-cpu-ms")
	b.ReportMetric(float64(held)/(1<<20), "MiB")
	b.ReportMetric(0, "ns/op") // means nothing
}

// memory returns what a process holds of the machine's, in bytes.
func memory(tb testing.TB, pid int) int {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		tb.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// farmPolicy returns a policy in which the last rule of 200 has an action.
func farmPolicy(last string) string {
	var s strings.Builder
	s.WriteString("global:\n  mandatory:\n")
	for i := range policyRules / 2 {
		fmt.Fprintf(&s, "    - {id: m%d, action: %s, direction: to, protocol: tcp, remote: 10.%d.0.0/16, remote_ports: %d}\n", i, []string{"allow", "deny"}[i%2], i, 1000+i)
	}
	s.WriteString("  default:\n")
	for i := range policyRules/2 - 1 {
		fmt.Fprintf(&s, "    - {id: d%d, action: %s, direction: from, protocol: udp, remote: 172.16.%d.0/24, local_ports: %d}\n", i, []string{"deny", "allow"}[i%2], i, 2000+i)
	}
	fmt.Fprintf(&s, "    - {id: last, action: %s, direction: to, protocol: tcp, remote_ports: 9999}\n", last)
	return s.String()
}

// policy returns how policy stands.
func (i instance) policy(tb testing.TB) (s policyd.PolicyStatus) {
	tb.Helper()
	i.get(tb, "/api/v1/policy/status", &s)
	return s
}

// enforced waits until a revision was verified at all hosts, and returns how long after began that was.
func (i instance) enforced(tb testing.TB, began time.Time, revision uint64) time.Duration {
	tb.Helper()
	for {
		n := 0
		for _, h := range i.policy(tb).Hosts {
			if h.Verified >= revision && h.Revision >= revision {
				n++
			}
		}
		took := time.Since(began)
		if n == farmHosts {
			return took
		}
		if took > patience {
			tb.Fatalf("revision %d is in force at %d hosts of %d after %v", revision, n, farmHosts, took)
		}
		time.Sleep(20 * time.Millisecond) // between polls, which cost the CPU time of Weir
	}
}

// farmProbes ask each switch of a farm what it would do with a packet from its first VM to its third.
type farmProbes struct {
	switches []*ovstrace.Switch
	packets  []string
}

func newFarmProbes(tb testing.TB, farm *ovsbed.Farm) *farmProbes {
	tb.Helper()
	p := &farmProbes{}
	for n, h := range farm.Hosts {
		control, err := ovstrace.Dial(h.SwitchSocket())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = control.Close() })
		s, err := ovstrace.NewSwitch(control, "br0")
		if err != nil {
			tb.Fatal(err)
		}
		from, to := farm.VMs[n*farmVMs], farm.VMs[n*farmVMs+2]
		p.switches = append(p.switches, s)
		p.packets = append(p.packets, fmt.Sprintf("in_port=%d,tcp,dl_src=%s,dl_dst=%s,nw_src=192.0.2.1,nw_dst=192.0.2.3,nw_ttl=64,tcp_src=40000,tcp_dst=9999",
			from.Port.OFPort, from.MAC, to.MAC))
	}
	return p
}

// until asks all switches again and again until each lets the packet pass, or none does, and returns how long after began that
// was at the first and at the last of them.
func (p *farmProbes) until(tb testing.TB, began time.Time, passes bool) (first, last time.Duration) {
	tb.Helper()
	var earliest atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, len(p.switches))
	for i, s := range p.switches {
		all.Go(func() {
			for {
				trace, err := s.Trace(p.packets[i], nil, "trk,new", "trk,new")
				took := time.Since(began)
				switch {
				case err != nil || took > patience:
					errs[i] = fmt.Errorf("switch %d after %v: %w", i+1, took, err)
					return
				case (len(trace.Outputs) > 0) == passes:
					earliest.CompareAndSwap(0, int64(took))
					return
				}
				time.Sleep(20 * time.Millisecond) // between questions, which cost the CPU time of the switches
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return time.Duration(earliest.Load()), time.Since(began)
}
