package estate

import (
	"net/netip"
	"time"
)

// Model is what a source declares to exist. Entities refer to each other by name ("prod"), by pool and name
// ("pool1/prod") or by UUID; a plain name means the one in the same pool, else the only one.
//
// The tags are those of internal/strictyaml: a model is also the form of the estate file. Who gave a model away does not
// change it any more.
type Model struct {
	// Merged says that an Assembler made the model: entities have a Key and refer to each other by it, and what makes no
	// sense is left out with a warning, since no source may stop the others.
	Merged bool `yaml:"-"`

	// Past is how VMs were until a short while ago, for flows that ended then; see Snapshot.Late. Of a merged model only.
	Past []Past `yaml:"-"`

	Pools         []Pool         `yaml:"pools,omitempty" doc:"Pools of hosts."`
	Hosts         []Host         `yaml:"hosts,omitempty" doc:"Hypervisor hosts, with the addresses from which they export flows."`
	Networks      []Network      `yaml:"networks,omitempty" doc:"Networks that VIFs are plugged into."`
	VMs           []VM           `yaml:"vms,omitempty" doc:"Virtual machines."`
	AddressGroups []AddressGroup `yaml:"address_groups,omitempty" doc:"Named sets of IP addresses."`
	VMGroups      []VMGroup      `yaml:"vm_groups,omitempty" doc:"Named sets of VMs."`

	// Rules are the rule instances by which flows may have been decided, those that were replaced a short while ago, too.
	Rules []RuleInstance `yaml:"-"`
}

// SameButRules reports whether o says the same of everything but rule instances because it is a copy of m: it compares where the
// lists are, not what is in them.
func (m *Model) SameButRules(o *Model) bool {
	return m.Merged == o.Merged && shared(m.Past, o.Past) && shared(m.Pools, o.Pools) && shared(m.Hosts, o.Hosts) && shared(m.Networks, o.Networks) &&
		shared(m.VMs, o.VMs) && shared(m.AddressGroups, o.AddressGroups) && shared(m.VMGroups, o.VMGroups)
}

// shared reports whether two slices are one.
func shared[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// Pool is a set of hosts that are managed as one.
type Pool struct {
	Key    string   `yaml:"-"` // of its identity; empty: the uuid, else the parent's key and the name
	SameAs []string `yaml:"-"` // further keys under which flows may refer to it
	Origin string   `yaml:"-"` // kinds of sources that tell of it, as "file,host"; empty: the one that there is

	Name       string            `yaml:"name" doc:"Name, unique among pools."`
	UUID       string            `yaml:"uuid,omitempty" doc:"UUID that the platform gives it."`
	Attributes map[string]string `yaml:"attributes,omitempty" doc:"Anything else worth knowing, published with the pool."`
}

// Host is a hypervisor host.
type Host struct {
	Key    string   `yaml:"-"` // of its identity; empty: the uuid, else the parent's key and the name
	SameAs []string `yaml:"-"` // further keys under which flows may refer to it
	Origin string   `yaml:"-"` // kinds of sources that tell of it, as "file,host"; empty: the one that there is

	Name       string            `yaml:"name" doc:"Name, unique in its pool unless it has a uuid."`
	UUID       string            `yaml:"uuid,omitempty" doc:"UUID that the platform gives it."`
	Pool       string            `yaml:"pool,omitempty" doc:"Pool that it belongs to."`
	Exporters  []netip.Addr      `yaml:"exporters,omitempty" doc:"Source addresses of the flow datagrams that it sends."`
	Bridges    []Bridge          `yaml:"bridges,omitempty" doc:"Virtual switches."`
	Attributes map[string]string `yaml:"attributes,omitempty" doc:"Anything else worth knowing, published with the host."`
}

// Bridge is a virtual switch of a host.
type Bridge struct {
	Name               string   `yaml:"name" doc:"Name on the host, as xenbr0."`
	ObservationDomains []uint32 `yaml:"observation_domains,omitempty" doc:"Observation domains (NetFlow 5: engine type × 256 + engine id) by which the host's exporter tells its bridges apart."`
	VirtualObsID       string   `yaml:"virtual_obs_id,omitempty" doc:"Name that Open vSwitch puts into the IPFIX of the bridge (other_config:virtual_obs_id). It says more than address and observation domain: flows that carry it are of this bridge from wherever they come, if no other bridge of the estate has it."`
	RuleSampling       bool     `yaml:"rule_sampling,omitempty" doc:"Weir set up what the bridge samples: the observation points of its flows are stage and rule instance. Without it they are kept as they are."`
	TotalsElsewhere    bool     `yaml:"totals_elsewhere,omitempty" doc:"With rule_sampling: rules sample some packets only, new connections and what is dropped. The totals of the bridge are those of its other export, and no row of a rule is in them. Without it the rows of rules are the totals, and none of another export is."`
}

// Network is a layer-2 network.
type Network struct {
	Key    string   `yaml:"-"` // of its identity; empty: the uuid, else the parent's key and the name
	SameAs []string `yaml:"-"` // further keys under which flows may refer to it
	Origin string   `yaml:"-"` // kinds of sources that tell of it, as "file,host"; empty: the one that there is

	Name       string            `yaml:"name" doc:"Name, unique in its pool unless it has a uuid."`
	UUID       string            `yaml:"uuid,omitempty" doc:"UUID that the platform gives it."`
	Pool       string            `yaml:"pool,omitempty" doc:"Pool in which it is; without one it is everywhere."`
	Bridge     string            `yaml:"bridge,omitempty" doc:"Name of the bridge that carries it on each host."`
	VLAN       uint16            `yaml:"vlan,omitempty" doc:"VLAN tag on the wire, 1 to 4094; 0 is untagged."`
	Subnets    []netip.Prefix    `yaml:"subnets,omitempty" doc:"Prefixes in use on it."`
	Attributes map[string]string `yaml:"attributes,omitempty" doc:"Anything else worth knowing, published with the network."`
}

// VM is a virtual machine.
type VM struct {
	Key    string   `yaml:"-"` // of its identity; empty: the uuid, else the parent's key and the name
	SameAs []string `yaml:"-"` // further keys under which flows may refer to it
	Origin string   `yaml:"-"` // kinds of sources that tell of it, as "file,host"; empty: the one that there is

	Anonymous bool `yaml:"-"` // nothing is known of it but that it has these VIFs: the name is made up

	Name       string            `yaml:"name" doc:"Name, unique in its pool unless it has a uuid."`
	UUID       string            `yaml:"uuid,omitempty" doc:"UUID that the platform gives it."`
	Pool       string            `yaml:"pool,omitempty" doc:"Pool to which it belongs. It is part of the VM's identity if there is no uuid."`
	Host       string            `yaml:"host,omitempty" doc:"Host on which it runs at present."`
	Tags       []string          `yaml:"tags,omitempty" doc:"Tags, for selection into VM groups."`
	Attributes map[string]string `yaml:"attributes,omitempty" doc:"Anything else worth knowing, published with the VM and for selection."`
	VIFs       []VIF             `yaml:"vifs,omitempty" doc:"Virtual interfaces."`
}

// Past is how a VM was until a time.
type Past struct {
	VM     VM
	Until  time.Time
	Groups []uint64 // ids of the VM groups that it was in
}

// VIF is a virtual interface of a VM.
type VIF struct {
	Key    string   `yaml:"-"` // as of the others
	SameAs []string `yaml:"-"`
	Origin string   `yaml:"-"`

	Device  string       `yaml:"device,omitempty" doc:"Name within the VM, as 0 or eth0. It is part of the VIF's identity if there is no uuid; without it the MAC address is."`
	UUID    string       `yaml:"uuid,omitempty" doc:"UUID that the platform gives it."`
	Network string       `yaml:"network,omitempty" doc:"Network into which it is plugged."`
	MAC     MAC          `yaml:"mac,omitempty" doc:"MAC address."`
	IPs     []netip.Addr `yaml:"ips,omitempty" doc:"IP addresses, IPv4 and IPv6."`
	Learned uint8        `yaml:"-"` // so many of IPs, the last ones, nobody told: they were seen
	Ports   []Port       `yaml:"ports,omitempty" doc:"Numbers by which exporters know it."`

	Attributes map[string]string `yaml:"attributes,omitempty" doc:"Anything else worth knowing, published with the VIF."`
}

// Attributes of VIFs that mean the same whoever tells them.
const (
	VIFRate        = "rate_limit"   // what the platform lets the VM send, by itself, in kbit/s
	VIFLocking     = "locking_mode" // which addresses the platform would let it use: unlocked, any; locked, its MAC address and VIFIPv4Allowed, VIFIPv6Allowed; disabled, none
	VIFIPv4Allowed = "ipv4_allowed" // with commas
	VIFIPv6Allowed = "ipv6_allowed"
)

// Port is where a VIF is plugged into a host, as the host's exporter numbers it.
type Port struct {
	Host    string `yaml:"host,omitempty" doc:"Host; without it the VM's host."`
	Bridge  string `yaml:"bridge,omitempty" doc:"Bridge of the host; needed where several bridges use the same numbers."`
	IfIndex uint32 `yaml:"if_index,omitempty" doc:"Interface index in the flows of the host."`
	OFPort  uint32 `yaml:"of_port,omitempty" doc:"OpenFlow port number, which Open vSwitch writes in place of the interface index in NetFlow 5."`

	Name     string    `yaml:"-"` // of the interface at the host, as vif5.0
	VLAN     uint16    `yaml:"-"` // access VLAN there; 0: none, or not known
	Since    time.Time `yaml:"-"` // from when on it has been plugged there; zero: not known
	Inactive bool      `yaml:"-"` // no packets are expected: a vif beside its tap
}

// AddressGroup is a named set of IP addresses.
type AddressGroup struct {
	Name    string   `yaml:"name" doc:"Name, unique among address groups."`
	UUID    string   `yaml:"uuid,omitempty" doc:"UUID, if it has one elsewhere."`
	Members []string `yaml:"members" doc:"Addresses (192.0.2.1), prefixes (192.0.2.0/24, 2001:db8::/32) and ranges (192.0.2.1-192.0.2.9)."`
}

// VMGroup is a named set of VMs: those listed, and those that a selector selects.
type VMGroup struct {
	Name   string     `yaml:"name" doc:"Name, unique among VM groups."`
	UUID   string     `yaml:"uuid,omitempty" doc:"UUID, if it has one elsewhere."`
	VMs    []string   `yaml:"vms,omitempty" doc:"VMs by name, pool/name or uuid."`
	Select []Selector `yaml:"select,omitempty" doc:"A VM that any of these selects is in the group, too."`
}

// Selector selects the VMs to which all that it says applies. It says at least one thing.
type Selector struct {
	Tags       []string          `json:"tags,omitempty" yaml:"tags,omitempty" doc:"The VM has all these tags."`
	Name       string            `json:"name,omitempty" yaml:"name,omitempty" doc:"The VM's name matches this pattern; * is any text, ? any character. Case matters."`
	Network    string            `json:"network,omitempty" yaml:"network,omitempty" doc:"A VIF of the VM is in this network."`
	Pool       string            `json:"pool,omitempty" yaml:"pool,omitempty" doc:"The VM is in this pool."`
	Attributes map[string]string `json:"attributes,omitempty" yaml:"attributes,omitempty" doc:"The VM has all these attributes with these values."`
}
