package proof_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/traffic"
)

// policyRig is a rig whose hosts enforce policy.
//
//	hv1  br0  web 10.1.0.1  cache 10.1.0.2  red 10.1.7.6 (VLAN 7)   the host itself 10.1.0.101
//	hv2  br0  db 10.1.0.3                                           the host itself 10.1.0.102
//	hv3  br0  app 10.1.0.4  ops 10.1.0.5    blue 10.1.7.7 (VLAN 7)
//
// Each has an IPv6 address, too.
type policyRig struct {
	*rig
	policy string // that was applied last
	told   []told // what was sent, and not looked at yet

	listeners []int  // TCP ports of OpenFlow: without and with TLS
	foreign   string // flows, groups and meters of others at hv2, as they were before Weir came
	settings  string // of the bridge there
}

// told is what rows say of the datagrams to a port.
type told struct {
	what  string
	where string // condition in SQL
	rows  []string
}

// exactly is how many datagrams are sent where they are counted.
const exactly = 25

func newPolicyRig(t *testing.T) *policyRig {
	t.Helper()
	r := &policyRig{rig: newRig(
		t, 10*time.Minute, placed{"web", "hv1", "flat"}, placed{"cache", "hv1", "flat"}, placed{"db", "hv2", "flat"}, placed{"app", "hv3", "flat"}, placed{"ops", "hv3", "flat"},
		placed{"red", "hv1", "seven"}, placed{"blue", "hv3", "seven"},
	)}
	r.address()
	return r
}

// address gives two hosts addresses of their own at the bridge, also after the switch has made the interface anew.
func (r *policyRig) address() {
	for name, addr := range hostAddr {
		out, err := r.hv[name].Namespace.Run(r.ctx, "ip", "address", "show", "dev", bridge)
		r.must(err)
		if !strings.Contains(string(out), addr.String()+"/") {
			r.must(r.hv[name].AddAddress(r.ctx, bridge, netip.PrefixFrom(addr, 24)))
		}
	}
}

// hostAddr are addresses that hosts themselves have at their bridges.
var hostAddr = map[string]netip.Addr{"hv1": netip.MustParseAddr("10.1.0.101"), "hv2": netip.MustParseAddr("10.1.0.102")}

// ports returns TCP ports that are free, for what listens again after Weir was started again.
func (r *policyRig) ports(n int) []int {
	var list []int
	for range n {
		l, err := net.Listen("tcp4", ":0")
		r.must(err)
		defer l.Close()
		list = append(list, l.Addr().(*net.TCPAddr).Port)
	}
	return list
}

// apply puts a policy in force and waits until all hosts that are reached were found to hold it.
func (r *policyRig) apply(text string, args ...string) string {
	r.Helper()
	out := r.command(append([]string{"policy", "apply", r.write(text), "--wait", "60s"}, args...)...)
	r.policy = text
	return out
}

// write writes a policy to a file.
func (r *policyRig) write(text string) string {
	r.Helper()
	path := filepath.Join(r.TempDir(), "policy.yaml")
	r.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// edit applies the policy with a text in it replaced, which is there once.
func (r *policyRig) edit(was, is string) {
	r.Helper()
	if n := strings.Count(r.policy, was); n != 1 {
		r.Fatalf("%q is %d times in the policy", was, n)
	}
	r.apply(strings.Replace(r.policy, was, is, 1))
}

// addr returns an address of a VM, of IPv4 or IPv6.
func (r *policyRig) addr(vm string, six bool) netip.Addr {
	i := 0
	if six {
		i = 1
	}
	return r.vms[vm].Addrs[i].Addr()
}

// probe sends from one VM to others until the test ends, or is closed before.
func (r *policyRig) probe(cfg traffic.ProbeConfig, from string, to ...string) *traffic.Probe {
	r.Helper()
	cfg.From = r.vms[from].Namespace
	if !cfg.Source.IsValid() {
		cfg.Source = r.addr(from, cfg.Target.Addr().Is6())
	}
	for _, name := range to {
		cfg.To = append(cfg.To, r.vms[name].Namespace)
	}
	p, err := traffic.NewProbe(r.ctx, cfg)
	r.must(err)
	return p
}

// udp is the VM's address and a port.
func (r *policyRig) udp(vm string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(r.addr(vm, false), port)
}

// within is a context that ends before long.
func (r *policyRig) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.ctx, d)
	r.Cleanup(cancel)
	return ctx
}

// seen waits until a probe is seen at receiver i, and tells how long after since.
func (r *policyRig) seen(what string, p *traffic.Probe, i int, since time.Time) {
	r.Helper()
	_, err := p.Passes(r.within(soon), i)
	r.must(err)
	r.Logf("%s: seen %v later", what, time.Since(since).Round(time.Millisecond))
}

// steady waits until a second of a probe has arrived without a loss. The announcement of a VM that was moved is a frame that the policy denies, so
// that the switch between the hosts finds the VM for certain once it asks for a neighbour.
func (r *policyRig) steady(what string, p *traffic.Probe) {
	r.Helper()
	apptest.Eventually(r, soon, what+": nothing is lost any more", func() error {
		const second = 100
		from := p.Sent()
		for p.Sent() < from+second+5 && r.ctx.Err() == nil {
			time.Sleep(time.Millisecond) // between polls
		}
		if n := p.Arrived(0, from, from+second); n != second {
			return fmt.Errorf("%d of %d arrived", n, second)
		}
		return nil
	})
}

// cut waits until a probe is not seen any more at receiver i, and tells how long after since, at most.
func (r *policyRig) cut(what string, p *traffic.Probe, i int, since time.Time) {
	r.Helper()
	const run = 20 // datagrams
	_, err := p.Ends(r.within(soon), i, run)
	r.must(err)
	r.Logf("%s: cut %v later", what, time.Since(since).Round(time.Millisecond))
}

// never is a check that nothing of a probe arrives between two moments.
func (r *policyRig) never(what string, p *traffic.Probe, i int, after uint64) {
	r.Helper()
	if n := p.Arrived(i, after, p.Sent()); n != 0 {
		r.Errorf("%s: %d of %d datagrams that were denied passed", what, n, p.Sent()-after)
	}
}

// row is what a row says of who decided; the names of the VMs and the network are those of told.
func row(host, rule, stage, verdict string, counted bool, packets int) string {
	return fmt.Sprintf("%s %s %s %s counted=%v %d", host, rule, stage, verdict, counted, packets)
}

// send sends exactly datagrams from one VM to another by a port, and wants all of them to arrive or none, and rows to say so.
func (r *policyRig) send(what, from, to string, six bool, port uint16, passes bool, rows ...string) {
	r.Helper()
	p := r.probe(traffic.ProbeConfig{Target: netip.AddrPortFrom(r.addr(to, six), port), Interval: time.Millisecond, Count: exactly}, from, to)
	defer p.Close()
	r.arrive(what, p, passes)
	r.told = append(r.told, told{what, there(port), rows})
}

// there is datagrams to a port, back those from it.
func there(port uint16) string { return fmt.Sprintf("dst_port = %d AND protocol = 17", port) }
func back(port uint16) string  { return fmt.Sprintf("src_port = %d AND protocol = 17", port) }

// arrive wants all datagrams of a probe that ends to arrive at receiver 0, or none.
func (r *policyRig) arrive(what string, p *traffic.Probe, passes bool) {
	r.Helper()
	r.must(p.Wait(r.within(soon)))
	if passes {
		if err := p.Arrive(r.within(soon), 0, exactly); err != nil {
			r.Errorf("%s: %v", what, err)
		}
		return
	}
	r.never(what, p, 0, 0)
}

// rowsWhere returns what rows say of who decided, a line each, sorted.
func (r *policyRig) rowsWhere(where string) ([]string, error) {
	out, err := r.weir.SQL(`
SELECT host_name, rule_name, stage, verdict, counted, sum(packets) FROM flows WHERE ` + where + ` GROUP BY ALL ORDER BY ALL`)
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 6 {
			return nil, fmt.Errorf("line %q", line)
		}
		list = append(list, fmt.Sprintf("%s %s %s %s counted=%s %s", f[0], f[1], f[2], f[3], f[4], f[5]))
	}
	slices.Sort(list)
	return list, nil
}

// rows waits until all that was sent since the last time is told by rows as it should.
func (r *policyRig) rows() {
	r.Helper()
	for _, t := range r.told {
		slices.Sort(t.rows)
		apptest.Eventually(r, soon, t.what+": rows", func() error {
			got, err := r.rowsWhere(t.where)
			if err == nil && !slices.Equal(got, t.rows) {
				err = fmt.Errorf("%s: rows say\n  %s\nwant\n  %s", t.where, strings.Join(got, "\n  "), strings.Join(t.rows, "\n  "))
			}
			return err
		})
	}
	r.told = nil
}

// enforced waits until all hosts have the policy that was applied last in force.
func (r *policyRig) enforced(what string, hosts ...string) {
	r.Helper()
	began := time.Now()
	apptest.Eventually(r, soon, what+": policy is in force", func() error {
		out, err := r.weir.Run("policy", "status", "--json")
		if err != nil {
			return err
		}
		if n := strings.Count(out, `"state": "enforced"`); n != len(hosts) {
			return errors.New(out)
		}
		return nil
	})
	r.Logf("%s: policy is in force at %v after %v", what, hosts, time.Since(began).Round(10*time.Millisecond))
}

// openFlow returns flows, groups and meters of a host's bridge.
func (r *policyRig) openFlow(host string) string {
	r.Helper()
	out, err := r.hv[host].OpenFlow(r.ctx, bridge)
	r.must(err)
	return out
}

// bridgeRow returns what the database of a host says of its bridge that Weir may change.
func (r *policyRig) bridgeRow(host string) string {
	r.Helper()
	out, err := r.hv[host].VSCtl(r.ctx, "--format=csv", "--columns=controller,other_config,external_ids,protocols,flow_tables,mirrors,sflow", "list", "bridge", bridge)
	r.must(err)
	return out
}

// tooBig sends n ICMP messages "fragmentation needed" and waits until all are there.
func tooBig(ctx context.Context, from, to *netns.Namespace, target netip.Addr, n int) error {
	var sender, receiver *net.IPConn
	if err := errors.Join(
		from.Do(func() (err error) {
			sender, err = net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: target.AsSlice()})
			return err
		}),
		to.Do(func() (err error) {
			receiver, err = net.ListenIP("ip4:icmp", nil)
			return err
		}),
	); err != nil {
		return err
	}
	defer sender.Close()
	defer receiver.Close()
	end, _ := ctx.Deadline()
	_ = receiver.SetReadDeadline(end)
	m, err := (&icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 4, Body: &icmp.DstUnreach{Data: make([]byte, 28)}}).Marshal(nil)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := sender.Write(m); err != nil {
			return err
		}
		for b, heard := make([]byte, 1500), false; !heard; {
			size, _, err := receiver.ReadFromIP(b)
			if err != nil {
				return fmt.Errorf("message %d of %d: %w", i, n, err)
			}
			got, err := icmp.ParseMessage(1, b[:size])
			heard = err == nil && got.Type == ipv4.ICMPTypeDestinationUnreachable && got.Code == 4
		}
	}
	return nil
}
