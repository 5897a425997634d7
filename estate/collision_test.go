package estate

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/flow"
)

// Two keys with one id are refused, of one kind and of two. No such keys are known, so the hash is a poor one here.
func TestIDCollision(t *testing.T) {
	poor := func(kind flow.Kind, key string) flow.ID { return flow.ID(len(key)) }
	for _, m := range []*Model{
		{Pools: []Pool{{Name: "ab"}, {Name: "cd"}}},
		{Pools: []Pool{{Name: "ab"}}, Networks: []Network{{Name: "cd"}}},
	} {
		if _, err := compile(m, poor, nil); err == nil || !strings.Contains(err.Error(), `has the id of pool "ab" (pools[0]): rename one of them`) {
			t.Errorf("compile with a collision: %v", err)
		}
	}
}
