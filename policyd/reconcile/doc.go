// Package reconcile keeps, on every bridge, the flows and groups that its policy compiles to, over OpenFlow:
//
//	observe → diff (pure) → one atomic bundle → verify
//
// Each bridge has a loop of its own and is level-triggered: that something changed only says "look again"; a start, a
// reconnection, a switch that was started anew and a flow that somebody removed run the same loop. While a connection lasts the
// loop knows what the switch holds, and a change costs what changes; after anything that leaves a doubt (a new connection, an
// error, an answer that did not come) it reads all again and assumes nothing.
//
// Ours is what carries the owner in its cookie, and groups that such flows use. Nothing else is ever removed. What is there and
// is right stays as it is, counters too, so that a start of Weir changes nothing on a bridge that has its policy.
package reconcile
