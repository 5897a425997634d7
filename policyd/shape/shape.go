package shape

import "github.com/weirhq/weir/policyd/policy"

// Limits are the rates that are asked of a VIF's port. A limit that is off, or says nothing, asks for none.
type Limits struct {
	Out   policy.Limit // of what the VM sends
	In    policy.Limit // of what it gets
	Meter bool         // a meter of the bridge's flows has Out in force

	Beside string // what the platform limits of what the VM sends, by itself, for people; empty: nothing
}

// State is how a limit stands.
type State string

// The values of State.
const (
	StateSet     State = "set"     // as wanted
	StateSetting State = "setting" // being changed
	StateForeign State = "foreign" // a limit of others is in its place, and is left alone
	StateYielded State = "yielded" // somebody undoes it again and again: Weir waits before it tries again
	StateFailed  State = "failed"  // it cannot be set
)

// States lists the values of State.
var States = []State{StateSet, StateSetting, StateForeign, StateYielded, StateFailed}

// Means is what has a limit in force.
type Means string

// The values of Means.
const (
	Meter    Means = "meter"    // of the bridge's flows
	Policing Means = "policing" // of the interface, on its way in
	HTB      Means = "htb"      // a queue at the port, on the way out
)

// AllMeans lists the values of Means.
var AllMeans = []Means{Meter, Policing, HTB}

// Port is how the rates of a VIF's port stand.
type Port struct {
	Name string     `json:"port" doc:"Interface of the host."`
	Out  *Direction `json:"out,omitempty" doc:"Of what the VM sends; absent: no rate is asked."`
	In   *Direction `json:"in,omitempty" doc:"Of what the VM gets; absent: no rate is asked."`
}

// Direction is how a rate stands.
type Direction struct {
	Limit    policy.Limit `json:"limit" doc:"As in the policy document."`
	By       Means        `json:"by" enum:"meter,policing,htb" doc:"What has it in force: a meter of the bridge's flows, policing of the interface, or a queue (linux-htb) of the port."`
	State    State        `json:"state" enum:"set,setting,foreign,yielded,failed" doc:"set: in the host's database it is as it is to be, which a meter always is: its flows are told of elsewhere. foreign: a limit of others is in its place, and is left alone."`
	Why      string       `json:"why,omitempty" doc:"Why it is not set, or set so."`
	Warnings []string     `json:"warnings,omitempty" doc:"What will disappoint, and which limit of others acts, too."`
}
