// Package query turns what an operator asks about flows into one ClickHouse query. It holds the filter language
// ([Parse], [Expr]) and the planner ([Build]); CLI, API, plugin and console all ask through it, so that a figure is
// the same wherever it is shown. It is pure: no clock, no connection, values in and values out.
//
//	Request ──► Parse(Filter) ──► choose a Table ──► Plan{SQL, Params, Columns, Names, Notes}
//	            Expr (typed)      the coarsest that
//	                              can answer
//
// # The list of fields
//
// [Fields] is the one list of words that a filter compares and a request groups by. A field names logical columns;
// a [Table] says which of them it has and by which SQL. So a rollup is an entry in [Tables], not code.
//
// # What totals count
//
// A row is an observation, and the same packets may be observed at several exporters; one observation of them is
// counted. Sums take the counted rows, and bytes and packets are multiplied by the row's sampling rate. A request that
// speaks of the verdict (in its filter or in By) also takes the rows of dropped and shadowed packets, counted or not:
// they are often not the counted ones, and a packet is dropped once. See docs/reference/filter.md.
//
// [Request.Traffic] asks for less: what was denied is all rows with a verdict that drops, counted or not; what was delivered is the
// counted rows with another, less what was dropped in rows that are not counted: there the packets had been seen before. Not
// subtracted are copies of packets to many, which have no VM as destination: others got theirs.
//
// # What reaches the SQL text
//
// Identifiers and functions come from tables of this package. Values of the request are parsed into numbers, addresses
// and names, and bound as parameters ({p1:UInt16}); no byte of the request is copied into the text.
package query

//go:generate go test . -run ^TestReference$ -update
