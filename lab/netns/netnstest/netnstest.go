// Package netnstest gives tests a bed of network namespaces.
package netnstest

import (
	"os"
	"testing"
	"time"

	"github.com/weirhq/weir/lab/netns"
)

// New returns a bed that is removed at the end of the test, or when the test is killed, or ten minutes after. Without
// root or iproute2 the test is skipped; if CI_REQUIRE_SERVICES is 1 it fails.
func New(t testing.TB) *netns.Bed {
	t.Helper()
	if err := netns.Check(); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	bed, err := netns.New(netns.Config{Limit: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bed.Close(); err != nil {
			t.Error(err)
		}
	})
	return bed
}

// Namespace makes a namespace.
func Namespace(t testing.TB, bed *netns.Bed, name string) *netns.Namespace {
	t.Helper()
	n, err := bed.Namespace(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Link joins two ends.
func Link(t testing.TB, bed *netns.Bed, a, b netns.End) {
	t.Helper()
	if err := bed.Link(a, b); err != nil {
		t.Fatal(err)
	}
}
