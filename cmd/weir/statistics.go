package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/api"
	"github.com/weirhq/weir/estate"
	"github.com/weirhq/weir/event"
	"github.com/weirhq/weir/internal/machine"
	"github.com/weirhq/weir/ovs/ovsdb"
	"github.com/weirhq/weir/policyd"
	"github.com/weirhq/weir/store"
)

const (
	statisticsInterval = time.Minute
	maxStatistics      = 24 * 60 // rounds that wait while the store is away: a day
)

// statistics brings how processes and machine do into table server_stats, and how much there is in the estate into network_stats. What
// the store does not take waits for it, for a day.
type statistics struct {
	client   *store.Client
	instance uint64
	dropped  prometheus.Counter

	// Used by the one that publishes.
	before   map[string]store.ServerStats // by service: with counters from the start on
	servers  [][]store.ServerStats        // rounds that wait, the oldest first
	networks []store.NetworkStats

	mu   sync.Mutex
	last map[string]store.ServerStats // by service: the latest row; guarded by mu
}

func newStatistics(client *store.Client, reg prometheus.Registerer) *statistics {
	s := &statistics{
		client: client, instance: rand.Uint64(), before: map[string]store.ServerStats{}, last: map[string]store.ServerStats{},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_statistics_dropped_rows_total",
			Help: "Rows of server_stats and network_stats that were dropped since the store was away for more than a day.",
		}),
	}
	reg.MustRegister(s.dropped)
	return s
}

// add takes a round, with counters from the start on.
func (s *statistics) add(rows []store.ServerStats, network *store.NetworkStats) {
	round := make([]store.ServerStats, len(rows))
	for i, r := range rows {
		before, ok := s.before[r.Service]
		if !ok {
			before = store.ServerStats{Time: r.Time.Add(-time.Duration(r.UptimeMs) * time.Millisecond), PID: r.PID, MachineCPUMs: r.MachineCPUMs}
		}
		s.before[r.Service] = r
		round[i] = r.Since(&before)
	}
	s.servers = append(s.servers, round)
	if over := len(s.servers) - maxStatistics; over > 0 {
		for _, lost := range s.servers[:over] {
			s.dropped.Add(float64(len(lost)))
		}
		s.servers = slices.Delete(s.servers, 0, over)
	}
	if network != nil {
		s.networks = append(s.networks, *network)
		over := max(len(s.networks)-maxStatistics, 0)
		s.dropped.Add(float64(over))
		s.networks = slices.Delete(s.networks, 0, over)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range round {
		s.last[round[i].Service] = round[i]
	}
}

// processes says how the processes of this instance do, as of the latest row of each.
func (s *statistics) processes(now time.Time) []api.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]api.Process, 0, len(s.last))
	for _, row := range s.last {
		list = append(list, api.ProcessAt(now, row))
	}
	slices.SortFunc(list, func(a, b api.Process) int { return strings.Compare(b.Service, a.Service) }) // the store is the last
	return list
}

// flush writes what waits.
func (s *statistics) flush(ctx context.Context) error {
	if err := store.PublishServerStats(ctx, s.client, slices.Concat(s.servers...)); err != nil {
		return err
	}
	s.servers = nil
	if err := store.PublishNetworkStats(ctx, s.client, s.networks); err != nil {
		return err
	}
	s.networks = nil
	return nil
}

// publishStatistics publishes at once, and then once a minute until ctx is done.
func (n *node) publishStatistics(ctx context.Context) error {
	tick := time.NewTicker(statisticsInterval)
	defer tick.Stop()
	for now := time.Now(); ; {
		if err := n.publishStatisticsAt(ctx, now, n.networkStats(now)); err != nil {
			n.complain(ctx, "statistics", err)
		}
		select {
		case now = <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// publishStatisticsAt publishes a round; network is nil if it is without the estate.
func (n *node) publishStatisticsAt(ctx context.Context, now time.Time, network *store.NetworkStats) error {
	rows, err := n.serverStats(now)
	n.own.add(rows, network)
	return errors.Join(err, n.own.flush(ctx))
}

// networkStats counts what is in the estate; nil where it is another's.
func (n *node) networkStats(now time.Time) *store.NetworkStats {
	if !n.role.governs {
		return nil
	}
	hosts, _ := n.policyd.Hosts()
	c := n.assembler.Model().Count(hostState(hosts, n.live.Snapshot(now.UnixMilli())))
	return &store.NetworkStats{
		Time: now, Instance: n.own.instance, Pools: c.Pools.Total, PoolsActive: c.Pools.Active, Hosts: c.Hosts.Total, HostsActive: c.Hosts.Active,
		HostsManaged: c.Managed, Networks: c.Networks.Total, NetworksActive: c.Networks.Active, VMs: c.VMs.Total, VMsActive: c.VMs.Active, VIFs: c.VIFs.Total, VIFsActive: c.VIFs.Active,
	}
}

// hostState returns what tells of a host whether it is active and whether it is managed. Managed are those that Weir is to have sessions with;
// they are active while they are connected, others while they export flows.
func hostState(sessions []policyd.HostStatus, live *estate.Live) func(*estate.Host) (active, managed bool) {
	connected := make(map[string]bool, len(sessions))
	for i := range sessions {
		connected[strings.ToLower(sessions[i].UUID)] = sessions[i].State == ovsdb.StateConnected
	}
	return func(h *estate.Host) (active, managed bool) {
		for _, key := range append([]string{h.UUID, h.Key}, h.SameAs...) {
			is, ok := connected[strings.ToLower(key)]
			active, managed = active || is, managed || ok
		}
		return active || !managed && slices.ContainsFunc(h.Exporters, live.Exporter), managed
	}
}

// serverStats returns the rows of this process and of the embedded store, with counters from the start on.
func (n *node) serverStats(now time.Time) ([]store.ServerStats, error) {
	system, err := machine.LookSystem()
	if err != nil {
		return nil, err
	}
	self, err := n.processStats(now, &system, n.role.name, os.Getpid(), n.data)
	if err != nil {
		return nil, err
	}
	if n.role.collects {
		n.addCollectorStats(&self, now)
	}
	if n.role.governs {
		e, h, r := n.events.Stats(), n.hits.Stats(), n.retention.Stats()
		self.EventsWaiting = e.Waiting
		self.EventsDropped = e.Dropped[event.ReasonQueue] + e.Dropped[event.ReasonAway]
		self.HitsWaiting, self.HitsDropped = h.Waiting, h.Dropped
		self.StoreBytes, self.StoreMaxBytes = r.Bytes, r.MaxBytes
	}
	rows := []store.ServerStats{self}
	if n.supervisor == nil {
		return rows, nil
	}
	// A store that is being started again has no process now, and no row.
	child, err := n.processStats(now, &system, "store", n.supervisor.PID(), storeDir(n.data))
	if err != nil {
		return rows, err
	}
	child.StoreBytes, child.StoreMaxBytes, child.StoreRestarts = self.StoreBytes, self.StoreMaxBytes, uint64(n.supervisor.Restarts())
	return append(rows, child), nil
}

// processStats returns what the kernel says of a process, its machine, and the disk of its data.
func (n *node) processStats(now time.Time, m *machine.System, service string, pid int, data string) (store.ServerStats, error) {
	p, err := machine.LookProcess(pid)
	if err != nil {
		return store.ServerStats{}, err
	}
	disk, err := machine.LookDisk(data)
	if err != nil {
		return store.ServerStats{}, err
	}
	return store.ServerStats{
		Time: now, Instance: n.own.instance, Service: service, Machine: hostName(), PID: uint32(pid), Version: versionString(),
		UptimeMs: since(p.StartedAt, now), CPUMs: uint64(p.CPU.Milliseconds()), MemoryBytes: p.Memory, Threads: p.Threads, OpenFiles: p.Files, MaxOpenFiles: p.MaxFiles,
		MachineCPUs: m.CPUs, MachineCPUMs: uint64(m.CPU.Milliseconds()), MachineLoad: m.Load, MachineMemoryBytes: m.Memory, MachineMemoryFree: m.MemoryFree,
		MachineUptimeMs: since(m.StartedAt, now), DiskBytes: disk.Size, DiskFreeBytes: disk.Free,
	}, nil
}

// addCollectorStats adds how the way of a flow does, from the sockets to the store.
func (n *node) addCollectorStats(s *store.ServerStats, now time.Time) {
	w, c := n.writer.Stats(), n.collector.Stats()
	s.Collector, _ = n.fold.Slot()
	s.Datagrams, s.SocketDrops, s.Flows = c.Received, c.KernelDrops, c.Flows
	for i := range c.Sockets {
		s.SocketQueueBytes += c.Sockets[i].QueueBytes
		s.SocketQueueMaxBytes += c.Sockets[i].QueueLimit
	}
	s.FlowsStored, s.FlowsWaiting = w.Stored.Rows, w.Waiting.Rows
	for _, d := range w.Dropped {
		s.FlowsDropped += d.Rows
	}
	s.WALBytes, s.WALMaxBytes = uint64(w.WAL.Bytes), uint64(w.WAL.MaxBytes)
	s.WALAgeMs, s.StoreAwayMs = since(w.WAL.Oldest, now), since(w.AwaySince, now)
}

// since returns how long before now a time was, in ms; 0 of the zero time, and of what is to come.
func since(t, now time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(now.Sub(t), 0).Milliseconds())
}
