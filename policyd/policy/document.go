package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/bytesize"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/internal/strictyaml"
)

// Limits of a policy.
const (
	MaxSize    = 8 * bytesize.MiB // of its text
	MaxTotal   = 50_000           // rules in all lists
	MaxGroups  = 10_000           // of each kind
	MaxMembers = 100_000          // of all groups of a kind
	MaxNesting = 16               // groups in groups
	MaxComment = 1024             // bytes
)

const advice = "say it with groups, or higher in the hierarchy"

// Parse reads a policy from YAML. file is its name for messages. What is wrong is a *strictyaml.Error, which names
// everything. Names of the estate are not looked at: [Resolve] does.
func Parse(file string, data []byte) (*Policy, error) {
	// Every rule says its action, and may say the word in its comment: so many of them are not worth the memory that they take.
	if n := bytes.Count(data, []byte("action")); n > 3*MaxTotal {
		return nil, fmt.Errorf("read policy: %w", &strictyaml.Error{File: file, Problems: []strictyaml.Problem{
			{File: file, Text: fmt.Sprintf("about %d rules, want at most %d in all: %s", n, MaxTotal, advice)},
		}})
	}
	var p Policy
	if err := strictyaml.Decode(strictyaml.Document{File: file, Data: data, MaxSize: MaxSize}, &p); err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return &p, nil
}

// Encode returns the policy as YAML that Parse reads back: a policy of which that is more than MaxSize is refused.
func (p *Policy) Encode() ([]byte, error) {
	data, err := strictyaml.Encode(p)
	if err == nil && len(data) > int(MaxSize) {
		return nil, fmt.Errorf("write policy: %d bytes when written out, want at most %s: %s", len(data), MaxSize, advice)
	}
	return data, err
}

// Allowed lists the values of Action.
func (Action) Allowed() []string { return []string{string(Allow), string(Deny), string(Shadow)} }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Action) UnmarshalText(text []byte) error { return oneOf(a, text, a.Allowed()) }

// Allowed lists the values of Direction.
func (Direction) Allowed() []string { return []string{string(To), string(From), string(Either)} }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Direction) UnmarshalText(text []byte) error { return oneOf(d, text, d.Allowed()) }

func oneOf[T ~string](v *T, text []byte, allowed []string) error {
	if !slices.Contains(allowed, string(text)) {
		return fmt.Errorf("found %q, want %s", text, strings.Join(allowed, " or "))
	}
	*v = T(text)
	return nil
}

// Validate reports everything that is wrong with the rule by itself.
func (r *Rule) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if r.ID != "" && !isID(r.ID) {
		wrong("id", "found %q, want 1 to 64 letters, digits and any of . _ -", r.ID)
	}
	if r.ID == DefaultRule {
		wrong("id", "%q is the id of the final default: choose another one", r.ID)
	}
	if r.Action == "" {
		wrong("action", "missing, want %s", strings.Join(r.Action.Allowed(), " or "))
	}
	if len(r.Comment) > MaxComment {
		wrong("comment", "has %d bytes, want at most %d", len(r.Comment), MaxComment)
	}
	for key, ports := range map[string]Ports{"remote_ports": r.RemotePorts, "local_ports": r.LocalPorts} {
		if len(ports) > 0 && !r.Protocol.HasPorts() {
			wrong(key, "protocol %s has no ports, want tcp, udp or sctp", r.Protocol)
		}
	}
	is6 := r.Remote.Prefix.IsValid() && r.Remote.Prefix.Addr().Is6()
	byAddress := r.Remote.Prefix.IsValid() || r.Remote.AddressGroup != "" || r.Remote.VMGroup != ""
	switch t := r.Protocol.EtherType; {
	case t == EtherIPv4 && is6, t == EtherARP && is6:
		wrong("remote", "%s is an IPv6 address, which no packet of protocol %s has", r.Remote, r.Protocol)
	case t == EtherIPv6 && r.Remote.Prefix.IsValid() && !is6:
		wrong("remote", "%s is an IPv4 address, which no packet of protocol %s has", r.Remote, r.Protocol)
	case t != 0 && t != EtherIPv4 && t != EtherIPv6 && t != EtherARP && byAddress:
		wrong("remote", "packets of protocol %s have no IP addresses, want any or a MAC address", r.Protocol)
	}
	return errors.Join(errs...)
}

func isID(s string) bool {
	return len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// list is a list of rules and where it stands in the document.
type list struct {
	path  string
	tier  Tier
	kind  flow.Kind // of what the rules are of; "" of global ones
	of    string    // its name
	at    string    // path of its name
	rules []Rule
}

// lists returns all lists of rules, in the order of the document.
func (p *Policy) lists() []list {
	all := []list{
		{path: "global.mandatory", tier: GlobalMandatory, rules: p.Global.Mandatory},
		{path: "global.default", tier: GlobalDefault, rules: p.Global.Default},
	}
	pools := make([]Named, len(p.Pools))
	for i := range p.Pools {
		pools[i] = p.Pools[i].Named
	}
	for _, level := range []struct {
		key                  string
		kind                 flow.Kind
		mandatory, byDefault Tier
		named                []Named
	}{
		{"pools", flow.KindPool, PoolMandatory, PoolDefault, pools},
		{"networks", flow.KindNetwork, NetworkMandatory, NetworkDefault, p.Networks},
		{"vms", flow.KindVM, VMMandatory, VMDefault, p.VMs},
	} {
		for i := range level.named {
			n, at := &level.named[i], item(level.key, i)
			all = append(all,
				list{at + ".mandatory", level.mandatory, level.kind, n.Name, at + ".name", n.Mandatory},
				list{at + ".default", level.byDefault, level.kind, n.Name, at + ".name", n.Default})
		}
	}
	for i := range p.VIFs {
		at := item("vifs", i)
		all = append(all, list{at + ".rules", VIFRules, flow.KindVIF, p.VIFs[i].Name, at + ".name", p.VIFs[i].Rules})
	}
	return all
}

// level is what a level says of ports, and where it stands in the document.
type level struct {
	path     string    // of its settings
	kind     flow.Kind // of what it is the level of; "" of the global one
	of       string    // its name
	at       string    // path of its name
	settings *Settings // of those that levels returns not nil; the others are nil where the level has no such thing
	failMode *FailMode
	vlans    *vlans
	target   *MirrorTarget
}

// levels returns all levels, in the order of the document.
func (p *Policy) levels() []level {
	all := []level{{path: "global.settings", settings: &p.Global.Settings}}
	add := func(key string, i int, kind flow.Kind, name string, s *Settings) *level {
		at := item(key, i)
		all = append(all, level{path: at + ".settings", kind: kind, of: name, at: at + ".name", settings: s})
		return &all[len(all)-1]
	}
	for i := range p.Pools {
		x := &p.Pools[i]
		l := add("pools", i, flow.KindPool, x.Name, &x.Settings)
		l.failMode, l.vlans = &x.FailMode, (*vlans)(&x.MirrorVLANs)
	}
	for i := range p.Networks {
		add("networks", i, flow.KindNetwork, p.Networks[i].Name, &p.Networks[i].Settings)
	}
	for i := range p.VMs {
		add("vms", i, flow.KindVM, p.VMs[i].Name, &p.VMs[i].Settings)
	}
	for i := range p.VIFs {
		add("vifs", i, flow.KindVIF, p.VIFs[i].Name, &p.VIFs[i].Settings)
	}
	return all
}

func item(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

// complaints collects what is wrong with a policy as a whole; a hundred of them are enough.
type complaints struct {
	errs []error
	more int
}

func (c *complaints) add(key, format string, args ...any) {
	const most = 100
	if len(c.errs) == most {
		c.more++
		return
	}
	c.errs = append(c.errs, strictyaml.At(key, fmt.Errorf(format, args...)))
}

func (c *complaints) err() error {
	if c.more > 0 {
		return errors.Join(append(c.errs, fmt.Errorf("… and %d more problems", c.more))...)
	}
	return errors.Join(c.errs...)
}

// Validate reports what is wrong with the policy as a whole: names and ids that are there twice, groups that hold themselves, and
// whatever is too much. Rules check themselves.
func (p *Policy) Validate() error {
	var c complaints
	if p.Default == Shadow {
		c.add("default", "found shadow, want allow or deny: something has to decide")
	}
	total := 0
	lists := p.lists()
	for _, l := range lists {
		total += len(l.rules)
		if len(l.rules) > MaxRules {
			c.add(l.path, "%d rules, want at most %d in one list", len(l.rules), MaxRules)
		}
	}
	if total > MaxTotal {
		c.add("", "%d rules, want at most %d in all: %s", total, MaxTotal, advice)
		return c.err()
	}
	firstID := make(map[string]string, total)
	for _, l := range lists {
		for i := range l.rules {
			id := l.rules[i].ID
			if id == "" {
				continue
			}
			if first, ok := firstID[id]; ok {
				c.add(item(l.path, i)+".id", "%q is the id of %s, too", id, first)
				continue
			}
			firstID[id] = item(l.path, i)
		}
	}
	names := map[[2]string]string{}
	for _, l := range lists {
		if l.kind == "" || l.tier == PoolDefault || l.tier == NetworkDefault || l.tier == VMDefault {
			continue // the same name as of the mandatory list
		}
		if err := checkName(l.of); err != nil {
			c.add(l.at, "%w", err)
			continue
		}
		key := [2]string{string(l.kind), l.of}
		if first, ok := names[key]; ok {
			c.add(l.at, "%q is at %s, too: put the rules together", l.of, first)
			continue
		}
		names[key] = strings.TrimSuffix(l.at, ".name")
	}
	p.validateGroups(&c)
	p.validateMirrors(&c)
	return c.err()
}

// Limits of what is mirrored.
const (
	MaxMirrorTargets = 64
	MaxMirrorVLANs   = 16 // of a pool
	maxVLAN          = 4094
	maxSession       = 1023 // of ERSPAN
)

// validateMirrors looks at mirror targets, and at who names them.
func (p *Policy) validateMirrors(c *complaints) {
	if n := len(p.MirrorTargets); n > MaxMirrorTargets {
		c.add("mirror_targets", "%d mirror targets, want at most %d", n, MaxMirrorTargets)
		return
	}
	marked := map[uint16]bool{}
	for i := range p.Pools {
		at, list := item("pools", i)+".mirror_vlans", p.Pools[i].MirrorVLANs
		if len(list) > MaxMirrorVLANs {
			c.add(at, "%d VLANs, want at most %d", len(list), MaxMirrorVLANs)
		}
		for j, vlan := range list {
			if vlan < 1 || vlan > maxVLAN {
				c.add(item(at, j), "found %d, want a VLAN from 1 to %d", vlan, maxVLAN)
			}
			marked[vlan] = true
		}
	}
	known := map[string]string{}
	for i := range p.MirrorTargets {
		t, at := &p.MirrorTargets[i], item("mirror_targets", i)
		if first, ok := known[t.Name]; ok {
			c.add(at+".name", "%q is the name of %s, too", t.Name, first)
		} else if t.Name == off || t.Name == "" || !isID(t.Name) {
			c.add(at+".name", "found %q, want 1 to 64 letters, digits and any of . _ -, and not off", t.Name)
		} else {
			known[t.Name] = at
		}
		t.validate(c, at)
		if t.VLAN != 0 && t.VLAN <= maxVLAN && !marked[t.VLAN] {
			c.add(at+".vlan", "no pool has VLAN %d among its mirror_vlans, so that it is sure to be for copies only: add it to those whose VIFs are mirrored there", t.VLAN)
		}
	}
	for _, l := range p.levels() {
		if name := l.settings.Mirror.Target; name != "" && known[name] == "" {
			c.add(l.path+".mirror", "%q is no mirror target%s", name, nearTo(name, known))
		}
	}
}

func nearTo(name string, known map[string]string) string {
	if word := nearest.Word(name, slices.Collect(maps.Keys(known))); word != "" {
		return fmt.Sprintf("; did you mean %q?", word)
	}
	return ": mirror_targets lists them"
}

// validate reports what is wrong with the target by itself.
func (t *MirrorTarget) validate(c *complaints, at string) {
	n := 0
	for _, is := range []bool{t.VLAN != 0, t.Port != "", t.GRE.IsValid(), t.ERSPAN.IsValid()} {
		if is {
			n++
		}
	}
	if n != 1 {
		c.add(at, "says %d of vlan, port, gre and erspan, want one", n)
	}
	if t.VLAN > maxVLAN {
		c.add(at+".vlan", "found %d, want a VLAN from 1 to %d", t.VLAN, maxVLAN)
	}
	if t.Port != "" {
		if err := checkName(t.Port); err != nil {
			c.add(at+".port", "%w", err)
		}
	}
	for key, a := range map[string]netip.Addr{"gre": t.GRE, "erspan": t.ERSPAN} {
		if a.IsValid() && (a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.Zone() != "") {
			c.add(at+"."+key, "found %s, want the address of one machine", a)
		}
	}
	if t.Key != 0 && !t.GRE.IsValid() && !t.ERSPAN.IsValid() {
		c.add(at+".key", "only gre and erspan have a key")
	}
	if t.ERSPAN.IsValid() && (t.Key == 0 || t.Key > maxSession) {
		c.add(at+".key", "found %d, want a session of ERSPAN from 1 to %d", t.Key, maxSession)
	}
}

// nest is a group that may hold others.
type nest struct {
	name, path string
	groups     []string // names
	paths      []string // of groups
}

func (p *Policy) validateGroups(c *complaints) {
	var addresses, vms []nest
	members := 0
	for i := range p.AddressGroups {
		g, at := &p.AddressGroups[i], item("address_groups", i)
		n := nest{name: g.Name, path: at}
		members += len(g.Members)
		for j, m := range g.Members {
			if name, ok := strings.CutPrefix(m, addressGroupWord); ok {
				n.groups, n.paths = append(n.groups, name), append(n.paths, item(at+".members", j))
			} else if _, err := estate.ParseMember(m); err != nil {
				c.add(item(at+".members", j), "%w, or address-group:NAME", err)
			}
		}
		addresses = append(addresses, n)
	}
	if members > MaxMembers {
		c.add("address_groups", "%d members, want at most %d in all", members, MaxMembers)
	}
	members = 0
	for i := range p.VMGroups {
		g, at := &p.VMGroups[i], item("vm_groups", i)
		n := nest{name: g.Name, path: at, groups: g.Groups}
		members += len(g.VMs) + len(g.Groups) + len(g.Select)
		for j := range g.Groups {
			n.paths = append(n.paths, item(at+".groups", j))
		}
		for j, vm := range g.VMs {
			if err := checkName(vm); err != nil {
				c.add(item(at+".vms", j), "%w", err)
			}
		}
		for j := range g.Select {
			if s := &g.Select[j]; len(s.Tags) == 0 && s.Name == "" && s.Network == "" && s.Pool == "" && len(s.Attributes) == 0 {
				c.add(item(at+".select", j), `selects by nothing: say what the VMs have in common, or name: "*" for all`)
			}
		}
		vms = append(vms, n)
	}
	if members > MaxMembers {
		c.add("vm_groups", "%d members, want at most %d in all", members, MaxMembers)
	}
	validateNests(c, "address_groups", addresses)
	validateNests(c, "vm_groups", vms)
}

// validateNests looks at the names of groups, and at how they hold each other.
func validateNests(c *complaints, key string, nests []nest) {
	if len(nests) > MaxGroups {
		c.add(key, "%d groups, want at most %d", len(nests), MaxGroups)
		return
	}
	byName := make(map[string]*nest, len(nests))
	for i := range nests {
		n := &nests[i]
		if err := checkName(n.name); err != nil {
			c.add(n.path+".name", "%w", err)
		} else if first, ok := byName[n.name]; ok {
			c.add(n.path+".name", "%q is the name of %s, too", n.name, first.path)
		} else {
			byName[n.name] = n
		}
		for j, g := range n.groups {
			if err := checkName(g); err != nil {
				c.add(n.paths[j], "%w", err)
			}
		}
	}
	// Depth first; a group that is met while what it holds is looked at holds itself.
	const looking = -1
	depth := map[*nest]int{}
	var way []string
	var look func(n *nest) int
	look = func(n *nest) int {
		if d, ok := depth[n]; ok {
			return d
		}
		depth[n] = looking
		way = append(way, n.name)
		deepest := 0
		for j, name := range n.groups {
			inner := byName[name]
			if inner == nil { // of the estate, which hold no groups, or unknown
				continue
			}
			d := look(inner)
			if d == looking {
				from := slices.Index(way, name)
				c.add(n.paths[j], "the group holds itself: %s", strings.Join(append(slices.Clone(way[from:]), name), " → "))
				continue
			}
			deepest = max(deepest, d)
		}
		way = way[:len(way)-1]
		depth[n] = deepest + 1
		return deepest + 1
	}
	for i := range nests {
		if d := look(&nests[i]); d == MaxNesting+1 {
			c.add(nests[i].path, "groups in groups in groups … are nested deeper than %d", MaxNesting)
		}
	}
}

// Identify gives rules without an id one: that of a rule of former, which may be nil, that says the same at the same place and is
// not in p otherwise, else what next returns. It returns how many it gave.
func (p *Policy) Identify(former *Policy, next func() string) int {
	type place struct {
		tier Tier
		of   string
		text string
	}
	used, reserved, known, given := map[string]bool{}, map[string]bool{}, map[place][]string{}, 0
	for _, l := range p.lists() {
		for i := range l.rules {
			used[l.rules[i].ID] = true
		}
	}
	if former != nil {
		for _, l := range former.lists() {
			for i := range l.rules {
				if r := &l.rules[i]; r.ID != "" && !used[r.ID] {
					reserved[r.ID] = true
					k := place{l.tier, l.of, r.meaning(0)}
					known[k] = append(known[k], r.ID)
				}
			}
		}
	}
	for _, l := range p.lists() {
		for i := range l.rules {
			r := &l.rules[i]
			if r.ID != "" {
				continue
			}
			k := place{l.tier, l.of, r.meaning(0)}
			if ids := known[k]; len(ids) > 0 {
				r.ID, known[k] = ids[0], ids[1:]
			} else {
				for r.ID = next(); used[r.ID] || reserved[r.ID]; r.ID = next() {
				}
			}
			used[r.ID] = true
			given++
		}
	}
	return given
}

// meaning returns what a rule does, to whom, in one form: rules that mean the same have the same. group is the id of its remote,
// if that is a group that has one.
func (r *Rule) meaning(group flow.ID) string {
	remote := r.Remote.String()
	if group != 0 {
		remote = fmt.Sprintf("group:%d", uint64(group))
	}
	return fmt.Sprintf("%s %s %s %s remote_ports=%s local_ports=%s", r.Action, cmp.Or(r.Direction, Either), r.Protocol, remote,
		r.RemotePorts.merged(), r.LocalPorts.merged())
}
