package cli

import (
	"bufio"
	"io"
	"strings"
)

// Cell is one cell of a [Table].
type Cell struct {
	Text  string // may come from outside: it is cleaned
	Style Style
}

// Column is a column of a [Table].
type Column struct {
	Name  string
	Right bool // numbers: aligned to the right, never shortened
}

// Table is lines of cells under headers, aligned. Text is shortened where the terminal is too narrow, widest columns
// first; numbers never are.
type Table struct {
	Columns []Column
	rows    [][]Cell
}

// Add adds a line; it has a cell for each column.
func (t *Table) Add(cells ...Cell) {
	if len(cells) != len(t.Columns) {
		panic("BUG: table line of a wrong length")
	}
	for i := range cells {
		cells[i].Text = Clean(cells[i].Text)
	}
	t.rows = append(t.rows, cells)
}

// Len returns the number of lines under the headers.
func (t *Table) Len() int { return len(t.rows) }

const (
	gap       = 2 // columns between columns
	leastText = 6 // columns to which text may be shortened
)

// widths returns how wide each column is drawn in a terminal of that width; 0 is no limit.
func (t *Table) widths(limit int) []int {
	widths := make([]int, len(t.Columns))
	total := gap * (len(t.Columns) - 1)
	for i, c := range t.Columns {
		widths[i] = textWidth(c.Name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], textWidth(row[i].Text))
		}
		total += widths[i]
	}
	for limit > 0 && total > limit {
		widest := -1
		for i, c := range t.Columns {
			if !c.Right && widths[i] > leastText && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

// Write draws the table.
func (t *Table) Write(o *Output) error {
	w := bufio.NewWriter(o.W)
	widths := t.widths(o.Width)
	header := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		header[i] = Cell{c.Name, Bold}
	}
	t.line(w, o, widths, header)
	for _, row := range t.rows {
		t.line(w, o, widths, row)
	}
	return w.Flush()
}

func (t *Table) line(w io.StringWriter, o *Output, widths []int, cells []Cell) {
	last := len(cells) - 1
	for last > 0 && cells[last].Text == "" {
		last--
	}
	for i, c := range cells[:last+1] {
		text := c.Text
		if !t.Columns[i].Right {
			text = cut(text, widths[i])
		}
		pad := strings.Repeat(" ", max(0, widths[i]-textWidth(text)))
		parts := []string{o.Paint(text, c.Style), pad, strings.Repeat(" ", gap)}
		if t.Columns[i].Right {
			parts[0], parts[1] = parts[1], parts[0]
		}
		if i == last {
			parts = parts[:2]
			if !t.Columns[i].Right {
				parts = parts[:1]
			}
		}
		for _, p := range parts {
			_, _ = w.WriteString(p) // a bufio.Writer keeps its error until Flush
		}
	}
	_, _ = w.WriteString("\n")
}
