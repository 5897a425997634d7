package policyd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/shape"
	"github.com/weirhq/weir/policyd/state"
)

// Effective returns the rules that decide about a VIF, in their order.
func (s *Service) Effective(_ context.Context, name string) (Effective, error) {
	v, err := s.findVIF(name)
	if err != nil {
		return Effective{}, err
	}
	at := s.plugged()
	g := s.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policies == nil || len(g.policies.Policies) == 0 {
		return Effective{}, fmt.Errorf("effective rules of %q: %w: no policy was applied yet", name, state.ErrNotFound)
	}
	revision := g.policies.Revision
	noTracking := false
	e := Effective{VIF: v.name, Hosts: g.hostsOf(v.id, at), Rules: []EffectiveRule{}}
	for _, h := range at[v.id] {
		revision = g.policies.RevisionOf(h.UUID)
		noTracking = !capabilities(h.ovsVersion).ConnTrack
	}
	r := g.resolved[revision]
	if r == nil || r.set == nil {
		return Effective{}, mistake("the policy of revision %d is not in force yet: try again", revision)
	}
	x := r.estate.VIFs[v.id]
	if x == nil {
		return Effective{}, fmt.Errorf("find VIF %q: %w", name, state.ErrNotFound)
	}
	names := s.deps.Estate.Load()
	nameOf := func(id flow.ID) string {
		e, _ := names.Entity(id)
		return e.Name
	}
	e.VM, e.Network, e.Pool = nameOf(x.VM), nameOf(x.Network), nameOf(x.Pool)
	for _, line := range policy.Effective(r.set, r.estate, x, noTracking) {
		rule := &line.Entry.Rule
		if rule.ID == policy.DefaultRule {
			e.Default = string(rule.Action)
			continue
		}
		n := EffectiveRule{
			Number: len(e.Rules) + 1, Rule: rule.ID, Where: where(line.Entry.Scope, map[policy.Scope]string{line.Entry.Scope: line.Of}), Text: rule.String(),
			Instance: line.Entry.Instance, Comment: rule.Comment,
		}
		if line.Covered != nil {
			n.Hidden = line.Covered.Rule.ID
		}
		e.Rules = append(e.Rules, n)
	}
	e.Quarantined = quarantineOf(g.intent, x.ID)
	e.Settings = withNotes(policy.EffectiveSettings(r.set, x), s.rateNotes()[v.id])
	return e, nil
}

// EffectiveRequest asks for the settings of VIFs.
type EffectiveRequest struct {
	Of        string // estate, or pool:, network:, vm: or vif: and a name
	Unguarded bool   // only VIFs at which guards that are on are not enforced in full
	After     string // go on after the VIF with this Key; "": from the first one
	Limit     int    // at most so many; 0: all
}

// levelWords are the kinds of what a request for settings names before a colon.
var levelWords = map[string]flow.Kind{"pool": flow.KindPool, "network": flow.KindNetwork, "vm": flow.KindVM, "vif": flow.KindVIF}

// effectiveOf returns which VIFs are asked for; g.mu is held.
func (s *Service) effectiveOf(of string) (func(*policy.Interface) bool, error) {
	if of == "estate" {
		return func(*policy.Interface) bool { return true }, nil
	}
	word, name, _ := strings.Cut(of, ":")
	kind := levelWords[word]
	if kind == "" || name == "" {
		return nil, mistake("settings of %q: want estate, pool:NAME, network:NAME, vm:NAME or vif:VM/DEVICE", of)
	}
	if kind == flow.KindVIF {
		v, err := s.findVIF(name)
		return func(x *policy.Interface) bool { return x.ID == v.id }, err
	}
	id, err := s.governor.world.names.Find(kind, name)
	switch {
	case err != nil:
		return nil, mistake("settings of %s: %v", of, err)
	case id == 0:
		return nil, fmt.Errorf("find %s %q: %w%s", word, name, state.ErrNotFound, s.governor.world.names.Near(kind, name))
	}
	return func(x *policy.Interface) bool {
		return kind == flow.KindPool && x.Pool == id || kind == flow.KindNetwork && x.Network == id || kind == flow.KindVM && x.VM == id
	}, nil
}

// EffectiveSettings returns the settings of VIFs, by name, and whether there are more. Of each it is the policy that is in force, or would be, at the host
// where it is plugged.
func (s *Service) EffectiveSettings(_ context.Context, r EffectiveRequest) (list []EffectiveVIF, more bool, err error) {
	at := s.plugged()
	g := s.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.policies == nil || len(g.policies.Policies) == 0 {
		return nil, false, fmt.Errorf("settings of %q: %w: no policy was applied yet", r.Of, state.ErrNotFound)
	}
	g.see()
	asked, err := s.effectiveOf(r.Of)
	if err != nil {
		return nil, false, err
	}
	in := func(id flow.ID) *resolved {
		revision := g.policies.Revision
		for _, h := range at[id] {
			revision = g.policies.RevisionOf(h.UUID)
		}
		if x := g.resolved[revision]; x != nil && x.set != nil {
			return x
		}
		return nil
	}
	type found struct {
		vif *policy.Interface
		in  *resolved
		key string
	}
	var all []found
	seen := map[flow.ID]bool{}
	for _, x := range g.resolved {
		if x.estate == nil {
			continue
		}
		for id, vif := range x.estate.VIFs {
			if seen[id] || !asked(vif) {
				continue
			}
			seen[id] = true
			y := in(id)
			if y == nil || y.estate.VIFs[id] == nil || r.Unguarded && !y.set.Unguarded(y.estate.VIFs[id]) {
				continue
			}
			if f := (found{y.estate.VIFs[id], y, effectiveKey(vif.Name, id)}); f.key > r.After {
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.key, b.key) })
	if more = r.Limit > 0 && len(all) > r.Limit; more {
		all = all[:r.Limit]
	}
	names := s.deps.Estate.Load()
	nameOf := func(id flow.ID) string {
		e, _ := names.Entity(id)
		return e.Name
	}
	notes := s.rateNotes()
	list = make([]EffectiveVIF, 0, len(all))
	for _, f := range all {
		x := EffectiveVIF{
			ID: f.vif.ID, VIF: f.vif.Name, VM: nameOf(f.vif.VM), Network: nameOf(f.vif.Network), Pool: nameOf(f.vif.Pool), Hosts: g.hostsOf(f.vif.ID, at),
			Quarantined: quarantineOf(g.intent, f.vif.ID), Settings: withNotes(policy.EffectiveSettings(f.in.set, f.vif), notes[f.vif.ID]),
		}
		list = append(list, x)
	}
	return list, more, nil
}

// Key is what VIFs are listed by.
func (v *EffectiveVIF) Key() string { return effectiveKey(v.VIF, v.ID) }

func effectiveKey(name string, id flow.ID) string { return fmt.Sprintf("%s\x00%020d", name, id) }

// hostsOf returns where a VIF is plugged; g.mu is held.
func (g *governor) hostsOf(id flow.ID, at map[flow.ID][]plugged) []EffectiveHost {
	list := []EffectiveHost{}
	for _, h := range at[id] {
		list = append(list, EffectiveHost{Host: h.Name, State: h.state, Bypassed: cmp.Or(h.bypassed, vifBypass(g.intent, id))})
	}
	return list
}

// withNotes adds notes, by key, to those of settings.
func withNotes(list []policy.EffectiveSetting, notes map[string][]string) []policy.EffectiveSetting {
	for i := range list {
		for _, n := range notes[list[i].Key] {
			if x := &list[i]; !slices.Contains(x.Notes, n) { // what the platform limits is known to both
				x.Notes = append(x.Notes, n)
			}
		}
	}
	return list
}

// rateNotes says of VIFs, by key of a setting, what has their rates in force where they are plugged; s.governor.mu is held.
func (s *Service) rateNotes() map[flow.ID]map[string][]string {
	notes := map[flow.ID]map[string][]string{}
	for _, h := range s.exports.Status() {
		key := s.governor.world.hosts[h.UUID]
		for _, b := range h.Bridges {
			if b.Limits == nil {
				continue
			}
			for _, p := range b.Limits.Ports {
				id := s.governor.world.ports[portKey{key, b.Name, p.Name}]
				note := func(key string, d *shape.Direction) {
					if d == nil || id == 0 {
						return
					}
					if notes[id] == nil {
						notes[id] = map[string][]string{}
					}
					notes[id][key] = append(notes[id][key], fmt.Sprintf("at host %s, port %s: %s", h.Name, p.Name, d))
					notes[id][key] = append(notes[id][key], d.Warnings...)
				}
				note("rate_out", p.Out)
				note("rate_in", p.In)
			}
		}
	}
	return notes
}

func vifBypass(i *state.Intent, id flow.ID) string {
	for _, b := range i.Bypasses {
		if b.Kind == state.BypassVIF && b.Target == strconv.FormatUint(uint64(id), 10) {
			return fmt.Sprintf("%s, by %s%s", bypassTarget(b), b.By, after(": ", b.Reason))
		}
	}
	return ""
}

// plugged is a host where a VIF is plugged.
type plugged struct {
	HostPolicyRef
	ovsVersion string
	state      HostState
	bypassed   string
}

// HostPolicyRef names a host.
type HostPolicyRef struct{ UUID, Name string }

// plugged returns the hosts where VIFs are plugged.
func (s *Service) plugged() map[flow.ID][]plugged {
	m := s.deps.Assembler.Model()
	names := map[string]string{} // by key
	for i := range m.Hosts {
		names[m.Hosts[i].Key] = m.Hosts[i].Name
	}
	byName := map[string]*HostPolicy{}
	hosts := s.hostPolicies()
	for i := range hosts {
		byName[hosts[i].Host] = &hosts[i]
	}
	at := map[flow.ID][]plugged{}
	for i := range m.VMs {
		for j := range m.VMs[i].VIFs {
			v := &m.VMs[i].VIFs[j]
			if len(v.Ports) == 0 {
				continue
			}
			id := flow.NewID(flow.KindVIF, v.Key)
			for _, p := range v.Ports {
				h := byName[names[p.Host]]
				if h == nil || slices.ContainsFunc(at[id], func(x plugged) bool { return x.UUID == h.UUID }) {
					continue
				}
				at[id] = append(at[id], plugged{HostPolicyRef{h.UUID, h.Host}, h.ovsVersion, h.State, h.Bypassed})
			}
			slices.SortFunc(at[id], func(a, b plugged) int { return strings.Compare(a.Name, b.Name) })
		}
	}
	return at
}
