// Package explain says in sentences how a policy differs from another one: what is added, removed, changed and moved, as [policy.Compare] finds it, and
// what that means for packets: which rule decides now what another one decided, what may pass that did not. It is pure.
//
// What it says of packets is careful: that nothing is decided otherwise is said only where it is certain; that something may be, also where names, which it
// does not resolve, would tell more. Which rules meet is said as it is where connections are tracked.
package explain
