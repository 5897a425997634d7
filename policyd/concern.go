package policyd

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/flow"
	"github.com/weirhq/weir/policyd/state"
)

// Concern says at which hosts something changes.
type Concern struct {
	Concerned []string `json:"concerned" doc:"Names of the hosts that have to carry it out. Of a VIF: where it is plugged, or was when the host was reached last, and where its VM runs; if that is not known, the hosts of its pool and those without one; else all."`
}

// BypassChange is a bypass that begins or ends.
type BypassChange struct {
	BypassStatus
	Concern
}

// QuarantineChange is a quarantine that begins.
type QuarantineChange struct {
	QuarantineStatus
	Concern
}

// concernOf says at which hosts something changes if policy is switched off, or on again.
func (s *Service) concernOf(b state.Bypass) Concern {
	if b.Kind == state.BypassVIF {
		id, _ := strconv.ParseUint(b.Target, 10, 64) // 0 is no VIF, so that all are concerned
		return s.concernOfVIF(flow.ID(id))
	}
	hosts, _ := s.Hosts()
	return namesOf(hosts, func(h *HostStatus) bool {
		return b.Kind == state.BypassEstate || b.Kind == state.BypassPool && h.Pool == b.Target || b.Kind == state.BypassHost && h.UUID == b.Target
	})
}

func (s *Service) concernOfVIF(id flow.ID) Concern {
	hosts, _ := s.Hosts()
	return hostsOfVIF(s.deps.Assembler.Model(), id, hosts)
}

func namesOf(hosts []HostStatus, concerned func(*HostStatus) bool) Concern {
	c := Concern{[]string{}}
	for i := range hosts {
		if concerned(&hosts[i]) {
			c.Concerned = append(c.Concerned, hosts[i].Name)
		}
	}
	return c
}

// hostsOfVIF says which of the hosts something concerns that is done to a VIF. No other one has to do anything for it, as far as a merged model knows;
// what the model does not know makes them more.
func hostsOfVIF(m *estate.Model, id flow.ID, hosts []HostStatus) Concern {
	known := map[string]*estate.Host{} // by all that they are called
	byKey := map[string]*estate.Host{}
	for i := range m.Hosts {
		h := &m.Hosts[i]
		byKey[h.Key] = h
		for _, name := range append([]string{strings.ToLower(h.UUID), h.Key}, h.SameAs...) {
			known[name] = h
		}
	}
	at, pool := map[*estate.Host]bool{}, ""
	for i := range m.VMs {
		vm := &m.VMs[i]
		for j := range vm.VIFs {
			if flow.NewID(flow.KindVIF, vm.VIFs[j].Key) != id {
				continue
			}
			pool = vm.Pool
			if h := byKey[vm.Host]; h != nil {
				at[h], pool = true, cmp.Or(h.Pool, pool)
			}
			for _, p := range vm.VIFs[j].Ports {
				if h := byKey[p.Host]; h != nil {
					at[h] = true
				}
			}
		}
	}
	if c := namesOf(hosts, func(h *HostStatus) bool { return known[h.UUID] != nil && at[known[h.UUID]] }); len(c.Concerned) > 0 {
		return c
	}
	name := ""
	if i := slices.IndexFunc(m.Pools, func(p estate.Pool) bool { return pool != "" && p.Key == pool }); i >= 0 {
		name = m.Pools[i].Name
	}
	if name == "" {
		return namesOf(hosts, func(*HostStatus) bool { return true })
	}
	return namesOf(hosts, func(h *HostStatus) bool {
		in := ""
		if e := known[h.UUID]; e != nil {
			in = e.Pool
		}
		return in == pool || h.Pool == name || in == "" && h.Pool == ""
	})
}
