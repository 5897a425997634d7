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
// The database of a host is reached by its socket, by tcp: or by ssl:, or reaches managers itself:
//
//	hv.DBSocket()                                            a path, from anywhere on this machine
//	target, err := hv.Listen(ctx, false)                     "tcp:169.254.1.2:6640"
//	err = hv.SetTLS(ctx, ovsbed.TLS{…})
//	err = hv.SetManagers(ctx, "ssl:"+netip.AddrPortFrom(hv.Root, port).String())
//
// What happens to hosts and VMs happens here too: Plug, Unplug, Replug, Move and AddTap of a VM, with what each platform says
// of it in OVSDB (Identity); RestartSwitch, RestartDB, Kill, Freeze, EmerReset and SetManagement of a host. A host that nobody
// manages is as good as a physical switch: Join and JoinBond lay cables to it. A Farm is many hosts without traffic.
//
// Bridges dial OpenFlow controllers (SetControllers), pass nothing but what flows say (Secure), hold what others have there (SetForeign), and
// tell what they hold (OpenFlow). SwitchSocket is where ofproto/trace is asked.
//
// Nothing is left behind: the daemons run in the foreground in namespaces of the bed, whose reaper ends them, also when
// the program that made the bed is killed; databases, sockets and logs are in the bed's directory. No system-wide
// database, socket or kernel datapath is touched.
package ovsbed
