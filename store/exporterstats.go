package store

import (
	"context"
	"net/netip"
	"time"
)

// ExporterStats is a row of table exporter_stats, whose columns it has by name.
type ExporterStats struct {
	Time              time.Time         `ch:"time"`
	IntervalMs        uint64            `ch:"interval_ms"`
	Instance          uint64            `ch:"instance"`
	Collector         uint16            `ch:"collector"`
	Exporter          netip.Addr        `ch:"exporter"`
	Version           uint8             `ch:"version"`
	ObservationDomain uint32            `ch:"observation_domain"`
	Datagrams         uint64            `ch:"datagrams"`
	Bytes             uint64            `ch:"bytes"`
	Flows             uint64            `ch:"flows"`
	NoFlow            uint64            `ch:"no_flow"`
	OptionRecords     uint64            `ch:"option_records"`
	Templates         uint64            `ch:"templates"`
	Sealed            uint64            `ch:"sealed"`
	Logged            uint64            `ch:"logged"`
	Stored            uint64            `ch:"stored"`
	NotStored         uint64            `ch:"not_stored"`
	Unclear           uint64            `ch:"unclear"`
	SequenceUnit      string            `ch:"sequence_unit"`
	Received          uint64            `ch:"received"`
	Lost              uint64            `ch:"lost"`
	OutOfOrder        uint64            `ch:"out_of_order"`
	Duplicates        uint64            `ch:"duplicates"`
	Restarts          uint64            `ch:"restarts"`
	Jumps             uint64            `ch:"jumps"`
	Unchecked         uint64            `ch:"unchecked"`
	HeldSets          uint64            `ch:"held_sets"`
	ExpiredSets       uint64            `ch:"expired_sets"`
	SamplingAssumed   uint64            `ch:"sampling_assumed"`
	TimesClamped      uint64            `ch:"times_clamped"`
	Dropped           map[string]uint64 `ch:"dropped"`
	ClockSkewMs       int64             `ch:"clock_skew_ms"`
}

// PublishExporterStats writes rows. Where it failed, they may be there: the same rows, written again, are then merged
// with them into one each.
func PublishExporterStats(ctx context.Context, c *Client, rows []ExporterStats) error {
	return publishRows(ctx, c, "exporter_stats", rows)
}
