package ovsdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// endless is what framers read in tests: it has no deadlines.
type endless struct{ io.Reader }

func (endless) SetReadDeadline(time.Time) error { return nil }

func frames(r io.Reader, limit int) (list []string, err error) {
	f := framer{in: endless{r}, limit: func() int { return limit }, patience: time.Minute}
	for {
		message, err := f.next()
		if err != nil {
			return list, err
		}
		list = append(list, string(message))
	}
}

func seeds(f *testing.F) {
	for _, s := range []string{
		``, `{}`, ` {"a":1} {"b":[]}`, `{"id":1,"error":null,"result":[{"rows":[{"name":"br0","ports":["set",[["uuid","11111111-1111-1111-1111-111111111111"]]]}]}]}`,
		`{"a":"\"}{"}`, `{"a":"\\"}{"b":"\u00e9\ud83d\ude00\n"}`, `{"a":[[[{}]]]}`, `{"a":-1.5e+10,"b":true,"c":false,"d":null}`, `}`, `{]`, `{"a"`, "{\"\x00\"}",
		`["map",[["k","v"],["l",""]]]`, `["map",[[1,2.5],[["uuid","11111111-1111-1111-1111-111111111111"],true]]]`, `["set",[]]`, `["set",["one"]]`, `["uuid","x"]`, `[1,2]`, `"text"`, `01`, `-`, `1e999`,
	} {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"version":"8.3.1","tables":{"Port":{"columns":{"name":{"type":"string"},"tag":{"type":{"key":{"type":"integer","enum":["set",["a","b"]]},"min":0,"max":1}}}}}}`))
}

// FuzzFramer: messages do not depend on how they come in pieces; what encoding/json takes for objects in a row is taken apart alike; memory is bounded
// by what has come.
func FuzzFramer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 12
		whole, err1 := frames(bytes.NewReader(b), limit)
		pieces, err2 := frames(iotest.OneByteReader(bytes.NewReader(b)), limit)
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") {
			// A long message may be found at once if it comes at once: the limit is looked at between reads.
			if len(b) < limit {
				t.Fatalf("at once %q, byte by byte %q", whole, pieces)
			}
		} else if len(b) < limit && (err1.Error() != err2.Error()) {
			t.Fatalf("at once %v, byte by byte %v", err1, err2)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		for i := 0; ; i++ {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil || raw[0] != '{' || depth(raw) > maxDepth || len(b) >= limit {
				break
			}
			if i >= len(whole) || whole[i] != string(raw) {
				t.Fatalf("message %d is missing or another than %q: %q, %v", i, raw, whole, err1)
			}
		}
		framer := framer{in: endless{bytes.NewReader(b)}, limit: func() int { return limit }, patience: time.Minute}
		for {
			if _, err := framer.next(); err != nil {
				break
			}
			if cap(framer.buf) > 2*len(b)+4<<10 {
				t.Fatalf("%d bytes of buffer for %d bytes", cap(framer.buf), len(b))
			}
		}
	})
}

func depth(raw []byte) int {
	deepest, now, text := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case text && b == '\\':
			i++
		case b == '"':
			text = !text
		case text:
		case b == '{' || b == '[':
			now++
			deepest = max(deepest, now)
		case b == '}' || b == ']':
			now--
		}
	}
	return deepest
}

// FuzzCursor: skip takes what encoding/json takes, as far as brackets are not too deep; text reads strings as it does.
func FuzzCursor(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := cursor{b: b}
		err := c.skip()
		if err == nil {
			err = c.end()
		}
		if valid := json.Valid(b); (err == nil) != valid && (!valid || depth(b) <= maxDepth) {
			t.Fatalf("skip: %v, valid: %v", err, valid)
		}
		var want string
		c = cursor{b: b}
		if got, err := c.text(); err == nil && c.end() == nil {
			if json.Unmarshal(b, &want) != nil || got != want {
				t.Fatalf("text is %q, want %q", got, want)
			}
		}
	})
}

// FuzzMonitor: whatever a host says, decoding ends, and what it takes of memory is bounded by what was said. A message that was understood is understood the
// same again.
func FuzzMonitor(f *testing.F) {
	seeds(f)
	const id = `"11111111-1111-1111-1111-111111111111"`
	f.Add([]byte(`{"Bridge":{` + id + `:{"new":{"name":"br0","ports":["set",[["uuid",` + id + `]]],"external_ids":["map",[["a","b"]]],"protocols":"OpenFlow13"}}}}`))
	f.Add([]byte(`{"Port":{` + id + `:{"old":{},"new":{"tag":7,"trunks":["set",[1,2]],"fake_bridge":true,"name":["set",[]]}}},"Open_vSwitch":{` + id + `:{"new":{"cur_cfg":3}}}}`))
	f.Add([]byte(`{"Interface":{` + id + `:{"old":{"name":"x"}}}}`))
	schema, err := readSchema(&cursor{b: []byte(SchemaJSON(f))})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, again := newMonitor(schema, 1<<20), newMonitor(schema, 1<<20)
		c := cursor{b: b}
		if err := m.apply(&c); err == nil {
			if err := again.apply(&cursor{b: b}); err != nil || again.kept != m.kept {
				t.Fatalf("a second time: %v, kept %d and %d", err, m.kept, again.kept)
			}
			m.snapshot()
		}
		if c.kept > 64*len(b)+64 {
			t.Fatalf("%d bytes kept of %d", c.kept, len(b))
		}
		_, _ = readSchema(&cursor{b: b}) // it ends
		if _, _, err := readResult(&cursor{b: b}); err != nil && errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_, _ = (&cursor{b: b}).value() // it ends
	})
}

// FuzzTarget: what is parsed prints to what parses to the same.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"ssl:192.0.2.1:6640", "tcp:[2001:db8::1]:6640", "ssl:xcp-1.example.net", "unix:/var/run/openvswitch/db.sock", "ssl:[::1", "tcp:[::ffff:1.2.3.4]", "pssl:6640"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseTarget(text)
		if err != nil {
			return
		}
		b, err := ParseTarget(a.String())
		if err != nil || a != b {
			t.Fatalf("ParseTarget(%q) = %+v, again %+v, %v", text, a, b, err)
		}
	})
}
