// Package fold sums the rows of rollups once more. The collector writes them by batch, thousands of small sums an hour;
// a slot, an hour of them, is folded into one row a key when all its batches are stored.
//
//	rows of batches ─► settled? ─► folded rows ─► are they equal? ─► switch ─► drop the rows of batches
//	                               (nobody sees them)               (one row of rollup_folds)
//
// A slot is a name for the rows that were written from some moment until the next slot was opened. It is the collector
// that decides, not the clock of a flow: so a log that is replayed, an exporter that is late and a clock that goes
// backwards all write into the slot that is open, and to a slot before it nothing is added once those batches are through
// that were under way when it was closed. Of that alone the exactness hangs, and Deps.Settled tells it.
//
// Readers use views that compare a row's slot with the line of its collector, its latest rollup_folds.until: below it folded
// rows count, from it on the rows of batches. So each row is at every moment either seen or not, and a fold is one insert of one row. What is killed
// at any other point leaves rows that nobody sees, which the next round removes: folded ones at or above the line, rows of
// batches below it. Between the insert of folded rows, the switch and the drop there are pauses (Config.Settle), because a
// reader takes the line and the list of parts at two moments.
//
// A collector folds the rows that it wrote, and no others: they carry its number, which the store gives to one collector
// alone (store.RegisterCollector), and no two have a slot in common, because the number is the remainder of a slot's time.
// So all of the above holds for each of them by itself, however many there are and whatever becomes of the others. Who a
// collector is, and which slot it opened last, is in a file (Config.File): with it, it starts without the store.
package fold
