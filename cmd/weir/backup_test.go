package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/instance"
	"github.com/weirhq/weir/policyd/audit"
	"github.com/weirhq/weir/policyd/state"
)

// A copy is brought back where nothing was, and over what was there, which is kept; not while Weir runs.
func TestRestoreState(t *testing.T) {
	dir := t.TempDir()
	data, copied := filepath.Join(dir, "data"), filepath.Join(dir, "copy.db")
	s, err := state.Open(t.Context(), filepath.Join(dir, "state.db"), state.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	by := audit.Actor{User: "alice"}
	_, err = s.AddHost(t.Context(), by.Does(audit.HostAdd), state.Host{Name: "hv1"})
	if err = errors.Join(err, s.Backup(t.Context(), by, copied), s.Close()); err != nil {
		t.Fatal(err)
	}
	if out := good(t, "state", "restore", copied, "--data", data); !strings.Contains(out, "is as in "+copied+", made ") || strings.Contains(out, "kept") {
		t.Errorf("where nothing was: %s", out)
	}
	type restored struct{ File, Before, Unread string }
	done := parse[restored](t, good(t, "state", "restore", copied, "--json", "--data", data))
	if done.File != filepath.Join(data, "state.db") || !strings.HasPrefix(done.Before, done.File+".before-") || done.Unread != "" {
		t.Errorf("over another: %+v", done)
	}
	for _, file := range []string{done.File, done.Before} {
		s, err := state.Open(t.Context(), file, state.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Host(t.Context(), "hv1")
		if err = errors.Join(err, s.Close()); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	fails(t, exitFailed, "no such file", "state", "restore", filepath.Join(dir, "none"), "--data", data)
	unlock, err := instance.Lock(data)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	fails(t, exitFailed, "stop weir first", "state", "restore", copied, "--data", data)
}
