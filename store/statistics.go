package store

import (
	"context"
	"fmt"
	"time"
)

// ServerStats is a row of table server_stats, whose columns it has by name.
type ServerStats struct {
	Time                time.Time `ch:"time" json:"time"`
	IntervalMs          uint64    `ch:"interval_ms" json:"interval_ms"`
	Instance            uint64    `ch:"instance" json:"instance,string"`
	Service             string    `ch:"service" json:"service"`
	Machine             string    `ch:"machine" json:"machine"`
	PID                 uint32    `ch:"pid" json:"pid"`
	Version             string    `ch:"version" json:"version"`
	Collector           uint16    `ch:"collector" json:"collector"`
	UptimeMs            uint64    `ch:"uptime_ms" json:"uptime_ms"`
	CPUMs               uint64    `ch:"cpu_ms" json:"cpu_ms"`
	MemoryBytes         uint64    `ch:"memory_bytes" json:"memory_bytes"`
	Threads             uint32    `ch:"threads" json:"threads"`
	OpenFiles           uint32    `ch:"open_files" json:"open_files"`
	MaxOpenFiles        uint64    `ch:"max_open_files" json:"max_open_files"`
	MachineCPUs         uint32    `ch:"machine_cpus" json:"machine_cpus"`
	MachineCPUMs        uint64    `ch:"machine_cpu_ms" json:"machine_cpu_ms"`
	MachineLoad         float64   `ch:"machine_load" json:"machine_load"`
	MachineMemoryBytes  uint64    `ch:"machine_memory_bytes" json:"machine_memory_bytes"`
	MachineMemoryFree   uint64    `ch:"machine_memory_free_bytes" json:"machine_memory_free_bytes"`
	MachineUptimeMs     uint64    `ch:"machine_uptime_ms" json:"machine_uptime_ms"`
	DiskBytes           uint64    `ch:"disk_bytes" json:"disk_bytes"`
	DiskFreeBytes       uint64    `ch:"disk_free_bytes" json:"disk_free_bytes"`
	Datagrams           uint64    `ch:"datagrams" json:"datagrams"`
	SocketDrops         uint64    `ch:"socket_drops" json:"socket_drops"`
	SocketQueueBytes    uint64    `ch:"socket_queue_bytes" json:"socket_queue_bytes"`
	SocketQueueMaxBytes uint64    `ch:"socket_queue_max_bytes" json:"socket_queue_max_bytes"`
	Flows               uint64    `ch:"flows" json:"flows"`
	FlowsStored         uint64    `ch:"flows_stored" json:"flows_stored"`
	FlowsDropped        uint64    `ch:"flows_dropped" json:"flows_dropped"`
	FlowsWaiting        uint64    `ch:"flows_waiting" json:"flows_waiting"`
	WALBytes            uint64    `ch:"wal_bytes" json:"wal_bytes"`
	WALMaxBytes         uint64    `ch:"wal_max_bytes" json:"wal_max_bytes"`
	WALAgeMs            uint64    `ch:"wal_age_ms" json:"wal_age_ms"`
	StoreAwayMs         uint64    `ch:"store_away_ms" json:"store_away_ms"`
	EventsWaiting       uint64    `ch:"events_waiting" json:"events_waiting"`
	EventsDropped       uint64    `ch:"events_dropped" json:"events_dropped"`
	HitsWaiting         uint64    `ch:"hits_waiting" json:"hits_waiting"`
	HitsDropped         uint64    `ch:"hits_dropped" json:"hits_dropped"`
	StoreBytes          uint64    `ch:"store_bytes" json:"store_bytes"`
	StoreMaxBytes       uint64    `ch:"store_max_bytes" json:"store_max_bytes"`
	StoreRestarts       uint64    `ch:"store_restarts" json:"store_restarts"`
}

// Since turns what s counts from the start on into by how much it grew since before, the row of the same service a while ago. Where another
// process has taken its place, what that counts by itself began anew.
func (s ServerStats) Since(before *ServerStats) ServerStats {
	was := *before
	if s.PID != was.PID {
		was.CPUMs = 0
	}
	of := was.counters()
	for i, c := range s.counters() {
		*c -= min(*c, *of[i])
	}
	s.IntervalMs = uint64(max(s.Time.Sub(before.Time), 0).Milliseconds())
	return s
}

// counters are the columns that say by how much something grew.
func (s *ServerStats) counters() []*uint64 {
	return []*uint64{
		&s.CPUMs, &s.MachineCPUMs, &s.Datagrams, &s.SocketDrops, &s.Flows, &s.FlowsStored, &s.FlowsDropped, &s.EventsDropped, &s.HitsDropped,
		&s.StoreRestarts,
	}
}

// NetworkStats is a row of table network_stats, whose columns it has by name.
type NetworkStats struct {
	Time           time.Time `ch:"time" json:"time"`
	Instance       uint64    `ch:"instance" json:"instance,string"`
	Pools          uint64    `ch:"pools" json:"pools"`
	PoolsActive    uint64    `ch:"pools_active" json:"pools_active"`
	Hosts          uint64    `ch:"hosts" json:"hosts"`
	HostsActive    uint64    `ch:"hosts_active" json:"hosts_active"`
	HostsManaged   uint64    `ch:"hosts_managed" json:"hosts_managed"`
	Networks       uint64    `ch:"networks" json:"networks"`
	NetworksActive uint64    `ch:"networks_active" json:"networks_active"`
	VMs            uint64    `ch:"vms" json:"vms"`
	VMsActive      uint64    `ch:"vms_active" json:"vms_active"`
	VIFs           uint64    `ch:"vifs" json:"vifs"`
	VIFsActive     uint64    `ch:"vifs_active" json:"vifs_active"`
}

// PublishServerStats writes rows. Where it failed, they may be there: the same rows, written again, are then merged with them into one each.
func PublishServerStats(ctx context.Context, c *Client, rows []ServerStats) error {
	return publishRows(ctx, c, "server_stats", rows)
}

// PublishNetworkStats writes rows, as PublishServerStats does.
func PublishNetworkStats(ctx context.Context, c *Client, rows []NetworkStats) error {
	return publishRows(ctx, c, "network_stats", rows)
}

// publishRows inserts structs that have the columns of a table by name.
func publishRows[T any](ctx context.Context, c *Client, table string, rows []T) error {
	if len(rows) == 0 {
		return nil
	}
	insert := func() error {
		batch, err := c.conn.PrepareBatch(ctx, "INSERT INTO "+table)
		if err != nil {
			return classify(ctx, err)
		}
		defer func() { _ = batch.Close() }()
		for i := range rows {
			if err := batch.AppendStruct(&rows[i]); err != nil {
				return fmt.Errorf("row %d: %w", i, err)
			}
		}
		return classify(ctx, batch.Send())
	}
	if err := insert(); err != nil {
		return fmt.Errorf("write rows of %s: %w", table, err)
	}
	return nil
}
