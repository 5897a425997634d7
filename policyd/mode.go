package policyd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/export"
	"github.com/weirhq/weir/policyd/state"
)

// BridgeSocket is a socket at which bridges dial in.
type BridgeSocket struct {
	net.Listener
	TLS   bool
	Reach netip.AddrPort // by which hosts reach it; zero: the address from which Weir reaches the host's database, and its port
}

// ListenBridges binds policy.listeners.
func ListenBridges(ctx context.Context, list []BridgeListener) ([]BridgeSocket, error) {
	configs := make([]hosts.ListenerConfig, len(list))
	for i := range list {
		configs[i] = list[i].ListenerConfig
	}
	bound, err := hosts.Listen(ctx, configs)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	sockets := make([]BridgeSocket, len(bound))
	for i, l := range bound {
		sockets[i] = BridgeSocket{l.Listener, l.TLS, list[i].Reach}
	}
	return sockets, nil
}

// reach returns how hosts reach the socket; without an address, it is for each host another one.
func (b *BridgeSocket) reach() netip.AddrPort {
	if b.Reach.IsValid() {
		return b.Reach
	}
	a, err := netip.ParseAddrPort(b.Addr().String())
	if err != nil || a.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.Addr{}, a.Port())
	}
	return a
}

// PoolRequest is what is said of a pool; what is nil stays.
type PoolRequest struct {
	Mode     *string `json:"mode,omitempty" enum:"observe,enforce" doc:"Of its hosts that have none of their own."`
	Sampling *string `json:"sampling,omitempty" doc:"auto, full, new or off; empty: as configured."`
}

// BypassRequest says where policy is to be switched off.
type BypassRequest struct {
	Target string `json:"target" minLength:"1" maxLength:"520" doc:"estate, or pool:, host: or vif: and its name."`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why; it is shown as long as policy is off."`
}

// noListener says what to configure.
const noListener = `no bridge can reach Weir: configure where bridges dial in, as policy: {listeners: [{addr: ":6653"}]}, and start Weir again`

// checkMode says why a host cannot have a mode; nil: it can.
func (s *Service) checkMode(mode state.Mode) error {
	switch mode {
	case state.ModeObserve, state.ModeInherit:
		return nil
	case state.ModeEnforce:
		if len(s.deps.Bridges) == 0 {
			return mistake("%s", noListener)
		}
		return nil
	case state.ModeDetach:
	}
	return mistake("mode %q: want observe, enforce or inherit", mode)
}

// SetMode says what Weir may do at a host.
func (s *Service) SetMode(ctx context.Context, by audit.Actor, nameOrUUID string, mode state.Mode) error {
	if err := s.checkMode(mode); err != nil {
		return err
	}
	before, err := s.Host(nameOrUUID)
	if err != nil {
		return err
	}
	h, err := s.deps.State.UpdateHost(ctx, by.Does(audit.HostMode), before.UUID, func(h *state.Host) error {
		h.Mode = mode
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.Configure(ctx); err != nil {
		return err
	}
	s.again()
	s.governor.poke()
	now, err := s.Host(h.UUID)
	if err != nil {
		return err
	}
	s.log.Info("mode of host changed", "host", h.Name, "mode", string(now.Mode), "by", by.User)
	s.tellMode("host "+h.Name, h.Name, before.Mode, now.Mode, by.User, flow.NewID(flow.KindHost, h.UUID))
	return nil
}

func (s *Service) tellMode(what, subject string, before, after state.Mode, by string, host flow.ID) {
	s.emit(event.Event{
		Time: time.Now(), Kind: event.HostModeChanged, Host: host, Subject: subject, Text: fmt.Sprintf("mode of %s changed from %s to %s by %s", what, before, after, by),
		Attributes: map[string]string{"before": string(before), "after": string(after), "by": by},
	})
}

// SetPool says what is so at the hosts of a pool.
func (s *Service) SetPool(ctx context.Context, by audit.Actor, pool string, r PoolRequest) error {
	if err := validName("pool", pool); err != nil {
		return err
	}
	var mode state.Mode
	if r.Mode != nil {
		mode = state.Mode(*r.Mode)
		if err := s.checkMode(mode); err != nil {
			return err
		}
	}
	if r.Sampling != nil && *r.Sampling != "" {
		if err := new(Sampling).UnmarshalText([]byte(*r.Sampling)); err != nil {
			return mistake("sampling: %v", err)
		}
	}
	var before state.Pool
	after, err := s.deps.State.UpdatePool(ctx, by.Does(audit.PoolPolicy), pool, func(p *state.Pool) error {
		before = *p
		if r.Mode != nil {
			p.Mode = mode
		}
		if r.Sampling != nil {
			p.Sampling = *r.Sampling
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.Configure(ctx); err != nil {
		return err
	}
	s.again()
	s.governor.poke()
	s.log.Info("policy of pool set", "pool", pool, "mode", string(after.Mode), "sampling", after.Sampling, "by", by.User)
	if was, is := before.Mode.In(state.ModeInherit), after.Mode.In(state.ModeInherit); was != is {
		s.tellMode("pool "+pool, pool, was, is, by.User, 0)
	}
	return nil
}

// bypassTarget is what people call where policy is off.
func bypassTarget(b state.Bypass) string {
	if b.Kind == state.BypassEstate {
		return string(b.Kind)
	}
	return string(b.Kind) + ":" + b.Name
}

// parseBypass returns what a target means. There may be nothing of that name any more, if it is only to be ended.
func (s *Service) parseBypass(ctx context.Context, target string) (state.Bypass, error) {
	kind, name, _ := strings.Cut(target, ":")
	b := state.Bypass{Kind: state.BypassKind(kind), Name: name}
	switch b.Kind {
	case state.BypassEstate:
		if name != "" {
			return b, mistake("target %q: want estate alone", target)
		}
		b.Name = "estate"
		return b, nil
	case state.BypassPool:
		b.Target = name
		pools, err := s.deps.State.Pools(ctx)
		if err != nil {
			return b, err
		}
		if !slices.ContainsFunc(pools, func(p state.Pool) bool { return p.Name == name }) {
			names := make([]string, len(pools))
			for i := range pools {
				names[i] = pools[i].Name
			}
			return b, fmt.Errorf("find pool %q: %w%s", name, state.ErrNotFound, nearest.Hint(name, names, ": weir hosts list shows those that hosts are in"))
		}
		return b, nil
	case state.BypassHost:
		h, err := s.deps.State.Host(ctx, name)
		b.Target, b.Name = h.UUID, h.Name
		return b, err
	case state.BypassVIF:
		v, err := s.findVIF(name)
		if err != nil {
			return b, err
		}
		b.Target, b.Name = strconv.FormatUint(uint64(v.id), 10), v.name
		return b, nil
	}
	return b, mistake("target %q: want estate, pool:NAME, host:NAME or vif:VM/DEVICE", target)
}

// vif is one that was found by its name.
type vif struct {
	id   flow.ID
	name string // VM/DEVICE, with the pool before where that is needed
}

// findVIF returns the VIF of a name: VM/DEVICE, pool/VM/DEVICE, its UUID, or the VM's name if that has one VIF.
func (s *Service) findVIF(name string) (vif, error) {
	m := s.deps.Assembler.Model()
	pools, poolOf := map[string]string{}, map[string]string{}
	for i := range m.Pools {
		pools[m.Pools[i].Key] = m.Pools[i].Name
	}
	for i := range m.Hosts {
		poolOf[m.Hosts[i].Key] = m.Hosts[i].Pool
	}
	var found []vif
	var pool string // of the last found
	times := map[string]int{}
	var several, known []string
	for i := range m.VMs {
		vm := &m.VMs[i]
		in := pools[cmp.Or(poolOf[vm.Host], vm.Pool)]
		known = append(known, vm.Name)
		for j := range vm.VIFs {
			v := &vm.VIFs[j]
			called := vm.Name + "/" + cmp.Or(v.Device, v.MAC.String())
			times[called]++
			if known = append(known, called); name == vm.Name {
				several = append(several, called)
			}
			if name == called || in != "" && name == in+"/"+called || v.UUID != "" && strings.EqualFold(name, v.UUID) || name == vm.Name && len(vm.VIFs) == 1 {
				found, pool = append(found, vif{flow.NewID(flow.KindVIF, v.Key), called}), in
			}
		}
	}
	switch len(found) {
	case 1:
		v := found[0]
		if times[v.name] > 1 && pool != "" {
			v.name = pool + "/" + v.name
		}
		return v, nil
	case 0:
		if len(several) > 0 {
			return vif{}, fmt.Errorf("find VIF %q: %w: that is a VM with %d VIFs: %s", name, state.ErrNotFound, len(several), strings.Join(several, ", "))
		}
		return vif{}, fmt.Errorf("find VIF %q: %w%s", name, state.ErrNotFound,
			nearest.Hint(name, known, ": want VM/DEVICE, pool/VM/DEVICE, a UUID, or a VM that has one VIF"))
	}
	return vif{}, mistake("VIF %q is the name of %d: write it as pool/VM/DEVICE or by UUID", name, len(found))
}

// Bypass switches policy off. It is so at hosts that are reached within a moment, and lasts until EndBypass.
func (s *Service) Bypass(ctx context.Context, by audit.Actor, r BypassRequest) (BypassChange, error) {
	b, err := s.parseBypass(ctx, r.Target)
	if err != nil {
		return BypassChange{}, err
	}
	by.Reason = cmp.Or(r.Reason, by.Reason)
	if b, err = s.deps.State.SetBypass(ctx, by.Does(audit.PolicyBypass), b); err != nil {
		return BypassChange{}, err
	}
	s.bypassed(ctx)
	st := BypassStatus{bypassTarget(b), b.Since, b.By, b.Reason}
	s.log.Warn("policy switched off", "target", st.Target, "by", by.User, "reason", by.Reason)
	s.emit(event.Event{
		Time: b.Since, Kind: event.PolicyBypassed, Subject: st.Target, Text: fmt.Sprintf("policy switched off for %s by %s%s", st.Target, by.User, after(": ", by.Reason)),
		Attributes: map[string]string{"target": st.Target, "by": by.User, "reason": by.Reason},
	})
	return BypassChange{st, s.concernOf(b)}, nil
}

// bypassed has the governor know of a bypass, at the latest when the state's subscribers are told.
func (s *Service) bypassed(ctx context.Context) {
	if err := s.governor.read(ctx); err == nil {
		s.governor.poke()
	}
}

// EndBypass switches policy on again, and says what for, as it was switched off. An error for which errors.Is(err, state.ErrNotFound): it was not off there.
func (s *Service) EndBypass(ctx context.Context, by audit.Actor, target string) (BypassChange, error) {
	i, err := s.deps.State.Intent(ctx)
	if err != nil {
		return BypassChange{}, err
	}
	for _, b := range i.Bypasses {
		if bypassTarget(b) != target && target != string(b.Kind)+":"+b.Target {
			continue
		}
		if err := s.deps.State.EndBypass(ctx, by.Does(audit.PolicyBypassEnd), b.Kind, b.Target); err != nil {
			return BypassChange{}, err
		}
		s.bypassed(ctx)
		s.log.Info("policy switched on again", "target", target, "by", by.User)
		s.emit(event.Event{
			Time: time.Now(), Kind: event.PolicyRestored, Subject: target, Text: fmt.Sprintf("policy switched on again for %s by %s", target, by.User),
			Attributes: map[string]string{"target": target, "by": by.User},
		})
		return BypassChange{BypassStatus{bypassTarget(b), b.Since, b.By, b.Reason}, s.concernOf(b)}, nil
	}
	return BypassChange{}, fmt.Errorf("end bypass of %q: %w: weir bypass list shows what there is", target, state.ErrNotFound)
}

// poolsByName returns what was said of pools.
func (s *Service) poolsByName() map[string]state.Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.pools)
}

// offline says why a host is not reached; "" it is.
func offline(st ovsdb.Status) string {
	if st.State == ovsdb.StateConnected {
		return ""
	}
	return cmp.Or(st.Error, string(st.State))
}

// waitsToAttach says whether some bridge of a host has no controller of Weir's yet.
func (g *governor) waitsToAttach(s *subject) bool {
	for i := range s.seen.Bridges {
		if !attached(&s.seen.Bridges[i]) {
			return true
		}
	}
	return false
}

// planAttach returns what attaching all bridges of a host would change in its database; list is what was tried for them.
func (s *Service) planAttach(ctx context.Context, x *subject, list []*trial) (*export.Plan, error) {
	bridges := map[string]export.Enforced{}
	for i := range x.seen.Bridges {
		name := x.seen.Bridges[i].Name
		bridges[name] = export.Enforced{Sampling: x.sampling.of(x.datapath[name]), Flows: export.FlowsInstalled} // as it is in the end
	}
	for _, t := range list {
		if e, ok := bridges[t.bridge]; ok && t.host.UUID == x.UUID {
			e.Limits = limitsOf(&t.input)
			bridges[t.bridge] = e
		}
	}
	to := s.governor.attachSettings(x.host, x.status)
	to.Wipe = true
	p, err := s.exports.PlanEnforced(ctx, x.UUID, bridges, to)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

// PlanMode says what another mode would change at a host. It changes nothing.
func (s *Service) PlanMode(ctx context.Context, nameOrUUID string, mode state.Mode) (ModePlan, error) {
	h, err := s.deps.State.Host(ctx, nameOrUUID)
	if err != nil {
		return ModePlan{}, err
	}
	p := ModePlan{Host: h.Name, Mode: mode.In(s.poolsByName()[h.Pool].Mode), Bridges: []BridgePlan{}}
	if err := s.checkMode(mode); err != nil {
		p.Refused = append(p.Refused, err.Error())
		return p, nil
	}
	g := s.governor
	g.applying.Lock()
	defer g.applying.Unlock()
	i, err := s.deps.State.Intent(ctx)
	if err != nil {
		return p, err
	}
	revision := i.RevisionOf(h.UUID)
	if p.Mode == state.ModeEnforce && revision == 0 {
		p.Warnings = append(p.Warnings, "no policy was applied yet: nothing changes before weir policy apply")
		return p, nil
	}
	g.mu.Lock()
	g.see()
	g.resolve(time.Now())
	var x *subject
	for _, s := range g.subjects(&g.world, i, s.poolsByName()) {
		if s.UUID == h.UUID {
			x = s
		}
	}
	r := g.resolved[revision]
	g.mu.Unlock()
	if x == nil {
		p.Warnings = append(p.Warnings, "the host was never reached: what is there is not known, and changes when it is")
		return p, nil
	}
	if why := offline(x.status); why != "" {
		p.Warnings = append(p.Warnings, "the host is offline, it changes when it is back: "+why)
	}
	if p.Mode != state.ModeEnforce {
		return p, s.planLeave(ctx, x, &p)
	}
	if r == nil || r.set == nil {
		return p, mistake("the policy of revision %d is not in force yet: try again", revision)
	}
	c := &candidate{intent: i, base: revision, only: []string{h.UUID}, policy: r.policy, resolved: r, first: flow.MaxInstance + 1}
	list := g.tries(c, time.Now(), func(o *host) bool { return o.UUID == h.UUID })
	p.Refused = append(p.Refused, refusals(list)...)
	for _, t := range list {
		b := t.plan()
		b.FailMode = s.failModeBecomes(t, c)
		p.Bridges = append(p.Bridges, b)
		if t.desired != nil {
			p.Warnings = append(p.Warnings, prefixed("bridge "+t.bridge+": ", t.desired.Warnings)...)
		}
		if !t.input.Capabilities.ConnTrack {
			p.Warnings = append(p.Warnings, "bridge "+t.bridge+": "+stateless)
		}
	}
	if x.status.State == ovsdb.StateConnected {
		p.Changes, err = s.planAttach(ctx, x, list)
	}
	return p, err
}

// stateless is what to know of a host without connection tracking.
const stateless = "this Open vSwitch tracks no connections: each allow rule also lets the mirrored packets pass, as if they were replies"

func prefixed(lead string, list []string) []string {
	var out []string
	for _, text := range list {
		out = append(out, lead+text)
	}
	return out
}

// planLeave says what taking policy off a host would change.
func (s *Service) planLeave(ctx context.Context, x *subject, p *ModePlan) error {
	for i := range x.seen.Bridges {
		if st, ok := s.bridgeStatus(x.UUID, x.seen.Bridges[i].Name); ok {
			p.Bridges = append(p.Bridges, BridgePlan{Bridge: x.seen.Bridges[i].Name, Removed: st.Installed})
		}
	}
	if x.status.State != ovsdb.StateConnected {
		return nil
	}
	plan, err := s.exports.PlanEnforced(ctx, x.UUID, nil, attach.Settings{})
	if err == nil {
		p.Changes = &plan
	}
	return err
}
