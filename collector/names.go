package collector

import (
	"net/netip"

	"github.com/weirhq/weir/collector/template"
)

// NameKind is what a [Name] names. The texts are those of column kind of table exporter_names.
type NameKind string

// The kinds of name that exporters tell in options data.
const (
	NameInterface   NameKind = "interface"   // Number is an interface index
	NameApplication NameKind = "application" // Number is column application of flows
	NameVRF         NameKind = "vrf"         // Number is a VRF id
)

// Name is what an exporter calls something that its flows refer to by number.
type Name struct {
	Exporter    netip.Addr
	Domain      uint32
	Kind        NameKind
	Number      uint64
	Name        string
	Description string
}

// Names tells which names in a template store are not published yet. It belongs to one goroutine; the store may be
// written meanwhile. It remembers what was published, which is bounded by the memory of the store.
//
//	changed := names.Changed()
//	if publish(changed) == nil {
//		names.Published(changed)
//	}
type Names struct {
	store     *template.Store
	published map[nameKey]nameText
}

type nameKey struct {
	exporter netip.Addr
	domain   uint32
	kind     NameKind
	number   uint64
}

type nameText struct{ name, description string }

// NewNames returns the names of store, of which none is published.
func NewNames(store *template.Store) *Names {
	return &Names{store: store, published: map[nameKey]nameText{}}
}

// Changed returns the names that are new or differ from what was published. It forgets those that the store forgot,
// so that they are new should they come again. It copies every name in the store: call it every few seconds.
//
// Protocols number interfaces alike: where an exporter tells different names by NetFlow 9 and by IPFIX in domains of the
// same number, that of IPFIX is taken.
func (n *Names) Changed() []Name {
	current := make(map[nameKey]nameText, len(n.published))
	var order []nameKey // as the store lists exporters, for steady output
	put := func(info *template.Info, kind NameKind, number uint64, name, description string) {
		k := nameKey{info.Exporter, info.Domain, kind, number}
		if _, there := current[k]; !there {
			order = append(order, k)
		}
		current[k] = nameText{name, description}
	}
	infos := n.store.Domains() // sorted by protocol too: the later one wins
	for i := range infos {
		info := &infos[i]
		for index, v := range info.Interfaces {
			put(info, NameInterface, uint64(index), v.Name, v.Description)
		}
		for id, v := range info.Applications {
			put(info, NameApplication, id, v.Name, v.Description)
		}
		for id, name := range info.VRFs {
			put(info, NameVRF, uint64(id), name, "")
		}
	}
	for k := range n.published {
		if _, there := current[k]; !there {
			delete(n.published, k)
		}
	}
	var changed []Name
	for _, k := range order {
		if text := current[k]; n.published[k] != text {
			changed = append(changed, Name{k.exporter, k.domain, k.kind, k.number, text.name, text.description})
		}
	}
	return changed
}

// Published notes that names, as Changed returned them, need not be told again.
func (n *Names) Published(names []Name) {
	for _, v := range names {
		n.published[nameKey{v.Exporter, v.Domain, v.Kind, v.Number}] = nameText{v.Name, v.Description}
	}
}
