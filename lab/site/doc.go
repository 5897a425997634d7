// Package site is a small site of real hosts: the estate of lab/flowgen on Open vSwitch hosts of lab/ovsbed, whose VMs have
// the conversations of its profiles, a physical switch between the hosts, and a router beyond which are the offices and the
// internet.
//
//	xcp-01  xenbr0 ── vif1.0 web-01 …  ┐
//	xcp-02  xenbr0 ── vif1.0 app-01 …  ├── lan ── router: everything outside
//	xcp-03  xenbr0 ── …                ┘
//
// Networks, VMs and their addresses are those of the demo, which only sends records about them; here packets pass. Hosts say
// in OVSDB what hosts of XenServer say, and if asked to are a pool with XAPI of lab/xapi, which Commands act on as well as on
// Open vSwitch. The physical switch is an Open vSwitch that nobody manages.
//
//	s, err := site.New(ctx, site.Config{Hosts: 3, VMs: 24}, bed)      bed is one of lab/netns
//	go s.Play(ctx, 20)                                                traffic: conversations a second
//	text, err := s.Do(ctx, "move", "web-01", "xcp-02")                what Commands lists
package site
