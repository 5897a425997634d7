package ovsbed

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// NetFlow is how a bridge exports NetFlow 5.
type NetFlow struct {
	Target        netip.AddrPort
	EngineType    uint8
	EngineID      uint8
	ActiveTimeout time.Duration // whole seconds; 0 is the switch's 600 s
}

// The following return once the switch treats every packet so, also those of flows that were there before.

// SetNetFlow makes a bridge export NetFlow 5.
func (h *Host) SetNetFlow(ctx context.Context, bridge string, n NetFlow) error {
	args := []string{
		"--", "--id=@n", "create", "netflow", quoted("targets", n.Target),
		fmt.Sprint("engine_type=", n.EngineType), fmt.Sprint("engine_id=", n.EngineID),
	}
	if n.ActiveTimeout > 0 {
		args = append(args, fmt.Sprint("active_timeout=", int(n.ActiveTimeout.Seconds())))
	}
	return h.configure(ctx, append(args, "--", "set", "bridge", bridge, "netflow=@n")...)
}

// IPFIX is how a bridge exports IPFIX.
type IPFIX struct {
	Targets       []netip.AddrPort
	ActiveTimeout time.Duration // whole seconds, after which a flow leaves the cache; 0: never
	MaxFlows      uint32        // of the cache; 0: none, each packet is exported at once
	VirtualID     string        // virtual_obs_id, if not empty

	// Of a bridge only; with SetFlowSampling the action sample says it.
	Sampling  uint32 // one packet in so many
	Domain    uint32 // observation domain
	Point     uint32 // observation point
	NoInput   bool   // packets are not sampled when they come in; the switch's own choice is both
	NoOutput  bool   // packets are not sampled when they go out
	Tunneling bool   // with what is around packets of tunnels
}

// columns returns what create makes of i.
func (i *IPFIX) columns() []string {
	args := []string{
		quoted("targets", i.Targets...), fmt.Sprint("cache_active_timeout=", int(i.ActiveTimeout.Seconds())),
		fmt.Sprint("cache_max_flows=", i.MaxFlows),
	}
	if i.VirtualID != "" {
		args = append(args, quoted("other_config:virtual_obs_id", i.VirtualID))
	}
	return args
}

// SetIPFIX makes a bridge sample packets by itself and export them.
func (h *Host) SetIPFIX(ctx context.Context, bridge string, i IPFIX) error {
	args := append([]string{"--", "--id=@i", "create", "ipfix"}, i.columns()...)
	args = append(
		args, fmt.Sprint("sampling=", i.Sampling), fmt.Sprint("obs_domain_id=", i.Domain), fmt.Sprint("obs_point_id=", i.Point),
		fmt.Sprint("other_config:enable-tunnel-sampling=", i.Tunneling),
	)
	// Against its manual, Open vSwitch 3.1 takes true for "disable" and false for the default, enabled.
	if i.NoInput {
		args = append(args, "other_config:enable-input-sampling=true")
	}
	if i.NoOutput {
		args = append(args, "other_config:enable-output-sampling=true")
	}
	return h.configure(ctx, append(args, "--", "set", "bridge", bridge, "ipfix=@i")...)
}

// SetFlowSampling makes what flows of a bridge sample with sample(collector_set_id=set, …) be exported.
func (h *Host) SetFlowSampling(ctx context.Context, bridge string, set uint32, i IPFIX) error {
	args := append([]string{"--", "--id=@b", "get", "bridge", bridge, "--", "--id=@i", "create", "ipfix"}, i.columns()...)
	return h.configure(ctx, append(args, "--", "create", "flow_sample_collector_set", fmt.Sprint("id=", set), "bridge=@b", "ipfix=@i")...)
}

// configure runs ovs-vsctl for all packets from now on.
func (h *Host) configure(ctx context.Context, args ...string) error {
	if _, err := h.VSCtl(ctx, args...); err != nil {
		return err
	}
	return h.Forget(ctx)
}

var currentFlows = regexp.MustCompile(`current flows=(\d+)`)

// CachedFlows returns how many flows the IPFIX cache of a bridge holds that samples packets by itself.
func (h *Host) CachedFlows(ctx context.Context, bridge string) (int, error) {
	out, err := h.OFCtl(ctx, "dump-ipfix-bridge", bridge)
	if err != nil {
		return 0, err
	}
	m := currentFlows.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("read IPFIX cache of %q: found %q, want %q", bridge, out, currentFlows)
	}
	return strconv.Atoi(m[1])
}

// ClearExports ends all exports of a bridge. What IPFIX caches hold is exported first; what NetFlow counted is not.
func (h *Host) ClearExports(ctx context.Context, bridge string) error {
	if _, err := h.VSCtl(ctx, "clear", "bridge", bridge, "netflow", "ipfix"); err != nil {
		return err
	}
	uuid, err := h.VSCtl(ctx, "get", "bridge", bridge, "_uuid")
	if err != nil {
		return err
	}
	sets, err := h.VSCtl(ctx, "--bare", "--columns=_uuid", "find", "flow_sample_collector_set", "bridge="+uuid)
	if err != nil || sets == "" {
		return err
	}
	_, err = h.VSCtl(ctx, append([]string{"destroy", "flow_sample_collector_set"}, strings.Fields(sets)...)...)
	return err
}

// quoted returns a column with text values, as ovs-vsctl reads it.
func quoted[T any](column string, values ...T) string {
	var list []string
	for _, v := range values {
		list = append(list, fmt.Sprintf("%q", fmt.Sprint(v)))
	}
	return column + "=" + strings.Join(list, ",")
}
