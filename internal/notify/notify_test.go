package notify_test

import (
	"testing"

	"github.com/weirhq/weir/internal/notify"
)

func TestChanges(t *testing.T) {
	var c notify.Changes
	c.Tell() // nobody
	a, cancelA := c.Subscribe()
	b, cancelB := c.Subscribe()
	defer cancelB()
	c.Tell()
	c.Tell() // merged with the one before
	cancelA()
	cancelA()
	for name, got := range map[string]int{"a": len(a), "b": len(b)} {
		if got != 1 {
			t.Errorf("%s has %d elements, want 1", name, got)
		}
	}
	<-a
	<-b
	c.Tell()
	if len(a) != 0 || len(b) != 1 {
		t.Errorf("after a has cancelled: %d and %d elements, want 0 and 1", len(a), len(b))
	}
}
