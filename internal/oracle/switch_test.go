package oracle_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/weirhq/weir/lab/ovsbed"
	"github.com/weirhq/weir/lab/ovstrace"
	of "github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
)

// realSwitch is a bridge of a real Open vSwitch with a simulated datapath.
type realSwitch struct {
	control *ovstrace.Control
	conn    *of.Conn
	trace   *ovstrace.Switch
	holds   *compile.Desired
	down    map[of.Port]bool
}

// ports are all that bridges of compiletest may have.
func ports() (list []of.Port) {
	for p := of.Port(1); p < 10; p++ {
		list = append(list, p)
	}
	for p := of.Port(11); p < 30; p++ {
		list = append(list, p, p+100)
	}
	return list
}

func newRealSwitch(ctx context.Context, h *ovsbed.Host) (*realSwitch, error) {
	args := []string{"set-fail-mode", "br0", "secure"}
	for _, p := range ports() {
		name := fmt.Sprint("p", p)
		args = append(args, "--", "add-port", "br0", name, "--", "set", "interface", name, "type=dummy", fmt.Sprint("ofport_request=", p))
	}
	if _, err := h.VSCtl(ctx, args...); err != nil {
		return nil, err
	}
	ipfix := ovsbed.IPFIX{Targets: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4739")}}
	if err := h.SetFlowSampling(ctx, "br0", collectorSet, ipfix); err != nil {
		return nil, err
	}
	s := &realSwitch{holds: compile.Of(nil), down: map[of.Port]bool{}}
	nc, err := net.Dial("unix", filepath.Join(filepath.Dir(h.SwitchSocket()), "br0.mgmt"))
	if err != nil {
		return nil, err
	}
	if s.conn, err = of.Accept(ctx, nc, of.Config{Limits: of.DefaultLimits()}); err != nil {
		return nil, err
	}
	if s.control, err = ovstrace.Dial(h.SwitchSocket()); err != nil {
		return nil, err
	}
	if s.trace, err = ovstrace.NewSwitch(s.control, "br0"); err != nil {
		return nil, err
	}
	return s, s.conn.Apply(ctx, []of.Mod{of.DeleteFlows{Table: of.AllTables}})
}

func (s *realSwitch) close() {
	s.conn.Close()
	_ = s.control.Close()
}

// set makes the switch hold what is desired, by what differs from what it holds.
func (s *realSwitch) set(ctx context.Context, d *compile.Desired) error {
	c := compile.Diff(s.holds, d)
	mods := []of.Mod{of.DeleteFlows{Table: compile.TableLearned}}
	for _, g := range c.SetGroups {
		if _, ok := s.holds.Groups[g.ID]; ok {
			mods = append(mods, of.ModifyGroup{Group: g})
		} else {
			mods = append(mods, of.AddGroup{Group: g})
		}
	}
	for _, key := range c.Delete {
		mods = append(mods, of.DeleteFlow{Key: key, Cookie: compile.Owner, CookieMask: compile.OwnerMask})
	}
	for _, f := range c.Add {
		mods = append(mods, of.AddFlow{Flow: f, Reset: true})
	}
	for _, id := range c.DeleteGroups {
		mods = append(mods, of.DeleteGroup{ID: id})
	}
	held := s.holds
	s.holds = d
	for _, m := range c.SetMeters {
		if err := s.conn.AddMeter(ctx, m, held != nil && held.Meters[m.ID] != (of.MeterSpec{})); err != nil {
			return err
		}
	}
	if err := s.conn.Apply(ctx, mods); err != nil {
		return err
	}
	for _, id := range c.DeleteMeters {
		if err := s.conn.DeleteMeter(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// check reads what the switch holds.
func (s *realSwitch) check(ctx context.Context) error {
	want := map[of.FlowKey]of.Flow{}
	for f := range s.holds.Each() {
		want[f.Key()] = f
	}
	var wrong error
	err := s.conn.Flows(ctx, of.Everything, func(f of.FlowStats) {
		if f.Table != compile.TableLearned && want[f.Key()] != f.Flow {
			wrong = fmt.Errorf("the switch has %s, want %s", f.Flow, want[f.Key()])
		}
		delete(want, f.Key())
	})
	if err != nil {
		return err
	}
	for _, f := range want {
		return fmt.Errorf("the switch does not have %s", f)
	}
	return wrong
}

// learn adds a flow that a packet makes a switch learn: tracing has no effects.
func (s *realSwitch) learn(ctx context.Context, f of.Flow) error {
	return s.conn.Apply(ctx, []of.Mod{of.AddFlow{Flow: f}})
}

// setDown says which ports do not work.
func (s *realSwitch) setDown(down map[of.Port]bool) error {
	for _, p := range ports() {
		if s.down[p] == down[p] {
			continue
		}
		state := map[bool]string{true: "down", false: "up"}[down[p]]
		if _, err := s.control.Call("netdev-dummy/set-admin-state", fmt.Sprint("p", p), state); err != nil {
			return err
		}
		s.down[p] = down[p]
	}
	for range 4 { // each is answered in another round of the switch's main loop, which sees first what changed at ports
		if _, err := s.control.Call("version"); err != nil {
			return err
		}
	}
	return nil
}

const collectorSet = 1 // of compiletest
