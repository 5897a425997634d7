package ovsbed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Controller is who programs a bridge by OpenFlow.
type Controller struct {
	Target    string // "tcp:ADDR:PORT" or, with the keys of SetTLS, "ssl:ADDR:PORT", which the switch dials; "ptcp:PORT[:ADDR]"
	Service   bool   // beside the primary ones: that it is lost, or comes, does not touch flows
	OutOfBand bool   // not reached through the bridge; else the switch adds flows of its own by which it is
}

// SetControllers says who programs a bridge, and nobody else. They are dialled within a second, and again a second after they were
// lost. The first primary one of a bridge makes the switch forget the bridge's flows.
func (h *Host) SetControllers(ctx context.Context, bridge string, controllers ...Controller) error {
	_, err := h.VSCtl(ctx, controllerArgs(bridge, controllers)...)
	return err
}

func controllerArgs(bridge string, controllers []Controller) []string {
	var args, ids []string
	for i, c := range controllers {
		id := fmt.Sprint("@c", i)
		kind, mode := "primary", "in-band"
		if c.Service {
			kind = "service"
		}
		if c.OutOfBand {
			mode = "out-of-band"
		}
		ids = append(ids, id)
		args = append(args, "--", "--id="+id, "create", "controller", quoted("target", c.Target), "type="+kind, "connection_mode="+mode, "max_backoff=1000")
	}
	if len(ids) == 0 {
		return []string{"clear", "bridge", bridge, "controller"}
	}
	return append(args, "--", "set", "bridge", bridge, "controller="+strings.Join(ids, ","))
}

// SetControllers says who programs br0 of all hosts, and nobody else.
func (f *Farm) SetControllers(ctx context.Context, controllers ...Controller) error {
	return f.each(ctx, func(ctx context.Context, h *Host) error { return h.SetControllers(ctx, "br0", controllers...) })
}

// Secure is Host.Secure of br0 of all hosts.
func (f *Farm) Secure(ctx context.Context) error {
	return f.each(ctx, func(ctx context.Context, h *Host) error { return h.Secure(ctx, "br0") })
}

func (f *Farm) each(ctx context.Context, do func(context.Context, *Host) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(starting)
	for _, h := range f.Hosts {
		g.Go(func() error { return do(ctx, h) })
	}
	return g.Wait()
}

// Secure makes a bridge pass what its flows say and nothing else (fail_mode), at once, after a restart too. The switch forgets the
// flows that are there, if no primary controller is.
func (h *Host) Secure(ctx context.Context, bridge string) error {
	_, err := h.VSCtl(ctx, "set", "bridge", bridge, "fail_mode=secure")
	return err
}

// SwitchSocket is the path of the socket on which ovs-vswitchd takes commands (ovs-appctl(8): ofproto/trace, netdev-dummy/receive, …) from
// anywhere on this machine.
func (h *Host) SwitchSocket() string { return h.path("vswitchd.ctl") }

// AppCtl gives ovs-vswitchd a command and returns what it says.
func (h *Host) AppCtl(ctx context.Context, args ...string) (string, error) {
	return h.run(ctx, "ovs-appctl", append([]string{"--target=" + h.SwitchSocket(), "--timeout=" + commandTimeout}, args...)...)
}

// passing is what packets and time change in dumps of ovs-ofctl.
var passing = regexp.MustCompile(`duration=[0-9.]+s?,? ?|n_packets=\d+, |n_bytes=\d+, |(idle|hard)_age=\d+, |xid=0x[0-9a-f]+`)

// OpenFlow returns flows, groups and meters of a bridge as text, a line each, in the order of the text and without what packets and time
// change.
func (h *Host) OpenFlow(ctx context.Context, bridge string) (string, error) {
	var lines []string
	for _, what := range []string{"flows", "groups", "meters"} {
		out, err := h.OFCtl(ctx, "dump-"+what, bridge)
		if err != nil {
			return "", err
		}
		out = strings.ReplaceAll(passing.ReplaceAllString(out, ""), "\ntype=", " type=") // bands of meters
		list := strings.Split(out, "\n")[1:]                                             // the first line is the kind of reply
		for i := range list {
			list[i] = strings.TrimSuffix(what, "s") + " " + strings.TrimSpace(list[i])
		}
		slices.Sort(list)
		lines = append(lines, list...)
	}
	return strings.Join(lines, "\n"), nil
}

// SetForeign gives a bridge flows, groups and a meter as other controllers and people have them, in place of the flows that are there:
// flows of XAPI for the locking mode of a VIF at port 1 and of Xen Orchestra for rules of a VIF that is not there, 30 in tables 0 to 4 with
// any cookie, groups 1 and 2, meter 3, and at last NORMAL.
func (h *Host) SetForeign(ctx context.Context, bridge string) error {
	rng := rand.New(rand.NewPCG(7, 7))
	flows := []string{
		"priority=0,actions=NORMAL",
		// XAPI
		"cookie=1,table=0,priority=8000,in_port=1,dl_src=02:00:00:00:00:01,arp,arp_spa=10.1.0.1,actions=NORMAL",
		"cookie=1,table=0,priority=7000,in_port=1,dl_src=02:00:00:00:00:01,ip,nw_src=10.1.0.1,actions=NORMAL",
		"cookie=1,table=0,priority=4000,in_port=77,actions=drop",
		// Xen Orchestra
		"table=0,priority=32768,dl_src=02:00:00:00:00:09,tcp,nw_dst=192.0.2.0/24,tp_dst=443,actions=NORMAL",
		"table=0,priority=32768,dl_dst=02:00:00:00:00:09,tcp,nw_src=192.0.2.0/24,tp_src=443,actions=drop",
		"priority=100,udp,tp_dst=4711,actions=meter:3,NORMAL",
	}
	for i := range 30 {
		flows = append(flows, fmt.Sprintf("cookie=%#x,table=%d,priority=%d,udp,tp_dst=%d,actions=group:%d", rng.Uint64(), rng.IntN(5), 1+rng.IntN(60000), 40000+i, 1+i%2))
	}
	for _, args := range [][]string{
		{"--may-create", "mod-group", bridge, "group_id=1,type=select,bucket=output:1,bucket=output:2"},
		{"--may-create", "mod-group", bridge, "group_id=2,type=all,bucket=output:1"},
		{"del-meters", bridge},
		{"add-meter", bridge, "meter=3,kbps,burst,band=type=drop,rate=5000,burst_size=100"},
	} {
		if _, err := h.OFCtl(ctx, args...); err != nil {
			return err
		}
	}
	return h.SetFlows(ctx, bridge, flows...)
}
