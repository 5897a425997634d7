package compile

import (
	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
)

// Sampling is which packets a bridge tells the collector of, by rule.
type Sampling uint8

// The values of Sampling.
const (
	SampleOff  Sampling = iota // none: hits are counted by the switch only
	SampleNew                  // the first packets of connections and whatever is dropped; totals have another source
	SampleFull                 // every packet, which is the source of totals
)

// Capabilities are what the Open vSwitch of a host can do.
type Capabilities struct {
	ConnTrack bool // ct() with marks and labels
	Sample    bool // action sample
	Meters    bool // meters of kilobits a second, with ids up to MeterLast
}

// Input is what a bridge's flows depend on.
type Input struct {
	Inventory *hosts.Inventory // of the host
	Bridge    string           // real bridge in Inventory
	Host      flow.ID
	Pool      flow.ID // 0: none

	// VIFs says which VIF of the estate each of Inventory.VIFs is, by index; 0: not known. Interfaces says which rules it then has.
	VIFs []flow.ID

	Policy *policy.Set
	Estate *policy.Estate

	// Retired are instances whose rule allows no more: connections that they let in end.
	Retired []uint32

	Sampling     Sampling
	CollectorSet uint32 // of action sample
	Domain       uint32 // observation domain
	Generation   uint8  // in cookies
	Capabilities Capabilities

	// Limit is how many flows the bridge may hold; 0: any number. More are refused before they are made.
	Limit int

	Bypass     bool             // policy is off on the whole bridge
	BypassVIFs map[flow.ID]bool // policy is off for these VIFs

	// Quarantined VIFs send and receive nothing, unless policy is off for them.
	Quarantined map[flow.ID]bool

	// Weir is the machine that Weir runs on: a VIF of it is never cut off, nor quarantined, and the host hears from its addresses even by a
	// port that is not known yet.
	Weir Machine
}
