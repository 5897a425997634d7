// Package state is what policyd knows that nobody else could tell it again: the hosts and pools that people configured,
// which certificates they confirmed, the policy that they applied and where it is switched off, the numbers of its rules in flows,
// the counter of event ids, and events that the store does not have yet. It is one SQLite database in the data directory.
//
// Every method is one transaction: after a crash or a loss of power the database is as before it or as after it.
// Methods may be called from any goroutine; writes happen one after the other.
package state
