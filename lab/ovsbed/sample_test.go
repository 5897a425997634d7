package ovsbed_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/weirhq/weir/collector/ie"
	"github.com/weirhq/weir/collector/netflow"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovsbed/ovsbedtest"
	"github.com/weirhq/weir/lab/traffic"
)

// normal is what a bridge does without flows of its own.
const normal = "priority=0,actions=NORMAL"

// datagram returns the frame of a UDP datagram from left to right, with 100 octets of data, from any address.
func (r *rig) datagram(src netip.Addr, port uint16) []byte {
	r.Helper()
	const udpLength = 8 + 100
	from, err := net.ParseMAC(r.VMs["left"].MAC)
	r.must(err)
	to, err := net.ParseMAC(r.VMs["right"].MAC)
	r.must(err)
	b := slices.Concat(to, from, []byte{8, 0, 0x45, 0, 0, 20 + udpLength, 0, 0, 0, 0, 64, udp, 0, 0}, src.AsSlice(), r.IPv4("right").AsSlice())
	sum := uint32(0)
	for at := ethernet; at < len(b); at += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[at:]))
	}
	binary.BigEndian.PutUint16(b[ethernet+10:], ^uint16(sum+sum>>16))
	b = binary.BigEndian.AppendUint16(b, 7777)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, udpLength)
	return append(b, make([]byte, udpLength-6)...)
}

func (r *rig) inject(frame []byte, times int) error {
	return r.VMs["left"].Namespace.Inject("eth0", frame, times)
}

// ping sends n echoes from left to right.
func (r *rig) ping(n int) error {
	return traffic.Ping(r.ctx, r.VMs["left"].Namespace, r.IPv4("right"), n, 56)
}

// NetFlow 5 says of dropped packets that they went to port 65533. It says so of all that passed connection tracking, too:
// nothing can be made of it.
func (r *rig) netFlow5Dropped() {
	left, right := r.Port("left"), r.Port("right")
	on := func() error {
		return errors.Join(
			r.HV1.SetFlows(r.ctx, "br1", normal, "priority=9,udp,tp_dst=9999,actions=drop", "priority=9,icmp,actions=ct(table=1)", "table=1,actions=NORMAL"),
			r.HV1.SetNetFlow(r.ctx, "br1", ovsbed.NetFlow{Target: r.to[r.HV1], EngineType: 1, EngineID: 4, ActiveTimeout: time.Second}),
		)
	}
	off := func() error { return errors.Join(r.clear(), r.HV1.SetFlows(r.ctx, "br1", normal)) }
	send := func() error {
		return errors.Join(
			r.inject(r.datagram(r.IPv4("left"), 9999), 7), r.ping(20),
			traffic.UDP(r.ctx, r.VMs["left"].Namespace, r.VMs["right"].Namespace, netip.AddrPortFrom(r.IPv4("right"), 5353), 10, 100, 100),
		)
	}
	const dropped = 65533
	r.measured([]ovsbedtest.Port{left, right}, export{on: on, off: off}, send, func([]netns.Counters) error {
		for what, c := range map[string]struct {
			is      func(*row) bool
			packets uint64
			out     uint32
		}{
			"dropped":  {func(x *row) bool { return x.dstPort == 9999 }, 7, dropped},
			"tracked":  {r.fromTo("left", "right", icmp), 20, dropped},
			"ordinary": {func(x *row) bool { return x.dstPort == 5353 }, 10, right.OFPort},
		} {
			rows := r.received(c.is)
			if got := add(rows); got.packets != c.packets || slices.ContainsFunc(rows, func(x row) bool { return x.out != c.out }) {
				return fmt.Errorf("%s: want %d packets that went out by %d%s", what, c.packets, c.out, list(rows))
			}
		}
		return r.named(r.received())
	})
	r.all(func(x *row) string {
		if x.verdict != flow.VerdictUnknown || x.forwarding != 0 {
			return "want nothing made of the output"
		}
		return ""
	})
}

// IPFIX of what comes in has what the bridge drops, that of what goes out has not.
func (r *rig) ipfixDropped() {
	ports := []ovsbedtest.Port{r.Port("left"), r.Port("right")}
	for _, output := range []bool{false, true} {
		on := func() error {
			return errors.Join(
				r.HV1.SetFlows(r.ctx, "br1", normal, "priority=9,udp,tp_dst=9999,actions=drop"),
				r.HV1.SetIPFIX(r.ctx, "br1", ovsbed.IPFIX{
					Targets: []netip.AddrPort{r.to[r.HV1]}, ActiveTimeout: time.Second, MaxFlows: 1000, Sampling: 1, Domain: 2, NoInput: output, NoOutput: !output,
				}),
			)
		}
		off := func() error { return errors.Join(r.clear(), r.HV1.SetFlows(r.ctx, "br1", normal)) }
		send := func() error { return errors.Join(r.inject(r.datagram(r.IPv4("left"), 9999), 7), r.ping(20)) }
		want := map[bool]sums{false: times(7, 100+8+20)}[output]
		r.measured(ports, export{on, r.clear, off}, send, func([]netns.Counters) error {
			if got, want := add(r.received(r.fromTo("left", "right", icmp))), times(20, 56+8+20); got != want {
				return fmt.Errorf("flows of echoes say %+v, want %+v", got, want)
			}
			dropped := r.received(func(x *row) bool { return x.dstPort == 9999 })
			if got := add(dropped); got != want {
				return fmt.Errorf("sampled at the output %v: flows of what was dropped say %+v, want %+v%s", output, got, want, list(dropped))
			}
			return nil
		})
	}
}

// What flows of a bridge sample themselves says stage and rule at a bridge whose sampling Weir set up, else it is kept as it
// is.
func (r *rig) rules() {
	const (
		domain  = 4
		allowed = 101
		reached = 202
		port    = 103
		denied  = 104
	)
	left, right := r.Port("left"), r.Port("right")
	sample := func(stage flow.Stage, instance uint32, more string) string {
		return fmt.Sprintf("sample(probability=65535,collector_set_id=1,obs_domain_id=%d,obs_point_id=%d%s)", domain, flow.Point(stage, instance), more)
	}
	from := func(p ovsbedtest.Port, match, actions string) string {
		return fmt.Sprintf("priority=9,in_port=%d,%s,actions=%s", p.OFPort, match, actions)
	}
	on := func() error {
		return errors.Join(
			r.HV1.SetFlows(
				r.ctx, "br1", normal,
				from(left, "icmp", sample(flow.StageEgress, allowed, "")+","+sample(flow.StageIngress, reached, "")+",NORMAL"),
				from(left, "udp,tp_dst=5353", sample(flow.StageEgress, port, fmt.Sprintf(",sampling_port=%d,egress", right.OFPort))+",NORMAL"),
				from(right, "udp,tp_src=5353", sample(flow.StageReply, port, "")+",NORMAL"),
				from(left, "udp,tp_dst=9999", sample(flow.StageEgress, denied, "")),
				"priority=10,udp,nw_src=192.0.2.66,actions="+sample(flow.StageSystem, flow.SystemSpoofedMAC, ""),
			),
			r.HV1.SetFlowSampling(r.ctx, "br1", 1, ovsbed.IPFIX{Targets: []netip.AddrPort{r.to[r.HV1]}, ActiveTimeout: time.Second, MaxFlows: 1000, VirtualID: "hv1/br1"}),
		)
	}
	off := func() error { return errors.Join(r.clear(), r.HV1.SetFlows(r.ctx, "br1", normal)) }
	send := func() error {
		return errors.Join(
			r.ping(20), traffic.UDP(r.ctx, r.VMs["left"].Namespace, r.VMs["right"].Namespace, netip.AddrPortFrom(r.IPv4("right"), 5353), 10, 100, 60),
			r.inject(r.datagram(r.IPv4("left"), 9999), 7), r.inject(r.datagram(netip.MustParseAddr("192.0.2.66"), 9999), 5),
		)
	}
	defer r.setEstate(nil)
	for _, ours := range []bool{true, false} {
		r.setEstate(func(m *estate.Model) {
			m.Hosts[0].Bridges[1].VirtualObsID, m.Hosts[0].Bridges[1].RuleSampling = "hv1/br1", ours
		})
		r.measured([]ovsbedtest.Port{left, right}, export{on, r.clear, off}, send, func([]netns.Counters) error {
			for what, c := range map[string]struct {
				stage    flow.Stage
				instance uint32
				want     sums
				from     string
				out      uint32
				verdict  flow.Verdict
			}{
				"egress":      {flow.StageEgress, allowed, times(20, 56+8+20), "left", 0, flow.VerdictUnknown},
				"ingress":     {flow.StageIngress, reached, times(20, 56+8+20), "left", 0, flow.VerdictUnknown},
				"with a port": {flow.StageEgress, port, times(10, 100+8+20), "left", right.IfIndex, flow.VerdictUnknown},
				"reply":       {flow.StageReply, port, times(10, 60+8+20), "right", 0, flow.VerdictUnknown},
				"denied":      {flow.StageEgress, denied, times(7, 100+8+20), "left", 0, flow.VerdictUnknown},
				"spoofed":     {flow.StageSystem, flow.SystemSpoofedMAC, times(5, 100+8+20), "left", 0, flow.VerdictSpoofed},
			} {
				stage, instance, verdict, counted := c.stage, c.instance, c.verdict, c.stage != flow.StageIngress
				if !ours {
					stage, instance, verdict, counted = flow.StageNone, 0, flow.VerdictUnknown, true
				}
				rows := r.received(of("hv1", "br1"), func(x *row) bool { return x.point == flow.Point(c.stage, c.instance) })
				if got := add(rows); got != c.want {
					return fmt.Errorf("%s: flows say %+v, want %+v%s", what, got, c.want, list(rows))
				}
				for i, x := range rows {
					if x.stage != stage || x.instance != instance || x.verdict != verdict || x.counted != counted || x.domain != domain ||
						x.srcVM != c.from || x.out != c.out || (x.observed == flow.ObservedEgress) != (c.out != 0) || x.forwarding != 0 {
						return fmt.Errorf("%s, ours %v: from %s: %s", what, ours, c.from, list(rows[i:i+1]))
					}
				}
			}
			return nil
		})
		if all, want := len(r.received()), 6; all < want {
			r.Errorf("%d rows, want %d or more", all, want)
		}
	}
}

// One packet in ten is looked at and counts as ten: deltas are multiplied by Open vSwitch.
func (r *rig) scaled() {
	const (
		rate = 10
		sent = 2000 // and as many answers
		// Of 4000 packets 400 are looked at, give or take 19 (one standard deviation).
		least, most = 2 * sent * 3 / 4, 2 * sent * 5 / 4
	)
	left, right := r.Port("left"), r.Port("right")
	on := func() error {
		return r.HV1.SetIPFIX(r.ctx, "br1", ovsbed.IPFIX{
			Targets: []netip.AddrPort{r.to[r.HV1]}, ActiveTimeout: time.Second, MaxFlows: 1000, Sampling: rate, Domain: 2, NoOutput: true,
		})
	}
	send := func() error {
		return traffic.UDP(r.ctx, r.VMs["left"].Namespace, r.VMs["right"].Namespace, netip.AddrPortFrom(r.IPv4("right"), 5353), sent, 100, 100)
	}
	r.measured([]ovsbedtest.Port{left, right}, export{on, r.clear, r.clear}, send, func([]netns.Counters) error {
		rows := r.received(func(x *row) bool { return x.protocol == udp })
		if got := add(rows); got.packets < least || got.packets > most || got.bytes != got.packets*(100+8+20) {
			return fmt.Errorf("of %d packets flows say %+v, want %d to %d packets%s", 2*sent, got, least, most, list(rows))
		}
		return r.named(rows)
	})
	r.all(func(x *row) string {
		if x.packets%rate != 0 || x.rate != 1 || x.assumed {
			return "want packets in tens, and sampling rate 1"
		}
		return ""
	})
}

// tap is a second receiver of IPFIX, beside the collector, which keeps every element.
type tap struct {
	addr netip.AddrPort

	mu        sync.Mutex
	templates int                 // guarded by mu
	records   map[uint32][]record // by observation domain; guarded by mu
}

// record is the elements of one, each with its values in their order.
type record map[ie.ID][]string

// of returns the first value of an element as a number; 0 if there is none.
func (r record) of(id ie.ID) (v uint64) {
	if all := r[id]; len(all) > 0 {
		for _, c := range []byte(all[0]) {
			v = v<<8 | uint64(c)
		}
	}
	return v
}

func (r *rig) tap(h *ovsbed.Host) *tap {
	r.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Root, 0)))
	r.must(err)
	t := &tap{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), records: map[uint32][]record{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		describer := netflow.NewDescriber()
		for b := make([]byte, 65536); ; {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			t.take(describer.Describe(b[:n], from.Addr()))
		}
	}()
	r.Cleanup(func() {
		conn.Close()
		<-done
	})
	return t
}

func (t *tap) take(d netflow.Datagram) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range d.Messages {
		for _, s := range m.Sets {
			t.templates += len(s.Layouts)
			for _, x := range s.Records {
				elements := record{}
				for _, e := range x.Elements {
					elements[e.ID] = append(elements[e.ID], string(e.Raw))
				}
				t.records[m.Domain] = append(t.records[m.Domain], elements)
			}
		}
	}
}

// got returns the records of an observation domain for which is holds, and the number of all templates.
func (t *tap) got(domain uint32, is func(record) bool) (records []record, templates int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.records[domain] {
		if is(x) {
			records = append(records, x)
		}
	}
	return records, t.templates
}

// What is odd about IPFIX of Open vSwitch is there, so that the other parts show that it does no harm.
func (r *rig) onTheWire() {
	left, right, tap := r.Port("left"), r.Port("right"), r.tap(r.HV1)
	on := func() error {
		return r.HV1.SetIPFIX(r.ctx, "br1", ovsbed.IPFIX{
			Targets: []netip.AddrPort{r.to[r.HV1], tap.addr}, ActiveTimeout: time.Second, MaxFlows: 1000, Sampling: 1, Domain: 2, NoInput: true, VirtualID: "x/y",
		})
	}
	r.measured([]ovsbedtest.Port{left, right}, export{on, r.clear, r.clear}, func() error { return r.ping(20) }, func([]netns.Counters) error {
		rows := r.received(r.fromTo("left", "right", icmp))
		if got, want := add(rows), times(20, 56+8+20); got != want {
			return fmt.Errorf("flows say %+v, want %+v%s", got, want, list(rows))
		}
		return nil
	})
	var echoes []record
	r.wait("the records beside the collector", func() error {
		var templates int
		echoes, templates = tap.got(2, func(x record) bool { return x.of(ie.Of(4)) == icmp })
		if templates < 50 || len(echoes) < 2 {
			return fmt.Errorf("%d templates, %d records of echoes, want many and one each way", templates, len(echoes))
		}
		return nil
	})
	total := uint64(0)
	for _, x := range echoes {
		packets, bytes, frames := x.of(ie.Of(2)), x.of(ie.Of(1)), x.of(ie.Of(352))
		if packets == 0 || bytes != packets*84 || frames != packets*98 {
			r.Errorf("%d packets of %d bytes in frames of %d, want 84 and 98 for each", packets, bytes, frames)
		}
		total = max(total, x.of(ie.Of(86)))
		if names := x[ie.Of(82)]; len(names) != 2 || names[0] == names[1] {
			r.Errorf("interfaceName %v, want two: of the input and of the output", names)
		}
		if start, end := x.of(ie.Of(158)), x.of(ie.Of(159)); start < end || end == 0 || start > uint64(patience.Microseconds()) {
			r.Errorf("flow of %d to %d µs before its export", start, end)
		}
		if v := x[ie.ID{Enterprise: ie.VMware, Number: 898}]; len(v) != 1 || v[0] != "x/y" {
			r.Errorf("virtual_obs_id %q, want x/y", v)
		}
	}
	if total <= 20 {
		r.Errorf("packetTotalCount %d at most, want more than the 20 that a flow has: that of the exporter", total)
	}
}

// A collector that comes after the templates knows what to do with records once the row in table IPFIX is made anew; it has
// kept them. One that is started again knows at once: Open vSwitch does not send templates for ten minutes.
func (r *rig) lateCollector() {
	set := func() error {
		return r.HV1.SetIPFIX(r.ctx, "br1", ovsbed.IPFIX{
			Targets: []netip.AddrPort{r.to[r.HV1]}, ActiveTimeout: time.Second, MaxFlows: 1000, Sampling: 1, Domain: 2, NoOutput: true,
		})
	}
	echoes := func(n uint64) func() error {
		return func() error {
			rows := r.received(r.fromTo("left", "right", icmp))
			if got, want := add(rows), times(n, 56+8+20); got != want {
				return fmt.Errorf("flows say %+v, want %+v%s", got, want, list(rows))
			}
			return nil
		}
	}
	r.forget()
	r.must(set())
	r.must(r.ping(5))
	r.wait("the flows of the first collector", echoes(5))
	r.stop()
	r.stateFile = filepath.Join(r.TempDir(), "state")
	r.collect()
	r.forget()
	r.must(r.ping(20))
	r.wait("data without template", func() error {
		for _, d := range r.templates.Domains() {
			if d.Domain == 2 && d.HeldNow > 0 && d.Counts.Flows == 0 {
				return nil
			}
		}
		return fmt.Errorf("the second collector knows %+v, want data held in domain 2", r.templates.Domains())
	})
	r.must(r.clear())
	r.must(set())
	r.must(r.ping(3))
	r.wait("all flows of the second collector", echoes(23))
	r.stop()
	r.collect()
	r.forget()
	r.must(r.ping(7))
	r.wait("the flows of the third collector", echoes(7))
	for _, d := range r.templates.Domains() {
		if n := d.Counts; d.Domain == 2 && (n.Templates != 0 || n.Held != 0 || n.Stale != 0 || n.Scaled != n.Flows) {
			r.Errorf("%+v, want flows by templates from before the restart", n)
		}
	}
	r.must(r.clear())
	r.stop()
	r.stateFile = ""
	r.collect()
}

// Of packets in a tunnel the ends are those within; at the end of the tunnel they came in by interface 0.
func (r *rig) tunnels() {
	type end struct {
		host *ovsbed.Host
		addr netip.Addr
	}
	ends := []end{{r.HV1, netip.MustParseAddr("10.9.0.1")}, {r.HV2, netip.MustParseAddr("10.9.0.2")}}
	for _, e := range ends {
		r.must(e.host.AddAddress(r.ctx, "br0", netip.PrefixFrom(e.addr, 24)))
	}
	var ports []ovsbedtest.Port
	kinds := []string{"vxlan", "gre"}
	for k, kind := range kinds {
		for i, e := range ends {
			r.must(e.host.AddBridge(r.ctx, "br-"+kind))
			_, err := e.host.AddTunnel(r.ctx, "br-"+kind, kind, ends[1-i].addr, 42)
			r.must(err)
			name := fmt.Sprint(kind, i)
			number := 16 + 2*k + i
			vm, err := e.host.AddVM(r.ctx, ovsbed.VM{
				Name: name, Bridge: "br-" + kind, MAC: fmt.Sprintf("02:00:00:00:00:%02x", number), MTU: 1400,
				Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.8.%d.%d/24", k, number)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:8%d::%d/64", k, number))},
			})
			r.must(err)
			r.VMs[name] = vm
			ports = append(ports, r.Port(name))
		}
	}
	r.setEstate(func(m *estate.Model) {
		for i := range ends {
			for k, kind := range kinds {
				m.Hosts[i].Bridges = append(m.Hosts[i].Bridges, estate.Bridge{Name: "br-" + kind, ObservationDomains: []uint32{uint32(80 + k)}})
			}
		}
	})
	taps := map[*ovsbed.Host]*tap{r.HV1: r.tap(r.HV1), r.HV2: r.tap(r.HV2)}
	on := func() (err error) {
		for _, e := range ends {
			for k, kind := range kinds {
				err = errors.Join(err, e.host.SetIPFIX(r.ctx, "br-"+kind, ovsbed.IPFIX{
					Targets: []netip.AddrPort{r.to[e.host], taps[e.host].addr}, ActiveTimeout: time.Second, MaxFlows: 1000, Sampling: 1, Domain: uint32(80 + k), NoOutput: true, Tunneling: true,
				}))
			}
		}
		return err
	}
	off := func() (err error) {
		for _, e := range ends {
			for _, kind := range kinds {
				err = errors.Join(err, e.host.ClearExports(r.ctx, "br-"+kind))
			}
		}
		return err
	}
	send := func() (err error) {
		for _, kind := range kinds {
			err = errors.Join(err, r.Send(r.ctx, kind+"0", kind+"1"))
		}
		return err
	}
	r.measured(ports, export{on, off, off}, send, func(passed []netns.Counters) error {
		for i, p := range ports {
			here := add(r.received(of(p.Host.Name, p.Bridge), cameIn(p.IfIndex)))
			if here.packets != passed[i].RxPackets || here.frames != passed[i].RxBytes {
				return fmt.Errorf("%s of %s: flows say %+v, it received %+v", p.Name, p.Host.Name, here, passed[i])
			}
			// The peer of a port is the next, or the one before.
			peer := ports[i^1]
			there := add(r.received(of(peer.Host.Name, p.Bridge), cameIn(0)))
			if there.packets != passed[i].RxPackets || there.frames != passed[i].RxBytes {
				return fmt.Errorf("%s of %s, beyond the tunnel: flows say %+v, it received %+v", p.Name, p.Host.Name, there, passed[i])
			}
		}
		return r.named(r.received())
	})
	for k, kind := range kinds {
		if got, want := add(r.received(r.fromTo(kind+"0", kind+"1", icmp), isCounted)), times(20, 56+8+20); got != want {
			r.Errorf("%s: counted echoes are %+v, want %+v", kind, got, want)
		}
		r.wait("records of the tunnel", func() error {
			told, _ := taps[r.HV2].got(uint32(80+k), func(x record) bool {
				tunnel := func(number uint16) ie.ID { return ie.ID{Enterprise: ie.VMware, Number: number} }
				return x.of(tunnel(891)) == uint64(k+1) &&
					slices.Equal(x[tunnel(893)], []string{string(ends[0].addr.AsSlice())}) && slices.Equal(x[tunnel(894)], []string{string(ends[1].addr.AsSlice())})
			})
			if len(told) == 0 {
				return fmt.Errorf("no record tells kind and ends of %s", kind)
			}
			return nil
		})
	}
}
