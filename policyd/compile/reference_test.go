package compile_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/ovs/openflow"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/compile/compiletest"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

const reference = "../../docs/reference/openflow.md"

func TestReference(t *testing.T) {
	want := compile.Reference()
	if *compile.Update {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(reference); err != nil || string(got) != want {
		t.Errorf("%s is not what the code says (%v): run scripts/generate.sh", reference, err)
	}
}

// TestLayout: every flow has a cookie of ours and a table that is in the reference, and those of table 0 stand where others do not.
func TestLayout(t *testing.T) {
	known := map[uint8]bool{}
	for _, n := range compile.TableNumbers() {
		known[n] = true
	}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		in := compiletest.Random(r, policytest.New(r, policytest.Small))
		d := mustCompile(t, compile.New(), in)
		for f := range d.Each() {
			generation, kind, _, ours := compile.SplitCookie(f.Cookie)
			if !ours || generation != in.Generation || kind.String() == "" || kind.Transient() || !known[f.Table] {
				t.Errorf("cookie or table of %v", f)
			}
			if f.Table == compile.TableClassify && f.Priority < 60001 {
				t.Errorf("table 0 has %v where others write", f)
			}
			for _, a := range f.Actions.List() {
				if o, ok := a.(openflow.Output); ok && o.Port == openflow.PortNormal && kind != compile.KindHost && kind != compile.KindBypass {
					t.Errorf("NORMAL for other than the host: %v", f)
				}
			}
		}
		for id := range d.Groups {
			if id < compile.GroupFirst || id > compile.GroupLast {
				t.Errorf("group %#x is not one of ours", id)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		table  uint8
		cookie openflow.Cookie
		want   string
	}{
		{compile.TableEgress, compile.Cookie(3, compile.KindRule, 1234), "rule 1234 (table 30)"},
		{compile.TableDeliver, compile.Cookie(0, compile.KindDeliver, 0), "deliver (table 40)"},
		{0, 1, "foreign flow (table 0, cookie 0x1)"},
	} {
		if got := compile.Describe(c.table, c.cookie); got != c.want {
			t.Errorf("Describe(%d, %#x) = %q, want %q", c.table, uint64(c.cookie), got, c.want)
		}
	}
}

func TestHit(t *testing.T) {
	type hit struct {
		instance uint32
		stage    flow.Stage
		ok       bool
	}
	for _, c := range []struct {
		table    uint8
		kind     compile.Kind
		instance uint32
		want     hit
	}{
		{compile.TableEgress, compile.KindRule, 1000, hit{1000, flow.StageEgress, true}},
		{compile.TableEgressKept, compile.KindShadow, 1000, hit{1000, flow.StageEgress, true}},
		{compile.TableIngressKept, compile.KindRule, 1000, hit{1000, flow.StageIngress, true}},
		{compile.TableReply, compile.KindReply, 1000, hit{1000, flow.StageReply, true}},
		{compile.TableReply, compile.KindReply, flow.SystemHost, hit{flow.SystemHost, flow.StageSystem, true}},
		{compile.TableReply, compile.KindReply, flow.SystemKept, hit{flow.SystemKept, flow.StageReply, true}},
		{compile.TableReply, compile.KindState, flow.SystemBlocked, hit{flow.SystemBlocked, flow.StageReply, true}},
		{compile.TableIngressKept, compile.KindKept, flow.SystemKept, hit{flow.SystemKept, flow.StageIngress, true}},
		{compile.TableEgress, compile.KindBypass, flow.SystemBypass, hit{flow.SystemBypass, flow.StageEgress, true}},
		{compile.TableClassify, compile.KindBypass, flow.SystemBypass, hit{flow.SystemBypass, flow.StageSystem, true}},
		{compile.TableGuard, compile.KindQuarantine, flow.SystemQuarantine, hit{flow.SystemQuarantine, flow.StageSystem, true}},
		{compile.TableIngress, compile.KindQuarantine, flow.SystemQuarantine, hit{flow.SystemQuarantine, flow.StageIngress, true}},
		{compile.TableEgress, compile.KindMirror, 1000, hit{1000, flow.StageReply, true}},
		{compile.TableEgress, compile.KindClause, 1000, hit{}},
		{compile.TableEgressTell, compile.KindTell, 1000, hit{}},
		{compile.TableState, compile.KindState, flow.SystemInvalid, hit{flow.SystemInvalid, flow.StageSystem, true}},
		{compile.TableDeliver, compile.KindDeliver, 0, hit{}},
	} {
		var got hit
		got.instance, got.stage, got.ok = compile.Hit(c.table, compile.Cookie(1, c.kind, c.instance))
		if got != c.want {
			t.Errorf("Hit of table %d, %s %d: %v, want %v", c.table, c.kind, c.instance, got, c.want)
		}
	}
	if _, _, ok := compile.Hit(compile.TableEgress, 1000); ok {
		t.Error("Hit of a flow of others")
	}
}
