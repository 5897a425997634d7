package ovsdb

// Rows is what the database of one host holds, as far as Weir reads it, at one time. It is immutable. Columns and their
// meaning are those of ovs-vswitchd.conf.db(5). A column that the host's schema does not have is empty here; Schema of the
// session says which those are.
type Rows struct {
	Root       Root
	Bridges    map[UUID]*Bridge
	Ports      map[UUID]*Port
	Interfaces map[UUID]*Interface

	Controllers map[UUID]*Controller
	Managers    map[UUID]*Manager
	NetFlows    map[UUID]*NetFlow
	IPFIXs      map[UUID]*IPFIX
	SFlows      map[UUID]*SFlow
	SampleSets  map[UUID]*SampleSet
	Mirrors     map[UUID]*Mirror
	QoSs        map[UUID]*QoS
	Queues      map[UUID]*Queue
}

// UUID is a row's identity, as "3f1c5a9e-8d7b-4c06-9a53-0e2b6d4f8c11"; empty refers to none.
type UUID string

// Root is the one row of table Open_vSwitch.
type Root struct {
	UUID          UUID
	Bridges       []UUID
	Managers      []UUID // manager_options
	ExternalIDs   map[string]string
	OtherConfig   map[string]string
	NextCfg       int64
	CurCfg        int64
	OVSVersion    string // as "3.1.0"; empty while ovs-vswitchd never ran
	DBVersion     string
	SystemType    string
	SystemVersion string
}

// Bridge is a row of table Bridge.
type Bridge struct {
	UUID         UUID
	Name         string
	DatapathType string // "system", "netdev", …; empty is system
	DatapathID   string // 16 hexadecimal digits; empty while ovs-vswitchd has not made the bridge
	FailMode     string // "standalone", "secure" or empty
	Protocols    []string
	Ports        []UUID
	Mirrors      []UUID
	NetFlow      UUID
	SFlow        UUID
	IPFIX        UUID
	Controllers  []UUID
	FloodVLANs   []int64 // in which it learns no addresses
	ExternalIDs  map[string]string
	OtherConfig  map[string]string
}

// Port is a row of table Port.
type Port struct {
	UUID            UUID
	Name            string
	Interfaces      []UUID
	Tag             *int64 // nil: none
	Trunks          []int64
	VLANMode        string
	FakeBridge      bool
	BondMode        string
	BondActiveSlave string
	LACP            string
	QoS             UUID
	ExternalIDs     map[string]string
	OtherConfig     map[string]string
}

// Interface is a row of table Interface, without its statistics.
type Interface struct {
	UUID        UUID
	Name        string
	Type        string            // "", "system", "internal", "vxlan", "gre", "patch", …
	Options     map[string]string // of tunnels and patch ports
	OFPort      int64             // 0 while none is given, -1 when the interface could not be made
	IfIndex     int64             // 0: none
	MACInUse    string
	AdminState  string // "up", "down" or empty
	LinkState   string // "up", "down" or empty
	MTU         int64
	Error       string // why it could not be made
	ExternalIDs map[string]string
	OtherConfig map[string]string

	IngressPolicingRate  int64 // kbit/s; 0: none
	IngressPolicingBurst int64 // kbit
}

// Controller is a row of table Controller.
type Controller struct {
	UUID            UUID
	Target          string
	Type            string // "primary", "service" or empty, which is primary
	ConnectionMode  string // "in-band", "out-of-band" or empty, which is in-band
	InactivityProbe *int64 // ms
	MaxBackoff      *int64 // ms
	RateLimit       *int64 // packets a second that it is sent at most
	BurstLimit      *int64 // packets
	IsConnected     bool
	Role            string
	ExternalIDs     map[string]string
	OtherConfig     map[string]string
}

// Manager is a row of table Manager.
type Manager struct {
	UUID           UUID
	Target         string
	ConnectionMode string // as of Controller
	IsConnected    bool
	ExternalIDs    map[string]string
}

// NetFlow is a row of table NetFlow.
type NetFlow struct {
	UUID             UUID
	Targets          []string
	EngineType       *int64
	EngineID         *int64
	AddIDToInterface bool
	ActiveTimeout    int64 // s; 0: the default of 600, -1: never
	ExternalIDs      map[string]string
}

// IPFIX is a row of table IPFIX.
type IPFIX struct {
	UUID               UUID
	Targets            []string
	Sampling           *int64
	ObsDomainID        *int64
	ObsPointID         *int64
	CacheActiveTimeout *int64 // s
	CacheMaxFlows      *int64
	TemplateInterval   *int64 // s; from Open vSwitch 3.2 on
	ExternalIDs        map[string]string
	OtherConfig        map[string]string
}

// SFlow is a row of table sFlow.
type SFlow struct {
	UUID        UUID
	Targets     []string
	Sampling    *int64
	Polling     *int64
	Header      *int64
	Agent       string
	ExternalIDs map[string]string
}

// SampleSet is a row of table Flow_Sample_Collector_Set.
type SampleSet struct {
	UUID        UUID
	ID          int64
	Bridge      UUID
	IPFIX       UUID
	ExternalIDs map[string]string
}

// Mirror is a row of table Mirror.
type Mirror struct {
	UUID           UUID
	Name           string
	SelectAll      bool
	SelectSrcPorts []UUID
	SelectDstPorts []UUID
	SelectVLANs    []int64
	OutputPort     UUID
	OutputVLAN     *int64
	ExternalIDs    map[string]string
}

// QoS is a row of table QoS. It stays when no port refers to it.
type QoS struct {
	UUID        UUID
	Type        string         // "linux-htb", …
	Queues      map[int64]UUID // by number
	OtherConfig map[string]string
	ExternalIDs map[string]string
}

// Queue is a row of table Queue. It stays when no row of table QoS refers to it.
type Queue struct {
	UUID        UUID
	DSCP        *int64
	OtherConfig map[string]string
	ExternalIDs map[string]string
}
