package compile

// What follows is the layout of the flows of a bridge: docs/reference/openflow.md is made of it.

// Tables, in the order in which packets meet them.
const (
	TableClassify    = 0  // by port and VLAN: whose is the packet, in which segment
	TableGuard       = 10 // kept free: source guards
	TableDestination = 15 // by destination MAC address
	TableUnknown     = 16 // what no VIF of this bridge is known for: other ends, the host, transit
	TableConnTrack   = 20 // to connection tracking
	TableState       = 21 // and back from it
	TableReply       = 22 // replies: which rule let their connection in
	TableEgress      = 30 // rules of the source VIF
	TableEgressKept  = 31 // those that name kept packets
	TableEgressTell  = 32 // allowed packets are sampled
	TableLearn       = 35 // other MAC addresses of a VIF
	TableDeliver     = 40 // to one VIF, to several, out
	TableLearned     = 45 // written by TableLearn
	TableIngress     = 50 // rules of the destination VIF
	TableIngressKept = 51
	TableIngressTell = 52
	TableCommit      = 60 // remembers a connection and which rules let it in
	TableOutput      = 70 // to ports
	TableDenied      = 80 // ends a connection of which a packet was denied
)

// Registers.
const (
	regClass        = 0  // whose packet it is: class…
	regZone         = 1  // segment, a VLAN of this bridge: number of its zone of connection tracking
	regEgress       = 2  // instance that allowed it as the source's
	regIngress      = 3  // instance that allowed it as the destination's
	regFlags        = 4  // flag…
	regSource       = 5  // OpenFlow port of the source VIF; 0: it is none
	regDestination  = 6  // OpenFlow port of the destination VIF; 0: it is none
	regTo           = 7  // what the destination is: to…
	regSourceNet    = 8  // network of the source VIF
	regDestNet      = 9  // network of the destination VIF
	regActiveMember = 10 // OpenFlow port of a bond's interface that takes multicast
)

// Values of regClass.
const (
	classVIF     = 1
	classNetwork = 2 // uplinks, patch ports, tunnels
	classHost    = 3 // the host itself
)

// Values of regTo.
const (
	toVIF       = 1
	toMulticast = 2 // and broadcast
	toHost      = 3
	toUnknown   = 4
)

// Bits of regFlags.
const (
	flagReply         = 1 << 0 // of a connection that was let in: rules are not asked
	flagEgressShadow  = 1 << 1 // a shadow rule was met, or none is to be told
	flagIngressShadow = 1 << 2
)

// Priorities in table 0. Others write theirs below 60001.
const (
	priorityBypass   = 65535
	priorityMember   = 63000
	priorityHostMAC  = 62500
	prioritySegment  = 62000
	priorityPlain    = 61950
	priorityForeign  = 61900
	priorityRest     = 61800
	priorityRescue   = 60100
	priorityCatchAll = 60001
)

// Priorities in the tables of rules: above and below those of rules.
const (
	prioritySelf     = 65535
	priorityReply    = 65400
	priorityNoVIF    = 65100 // not of, or not for, a VIF whose rules are asked
	priorityBypassed = 65050
	priorityKept     = 65010
	priorityDefault  = 10

	bandTop  = 65000 // the first tier is right below
	bandSize = 7000  // ranks of a tier
)

// Connection marks and labels.
const (
	markBlocked = 1 // a rule denied a packet of the connection: its replies are dropped

	labelEgress  = 0  // lowest bit of the 32 with the instance that let the connection out of its source
	labelIngress = 32 // and of those with the one that let it in at its destination
)

// Zones of connection tracking are shared by all bridges of a host. Low ones are left to others.
const (
	zoneFirst = 0x8000
	zoneCount = 0x8000
)

// Ids of groups: base, 16 bits zone, 8 bits number; from groupFlood on, of VIFs whose MAC address is not known.
const (
	GroupFirst = 0x57000000
	GroupLast  = 0x57ffffff

	groupFlood   = 0x80
	groupBuckets = 500 // of one group: a message holds so many
)

// learnedIdle is for how many seconds a MAC address is remembered that sends nothing.
const learnedIdle = 300
