package estate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirhq/weir/flow"
)

// Two sources mean one VM where they share a token. Stronger kinds are believed before weaker ones.
type tokenKind uint8

const (
	tokenVM     tokenKind = iota // UUID of the VM, or the key of one that has none
	tokenVIF                     // the same of a VIF
	tokenMAC                     // MAC address of a VIF
	tokenVMID                    // number in a Proxmox cluster, in a pool
	tokenName                    // name, in a pool
	tokenKey                     // key of a VM as it would be without other sources: says nothing, but two cannot have it
	tokenVIFKey                  // the same of a VIF
)

type token struct {
	kind tokenKind
	mac  MAC
	pool string // key
	text string
}

// maxHolders is how many VMs may share a token for it to say anything. Among more nothing is compared, so that a host that
// repeats one address a thousand times costs nothing.
const maxHolders = 32

// merger merges the VMs of sources. What it holds is a function of the sources and of the identities; it is kept so that a
// change costs what changed.
type merger struct {
	ids     *identities
	frame   *frame
	holders map[token][]*node
	claims  map[identity]*cluster
	changed map[*node]struct{}
	learned map[string][]netip.Addr // by key of the VIF: addresses that it was seen to have, ascending
	left    map[*cluster]struct{}   // of nodes that were removed
	order   []*cluster              // all, as in the merged model
}

func newMerger(ids *identities, f *frame) *merger {
	return &merger{
		ids: ids, frame: f, holders: map[token][]*node{}, claims: map[identity]*cluster{}, changed: map[*node]struct{}{},
		left: map[*cluster]struct{}{},
	}
}

// tokens calls f with every token of n.
func (n *node) tokens(f func(token)) {
	vm, pool := n.vm, n.poolKey()
	if vm.UUID != "" || vm.Key != "" {
		f(token{kind: tokenVM, text: n.key})
	} else {
		f(token{kind: tokenKey, text: n.key})
	}
	if id := vm.Attributes["vmid"]; id != "" {
		f(token{kind: tokenVMID, pool: pool, text: id})
	}
	if vm.Key == "" && vm.Name != vm.UUID {
		f(token{kind: tokenName, pool: pool, text: vm.Name})
	}
	for i := range vm.VIFs {
		v := &vm.VIFs[i]
		if v.UUID != "" || v.Key != "" {
			f(token{kind: tokenVIF, text: n.vifs[i].key})
		} else {
			f(token{kind: tokenVIFKey, text: n.vifs[i].key})
		}
		if v.MAC != 0 {
			f(token{kind: tokenMAC, mac: v.MAC})
		}
	}
}

// identity returns the key that t says its holders have, if it says one.
func (t token) identity() identity {
	switch t.kind {
	case tokenVM, tokenKey:
		return identity{flow.KindVM, t.text}
	case tokenVIF, tokenVIFKey:
		return identity{flow.KindVIF, t.text}
	case tokenMAC, tokenVMID, tokenName:
	}
	return identity{}
}

// add and remove change what there is; settle then merges anew what that may concern.
func (m *merger) add(n *node) {
	n.tokens(func(t token) {
		m.disturb(t)
		if list := m.holders[t]; !slices.Contains(list, n) {
			m.holders[t] = append(list, n)
		}
		m.disturb(t)
	})
	m.changed[n] = struct{}{}
}

func (m *merger) remove(n *node) {
	n.tokens(func(t token) {
		m.disturb(t)
		list := m.holders[t]
		if i := slices.Index(list, n); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
		if len(list) == 0 {
			delete(m.holders, t)
		} else {
			m.holders[t] = list
		}
		m.disturb(t)
	})
	if n.cluster != nil {
		m.unclaim(n.cluster)
		m.left[n.cluster] = struct{}{}
		for _, o := range n.cluster.members {
			m.changed[o] = struct{}{}
		}
	}
	delete(m.changed, n)
	n.src = nil // of the removed: no settle may meet it
}

// disturb marks all that share t, and who goes by its key without having it.
func (m *merger) disturb(t token) {
	if c := m.claims[t.identity()]; c != nil && t.text != "" {
		for _, n := range c.members {
			m.changed[n] = struct{}{}
		}
	}
	if list := m.holders[t]; len(list) <= maxHolders {
		for _, n := range list {
			m.changed[n] = struct{}{}
		}
	}
}

// edge says that two nodes mean one VM.
type edge struct {
	kind tokenKind
	a, b *node // a before b
}

// settle merges anew all that changed, and what hangs together with it. It returns the VMs that are now different, as they
// were before.
func (m *merger) settle() (changed []Past) {
	var reached []*node
	seen := map[*node]struct{}{}
	visit := func(n *node) {
		if _, ok := seen[n]; !ok && n.src != nil {
			seen[n] = struct{}{}
			reached = append(reached, n)
		}
	}
	for n := range m.changed {
		visit(n)
	}
	clear(m.changed)
	var edges []edge
	asked := map[token]struct{}{}
	for i := 0; i < len(reached); i++ {
		n := reached[i]
		if n.cluster != nil {
			for _, o := range n.cluster.members {
				visit(o)
			}
		}
		n.tokens(func(t token) {
			list := m.holders[t]
			if len(list) < 2 || len(list) > maxHolders {
				return
			}
			for _, o := range list {
				visit(o)
			}
			if _, ok := asked[t]; !ok {
				asked[t] = struct{}{}
				edges = m.edges(edges, t, list)
			}
		})
	}
	slices.SortFunc(reached, (*node).before)
	slices.SortFunc(edges, func(x, y edge) int { return cmp.Or(cmp.Compare(x.kind, y.kind), x.a.before(y.a), x.b.before(y.b)) })

	of := make(map[*node]*cluster, len(reached))
	old := map[*cluster]struct{}{}
	for _, n := range reached {
		if n.cluster != nil {
			old[n.cluster] = struct{}{}
		}
		of[n] = &cluster{members: []*node{n}}
	}
	for c := range old {
		m.unclaim(c)
	}
	for _, e := range edges {
		a, b := of[e.a], of[e.b]
		if a == b || !joinable(a, b) {
			continue
		}
		a.members = append(a.members, b.members...)
		for _, n := range b.members {
			of[n] = a
		}
	}
	var clusters []*cluster
	for _, n := range reached {
		if n.cluster = of[n]; n.cluster.members[0] == n { // what is first in a cluster is reached first
			clusters = append(clusters, n.cluster)
		}
	}
	for _, c := range clusters {
		slices.SortFunc(c.members, (*node).before)
	}
	for _, c := range clusters { // which looks at the first members of others
		m.merge(c)
	}
	maps.Copy(old, m.left)
	clear(m.left)
	now := map[string]*VM{}
	for _, c := range clusters {
		now[c.vm.Key] = &c.vm
	}
	for c := range old {
		if vm := now[c.vm.Key]; vm == nil || !sameVM(vm, &c.vm) {
			p := Past{VM: c.vm}
			if c.part != nil {
				p.Groups = c.part.groups
			}
			changed = append(changed, p)
		}
	}
	slices.SortFunc(changed, func(a, b Past) int { return strings.Compare(a.VM.Key, b.VM.Key) })
	return changed
}

// edges appends who is one by token t, which the nodes of list share.
func (m *merger) edges(edges []edge, t token, list []*node) []edge {
	alone := func(n *node) bool { // the only one of its source
		return !slices.ContainsFunc(list, func(o *node) bool { return o != n && o.src == n.src })
	}
	fits := func(a, b *node) bool {
		switch t.kind {
		case tokenMAC:
			return m.sameMAC(a, b, t.mac)
		case tokenVMID, tokenName:
			return alone(a) && alone(b)
		case tokenVM, tokenVIF:
			return true
		case tokenKey, tokenVIFKey:
		}
		return false
	}
	count := func(n *node, in *source) (k int) {
		for _, o := range list {
			if o.src == in && fits(n, o) {
				k++
			}
		}
		return k
	}
	for i, a := range list {
		for _, b := range list[i+1:] {
			if a.src == b.src || !fits(a, b) {
				continue
			}
			if t.kind == tokenMAC && (count(a, b.src) > 1 || count(b, a.src) > 1) {
				continue
			}
			if a.before(b) > 0 {
				edges = append(edges, edge{t.kind, b, a})
			} else {
				edges = append(edges, edge{t.kind, a, b})
			}
		}
	}
	return edges
}

// sameMAC reports whether VIFs of a and b that have a MAC address can be one: they do not have two UUIDs, and are not
// known to be in two networks.
func (m *merger) sameMAC(a, b *node, mac MAC) bool {
	for i := range a.vm.VIFs {
		for j := range b.vm.VIFs {
			if a.vm.VIFs[i].MAC == mac && b.vm.VIFs[j].MAC == mac && m.oneVIF(a, i, b, j) {
				return true
			}
		}
	}
	return false
}

func (m *merger) oneVIF(a *node, i int, b *node, j int) bool {
	x, y := &a.vm.VIFs[i], &b.vm.VIFs[j]
	if x.UUID != "" && y.UUID != "" && !strings.EqualFold(x.UUID, y.UUID) {
		return false
	}
	if x.UUID != "" && y.UUID != "" {
		return true
	}
	p, q := m.networkOf(a, i), m.networkOf(b, j)
	return p == "" || q == "" || p == q
}

// networkOf returns the key of the network of a VIF as its source tells it: by name, else by bridge and VLAN; empty if that
// is not known.
func (m *merger) networkOf(n *node, i int) string {
	if at := n.vifs[i].network; at >= 0 || !n.src.seesHosts {
		return keyAt(n.src.networks, at)
	}
	for k := range n.vm.VIFs[i].Ports {
		if p := &n.vm.VIFs[i].Ports[k]; p.Bridge != "" && !p.Inactive {
			return m.frame.networkAt(n.poolKey(), p.Bridge, p.VLAN)
		}
	}
	return ""
}

// joinable reports whether two clusters can be one VM: no source says that they are two, and their UUIDs do not.
func joinable(a, b *cluster) bool {
	for _, x := range a.members {
		for _, y := range b.members {
			if x.src == y.src && !x.vm.Anonymous && !y.vm.Anonymous {
				return false
			}
			if x.vm.UUID != "" && y.vm.UUID != "" && !strings.EqualFold(x.vm.UUID, y.vm.UUID) {
				return false
			}
		}
	}
	return true
}

func (m *merger) unclaim(c *cluster) {
	for _, k := range c.claims {
		if m.claims[k] == c {
			delete(m.claims, k)
		}
	}
}

// merge makes one VM of the members of c.
func (m *merger) merge(c *cluster) {
	named := slices.IndexFunc(c.members, func(n *node) bool { return !n.vm.Anonymous })
	anonymous := named < 0
	var own, uuids []string
	vm := VM{Name: c.members[max(0, named)].vm.Name, Anonymous: anonymous}
	for _, n := range c.members {
		if u := strings.ToLower(n.vm.UUID); u != "" && !slices.Contains(uuids, u) {
			uuids = append(uuids, u)
		}
		if n.vm.Anonymous == anonymous {
			own = append(own, n.key)
		}
		vm.Pool = cmp.Or(vm.Pool, n.poolKey())
		vm.Tags = unionOf(vm.Tags, n.vm.Tags)
		vm.Attributes = union(vm.Attributes, n.vm.Attributes)
	}
	if len(uuids) > 0 {
		vm.UUID = uuids[0]
	}
	vm.Key, vm.SameAs = m.identify(c, flow.KindVM, own, uuids, nil)
	vm.Host = hostOf(c.members)
	vm.Origin = m.origin(c.members)
	groups := groupVIFs(c.members)
	if len(groups) > 0 {
		vm.VIFs = make([]VIF, 0, len(groups))
	}
	for i := range groups {
		vm.VIFs = append(vm.VIFs, m.mergeVIF(c, groups, i, vm.VIFs))
	}
	c.vm = vm
}

// identify gives a VM or VIF of c its key. others tells whether another VIF of c goes by a key; nil: none does.
func (m *merger) identify(c *cluster, kind flow.Kind, own, uuids []string, others func(key string) bool) (string, []string) {
	certain, natural := tokenVM, tokenKey
	if kind == flow.KindVIF {
		certain, natural = tokenVIF, tokenVIFKey
	}
	candidates := candidates(own, uuids, c.members[0].src)
	key, sameAs := m.ids.choose(kind, len(uuids), candidates, func(key string) right {
		if other := m.claims[identity{kind, key}]; other != nil && other != c || others != nil && others(key) {
			return rightNone
		}
		return min(rightNone, max(m.right(c, token{kind: certain, text: key}), m.right(c, token{kind: natural, text: key})))
	})
	if !slices.Contains(candidates, key) {
		k := identity{kind, key}
		m.claims[k] = c
		c.claims = append(c.claims, k)
	}
	return key, sameAs
}

// right returns what right c has to a key that t says its holders would go by. Clusters are compared as wholes, by their first
// members, so that of two that would go by it one has less right than the other.
func (m *merger) right(c *cluster, t token) right {
	has := rightFull
	for _, n := range m.holders[t] {
		if n.cluster == c {
			continue
		}
		if n.cluster.members[0].before(c.members[0]) < 0 {
			return rightNone
		}
		has = rightFirst
	}
	return has
}

// hostOf returns the key of the host where a VM runs: where it was plugged last, else where the most believed source says;
// empty if none does.
func hostOf(members []*node) string {
	type plug struct {
		node *node
		port *Port
		host string
	}
	better := func(a, b *plug) bool {
		if x, y := a.node.src.stale.IsZero(), b.node.src.stale.IsZero(); x != y {
			return x
		}
		if a.port.Inactive != b.port.Inactive {
			return b.port.Inactive
		}
		return a.port.Since.After(b.port.Since)
	}
	var best plug
	for _, n := range members {
		if !n.src.seesHosts {
			continue
		}
		for i := range n.vm.VIFs {
			for k := range n.vm.VIFs[i].Ports {
				p := plug{n, &n.vm.VIFs[i].Ports[k], keyAt(n.src.hosts, n.vifs[i].ports[k])}
				if p.host != "" && (best.host == "" || better(&p, &best)) {
					best = p
				}
			}
		}
	}
	if best.host != "" {
		return best.host
	}
	for _, n := range slices.SortedStableFunc(slices.Values(members), observedFirst) {
		if host := keyAt(n.src.hosts, n.host); host != "" {
			return host
		}
	}
	return ""
}

func observedFirst(a, b *node) int { return cmp.Compare(a.src.observed, b.src.observed) }

// vifOf is what one source says of one VIF.
type vifOf struct {
	node *node
	i    int
}

func (v vifOf) vif() *VIF { return &v.node.vm.VIFs[v.i] }

// groupVIFs returns which VIFs of the members are one: by UUID or key, else by MAC address, else by device.
func groupVIFs(members []*node) [][]vifOf {
	var groups [][]vifOf
	for _, n := range members {
		left := make([]int, len(n.vm.VIFs))
		for i := range left {
			left[i] = i
		}
		known := len(groups)
		for _, same := range []func(v, w vifOf) bool{
			func(v, w vifOf) bool {
				return v.node.vifs[v.i].key == w.node.vifs[w.i].key && (v.vif().UUID != "") == (w.vif().UUID != "")
			},
			func(v, w vifOf) bool { return v.vif().MAC != 0 && v.vif().MAC == w.vif().MAC },
			func(v, w vifOf) bool {
				return v.vif().Device != "" && v.vif().Device == w.vif().Device && (v.vif().MAC == 0 || w.vif().MAC == 0 || v.vif().MAC == w.vif().MAC)
			},
		} {
			left = slices.DeleteFunc(left, func(i int) bool {
				v := vifOf{n, i}
				for g := range known {
					taken := slices.ContainsFunc(groups[g], func(w vifOf) bool { return w.node == n })
					if !taken && oneOfAll(groups[g], v) && slices.ContainsFunc(groups[g], func(w vifOf) bool { return same(v, w) }) {
						groups[g] = append(groups[g], v)
						return true
					}
				}
				return false
			})
		}
		for _, i := range left {
			groups = append(groups, []vifOf{{n, i}})
		}
	}
	return groups
}

// oneOfAll reports whether nothing contradicts that v is the VIF of which the others are.
func oneOfAll(others []vifOf, v vifOf) bool {
	for _, w := range others {
		if x, y := v.vif().UUID, w.vif().UUID; x != "" && y != "" && !strings.EqualFold(x, y) {
			return false
		}
	}
	return true
}

// origin returns the kinds of sources of nodes. Most are of one.
func (m *merger) origin(nodes []*node) string {
	kind := kindOf(nodes[0].src.name)
	if !slices.ContainsFunc(nodes, func(n *node) bool { return kindOf(n.src.name) != kind }) {
		return kind
	}
	var sources []*source
	for _, n := range nodes {
		sources = append(sources, n.src)
	}
	return origin(sources)
}

// mergeVIF makes one VIF of group i, which is what several sources say of it, the most believed first. The VIFs of the
// groups before are merged.
func (m *merger) mergeVIF(c *cluster, groups [][]vifOf, i int, merged []VIF) VIF {
	var v VIF
	list := groups[i]
	var own, uuids []string
	var nodes []*node
	for _, x := range list {
		vif := x.vif()
		nodes = append(nodes, x.node)
		if u := strings.ToLower(vif.UUID); u != "" && !slices.Contains(uuids, u) {
			uuids = append(uuids, u)
		}
		own = append(own, x.node.vifs[x.i].key)
		v.Device = cmp.Or(v.Device, vif.Device)
		v.IPs = unionOf(v.IPs, vif.IPs)
		v.Attributes = union(v.Attributes, vif.Attributes)
	}
	v.Key, v.SameAs = m.identify(c, flow.KindVIF, own, uuids, func(key string) bool {
		for j, group := range groups {
			if j != i && slices.ContainsFunc(group, func(x vifOf) bool { return x.node.vifs[x.i].key == key }) {
				return true
			}
		}
		return slices.ContainsFunc(merged, func(v VIF) bool { return v.Key == key || slices.Contains(v.SameAs, key) })
	})
	m.withLearned(&v)
	v.Origin = m.origin(nodes)
	if len(uuids) > 0 {
		v.UUID = uuids[0]
	}
	for _, x := range slices.SortedStableFunc(slices.Values(list), byPlug) {
		vif, n := x.vif(), x.node
		v.MAC = cmp.Or(v.MAC, vif.MAC)
		v.Network = cmp.Or(v.Network, m.networkOf(n, x.i))
		for k, p := range vif.Ports {
			p.Host = keyAt(n.src.hosts, n.vifs[x.i].ports[k])
			if p.Host != "" && (n.src.seesHosts || !m.frame.seen[p.Host]) {
				v.Ports = append(v.Ports, p)
			}
		}
	}
	return v
}

// byPlug puts what sees most first, and of hosts those that are there, and where the VIF was plugged last.
func byPlug(a, b vifOf) int {
	if c := observedFirst(a.node, b.node); c != 0 || !a.node.src.seesHosts {
		return c
	}
	if x, y := a.node.src.stale.IsZero(), b.node.src.stale.IsZero(); x != y {
		if x {
			return -1
		}
		return 1
	}
	since := func(v vifOf) int64 {
		if len(v.vif().Ports) == 0 {
			return 0
		}
		return v.vif().Ports[0].Since.UnixNano()
	}
	return cmp.Compare(since(b), since(a))
}

// sameVM reports whether two sources' words of a VM are one.
func sameVM(a, b *VM) bool {
	return a.Name == b.Name && a.UUID == b.UUID && a.Key == b.Key && a.Pool == b.Pool && a.Host == b.Host && a.Anonymous == b.Anonymous &&
		slices.Equal(a.Tags, b.Tags) && slices.Equal(a.SameAs, b.SameAs) && maps.Equal(a.Attributes, b.Attributes) &&
		slices.EqualFunc(a.VIFs, b.VIFs, sameVIF)
}

func sameVIF(a, b VIF) bool {
	return a.Device == b.Device && a.UUID == b.UUID && a.Key == b.Key && a.Network == b.Network && a.MAC == b.MAC &&
		a.Learned == b.Learned && slices.Equal(a.SameAs, b.SameAs) && slices.EqualFunc(a.IPs, b.IPs, func(x, y netip.Addr) bool { return x == y }) &&
		slices.Equal(a.Ports, b.Ports) && maps.Equal(a.Attributes, b.Attributes)
}
