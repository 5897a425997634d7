// Package ovsbed runs real Open vSwitch hosts: each has a network namespace, an ovsdb-server and an ovs-vswitchd of its
// own with the userspace datapath, bridges, and VMs (namespaces) plugged into them.
//
//	bed, err := ovsbed.New(netns)                            netns is a bed of lab/netns
//	hv, err := bed.Host(ctx, "hv1")                          its flows come from hv.Exporter, and reach hv.Root
//	err = hv.AddBridge(ctx, "br0")
//	web, err := hv.AddVM(ctx, ovsbed.VM{Name: "web", Bridge: "br0", MAC: …, Addrs: …, VLAN: 7})
//	err = hv.SetIPFIX(ctx, "br0", ovsbed.IPFIX{Targets: …, Sampling: 1, ActiveTimeout: time.Second})
//	… traffic …
//	n, err := hv.Counters(web.Port.Name)                     what the switch's side of the cable counted
//	err = hv.ClearExports(ctx, "br0")                        exports what the caches hold
//
// Nothing is left behind: the daemons run in the foreground in namespaces of the bed, whose reaper ends them, also when
// the program that made the bed is killed; databases, sockets and logs are in the bed's directory. No system-wide
// database, socket or kernel datapath is touched.
package ovsbed
