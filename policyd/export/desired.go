package export

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/own"
)

const (
	kernelSampling   = 400 // of packets, with the kernel datapath: Open vSwitch's own default
	templateInterval = 60  // seconds, where Open vSwitch lets one choose (3.2 and later); its own default is 600
)

// Identity is a host as events and ids have it.
type Identity struct {
	UUID string // in lower case: its key
	Name string
	Pool flow.ID // 0: none
}

// id is that of flows.
func (h *Identity) id() flow.ID { return flow.NewID(flow.KindHost, h.UUID) }

func (h *Identity) bridge(name string) flow.ID {
	return flow.NewID(flow.KindBridge, h.UUID+"/"+name)
}

// virtualObsID is the name that each IPFIX record of a bridge carries: unique in the estate, and the same after a renaming
// of the host.
func (h *Identity) virtualObsID(bridge string) string {
	return fmt.Sprintf("%016x", uint64(h.bridge(bridge)))
}

// choice is how one bridge is to export.
type choice struct {
	protocol Protocol // IPFIX, NetFlow or Off
	sampling uint32   // of IPFIX
	why      string
}

// choose says how a bridge is to export. There is one source of totals: packets are to be counted once.
func choose(s *Settings, b *ovsdb.Bridge, has func(table, column string) bool) choice {
	asked := s.of(b.Name)
	if asked == Off {
		return choice{Off, 0, "switched off in the settings"}
	}
	if !s.Collector.IsValid() {
		return choice{Off, 0, "at what address this host reaches Weir is not known: set hosts.export.collector"}
	}
	userspace := b.DatapathType == "netdev" || b.DatapathType == "dummy"
	c := choice{asked, 0, "asked for in the settings"}
	if asked == Auto {
		if userspace {
			c.protocol, c.why = IPFIX, "userspace datapath: looking at every packet costs little"
		} else {
			c.protocol, c.why = NetFlow, "kernel datapath: for IPFIX each packet looked at would pass ovs-vswitchd"
		}
	}
	column := own.NetFlow
	if c.protocol == IPFIX {
		column = own.IPFIX
		switch c.sampling = s.Sampling; {
		case c.sampling != 0:
		case userspace:
			c.sampling = 1
		default:
			c.sampling = kernelSampling
		}
	}
	if !has("Bridge", column.Name) || c.protocol == IPFIX && !has("IPFIX", "other_config") {
		return choice{Off, 0, fmt.Sprintf("this Open vSwitch is too old for %s", column.Table)}
	}
	return c
}

// targets are where a bridge's flows go, as Open vSwitch writes it.
func (s *Settings) targets() []string {
	var list []string
	for _, a := range append([]netip.AddrPort{s.Collector}, s.External...) {
		if t := target(a); !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}

func target(a netip.AddrPort) string {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// netFlow returns the columns of a row of table NetFlow.
func netFlow(s *Settings, domain uint16) ovsdb.Values {
	return ovsdb.Values{
		"targets":             s.targets(),
		"engine_type":         int64(domain >> 8),
		"engine_id":           int64(domain & 0xff),
		"add_id_to_interface": false,
		"active_timeout":      int64(s.ActiveTimeout.Seconds()),
	}
}

// ipfix returns the columns of a row of table IPFIX.
func ipfix(s *Settings, c choice, virtualObsID string, domain uint16, has func(table, column string) bool) ovsdb.Values {
	v := exporter(s, uint32(domain), map[string]string{
		"virtual_obs_id": virtualObsID,
		// Each packet once. Open vSwitch 3.1, against its manual, takes true for "disable": this is input only. A
		// version that does as the manual says samples at the output only. So in no version is it both.
		"enable-input-sampling":  "false",
		"enable-output-sampling": "true",
	}, has)
	v["sampling"] = int64(c.sampling)
	return v
}

// rulesIPFIX returns the columns of the row of table IPFIX of a collector set. Open vSwitch does not read the domain, which flows say: it is there
// so that it is known whose it is.
func rulesIPFIX(s *Settings, virtualObsID string, domain uint32, has func(table, column string) bool) ovsdb.Values {
	return exporter(s, domain, map[string]string{"virtual_obs_id": virtualObsID}, has)
}

// exporter returns the columns that rows of table IPFIX of either kind have.
func exporter(s *Settings, domain uint32, otherConfig map[string]string, has func(table, column string) bool) ovsdb.Values {
	v := ovsdb.Values{
		"targets":              s.targets(),
		"obs_domain_id":        int64(domain),
		"cache_active_timeout": int64(s.ActiveTimeout.Seconds()),
		"cache_max_flows":      int64(s.CacheFlows),
		"other_config":         otherConfig,
	}
	if has("IPFIX", "template_interval") {
		v["template_interval"] = int64(templateInterval)
	}
	return v
}

// isNetFlow says whether a row is what want says, made by an instance.
func isNetFlow(row *ovsdb.NetFlow, want ovsdb.Values, instance string) bool {
	return row != nil && same(want, instance, row.ExternalIDs, ovsdb.Values{
		"targets":             row.Targets,
		"engine_type":         number(row.EngineType),
		"engine_id":           number(row.EngineID),
		"add_id_to_interface": row.AddIDToInterface,
		"active_timeout":      row.ActiveTimeout,
	})
}

// isIPFIX is isNetFlow of table IPFIX.
func isIPFIX(row *ovsdb.IPFIX, want ovsdb.Values, instance string) bool {
	if row == nil {
		return false
	}
	is := ovsdb.Values{
		"targets":              row.Targets,
		"obs_domain_id":        number(row.ObsDomainID),
		"cache_active_timeout": number(row.CacheActiveTimeout),
		"cache_max_flows":      number(row.CacheMaxFlows),
		"other_config":         row.OtherConfig,
	}
	if row.ObsPointID != nil {
		return false
	}
	if row.Sampling != nil {
		is["sampling"] = *row.Sampling
	}
	if row.TemplateInterval != nil {
		is["template_interval"] = *row.TemplateInterval
	}
	return same(want, instance, row.ExternalIDs, is)
}

// number returns what an optional column holds, nil if nothing.
func number(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

func same(want ovsdb.Values, instance string, ids map[string]string, is ovsdb.Values) bool {
	if len(want) != len(is) || len(ids) != 1 || !own.Made(ids, instance) {
		return false
	}
	for column, w := range want {
		switch w := w.(type) {
		case []string:
			got, _ := is[column].([]string)
			if !slices.Equal(slices.Sorted(slices.Values(w)), slices.Sorted(slices.Values(got))) {
				return false
			}
		case map[string]string:
			got, _ := is[column].(map[string]string)
			if !maps.Equal(w, got) {
				return false
			}
		default:
			if is[column] != w {
				return false
			}
		}
	}
	return true
}

// domains gives each bridge of a host a number of its own, 1 to 65535: observation domain of IPFIX, engine type × 256 + engine id
// of NetFlow 5. It is a hash of its identity, so that it is the same after everything was wiped; if two bridges have the same one,
// the next that is free. A bridge that exports already keeps its number.
func domains(h *Identity, r *ovsdb.Rows) map[ovsdb.UUID]uint16 {
	bridges := own.Bridges(r)
	given := map[ovsdb.UUID]uint16{}
	taken := map[uint16]bool{0: true} // 0 is what Open vSwitch's own statistics are of
	sets, _ := own.SampleSets(r)
	for _, set := range sets {
		row := r.IPFIXs[set.IPFIX]
		if row == nil || row.ObsDomainID == nil || r.Bridges[set.Bridge] == nil {
			continue
		}
		if n := uint16(*row.ObsDomainID); *row.ObsDomainID == int64(ruleDomain(n)) && !taken[n] && given[set.Bridge] == 0 {
			taken[n], given[set.Bridge] = true, n
		}
	}
	// Weir's own numbers stay, then those of others' rows are spared.
	for _, whose := range []own.State{own.Ours, own.Foreign} {
		use := func(b *ovsdb.Bridge, n int64) {
			if n < 1 || n > 0xffff || taken[uint16(n)] || whose == own.Ours && given[b.UUID] != 0 {
				return
			}
			taken[uint16(n)] = true
			if whose == own.Ours {
				given[b.UUID] = uint16(n)
			}
		}
		for _, b := range bridges {
			if row := r.IPFIXs[b.IPFIX]; row != nil && row.ObsDomainID != nil && own.IPFIX.State(r, b) == whose {
				use(b, *row.ObsDomainID)
			}
			if row := r.NetFlows[b.NetFlow]; row != nil && row.EngineType != nil && row.EngineID != nil && own.NetFlow.State(r, b) == whose {
				use(b, *row.EngineType<<8|*row.EngineID)
			}
		}
	}
	for _, b := range bridges {
		if given[b.UUID] != 0 {
			continue
		}
		n := uint16(h.bridge(b.Name))
		for taken[n] { // of 65535 not all are: more bridges than that are refused by decide
			n++
		}
		taken[n] = true
		given[b.UUID] = n
	}
	return given
}

// summary says in words what a bridge exports.
func (b *Bridge) summary() string {
	how := "NetFlow 5"
	if b.Protocol == IPFIX {
		how = "IPFIX of every packet"
		if b.Sampling > 1 {
			how = fmt.Sprintf("IPFIX of one packet in %d", b.Sampling)
		}
	}
	return how + " to " + strings.Join(b.Targets, ", ")
}
