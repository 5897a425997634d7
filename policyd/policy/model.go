package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// Action is what a rule does with the packets that it matches.
type Action string

// The values of Action.
const (
	Allow  Action = "allow"
	Deny   Action = "deny"
	Shadow Action = "shadow" // would deny: it is told, and the packet goes on to the next rule
)

// Direction is between the VIF that a rule applies to and the remote.
type Direction string

// The values of Direction.
const (
	To     Direction = "to"     // from the VM to the remote
	From   Direction = "from"   // from the remote to the VM
	Either Direction = "either" // both
)

// Rule is one rule as people write it.
type Rule struct {
	ID          string    `yaml:"id,omitempty" doc:"Name for ever, unique in the policy; what is applied without one is given one."`
	Action      Action    `yaml:"action" doc:"allow, deny, or shadow: would deny, is told in flows, and lets the packet go on to the next rule."`
	Direction   Direction `yaml:"direction,omitempty" doc:"to: from the VM to the remote; from: from the remote to the VM; either: both, which is the default."`
	Protocol    Protocol  `yaml:"protocol,omitempty" doc:"any, arp, rarp, ipv4, ipv6, tcp, udp, sctp, icmp, icmpv6, icmp/TYPE[/CODE], icmpv6/TYPE[/CODE], ip/NUMBER or ethertype/0xNNNN; any is the default."`
	Remote      Remote    `yaml:"remote,omitempty" doc:"any, an IP address, a prefix, a MAC address, address-group:NAME or vm-group:NAME; any is the default."`
	RemotePorts Ports     `yaml:"remote_ports,omitempty" doc:"Ports of the remote, with tcp, udp and sctp: 443, 8000-8099, or several, 22,8000-8099."`
	LocalPorts  Ports     `yaml:"local_ports,omitempty" doc:"Ports of the VM, in the same form."`
	Disabled    bool      `yaml:"disabled,omitempty" doc:"The rule is kept and not in force."`
	Expires     time.Time `yaml:"expires,omitempty" doc:"From then on the rule is not in force; RFC 3339."`
	Comment     string    `yaml:"comment,omitempty" doc:"For people."`
}

// Level is what one level of the hierarchy says: settings, and rules that come before those of the levels below, and that come after.
type Level struct {
	Settings  Settings `yaml:"settings,omitempty" doc:"Settings of the ports of the VIFs; a level below may say otherwise."`
	Mandatory []Rule   `yaml:"mandatory,omitempty" doc:"Rules that come before those of the levels below."`
	Default   []Rule   `yaml:"default,omitempty" doc:"Rules that come after those of the levels below."`
}

// Named is the level of one pool, network or VM.
type Named struct {
	Name  string `yaml:"name" doc:"Name as in the estate, pool/name or UUID."`
	Level `yaml:",inline"`
}

// Pool is the level of one pool.
type Pool struct {
	Named        `yaml:",inline"`
	PoolSettings `yaml:",inline"`
}

// VIF is the level of one VIF.
type VIF struct {
	Name     string   `yaml:"name" doc:"VM/DEVICE, pool/VM/DEVICE or UUID."`
	Settings Settings `yaml:"settings,omitempty" doc:"Settings of this VIF's port."`
	Rules    []Rule   `yaml:"rules,omitempty" doc:"Rules of this VIF only."`
}

// AddressGroup is a named set of addresses.
type AddressGroup struct {
	Name    string   `yaml:"name" doc:"Name, unique among address groups."`
	Members []string `yaml:"members" doc:"Addresses, prefixes, ranges (192.0.2.1-192.0.2.9), and other groups (address-group:NAME)."`
}

// VMGroup is a named set of VMs.
type VMGroup struct {
	Name   string            `yaml:"name" doc:"Name, unique among VM groups."`
	VMs    []string          `yaml:"vms,omitempty" doc:"VMs by name, pool/name or UUID."`
	Groups []string          `yaml:"groups,omitempty" doc:"Other VM groups by name, whose VMs are in this one, too."`
	Select []estate.Selector `yaml:"select,omitempty" doc:"A VM that any of these selects is in the group, too."`
}

// Policy is what people want, as they write it.
type Policy struct {
	Default       Action         `yaml:"default,omitempty" doc:"What is done with packets that no rule matches: allow, which is the default, or deny."`
	AddressGroups []AddressGroup `yaml:"address_groups,omitempty" doc:"Address groups, besides those of the estate."`
	VMGroups      []VMGroup      `yaml:"vm_groups,omitempty" doc:"VM groups, besides those of the estate."`
	FailMode      FailMode       `yaml:"fail_mode,omitempty" doc:"What bridges do while Weir is away, of pools that do not say: open, safe or static; what they do already, if nobody says."`
	MirrorTargets []MirrorTarget `yaml:"mirror_targets,omitempty" doc:"Where copies of traffic may go, which settings name."`
	Global        Level          `yaml:"global,omitempty" doc:"Rules and settings of all VIFs."`
	Pools         []Pool         `yaml:"pools,omitempty" doc:"Rules and settings of the VIFs of a pool's VMs."`
	Networks      []Named        `yaml:"networks,omitempty" doc:"Rules and settings of the VIFs in a network."`
	VMs           []Named        `yaml:"vms,omitempty" doc:"Rules and settings of the VIFs of a VM."`
	VIFs          []VIF          `yaml:"vifs,omitempty" doc:"Rules and settings of single VIFs."`
}

// Tier is where in the order of evaluation a list of rules stands: the first rule that matches, from tier 1 on, decides.
type Tier uint8

// The tiers, in their order.
const (
	GlobalMandatory Tier = iota + 1
	PoolMandatory
	NetworkMandatory
	VMMandatory
	VIFRules
	VMDefault
	NetworkDefault
	PoolDefault
	GlobalDefault

	Tiers = int(GlobalDefault)
)

var tierNames = [...]string{
	"default", "global mandatory", "pool mandatory", "network mandatory", "VM mandatory", "VIF", "VM default", "network default", "pool default", "global default",
}

// String returns the tier's name for people; of 0, where the final default stands, it is "default".
func (t Tier) String() string {
	if int(t) < len(tierNames) {
		return tierNames[t]
	}
	return fmt.Sprintf("tier %d", uint8(t))
}

// kindOf returns the kind of what rules of a tier are of; "" of global tiers.
func kindOf(t Tier) flow.Kind {
	switch t {
	case PoolMandatory, PoolDefault:
		return flow.KindPool
	case NetworkMandatory, NetworkDefault:
		return flow.KindNetwork
	case VMMandatory, VMDefault:
		return flow.KindVM
	case VIFRules:
		return flow.KindVIF
	case GlobalMandatory, GlobalDefault:
	}
	return ""
}

// Scope is whose rules a list holds. Of is 0 for the global tiers, else the id of the pool, network, VM or VIF.
type Scope struct {
	Tier Tier
	Of   flow.ID
}

// MaxRules is the longest list of one scope. Rank spaces leave gaps between so many.
const MaxRules = 3000

// MaxRank is the highest rank.
const MaxRank = 6999

// Entry is a rule in force, at its place. Entries are immutable and may be shared.
type Entry struct {
	Rule  Rule // ID, Action and Direction are set, ports are disjoint and ascend
	Scope Scope
	ID    flow.ID // of the rule in flows: flow.NewID(flow.KindRule, Rule.ID)
	Group flow.ID // of Rule.Remote.AddressGroup or VMGroup; 0 if it has none

	// Instance numbers the rule and its meaning, from flow.MaxSystemInstance+1 to 2^30-1. It is never used for something
	// else again.
	Instance uint32

	// Rank is the place in the list, 1 … MaxRank, rising, with gaps: a rule that is put between two others changes no rank
	// of theirs. It is kept with the instance, so that it is the same after a restart.
	Rank uint16
}

// Set is a policy in force: resolved against an estate, without what is disabled or expired. It is immutable.
type Set struct {
	Default *Entry             // Rule.Action is Allow or Deny; what decides if no other rule does. Its rule ID is DefaultRule
	Lists   map[Scope][]*Entry // none is empty; ranks ascend
	Groups  map[flow.ID]*Group // those that entries name
	Bound   []Bound            // what the names in the policy mean

	Settings      map[LevelID]*Said // of levels that say something
	Pools         map[flow.ID]*PoolSettings
	MirrorTargets map[string]MirrorTarget
	FailMode      FailMode  // of pools that do not say
	Expires       time.Time // when the first of the entries expires: then the policy is to be resolved again; zero: none does
}

// Group is a group as policy and estate define it. [EstateOf] finds who is in it.
type Group struct {
	ID       flow.ID
	Kind     flow.Kind // flow.KindAddressGroup or flow.KindVMGroup
	Name     string
	Prefixes []netip.Prefix // what the policy's groups in it hold; disjoint, ascending
	VMs      []flow.ID      // ascending
	Select   []Selector     // a VM that any of these selects is in it, too
	Estate   []flow.ID      // the estate's groups that are in it; ascending. Of a group of the estate, itself
}

// Selector is a selector of the policy, whose names are resolved.
type Selector struct {
	estate.Selector         // Pool and Network say nothing
	Pool            flow.ID // 0: any
	Network         flow.ID // 0: any
}

// Bound is what a name in a policy means. It is kept with the policy: a VM that is not there for a while, or was renamed, keeps
// its rules.
type Bound struct {
	Kind flow.Kind
	Name string
	ID   flow.ID
}

// DefaultRule is the id of the estate's final default, which is a rule like others in flows.
const DefaultRule = "default"

// Estate is what rules ask about the estate. It is immutable; values may be shared with the one before: what is the same is
// at the same address.
type Estate struct {
	VIFs          map[flow.ID]*Interface
	AddressGroups map[flow.ID][]netip.Prefix // of those in Set.Groups; disjoint, ascending
	VMGroups      map[flow.ID][]netip.Addr   // the addresses of the VMs in the group, of all their VIFs; ascending, each once

	// For the next one.
	vms    map[string]*machine // by key
	groups map[flow.ID]*membership
}

// Interface is a VIF as rules see it. 0 is none, or not known. It is immutable.
type Interface struct {
	ID      flow.ID
	Name    string // for people: VM/DEVICE
	VM      flow.ID
	Network flow.ID
	Pool    flow.ID // of the VM, else of the host where it runs
	MAC     estate.MAC
	Addrs   []netip.Addr // ascending, each once
	Told    []netip.Addr // those of Addrs that a source told: the others were only seen
	Platform
}

// Platform is what the platform, which is XAPI, lets a VIF do by itself.
type Platform struct {
	Rate    uint64 // kbit/s that the VM may send; 0: any
	Locking string // locking mode; "" not known
	Allowed string // addresses that it may use if it is locked
}

// RateNote says which limit the platform has of what the VM sends, and which acts if Weir has out; "" if it has none.
func (p *Platform) RateNote(out Limit) string {
	if p.Rate == 0 {
		return ""
	}
	text := "XAPI limits it to " + rateText(p.Rate) + " by itself"
	if !out.Off {
		text += "; the smaller acts, " + rateText(min(p.Rate, out.Rate))
	}
	return text
}

func platformOf(v *estate.VIF) Platform {
	p := Platform{Locking: v.Attributes[estate.VIFLocking]}
	p.Rate, _ = strconv.ParseUint(v.Attributes[estate.VIFRate], 10, 64) // 0 if there is none
	for _, key := range []string{estate.VIFIPv4Allowed, estate.VIFIPv6Allowed} {
		if text := v.Attributes[key]; text != "" {
			p.Allowed = strings.TrimPrefix(p.Allowed+", "+strings.ReplaceAll(text, ",", ", "), ", ")
		}
	}
	return p
}
