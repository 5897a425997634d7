package fold

import "context"

// Round opens the next slot, if it is time, and folds those before.
func (f *Folder) Round(ctx context.Context) error {
	f.advance()
	return f.round(ctx)
}

// InsertStatement is what a fold of a slot runs first.
func InsertStatement(slot int64) string { return tables[0].insert(slot) }
