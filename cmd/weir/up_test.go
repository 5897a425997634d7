package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
)

// anyPorts are arguments of weir up that bind free ports of loopback only.
var anyPorts = []string{"--listen", "127.0.0.1:0", "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"}

// soon is for what takes a second or two on an idle machine.
const soon = time.Minute

// gone waits until no process of a is left.
func gone(t *testing.T, a *apptest.App, within time.Duration) {
	t.Helper()
	apptest.Eventually(t, within, "no process is left", func() error {
		for _, pid := range []int{a.PID, a.StorePID} {
			if apptest.Alive(pid) {
				return fmt.Errorf("process %d runs", pid)
			}
		}
		return nil
	})
}

func count(t *testing.T, a *apptest.App) int {
	t.Helper()
	n, err := strconv.Atoi(a.MustSQL("SELECT count() FROM flows"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A newcomer's way: the demo shows names, Ctrl-C and kill -9 leave nothing behind, and the data is there afterwards.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up three times")
	}
	data := filepath.Join(t.TempDir(), "demo")
	args := append([]string{"--demo"}, anyPorts...)

	a := apptest.Start(t, data, args...)
	for _, want := range []string{"status page  http://" + a.API, "ClickHouse   http://" + a.Store, "weir flows top --by src_vm", "Ctrl-C ends it."} {
		if !strings.Contains(a.Output(), want) {
			t.Errorf("weir up does not say %q:\n%s", want, a.Output())
		}
	}
	top := ""
	apptest.Eventually(t, soon, "VM names in weir flows top", func() (err error) {
		if top, err = a.Run("flows", "top", "--by", "src_vm", "--last", "15m"); err == nil && (!strings.Contains(top, "web-01") || !strings.Contains(top, "db-01")) {
			err = fmt.Errorf("no names:\n%s", top)
		}
		return err
	})
	t.Logf("weir flows top:\n%s", top)
	asked := time.Now()
	a.Interrupt()
	if code := a.Wait(soon); code != 0 {
		t.Errorf("exit code %d after Ctrl-C, want 0\n%s", code, a.Output())
	}
	gone(t, a, soon)
	t.Logf("ended %s after Ctrl-C", time.Since(asked).Round(time.Millisecond))
	if !strings.Contains(a.Output(), "dropped=0") {
		t.Errorf("flows were lost at the end:\n%s", a.Output())
	}

	b := apptest.Start(t, data, args...)
	before := count(t, b)
	if before == 0 {
		t.Error("a second start finds no flows")
	}
	first := fmt.Sprintf("< fromUnixTimestamp64Milli(%d)", b.Started.UnixMilli())
	stored := b.MustSQL("SELECT count() FROM flows WHERE time_received " + first)
	books := b.MustSQL("SELECT sum(flows), sum(sealed), sum(logged), sum(stored), sum(not_stored + unclear), sum(lost), uniqExact(exporter) FROM exporter_stats FINAL WHERE time " + first)
	if want := strings.Join([]string{stored, stored, stored, stored, "0", "0", "3"}, "\t"); books != want {
		t.Errorf("exporter_stats of the first run: %q, want %q", books, want)
	}
	servers := b.MustSQL("SELECT service, sum(flows), sum(flows_stored), sum(flows_dropped), min(memory_bytes) > 0, sum(cpu_ms) > 0, min(disk_bytes) > 0, max(pid) FROM server_stats FINAL WHERE time " + first + " GROUP BY service ORDER BY service")
	if want := fmt.Sprintf("store\t0\t0\t0\t1\t1\t1\t%d\nup\t%s\t%[2]s\t0\t1\t1\t1\t%d", a.StorePID, stored, a.PID); servers != want {
		t.Errorf("server_stats of the first run:\n%s\nwant\n%s", servers, want)
	}
	if got := b.MustSQL("SELECT DISTINCT pools, hosts, vms, vms_active, vifs = vifs_active FROM network_stats FINAL WHERE time " + first); got != "1\t3\t24\t24\t1" {
		t.Errorf("network_stats of the first run: %q", got)
	}
	b.Kill()
	gone(t, b, soon)

	c := apptest.Start(t, data, args...)
	if after := count(t, c); after < before {
		t.Errorf("%d flows after kill -9, want at least %d", after, before)
	}
	if out, err := apptest.Command(t, append([]string{"up", "--data", data}, args...)...); err == nil || !strings.Contains(err.Error(), "runs") {
		t.Errorf("a second weir up on the same data: %v, %s, want a refusal", err, out)
	}
}

// A datagram can be asked for by SQL a moment later, with all columns that others rely on.
func TestFlowIsVisible(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up")
	}
	a := apptest.Start(t, t.TempDir(), anyPorts...)
	conn, err := net.Dial("udp", a.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := time.Now()
	if _, err := conn.Write(netFlow5(sent)); err != nil {
		t.Fatal(err)
	}
	const columns = `exporter, observation_domain, version, sampling_rate, src_addr, dst_addr, src_port, dst_port, protocol,
		bytes, packets, tcp_flags, in_if, out_if, src_mac, dst_mac, vlan_in, vlan_out, direction, bytes_layer,
		sampling_assumed, pool, host, bridge, network, src_vm, dst_vm, src_vif, dst_vif, src_groups, dst_groups,
		observation_point, rule_id, rule_instance, stage, verdict, counted, src_vm_name, dst_vm_name, network_name, host_name`
	var row string
	apptest.Eventually(t, soon, "the flow is in the store", func() (err error) {
		if row, err = a.SQL("SELECT " + columns + " FROM flows"); err == nil && row == "" {
			err = fmt.Errorf("no rows")
		}
		return err
	})
	t.Logf("visible %s after the datagram", time.Since(sent).Round(time.Millisecond))
	want := strings.Join([]string{
		"::ffff:127.0.0.1", "258", "5", "100", "::ffff:192.0.2.1", "::ffff:198.51.100.2", "40000", "443", "6",
		"1500", "3", "27", "1", "2", "0", "0", "0", "0", "unknown", "layer3",
		"false", "0", "0", "0", "0", "0", "0", "0", "0", "[]", "[]",
		"0", "0", "0", "none", "unknown", "true", "", "", "", "",
	}, "\t")
	if row != want {
		t.Errorf("the row is\n%s\nwant\n%s", row, want)
	}
	times := a.MustSQL("SELECT dateDiff('ms', flow_start, flow_end), abs(dateDiff('s', time_received, now())) < 120, batch != 0 FROM flows")
	if want := "2000\ttrue\t1"; !slices.Contains([]string{want, strings.ReplaceAll(want, "true", "1")}, times) {
		t.Errorf("times and batch: %q, want %q", times, want)
	}
}

// netFlow5 returns a datagram of NetFlow 5 with one flow: TCP, 3 packets and 1500 bytes in 2 s, sampled 1 in 100.
func netFlow5(now time.Time) []byte {
	const uptime = 3600_000 // ms
	u16 := func(b []byte, v ...uint16) []byte {
		for _, v := range v {
			b = append(b, byte(v>>8), byte(v))
		}
		return b
	}
	u32 := func(b []byte, v ...uint32) []byte {
		for _, v := range v {
			b = u16(b, uint16(v>>16), uint16(v))
		}
		return b
	}
	b := u16(nil, 5, 1)
	b = u32(b, uptime, uint32(now.Unix()), 0, 1)
	b = append(b, 1, 2)   // engine type and id
	b = u16(b, 1<<14|100) // sampling: packet interval, 1 in 100
	b = append(b, 192, 0, 2, 1, 198, 51, 100, 2, 0, 0, 0, 0)
	b = u16(b, 1, 2)
	b = u32(b, 3, 1500, uptime-3000, uptime-1000)
	b = u16(b, 40000, 443)
	b = append(b, 0, 27, 6, 0)
	b = u16(b, 0, 0)
	return append(b, 0, 0, 0, 0)
}

// systemd is told when Weir is up, and when it ends; its sockets are not for policyd.
func TestSystemd(t *testing.T) {
	if testing.Short() {
		t.Skip("runs weir up")
	}
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		b := make([]byte, 100)
		if err := l.SetReadDeadline(time.Now().Add(soon)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	data := filepath.Join(t.TempDir(), "data")
	a := apptest.Start(t, data, anyPorts...)
	if got := told(); got != "READY=1" {
		t.Errorf("systemd is told %q, want READY=1", got)
	}
	resp, err := http.Get("http://" + a.API + "/healthz")
	if err != nil {
		t.Fatalf("systemd is told that Weir is ready, yet %v", err)
	}
	resp.Body.Close()
	a.Interrupt()
	if got := told(); got != "STOPPING=1" {
		t.Errorf("systemd is told %q, want STOPPING=1", got)
	}
	a.Wait(soon)

	sh := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh", apptest.Binary(t), "policyd", "--data", data)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sh.ExtraFiles = []*os.File{f}
	if out, err := sh.CombinedOutput(); err == nil || !strings.Contains(string(out), "take sockets of systemd: found 1, want none") {
		t.Errorf("policyd with a socket of systemd: %v\n%s", err, out)
	}
}
