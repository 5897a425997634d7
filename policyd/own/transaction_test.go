package own_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/own"
)

// connect returns a session with a host that has bridge br0.
func connect(t *testing.T) (*ovsdbtest.Server, *ovsdb.Session) {
	t.Helper()
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "add-br", "br0")
	target, err := ovsdb.ParseTarget(server.Socket())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ovsdb.New(ovsdb.Config{Target: target, Limits: ovsdb.DefaultLimits()}, ovsdb.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ovsdbtest.Until(t, "the host is known", func() bool { return s.Status().State == ovsdb.StateConnected })
	return server, s
}

// put makes a transaction by which br0 exports, of what is known of the host now.
func put(t *testing.T, r *ovsdb.Rows, instance string, was *own.Saved) []ovsdb.Operation {
	t.Helper()
	tx, err := own.Begin(r, instance)
	if err != nil {
		t.Fatal(err)
	}
	tx.Claim()
	for _, b := range own.Bridges(r) {
		if err := tx.Put(own.NetFlow, b, ovsdb.Values{"targets": []string{"192.0.2.5:2055"}}, was); err != nil {
			t.Fatal(err)
		}
	}
	return tx.Operations()
}

// What others did since the host was observed stays: the transaction changes nothing.
func TestWhatOthersDidMeanwhileStays(t *testing.T) {
	const theirs = `targets="203.0.113.1:1"`
	for name, meanwhile := range map[string][]string{
		"another row":         {"--", "--id=@n", "create", "NetFlow", theirs, "--", "set", "bridge", "br0", "netflow=@n"},
		"another Weir":        {"set", "Open_vSwitch", ".", "external_ids:weir-owner=another"},
		"the bridge is gone":  {"del-br", "br0"},
		"a bridge of its own": {"del-br", "br0", "--", "add-br", "br0"},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := connect(t)
			ops := put(t, s.Rows(), "this", nil)
			server.VSCtl(append([]string{"--no-wait"}, meanwhile...)...)
			if _, err := s.Transact(t.Context(), ops...); !errors.Is(err, ovsdb.ErrChanged) {
				t.Errorf("Transact = %v, want ErrChanged", err)
			}
			if found := server.VSCtl("--no-wait", "list", "NetFlow"); strings.Contains(found, "192.0.2.5") {
				t.Errorf("found\n%s", found)
			}
		})
	}
}

// A row of others is saved as it is when it is replaced, or not replaced.
func TestWhatIsSavedIsWhatIsReplaced(t *testing.T) {
	server, s := connect(t)
	server.VSCtl("--no-wait", "--", "--id=@n", "create", "NetFlow", `targets="203.0.113.1:1"`, "--", "set", "bridge", "br0", "netflow=@n")
	ovsdbtest.Until(t, "the row is known", func() bool { return len(s.Rows().NetFlows) == 1 })
	ref := own.NetFlow.Ref(own.Bridges(s.Rows())[0])
	read, err := s.Transact(t.Context(), ovsdb.Select("NetFlow", ovsdb.Is(ref)))
	if err != nil {
		t.Fatal(err)
	}
	was, err := own.Save(read[0].Rows[0])
	if err != nil {
		t.Fatal(err)
	}
	ops := put(t, s.Rows(), "this", was)
	server.VSCtl("--no-wait", "set", "NetFlow", string(ref), "active_timeout=7")
	if _, err := s.Transact(t.Context(), ops...); !errors.Is(err, ovsdb.ErrChanged) {
		t.Errorf("Transact = %v, want ErrChanged", err)
	}
	if found := server.VSCtl("--no-wait", "get", "NetFlow", string(ref), "active_timeout"); found != "7" {
		t.Errorf("active_timeout = %s, want theirs", found)
	}
}

// Sent again, because no answer came to the first, it does nothing.
func TestSentTwice(t *testing.T) {
	server, s := connect(t)
	ops := put(t, s.Rows(), "this", nil)
	if _, err := s.Transact(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Transact(t.Context(), ops...); !errors.Is(err, ovsdb.ErrChanged) {
		t.Errorf("Transact = %v, want ErrChanged", err)
	}
	if n := strings.Count(server.VSCtl("--no-wait", "list", "NetFlow"), "_uuid"); n != 1 {
		t.Errorf("%d rows, want one", n)
	}
}

// A saved value that somebody has changed by hand is not guessed at.
func TestAMarkThatCannotBeRead(t *testing.T) {
	server, s := connect(t)
	if _, err := s.Transact(t.Context(), put(t, s.Rows(), "this", nil)...); err != nil {
		t.Fatal(err)
	}
	server.VSCtl("--no-wait", "set", "bridge", "br0", "external_ids:weir-former-netflow=nothing")
	ovsdbtest.Until(t, "it is known", func() bool {
		return own.Bridges(s.Rows())[0].ExternalIDs["weir-former-netflow"] == "nothing"
	})
	tx, err := own.Begin(s.Rows(), "this")
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Release(); err == nil || !strings.Contains(err.Error(), `bridge "br0"`) || !strings.Contains(err.Error(), "remove that key") {
		t.Errorf("Release = %v, want which bridge and what to do", err)
	}
}
