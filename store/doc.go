// Package store is Weir's way to ClickHouse: one [Client] for the embedded engine (store/embedded), a server or a
// cluster, which all speak ClickHouse's HTTP interface.
//
//	flow.Batch ─► Writer ─► Client.InsertNative ─► POST /?query=INSERT … FORMAT Native
//	estate     ─► PublishEntities ─┐
//	decoders   ─► PublishExporterNames ─► Client.Conn (clickhouse-go over HTTP) ─► tables, dictionaries
//	sql/       ─► Plan, Apply ─────┘
//
// Failures are [*Error]: a code of ClickHouse's where there is one, and whether trying again can help. The schema is
// in package sql; this package runs the migrations ([Plan], [Apply]) and dumps what they made ([Schema]).
package store
