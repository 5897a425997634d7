package syslog_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// message is a syslog message, taken apart by a strict reading of the grammar of RFC 5424 §6.
type message struct {
	facility, severity int
	time               time.Time
	hostname, app      string
	pid, id            string
	data               map[string]map[string]string // by SD-ID
	text               string                       // without byte order mark
}

// parse takes b apart, or says where it is not as the grammar has it.
func parse(b []byte) (m message, err error) {
	s := string(b)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: %q", err, b)
		}
	}()
	if !strings.HasPrefix(s, "<") {
		return m, errors.New("no PRI")
	}
	pri, s, _ := strings.Cut(s[1:], ">")
	n, err := strconv.Atoi(pri)
	if err != nil || n < 0 || n > 191 || strconv.Itoa(n) != pri {
		return m, fmt.Errorf("PRIVAL %q", pri)
	}
	m.facility, m.severity = n/8, n%8
	field := func(what string, most int) string {
		value, rest, ok := strings.Cut(s, " ")
		s = rest
		if err == nil && (!ok || value == "" || len(value) > most) {
			err = fmt.Errorf("%s %q: want 1 to %d characters and a space", what, value, most)
		}
		for _, c := range []byte(value) {
			if err == nil && (c < 33 || c > 126) {
				err = fmt.Errorf("%s %q: not PRINTUSASCII", what, value)
			}
		}
		return value
	}
	if version := field("VERSION", 2); version != "1" {
		return m, fmt.Errorf("VERSION %q", version)
	}
	stamp := field("TIMESTAMP", 32)
	var bad error
	// RFC 3339 with at most six digits of a second, upper case T and Z.
	if m.time, bad = time.Parse("2006-01-02T15:04:05.999999Z07:00", stamp); bad != nil {
		return m, bad
	}
	m.hostname, m.app, m.pid, m.id = field("HOSTNAME", 255), field("APP-NAME", 48), field("PROCID", 128), field("MSGID", 32)
	if err != nil {
		return m, err
	}
	if s, err = m.structured(s); err != nil {
		return m, err
	}
	if s == "" {
		return m, nil
	}
	if s[0] != ' ' {
		return m, errors.New("no space before MSG")
	}
	m.text = s[1:]
	text, marked := strings.CutPrefix(m.text, "\xef\xbb\xbf")
	for _, c := range []byte(text) {
		if !marked && c > 126 || c < 32 {
			return m, fmt.Errorf("MSG has byte %d, marked as UTF-8 %v", c, marked)
		}
	}
	if !utf8.ValidString(text) {
		return m, errors.New("MSG is not UTF-8")
	}
	m.text = text
	return m, nil
}

// structured reads STRUCTURED-DATA and returns what follows.
func (m *message) structured(s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return rest, nil
	}
	m.data = map[string]map[string]string{}
	for strings.HasPrefix(s, "[") {
		id, rest := sdName(s[1:])
		name, number, private := strings.Cut(id, "@")
		if _, err := strconv.Atoi(number); !private || err != nil || name == "" {
			return "", fmt.Errorf("SD-ID %q: want name@number", id)
		}
		if m.data[id] != nil {
			return "", fmt.Errorf("SD-ID %q twice", id)
		}
		params := map[string]string{}
		m.data[id] = params
		s = rest
		for strings.HasPrefix(s, " ") {
			name, rest := sdName(s[1:])
			if name == "" || !strings.HasPrefix(rest, `="`) {
				return "", fmt.Errorf("SD-PARAM %q", s)
			}
			rest = rest[2:]
			var value strings.Builder
			for {
				if rest == "" {
					return "", errors.New("PARAM-VALUE has no end")
				}
				c := rest[0]
				if c == '"' {
					break
				}
				if c == ']' || c < 32 {
					return "", fmt.Errorf("PARAM-VALUE of %s has byte %d unescaped", name, c)
				}
				if c == '\\' {
					if len(rest) < 2 || !strings.ContainsRune(`"\]`, rune(rest[1])) {
						return "", errors.New("PARAM-VALUE escapes what is none of its three")
					}
					rest = rest[1:]
				}
				value.WriteByte(rest[0])
				rest = rest[1:]
			}
			if !utf8.ValidString(value.String()) {
				return "", errors.New("PARAM-VALUE is not UTF-8")
			}
			params[name] = value.String()
			s = rest[1:]
		}
		if !strings.HasPrefix(s, "]") {
			return "", fmt.Errorf("SD-ELEMENT does not end: %q", s)
		}
		s = s[1:]
	}
	if len(m.data) == 0 {
		return "", fmt.Errorf("STRUCTURED-DATA %q", s)
	}
	return s, nil
}

// sdName reads an SD-NAME and returns what follows.
func sdName(s string) (name, rest string) {
	i := 0
	for i < len(s) && i < 32 && s[i] > 32 && s[i] < 127 && s[i] != '=' && s[i] != ']' && s[i] != '"' {
		i++
	}
	return s[:i], s[i:]
}
