package query

import (
	"strconv"
	"strings"
)

// Error is a mistake in a filter or in a [Request]: the user's, not ours, and fit to be shown to them.
type Error struct {
	Part string // the part of the request that is wrong, as "filter" or "by"
	Pos  int    // where in the filter, in bytes from 1; 0 where there is no position
	Msg  string // what was found
	Hint string // what to write instead; empty if there is nothing to say
}

func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString(e.Part)
	s.WriteString(": ")
	s.WriteString(e.Msg)
	if e.Pos > 0 {
		s.WriteString(" at ")
		s.WriteString(strconv.Itoa(e.Pos))
	}
	if e.Hint != "" {
		s.WriteString(": ")
		s.WriteString(e.Hint)
	}
	return s.String()
}
