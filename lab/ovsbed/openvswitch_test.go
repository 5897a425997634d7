package ovsbed_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
)

// Protocols of IP.
const (
	icmp = 1
	tcp  = 6
	udp  = 17
)

// What real Open vSwitch hosts export is what their interfaces counted, and says whose it is, after collector and
// enricher. All parts share two hosts.
func TestOpenVSwitch(t *testing.T) {
	r := newRig(t)
	r.run("NetFlow5", r.netFlow5)
	r.run("IPFIXInput", r.ipfixInput)
	r.run("IPFIXOutput", r.ipfixOutput)
	r.run("NetFlow5Dropped", r.netFlow5Dropped)
	r.run("IPFIXDropped", r.ipfixDropped)
	r.run("Rules", r.rules)
	r.run("Scaled", r.scaled)
	r.run("OnTheWire", r.onTheWire)
	r.run("LateCollector", r.lateCollector)
	r.run("Tunnels", r.tunnels)
}

func (r *rig) sendAll() error { return r.SendAll(r.ctx) }

// clear ends all exports of both hosts. IPFIX caches are exported first, NetFlow's are not.
func (r *rig) clear() error {
	return errors.Join(r.HV1.ClearExports(r.ctx, "br0"), r.HV1.ClearExports(r.ctx, "br1"), r.HV2.ClearExports(r.ctx, "br0"))
}

// NetFlow 5 has IPv4 only, counts frames, numbers interfaces by OpenFlow ports, and tells bridges apart by the engine.
func (r *rig) netFlow5() {
	web, red := r.Port("web"), r.Port("red")
	others, err := r.HV1.Namespace.Others(web.Name, netns.EtherTypeIPv4)
	r.must(err)
	defer others.Close()
	var before netns.Counters
	on := func() (err error) {
		if before, err = others.Counts(); err != nil { // of a moment at which nothing passes, as on is done at
			return err
		}
		to := r.to[r.HV1]
		return errors.Join(
			r.HV1.SetNetFlow(r.ctx, "br0", ovsbed.NetFlow{Target: to, EngineType: 1, EngineID: 3, ActiveTimeout: time.Second}),
			r.HV1.SetNetFlow(r.ctx, "br1", ovsbed.NetFlow{Target: to, EngineType: 1, EngineID: 4, ActiveTimeout: time.Second}),
		)
	}
	r.measured([]ovsbedtest.Port{web}, export{on: on, off: r.clear}, r.sendAll, func(passed []netns.Counters) error {
		after, err := others.Counts()
		if err != nil {
			return err
		}
		link := passed[0].Sub(after.Sub(before))
		want := sums{link.Packets(), link.Bytes(), link.Bytes()}
		got := add(r.received(of("hv1", "br0"), func(x *row) bool { return x.in == web.OFPort || x.out == web.OFPort }))
		if got != want {
			return fmt.Errorf("flows of web say %+v, its interface %+v", got, want)
		}
		for what, c := range map[string]struct {
			rows []row
			want sums
		}{
			"red to blue":   {r.received(r.fromTo("red", "blue", udp)), frame(40, 700+8+20+ethernet)},
			"blue to red":   {r.received(r.fromTo("blue", "red", udp)), frame(40, 33+8+20+ethernet+tag)}, // from the trunk
			"left to right": {r.received(of("hv1", "br1"), r.fromTo("left", "right", icmp)), frame(20, 56+8+20+ethernet)},
		} {
			if got := add(c.rows); got != c.want {
				return fmt.Errorf("flows from %s say %+v, want %+v%s", what, got, c.want, list(c.rows))
			}
		}
		return r.named(r.received())
	})
	r.all(func(x *row) string {
		switch {
		case x.version != 5 || !x.src.Is4() || x.layer != flow.BytesLayer2:
			return "want NetFlow 5 of IPv4 that counts frames"
		case x.rate != 1 || x.assumed:
			return "want sampling rate 1, although another one is assumed for all who say none"
		case x.host != "hv1" || x.bridge != map[uint32]string{0x0103: "br0", 0x0104: "br1"}[x.domain]:
			return "want the bridge of the engine"
		case (x.in == red.OFPort && x.bridge == "br0") != (x.srcVM == "red"):
			return fmt.Sprintf("want it to be from red if and only if it came in by port %d of br0", red.OFPort)
		}
		return ""
	})
}

// frame returns the sums of n packets whose frames, which are what is reported, have size bytes.
func frame(n, size uint64) sums { return sums{n, n * size, n * size} }

// sampled makes all bridges sample every packet, in the way that change says. br0 of hv1 says its name, which counts more
// than the domain, of which br1 has the same; br1 is told by it; br0 of hv2 is the only one there.
func (r *rig) sampled(change func(*ovsbed.IPFIX)) export {
	on := func() (err error) {
		for _, b := range []struct {
			host    *ovsbed.Host
			name    string
			virtual string
			domain  uint32
		}{{r.HV1, "br0", "hv1/br0", 2}, {r.HV1, "br1", "", 2}, {r.HV2, "br0", "", 0}} {
			i := ovsbed.IPFIX{
				Targets: []netip.AddrPort{r.to[b.host]}, ActiveTimeout: time.Second, MaxFlows: 10_000, VirtualID: b.virtual, Sampling: 1, Domain: b.domain, Point: 9,
			}
			change(&i)
			err = errors.Join(err, b.host.SetIPFIX(r.ctx, b.name, i))
		}
		return err
	}
	return export{on, r.clear, r.clear}
}

// Sampled when they come in, packets are reported once by each bridge that they pass, and counted once in all.
func (r *rig) ipfixInput() {
	ports := r.Ports()
	e := r.sampled(func(i *ovsbed.IPFIX) { i.NoOutput = true })
	r.measured(ports, e, r.sendAll, func(passed []netns.Counters) error {
		for i, p := range ports {
			got := add(r.received(of(p.Host.Name, p.Bridge), cameIn(p.IfIndex)))
			if got.packets != passed[i].RxPackets || got.frames != passed[i].RxBytes {
				return fmt.Errorf("%s of %s: flows say %+v, it received %+v", p.Name, p.Host.Name, got, passed[i])
			}
		}
		return r.named(r.received())
	})
	for _, pair := range [][2]string{{"web", "db"}, {"web", "app"}, {"app", "web"}, {"red", "blue"}, {"blue", "red"}} {
		echoes := r.received(r.fromTo(pair[0], pair[1], icmp))
		want, hosts := times(20, 56+8+20), uint64(2)
		if pair[1] == "db" {
			hosts = 1
		}
		if got := add(echoes); got.packets != hosts*want.packets {
			r.Errorf("echoes of %v: %d were reported, want %d, by %d hosts%s", pair, got.packets, hosts*want.packets, hosts, list(echoes))
		}
		counted := r.received(r.fromTo(pair[0], pair[1], icmp), isCounted)
		if got := add(counted); got != want || counted[0].host != r.VMs[pair[0]].Host.Name {
			r.Errorf("echoes of %v: counted are %+v, want %+v, those of the host of %s%s", pair, got, want, pair[0], list(counted))
		}
	}
	networks := map[string]string{"web": "flat", "db": "flat", "app": "flat", "red": "seven", "blue": "seven", "left": "inner", "right": "inner"}
	r.all(func(x *row) string {
		ip := x.ethertype == 0x0800 || x.ethertype == 0x86dd
		switch {
		case x.version != 10 || x.rate != 1 || x.assumed:
			return "want IPFIX at sampling rate 1"
		case x.observed != flow.ObservedIngress || x.out != 0:
			return "want it observed at the ingress, without an output"
		case ip && x.layer != flow.BytesLayer3 || !ip && x.layer != flow.BytesLayer2:
			return "want bytes from the IP header on, or frames where there is no IP"
		case x.point != 9 || x.stage != flow.StageNone || x.instance != 0 || x.verdict != flow.VerdictUnknown || x.forwarding != 0:
			return "want point 9 and nothing made of it"
		case x.age < 0 || x.age > patience || x.duration > x.age:
			return "want a flow of this test, that ended before it was received"
		case x.srcVM != "" && x.network != networks[x.srcVM]:
			return "want the network of the VM that sent"
		case x.reason != 2 && x.reason != 4:
			return "want the active timeout, or an end that was forced, as reason"
		}
		return ""
	})
}

// Sampled when they go out, packets are reported once for each port by which they leave.
func (r *rig) ipfixOutput() {
	ports := r.Ports()
	e := r.sampled(func(i *ovsbed.IPFIX) { i.NoInput = true })
	r.measured(ports, e, r.sendAll, func(passed []netns.Counters) error {
		for i, p := range ports {
			got := add(r.received(of(p.Host.Name, p.Bridge), wentOut(p.IfIndex)))
			if got.packets != passed[i].TxPackets || got.frames != passed[i].TxBytes {
				return fmt.Errorf("%s of %s: flows say %+v, it sent %+v", p.Name, p.Host.Name, got, passed[i])
			}
		}
		return r.named(r.received())
	})
	r.all(func(x *row) string {
		if x.observed != flow.ObservedEgress || x.in == 0 {
			return "want it observed at the egress, with the input"
		}
		return ""
	})
}
