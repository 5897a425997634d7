package site

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/xapi"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// The account of the pool's management.
const (
	User     = "weir"
	Password = "of the lab"
)

// management is XAPI of the pool of the hosts with traffic, and where its records are. A nil one has none: what happens is not written down.
type management struct {
	pool     *xapi.Site
	hosts    map[string]string // references, by name
	networks []string          // references, by number in the estate
	vms      []string          // likewise
	vifs     [][]string        // of each VM, by device
	servers  []*server         // of all hosts
	sdn      string            // reference of the SDN controller; empty: none
}

// server is XAPI at a host.
type server struct {
	host         *ovsbed.Host
	cert         tls.Certificate
	*xapi.Server // nil at one of the farm, where it does not answer
}

// Access is how one gets into the management of a pool.
type Access struct {
	Addresses []string            // of the hosts that answer; the coordinator's is the first at the start
	Pins      []ovsdb.Fingerprint // of all hosts
}

// Access returns how to get into XAPI of the site; its account is User and Password.
func (s *Site) Access() Access {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a Access
	for _, x := range s.xapi.servers {
		if x.Server != nil {
			a.Addresses = append(a.Addresses, x.Address())
		}
		a.Pins = append(a.Pins, ovsdb.FingerprintOf(x.cert.Leaf))
	}
	return a
}

// Management returns the database of XAPI of the site; it is read and changed between commands only. It is nil without XAPI.
func (s *Site) Management() *xapi.Site {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.xapi == nil {
		return nil
	}
	return s.xapi.pool
}

// startXAPI writes down what there is, and has every host with traffic answer at port 443 of its address.
func (s *Site) startXAPI() error {
	m := &management{pool: xapi.NewSite(xapi.Config{User: User, Password: Password}, Pool), hosts: map[string]string{}}
	for i, h := range s.Hosts() {
		cert, err := xapi.NewCertificate(h.Exporter.AsSlice())
		if err != nil {
			return err
		}
		x := &server{host: h, cert: cert}
		m.servers = append(m.servers, x)
		if i < len(s.hosts) { // those of the farm share one address
			if err := x.start(m.pool.Pool); err != nil {
				return err
			}
		}
		ref := m.pool.AddHost(h.Name, h.Exporter.String())
		m.pool.Set("host", ref, xapi.Record{"uuid": h.UUID})
		m.hosts[h.Name] = ref
	}
	for j := range s.estate.Networks {
		n := &s.estate.Networks[j]
		bridge, below := s.Bridge(), ""
		if n.VLAN != 0 {
			bridge, below = networkBridge(j), m.networks[flowgen.Front]
		}
		ref := m.pool.AddNetwork(n.Name, bridge, int(n.VLAN), below)
		m.pool.Set("network", ref, xapi.Record{"uuid": networkUUID(n)})
		m.networks = append(m.networks, ref)
	}
	for _, pif := range m.pool.Refs("PIF") { // the hosts' own addresses are on a cable of their own
		m.pool.Set("PIF", pif, xapi.Record{"IP": "", "netmask": "", "management": false})
	}
	for i, v := range s.vms {
		id := v.vifs[0].Identity
		ref := m.pool.AddVM(v.name, m.hosts[v.vifs[0].Host.Name], s.estate.VMs[i].Role)
		m.pool.Set("VM", ref, xapi.Record{"uuid": id.VM})
		m.vms, m.vifs = append(m.vms, ref), append(m.vifs, nil)
		for j, x := range v.vifs {
			m.addVIF(i, v.networks[j], x)
		}
	}
	s.xapi = m
	return nil
}

// start has XAPI answer at the host.
func (x *server) start(pool *xapi.Pool) error {
	return x.host.Namespace.Do(func() error {
		l, err := net.Listen("tcp", net.JoinHostPort(x.host.Exporter.String(), "443"))
		if err == nil {
			x.Server = pool.ServeOn(l, x.cert)
		}
		return err
	})
}

// restartXAPI ends XAPI at all hosts and starts it again.
func (s *Site) restartXAPI() error {
	answering := s.xapi.servers[:len(s.hosts)]
	for _, x := range answering {
		if err := x.Close(); err != nil {
			return err
		}
	}
	s.xapi.pool.Restart()
	for _, x := range answering {
		if err := x.start(s.xapi.pool.Pool); err != nil {
			return err
		}
	}
	return nil
}

// addVIF writes down an interface of VM number i.
func (m *management) addVIF(i, network int, x *ovsbed.VM) {
	var addrs []string
	for _, a := range x.Addrs {
		addrs = append(addrs, a.Addr().String())
	}
	ref := m.pool.AddVIF(m.vms[i], m.networks[network], x.MAC, addrs...)
	m.pool.Set("VIF", ref, xapi.Record{"uuid": x.Identity.VIF})
	m.vifs[i] = append(m.vifs[i], ref)
}

func (m *management) rename(i int, name string) {
	if m != nil {
		m.pool.Set("VM", m.vms[i], xapi.Record{"name_label": name})
	}
}

func (m *management) tag(i int, list string) {
	m.pool.Tag(m.vms[i], slices.DeleteFunc(strings.Split(list, ","), func(t string) bool { return t == "" || t == "-" })...)
}

// move announces that VM number i moves, and returns what to do when it has arrived.
func (m *management) move(i int, host string) (arrived func()) {
	if m == nil {
		return func() {}
	}
	return m.pool.Migrate(m.vms[i], m.hosts[host])
}

func (m *management) plugged(i int, is bool) {
	if m == nil {
		return
	}
	for _, ref := range m.vifs[i] {
		m.pool.Set("VIF", ref, xapi.Record{"currently_attached": is})
	}
}

func (m *management) failover(host string) error {
	i := slices.IndexFunc(m.servers, func(x *server) bool { return x.host.Name == host })
	if i < 0 || m.servers[i].Server == nil {
		return errors.New("it is of the farm, where XAPI does not answer")
	}
	m.pool.SetMaster(m.servers[i].Address())
	return nil
}

// control registers the pool with an SDN controller, or with none.
func (m *management) control(address string) error {
	if address != "-" {
		if _, err := netip.ParseAddr(address); err != nil {
			return err
		}
	}
	if m.sdn != "" {
		m.pool.Destroy("SDN_controller", m.sdn)
		m.sdn = ""
	}
	if address != "-" {
		m.sdn = m.pool.Create("SDN_controller", xapi.Record{"uuid": uuid("controller", address), "protocol": "ssl", "address": address, "port": 6632})
	}
	return nil
}

// addVIF gives a VM one more interface.
func (s *Site) addVIF(ctx context.Context, a arguments) error {
	first, n := a.vm.vifs[0], &s.estate.Networks[a.network]
	if first.Port.Name == "" {
		return errors.New("it is unplugged: plug it in first")
	}
	device := len(a.vm.vifs)
	// 200 and more is beyond what the estate gives to VMs.
	host := []byte{200 + byte(device), byte(a.number >> 8), byte(a.number)}
	v4 := n.IPv4.Masked().Addr().As4()
	v6 := n.IPv6.Masked().Addr().As16()
	copy(v4[2:], host[:1])
	v4[3] = byte(a.number) + 1
	copy(v6[13:], host)
	id := first.Identity
	id.Device, id.VIF, id.Network = device, uuid("vif", s.estate.VMs[a.number].Name, fmt.Sprint(device)), networkUUID(n)
	bridge := s.Bridge()
	if n.VLAN != 0 {
		bridge = networkBridge(a.network)
	}
	x, err := first.Host.AddVM(ctx, ovsbed.VM{
		Name: a.vm.name, Bridge: bridge, Device: fmt.Sprint("eth", device), MAC: estate.MAC(0x02_01_00_00_00_00 | uint64(a.number)<<8 | uint64(device)).String(),
		Addrs:    []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(v4), n.IPv4.Bits()), netip.PrefixFrom(netip.AddrFrom16(v6), n.IPv6.Bits())},
		Identity: id, Namespace: first.Namespace,
	})
	if err != nil {
		return err
	}
	a.vm.vifs, a.vm.networks = append(a.vm.vifs, &x), append(a.vm.networks, a.network)
	s.xapi.addVIF(a.number, a.network, &x)
	return nil
}

// address gives the first interface of a VM another IPv4 address.
func (s *Site) address(ctx context.Context, a arguments) error {
	x, n := a.vm.vifs[0], &s.estate.Networks[a.vm.networks[0]]
	addr, err := netip.ParseAddr(a.name)
	if err != nil || !n.IPv4.Contains(addr) {
		return fmt.Errorf("found address %q, want one in %s", a.name, n.IPv4)
	}
	if x.Port.Name == "" {
		return errors.New("it is unplugged: plug it in first")
	}
	now := netip.PrefixFrom(addr, n.IPv4.Bits())
	for _, c := range []string{"address delete " + x.Addrs[0].String(), "address add " + now.String()} {
		if _, err := x.Namespace.Run(ctx, "ip", strings.Fields(c+" dev "+x.Device)...); err != nil {
			return err
		}
	}
	x.Addrs = append([]netip.Prefix{now}, x.Addrs[1:]...)
	var told []string
	for _, p := range x.Addrs {
		told = append(told, p.Addr().String())
	}
	s.xapi.pool.SetAddresses(s.xapi.vms[a.number], 0, told...)
	return s.route(ctx, a.number)
}
