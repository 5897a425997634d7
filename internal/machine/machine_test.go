package machine_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/machine"
)

// What is asked of this very process changes as it works, takes memory and opens files.
func TestLookProcess(t *testing.T) {
	before, err := machine.LookProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.StartedAt.After(time.Now().Add(time.Second)) || time.Since(before.StartedAt) > 24*time.Hour {
		t.Errorf("started at %v, want a short while ago", before.StartedAt)
	}
	if before.Threads == 0 || before.Memory == 0 || before.MaxFiles == 0 {
		t.Errorf("threads, memory or the limit of files is 0: %+v", before)
	}
	const size = 64 << 20
	held := make([]byte, size)
	for i := range held {
		held[i] = byte(i)
	}
	var files []*os.File
	for range 10 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	after := before
	for deadline := time.Now().Add(time.Minute); after.CPU <= before.CPU && time.Now().Before(deadline); {
		if after, err = machine.LookProcess(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after.CPU <= before.CPU {
		t.Errorf("CPU time stayed %v through a minute of work", after.CPU)
	}
	if after.Memory < before.Memory+size/2 {
		t.Errorf("memory grew from %d to %d with %d more in use", before.Memory, after.Memory, size)
	}
	if int(after.Files) < int(before.Files)+len(files) {
		t.Errorf("%d files are open, want %d more than %d", after.Files, len(files), before.Files)
	}
	runtime.KeepAlive(held)
}

func TestLookProcessNone(t *testing.T) {
	if p, err := machine.LookProcess(1 << 30); err == nil {
		t.Errorf("a process that there is not: %+v, want an error", p)
	}
}

func TestLookSystem(t *testing.T) {
	s, err := machine.LookSystem()
	if err != nil {
		t.Fatal(err)
	}
	if s.CPUs == 0 || s.CPU == 0 || s.Memory == 0 || s.MemoryFree == 0 || s.MemoryFree > s.Memory || s.Load < 0 || !s.StartedAt.Before(time.Now()) {
		t.Errorf("LookSystem = %+v", s)
	}
	if longest := time.Duration(s.CPUs) * (time.Since(s.StartedAt) + time.Minute); s.CPU > longest {
		t.Errorf("%v of CPU time, want at most %v of %d CPUs", s.CPU, longest, s.CPUs)
	}
}

func TestLookDisk(t *testing.T) {
	d, err := machine.LookDisk(t.TempDir())
	if err != nil || d.Size == 0 || d.Free > d.Size {
		t.Errorf("LookDisk = %+v, %v", d, err)
	}
	if _, err := machine.LookDisk("/there/is/none"); err == nil {
		t.Error("LookDisk of a directory that there is not: no error")
	}
}
