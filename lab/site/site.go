package site

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/lab/flowgen"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/ovsbed"
)

// Config says how large a site is.
type Config struct {
	Hosts int  // 1 to 64
	VMs   int  // 1 to 500; a multiple of 24 keeps the roles of the estate in proportion
	Farm  int  // more hosts, with 50 VMs each, whose datapath is simulated and which have no traffic
	XAPI  bool // the hosts are a pool that has the management API of XenServer and XCP-ng
}

// farmVMs is how many VMs a host of the farm has.
const farmVMs = 50

// Site is a running site. Its methods may be called by several goroutines.
type Site struct {
	estate *flowgen.Estate
	spaces []*netns.Namespace // of VMs, by number in the estate
	router *netns.Namespace
	farm   *ovsbed.Farm // nil if there is none

	mu    sync.Mutex // one command at a time
	hosts []*ovsbed.Host
	vms   []*vm       // by number in the estate; guarded by mu
	xapi  *management // nil if there is none; guarded by mu
	stats stats
}

// vm is a VM with all its interfaces.
type vm struct {
	name     string
	vifs     []*ovsbed.VM
	networks []int // of vifs, by number in the estate
}

// uplink is the bridge of the physical switch.
const uplink = "lan"

// New starts a site, whose end is that of bed.
func New(ctx context.Context, cfg Config, bed *netns.Bed) (*Site, error) {
	s := &Site{}
	if err := s.start(ctx, cfg, bed); err != nil {
		return nil, fmt.Errorf("start site: %w", err)
	}
	return s, nil
}

func (s *Site) start(ctx context.Context, cfg Config, spaces *netns.Bed) (err error) {
	if cfg.Hosts < 1 || cfg.Hosts > 64 || cfg.VMs < 1 || cfg.VMs > 500 || cfg.Farm < 0 || cfg.Farm > 64 {
		return fmt.Errorf("%d hosts, %d VMs and a farm of %d: want 1 to 64, 1 to 500 and 0 to 64", cfg.Hosts, cfg.VMs, cfg.Farm)
	}
	if s.estate, err = flowgen.NewEstate(flowgen.Size{Hosts: cfg.Hosts, VMs: cfg.VMs}); err != nil {
		return err
	}
	s.estate.Pool = Pool
	bed, err := ovsbed.New(spaces)
	if err != nil {
		return err
	}
	lan, err := bed.Host(ctx, uplink)
	if err != nil {
		return err
	}
	if err := lan.AddBridge(ctx, uplink); err != nil {
		return err
	}
	if err := s.startRouter(ctx, lan); err != nil {
		return err
	}
	s.hosts, s.vms, s.spaces = make([]*ovsbed.Host, cfg.Hosts), make([]*vm, cfg.VMs), make([]*netns.Namespace, cfg.VMs)
	for i := range s.hosts { // one after the other, as all take part in lan
		if s.hosts[i], err = bed.Host(ctx, s.estate.Hosts[i].Name); err != nil {
			return err
		}
		if err := s.hosts[i].SetUUID(ctx, uuid("host", s.hosts[i].Name)); err != nil {
			return err
		}
		if err := s.hosts[i].AddBridge(ctx, s.estate.Hosts[i].Bridge); err != nil {
			return err
		}
		if _, _, err := s.hosts[i].Join(ctx, s.estate.Hosts[i].Bridge, lan, uplink); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range s.hosts {
		g.Go(func() error { return s.startVMs(ctx, i) })
	}
	if cfg.Farm > 0 {
		g.Go(func() (err error) {
			s.farm, err = bed.Farm(ctx, cfg.Farm, farmVMs)
			return err
		})
	}
	if err := g.Wait(); err != nil || !cfg.XAPI {
		return err
	}
	return s.startXAPI()
}

// startVMs starts the networks and VMs of host i.
func (s *Site) startVMs(ctx context.Context, i int) error {
	h, bridge := s.hosts[i], s.estate.Hosts[i].Bridge
	networks := make([]string, len(s.estate.Networks)) // bridges of the networks
	for j, n := range s.estate.Networks {
		networks[j] = bridge
		if n.VLAN != 0 {
			networks[j] = networkBridge(j)
			if err := h.AddNetwork(ctx, networks[j], bridge, n.VLAN); err != nil {
				return err
			}
		}
	}
	for j := range s.estate.VMs {
		declared := &s.estate.VMs[j]
		if declared.Host != i {
			continue
		}
		s.vms[j] = &vm{name: declared.Name}
		for k := range declared.VIFs {
			f := &declared.VIFs[k]
			n := &s.estate.Networks[f.Network]
			x, err := h.AddVM(ctx, ovsbed.VM{
				Name: declared.Name, Bridge: networks[f.Network], Device: fmt.Sprint("eth", k), MAC: estate.MAC(f.MAC).String(),
				Addrs:    []netip.Prefix{netip.PrefixFrom(f.IPv4, n.IPv4.Bits()), netip.PrefixFrom(f.IPv6, n.IPv6.Bits())},
				Identity: s.identity(j, k), Namespace: s.spaces[j],
			})
			if err != nil {
				return err
			}
			s.vms[j].vifs, s.vms[j].networks, s.spaces[j] = append(s.vms[j].vifs, &x), append(s.vms[j].networks, f.Network), x.Namespace
		}
		if err := s.route(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// identity returns that of a VIF: the same in every run.
func (s *Site) identity(number, vif int) ovsbed.Identity {
	v := &s.estate.VMs[number]
	return ovsbed.Identity{
		Platform: ovsbed.XenServer, Device: vif,
		VM: uuid("vm", v.Name), VIF: uuid("vif", v.Name, fmt.Sprint(vif)), Network: networkUUID(&s.estate.Networks[v.VIFs[vif].Network]),
	}
}

// networkBridge is the fake bridge of network number j, which has a VLAN.
func networkBridge(j int) string { return fmt.Sprint("xapi", j) }

func networkUUID(n *flowgen.Network) string { return uuid("network", n.Name) }

// uuid returns one made of words (RFC 9562 §5.8).
func uuid(words ...string) string {
	b := sha256.Sum256(fmt.Append(nil, "weirlab", words))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Pool is that of all hosts of a site.
const Pool = "lab"

// Model returns what neither the hosts nor their pool say of the site: groups, and subnets; without XAPI also names, networks, addresses and tags.
func (s *Site) Model() estate.Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.estate.Model()
	m.Hosts = nil
	for i := range m.Networks {
		m.Networks[i].UUID = networkUUID(&s.estate.Networks[i])
	}
	for i := range m.VMGroups { // by UUID: names change
		for j, vm := range s.estate.VMGroups[i].VMs {
			m.VMGroups[i].VMs[j] = s.vms[vm].vifs[0].Identity.VM
		}
	}
	if s.xapi != nil {
		m.VMs = nil
	}
	for i := range m.VMs {
		x, v := &m.VMs[i], s.vms[i]
		x.Name, x.UUID, x.Host = v.name, v.vifs[0].Identity.VM, ""
		for j := range x.VIFs {
			x.VIFs[j].UUID, x.VIFs[j].Ports = v.vifs[j].Identity.VIF, nil
		}
	}
	if s.farm != nil {
		for _, v := range s.farm.VMs {
			m.VMs = append(m.VMs, estate.VM{Name: v.Name, UUID: v.Identity.VM, Pool: Pool})
		}
	}
	return m
}

// Hosts returns all hosts, those of the farm last.
func (s *Site) Hosts() []*ovsbed.Host {
	if s.farm == nil {
		return s.hosts
	}
	return slices.Concat(s.hosts, s.farm.Hosts)
}

// Bridge is the bridge of every host with traffic, on which all its networks are.
func (s *Site) Bridge() string { return s.estate.Hosts[0].Bridge }

// VM returns the interfaces of a VM as they are now, by device.
func (s *Site) VM(name string) ([]ovsbed.VM, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, _, err := s.vm(name)
	if err != nil {
		return nil, err
	}
	list := make([]ovsbed.VM, len(v.vifs))
	for i, x := range v.vifs {
		list[i] = *x
	}
	return list, nil
}
