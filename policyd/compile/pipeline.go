package compile

// What follows is the layout of the flows of a bridge: docs/reference/openflow.md is made of it.

// Tables, in the order in which packets meet them.
const (
	TableClassify    = 0
	TableGuard       = 8
	TableAddress     = 9
	TableNeighbour   = 10
	TableNotice      = 12
	TableDestination = 15
	TableUnknown     = 16
	TableConnTrack   = 20
	TableState       = 21
	TableReply       = 22
	TableEgress      = 30
	TableEgressKept  = 31
	TableEgressTell  = 32
	TableLearn       = 35
	TableDeliver     = 40
	TableLearned     = 45
	TableIngress     = 50
	TableIngressKept = 51
	TableIngressTell = 52
	TableCommit      = 60
	TableOutput      = 70
	TableDenied      = 80
)

// numbered is a number of the layout, and what it means.
type numbered struct {
	number        int
	name, meaning string
}

var tables = []numbered{
	{TableClassify, "classify", "whose a packet is, and in which VLAN, by its port and tag"},
	{TableGuard, "guard", "source MAC addresses of VIFs; what only DHCP servers and routers send"},
	{TableAddress, "address", "source IP addresses of VIFs, and ARP"},
	{TableNeighbour, "neighbour", "neighbour discovery of VIFs"},
	{TableNotice, "notice", "what tells addresses of VIFs goes to Weir, too: ARP, neighbour discovery, DHCP"},
	{TableDestination, "destination", "where it is going, by its MAC address"},
	{TableUnknown, "unknown", "what is for no VIF of which the address is known: learned addresses, the host, transit"},
	{TableConnTrack, "conntrack", "sends it to connection tracking"},
	{TableState, "state", "what the state of its connection means"},
	{TableReply, "reply", "replies: which rule let their connection in"},
	{TableEgress, "egress", "rules of the source VIF"},
	{TableEgressKept, "egress kept", "those of them that name kept packets"},
	{TableEgressTell, "egress tell", "samples what they allowed"},
	{TableLearn, "learn", "learns other MAC addresses of VIFs"},
	{TableDeliver, "deliver", "to one VIF, to several, or out"},
	{TableLearned, "learned", "what was learned; asked by table 15"},
	{TableIngress, "ingress", "rules of the destination VIF"},
	{TableIngressKept, "ingress kept", "those of them that name kept packets"},
	{TableIngressTell, "ingress tell", "samples what they allowed"},
	{TableCommit, "commit", "remembers the connection, and which rules let it in"},
	{TableOutput, "output", "sends it out by ports; tags are put on and taken off"},
	{TableDenied, "denied", "ends the connection of which a packet was denied"},
}

// Registers.
const (
	regClass        = 0
	regZone         = 1
	regEgress       = 2
	regIngress      = 3
	regFlags        = 4
	regSource       = 5
	regDestination  = 6
	regTo           = 7
	regSourceNet    = 8
	regDestNet      = 9
	regActiveMember = 10
)

var registers = []numbered{
	{regClass, "class", "whose the packet is: 1 a VIF's, 2 the network's (uplinks, patch ports, tunnels), 3 the host's"},
	{regZone, "segment", "the VLAN of this bridge, as the number of its zone of connection tracking"},
	{regEgress, "egress", "instance that allowed it as the source's"},
	{regIngress, "ingress", "instance that allowed it as the destination's"},
	{regFlags, "flags", "bit 0: a reply, of which rules are not asked; bits 1 and 2: a shadow rule was met at egress and ingress, or none is to be told of"},
	{regSource, "source", "OpenFlow port of the source VIF; 0: it is none"},
	{regDestination, "destination", "OpenFlow port of the destination VIF; 0: it is none"},
	{regTo, "to", "what the destination is: 1 a VIF, 2 several (multicast, broadcast), 3 the host, 4 not known"},
	{regSourceNet, "source network", "low half of the id of the source VIF's network"},
	{regDestNet, "destination network", "low half of the id of the destination VIF's network"},
	{regActiveMember, "active interface", "of a bond, the OpenFlow port of the interface whose multicast is taken"},
}

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

// Priorities in table 0: flows of others there stand below, where they are not asked.
const (
	priorityBypass   = 65535
	priorityMirror   = 64000
	priorityMember   = 63000
	priorityHostMAC  = 62500
	prioritySegment  = 62000
	priorityPlain    = 61950
	priorityForeign  = 61900
	priorityRest     = 61800
	priorityRescue   = 60100
	priorityCatchAll = 60001
)

var classifyPriorities = []numbered{
	{priorityBypass, "bypass", "policy is switched off on the bridge: NORMAL"},
	{priorityMirror, "mirror", "from a port that gets copies of traffic: dropped"},
	{priorityMember, "bond", "multicast by a bond: one of the copies is taken"},
	{priorityHostMAC, "host", "from the network, for the host: NORMAL"},
	{prioritySegment, "segment", "in a VLAN that has VIFs"},
	{priorityPlain, "plain VLAN", "from the network, in a VLAN that a port says to be in and that has no VIFs"},
	{priorityForeign, "other VLAN", "from the network, in any other VLAN; from the host: NORMAL"},
	{priorityRest, "rest", "from a VIF with a tag, from the network in no VLAN of the port: dropped"},
	{priorityRescue, "rescue", "from Weir for the host, by whatever port: NORMAL"},
	{priorityCatchAll, "unknown port", "anything else: dropped"},
}

// Priorities in the tables of rules: above and below those of rules, which are bandTop - bandSize * tier + policy.MaxRank - rank.
const (
	prioritySelf         = 65535
	priorityIsolatedCopy = 65450 // for a VIF that is quarantined
	priorityReply        = 65400
	priorityNoVIF        = 65100 // not of, or not for, a VIF whose rules are asked
	priorityBypassed     = 65050
	priorityKept         = 65010
	priorityDefault      = 10

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

// Ids of meters: of the port by which a VIF is reached, from MeterFirst on; ports are below 0xff00, so that what is above MeterLast begins anew. Low ones
// are left to others. Older switches have ids up to 65536 only.
const (
	MeterFirst = 0x8000
	MeterLast  = 0xfeff
)

// learnedFor is for how many seconds a MAC address is remembered that sends nothing.
const learnedFor = 300

// learnedMost is how many MAC addresses are learned behind one port, besides its own: a VM may send from ever new ones.
const learnedMost = 1024
