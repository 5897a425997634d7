package compile

import (
	"fmt"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
)

// The cookie of a flow of Weir's:
//
//	bits 63…48  Owner: only flows with it are ever deleted
//	bits 47…40  generation, as Input says it
//	bits 39…32  Kind
//	bits 31…0   rule instance, of a rule or of the system; 0: none
const (
	Owner     openflow.Cookie = 0x5745 << 48
	OwnerMask openflow.Cookie = 0xffff << 48

	generationShift = 40
	kindShift       = 32
)

// Kind is what a flow of Weir's is for.
type Kind uint8

// Kinds of flows. They are in cookies on hosts: a number is not given another meaning.
const (
	KindClassify    Kind = 1
	KindHost        Kind = 2
	KindTransit     Kind = 3
	KindDestination Kind = 4
	KindConnTrack   Kind = 5
	KindState       Kind = 6
	KindReply       Kind = 7
	KindRule        Kind = 8
	KindClause      Kind = 9
	KindMirror      Kind = 10
	KindShadow      Kind = 11
	KindKept        Kind = 12
	KindTell        Kind = 13
	KindLearn       Kind = 14
	KindLearned     Kind = 15
	KindDeliver     Kind = 16
	KindCommit      Kind = 17
	KindOutput      Kind = 18
	KindDenied      Kind = 19
	KindBypass      Kind = 20
	KindUnknownPort Kind = 21
	KindDuplicate   Kind = 22
	KindNotice      Kind = 23
	KindGuard       Kind = 24
	KindQuarantine  Kind = 25
	KindCopy        Kind = 26
)

var kinds = []numbered{
	{int(KindClassify), "classify", "whose a packet is, by its port and VLAN"},
	{int(KindHost), "host", "the host's own traffic"},
	{int(KindTransit), "transit", "traffic between ports that are no VIFs"},
	{int(KindDestination), "destination", "where a packet is going"},
	{int(KindConnTrack), "conntrack", "which packets are tracked"},
	{int(KindState), "state", "what the state of a connection means"},
	{int(KindReply), "reply", "replies of connections that a rule let in"},
	{int(KindRule), "rule", "a rule, or the final default"},
	{int(KindClause), "clause", "a part of a rule: addresses or ports"},
	{int(KindMirror), "mirror", "replies that a rule lets pass where connections are not tracked"},
	{int(KindShadow), "shadow", "a shadow rule"},
	{int(KindKept), "kept", "ARP, neighbour discovery, DHCP client, path MTU"},
	{int(KindTell), "tell", "a sample of what a rule allowed"},
	{int(KindLearn), "learn", "learns other MAC addresses of VIFs"},
	{int(KindLearned), "learned", "a MAC address that was learned behind an OpenFlow port, which stands in place of the instance; it goes by itself"},
	{int(KindDeliver), "deliver", "to one VIF, to several, or out"},
	{int(KindCommit), "commit", "remembers connections"},
	{int(KindOutput), "output", "to ports"},
	{int(KindDenied), "denied", "what follows a denial"},
	{int(KindBypass), "bypass", "policy is switched off"},
	{int(KindUnknownPort), "unknown port", "a port that no policy knows"},
	{int(KindDuplicate), "duplicate", "copies of a packet that come by another way, dropped"},
	{int(KindNotice), "notice", "what tells addresses of VIFs, of which Weir gets a copy"},
	{int(KindGuard), "guard", "what a VIF is believed of what it sends"},
	{int(KindQuarantine), "quarantine", "what is from or to a VIF that is quarantined"},
	{int(KindCopy), "copy", "copies of traffic, which are not traffic of their own: not sampled"},
}

// Cookie returns the cookie of a flow.
func Cookie(generation uint8, kind Kind, instance uint32) openflow.Cookie {
	return Owner | openflow.Cookie(generation)<<generationShift | openflow.Cookie(kind)<<kindShift | openflow.Cookie(instance)
}

// SplitCookie returns what a cookie says, or false if the flow is not Weir's.
func SplitCookie(c openflow.Cookie) (generation uint8, kind Kind, instance uint32, ours bool) {
	return uint8(c >> generationShift), Kind(c >> kindShift), uint32(c), c&OwnerMask == Owner
}

// Transient reports whether flows of this kind come and go by themselves: they are not desired, and not drift.
func (k Kind) Transient() bool { return k == KindLearned }

func (k Kind) String() string {
	for _, x := range kinds {
		if x.number == int(k) {
			return x.name
		}
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Hit says for which instance, and at which stage, the packets that a flow counts are counted: those of a rule, each once. ok is
// false for flows that count no decision.
func Hit(table uint8, c openflow.Cookie) (instance uint32, stage flow.Stage, ok bool) {
	_, kind, instance, ours := SplitCookie(c)
	switch {
	case !ours || instance == 0 || kind == KindClause || kind == KindTell || kind == KindLearned:
		return 0, flow.StageNone, false
	case instance == flow.SystemBlocked, (kind == KindMirror || kind == KindReply) && instance != flow.SystemHost:
		return instance, flow.StageReply, true
	case instance <= flow.MaxSystemInstance && instance != flow.SystemKept && instance != flow.SystemBypass && instance != flow.SystemQuarantine:
		return instance, flow.StageSystem, true
	case table == TableEgress || table == TableEgressKept:
		return instance, flow.StageEgress, true
	case table == TableIngress || table == TableIngressKept:
		return instance, flow.StageIngress, true
	}
	return instance, flow.StageSystem, true
}

// Describe says what a flow of Weir's is for, for messages: "rule 1234 (table 30)"; of a flow of others, that it is foreign.
func Describe(table uint8, c openflow.Cookie) string {
	_, kind, instance, ours := SplitCookie(c)
	switch {
	case !ours:
		return fmt.Sprintf("foreign flow (table %d, cookie %#x)", table, uint64(c))
	case instance != 0:
		return fmt.Sprintf("%s %d (table %d)", kind, instance, table)
	}
	return fmt.Sprintf("%s (table %d)", kind, table)
}
