package template

import (
	"sync/atomic"

	"github.com/weirhq/weir/collector/ie"
)

// Variable is the length of a field whose records each carry their own length (RFC 7011 §7).
const Variable = 65535

// Field is one field specifier of a template.
type Field struct {
	ID     ie.ID
	Length uint16 // octets, or Variable
}

// Template is the layout of data records. It is immutable once it is in a [Domain], except for the time when it was
// last sent.
type Template struct {
	ID      uint16
	Options bool    // records describe the exporter, not flows
	Scopes  int     // leading Fields that say what an options record is about
	Fields  []Field // in the order of the record
	Wire    []byte  // the template record as it was sent: equal bytes are the same template

	// MinLength is the length in octets of every record or, if VariableLength, of the shortest possible one. It is
	// at least 1.
	MinLength      int
	VariableLength bool

	// Plan is what the decoder compiled Fields to. It belongs to the decoder.
	Plan any

	seen     atomic.Int64 // ms; when the exporter last sent it
	restored atomic.Bool
}

// Seen returns when the exporter last sent the template, in ms since the epoch.
func (t *Template) Seen() int64 { return t.seen.Load() }

// Restored reports whether the template is known from before a restart only: the exporter may have another one of its
// id by now. It ends when the exporter sends the template.
func (t *Template) Restored() bool { return t.restored.Load() }

// Renew notes that the exporter sent the template again, unchanged.
func (t *Template) Renew(now int64) {
	t.seen.Store(now)
	t.restored.Store(false)
}

// size is what the template is taken to occupy in memory: the fields, the wire bytes and a plan of one operation for
// each field.
func (t *Template) size() int64 {
	const fixed, field, operation = 256, 12, 64
	return fixed + int64(len(t.Wire)) + int64(len(t.Fields))*(field+operation)
}
