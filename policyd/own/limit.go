package own

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Two things limit how fast a port goes: what its interface polices of what comes in, which are two columns of rows of others, and a row of
// table QoS, to which a port refers at most once. Rows of table QoS and Queue stay when nothing refers to them, so that Weir's are
// removed by hand. Where others police or have a row of theirs, Weir sets nothing; so of a port's QoS nothing is saved but that Weir set it.

// Policing is what an interface takes of what comes in: kbit/s, and kbit that may come at once. The zero value takes all.
type Policing struct {
	Rate  int64 `json:"rate"`
	Burst int64 `json:"burst"`
}

// PolicingOf returns what is in force at an interface.
func PolicingOf(i *ovsdb.Interface) Policing {
	return Policing{i.IngressPolicingRate, i.IngressPolicingBurst}
}

func (p Policing) values() ovsdb.Values {
	return ovsdb.Values{"ingress_policing_rate": p.Rate, "ingress_policing_burst": p.Burst}
}

func (p Policing) String() string {
	if p == (Policing{}) {
		return ""
	}
	return fmt.Sprintf("%d kbit/s burst %d kbit", p.Rate, p.Burst)
}

// formerPolicing is the value of key weir-former-ingress-policing, as JSON.
type formerPolicing struct {
	Set Policing `json:"set"` // what Weir gave it
	Was Policing `json:"was"`
}

const (
	policingKey = prefix + "former-ingress-policing"
	qosKey      = prefix + "former-qos"
)

// Policed returns to what Weir has set the policing of i, which it has not given back; held is false if there is none.
func Policed(i *ovsdb.Interface) (set Policing, held bool, err error) {
	f, held, err := policed(i)
	return f.Set, held, err
}

func policed(i *ovsdb.Interface) (f formerPolicing, held bool, err error) {
	text, held := i.ExternalIDs[policingKey]
	if !held {
		return f, false, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, true, fmt.Errorf("read what policing of interface %q was before Weir: external_ids:%s: %w: remove that key to give it up", i.Name, policingKey, err)
	}
	return f, true, nil
}

// before returns what i is given when Weir gives it back: where others changed a column since, what they gave it.
func (f *formerPolicing) before(i *ovsdb.Interface, held bool) Policing {
	was := PolicingOf(i)
	if held && was.Rate == f.Set.Rate {
		was.Rate = f.Was.Rate
	}
	if held && was.Burst == f.Set.Burst {
		was.Burst = f.Was.Burst
	}
	return was
}

// Police has an interface police, and saves what it did before, as others gave it last.
func (t *Transaction) Police(i *ovsdb.Interface, p Policing) error {
	f, held, err := policed(i)
	if err != nil {
		return err
	}
	text, err := json.Marshal(formerPolicing{Set: p, Was: f.before(i, held)})
	if err != nil {
		return fmt.Errorf("save policing of interface %q: %w", i.Name, err)
	}
	t.police(i, p)
	t.key("Interface", i.UUID, i.Name, i.ExternalIDs, policingKey, string(text))
	return nil
}

// Unpolice gives i what it had before Weir set it; what others changed since stays.
func (t *Transaction) Unpolice(i *ovsdb.Interface) error {
	f, held, err := policed(i)
	if !held || err != nil {
		return err
	}
	t.police(i, f.before(i, true))
	t.unkey("Interface", i.UUID, i.Name, i.ExternalIDs, policingKey)
	return nil
}

func (t *Transaction) police(i *ovsdb.Interface, p Policing) {
	was := PolicingOf(i)
	t.expect(row{"Interface", i.UUID}, was.values())
	if p == was {
		return
	}
	t.ops = append(t.ops, ovsdb.Update("Interface", ovsdb.Is(i.UUID), p.values()))
	t.changes = append(t.changes, Change{"Interface", i.Name, "ingress_policing", was.String(), p.String()})
}

// QoS is a row of table QoS with one queue, of type linux-htb: keys of other_config of either.
type QoS struct{ Class, Queue map[string]string }

const htb = "linux-htb"

// String is comparable.
func (q QoS) String() string {
	return Describe(ovsdb.Values{"type": htb, "other_config": q.Class}) + " queue 0 " + Describe(ovsdb.Values{"other_config": q.Queue})
}

// QoSOf returns whose the QoS of a port is: Empty, Ours or Foreign.
func QoSOf(r *ovsdb.Rows, p *ovsdb.Port) State {
	if p.QoS == "" {
		return Empty
	}
	if q := r.QoSs[p.QoS]; q != nil {
		if _, marked := q.ExternalIDs[ownerKey]; marked {
			return Ours
		}
	}
	return Foreign
}

// Shaped returns what Weir has set the QoS of p to, as text, which it has not given back; held is false if there is none.
func Shaped(p *ovsdb.Port) (set string, held bool) {
	set, held = p.ExternalIDs[qosKey]
	return set, held
}

// IsQoS says whether a port has a row of its own, of this Weir's, that is as q says.
func (t *Transaction) IsQoS(p *ovsdb.Port, q QoS) bool {
	row := t.rows.QoSs[p.QoS]
	if row == nil || !alone(row.ExternalIDs, t.instance) || row.Type != htb || len(row.Queues) != 1 || !maps.Equal(row.OtherConfig, q.Class) {
		return false
	}
	queue := t.rows.Queues[row.Queues[0]]
	return queue != nil && alone(queue.ExternalIDs, t.instance) && queue.DSCP == nil && maps.Equal(queue.OtherConfig, q.Queue)
}

func alone(ids map[string]string, instance string) bool { return len(ids) == 1 && Made(ids, instance) }

// Shape gives p a QoS: rows of Weir's that it has are changed in place, so that its traffic goes on. Others' QoS must not be there. fresh: it gets
// new rows even so, as it must if another port refers to those.
func (t *Transaction) Shape(p *ovsdb.Port, q QoS, fresh bool) {
	t.expect(row{"Port", p.UUID}, ovsdb.Values{"qos": p.QoS})
	mark := map[string]string{ownerKey: t.instance}
	class := ovsdb.Values{"type": htb, "other_config": q.Class, "external_ids": mark}
	queue := ovsdb.Values{"dscp": nil, "other_config": q.Queue, "external_ids": mark}
	is := t.rows.QoSs[p.QoS]
	before := ""
	if is != nil {
		before = "row " + string(is.UUID) + ", made by Weir"
	}
	if is != nil && !fresh {
		if id := is.Queues[0]; t.ourQueue(id) {
			t.ops = append(t.ops, ovsdb.Update("Queue", ovsdb.Is(id), queue))
			class["queues"] = map[int64]ovsdb.UUID{0: id}
		} else {
			class["queues"] = map[int64]ovsdb.Named{0: t.insert("Queue", queue)}
		}
		t.ops = append(t.ops, ovsdb.Update("QoS", ovsdb.Is(is.UUID), class))
	} else {
		class["queues"] = map[int64]ovsdb.Named{0: t.insert("Queue", queue)}
		t.ops = append(t.ops, ovsdb.Update("Port", ovsdb.Is(p.UUID), ovsdb.Values{"qos": t.insert("QoS", class)}))
	}
	t.changes = append(t.changes, Change{"Port", p.Name, "qos", before, q.String()})
	t.key("Port", p.UUID, p.Name, p.ExternalIDs, qosKey, q.String())
}

func (t *Transaction) ourQueue(id ovsdb.UUID) bool {
	q := t.rows.Queues[id]
	if q == nil {
		return false
	}
	_, marked := q.ExternalIDs[ownerKey]
	return marked
}

// Unshape takes a QoS of Weir's off p; RemoveQoS then removes its rows. What others put there stays.
func (t *Transaction) Unshape(p *ovsdb.Port) {
	if QoSOf(t.rows, p) == Ours {
		t.expect(row{"Port", p.UUID}, ovsdb.Values{"qos": p.QoS})
		t.ops = append(t.ops, ovsdb.Update("Port", ovsdb.Is(p.UUID), ovsdb.Values{"qos": nil}))
		t.changes = append(t.changes, Change{"Port", p.Name, "qos", "row " + string(p.QoS) + ", made by Weir", ""})
	}
	t.unkey("Port", p.UUID, p.Name, p.ExternalIDs, qosKey)
}

// RemoveQoS removes rows of Weir's, of tables QoS and Queue, but those of table QoS in kept and their queues: also those whose port is no more. Ports that
// referred to them were shaped otherwise, or unshaped, in the same transaction.
func (t *Transaction) RemoveQoS(kept map[ovsdb.UUID]bool) {
	stays := map[ovsdb.UUID]bool{} // queues that a row refers to that stays, of Weir's or of others
	for _, id := range slices.Sorted(maps.Keys(t.rows.QoSs)) {
		q := t.rows.QoSs[id]
		if _, ours := q.ExternalIDs[ownerKey]; !ours || kept[id] {
			for _, queue := range q.Queues {
				stays[queue] = true
			}
			continue
		}
		t.ops = append(t.ops, ovsdb.Delete("QoS", ovsdb.Is(id)))
		t.changes = append(t.changes, Change{"QoS", string(id), "*", "row made by Weir", ""})
	}
	for _, id := range slices.Sorted(maps.Keys(t.rows.Queues)) {
		if t.ourQueue(id) && !stays[id] {
			t.ops = append(t.ops, ovsdb.Delete("Queue", ovsdb.Is(id)))
			t.changes = append(t.changes, Change{"Queue", string(id), "*", "row made by Weir", ""})
		}
	}
}
