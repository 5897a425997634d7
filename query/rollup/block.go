package rollup

import (
	"strconv"
	"time"

	"github.com/weirhq/weir/flow"
)

// Names of the tables that Derive makes rows for. Views over them, without _rows in the name, are what queries read: see
// docs/adr/0010-rollups.md.
const (
	MinuteTable   = "flows_1m_rows"
	ReceivedTable = "flows_rx_1m_rows"
	GroupTable    = "flows_group_1m_rows"
)

// Derive sums batches as one, which have rows and the same id, and passes the rows on: for each table that gets any, add is
// called once with the table, the id of the partition, the number of rows and an encoder that appends them to dst as one
// block of ClickHouse's Native format. The encoder is valid during the call of add. All rows are of
// that collector and slot, which is of whole seconds and of no other collector.
func (a *Aggregator) Derive(batches []*flow.Batch, collector uint16, slot time.Time, add func(table, partition string, rows int, encode func(dst []byte) []byte)) {
	a.sum(batches)
	seconds := uint32(slot.Unix())
	partition := strconv.FormatInt(int64(seconds), 10) // of rows that are not folded; see the migration
	for _, t := range [...]struct {
		name    string
		rows    int
		columns func(*Aggregator) []flow.NativeColumn
	}{
		{MinuteTable, len(a.minute.keys), a.columns.ofMinute},
		{ReceivedTable, len(a.received.keys), a.columns.ofReceived},
		{GroupTable, len(a.group.keys), a.columns.ofGroup},
	} {
		if t.rows == 0 {
			continue
		}
		add(t.name, partition, t.rows, func(dst []byte) []byte {
			return flow.AppendNative(dst, t.rows, a.columns.common(t.columns(a), t.rows, collector, seconds, batches[0].ID[0]))
		})
	}
}
