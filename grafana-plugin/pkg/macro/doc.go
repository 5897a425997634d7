// Package macro puts into a statement that somebody wrote what its macros stand for: the range of the dashboard, its step, and what
// totals count. It is pure.
//
//	SELECT $__timeInterval(time_received) AS t, src_vm_name, sum($__bytes) FROM flows
//	WHERE $__timeFilter(time_received) AND $__counted GROUP BY ALL ORDER BY t
//
// Statements are read as ClickHouse reads them (strings, quoted identifiers, heredocs, comments, brackets), so that a macro in a string
// or a comment is text, an argument may hold commas and brackets, and macros may be arguments of macros. What is put in is numbers, and
// the arguments as they were written: the range is never text that somebody else chose. More than one statement is refused.
//
// Macros lists all; help is made of it.
package macro
