// Package proof holds tests of the whole of Weir on real hosts: the built program, Open vSwitch hosts of lab/ovsbed, packets, and
// what SQL and the command line then say.
package proof
