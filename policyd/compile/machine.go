package compile

import (
	"net/netip"
	"slices"

	"github.com/weirhq/weir/estate"
)

// Machine is that on which Weir runs, which may be a VM of a bridge.
type Machine struct {
	Addrs []netip.Addr // without zones, IPv4 ones unmapped
	MACs  []estate.MAC // of its interfaces
}

// Is reports whether a VIF is the machine's. mac is the VIF's own, as its platform says it: a VM cannot choose that. It does choose its addresses, and
// sources have them from guest tools, so that they prove nothing: told, which sources tell, counts where mac is 0, not known.
func (m *Machine) Is(mac estate.MAC, told []netip.Addr) bool {
	if mac != 0 {
		return slices.Contains(m.MACs, mac)
	}
	return slices.ContainsFunc(told, func(a netip.Addr) bool { return slices.Contains(m.Addrs, a.Unmap().WithZone("")) })
}

// Equal reports whether both are the same.
func (m *Machine) Equal(o *Machine) bool {
	return slices.Equal(m.Addrs, o.Addrs) && slices.Equal(m.MACs, o.MACs)
}
