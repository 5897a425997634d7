// Package policy holds what people want of the traffic of VMs: rules in levels, and what they mean. It is pure.
//
//	YAML ──Parse──► Policy ──Resolve(Names)──► Draft ──Set(first instance)──► Set ──┐
//	                            ▲ Kept, Bound: what was in force before ◄───────────┤
//	estate.Model ──NamesOf──────┘                                                   ├──Evaluate(packet)──► Decision
//	estate.Model ──EstateOf(groups of the set)──► Estate ───────────────────────────┘
//
// A Policy is the document. A Set is what is in force of it: rules with their ids, numbers and places, and groups. An Estate is
// what rules ask about VIFs and about who is in groups; it changes more often than a Set, and shares what did not.
//
// Evaluate is the reference, and docs/explanation/policy.md says in words what it does: what policyd/compile makes of a Set
// for Open vSwitch must decide the same. Package policytest makes random worlds to compare them in.
package policy
