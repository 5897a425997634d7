package flow

// The observation point of a packet that a bridge sampled on Weir's behalf says where in the pipeline it was and what
// decided there:
//
//	bits 31…30  stage: 0 egress, 1 ingress, 2 reply, 3 system
//	bits 29…0   rule instance; 0 is none
const (
	instanceBits = 30

	MaxInstance uint32 = 1<<instanceBits - 1 // the highest rule instance
)

// Rule instances up to MaxSystemInstance are those of the built-in rules, at every stage. The numbers are stored; they never
// change.
//
// The stage says whose rules a packet had come to, so that of the rows of one packet only one is in totals. StageSystem is for what
// happens before any: at the door of the bridge, and to packets that come to no VIF's rules. What takes the place of a
// rule of the source, of the destination or of a connection (SystemKept, SystemBypass, SystemNoMatch, SystemBlocked, SystemInvalid
// of a reply) is sampled at StageEgress, StageIngress or StageReply as a rule there would be: a kept packet from a VIF to another
// of the same bridge is two rows, of the egress and of the ingress stage, like any other.
const (
	SystemSpoofedMAC  uint32 = 1
	SystemDHCP        uint32 = 2
	SystemInvalid     uint32 = 3
	SystemUnknownPort uint32 = 4
	SystemBlocked     uint32 = 5
	SystemNoMatch     uint32 = 6
	SystemTagged      uint32 = 7
	SystemHost        uint32 = 8
	SystemKept        uint32 = 9
	SystemBypass      uint32 = 10
	SystemTransit     uint32 = 11
	SystemSpoofedIP   uint32 = 12
	SystemSpoofedARP  uint32 = 13
	SystemSpoofedND   uint32 = 14
	SystemRA          uint32 = 15
	SystemQuarantine  uint32 = 16

	MaxSystemInstance uint32 = 255
)

// SystemRule is a built-in rule.
type SystemRule struct {
	Instance uint32
	Name     string // for people
	Verdict  Verdict
	Text     string // what it is about, in a line
}

// SystemRules lists the built-in rules by their numbers. It is not to be modified.
var SystemRules = []SystemRule{
	{SystemSpoofedMAC, "spoofed MAC", VerdictSpoofed, "source MAC address that the VIF may not use"},
	{SystemDHCP, "DHCP server", VerdictSpoofed, "DHCP answers from a VIF that is no server"},
	{SystemInvalid, "invalid", VerdictInvalid, "connection tracking found the packet invalid"},
	{SystemUnknownPort, "unknown port", VerdictUnknownPort, "came in by a port that no policy knows"},
	{SystemBlocked, "blocked", VerdictDenied, "reply of a connection that a rule blocked after it was allowed"},
	{SystemNoMatch, "no match", VerdictDenied, "no rule matched"},
	{SystemTagged, "tagged", VerdictSpoofed, "VLAN-tagged frame from a VIF, which has one network only"},
	{SystemHost, "host", VerdictAllowed, "the host's own traffic, to which no rule applies"},
	{SystemKept, "kept", VerdictAllowed, "ARP, neighbour discovery, DHCP client, path MTU: pass unless a rule names them"},
	{SystemBypass, "bypass", VerdictAllowed, "policy is switched off for the VIF, host, pool or estate"},
	{SystemTransit, "transit", VerdictAllowed, "from and to ports that are no VIFs, or for nobody here: no rule applies"},
	{SystemSpoofedIP, "spoofed IP", VerdictSpoofed, "source IP address that the VIF may not use"},
	{SystemSpoofedARP, "spoofed ARP", VerdictSpoofed, "ARP that says of an address of others, or of a MAC address of others, to be the VIF's"},
	{SystemSpoofedND, "spoofed neighbour", VerdictSpoofed, "neighbour discovery that says so"},
	{SystemRA, "router", VerdictSpoofed, "router advertisements from a VIF that is no router"},
	{SystemQuarantine, "quarantine", VerdictDenied, "from or to a VIF that is quarantined"},
}

// Guards are the built-in rules that drop what a VIF sends with addresses that it may not use, or as servers do; it is not to be modified.
var Guards = []uint32{SystemSpoofedMAC, SystemSpoofedIP, SystemSpoofedARP, SystemSpoofedND, SystemDHCP, SystemRA}

var systemVerdicts = func() (verdicts [MaxSystemInstance + 1]Verdict) {
	for _, r := range SystemRules {
		verdicts[r.Instance] = r.Verdict
	}
	return verdicts
}()

// SystemVerdict returns what a built-in rule does with packets; VerdictUnknown if instance is none.
func SystemVerdict(instance uint32) Verdict {
	if instance > MaxSystemInstance {
		return VerdictUnknown
	}
	return systemVerdicts[instance]
}

// Point returns the observation point of a stage, which is not StageNone, and a rule instance from 1 to 2^30-1.
func Point(stage Stage, instance uint32) uint32 {
	if stage < StageEgress || stage > StageSystem || instance == 0 || instance > MaxInstance {
		panic("BUG: no observation point of " + stage.String())
	}
	return uint32(stage-StageEgress)<<instanceBits | instance
}

// SplitPoint returns the stage and the rule instance of an observation point that [Point] returned; StageNone and 0 for
// one without an instance.
func SplitPoint(point uint32) (Stage, uint32) {
	instance := point & MaxInstance
	if instance == 0 {
		return StageNone, 0
	}
	return StageEgress + Stage(point>>instanceBits), instance
}

// VirtualID returns a number for the name that an exporter gives to a part of itself (virtual_obs_id of Open vSwitch): a
// 64-bit FNV-1a hash, 0 for the empty name only. It is compared with numbers made in the same process, never stored.
func VirtualID[B string | []byte](name B) uint64 {
	if len(name) == 0 {
		return 0
	}
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	return max(h, 1)
}
