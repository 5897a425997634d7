package own

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Setting is a key of column other_config of table Bridge that Weir sets, although bridges are not Weir's.
type Setting struct{ Key string }

// DisableInBand makes the switch add no flows of its own for in-band control.
var DisableInBand = &Setting{"disable-in-band"}

// Settings lists all settings of rows of others that Weir sets.
var Settings = []*Setting{DisableInBand}

// former is the value of key weir-former-other-config-KEY, as JSON.
type former struct {
	Set string  `json:"set"`           // what Weir gave it
	Was *string `json:"was,omitempty"` // nil: it had none
}

func (s *Setting) key() string { return prefix + "former-other-config-" + s.Key }

// Value returns what s is at b.
func (s *Setting) Value(b *ovsdb.Bridge) (value string, is bool) {
	value, is = b.OtherConfig[s.Key]
	return value, is
}

// Held says whether Weir has set s at b, and has not given it back; kept, whether it still is as Weir set it, and not as others did later.
func (s *Setting) Held(b *ovsdb.Bridge) (held, kept bool, err error) {
	f, held, err := s.former(b)
	value, is := s.Value(b)
	return held, held && is && value == f.Set, err
}

func (s *Setting) former(b *ovsdb.Bridge) (f former, held bool, err error) {
	text, held := b.ExternalIDs[s.key()]
	if !held {
		return former{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return former{}, true, fmt.Errorf("read what other_config:%s of bridge %q was before Weir: external_ids:%s: %w: remove that key to give it up", s.Key, b.Name, s.key(), err)
	}
	return f, true, nil
}

// Set gives s of b a value and saves what it was before, as others gave it last.
func (t *Transaction) Set(s *Setting, b *ovsdb.Bridge, value string) error {
	f, held, err := s.former(b)
	if err != nil {
		return err
	}
	now, is := s.Value(b)
	if !held || !is || now != f.Set { // it is others'
		f.Was = nil
		if is {
			f.Was = &now
		}
	}
	f.Set = value
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("save other_config:%s of bridge %q: %w", s.Key, b.Name, err)
	}
	t.other(s, b, &value)
	t.key("Bridge", b.UUID, b.Name, b.ExternalIDs, s.key(), string(text))
	return nil
}

// Unset gives s of b what it was before Weir set it; where others changed it since, it stays so.
func (t *Transaction) Unset(s *Setting, b *ovsdb.Bridge) error {
	f, held, err := s.former(b)
	if !held || err != nil {
		return err
	}
	if now, is := s.Value(b); is && now == f.Set {
		t.other(s, b, f.Was)
	} else {
		t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"other_config": b.OtherConfig})
	}
	t.unkey("Bridge", b.UUID, b.Name, b.ExternalIDs, s.key())
	return nil
}

// other gives s of b a value, nil is none.
func (t *Transaction) other(s *Setting, b *ovsdb.Bridge, value *string) {
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"other_config": b.OtherConfig})
	before, is := s.Value(b)
	after := ""
	var m []ovsdb.Mutation
	if is {
		m = append(m, ovsdb.Mutation{Column: "other_config", Mutator: "delete", Value: []string{s.Key}})
	}
	if value != nil {
		after = *value
		m = append(m, ovsdb.Mutation{Column: "other_config", Mutator: "insert", Value: map[string]string{s.Key: after}})
	}
	if is == (value != nil) && before == after {
		return
	}
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), m...))
	t.changes = append(t.changes, Change{"Bridge", b.Name, "other_config:" + s.Key, before, after})
}

// merged returns the keys of both.
func merged(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
