package strictyaml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong in a file.
type Problem struct {
	File string // as given to Decode
	Line int    // 1-based; 0 if it has none
	Path string // key path, as "listeners[0].addr"; empty for the file as a whole
	Text string // what was found and what is expected
}

// Error returns "file:line: path: text".
func (p Problem) Error() string {
	var s strings.Builder
	s.WriteString(p.File)
	if p.Line > 0 {
		s.WriteByte(':')
		s.WriteString(strconv.Itoa(p.Line))
	}
	if p.Path != "" {
		s.WriteString(": ")
		s.WriteString(p.Path)
	}
	s.WriteString(": ")
	s.WriteString(p.Text)
	return s.String()
}

// Error is all that is wrong in a file, in the order of its lines as far as they are known.
type Error struct {
	File     string
	Problems []Problem // at least one, about a hundred at most
	More     int       // problems found beyond those listed
}

// Error returns one line for one problem, else a line with their number and one line for each.
func (e *Error) Error() string {
	if len(e.Problems) == 1 && e.More == 0 {
		return e.Problems[0].Error()
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d problems:", e.File, len(e.Problems)+e.More)
	for _, p := range e.Problems {
		s.WriteString("\n  ")
		s.WriteString(p.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&s, "\n  … and %d more", e.More)
	}
	return s.String()
}

// Unwrap returns the problems.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// keyError is an error about a part of the value that was validated.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// At makes err one about key, relative to the value whose Validate method returns it: "addr", "ports[2]". A Validate
// method that has several things to say returns them by errors.Join.
func At(key string, err error) error {
	if err == nil {
		return nil
	}
	return &keyError{key, err}
}

// flatten calls f for each error joined in err, with the keys that At gave it.
func flatten(err error, key string, f func(key string, err error)) {
	switch e := err.(type) { //nolint:errorlint // only the outermost layers carry keys
	case *keyError:
		if key != "" && !strings.HasPrefix(e.key, "[") {
			key += "."
		}
		flatten(e.err, key+e.key, f)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			flatten(err, key, f)
		}
	default:
		f(key, err)
	}
}

// Validate calls the Validate methods of v, a pointer, and of everything in it, deepest first, and returns what they
// say joined, each with its key path: for values that were not read from a file.
func Validate(v any) error {
	var errs []error
	walkValidate(pointee(v), nil, func(p *path, err error) {
		flatten(err, p.String(), func(key string, err error) {
			if key != "" {
				err = fmt.Errorf("%s: %w", key, err)
			}
			errs = append(errs, err)
		})
	})
	return errors.Join(errs...)
}
