// Package chdb binds the C functions of libchdb, the ClickHouse engine as a shared library, without cgo.
//
// It is a binding and nothing more: it knows no users, no HTTP and no files besides the library. The types follow the C interface:
//
//	Library ── Connect ──► Conn ── Query ───► Result          (whole result at once; any statement)
//	                        │  ├── Stream ──► Stream ─► Result (one Result a block; SELECT only)
//	                        │  ├── Insert ──► Insert           (data pushed in pieces, in any input format)
//	                        │  └── Classify                    (what would this statement do?)
//
// # Ownership
//
// Everything the engine hands out lives in C memory and is given back by exactly one call: Library is never unloaded (the engine
// cannot be), Conn by Close, Result by Free, Stream and Insert by Close. Bytes of a Result are a view of C memory, valid until its
// Free. What is passed in is copied by the engine before the call returns.
//
// # Concurrency
//
// One engine runs in a process, over one data directory; any number of connections may be open on it and used at the same time. A
// connection runs one statement at a time: calls on one Conn, its Stream and its Insert must not overlap. The engine has no call that
// interrupts a statement; another connection does that with KILL QUERY, whereupon the call returns an error.
//
// # End
//
// Closing the last connection stops the engine and closes its tables. chdb_shutdown, which would join the engine's threads besides, is not
// bound: with a MergeTree table it reports failure (26.7.3), and a Go program's exit runs no C++ destructors that could race with threads.
//
// # Input
//
// Inline data of an INSERT passed to Query ends at the first newline for binary formats; data goes through Insert.
package chdb
