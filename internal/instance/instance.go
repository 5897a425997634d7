// Package instance is how commands find a running Weir: the file run/instance.json in its data directory, written
// once all its parts are up and removed when it stops.
//
// The file holds addresses and process ids, no secret; it is readable by its owner only, like all of the data
// directory.
package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Instance describes one running Weir.
type Instance struct {
	Data     string    `json:"-"`         // data directory, absolute
	PID      int       `json:"pid"`       // of `weir up`
	StorePID int       `json:"store_pid"` // of the embedded store; 0 where the store is a server
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Store    string    `json:"store"`            // host:port of the ClickHouse HTTP interface
	API      string    `json:"api"`              // host:port of API, status page and metrics
	TLS      bool      `json:"tls,omitempty"`    // API speaks TLS
	Admin    string    `json:"admin"`            // unix socket for calls that change something
	Listen   []string  `json:"listen"`           // host:port of each flow listener
	Config   string    `json:"config,omitempty"` // configuration file, absolute; "" if there is none
}

// ErrNotRunning is returned by Find when no data directory holds a running instance.
var ErrNotRunning = errors.New("no running weir found")

// DefaultDirs are the data directories that are searched, in this order, when none is named.
var DefaultDirs = []string{filepath.Join("data", "demo"), "/var/lib/weir"}

func path(data string) string { return filepath.Join(data, "run", "instance.json") }

// Write stores i in its data directory, replacing what stood there as a whole.
func Write(i Instance) error {
	dir := filepath.Dir(path(i.Data))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write instance: %w", err)
	}
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("write instance: %w", err)
	}
	tmp, err := os.CreateTemp(dir, "instance-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write instance: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path(i.Data))
	}
	if err != nil {
		return fmt.Errorf("write instance: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// Remove takes the instance of the process pid out of data; one that another process wrote stays.
func Remove(data string, pid int) error {
	i, err := Read(data)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && i.PID != pid) {
		return nil
	}
	return errors.Join(err, os.Remove(path(data)))
}

// Read returns what the file in data says, whether or not that process still runs.
func Read(data string) (Instance, error) {
	b, err := os.ReadFile(path(data))
	if err != nil {
		return Instance{}, fmt.Errorf("read instance: %w", err)
	}
	var i Instance
	if err := json.Unmarshal(b, &i); err != nil {
		return Instance{}, fmt.Errorf("read instance %q: %w", path(data), err)
	}
	if i.Data, err = filepath.Abs(data); err != nil {
		return Instance{}, fmt.Errorf("read instance: %w", err)
	}
	return i, nil
}

// Find returns the running instance of data, or, where data is empty, the first running one of DefaultDirs.
// errors.Is(err, ErrNotRunning) tells that there is none.
func Find(data string) (Instance, error) {
	dirs := DefaultDirs
	if data != "" {
		dirs = []string{data}
	}
	var looked []string
	for _, dir := range dirs {
		i, err := Read(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			looked = append(looked, dir+" (no run/instance.json)")
		case err != nil:
			return Instance{}, err
		case !alive(i.PID):
			looked = append(looked, fmt.Sprintf("%s (pid %d has ended)", dir, i.PID))
		default:
			return i, nil
		}
	}
	return Instance{}, fmt.Errorf("%w: looked in %s; start one with `weir up`, or name its directory with --data",
		ErrNotRunning, strings.Join(looked, ", "))
}

// DataDir returns data, or the first of DefaultDirs that exists, or the first of them.
func DataDir(data string) string {
	if data != "" {
		return data
	}
	i := slices.IndexFunc(DefaultDirs, func(dir string) bool {
		_, err := os.Stat(dir)
		return err == nil
	})
	return DefaultDirs[max(0, i)]
}

// alive tells whether a process pid exists, also one of another user.
func alive(pid int) bool {
	err := unix.Kill(pid, 0)
	return pid > 0 && (err == nil || errors.Is(err, unix.EPERM))
}

// ErrRunning is returned by Lock for a data directory that another process runs in.
var ErrRunning = errors.New("another weir runs there")

// Lock makes this process the only one that runs in data, which exists, until unlock or its end, whichever is first.
func Lock(data string) (unlock func(), err error) {
	unlock, err = lock(data, "lock")
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrRunning
		if i, readErr := Read(data); readErr == nil {
			err = fmt.Errorf("%w, pid %d", ErrRunning, i.PID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory %q: %w", data, err)
	}
	return unlock, nil
}

// ErrBackup is returned by LockBackup while another backup is made.
var ErrBackup = errors.New("another backup is being made of it")

// LockBackup makes this process the only one that makes a backup of data, which exists, likewise. An instance may run there.
func LockBackup(data string) (unlock func(), err error) {
	unlock, err = lock(data, "backup.lock")
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrBackup
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory %q: %w", data, err)
	}
	return unlock, nil
}

// lock locks a file of the directory run, which is made if it is not there.
func lock(data, name string) (unlock func(), err error) {
	dir := filepath.Dir(path(data))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // closing is what unlocks; there is nothing to flush
}
