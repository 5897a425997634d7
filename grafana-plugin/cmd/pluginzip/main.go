// Command pluginzip writes a directory as a zip whose bytes depend on nothing but the names and contents of its files,
// which of them are executable, and the time given:
//
//	pluginzip -time 1767225600 -o weir-app.zip dist/linux_amd64
//
// Names in the zip are relative to the directory.
package main

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("pluginzip", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "", "file to write")
	at := flags.Int64("time", 0, "time of every file, seconds since 1970")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 || *out == "" {
		_, _ = fmt.Fprintln(stderr, "usage: pluginzip -time SECONDS -o FILE DIR")
		return 2
	}
	if err := write(*out, flags.Arg(0), time.Unix(*at, 0).UTC()); err != nil {
		_, _ = fmt.Fprintln(stderr, "pluginzip:", err)
		return 1
	}
	return 0
}

// write replaces the file out by a zip of the files of dir, in the order of their names.
func write(out, dir string, at time.Time) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), filepath.Base(out))
	if err != nil {
		return fmt.Errorf("create zip: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	z := zip.NewWriter(f)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return add(z, dir, name, at)
	})
	if err = errors.Join(err, z.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write zip %q: %w", out, err)
	}
	return os.Rename(f.Name(), out)
}

func add(z *zip.Writer, dir, name string, at time.Time) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("add %q: it is no regular file", name)
	}
	header := &zip.FileHeader{Name: filepath.ToSlash(name), Method: zip.Deflate, Modified: at}
	header.SetMode(0o644)
	if info.Mode()&0o111 != 0 {
		header.SetMode(0o755)
	}
	w, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
