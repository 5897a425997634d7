package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/client"
)

// Every exit code is in the list once, is that of some error, and is told by --help.
func TestExitCodes(t *testing.T) {
	f := func(want int, err error) {
		t.Helper()
		if got := exitCode(err); got != want {
			t.Errorf("exit code of %v is %d, want %d", err, got, want)
		}
	}
	refused := func(status int) error { return fmt.Errorf("ask: %w", &client.Problem{Status: status, Detail: "no"}) }
	f(exitOK, nil)
	f(exitOK, fmt.Errorf("write: %w", unix.EPIPE))
	f(exitFailed, errors.New("broken"))
	f(exitFailed, refused(http.StatusUnprocessableEntity))
	f(exitFailed, refused(http.StatusServiceUnavailable))
	f(exitUsage, usagef("unknown flag"))
	f(exitRefused, refused(http.StatusUnauthorized))
	f(exitRefused, refused(http.StatusForbidden))
	f(exitConflict, refused(http.StatusConflict))
	f(exitConflict, refused(http.StatusPreconditionFailed))
	f(exitNotFound, refused(http.StatusNotFound))
	f(exitNotFound, notFoundf("no host %q", "x"))
	f(exitPartial, errors.Join(errors.New("beside"), partialf("not yet")))

	help := good(t, "help")
	for i, c := range exitCodes {
		if c.code != i {
			t.Errorf("exit code %d is listed as number %d", c.code, i)
		}
		if !strings.Contains(help, fmt.Sprintf("\n  %d  %s\n", c.code, c.meaning)) {
			t.Errorf("weir help does not tell exit code %d:\n%s", c.code, help)
		}
	}
}
