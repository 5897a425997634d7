package flow_test

import (
	"hash/fnv"
	"testing"

	"github.com/weirhq/weir/flow"
)

func TestPoint(t *testing.T) {
	const most = 1<<30 - 1
	for stage, high := range map[flow.Stage]uint32{
		flow.StageEgress: 0, flow.StageIngress: 1 << 30, flow.StageReply: 2 << 30, flow.StageSystem: 3 << 30,
	} {
		for _, instance := range []uint32{1, 255, 123_456, most} {
			point := flow.Point(stage, instance)
			if point != high|instance {
				t.Errorf("Point(%v, %d) = %#x, want %#x", stage, instance, point, high|instance)
			}
			if s, i := flow.SplitPoint(point); s != stage || i != instance {
				t.Errorf("SplitPoint(%#x) = %v, %d, want %v, %d", point, s, i, stage, instance)
			}
		}
		if s, i := flow.SplitPoint(high); s != flow.StageNone || i != 0 {
			t.Errorf("SplitPoint(%#x) = %v, %d, want none, 0", high, s, i)
		}
	}
	for name, f := range map[string]func(){
		"no stage":           func() { flow.Point(flow.StageNone, 1) },
		"no instance":        func() { flow.Point(flow.StageEgress, 0) },
		"too large instance": func() { flow.Point(flow.StageEgress, most+1) },
	} {
		if !panics(f) {
			t.Errorf("%s: Point did not panic", name)
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestSystemVerdicts(t *testing.T) {
	for i, r := range flow.SystemRules {
		if r.Instance != uint32(i+1) || r.Name == "" || r.Text == "" || flow.SystemVerdict(r.Instance) != r.Verdict {
			t.Errorf("built-in rule %d is %+v with verdict %v", i+1, r, flow.SystemVerdict(r.Instance))
		}
	}
	for instance := range flow.MaxSystemInstance + 2 {
		known := instance >= flow.SystemSpoofedMAC && instance <= flow.SystemQuarantine
		switch v := flow.SystemVerdict(instance); {
		case known == (v == flow.VerdictUnknown):
			t.Errorf("SystemVerdict(%d) = %v, built in: %v", instance, v, known)
		case v == flow.VerdictShadowDenied:
			t.Errorf("SystemVerdict(%d) = %v: no built-in rule is a shadow", instance, v)
		}
	}
}

func TestVirtualID(t *testing.T) {
	for _, name := range []string{"a", "hv1/br0", "hv1/br1", "\x00"} {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		if got, want := flow.VirtualID(name), h.Sum64(); got != want || flow.VirtualID([]byte(name)) != want {
			t.Errorf("VirtualID(%q) = %#x, want %#x", name, got, want)
		}
	}
	if got := flow.VirtualID(""); got != 0 {
		t.Errorf("VirtualID of no name = %#x, want 0", got)
	}
}
