package bench_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What takes longer has failed.
const (
	patience     = time.Minute
	longPatience = 30 * time.Minute // of what a store of 10⁸ flows does
)

// process is a child that is measured from outside.
type process struct {
	tb    testing.TB
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader // of its standard output
	err   bytes.Buffer  // its standard error
	ended bool
}

// role starts this binary in a role on one core, with further environment.
func role(tb testing.TB, name string, core int, env ...string) *process {
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return start(tb, core, append(env, roleVariable+"="+name), self)
}

// start runs a command on one core, if there are several and core is not negative. The child is killed with its group at the end of the test, if
// it has not ended before.
func start(tb testing.TB, core int, env []string, name string, args ...string) *process {
	tb.Helper()
	if core >= 0 && runtime.NumCPU() > 1 {
		if pinner, err := exec.LookPath("taskset"); err == nil {
			args = append([]string{"-c", strconv.Itoa(core % runtime.NumCPU()), name}, args...)
			name = pinner
		}
	}
	p := &process{tb: tb, name: filepath.Base(name), cmd: exec.Command(name, args...)}
	if len(args) > 2 && args[0] == "-c" {
		p.name = filepath.Base(args[2])
	}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.lines = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", p.name, err)
	}
	tb.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	if !p.ended {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		_ = p.cmd.Wait() // the kill
		p.ended = true
	}
}

// read decodes the next line of the child's output, which is JSON.
func (p *process) read(v any) {
	p.tb.Helper()
	line, err := p.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		p.kill()
		p.tb.Fatalf("%s said %q: %v\n%s", p.name, line, err, &p.err)
	}
}

// tell writes a line to the child.
func (p *process) tell(line string) {
	p.tb.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.kill()
		p.tb.Fatalf("tell %s: %v\n%s", p.name, err, &p.err)
	}
}

// stop ends the child with a signal and waits for it; the output that was not read is dropped.
func (p *process) stop(signal syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.tb.Fatalf("stop %s: %v", p.name, err)
	}
	p.wait()
}

// wait waits until the child has ended well.
func (p *process) wait() {
	p.tb.Helper()
	timer := time.AfterFunc(patience, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, p.lines) // Wait says what went wrong
	err := p.cmd.Wait()
	p.ended = true
	if err != nil {
		p.tb.Fatalf("%s ended: %v\n%s", p.name, err, &p.err)
	}
}

// cpu returns the CPU time that the child and its own children have used.
func (p *process) cpu() (sum time.Duration) {
	p.tb.Helper()
	list, err := processes(func(s procStat) bool { return s.group == p.cmd.Process.Pid }) // it leads its group
	if err == nil && len(list) == 0 {
		err = errors.New("it has ended")
	}
	if err != nil {
		p.kill()
		p.tb.Fatalf("%s: %v\n%s", p.name, err, &p.err)
	}
	for _, s := range list {
		sum += s.cpu
	}
	return sum
}

// procStat is what proc_pid_stat(5) says of a process.
type procStat struct {
	pid, group int
	cpu        time.Duration // user and system, with that of its children that have ended
}

// processes returns the processes that are wanted.
func processes(want func(procStat) bool) (list []procStat, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (comm) state ppid pgrp …; cutime is field 16, cstime 17. The command may hold spaces and brackets.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		var numbers [4]int64
		for i, text := range []string{filepath.Base(filepath.Dir(file)), fields[2], fields[13], fields[14]} {
			if numbers[i], err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", file, b, err)
			}
		}
		const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
		s := procStat{int(numbers[0]), int(numbers[1]), time.Duration(numbers[2]+numbers[3]) * tick}
		if !want(s) {
			continue
		}
		// The times of the process itself in stat are sampled by the timer's ticks; its clock is exact.
		const clockOfProcess = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
		var t unix.Timespec
		if err := unix.ClockGettime(^int32(s.pid)<<3|clockOfProcess, &t); err != nil {
			continue // it has ended
		}
		s.cpu += time.Duration(t.Nano())
		list = append(list, s)
	}
	return list, nil
}

// queue is what the kernel holds for the UDP sockets on a port.
type queue struct {
	sockets int
	bytes   uint64 // received, not read
	drops   uint64 // datagrams
}

// udpQueue reads /proc/net/udp and udp6.
func udpQueue(tb testing.TB, port uint16) (q queue) {
	tb.Helper()
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			// sl local_address rem_address st tx_queue:rx_queue …  drops
			fields := strings.Fields(line)
			if len(fields) < 13 || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				continue
			}
			_, rx, _ := strings.Cut(fields[4], ":")
			waiting, err1 := strconv.ParseUint(rx, 16, 64)
			drops, err2 := strconv.ParseUint(fields[len(fields)-1], 10, 64)
			if err := errors.Join(err1, err2); err != nil {
				tb.Fatalf("%s: %q: %v", file, line, err)
			}
			q.sockets++
			q.bytes += waiting
			q.drops += drops
		}
	}
	return q
}

// until polls until done, or fails.
func until(tb testing.TB, what string, patience time.Duration, done func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// freePort returns a UDP port of 127.0.0.1 that nobody has.
func freePort(tb testing.TB) uint16 {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		tb.Fatal(err)
	}
	return uint16(addr.(*unix.SockaddrInet4).Port)
}
