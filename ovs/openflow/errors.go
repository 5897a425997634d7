package openflow

import (
	"errors"
	"fmt"
)

// Reason is why a connection ended, or did not come about: the label of a counter.
type Reason string

// Reasons.
const (
	ReasonBusy      Reason = "busy"      // too many handshakes at a time
	ReasonTLS       Reason = "tls"       // no TLS handshake came about
	ReasonVersion   Reason = "version"   // the switch does not speak OpenFlow 1.3
	ReasonMalformed Reason = "malformed" // what came is not OpenFlow, or breaks it
	ReasonRefused   Reason = "refused"   // the switch refused what every one must accept
	ReasonTooMuch   Reason = "too_much"  // an answer is longer than is read, or echoes come faster than answers are taken
	ReasonSilent    Reason = "silent"    // nothing came for too long
	ReasonSlow      Reason = "slow"      // a message, or the introduction, took too long
	ReasonStuck     Reason = "stuck"     // the switch takes nothing
	ReasonClosed    Reason = "closed"    // the other side closed the connection
	ReasonOurs      Reason = "ours"      // we did
)

// reasons are all of them.
var reasons = []Reason{
	ReasonBusy, ReasonTLS, ReasonVersion, ReasonMalformed, ReasonRefused, ReasonTooMuch, ReasonSilent, ReasonSlow, ReasonStuck, ReasonClosed,
	ReasonOurs,
}

// EndError says why a connection ended.
type EndError struct {
	Reason Reason
	Err    error
}

// Error says it.
func (e *EndError) Error() string { return "connection ended: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *EndError) Unwrap() error { return e.Err }

func ended(r Reason, format string, args ...any) *EndError {
	return &EndError{r, fmt.Errorf(format, args...)}
}

// reasonOf returns the reason of an error that ended a connection.
func reasonOf(err error) Reason {
	if e, ok := errors.AsType[*EndError](err); ok {
		return e.Reason
	}
	return ReasonMalformed
}

// ErrUnknown says that it is not known whether the switch did what it was asked for: look what is there.
var ErrUnknown = errors.New("it is not known whether the switch did it")

// MalformedError says what of a message could not be read.
type MalformedError struct{ What string }

// Error says it.
func (e *MalformedError) Error() string { return "malformed OpenFlow: " + e.What }

func malformed(format string, args ...any) error {
	return &MalformedError{fmt.Sprintf(format, args...)}
}

// ModError says which modification a switch refused, or would. Nothing of the list was done.
type ModError struct {
	Index int // in the list
	Mod   Mod
	Err   error // a *SwitchError, if it is the switch who said so
}

// Error says which and why.
func (e *ModError) Error() string { return fmt.Sprintf("%s: %v", e.Mod, e.Err) }

// Unwrap returns the cause.
func (e *ModError) Unwrap() error { return e.Err }

// SwitchError is an error that a switch answered with (§7.4.4).
type SwitchError struct {
	Type, Code uint16
	Vendor     uint32 // if Type is typeExperimenterError: whose Code it is
}

// typeExperimenterError is OFPET_EXPERIMENTER.
const typeExperimenterError = 0xffff

// badRequest is OFPET_BAD_REQUEST.
const badRequest = 1

// Error says it in words, and in the numbers by which it is found in specifications.
func (e *SwitchError) Error() string {
	if e.Type == typeExperimenterError {
		words := "the switch refused it"
		if e.Vendor == vendorONF && e.Code >= bundleErrors && int(e.Code-bundleErrors) < len(bundleErrorWords) {
			words = "bundle: " + bundleErrorWords[e.Code-bundleErrors]
		}
		return fmt.Sprintf("%s (OpenFlow error %d of vendor %#x)", words, e.Code, e.Vendor)
	}
	words := "the switch refused it"
	if k, ok := errorWords[e.Type]; ok {
		words = k.about
		if int(e.Code) < len(k.codes) {
			words += ": " + k.codes[e.Code]
		}
	}
	return fmt.Sprintf("%s (OpenFlow error type %d code %d)", words, e.Type, e.Code)
}

// bundleErrors is the number of the first error of EXT-230; the others follow in this order.
const bundleErrors = 2300

var bundleErrorWords = [...]string{
	"unspecified", "not permitted", "unknown id", "it exists already", "it is closed", "too many bundles", "unknown type of control message",
	"flags do not agree", "bad length", "bad xid", "message is not supported", "messages are in conflict", "too many messages",
	"a message failed", "it took too long", "another is in progress",
}

// errorWords are the errors of OpenFlow 1.3 that can be about what we send, with words for each code in order.
var errorWords = map[uint16]struct {
	about string
	codes []string
}{
	0: {"hello failed", []string{"no common version", "not permitted"}},
	badRequest: {"bad request", []string{
		"version", "message type", "multipart type", "experimenter", "experimenter type", "not permitted", "length", "buffer is empty",
		"buffer is unknown", "table", "not as a secondary controller", "port", "packet", "multipart requests overflow",
	}},
	2: {"bad action", []string{
		"type", "length", "experimenter", "experimenter type", "port", "argument", "not permitted", "too many", "queue", "group",
		"does not fit the match", "order", "tag", "field to set", "length of the field to set", "value of the field to set",
	}},
	3: {"bad instruction", []string{
		"type is not known", "type is not supported", "table", "metadata", "metadata mask", "experimenter", "experimenter type", "length", "not permitted",
	}},
	4: {"bad match", []string{
		"type", "length", "tag", "link address", "network address", "combination of wildcards", "field", "value", "mask",
		"a field lacks what it needs beside it", "a field is there twice", "not permitted",
	}},
	5: {"flow not changed", []string{
		"unspecified", "table is full", "table", "it overlaps with another", "not permitted", "timeout", "command", "flags",
	}},
	6: {"group not changed", []string{
		"there is one with this id", "group is invalid", "weights are not supported", "too many groups", "too many buckets", "chaining is not supported",
		"watching is not supported", "loop", "there is no group with this id", "another group uses it", "type", "command", "bucket", "watch", "not permitted",
	}},
	7: {"port not changed", []string{"port", "address", "configuration", "advertisement", "not permitted"}},
	12: {"meter not changed", []string{
		"unspecified", "there is one with this id", "meter is invalid", "there is no meter with this id", "command", "flags", "rate", "burst", "band",
		"band's value", "too many meters", "too many bands",
	}},
}
