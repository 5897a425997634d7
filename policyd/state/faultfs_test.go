package state_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// faultDir is the environment variable that makes this test binary serve a faulty file system there. It is a process of its own: a page of it that this process
// waits for, mapped into its memory, cannot be served by itself.
const faultDir = "WEIR_STATE_TEST_FAULTY"

// faulty is a file system in memory that fails as it is told, and that forgets what was not synced when it is told that the power went. Names are on the disk at once.
type faulty struct {
	mu     sync.Mutex
	rand   *rand.Rand
	write  int // writes of a thousand that fail
	sync   int // syncs of a thousand that fail
	space  int // bytes of all files; 0: without end
	used   int
	failed int // calls that failed
	files  map[string]*faultyFile
}

// faultyFile is a regular file.
type faultyFile struct {
	fs.Inode
	of      *faulty
	content []byte
	durable []byte // as of the last sync
}

type faultyRoot struct {
	fs.Inode
	of *faulty
}

var (
	_ = fs.NodeCreater((*faultyRoot)(nil))
	_ = fs.NodeUnlinker((*faultyRoot)(nil))
	_ = fs.NodeRenamer((*faultyRoot)(nil))
	_ = fs.NodeStatfser((*faultyRoot)(nil))
	_ = fs.NodeFsyncer((*faultyRoot)(nil))
	_ = fs.NodeOpener((*faultyFile)(nil))
	_ = fs.NodeReader((*faultyFile)(nil))
	_ = fs.NodeWriter((*faultyFile)(nil))
	_ = fs.NodeFsyncer((*faultyFile)(nil))
	_ = fs.NodeGetattrer((*faultyFile)(nil))
	_ = fs.NodeSetattrer((*faultyFile)(nil))
)

// fails says whether a call fails, of which so many of a thousand do; f.mu is held.
func (f *faulty) fails(permille int) bool {
	if f.rand.IntN(1000) >= permille {
		return false
	}
	f.failed++
	return true
}

func (r *faultyRoot) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.fails(r.of.write) {
		return nil, nil, 0, syscall.EIO
	}
	file := &faultyFile{of: r.of}
	r.of.files[name] = file
	out.Mode = mode
	return r.NewInode(ctx, file, fs.StableAttr{Mode: syscall.S_IFREG}), nil, 0, 0
}

func (r *faultyRoot) Unlink(_ context.Context, name string) syscall.Errno {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.of.forget(name)
	return 0
}

// forget forgets a file; f.mu is held.
func (f *faulty) forget(name string) {
	if file := f.files[name]; file != nil {
		f.used -= len(file.content)
		delete(f.files, name)
	}
}

func (r *faultyRoot) Rename(_ context.Context, name string, _ fs.InodeEmbedder, to string, _ uint32) syscall.Errno {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.fails(r.of.write) {
		return syscall.EIO
	}
	r.of.forget(to)
	r.of.files[to] = r.of.files[name]
	delete(r.of.files, name)
	return 0
}

func (r *faultyRoot) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	const block = 4096
	out.Bsize, out.Frsize, out.Blocks, out.NameLen = block, block, 1<<20, 255
	out.Bavail = out.Blocks
	if r.of.space > 0 {
		out.Bavail = uint64(max(0, r.of.space-r.of.used)) / block
	}
	out.Bfree = out.Bavail
	return 0
}

func (r *faultyRoot) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.fails(r.of.sync) {
		return syscall.EIO
	}
	return 0
}

func (f *faultyFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *faultyFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	out.Mode, out.Size, out.Nlink = 0o600, uint64(len(f.content)), 1
	return 0
}

func (f *faultyFile) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f.of.mu.Lock()
		if f.of.fails(f.of.write) {
			f.of.mu.Unlock()
			return syscall.EIO
		}
		errno := f.resize(int(size))
		f.of.mu.Unlock()
		if errno != 0 {
			return errno
		}
	}
	return f.Getattr(ctx, h, out)
}

// resize makes the file so long, if there is room; f.of.mu is held.
func (f *faultyFile) resize(size int) syscall.Errno {
	more := size - len(f.content)
	if more > 0 && f.of.space > 0 && f.of.used+more > f.of.space {
		f.of.failed++
		return syscall.ENOSPC
	}
	if more > 0 {
		f.content = append(f.content, make([]byte, more)...)
	} else {
		f.content = f.content[:size:size]
	}
	f.of.used += more
	return 0
}

func (f *faultyFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if off >= int64(len(f.content)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(append([]byte{}, f.content[off:min(int64(len(f.content)), off+int64(len(dest)))]...)), 0
}

func (f *faultyFile) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if f.of.fails(f.of.write) {
		if len(data) < 2 || f.of.rand.IntN(2) == 0 {
			return 0, syscall.EIO
		}
		data = data[:1+f.of.rand.IntN(len(data)-1)] // less than was asked
	}
	if end := int(off) + len(data); end > len(f.content) {
		if errno := f.resize(end); errno != 0 {
			return 0, errno
		}
	}
	copy(f.content[off:], data)
	return uint32(len(data)), 0
}

func (f *faultyFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if f.of.fails(f.of.sync) {
		return syscall.EIO
	}
	f.durable = append([]byte{}, f.content...)
	return 0
}

// cut has the power go: of what was not synced since, each block of 512 bytes, as disks write them, is there or is not.
func (f *faulty) cut() {
	const block = 512
	f.used = 0
	for _, file := range f.files {
		after := append([]byte{}, file.durable...)
		for at := 0; at < len(file.content); at += block {
			end := min(at+block, len(file.content))
			if f.rand.IntN(2) == 0 {
				continue
			}
			if end > len(after) {
				after = append(after, make([]byte, end-len(after))...)
			}
			copy(after[at:end], file.content[at:end])
		}
		file.content, file.durable = after, append([]byte{}, after...)
		f.used += len(after)
	}
}

// serveFaulty serves at dir and does what it is told, a word and a number a line, until standard input ends. What is mounted is mounted anew after a cut, since the
// system would remember what it has read.
func serveFaulty(dir string) error {
	f := &faulty{rand: rand.New(rand.NewPCG(0, 0)), files: map[string]*faultyFile{}}
	mount := func() (*fuse.Server, error) {
		root := &faultyRoot{of: f}
		second := time.Second
		opts := &fs.Options{
			MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "weir-test", DisableXAttrs: true}, EntryTimeout: &second, AttrTimeout: &second,
			OnAdd: func(ctx context.Context) {
				for name, old := range f.files {
					file := &faultyFile{of: f, content: old.content, durable: old.durable}
					f.files[name] = file
					root.AddChild(name, root.NewPersistentInode(ctx, file, fs.StableAttr{Mode: syscall.S_IFREG}), true)
				}
			},
		}
		return fs.Mount(dir, root, opts)
	}
	server, err := mount()
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var word string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil {
			return err
		}
		f.mu.Lock()
		switch word {
		case "seed":
			f.rand = rand.New(rand.NewPCG(uint64(n), 0))
		case "write":
			f.write = n
		case "sync":
			f.sync = n
		case "space":
			f.space = n
			if n > 0 {
				f.space += f.used
			}
		case "failed":
			n, f.failed = f.failed, 0
		case "cut":
			f.mu.Unlock()
			if err := server.Unmount(); err != nil {
				return err
			}
			server.Wait()
			f.cut()
			if server, err = mount(); err != nil {
				return err
			}
			f.mu.Lock()
		}
		f.mu.Unlock()
		fmt.Println("done", n)
	}
	return server.Unmount()
}

// disk is a faulty file system that is mounted.
type disk struct {
	t     *testing.T
	dir   string
	in    io.Writer
	lines *bufio.Scanner
}

// mountFaulty mounts a faulty file system, which is none yet, until the test ends. Without root or FUSE the test is skipped; if CI_REQUIRE_SERVICES is 1 it fails.
func mountFaulty(t *testing.T) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), faultDir+"="+d.dir)
	var said strings.Builder
	cmd.Stderr = &said
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.in, d.lines = in, bufio.NewScanner(out)
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			_ = unix.Unmount(d.dir, unix.MNT_DETACH)
		}
	})
	if !d.lines.Scan() {
		err := cmd.Wait()
		if os.Getenv("CI_REQUIRE_SERVICES") == "1" {
			t.Fatalf("%v: %s", err, said.String())
		}
		t.Skipf("no file system can be mounted: %v: %s", err, said.String())
	}
	return d
}

// tell has the file system do something, and returns the number that it answers.
func (d *disk) tell(word string, n int) int {
	d.t.Helper()
	if _, err := fmt.Fprintln(d.in, word, n); err != nil || !d.lines.Scan() {
		d.t.Fatalf("%s %d: the file system has ended", word, n)
	}
	var done string
	if _, err := fmt.Sscan(d.lines.Text(), &done, &n); err != nil {
		d.t.Fatalf("%q: %v", d.lines.Text(), err)
	}
	return n
}
