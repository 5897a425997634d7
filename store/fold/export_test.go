package fold

import "context"

// Round opens the next slot, if it is time, and folds those before.
func (f *Folder) Round(ctx context.Context) error {
	if err := f.advance(); err != nil {
		return err
	}
	return f.round(ctx)
}

// InsertStatement is what a fold of a slot runs first.
func (f *Folder) InsertStatement(slot int64) string {
	return f.mark(tables[0].insert(f.place.Load().collector, slot))
}
