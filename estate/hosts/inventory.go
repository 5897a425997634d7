package hosts

import (
	"net/netip"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/ovs/ovsdb"
)

// Settings are what Weir knows of a host besides what its database says.
type Settings struct {
	Key       string       // by which Weir calls the host, unique and for ever
	Name      string       // for people
	UUID      string       // in place of the one in the database; empty: that
	Pool      string       // to which it belongs; empty: none
	Exporters []netip.Addr // from which its flows come, besides Peer
	Peer      netip.Addr   // of the session with its database; invalid: a local socket
}

// Inventory is what exists at a host. It is immutable.
type Inventory struct {
	Settings   Settings
	UUID       string // of the host; empty: its database has none
	OVSVersion string
	Bridges    []Bridge // by name, without fake bridges
	Ports      []Port   // by bridge and name, of all bridges
	VIFs       []VIF    // by key
}

// Bridge is a virtual switch.
type Bridge struct {
	UUID       ovsdb.UUID
	Name       string
	DatapathID string
	FailMode   string
	Fake       []FakeBridge // by name

	ObservationDomains []uint32 // of its flows, as far as they are its own
	VirtualObsID       string   // of its flows; empty: none
	RuleSampling       bool     // Weir set up what its flows sample
	TotalsElsewhere    bool     // with RuleSampling: that is not the source of totals
	Controllers        []Controller
}

// FakeBridge is a VLAN of a bridge that has a name of its own. It has no flow table.
type FakeBridge struct {
	Name string
	VLAN uint16
}

// Controller is an OpenFlow controller of a bridge.
type Controller struct {
	Target    string
	Connected bool
	Ours      bool // Weir registered it
}

// PortKind is what a port connects a bridge with.
type PortKind string

// Kinds of ports.
const (
	KindVIF      PortKind = "vif"      // a VM
	KindUplink   PortKind = "uplink"   // the physical network
	KindTunnel   PortKind = "tunnel"   // another host
	KindPatch    PortKind = "patch"    // another bridge of the host
	KindLocal    PortKind = "local"    // the host itself, by the port of the bridge or of a fake bridge
	KindInternal PortKind = "internal" // something of the host
	KindMirror   PortKind = "mirror"   // what gets copies of traffic, and nothing else
	KindUnknown  PortKind = "unknown"  // nothing says what
)

// Port is a port of a bridge, or one interface of it if it is a bond.
type Port struct {
	UUID      ovsdb.UUID // of the row in table Port
	Interface ovsdb.UUID
	Kind      PortKind
	Bridge    string     // real, never fake
	Name      string     // of the interface
	Bond      string     // name of the port, if it has several interfaces
	Type      string     // of the interface
	MAC       estate.MAC // of the interface at the host; 0: not known
	VLAN      uint16     // access VLAN; 0: none
	VLANMode  string     // "access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel"; empty: access with a VLAN, else trunk
	Trunks    []uint16   // VLANs that it is in, if it is in several, 0 for frames without a tag; empty: all
	OFPort    uint32     // 0: none
	IfIndex   uint32     // 0: none
	Remote    string     // of tunnels and patch ports, the other end
	LinkUp    bool
	BondMode  string // of the bond, "active-backup", "balance-slb" or "balance-tcp"; empty: active-backup
	LACP      bool   // the bond negotiates with the switch at the other end
	Active    bool   // of a bond, the interface that takes and sends what is one interface's
	Error     string // why it does not work; empty: it does
	VIF       int    // index in Inventory.VIFs; -1: none
}

// VIF is a VM's interface that is plugged into a bridge.
type VIF struct {
	Key     string // of its identity: a UUID, or names what was found
	UUID    string
	MAC     estate.MAC
	Device  string // number or name within the VM; empty: not known
	VM      VM
	Network string // UUID; empty: not known
	Bridge  string // real
	VLAN    uint16

	LocalVLAN bool // VLAN means something on this host only

	Ports []int  // indexes in Inventory.Ports, the active one first
	By    string // what told that it is one: "xs-vif-uuid", "iface-id", "name", "attached-mac"
}

// VM is whose a VIF is.
type VM struct {
	Key  string
	UUID string // empty: not known
	Name string // as far as the database tells
	ID   string // number by which Proxmox calls it; empty: none
}
