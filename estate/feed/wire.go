package feed

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
)

// The form of records. It is a promise to collectors of other versions: a member may be added, and is never renamed or given
// another meaning. TestEveryFieldTravels holds that nothing of estate.Model is missing.
type (
	wireRecord struct {
		Pool         *wirePool         `json:"pool,omitempty"`
		Host         *wireHost         `json:"host,omitempty"`
		Network      *wireNetwork      `json:"network,omitempty"`
		VM           *wireVM           `json:"vm,omitempty"`
		AddressGroup *wireAddressGroup `json:"address_group,omitempty"`
		VMGroup      *wireVMGroup      `json:"vm_group,omitempty"`
		Past         *wirePast         `json:"past,omitempty"`
		Rules        []wireRule        `json:"rules,omitempty"` // those of one block of instances
	}

	// wireRule is an array of three: instance, rule, verdict.
	wireRule estate.RuleInstance

	wirePast struct {
		VM     wireVM    `json:"vm"`
		Until  time.Time `json:"until"`
		Groups []uint64  `json:"groups,omitempty"`
	}

	wireIdentity struct {
		Key    string   `json:"key,omitempty"`
		SameAs []string `json:"same_as,omitempty"`
		Origin string   `json:"origin,omitempty"`
		Name   string   `json:"name,omitempty"`
		UUID   string   `json:"uuid,omitempty"`
	}

	wirePool struct {
		wireIdentity
		Attributes map[string]string `json:"attributes,omitempty"`
	}

	wireHost struct {
		wireIdentity
		Pool       string            `json:"pool,omitempty"`
		Exporters  []netip.Addr      `json:"exporters,omitempty"`
		Bridges    []wireBridge      `json:"bridges,omitempty"`
		Attributes map[string]string `json:"attributes,omitempty"`
	}

	wireBridge struct {
		Name               string   `json:"name,omitempty"`
		ObservationDomains []uint32 `json:"observation_domains,omitempty"`
		VirtualObsID       string   `json:"virtual_obs_id,omitempty"`
		RuleSampling       bool     `json:"rule_sampling,omitempty"`
		TotalsElsewhere    bool     `json:"totals_elsewhere,omitempty"`
	}

	wireNetwork struct {
		wireIdentity
		Pool       string            `json:"pool,omitempty"`
		Bridge     string            `json:"bridge,omitempty"`
		VLAN       uint16            `json:"vlan,omitempty"`
		Subnets    []netip.Prefix    `json:"subnets,omitempty"`
		Attributes map[string]string `json:"attributes,omitempty"`
	}

	wireVM struct {
		wireIdentity
		Anonymous  bool              `json:"anonymous,omitempty"`
		Pool       string            `json:"pool,omitempty"`
		Host       string            `json:"host,omitempty"`
		Tags       []string          `json:"tags,omitempty"`
		Attributes map[string]string `json:"attributes,omitempty"`
		VIFs       []wireVIF         `json:"vifs,omitempty"`
	}

	wireVIF struct {
		Key     string       `json:"key,omitempty"`
		SameAs  []string     `json:"same_as,omitempty"`
		Origin  string       `json:"origin,omitempty"`
		Device  string       `json:"device,omitempty"`
		UUID    string       `json:"uuid,omitempty"`
		Network string       `json:"network,omitempty"`
		MAC     estate.MAC   `json:"mac,omitempty"`
		IPs     []netip.Addr `json:"ips,omitempty"`
		Learned uint8        `json:"learned,omitempty"`
		Ports   []wirePort   `json:"ports,omitempty"`

		Attributes map[string]string `json:"attributes,omitempty"`
	}

	wirePort struct {
		Host     string    `json:"host,omitempty"`
		Bridge   string    `json:"bridge,omitempty"`
		IfIndex  uint32    `json:"if_index,omitempty"`
		OFPort   uint32    `json:"of_port,omitempty"`
		Name     string    `json:"name,omitempty"`
		VLAN     uint16    `json:"vlan,omitempty"`
		Since    time.Time `json:"since,omitzero"`
		Inactive bool      `json:"inactive,omitempty"`
	}

	wireAddressGroup struct {
		Name    string   `json:"name,omitempty"`
		UUID    string   `json:"uuid,omitempty"`
		Members []string `json:"members,omitempty"`
	}

	wireVMGroup struct {
		Name   string         `json:"name,omitempty"`
		UUID   string         `json:"uuid,omitempty"`
		VMs    []string       `json:"vms,omitempty"`
		Select []wireSelector `json:"select,omitempty"`
	}

	wireSelector struct {
		Tags       []string          `json:"tags,omitempty"`
		Name       string            `json:"name,omitempty"`
		Network    string            `json:"network,omitempty"`
		Pool       string            `json:"pool,omitempty"`
		Attributes map[string]string `json:"attributes,omitempty"`
	}
)

// record is one entity of the estate with all that belongs to it.
// Rule instances are together in blocks.
type record struct {
	line []byte // JSON, without the newline
	sum  [16]byte
	wire wireRecord // empty if it was encoded here, or is of a kind that is not known here

	rules int // rule instances in it; 0: it is of something else
}

func sumOf(line []byte) [16]byte {
	sum := sha256.Sum256(line)
	return [16]byte(sum[:16])
}

// MarshalJSON writes three numbers.
func (r wireRule) MarshalJSON() ([]byte, error) {
	return json.Marshal([3]uint64{uint64(r.Instance), uint64(r.Rule), uint64(r.Verdict)})
}

// UnmarshalJSON reads three numbers.
func (r *wireRule) UnmarshalJSON(b []byte) error {
	var n [3]uint64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	if n[0] > uint64(flow.MaxInstance) || n[2] > math.MaxInt8 {
		return fmt.Errorf("rule instance %d with verdict %d: out of range", n[0], n[2])
	}
	*r = wireRule{uint32(n[0]), flow.ID(n[1]), flow.Verdict(n[2])}
	return nil
}

// ruleBlock is how many numbers of rule instances go into one record: few enough that one that comes or goes is a small message,
// and so many that tens of thousands are some hundred records.
const ruleBlock = 64

// encoded are the records of a model.
type encoded struct {
	model         *estate.Model // nil: of none
	around, rules []*record     // of all but rules; of rules
}

func (e *encoded) records() []*record { return slices.Concat(e.around, e.rules) }

// next returns the records of m. Those that say the same as before are used again, so that states share them; what m has in common
// with the model before is not encoded again.
func (e *encoded) next(m *estate.Model) (*encoded, error) {
	old := e.model
	n := &encoded{model: m, around: e.around, rules: e.rules}
	var err error
	if old == nil || !old.SameButRules(m) {
		if n.around, err = encodeAround(m, bySum(e.around)); err != nil {
			return nil, err
		}
	}
	if old == nil || !slices.Equal(old.Rules, m.Rules) {
		if n.rules, err = encodeRules(m.Rules, bySum(e.rules)); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func bySum(list []*record) map[[16]byte]*record {
	m := make(map[[16]byte]*record, len(list))
	for _, r := range list {
		m[r.sum] = r
	}
	return m
}

// encodeRules returns the records of rule instances, which need not ascend.
func encodeRules(rules []estate.RuleInstance, before map[[16]byte]*record) ([]*record, error) {
	if !slices.IsSortedFunc(rules, byInstance) {
		rules = slices.SortedFunc(slices.Values(rules), byInstance)
	}
	var list []*record
	for len(rules) > 0 {
		n := 1
		for n < len(rules) && rules[n].Instance/ruleBlock == rules[0].Instance/ruleBlock {
			n++
		}
		r, err := encodeRecord(wireRecord{Rules: convert(rules[:n], func(r estate.RuleInstance) wireRule { return wireRule(r) })}, before)
		if err != nil {
			return nil, err
		}
		list, rules = append(list, r), rules[n:]
	}
	return list, nil
}

func byInstance(a, b estate.RuleInstance) int { return cmp.Compare(a.Instance, b.Instance) }

// sameAround reports whether two lists of records are the same but for rules.
func sameAround(a, b []*record) bool {
	skip := func(list []*record) []*record {
		for len(list) > 0 && list[0].rules > 0 {
			list = list[1:]
		}
		return list
	}
	for a, b = skip(a), skip(b); len(a) > 0 && len(b) > 0; a, b = skip(a[1:]), skip(b[1:]) {
		if a[0].sum != b[0].sum {
			return false
		}
	}
	return len(a) == len(b)
}

// encodeRecord returns the record of w: the one of before, if it is there.
func encodeRecord(w wireRecord, before map[[16]byte]*record) (*record, error) {
	line, err := json.Marshal(&w)
	if err != nil {
		return nil, err
	}
	sum := sumOf(line)
	if r, ok := before[sum]; ok {
		return r, nil
	}
	return &record{line: line, sum: sum, rules: len(w.Rules)}, nil
}

// encodeAround returns the records of all of m but its rules.
func encodeAround(m *estate.Model, before map[[16]byte]*record) ([]*record, error) {
	list := make([]*record, 0, len(m.Pools)+len(m.Hosts)+len(m.Networks)+len(m.VMs)+len(m.AddressGroups)+len(m.VMGroups)+len(m.Past))
	var failed error
	add := func(w wireRecord) {
		r, err := encodeRecord(w, before)
		if err != nil {
			failed = err
			return
		}
		list = append(list, r)
	}
	for i := range m.Pools {
		p := &m.Pools[i]
		add(wireRecord{Pool: &wirePool{wireIdentity{p.Key, p.SameAs, p.Origin, p.Name, p.UUID}, p.Attributes}})
	}
	for i := range m.Hosts {
		h := &m.Hosts[i]
		add(wireRecord{Host: &wireHost{wireIdentity{h.Key, h.SameAs, h.Origin, h.Name, h.UUID}, h.Pool, h.Exporters, convert(h.Bridges, toBridge), h.Attributes}})
	}
	for i := range m.Networks {
		n := &m.Networks[i]
		add(wireRecord{Network: &wireNetwork{wireIdentity{n.Key, n.SameAs, n.Origin, n.Name, n.UUID}, n.Pool, n.Bridge, n.VLAN, n.Subnets, n.Attributes}})
	}
	for i := range m.VMs {
		add(wireRecord{VM: toVM(&m.VMs[i])})
	}
	for _, g := range m.AddressGroups {
		g := wireAddressGroup(g)
		add(wireRecord{AddressGroup: &g})
	}
	for _, g := range m.VMGroups {
		add(wireRecord{VMGroup: &wireVMGroup{g.Name, g.UUID, g.VMs, convert(g.Select, toSelector)}})
	}
	for i := range m.Past {
		add(wireRecord{Past: &wirePast{*toVM(&m.Past[i].VM), m.Past[i].Until, m.Past[i].Groups}})
	}
	return list, failed
}

func toVM(v *estate.VM) *wireVM {
	return &wireVM{wireIdentity{v.Key, v.SameAs, v.Origin, v.Name, v.UUID}, v.Anonymous, v.Pool, v.Host, v.Tags, v.Attributes, convert(v.VIFs, toVIF)}
}

func toBridge(b estate.Bridge) wireBridge { return wireBridge(b) }

func toVIF(v estate.VIF) wireVIF {
	return wireVIF{v.Key, v.SameAs, v.Origin, v.Device, v.UUID, v.Network, v.MAC, v.IPs, v.Learned, convert(v.Ports, toPort), v.Attributes}
}

func toPort(p estate.Port) wirePort { return wirePort(p) }

func toSelector(s estate.Selector) wireSelector { return wireSelector(s) }

// convert returns the elements of list as another type; nil stays nil.
func convert[A, B any](list []A, to func(A) B) []B {
	if list == nil {
		return nil
	}
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = to(a)
	}
	return out
}

// decodeRecord reads a line, which it keeps.
func decodeRecord(line []byte) (*record, error) {
	r := &record{line: line, sum: sumOf(line)}
	if err := json.Unmarshal(line, &r.wire); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	r.rules = len(r.wire.Rules)
	return r, nil
}

// model returns the estate that records make.
func model(records []*record) *estate.Model {
	m := &estate.Model{Merged: true}
	for _, r := range records {
		switch w := &r.wire; {
		case w.VM != nil:
			m.VMs = append(m.VMs, fromVM(w.VM))
		case w.Network != nil:
			n := w.Network
			m.Networks = append(m.Networks, estate.Network{
				Key: n.Key, SameAs: n.SameAs, Origin: n.Origin, Name: n.Name, UUID: n.UUID,
				Pool: n.Pool, Bridge: n.Bridge, VLAN: n.VLAN, Subnets: n.Subnets, Attributes: n.Attributes,
			})
		case w.Host != nil:
			h := w.Host
			m.Hosts = append(m.Hosts, estate.Host{
				Key: h.Key, SameAs: h.SameAs, Origin: h.Origin, Name: h.Name, UUID: h.UUID, Pool: h.Pool, Exporters: h.Exporters,
				Bridges: convert(h.Bridges, func(b wireBridge) estate.Bridge { return estate.Bridge(b) }), Attributes: h.Attributes,
			})
		case w.Pool != nil:
			p := w.Pool
			m.Pools = append(m.Pools, estate.Pool{Key: p.Key, SameAs: p.SameAs, Origin: p.Origin, Name: p.Name, UUID: p.UUID, Attributes: p.Attributes})
		case w.AddressGroup != nil:
			m.AddressGroups = append(m.AddressGroups, estate.AddressGroup(*w.AddressGroup))
		case w.VMGroup != nil:
			g := w.VMGroup
			m.VMGroups = append(m.VMGroups, estate.VMGroup{
				Name: g.Name, UUID: g.UUID, VMs: g.VMs,
				Select: convert(g.Select, func(s wireSelector) estate.Selector { return estate.Selector(s) }),
			})
		case w.Past != nil:
			m.Past = append(m.Past, estate.Past{VM: fromVM(&w.Past.VM), Until: w.Past.Until, Groups: w.Past.Groups})
		case r.rules > 0:
			m.Rules = appendRules(m.Rules, w.Rules)
		}
	}
	return m
}

// rulesOf returns the rule instances that records make.
func rulesOf(records []*record) (list []estate.RuleInstance) {
	for _, r := range records {
		list = appendRules(list, r.wire.Rules)
	}
	return list
}

func appendRules(list []estate.RuleInstance, more []wireRule) []estate.RuleInstance {
	for _, r := range more {
		list = append(list, estate.RuleInstance(r))
	}
	return list
}

func fromVM(v *wireVM) estate.VM {
	return estate.VM{
		Key: v.Key, SameAs: v.SameAs, Origin: v.Origin, Name: v.Name, UUID: v.UUID, Anonymous: v.Anonymous,
		Pool: v.Pool, Host: v.Host, Tags: v.Tags, Attributes: v.Attributes, VIFs: convert(v.VIFs, fromVIF),
	}
}

func fromVIF(v wireVIF) estate.VIF {
	return estate.VIF{
		Key: v.Key, SameAs: v.SameAs, Origin: v.Origin, Device: v.Device, UUID: v.UUID, Network: v.Network, MAC: v.MAC, IPs: v.IPs, Learned: v.Learned,
		Ports: convert(v.Ports, func(p wirePort) estate.Port { return estate.Port(p) }), Attributes: v.Attributes,
	}
}
