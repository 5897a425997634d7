// Package compile makes OpenFlow flows of a policy: what a bridge is to hold, from what exists at its host, the policy and
// the estate. It is pure, and the cost of a change is that of what changes.
package compile
