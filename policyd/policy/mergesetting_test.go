package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policyd/policy"
)

// Settings are put together one by one: what one of two changed is taken, and what both changed differently is a conflict.
func TestMergeSettings(t *testing.T) {
	base := parsed(t, `fail_mode: open
mirror_targets: [{name: a, port: eth1}]
global: {settings: {guard_ip: on, rate_out: 1Gbit/s}}
pools: [{name: p, mirror_vlans: [7]}]
`)
	ours := parsed(t, `fail_mode: safe
mirror_targets: [{name: a, port: eth1}, {name: b, port: eth2}]
global: {settings: {guard_ip: on, rate_out: 2Gbit/s, mirror: b}}
pools: [{name: p, mirror_vlans: [7, 8]}]
vms: [{name: v, settings: {guard_mac: off}}]
`)
	theirs := parsed(t, `fail_mode: open
mirror_targets: [{name: a, port: eth3}]
global: {settings: {rate_out: 3Gbit/s, guard_ra: on}}
pools: [{name: p, fail_mode: static, mirror_vlans: [7]}]
`)
	merged := `fail_mode: safe
mirror_targets: [{name: a, port: eth3}, {name: b, port: eth2}]
global: {settings: {rate_out: RATE, guard_ra: on, mirror: b}}
pools: [{name: p, fail_mode: static, mirror_vlans: [7, 8]}]
vms: [{name: v, settings: {guard_mac: off}}]
`
	for mine, rate := range map[bool]string{true: "2Gbit/s", false: "3Gbit/s"} {
		got, conflicts := policy.Merge(base, ours, theirs, mine)
		want := parsed(t, strings.Replace(merged, "RATE", rate, 1))
		if d := policy.Compare(want, got); !d.Empty() {
			t.Errorf("mine %v: it differs: %+v", mine, d)
		}
		if diff := cmp.Diff([]policy.Conflict{{Kind: "setting", Group: "rate_out of global", Ours: "changed", Theirs: "changed"}}, conflicts); diff != "" {
			t.Error(diff)
		}
	}
	if theirs.FailMode != policy.FailOpen || len(theirs.VMs) != 0 || theirs.Global.Settings.Mirror.Target != "" {
		t.Error("an argument was changed")
	}
}
