package policytest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/internal/chance"
	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/policy/policytest"
)

// A generator whose packets meet few rules tests little.
func TestTrafficMeetsRules(t *testing.T) {
	seed := chance.Seed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	met, n := map[string]int{}, 0
	for range 200 {
		w := policytest.New(r, policytest.Small)
		for range 50 {
			tr := w.Traffic(r)
			conn := w.Conn(r)
			for stage, vif := range map[flow.Stage]*policy.Interface{flow.StageEgress: tr.Src, flow.StageIngress: tr.Dst} {
				if vif == nil {
					continue
				}
				n++
				d := policy.Evaluate(w.Set, w.Estate, vif, stage, &tr.Packet, conn)
				met[d.Verdict.String()+" "+d.Stage.String()]++
				if d.Entry != nil && d.Entry != w.Set.Default {
					met["rule"]++
					met["tier "+string('0'+rune(d.Entry.Scope.Tier))]++
				}
				if d.Shadow != nil {
					met["shadow"]++
				}
				if d.Instance == flow.SystemKept {
					met["kept"]++
				}
			}
		}
	}
	t.Logf("seed %d: %d questions: %v", seed, n, met)
	for what, permille := range map[string]int{
		"rule": 200, "denied egress": 50, "denied ingress": 50, "allowed egress": 80, "allowed ingress": 80, "allowed reply": 80, "denied reply": 20,
		"invalid system": 50, "shadow": 20, "kept": 50,
		"tier 1": 8, "tier 2": 8, "tier 3": 8, "tier 4": 8, "tier 5": 8, "tier 6": 8, "tier 7": 8, "tier 8": 8, "tier 9": 8,
	} {
		if met[what]*1000 < permille*n {
			t.Errorf("seed %d: %d of %d met %s, want %d in 1000", seed, met[what], n, what, permille)
		}
	}
}
