package own

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// ownerKey marks, in external_ids, rows that Weir made, and hosts at which it did. Its value is the instance.
const ownerKey = "weir-owner"

// awaitKey is, in external_ids of a row of Weir's, what cur_cfg will be when ovs-vswitchd has seen the row as it is.
const awaitKey = "weir-next-cfg"

// prefix is that of all keys that Weir adds to external_ids.
const prefix = "weir-"

// Column is a column of table Bridge that Weir sets, although bridges are not Weir's. It refers to at most one row, which
// the host drops as soon as nothing refers to it.
type Column struct {
	Name  string // in table Bridge
	Table string // of the row that it refers to

	ref  func(*ovsdb.Bridge) ovsdb.UUID
	find func(*ovsdb.Rows, ovsdb.UUID) (externalIDs map[string]string, found bool)
}

// The columns.
var (
	NetFlow = &Column{
		"netflow", "NetFlow",
		func(b *ovsdb.Bridge) ovsdb.UUID { return b.NetFlow },
		func(r *ovsdb.Rows, id ovsdb.UUID) (map[string]string, bool) {
			if row := r.NetFlows[id]; row != nil {
				return row.ExternalIDs, true
			}
			return nil, false
		},
	}
	IPFIX = &Column{
		"ipfix", "IPFIX",
		func(b *ovsdb.Bridge) ovsdb.UUID { return b.IPFIX },
		func(r *ovsdb.Rows, id ovsdb.UUID) (map[string]string, bool) {
			if row := r.IPFIXs[id]; row != nil {
				return row.ExternalIDs, true
			}
			return nil, false
		},
	}
)

// Columns lists all columns of rows of others that Weir sets.
var Columns = []*Column{NetFlow, IPFIX}

// Ref returns the row that c of b refers to, "" if none.
func (c *Column) Ref(b *ovsdb.Bridge) ovsdb.UUID { return c.ref(b) }

// State is whose the content of a column is.
type State uint8

// The values of State.
const (
	Empty   State = iota // nobody's
	Ours                 // it refers to a row that a Weir made
	Foreign              // it refers to a row of others
	Emptied              // Weir emptied it
)

// State returns that of c at bridge b.
func (c *Column) State(r *ovsdb.Rows, b *ovsdb.Bridge) State {
	ref := c.Ref(b)
	if ref == "" {
		if m, held, err := c.mark(b); held && err == nil && m.Empty {
			return Emptied
		}
		return Empty
	}
	if ids, found := c.find(r, ref); found {
		if _, marked := ids[ownerKey]; marked {
			return Ours
		}
	}
	return Foreign
}

// Held says whether Weir has set c at b, and has not given it back: what it held before is saved.
func (c *Column) Held(b *ovsdb.Bridge) bool {
	_, held := b.ExternalIDs[c.key()]
	return held
}

// Was returns what c held at b before Weir set it: nil for nothing, or if Weir has not set it.
func (c *Column) Was(b *ovsdb.Bridge) (*Saved, error) {
	m, _, err := c.mark(b)
	return m.Was, err
}

// Awaited says whether the row of Weir's that c of b refers to was written to be seen by ovs-vswitchd before it is written
// again, and whether it was seen.
func (c *Column) Awaited(r *ovsdb.Rows, b *ovsdb.Bridge) (awaited, seen bool) {
	ids, _ := c.find(r, c.ref(b))
	return Awaited(r, ids)
}

// Awaited is that of a row of Weir's with those external_ids.
func Awaited(r *ovsdb.Rows, ids map[string]string) (awaited, seen bool) {
	text, awaited := ids[awaitKey]
	number, err := strconv.ParseInt(text, 10, 64)
	return awaited, err != nil || r.Root.CurCfg >= number || r.Root.NextCfg < number
}

// mark is the value of key weir-former-COLUMN, as JSON.
type mark struct {
	Was   *Saved `json:"was,omitempty"`   // nil: the column was empty
	Empty bool   `json:"empty,omitempty"` // Weir emptied it, and means to
}

func (c *Column) key() string { return prefix + "former-" + c.Name }

// mark returns that of c at b; held is false if there is none.
func (c *Column) mark(b *ovsdb.Bridge) (m mark, held bool, err error) {
	text, held := b.ExternalIDs[c.key()]
	if !held {
		return mark{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return mark{}, true, fmt.Errorf("read what column %s of bridge %q was before Weir: external_ids:%s: %w: remove that key to give it up", c.Name, b.Name, c.key(), err)
	}
	return m, true, nil
}

// Owner returns the instance of Weir that has changed something at the host, or "".
func Owner(r *ovsdb.Rows) string { return r.Root.ExternalIDs[ownerKey] }

// OwnedError says that another Weir has the host.
type OwnedError struct{ Owner string }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("the host is set up by another Weir, instance %q: detach it there; or, if that one is no more, run on the host: ovs-vsctl remove Open_vSwitch . external_ids %s", e.Owner, ownerKey)
}

// Check refuses a host that another instance has, with an *OwnedError.
func Check(r *ovsdb.Rows, instance string) error {
	if other := Owner(r); other != "" && other != instance {
		return &OwnedError{other}
	}
	return nil
}

// Made says whether a row with these external_ids was made by an instance of Weir.
func Made(externalIDs map[string]string, instance string) bool {
	return externalIDs[ownerKey] == instance
}
