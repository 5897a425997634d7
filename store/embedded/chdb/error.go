package chdb

import (
	"regexp"
	"strconv"
	"strings"
)

// Error is a failure that the engine reports, with ClickHouse's number, text and name.
type Error struct {
	Code    int    // e.g. 60; 0 when the text carries none
	Name    string // e.g. UNKNOWN_TABLE; "" when the text carries none
	Message string // e.g. "Unknown table expression identifier 'x' in scope SELECT * FROM x"
}

// Error is the text in ClickHouse's own form: Code: 60. DB::Exception: … (UNKNOWN_TABLE).
func (e *Error) Error() string {
	if e.Code == 0 {
		return e.Message
	}
	s := "Code: " + strconv.Itoa(e.Code) + ". DB::Exception: " + e.Message
	if e.Name != "" {
		s += " (" + e.Name + ")"
	}
	return s
}

var (
	codePrefix = regexp.MustCompile(`^(?:Error on processing query: )?Code: (\d{1,5})\. DB::Exception: `)
	nameSuffix = regexp.MustCompile(`\s*\(([A-Z][A-Z0-9_]{2,})\)(?: \(version [^()]*(?:\([^()]*\))?\))?\.?\s*$`)
)

// parseError reads the engine's text; nil for "". The engine wraps its text up to three times ("Code: 241. DB::Exception: Code: 241.
// DB::Exception: … (NAME) (NAME)"); the wrapping is taken off.
func parseError(text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	e := &Error{}
	for {
		m := codePrefix.FindStringSubmatch(text)
		if m == nil {
			break
		}
		e.Code, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	for e.Code != 0 {
		m := nameSuffix.FindStringSubmatchIndex(text)
		if m == nil {
			break
		}
		e.Name = text[m[2]:m[3]]
		text = text[:m[0]]
	}
	// "…. (NAME)" keeps one full stop.
	e.Message = strings.TrimSpace(text)
	return e
}
