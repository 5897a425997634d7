package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/weirhq/weir/internal/instance"
)

const (
	upTimeout   = 2 * time.Minute // of weir up: a first start installs tables
	downTimeout = time.Minute     // after which it is killed
	pause       = time.Second     // before a Weir that ended is started again
)

// weir is the Weir of a lab: `weir up` in a process of its own, which is started again whenever it ends, by whatever.
type weir struct {
	program string
	args    []string // of weir up, besides --data
	data    string
	out     io.Writer // where starts and ends are told
	log     *os.File  // what it prints
}

// findWeir returns the path of the program: beside this one, or in PATH.
func findWeir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if beside := filepath.Join(filepath.Dir(self), "weir"); runnable(beside) {
		return beside, nil
	}
	path, err := exec.LookPath("weir")
	if err != nil {
		return "", fmt.Errorf("find weir: neither beside %q nor in PATH; build it with: make build", self)
	}
	return path, nil
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// run keeps Weir up until ctx is done, and calls up each time that it is, for as long as it is.
func (w *weir) run(ctx context.Context, up func(context.Context, instance.Instance) error) error {
	// The process is told to end when the thread that started it does: this one lives as long as the program, however that ends.
	runtime.LockOSThread()
	for {
		err := w.once(ctx, up)
		if ctx.Err() != nil || errors.Is(err, errGiveUp) {
			return err
		}
		fmt.Fprintf(w.out, "weir ended: %v; it is started again\n", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// errGiveUp is of a Weir that did not come up.
var errGiveUp = errors.New("it did not come up")

// once runs Weir once.
func (w *weir) once(ctx context.Context, up func(context.Context, instance.Instance) error) error {
	cmd := exec.Command(w.program, append([]string{"up", "--data", w.data}, w.args...)...)
	cmd.Stdout, cmd.Stderr = w.log, w.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM} // Ctrl-C is for the lab, which ends it in time
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", errGiveUp, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan error, 1)
	go func() {
		i, err := w.await(running, cmd.Process.Pid)
		if err == nil {
			err = up(running, i)
		}
		ready <- err
	}()
	var err error
	for {
		select {
		case wait := <-ended:
			if wait == nil {
				wait = errors.New("it was asked to")
			}
			return errors.Join(wait, err)
		case err = <-ready:
			if err != nil && ctx.Err() == nil {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				<-ended
				return fmt.Errorf("%w: %w; see %s", errGiveUp, err, w.log.Name())
			}
			ready = nil
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(downTimeout):
				_ = cmd.Process.Kill()
				<-ended
				return fmt.Errorf("weir did not end within %v and was killed", downTimeout)
			}
			return nil
		}
	}
}

// await waits until the Weir of a process is up.
func (w *weir) await(ctx context.Context, pid int) (instance.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	for {
		i, err := instance.Read(w.data)
		if err == nil && i.PID == pid {
			return i, nil
		}
		select {
		case <-ctx.Done():
			return i, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// command runs a weir command on the instance, and returns what it prints.
func (w *weir) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.program, append(args, "--data", w.data)...)
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(e.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("weir %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
