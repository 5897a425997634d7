package ovsdb_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/ovs/ovsdb/ovsdbtest"
)

// diagnosed runs a diagnosis and checks it against one word a step: its outcome, and after a colon what its text and advice hold.
func diagnosed(t *testing.T, cfg ovsdb.Config, d ovsdb.Deps, want ...string) {
	t.Helper()
	if cfg.Limits == (ovsdb.Limits{}) {
		cfg.Limits = quick()
	}
	steps := ovsdb.Diagnose(t.Context(), cfg, d)
	names := []string{"resolve", "connect", "tls", "certificate", "database", "schema", "switch", "identity", "trip"}
	if len(steps) != len(names) {
		t.Fatalf("%d steps, want %d", len(steps), len(names))
	}
	for i, s := range steps {
		w := "skipped:not tried"
		if i < len(want) {
			w = want[i]
		}
		outcome, text, _ := strings.Cut(w, ":")
		if s.Name != names[i] || string(s.Outcome) != outcome || !strings.Contains(s.Text+" "+s.Advice, text) {
			t.Errorf("step %d is %+v, want %s: %s", i, s, names[i], w)
		}
		if s.Outcome == ovsdb.Failed && s.Text == "" {
			t.Errorf("step %q failed and does not say why", s.Name)
		}
	}
}

func TestDiagnose(t *testing.T) {
	server := ovsdbtest.Start(t, nil)
	server.VSCtl("--no-wait", "set", "Open_vSwitch", ".", `ovs_version="3.1.0"`, "external_ids:system-id=abc", `external_ids:hostname="hv\r1"`)
	diagnosed(t, ovsdb.Config{Target: target(t, server.Socket())}, ovsdb.Deps{},
		"skipped:unix socket", "ok:connected", "skipped:on this machine", "skipped:without TLS", "ok:Open_vSwitch", "ok:schema 8.3.1",
		"ok:Open vSwitch 3.1.0, 0 bridges", "ok:system-id abc", "ok:at worst")

	server.VSCtl("--no-wait", "add-br", "br0", "--", "remove", "Open_vSwitch", ".", "external_ids", "system-id", "hostname")
	diagnosed(t, ovsdb.Config{Target: target(t, "tcp:localhost:"+server.Listen("ptcp:0:127.0.0.1"))}, ovsdb.Deps{},
		"ok:127.0.0.1", "ok:connected to 127.0.0.1:", "skipped:on this machine", "skipped:without TLS", "ok:Open_vSwitch", "ok:schema 8.3.1",
		"warning:1 bridges are not made Is ovs-vswitchd running?", "warning:no system-id", "ok:at worst")

	a, deps := authority(t)
	_, otherDeps := authority(t)
	c := secure(t, server, a, "hv1", "")
	ssl := target(t, "ssl:127.0.0.1:"+server.Listen("pssl:0:127.0.0.1"))
	fingerprint := string(ovsdb.FingerprintOf(c))
	diagnosed(t, ovsdb.Config{Target: ssl, TLS: ovsdb.TLS{Name: "hv1"}}, deps,
		"skipped:is an address", "ok:connected", "ok:TLS 1.3", "ok:"+fingerprint, "ok:Open_vSwitch", "ok:schema 8.3.1", "warning:not made", "warning:no system-id", "ok:at worst")
	diagnosed(t, ovsdb.Config{Target: ssl, TLS: ovsdb.TLS{Trust: ovsdb.TrustPin}}, deps,
		"skipped:is an address", "ok:connected", "ok:ended at its certificate", "failed:weir hosts confirm")
	diagnosed(t, ovsdb.Config{Target: ssl, TLS: ovsdb.TLS{Trust: ovsdb.TrustPin}}, deps,
		"skipped:is an address", "ok:connected", "ok:ended at its certificate", "failed:"+fingerprint)
	diagnosed(t, ovsdb.Config{Target: ssl, TLS: ovsdb.TLS{Name: "hv2"}}, deps,
		"skipped:is an address", "ok:connected", "ok:ended at its certificate", "failed:not for")
	diagnosed(t, ovsdb.Config{Target: ssl, TLS: ovsdb.TLS{Trust: ovsdb.TrustPin, Pin: ovsdb.FingerprintOf(c)}}, otherDeps,
		"skipped:is an address", "ok:connected", "ok:TLS 1.3", "ok:"+fingerprint, "failed:does not believe Weir's certificate")
	plain := ssl
	plain.TLS = false
	diagnosed(t, ovsdb.Config{Target: plain}, deps, "skipped:is an address", "ok:connected", "skipped:on this machine", "skipped:without TLS", "failed:")
}

func TestDiagnoseWhatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	diagnosed(t, ovsdb.Config{Target: target(t, "ssl:"+addr)}, ovsdb.Deps{}, "skipped:", "failed:set-manager pssl:")
	diagnosed(t, ovsdb.Config{Target: target(t, "unix:"+filepath.Join(t.TempDir(), "none"))}, ovsdb.Deps{}, "skipped:", "failed:Is ovsdb-server running")
	diagnosed(t, ovsdb.Config{Target: target(t, "tcp:host.invalid")}, ovsdb.Deps{}, "failed:Is the name right?")
	diagnosed(t, ovsdb.Config{}, ovsdb.Deps{}, "skipped:", "failed:weir hosts list")

	// Something else answers, and something that says nothing.
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			nc, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = nc.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\n")) // the other side may be gone
			nc.Close()
		}
	}()
	diagnosed(t, ovsdb.Config{Target: target(t, "ssl:"+web.Addr().String())}, ovsdb.Deps{}, "skipped:", "ok:", "failed:does not speak TLS")
	diagnosed(t, ovsdb.Config{Target: target(t, "tcp:"+web.Addr().String())}, ovsdb.Deps{}, "skipped:", "ok:", "skipped:", "skipped:", "failed:is this an OVSDB server?")

	server := ovsdbtest.Start(t, nil)
	server.Signal(unix.SIGSTOP)
	limits := quick()
	limits.AnswerTimeout = 200 * time.Millisecond
	diagnosed(t, ovsdb.Config{Target: target(t, server.Socket()), Limits: limits}, ovsdb.Deps{}, "skipped:", "ok:", "skipped:", "skipped:", "failed:deadline exceeded")
	server.Signal(unix.SIGCONT)
}
