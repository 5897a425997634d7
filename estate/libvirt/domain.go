package libvirt

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/estate"
)

// Bounds of what a host may say of one domain. More is left out, or refused.
const (
	maxXML       = 1 << 20 // bytes
	maxVIFs      = 256
	maxTags      = 64
	maxText      = 1024 // bytes of one value
	maxAddresses = 64   // of a VIF
)

// Namespaces of metadata that are read. Weir's is what people put into a domain by
//
//	virsh metadata web-01 urn:weir:domain --key weir --set '<domain><tag>web</tag><attribute name="owner">alice</attribute></domain>'
const (
	weirSpace      = "urn:weir:domain"
	novaSpacePart  = "openstack.org/xmlns/libvirt/nova/"
	libosinfoSpace = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
)

// domain is what the XML of a domain says (https://libvirt.org/formatdomain.html), as far as it is used.
type domain struct {
	Name        string      `xml:"name"`
	UUID        string      `xml:"uuid"`
	Title       string      `xml:"title"`
	Description string      `xml:"description"`
	Interfaces  []nic       `xml:"devices>interface"`
	Metadata    metadataXML `xml:"metadata"`
}

type nic struct {
	Type string `xml:"type,attr"`
	MAC  struct {
		Address string `xml:"address,attr"`
	} `xml:"mac"`
	Source struct {
		Network   string `xml:"network,attr"`
		Portgroup string `xml:"portgroup,attr"`
		Bridge    string `xml:"bridge,attr"`
		Dev       string `xml:"dev,attr"`
	} `xml:"source"`
	VirtualPort struct {
		Type       string `xml:"type,attr"`
		Parameters struct {
			InterfaceID string `xml:"interfaceid,attr"`
			ProfileID   string `xml:"profileid,attr"`
		} `xml:"parameters"`
	} `xml:"virtualport"`
	VLAN struct {
		Trunk string `xml:"trunk,attr"`
		Tags  []struct {
			ID uint16 `xml:"id,attr"`
		} `xml:"tag"`
	} `xml:"vlan"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	Alias struct {
		Name string `xml:"name,attr"`
	} `xml:"alias"`
}

// metadataXML is what is read of the metadata of a domain.
type metadataXML struct {
	tags       []string
	attributes map[string]string
}

// UnmarshalXML reads the elements of the namespaces that are known, and passes over others.
func (m *metadataXML) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	m.attributes = map[string]string{}
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			switch {
			case t.Name.Space == weirSpace:
				err = m.weir(d, t)
			case strings.Contains(t.Name.Space, novaSpacePart) && t.Name.Local == "instance":
				err = m.nova(d, t)
			case t.Name.Space == libosinfoSpace:
				err = m.osinfo(d, t)
			default:
				err = d.Skip()
			}
			if err != nil {
				return err
			}
		}
	}
}

func (m *metadataXML) set(key, value string) {
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if key != "" && value != "" && len(key) <= maxText && len(value) <= maxText && len(m.attributes) < maxTags {
		m.attributes[key] = value
	}
}

func (m *metadataXML) weir(d *xml.Decoder, start xml.StartElement) error {
	var x struct {
		Tags       []string `xml:"tag"`
		Attributes []struct {
			Name string `xml:"name,attr"`
			Text string `xml:",chardata"`
		} `xml:"attribute"`
	}
	if err := d.DecodeElement(&x, &start); err != nil {
		return err
	}
	for _, t := range x.Tags {
		if t = strings.TrimSpace(t); t != "" && len(t) <= maxText && len(m.tags) < maxTags {
			m.tags = append(m.tags, t)
		}
	}
	for _, a := range x.Attributes {
		m.set(a.Name, a.Text)
	}
	return nil
}

// nova reads what OpenStack's compute service says of its instance.
func (m *metadataXML) nova(d *xml.Decoder, start xml.StartElement) error {
	var x struct {
		Name    string `xml:"name"`
		Project struct {
			Name string `xml:",chardata"`
			UUID string `xml:"uuid,attr"`
		} `xml:"owner>project"`
		Flavor struct {
			Name string `xml:"name,attr"`
		} `xml:"flavor"`
	}
	if err := d.DecodeElement(&x, &start); err != nil {
		return err
	}
	m.set("nova:name", x.Name)
	m.set("nova:project", x.Project.Name)
	m.set("nova:project_id", x.Project.UUID)
	m.set("nova:flavor", x.Flavor.Name)
	return nil
}

func (m *metadataXML) osinfo(d *xml.Decoder, start xml.StartElement) error {
	var x struct {
		OS struct {
			ID string `xml:"id,attr"`
		} `xml:"os"`
	}
	if err := d.DecodeElement(&x, &start); err != nil {
		return err
	}
	m.set("os", x.OS.ID)
	return nil
}

// parse reads the XML of a domain.
func parse(text string) (*domain, error) {
	if len(text) > maxXML {
		return nil, fmt.Errorf("the XML has %d bytes, of at most %d", len(text), maxXML)
	}
	x := &domain{}
	d := xml.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(x); err != nil {
		return nil, fmt.Errorf("read XML: %w", err)
	}
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read XML: %w", err)
		}
		if _, ok := t.(xml.StartElement); ok {
			return nil, errors.New("read XML: there is more than one domain")
		}
	}
	if x.Name == "" || x.UUID == "" {
		return nil, errors.New("read XML: the domain has no name or no UUID")
	}
	return x, nil
}

// seen is a domain as it is at a host.
type seen struct {
	*domain
	state     string                  // running, paused, shut off, …
	addresses map[string][]netip.Addr // by MAC address, in lower case
}

// active says whether a domain is at the host, and not only known there.
func (s *seen) active() bool { return s.state != "" && s.state != "shut off" && s.state != "crashed" }

// placeOf is a host, its pool, and networks by name.
type placeOf struct {
	host, hostUUID, pool string
}

// model returns what a host has, as a source of the estate.
func (p *placeOf) model(domains []*seen) *estate.Model {
	m := &estate.Model{}
	if p.pool != "" {
		m.Pools = []estate.Pool{{Name: p.pool}}
	}
	bridges := map[string]bool{}
	networks := map[string]bool{}
	slices.SortFunc(domains, func(a, b *seen) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UUID, b.UUID)) })
	for _, s := range domains {
		vm := estate.VM{Name: s.Name, UUID: strings.ToLower(s.UUID), Pool: p.pool, Attributes: map[string]string{}}
		if s.active() {
			vm.Host = p.host
		}
		vm.Tags = slices.Compact(slices.Sorted(slices.Values(s.Metadata.tags)))
		maps.Copy(vm.Attributes, s.Metadata.attributes)
		for k, v := range map[string]string{"power_state": s.state, "title": s.Title, "description": s.Description} {
			if v = strings.TrimSpace(v); v != "" && len(v) <= maxText {
				vm.Attributes[k] = v
			}
		}
		for i := range s.Interfaces[:min(len(s.Interfaces), maxVIFs)] {
			vif, network := s.vif(i, p)
			if network != nil {
				vif.Network = network.Name
				if !networks[network.Name] {
					networks[network.Name] = true
					m.Networks = append(m.Networks, *network)
				}
				if network.Bridge != "" {
					bridges[network.Bridge] = true
				}
			}
			vm.VIFs = append(vm.VIFs, vif)
		}
		m.VMs = append(m.VMs, vm)
	}
	host := estate.Host{Name: p.host, UUID: p.hostUUID, Pool: p.pool}
	for b := range bridges {
		host.Bridges = append(host.Bridges, estate.Bridge{Name: b})
	}
	slices.SortFunc(host.Bridges, func(a, b estate.Bridge) int { return cmp.Compare(a.Name, b.Name) })
	m.Hosts = []estate.Host{host}
	return m
}

// vif returns an interface, and the network that it is in; nil: none that can be told.
func (s *seen) vif(i int, p *placeOf) (estate.VIF, *estate.Network) {
	n := &s.Interfaces[i]
	v := estate.VIF{Device: fmt.Sprint(i)}
	if name, ok := strings.CutPrefix(n.Alias.Name, "net"); ok && name != "" {
		v.Device = name
	}
	_ = v.MAC.UnmarshalText([]byte(n.MAC.Address)) // 0 if it is none
	if id := strings.ToLower(n.VirtualPort.Parameters.InterfaceID); n.VirtualPort.Type == "openvswitch" && id != "" {
		v.UUID = id // as in external_ids:iface-id of its port
	}
	v.IPs = slices.Clone(s.addresses[strings.ToLower(n.MAC.Address)])
	if len(v.IPs) > maxAddresses {
		v.IPs = v.IPs[:maxAddresses]
	}
	if n.Target.Dev != "" && s.active() {
		v.Ports = []estate.Port{{Host: p.host, Name: n.Target.Dev, Bridge: n.Source.Bridge}}
	}
	network := &estate.Network{Name: n.Source.Network, Pool: p.pool, Bridge: n.Source.Bridge}
	if network.Name == "" {
		network.Name = n.Source.Bridge
	}
	if network.Name == "" {
		return v, nil
	}
	if n.Source.Portgroup != "" {
		network.Name += "/" + n.Source.Portgroup
	}
	if len(n.VLAN.Tags) == 1 && n.VLAN.Trunk != "yes" && n.VLAN.Tags[0].ID > 0 && n.VLAN.Tags[0].ID < 4095 {
		network.VLAN = n.VLAN.Tags[0].ID
		network.Name = fmt.Sprintf("%s.%d", network.Name, network.VLAN)
	}
	return v, network
}
