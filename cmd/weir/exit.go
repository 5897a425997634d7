package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/client"
)

// Exit codes of every command.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitRefused  = 3
	exitConflict = 4
	exitNotFound = 5
	exitPartial  = 6
)

// exitCodes are what exit codes mean, for help and manual, and which errors have them: the first that fits; 1 is of all others.
var exitCodes = []struct {
	code    int
	meaning string
	of      func(error) bool
}{
	{exitOK, "done", func(err error) bool { // and of the reader of a listing who has seen enough
		return err == nil || errors.Is(err, unix.EPIPE)
	}},
	{exitFailed, "failed", func(error) bool { return false }},
	{exitUsage, "the command line is wrong", is[usageError]},
	{exitRefused, "refused: you are not logged in, your token has ended, or your role does not allow it", func(err error) bool { return errors.Is(err, client.ErrRefused) }},
	{exitConflict, "conflict: somebody was faster, or it is not as it would have to be for that", func(err error) bool { return errors.Is(err, client.ErrConflict) || is[conflictError](err) }},
	{exitNotFound, "what was named is not there", func(err error) bool {
		return errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrNoProfile) || is[notFoundError](err)
	}},
	{exitPartial, "done, and not yet everywhere: some hosts are offline, or take longer than --wait", is[partialError]},
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// exitCode is that of a command that ended with err.
func exitCode(err error) int {
	for _, c := range exitCodes {
		if c.of(err) {
			return c.code
		}
	}
	return exitFailed
}

// exitCodesText lists all exit codes.
func exitCodesText() string {
	var b strings.Builder
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "\n  %d  %s", c.code, c.meaning)
	}
	return b.String()
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// notFoundError is of something that is not there.
type notFoundError struct{ error }

func notFoundf(format string, args ...any) error { return notFoundError{fmt.Errorf(format, args...)} }

// partialError is of what is done, and not yet everywhere.
type partialError struct{ error }

func partialf(format string, args ...any) error { return partialError{fmt.Errorf(format, args...)} }
