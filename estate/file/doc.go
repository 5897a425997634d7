// Package file is the source of the estate that people write: one YAML file with the form of estate.Model, read again
// when its content changes.
//
// A version of the file that makes no sense changes nothing: the estate before it stays in use, what is wrong is logged
// once for each content, and is part of the status until the file is mended.
package file
