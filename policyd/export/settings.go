package export

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/strictyaml"
)

// Protocol is by what a bridge exports flows.
type Protocol string

// The values of Protocol.
const (
	Auto    Protocol = "auto"    // IPFIX where looking at every packet costs little (userspace datapath), else NetFlow 5
	IPFIX   Protocol = "ipfix"   // samples of packets, with MAC addresses, VLANs and IPv6
	NetFlow Protocol = "netflow" // NetFlow 5: all packets, IPv4 only
	Off     Protocol = "off"     // Weir sets up nothing
)

// Allowed lists the values for messages and for the manual.
func (Protocol) Allowed() []string {
	return []string{string(Auto), string(IPFIX), string(NetFlow), string(Off)}
}

// UnmarshalText accepts the allowed values only.
func (p *Protocol) UnmarshalText(b []byte) error {
	v := Protocol(b)
	if !slices.Contains(v.Allowed(), string(v)) {
		return fmt.Errorf("found %q, want %s", v, strings.Join(v.Allowed(), " or "))
	}
	*p = v
	return nil
}

// MarshalText writes the value.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p), nil }

// Settings say how the bridges of a host export flows. Of the zero value nothing is exported.
type Settings struct {
	Protocol      Protocol            `yaml:"protocol" doc:"How bridges of hosts are made to export flows: ipfix, netflow (NetFlow 5: IPv4 only), off, or auto: ipfix with the userspace datapath, else netflow."`
	Collector     netip.AddrPort      `yaml:"collector" doc:"Address and port of Weir as hosts reach it. Empty: the address from which Weir reaches the host's database, and the first port that the collector listens on."`
	External      []netip.AddrPort    `yaml:"external" doc:"Further collectors, which are sent the same as Weir."`
	ActiveTimeout time.Duration       `yaml:"active_timeout" doc:"After so long a flow that goes on is reported, in whole seconds. 0s: collector.active_timeout."`
	Sampling      uint32              `yaml:"sampling" doc:"With ipfix: one packet in so many is looked at. 0: every packet with the userspace datapath, one in 400 with the kernel's, where each goes through ovs-vswitchd."`
	CacheFlows    uint32              `yaml:"cache_flows" doc:"With ipfix: flows that a bridge holds before it reports one early; 0 makes each packet a report."`
	TakeOver      bool                `yaml:"take_over" doc:"Exports that others set up at a bridge, and that are in the way, are replaced until Weir is detached from the host. Without it they stay, and the bridge is left alone."`
	Bridges       map[string]Protocol `yaml:"bridges" doc:"Another protocol for bridges of that name, as off for one that carries tunnels of others."`
}

// Default is what a host is set up with if nothing else is said.
func Default() Settings {
	return Settings{Protocol: Auto, CacheFlows: 10_000}
}

// Validate reports everything that is wrong with s, each with its key.
func (s *Settings) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	// 4200 s is the most that table IPFIX takes.
	if t := s.ActiveTimeout; t < 0 || t > 4200*time.Second || t%time.Second != 0 {
		refuse("active_timeout", "found %s, want 0s, or whole seconds up to 70m", t)
	}
	if c := s.Collector; c != (netip.AddrPort{}) && !usable(c) {
		refuse("collector", "found %q, want address and port of one host, e.g. 192.0.2.5:4739", c)
	}
	for i, c := range s.External {
		if !usable(c) {
			refuse(fmt.Sprintf("external[%d]", i), "found %q, want address and port of one host, e.g. 192.0.2.5:4739", c)
		}
	}
	return errors.Join(errs...)
}

// usable says whether datagrams can be sent to a.
func usable(a netip.AddrPort) bool {
	return a.IsValid() && a.Port() != 0 && !a.Addr().IsUnspecified() && !a.Addr().IsMulticast() && a.Addr().Zone() == ""
}

// Override is what is said otherwise of the hosts of a pool, or of one host. Its zero value says nothing.
type Override struct {
	Protocol  Protocol            `json:"protocol,omitempty" doc:"auto, ipfix, netflow or off."`
	Collector netip.AddrPort      `json:"collector,omitzero" doc:"Address and port of Weir as these hosts reach it."`
	External  []netip.AddrPort    `json:"external,omitempty" doc:"Collectors in addition."`
	Sampling  uint32              `json:"sampling,omitempty" doc:"With ipfix: one packet in so many."`
	TakeOver  bool                `json:"take_over,omitempty" doc:"Exports of others that are in the way are replaced."`
	Bridges   map[string]Protocol `json:"bridges,omitempty" doc:"Another protocol for bridges of that name."`
}

// With returns s with what o says: its values in place of those of s, collectors and bridges in addition.
func (s Settings) With(o Override) Settings {
	if o.Protocol != "" {
		s.Protocol = o.Protocol
	}
	if o.Collector.IsValid() {
		s.Collector = o.Collector
	}
	if o.Sampling != 0 {
		s.Sampling = o.Sampling
	}
	s.TakeOver = s.TakeOver || o.TakeOver
	s.External = append(slices.Clone(s.External), o.External...)
	s.Bridges = maps.Clone(s.Bridges)
	for name, p := range o.Bridges {
		if s.Bridges == nil {
			s.Bridges = map[string]Protocol{}
		}
		s.Bridges[name] = p
	}
	return s
}

// of returns the protocol that is asked for at a bridge.
func (s *Settings) of(bridge string) Protocol {
	if p, ok := s.Bridges[bridge]; ok {
		return p
	}
	if s.Protocol == "" {
		return Off
	}
	return s.Protocol
}
