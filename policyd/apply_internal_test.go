package policyd

import (
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/policyd/policy"
	"github.com/weirhq/weir/policyd/state"
)

// Numbers are retired for an hour: those that ended, of rules that allowed, and of rules that expired.
func TestRetired(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	p, err := policy.Parse("policy", []byte(`global: {default: [{id: e, action: allow, expires: 2026-11-26T11:30:00Z}, {id: d, action: deny, expires: 2026-11-26T11:30:00Z}, {id: f, action: allow, expires: 2026-11-26T13:00:00Z}]}`))
	if err != nil {
		t.Fatal(err)
	}
	i := &state.Intent{
		Rules: map[uint64][]state.Placed{3: {{Rule: "e", Instance: 300}, {Rule: "d", Instance: 301}, {Rule: "f", Instance: 302}, {Rule: "back", Instance: 303}}},
		Live: []state.Instance{
			{Instance: 256, Until: now.Add(-time.Minute), Ends: true},
			{Instance: 257, Until: now.Add(-time.Minute)},
			{Instance: 258, Until: now.Add(-state.Remembered), Ends: true},
			{Instance: 303, Until: now.Add(-time.Minute), Ends: true},
		},
	}
	r := &resolved{policy: p}
	for at, want := range map[time.Duration][]uint32{0: {256, 300}, 90 * time.Minute: {302}, 24 * time.Hour: nil} {
		if got := retired(i, r, 3, now.Add(at)); !slices.Equal(got, want) {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
}
