// Package gate holds the tests of the data source as Grafana meets it: the built program, started by Grafana's own
// handshake (hashicorp/go-plugin), in front of a real store with flows, names, events, hits and counters in it.
//
//	seed      an embedded ClickHouse with a small estate, the same to the byte each time but for the day
//	plugin    the built program, its process and its typed clients
//	golden    frames as text, with times relative to the seed
//	page      query and configuration editor in a browser, in a page that stands in for Grafana
//
// What is checked nowhere else is what only shows from outside: that a query ends in the store when its caller goes
// away, that nothing a user types reaches the store as SQL, that every panel of every dashboard gets data. It has no
// other code than tests.
package gate
