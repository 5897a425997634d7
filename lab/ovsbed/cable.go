package ovsbed

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/weirhq/weir/lab/netns"
)

// link returns a new name for an interface.
func (h *Host) link(kind string) string {
	h.links++
	return fmt.Sprintf("%s%d.0", kind, h.links)
}

// plug adds an interface to a bridge.
func (h *Host) plug(ctx context.Context, bridge, device string) (Port, error) {
	if _, err := h.VSCtl(ctx, "add-port", bridge, device); err != nil {
		return Port{}, err
	}
	return h.Port(ctx, device)
}

// Join lays a cable from a bridge of h to a bridge of another host, and returns the ports at both ends: trunks of all
// VLANs.
func (h *Host) Join(ctx context.Context, bridge string, other *Host, otherBridge string) (here, there Port, err error) {
	x, y := h.link("eth"), other.link("eth")
	err = h.bed.Link(netns.End{Namespace: h.Namespace, Name: x}, netns.End{Namespace: other.Namespace, Name: y})
	if err == nil {
		here, err = h.plug(ctx, bridge, x)
	}
	if err == nil {
		there, err = other.plug(ctx, otherBridge, y)
	}
	if err != nil {
		return here, there, fmt.Errorf("join %q to %q: %w", h.Name, other.Name, err)
	}
	return here, there, nil
}

// JoinBond lays two cables from a bridge of h, where they are one bonded port of which one cable at a time is in use, to a bridge of
// another host, where they are two ports. It returns the interfaces of h, in no order.
func (h *Host) JoinBond(ctx context.Context, bridge, bond string, other *Host, otherBridge string) ([]Port, error) {
	ports, err := h.joinBond(ctx, bridge, bond, other, otherBridge)
	if err != nil {
		return nil, fmt.Errorf("join %q to %q: %w", h.Name, other.Name, err)
	}
	return ports, nil
}

func (h *Host) joinBond(ctx context.Context, bridge, bond string, other *Host, otherBridge string) (ports []Port, err error) {
	args := []string{"--", "add-bond", bridge, bond}
	var there []string
	for range 2 {
		x, y := h.link("eth"), other.link("eth")
		if err := h.bed.Link(netns.End{Namespace: h.Namespace, Name: x}, netns.End{Namespace: other.Namespace, Name: y}); err != nil {
			return nil, err
		}
		args, there = append(args, x), append(there, y)
		ports = append(ports, Port{Name: x})
	}
	if _, err := h.VSCtl(ctx, append(args, "bond_mode=active-backup")...); err != nil {
		return nil, err
	}
	for i := range ports {
		if ports[i], err = h.Port(ctx, ports[i].Name); err != nil {
			return nil, err
		}
		if _, err := other.plug(ctx, otherBridge, there[i]); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// AddAddress gives the host itself an address on a bridge, from which its tunnels begin.
func (h *Host) AddAddress(ctx context.Context, bridge string, addr netip.Prefix) error {
	if _, err := h.Namespace.Run(ctx, "ip", "address", "add", addr.String(), "dev", bridge); err != nil {
		return fmt.Errorf("add address to %q: %w", h.Name, err)
	}
	if _, err := h.Namespace.Run(ctx, "ip", "link", "set", bridge, "up"); err != nil {
		return fmt.Errorf("add address to %q: %w", h.Name, err)
	}
	return nil
}

// AddTunnel adds a port by which a bridge reaches another host: kind is vxlan or gre, key the network's number.
func (h *Host) AddTunnel(ctx context.Context, bridge, kind string, remote netip.Addr, key uint32) (Port, error) {
	name := h.link("tun")
	if _, err := h.VSCtl(ctx, "add-port", bridge, name, "--", "set", "interface", name, "type="+kind,
		"options:remote_ip="+remote.String(), fmt.Sprint("options:key=", key)); err != nil {
		return Port{}, err
	}
	return h.Port(ctx, name)
}
