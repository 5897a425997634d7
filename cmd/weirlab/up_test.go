package main

import (
	"slices"
	"strings"
	"testing"
)

// The policy to begin with names no group that the lab has not: it would be refused as a whole.
func TestPolicyOfFewVMs(t *testing.T) {
	f := func(lines int, groups ...string) {
		t.Helper()
		text := string(policyOf(func(name string) bool { return slices.Contains(groups, name) }))
		if n := strings.Count(text, "action:"); n != lines {
			t.Errorf("with the groups %q it has %d rules, want %d:\n%s", groups, n, lines, text)
		}
		for _, after := range strings.Split(text, "vm-group:")[1:] {
			if name := after[:strings.IndexAny(after, ",}")]; !slices.Contains(groups, name) {
				t.Errorf("with the groups %q it names %q:\n%s", groups, name, text)
			}
		}
	}
	f(2, "web-servers")
	f(2, "web-servers", "applications")
	f(5, "web-servers", "applications", "databases")
	f(6, "web-servers", "applications", "databases", "infrastructure")
}
