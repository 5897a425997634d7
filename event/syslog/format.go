package syslog

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/flow"
)

// enterprise qualifies the names of our structured data. Weir has no number of its own: this one is for examples (RFC 5612).
const enterprise = "@32473"

// Header is what every message of a sender says of it.
type Header struct {
	Facility Facility
	Hostname string // of this machine
	PID      int
}

// Format returns e as a message of RFC 5424, of at most limit bytes: what does not fit is left out, facts first, then the end of the text.
// name returns that of an entity, or "".
func Format(h Header, e *event.Event, name func(flow.ID) string, limit int) []byte {
	priority := strconv.Itoa(int(h.Facility)*8 + int(e.Kind.Severity()))
	head := "<" + priority + ">1 " + e.Time.UTC().Format("2006-01-02T15:04:05.000Z") + " " + token(h.Hostname, 255) + " weir " +
		strconv.Itoa(h.PID) + " " + token(string(e.Kind), 32) + " "

	text := e.Text
	if e.Subject != "" && !strings.Contains(text, e.Subject) {
		text = e.Subject + ": " + text
	}
	message := " " + text8(text)

	// What it is about comes before the end of a long text, the text before the facts.
	room := limit - len(head) - min(len(message), limit/4)
	about := element{name: "event" + enterprise}
	about.add(room, "id", strconv.FormatUint(e.ID, 10))
	about.add(room, "severity", e.Kind.Severity().String())
	about.add(room, "subject", e.Subject)
	for _, x := range []struct {
		what string
		id   flow.ID
	}{{"pool", e.Pool}, {"host", e.Host}, {"bridge", e.Bridge}, {"network", e.Network}, {"vm", e.VM}, {"vif", e.VIF}} {
		if x.id == 0 {
			continue
		}
		about.add(room, x.what+"_id", strconv.FormatUint(uint64(x.id), 10))
		if n := name(x.id); n != "" {
			about.add(room, x.what, n)
		}
	}
	room = limit - len(head) - len(about.String()) - len(message)
	facts := element{name: "facts" + enterprise}
	for _, k := range slices.Sorted(maps.Keys(e.Attributes)) {
		facts.add(room, k, e.Attributes[k])
	}
	out := head + about.String() + facts.String() + message
	if len(out) > limit {
		out = strings.ToValidUTF8(out[:limit], "") // cut within a character of the text
	}
	return []byte(out)
}

// element is an SD-ELEMENT (RFC 5424 §6.3).
type element struct{ name, text string }

// add adds a parameter, unless the element is then longer than room.
func (e *element) add(room int, name, value string) {
	before := e.text
	if e.text += " " + sdName(name) + `="` + quoted.Replace(clean(value)) + `"`; len(e.String()) > room {
		e.text = before
	}
}

func (e *element) String() string {
	if e.text == "" {
		return ""
	}
	return "[" + e.name + e.text + "]"
}

// quoted escapes a PARAM-VALUE (RFC 5424 §6.3.3).
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// sdName makes s an SD-NAME (RFC 5424 §6): 1 to 32 printable characters of US-ASCII without = ] " and space.
func sdName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '=' || r == ']' || r == '"' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "_"
	}
	return s[:min(len(s), 32)]
}

// token makes s a header field: at most n printable characters of US-ASCII, "-" if there are none.
func token(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), n)]
}

// text8 makes s a MSG: with a byte order mark in front unless it is ASCII (RFC 5424 §6.4).
func text8(s string) string {
	s = clean(s)
	if strings.IndexFunc(s, func(r rune) bool { return r > '~' }) < 0 {
		return s
	}
	return "\ufeff" + s
}

// clean makes s valid UTF-8 without control characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// staleAfter is how old an event may be to be sent: what happened long ago, while nobody sent, is no news.
const staleAfter = 24 * time.Hour
