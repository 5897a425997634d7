package export_test

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
	"github.com/weirhq/weir/policyd/attach"
	"github.com/weirhq/weir/policyd/compile"
	"github.com/weirhq/weir/policyd/export"
)

// Where in-band control stays for the host's own sake, it stays while a database that was restarted does not say yet that the host is up.
func TestInBandControlOutlivesTheDatabase(t *testing.T) {
	s := newSite(t)
	s.must(s.host.AddAddress(s.ctx, "br0", netip.MustParsePrefix("10.1.0.250/24")))
	s.must(s.host.Secure(s.ctx, "br0"))
	up := func() bool {
		out, err := s.host.VSCtl(s.ctx, "get", "interface", "br0", "link_state")
		s.must(err)
		return strings.TrimSpace(out) == "up"
	}
	ovsdbtest.Until(t, "the host is up at br0", up)
	set := s.settings(nil)
	w, _ := start(t, s.target, set)
	w.controller = attach.Settings{Reach: listen(t, s.host.Root)}
	w.enforce(t, set, map[string]export.Enforced{"br0": {Sampling: compile.SampleFull, Flows: export.FlowsInstalled}}, "br0=off br1=set", "br0:set/set! br1:/")
	if c := w.exports.Status()[0].Bridges[0].Controller; !c.InBand {
		t.Fatalf("controller %+v, want that in-band control stays", c)
	}

	written := func() int {
		out, err := exec.CommandContext(s.ctx, "ovsdb-tool", "show-log", filepath.Join(filepath.Dir(s.host.DBSocket()), "conf.db")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Count(string(out), "weir: instance")
	}
	before, told := written(), len(w.events.of(event.ControllerSet))
	if before == 0 || told != 1 {
		t.Fatalf("%d transactions of Weir's, %d events of controllers that are set, want some, and one", before, told)
	}
	starts := w.session.Status().Starts
	s.must(s.host.RestartDB(s.ctx))
	ovsdbtest.Until(t, "Weir and the switch are back", func() bool { return w.session.Status().Starts > starts && up() })
	w.enforce(t, set, w.enforced, "br0=off br1=set", "br0:set/set! br1:/")
	if now, n := written(), len(w.events.of(event.ControllerSet)); now != before || n != told {
		t.Errorf("after a restart of its database Weir changed the host %d times and told of %d controllers that are set, want nothing", now-before, n-told)
	}
}
