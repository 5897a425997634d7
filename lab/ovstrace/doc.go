// Package ovstrace asks a running Open vSwitch what it would do with a packet (ofproto/trace of ovs-vswitchd(8)), thousands of times a
// second, and reads the answer strictly: a line or a datapath action that it does not know is an error, never skipped.
package ovstrace
