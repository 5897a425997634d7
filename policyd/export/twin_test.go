package export_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
	rates "github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/shape"
)

// applied is what ovs-vswitchd does with next_cfg, which is not there: it says that it has done what was asked.
func applied(t *testing.T, target string) {
	t.Helper()
	w, err := newWeir(target)
	if err != nil {
		t.Fatal(err)
	}
	s := w.session
	done := make(chan struct{})
	changes, cancel := s.Subscribe()
	go func() { _ = s.Run(t.Context()) }() // it returns nil
	go func() {
		defer close(done)
		defer cancel()
		for {
			select {
			case <-t.Context().Done():
				return
			case <-changes:
			}
			if r := s.Rows(); r != nil && r.Root.CurCfg != r.Root.NextCfg {
				_, _ = s.Transact(t.Context(), ovsdb.Update("Open_vSwitch", ovsdb.Is(r.Root.UUID), ovsdb.Values{"cur_cfg": r.Root.NextCfg})) // else asked again
			}
		}
	}()
	t.Cleanup(func() { <-done })
}

// Whatever others do to a host while Weir is there, and however often Weir is killed: after it was detached the host is as if it had never
// been there. A second host, to which others do the same and Weir nothing, says what that is.
func TestDetachedHostIsAsIfWeirHadNeverBeenThere(t *testing.T) {
	seed, runs := chance.Seed(t), 4
	if text := os.Getenv("WEIR_TEST_RUNS"); text != "" { // the long version
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		runs = n
	}
	for i := range uint64(runs) {
		t.Run(fmt.Sprint("seed=", seed+i), func(t *testing.T) { asIfNeverThere(t, seed+i) })
	}
}

func asIfNeverThere(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	host, twin := ovsdbtest.Start(t, nil), ovsdbtest.Start(t, nil)
	applied(t, host.Socket())
	var said []string
	defer func() {
		if t.Failed() {
			t.Logf("what others did:\n%s", strings.Join(said, "\n"))
		}
	}()
	others := func(args ...string) {
		said = append(said, strings.Join(args, " "))
		for _, s := range []*ovsdbtest.Server{host, twin} {
			s.VSCtl(append([]string{"--no-wait"}, args...)...)
		}
	}
	var bridges []string
	vif := func(bridge string) string { return "v" + bridge } // of a VIF
	addBridge := func() {
		name := fmt.Sprint("br", len(said))
		bridges = append(bridges, name)
		others("add-br", name, "--", "set", "bridge", name, "datapath_type="+[]string{"netdev", "system"}[rng.IntN(2)], "--", "add-port", name, vif(name))
	}
	pick := func() string { return bridges[rng.IntN(len(bridges))] }
	number := 0
	row := func(table string) []string {
		number++
		args := []string{"--", "--id=@r", "create", table, fmt.Sprintf(`targets="203.0.113.%d:%d","[2001:db8::1]:1"`, 1+number%200, 1+number)}
		if rng.IntN(2) == 0 {
			args = append(args, fmt.Sprintf("external_ids:by=%q", "their \"tool\""))
		}
		if table == "NetFlow" && rng.IntN(2) == 0 {
			args = append(args, fmt.Sprint("engine_type=", rng.IntN(256)), fmt.Sprint("engine_id=", rng.IntN(256)), "add_id_to_interface=true")
		} else if table == "IPFIX" && rng.IntN(2) == 0 {
			args = append(args, fmt.Sprint("obs_domain_id=", rng.Uint32()), "obs_point_id=7", "other_config:enable-tunnel-sampling=false")
		}
		return args
	}
	addBridge()
	addBridge()
	change := func() {
		switch n := rng.IntN(36); {
		case n == 30:
			others("set", "interface", vif(pick()), fmt.Sprint("ingress_policing_rate=", 1000*rng.IntN(2)), fmt.Sprint("ingress_policing_burst=", 100*rng.IntN(2)))
		case n == 31:
			others("set", "interface", vif(pick()), []string{"ingress_policing_rate=0", "ingress_policing_burst=7"}[rng.IntN(2)])
		case n == 32:
			number++
			others("--", "--id=@q", "create", "QoS", "type=linux-htb", fmt.Sprint("other_config:max-rate=", 1000*number), "--", "set", "port", vif(pick()), "qos=@q")
		case n == 33:
			others("clear", "port", vif(pick()), "qos")
		case n == 34:
			b := pick()
			others("del-port", b, vif(b), "--", "add-port", b, vif(b))
		case n == 35:
			others("set", "port", vif(pick()), "external_ids:theirs="+fmt.Sprint(rng.IntN(3)))
		case n == 0 && len(bridges) < 5:
			addBridge()
		case n == 1 && len(bridges) > 2:
			i := rng.IntN(len(bridges))
			others("del-br", bridges[i])
			bridges = append(bridges[:i], bridges[i+1:]...)
		case n == 2:
			others("emer-reset")
		case n == 3:
			others("br-set-external-id", pick(), "theirs", fmt.Sprint(rng.IntN(3)))
		case n == 4:
			others("br-set-external-id", pick(), "theirs")
		case n == 5:
			others("set-controller", pick(), "tcp:203.0.113.9:6653")
		case n == 6:
			others([][]string{{"del-controller", pick()}, {"set", "bridge", pick(), "fail_mode=secure"}}[rng.IntN(2)]...)
		case n == 7:
			number++
			others("--", "--id=@c", "create", "Controller", fmt.Sprintf(`target="tcp:203.0.113.8:%d"`, number), "type=service", "external_ids:by=them", "--", "add", "bridge", pick(), "controller", "@c")
		case n == 8:
			others([][]string{
				{"set", "bridge", pick(), "other_config:disable-in-band=false"},
				{"remove", "bridge", pick(), "other_config", "disable-in-band"},
				{"set", "bridge", pick(), "other_config:theirs=" + fmt.Sprint(rng.IntN(3))},
			}[rng.IntN(3)]...)
		case n == 9:
			others([][]string{
				append(row("IPFIX"), "--", "--id=@b", "get", "bridge", pick(), "--", "create", "Flow_Sample_Collector_Set", fmt.Sprint("id=", number), "bridge=@b", "ipfix=@r"),
				{"--all", "destroy", "Flow_Sample_Collector_Set"},
			}[rng.IntN(2)]...)
		case n < 14:
			others("clear", "bridge", pick(), []string{"netflow", "ipfix"}[rng.IntN(2)])
		default:
			column := []string{"netflow", "ipfix"}[rng.IntN(2)]
			args := row(map[string]string{"netflow": "NetFlow", "ipfix": "IPFIX"}[column])
			for range 1 + rng.IntN(2) { // shared by two, sometimes
				args = append(args, "--", "set", "bridge", pick(), column+"=@r")
			}
			others(args...)
		}
	}
	for range rng.IntN(4) {
		change()
	}
	random := func() export.Settings {
		return settings(func(s *export.Settings) {
			s.Protocol = s.Protocol.Random(rng)
			s.TakeOver = rng.IntN(3) > 0
			s.Sampling = uint32(rng.IntN(3))
			s.Bridges = map[string]export.Protocol{pick(): s.Protocol.Random(rng)}
		})
	}
	rate := func() rates.Limit { // none that others set, too
		return rates.Limit{Rate: uint64(rng.IntN(3) * 12_345), Burst: uint64(rng.IntN(2) * 77_777)}
	}
	policy := func() map[string]export.Enforced {
		m := map[string]export.Enforced{}
		for range rng.IntN(4) {
			b := pick()
			m[b] = export.Enforced{Sampling: compile.Sampling(rng.IntN(3)), Flows: export.Flows(rng.IntN(3)), Limits: map[string]shape.Limits{vif(b): {
				Out: rate(), In: rate(), Meter: rng.IntN(4) == 0,
			}}}
		}
		return m
	}
	reach := attach.Settings{Reach: netip.MustParseAddrPort("192.0.2.5:6653")}
	settled := func(w *weir) {
		ovsdbtest.Until(t, "the host is settled", func() bool {
			s := w.exports.Status()[0]
			if len(s.Bridges) != len(bridges) || s.Error != "" {
				return false
			}
			for _, b := range s.Bridges {
				if b.State == export.StateSetting || b.Rules != nil && b.Rules.State == export.StateSetting || b.Controller != nil && b.Controller.State == attach.StateSetting || b.Limits != nil && b.Limits.State == export.StateSetting {
					return false
				}
			}
			return true
		})
	}
	w, stop := startEnforcing(t, host.Socket(), random(), policy(), reach)
	for range 4 + rng.IntN(6) {
		settled(w)
		for range rng.IntN(3) {
			change()
		}
		switch rng.IntN(3) {
		case 0: // killed, in the midst of what it does about that
			stop()
			w, stop = startEnforcing(t, host.Socket(), random(), policy(), reach)
		case 1:
			w.enforced = policy()
			w.set(random(), false)
		}
	}
	settled(w)
	w.detach(t, settings(nil))
	if diff := cmp.Diff(strings.Split(ovsdbtest.Dump(t, twin.Socket(), true), "\n"), strings.Split(ovsdbtest.Dump(t, host.Socket(), true), "\n")); diff != "" {
		t.Errorf("after Weir (-without it +with it):\n%s", diff)
	}
}
