// Package machine asks the kernel how a process and the machine do: time of CPUs, memory, files, disks. It is about the machine as the
// kernel shows it: in a container, load and memory are those of all the machine.
package machine

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Process is how a process does.
type Process struct {
	CPU       time.Duration // that it used since it started, of all CPUs
	Memory    uint64        // resident, bytes
	Threads   uint32
	Files     uint32 // that it has open
	MaxFiles  uint64 // that it may have open
	StartedAt time.Time
}

// System is how the machine does.
type System struct {
	CPUs       uint32
	CPU        time.Duration // that was used since it started, of all CPUs; waiting for disks is not use
	Load       float64       // mean of a minute
	Memory     uint64        // bytes
	MemoryFree uint64        // of that, what programs can still get
	StartedAt  time.Time
}

// Disk is a file system.
type Disk struct {
	Size uint64 // bytes
	Free uint64 // of that, what users other than root can still use
}

// LookProcess asks for the process of a number.
func LookProcess(pid int) (Process, error) {
	p, err := lookProcess(pid)
	if err != nil {
		return Process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return p, nil
}

func lookProcess(pid int) (p Process, err error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return p, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return p, err
	}
	started, err := stat.StartTime()
	if err != nil {
		return p, err
	}
	files, err := proc.FileDescriptorsLen()
	if err != nil {
		return p, err
	}
	limits, err := proc.Limits()
	if err != nil {
		return p, err
	}
	return Process{
		CPU: seconds(stat.CPUTime()), Memory: uint64(stat.ResidentMemory()), Threads: uint32(stat.NumThreads),
		Files: uint32(files), MaxFiles: limits.OpenFiles, StartedAt: time.UnixMilli(int64(started * 1000)),
	}, nil
}

// LookSystem asks for the machine.
func LookSystem() (System, error) {
	s, err := lookSystem()
	if err != nil {
		return System{}, fmt.Errorf("look at the machine: %w", err)
	}
	return s, nil
}

func lookSystem() (s System, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return s, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return s, err
	}
	load, err := fs.LoadAvg()
	if err != nil {
		return s, err
	}
	memory, err := fs.Meminfo()
	if err != nil {
		return s, err
	}
	c := &stat.CPUTotal // what guests used is in User and Nice
	s = System{
		CPUs: uint32(max(len(stat.CPU), runtime.NumCPU())), CPU: seconds(c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal), Load: load.Load1,
		StartedAt: time.Unix(int64(stat.BootTime), 0),
	}
	if memory.MemTotalBytes != nil {
		s.Memory = *memory.MemTotalBytes
	}
	if memory.MemAvailableBytes != nil {
		s.MemoryFree = *memory.MemAvailableBytes
	}
	return s, nil
}

// LookDisk asks for the file system that dir is on.
func LookDisk(dir string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Disk{}, fmt.Errorf("look at the disk of %q: %w", dir, err)
	}
	unit := uint64(s.Bsize)
	return Disk{Size: s.Blocks * unit, Free: s.Bavail * unit}, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
