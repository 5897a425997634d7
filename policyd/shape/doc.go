// Package shape decides how rates of VIFs are put in force in the database of a host: what the network sends to a VM by a queue of linux-htb at
// the VIF's port, what the VM sends by policing of its interface, unless a meter of the bridge's flows does it. It is pure: rows in,
// changes of an own.Transaction out.
//
// Limits of others stay. Beside a queue of theirs, or policing of theirs, Weir sets none: the answer says so, and which of the two would be
// the smaller. A meter acts in addition to what others police.
package shape
