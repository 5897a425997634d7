package ovsdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep brackets nest in one message. A transaction's rows, the deepest there is, nest seven deep.
const maxDepth = 32

var errEnds = errors.New("it ends too early")

// cursor reads one JSON text (RFC 8259) front to back, without making a tree of what nobody asked for. Errors say at which
// byte.
type cursor struct {
	b     []byte
	i     int // next byte
	depth int
	kept  int // about how many bytes of memory the values take that were made from the text
}

func (c *cursor) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: "+format, append([]any{c.i}, args...)...)
}

// peek returns the first byte of the next token, 0 at the end.
func (c *cursor) peek() byte {
	for ; c.i < len(c.b); c.i++ {
		switch b := c.b[c.i]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

// take goes past the byte b if it is the next token.
func (c *cursor) take(b byte) bool {
	if c.peek() != b {
		return false
	}
	c.i++
	return true
}

// expect goes past the byte b, which must be the next token.
func (c *cursor) expect(b byte) error {
	switch found := c.peek(); found {
	case b:
		c.i++
		return nil
	case 0:
		return errEnds
	default:
		return c.errorf("found %q, expected %q", found, b)
	}
}

// end says that nothing may follow.
func (c *cursor) end() error {
	if b := c.peek(); b != 0 || c.i < len(c.b) {
		return c.errorf("found %q after the value", b)
	}
	return nil
}

func (c *cursor) open(b byte) error {
	if err := c.expect(b); err != nil {
		return err
	}
	if c.depth++; c.depth > maxDepth {
		return c.errorf("more than %d brackets deep", maxDepth)
	}
	return nil
}

// items calls each for what is between the brackets open and shut, with commas between.
func (c *cursor) items(open, shut byte, each func() error) error {
	if err := c.open(open); err != nil {
		return err
	}
	if !c.take(shut) {
		for {
			if err := each(); err != nil {
				return err
			}
			if c.take(shut) {
				break
			}
			if err := c.expect(','); err != nil {
				return err
			}
		}
	}
	c.depth--
	return nil
}

// array calls each with the cursor at every element, past which each goes.
func (c *cursor) array(each func() error) error { return c.items('[', ']', each) }

// object calls each with the cursor at every value, past which each goes. key is valid during the call only.
func (c *cursor) object(each func(key []byte) error) error {
	return c.items('{', '}', func() error {
		key, err := c.token()
		if err != nil {
			return err
		}
		if bytes.IndexByte(key, '\\') >= 0 {
			text, err := unquote(key)
			if err != nil {
				return c.errorf("%w", err)
			}
			key = []byte(text)
		} else {
			key = key[1 : len(key)-1]
		}
		if err := c.expect(':'); err != nil {
			return err
		}
		return each(key)
	})
}

// token goes past a string and returns it with its quotes.
func (c *cursor) token() ([]byte, error) {
	if b := c.peek(); b == 0 {
		return nil, errEnds
	} else if b != '"' {
		return nil, c.errorf("found %q, expected a string", b)
	}
	start := c.i
	for c.i++; c.i < len(c.b); c.i++ {
		switch b := c.b[c.i]; {
		case b == '"':
			c.i++
			return c.b[start:c.i], nil
		case b < ' ':
			return nil, c.errorf("found control character %q in a string", b)
		case b == '\\':
			if c.i++; c.i == len(c.b) {
				return nil, errEnds
			}
			switch c.b[c.i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if c.i++; c.i == len(c.b) {
						return nil, errEnds
					}
					if d := c.b[c.i]; (d < '0' || d > '9') && (d|0x20 < 'a' || d|0x20 > 'f') {
						return nil, c.errorf("found %q, expected a hexadecimal digit", d)
					}
				}
			default:
				return nil, c.errorf("found escape %q in a string", c.b[c.i])
			}
		}
	}
	return nil, errEnds
}

func unquote(token []byte) (string, error) {
	if bytes.IndexByte(token, '\\') < 0 && utf8.Valid(token) {
		return string(token[1 : len(token)-1]), nil
	}
	var s string
	err := json.Unmarshal(token, &s) // what is no UTF-8 becomes U+FFFD
	return s, err
}

// text reads a string.
func (c *cursor) text() (string, error) {
	token, err := c.token()
	if err != nil {
		return "", err
	}
	s, err := unquote(token)
	if err != nil {
		return "", c.errorf("%w", err)
	}
	c.kept += 16 + len(s)
	return s, nil
}

// number goes past a number and returns it as written.
func (c *cursor) number() ([]byte, error) {
	if c.peek() == 0 {
		return nil, errEnds
	}
	start := c.i
	for c.i < len(c.b) && strings.IndexByte("+-.eE0123456789", c.b[c.i]) >= 0 {
		c.i++
	}
	token := c.b[start:c.i]
	if len(token) == 0 || !json.Valid(token) {
		c.i = start
		return nil, c.errorf("found %q, expected a number", c.b[start])
	}
	return token, nil
}

// integer reads a whole number.
func (c *cursor) integer() (int64, error) {
	token, err := c.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(token), 10, 64)
	if err != nil {
		return 0, c.errorf("found %q, expected a whole number of 64 bits", token)
	}
	c.kept += 8
	return n, nil
}

// word goes past one of the words true, false and null.
func (c *cursor) word(word string) bool {
	c.peek()
	if !bytes.HasPrefix(c.b[c.i:], []byte(word)) {
		return false
	}
	c.i += len(word)
	return true
}

// boolean reads true or false.
func (c *cursor) boolean() (bool, error) {
	switch {
	case c.word("true"):
		return true, nil
	case c.word("false"):
		return false, nil
	case c.i == len(c.b):
		return false, errEnds
	default:
		return false, c.errorf("found %q, expected true or false", c.b[c.i])
	}
}

// skip goes past any value.
func (c *cursor) skip() error {
	switch b := c.peek(); b {
	case 0:
		return errEnds
	case '{':
		return c.object(func([]byte) error { return c.skip() })
	case '[':
		return c.array(c.skip)
	case '"':
		_, err := c.token()
		return err
	case 't', 'f':
		_, err := c.boolean()
		return err
	case 'n':
		if !c.word("null") {
			return c.errorf("found %q, expected a value", b)
		}
		return nil
	default:
		_, err := c.number()
		return err
	}
}

// raw goes past any value and returns its text.
func (c *cursor) raw() ([]byte, error) {
	c.peek()
	start := c.i
	err := c.skip()
	return c.b[start:c.i], err
}
