package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
)

// followed is an event as weir events prints it.
type followed struct {
	ID      uint64
	Kind    string
	Subject string
}

// Events of a Weir that is killed and started again are one sequence: for who follows, for syslog, and in the store.
func TestEventsOverKill(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up twice")
	}
	receiver, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	messages := make(chan string, 100)
	go receive(receiver, messages)

	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "weir.yaml"), fmt.Appendf(nil, `
hosts: {grace: 200ms}
events: {syslog: {address: %q, transport: tcp, facility: local3}}
`, receiver.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	a := apptest.Start(t, data, anyPorts...)

	// One who follows, over everything that comes.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"events", "--follow", "--json", "--data", data}, nil, writer, io.Discard)
		writer.Close()
	}()
	seen := make(chan followed, 100)
	go func() {
		defer close(seen)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			var e followed
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			seen <- e
		}
	}()
	next := func() followed {
		t.Helper()
		select {
		case e := <-seen:
			return e
		case <-time.After(soon):
			t.Fatal("no event comes")
			return followed{}
		}
	}

	// Nobody is there, which is an event of each run, and of a host that is added.
	nowhere := func(name string) {
		t.Helper()
		good(t, "hosts", "add", name, "unix:"+filepath.Join(data, "nobody"), "--data", data)
	}
	nowhere("hv1")
	first := next()
	a.Kill()
	a = apptest.Start(t, data, anyPorts...)
	second := next()
	nowhere("hv2")
	third := next()
	want := []followed{{first.ID, "host_lost", "hv1"}, {second.ID, "host_lost", "hv1"}, {third.ID, "host_lost", "hv2"}}
	got := []followed{first, second, third}
	if !slices.Equal(got, want) || first.ID == 0 || second.ID <= first.ID || third.ID <= second.ID {
		t.Errorf("followed %+v", got)
	}
	apptest.Eventually(t, soon, "the store has each once", func() error {
		out, err := a.SQL("SELECT id, kind, subject FROM network_events ORDER BY id")
		rows := make([]string, len(got))
		for i, e := range got {
			rows[i] = fmt.Sprintf("%d\t%s\t%s", e.ID, e.Kind, e.Subject)
		}
		if all := strings.Join(rows, "\n"); err == nil && out != all {
			err = fmt.Errorf("found %q, want %q", out, all)
		}
		return err
	})
	// What was sent just before the kill may come again: its position was not noted yet.
	for at := 0; at < len(got); {
		select {
		case m := <-messages:
			about := func(e followed) bool {
				return strings.Contains(m, fmt.Sprintf(`host_lost [event@32473 id="%d" `, e.ID))
			}
			switch {
			case !strings.HasPrefix(m, "<155>1 ") || !strings.Contains(m, " weir "):
				t.Fatalf("syslog: %q", m)
			case about(got[at]):
				at++
			case !slices.ContainsFunc(got[:at], about):
				t.Fatalf("syslog: %q, want event %d", m, got[at].ID)
			}
		case <-time.After(soon):
			t.Fatalf("event %d does not come by syslog", got[at].ID)
		}
	}
	cancel() // as Ctrl-C does
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	out := good(t, "events", "--last", "1h", "--kind", "host_lost", "--limit", "1", "--data", data)
	if !strings.HasPrefix(out, "TIME ") || !strings.Contains(out, "hv2") || strings.Contains(out, "hv1") {
		t.Errorf("weir events:\n%s", out)
	}
	if s := good(t, "status", "--data", data); !strings.Contains(s, "2 managed, 0 connected") || !strings.Contains(s, "to syslog tcp ") {
		t.Errorf("weir status:\n%s", s)
	}
	fails(t, exitUsage, "expected one of host_connected", "events", "--kind", "host_eaten", "--data", data)
	fails(t, exitUsage, "--to", "events", "-f", "--from", "now-1h", "--to", "now", "--data", data)
	fails(t, exitNotFound, "is no host", "events", "--host", "nobody", "--data", data)
	fails(t, exitNotFound, "is no vm", "events", "-f", "--vm", "nobody", "--data", data)
}

// receive reads messages with octet counting (RFC 6587) until the listener is closed.
func receive(l net.Listener, messages chan<- string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			in := bufio.NewReader(c)
			for {
				var n int
				if _, err := fmt.Fscanf(in, "%d ", &n); err != nil {
					return
				}
				b := make([]byte, n)
				if _, err := io.ReadFull(in, b); err != nil {
					return
				}
				messages <- string(b)
			}
		}()
	}
}
