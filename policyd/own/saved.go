package own

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/weirhq/weir/ovs/ovsdb"
)

// Saved is a row of others as it was: all its columns, those that Weir does not know, too. As JSON the columns are in the
// notation of RFC 7047 §5.1.
type Saved struct {
	UUID ovsdb.UUID // which it had; made anew it gets another
	Row  ovsdb.Values
}

// Save returns a row as Select of all its columns read it. What an Insert cannot make again is refused.
func Save(row ovsdb.Values) (*Saved, error) {
	id, _ := row["_uuid"].(ovsdb.UUID)
	if id == "" {
		return nil, fmt.Errorf("save row of others: found _uuid %v, want one", row["_uuid"])
	}
	s := &Saved{id, maps.Clone(row)}
	delete(s.Row, "_uuid")
	delete(s.Row, "_version")
	if _, err := json.Marshal(s); err != nil {
		return nil, fmt.Errorf("save row %s of others: %w", id, err)
	}
	return s, nil
}

// Strings returns what a column of text holds.
func (s *Saved) Strings(column string) []string {
	switch v := s.Row[column].(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, x := range v {
			if text, is := x.(string); is {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}

type savedJSON struct {
	UUID ovsdb.UUID                 `json:"uuid"`
	Row  map[string]json.RawMessage `json:"row"`
}

// MarshalJSON writes s.
func (s *Saved) MarshalJSON() ([]byte, error) {
	out := savedJSON{s.UUID, map[string]json.RawMessage{}}
	for column, v := range s.Row {
		n, err := notation(v)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", column, err)
		}
		if out.Row[column], err = json.Marshal(n); err != nil {
			return nil, fmt.Errorf("column %q: %w", column, err)
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote, and refuses anything else.
func (s *Saved) UnmarshalJSON(b []byte) error {
	var in savedJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	s.UUID, s.Row = in.UUID, ovsdb.Values{}
	for column, raw := range in.Row {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var n any
		if err := d.Decode(&n); err != nil {
			return fmt.Errorf("column %q: %w", column, err)
		}
		v, err := value(n)
		if err != nil {
			return fmt.Errorf("column %q: %w", column, err)
		}
		s.Row[column] = v
	}
	return nil
}

// notation returns a value of ovsdb.Values as RFC 7047 §5.1 writes it.
func notation(v any) (any, error) {
	switch v := v.(type) {
	case string, bool, int64:
		return v, nil
	case ovsdb.UUID:
		return []any{"uuid", v}, nil
	case []any:
		list := make([]any, len(v))
		for i, x := range v {
			if _, nested := x.([]any); nested {
				return nil, fmt.Errorf("found a set within a set")
			}
			var err error
			if list[i], err = notation(x); err != nil {
				return nil, err
			}
		}
		return []any{"set", list}, nil
	case map[string]string:
		pairs := make([][2]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, [2]string{k, v[k]})
		}
		return []any{"map", pairs}, nil
	default:
		return nil, fmt.Errorf("found a value of type %T, which cannot be written again", v)
	}
}

// value is the inverse of notation, of what json.Decoder makes of it.
func value(n any) (any, error) {
	switch n := n.(type) {
	case string, bool:
		return n, nil
	case json.Number:
		return n.Int64()
	case []any:
		if len(n) != 2 {
			break
		}
		switch list, _ := n[1].([]any); n[0] {
		case "uuid":
			if id, is := n[1].(string); is {
				return ovsdb.UUID(id), nil
			}
		case "set":
			set := make([]any, len(list))
			for i, x := range list {
				v, err := value(x)
				if err != nil {
					return nil, err
				}
				switch v.(type) {
				case []any, map[string]string:
					return nil, fmt.Errorf("found %v within a set", x)
				}
				set[i] = v
			}
			return set, nil
		case "map":
			m := make(map[string]string, len(list))
			for _, x := range list {
				pair, _ := x.([]any)
				if len(pair) != 2 {
					return nil, fmt.Errorf("found %v in a map, want a pair", x)
				}
				k, isText := pair[0].(string)
				v, alsoText := pair[1].(string)
				if !isText || !alsoText {
					return nil, fmt.Errorf("found %v in a map, want two texts", x)
				}
				m[k] = v
			}
			return m, nil
		}
	}
	return nil, fmt.Errorf("found %v, want a value in the notation of RFC 7047", n)
}
