// Package netns makes beds of network namespaces for tests and for the lab: namespaces stand for hosts and VMs, veth
// pairs for their cables.
//
//	bed, err := netns.New(netns.Config{})      needs root and iproute2
//	defer bed.Close()
//	a, err := bed.Namespace("vm1")             "ip netns" names are PREFIX-vm1
//	b, err := bed.Namespace("vm2")
//	err = bed.Link(netns.End{Namespace: a, Name: "eth0", Addrs: …}, netns.End{Namespace: b, …})
//	out, err := a.Run(ctx, "iperf3", "-c", "10.0.0.2")
//
// Nothing is left behind, even if the program that made a bed is killed: a child process (the reaper) waits for the
// end of a pipe whose other end only that program holds, or for the bed's time limit. Then it kills the processes in
// the bed's namespaces and removes namespaces, links and files. Close uses that same way.
package netns
