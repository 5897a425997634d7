package ovsdb

import (
	"fmt"
	"strconv"
)

// maxElements is how many elements a set or a map may have. The largest that Open vSwitch has is a bridge's ports, of which
// OpenFlow can number 65 279.
const maxElements = 1 << 17

// This file reads values as RFC 7047 §5.1 has them: an atom, ["uuid", …], ["set", […]] and ["map", […]].

// tag tells which of the forms ["uuid", …], ["set", …] and ["map", …] the next value has, and does not move. Empty is none.
func (c *cursor) tag() string {
	ahead := *c
	if !ahead.take('[') || ahead.peek() != '"' {
		return ""
	}
	token, err := ahead.token()
	if err != nil {
		return ""
	}
	switch string(token) {
	case `"uuid"`:
		return "uuid"
	case `"set"`:
		return "set"
	case `"map"`:
		return "map"
	default:
		return ""
	}
}

// tagged goes past a value that has a tag, and calls read at what follows the tag.
func (c *cursor) tagged(read func() error) error {
	if err := c.open('['); err != nil {
		return err
	}
	if _, err := c.token(); err != nil {
		return err
	}
	if err := c.expect(','); err != nil {
		return err
	}
	if err := read(); err != nil {
		return err
	}
	c.depth--
	return c.expect(']')
}

// elements calls each with the cursor at every element of a set, or at the one atom that stands for a set of one.
func (c *cursor) elements(each func() error) error {
	if c.tag() != "set" {
		return each()
	}
	return c.tagged(func() error {
		n := 0
		return c.array(func() error {
			if n++; n > maxElements {
				return c.errorf("more than %d elements", maxElements)
			}
			return each()
		})
	})
}

// uuid reads ["uuid", "…"].
func (c *cursor) uuid() (id UUID, err error) {
	if c.tag() != "uuid" {
		return "", c.errorf(`found %q, expected ["uuid", …]`, c.peek())
	}
	err = c.tagged(func() error {
		token, err := c.token()
		if err != nil {
			return err
		}
		id, err = parseUUID(token[1 : len(token)-1])
		c.kept += 16 + len(id)
		return err
	})
	return id, err
}

func parseUUID(b []byte) (UUID, error) {
	ok := len(b) == 36
	for i := 0; ok && i < len(b); i++ {
		switch d := b[i]; i {
		case 8, 13, 18, 23:
			ok = d == '-'
		default:
			ok = '0' <= d && d <= '9' || 'a' <= d && d <= 'f'
		}
	}
	if !ok {
		return "", fmt.Errorf("found %.40q, expected a UUID", b)
	}
	return UUID(b), nil
}

// pairs calls each with the cursor at every key of a map; each goes past key, comma and value.
func (c *cursor) pairs(each func() error) error {
	if c.tag() != "map" {
		return c.errorf(`found %q, expected ["map", …]`, c.peek())
	}
	return c.tagged(func() error {
		n := 0
		return c.array(func() error {
			if n++; n > maxElements {
				return c.errorf("more than %d elements", maxElements)
			}
			if err := c.open('['); err != nil {
				return err
			}
			if err := each(); err != nil {
				return err
			}
			c.depth--
			return c.expect(']')
		})
	})
}

// texts reads a map of strings; nil if it is empty.
func (c *cursor) texts() (map[string]string, error) {
	var m map[string]string
	err := c.pairs(func() error {
		key, err := c.text()
		if err != nil {
			return err
		}
		if err := c.expect(','); err != nil {
			return err
		}
		value, err := c.text()
		if err != nil {
			return err
		}
		if m == nil {
			m = map[string]string{}
		}
		m[key] = value
		c.kept += 16
		return nil
	})
	return m, err
}

// numbered reads a map of numbers to UUIDs; nil if it is empty.
func (c *cursor) numbered() (map[int64]UUID, error) {
	var m map[int64]UUID
	err := c.pairs(func() error {
		key, err := c.integer()
		if err != nil {
			return err
		}
		if err := c.expect(','); err != nil {
			return err
		}
		value, err := c.uuid()
		if err != nil {
			return err
		}
		if m == nil {
			m = map[int64]UUID{}
		}
		m[key] = value
		c.kept += 16
		return nil
	})
	return m, err
}

// atom reads any atom.
func (c *cursor) atom() (any, error) {
	c.kept += 16
	switch c.peek() {
	case '"':
		return c.text()
	case '[':
		return c.uuid()
	case 't', 'f':
		return c.boolean()
	default:
		token, err := c.number()
		if err != nil {
			return nil, err
		}
		if n, err := strconv.ParseInt(string(token), 10, 64); err == nil {
			return n, nil
		}
		x, err := strconv.ParseFloat(string(token), 64)
		if err != nil {
			return nil, c.errorf("%w", err)
		}
		return x, nil
	}
}

// value reads any value into what Values says.
func (c *cursor) value() (any, error) {
	switch c.tag() {
	case "map":
		return c.anyMap()
	case "set":
		list := []any{}
		err := c.elements(func() error {
			v, err := c.atom()
			list = append(list, v)
			return err
		})
		if len(list) == 1 {
			return list[0], err
		}
		return list, err
	default:
		return c.atom()
	}
}

// anyMap reads a map: map[string]string if that is what it is (an empty one is), else map[any]any.
func (c *cursor) anyMap() (any, error) {
	all, texts := map[any]any{}, map[string]string{}
	err := c.pairs(func() error {
		key, err := c.atom()
		if err != nil {
			return err
		}
		if err := c.expect(','); err != nil {
			return err
		}
		value, err := c.atom()
		if err != nil {
			return err
		}
		all[key] = value
		k, ok1 := key.(string)
		v, ok2 := value.(string)
		if ok1 && ok2 {
			texts[k] = v
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(texts) == len(all):
		return texts, nil
	default:
		return all, nil
	}
}
