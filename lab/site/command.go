package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/weirhq/weir/internal/nearest"
	"github.com/weirhq/weir/lab/ovsbed"
)

// Command is something that happens to a site.
type Command struct {
	Name string
	Args []string // what it wants: "VM", "HOST", "NETWORK" or, for a text, another word
	XAPI bool     // it happens to the management of a pool: there has to be one
	Doc  string   // what happens
	run  func(s *Site, ctx context.Context, a arguments) error
}

// arguments are what the words of a command mean.
type arguments struct {
	vm     *vm
	number int // of vm in the estate
	host   *ovsbed.Host
	name   string

	network int // by number in the estate
}

// Commands is everything that can happen, in the order in which it is shown.
var Commands = []Command{
	{"move", []string{"VM", "HOST"}, false, "A VM moves to another host, as by a live migration.", func(s *Site, ctx context.Context, a arguments) error {
		for _, v := range a.vm.vifs {
			if v.Host == a.host {
				return fmt.Errorf("it is there already")
			}
			if v.Port.Name == "" {
				return fmt.Errorf("it is unplugged: plug it in first")
			}
		}
		arrived := s.xapi.move(a.number, a.host.Name)
		for _, v := range a.vm.vifs {
			if err := v.Move(ctx, a.host, nil); err != nil {
				return err
			}
		}
		arrived()
		return s.route(ctx, a.number)
	}},
	{"unplug", []string{"VM"}, false, "The interfaces of a VM are unplugged.", func(s *Site, ctx context.Context, a arguments) error {
		return s.unplug(ctx, a)
	}},
	{"plug", []string{"VM"}, false, "The interfaces of a VM are plugged in again: with the same names and other port numbers.", func(s *Site, ctx context.Context, a arguments) error {
		return s.plug(ctx, a)
	}},
	{"replug", []string{"VM"}, false, "The interfaces of a VM are unplugged and plugged in again.", func(s *Site, ctx context.Context, a arguments) error {
		if err := s.unplug(ctx, a); err != nil {
			return err
		}
		return s.plug(ctx, a)
	}},
	{"rename", []string{"VM", "NAME"}, false, "A VM gets another name in its pool; without XAPI in the estate file.", func(s *Site, _ context.Context, a arguments) error {
		if slices.ContainsFunc(s.vms, func(v *vm) bool { return v.name == a.name }) {
			return fmt.Errorf("there is a %q", a.name)
		}
		a.vm.name = a.name
		s.xapi.rename(a.number, a.name)
		return nil
	}},
	{"emer-reset", []string{"HOST"}, false, "What is set up at the bridges of a host is wiped, as XAPI does when its SDN controller changes.", func(_ *Site, ctx context.Context, a arguments) error {
		return a.host.EmerReset(ctx)
	}},
	{"restart", []string{"HOST"}, false, "ovs-vswitchd of a host ends and starts again, as the packages' scripts do it.", func(_ *Site, ctx context.Context, a arguments) error {
		return a.host.ReloadSwitch(ctx)
	}},
	{"restart-db", []string{"HOST"}, false, "ovsdb-server of a host ends and starts again.", func(_ *Site, ctx context.Context, a arguments) error {
		return a.host.RestartDB(ctx)
	}},
	{"kill", []string{"HOST"}, false, "ovs-vswitchd and ovsdb-server of a host end, as by a loss of power.", func(_ *Site, _ context.Context, a arguments) error {
		return a.host.Kill()
	}},
	{"start", []string{"HOST"}, false, "ovs-vswitchd and ovsdb-server of a host start again after a kill.", func(_ *Site, ctx context.Context, a arguments) error {
		return a.host.Start(ctx)
	}},
	{"freeze", []string{"HOST"}, false, "ovs-vswitchd and ovsdb-server of a host stand still: connections stay open, nobody answers.", func(_ *Site, _ context.Context, a arguments) error {
		return a.host.Freeze()
	}},
	{"thaw", []string{"HOST"}, false, "ovs-vswitchd and ovsdb-server of a host go on after a freeze.", func(_ *Site, _ context.Context, a arguments) error {
		return a.host.Thaw()
	}},
	{"cut", []string{"HOST"}, false, "The cable between a host and Weir is taken out.", func(_ *Site, _ context.Context, a arguments) error {
		return a.host.SetManagement(false)
	}},
	{"join", []string{"HOST"}, false, "The cable between a host and Weir is put back in.", func(_ *Site, _ context.Context, a arguments) error {
		return a.host.SetManagement(true)
	}},
	{"add-vif", []string{"VM", "NETWORK"}, true, "A running VM gets one more interface.", func(s *Site, ctx context.Context, a arguments) error {
		return s.addVIF(ctx, a)
	}},
	{"tag", []string{"VM", "TAGS"}, true, "A VM has these tags in its pool, separated by commas; - is none.", func(s *Site, _ context.Context, a arguments) error {
		s.xapi.tag(a.number, a.name)
		return nil
	}},
	{"address", []string{"VM", "ADDRESS"}, true, "The first interface of a VM has another IPv4 address, which its guest tools tell.", func(s *Site, ctx context.Context, a arguments) error {
		return s.address(ctx, a)
	}},
	{"failover", []string{"HOST"}, true, "A host becomes the coordinator of the pool.", func(s *Site, _ context.Context, a arguments) error {
		return s.xapi.failover(a.host.Name)
	}},
	{"expire", nil, true, "All sessions of XAPI end, as when they are too old.", func(s *Site, _ context.Context, _ arguments) error {
		s.xapi.pool.EndSessions()
		return nil
	}},
	{"restart-xapi", nil, true, "XAPI ends at all hosts, and starts again: sessions and tokens are forgotten.", func(s *Site, _ context.Context, _ arguments) error {
		return s.restartXAPI()
	}},
	{"controller", []string{"ADDRESS"}, true, "The pool is registered with an SDN controller at an address; - is none.", func(s *Site, _ context.Context, a arguments) error {
		return s.xapi.control(a.name)
	}},
}

// Do makes something happen: name is one of Commands, words are what it wants. It returns when it has happened.
func (s *Site) Do(ctx context.Context, name string, words ...string) error {
	i := slices.IndexFunc(Commands, func(c Command) bool { return c.Name == name })
	if i < 0 {
		return fmt.Errorf("%s: found no such command", name)
	}
	c := &Commands[i]
	if len(words) != len(c.Args) {
		return fmt.Errorf("%s: found %d arguments, want %s", name, len(words), strings.Join(c.Args, " "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.XAPI && s.xapi == nil {
		return fmt.Errorf("%s: the site has no XAPI", name)
	}
	var a arguments
	var err error
	for i, kind := range c.Args {
		switch kind {
		case "VM":
			a.vm, a.number, err = s.vm(words[i])
		case "HOST":
			a.host, err = s.host(words[i])
		case "NETWORK":
			a.network, err = s.network(words[i])
		default:
			if a.name = words[i]; a.name == "" {
				err = errors.New("found an empty name")
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := c.run(s, ctx, a); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(words, " "), err)
	}
	return nil
}

func (s *Site) vm(name string) (*vm, int, error) {
	var names []string
	for i, v := range s.vms {
		if v.name == name {
			return v, i, nil
		}
		names = append(names, v.name)
	}
	return nil, 0, unknown("VM", name, names)
}

func (s *Site) host(name string) (*ovsbed.Host, error) {
	var names []string
	for _, h := range s.Hosts() {
		if h.Name == name {
			return h, nil
		}
		names = append(names, h.Name)
	}
	return nil, unknown("host", name, names)
}

func (s *Site) network(name string) (int, error) {
	var names []string
	for i := range s.estate.Networks {
		names = append(names, s.estate.Networks[i].Name)
		if s.estate.Networks[i].Name == name {
			return i, nil
		}
	}
	return 0, unknown("network", name, names)
}

func unknown(kind, name string, names []string) error {
	if near := nearest.Word(name, names); near != "" {
		return fmt.Errorf("%s %q: found none of that name, did you mean %s?", kind, name, near)
	}
	return fmt.Errorf("%s %q: found none of that name; list shows all", kind, name)
}

func (s *Site) unplug(ctx context.Context, a arguments) error {
	for _, x := range a.vm.vifs {
		if x.Port.Name == "" {
			return errors.New("it is unplugged already")
		}
		if err := x.Unplug(ctx); err != nil {
			return err
		}
	}
	s.xapi.plugged(a.number, false)
	return nil
}

func (s *Site) plug(ctx context.Context, a arguments) error {
	for _, x := range a.vm.vifs {
		if x.Port.Name != "" {
			return errors.New("it is plugged in already")
		}
		if err := x.Plug(ctx); err != nil {
			return err
		}
	}
	s.xapi.plugged(a.number, true)
	return s.route(ctx, a.number)
}

// List returns a table of VMs: where they are, how they are plugged in, and their addresses.
func (s *Site) List() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = io.WriteString(w, strings.Join(cells, "\t")+"\n") } // to memory, as is Flush
	row("VM", "HOST", "INTERFACE", "PORT", "NETWORK", "ADDRESS")
	for _, v := range s.vms {
		for j, x := range v.vifs {
			port, number := "unplugged", ""
			if x.Port.Name != "" {
				port, number = x.Port.Name, fmt.Sprint(x.Port.OFPort)
			}
			network := s.estate.Networks[v.networks[j]].Name
			row(v.name, x.Host.Name, port, number, network, x.Addrs[0].Addr().String())
		}
	}
	_ = w.Flush()
	return b.String()
}
