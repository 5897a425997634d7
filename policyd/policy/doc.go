// Package policy holds what people want of the traffic of VMs: rules in levels, and what they mean. It is pure.
//
//	Policy (YAML) ──Resolve──► Set ──Evaluate(packet)──► verdict, the rule that decided, the shadow rule met
//
// Evaluate is the reference: what policyd/compile makes of a Set for Open vSwitch must decide the same.
package policy
