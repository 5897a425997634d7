package main

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/store"
)

// A host that Weir is to have a session with is managed, and active while that is up, whatever it sends; another one is while it exports flows.
func TestHostState(t *testing.T) {
	address, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	sessions := []policyd.HostStatus{{UUID: "AA", State: ovsdb.StateConnected}, {UUID: "bb", State: ovsdb.StateBackoff}}
	look := hostState(sessions, estate.NewLive(address))
	for _, c := range []struct {
		name            string
		host            estate.Host
		active, managed bool
	}{
		{"connected", estate.Host{UUID: "aa"}, true, true},
		{"connected, known by another key", estate.Host{Key: "xcp1", SameAs: []string{"aa"}}, true, true},
		{"away, and exports", estate.Host{Key: "bb", Exporters: []netip.Addr{address}}, false, true},
		{"no session, exports", estate.Host{Key: "cc", Exporters: []netip.Addr{other, address}}, true, false},
		{"no session, silent", estate.Host{Key: "cc", Exporters: []netip.Addr{other}}, false, false},
	} {
		if active, managed := look(&c.host); active != c.active || managed != c.managed {
			t.Errorf("%s: active = %t, managed = %t, want %t, %t", c.name, active, managed, c.active, c.managed)
		}
	}
}

// While the store is away rounds wait, for a day; what is too old by then is dropped, and counted.
func TestStatisticsWait(t *testing.T) {
	s := newStatistics(nil, prometheus.NewRegistry())
	start := time.Unix(1_000_000, 0)
	const rounds = maxStatistics + 10
	for i := range rounds {
		at := start.Add(time.Duration(i) * statisticsInterval)
		s.add([]store.ServerStats{
			{Time: at, Service: "up", PID: 1, UptimeMs: uint64(1000 + at.Sub(start).Milliseconds()), CPUMs: uint64(100 * (i + 1)), MachineCPUMs: uint64(5000 + 300*i)},
			{Time: at, Service: "store", PID: uint32(2 + i/100), CPUMs: 50, StoreRestarts: uint64(i / 100)},
		}, &store.NetworkStats{Time: at, Pools: uint64(i)})
	}
	if len(s.servers) != maxStatistics || len(s.networks) != maxStatistics || !s.networks[0].Time.Equal(start.Add(10*statisticsInterval)) {
		t.Errorf("%d and %d rounds wait from %v on, want %d of the last day", len(s.servers), len(s.networks), s.networks[0].Time, maxStatistics)
	}
	if got := testutil.ToFloat64(s.dropped); got != 30 {
		t.Errorf("%v rows were dropped, want 30", got)
	}
	all := slices.Concat(s.servers...)
	for i := range all {
		r := &all[i]
		if want := uint64(statisticsInterval.Milliseconds()); r.IntervalMs != want {
			t.Fatalf("round of %v: interval %d ms, want %d", r.Time, r.IntervalMs, want)
		}
		if r.Service == "up" && (r.CPUMs != 100 || r.MachineCPUMs != 300) {
			t.Fatalf("round of %v: CPU %d and %d ms, want 100 and 300", r.Time, r.CPUMs, r.MachineCPUMs)
		}
	}

	// What is told of processes is the latest row of each; one that has got none for more than two minutes is silent.
	last := start.Add((rounds - 1) * statisticsInterval)
	s.add([]store.ServerStats{{Time: last.Add(150 * time.Second), Service: "up", PID: 1, UptimeMs: 7000}}, nil)
	list := s.processes(last.Add(160 * time.Second))
	if len(list) != 2 || list[0].Service != "up" || list[0].Silent || list[0].AgeMs != 10_000 || list[0].Uptime() != 17*time.Second {
		t.Errorf("processes = %+v, want up first, 10 s ago, which runs for 17 s now", list)
	}
	if len(list) == 2 && (list[1].Service != "store" || !list[1].Silent || list[1].AgeMs != 160_000 || list[1].Uptime() != 0) {
		t.Errorf("processes = %+v, want a store that is silent for 160 s, and no time added to its uptime", list)
	}

	first := newStatistics(nil, prometheus.NewRegistry())
	first.add([]store.ServerStats{{Time: start, Service: "up", UptimeMs: 1500, CPUMs: 700, MachineCPUMs: 1 << 40}}, nil)
	if r := first.servers[0][0]; r.IntervalMs != 1500 || r.CPUMs != 700 || r.MachineCPUMs != 0 {
		t.Errorf("first round: %+v, want the time since the start, and none of the machine", r)
	}
}

// The lines of `weir status` say what a row does: the page on watching Weir has these two as its example.
func TestStatisticsLines(t *testing.T) {
	row := store.ServerStats{
		Service: "policyd", Machine: "weir-1", IntervalMs: 60_000, UptimeMs: 10_920_000, CPUMs: 6000, MemoryBytes: 101 << 20, MachineCPUs: 4, MachineCPUMs: 60_000,
		MachineMemoryBytes: 8 << 30, MachineMemoryFree: 6 << 30, MachineUptimeMs: 97_200_000, DiskBytes: 100 << 30, DiskFreeBytes: 60 << 30,
		FlowsWaiting: 7, EventsWaiting: 1, HitsWaiting: 2,
	}
	network := store.NetworkStats{Pools: 2, PoolsActive: 1, Hosts: 4, HostsActive: 3, HostsManaged: 2, Networks: 6, NetworksActive: 5, VMs: 41, VMsActive: 33, VIFs: 51, VIFsActive: 41}
	page, err := os.ReadFile("../../docs/howto/watch-weir.md")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_000_000, 0)
	row.Time = at
	line := func(after time.Duration) string {
		p := api.ProcessAt(at.Add(after), row)
		_, text := processLine(&p)
		return text
	}
	for _, line := range []string{"active            " + networkLine(&network), "process policyd   " + line(42*time.Second)} {
		if !strings.Contains(string(page), line+"\n") {
			t.Errorf("docs/howto/watch-weir.md has no line\n%s", line)
		}
	}
	for managed, want := range map[uint64]string{0: ", 3 of 4 hosts (none managed), ", 4: ", 3 of 4 hosts, "} {
		network.HostsManaged = managed
		if got := networkLine(&network); !strings.Contains(got, want) {
			t.Errorf("with %d managed hosts: %s, want%s", managed, got, want)
		}
	}
	row.SocketQueueBytes, row.SocketQueueMaxBytes = 1<<20, 4<<20
	if got, want := line(0), "; 7 flows, 1 events, 2 hits wait, 1.00 MiB of 4.00 MiB in sockets"; !strings.HasSuffix(got, want) {
		t.Errorf("of a collector: %s\nwant %s", got, want)
	}
	row.Service, row.IntervalMs, row.MachineCPUMs = "store", 0, 0 // the first row of a run
	if got := line(0); strings.Contains(got, "wait") || strings.Contains(got, "Inf") || !strings.Contains(got, "; machine 4 CPUs, ") {
		t.Errorf("of the embedded store: %s", got)
	}
	if got, want := line(3*time.Minute), "at weir-1, silent for 3m, was up 3h2m; then: "; !strings.HasPrefix(got, want) {
		t.Errorf("of one that is silent: %s\nwant %s", got, want)
	}
}
