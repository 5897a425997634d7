package proof_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/traffic"
)

// What the policy of a file says is what packets of VMs meet, on three real hosts, and what rows and counters say afterwards; and it
// stays so whatever happens to Weir, switches, databases and cables.
func TestPolicy(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up on three hosts")
	}
	r := newPolicyRig(t)
	r.enforce()
	host := r.betweenHosts("hv1", "hv2")
	r.allowAndDeny()
	r.tiers()
	r.casts()
	r.addressGroup()
	r.vmGroup()
	r.streams()
	r.moves()
	r.hostsOwn()
	r.bypass()
	r.rows()
	r.denyAll()
	r.rows()
	host.Stop()
	if err := host.Arrive(r.within(soon), 0, int(host.Sent())); err != nil {
		r.Errorf("what hosts send each other: %v", err)
	}
	r.Logf("hosts sent each other %d datagrams; none was lost", host.Sent())
	host.Close()
	r.faults()
	r.detach()
	r.Logf("all of it took %v", time.Since(r.began).Round(time.Second))
}

// estatePolicy is what most of the test goes by: nothing passes but what a rule says. Rules have ports of their own.
var estatePolicy = `
default: deny
address_groups:
  - {name: inside, members: [10.1.0.3]}
vm_groups:
  - {name: clients, select: [{name: "client-*"}]}
global:
  mandatory:
      - {id: never, action: deny, direction: to, protocol: udp, remote_ports: "7100-7199"}
      - {id: trial, action: shadow, direction: to, protocol: udp, remote_ports: "7200"}
` + tier(1) + `
  default:
` + tier(9) + `
      - {id: out, action: allow, direction: to, protocol: udp, remote_ports: "7000-7599"}
      - {id: in, action: allow, direction: from, protocol: udp, local_ports: "7000-7499"}
      - {id: to-inside, action: allow, direction: to, protocol: udp, remote: address-group:inside, remote_ports: "7600"}
      - {id: out-clients, action: allow, direction: to, protocol: udp, remote_ports: "7700"}
      - {id: in-groups, action: allow, direction: from, protocol: udp, local_ports: "7600"}
      - {id: from-clients, action: allow, direction: from, protocol: udp, remote: vm-group:clients, local_ports: "7700"}
      - {id: echo, action: allow, protocol: icmp/8}
      - {id: echo6, action: allow, protocol: icmpv6/128}
      - {id: accept, action: allow, direction: from, protocol: tcp, local_ports: "8000-8009"}
      - {id: ask, action: allow, direction: from, protocol: udp, local_ports: "8000-8009"}
pools:
  - name: lab
    mandatory:
` + tier(2) + `
    default:
` + tier(8) + `
networks:
  - name: flat
    mandatory:
` + tier(3) + `
    default:
` + tier(7) + `
  - name: seven
    mandatory:
      - {id: not-seven, action: deny, direction: to, protocol: udp, remote_ports: "7031"}
vms:
  - name: web
    mandatory:
` + tier(4) + `
      - {id: in-vain, action: allow, direction: to, protocol: udp, remote_ports: "7100-7199"}
      - {id: connect, action: allow, direction: to, protocol: tcp, remote_ports: "8000-8009"}
      - {id: request, action: allow, direction: to, protocol: udp, remote_ports: "8000-8009"}
    default:
` + tier(6) + `
  - name: app
    mandatory:
      - {id: no-cast, action: deny, direction: from, protocol: udp, local_ports: "7010-7011"}
vifs:
  - name: web/0
    rules:
` + tier(5) + `
`

// tier is the rules of tier n for TestPolicy: it allows one port, which all tiers after it deny, and denies one, which they allow.
func tier(n int) string {
	return fmt.Sprintf(`
      - {id: allow-%[1]d, action: allow, direction: to, protocol: udp, remote_ports: "730%[1]d"}
      - {id: no-%[1]d, action: deny, direction: to, protocol: udp, remote_ports: "7301-730%[1]d"}
      - {id: deny-%[1]d, action: deny, direction: to, protocol: udp, remote_ports: "740%[1]d"}
      - {id: yes-%[1]d, action: allow, direction: to, protocol: udp, remote_ports: "7401-740%[1]d"}`, n)
}

// denyAllPolicy denies everything, and names nothing.
const denyAllPolicy = `
default: deny
global:
  mandatory:
      - {id: nothing, action: deny}
`

// enforce has all hosts enforce the policy, with bridges that pass nothing by themselves. One of them has flows of others.
func (r *policyRig) enforce() {
	r.listeners = r.ports(2)
	r.configure(fmt.Sprintf("policy: {listeners: [{addr: \"0.0.0.0:%d\", tls: false, insecure: true}, {addr: \"0.0.0.0:%d\"}]}\n", r.listeners[0], r.listeners[1]))
	r.settings = r.bridgeRow("hv2")
	r.start()
	r.addHosts()
	r.exports("begin", "hv1", "hv2", "hv3")
	r.live()
	r.apply(estatePolicy)
	for _, name := range []string{"hv1", "hv2", "hv3"} {
		r.must(r.hv[name].Secure(r.ctx, bridge))
	}
	r.must(r.hv["hv2"].SetForeign(r.ctx, bridge))
	r.foreign = r.openFlow("hv2")
	for _, name := range []string{"hv1", "hv2", "hv3"} {
		r.command("hosts", "mode", name, "enforce", "--yes")
	}
	r.enforced("begin", "hv1", "hv2", "hv3")
}

// betweenHosts is datagrams that one host itself sends to another through their bridges.
func (r *policyRig) betweenHosts(from, to string) *traffic.Probe {
	r.Helper()
	p, err := traffic.NewProbe(r.ctx, traffic.ProbeConfig{
		From: r.hv[from].Namespace, Source: hostAddr[from], To: []*netns.Namespace{r.hv[to].Namespace}, Target: netip.AddrPortFrom(hostAddr[to], 6999), Interval: watchEvery,
	})
	r.must(err)
	_, err = p.Passes(r.within(soon), 0)
	r.must(err)
	return p
}

// What is allowed passes, with its replies, what is denied does not, and rows say who decided.
func (r *policyRig) allowAndDeny() {
	twoHosts := []string{row("hv1", "out", "egress", "allowed", true, exactly), row("hv2", "in", "ingress", "allowed", false, exactly)}
	r.send("allowed, two hosts", "web", "db", false, 7000, true, twoHosts...)
	r.send("allowed, one host", "web", "cache", false, 7001, true,
		row("hv1", "out", "egress", "allowed", true, exactly), row("hv1", "in", "ingress", "allowed", false, exactly))
	r.send("no rule", "web", "db", false, 7999, false, row("hv1", "default", "egress", "denied", true, exactly))
	r.send("no rule at the destination", "web", "db", false, 7500, false,
		row("hv1", "out", "egress", "allowed", true, exactly), row("hv2", "default", "ingress", "denied", false, exactly))
	r.send("no rule at the destination on the same host", "web", "cache", false, 7501, false,
		row("hv1", "out", "egress", "allowed", true, exactly), row("hv1", "default", "ingress", "denied", false, exactly))
	r.send("mandatory", "web", "db", false, 7100, false, row("hv1", "never", "egress", "denied", true, exactly))
	r.send("shadow", "web", "db", false, 7200, true, append(twoHosts, row("hv1", "trial", "egress", "shadow_denied", false, exactly))...)
	r.send("IPv6", "web", "db", true, 7020, true, twoHosts...)
	r.send("IPv6, mandatory", "web", "db", true, 7120, false, row("hv1", "never", "egress", "denied", true, exactly))
	r.send("VLAN", "red", "blue", false, 7030, true,
		row("hv1", "out", "egress", "allowed", true, exactly), row("hv3", "in", "ingress", "allowed", false, exactly))
	r.send("VLAN, IPv6", "blue", "red", true, 7032, true,
		row("hv3", "out", "egress", "allowed", true, exactly), row("hv1", "in", "ingress", "allowed", false, exactly))
	r.send("network", "red", "blue", false, 7031, false, row("hv1", "not-seven", "egress", "denied", true, exactly))

	r.must(traffic.UDP(r.ctx, r.vms["web"].Namespace, r.vms["db"].Namespace, r.udp("db", 7002), exactly, 100, 100))
	r.must(traffic.UDP(r.ctx, r.vms["web"].Namespace, r.vms["cache"].Namespace, r.udp("cache", 7003), exactly, 100, 100))
	r.told = append(r.told,
		told{"with replies, two hosts", there(7002), twoHosts},
		told{"replies, two hosts", back(7002), []string{row("hv1", "out", "reply", "allowed", false, exactly), row("hv2", "in", "reply", "allowed", true, exactly)}},
		told{"replies, one host", back(7003), []string{row("hv1", "out", "reply", "allowed", true, exactly)}},
	)
}

// Each of the nine tiers comes before all that follow.
func (r *policyRig) tiers() {
	for i := 1; i <= 9; i++ {
		r.send(fmt.Sprintf("tier %d allows", i), "web", "db", false, 7300+uint16(i), true,
			row("hv1", fmt.Sprint("allow-", i), "egress", "allowed", true, exactly), row("hv2", "in", "ingress", "allowed", false, exactly))
		r.send(fmt.Sprintf("tier %d denies", i), "web", "db", false, 7400+uint16(i), false, row("hv1", fmt.Sprint("deny-", i), "egress", "denied", true, exactly))
	}
}

// Broadcast and multicast reach those of their network whose rules let them in, once.
func (r *policyRig) casts() {
	to := []string{"db", "app", "cache", "ops", "blue", "red"}
	want := map[string]int{"db": exactly, "cache": exactly, "ops": exactly}
	for port, target := range map[uint16]string{7010: "10.1.0.255", 7011: "239.1.2.3"} {
		p := r.probe(traffic.ProbeConfig{Target: netip.AddrPortFrom(netip.MustParseAddr(target), port), Interval: time.Millisecond, Count: exactly}, "web", to...)
		r.must(p.Wait(r.within(soon)))
		for i, vm := range to {
			if err := p.Arrive(r.within(soon), i, want[vm]); err != nil {
				r.Errorf("%s to %s: %v", target, vm, err)
			}
		}
		for i, vm := range to {
			if n := p.Arrived(i, 0, exactly); n != want[vm] || p.Twice(i) != 0 {
				r.Errorf("%s to %s: %d arrived, %d twice, want %d", target, vm, n, p.Twice(i), want[vm])
			}
		}
		p.Close()
		r.told = append(r.told, told{"to many", there(port), []string{
			row("hv1", "out", "egress", "allowed", true, exactly), row("hv1", "in", "ingress", "allowed", false, exactly),
			row("hv2", "in", "ingress", "allowed", false, exactly),
			row("hv3", "in", "ingress", "allowed", false, exactly), row("hv3", "no-cast", "ingress", "denied", false, exactly),
		}})
	}
}

// Who is in an address group is changed by a policy.
func (r *policyRig) addressGroup() {
	member := r.probe(traffic.ProbeConfig{Target: r.udp("db", 7600)}, "web", "db")
	defer member.Close()
	other := r.probe(traffic.ProbeConfig{Target: r.udp("app", 7600)}, "web", "app")
	defer other.Close()
	r.seen("address group", member, 0, time.Now())
	r.never("address group", other, 0, 0)
	began := time.Now()
	r.edit("members: [10.1.0.3]", "members: [10.1.0.4]")
	r.seen("address group: who came in", other, 0, began)
	r.cut("address group: who went", member, 0, began)
	r.edit("members: [10.1.0.4]", "members: [10.1.0.3]")
}

// Who is in a VM group changes by itself.
func (r *policyRig) vmGroup() {
	p := r.probe(traffic.ProbeConfig{Target: r.udp("app", 7700)}, "web", "app")
	defer p.Close()
	began := time.Now()
	r.names["web"] = "client-web"
	r.describe()
	r.seen("VM group: who came in", p, 0, began)
	began = time.Now()
	r.names["web"] = "web"
	r.describe()
	r.cut("VM group: who went", p, 0, began)
}

// Connections end in both directions when what let them in is denied, and go on when it is allowed again.
func (r *policyRig) streams() {
	stream := func(port uint16, down bool) *traffic.Stream {
		s, err := traffic.NewStream(r.within(soon), traffic.StreamConfig{From: r.vms["web"].Namespace, To: r.vms["db"].Namespace, Server: r.udp("db", port), Down: down})
		r.must(err)
		r.must(s.Goes(r.within(soon)))
		return s
	}
	both, down := stream(8000, false), stream(8001, true)
	defer both.Close()
	defer down.Close()
	replies := r.probe(traffic.ProbeConfig{Source: r.addr("db", false), Port: 8002, Target: r.udp("web", 7702), Replies: true}, "db", "web")
	defer replies.Close()
	r.seen("replies", replies, 0, time.Now())
	const quiet = 300 * time.Millisecond
	began := time.Now()
	r.apply(strings.NewReplacer("{id: connect, action: allow", "{id: connect, action: deny", "{id: request, action: allow", "{id: request, action: deny").Replace(r.policy))
	r.must(both.Stands(r.within(soon), quiet))
	r.Logf("stream in both directions: stands %v later", time.Since(began).Round(time.Millisecond)-quiet)
	r.must(down.Stands(r.within(soon), quiet))
	r.cut("replies alone", replies, 0, began)

	began = time.Now() // soon: TCP tries ever less often
	r.apply(strings.NewReplacer("{id: connect, action: deny", "{id: connect, action: allow", "{id: request, action: deny", "{id: request, action: allow").Replace(r.policy))
	r.must(both.Goes(r.within(soon)))
	r.must(down.Nudge()) // replies alone wait for a packet of the original direction
	r.must(down.Goes(r.within(soon)))
	r.Logf("streams go on %v after they were allowed again", time.Since(began).Round(time.Millisecond))
	r.must(replies.Ask())
	r.seen("replies, after another request", replies, 0, began)
	// Rows of the TCP connections: as they were allowed, as they were denied, and how their replies were.
	for _, c := range []struct{ where, want string }{
		{"dst_port = 8000", "hv1 connect egress allowed counted=true"},
		{"dst_port = 8000", "hv1 connect egress denied counted=true"},
		{"dst_port = 8000", "hv2 accept ingress allowed counted=false"},
		{"src_port = 8000", "hv1 connect reply allowed counted=false"},
		{"src_port = 8000", "hv2 accept reply allowed counted=true"},
		{"src_port = 8001", "hv1 blocked reply denied counted=false"},
	} {
		apptest.Eventually(r, soon, "rows of a stream", func() error {
			got, err := r.rowsWhere(c.where + " AND protocol = 6")
			if all := strings.Join(got, "\n"); err == nil && !strings.Contains(all, c.want+" ") {
				err = fmt.Errorf("%s: rows say\n%s\nwant %q", c.where, all, c.want)
			}
			return err
		})
	}
}

// Policy follows a VM to another host.
func (r *policyRig) moves() {
	allowed := r.probe(traffic.ProbeConfig{Target: r.udp("db", 7040)}, "web", "db")
	defer allowed.Close()
	denied := r.probe(traffic.ProbeConfig{Target: r.udp("db", 7540)}, "web", "db")
	defer denied.Close()
	from := r.probe(traffic.ProbeConfig{Target: r.udp("web", 7140)}, "db", "web")
	defer from.Close()
	for _, to := range []string{"hv3", "hv2"} {
		r.seen("before the move", allowed, 0, time.Now())
		began, sent := time.Now(), allowed.Sent()
		r.must(r.vms["db"].Move(r.ctx, r.hv[to], nil))
		r.seen("move to "+to, allowed, 0, began)
		r.steady("move to "+to, allowed)
		port := map[string]uint16{"hv3": 7041, "hv2": 7042}[to]
		r.send("moved", "web", "db", false, port, true, row("hv1", "out", "egress", "allowed", true, exactly), row(to, "in", "ingress", "allowed", false, exactly))
		r.Logf("move to %s: %d of %d datagrams were lost", to, int(allowed.Sent()-sent)-allowed.Arrived(0, sent, allowed.Sent()), allowed.Sent()-sent)
	}
	r.never("move", denied, 0, 0)
	r.never("move, from the VM", from, 0, 0)
}

// Where policy is off at both ends, on one host, packets are told at either, and counted once.
func (r *policyRig) bypass() {
	for _, vif := range []string{"vif:web/0", "vif:cache/0"} {
		r.command("bypass", "on", vif, "--reason", "a test")
	}
	r.send("bypassed", "web", "cache", false, 7998, true, row("hv1", "bypass", "egress", "allowed", true, exactly), row("hv1", "bypass", "ingress", "allowed", false, exactly))
	r.send("bypassed at the source", "web", "db", false, 7997, false, row("hv1", "bypass", "egress", "allowed", true, exactly), row("hv2", "default", "ingress", "denied", false, exactly))
	for _, vif := range []string{"vif:web/0", "vif:cache/0"} {
		r.command("bypass", "off", vif)
	}
	r.send("not bypassed any more", "web", "cache", false, 7996, false, row("hv1", "default", "egress", "denied", true, exactly))
}

// A host reaches its own VMs, which answer; VMs reach hosts, and hosts the VMs of others, as rules say.
func (r *policyRig) hostsOwn() {
	for _, c := range []struct {
		what, host string
		to         netip.Addr
	}{
		{"a host to its VM", "hv1", r.addr("web", false)},
		{"a host to a VM of another", "hv1", r.addr("db", false)},
		{"a host to another", "hv2", netip.MustParseAddr("10.1.0.101")},
	} {
		if err := traffic.Ping(r.within(soon), r.hv[c.host].Namespace, c.to, 3, 56); err != nil {
			r.Errorf("%s: %v", c.what, err)
		}
	}
	r.must(traffic.Ping(r.within(soon), r.vms["web"].Namespace, netip.MustParseAddr("10.1.0.101"), 3, 56))
}

// While everything is denied, VMs still find each other, get addresses and hear of path MTUs, and hosts reach each other.
func (r *policyRig) denyAll() {
	r.apply(denyAllPolicy)
	web, db := r.vms["web"], r.vms["db"]
	for _, six := range []bool{false, true} {
		for _, vm := range []string{"web", "db"} {
			_, err := r.vms[vm].Namespace.Run(r.ctx, "ip", "neigh", "flush", "all")
			r.must(err)
		}
		p := r.probe(traffic.ProbeConfig{Target: netip.AddrPortFrom(r.addr("db", six), 7000)}, "web", "db")
		apptest.Eventually(r, soon, "VMs find each other", func() error {
			out, err := web.Namespace.Run(r.ctx, "ip", "neigh", "show", "to", r.addr("db", six).String())
			if err == nil && !strings.Contains(string(out), db.MAC) {
				err = fmt.Errorf("neighbours of web: %s", out)
			}
			return err
		})
		r.never("everything is denied", p, 0, 0)
		p.Close()
	}
	r.dhcp()
	r.must(tooBig(r.within(soon), db.Namespace, web.Namespace, r.addr("web", false), exactly))
	r.told = append(r.told, told{"path MTU", "protocol = 1 AND icmp_type = 3 AND icmp_code = 4", []string{
		row("hv2", "kept", "egress", "allowed", true, exactly), row("hv1", "kept", "ingress", "allowed", false, exactly),
	}})

	r.must(traffic.Ping(r.within(soon), r.hv["hv2"].Namespace, netip.MustParseAddr("10.1.0.101"), 3, 56))
	r.must(traffic.Ping(r.within(soon), r.hv["hv1"].Namespace, r.addr("web", false), 3, 56))
	for what, ping := range map[string]func() error{
		"a host to a VM of another": func() error {
			return traffic.Ping(r.within(300*time.Millisecond), r.hv["hv1"].Namespace, r.addr("db", false), 1, 56)
		},
		"a VM to its host": func() error {
			return traffic.Ping(r.within(300*time.Millisecond), web.Namespace, netip.MustParseAddr("10.1.0.101"), 1, 56)
		},
	} {
		if ping() == nil {
			r.Errorf("everything is denied, and %s passes", what)
		}
	}
	r.apply(estatePolicy)
}

// dhcp has a VM ask a host for an address, and the host answer, while everything is denied.
func (r *policyRig) dhcp() {
	host, vm := r.hv["hv2"].Namespace, r.vms["web"].Namespace
	for _, c := range []traffic.ProbeConfig{
		{From: vm, Source: r.addr("web", false), Port: 68, To: []*netns.Namespace{host}, Target: netip.MustParseAddrPort("255.255.255.255:67")},
		{From: host, Source: netip.MustParseAddr("10.1.0.102"), Port: 67, To: []*netns.Namespace{vm}, Target: r.udp("web", 68)},
	} {
		c.Interval, c.Count = time.Millisecond, exactly
		p, err := traffic.NewProbe(r.ctx, c)
		r.must(err)
		r.arrive("DHCP", p, true)
		p.Close()
	}
	r.told = append(r.told,
		told{"DHCP request", there(67) + " AND host_name = 'hv1'", []string{row("hv1", "kept", "egress", "allowed", true, exactly), row("hv1", "nothing", "ingress", "denied", false, exactly)}},
		told{"DHCP answer", there(68) + " AND host_name = 'hv1'", []string{row("hv1", "kept", "ingress", "allowed", true, exactly)}},
	)
}
