// Package ovsdb is the binding to the configuration database of Open vSwitch hosts (RFC 7047, ovs-vswitchd.conf.db(5)).
// It has no policy: it keeps sessions, holds a copy of the tables that Weir reads, and carries transactions.
package ovsdb
