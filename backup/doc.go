// Package backup writes all that an instance of Weir knows into one file, and makes an instance of such a file: what people told it
// (policyd/state), its authority and other small files of the data directory, and the tables of the store.
//
// A file is a tar archive; its members are, in this order,
//
//	weir-backup                     the number of the form of the file, in text
//	state.db                        a copy of the state
//	files/PATH                      a file of the data directory
//	tables/TABLE/NNNNNN.native.zst  some rows of a table, in ClickHouse's Native format, of one partition; zstd
//	manifest.json                   Manifest: what is in the file, with the hash of every member
//	manifest.sha256                 the hash of the manifest
//
// so that it is written in one pass, and one that was cut has no manifest. Hashes find damage. They are no signature: who can change the file
// can change them, and who brings back a file of somebody else gives him the instance.
//
// # What moment it is of
//
// The state is copied first, then the tables are cloned: ClickHouse gives another table the very parts, within milliseconds and without
// copying. The moment of the backup is that of the clone of flows. Rollups are cloned after it until they have all that the clone of flows has,
// and what they have besides is left out: so sums add up to flows as in a running instance. Flows that waited in the write-ahead log at that
// moment are not in the file.
package backup
