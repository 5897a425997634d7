package clickhouse

// Rows is an answer, whole and in memory, by columns. The caps of the query bound it. Without rows it may be without
// columns, too: ClickHouse then need not say what they would have been.
type Rows struct {
	Columns []Column
	Len     int   // rows
	Cut     []Cut // caps that cut the answer short; none if it is whole
}

// Column is one column of an answer.
type Column struct {
	Name   string
	Type   string // as ClickHouse writes it, e.g. LowCardinality(String)
	Values any    // slice with a value for each row: []uint64, []string, []time.Time, []*float64 of a Nullable(Float64), [][]uint64, …
}

// Cut tells that a cap ended an answer early. Its text is for readers of the answer.
type Cut struct {
	Cap  Cap
	Text string // e.g. "only the first 10000 rows are shown: …"
}

// Cap is a limit that cuts an answer instead of refusing it.
type Cap string

// The caps that cut.
const (
	CapRows  Cap = "rows"
	CapBytes Cap = "bytes"
)
