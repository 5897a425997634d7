package xapi

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// ref is a reference to a record, opaque; empty refers to nothing.
type ref string

// null is how XAPI writes a reference to nothing, beside the empty one.
const null = "OpaqueRef:NULL"

// UnmarshalJSON reads a reference.
func (r *ref) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if *r = ref(s); s == null {
		*r = ""
	}
	return nil
}

// integer is a number, which XAPI writes as one or as a decimal string.
type integer int64

// UnmarshalJSON reads either.
func (i *integer) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 1 && b[0] == '"' {
		text = text[1 : len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("found %.40q, want an integer", text)
	}
	*i = integer(n)
	return nil
}
