package proof_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/traffic"
	"github.com/weirhq/weir/policyd"
)

// mirrorRig is hosts that enforce policy, and who gets copies.
//
//	hv1  br0  web 10.1.0.1, cache 10.1.0.2; a port by which copies leave (tap)
//	hv2  br0  db 10.1.0.3
//	hv3  br0  app 10.1.0.4, which is observed only
//	lan  br0  wire (VLAN 900), ids 10.1.0.200, to which tunnels lead
type mirrorRig struct {
	*policyRig
	span     string // name of the port at hv1
	other    string // name of its other end, at lan
	ids      *netns.Namespace
	captures map[string]*netns.Capture
	seen     map[string]map[string]int // datagrams to 10.1.0.0/16, by receiver, as "FROM>TO:PORT"
	port     uint16                    // of the last datagrams
	changes  int                       // waited for at switches
	tapped   bool                      // the port gets copies: else it is one to the network, like any other
}

const vlanForCopies = 900

// analyser is where tunnels lead.
var analyser = netip.MustParseAddr("10.1.0.200")

func newMirrorRig(t *testing.T) *mirrorRig {
	t.Helper()
	r := &mirrorRig{
		policyRig: &policyRig{rig: newRig(t, 10*time.Minute, placed{"web", "hv1", "flat"}, placed{"cache", "hv1", "flat"}, placed{"db", "hv2", "flat"}, placed{"app", "hv3", "flat"})},
		captures:  map[string]*netns.Capture{}, seen: map[string]map[string]int{}, port: 7000,
	}
	r.address()
	_, err := r.lan.VSCtl(r.ctx, "set", "bridge", bridge, fmt.Sprint("flood_vlans=", vlanForCopies))
	r.must(err)
	r.must(r.lan.AddBridge(r.ctx, "span"))
	here, there, err := r.hv["hv1"].Join(r.ctx, bridge, r.lan, "span")
	r.must(err)
	r.span, r.other = here.Name, there.Name
	wire, err := r.lan.AddVM(r.ctx, ovsbed.VM{Name: "wire", Bridge: bridge, VLAN: vlanForCopies, MAC: "02:00:00:00:09:01"})
	r.must(err)
	analyse, err := r.lan.AddVM(r.ctx, ovsbed.VM{Name: "ids", Bridge: bridge, MAC: "02:00:00:00:09:02", Addrs: []netip.Prefix{netip.PrefixFrom(analyser, 24)}})
	r.must(err)
	_, err = r.lan.VSCtl(r.ctx, "set", "port", analyse.Port.Name, "vlan_mode=access", "tag=0") // else it would get what is in the VLAN, too
	r.must(err)
	r.ids = analyse.Namespace
	for name, at := range map[string]struct {
		n      *netns.Namespace
		device string
	}{
		"tap": {r.lan.Namespace, there.Name}, "wire": {wire.Namespace, wire.Device}, "ids": {analyse.Namespace, analyse.Device}, "cache": {r.vms["cache"].Namespace, r.vms["cache"].Device},
	} {
		c, err := at.n.Capture(at.device)
		r.must(err)
		t.Cleanup(func() { c.Close() })
		r.captures[name], r.seen[name] = c, map[string]int{}
	}
	return r
}

// datagram says what datagram of UDP a frame holds, as "FROM>TO:PORT", "gre " before it if it came in GRE with the key of the policy; empty: none.
func datagram(frame []byte) string {
	if len(frame) < 14+20+8 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 {
		return ""
	}
	ip := frame[14:]
	from, to := netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	rest := ip[min(int(ip[0]&15)*4, len(ip)):]
	switch {
	case ip[9] == 17 && len(rest) >= 8:
		return fmt.Sprintf("%v>%v:%d", from, to, binary.BigEndian.Uint16(rest[2:]))
	case ip[9] == 47 && len(rest) >= 8 && to == analyser && binary.BigEndian.Uint32(rest) == 0x20006558 && binary.BigEndian.Uint32(rest[4:]) == 77: // with a key, of Ethernet (RFC 2784, 2890)
		if d := datagram(rest[8:]); d != "" {
			return "gre " + d
		}
	}
	return ""
}

// look takes what came in since the last time.
func (r *mirrorRig) look() {
	r.Helper()
	for name, c := range r.captures {
		r.must(c.Take(func(frame []byte) {
			if d := datagram(frame); d != "" {
				r.seen[name][d]++
			}
		}))
	}
}

// sends sends datagrams from one VM to another by a port of their own and wants as many copies as said, by receiver, and none elsewhere. Then a row
// tells of each datagram once.
func (r *mirrorRig) sends(what, from, to string, passes bool, copies map[string]int) {
	r.Helper()
	r.port++
	port := r.port
	if !passes {
		port += 100
	}
	p := r.probe(traffic.ProbeConfig{Target: r.udp(to, port), Interval: time.Millisecond, Count: exactly}, from, to)
	defer p.Close()
	r.arrive(what, p, passes)
	d := fmt.Sprintf("%v>%v:%d", r.addr(from, false), r.addr(to, false), port)
	want := map[string]int{}
	for receiver, n := range copies {
		want[receiver] = n * exactly
	}
	if to == "cache" && passes {
		want["cache"] = exactly
	}
	count := func() map[string]int {
		r.look()
		got := map[string]int{}
		for name, seen := range r.seen {
			if name == "tap" && !r.tapped {
				continue
			}
			for _, lead := range []string{"", "gre "} {
				if n := seen[lead+d]; n > 0 {
					got[strings.TrimSpace(lead+name)] = n
				}
			}
		}
		return got
	}
	apptest.Eventually(r, soon, what+": copies", func() error {
		if got := count(); !maps.Equal(got, want) {
			return fmt.Errorf("copies of %s: %v, want %v", d, got, want)
		}
		return nil
	})
	apptest.Eventually(r, soon, what+": rows", func() error {
		out, err := r.weir.SQL(fmt.Sprintf("SELECT sum(packets) FROM flows WHERE dst_port = %d AND protocol = 17 AND counted", port))
		if err == nil && out != fmt.Sprint(exactly) {
			err = fmt.Errorf("packets that are counted: %q, want %d", out, exactly)
		}
		return err
	})
	if got := count(); !maps.Equal(got, want) {
		r.Errorf("%s: copies of %s: %v, want %v and no more", what, d, got, want)
	}
}

// comesIn sends a datagram for cache by the ends of ways for copies: by the port at hv1, and by GRE from the analyser, with the key of the policy. It says
// by which of them it got there.
func (r *mirrorRig) comesIn() string {
	r.Helper()
	r.port++
	payload := frameTo(r.vms["cache"].MAC, r.addr("cache", false), r.port)
	r.must(r.lan.Namespace.Inject(r.other, payload, exactly))
	r.must(r.ids.Do(func() error {
		c, err := net.DialIP("ip4:47", nil, &net.IPAddr{IP: hostAddr["hv1"].AsSlice()})
		if err != nil {
			return err
		}
		defer c.Close()
		gre := append([]byte{0x20, 0, 0x65, 0x58, 0, 0, 0, 77}, frameTo(r.vms["cache"].MAC, r.addr("cache", false), r.port+1000)...)
		for range exactly {
			if _, err := c.Write(gre); err != nil {
				return err
			}
		}
		return nil
	}))
	r.reaches("db", "cache") // what was sent before has passed, or never will
	r.look()
	var by []string
	for way, port := range map[string]uint16{"port": r.port, "gre": r.port + 1000} {
		if r.seen["cache"][fmt.Sprintf("10.9.9.9>%v:%d", r.addr("cache", false), port)] > 0 {
			by = append(by, way)
		}
	}
	slices.Sort(by)
	return strings.Join(by, " ")
}

// frameTo is a datagram of nobody's to an address and port.
func frameTo(mac string, to netip.Addr, port uint16) []byte {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	frame := append(append([]byte{}, hw...), 2, 9, 9, 9, 9, 9, 8, 0)
	ip := []byte{0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 9, 9}
	ip = append(ip, to.AsSlice()...)
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	frame = append(frame, ip...)
	for _, v := range []uint16{9, port, 26, 0} { // without a checksum
		frame = binary.BigEndian.AppendUint16(frame, v)
	}
	return append(frame, make([]byte, 60-len(frame))...)
}

// mirrors puts a policy in force that asks for copies, and waits until as many mirrors stand at a host as said.
func (r *mirrorRig) mirrors(settings string, states map[string]string) {
	r.Helper()
	r.apply(`
default: allow
mirror_targets:
  - {name: ids, gre: 10.1.0.200, key: 77}
  - {name: far, erspan: 10.1.0.200, key: 5}
  - {name: wire, vlan: 900}
  - {name: tap, port: ` + r.span + `}
global:
  mandatory:
    - {id: never, action: deny, direction: to, protocol: udp, remote_ports: "7100-7199"}
pools: [{name: lab, mirror_vlans: [900]}]
` + settings)
	for host, want := range states {
		r.stand(host, want)
	}
	r.tapped = strings.Contains(settings, "tap")
}

// stand waits until the mirrors of a host stand as said: "ids active: web/0; wire failed: …".
func (r *mirrorRig) stand(host, want string) {
	r.Helper()
	apptest.Eventually(r, soon, host+": mirrors stand", func() error {
		var list []string
		out, err := r.weir.Run("hosts", "show", host, "--json")
		if err != nil {
			return err
		}
		var h policyd.HostStatus
		if err := json.Unmarshal([]byte(out), &h); err != nil {
			return err
		}
		for _, b := range h.Exports {
			for _, m := range b.Mirrors {
				line := fmt.Sprintf("%s %s: %s", m.Target, m.State, strings.Join(m.VIFs, ", "))
				if m.Why != "" {
					line += " (" + m.Why + ")"
				}
				list = append(list, line)
			}
		}
		if got := strings.Join(list, "; "); got != want {
			return fmt.Errorf("mirrors %q, want %q", got, want)
		}
		return nil
	})
	// The database says so. The switch has done it when a further change was done, and packets are treated so once what it knows of flows is forgotten.
	r.changes++
	_, err := r.hv[host].VSCtl(r.ctx, "set", "Open_vSwitch", ".", fmt.Sprint("other_config:settled=", r.changes))
	r.must(err)
	r.must(r.hv[host].Forget(r.ctx))
}

// database is what of a host's database mirrors change.
func (r *mirrorRig) database(host string) string {
	r.Helper()
	var list []string
	for _, c := range [][2]string{{"bridge", "name,mirrors,flood_vlans,external_ids"}, {"port", "name,tag,trunks,vlan_mode,external_ids"}, {"interface", "name,type,options,external_ids"}, {"mirror", "name,select_all,select_src_port,select_dst_port,output_port,output_vlan,external_ids"}} {
		out, err := r.hv[host].VSCtl(r.ctx, "--format=csv", "--no-headings", "--columns="+c[1], "list", c[0])
		r.must(err)
		lines := strings.Split(vifName.ReplaceAllString(out, "vif"), "\n")
		slices.Sort(lines)
		list = append(list, c[0]+"\n"+strings.Join(lines, "\n"))
	}
	return strings.Join(list, "\n")
}

// vifName is a name that a VIF has at a host, which is another one after it was plugged in again.
var vifName = regexp.MustCompile(`vif\d+\.0`)

// Copies of what VMs send and get are seen where the policy says, of those only, and once; they are not counted as traffic, follow the VMs, and nothing is
// left of them afterwards.
func TestMirrors(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up on three hosts")
	}
	r := newMirrorRig(t)
	_, err := r.hv["hv2"].VSCtl(r.ctx, "--", "--id=@m", "create", "mirror", "name=theirs", "select_all=true", "output_vlan=99", "--", "set", "bridge", bridge, "mirrors=@m")
	r.must(err)
	before := map[string]string{}
	for _, host := range []string{"hv1", "hv2"} {
		before[host] = r.database(host)
	}
	r.listeners = r.ports(2)
	r.configure(fmt.Sprintf("policy: {listeners: [{addr: \"0.0.0.0:%d\", tls: false, insecure: true}, {addr: \"0.0.0.0:%d\"}]}\n", r.listeners[0], r.listeners[1]))
	r.start()
	r.addHosts()
	r.exports("begin", "hv1", "hv2", "hv3")
	r.live()
	r.mirrors("", nil)
	for _, host := range []string{"hv1", "hv2"} {
		r.command("hosts", "mode", host, "enforce", "--yes")
	}
	r.enforced("begin", "hv1", "hv2")
	r.reaches("web", "db")
	r.reaches("cache", "db")

	r.mirrors(`vifs: [{name: web/0, settings: {mirror: ids}}]`, map[string]string{"hv1": "ids active: web/0"})
	apptest.Eventually(r, soon, "the way to the analyser is known", func() error { // Open vSwitch asks for it with the first packet, and drops that
		r.reaches("web", "db")
		r.port++
		p := r.probe(traffic.ProbeConfig{Target: r.udp("db", r.port), Interval: time.Millisecond, Count: 1}, "web", "db")
		defer p.Close()
		r.must(p.Wait(r.within(soon)))
		time.Sleep(50 * time.Millisecond) // between polls
		r.look()
		if len(r.seen["ids"]) == 0 { // of any try: on a busy machine it comes late
			neighbours, err := r.hv["hv1"].AppCtl(r.ctx, "tnl/neigh/show")
			return errors.Join(fmt.Errorf("no copy; the switch knows, on its way: %s", neighbours), err)
		}
		return nil
	})
	r.sends("what a VIF sends, by GRE", "web", "db", true, map[string]int{"gre ids": 1})
	r.sends("what it gets", "db", "web", true, map[string]int{"gre ids": 1})
	r.sends("what another one sends", "cache", "db", true, nil)
	r.sends("what it sends and a rule denies", "web", "db", false, map[string]int{"gre ids": 1})

	if got := r.comesIn(); got != "port" {
		t.Errorf("came in by %q, want by the port, which is one to the network still, and not by GRE", got)
	}

	r.mirrors(`vifs: [{name: web/0, settings: {mirror: ids in}}]`, map[string]string{"hv1": "ids active: web/0 in"})
	r.sends("in only, sent", "web", "db", true, nil)
	r.sends("in only, got", "db", "web", true, map[string]int{"gre ids": 1})
	r.sends("in only, denied before", "db", "web", false, nil)

	r.mirrors(`vms: [{name: web, settings: {mirror: tap out}}]`, map[string]string{"hv1": "tap active: web/0 out"})
	r.sends("out only, sent by a VM, at a port", "web", "db", true, map[string]int{"tap": 1})
	r.sends("out only, got", "db", "web", true, nil)
	if got := r.comesIn(); got != "" {
		t.Errorf("came in by %q, want by nothing", got)
	}
	r.sends("ordinary traffic does not leave by the port", "cache", "db", true, nil)

	r.mirrors(`networks: [{name: flat, settings: {mirror: wire}}]`, map[string]string{"hv1": "wire active: cache/0, web/0", "hv2": "wire active: db/0"})
	r.sends("of a network, in a VLAN: at both hosts", "web", "db", true, map[string]int{"wire": 2})
	r.sends("between two VIFs of it: once", "web", "cache", true, map[string]int{"wire": 1})
	r.Logf("weir hosts show hv1:\n%s", r.command("hosts", "show", "hv1"))

	r.mirrors(`vms: [{name: web, settings: {mirror: far}}, {name: cache, settings: {mirror: ids}}]`, map[string]string{"hv1": "far active: web/0; ids active: cache/0"})
	out, err := r.hv["hv1"].VSCtl(r.ctx, "--bare", "--columns=type,error", "find", "interface", "type=erspan")
	r.must(err)
	if out != "erspan" {
		t.Errorf("tunnel of ERSPAN: %q, want it without an error", out)
	}

	// The VM moves: what is copied of it is so there.
	r.mirrors(`vms: [{name: cache, settings: {mirror: wire}}]`, map[string]string{"hv1": "wire active: cache/0", "hv2": ""})
	r.must(r.vms["cache"].Move(r.ctx, r.hv["hv2"], nil))
	r.stand("hv1", "")
	r.stand("hv2", "wire active: cache/0")
	r.must(r.vms["cache"].Move(r.ctx, r.hv["hv1"], nil))
	r.stand("hv1", "wire active: cache/0")
	r.must(r.vms["web"].Replug(r.ctx))

	// What somebody else removes is set up again; a bridge has 32.
	_, err = r.hv["hv1"].VSCtl(r.ctx, "clear", "bridge", bridge, "mirrors")
	r.must(err)
	r.stand("hv1", "wire active: cache/0")
	args := []string{}
	for i := range 31 {
		args = append(args, "--", fmt.Sprintf("--id=@m%d", i), "create", "mirror", fmt.Sprint("name=theirs", i), "output_vlan=99", "--", "add", "bridge", bridge, "mirrors", fmt.Sprint("@m", i))
	}
	_, err = r.hv["hv1"].VSCtl(r.ctx, args...)
	r.must(err)
	r.mirrors(`vms: [{name: cache, settings: {mirror: wire}}, {name: web, settings: {mirror: ids}}]`, map[string]string{
		"hv1": "ids active: web/0; wire left_out: cache/0 (a bridge has at most 32 mirrors: 31 of others, and those of mirror targets whose names come first)",
	})
	for i := range 31 {
		_, err = r.hv["hv1"].VSCtl(r.ctx, "--", "--id=@m", "get", "mirror", fmt.Sprint("theirs", i), "--", "remove", "bridge", bridge, "mirrors", "@m")
		r.must(err)
	}
	r.stand("hv1", "ids active: web/0; wire active: cache/0")

	out, err = r.weir.SQL("SELECT kind, count() > 0 FROM network_events FINAL WHERE kind LIKE 'mirror_%' GROUP BY kind ORDER BY kind")
	r.must(err)
	if want := "mirror_failed\t1\nmirror_started\t1\nmirror_stopped\t1\nmirror_wiped\t1"; out != want {
		t.Errorf("events\n%s\nwant\n%s", out, want)
	}

	for _, host := range []string{"hv1", "hv2"} {
		r.command("hosts", "detach", host, "--yes")
	}
	for _, host := range []string{"hv1", "hv2"} {
		apptest.Eventually(r, soon, host+" is as before", func() error {
			if diff := cmp.Diff(strings.Split(before[host], "\n"), strings.Split(r.database(host), "\n")); diff != "" {
				return fmt.Errorf("database (-before +after):\n%s", diff)
			}
			return nil
		})
	}
}
