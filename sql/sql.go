// Package sql holds the schema of Weir's tables as SQL files: the migrations, which package store applies in their
// order, and schema.sql, the generated dump of what they make.
//
// Files are plain SQL that any ClickHouse client can run. A migration is named NNNN_verb_noun.sql, begins with a comment
// that says why, what it costs and how to undo it, and is never changed once it was released. Each of its statements
// can be run again after it succeeded (IF NOT EXISTS, OR REPLACE), because a crash half-way repeats the file.
package sql

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed schema.sql
var schema string

// Migrations returns the files of migrations/.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic("BUG: " + err.Error()) // the name is valid and embedded
	}
	return sub
}

// Schema returns schema.sql: the statements that would make the database as the last migration leaves it.
func Schema() string { return schema }
