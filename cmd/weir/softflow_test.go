package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/apptest"
	"github.com/weirhq/weir/lab/netns"
	"github.com/weirhq/weir/lab/netns/netnstest"
	"github.com/weirhq/weir/lab/softflow"
	"github.com/weirhq/weir/lab/traffic"
)

// Real traffic between two namespaces, exported by softflowd as NetFlow 5, 9 and IPFIX at once, is in the store under
// the names of its VMs, and adds up to what the interface counted: to the byte, from the IP header on.
func TestSoftflowd(t *testing.T) {
	if err := softflow.Check(); err != nil {
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if testing.Short() {
		t.Skip("runs weir up and softflowd")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var (
		client4, server4 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
		client6, server6 = netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:1::2")
	)
	bed := netnstest.New(t)
	client, server := netnstest.Namespace(t, bed, "client"), netnstest.Namespace(t, bed, "server")
	netnstest.Link(t, bed,
		netns.End{Namespace: client, Name: "eth0", MAC: "02:00:00:00:00:01", Addrs: []netip.Prefix{netip.PrefixFrom(client4, 24), netip.PrefixFrom(client6, 64)}},
		netns.End{Namespace: server, Name: "eth0", MAC: "02:00:00:00:00:02", Addrs: []netip.Prefix{netip.PrefixFrom(server4, 24), netip.PrefixFrom(server6, 64)}},
	)
	root, inside, err := bed.Uplink(client)
	must(err)

	data := t.TempDir()
	must(os.WriteFile(filepath.Join(data, "estate.yaml"), fmt.Appendf(nil, `
hosts: [{name: hv-a, exporters: [%s]}]
networks: [{name: front, subnets: [10.1.0.0/24, "2001:db8:1::/64"]}]
vms:
  - {name: client, host: hv-a, vifs: [{network: front, mac: "02:00:00:00:00:01", ips: [%s, "%s"]}]}
  - {name: server, vifs: [{network: front, mac: "02:00:00:00:00:02", ips: [%s, "%s"]}]}
`, inside, client4, client6, server4, server6), 0o600))
	must(os.WriteFile(filepath.Join(data, "weir.yaml"), []byte("estate: {file: estate.yaml}\n"), 0o600))
	weir := apptest.Start(t, data, "--listen", netip.AddrPortFrom(root, 0).String(), "--store-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0")
	to := netip.MustParseAddrPort(weir.Listen[0])

	versions := []uint8{5, 9, 10}
	exporters := map[uint8]*softflow.Exporter{}
	for _, v := range versions {
		dir := filepath.Join(bed.Dir(), fmt.Sprint("v", v))
		must(os.Mkdir(dir, 0o700))
		exporters[v], err = softflow.Start(ctx, softflow.Config{Namespace: client, Device: "eth0", Index: 7, Collector: to, Version: v, Dir: dir})
		must(err)
	}
	must(traffic.TCP(ctx, client, server, netip.AddrPortFrom(server4, 8080), 123_457, 2_000_003))
	must(traffic.UDP(ctx, client, server, netip.AddrPortFrom(server4, 5353), 100, 700, 33))
	must(traffic.Ping(ctx, client, server4, 20, 56))
	must(traffic.TCP(ctx, client, server, netip.AddrPortFrom(server6, 8080), 55_555, 777_777))
	must(traffic.Ping(ctx, client, server6, 10, 1000))
	want := map[uint8]softflow.Totals{}
	for _, v := range versions {
		want[v], err = exporters[v].Truth(ctx)
		must(err)
		must(exporters[v].Stop(ctx))
	}

	for _, v := range versions {
		where := fmt.Sprintf("FROM flows WHERE version = %d AND host_name = 'hv-a'", v)
		apptest.Eventually(t, soon, fmt.Sprintf("the sums of version %d", v), func() error {
			got, err := weir.SQL("SELECT sum(packets), sum(bytes), uniqExact(bytes_layer = 'layer3'), any(in_if) " + where)
			if want := fmt.Sprintf("%d\t%d\t1\t7", want[v].Packets, want[v].Bytes); err == nil && got != want {
				err = fmt.Errorf("packets, bytes, layers, interface: %s, the interface counted %s", got, want)
			}
			return err
		})
		// Every flow is between the two VMs, but for what their kernels say to neighbours and to all routers.
		const between = " AND (src_vm_name, dst_vm_name) IN (('client', 'server'), ('server', 'client')) AND network_name = 'front' AND direction = 'internal'"
		for what, sums := range map[string][2]string{
			"UDP requests": {"AND protocol = 17 AND src_vm_name = 'client' AND dst_port = 5353", fmt.Sprintf("100\t%d", 100*(700+8+20))},
			"UDP answers":  {"AND protocol = 17 AND src_vm_name = 'server' AND src_port = 5353", fmt.Sprintf("100\t%d", 100*(33+8+20))},
			"echo request": {"AND protocol = 1 AND src_vm_name = 'client'", fmt.Sprintf("20\t%d", 20*(56+8+20))},
			"echo reply":   {"AND protocol = 1 AND src_vm_name = 'server'", fmt.Sprintf("20\t%d", 20*(56+8+20))},
		} {
			if got := weir.MustSQL("SELECT sum(packets), sum(bytes) " + where + between + " " + sums[0]); got != sums[1] {
				t.Errorf("version %d, %s: packets and bytes %q, want %q", v, what, got, sums[1])
			}
		}
		unnamed := weir.MustSQL("SELECT count() " + where + " AND (src_vm = 0 OR dst_vm = 0) AND NOT startsWith(dst_addr::String, 'ff02:') AND NOT startsWith(src_addr::String, 'fe80:')")
		if unnamed != "0" {
			t.Errorf("version %d: %s flows have an end without a name", v, unnamed)
		}
	}
	status, err := weir.Run("status")
	must(err)
	t.Logf("weir status:\n%s", status)
}
