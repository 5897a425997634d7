package embedded

import (
	"os"

	"golang.org/x/sys/unix"
)

// growPipe gives a pipe room for a few pieces of output, so that engine and client work at the same time. The kernel may
// refuse (fs.pipe-user-pages-soft), then the pipe is smaller.
func growPipe(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, 512<<10)
}
