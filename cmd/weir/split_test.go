package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/store/embedded"
)

// freePort is a port of loopback that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startStore runs `weir store`, and returns its address and the file with the writer's password.
func startStore(t *testing.T) (addr string, writer embedded.Credentials, password string) {
	t.Helper()
	data := t.TempDir()
	addr = freePort(t)
	cmd := exec.Command(apptest.Binary(t), "store", "--data", data, "--listen", addr)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("weir store: %v\n%s", err, out.String())
		}
	}))
	apptest.Eventually(t, apptest.StartTimeout, "weir store answers", func() error {
		resp, err := http.Get("http://" + addr + "/ping")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	users, err := embedded.ReadUsers(storeDir(data))
	if err != nil {
		t.Fatal(err)
	}
	password = filepath.Join(data, "password")
	writeFile(t, password, users.Writer.Password)
	return addr, users.Writer, password
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// observe sends what an exporter saw of n flows as NetFlow 5, each of 1000 bytes.
func observe(t *testing.T, exporter string, to *apptest.App, src, dst string, n int) {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(exporter)}}).Dial("udp", to.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	now := time.Now()
	const uptime = 3_600_000
	for sent := 0; sent < n; {
		count := min(30, n-sent)
		b := binary.BigEndian.AppendUint16(nil, 5)
		b = binary.BigEndian.AppendUint16(b, uint16(count))
		b = binary.BigEndian.AppendUint32(b, uptime)
		b = binary.BigEndian.AppendUint32(b, uint32(now.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(now.Nanosecond()))
		b = append(b, make([]byte, 8)...) // sequence, engine, sampling
		for i := range count {
			s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
			b = append(append(append(b, s[:]...), d[:]...), 0, 0, 0, 0, 0, 1, 0, 2)
			for _, v := range []uint32{10, 1000, uptime - 1000, uptime} { // packets, bytes, first, last
				b = binary.BigEndian.AppendUint32(b, v)
			}
			b = binary.BigEndian.AppendUint16(b, uint16(1024+sent+i))
			b = binary.BigEndian.AppendUint16(b, 443)
			b = append(b, 0, 0x10, 6, 0, 0, 0, 0, 0, 24, 24, 0, 0)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		sent += count
	}
}

const splitEstate = `
hosts:
  - {name: xcp1, exporters: [127.0.1.1]}
  - {name: xcp2, exporters: [127.0.1.2]}
networks:
  - {name: prod}
vms:
  - {name: web, host: xcp1, vifs: [{device: "0", network: prod, mac: "02:00:00:00:00:01", ips: [10.0.0.1]}]}
  - {name: db, host: xcp2, vifs: [{device: "0", network: prod, mac: "02:00:00:00:00:02", ips: [10.0.0.2]}]}
`

// policyd, two collectors and a store as processes of their own: both enrich, a flow that both see counts once, what changes in the
// estate reaches them, they go on and start again while policyd is gone, and sums are right after folds and kills. Whose certificate is no
// collector's gets nothing.
func TestSplitForm(t *testing.T) {
	if testing.Short() {
		t.Skip("runs five processes")
	}
	addr, user, password := startStore(t)
	store := fmt.Sprintf(`
store:
  mode: server
  server: {addr: %q, user: %q, password_file: %q}
  fold: {every: 2s, settle: 100ms}
`, addr, user.Name, password)
	govern := t.TempDir()
	feedAddr := freePort(t)
	estate := filepath.Join(govern, "estate.yaml")
	writeFile(t, estate, splitEstate)
	writeFile(t, filepath.Join(govern, "weir.yaml"), store+fmt.Sprintf(`
estate: {file: estate.yaml, interval: 200ms}
feed: {listen: %q, collectors: [c1, c2]}
`, feedAddr))
	certificates := filepath.Join(govern, "certificates")
	for _, args := range [][]string{{"ca", "init"}, {"ca", "host", "c1", "--out", certificates}, {"ca", "host", "c2", "--out", certificates}, {"ca", "host", "xcp1", "--out", certificates}} {
		if _, err := apptest.Command(t, append(args, "--data", govern)...); err != nil {
			t.Fatal(err)
		}
	}
	policyd := apptest.StartAs(t, "policyd", govern, "--api-listen", "127.0.0.1:0")
	collector := func(name, dir string) *apptest.App {
		writeFile(t, filepath.Join(dir, "weir.yaml"), store+fmt.Sprintf(`
follow: {url: "https://%s", ca_file: %q, cert_file: %q, key_file: %q, cache_interval: 100ms}
`, feedAddr, filepath.Join(certificates, "weir-ca.pem"), filepath.Join(certificates, name+"-cert.pem"), filepath.Join(certificates, name+"-privkey.pem")))
		return apptest.StartAs(t, "collector", dir, "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	c1, c2 := collector("c1", dirs[0]), collector("c2", dirs[1])

	status := func(a *apptest.App) (s api.Status) {
		resp, err := http.Get("http://" + a.API + "/api/v1/status")
		if err != nil {
			return s
		}
		defer resp.Body.Close()
		_ = json.NewDecoder(resp.Body).Decode(&s)
		return s
	}
	wants := func(what, want, query string) {
		t.Helper()
		apptest.Eventually(t, soon, what, func() error {
			got, err := c1.SQL(query)
			if err == nil && got != want {
				err = fmt.Errorf("%q, want %q", got, want)
			}
			return err
		})
	}
	follows := func(a *apptest.App, others, vms int) {
		t.Helper()
		apptest.Eventually(t, soon, "a collector has the estate, and hears of the others", func() error {
			s := status(a)
			if s.Follow == nil || !s.Follow.Following || s.Follow.Others < others || s.Estate.VMs != vms {
				return fmt.Errorf("%+v, %d VMs", s.Follow, s.Estate.VMs)
			}
			return nil
		})
	}
	follows(c1, 0, 2)
	follows(c2, 0, 2)
	observe(t, "127.0.1.1", c1, "192.0.2.1", "192.0.2.2", 1) // so that both are known to be live
	observe(t, "127.0.1.2", c2, "192.0.2.1", "192.0.2.2", 1)
	follows(c1, 2, 2)
	follows(c2, 2, 2)

	const counts = "SELECT count(), countIf(counted), uniq(host_name), countIf(src_vm_name = 'web') FROM flows WHERE dst_vm_name = 'db'"
	observe(t, "127.0.1.1", c1, "10.0.0.1", "10.0.0.2", 100)
	observe(t, "127.0.1.2", c2, "10.0.0.1", "10.0.0.2", 100)
	wants("flows of both are stored, enriched, and count once", "200\t100\t2\t200", counts)

	wants("each process says how it does", "collector\t2\t2\npolicyd\t1\t0",
		"SELECT service, uniqExact(instance), uniqExactIf(collector, collector > 0) FROM server_stats GROUP BY service ORDER BY service")
	wants("policyd says how much there is", "2\t2\t2", "SELECT DISTINCT hosts, vms, vms_active FROM network_stats")

	// What changes reaches both.
	writeFile(t, estate, strings.Replace(splitEstate, "10.0.0.2", "10.0.0.9", 1)+"  - {name: new, host: xcp2}\n")
	follows(c1, 2, 3)
	follows(c2, 2, 3)
	observe(t, "127.0.1.1", c1, "10.0.0.1", "10.0.0.9", 50)
	observe(t, "127.0.1.2", c2, "10.0.0.1", "10.0.0.9", 50)
	wants("the new address is known to both", "300\t150\t2\t300", counts)

	// Certificates that are not a collector's.
	host := collector("xcp1", t.TempDir())
	other := filepath.Join(t.TempDir(), "other")
	for _, args := range [][]string{{"ca", "init"}, {"ca", "host", "c3", "--out", other}} {
		if _, err := apptest.Command(t, append(args, "--data", other)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(other, "c3-cert.pem"), filepath.Join(certificates, "c3-cert.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, "c3-privkey.pem"), filepath.Join(certificates, "c3-privkey.pem")); err != nil {
		t.Fatal(err)
	}
	stranger := collector("c3", t.TempDir())
	for a, want := range map[*apptest.App]string{host: `certificate of \"xcp1\": not among the collectors`, stranger: "tls: unknown certificate authority"} {
		apptest.Eventually(t, soon, "who is refused says why", func() error {
			if s := status(a); s.Follow == nil || !strings.Contains(s.Follow.Problem, want) {
				return fmt.Errorf("%+v, want a problem with %q", s.Follow, want)
			}
			return nil
		})
		a.Stop()
	}

	// Without policyd both go on, and one that is killed starts from what it kept.
	policyd.Kill()
	apptest.Eventually(t, soon, "the collectors notice", func() error {
		if status(c1).Follow.Following || status(c2).Follow.Following {
			return errors.New("they follow")
		}
		return nil
	})
	observe(t, "127.0.1.2", c2, "10.0.0.1", "10.0.0.9", 10)
	c1.Kill()
	c1 = collector("c1", dirs[0])
	observe(t, "127.0.1.1", c1, "10.0.0.1", "10.0.0.9", 10)
	wants("flows without policyd are enriched and count once", "320\t160\t2\t320", counts)

	// It comes back, and nothing was lost or doubled, in no sum either.
	apptest.StartAs(t, "policyd", govern, "--api-listen", "127.0.0.1:0")
	follows(c1, 1, 3)
	follows(c2, 1, 3)
	apptest.Eventually(t, soon, "both collectors have folded, and left nothing", func() error {
		got, err := c1.SQL("SELECT uniq(collector), (SELECT countIf(NOT folded) FROM flows_1m_rows) FROM rollup_folds")
		if err == nil && got != "2\t0" {
			err = errors.New(got)
		}
		return err
	})
	for _, view := range []string{"flows_1m", "flows_1h", "flows_rx_1m"} {
		const sums = "SELECT sum(bytes), sum(packets), sum(flows) FROM %s WHERE counted"
		raw := c1.MustSQL("SELECT sum(bytes * sampling_rate), sum(packets * sampling_rate), count() FROM flows WHERE counted")
		if got := c1.MustSQL(fmt.Sprintf(sums, view)); got != raw {
			t.Errorf("%s sums to %s, the flows to %s", view, got, raw)
		}
	}
}
