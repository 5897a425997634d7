package hosts

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

// Times after which what was seen becomes an event.
const (
	moveWindow   = 10 * time.Second // a VIF that is unplugged may be plugged elsewhere, or again
	migration    = 10 * time.Minute // a VIF may be plugged at two hosts: libvirt plugs it at the target before it copies the VM
	errorSettles = 5 * time.Second  // a port does not work: Xen takes devices away before their ports
)

// Tracker compares what is seen at hosts with what was seen before, and tells what happened. It is for one goroutine at a time,
// and takes the time as it is told it.
type Tracker struct {
	hosts    map[string]*tracked             // by Settings.Key
	recorded map[string]bool                 // names of hosts that are in the record and were not seen yet
	vifs     map[flow.ID]map[string]*plugged // by VIF and host
	conflict map[string]bool
}

// tracked is what was seen of a host last.
type tracked struct {
	key, name   string // key: of the entity, unless the estate has found out another
	lost        bool
	since       map[string]time.Time // of VIFs by key
	errors      map[string]*portError
	controllers map[string]bool // foreign ones, by bridge and target
}

// entityKey returns the key of the host in an estate that knows it from its inventory only.
func (inv *Inventory) entityKey() string {
	switch s := &inv.Settings; {
	case inv.UUID != "":
		return inv.UUID
	case s.Pool != "":
		return s.Pool + "/" + s.Name
	default:
		return s.Name
	}
}

// plugged is a VIF at a host.
type plugged struct {
	vif          estate.Entity // as the estate knew it last
	bridge, port string
	ofPort       uint32 // 0: not known
	gone         time.Time
	both         time.Time // since when it has been plugged at another host as well; zero: it is not, or that was told
}

type portError struct {
	since time.Time
	told  bool
	port  Port
}

// NewTracker returns a tracker that has seen nothing yet.
func NewTracker() *Tracker {
	return &Tracker{
		hosts: map[string]*tracked{}, recorded: map[string]bool{}, vifs: map[flow.ID]map[string]*plugged{}, conflict: map[string]bool{},
	}
}

// Recall tells which VIFs were plugged when that was recorded last, by the names of hosts: of a host that is among them what
// is different at its first sight is told. Of others, the first sight is where telling begins.
func (t *Tracker) Recall(vifs map[string][]estate.Entity) {
	for name, list := range vifs {
		t.recorded[name] = true
		for _, vif := range list {
			t.plug(vif.ID, unseen+name, &plugged{vif: vif})
		}
	}
}

// unseen is what the key of a host that is in the record only begins with; its name follows.
const unseen = "name/"

// Since returns from when on VIFs have been plugged into a host, by their keys, for Inventory.Model.
func (t *Tracker) Since(host string) func(vif string) time.Time {
	h := t.hosts[host]
	return func(vif string) time.Time {
		if h == nil {
			return time.Time{}
		}
		return h.since[vif]
	}
}

// See notes what is at a host at a time. Observe, which tells what happened, is called after the estate has taken it in.
func (t *Tracker) See(inv *Inventory, now time.Time) {
	h := t.hosts[inv.Settings.Key]
	if h == nil {
		return
	}
	h.stamp(inv, now)
}

func (h *tracked) stamp(inv *Inventory, now time.Time) {
	since := make(map[string]time.Time, len(inv.VIFs))
	for i := range inv.VIFs {
		key := inv.VIFs[i].Key
		at, ok := h.since[key]
		if !ok {
			at = now
		}
		since[key] = at
	}
	h.since = since
}

// Observe compares what is at a host with what was there before, and returns what happened. s is the estate that has inv.
func (t *Tracker) Observe(s *estate.Snapshot, inv *Inventory, now time.Time) []event.Event {
	key := inv.Settings.Key
	h := t.hosts[key]
	first := h == nil
	if first {
		h = &tracked{errors: map[string]*portError{}, controllers: map[string]bool{}}
		t.hosts[key] = h
		h.stamp(inv, time.Time{}) // since when is not known
	}
	h.key, h.name, h.lost = inv.entityKey(), inv.Settings.Name, false
	v := view{s, t}
	if first {
		for _, at := range t.vifs {
			if p := at[unseen+h.name]; p != nil {
				delete(at, unseen+h.name)
				at[key] = p
			}
		}
		first = !t.recorded[h.name]
		delete(t.recorded, h.name)
	}

	var events []event.Event
	here := map[flow.ID]bool{}
	for i := range inv.VIFs {
		vif := &inv.VIFs[i]
		e, ok := s.Find(flow.KindVIF, vif.Key)
		if !ok { // it was left out
			e = estate.Entity{ID: flow.NewID(flow.KindVIF, vif.Key), Name: vif.Key}
		}
		if here[e.ID] {
			continue
		}
		here[e.ID] = true
		active := &inv.Ports[vif.Ports[0]]
		events = append(events, v.plugged(e.ID, key, &plugged{vif: e, bridge: active.Bridge, port: active.Name, ofPort: active.OFPort}, first, now)...)
	}
	for id, at := range t.vifs {
		p := at[key]
		if p == nil || here[id] || !p.gone.IsZero() {
			continue
		}
		p.gone = now
		if other := t.other(id, key); other != "" {
			events = append(events, v.moved(id, key, other))
			delete(at, key)
		}
	}
	h.look(inv, now)
	events = append(events, v.foreign(key, h, inv)...)
	slices.SortStableFunc(events, func(a, b event.Event) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Subject, b.Subject))
	})
	for i := range events {
		events[i].Time = now
	}
	return events
}

func (t *Tracker) plug(id flow.ID, host string, p *plugged) {
	if t.vifs[id] == nil {
		t.vifs[id] = map[string]*plugged{}
	}
	t.vifs[id][host] = p
}

// other returns a host besides one at which a VIF is plugged; "" if there is none. Those that can be asked come first.
func (t *Tracker) other(id flow.ID, host string) string {
	found := ""
	for _, k := range slices.Sorted(maps.Keys(t.vifs[id])) {
		if k != host && t.vifs[id][k].gone.IsZero() && (found == "" || t.lost(found) && !t.lost(k)) {
			found = k
		}
	}
	return found
}

// lost reports whether a host cannot be asked: what was seen there may not be so any more.
func (t *Tracker) lost(host string) bool { return t.hosts[host] == nil || t.hosts[host].lost }

// Lost notes that a host cannot be asked any more.
func (t *Tracker) Lost(host string) {
	if h := t.hosts[host]; h != nil {
		h.lost = true
	}
}

// Forget forgets a host, which is looked after no more.
func (t *Tracker) Forget(host string) {
	delete(t.hosts, host)
	for id, at := range t.vifs {
		delete(at, host)
		if len(at) == 0 {
			delete(t.vifs, id)
		}
	}
}

// Tick returns what happened by time having passed. It is called about once a second.
func (t *Tracker) Tick(s *estate.Snapshot, now time.Time) []event.Event {
	v := view{s, t}
	var events []event.Event
	for id, at := range t.vifs {
		for _, host := range slices.Sorted(maps.Keys(at)) {
			p := at[host]
			switch {
			case !p.gone.IsZero() && now.Sub(p.gone) >= moveWindow:
				if p.port != "" { // else it was recorded only: still that is the last that is known
					events = append(events, v.event(event.VIFUnplugged, id, host, p, fmt.Sprintf("unplugged from %s of %s, where it was %s", p.bridge, v.host(host), p.port)))
				} else {
					events = append(events, v.event(event.VIFUnplugged, id, host, p, fmt.Sprintf("unplugged from %s while Weir did not look", v.host(host))))
				}
				delete(at, host)
			case p.gone.IsZero() && !p.both.IsZero() && now.Sub(p.both) >= migration:
				if other := t.other(id, host); other != "" && !t.lost(other) {
					e := v.event(event.VIFDuplicate, id, host, p, fmt.Sprintf("plugged at %s and at %s for %s", v.host(other), v.host(host), now.Sub(p.both).Round(time.Second)))
					e.Attributes["other_host"] = v.host(other)
					events = append(events, e)
				}
				p.both = time.Time{}
			}
		}
		if len(at) == 0 {
			delete(t.vifs, id)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(t.hosts)) {
		h := t.hosts[host]
		for _, name := range slices.Sorted(maps.Keys(h.errors)) {
			x := h.errors[name]
			if x.told || now.Sub(x.since) < errorSettles {
				continue
			}
			x.told = true
			e := v.at(event.Event{
				Kind: event.PortError, Subject: h.name + "/" + name,
				Text:       fmt.Sprintf("port %s of %s at %s: %s", x.port.Name, x.port.Bridge, h.name, x.port.Error),
				Attributes: map[string]string{"port": x.port.Name, "error": x.port.Error},
			}, host, x.port.Bridge)
			events = append(events, e)
		}
	}
	events = append(events, v.conflicts()...)
	slices.SortStableFunc(events, func(a, b event.Event) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Subject, b.Subject))
	})
	for i := range events {
		events[i].Time = now
	}
	return events
}

// look notes which ports of a host do not work.
func (h *tracked) look(inv *Inventory, now time.Time) {
	bad := map[string]*portError{}
	for i := range inv.Ports {
		p := &inv.Ports[i]
		if p.Error == "" {
			continue
		}
		name := p.Bridge + "/" + p.Name
		x := h.errors[name]
		if x == nil {
			x = &portError{since: now}
		}
		x.port = *p
		bad[name] = x
	}
	h.errors = bad
}

// view is a tracker and the estate by which it names things.
type view struct {
	s *estate.Snapshot
	t *Tracker
}

// host returns the name of a host by the key of its settings.
func (v view) host(key string) string {
	if h := v.t.hosts[key]; h != nil {
		return h.name
	}
	return strings.TrimPrefix(key, unseen)
}

// plugged takes in that a VIF is plugged into a host, and returns what that means.
func (v view) plugged(id flow.ID, host string, p *plugged, quiet bool, now time.Time) []event.Event {
	t := v.t
	old := t.vifs[id][host]
	t.plug(id, host, p)
	where := fmt.Sprintf("%s of %s as %s", p.bridge, v.host(host), p.port)
	if p.ofPort != 0 {
		where += fmt.Sprintf(", OpenFlow port %d", p.ofPort)
	}
	if old != nil {
		p.both = old.both
		again := !old.gone.IsZero() || old.port != "" && old.port != p.port || old.ofPort != 0 && p.ofPort != 0 && old.ofPort != p.ofPort
		if p.ofPort == 0 && old.gone.IsZero() && old.port == p.port { // it is being made anew
			p.ofPort = old.ofPort
		}
		if !again {
			return nil
		}
		e := v.event(event.VIFPlugged, id, host, p, "plugged again into "+where)
		if old.ofPort != 0 && old.ofPort != p.ofPort {
			e.Attributes["former_of_port"] = strconv.Itoa(int(old.ofPort))
		}
		return []event.Event{e}
	}
	for _, other := range slices.Sorted(maps.Keys(t.vifs[id])) {
		at := t.vifs[id][other]
		if other != host && (!at.gone.IsZero() || t.lost(other)) {
			delete(t.vifs[id], other)
			return []event.Event{v.moved(id, other, host)}
		}
	}
	if t.other(id, host) != "" {
		p.both = now
		return nil // it moves, or is a duplicate: that will show
	}
	if quiet {
		return nil
	}
	return []event.Event{v.event(event.VIFPlugged, id, host, p, "plugged into "+where)}
}

// moved returns the event of a VIF that is now at one host only.
func (v view) moved(id flow.ID, from, to string) event.Event {
	p := v.t.vifs[id][to]
	p.both = time.Time{}
	e := v.event(event.VIFMoved, id, to, p, fmt.Sprintf("moved from %s to %s of %s, where it is %s", v.host(from), p.bridge, v.host(to), p.port))
	e.Attributes["from_host"] = v.host(from)
	return e
}

// event returns an event about a VIF at a host.
func (v view) event(kind event.Kind, id flow.ID, host string, p *plugged, text string) event.Event {
	e := event.Event{Kind: kind, VIF: id, Text: text, Attributes: map[string]string{}}
	e.VM, e.Pool, e.Subject = p.vif.Parent, p.vif.Pool, p.vif.Name
	if mac := p.vif.Attributes["mac"]; mac != "" {
		e.Attributes["mac"] = mac
	}
	if p.port != "" {
		e.Attributes["port"] = p.port
	}
	if p.ofPort != 0 {
		e.Attributes["of_port"] = strconv.Itoa(int(p.ofPort))
	}
	return v.at(e, host, p.bridge)
}

// at says where an event was.
func (v view) at(e event.Event, host, bridge string) event.Event {
	if seen := v.t.hosts[host]; seen != nil {
		h, ok := v.s.Find(flow.KindHost, seen.key)
		if !ok {
			h = estate.Entity{ID: flow.NewID(flow.KindHost, seen.key), Key: seen.key}
		}
		e.Host, e.Pool = h.ID, cmp.Or(e.Pool, h.Pool)
		if b, ok := v.s.Find(flow.KindBridge, h.Key+"/"+bridge); ok {
			e.Bridge = b.ID
		}
	}
	e.Attributes["host"] = v.host(host)
	if bridge != "" {
		e.Attributes["bridge"] = bridge
	}
	return e
}

// foreign returns the controllers of a host that are not Weir's and were not there before.
func (v view) foreign(key string, h *tracked, inv *Inventory) []event.Event {
	var events []event.Event
	found := map[string]bool{}
	for i := range inv.Bridges {
		b := &inv.Bridges[i]
		for _, c := range b.Controllers {
			id := b.Name + " " + c.Target
			if c.Ours || found[id] {
				continue
			}
			found[id] = true
			if h.controllers[id] {
				continue
			}
			events = append(events, v.at(event.Event{
				Kind: event.ForeignController, Subject: h.name + "/" + b.Name,
				Text:       fmt.Sprintf("bridge %s of %s has the OpenFlow controller %s, which is not Weir's", b.Name, h.name, c.Target),
				Attributes: map[string]string{"controller": c.Target},
			}, key, b.Name))
		}
	}
	h.controllers = found
	return events
}

// conflicts returns the addresses that several VIFs have and that they did not have before.
func (v view) conflicts() []event.Event {
	var events []event.Event
	found := map[string]bool{}
	for _, c := range v.s.Conflicts() {
		var names []string
		for _, id := range c.VIFs {
			if e, ok := v.s.Entity(id); ok {
				names = append(names, e.Name)
			}
		}
		slices.Sort(names)
		key := fmt.Sprint(c.What, c.Address, c.Network, c.VIFs)
		if found[key] = true; v.t.conflict[key] || len(names) < 2 {
			continue
		}
		e := event.Event{
			Kind: event.AddressConflict, Network: c.Network, VIF: c.VIFs[0], Subject: c.Address,
			Text:       fmt.Sprintf("%s %s is that of several VIFs: %s", c.What, c.Address, strings.Join(names, ", ")),
			Attributes: map[string]string{"address": c.Address, "vifs": strings.Join(names, ",")},
		}
		if vif, ok := v.s.Entity(c.VIFs[0]); ok {
			e.VM, e.Pool = vif.Parent, vif.Pool
		}
		if n, ok := v.s.Entity(c.Network); ok {
			e.Attributes["network"] = n.Name
			e.Text = fmt.Sprintf("%s %s in network %s is that of several VIFs: %s", c.What, c.Address, n.Name, strings.Join(names, ", "))
		}
		events = append(events, e)
	}
	v.t.conflict = found
	return events
}
