package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// File descriptors that Supervisor passes to the store's process.
const (
	parentFD = 3 // read end of a pipe: its end of file says that the parent is gone
	listenFD = 4 // listening socket
)

// UntilParentExits returns a context that is done when ctx is, or when the pipe behind file descriptor fd, whose other end the parent
// process holds, reaches its end: the parent closed it, exited or was killed. It makes the process ignore SIGPIPE, for
// its stderr may be a pipe of the parent's, and the last log lines must not end it before the engine has stopped.
func UntilParentExits(ctx context.Context, fd int) (context.Context, error) {
	f := os.NewFile(uintptr(fd), "parent")
	if f == nil {
		return nil, fmt.Errorf("watch parent: %d is no file descriptor", fd)
	}
	if _, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("watch parent: %w", err)
	}
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		defer f.Close()
		_, _ = io.Copy(io.Discard, f)
	}()
	return ctx, nil
}

// SupervisorConfig says how the store's process is started.
type SupervisorConfig struct {
	Path string   // program; it must serve as "weir store" does
	Args []string // before the flags that the supervisor adds: --parent-fd 3 --listen-fd 4

	StartTimeout time.Duration // until /ping answers; 0 = 1 minute (large stores load their parts)
	StopTimeout  time.Duration // from the end of the pipe to SIGKILL; 0 = 20 s. Longer than the store's ShutdownTimeout.
}

// SupervisorDeps are what a Supervisor uses. Run closes Listener.
type SupervisorDeps struct {
	Log      *slog.Logger
	Listener net.Listener // from Listen; a TCP listener, which the store's process takes over
	Stderr   io.Writer    // of the process; nil = os.Stderr. Its stdout goes there too.
}

// Supervisor runs the store in a process of its own: it starts it, waits until it answers, starts it again when it crashes, and ends it.
//
// The listening socket belongs to the supervisor, so the address stays the same over restarts and clients wait instead of being refused.
type Supervisor struct {
	cfg  SupervisorConfig
	deps SupervisorDeps

	ready    chan struct{} // closed when the store has answered for the first time
	pid      atomic.Int64
	restarts atomic.Int64
}

// NewSupervisor checks and wires. It starts nothing.
func NewSupervisor(cfg SupervisorConfig, d SupervisorDeps) (*Supervisor, error) {
	if cfg.Path == "" {
		return nil, errors.New("supervise store: no program given")
	}
	if _, ok := d.Listener.(*net.TCPListener); !ok {
		return nil, fmt.Errorf("supervise store: listener is a %T, expected TCP", d.Listener)
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 20 * time.Second
	}
	if d.Stderr == nil {
		d.Stderr = os.Stderr
	}
	return &Supervisor{cfg: cfg, deps: d, ready: make(chan struct{})}, nil
}

// Addr is the address of the store's HTTP interface, also before it answers.
func (s *Supervisor) Addr() net.Addr { return s.deps.Listener.Addr() }

// Ready is closed once the store has answered for the first time.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// PID is the process of the store; 0 while there is none.
func (s *Supervisor) PID() int { return int(s.pid.Load()) }

// Restarts counts how often the store was started again after it ended by itself.
func (s *Supervisor) Restarts() int { return int(s.restarts.Load()) }

// Backoff between two starts, doubled from the first to the last; a store that ran for backoffReset starts over.
const (
	backoffFirst = 200 * time.Millisecond
	backoffLast  = 10 * time.Second
	backoffReset = time.Minute
)

// Run keeps the store running until ctx is done; then it closes the store's pipe, waits for it to end by itself (StopTimeout, then SIGKILL)
// and returns nil. A store that never answered after its first start is an error: what is wrong then (library missing, data directory in
// use) does not mend itself.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.deps.Listener.Close()
	socket, err := s.deps.Listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("supervise store: %w", err)
	}
	defer socket.Close()
	backoff := backoffFirst
	for first := true; ; first = false {
		began := time.Now()
		err := s.runOnce(ctx, socket, first)
		if ctx.Err() != nil {
			return nil
		}
		if first && !closed(s.ready) {
			return err
		}
		if time.Since(began) >= backoffReset {
			backoff = backoffFirst
		}
		s.deps.Log.Error("store ended, starting it again", "err", err, "after", time.Since(began), "wait", backoff)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, backoffLast)
		s.restarts.Add(1)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// runOnce runs one process to its end.
func (s *Supervisor) runOnce(ctx context.Context, socket *os.File, first bool) error {
	parentRead, parentWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start store: %w", err)
	}
	defer parentWrite.Close()
	args := append(append([]string{}, s.cfg.Args...), "--parent-fd", fmt.Sprint(parentFD), "--listen-fd", fmt.Sprint(listenFD))
	cmd := exec.Command(s.cfg.Path, args...)
	cmd.ExtraFiles = []*os.File{parentRead, socket} // parentFD, listenFD
	cmd.Stdout, cmd.Stderr = s.deps.Stderr, s.deps.Stderr
	cmd.WaitDelay = time.Second
	// A process group of its own: Ctrl-C at the terminal reaches the parent only, which flushes before it lets the store go.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = parentRead.Close()
	if err != nil {
		return fmt.Errorf("start store: %w", err)
	}
	s.pid.Store(int64(cmd.Process.Pid))
	s.deps.Log.Info("store process started", "pid", cmd.Process.Pid)
	exited := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		s.pid.Store(0)
		if err == nil {
			err = errors.New("it exited by itself without an error")
		}
		exited <- fmt.Errorf("store process %d: %w", cmd.Process.Pid, err)
	}()

	// Only the first start is waited for: later ones may take as long as they need.
	started, stopWaiting := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer stopWaiting()
	pinged := make(chan error, 1)
	go func() { pinged <- ping(started, s.Addr().String()) }()
	for {
		select {
		case err := <-exited:
			return err
		case err := <-pinged:
			pinged = nil
			if err != nil && ctx.Err() == nil && first {
				_ = cmd.Process.Kill()
				<-exited
				return fmt.Errorf("start store: no answer at %s within %s: %w", s.Addr(), s.cfg.StartTimeout, err)
			}
			if err == nil && !closed(s.ready) {
				close(s.ready)
			}
		case <-ctx.Done():
			_ = parentWrite.Close()
			select {
			case <-exited:
			case <-time.After(s.cfg.StopTimeout):
				s.deps.Log.Error("store did not end in time, killed", "pid", cmd.Process.Pid, "timeout", s.cfg.StopTimeout)
				_ = cmd.Process.Kill()
				<-exited
			}
			return ctx.Err()
		}
	}
}

// ping waits until the store at addr answers.
func ping(ctx context.Context, addr string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(addr)+"/ping", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %s", resp.Status)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// reachable turns a wildcard address into one to connect to.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		if ip.To4() != nil {
			return net.JoinHostPort("127.0.0.1", port)
		}
		return net.JoinHostPort("::1", port)
	}
	return addr
}
