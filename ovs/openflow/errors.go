package openflow

import "fmt"

// MalformedError says what of a message could not be read.
type MalformedError struct{ What string }

// Error says it.
func (e *MalformedError) Error() string { return "malformed OpenFlow: " + e.What }

func malformed(format string, args ...any) error {
	return &MalformedError{fmt.Sprintf(format, args...)}
}
