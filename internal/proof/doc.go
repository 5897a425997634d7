// Package proof holds tests of the whole of Weir on real hosts: the built program, Open vSwitch hosts of lab/ovsbed, packets, and
// what SQL and the command line then say.
//
// TestHosts is about what is measured: names of flows whatever happens to hosts and VMs. TestPolicy is about what is controlled: what passes is
// what a policy says, who decided is told of every packet, and faults, garbage and refused policies change nothing of it. TestPool is
// about what is known: a pool that is asked by XAPI, with what flows and policy make of it.
package proof
