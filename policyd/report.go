package policyd

import (
	"time"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/reconcile"
	"github.com/weirhq/weir/policyd/state"
)

// Revision is a policy that was applied, without its text.
type Revision struct {
	Revision  uint64       `json:"revision" doc:"Ascends with each policy that is applied."`
	AppliedAt time.Time    `json:"applied_at,omitzero" doc:"Absent: none was."`
	AppliedBy string       `json:"applied_by,omitempty"`
	Source    string       `json:"source,omitempty" doc:"From where it was applied."`
	Reason    string       `json:"reason,omitempty" doc:"What was said about it."`
	Kind      state.Kind   `json:"kind,omitempty" enum:"apply,restore,rollback" doc:"What made it: restore: an older revision was brought back; rollback: one that was not confirmed was undone."`
	Of        uint64       `json:"of,omitempty" doc:"Of a restore: the revision that was brought back. Of a rollback: the one that was undone."`
	Replaces  uint64       `json:"replaces,omitempty" doc:"Revision that was in force there before; absent: none was."`
	Hosts     []string     `json:"hosts,omitempty" doc:"Hosts at which it was put in force; absent: all."`
	Total     int          `json:"total_rules,omitempty" doc:"Rules in it, also those that are disabled or expired."`
	Changes   state.Counts `json:"changes,omitzero" doc:"How many rules and groups differ from those of the revision that it replaces."`

	ConfirmBy   time.Time `json:"confirm_by,omitzero" doc:"Until when it was, or is, to be confirmed; absent: it was not to be."`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
	ConfirmedBy string    `json:"confirmed_by,omitempty"`
	InForce     bool      `json:"in_force,omitempty" doc:"Somewhere, now; said in lists only."`
}

func revisionOf(p state.Policy) Revision {
	return Revision{
		Revision: p.Revision, AppliedAt: p.AppliedAt, AppliedBy: p.AppliedBy, Source: p.Source, Reason: p.Reason, Kind: p.Kind, Of: p.Of, Replaces: p.Replaces,
		Hosts: p.Hosts, Total: p.Rules, Changes: p.Counts, ConfirmBy: p.Deadline, ConfirmedAt: p.ConfirmedAt, ConfirmedBy: p.ConfirmedBy, InForce: p.InForce,
	}
}

// PolicyText is a policy as it was applied.
type PolicyText struct {
	Revision
	Policy string `json:"policy" doc:"YAML; every rule has an id."`
}

// PolicyCheck is what a policy holds that was found to be right.
type PolicyCheck struct {
	Rules    int      `json:"rules" doc:"In force, without those that are disabled or expired."`
	Warnings []string `json:"warnings,omitempty"`
}

// PlanRequest is a policy of which it is asked what applying it would change.
type PlanRequest struct {
	Policy string   `json:"policy" maxLength:"67108864" doc:"YAML."`
	Only   []string `json:"only,omitempty" maxItems:"1000" doc:"Names or UUIDs of the hosts at which it is put in force; none: all."`
}

// ApplyRequest is a policy that is to be put in force.
type ApplyRequest struct {
	PlanRequest
	ApplyOptions
}

// ApplyOptions says how a policy is to be put in force.
type ApplyOptions struct {
	Reason string  `json:"reason,omitempty" maxLength:"1000" doc:"Why; kept with the revision."`
	Base   *uint64 `json:"base,omitempty" doc:"Newest revision that the asker knows of, 0 if none: if another one is newer, nothing is changed, and the answer says who made it. Absent: it is not looked at."`

	// ConfirmWithin is how long somebody has to confirm; zero: nobody has to.
	ConfirmWithin Duration `json:"confirm_within,omitzero" doc:"It is undone unless somebody confirms it within this time, e.g. 10m, 10s to 24h; absent: it stays."`
}

// PolicyPlan is what applying a policy would change.
type PolicyPlan struct {
	Base      uint64       `json:"base" doc:"Revision that it was compared with: of the hosts that are named, else of all; 0: none was applied yet."`
	Head      uint64       `json:"head" doc:"Newest revision: what to apply it with as base, so that nobody else's change is overwritten unseen."`
	Rules     []RuleChange `json:"rules"`
	Instances int          `json:"instances" doc:"Numbers that would be given: of rules that are new or decide otherwise."`
	Ends      int          `json:"ends" doc:"Numbers of allow rules that would end: replies of connections that they let in stop until the VM that began is heard, and decided, anew."`
	VIFs      []string     `json:"vifs" doc:"VIFs whose rules, or the order of which, would change; of all hosts that are concerned."`

	SettingVIFs int                    `json:"setting_vifs" doc:"How many VIFs would get other values of settings; of all hosts that are concerned."`
	Settings    []policy.SettingChange `json:"settings" doc:"What they are; what other levels would say as it is said now is left out."`

	Hosts    []HostPlan `json:"hosts" doc:"By name; those with mode enforce that are concerned."`
	Warnings []string   `json:"warnings,omitempty"`
	Refused  []string   `json:"refused,omitempty" doc:"Why it would be refused."`
}

// RuleChange is a rule that would be another one.
type RuleChange struct {
	Change string `json:"change" enum:"added,changed,removed"`
	Rule   string `json:"rule" doc:"Its id."`
	Where  string `json:"where" doc:"Level and list."`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// HostPlan is what would change at a host.
type HostPlan struct {
	Host    string       `json:"host"`
	Offline string       `json:"offline,omitempty" doc:"Why it would get it later."`
	Bridges []BridgePlan `json:"bridges"`
	Attach  *export.Plan `json:"attach,omitempty" doc:"What would be changed in its database to attach Weir, if it is not attached yet."`
}

// BridgePlan is what would change at a bridge.
type BridgePlan struct {
	Bridge  string `json:"bridge"`
	Added   int    `json:"added" doc:"Flows."`
	Removed int    `json:"removed" doc:"Flows."`
	Total   int    `json:"total" doc:"Flows that it would hold."`
	Error   string `json:"error,omitempty" doc:"Why it cannot hold that policy."`

	FailMode    string   `json:"fail_mode,omitempty" doc:"What its fail mode becomes, and what is lost by that; absent: it stays."`
	CopiesStart []string `json:"copies_start,omitempty" doc:"VIFs whose traffic would be copied, and where to, that is not now."`
	CopiesStop  []string `json:"copies_stop,omitempty" doc:"VIFs whose traffic is copied now, and where to, that would not be."`
	Rates       []string `json:"rates,omitempty" doc:"Ports of VIFs whose rates would be limited otherwise, and by what."`
}

// Applied is a policy that was put in force.
type Applied struct {
	Revision
	Same     bool     `json:"same,omitempty" doc:"It was in force before: nothing was changed."`
	Rules    int      `json:"rules" doc:"In force, without those that are disabled or expired."`
	Waited   []string `json:"waited,omitempty" doc:"Collectors that did not know the new numbers in time: their flows lack the rules for a moment."`
	Warnings []string `json:"warnings,omitempty"`
}

// PolicyStatus is which policy is in force where.
type PolicyStatus struct {
	Revision Revision       `json:"revision" doc:"In force at all hosts that have none of their own; 0: none was applied yet."`
	Only     []HostRevision `json:"only" doc:"Hosts at which another one is tried."`
	Rules    int            `json:"rules" doc:"Of revision, in force."`
	Listen   []string       `json:"listen" doc:"Where bridges are awaited."`
	Hosts    []HostPolicy   `json:"hosts" doc:"By name."`
	Pools    []PoolPolicy   `json:"pools" doc:"By name."`
	Bypasses []BypassStatus `json:"bypasses" doc:"Where policy is switched off."`

	Quarantined []QuarantineStatus `json:"quarantined" doc:"VIFs that send and receive nothing."`

	Pending *Pending      `json:"pending,omitempty" doc:"The revision that waits to be confirmed."`
	Head    uint64        `json:"head" doc:"Newest revision; 0: none was made yet."`
	Summary PolicySummary `json:"summary"`
}

// HostRevision is a host that has a revision of its own.
type HostRevision struct {
	Host string `json:"host"`
	Revision
}

// HostState is how policy stands at a host.
type HostState string

// The values of HostState.
const (
	HostObserving HostState = "observing" // mode observe or detach: no policy is in force, and nothing of it is there
	HostLeaving   HostState = "leaving"   // mode observe or detach: policy is being taken off
	HostNoPolicy  HostState = "no policy" // mode enforce, and no policy was applied yet: no traffic is touched
	HostAttaching HostState = "attaching" // bridges do not dial yet
	HostBehind    HostState = "behind"    // it is connected, and what it has is not yet, or no more, what is wanted
	HostEnforced  HostState = "enforced"  // all its bridges were found to hold what is wanted
	HostOffline   HostState = "offline"   // it is not reached; what it got last is in force as long as its switch keeps it
	HostFailed    HostState = "failed"    // it cannot have it, see error
)

// HostPolicy is how policy stands at a host.
type HostPolicy struct {
	Host     string                   `json:"host"`
	UUID     string                   `json:"uuid"`
	Pool     string                   `json:"pool,omitempty"`
	Mode     state.Mode               `json:"mode"`
	State    HostState                `json:"state" doc:"observing, leaving, no policy, attaching, behind, enforced, offline or failed."`
	Revision uint64                   `json:"revision" doc:"That it is to have; 0: none."`
	Verified uint64                   `json:"verified" doc:"Lowest revision that its bridges were found to hold last; 0: none."`
	Bypassed string                   `json:"bypassed,omitempty" doc:"Why policy is switched off at it."`
	Error    string                   `json:"error,omitempty"`
	Warnings []string                 `json:"warnings,omitempty"`
	Bridges  []reconcile.BridgeStatus `json:"bridges"`

	ovsVersion string
}

// PoolPolicy is what was said of a pool.
type PoolPolicy struct {
	Pool     string     `json:"pool"`
	Mode     state.Mode `json:"mode,omitempty" doc:"Of its hosts that have none of their own: observe or enforce."`
	Sampling Sampling   `json:"sampling,omitempty" doc:"full, new or off."`
}

// BypassStatus is where policy is switched off.
type BypassStatus struct {
	Target string    `json:"target" doc:"estate, or pool:, host: or vif: and its name."`
	Since  time.Time `json:"since,omitzero"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// PolicySummary is how policy stands, in figures and sentences.
type PolicySummary struct {
	Revision uint64 `json:"revision"`
	Enforced int    `json:"enforced" doc:"Hosts that have all of it."`
	Behind   int    `json:"behind" doc:"Hosts that are to have it and do not yet."`
	Offline  int    `json:"offline" doc:"Hosts that are to have it and are not reached."`
	Bypasses int    `json:"bypasses"`

	Quarantined int `json:"quarantined" doc:"VIFs."`
	Unguarded   int `json:"unguarded" doc:"VIFs at which guards that are on are not enforced in full, since their addresses are not known."`

	Drift    uint64   `json:"drift" doc:"Flows and groups of Weir's that others changed, removed or added since the start."`
	Problems []string `json:"problems,omitempty" doc:"What wants somebody to act, in sentences."`
}

// Effective is what decides about a VIF, in the order in which it is evaluated.
type Effective struct {
	VIF     string          `json:"vif" doc:"VM and device."`
	VM      string          `json:"vm"`
	Network string          `json:"network,omitempty"`
	Pool    string          `json:"pool,omitempty"`
	Hosts   []EffectiveHost `json:"hosts" doc:"Where it is plugged, and whether policy is in force there."`
	Rules   []EffectiveRule `json:"rules"`
	Default string          `json:"default" doc:"What is done with what no rule matches."`

	Quarantined string `json:"quarantined,omitempty" doc:"Since when, by whom and why it sends and receives nothing."`

	Settings []policy.EffectiveSetting `json:"settings" doc:"What is asked of its port, and who says it."`
}

// EffectiveVIF is what is asked of the port of a VIF, and who says it.
type EffectiveVIF struct {
	ID      flow.ID         `json:"id,string" doc:"As in flows."`
	VIF     string          `json:"vif" doc:"VM and device."`
	VM      string          `json:"vm"`
	Network string          `json:"network,omitempty"`
	Pool    string          `json:"pool,omitempty"`
	Hosts   []EffectiveHost `json:"hosts" doc:"Where it is plugged, and whether policy is in force there."`

	Quarantined string `json:"quarantined,omitempty" doc:"Since when, by whom and why it sends and receives nothing."`

	Settings []policy.EffectiveSetting `json:"settings" doc:"In the order of the policy document."`
}

// EffectiveHost is a host where a VIF is plugged.
type EffectiveHost struct {
	Host     string    `json:"host"`
	State    HostState `json:"state"`
	Bypassed string    `json:"bypassed,omitempty"`
}

// EffectiveRule is a rule at its place in the list of a VIF.
type EffectiveRule struct {
	Number   int    `json:"number"`
	Rule     string `json:"rule" doc:"Its id."`
	Where    string `json:"where" doc:"Level and list."`
	Text     string `json:"text" doc:"What it says."`
	Instance uint32 `json:"instance" doc:"Its number in flows."`
	Hidden   string `json:"hidden,omitempty" doc:"Rule before it that matches all that it does."`
	Comment  string `json:"comment,omitempty"`
}

// ModePlan is what would change at a host that gets another mode.
type ModePlan struct {
	Host     string       `json:"host"`
	Mode     state.Mode   `json:"mode"`
	Changes  *export.Plan `json:"changes,omitempty" doc:"In its database."`
	Bridges  []BridgePlan `json:"bridges" doc:"Flows."`
	Warnings []string     `json:"warnings,omitempty"`
	Refused  []string     `json:"refused,omitempty"`
}
