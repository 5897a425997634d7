package chance_test

import (
	"testing"

	"github.com/weirhq/weir/internal/chance"
)

// The seed is the test's own and stays, unless the environment wants another.
func TestSeed(t *testing.T) {
	t.Setenv(chance.Variable, "")
	mine := chance.Seed(t)
	if again := chance.Seed(t); again != mine {
		t.Errorf("got %d, then %d", mine, again)
	}
	t.Run("of another", func(t *testing.T) {
		if other := chance.Seed(t); other == mine {
			t.Errorf("both have %d", mine)
		}
	})
	t.Setenv(chance.Variable, "18446744073709551615")
	if got := chance.Seed(t); got != 1<<64-1 {
		t.Errorf("got %d, want what was said", got)
	}
	t.Setenv(chance.Variable, "random")
	if a, b := chance.Seed(t), chance.Seed(t); a == b || a == mine {
		t.Errorf("got %d, then %d, by name %d", a, b, mine)
	}
}
