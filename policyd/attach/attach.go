package attach

import (
	"net/netip"
	"time"
)

// Settings say how the bridges of a host are to dial Weir.
type Settings struct {
	Reach netip.AddrPort // Weir's OpenFlow listener as the host reaches it; a port without an address: that from which Weir reaches the host's database
	TLS   bool           // with the keys that the host's database has (table SSL)

	// Wipe allows to attach bridges whose Open vSwitch knows primary controllers only (before 2.12) and that have none: the
	// switch forgets all flows, groups and meters that such a bridge has, and again when Weir is detached. Somebody was shown
	// that, and confirmed it. Other bridges are attached without it: nothing is wiped there.
	Wipe bool

	// Probe is after how much silence a bridge asks whether Weir is there, from a second; after as much again it dials anew, and after three
	// times that without Weir, a bridge that fails open opens. 0: DefaultProbe.
	Probe time.Duration

	// Dialled says that Weir dials the host's database over the network: in-band control lets a bridge without flows dial Weir, and Weir not the host.
	Dialled bool
}

// DefaultProbe is that of Open vSwitch.
const DefaultProbe = 5 * time.Second

// State is how a bridge's controller row stands.
type State string

// The values of State.
const (
	StateOff         State = "off"         // nothing is wanted, nothing is there
	StateSet         State = "set"         // as wanted
	StateSetting     State = "setting"     // being changed
	StateUnconfirmed State = "unconfirmed" // attaching wipes what the bridge has: Settings.Wipe is wanted first
	StateYielded     State = "yielded"     // somebody undoes it again and again: Weir waits before it tries again
	StateFailed      State = "failed"      // where the host reaches Weir is not known, or what was there before cannot be read
)

// Bridge is how a bridge is attached, and what it does while Weir is away.
type Bridge struct {
	State     State        `json:"state"`
	Target    string       `json:"target,omitempty" doc:"Where the bridge dials."`
	Type      string       `json:"type,omitempty" doc:"service: what the bridge has is not touched when Weir comes or goes; primary, of an old Open vSwitch."`
	InBand    bool         `json:"in_band,omitempty" doc:"The switch may add flows of its own, by which it reaches controllers and managers through the bridge."`
	Connected bool         `json:"connected,omitempty" doc:"As the host says, up to five seconds ago."`
	Why       string       `json:"why,omitempty" doc:"Why it is so."`
	Wipes     string       `json:"wipes,omitempty" doc:"What is lost at the bridge when it is attached, or detached; absent: nothing."`
	Exposed   []string     `json:"exposed,omitempty" doc:"TCP addresses and ports to and from which packets pass this bridge whatever policy says: in-band control."`
	Foreign   []Controller `json:"foreign,omitempty" doc:"Controllers that are not Weir's. They stay."`
	Since     time.Time    `json:"since,omitzero" doc:"Of state."`
	Wiped     uint64       `json:"wiped,omitempty" doc:"Times that others removed or changed it."`
}

// Controller is one that is not Weir's.
type Controller struct {
	Target    string `json:"target"`
	Type      string `json:"type" doc:"primary or service."`
	Connected bool   `json:"connected"`
}
