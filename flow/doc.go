// Package flow holds the flow record that every part of Weir shares: the one list of its columns ([Fields]), the
// columnar [Batch] that decoders fill and the store client sends, the enumerations ([Verdict], [Stage], …) and the
// stable 64-bit identifiers ([ID]) of what a row refers to.
//
// A batch is not turned into rows anywhere. Its columns are slices in the layout of ClickHouse's Native format, so
// that a decoder writes a value once and [Batch.AppendNative] copies whole columns:
//
//	        TimeReceived  SrcAddr  SrcPort …  SrcVM   SrcGroups
//	row 0   |   int64   | [16]B  | uint16 | uint64 | offsets → ids |
//	row 1   |           |        |        |        |               |
//	…       |           |        |        |        |               |
//	Len()-1 |           |        |        |        |               |
//	        | zero      | zero   | zero   | zero   |               |  spare rows, always zero
//
// The package knows nothing about packets, look-ups or SQL beyond the names and types of the columns.
package flow
