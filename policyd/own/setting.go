package own

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Setting is text in table Bridge that Weir sets, although bridges are not Weir's: a key of column other_config, or a column of its own.
type Setting struct {
	Key    string                     // of other_config
	Column string                     // if it is not a key
	value  func(*ovsdb.Bridge) string // of Column; "": it is empty
}

// The settings.
var (
	// DisableInBand makes the switch add no flows of its own for in-band control.
	DisableInBand = &Setting{Key: "disable-in-band"}

	// FailMode is what the bridge does without flows and without controllers: secure, or standalone.
	FailMode = &Setting{Column: "fail_mode", value: func(b *ovsdb.Bridge) string { return b.FailMode }}
)

// Settings lists all settings of rows of others that Weir sets.
var Settings = []*Setting{DisableInBand, FailMode}

// former is the value of the key in which it is saved what a setting was, as JSON.
type former struct {
	Set string  `json:"set"`           // what Weir gave it
	Was *string `json:"was,omitempty"` // nil: it had none
}

func (s *Setting) key() string {
	if s.Column != "" {
		return prefix + "former-" + s.Column
	}
	return prefix + "former-other-config-" + s.Key
}

// Name is what people call s: the column, or other_config and the key.
func (s *Setting) Name() string {
	if s.Column != "" {
		return s.Column
	}
	return "other_config:" + s.Key
}

// Value returns what s is at b.
func (s *Setting) Value(b *ovsdb.Bridge) (value string, is bool) {
	if s.Column != "" {
		value = s.value(b)
		return value, value != ""
	}
	value, is = b.OtherConfig[s.Key]
	return value, is
}

// Held says whether Weir has set s at b, and has not given it back; kept, whether it still is as Weir set it, and not as others did later.
func (s *Setting) Held(b *ovsdb.Bridge) (held, kept bool, err error) {
	f, held, err := s.former(b)
	value, is := s.Value(b)
	return held, held && is && value == f.Set, err
}

// GoesBack returns what s of b is once Weir gives it back, "" for nothing, and whether Weir would change it by that.
func (s *Setting) GoesBack(b *ovsdb.Bridge) (value string, changes bool) {
	f, held, err := s.former(b)
	now, is := s.Value(b)
	if !held || err != nil || !is || now != f.Set {
		return now, false
	}
	if f.Was != nil {
		value = *f.Was
	}
	return value, value != now
}

func (s *Setting) former(b *ovsdb.Bridge) (f former, held bool, err error) {
	text, held := b.ExternalIDs[s.key()]
	if !held {
		return former{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return former{}, true, fmt.Errorf("read what %s of bridge %q was before Weir: external_ids:%s: %w: remove that key to give it up", s.Name(), b.Name, s.key(), err)
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
		return fmt.Errorf("save %s of bridge %q: %w", s.Name(), b.Name, err)
	}
	t.give(s, b, &value)
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
		t.give(s, b, f.Was)
	} else {
		t.expectSetting(s, b)
	}
	t.unkey("Bridge", b.UUID, b.Name, b.ExternalIDs, s.key())
	return nil
}

// expectSetting makes the transaction change nothing unless s of b is as it was observed.
func (t *Transaction) expectSetting(s *Setting, b *ovsdb.Bridge) {
	if s.Column == "" {
		t.expect(row{"Bridge", b.UUID}, ovsdb.Values{"other_config": b.OtherConfig})
		return
	}
	var now any
	if value, is := s.Value(b); is {
		now = value
	}
	t.expect(row{"Bridge", b.UUID}, ovsdb.Values{s.Column: now})
}

// give gives s of b a value, nil is none.
func (t *Transaction) give(s *Setting, b *ovsdb.Bridge, value *string) {
	t.expectSetting(s, b)
	before, is := s.Value(b)
	after := ""
	if value != nil {
		after = *value
	}
	if is == (value != nil) && before == after {
		return
	}
	t.changes = append(t.changes, Change{"Bridge", b.Name, s.Name(), before, after})
	if s.Column != "" {
		var to any
		if value != nil {
			to = after
		}
		t.ops = append(t.ops, ovsdb.Update("Bridge", ovsdb.Is(b.UUID), ovsdb.Values{s.Column: to}))
		return
	}
	var m []ovsdb.Mutation
	if is {
		m = append(m, ovsdb.Mutation{Column: "other_config", Mutator: "delete", Value: []string{s.Key}})
	}
	if value != nil {
		m = append(m, ovsdb.Mutation{Column: "other_config", Mutator: "insert", Value: map[string]string{s.Key: after}})
	}
	t.ops = append(t.ops, ovsdb.Mutate("Bridge", ovsdb.Is(b.UUID), m...))
}

// merged returns the keys of both.
func merged(a, b map[string]string) map[string]string {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
