package mirror

import (
	"time"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/policy"
)

// Most mirrors of a bridge, those of others included (Open vSwitch, MAX_MIRRORS).
const Most = 32

// Order is what copies are wanted of a bridge. The zero value wants none.
type Order struct {
	Copies  []Copy       // by VIF
	Network []ovsdb.UUID // rows of table Port that lead to the network: uplinks, patch ports, tunnels
	Guests  []ovsdb.UUID // those of VMs, and of which nothing is known: they may be. A port that is neither is left as it is
}

// Copy is what is copied of one VIF, and where to.
type Copy struct {
	VIF   string       // for people
	Ports []ovsdb.UUID // rows of table Port
	To    policy.MirrorTarget
	In    bool   // what the VM gets
	Out   bool   // what it sends
	Why   string // why it cannot be, whatever the bridge is like; empty: it can
	Sink  bool   // it gets the copies: none are made of it, of which copies would be made in turn
}

// State is how a mirror stands.
type State string

// The values of State.
const (
	StateActive  State = "active"   // the host's database says so: Open vSwitch copies, a moment later
	StateSetting State = "setting"  // being changed
	StateWaiting State = "waiting"  // none of its VIFs is plugged in at present
	StateFailed  State = "failed"   // it cannot be as things are at the host
	StateLeftOut State = "left_out" // the bridge has as many mirrors as it can
	StateYielded State = "yielded"  // somebody undoes it, or what belongs to it, again and again: Weir waits before it tries again
)

// States lists the values of State.
var States = []State{StateActive, StateSetting, StateWaiting, StateFailed, StateLeftOut, StateYielded}

// Mirror is the copies from a bridge to one destination.
type Mirror struct {
	Target string    `json:"target" doc:"Mirror targets of the policy; several with commas, if they are the same destination."`
	To     string    `json:"to" doc:"Where copies go: vlan N, port NAME, gre ADDRESS, erspan ADDRESS."`
	State  State     `json:"state" doc:"active, setting, waiting, failed, left_out or yielded."`
	Why    string    `json:"why,omitempty" doc:"Why it is not active."`
	VIFs   []string  `json:"vifs" doc:"Whose traffic is copied; with in or out, if it is one direction only."`
	Sinks  []string  `json:"sinks,omitempty" doc:"VIFs that have the address to which copies go, or are in that VLAN. None are made of what they send and get: of these copies there would be copies in turn."`
	Row    string    `json:"row,omitempty" doc:"Name of the row in table Mirror."`
	Port   string    `json:"port,omitempty" doc:"By which copies leave; absent of a VLAN."`
	Since  time.Time `json:"since,omitzero" doc:"Of state."`

	Copied []string `json:"-"` // of VIFs, those of which the row as it is in the host's database makes copies; not said while State is StateSetting
}
