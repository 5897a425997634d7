package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace of a bed. A nil Namespace is the root namespace.
type Namespace struct {
	name string // as ip netns has it
}

// Name is what ip netns calls it; empty for the root namespace.
func (n *Namespace) Name() string {
	if n == nil {
		return ""
	}
	return n.name
}

// flags puts before the arguments of ip what makes it work on n.
func (n *Namespace) flags(args ...string) []string {
	if n == nil {
		return args
	}
	return append([]string{"-n", n.name}, args...)
}

// Command is exec.CommandContext for a program that runs in n, with n's /sys.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if n == nil {
		return exec.CommandContext(ctx, name, args...)
	}
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.name, name}, args...)...)
}

// Run runs a program in n to its end and returns what it wrote to standard output.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return output(n.Command(ctx, name, args...))
}

// Process is a program that runs in a namespace until it is stopped.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed after err is set
	err  error
}

// Start runs a program in n whose output goes to the file log.
func (n *Namespace) Start(log, name string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %q: %w", name, err)
	}
	defer out.Close()
	p := &Process{cmd: n.Command(context.Background(), name, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %q: %w", name, err)
	}
	go func() { // ends with the process, which Stop or the reaper ends
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Log is what the process wrote so far.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Stop sends signal and waits for the end, for at most grace, after which it kills. The result is nil if the process
// ended by itself, whatever its exit status, since programs differ in what they return when they are told to go.
func (p *Process) Stop(signal syscall.Signal, grace time.Duration) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", p.PID(), err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("stop process %d: still there %v after %v; killed", p.PID(), grace, signal)
	}
}

// Do calls f in n: sockets that f opens in its own goroutine belong to n, also after Do. f must not start goroutines
// that open sockets.
func (n *Namespace) Do(f func() error) error {
	if n == nil {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the namespace of the main thread is taken for that of the process
			result <- n.Do(f)
			runtime.UnlockOSThread()
			return
		}
		err, back := n.enter(f)
		if back {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		result <- err
	}()
	return <-result
}

// enter calls f with the thread in n. back says that the thread is where it was before.
func (n *Namespace) enter(f func() error) (err error, back bool) {
	before, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("enter namespace %q: %w", n.name, err), true
	}
	defer before.Close()
	there, err := os.Open(filepath.Join("/run/netns", n.name))
	if err != nil {
		return fmt.Errorf("enter namespace %q: %w", n.name, err), true
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %q: %w", n.name, err), true
	}
	err = f()
	if back := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave namespace %q: %w", n.name, back)), false
	}
	return err, true
}

// SetLink brings an interface of n up or down. While one end of a link is down nothing passes, and nothing is counted
// at the other.
func (n *Namespace) SetLink(device string, up bool) error {
	state := map[bool]string{true: "up", false: "down"}[up]
	if _, err := ip(n.flags("link", "set", device, state)...); err != nil {
		return fmt.Errorf("set link %q %s: %w", device, state, err)
	}
	return nil
}

// Counters are those of an interface: frames, and their bytes with the Ethernet header and without the frame check
// sequence.
type Counters struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	Dropped            uint64 // both ways
}

// Sub returns what was counted after before.
func (c Counters) Sub(before Counters) Counters {
	return Counters{
		c.RxPackets - before.RxPackets, c.RxBytes - before.RxBytes,
		c.TxPackets - before.TxPackets, c.TxBytes - before.TxBytes, c.Dropped - before.Dropped,
	}
}

// Packets returns the sum of both directions.
func (c Counters) Packets() uint64 { return c.RxPackets + c.TxPackets }

// Bytes returns the sum of both directions.
func (c Counters) Bytes() uint64 { return c.RxBytes + c.TxBytes }

// Counters reads those of an interface of n.
func (n *Namespace) Counters(device string) (Counters, error) {
	out, err := ip(n.flags("-s", "-j", "link", "show", "dev", device)...)
	if err != nil {
		return Counters{}, fmt.Errorf("read counters of %q: %w", device, err)
	}
	type direction struct{ Bytes, Packets, Dropped uint64 }
	var links []struct {
		Stats struct{ Rx, Tx direction } `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		return Counters{}, fmt.Errorf("read counters of %q: %d links in what ip says: %w", device, len(links), err)
	}
	s := &links[0].Stats
	return Counters{s.Rx.Packets, s.Rx.Bytes, s.Tx.Packets, s.Tx.Bytes, s.Rx.Dropped + s.Tx.Dropped}, nil
}
