// Package wal is Weir's write-ahead log: sealed batches, encoded as the store takes them, kept in files until the store
// has them. It knows records and files; what is in a block, and how it gets to the store, is its user's business.
//
//	New ─► Record.Add … ─► Append ─► segment file ┐ ─► Next ─► (insert) ─► Retire ─► mark in the file;
//	                             └─► memory, while it lasts ┘                        a segment that is all retired is deleted
//
// A record is a batch: some facts and one or more blocks, each for one table and one partition. Next hands records out in
// the order of Append, those that were found at Open first, from memory where they are still there and else from the file.
//
// # What can be lost
//
// Append returns when the record is in the kernel's page cache, with Sync every when it is on disk. From then on:
//
//   - A process that crashes or is killed loses nothing, whatever Sync is.
//   - A machine that loses power loses, with Sync every, nothing; with interval, what came in within the last
//     SyncInterval; with none, what the kernel had not written by itself (some 30 s). Only records that still wait are
//     synced: those that the store has are the store's to keep (ClickHouse syncs parts if fsync_after_insert is set).
//   - A disk that is full or broken stops nobody: records are then kept in memory alone (Stats.Volatile), until Config.Memory
//     is used up. Then, as when MaxSize is reached, Append returns an error that is [ErrFull].
//
// # Files
//
// A segment is NNNNNNNNNNNNNNNN.wal, its number in hexadecimal. All integers are little-endian; CRCs are CRC-32C.
//
//	segment:  magic "weir-wal" │ version u32 = 1 │ 0 u32 │ salt u64 │ boot [16] │ 0 … │ CRC u32 of the 60 bytes before     64 bytes
//	record:   magic u32 │ state u32 │ batch u64 │ first i64 │ last i64 │ rows u32 │ pieces u32 │ table length u32 │
//	          blocks length u32 │ CRC u32 of table and blocks │ salt XOR offset u64 │ CRC u32 of all but the state      64 bytes
//	          table of pieces: { rows u32 │ block length u32 │ len u8, table │ len u8, partition } … │ blocks │ padding to 64
//
// The salt is random, so that nothing else passes for a record's header when one is searched for: no record of another
// segment or offset, and no bytes that an exporter contrived to have in a block.
// The state is 0, or a mark that is written over it when the record is handed out and when it is retired. It says after a
// restart of the process which records are in doubt (handed out, not retired): the store may have them or not. After a
// restart of the machine, which may have lost marks, all are in doubt (boot is another one).
//
// Damage is skipped and counted, never an error: the next header is searched for where one does not hold (Stats.Corrupt), and
// what is after the last whole record of a segment is cut off (Stats.Torn).
package wal
