// Package clickhouse is the data source's way to ClickHouse: settings of an instance, its one pool of connections, caps
// on every query, and errors sorted into classes with a hint for each.
package clickhouse
