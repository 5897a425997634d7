package policyd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/estate/hosts"
	"github.com/weirhq/weir/internal/strictyaml"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/export"
)

// Config is hosts in the YAML file.
type Config struct {
	hosts.Config `yaml:",inline"`

	Export export.Settings `yaml:"export" doc:"How hosts are made to export flows, unless weir hosts export says otherwise of a pool or host."`
}

// Default returns the configuration that is used where the file is silent.
func Default() Config { return Config{Config: hosts.Default(), Export: export.Default()} }

// PolicyConfig is policy in the YAML file.
type PolicyConfig struct {
	Listeners      []BridgeListener `yaml:"listeners" doc:"Where bridges of hosts with mode enforce reach Weir by OpenFlow; none: no host can be enforced. Open vSwitch's port is 6653."`
	FlowsPerBridge int              `yaml:"flows_per_bridge" doc:"A policy of which a bridge would hold more OpenFlow flows is refused, before anything is changed anywhere."`
	Sampling       Sampling         `yaml:"sampling" doc:"Which packets enforced bridges tell of, with the rule that decided: full: all of them, which is the source of totals; new: the first packets of connections and whatever is dropped, beside the export of hosts.export; off: none. auto: full with the userspace datapath, else new. weir pool sampling says otherwise of a pool."`
	KeepRevisions  int              `yaml:"keep_revisions" doc:"So many of the newest revisions of the policy are kept. What is in force is kept, what it replaced, what was confirmed last, and what drafts are based on."`
	Probe          time.Duration    `yaml:"inactivity_probe" doc:"After so much silence an enforced bridge asks whether Weir is there, and after as much again it takes the connection for lost. One with fail mode open opens after three times that without Weir. Whole seconds."`
	CollectorWait  time.Duration    `yaml:"collector_wait" doc:"So long at most new rules wait until collectors know their numbers, before hosts get them."`
}

// BridgeListener is one of policy.listeners.
type BridgeListener struct {
	hosts.ListenerConfig `yaml:",inline"`

	Reach netip.AddrPort `yaml:"reach" doc:"Address and port by which hosts reach this listener. Empty: the address from which Weir reaches the host's database, and the port of addr."`
}

// Sampling says which packets enforced bridges tell of.
type Sampling string

// The values of Sampling.
const (
	SamplingAuto Sampling = "auto"
	SamplingFull Sampling = "full"
	SamplingNew  Sampling = "new"
	SamplingOff  Sampling = "off"
)

// Allowed lists the values for messages and for the manual.
func (Sampling) Allowed() []string {
	return []string{string(SamplingAuto), string(SamplingFull), string(SamplingNew), string(SamplingOff)}
}

// UnmarshalText accepts the allowed values only.
func (s *Sampling) UnmarshalText(b []byte) error {
	v := Sampling(b)
	if !slices.Contains(v.Allowed(), string(v)) {
		return fmt.Errorf("found %q, want %s", v, strings.Join(v.Allowed(), " or "))
	}
	*s = v
	return nil
}

// MarshalText writes the value.
func (s Sampling) MarshalText() ([]byte, error) { return []byte(s), nil }

// DefaultPolicy returns the configuration that is used where the file is silent.
func DefaultPolicy() PolicyConfig {
	return PolicyConfig{Listeners: []BridgeListener{}, FlowsPerBridge: 100_000, Sampling: SamplingAuto, KeepRevisions: 1000, Probe: attach.DefaultProbe, CollectorWait: 3 * time.Second}
}

// Validate says what is wrong with the configuration, or nil.
func (c *PolicyConfig) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, strictyaml.At(key, fmt.Errorf(format, args...)))
	}
	if c.FlowsPerBridge < 100 || c.FlowsPerBridge > 1_000_000 {
		refuse("flows_per_bridge", "found %d, want 100 to 1000000", c.FlowsPerBridge)
	}
	if c.KeepRevisions < 10 || c.KeepRevisions > 100_000 {
		refuse("keep_revisions", "found %d, want 10 to 100000", c.KeepRevisions)
	}
	if c.CollectorWait < 0 || c.CollectorWait > time.Minute {
		refuse("collector_wait", "found %s, want 0s to 1m", c.CollectorWait)
	}
	if c.Probe < time.Second || c.Probe > 10*time.Minute || c.Probe%time.Second != 0 {
		refuse("inactivity_probe", "found %s, want whole seconds, 1s to 10m", c.Probe)
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if r := l.Reach; r != (netip.AddrPort{}) && (!r.IsValid() || r.Port() == 0 || r.Addr().IsUnspecified() || r.Addr().IsMulticast() || r.Addr().Zone() != "") {
			refuse(fmt.Sprintf("listeners[%d].reach", i), "found %q, want address and port of this machine, e.g. 192.0.2.5:6653", r)
		}
		if strings.HasPrefix(l.Addr, "unix:") {
			refuse(fmt.Sprintf("listeners[%d].addr", i), "found %q, want host:port, e.g. %q: bridges dial by TCP", l.Addr, ":6653")
		}
	}
	return errors.Join(errs...)
}
