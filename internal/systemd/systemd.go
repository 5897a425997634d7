// Package systemd is what systemd passes to a service that it starts: open sockets (sd_listen_fds(3)), and where the service tells
// how it is (sd_notify(3)). Without systemd there is neither, and nothing here does anything.
package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstSocket is the first file descriptor that is passed: SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstSocket = 3

// maxSockets bounds LISTEN_FDS: more than any unit has use for.
const maxSockets = 1024

// Sockets returns the sockets that were passed to this process, none if there are none; the caller closes them. They are this
// process's alone: programs that it starts neither inherit nor are told of them, and a second call returns none.
//
// It changes the environment: call it before anything else runs.
func Sockets() ([]*os.File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, key := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(key); err != nil {
			return nil, fmt.Errorf("take sockets of systemd: %w", err)
		}
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // meant for the process that started this one, if for any
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("take sockets of systemd: LISTEN_FDS is %q, want a number from 0 to %d", count, maxSockets)
	}
	name := strings.Split(names, ":")
	files := make([]*os.File, 0, n)
	for i := range n {
		fd := firstSocket + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, errors.Join(fmt.Errorf("take sockets of systemd: file descriptor %d of %d: %w", fd, n, err), closeAll(files))
		}
		label := "fd " + strconv.Itoa(fd)
		if i < len(name) && name[i] != "" {
			label = name[i]
		}
		files = append(files, os.NewFile(uintptr(fd), label))
	}
	return files, nil
}

// A State is what a service tells of itself.
type State string

// What systemd waits for with Type=notify, and what it shows while a service ends.
const (
	Ready    State = "READY=1"
	Stopping State = "STOPPING=1"
)

// Notify tells systemd the state of this service. Where nobody asked to be told, it does nothing.
func Notify(s State) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	// A name that begins with @ is of the abstract namespace, for package net as for systemd.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	_, err = conn.Write([]byte(s))
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
