// Package libvirtrpc answers in place of libvirt, where a real one could not: it has domains that migrate and interfaces that are plugged in,
// without a hypervisor. It speaks of libvirt's RPC (virnetprotocol.x, remote_protocol.x) what estate/libvirt asks, and refuses the rest. What happens to
// domains is what a test says; the Open vSwitch that their interfaces are plugged into is the lab's. The real libvirtd with its test driver is
// in lab/libvirtd: it can do neither.
package libvirtrpc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	rpc "github.com/digitalocean/go-libvirt"
)

// Domain is a virtual machine.
type Domain struct {
	Name  string
	UUID  string
	XML   string // what libvirt says of it
	State rpc.DomainState
}

// Host is the libvirt of one host. Its methods may be called from any goroutine.
type Host struct {
	name, uuid string

	mu      sync.Mutex
	domains []Domain             // guarded by mu
	clients map[*client]struct{} // guarded by mu
}

// New returns the libvirt of a host, without domains.
func New(name, uuid string) *Host {
	return &Host{name: name, uuid: uuid, clients: map[*client]struct{}{}}
}

// Serve answers at l until l is closed, and ends its connections then.
func (h *Host) Serve(l net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			h.mu.Lock()
			for c := range h.clients {
				c.conn.Close()
			}
			h.mu.Unlock()
			return
		}
		c := &client{host: h, conn: conn, events: map[int32]rpc.DomainEventID{}}
		h.mu.Lock()
		h.clients[c] = struct{}{}
		h.mu.Unlock()
		all.Go(func() {
			c.serve()
			h.mu.Lock()
			delete(h.clients, c)
			h.mu.Unlock()
		})
	}
}

// Start has a domain run, which may be one that was defined.
func (h *Host) Start(d Domain) {
	h.set(d)
	h.tell(d, rpc.DomainEventStarted, int32(rpc.DomainEventStartedBooted))
}

// Update changes what libvirt says of a domain, by a device that was plugged in.
func (h *Host) Update(d Domain) {
	h.set(d)
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		c.tell(rpc.DomainEventIDDeviceAdded, 354, func(id int32) any {
			return rpc.DomainEventCallbackDeviceAddedMsg{CallbackID: id, Dom: d.rpc(), DevAlias: "net1"}
		})
	}
}

// Migrate moves a running domain to another host, in the order in which QEMU does: it is paused there, move plugs its interfaces there and not here
// any more, then it runs there and is gone here.
func (h *Host) Migrate(name string, to *Host, move func() error) error {
	d, ok := h.domain(func(d *Domain) bool { return d.Name == name })
	if !ok {
		return fmt.Errorf("migrate domain %q: host %q has none of that name", name, h.name)
	}
	d.State = rpc.DomainPaused
	to.set(d)
	to.tell(d, rpc.DomainEventStarted, int32(rpc.DomainEventStartedMigrated))
	h.set(d)
	h.tell(d, rpc.DomainEventSuspended, int32(rpc.DomainEventSuspendedMigrated))
	if err := move(); err != nil {
		return fmt.Errorf("migrate domain %q to %q: %w", name, to.name, err)
	}
	h.remove(d)
	h.tell(d, rpc.DomainEventStopped, int32(rpc.DomainEventStoppedMigrated))
	d.State = rpc.DomainRunning
	to.set(d)
	to.tell(d, rpc.DomainEventResumed, int32(rpc.DomainEventResumedMigrated))
	return nil
}

func (h *Host) set(d Domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.domains {
		if h.domains[i].UUID == d.UUID {
			h.domains[i] = d
			return
		}
	}
	h.domains = append(h.domains, d)
}

func (h *Host) remove(d Domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains = slices.DeleteFunc(h.domains, func(o Domain) bool { return o.UUID == d.UUID })
}

func (h *Host) domain(is func(*Domain) bool) (Domain, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.domains {
		if is(&h.domains[i]) {
			return h.domains[i], true
		}
	}
	return Domain{}, false
}

// tell tells of the life of a domain.
func (h *Host) tell(d Domain, event rpc.DomainEventType, detail int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		c.tell(rpc.DomainEventIDLifecycle, 318, func(id int32) any {
			return rpc.DomainEventCallbackLifecycleMsg{CallbackID: id, Msg: rpc.DomainEventLifecycleMsg{Dom: d.rpc(), Event: int32(event), Detail: detail}}
		})
	}
}

// rpc returns how the RPC names a domain.
func (d *Domain) rpc() rpc.Domain {
	r := rpc.Domain{Name: d.Name, ID: -1}
	b, _ := hex.DecodeString(strings.ReplaceAll(d.UUID, "-", "")) // of another form it is all zeros
	copy(r.UUID[:], b)
	return r
}

// answer is the value that a call returns, of its parameters.
func (c *client) answer(procedure uint32, args []byte) (any, error) {
	h := c.host
	find := func(d rpc.Domain) (Domain, error) {
		found, ok := h.domain(func(x *Domain) bool { return x.rpc().UUID == d.UUID })
		if !ok {
			return found, rpc.Error{Code: uint32(rpc.ErrNoDomain), Message: "Domain not found: no domain with matching uuid"}
		}
		return found, nil
	}
	switch procedure {
	case 66: // authentication
		return rpc.AuthListRet{Types: []rpc.AuthType{0}}, nil
	case 1, 2, 317: // open, close, no more events
		return nil, nil
	case 59:
		return rpc.ConnectGetHostnameRet{Hostname: h.name}, nil
	case 157:
		return rpc.ConnectGetLibVersionRet{LibVer: 9_000_000}, nil
	case 7:
		return rpc.ConnectGetCapabilitiesRet{Capabilities: "<capabilities><host><uuid>" + h.uuid + "</uuid></host></capabilities>"}, nil
	case 316:
		var in rpc.ConnectDomainEventCallbackRegisterAnyArgs
		if err := decode(args, &in); err != nil {
			return nil, err
		}
		return rpc.ConnectDomainEventCallbackRegisterAnyRet{CallbackID: c.subscribe(rpc.DomainEventID(in.EventID))}, nil
	case 273:
		h.mu.Lock()
		defer h.mu.Unlock()
		var ret rpc.ConnectListAllDomainsRet
		for i := range h.domains {
			ret.Domains = append(ret.Domains, h.domains[i].rpc())
		}
		ret.Ret = uint32(len(ret.Domains))
		return ret, nil
	case 14:
		var in rpc.DomainGetXMLDescArgs
		if err := decode(args, &in); err != nil {
			return nil, err
		}
		d, err := find(in.Dom)
		return rpc.DomainGetXMLDescRet{XML: d.XML}, err
	case 212:
		var in rpc.DomainGetStateArgs
		if err := decode(args, &in); err != nil {
			return nil, err
		}
		d, err := find(in.Dom)
		return rpc.DomainGetStateRet{State: int32(d.State)}, err
	}
	return nil, errors.New("this function is not supported by the lab's libvirt")
}
