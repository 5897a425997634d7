package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Output is where a command shows its result, and how.
type Output struct {
	W        io.Writer // result
	Err      io.Writer // what is said beside a result in JSON
	JSON     bool      // an array of objects instead of a table
	Terminal bool      // W is a terminal
	Color    bool      // W shows colours
	Width    int       // of the terminal, in columns; 0 is no limit
	Height   int       // of the terminal, in lines; 0 is no limit
}

// NewOutput describes w and errs as they are: the size of the terminal if w is one, and colours unless the environment
// says NO_COLOR or TERM=dumb. getenv is os.Getenv.
func NewOutput(w, errs io.Writer, json bool, getenv func(string) string) *Output {
	o := &Output{W: w, Err: errs, JSON: json}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return o
	}
	o.Terminal = true
	o.Color = !json && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	if width, height, err := term.GetSize(int(f.Fd())); err == nil {
		o.Width, o.Height = width, height
	}
	return o
}

// beside is where messages go that are not part of the result.
func (o *Output) beside() io.Writer {
	if o.JSON && o.Err != nil {
		return o.Err
	}
	return o.W
}

// Style is how a cell stands out.
type Style uint8

// The styles.
const (
	Plain  Style = iota
	Bold         // headers, totals
	Dim          // what is said in passing
	Good         // as it should be
	Warn         // should be looked at
	Bad          // is wrong
	Struck       // does not count
)

// codes are the terminal's codes of styles (ECMA-48 SGR).
var codes = [...]string{Plain: "", Bold: "\x1b[1m", Dim: "\x1b[2m", Good: "\x1b[32m", Warn: "\x1b[33m", Bad: "\x1b[31m", Struck: "\x1b[9m"}

// Paint returns s in the style, on outputs that show colours. s must be clean: see [Clean].
func (o *Output) Paint(s string, style Style) string {
	if !o.Color || style == Plain || s == "" {
		return s
	}
	return codes[style] + s + "\x1b[0m"
}
