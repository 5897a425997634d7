package oracle_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// shrinking is how long a failure may be made smaller: seconds on an idle machine.
const shrinking = 2 * time.Minute

// small is a failure that a bridge shows from the beginning.
type small struct {
	in   *compile.Input
	down map[of.Port]bool
	// frames are what the bridge gets: the last is the one that is wrong, the others teach it addresses.
	frames []frame

	spoil func(of.Flow) bool // which flows are left out, to have a failure; nil: none
}

// fails says what is wrong; empty: nothing is, or it is not what the last frame shows.
func (s *small) fails(ctx context.Context, real *realSwitch) string {
	if len(s.frames) == 0 {
		return ""
	}
	live := func(p of.Port) bool { return !s.down[p] }
	d, err := compile.New().Compile(s.in)
	if err != nil {
		return ""
	}
	flows := slices.Collect(d.Each())
	if s.spoil != nil {
		flows = slices.DeleteFunc(flows, s.spoil)
	}
	c, err := loadFlows(s.in, flows, d, live)
	if err != nil {
		return err.Error()
	}
	u := &run{counts: &counts{}, real: real, traces: framesPerStep}
	if real != nil && (real.setDown(s.down) != nil || real.set(ctx, d) != nil) {
		return ""
	}
	b := newBridge(s.in, live)
	for i, f := range s.frames {
		last := i == len(s.frames)-1
		err := u.one(ctx, b, c, f, last)
		var wrong *disagreement
		switch {
		case last && errors.As(err, &wrong):
			return wrong.text
		case err != nil:
			return ""
		}
	}
	return ""
}

// shrink makes a failure smaller for as long as it stays one: frames before it, rules, members of groups, VIFs, ports, settings.
func shrink(ctx context.Context, s *small, real *realSwitch) (*small, string) {
	last := s.fails(ctx, real)
	if last == "" {
		return s, ""
	}
	deadline := time.Now().Add(shrinking)
	for smaller := true; smaller && time.Now().Before(deadline); {
		smaller = false
		for _, next := range s.smaller() {
			if time.Now().After(deadline) {
				break
			}
			// What is taken away changes the places of others: each step is tried on what there is then.
			for at := 0; ; {
				t := next(at)
				if t == nil {
					break
				}
				if wrong := t.fails(ctx, real); wrong != "" {
					*s, last, smaller = *t, wrong, true
					continue
				}
				at++
			}
		}
	}
	return s, last
}

// smaller returns steps, each of which takes away the thing at a place; nil: there is none.
func (s *small) smaller() []func(at int) *small {
	with := func(change func(in *compile.Input)) *small {
		t := *s
		t.in = clone(s.in)
		change(t.in)
		return &t
	}
	return []func(at int) *small{
		func(at int) *small { // frames
			if at >= len(s.frames)-1 {
				return nil
			}
			t := *s
			t.frames = slices.Delete(slices.Clone(s.frames), at, at+1)
			return &t
		},
		func(at int) *small { // rules
			if at >= len(s.in.Policy.Entries())-1 { // the last is the default
				return nil
			}
			return with(func(in *compile.Input) { edit(in, at) })
		},
		func(at int) *small { // VIFs
			plugged := s.in.Interfaces()
			for i := range plugged {
				if plugged[i] == nil {
					continue
				}
				if at--; at < 0 {
					return with(func(in *compile.Input) {
						for _, p := range in.Inventory.VIFs[i].Ports {
							in.Inventory.Ports[p].OFPort = 0
						}
					})
				}
			}
			return nil
		},
		func(at int) *small { // other ports
			for i, p := range s.in.Inventory.Ports {
				if p.VIF >= 0 || p.OFPort == 0 {
					continue
				}
				if at--; at < 0 {
					return with(func(in *compile.Input) { in.Inventory.Ports[i].OFPort = 0 })
				}
			}
			return nil
		},
		func(at int) *small { // addresses of groups
			for id, list := range s.in.Estate.AddressGroups {
				for k := range list {
					if at--; at < 0 {
						return with(func(in *compile.Input) {
							in.Estate.AddressGroups[id] = slices.Delete(slices.Clone(list), k, k+1)
						})
					}
				}
			}
			return nil
		},
		func(at int) *small { // settings
			settings := []func(in *compile.Input){
				func(in *compile.Input) { in.Retired = nil }, func(in *compile.Input) { in.Weir = compile.Machine{} },
				func(in *compile.Input) { in.BypassVIFs = map[flow.ID]bool{} }, func(in *compile.Input) { in.Sampling = compile.SampleFull },
				func(in *compile.Input) { in.Quarantined = nil },
			}
			was := []bool{len(s.in.Retired) > 0, len(s.in.Weir.Addrs)+len(s.in.Weir.MACs) > 0, len(s.in.BypassVIFs) > 0, s.in.Sampling != compile.SampleFull, len(s.in.Quarantined) > 0}
			for i, change := range settings {
				if !was[i] {
					continue
				}
				if at--; at < 0 {
					return with(change)
				}
			}
			return nil
		},
	}
}

// String says all that is needed to understand the failure.
func (s *small) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "bridge: sampling %d, connections tracked %v, bypass %v, VIFs bypassed %v, quarantined %v, retired %v, Weir at %v, Open vSwitch %q, ports that do not work %v\n",
		s.in.Sampling, s.in.Capabilities.ConnTrack, s.in.Bypass, s.in.BypassVIFs, s.in.Quarantined, s.in.Retired, s.in.Weir, s.in.Inventory.OVSVersion, s.down)
	rules := s.in.Interfaces()
	for _, p := range s.in.Inventory.Ports {
		if p.OFPort == 0 {
			continue
		}
		fmt.Fprintf(&b, "  port %d: %s %s", number(&p), p.Kind, p.Name)
		if p.VLAN != 0 || p.VLANMode != "" || len(p.Trunks) > 0 {
			fmt.Fprintf(&b, ", VLAN %d %s trunks %v", p.VLAN, p.VLANMode, p.Trunks)
		}
		if p.Bond != "" {
			fmt.Fprintf(&b, ", bond %s %s, LACP %v, active %v", p.Bond, p.BondMode, p.LACP, p.Active)
		}
		if p.VIF >= 0 && rules[p.VIF] != nil {
			r := rules[p.VIF]
			fmt.Fprintf(&b, ", VIF %s (%v), MAC %v of the inventory, %v of the estate, VM %v, network %v, pool %v, addresses %v",
				r.Name, r.ID, s.in.Inventory.VIFs[p.VIF].MAC, r.MAC, r.VM, r.Network, r.Pool, r.Addrs)
		}
		b.WriteByte('\n')
	}
	b.WriteString("rules, in their order:\n")
	for _, e := range s.in.Policy.Entries() {
		text, err := yaml.Marshal([]policy.Rule{e.Rule})
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "# tier %d of %v, rank %d, instance %d\n%s", e.Scope.Tier, e.Scope.Of, e.Rank, e.Instance, text)
		switch {
		case e.Rule.Remote.AddressGroup != "":
			fmt.Fprintf(&b, "  # addresses: %v\n", s.in.Estate.AddressGroups[e.Group])
		case e.Rule.Remote.VMGroup != "":
			fmt.Fprintf(&b, "  # addresses: %v\n", s.in.Estate.VMGroups[e.Group])
		}
	}
	for i := range s.frames {
		fmt.Fprintf(&b, "frame %d: %v\n", i+1, &s.frames[i])
	}
	return b.String()
}

// A failure becomes small: that a compiler forgets the rules that deny what VIFs send is told by one such rule and one frame.
func TestShrink(t *testing.T) {
	r := rand.New(rand.NewPCG(chance.Seed(t), 0))
	w := policytest.New(r, policytest.Small)
	s := &small{in: compiletest.Plain(w), spoil: func(f of.Flow) bool {
		_, kind, _, _ := compile.SplitCookie(f.Cookie)
		return f.Table == compile.TableEgress && kind == compile.KindRule && slices.Contains(f.Actions.List(), of.Action(of.Goto{Table: compile.TableDenied}))
	}}
	for s.fails(t.Context(), nil) == "" {
		w = policytest.New(r, policytest.Small)
		s.in, s.frames = compiletest.Plain(w), nil
		b := newBridge(s.in, anyPort)
		for range 20 {
			s.frames = append(s.frames, b.frame(r, w))
		}
	}
	before := len(s.in.Policy.Entries())
	got, wrong := shrink(t.Context(), s, nil)
	vifs := 0
	for _, i := range got.in.Interfaces() {
		if i != nil {
			vifs++
		}
	}
	t.Logf("of %d rules:\n%v%s", before, got, wrong)
	// The rule that denies, and the default; the VIF that sends; the first VIF if that gives the port its VLAN.
	if n := len(got.in.Policy.Entries()); n > 2 || vifs > 2 || len(got.frames) != 1 {
		t.Errorf("%d rules, %d VIFs, %d frames are left", n, vifs, len(got.frames))
	}
}
