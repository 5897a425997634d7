package compile

import (
	"fmt"

	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/policy"
)

// What VIFs send is metered in table 0, before anything else is asked: what exceeds the rate is told of by nobody, as if the VM had not sent it.

// numberMeters gives VIFs that have a rate the ids of their meters. A change of the rate does not change them.
func (b *bridge) numberMeters() {
	const count = MeterLast - MeterFirst + 1
	taken := map[uint32]bool{}
	for i := range b.vifs {
		v := &b.vifs[i]
		if v.rate.Rate == 0 {
			continue
		}
		if len(taken) == count {
			b.warnings = append(b.warnings, fmt.Sprintf("the VIF at port %d is not metered: there are %d meters, and each is another VIF's", v.ports[0], count))
			continue
		}
		n := uint32(v.ports[0]) % count
		for taken[n] {
			n = (n + 1) % count
		}
		taken[n], v.meter = true, MeterFirst+n
	}
}

// meters plans the meters.
func (b *bridge) meters(p *plan) {
	for i := range b.vifs {
		if v := &b.vifs[i]; v.meter != 0 {
			p.meters[v.meter] = openflow.MeterSpec{ID: v.meter, Rate: uint32(v.rate.Rate), Burst: uint32((v.rate.BurstBytes()*8 + 999) / 1000)}
		}
	}
}

// Rates are what is asked of an interface of a VIF, off where nothing is; Metered says that the flows have Out in force.
type Rates struct {
	Out, In policy.Limit
	Metered bool
	Beside  string // what the platform limits by itself; empty: nothing
}

// Rates returns them for each interface of the bridge of which a rate is asked, by its name. Where policy is off, none is.
func (in *Input) Rates() map[string]Rates {
	rates := map[string]Rates{}
	if in.Bypass {
		return rates
	}
	for i, v := range in.Interfaces() {
		if v == nil || in.bypassed(&in.Inventory.VIFs[i], v) {
			continue
		}
		s := in.Policy.SettingsOf(v)
		if s.RateOut.Off && s.RateIn.Off {
			continue
		}
		for _, p := range in.plugged(&in.Inventory.VIFs[i]) {
			rates[p.Name] = Rates{s.RateOut, s.RateIn, in.Capabilities.Meters, v.RateNote(s.RateOut)}
		}
	}
	return rates
}
