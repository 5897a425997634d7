package query

import (
	"slices"
	"strconv"
	"time"
)

// Newest returns the question what there is at all. Its answer is one row: how many records are stored (UInt64) and
// when the newest was received (DateTime64(3, 'UTC'); 1970 if there is none). It costs next to nothing: both come from
// what the store knows of its parts.
func Newest(tables []Table) Statement {
	t := finest(tables)
	return statement("SELECT count() AS records, max("+t.Time+") AS newest\nFROM "+t.Name+"\nLIMIT 1", &params{})
}

// Records returns the question how many records were received in a range. Its answer is one UInt64.
func Records(from, to time.Time, tables []Table) Statement {
	p, t := &params{}, finest(tables)
	bound := func(name string, at time.Time) string {
		return "fromUnixTimestamp64Milli(" + p.named(name, "Int64", strconv.FormatInt(at.UnixMilli(), 10)) + ")"
	}
	return statement("SELECT count() AS records\nFROM "+t.Name+"\nWHERE "+t.Time+" >= "+bound("from", from)+
		" AND "+t.Time+" < "+bound("to", to)+"\nLIMIT 1", p)
}

// finest returns the table of single records.
func finest(tables []Table) *Table {
	i := slices.IndexFunc(tables, func(t Table) bool { return t.Resolution == 0 })
	if i < 0 {
		panic("BUG: no table of single records")
	}
	return &tables[i]
}
