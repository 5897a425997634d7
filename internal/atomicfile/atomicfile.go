// Package atomicfile replaces files as a whole: whoever reads one, after a crash or a loss of power too, finds what it held
// before or what was written, and nothing in between.
package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write makes b the contents of the file called name, which only its owner can read. When it returns nil they are on disk. Two
// calls for one name at the same time leave the contents of one of them.
func Write(name string, b []byte) error {
	if err := write(name, b); err != nil {
		return fmt.Errorf("write file %q: %w", name, err)
	}
	return nil
}

func write(name string, b []byte) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close()) // the new name, too
}
