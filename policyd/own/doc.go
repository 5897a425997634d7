// Package own keeps apart, in the database of a host, what is Weir's and what is not, so that all of Weir can be taken away
// again and what was there before put back: by any process, after any kill, from the database alone. It is pure: rows in,
// operations out.
//
//   - Rows that Weir made have the key weir-owner in external_ids: the Weir that made them. Controllers, collector sets, mirrors and ports of
//     others stay beside them.
//   - The host has it too, in the row of table Open_vSwitch, from the first change until the last is undone. A second Weir
//     finds it there and leaves the host alone.
//   - A column of a row that is not Weir's, which Weir sets, is one of [Columns]. What it held before is in external_ids of
//     that row, key weir-former-COLUMN, written in the same transaction. A key of other_config of such a row, or a column of text, is one of
//     [Settings], and what it was before is in weir-former-other-config-KEY or weir-former-COLUMN. A set of such a row
//     to which Weir adds numbers is one of [Numbers], and what it added is in weir-former-COLUMN.
//
// What is put back is what others gave the column last: if somebody empties it or points it elsewhere while Weir is there,
// that is what they want, and what was saved is forgotten.
//
// Every transaction begins by asking whether what it changes still is as it was observed, and changes nothing if not. So
// it may be made from an old copy of the rows, and be sent twice.
package own
