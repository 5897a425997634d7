// Package attach says what makes a bridge of a host dial Weir by OpenFlow, in the host's database: a row of table Controller, and that
// the switch adds no flows of its own above all others (in-band control). It is pure: rows in, changes of a transaction and what
// to tell people out. Package export brings them about, with all else of Weir's in that database.
package attach
